"""Healthy means that a drawing was just answered by every model that ought to run: by asking (way 1; decision 0005)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final
from uuid import UUID, uuid4

from contracts.events import DrawingSubmitted, GuessMade, GuessMissed
from contracts.ports import Bus

FRESH_S: Final = 2.0
"""So old may a drawing be that every model answered."""
CACHED_S: Final = 1.0
"""A probe counts for so long."""
WITHIN_S: Final = 1.6
"""So long may a probe's answers take; with all around it the answer to the question stays under 2 s."""

_SEVEN = [[[90.0, 80.0], [190.0, 80.0], [130.0, 220.0]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a drawing would be answered."""

    healthy: bool
    missing: list[str]
    """The models that did not answer."""
    reason: str


class Health:
    """Asks the question that players ask, when somebody wants to know and no player just did."""

    def __init__(
        self, bus: Bus, expected: Callable[[], frozenset[str]], reading: Callable[[], str], clock: Callable[[], float]
    ) -> None:
        """Ask over ``bus``.

        Args:
            bus: Where the probe is put.
            expected: The models that ought to answer.
            reading: Says what is wrong with this process's own reading of the bus; empty: nothing.
            clock: Monotonic, in seconds.
        """
        self.player_id = f"probe-{uuid4()}"
        self._bus = bus
        self._expected = expected
        self._reading = reading
        self._clock = clock
        self._answers: dict[UUID, set[str]] = {}
        self._missed: set[str] = set()
        self._why: dict[str, str] = {}
        self._all_answered_at = -inf
        self._verdict: Verdict | None = None
        self._verdict_at = -inf
        self._asking: asyncio.Task[Verdict] | None = None
        self._heard = asyncio.Event()

    def heard(self, guess: GuessMade) -> None:
        """Take note of a guess, to a probe of this process or to a finished drawing."""
        if guess.role == "shadow" or not (guess.final or guess.player_id == self.player_id):
            return
        if guess.fallback is not None:
            self._why[guess.model] = guess.fallback
            return
        self._why.pop(guess.model, None)
        answers = self._answers.setdefault(guess.drawing_id, set())
        answers.add(guess.model)
        if answers >= self._expected():
            del self._answers[guess.drawing_id]
            self._all_answered_at = self._clock()
            self._heard.set()
        elif not guess.final:
            self._heard.set()
        elif len(self._answers) > 1000:
            del self._answers[next(iter(self._answers))]

    def missed(self, miss: GuessMissed) -> None:
        """Take note that a model gives no answer, to a probe of this process or to a finished drawing."""
        self._why[miss.model] = f"{miss.model} rests: {miss.why}" if miss.resting else f"{miss.model}: {miss.why}"
        if miss.player_id == self.player_id:
            self._missed.add(miss.model)
            self._heard.set()

    async def check(self) -> Verdict:
        """The answer, within 2 seconds; many who ask at once share one probe."""
        now = self._clock()
        if self._verdict is not None and now - self._verdict_at < CACHED_S:
            return self._verdict
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Verdict:
        verdict = await self._look()
        if verdict.healthy:
            self._verdict, self._verdict_at = verdict, self._clock()
        else:
            self._verdict = None
        return verdict

    async def _look(self) -> Verdict:
        expected = self._expected()
        wrong = self._reading()
        if wrong:
            return Verdict(False, sorted(expected), wrong)
        if self._clock() - self._all_answered_at < FRESH_S:
            return Verdict(True, [], "players' drawings are answered by every model")
        probe = DrawingSubmitted(
            drawing_id=uuid4(), player_id=self.player_id, strokes=_SEVEN, width=280, height=280, final=False, probe=True
        )
        began = self._clock()
        answers = self._answers[probe.drawing_id] = set()
        self._missed.clear()
        kept = asyncio.wrap_future(self._bus.publish(probe))
        try:
            async with asyncio.timeout(WITHIN_S):
                await asyncio.shield(kept)
                while self._all_answered_at < began and not (self._missed and answers | self._missed >= expected):
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            pass
        except RuntimeError as failure:
            return Verdict(False, sorted(expected), f"Kafka refuses drawings: {failure}")
        finally:
            self._answers.pop(probe.drawing_id, None)
        if self._all_answered_at >= began:
            return Verdict(True, [], "a probe was answered by every model")
        if not kept.done():
            kept.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, so asyncio is not worried
            return Verdict(False, sorted(expected), f"Kafka did not acknowledge a probe within {WITHIN_S} s: is it up?")
        missing = sorted(expected - answers)
        if not answers:
            return Verdict(False, missing, f"no model answered a probe within {WITHIN_S} s: is the router up?")
        why = "; ".join(self._why[model] for model in missing if model in self._why)
        within = "" if answers | self._missed >= expected else f" within {WITHIN_S} s"
        return Verdict(False, missing, f"{', '.join(missing)} did not answer a probe{within}{': ' if why else ''}{why}")
