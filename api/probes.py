"""Publishes probes on the bus, questions that models and learners answer over it (ways 1 and 2).

`ProbeAnswers` is a question with its answers so far, as values: it is pure. `Probes` publishes questions and waits. Both
predictions for apps and the health check ask this way. Twice is harmless: an answer is known by the model or stage that gives
it.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar
from uuid import UUID, uuid4

from contracts.events import PLAYER_PARTITIONS, CorrectionProbed, DrawingSubmitted, Event, GuessMade, GuessMissed, ReceiptProbed
from contracts.ports import Bus, Record
from producers.placement import partition_of

ProbeAnswer = GuessMade | GuessMissed | ReceiptProbed


def why_missed(miss: GuessMissed) -> str:
    """Say why a model gave no answer."""
    return f"it rests: {miss.why}" if miss.resting else miss.why


@dataclass(slots=True)
class ProbeAnswers:
    """A question: which models or stages are asked, and their answers so far."""

    whom: frozenset[str]
    """The models, or the stages that learn, that are asked."""
    guesses: dict[str, GuessMade] = field(default_factory=dict)
    """The guesses by model, without the guesses of shadows."""
    misses: dict[str, str] = field(default_factory=dict)
    """Why a model gives no answer, by model; if an answer comes after all, it counts."""
    learned: set[str] = field(default_factory=set)
    """The stages that a probe of a correction has passed."""

    def apply(self, event: ProbeAnswer) -> None:
        """Apply an answer, or the miss of a model."""
        if isinstance(event, ReceiptProbed):
            self.learned.add(event.stage)
        elif isinstance(event, GuessMissed):
            if event.model not in self.guesses:
                self.misses[event.model] = why_missed(event)
        elif event.role != "shadow":
            self.guesses[event.model] = event
            self.misses.pop(event.model, None)

    @property
    def silent(self) -> frozenset[str]:
        """Return the models or stages that were asked and have not answered yet."""
        return self.whom.difference(self.guesses, self.misses, self.learned)


class Probe:
    """A question that is on its way."""

    def __init__(self, whom: Collection[str], kept: "asyncio.Future[Record]") -> None:
        """Keep the models or stages that are asked, and the future of the broker's acknowledgement."""
        self.answers = ProbeAnswers(frozenset(whom))
        self.kept = kept
        """The acknowledgement: done when the broker has acknowledged the question, or refused it."""
        self._complete = asyncio.Event()
        if not self.answers.silent:
            self._complete.set()

    def apply(self, event: ProbeAnswer) -> None:
        """Apply an answer; if it was the last, wake the callers that wait."""
        self.answers.apply(event)
        if not self.answers.silent:
            self._complete.set()

    async def complete(self) -> None:
        """Wait until all models or stages that are asked have answered."""
        await self._complete.wait()


class Probes:
    """Publishes questions on the bus and gathers the answers, on one event loop."""

    takes: ClassVar[tuple[type[Event], ...]] = (GuessMade, GuessMissed, ReceiptProbed)

    def __init__(self, bus: Bus) -> None:
        """Keep the bus to ask over."""
        self._bus = bus
        self._pending: dict[UUID, Probe] = {}

    def apply(self, event: ProbeAnswer) -> None:
        """Apply an event from the bus; nothing happens if it answers no question of this process."""
        probe = self._pending.get(event.probe_id if isinstance(event, ReceiptProbed) else event.drawing_id)
        if probe is not None:
            probe.apply(event)

    @contextmanager
    def ask(self, question: DrawingSubmitted | CorrectionProbed, whom: Collection[str]) -> Iterator[Probe]:
        """Publish a question, and gather its answers for as long as the context lasts."""
        kept = asyncio.wrap_future(self._bus.publish(question))
        kept.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio warns of the error
        identity = question.probe_id if isinstance(question, CorrectionProbed) else question.drawing_id
        probe = self._pending[identity] = Probe(whom, kept)
        try:
            yield probe
        finally:
            del self._pending[identity]


def partition_of_player(player_id: str) -> int:
    """Return the partition that a player's events go to."""
    return partition_of(player_id.encode(), PLAYER_PARTITIONS)


def one_of_each_partition() -> list[str]:
    """Find, for each partition of players' events, a player id that goes there and that no player has."""
    names: dict[int, str] = {}
    prefix = uuid4().hex[:12]
    for number in count():
        name = f"probe-{prefix}-{number}"
        names.setdefault(partition_of(name.encode(), PLAYER_PARTITIONS), name)
        if len(names) == PLAYER_PARTITIONS:
            return [names[partition] for partition in range(PLAYER_PARTITIONS)]
    raise AssertionError("never: numbers do not end")
