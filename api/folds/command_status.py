"""What became of operators' commands: a fold of commands.v1, and of the rebuilds on models.v1 (way 3, OPERATE).

Pure and bounded: the oldest goes first. Twice is harmless: a command is known by its id, and what ends it is said once.
"""

from collections import OrderedDict
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel

from contracts.events import TRAINING_ENDS, Command, CommandSettled, Event, TrainingAdvanced

MAX_ORDERS: Final = 1000


class Order(BaseModel):
    """A command, and what became of it."""

    command_id: UUID
    type: str
    target: str
    by: str
    at: datetime
    outcome: Literal["pending", "done", "refused", "failed"] = "pending"
    message: str = ""
    step: str | None = None
    """Of a rebuild: where it is."""
    fraction: float | None = None
    """Of a rebuild: how much of it is done, 0..1."""


class Orders:
    """The newest commands."""

    def __init__(self) -> None:
        """Start empty: `apply` the topics from their start."""
        self._commands: OrderedDict[UUID, Command] = OrderedDict()
        self._ends: OrderedDict[UUID, CommandSettled | TrainingAdvanced] = OrderedDict()

    def apply(self, event: Event) -> None:
        """Take in a command, or word of one."""
        if isinstance(event, Command):
            self._commands.setdefault(event.command_id, event)
        elif isinstance(event, CommandSettled | TrainingAdvanced):
            self._ends[event.command_id] = event
        for known in (self._commands, self._ends):
            if len(known) > MAX_ORDERS:
                known.popitem(last=False)

    def order(self, command_id: UUID) -> Order | None:
        """What is known of a command; None: nothing."""
        command, end = self._commands.get(command_id), self._ends.get(command_id)
        if command is None:
            return None
        order = Order(command_id=command_id, type=command.type, target=command.target, by=command.by, at=command.at)
        if isinstance(end, CommandSettled):
            return order.model_copy(update={"outcome": end.outcome, "message": end.message})
        if isinstance(end, TrainingAdvanced):
            ended = end.step if end.step in TRAINING_ENDS else "pending"
            told = {"outcome": ended, "message": end.message, "step": end.step, "fraction": end.fraction}
            return order.model_copy(update=told)
        return order
