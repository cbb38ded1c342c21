"""Checks whether every model that is shown answers a drawing, and whether a correction is learned (ways 1 and 2).

The check sends probes over the bus, the whole way and back: see decisions 0005 and 0017. No probe is sent while nobody
asks, or while players' own drawings and corrections show the same. Each process of the stream layer has partitions of
its own, so every partition is probed each time: whichever process is down, some partition does not answer.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from typing import ClassVar, Final
from uuid import UUID, uuid4

from cachetools import FIFOCache

from api.folds.model_board import LEARNERS, ModelBoard
from api.probes import Probe, Probes, one_of_each_partition, partition_of_player, why_missed
from api.relay import Relay
from api.verdict import Status, Verdict
from contracts.events import (
    PLAYER_PARTITIONS,
    CorrectionProbed,
    CorrectionReceipt,
    DrawingSubmitted,
    Event,
    GuessMade,
    GuessMissed,
    Outcome,
    PreviewGuessed,
    ReceiptProbed,
)
from contracts.ports import Record

ACKNOWLEDGED_S: Final = 0.5
"""How long the broker may take to acknowledge a probe."""
WITHIN_S: Final = 0.7
"""How many seconds the answers may take, including the acknowledgement."""
OLDEST_S: Final = 1.0
"""The greatest age of the answers that a verdict is based on."""
CACHED_S: Final = 0.2
"""For how many seconds a verdict is reused, and a player's answered drawing proves that its partition works."""
PAGES_S: Final = 0.9
"""How long a verdict is reused for pages, many of which may be open all day, unless its oldest answer is too old."""
SOON_S: Final = 0.15
"""The seconds within which all probes are answered, unless something is missing."""
LEARNED_S: Final = 0.7
"""How long an answer to a probe of corrections counts: each such probe leaves two small records for good."""
HELD_UP: Final = f"it is held up: a check takes it more than {OLDEST_S:.0f} s, and older answers do not count"
"""The cause when the API itself was held up and could not run in time."""

_SEVEN = [[[90.0, 80.0], [190.0, 80.0], [130.0, 220.0]]]
_JOINER: Final = "joiner"
"""The stage that reads corrections first; it answers for its process if a probe does not go the whole way."""
_WORKER: Final = "the learning worker is down, starting or behind"
_REMEMBERED = 1000  # players' drawings that some models have not answered yet


@dataclass(slots=True)
class _Questions:
    """The probes that are sent to one partition."""

    drawing: Probe | None = None
    """The probe of a drawing; None: a player's drawing has shown that models answer."""
    correction: Probe | None = None
    """The probe of a correction; None: it is known that corrections are read here."""

    def probes(self) -> list[Probe]:
        """Return the probes that are under way."""
        return [probe for probe in (self.drawing, self.correction) if probe is not None]

    @property
    def answered(self) -> set[str]:
        """Return the models that have answered; a model does not count if another answered in its place."""
        guesses = self.drawing.answers.guesses if self.drawing is not None else {}
        return {model for model, guess in guesses.items() if guess.fallback is None}

    @property
    def unlearned(self) -> frozenset[str]:
        """Return the stages that were asked and have not answered."""
        return self.correction.answers.silent if self.correction is not None else frozenset()


class Health:
    """Checks the game's health with probes like players' drawings and corrections, unless players have just shown it.

    Each check probes on every partition whether a drawing is answered and whether corrections are read. A probe that goes the
    whole way of a correction leaves records for good, so each check sends it on one partition, in turn, and on those that gave
    no answer the last time.
    """

    takes: ClassVar[tuple[type[Event], ...]] = (GuessMade, GuessMissed, CorrectionReceipt, ReceiptProbed)

    def __init__(self, probes: Probes, board: ModelBoard, relay: Relay, clock: Callable[[], float]) -> None:
        """Keep the parts that the check needs.

        Args:
            probes: Sends probes.
            board: Knows which models should answer, and which learner is not up to date yet.
            relay: Knows what is wrong with this process's own reading of the bus.
            clock: Monotonic, in seconds.
        """
        self._probes = probes
        self._board = board
        self._relay = relay
        self._clock = clock
        self._players = one_of_each_partition()
        self._turn = 0
        self._silent = False
        """Whether an answer was missing at the last check."""
        self._unlearned: set[int] = set()
        """The partitions whose corrections were not learned, or not read, when that was last probed."""
        self._open: set[UUID] = set()
        """The ids of the probes that are under way."""
        self._answers: FIFOCache[UUID, set[str]] = FIFOCache(_REMEMBERED)
        self._answered_at: dict[int, float] = {}
        """By partition, when a player's drawing was last answered by all models."""
        self._learned_at: dict[int, dict[str, float]] = {partition: {} for partition in range(PLAYER_PARTITIONS)}
        """By partition and stage, when a correction was last learned."""
        self._why: dict[str, str] = {}
        self._unacknowledged: list[asyncio.Future[Record]] = []
        self._verdict: Verdict | None = None
        self._found_at = -inf
        self._asking: asyncio.Task[Verdict] | None = None

    # --- events from the bus

    def apply(self, event: GuessMade | GuessMissed | CorrectionReceipt | ReceiptProbed) -> None:
        """Apply an event from the bus: a check need not probe what players' drawings and corrections have just shown."""
        match event:
            case GuessMade():
                self._guessed(event)
            case GuessMissed():
                self._why[event.model] = why_missed(event)
            case CorrectionReceipt():
                if event.outcome in (Outcome.LEARNED, Outcome.WEIGHTED, Outcome.QUARANTINED):
                    self._learned_at[partition_of_player(event.player_id)][event.stage] = self._clock()
            case ReceiptProbed() if event.probe_id in self._open:
                self._learned_at[partition_of_player(event.player_id)][event.stage] = self._clock()

    def _guessed(self, guess: GuessMade) -> None:
        asked = guess.drawing_id in self._open
        if guess.role == "shadow" or (isinstance(guess, PreviewGuessed) and not asked):
            return
        if guess.fallback is not None:
            self._why[guess.model] = guess.fallback
            return
        self._why.pop(guess.model, None)
        if asked:
            return
        answers = self._answers.setdefault(guess.drawing_id, set())
        answers.add(guess.model)
        if answers >= self._able():
            del self._answers[guess.drawing_id]
            self._answered_at[partition_of_player(guess.player_id)] = self._clock()

    # --- the check

    async def check(self, fresh_s: float = CACHED_S) -> Verdict:
        """Return the game's health within `WITHIN_S`, from answers that are no older than `OLDEST_S`.

        Callers who ask at once share one check, and a verdict that is at most ``fresh_s`` old is given again.
        """
        for _ in range(2):
            verdict = await self._found(fresh_s)
            if self.age_s(verdict) <= OLDEST_S:
                return verdict
        return Verdict(Status.UNAVAILABLE, {"api": HELD_UP}, self._clock())

    def age_s(self, verdict: Verdict) -> float:
        """Return the age of the oldest answer behind a verdict, in seconds."""
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
        if wrong := self._relay.trouble:
            return Verdict(Status.UNAVAILABLE, {"kafka": wrong}, began)
        if self._unacknowledged:  # more probes would only wait behind those
            await asyncio.wait(self._unacknowledged, timeout=CACHED_S)
            if not self._acknowledged():
                return Verdict(Status.UNAVAILABLE, {"kafka": "it still does not acknowledge anything: is it up?"}, began)
        with ExitStack() as asked:
            questions, learned_at, known_at = self._put(asked, self._clock())
            refused = await self._refused(questions.values(), began)
            soon = refused is None and await self._complete(questions, began, SOON_S) and self._clock() - began <= SOON_S
            if refused is None and not soon and learned_at is not None:
                # A correction that was learned a moment ago would be too old by the end of this check.
                learned_at, turn = None, questions[self._turn]
                turn.correction = self._put_correction(asked, self._turn, whole=True)
                refused = await self._refused([_Questions(correction=turn.correction)], began)
            if refused is not None:
                return Verdict(Status.UNAVAILABLE, {"kafka": refused}, began)
            await self._complete(questions, began, WITHIN_S)
            return self._judge(questions, min(began, known_at, learned_at if learned_at is not None else began))

    async def _complete(self, questions: Mapping[int, _Questions], began: float, within_s: float) -> bool:
        """Wait for the answers; return whether all have come."""
        try:
            async with asyncio.timeout(max(0.0, within_s - (self._clock() - began))):
                for one in questions.values():
                    for probe in one.probes():
                        await probe.complete()
        except TimeoutError:
            return False
        return True

    def _put(self, asked: ExitStack, now: float) -> tuple[dict[int, _Questions], float | None, float]:
        """Send the probes, by partition; skip what is known from a moment ago, unless an answer was missing the last time.

        Returns:
            The questions; since when it is known that corrections are learned, None if that is probed now; and since when
            everything else that is not probed now is known, infinity if all of it is probed.
        """
        others = [place % PLAYER_PARTITIONS for place in range(self._turn + 1, self._turn + 1 + PLAYER_PARTITIONS)]
        self._turn = next((place for place in others if place not in self._unlearned), others[0])
        again = self._silent
        learned = None if again else max(min(at.get(stage, -inf) for stage in LEARNERS) for at in self._learned_at.values())
        if learned is not None and now - learned >= LEARNED_S:
            learned = None
        questions, known = {}, inf
        for partition in range(PLAYER_PARTITIONS):
            questions[partition] = one = _Questions()
            whole = partition in self._unlearned or (partition == self._turn and learned is None)
            answered = self._answered_at.get(partition, -inf)
            read = max(self._learned_at[partition].get(stage, -inf) for stage in (_JOINER, *LEARNERS))
            if again or now - answered >= CACHED_S:
                one.drawing = self._put_drawing(asked, partition)
            else:
                known = min(known, answered)
            if again or whole or now - read >= CACHED_S:
                one.correction = self._put_correction(asked, partition, whole)
            else:
                known = min(known, read)
        return questions, learned, known

    def _put_drawing(self, asked: ExitStack, partition: int) -> Probe:
        question = DrawingSubmitted(
            drawing_id=self._identity(asked),
            player_id=self._players[partition],
            strokes=_SEVEN,
            width=280,
            height=280,
            final=False,
            probe=True,
        )
        return asked.enter_context(self._probes.ask(question, self._able()))

    def _put_correction(self, asked: ExitStack, partition: int, whole: bool) -> Probe:
        """Probe whether a correction is learned, the ``whole`` way, or only whether the joiner reads it."""
        question = CorrectionProbed(
            probe_id=self._identity(asked), player_id=self._players[partition], only=None if whole else _JOINER
        )
        return asked.enter_context(self._probes.ask(question, LEARNERS if whole else (_JOINER,)))

    def _identity(self, asked: ExitStack) -> UUID:
        """Make an id for a probe, and remember it while the probe is under way."""
        identity = uuid4()
        self._open.add(identity)
        asked.callback(self._open.discard, identity)
        return identity

    async def _refused(self, questions: Iterable[_Questions], began: float) -> str | None:
        """Wait until the bus has acknowledged the probes of a check that ``began`` then; return why it refuses one, or None."""
        put = [probe.kept for one in questions for probe in one.probes()]
        if not put:
            return None
        self._unacknowledged = put
        within_s = max(0.0, min(ACKNOWLEDGED_S, began + WITHIN_S - self._clock()))
        done, _ = await asyncio.wait(put, timeout=within_s)
        refusals = [str(future.exception()) for future in done if future.exception() is not None]
        if not self._acknowledged():
            return f"it did not acknowledge a drawing within {ACKNOWLEDGED_S} s: is it up?"
        return f"it refuses drawings: {refusals[0]}" if refusals else None

    def _acknowledged(self) -> bool:
        """Say whether the broker has acknowledged every probe."""
        self._unacknowledged = [future for future in self._unacknowledged if not future.done()]
        return not self._unacknowledged

    # --- the verdict

    def _able(self) -> frozenset[str]:
        """Return the models that can be asked."""
        return frozenset(model for model, absent in self._board.expected.items() if absent is None)

    def _judge(self, questions: Mapping[int, _Questions], since: float) -> Verdict:
        expected, able = self._board.expected, self._able()
        asked = [question for question in questions.values() if question.drawing is not None]
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
        missing |= self._board.folding
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
