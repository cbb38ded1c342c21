"""The router at work: each drawing is read once, asked of every model, and answered as the answers come (way 1, ANSWER).

What it decides is in streams.routing. An online model answers here, at once. A batch model is asked through its endpoint: what
has gathered while a call was under way goes out as one call, so batches grow with the load and cost nobody time without it.
A final drawing is acknowledged on the bus when every model's guess to it is; a process that dies before is asked again, and
who reads guesses takes the first of a guess_id.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final, Protocol
from uuid import UUID

import numpy as np
import structlog
from numpy.typing import NDArray

from contracts.drawing import SIDE, rasterize_all
from contracts.events import BATCH_MODELS, DrawingSubmitted, Event, Features, GuessMade, UnknownEvent, decode, now
from contracts.ports import Answer, Endpoint, EndpointDown, Record
from contracts.settings import Settings
from streams.folding import rejected
from streams.models import Models
from streams.routing import Lately, Table, rounded, superseded

_log = structlog.get_logger()
MOST_A_CALL: Final = 256
MOST_WAITING: Final = 10_000
"""Final drawings that may wait for one model; the oldest is given up for the next."""
GIVE_UP_S: Final = 60.0
"""How long a final drawing waits for a model whose endpoint is down."""
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0

Publish = Callable[[Iterable[Event]], Awaitable[None]]


class Reader(Protocol):
    """The frozen network: see streams.embedding."""

    reader: str

    def embed(self, rasters: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Shape (n, d) of shape (n, 784)."""
        ...


class Handed(Protocol):
    """A record, and how to say that nobody needs to read it again: see streams.pipe."""

    @property
    def record(self) -> Record: ...
    @property
    def ack(self) -> Callable[[], object]: ...


@dataclass(eq=False, slots=True)
class Question:
    """A drawing that is being answered."""

    drawing: DrawingSubmitted
    record: Record
    acks: list[Callable[[], object]]
    """One for each time that it came."""
    open: set[str]
    """The models that have not answered."""
    bus_in_ms: float
    raster: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    read_ms: float = 0.0
    read_at: float = 0.0
    """When it had been read, on the monotonic clock."""


class Router:
    """Answers drawings: see streams.pipe.Taker."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        models: Models,
        endpoint: Callable[[str], Endpoint],
        publish: Publish,
        batch_models: Sequence[str] = BATCH_MODELS,
    ) -> None:
        """Build; `run` must be running for anything to be published."""
        self._reader = reader
        self._models = models
        self._publish = publish
        self._stale = timedelta(milliseconds=settings.preview_stale_ms)
        self._lately = Lately(20_000)
        self._pending: dict[UUID, Question] = {}
        self._saying: asyncio.TaskGroup | None = None
        self._askers = [_Asker(model, models, endpoint, self._answered, self._given_up) for model in batch_models]

    async def run(self) -> None:
        """Ask and publish, for ever; ends with the first send that fails."""
        async with asyncio.TaskGroup() as self._saying:
            for asker in self._askers:
                self._saying.create_task(asker.run())

    async def take(self, gathered: Sequence[Handed]) -> None:
        """Read what has gathered, answer it with the online models, and have the others asked."""
        await self._models.ready.wait()
        questions = self._questions(gathered)
        if questions:
            self._read(questions)
            self._answer_online(questions, self._models.table)
            for asker in self._askers:
                asker.add(questions)

    def _questions(self, gathered: Sequence[Handed]) -> list[Question]:
        """What is to be answered: not what is no drawing, nobody waits for, or is being answered already."""
        drawings: list[tuple[DrawingSubmitted, Handed]] = []
        for handed in gathered:
            try:
                drawing = decode(handed.record.topic, handed.record.value)
            except UnknownEvent as wrong:
                self._reject(handed.record, "router", wrong, handed.ack)
                continue
            if isinstance(drawing, DrawingSubmitted):
                drawings.append((drawing, handed))
        time_now = now()
        skipped = superseded([drawing for drawing, _ in drawings], time_now, self._stale)
        questions = []
        for place, (drawing, handed) in enumerate(drawings):
            if drawing.final and drawing.drawing_id in self._pending:
                self._pending[drawing.drawing_id].acks.append(handed.ack)
            elif place in skipped or (drawing.final and drawing.drawing_id in self._lately):
                handed.ack()
            else:
                bus_in_ms = max(0.0, (time_now - drawing.at).total_seconds() * 1000)
                online = self._models.table.online
                models = {*online, *(asker.model for asker in self._askers)}
                question = Question(drawing, handed.record, [handed.ack], models, bus_in_ms)
                if drawing.final:
                    self._lately.add(drawing.drawing_id)
                    self._pending[drawing.drawing_id] = question
                questions.append(question)
        return questions

    def _read(self, questions: list[Question]) -> None:
        """Give each its raster; reject what cannot be drawn."""
        start = time.perf_counter()
        try:
            rasters = rasterize_all([question.drawing.strokes for question in questions])
        except Exception:  # noqa: BLE001 one bad drawing stops no other: find it
            rasters = np.zeros((len(questions), SIDE, SIDE), np.uint8)
            for place, question in reversed(list(enumerate(questions))):
                try:
                    rasters[place] = rasterize_all([question.drawing.strokes])[0]
                except Exception as wrong:  # noqa: BLE001 it is the one
                    del questions[place]
                    rasters = np.delete(rasters, place, axis=0)
                    self._reject(question.record, "router", wrong, partial(self._close, question))
        done = time.perf_counter()
        for question, raster in zip(questions, rasters.reshape(-1, SIDE * SIDE), strict=True):
            question.raster, question.read_ms, question.read_at = raster, (done - start) * 1000, done

    def _answer_online(self, questions: Sequence[Question], table: Table) -> None:
        if not questions:
            return
        start = time.perf_counter()
        embeddings = self._reader.embed(np.stack([question.raster for question in questions]))
        for model, online in table.online.items():
            answers = online.answer(embeddings)
            model_ms = (time.perf_counter() - start) * 1000
            guesses = []
            for question, shares, embedding in zip(questions, answers, embeddings, strict=True):
                features = None
                if question.drawing.final:
                    features = Features(
                        raster=question.raster.tobytes(),
                        embedding=embedding.astype("<f4").tobytes(),
                        reader=self._reader.reader,
                    )
                guesses.append(_guess(question, model, online.version, shares, table, 0.0, model_ms, features))
            self._say(model, questions, guesses)

    def _answered(self, model: str, questions: Sequence[Question], answer: Answer, asked_at: float, model_ms: float) -> None:
        """A batch model has answered: the table that is in force now knows best which version that was."""
        table = self._models.table
        version = table.batch[model].version_of(answer.variant)
        guesses = [
            _guess(question, model, version, shares, table, (asked_at - question.read_at) * 1000, model_ms, None)
            for question, shares in zip(questions, answer.probabilities, strict=True)
        ]
        self._say(model, questions, guesses)

    def _given_up(self, model: str, question: Question, why: str) -> None:
        """A model will not answer: a line in the log, and for final drawings the message to `rejected`."""
        if question.drawing.final:
            wrong = EndpointDown(f"no answer of {model} in {GIVE_UP_S:.0f} s: {why}")
            self._reject(question.record, f"router/{model}", wrong, partial(self._close, question, model))
        else:
            self._close(question, model)

    def _say(self, model: str, questions: Sequence[Question], guesses: Sequence[GuessMade]) -> None:
        def said() -> None:
            for question in questions:
                self._close(question, model)

        self._send(guesses, said)

    def _reject(self, record: Record, stage: str, wrong: Exception, done: Callable[[], object]) -> None:
        self._send([rejected(record, stage, wrong)], done)

    def _send(self, events: Sequence[Event], done: Callable[[], object]) -> None:
        async def send() -> None:
            await self._publish(events)
            done()

        if self._saying is None:
            raise RuntimeError("the router is not running")
        self._saying.create_task(send())

    def _close(self, question: Question, model: str | None = None) -> None:
        """A model has answered, or all will not; the last one acknowledges."""
        if model is None:
            question.open.clear()
        question.open.discard(model or "")
        if not question.open:
            if self._pending.get(question.drawing.drawing_id) is question:
                del self._pending[question.drawing.drawing_id]
            for ack in question.acks:
                ack()
            question.acks.clear()


def _guess(
    question: Question,
    model: str,
    version: str,
    shares: NDArray[np.float64],
    table: Table,
    wait_ms: float,
    model_ms: float,
    features: Features | None,
) -> GuessMade:
    hops = {"bus_in": question.bus_in_ms, "read": question.read_ms, "wait": wait_ms, "model": model_ms}
    return GuessMade(
        drawing_id=question.drawing.drawing_id,
        player_id=question.drawing.player_id,
        model=model,
        version=version,
        label=int(shares.argmax()),
        probabilities=rounded(shares),
        final=question.drawing.final,
        hops={hop: round(ms, 3) for hop, ms in hops.items()},
        table=table.digest,
        features=features,
    )


class _Asker:
    """Asks one batch model, one call at a time."""

    def __init__(
        self,
        model: str,
        models: Models,
        endpoint: Callable[[str], Endpoint],
        answered: Callable[[str, Sequence[Question], Answer, float, float], None],
        given_up: Callable[[str, Question, str], None],
    ) -> None:
        self.model = model
        self._models = models
        self._open = endpoint
        self._endpoints: dict[str, Endpoint] = {}
        self._answered = answered
        self._given_up = given_up
        self._finals: deque[Question] = deque()
        self._probes: deque[Question] = deque()
        self._previews: dict[str, Question] = {}  # the newest of each player
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"ask-{model}")
        self._down_since: float | None = None

    def add(self, questions: Sequence[Question]) -> None:
        """Have these asked, final ones first; a preview takes the place of the one before."""
        for question in questions:
            player = question.drawing.player_id
            if question.drawing.probe:
                self._probes.append(question)
                continue
            before = self._previews.pop(player, None)
            if before is not None:
                self._given_up(self.model, before, "newer strokes came")
            if question.drawing.final:
                self._finals.append(question)
            else:
                self._previews[player] = question
        while len(self._finals) > MOST_WAITING:
            self._given_up(self.model, self._finals.popleft(), f"over {MOST_WAITING} are waiting")
        self._wake.set()

    async def run(self) -> None:
        """Ask what has gathered, again and again."""
        pause_s = 0.0
        while True:
            await self._wake.wait()
            questions = self._next()
            if not questions:
                self._wake.clear()
                continue
            try:
                await self._ask(questions)
                pause_s = 0.0
            except EndpointDown as down:
                self._keep(questions, str(down))
                pause_s = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, pause_s * 2))
                await self._pause(pause_s)

    def _next(self) -> list[Question]:
        questions: list[Question] = []
        for waiting in (self._finals, self._probes):
            while waiting and len(questions) < MOST_A_CALL:
                questions.append(waiting.popleft())
        while self._previews and len(questions) < MOST_A_CALL:
            questions.append(self._previews.pop(next(iter(self._previews))))
        return questions

    async def _ask(self, questions: Sequence[Question]) -> None:
        route = self._models.table.batch.get(self.model)
        if route is None:
            raise EndpointDown(f"no version of {self.model} is promoted")
        if route.endpoint not in self._endpoints:
            self._endpoints[route.endpoint] = self._open(route.endpoint)
        rasters = np.stack([question.raster for question in questions])
        asked_at = time.perf_counter()
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._thread, self._endpoints[route.endpoint].predict, rasters)
        model_ms = (time.perf_counter() - asked_at) * 1000
        if self._down_since is not None:
            _log.info("endpoint is back", model=self.model, away_s=round(time.perf_counter() - self._down_since, 1))
            self._down_since = None
        self._answered(self.model, questions, answer, asked_at, model_ms)

    def _keep(self, questions: Sequence[Question], why: str) -> None:
        """Final drawings are asked again, until it is too late; what nobody waits for is not."""
        if self._down_since is None:
            self._down_since = time.perf_counter()
            _log.error("endpoint is down, final drawings wait for it", model=self.model, error=why)
        late = time.perf_counter() - GIVE_UP_S
        again = []
        for question in questions:
            if question.drawing.final and question.read_at > late:
                again.append(question)
            else:
                self._given_up(self.model, question, why)
        self._finals.extendleft(reversed(again))

    async def _pause(self, pause_s: float) -> None:
        """Wait, but not beyond a change of the models."""
        self._models.changed.clear()
        try:
            async with asyncio.timeout(pause_s):
                await self._models.changed.wait()
        except TimeoutError:
            return
