"""What the folds must hold and say by the log alone, each message taken once (way 2, LEARN). Pure: records in, faults out.

The folds skip what they hold already. Here nothing rests on that: what lies on the log again is left out before it is folded.
So a fold that counts a message twice differs from this one, whether its process or its code is at fault.
"""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from contracts.events import (
    ONLINE_MODELS,
    PERSONAL_MODEL,
    CorrectionGiven,
    CorrectionReceipt,
    CorrectionWithdrawn,
    DrawingAnswered,
    DrawingSought,
    DrawingSubmitted,
    Event,
    ExampleLabelled,
    GuessMade,
    LessonTaught,
    ModelChange,
    ScoresCounted,
    SnapshotTaken,
)
from contracts.ports import Record
from contracts.records import AHEAD
from streams.fold import Fold
from streams.joiner import FORGET_AFTER, Joiner, Story, cut_of
from streams.learner import Base, Learner, State
from streams.ledger import Kept
from streams.personal_model import SHARED, Personal, Player
from streams.scorer import Scorer

SAMPLE: Final = 12
"""Players whose own model's answers are made again."""
_STEP: Final = 200
_ALIKE: Final = 1e-4  # guesses are published with six digits, and yours is made of a guess
_UNKEPT: Final = "holds more than its offsets say: the offset is not kept in the transaction"

Place = tuple[str, int]
"""A topic, or the name of a fold, and a partition."""
Watch = Callable[[Fold, Event, int], None]
Answers = Sequence[tuple[NDArray[np.float32], NDArray[np.float64]]]
"""A drawing's embedding, and what the shared model said of it: as often as it was asked."""


class _Snapshot(NamedTuple):
    """What is compared of a snapshot."""

    version: str
    lessons: int
    digest: str
    weights: str
    """Their sha256."""


@dataclass(slots=True)
class Said:
    """What was said, by identity: on the log, or by folds that were made anew."""

    examples: dict[UUID, ExampleLabelled] = field(default_factory=dict)
    """By drawing, the highest revision."""
    lessons: dict[UUID, LessonTaught] = field(default_factory=dict)
    scores: dict[str, ScoresCounted] = field(default_factory=dict)
    """By score_key, the newest."""
    snapshots: dict[tuple[str, int], list[_Snapshot]] = field(default_factory=lambda: defaultdict(list))
    """By model and offset, those that differ."""
    receipts: dict[tuple[str, UUID], list[CorrectionReceipt]] = field(default_factory=lambda: defaultdict(list))
    """By stage and correction, those that differ."""

    def hear(self, event: Event) -> None:
        """Take in what was said; twice changes nothing."""
        match event:
            case ExampleLabelled():
                before = self.examples.get(event.drawing_id)
                if before is None or event.revision > before.revision:
                    self.examples[event.drawing_id] = event
            case LessonTaught():
                self.lessons.setdefault(event.lesson_id, event)
            case ScoresCounted():
                self.scores[event.score_key] = event
            case SnapshotTaken():
                told, snapshot = self.snapshots[event.model, event.offset], _snapshot(event)
                if snapshot not in told:
                    told.append(snapshot)
            case CorrectionReceipt():
                several = self.receipts[event.stage, event.correction_id]
                if all(_receipt(one) != _receipt(event) for one in several):
                    several.append(event)
            case _:
                pass

    def copy(self) -> "Said":
        """The same, to go on with separately."""
        several: Any = ({key: list(told) for key, told in kind.items()} for kind in (self.snapshots, self.receipts))
        snapshots, receipts = (defaultdict(list, kind) for kind in several)
        return Said(dict(self.examples), dict(self.lessons), dict(self.scores), snapshots, receipts)


class _Cells(dict[str, bytes]):
    """Cells in memory, that are put back when a decision fails: as `streams.ledger` does it."""

    before: dict[str, bytes | None] | None = None

    def put(self, key: str, value: bytes) -> None:
        if self.before is not None:
            self.before.setdefault(key, self.get(key))
        self[key] = value

    def drop(self, key: str) -> None:
        if self.before is not None:
            self.before.setdefault(key, self.get(key))
        self.pop(key, None)

    def decide(self, fold: Fold, event: Event, partition: int, offset: int) -> list[Event]:
        """What a fold says to an event; nothing, and no cell changed, where it refuses it."""
        self.before = {}
        try:
            return list(fold.decide(self, event, partition, offset))
        except Exception:  # noqa: BLE001 streams.fold rejects it, and so the fold is without it
            for key, value in self.before.items():
                if value is None:
                    self.pop(key, None)
                else:
                    self[key] = value
            return []
        finally:
            self.before = None


class _Waiting(NamedTuple):
    at_ms: int
    topic: str
    offset: int
    event: Event


class _Fresh:
    """A fold of one partition that begins with nothing, and takes each message once."""

    def __init__(self, make: Callable[[], Fold], partition: int, said: Said, watch: Watch) -> None:
        self._make, self._partition, self._watch = make, partition, watch
        self.said = said
        self.cells = _Cells()
        self.offsets: dict[str, int] = {}
        self.waiting: list[_Waiting] = []
        self.taken = 0
        self._fold = make()
        self._hear(self._fold.open(self.cells, partition))

    def fold_to(self, offsets: Mapping[str, int] | None) -> None:
        """Fold what waits, up to these offsets of its topics; None: all."""
        now = [one for one in self.waiting if offsets is None or one.offset <= offsets.get(one.topic, -1)]
        if not now:
            return
        self.waiting = [one for one in self.waiting if not (offsets is None or one.offset <= offsets.get(one.topic, -1))]
        # By time, so that drawings come before what is said of them: topics have no order among each other.
        now.sort(key=lambda one: one.at_ms)
        step = 1 if isinstance(self._fold, Learner) else _STEP  # each of its snapshots may be on the log
        for first in range(0, len(now), step):
            for one in now[first : first + step]:
                self._hear(self.cells.decide(self._fold, one.event, self._partition, one.offset))
                self.offsets[one.topic] = one.offset
                self._watch(self._fold, one.event, self._partition)
            self._hear(self._fold.settle(self.cells, self._partition))
        self.taken += len(now)

    def beyond(self, said: Said) -> "_Fresh":
        """The same fold after all that waits, this one left as it is."""
        other = _Fresh(self._make, self._partition, Said(), lambda *_: None)
        other.cells.update(self.cells)
        list(other._fold.open(other.cells, self._partition))
        other.said = said
        other.waiting = list(self.waiting)
        other.fold_to(None)
        return other

    def _hear(self, said: Iterable[Event]) -> None:
        for event in said:
            self.said.hear(event)


@dataclass(slots=True)
class _Asked:
    """An answer of a player's own model that is on the log."""

    version: str
    probabilities: list[float]


class Refolding:
    """The four folds of learning, made anew from the log, and what differs from them."""

    def __init__(self, base: Base, partitions: int, log_bytes: int | None = None) -> None:
        """Nothing is read yet.

        Args:
            base: Of the online model.
            partitions: Of the topics that are keyed by player.
            log_bytes: What the log may take, and by it the joiner's stories; None: there is room.
        """
        self._log = Said()
        self._makers: dict[str, Callable[[], Fold]] = {
            "joiner": lambda: Joiner(log_bytes),
            "scorer": Scorer,
            "learner": lambda: Learner(base),
            "personal": lambda: Personal(base.reader),
        }
        self._generation = base.generation
        self._said = {stage: Said() for stage in self._makers}
        self._fresh: dict[str, dict[int, _Fresh]] = {
            stage: {
                partition: _Fresh(make, partition, self._said[stage], self._watch)
                for partition in range(len(ONLINE_MODELS) if stage == "learner" else partitions)
            }
            for stage, make in self._makers.items()
        }
        self._seen: set[tuple[Any, ...]] = set()
        self._revisions: dict[UUID, int] = {}
        self._ends: dict[Place, int] = {}
        self._starts: dict[Place, tuple[int, int]] = {}  # offset and time of the first record
        self._drawn: dict[UUID, tuple[int, int]] = {}  # partition, and when the record of the drawing was written
        self._players: dict[str, list[Player]] = {}  # of the sample, each as they were, one state after the other
        self._asked: dict[tuple[str, UUID], list[_Asked]] = defaultdict(list)
        self._shared: dict[UUID, list[NDArray[np.float64]]] = defaultdict(list)  # what the shared model said of a drawing
        self._embeddings: dict[UUID, list[NDArray[np.float32]]] = defaultdict(list)
        self._answered: set[UUID] = set()
        self._before: set[UUID] = set()
        """Drawings that were answered by a router that had no `DrawingAnswered` yet, unless they are in `_answered` too."""
        self._outbox: dict[Place, frozenset[int]] = {}
        self._cuts: dict[int, int] = {}
        """By partition: the time up to which stories may have gone for want of room, in ms."""

    # --- the log

    def read(self, record: Record, event: Event | None) -> None:
        """Take a record in; None: it is no event."""
        place = (record.topic, record.partition)
        self._starts.setdefault(place, (record.offset, record.timestamp_ms))
        self._ends[place] = max(record.offset, self._ends.get(place, -1))
        match event:
            case DrawingSubmitted() if event.final and not event.probe:
                if self._first("drawing", event.drawing_id):
                    self._drawn[event.drawing_id] = (record.partition, record.timestamp_ms)
                    self._give("joiner", record, event)
            case DrawingAnswered():
                self._answered.add(event.drawing_id)
                if (part := self._new_of(event)) is not None:
                    self._give("joiner", record, part)
                self._ask(event)
            case GuessMade() if event.features is not None:
                self._before.add(event.drawing_id)
            case CorrectionGiven() | CorrectionWithdrawn():
                if self._first(event.type, event.correction_id, event.drawing_id, event.player_id):
                    self._give("joiner", record, event)
            case DrawingSought():
                self._give("joiner", record, event)
            case ExampleLabelled():
                if event.revision > self._revisions.get(event.drawing_id, 0):
                    self._revisions[event.drawing_id] = event.revision
                    self._give("scorer", record, event)
                    self._give("personal", record, event)
                self._log.hear(event)
            case LessonTaught():
                if self._first("lesson", event.lesson_id):
                    self._give("learner", record, event)
                self._log.hear(event)
            case None:
                pass
            case _:
                self._log.hear(event)

    @property
    def ends(self) -> dict[Place, int]:
        """The last offset that was read of each partition that has any."""
        return dict(self._ends)

    @property
    def taken(self) -> dict[str, int]:
        """By fold: how many messages were folded."""
        return {stage: sum(fresh.taken for fresh in several.values()) for stage, several in self._fresh.items()}

    def _first(self, *identity: Any) -> bool:
        known = identity in self._seen
        self._seen.add(identity)
        return not known

    def _new_of(self, event: DrawingAnswered) -> DrawingAnswered | None:
        """What of a part is on the log for the first time; None: nothing. Features without a guess only stand before all."""
        whose = (event.drawing_id, event.player_id)
        begun = ("guessed", *whose) in self._seen
        guesses = [guess for guess in event.guesses if self._first("guess", *whose, guess.model, guess.shadow)]
        if guesses:
            self._first("guessed", *whose)
        counts = event.features is not None and (bool(guesses) or not begun)
        features = event.features if counts and self._first("features", *whose) else None
        if not guesses and features is None:
            return None
        return event.model_copy(update={"guesses": guesses, "features": features})

    def _give(self, stage: str, record: Record, event: Event) -> None:
        if (fresh := self._fresh[stage].get(record.partition)) is not None:
            fresh.waiting.append(_Waiting(record.timestamp_ms, record.topic, record.offset, event))

    # --- the players' own models

    def _ask(self, answered: DrawingAnswered) -> None:
        """Keep the answers of the own models of a few players, and what they are made of."""
        if answered.player_id not in self._players:
            if len(self._players) == SAMPLE:
                return
            self._players[answered.player_id] = [Player.nobody()]
        drawing_id = answered.drawing_id
        if answered.features is not None:
            self._embeddings[drawing_id].append(np.frombuffer(answered.features.embedding, "<f4")[None])
        for guess in answered.guesses:
            if guess.model == PERSONAL_MODEL:
                self._asked[answered.player_id, drawing_id].append(_Asked(guess.version, guess.probabilities))
            elif guess.model == SHARED:
                self._shared[drawing_id].append(np.array([guess.probabilities]))

    def _watch(self, fold: Fold, event: Event, partition: int) -> None:
        """Keep a player of the sample as they are after an example."""
        if isinstance(fold, Personal) and isinstance(event, ExampleLabelled) and event.player_id in self._players:
            self._players[event.player_id].append(fold.player(partition, event.player_id))

    def _own_answers(self) -> Iterator[str]:
        for (player_id, drawing_id), answers in self._asked.items():
            told = [(read, said) for read in self._embeddings[drawing_id] for said in self._shared[drawing_id]]
            for asked in answers if told else ():
                if not _explained(asked, self._players[player_id], told):
                    yield (
                        f"personal: the answer of {asked.version} to drawing {drawing_id} of player {player_id} is none that a"
                        " fresh fold of their examples gives"
                    )

    # --- what differs

    def faults(self, ledgers: Mapping[Place, Kept] | None, committed: Mapping[tuple[str, Place], int]) -> dict[str, list[str]]:
        """By fold, what is wrong by all that was read.

        Args:
            ledgers: By fold and partition, read before the last of the log; None: they are not at hand, and all is folded.
            committed: By fold and place on the log, the offset that Kafka would go on from; read before the ledgers.
        """
        for stage, several in self._fresh.items():
            for partition, fresh in several.items():
                if ledgers is None:
                    fresh.fold_to(None)
                elif (kept := ledgers.get((stage, partition))) is not None:
                    fresh.fold_to(kept.offsets)
        later: dict[str, Said] = {}
        cells: dict[Place, _Cells] = {}
        for stage, several in self._fresh.items():
            later[stage] = self._said[stage].copy()
            cells |= {(stage, partition): fresh.beyond(later[stage]).cells for partition, fresh in several.items()}
        joined = [(place, kept.cells) for place, kept in (ledgers or {}).items() if place[0] == "joiner"]
        joined += [(("joiner", partition), fresh.cells) for partition, fresh in self._fresh["joiner"].items()]
        for place, held in (*joined, *cells.items()):
            if place[0] == "joiner" and (cut := cut_of(held)) is not None:
                self._cuts[place[1]] = max(int((cut + AHEAD).timestamp() * 1000), self._cuts.get(place[1], 0))
        found: dict[str, list[str]] = {stage: [] for stage in self._fresh}
        for stage in self._fresh:
            kept_here = {} if ledgers is None else {p: kept for (name, p), kept in ledgers.items() if name == stage}
            found[stage] += self._of_ledgers(stage, kept_here, cells, committed)
            unkept = any(_UNKEPT in fault for fault in found[stage])
            found[stage] += self._of_the_log(stage, later[stage], kept_ahead=unkept)
        found["personal"] += self._own_answers()
        for place, (first, _) in self._starts.items():
            if place[0] in ("examples.v1", "lessons.v1") and first > 0:
                found["scorer" if place[0] == "examples.v1" else "learner"].append(
                    f"{place[0]}/{place[1]} begins at offset {first}: what came before, and is to be kept for good, is gone"
                )
        return found

    def _of_ledgers(
        self,
        stage: str,
        ledgers: Mapping[int, Kept],
        later: Mapping[Place, _Cells],
        committed: Mapping[tuple[str, Place], int],
    ) -> Iterator[str]:
        sources = self._makers[stage]().sources
        for partition, kept in sorted(ledgers.items()):
            fresh = self._fresh[stage].get(partition)
            if fresh is None:
                continue
            where = f"{stage}: the ledger of partition {partition}"
            mine, same = _states(stage, kept.cells, fresh.cells)
            if mine != same:
                if operator.eq(*_states(stage, kept.cells, later[stage, partition])):
                    yield f"{where} {_UNKEPT}"
                else:
                    key = next(key for key in sorted(mine.keys() | same.keys()) if mine.get(key) != same.get(key))
                    yield f"{where} is not what a fresh fold of the log up to its offsets gives: {key} differs"
            for topic in sources:
                end, here = self._ends.get((topic, partition), -1), kept.offsets.get(topic, -1)
                if here > end:
                    yield f"{where} stands at offset {here} of {topic}, which ends at {end}: it is of another log"
                elif (commit := committed.get((stage, (topic, partition)), 0)) > here + 1:
                    yield (
                        f"{where} stands at offset {here} of {topic}, and Kafka's commit at {commit}: acknowledged before the"
                        " transaction"
                    )
            stuck = self._outbox.get((stage, partition), kept.outbox) & kept.outbox
            self._outbox[stage, partition] = kept.outbox
            if stuck:
                yield f"{where} has {len(stuck)} events in its outbox: not published, or not emptied when they were"

    def behind(self, ledgers: Mapping[Place, Kept], ends: Mapping[Place, int]) -> Iterator[str]:
        """What the folds have not taken of the log up to ``ends``."""
        for stage, several in self._fresh.items():
            for partition in several:
                kept = ledgers.get((stage, partition))
                for topic in self._makers[stage]().sources:
                    here, end = (-1 if kept is None else kept.offsets.get(topic, -1)), ends.get((topic, partition), -1)
                    if here < end:
                        where = f"{stage}: the ledger of partition {partition}"
                        yield f"{where} stands at offset {here} of {topic}, which ends at {end}"

    def _of_the_log(self, stage: str, later: Said, kept_ahead: bool) -> Iterator[str]:
        compare = {"joiner": self._joined, "scorer": self._scored, "learner": self._learned, "personal": self._remembered}[
            stage
        ]
        explained = dict(compare(later))
        for subject, fault in compare(self._said[stage]):
            if subject in explained:
                yield fault
            elif not kept_ahead:
                yield f"{stage}: {subject} is on the log, and its ledger does not hold it: published before the transaction"

    def _joined(self, said: Said) -> Iterator[tuple[str, str]]:
        floors, before = self._floors(), self._before - self._answered
        drawn = {
            drawing_id: None
            for drawing_id, (partition, at_ms) in self._drawn.items()
            if at_ms >= floors[partition] and drawing_id not in before
        }
        for drawing_id in drawn:
            real, fresh = self._log.examples.get(drawing_id), said.examples.get(drawing_id)
            if real is None and fresh is None:
                continue
            if real is None or (fresh is not None and real.revision < fresh.revision):
                newest = "none" if real is None else f"revision {real.revision}"
                yield (
                    f"the example of drawing {drawing_id}",
                    f"joiner: the example of drawing {drawing_id} has revision {fresh and fresh.revision} by a fresh fold"
                    f" of the log, and {newest} is on it",
                )
            elif fresh is None or _example(real) != _example(fresh):
                yield (
                    f"revision {real.revision} of the example of drawing {drawing_id}",
                    f"joiner: the example of drawing {drawing_id} stands on {real.revision} events, {_models(real)}; by a fresh"
                    f" fold of the log, each once, on {fresh.revision if fresh else 0}, {_models(fresh)}",
                )
        yield from self._told("joiner", said, drawn.keys())

    def _floors(self) -> dict[int, int]:
        """By partition: the time from which on all is there that the joiner reads; 0 where nothing was thrown away yet."""
        floors = {}
        for partition in self._fresh["joiner"]:
            starts = [start for topic in Joiner.sources if (start := self._starts.get((topic, partition))) is not None]
            cut_ms = self._cuts.get(partition, 0)
            floors[partition] = max((at_ms for first, at_ms in starts if first > 0), default=0)
            floors[partition] = max(floors[partition], cut_ms + 1 if cut_ms else 0)
        return floors

    def _scored(self, said: Said) -> Iterator[tuple[str, str]]:
        for lesson_id in self._log.lessons.keys() - said.lessons.keys():
            subject = f"lesson {lesson_id} on correction {self._log.lessons[lesson_id].correction_id}"
            yield subject, f"scorer: {subject} is on the log, and a fresh fold of the examples teaches it not"
        for lesson_id in said.lessons.keys() - self._log.lessons.keys():
            subject = f"lesson {lesson_id} on correction {said.lessons[lesson_id].correction_id}"
            yield subject, f"scorer: {subject} is taught by a fresh fold of the examples, and is not on the log"
        for key in self._log.scores.keys() | said.scores.keys():
            real, fresh = self._log.scores.get(key), said.scores.get(key)
            if real is None or fresh is None or _score(real) != _score(fresh):
                told = ["nothing" if one is None else f"n {one.n}, correct {one.correct}" for one in (real, fresh)]
                yield f"the count {key}", f"scorer: the count {key} is {told[0]}; by a fresh fold of the examples {told[1]}"

    def _learned(self, said: Said) -> Iterator[tuple[str, str]]:
        for (model, offset), several in sorted(self._log.snapshots.items()):
            for real in several:
                if real.version.split("+")[0] != self._generation:
                    continue  # of an earlier base: nobody can fold to it
                fresh = next((one for at in range(offset, -2, -1) for one in said.snapshots.get((model, at), ())), None)
                subject = f"the snapshot of {model} at offset {offset}"
                if fresh is not None and real.lessons != fresh.lessons:
                    yield (
                        subject,
                        f"learner: {subject} has learned {real.lessons} lessons, and {fresh.lessons} different ones are on the"
                        " log up to there",
                    )
                elif real != fresh:
                    yield subject, f"learner: the weights of {subject} are not those of a fresh fold of the lessons up to there"
        yield from self._told("learner", said, None)

    def _remembered(self, said: Said) -> Iterator[tuple[str, str]]:
        yield from self._told("personal", said, None)

    def _told(self, stage: str, said: Said, drawings: Set[UUID] | None) -> Iterator[tuple[str, str]]:
        """Receipts that differ; ``drawings``: those that are looked at, None: all."""
        keys = {key for key in self._log.receipts.keys() | said.receipts.keys() if key[0] == stage}
        for key in keys:
            real, fresh = self._log.receipts.get(key, []), said.receipts.get(key, [])
            if drawings is not None and not any(one.drawing_id in drawings for one in (*real, *fresh)):
                continue
            if [_receipt(one) for one in real] == [_receipt(one) for one in fresh]:
                continue
            subject = f"the receipt of correction {key[1]}"
            what = f"{_changes(real)}; by a fresh fold {_changes(fresh)}"
            yield subject, f"{stage}: {subject} is {what}"


def _explained(asked: _Asked, states: Sequence[Player], shared: Answers) -> bool:
    """Whether a player, in one of these states, answers so."""
    return any(
        player.version == asked.version and np.allclose(player.answer(embedding, said)[0], asked.probabilities, atol=_ALIKE)
        for player in states
        for embedding, said in shared
    )


def _states(stage: str, one: Mapping[str, bytes], other: Mapping[str, bytes]) -> tuple[dict[str, object], dict[str, object]]:
    """What the set of its messages decides of a fold's cells, of two ledgers."""
    if stage != "joiner":
        return _state(stage, one), _state(stage, other)
    # In which order drawings came among the topics decides its queue, and what it has forgotten.
    stories, others = _stories(one), _stories(other)
    cuts = [cut for cells in (one, other) if (cut := cut_of(cells)) is not None]
    gone = {key for key, story in (*stories.items(), *others.items()) if cuts and story.began <= max(cuts)}
    mine, theirs = ({key: story for key, story in known.items() if key not in gone} for known in (stories, others))
    return dict(mine), dict(theirs)


def _stories(cells: Mapping[str, bytes]) -> dict[str, Story]:
    """Those that are not to be forgotten yet, by time."""
    stories = {key: Story.of(cell) for key, cell in cells.items() if key.startswith("story/")}
    newest = max((story.news for story in stories.values()), default=None)
    return {key: story for key, story in stories.items() if newest and story.news + FORGET_AFTER > newest}


def _state(stage: str, cells: Mapping[str, bytes]) -> dict[str, object]:
    """What the set of its messages decides of a fold's cells; of the joiner's see `_states`."""
    match stage:
        case "learner":  # the offset moves with a lesson that is there again
            return {key: State.of(cell).digest() if key == "state" else cell for key, cell in cells.items()}
        case _:
            return dict(cells)


def _example(example: ExampleLabelled) -> dict[str, object]:
    """What an example says; one that was written before examples carried all labels is as good without them."""
    return example.model_dump(exclude={"at", "labels"})


def _models(example: ExampleLabelled | None) -> str:
    return "of " + (", ".join(guess.model for guess in example.guesses) if example else "nobody")


def _score(score: ScoresCounted) -> dict[str, object]:
    return score.model_dump(exclude={"at"})


def _snapshot(snapshot: SnapshotTaken) -> _Snapshot:
    return _Snapshot(snapshot.version, snapshot.lessons, snapshot.digest, sha256(snapshot.weights).hexdigest())


def _receipt(receipt: CorrectionReceipt) -> dict[str, object]:
    """What a receipt says, probabilities to nine digits: another machine may add in another order."""
    return {
        "drawing_id": receipt.drawing_id,
        "outcome": receipt.outcome,
        "models": {
            model: (change.version_before, change.version_after, round(change.p_before, 9), round(change.p_after, 9))
            for model, change in sorted(receipt.models.items())
        },
    }


def _changes(receipts: Sequence[CorrectionReceipt]) -> str:
    """Receipts in words."""
    if not receipts:
        return "not there"
    return " and ".join(
        f"{one.outcome} ({', '.join(_change(model, one.models[model]) for model in one.models)})" for one in receipts
    )


def _change(model: str, change: ModelChange) -> str:
    return f"{model} {change.version_before} > {change.version_after}, {change.p_before:.4f} > {change.p_after:.4f}"
