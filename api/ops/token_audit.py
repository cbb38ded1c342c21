"""Puts into the audit who is given an operator's token and who loses it, as the files of the home say (way 3, OPERATE).

`gamenight operators` changes the files, also while no game runs; the API looks at them and says on the log what has changed, as
often as it takes. Twice is harmless, of two API processes too: the id is made of the token's name.
"""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid5

from api.apps.keyring import OPERATORS, Keyring
from api.folds.audit_log import OPERATOR_ADDED, OPERATOR_REVOKED, AuditLog
from api.ops.operators import HOUSE
from contracts.events import NAMESPACE, CommandDone, now
from contracts.ports import Bus, Record

LOOK_S: Final = 2.0
"""How often the files are looked at."""
_NOTES: Final = "operators-notes"

_Change = tuple[str, str]
"""What was done, and the name of the token."""


def token_name(operator: str, digest: bytes) -> str:
    """Return the name of a token, as commands carry it."""
    return f"{operator}/{digest.hex()[:6]}"


def leave_note(home: Path, command: str, token: str, why: str, user: str) -> None:
    """Say why a token is made or revoked, and which user of the system does it, for the API to put into the audit."""
    folder = home / "secrets" / _NOTES
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / _file(command, token)
    scratch = folder / f".{path.name}.{os.getpid()}"
    scratch.touch(0o600)
    scratch.write_text(json.dumps({"command": command, "token": token, "why": why, "user": user, "at": now().isoformat()}))
    scratch.replace(path)


def _file(command: str, token: str) -> str:
    return f"{command} {token}".replace("/", " ").replace(" ", "-")


class TokenAudit:
    """Compares the tokens that there are, and the notes that were left, with what the audit tells."""

    def __init__(self, home: Path, audit: AuditLog, bus: Bus) -> None:
        """Keep the home, what the audit tells, and what publishes, with a signature."""
        self._notes = home / "secrets" / _NOTES
        self._ring = Keyring(home, OPERATORS)
        self._audit = audit
        self._bus = bus
        self._sent: dict[_Change, Future[Record]] = {}
        """What was published, until the audit tells of it."""
        self._seen: set[_Change] = set()
        """What the look before has found: a note comes a moment after a token."""

    def look(self) -> None:
        """Publish what the audit does not tell yet, and delete the notes of what it tells."""
        notes = self._read()
        untold = {change for change in {*self._changes(), *notes} if not self._is_told(*change)}
        for change in sorted(untold & self._seen):
            sent = self._sent.get(change)
            if sent is None or (sent.done() and sent.exception() is not None):
                self._sent[change] = self._bus.publish(_event(*change, notes.get(change, {})))
        self._seen = untold
        for change in notes.keys() - untold:
            (self._notes / _file(*change)).unlink(missing_ok=True)
        self._sent = {change: sent for change, sent in self._sent.items() if change in untold}

    def _is_told(self, command: str, token: str) -> bool:
        valid = self._audit.tokens.get(token)
        return valid is not None if command == OPERATOR_ADDED else valid is False

    def _changes(self) -> Iterator[_Change]:
        there = {token_name(name, digest) for name, digest in self._ring.known().items()}
        yield from ((OPERATOR_ADDED, token) for token in there)
        yield from ((OPERATOR_REVOKED, token) for token, valid in self._audit.tokens.items() if valid and token not in there)

    def _read(self) -> dict[_Change, dict[str, str]]:
        found: dict[_Change, dict[str, str]] = {}
        for path in self._notes.glob("[!.]*"):
            with suppress(OSError, ValueError):
                note = json.loads(path.read_text())
                if isinstance(note, dict) and path.name == _file(str(note.get("command")), str(note.get("token"))):
                    found[note["command"], note["token"]] = note
        return found


def _event(command: str, token: str, note: Mapping[str, str]) -> CommandDone:
    at = now()
    with suppress(KeyError, ValueError):
        at = min(at, datetime.fromisoformat(note["at"]).astimezone(UTC))
    return CommandDone(
        command_id=uuid5(NAMESPACE, f"{command}/{token}"),
        at=at,
        command=command,
        target=token,
        by=HOUSE,
        reason=str(note.get("why", ""))[:500],
        via="cli" if note else None,
        message=f"user={note['user'][:100]}" if note.get("user") else "",
    )
