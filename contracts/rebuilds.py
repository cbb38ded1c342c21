"""Folds rebuilds: which wait in the queue and which was begun, and how the others ended (way 3, REBUILD). Pure.

The trainer carries out the first one that is due; the API shows them all. Rebuilds are carried out one after another, in the
order of their commands. Twice is harmless: a command is known by its id, and the newest step counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

from contracts.events import TRAINING_ENDS, CancelTraining, CommandSettled, Event, RetrainModel, TrainingAdvanced

KEPT: Final = 1000
"""How many rebuilds that have ended are remembered: the newest."""
CANCELLED: Final = "cancelled"


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A rebuild, from its command on."""

    command_id: UUID
    model: str
    command: RetrainModel | None
    """None: it ended, and the command has left the log."""
    last: TrainingAdvanced | None
    """Its last step; None: it waits."""
    cancel: CancelTraining | None
    """Who has had it end: the trainer has taken the command."""
    position: int | None
    """Its place in the queue, from 1; None: it was begun, or has ended."""

    @property
    def state(self) -> str:
        """``queued``, ``running``, or one of `TRAINING_ENDS`."""
        if self.last is None:
            return "queued"
        return self.last.step if self.last.step in TRAINING_ENDS else "running"

    @property
    def trigger(self) -> str:
        """Why it was begun: ``hand``, ``count``, ``time`` or ``drift``."""
        told = (self.command.trigger if self.command else "") or (self.last.trigger if self.last else "")
        return told or ("drift" if self.command and self.command.via == "policy" else "hand")

    @property
    def by(self) -> str:
        """Who asked for it."""
        return self.command.by if self.command else self.last.by if self.last else ""

    @property
    def asked_at(self) -> datetime | None:
        """When it was asked for."""
        return self.command.at if self.command else None


class RebuildQueue:
    """All rebuilds that the log tells of."""

    takes: ClassVar[tuple[type[Event], ...]] = (RetrainModel, CancelTraining, CommandSettled, TrainingAdvanced)

    def __init__(self) -> None:
        """Start empty; `apply` models.v1 and commands.v1 from their start, in whatever order the two come."""
        self._commands: dict[UUID, RetrainModel] = {}
        self._steps: dict[UUID, TrainingAdvanced] = {}
        """The last step of each, in the order in which they came."""
        self._asked: dict[UUID, CancelTraining] = {}
        """By their own ids; one that is refused ends nothing."""
        self._cancels: dict[UUID, CancelTraining] = {}
        """Those that the trainer has taken, by the rebuild."""

    def apply(self, event: Event) -> None:
        """Apply an event; one of another kind changes nothing."""
        if isinstance(event, RetrainModel):
            self._commands.setdefault(event.command_id, event)
        elif isinstance(event, CancelTraining):
            self._asked.setdefault(event.command_id, event)
        elif isinstance(event, CommandSettled) and event.outcome == "done" and event.command_id in self._asked:
            cancel = self._asked[event.command_id]
            self._cancels.setdefault(cancel.training_id, cancel)
        elif isinstance(event, TrainingAdvanced):
            before = self._steps.pop(event.command_id, None)
            ended = before is not None and before.step in TRAINING_ENDS and event.step not in TRAINING_ENDS
            self._steps[event.command_id] = before if before is not None and ended else event
            self._bound()

    def forget(self, player_id: str) -> None:
        """Forget what was told of a player; that rebuilds were asked for, and cancelled, stays."""
        for key, command in self._commands.items():
            if player_id in command.reason:
                self._commands[key] = command.model_copy(update={"reason": ""})
        for cancels in (self._asked, self._cancels):
            for key, cancel in cancels.items():
                if player_id in cancel.reason:
                    cancels[key] = cancel.model_copy(update={"reason": ""})
        for key, step in self._steps.items():
            if player_id in step.message:
                self._steps[key] = step.model_copy(update={"message": ""})

    def _bound(self) -> None:
        ended = [key for key, step in self._steps.items() if step.step in TRAINING_ENDS]
        for key in ended[: max(0, len(ended) - KEPT)]:
            if key not in self._commands or len(self._commands) > KEPT:
                self._steps.pop(key)
                self._commands.pop(key, None)
                self._cancels.pop(key, None)

    def due(self) -> list[RetrainModel]:
        """Return the rebuilds that have not ended, in the order given; the first may have begun.

        Of those before the last one of a model that was begun, the steps may have left the log: they have ended.
        """
        begun: dict[str, int] = {}
        order = list(self._commands.values())
        for place, command in enumerate(order):
            last = self._steps.get(command.command_id)
            if last is not None and (last.step != CANCELLED or last.began is not None):
                begun[command.target] = place
        return [command for place, command in enumerate(order) if self._is_due(command, place >= begun.get(command.target, 0))]

    def _is_due(self, command: RetrainModel, not_before_the_last: bool) -> bool:
        last = self._steps.get(command.command_id)
        return not_before_the_last if last is None else last.step not in TRAINING_ENDS and not_before_the_last

    def cancelled(self, command_id: UUID) -> CancelTraining | None:
        """Return who has had a rebuild end; None: nobody."""
        return self._cancels.get(command_id)

    def knows(self, command_id: UUID) -> bool:
        """Say whether a rebuild was asked for."""
        return command_id in self._commands

    def get(self, command_id: UUID) -> Rebuild | None:
        """Return a rebuild; None: there is none."""
        return next((one for one in self.all() if one.command_id == command_id), None)

    def all(self) -> Sequence[Rebuild]:
        """Return all rebuilds: those that are due in their order, then those that have ended, the newest first."""
        due = self.due()
        return [*self._due(due), *self._ended({command.command_id for command in due})]

    def _due(self, due: Sequence[RetrainModel]) -> Iterator[Rebuild]:
        waiting = 0
        for command in due:
            last = self._steps.get(command.command_id)
            waiting += last is None
            cancel = self._cancels.get(command.command_id)
            yield Rebuild(command.command_id, command.target, command, last, cancel, None if last else waiting)

    def _ended(self, due: set[UUID]) -> Iterator[Rebuild]:
        for key, last in sorted(self._steps.items(), key=lambda item: item[1].at, reverse=True):
            if key not in due and last.step in TRAINING_ENDS:
                yield Rebuild(key, last.model, self._commands.get(key), last, self._cancels.get(key), None)
