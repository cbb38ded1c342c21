"""Keeps the rounds that wait for one answerer over the network (way 1, ANSWER). Pure: rounds in, outcomes out.

Final drawings and probes go first. Only the newest preview of each player waits. While the answerer rests, final drawings wait
for a model's own version as long as their budget lasts; nothing else waits, and nothing waits for a candidate.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streams.lineup import Answerer
from streams.round import Round

MOST_A_CALL: Final = 64
"""The most drawings in a call: more would be no cheaper each, and the first answers would be late."""
MOST_WAITING: Final = 10_000
"""The most final drawings that may wait for one answerer; one more makes the oldest be given up."""


@dataclass(frozen=True, slots=True)
class CallMissed:
    """Rounds will get no answer from an answerer."""

    answerer: Answerer
    rounds: Sequence[Round]
    why: str
    resting: bool
    """Whether the answerer rests."""


@dataclass(frozen=True, slots=True)
class Resting:
    """Rounds wait for an answerer that has just failed, or rests: nothing else should wait for it."""

    answerer: Answerer
    rounds: Sequence[Round]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Previews need no answer any more: newer strokes of their players have come."""

    rounds: Sequence[Round]


QueueOutcome = CallMissed | Resting | Dropped


class BatchQueue:
    """The rounds that wait for one answerer."""

    def __init__(self, answerer: Answerer) -> None:
        """Begin with an empty queue."""
        self.answerer = answerer
        self._urgent: deque[Round] = deque()
        self._previews: dict[str, Round] = {}  # the newest of each player

    @property
    def waiting(self) -> list[Round]:
        """All rounds that wait."""
        return [*self._urgent, *self._previews.values()]

    def add(self, rounds: Sequence[Round], resting: str | None) -> list[QueueOutcome]:
        """Queue rounds; ``resting`` says why the answerer cannot be asked now; None: it can."""
        patient = [one for one in rounds if resting is None or self._patient(one)]
        dropped = []
        for one in patient:
            drawing = one.drawing.drawing
            before = None if drawing.probe else self._previews.pop(drawing.player_id, None)
            if before is not None:
                dropped.append(before)
            if one.drawing.urgent:
                self._urgent.append(one)
            else:
                self._previews[drawing.player_id] = one
        over = [self._urgent.popleft() for _ in range(len(self._urgent) - MOST_WAITING)]
        outcomes: list[QueueOutcome] = [Dropped(dropped)] if dropped else []
        if over:
            outcomes.append(CallMissed(self.answerer, over, f"over {MOST_WAITING} are waiting", resting is not None))
        return outcomes if resting is None else [*outcomes, *self._told(rounds, resting, resting=True)]

    def next(self) -> list[Round]:
        """Take out the rounds for the next call, of those that still want an answer."""
        rounds: list[Round] = []
        while self._urgent and len(rounds) < MOST_A_CALL:
            rounds.append(self._urgent.popleft())
        while self._previews and len(rounds) < MOST_A_CALL:
            rounds.append(self._previews.pop(next(iter(self._previews))))
        wanted = [one for one in rounds if one.awaits(self.answerer)]
        return wanted if wanted or not rounds else self.next()

    def failed(self, rounds: Sequence[Round], why: str, opened: bool) -> list[QueueOutcome]:
        """Put the rounds of a failed call back: those that can wait are asked again, before all others.

        ``opened``: the answerer rests from now on, so the rounds that cannot wait are missed.
        """
        self._urgent.extendleft(reversed([one for one in rounds if self._patient(one)]))
        if not opened:
            return self._told(rounds, why, resting=False)
        told = [*rounds, *(one for one in self.waiting if one not in rounds)]
        self._previews.clear()
        self._urgent = deque(one for one in self._urgent if self._patient(one))
        return self._told(told, why, resting=True)

    def _patient(self, one: Round) -> bool:
        return one.drawing.drawing.final and not self.answerer.beside

    def _told(self, rounds: Sequence[Round], why: str, resting: bool) -> list[QueueOutcome]:
        waits = [one for one in rounds if self._patient(one)]
        missed = [one for one in rounds if not self._patient(one)]
        outcomes: list[QueueOutcome] = [Resting(self.answerer, waits)] if waits else []
        return [*outcomes, CallMissed(self.answerer, missed, why, resting)] if missed else outcomes
