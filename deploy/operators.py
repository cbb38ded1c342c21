"""Shows the operators of a home and what was commanded, for people and for machines."""

import os
import re
from datetime import UTC, datetime, timedelta
from getpass import getuser
from typing import Any, Final

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from api.apps.keyring import OPERATORS, Keyring, KeyringError
from api.apps.keys import digest
from api.folds.audit_log import OPERATOR_ADDED, OPERATOR_REVOKED
from api.ops.operators import HOUSE
from api.ops.token_audit import leave_note, token_name
from contracts.plain_text import NOT_ONE_LINE, is_one_line
from contracts.settings import Settings
from deploy.failures import CommandDeclined

RESERVED: Final = frozenset({HOUSE, "api", "router", "trainer", "player"})
"""Names by which the game's own parts give commands."""
_AGO: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def operators(settings: Settings) -> list[dict[str, Any]]:
    """Return who has a token, and since when."""
    ring = Keyring(settings.home, OPERATORS)
    digests = ring.known()
    house = [{"name": HOUSE, "token": None, "given": None}] if settings.operator_token else []
    return house + [
        {"name": name, "token": f"{name}/{digests[name].hex()[:6]}", "given": at.isoformat()}
        for name, at in ring.given().items()
        if name in digests
    ]


def add_operator(settings: Settings, name: str, why: str = "") -> str:
    """Make an operator's token, and return it; the API puts it into the audit.

    Raises:
        KeyringError: If the name is taken, or none.
        CommandDeclined: If there has to be a reason and there is none, or it is not one line.
    """
    _reasoned(settings, why)
    if name.lower() in RESERVED:
        raise KeyringError(f"{name} is the name of a part of the game: use another one")
    token = Keyring(settings.home, OPERATORS).add(name)
    leave_note(settings.home, OPERATOR_ADDED, token_name(name, digest(token)), why, _user())
    return token


def revoke_operator(settings: Settings, name: str, why: str = "") -> None:
    """Take an operator's token away; the API puts it into the audit.

    Raises:
        KeyringError: If there is no such operator.
        CommandDeclined: If there has to be a reason and there is none, or it is not one line.
    """
    _reasoned(settings, why)
    if name == HOUSE:
        raise KeyringError(
            f"the token of the house is GAMENIGHT_OPERATOR_TOKEN, or in {settings.home}/secrets/operator_token:"
            " change it there and start the game again"
        )
    ring = Keyring(settings.home, OPERATORS)
    held = ring.known().get(name)
    if held is not None:
        leave_note(settings.home, OPERATOR_REVOKED, token_name(name, held), why, _user())
    ring.revoke(name)


def _reasoned(settings: Settings, why: str) -> None:
    if settings.why_required and not why.strip():
        raise CommandDeclined("say why: --why TEXT")
    if not is_one_line(why):
        raise CommandDeclined(NOT_ONE_LINE)


def _user() -> str:
    """Return who the system says is at work."""
    try:
        return getuser()
    except (KeyError, OSError):  # as in a container, where nobody has a name
        return str(os.getuid())


def operators_table(listed: list[dict[str, Any]]) -> Table:
    """Show operators to people."""
    table = Table("operator", "token", "given", box=box.SIMPLE_HEAD)
    for one in listed:
        given = (one["given"] or "")[:16].replace("T", " ") or "the home's own: GAMENIGHT_OPERATOR_TOKEN"
        table.add_row(one["name"], one["token"] or "", given)
    return table


def time_of(text: str, at: datetime) -> datetime:
    """Return the time that somebody means.

    >>> time_of("2h", datetime(2026, 11, 29, 12, tzinfo=UTC)).isoformat()
    '2026-11-29T10:00:00+00:00'

    Args:
        text: ``30m``, ``2h``, ``7d``, ``2w`` ago, or a time as ``2026-11-29T14:30``, without a zone in UTC.
        at: The present.

    Raises:
        CommandDeclined: If it is none of these.
    """
    ago = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    try:
        if ago:
            return at - timedelta(**{_AGO[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise CommandDeclined(f"{text!r} is no time: write 30m, 2h, 7d or 2026-11-29T14:30") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def audit_table(entries: list[dict[str, Any]]) -> RenderableType:
    """Show the audit to people, the newest first."""
    columns = [Column("when"), *(Column(name, overflow="fold") for name in ("who", "from", "command", "why", "outcome"))]
    table = Table(*columns, box=box.SIMPLE_HEAD)
    colors = {"done": "green", "pending": "yellow"}
    for one in entries:
        what = " ".join(filter(None, (one["command"], one["target"], one["what"])))
        source = " ".join(filter(None, (one["via"], one["address"])))
        outcome = Text(one["outcome"], style=colors.get(one["outcome"], "red"))
        if one["outcome"] not in colors and one["message"]:
            outcome.append(f": {one['message'].removeprefix(one['outcome'] + ': ')}", style="default")
        when = one["at"][:19].replace("T", " ")
        table.add_row(when, Text(one["token"] or one["who"]), source, Text(what), Text(one["why"]), outcome)
    return table
