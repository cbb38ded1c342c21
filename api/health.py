"""Health: is a drawing answered by every model that is shown, and a correction learned? Found out by asking (ways 1 and 2).

Whoever wants to know has the whole way walked, in both directions, over the bus: see decisions 0005 and 0017. Nothing is asked
while nobody wants to know, or while players' own drawings and corrections tell. Each process of the stream layer has partitions
of its own, so every partition is asked each time: whichever process is down, some partition is silent.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import count
from math import inf
from typing import Final
from uuid import UUID, uuid4

from api.folds.model_board import LEARNERS
from contracts.events import (
    PLAYER_PARTITIONS,
    CorrectionProbed,
    CorrectionReceipt,
    DrawingSubmitted,
    GuessMade,
    GuessMissed,
    Outcome,
    PreviewGuessed,
    ReceiptProbed,
)
from contracts.ports import Bus, Record
from producers.placement import partition_of

ACKNOWLEDGED_S: Final = 0.5
"""So long may the broker take to acknowledge a question."""
WITHIN_S: Final = 0.7
"""So long may the answers take, the acknowledgement included."""
OLDEST_S: Final = 1.0
"""No answer that a verdict stands on is older when the verdict is given."""
CACHED_S: Final = 0.2
"""A verdict is given again for so long, and what a player's drawing tells of its partition counts for so long."""
PAGES_S: Final = 0.9
"""To pages for so long: there may be many, open all day; to nobody once its oldest answer is: telling takes a moment."""
SOON_S: Final = 0.15
"""Within this all is answered, unless something is missing."""
LEARNED_S: Final = 0.7
"""An answer to the question whether corrections are learned counts for so long: each leaves two small records for good."""
HELD_UP: Final = f"it is held up: finding out takes it more than {OLDEST_S:.0f} s, and older answers are none"
"""Said of the API itself, whose clock has gone on where it could not."""

_SEVEN = [[[90.0, 80.0], [190.0, 80.0], [130.0, 220.0]]]
_JOINER: Final = "joiner"
"""Who reads corrections first: it answers for its process where the whole way is not asked for."""
_WORKER: Final = "the learning worker is down, starting or behind"
_REMEMBERED = 1000  # drawings of players that not all have answered


class Status(StrEnum):
    """How the game is."""

    OK = "ok"
    """A drawing is answered by every model that is shown, and a correction is learned."""
    DEGRADED = "degraded"
    """It can be played; what is missing is named."""
    UNAVAILABLE = "unavailable"
    """It cannot be played."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the game is, and why."""

    status: Status
    missing: dict[str, str]
    """What is missing, and the cause."""
    since: float
    """The time of the oldest answer that it stands on, in seconds of the clock."""

    @property
    def reason(self) -> str:
        """In one line."""
        told = "; ".join(f"{name}: {why}" for name, why in self.missing.items())
        return told or "a drawing is answered by every model that is shown, and a correction is learned"


@dataclass(slots=True)
class _Question:
    """What is asked of one partition, and who has answered."""

    drawing_id: UUID | None
    """None: a player's drawing has told."""
    probe_id: UUID | None
    """None: whether corrections are read here is known."""
    whole: bool = False
    """Whether the probe goes the whole way of a correction, or to the joiner alone."""
    answered: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    learned: set[str] = field(default_factory=set)

    def through(self, models: frozenset[str]) -> bool:
        """Whether there is nothing more to wait for."""
        heard = self.drawing_id is None or self.answered | self.missed >= models
        return heard and not self.unlearned

    @property
    def unlearned(self) -> set[str]:
        """Stages that were asked and have not answered."""
        if self.probe_id is None:
            return set()
        return (set(LEARNERS) if self.whole else {_JOINER}) - self.learned


class Health:
    """Asks what players ask, when somebody wants to know and no player just did.

    Each time every partition is asked for an answer to a drawing, and whether its corrections are read. The whole way of a
    correction leaves records for good, so one partition is asked for that, the next one in turn, and with it those that gave
    no answer the last time.
    """

    def __init__(
        self,
        bus: Bus,
        expected: Callable[[], Mapping[str, str | None]],
        folding: Callable[[], Mapping[str, str]],
        reading: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        """Ask over ``bus``.

        Args:
            bus: Where the questions are put.
            expected: The models that are to answer, each with the cause why it cannot; None: it can.
            folding: Who of `LEARNERS` is not up to date yet, and how far it is.
            reading: Says what is wrong with this process's own reading of the bus; empty: nothing.
            clock: Monotonic, in seconds.
        """
        self._bus = bus
        self._expected = expected
        self._folding = folding
        self._reading = reading
        self._clock = clock
        self._players = _one_of_each_partition()
        self._turn = 0
        self._silent = False
        """Whether somebody did not answer the last time."""
        self._unlearned: set[int] = set()
        """Partitions whose corrections were not learned, or not read, the last time that was asked."""
        self._by_id: dict[UUID, _Question] = {}
        self._answers: dict[UUID, set[str]] = {}
        self._answered_at: dict[int, float] = {}
        """By partition, when a player's drawing was last answered by all."""
        self._learned_at: dict[int, dict[str, float]] = {partition: {} for partition in range(PLAYER_PARTITIONS)}
        """By partition and stage."""
        self._why: dict[str, str] = {}
        self._unacknowledged: list[asyncio.Future[Record]] = []
        self._verdict: Verdict | None = None
        self._found_at = -inf
        self._asking: asyncio.Task[Verdict] | None = None
        self._heard = asyncio.Event()

    # --- what comes off the bus

    def heard(self, guess: GuessMade) -> None:
        """Take note of a guess."""
        question = self._by_id.get(guess.drawing_id)
        if guess.role == "shadow" or (isinstance(guess, PreviewGuessed) and not question):
            return
        if guess.fallback is not None:
            self._why[guess.model] = guess.fallback
            if question:
                question.missed.add(guess.model)
                self._heard.set()
            return
        self._why.pop(guess.model, None)
        if question:
            question.answered.add(guess.model)
            self._heard.set()
            return
        answers = self._answers.setdefault(guess.drawing_id, set())
        answers.add(guess.model)
        if answers >= self._able():
            del self._answers[guess.drawing_id]
            self._answered_at[_partition(guess.player_id)] = self._clock()
        elif len(self._answers) > _REMEMBERED:
            del self._answers[next(iter(self._answers))]

    def missed(self, miss: GuessMissed) -> None:
        """Take note that a model gives no answer."""
        self._why[miss.model] = f"it rests: {miss.why}" if miss.resting else miss.why
        if (question := self._by_id.get(miss.drawing_id)) is not None:
            question.missed.add(miss.model)
            self._heard.set()

    def receipted(self, receipt: CorrectionReceipt | ReceiptProbed) -> None:
        """Take note that a correction was learned, or a question answered where it would have been."""
        if isinstance(receipt, CorrectionReceipt):
            if receipt.outcome in (Outcome.LEARNED, Outcome.WEIGHTED, Outcome.QUARANTINED):
                self._learned_at[_partition(receipt.player_id)][receipt.stage] = self._clock()
        elif (question := self._by_id.get(receipt.probe_id)) is not None:
            question.learned.add(receipt.stage)
            self._learned_at[_partition(receipt.player_id)][receipt.stage] = self._clock()
            self._heard.set()

    # --- the question

    async def check(self, fresh_s: float = CACHED_S) -> Verdict:
        """How the game is, within `WITHIN_S`, and by no answer older than `OLDEST_S`.

        Many who ask at once share one question, and so do those to whom a verdict that was found ``fresh_s`` ago is new.
        """
        for _ in range(2):
            verdict = await self._found(fresh_s)
            if self.age_s(verdict) <= OLDEST_S:
                return verdict
        return Verdict(Status.UNAVAILABLE, {"api": HELD_UP}, self._clock())

    def age_s(self, verdict: Verdict) -> float:
        """How old the oldest answer is that a verdict stands on, in seconds."""
        return self._clock() - verdict.since

    async def _found(self, fresh_s: float) -> Verdict:
        last = self._verdict
        if last is not None and self._clock() - self._found_at < fresh_s and self.age_s(last) < PAGES_S:
            return last
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Verdict:
        self._verdict = await self._look()
        self._found_at = self._clock()
        return self._verdict

    async def _look(self) -> Verdict:
        began = self._clock()
        if wrong := self._reading():
            return Verdict(Status.UNAVAILABLE, {"kafka": wrong}, began)
        if self._unacknowledged:  # more questions would only wait behind these
            await asyncio.wait(self._unacknowledged, timeout=CACHED_S)
            if not self._acknowledged():
                return Verdict(Status.UNAVAILABLE, {"kafka": "it still does not acknowledge anything: is it up?"}, began)
        questions, learned_at, known_at = self._questions(self._clock())
        try:
            refused = await self._put(questions, began)
            soon = refused is None and await self._answered(questions, began, SOON_S) and self._clock() - began <= SOON_S
            if refused is None and not soon and learned_at is not None:
                # What was learned a moment ago would be too old when this is over.
                learned_at = None
                refused = await self._put(self._question_of_learning(questions), began)
            if refused is not None:
                return Verdict(Status.UNAVAILABLE, {"kafka": refused}, began)
            await self._answered(questions, began, WITHIN_S)
        finally:
            for question in questions.values():
                self._by_id.pop(question.drawing_id or UUID(int=0), None)
                self._by_id.pop(question.probe_id or UUID(int=0), None)
        return self._judge(questions, min(began, known_at, learned_at if learned_at is not None else began))

    async def _answered(self, questions: Mapping[int, _Question], began: float, within_s: float) -> bool:
        """Wait for the answers; whether all are there."""
        try:
            async with asyncio.timeout(max(0.0, within_s - (self._clock() - began))):
                while not all(question.through(self._able()) for question in questions.values()):
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            return False
        return True

    def _question_of_learning(self, questions: Mapping[int, _Question]) -> dict[int, _Question]:
        """The one that is to be asked besides, of the partition whose turn it is: whether a correction is learned."""
        question = questions[self._turn]
        self._by_id.pop(question.probe_id or UUID(int=0), None)
        question.probe_id, question.whole = uuid4(), True
        self._by_id[question.probe_id] = question
        return {self._turn: replace(question, drawing_id=None)}

    def _questions(self, now: float) -> tuple[dict[int, _Question], float | None, float]:
        """By partition, what is to be asked; what is known since a moment ago is not, unless somebody was silent the last time.

        Returns:
            The questions; since when it is known that corrections are learned, None where that is asked; and since when
            all else is that is not asked, infinity where nothing is.
        """
        others = [place % PLAYER_PARTITIONS for place in range(self._turn + 1, self._turn + 1 + PLAYER_PARTITIONS)]
        self._turn = next((place for place in others if place not in self._unlearned), others[0])
        again = self._silent
        learned = None if again else max(min(at.get(stage, -inf) for stage in LEARNERS) for at in self._learned_at.values())
        if learned is not None and now - learned >= LEARNED_S:
            learned = None
        questions, known = {}, inf
        for partition in range(PLAYER_PARTITIONS):
            whole = partition in self._unlearned or (partition == self._turn and learned is None)
            answered = self._answered_at.get(partition, -inf)
            read = max(self._learned_at[partition].get(stage, -inf) for stage in (_JOINER, *LEARNERS))
            ask_drawing = again or now - answered >= CACHED_S
            ask_reading = again or whole or now - read >= CACHED_S
            known = min([known, *([] if ask_drawing else [answered]), *([] if ask_reading else [read])])
            question = _Question(uuid4() if ask_drawing else None, uuid4() if ask_reading else None, whole)
            questions[partition] = question
            self._by_id |= {name: question for name in (question.drawing_id, question.probe_id) if name}
        return questions, learned, known

    async def _put(self, questions: Mapping[int, _Question], began: float) -> str | None:
        """Put them on the bus for a look that ``began`` then; why the bus does not take them, or None."""
        put: list[Future[Record]] = []
        for partition, question in questions.items():
            player = self._players[partition]
            if question.drawing_id is not None:
                drawing = {"strokes": _SEVEN, "width": 280, "height": 280, "final": False, "probe": True}
                put.append(self._bus.publish(DrawingSubmitted(drawing_id=question.drawing_id, player_id=player, **drawing)))
            if question.probe_id is not None:
                only = None if question.whole else _JOINER
                put.append(self._bus.publish(CorrectionProbed(probe_id=question.probe_id, player_id=player, only=only)))
        if not put:
            return None
        self._unacknowledged = [asyncio.wrap_future(future) for future in put]
        for waiting in self._unacknowledged:
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, so asyncio is not worried
        within_s = max(0.0, min(ACKNOWLEDGED_S, began + WITHIN_S - self._clock()))
        done, _ = await asyncio.wait(self._unacknowledged, timeout=within_s)
        refusals = [str(future.exception()) for future in done if future.exception() is not None]
        if not self._acknowledged():
            return f"it did not acknowledge a drawing within {ACKNOWLEDGED_S} s: is it up?"
        return f"it refuses drawings: {refusals[0]}" if refusals else None

    def _acknowledged(self) -> bool:
        """Whether no question waits for the broker any more."""
        self._unacknowledged = [future for future in self._unacknowledged if not future.done()]
        return not self._unacknowledged

    # --- the verdict

    def _able(self) -> frozenset[str]:
        """The models that can be asked."""
        return frozenset(model for model, absent in self._expected().items() if absent is None)

    def _judge(self, questions: Mapping[int, _Question], since: float) -> Verdict:
        expected, able = self._expected(), self._able()
        asked = [question for question in questions.values() if question.drawing_id is not None]
        told = [question.answered for question in asked if question.answered]
        answering = frozenset[str].intersection(*map(frozenset, told)) if told else frozenset[str]()
        missing = {model: why for model, why in expected.items() if why is not None and model not in answering}
        silent = [question for question in asked if not question.answered]
        if silent and able:
            whom = "" if len(silent) == len(questions) else "some players' drawings: "
            missing["router"] = f"{whom}no model answered within {WITHIN_S} s: is it up?"
        for model in sorted(able - answering) if told else ():
            missing[model] = self._why.get(model, f"no answer within {WITHIN_S} s")
        unlearned = {stage for question in questions.values() for stage in question.unlearned}
        for stage, name in LEARNERS.items():
            if stage in unlearned:
                missing[name] = self._not_learned(stage)
        if _JOINER in unlearned:
            missing.setdefault(LEARNERS["learner"], f"some players' corrections are not read within {WITHIN_S} s: {_WORKER}")
        missing |= self._folding()
        self._unlearned = {partition for partition, question in questions.items() if question.unlearned}
        self._silent = bool(silent or self._unlearned)
        unplayable = len(silent) == len(questions)
        status = Status.UNAVAILABLE if unplayable else Status.DEGRADED if missing else Status.OK
        return Verdict(status, missing, since)

    def _not_learned(self, stage: str) -> str:
        where = _WORKER if stage == "learner" else "the learning worker or the router is down, starting or behind"
        at = max(learned.get(stage, -inf) for learned in self._learned_at.values())
        last = (
            "none was learned since this process started"
            if at == -inf
            else f"the last one was learned {self._clock() - at:.0f} s ago"
        )
        return f"a correction is not learned within {WITHIN_S} s ({last}): {where}"


def _partition(player_id: str) -> int:
    return partition_of(player_id.encode(), PLAYER_PARTITIONS)


def _one_of_each_partition() -> list[str]:
    """A name for each partition that players' events go to: nobody's."""
    names: dict[int, str] = {}
    prefix = uuid4().hex[:12]
    for number in count():
        name = f"probe-{prefix}-{number}"
        names.setdefault(partition_of(name.encode(), PLAYER_PARTITIONS), name)
        if len(names) == PLAYER_PARTITIONS:
            return [names[partition] for partition in range(PLAYER_PARTITIONS)]
    raise AssertionError("never: numbers do not end")
