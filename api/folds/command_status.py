"""Folds commands.v1, and the rebuilds on models.v1, into the outcomes of operators' commands (way 3, OPERATE).

Pure and bounded: the oldest command is forgotten first. Twice is harmless: a command is known by its id, and has one outcome.
"""

from collections import Counter
from datetime import datetime
from typing import ClassVar, Final, Literal
from uuid import UUID

from cachetools import FIFOCache
from pydantic import BaseModel

from contracts.events import TRAINING_ENDS, Command, CommandSettled, Event, ForgettingAdvanced, TrainingAdvanced

MAX_COMMANDS: Final = 1000


class CommandState(BaseModel):
    """The state of a command."""

    command_id: UUID
    type: str
    target: str
    by: str
    at: datetime
    outcome: Literal["pending", "done", "refused", "failed", "cancelled"] = "pending"
    message: str = ""
    step: str | None = None
    """The current step of a rebuild, or of forgetting a player."""
    fraction: float | None = None
    """The share of it that is done, 0..1."""


class CommandStatus:
    """The newest commands, and the outcome of each."""

    takes: ClassVar[tuple[type[Event], ...]] = (Command, CommandSettled, TrainingAdvanced, ForgettingAdvanced)

    def __init__(self) -> None:
        """Start empty; `apply` the topics from their start."""
        self._commands: FIFOCache[UUID, Command] = FIFOCache(MAX_COMMANDS)
        self._ends: FIFOCache[UUID, CommandSettled | TrainingAdvanced | ForgettingAdvanced] = FIFOCache(MAX_COMMANDS)

    def apply(self, event: Event) -> None:
        """Apply a command, or the outcome of a command."""
        if isinstance(event, Command):
            self._commands.setdefault(event.command_id, event)
        elif isinstance(event, CommandSettled | TrainingAdvanced | ForgettingAdvanced):
            self._ends[event.command_id] = event

    def forget(self, player_id: str) -> None:
        """Forget whom commands named, and what was told of them; that they were given stays."""
        named = {key for key, command in self._commands.items() if getattr(command, "player_id", None) == player_id}
        for key in named:
            self._commands[key] = self._commands[key].model_copy(update={"player_id": ""})
        for key, end in list(self._ends.items()):
            if player_id in end.message:
                self._ends[key] = end.model_copy(update={"message": ""})

    def waiting(self) -> Counter[str]:
        """Return how many commands of each type have no outcome yet, of those that are remembered."""
        return Counter(command.type for key, command in self._commands.items() if not self._ended(self._ends.get(key)))

    def _ended(self, end: CommandSettled | TrainingAdvanced | ForgettingAdvanced | None) -> bool:
        return isinstance(end, CommandSettled) or (isinstance(end, TrainingAdvanced) and end.step in TRAINING_ENDS)

    def state(self, command_id: UUID) -> CommandState | None:
        """Return the state of a command; None if it is not known."""
        command, end = self._commands.get(command_id), self._ends.get(command_id)
        if command is None:
            return None
        state = CommandState(command_id=command_id, type=command.type, target=command.target, by=command.by, at=command.at)
        if isinstance(end, CommandSettled):
            return state.model_copy(update={"outcome": end.outcome, "message": end.message})
        if isinstance(end, ForgettingAdvanced):
            return state.model_copy(update={"message": end.message, "step": end.step, "fraction": end.fraction})
        if isinstance(end, TrainingAdvanced):
            ended = end.step if end.step in TRAINING_ENDS else "pending"
            told = {"outcome": ended, "message": end.message, "step": end.step, "fraction": end.fraction}
            return state.model_copy(update=told)
        return state
