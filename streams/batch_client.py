"""Asks one answerer over the network: drawings that come during a call are the batch of the next call (way 1, ANSWER).

Batches grow with the load, and without load nobody waits for them. Each answerer (a model's own version, or the candidate
beside it) has a client with one call at a time and a circuit breaker of its own, so that one that is slow, down or wrong costs
only its own guess. What is known of a candidate goes with it: the next one begins with a closed breaker, and nobody waits for
it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from contracts.drawing import SIDE
from contracts.events import Role, variant_of
from contracts.ports import Endpoint, EndpointAnswer, EndpointDown, EndpointSilent
from streams import batch_queue
from streams.batch_queue import BatchQueue
from streams.circuit_breaker import CircuitBreaker
from streams.lineup import WELL, Answerer, AnswererState
from streams.models import Models
from streams.pending import CallDetails
from streams.round import Round
from streams.routing import CandidateRoute, Table
from streams.trial import Trial

_log = structlog.get_logger()
_PAUSE_S: Final = 0.05
_PATIENCE: Final = 5.0  # times what a call usually takes ...
_LEAST_PATIENCE_S: Final = 0.05  # ... but so long at least
_SMOOTHING: Final = 0.1  # of what is usual: so much of the newest call
_BLANK: Final = np.zeros((1, SIDE * SIDE), np.uint8)


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """A call was answered, with a row for each round."""

    answerer: Answerer
    rounds: Sequence[Round]
    call: CallDetails
    probabilities: NDArray[np.float64]
    """Shape (n, 10)."""


@dataclass(frozen=True, slots=True)
class Late:
    """Rounds wait for a call that takes far longer than usual: nothing else should wait for it."""

    answerer: Answerer
    rounds: Sequence[Round]


@dataclass(frozen=True, slots=True)
class VersionFailed:
    """A version has failed its first calls; this router does not ask it any more."""

    model: str
    version: str
    trial: str
    """The name of this trial: a version that is promoted again has another."""
    why: str
    beside: bool
    """Whether it was a candidate."""


CallOutcome = CallAnswered | Late | VersionFailed | batch_queue.QueueOutcome
"""What a client reports about its rounds."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer, and the version that gave it."""

    answer: EndpointAnswer
    version: str
    role: Role
    table: Table
    fallback: str | None = None


class BatchClient:
    """Asks one answerer, one call at a time."""

    def __init__(
        self,
        answerer: Answerer,
        models: Models,
        endpoint: Callable[[str], Endpoint],
        hear: Callable[[Sequence[CallOutcome]], None],
        clock: Callable[[], float],
        longest_s: float,
    ) -> None:
        """Build; `run` must be running for anybody to be asked.

        Args:
            answerer: The answerer to ask.
            models: Holds the routing table.
            endpoint: Opens an endpoint by name.
            hear: Takes the outcomes, while `run` runs.
            clock: Monotonic, in seconds.
            longest_s: A call that takes longer is overdue in any case.
        """
        self.answerer = answerer
        self._models = models
        self._open = endpoint
        self._hear = hear
        self._clock = clock
        self._longest_s = longest_s
        self._endpoints: dict[str, Endpoint] = {}
        self._queue = BatchQueue(answerer)
        self._wake = asyncio.Event()
        self._breaker = CircuitBreaker()
        self._trial = Trial(models.began)
        self._under_way_since: float | None = None
        self._usual_s = 0.0
        self._candidate: CandidateRoute | None = None
        """The candidate that the queue, the breaker and the usual time belong to."""
        self._replaced = asyncio.Event()

    @property
    def state(self) -> AnswererState:
        """The state of the answerer now; it is also overdue if its last call failed."""
        if self._beside != self._candidate:
            return WELL
        overdue = self._breaker.failing or (
            self._under_way_since is not None and self._clock() - self._under_way_since > self._patience_s
        )
        return AnswererState(self._resting, overdue)

    @property
    def _beside(self) -> CandidateRoute | None:
        """The current candidate, if the answerer is a candidate."""
        return self._models.table.candidate(self.answerer.model) if self.answerer.beside else None

    @property
    def _resting(self) -> str | None:
        return self._breaker.why if self._breaker.open else None

    @property
    def _patience_s(self) -> float:
        return min(self._longest_s, max(_LEAST_PATIENCE_S, _PATIENCE * self._usual_s))

    def add(self, rounds: Sequence[Round]) -> Sequence[CallOutcome]:
        """Queue rounds to be asked; returns the outcomes that are known at once."""
        outcomes = self._renew()
        outcomes += self._queue.add(rounds, self._resting)
        self._wake.set()
        return outcomes

    async def run(self) -> None:
        """Ask about the rounds that have gathered, again and again."""
        while True:
            await self._wake.wait()
            if outcomes := self._renew():
                self._hear(outcomes)
            rounds = self._queue.next()
            if not rounds:
                self._wake.clear()
                continue
            breaker = self._breaker
            try:
                call, probabilities = await self._call(np.stack([one.drawing.raster for one in rounds]), rounds)
            except EndpointDown as down:
                await self._failed(rounds, down, breaker)
            else:
                self._hear([CallAnswered(self.answerer, rounds, call, probabilities)])

    async def _call(self, rasters: NDArray[np.uint8], rounds: Sequence[Round] = ()) -> tuple[CallDetails, NDArray[np.float64]]:
        """Make one call for some rounds, or a probe for none."""
        breaker = self._breaker
        asked_at = self._under_way_since = self._clock()
        overdue = asyncio.get_running_loop().call_later(
            self._patience_s, lambda: self._hear([Late(self.answerer, [*rounds, *self._queue.waiting])])
        )
        try:
            reply = await (self._ask_candidate(rasters) if self.answerer.beside else self._ask_champion(rasters))
        finally:
            overdue.cancel()
            self._under_way_since = None
        done = self._clock()
        if breaker is self._breaker:
            self._usual_s += (_SMOOTHING if self._usual_s else 1.0) * (done - asked_at - self._usual_s)
        away_s = breaker.succeeded(done)
        if away_s is not None:
            _log.info("endpoint is back", model=self.answerer.model, candidate=self.answerer.beside, away_s=round(away_s, 1))
        model_ms = (done - asked_at) * 1000
        call = CallDetails(reply.version, reply.role, reply.table.digest, asked_at, model_ms, reply.fallback)
        return call, reply.answer.probabilities

    async def _ask_candidate(self, rasters: NDArray[np.uint8]) -> _Reply:
        """Ask the candidate; one that fails its first calls is removed."""
        model, table = self.answerer.model, self._models.table
        candidate = table.candidate(model)
        if candidate is None:
            raise EndpointDown(f"no version stands beside {model}'s champion any more")
        try:
            answer = await self._endpoint(candidate.endpoint).predict(rasters, candidate.variant)
        except EndpointDown as down:
            silent = isinstance(down, EndpointSilent)
            if self._trial.failed(candidate.version, candidate.since, silent) and self._models.take_away(model, candidate):
                trial = f"candidate/{candidate.since.isoformat()}"
                self._hear([VersionFailed(model, candidate.version, trial, str(down), beside=True)])
            raise
        self._trial.answered(candidate.version)
        return _Reply(answer, candidate.version, "shadow" if candidate.shadow else "canary", table)

    async def _ask_champion(self, rasters: NDArray[np.uint8]) -> _Reply:
        """Ask the champion; if a new one fails its first calls, ask the version before."""
        model, table = self.answerer.model, self._models.table
        route = table.batch.get(model)
        if route is None:
            raise EndpointDown(f"no version of {model} is promoted")
        endpoint, fallback = self._endpoint(route.endpoint), route.failed
        try:
            answer = await endpoint.predict(rasters, route.target)
            self._trial.answered(route.version)
        except EndpointDown as down:
            replaceable = route.failed is None and route.previous is not None
            if not (replaceable and self._trial.failed(route.version, route.since, isinstance(down, EndpointSilent))):
                raise
            answer = await endpoint.predict(rasters, variant_of(str(route.previous)))
            fallback = f"version {route.version} failed its first calls: {down}"[:300]
            if self._models.take_out(model, route.version, fallback):
                since = self._models.table.batch[model].since.isoformat()
                self._hear([VersionFailed(model, route.version, since, str(down), beside=False)])
        return _Reply(answer, route.version_of(answer.variant), table.role(model), table, fallback)

    def _endpoint(self, name: str) -> Endpoint:
        if name not in self._endpoints:
            self._endpoints[name] = self._open(name)
        return self._endpoints[name]

    def _renew(self) -> list[CallOutcome]:
        """Begin anew if the candidate has changed or gone; return the outcomes of the rounds that wait for the old one."""
        before, after = self._candidate, self._beside
        if before == after:
            return []
        self._candidate = after
        self._breaker, self._usual_s = CircuitBreaker(), 0.0
        self._replaced.set()
        if before is None or (after is not None and after.version == before.version):
            return []
        gone = f"version {before.version} does not stand beside {self.answerer.model}'s champion any more"
        return list[CallOutcome](self._queue.failed([], gone, opened=True))

    async def _failed(self, rounds: Sequence[Round], down: EndpointDown, breaker: CircuitBreaker) -> None:
        """Report the failure; if the answerer rests now, probe it until it is back or replaced."""
        outcomes = self._renew()
        another = breaker is not self._breaker
        opened = not another and breaker.failed(self._clock(), str(down), isinstance(down, EndpointSilent))
        self._hear([*outcomes, *self._queue.failed(rounds, str(down), opened)])
        if not opened:
            await asyncio.sleep(0 if another else _PAUSE_S)
            return
        _log.error("endpoint rests", model=self.answerer.model, candidate=self.answerer.beside, error=str(down)[:500])
        self._replaced.clear()
        while breaker.open:
            with suppress(TimeoutError):
                async with asyncio.timeout(breaker.until_probe(self._clock())):
                    await self._replaced.wait()
            if outcomes := self._renew():
                self._hear(outcomes)
            if breaker is not self._breaker:
                return
            try:
                await self._call(_BLANK)
            except EndpointDown as still:
                breaker.failed(self._clock(), str(still), isinstance(still, EndpointSilent))
