"""Asks the batch models: what gathers while a call is under way goes out as the next one (way 1, ANSWER).

Batches grow with the load and cost nobody time without it. A part of a model (its champion, or the candidate beside it) has an
asker, one call at a time, and a breaker of its own, so that one that is slow, down or wrong costs its own guess only.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from contracts.drawing import SIDE
from contracts.events import DIGITS, DrawingSubmitted, Role, variant_of
from contracts.ports import Answer, Endpoint, EndpointDown, EndpointSilent, Record
from streams.blend import Voices
from streams.circuit_breaker import FAILURES, Breaker
from streams.models import Models
from streams.routing import Candidate, Table

_log = structlog.get_logger()
MOST_A_CALL: Final = 64
"""Drawings: more make the answers to the first of them late, and are no cheaper each."""
MOST_WAITING: Final = 10_000
"""Final drawings that may wait for one model; the oldest is given up for the next."""
FIRST_CALLS: Final = 20
"""Calls in which a new version must show that it works: while it does not, the version before answers."""
NEW_FOR: Final = timedelta(minutes=1)
"""Before this process began: a version that was put in its place earlier has shown that it works, and a restart is no trial."""
_PAUSE_S: Final = 0.05
_PATIENCE: Final = 5.0  # times what a call usually takes ...
_LEAST_PATIENCE_S: Final = 0.05  # ... but so long at least
_SMOOTHING: Final = 0.1  # of what is usual: so much of the newest call
_BLANK: Final = np.zeros((1, SIDE * SIDE), np.uint8)


@dataclass(eq=False, slots=True)
class Question:
    """A drawing that is being answered."""

    drawing: DrawingSubmitted
    record: Record
    acks: list[Callable[[], object]]
    """One for each time that it came."""
    bus_in_ms: float
    open: set[str] = field(default_factory=set)
    """Who has neither answered nor been given up: models, and ``<model>/shadow`` for shadows beside them."""
    raster: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    read_ms: float = 0.0
    read_at: float = 0.0
    """When it had been read, on the monotonic clock."""
    table: Table = field(default_factory=Table)
    """By which it was asked."""
    lead: str | None = None
    lead_after: int | None = None
    notes: dict[str, str] = field(default_factory=dict)
    """By model: why another part of it is asked than should have been."""
    blending: set[str] | None = None
    """The models that the blend waits for; None: it has been made, or nobody wants it."""
    voices: Voices = field(default_factory=lambda: Voices({}, ""))
    """How much each opinion counts in the blend."""
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros(DIGITS))
    """Sum of the opinions that the blend has, each times its voice."""
    weight: float = 0.0
    """Sum of those voices."""
    otherwise: NDArray[np.float64] = field(default_factory=lambda: np.zeros(DIGITS))
    """The opinion that the blend has if nobody with a voice answers."""
    left_out: dict[str, str] = field(default_factory=dict)
    saying: int = 0
    """Events on it that the broker has not acknowledged."""

    def hear(self, model: str, opinion: NDArray[np.float64]) -> None:
        """Take a model's opinion into the blend."""
        voice = self.voices.of(model)
        self.total += voice * opinion
        self.weight += voice

    @property
    def urgent(self) -> bool:
        """Whether it must be answered whatever comes after it."""
        return self.drawing.final or self.drawing.probe


@dataclass(frozen=True, slots=True)
class Said:
    """What one call has brought."""

    probabilities: NDArray[np.float64]
    version: str
    role: Role
    fallback: str | None
    """Why this version stands in for another."""
    table: Table
    """By which it was called."""
    asked_at: float
    model_ms: float


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answer, and who gave it."""

    answer: Answer
    version: str
    role: Role
    table: Table
    fallback: str | None = None


class Hearing(Protocol):
    """Who is told of what askers hear."""

    def answered(self, asker: "Asker", questions: Sequence[Question], said: Said) -> None:
        """A call was answered, a row a question."""
        ...

    def missed(self, asker: "Asker", question: Question, why: str) -> None:
        """A question will not be answered."""
        ...

    def late(self, asker: "Asker", question: Question) -> None:
        """A question waits for a call that takes far longer than usual: nothing else should wait for that."""
        ...

    def rests(self, asker: "Asker", question: Question) -> None:
        """A question waits for one that has just failed: nothing else should wait for that."""
        ...

    def dropped(self, question: Question) -> None:
        """Nobody waits for an answer to a question any more: newer strokes have come."""
        ...

    def took_out(self, model: str, version: str, why: str) -> None:
        """A version has failed its first calls, and the one before answers in its place."""
        ...

    def took_away(self, model: str, candidate: Candidate, why: str) -> None:
        """A candidate has failed its first calls, and nobody is sent to it any more."""
        ...


class Asker:
    """Asks one part of one batch model, one call at a time."""

    def __init__(
        self, model: str, beside: bool, models: Models, endpoint: Callable[[str], Endpoint], hearing: Hearing, longest_s: float
    ) -> None:
        """Ask the champion, or who is ``beside`` it; `run` must be running. ``longest_s``: so long is too long in any case."""
        self.model = model
        self.beside = beside
        self._models = models
        self._open = endpoint
        self._hearing = hearing
        self._longest_s = longest_s
        self._endpoints: dict[str, Endpoint] = {}
        self._urgent: deque[Question] = deque()
        self._previews: dict[str, Question] = {}  # the newest of each player
        self._wake = asyncio.Event()
        self._breaker = Breaker()
        self._under_way_since: float | None = None
        self._usual_s = 0.0
        self._proven: tuple[str, int, int] = ("", 0, 0)  # version, calls that it answered, calls in a row that it did not

    @property
    def resting(self) -> str | None:
        """Why it is not asked now; None: it is."""
        return self._breaker.why if self._breaker.open else None

    @property
    def overdue(self) -> bool:
        """Whether nobody should wait for the next answer: the last call failed, or one takes far longer than usual."""
        if self._breaker.failing:
            return True
        return self._under_way_since is not None and time.perf_counter() - self._under_way_since > self._patience_s

    @property
    def _patience_s(self) -> float:
        return min(self._longest_s, max(_LEAST_PATIENCE_S, _PATIENCE * self._usual_s))

    def key(self, question: Question) -> str:
        """What it is called in `Question.open`."""
        shadow = f"{self.model}/shadow"
        return shadow if self.beside and shadow in question.open else self.model

    def add(self, questions: Sequence[Question]) -> None:
        """Have these asked, urgent ones first; a preview takes the place of the one before.

        While it rests, final drawings wait for it as long as their budget lasts; nothing else does, and no canary.
        """
        for question in questions:
            if self.resting is not None and (self.beside or not question.drawing.final):
                self._hearing.missed(self, question, self.resting)
                continue
            player = question.drawing.player_id
            if not question.drawing.probe:
                before = self._previews.pop(player, None)
                if before is not None:
                    self._hearing.dropped(before)
            if question.urgent:
                self._urgent.append(question)
            else:
                self._previews[player] = question
        while len(self._urgent) > MOST_WAITING:
            self._hearing.missed(self, self._urgent.popleft(), f"over {MOST_WAITING} are waiting")
        self._wake.set()

    async def run(self) -> None:
        """Ask what has gathered, again and again."""
        while True:
            await self._wake.wait()
            questions = self._next()
            if not questions:
                self._wake.clear()
                continue
            try:
                said = await self._ask(np.stack([question.raster for question in questions]), questions)
            except EndpointDown as down:
                await self._failed(questions, down)
            else:
                self._hearing.answered(self, questions, said)

    def _tell_late(self, questions: Sequence[Question]) -> None:
        """The call that brings these is overdue; the others that wait come after it."""
        for question in (*questions, *self._urgent, *self._previews.values()):
            self._hearing.late(self, question)

    def _next(self) -> list[Question]:
        questions: list[Question] = []
        while self._urgent and len(questions) < MOST_A_CALL:
            question = self._urgent.popleft()
            if self.key(question) in question.open:
                questions.append(question)
        while self._previews and len(questions) < MOST_A_CALL:
            questions.append(self._previews.pop(next(iter(self._previews))))
        return questions

    async def _ask(self, rasters: NDArray[np.uint8], questions: Sequence[Question] = ()) -> Said:
        """One call of the part that this asks, for some questions; a probe is for none."""
        asked_at = self._under_way_since = time.perf_counter()
        overdue = asyncio.get_running_loop().call_later(self._patience_s, self._tell_late, questions)
        try:
            said = await (self._candidate(rasters) if self.beside else self._champion(rasters))
        finally:
            overdue.cancel()
            self._under_way_since = None
        done = time.perf_counter()
        self._usual_s += (_SMOOTHING if self._usual_s else 1.0) * (done - asked_at - self._usual_s)
        away_s = self._breaker.succeeded(done)
        if away_s is not None:
            _log.info("endpoint is back", model=self.model, candidate=self.beside, away_s=round(away_s, 1))
        probabilities, model_ms = said.answer.probabilities, (done - asked_at) * 1000
        return Said(probabilities, said.version, said.role, said.fallback, said.table, asked_at, model_ms)

    async def _candidate(self, rasters: NDArray[np.uint8]) -> _Answered:
        """The candidate's answer; one that fails its first calls is taken away."""
        table = self._models.table
        candidate = table.candidate(self.model)
        if candidate is None:
            raise EndpointDown(f"no version stands beside {self.model}'s champion any more")
        try:
            answer = await self._endpoint(candidate.endpoint).predict(rasters, candidate.variant)
        except EndpointDown as down:
            if self._fails_first(candidate.version, candidate.since, down) and self._models.take_away(self.model, candidate):
                self._hearing.took_away(self.model, candidate, str(down))
            raise
        self._proves(candidate.version)
        return _Answered(answer, candidate.version, "shadow" if candidate.shadow else "canary", table)

    async def _champion(self, rasters: NDArray[np.uint8]) -> _Answered:
        """The champion's answer; where a new one fails its first calls, that of the version before."""
        table = self._models.table
        route = table.batch.get(self.model)
        if route is None:
            raise EndpointDown(f"no version of {self.model} is promoted")
        endpoint, fallback = self._endpoint(route.endpoint), route.failed
        try:
            answer = await endpoint.predict(rasters, route.target)
            self._proves(route.version)
        except EndpointDown as down:
            if route.failed is not None or route.previous is None or not self._fails_first(route.version, route.since, down):
                raise
            answer = await endpoint.predict(rasters, variant_of(route.previous))
            fallback = f"version {route.version} failed its first calls: {down}"[:300]
            if self._models.take_out(self.model, route.version, fallback):
                self._hearing.took_out(self.model, route.version, str(down))
        return _Answered(answer, route.version_of(answer.variant), table.role(self.model), table, fallback)

    def _endpoint(self, name: str) -> Endpoint:
        if name not in self._endpoints:
            self._endpoints[name] = self._open(name)
        return self._endpoints[name]

    def _proves(self, version: str) -> None:
        before, calls, _ = self._proven
        self._proven = (version, calls + 1 if before == version else 1, 0)

    def _fails_first(self, version: str, since: datetime, down: EndpointDown) -> bool:
        """Whether a failure is one too many for a version that has not shown yet that it works."""
        before, calls, failures = self._proven
        if before != version:
            calls, failures = 0, 0
        self._proven = (version, calls, failures + 1)
        new = since > self._models.began - NEW_FOR and calls < FIRST_CALLS
        return new and (failures + 1 >= FAILURES or isinstance(down, EndpointSilent))

    async def _failed(self, questions: Sequence[Question], down: EndpointDown) -> None:
        """Final drawings are asked again as long as they wait; the others are given up."""
        again = []
        opened = self._breaker.failed(time.perf_counter(), str(down), isinstance(down, EndpointSilent))
        for question in questions:
            if question.drawing.final and not self.beside and self.key(question) in question.open:
                again.append(question)
                self._hearing.rests(self, question)
            else:
                self._hearing.missed(self, question, str(down))
        self._urgent.extendleft(reversed(again))
        if not opened:
            await asyncio.sleep(_PAUSE_S)
            return
        _log.error("endpoint rests", model=self.model, candidate=self.beside, error=str(down)[:500])
        waiting = [*self._previews.values(), *self._urgent]
        self._previews.clear()
        self._urgent.clear()
        for question in waiting:
            if question.drawing.final and not self.beside:
                self._urgent.append(question)
                self._hearing.rests(self, question)
            else:
                self._hearing.missed(self, question, str(down))
        while self._breaker.open:
            await asyncio.sleep(self._breaker.until_probe(time.perf_counter()))
            try:
                await self._ask(_BLANK)
            except EndpointDown as still:
                self._breaker.failed(time.perf_counter(), str(still), isinstance(still, EndpointSilent))
