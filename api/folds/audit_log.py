"""Folds commands.v1 into the audit: who wanted what, from where, why, and what became of it (way 3, OPERATE).

Pure and bounded: of the log, which keeps all for good, it has the newest. Twice is harmless: a command is known by its id, and
has one outcome.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import ClassVar, Final, Literal
from uuid import UUID

from cachetools import FIFOCache
from pydantic import BaseModel

from contracts.events import (
    EVENTS,
    POLICIES,
    TRAINING_ENDS,
    Command,
    CommandCut,
    CommandDone,
    CommandRefused,
    CommandSettled,
    Event,
    ForgetPlayer,
    RestrictPlayer,
    TrainingAdvanced,
)

MAX_AUDITED: Final = 20_000
"""How many of the newest commands are told; older ones are read off the log when they are asked for."""
OPERATOR_ADDED: Final = "operators add"
OPERATOR_REVOKED: Final = "operators revoke"
Given = Command | CommandRefused | CommandDone | CommandCut
_NAMES: Final = (
    *(kind.__name__ for kind in EVENTS if issubclass(kind, Command)),
    OPERATOR_ADDED,
    OPERATOR_REVOKED,
    "rejected/repair",
    "rejected/replay",
)
"""What can be commanded; what was refused at the door has the name of its route besides."""
_OF_ALL: Final = frozenset(Command.model_fields) - {"target"}


class Audited(BaseModel):
    """A command, or what was refused before it became one."""

    command_id: UUID
    at: datetime
    command: str
    """The event's type; of what the operators' door refused, the route."""
    target: str
    what: str
    """Its other fields, such as the version, as ``name=value``; no player is named."""
    who: str
    via: str | None
    """``cli``, ``http``, ``policy``, ``router``, ``player``; None: it is older than the audit."""
    address: str | None
    token: str | None
    why: str
    outcome: Literal["pending", "done", "refused", "failed", "refused at the door"] = "pending"
    message: str = ""
    settled: datetime | None = None


class AuditLog:
    """The newest commands, as the audit tells them."""

    takes: ClassVar[tuple[type[Event], ...]] = (
        Command,
        CommandCut,
        CommandDone,
        CommandRefused,
        CommandSettled,
        TrainingAdvanced,
    )

    def __init__(self, most: int = MAX_AUDITED) -> None:
        """Start empty, for so many commands; `apply` the topic from its start."""
        self._commands: FIFOCache[UUID, Given] = FIFOCache(most)
        self._ends: FIFOCache[UUID, CommandSettled] = FIFOCache(most)
        self._trained: FIFOCache[UUID, TrainingAdvanced] = FIFOCache(MAX_AUDITED)
        """How rebuilds ended, of which older ones have no CommandSettled."""
        self._tokens: dict[str, bool] = {}
        """Whether each operator's token of which it tells is valid."""

    def apply(self, event: Given | CommandSettled | TrainingAdvanced) -> None:
        """Apply a command, a refusal, or the outcome of a command."""
        if isinstance(event, TrainingAdvanced):
            if event.step in TRAINING_ENDS:
                self._trained.setdefault(event.command_id, event)
            return
        if isinstance(event, CommandCut):
            self._commands[event.command_id] = event
        elif isinstance(event, CommandSettled):
            self._ends.setdefault(event.command_id, event)
        else:
            self._commands.setdefault(event.command_id, event)
            if isinstance(event, CommandDone) and event.command in (OPERATOR_ADDED, OPERATOR_REVOKED):
                self._tokens[event.target] = event.command == OPERATOR_ADDED and self._tokens.get(event.target, True)

    @property
    def tokens(self) -> Mapping[str, bool]:
        """The operators' tokens that were ever made, as far as it is told, and whether each is valid still."""
        return self._tokens

    @property
    def oldest(self) -> datetime | None:
        """The time of the oldest entry, if older ones may be on the log; None: it has all."""
        if len(self._commands) < self._commands.maxsize:
            return None
        return min(one.at for one in self._commands.values())

    def page(self, events: Iterable[Event], until: datetime) -> "AuditLog":
        """Return an audit of the newest commands up to a time, made of the whole log.

        Args:
            events: All of commands.v1 that is proven, in order.
            until: The time.
        """
        found = AuditLog(int(self._commands.maxsize))
        found._trained = self._trained
        for event in events:
            if isinstance(event, CommandSettled):
                if event.command_id in found._commands:
                    found.apply(event)
            elif isinstance(event, Given) and event.at < until:
                found.apply(event)
        return found

    def forget(self, player_id: str) -> None:
        """Forget what was told of a player; that commands were given stays."""
        for key, command in list(self._commands.items()):
            texts = {name: "" for name in ("reason", "message") if player_id in getattr(command, name, "")}
            if isinstance(command, CommandRefused) and player_id in command.target:
                texts["target"] = "-"
            if isinstance(command, RestrictPlayer | ForgetPlayer) and player_id == command.player_id:
                texts["player_id"] = "-"
            if texts:
                self._commands[key] = command.model_copy(update=texts)
        for key, end in list(self._ends.items()):
            if player_id in end.message:
                self._ends[key] = end.model_copy(update={"message": ""})

    def against(self, command: str) -> str | None:
        """Return why there can be no entries of a command: it is none; None: there may be some."""
        told = {_named(event) for event in self._commands.values()}
        if any(_plain(command) in _plain(name) for name in {*_NAMES, *told}):
            return None
        return f"no command {command[:40]!r}: there is {', '.join(_NAMES)}"

    def entries(
        self, since: datetime | None = None, who: str | None = None, target: str | None = None, command: str | None = None
    ) -> Iterator[Audited]:
        """Return the entries, the newest first.

        Args:
            since: None: all.
            who: Only those of this operator; None: of all.
            target: Only those of this model; None: of all.
            command: Only this command, as the event or the route is called, in any case; None: all.
        """
        wanted = None if command is None else _plain(command)
        for event in sorted(self._commands.values(), key=lambda one: one.at, reverse=True):
            if since is not None and event.at < since:
                return
            named = _named(event)
            if who in (None, _who(event)) and target in (None, event.target) and (wanted is None or wanted in _plain(named)):
                yield self._entry(event, named)

    def _entry(self, event: Given, named: str) -> Audited:
        entry = Audited(
            command_id=event.command_id,
            at=event.at,
            command=named,
            target=event.target,
            what=_what(event) if isinstance(event, Command) else "",
            who=_who(event),
            via=event.via,
            address=event.address,
            token=event.token,
            why="" if isinstance(event, CommandCut) else event.reason,
        )
        if isinstance(event, CommandCut) and event.outcome is not None:
            outcome = "done" if event.outcome == "done" else "refused at the door"
            return entry.model_copy(update={"outcome": outcome, "settled": event.at})
        if isinstance(event, CommandDone):
            return entry.model_copy(update={"outcome": "done", "what": event.message, "settled": event.at})
        if isinstance(event, CommandRefused):
            return entry.model_copy(update={"outcome": "refused at the door", "message": event.message, "settled": event.at})
        trained = self._trained.get(event.command_id)
        if (end := self._ends.get(event.command_id)) is None and trained is not None:
            outcome = "failed" if trained.step == "cancelled" else trained.step
            return entry.model_copy(update={"outcome": outcome, "message": trained.message, "settled": trained.at})
        if end is None:
            return entry
        return entry.model_copy(update={"outcome": end.outcome, "message": end.message, "settled": end.at})


def _named(event: Given) -> str:
    return event.type if isinstance(event, Command) else event.command


def _who(event: Given) -> str:
    """Return who gave a command: what only the API can know is taken from nobody else."""
    if event.signer in (None, "api") or isinstance(event, CommandCut):
        return event.by
    return event.by if event.signer == "trainer" and event.by in POLICIES else event.signer


def _what(event: Command) -> str:
    told = event.model_dump(mode="json", exclude_defaults=True, exclude={*_OF_ALL, "type", "target", "player_id"})
    return ", ".join(f"{name}={value}" for name, value in told.items())


def _plain(command: str) -> str:
    return command.replace("-", "").replace("_", "").lower()
