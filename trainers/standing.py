"""What the log says about batch models: versions, champions, and the commands still to be done (way 3, REBUILD). Pure.

A fold over models.v1 and commands.v1, in whatever order the two come. It needs no offsets of its own and no consumer group:
commands are carried out one after another, so the last TrainingAdvanced of a model tells how far its commands are done. A
trainer that was killed in the middle finds its command still due.
"""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from contracts.events import Event, ModelPromoted, ModelPublished, RetrainModel, TrainingAdvanced

ENDED: Final = ("done", "refused", "failed")
"""Steps that end a rebuild."""


class Standing:
    """The fold. Every event may come twice."""

    def __init__(self, history: Iterable[Event] = ()) -> None:
        """Start with a history, or with nothing."""
        self._published: dict[str, dict[str, ModelPublished]] = {}
        self._champions: dict[str, ModelPromoted] = {}
        self._training: dict[str, TrainingAdvanced] = {}
        self._commands: dict[UUID, RetrainModel] = {}
        for event in history:
            self.hear(event)

    def hear(self, event: Event) -> None:
        """Take in an event; those of no concern change nothing."""
        match event:
            case ModelPublished():
                self._published.setdefault(event.model, {})[event.version] = event
            case ModelPromoted():  # and ModelRolledBack, which is one
                self._champions[event.model] = event
            case TrainingAdvanced():
                self._training[event.model] = event
            case RetrainModel():
                self._commands.setdefault(event.command_id, event)

    def published(self, model: str) -> dict[str, ModelPublished]:
        """All versions of a model that exist, by version."""
        return dict(self._published.get(model, {}))

    def champion(self, model: str) -> ModelPromoted | None:
        """Which version answers; None while none was ever promoted."""
        return self._champions.get(model)

    def training(self, model: str) -> TrainingAdvanced | None:
        """How far the last rebuild of a model has come; None if there was none."""
        return self._training.get(model)

    def due(self) -> list[RetrainModel]:
        """The commands that are not done, in the order given; the first may have been begun."""
        out: list[RetrainModel] = []
        for target in {command.target for command in self._commands.values()}:
            commands = [command for command in self._commands.values() if command.target == target]
            last = self._training.get(target)
            done = 0
            if last and last.command_id in self._commands:
                at = next((i for i, command in enumerate(commands) if command.command_id == last.command_id), -1)
                done = at + (last.step in ENDED)
            out += commands[max(done, 0) :]
        order = list(self._commands)
        return sorted(out, key=lambda command: order.index(command.command_id))


def variant_of(version: str) -> str:
    """The production variant that serves a version: a number is not enough of a name for SageMaker.

    >>> variant_of("3"), variant_of("base1")
    ('v3', 'base1')
    """
    return f"v{version}" if version.isdigit() else version


def version_of(variant: str) -> str:
    """The version that a production variant serves."""
    return variant[1:] if variant[:1] == "v" and variant[1:].isdigit() else variant


def next_version(taken: Iterable[str]) -> str:
    """The number after the highest of those taken; a base is no number.

    >>> next_version(["base1", "2", "1"])
    '3'
    """
    return str(max((int(version) for version in taken if version.isdigit()), default=0) + 1)
