"""Asks one answerer over the network: drawings that come during a call are the batch of the next call (way 1, ANSWER).

Batches grow with the load, and without load nobody waits for them. Each answerer (a model's own version, or the candidate
beside it) has a client with one call at a time and a circuit breaker of its own, so that one that is slow, down or wrong costs
only its own guess. A version takes its failures along (`streams.call_record`): the next one begins with a closed
breaker, and is asked at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import uuid5

import numpy as np
import structlog
from numpy.typing import NDArray

from contracts.drawing import SIDE
from contracts.events import NAMESPACE, Role, RollBackModel, TryVersion, variant_of
from contracts.ports import Endpoint, EndpointAnswer, EndpointDown, EndpointSilent
from streams import batch_queue
from streams.batch_queue import BatchQueue
from streams.call_record import CallRecord
from streams.lineup import WELL, Answerer, AnswererState
from streams.models import Models
from streams.pending import CallDetails
from streams.round import Round
from streams.routing import CandidateRoute, Table
from streams.trial import Trial

_log = structlog.get_logger()
_PAUSE_S: Final = 0.05
_TURNS: Final = 6
"""The turns of the event loop within which what the models here have said goes to the broker: asking takes the loop longer."""
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

    def command(self) -> TryVersion | RollBackModel:
        """Return what tells all workers to do as this one did: one command for each trial of a version, whoever reports it."""
        reason = f"version {self.version} failed its first calls: {self.why}"[:500]
        told = {
            "command_id": uuid5(NAMESPACE, f"failed/{self.model}/{self.version}/{self.trial}"),
            "target": self.model,
            "failed": self.version,
            "by": "router",
            "via": "router",
            "reason": reason,
        }
        return TryVersion(role="none", **told) if self.beside else RollBackModel(**told)


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
        self._endpoints: dict[str, Endpoint] = {}
        self._queue = BatchQueue(answerer)
        self._wake = asyncio.Event()
        self._record = CallRecord(longest_s)
        """Of the version that is asked."""
        self._trial = Trial(models.began)

    @property
    def state(self) -> AnswererState:
        """The state of the answerer now; another version that was not asked yet does well."""
        return self._record.state(self._clock()) if self._record.version == self._version else WELL

    @property
    def _version(self) -> CandidateRoute | tuple[str, datetime] | None:
        """The version that is to be asked now: a candidate, or the champion by its name and the time of its promotion."""
        model, table = self.answerer.model, self._models.table
        if self.answerer.beside:
            return table.candidate(model, self.answerer.beside - 1)
        route = table.batch.get(model)
        return None if route is None else (route.version, route.since)

    def add(self, rounds: Sequence[Round]) -> Sequence[CallOutcome]:
        """Queue rounds to be asked; returns the outcomes that are known at once."""
        outcomes = self._renew()
        outcomes += self._queue.add(rounds, self._record.resting)
        self._wake.set()
        return outcomes

    async def run(self) -> None:
        """Ask about the rounds that have gathered, again and again."""
        while True:
            if not self._wake.is_set():
                await self._wake.wait()
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
            if outcomes := self._renew():
                self._hear(outcomes)
            rounds = self._queue.next()
            if not rounds:
                self._wake.clear()
                continue
            record = self._record
            try:
                call, probabilities = await self._call(np.stack([one.drawing.raster for one in rounds]), rounds)
            except EndpointDown as down:
                await self._failed(rounds, down, record)
            else:
                self._hear([CallAnswered(self.answerer, rounds, call, probabilities)])

    async def _call(self, rasters: NDArray[np.uint8], rounds: Sequence[Round] = ()) -> tuple[CallDetails, NDArray[np.float64]]:
        """Make one call for some rounds, or a probe for none."""
        record, asked_at = self._record, self._clock()
        record.began(asked_at)
        overdue = asyncio.get_running_loop().call_later(
            record.patience_s, lambda: self._hear([Late(self.answerer, [*rounds, *self._queue.waiting])])
        )
        try:
            reply = await (self._ask_candidate(rasters) if self.answerer.beside else self._ask_champion(rasters))
        finally:
            overdue.cancel()
            self._record.ended()  # it may be another's by now, whom this call has held up
        done = self._clock()
        away_s = record.answered(asked_at, done)
        if away_s is not None:
            _log.info(
                "endpoint is back", model=self.answerer.model, candidate=bool(self.answerer.beside), away_s=round(away_s, 1)
            )
        model_ms = (done - asked_at) * 1000
        call = CallDetails(reply.version, reply.role, reply.table.digest, asked_at, model_ms, reply.fallback)
        return call, reply.answer.probabilities

    async def _ask_candidate(self, rasters: NDArray[np.uint8]) -> _Reply:
        """Ask the candidate; one that fails its first calls is removed."""
        model, table = self.answerer.model, self._models.table
        candidate = table.candidate(model, self.answerer.beside - 1)
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
        """Begin anew if the version has changed or gone; return the outcomes of the rounds that wait for the old one.

        Who waits for a champion is answered by the next one, and who waits for a candidate by the champion.
        """
        before, after = self._record.version, self._version
        self._record = self._record.of(after, alike=not self.answerer.beside)
        if before == after or not isinstance(before, CandidateRoute):
            return []
        if isinstance(after, CandidateRoute) and after.version == before.version:
            return []
        gone = f"version {before.version} does not stand beside {self.answerer.model}'s champion any more"
        return list[CallOutcome](self._queue.failed([], gone, opened=True))

    async def _failed(self, rounds: Sequence[Round], down: EndpointDown, record: CallRecord) -> None:
        """Report the failure; if the answerer rests now, probe it until it is back or replaced."""
        outcomes, breaker = self._renew(), record.breaker
        another = record is not self._record
        opened = not another and breaker.failed(self._clock(), str(down), isinstance(down, EndpointSilent))
        self._hear([*outcomes, *self._queue.failed(rounds, str(down), opened)])
        if not opened:
            await asyncio.sleep(0 if another else _PAUSE_S)
            return
        _log.error("endpoint rests", model=self.answerer.model, candidate=bool(self.answerer.beside), error=str(down)[:500])
        while breaker.open:
            if await self._another_before(record, breaker.until_probe(self._clock())):
                return
            try:
                await self._call(_BLANK)
            except EndpointDown as still:
                breaker.failed(self._clock(), str(still), isinstance(still, EndpointSilent))

    async def _another_before(self, record: CallRecord, seconds: float) -> bool:
        """Wait so long; ends at once when another version than that of the record is asked, and says whether one is.

        It may be so from the beginning: a drawing that came during a probe has begun the next record.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while record is self._record and record.version == self._version:
                    await self._models.changed()
        if outcomes := self._renew():
            self._hear(outcomes)
        return record is not self._record
