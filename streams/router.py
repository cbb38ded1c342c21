"""The router at work: each drawing is read once, asked of every model, and answered as the answers come (way 1, ANSWER).

What it decides is in streams.routing, whom it asks over a network in streams.batch_client. The online models answer here, at
once; the blend when all that it waits for have answered, or at its deadline. A final drawing is acknowledged on the bus when
each model's guess to it is, or is given up; a process that dies before is asked again, and who reads guesses takes the first of
a guess_id.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, Protocol
from uuid import UUID, uuid5

import numpy as np
import structlog
from numpy.typing import NDArray

from contracts.drawing import SIDE, rasterize_all
from contracts.events import (
    BATCH_MODELS,
    BLEND,
    NAMESPACE,
    PERSONAL_MODEL,
    DrawingSubmitted,
    Event,
    Features,
    GuessMade,
    GuessMissed,
    MessageRejected,
    PreviewGuessed,
    Role,
    RollBackModel,
    TryVersion,
    now,
)
from contracts.ports import Endpoint, Record
from contracts.records import read, rejection
from contracts.settings import Settings
from streams.batch_client import Asker, Question, Said
from streams.blend import Voices, blended, opinions
from streams.fold import told
from streams.models import Models
from streams.personal_model import SHARED
from streams.routing import Candidate, Lately, Table, rounded, superseded

_log = structlog.get_logger()

STAGE: Final = "router"
Publish = Callable[[Iterable[Event]], Awaitable[None]]


class Reader(Protocol):
    """The frozen network: see streams.embedding."""

    reader: str

    def embed(self, rasters: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Shape (n, d) of shape (n, 784)."""
        ...


class Personal(Protocol):
    """What is known of each player: see streams.personal_model."""

    def answer(
        self, partition: int, player_id: str, embeddings: NDArray[np.float32], shared: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], str]:
        """Probabilities, shape (n, 10), of embeddings, shape (n, d), to which the model of all says ``shared``; the version."""
        ...

    def pick(self, partition: int, player_id: str, arms: Sequence[str]) -> tuple[str, int]:
        """The model that the player's labels speak for, and how many labelled drawings that stands on."""
        ...

    def voices(self, partition: int) -> Voices:
        """How much each model's opinion counts in the blend."""
        ...


class Handed(Protocol):
    """A record, and how to say that nobody needs to read it again: see streams.pipe."""

    @property
    def record(self) -> Record: ...
    @property
    def ack(self) -> Callable[[], object]: ...


class Router:
    """Answers drawings: see streams.pipe.Taker."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        models: Models,
        endpoint: Callable[[str], Endpoint],
        personal: Personal,
        publish: Publish,
        batch_models: Sequence[str] = BATCH_MODELS,
    ) -> None:
        """Build; `run` must be running for anything to be published."""
        self._reader = reader
        self._models = models
        self._personal = personal
        self._publish = publish
        self._stale = timedelta(milliseconds=settings.preview_stale_ms)
        self._deadline_s = settings.blend_deadline_ms / 1000
        self._budget_s = settings.guess_budget_ms / 1000
        self._lately = Lately(20_000)
        self._pending: dict[UUID, Question] = {}
        self._saying: asyncio.TaskGroup | None = None
        longest_s = self._deadline_s
        self._champions = {model: Asker(model, False, models, endpoint, self, longest_s) for model in batch_models}
        self._candidates = {model: Asker(model, True, models, endpoint, self, longest_s) for model in batch_models}

    async def run(self) -> None:
        """Ask and publish, for ever; ends with the first send that fails."""
        async with asyncio.TaskGroup() as self._saying:
            for asker in (*self._champions.values(), *self._candidates.values()):
                self._saying.create_task(asker.run())

    async def take(self, gathered: Sequence[Handed]) -> None:
        """Read what has gathered, answer it with the online models, and have the others asked."""
        await self._models.ready.wait()
        questions = self._questions(gathered)
        if questions:
            self._read(questions)
        try:
            self._begin(questions)
        except Exception:  # noqa: BLE001 one bad drawing stops no other: find it
            _log.exception("drawings failed together, they are asked one by one", n=len(questions))
            for question in questions:
                try:
                    self._begin([question])
                except Exception as wrong:  # noqa: BLE001 one bad drawing stops no other
                    question.blending = None
                    question.open.clear()
                    self._reject(question.record, wrong, partial(self._settle, question))

    def _begin(self, questions: Sequence[Question]) -> None:
        """Answer with the online models, and have the others asked."""
        if not questions:
            return
        table = self._models.table
        asked = self._assign(questions, table)
        self._answer_online(questions, table)
        for asker, theirs in asked.items():
            asker.add(theirs)
        loop = asyncio.get_running_loop()
        loop.call_later(self._deadline_s, self._blend_late, questions)
        loop.call_later(self._budget_s, self._give_up, questions)

    # --- what is asked

    def _questions(self, gathered: Sequence[Handed]) -> list[Question]:
        """What is to be answered: not what is no drawing, nobody waits for, or is being answered already."""
        drawings: list[tuple[DrawingSubmitted, Handed]] = []
        for handed in gathered:
            drawing = read(handed.record, STAGE)
            if isinstance(drawing, DrawingSubmitted):
                drawings.append((drawing, handed))
            else:
                self._send([told(drawing)] if isinstance(drawing, MessageRejected) else [], handed.ack)
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
                question = Question(drawing, handed.record, [handed.ack], bus_in_ms)
                if drawing.final:
                    self._lately.add(drawing.drawing_id)
                    self._pending[drawing.drawing_id] = question
                questions.append(question)
        return questions

    def _read(self, questions: list[Question]) -> None:
        """Give each its raster; reject what cannot be drawn."""
        start = time.perf_counter()
        drawn = [question for question in questions if question.drawing.raster is None]
        try:
            rasters = rasterize_all([question.drawing.strokes for question in drawn])
        except Exception:  # noqa: BLE001 one bad drawing stops no other: find it
            rasters = np.zeros((len(drawn), SIDE, SIDE), np.uint8)
            for place, question in reversed(list(enumerate(drawn))):
                try:
                    rasters[place] = rasterize_all([question.drawing.strokes])[0]
                except Exception as wrong:  # noqa: BLE001 it is the one
                    del drawn[place]
                    questions.remove(question)
                    rasters = np.delete(rasters, place, axis=0)
                    self._reject(question.record, wrong, partial(self._settle, question))
        for question, raster in zip(drawn, rasters.reshape(-1, SIDE * SIDE), strict=True):
            question.raster = raster
        done = time.perf_counter()
        for question in questions:
            if question.drawing.raster is not None:
                question.raster = np.frombuffer(question.drawing.raster, np.uint8)
            question.read_ms, question.read_at = (done - start) * 1000, done

    def _assign(self, questions: Sequence[Question], table: Table) -> dict[Asker, list[Question]]:
        """Who is asked what, by one table: sets what each question waits for."""
        asked: dict[Asker, list[Question]] = {}
        batch = [model for model in self._champions if model in table.batch and table.part(model) != "off"]
        here = [*table.online, *(model for model in (PERSONAL_MODEL, BLEND) if table.part(model) != "off")]
        shown = [model for model in (*batch, *here) if table.part(model) == "shown"]
        for question in questions:
            drawing, question.table = question.drawing, table
            wanted = None if drawing.models is None or BLEND in drawing.models else set(drawing.models)
            question.open = {model for model in (*batch, *here) if wanted is None or model in wanted}
            question.blending = set() if BLEND in question.open else None
            question.voices = self._personal.voices(question.record.partition)
            self._lead(question, table, shown)
            for model in batch:
                if model not in question.open:
                    continue
                asker, candidate = self._champions[model], table.candidate(model)
                if candidate is not None and candidate.answers(model, drawing.player_id):
                    asker = self._candidates[model]
                elif candidate is not None and candidate.shadow and drawing.final:
                    question.open.add(f"{model}/shadow")
                    asked.setdefault(self._candidates[model], []).append(question)
                asked.setdefault(asker, []).append(question)
                if question.blending is None or model not in shown:
                    continue
                if asker.resting is not None:
                    question.left_out[model] = "resting"
                elif asker.overdue:
                    question.left_out[model] = "late"
                else:
                    question.blending.add(model)
        return asked

    def _lead(self, question: Question, table: Table, shown: Sequence[str]) -> None:
        """The model that the player is shown first: by the policy, but none that will not answer."""
        lead: str | None = table.lead
        after = None
        if lead == "bandit":
            arms = sorted(shown)
            lead, after = self._personal.pick(question.record.partition, question.drawing.player_id, arms)
        asker = self._champions.get(lead or "")
        if lead not in shown or (asker is not None and asker.resting is not None):
            lead, after = BLEND if BLEND in shown else next(iter(shown), None), None
        question.lead, question.lead_after = lead, after

    # --- the models that answer here

    def _answer_online(self, questions: Sequence[Question], table: Table) -> None:
        start = time.perf_counter()
        embeddings = self._reader.embed(np.stack([question.raster for question in questions]))
        guesses: list[GuessMade] = []
        closed: list[tuple[Question, str]] = []

        def say(question: Question, model: str, version: str, shares: NDArray[np.float64], place: int | None) -> None:
            if model in question.open:
                features = None if place is None else self._features(question, embeddings[place])
                role = table.role(model)
                model_ms = (time.perf_counter() - start) * 1000
                guesses.append(_guess(question, model, version, shares, role, table, 0.0, model_ms, None, features))
                closed.append((question, model))

        shared = np.full((len(questions), 10), 0.1)
        for model, online in table.online.items():
            answers = online.answer(embeddings)
            if model == SHARED:
                shared = answers
            for place, question in enumerate(questions):
                # With the features: once a drawing is enough.
                say(question, model, online.version, answers[place], place if model == SHARED else None)
        own = shared.copy()
        for place, question in enumerate(questions):
            at = slice(place, place + 1)
            partition, player = question.record.partition, question.drawing.player_id
            own[at], version = self._personal.answer(partition, player, embeddings[at], shared[at])
            say(question, PERSONAL_MODEL, version, own[place], None)
        # In the blend a player's own model stands for river too, which it is made of: both would count river twice. Who is not
        # shown has no voice, unless nobody else answers.
        voice = next((model for model in (PERSONAL_MODEL, SHARED) if table.part(model) == "shown"), None)
        for question, opinion in zip(questions, opinions(shared if voice == SHARED else own), strict=True):
            question.otherwise = opinion
            if voice is not None:
                question.hear(voice, opinion)
        alone = [question for question in questions if question.blending is not None and not question.blending]
        self._say([*guesses, *self._blend(alone)], [*closed, *((question, BLEND) for question in alone)])

    def _features(self, question: Question, embedding: NDArray[np.float32]) -> Features | None:
        if not question.drawing.final:
            return None
        return Features(
            raster=question.raster.tobytes(), embedding=embedding.astype("<f4").tobytes(), reader=self._reader.reader
        )

    def _blend(self, questions: Sequence[Question]) -> list[GuessMade]:
        """The guesses of `everyone` on these, with what has answered so far."""
        if not questions:
            return []
        total = np.stack([question.total if question.weight else question.otherwise for question in questions])
        shares = blended(total, np.array([question.weight or 1.0 for question in questions]))
        done = time.perf_counter()
        guesses = []
        for question, row in zip(questions, shares, strict=True):
            question.blending = None
            table, wait_ms = question.table, (done - question.read_at) * 1000
            guesses.append(
                _guess(question, BLEND, question.voices.version, row, table.role(BLEND), table, wait_ms, 0.0, None, None)
            )
        return guesses

    def _blend_late(self, questions: Sequence[Question]) -> None:
        """The blend's deadline has come: who has not answered is left out."""
        late = [question for question in questions if question.blending]
        for question in late:
            question.left_out |= dict.fromkeys(question.blending or (), "late")
        self._say(self._blend(late), [(question, BLEND) for question in late])

    # --- the models that are asked: see streams.batch_client.Hearing

    def answered(self, asker: Asker, questions: Sequence[Question], said: Said) -> None:
        """A batch model has answered: its guesses, and those of blends that waited for it alone."""
        guesses: list[GuessMade] = []
        closed: list[tuple[Question, str]] = []
        ready: list[Question] = []
        for question, shares, opinion in zip(questions, said.probabilities, opinions(said.probabilities), strict=True):
            key = asker.key(question)
            if key not in question.open:
                continue  # given up meanwhile
            fallback = said.fallback or question.notes.get(asker.model)
            wait_ms = (said.asked_at - question.read_at) * 1000
            guesses.append(
                _guess(
                    question, asker.model, said.version, shares, said.role, said.table, wait_ms, said.model_ms, fallback, None
                )
            )
            closed.append((question, key))
            if said.role != "shadow" and question.blending is not None:
                question.hear(asker.model, opinion)
                question.left_out.pop(asker.model, None)  # it was not waited for, and is here in time
                question.blending.discard(asker.model)
                if not question.blending:
                    ready.append(question)
        self._say([*guesses, *self._blend(ready)], [*closed, *((question, BLEND) for question in ready)])

    def missed(self, asker: Asker, question: Question, why: str) -> None:
        """A model will not answer a question: the champion does in the place of a canary, nobody in that of a shadow."""
        key = asker.key(question)
        if key not in question.open:
            return
        if asker.beside and key == asker.model:
            question.notes[asker.model] = f"the canary did not answer: {why}"[:300]
            champion = self._champions[asker.model]
            if champion.resting is not None and question.blending is not None:
                self._leave_out(question, asker.model, "resting")
            champion.add([question])
            return
        if asker.beside or not question.urgent:
            self._close(question, key)
        else:
            self._miss(question, key, asker.resting is not None, why)
        self._leave_out(question, asker.model, "resting" if asker.resting is not None else "late")

    def took_out(self, model: str, version: str, why: str) -> None:
        """A version has failed its first calls: it is rolled back for everybody."""
        since = self._models.table.batch[model].since.isoformat()
        self._report(RollBackModel, model, version, since, why)

    def took_away(self, model: str, candidate: Candidate, why: str) -> None:
        """A candidate has failed its first calls: it is tried no longer by anybody."""
        self._report(TryVersion, model, candidate.version, f"candidate/{candidate.since.isoformat()}", why, role="none")

    def _report(
        self, kind: type[RollBackModel | TryVersion], model: str, version: str, trial: str, why: str, **more: str
    ) -> None:
        """Have what this worker did at once done for everybody: once for each trial of a version, whoever reports it."""
        _log.error("version failed its first calls", model=model, version=version, trial=trial, error=why[:500])
        command = kind(
            command_id=uuid5(NAMESPACE, f"failed/{model}/{version}/{trial}"),
            target=model,
            failed=version,
            by="router",
            reason=f"version {version} failed its first calls: {why}"[:500],
            **more,
        )
        self._send([command], lambda: None)

    def _leave_out(self, question: Question, model: str, why: str) -> None:
        """The blend of a question waits no longer for a model."""
        if question.blending is None or model not in question.blending:
            return
        question.left_out[model] = why
        question.blending.discard(model)
        if not question.blending:
            self._say(self._blend([question]), [(question, BLEND)])

    def _give_up(self, questions: Sequence[Question]) -> None:
        """The budget is used up: who has not answered by now does not count."""
        for question in questions:
            for key in question.open - {BLEND, PERSONAL_MODEL, *self._models.table.online}:
                asker = self._champions.get(key)
                if asker is None or not question.urgent:
                    self._close(question, key)
                else:
                    why = asker.resting or f"no answer in {self._budget_s:g} s"
                    self._miss(question, key, asker.resting is not None, why)

    def late(self, asker: Asker, question: Question) -> None:
        """The blend goes on without one that is slow; if it comes before all others have, it is heard after all."""
        if asker.key(question) == asker.model:
            self._leave_out(question, asker.model, "late")

    def rests(self, asker: Asker, question: Question) -> None:
        """The blend goes on without one that has failed."""
        self._leave_out(question, asker.model, "resting")

    def dropped(self, question: Question) -> None:
        """Nobody waits for an answer to a preview any more."""
        question.blending = None
        question.open.clear()
        self._settle(question)

    # --- what is said

    def _miss(self, question: Question, model: str, resting: bool, why: str) -> None:
        drawing = question.drawing
        missed = GuessMissed(
            drawing_id=drawing.drawing_id,
            player_id=drawing.player_id,
            model=model,
            final=drawing.final,
            resting=resting,
            why=why[:500],
        )
        self._say([missed], [(question, model)])

    def _close(self, question: Question, model: str) -> None:
        """A model does not answer, and nobody needs to know."""
        question.open.discard(model)
        self._settle(question)

    def _say(self, events: Sequence[Event], closed: Sequence[tuple[Question, str]]) -> None:
        """Publish; those whose events these are have then answered, and are not waited for from now on."""
        if not events:
            return
        for question, model in closed:
            question.open.discard(model)
            question.saying += 1

        def said() -> None:
            for question, _ in closed:
                question.saying -= 1
                self._settle(question)

        self._send(events, said)

    def _settle(self, question: Question) -> None:
        """Acknowledge a drawing on which there is nothing more to be said."""
        if question.open or question.saying:
            return
        if self._pending.get(question.drawing.drawing_id) is question:
            del self._pending[question.drawing.drawing_id]
        for ack in question.acks:
            ack()
        question.acks.clear()

    def _reject(self, record: Record, wrong: Exception, done: Callable[[], object]) -> None:
        self._send([told(rejection(record, STAGE, wrong))], done)

    def _send(self, events: Sequence[Event], done: Callable[[], object]) -> None:
        async def send() -> None:
            await self._publish(events)
            done()

        if self._saying is None:
            raise RuntimeError("the router is not running")
        self._saying.create_task(send())


def _guess(
    question: Question,
    model: str,
    version: str,
    shares: NDArray[np.float64],
    role: Role,
    table: Table,
    wait_ms: float,
    model_ms: float,
    fallback: str | None,
    features: Features | None,
) -> GuessMade:
    """A guess of one model on one drawing."""
    drawing = question.drawing
    kind = GuessMade if drawing.final else PreviewGuessed
    return kind(
        drawing_id=drawing.drawing_id,
        player_id=drawing.player_id,
        model=model,
        version=version,
        label=int(shares.argmax()),
        probabilities=rounded(shares),
        final=drawing.final,
        hops={
            "bus_in": round(question.bus_in_ms, 3),
            "read": round(question.read_ms, 3),
            "wait": round(wait_ms, 3),
            "model": round(model_ms, 3),
        },
        table=table.digest,
        features=features,
        fallback=fallback,
        role=role,
        lead=question.lead,
        lead_after=question.lead_after,
        left_out=question.left_out if model == BLEND else {},
    )
