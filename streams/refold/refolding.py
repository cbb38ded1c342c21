"""Makes the folds of learning anew from the log, and finds what differs from them (way 2). Pure: records in, faults out.

Repeated messages are left out here, before they are folded: see `streams.refold.fresh_fold`.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final
from uuid import UUID

from contracts.events import (
    TOPICS,
    CorrectionGiven,
    CorrectionWithdrawn,
    DrawingAnswered,
    DrawingPicked,
    DrawingSought,
    DrawingSubmitted,
    DriftDetected,
    Event,
    EvidenceGathered,
    ExampleLabelled,
    ExamplesForgotten,
    GuessMade,
    LearningSet,
    LessonsCut,
    LessonsForgotten,
    LessonTaught,
    MemoryReset,
    PlayerForgotten,
    PlayerRestricted,
    ResetAsked,
    SnapshotTaken,
)
from contracts.ports import Origin, Record
from contracts.records import AHEAD
from streams.evidence import Evidence
from streams.fold import Fold
from streams.joiner import Joiner
from streams.learner import Learner
from streams.ledger_view import Kept
from streams.online_base import Base
from streams.online_model import is_of
from streams.personal_model import PersonalModels
from streams.refold.comparison import compared, in_order
from streams.refold.differences import Compare, detected, gathered, joined, learned, remembered, scored
from streams.refold.folds import fold_makers
from streams.refold.fresh_fold import FreshFold, MemoryCells, Waiting
from streams.refold.lessons_on_log import LessonsOnLog
from streams.refold.own_answers import OwnAnswers
from streams.refold.published import Published
from streams.refold.repeats import Repeats
from streams.story_store import cut_of

_OF_EXAMPLES: Final = ("scorer", "learner", "personal", "evidence")
"""The folds that read examples."""
_KEPT: Final = {"examples.v1": "scorer", "lessons.v1": "learner", "evidence.v1": "drift"}
"""The topics that are kept for good, and the fold that is wrong if one is not whole."""
_UNKEPT: Final = "holds more than its offsets say: the offset is not kept in the transaction"

NamedPartition = tuple[str, int]
"""A topic, or the name of a fold, and a partition."""


class Refolding:
    """The folds that are made anew, and the events on the log."""

    def __init__(self, base: Base, partitions: int, log_bytes: int | None = None) -> None:
        """Begin with nothing read.

        Args:
            base: The base of the online model.
            partitions: The number of partitions of topics keyed by player.
            log_bytes: How much the log may take, which bounds the joiner's stories; None: there is no bound.
        """
        self._log = Published()
        self._makers = fold_makers(base, log_bytes)
        self._base = base
        self._series = Learner(base).series
        self._of_evidence = Evidence(base).series
        self._of_drift = self._makers["drift"]().schema
        self._lessons = LessonsOnLog(base, self._series)
        self._said = {stage: Published() for stage in self._makers}
        self._fresh: dict[str, dict[int, FreshFold]] = {
            stage: {partition: FreshFold(make, partition, self._said[stage], self._watch) for partition in range(partitions)}
            for stage, make in self._makers.items()
        }
        self._cut: set[int] = set()
        """The partitions of which a player was forgotten."""
        self._own_answers = OwnAnswers()
        self._repeats = Repeats()
        self._ends: dict[NamedPartition, int] = {}
        self._starts: dict[NamedPartition, tuple[int, int]] = {}
        """The offset and the time of each place's first record."""
        self._newest_ms = 0
        self._drawn: dict[UUID, tuple[int, int]] = {}
        """The partition of each drawing, and when its record was written."""
        self._answered: set[UUID] = set()
        self._before: set[UUID] = set()
        """Drawings that were answered by a router that had no `DrawingAnswered` yet, unless they are in `_answered` too."""
        self._outbox: dict[NamedPartition, frozenset[int]] = {}
        self._cuts: dict[int, int] = {}
        """By partition: the time up to which stories may have gone for want of room, in ms."""

    # --- the log

    def apply(self, record: Record, event: Event | None) -> None:
        """Apply a record, and its event; None: it has none."""
        place = (record.topic, record.partition)
        self._newest_ms = max(self._newest_ms, record.timestamp_ms)
        self._starts.setdefault(place, (record.offset, record.timestamp_ms))
        self._ends[place] = max(record.offset, self._ends.get(place, -1))
        match event:
            case DrawingSubmitted() if event.final and not event.probe:
                if self._repeats.first("drawing", event.drawing_id):
                    self._drawn[event.drawing_id] = (record.partition, record.timestamp_ms)
                    self._give("joiner", record, event)
            case DrawingAnswered():
                self._answered.add(event.drawing_id)
                if (part := self._repeats.new_guesses(event)) is not None:
                    self._give("joiner", record, part)
                self._own_answers.apply(event)
            case GuessMade() if event.features is not None:
                self._before.add(event.drawing_id)
            case CorrectionGiven() | CorrectionWithdrawn():
                if self._repeats.first(event.type, event.correction_id, event.drawing_id, event.player_id):
                    self._give("joiner", record, event)
            case DrawingSought() | ResetAsked():
                self._give("joiner", record, event)
            case ExampleLabelled() | DrawingPicked():
                if self._repeats.newer(event):
                    for stage in _OF_EXAMPLES if isinstance(event, ExampleLabelled) else ("scorer",):
                        self._give(stage, record, event)
                self._log.apply(event)
            case EvidenceGathered():
                if (news := self._repeats.new_evidence(event)) is not None:
                    self._give("drift", record, news)
                self._log.apply(event)
            case ExamplesForgotten():
                for stage in _OF_EXAMPLES:
                    self._give(stage, record, event)
            case PlayerForgotten():
                self._give("joiner", record, event)
            case LessonsCut() if record.topic == ExampleLabelled.topic:
                self._cut.add(record.partition)
                for stage in _OF_EXAMPLES:
                    self._give(stage, record, event)
            case PlayerRestricted():
                for stage in _OF_EXAMPLES:
                    self._give(stage, record, event)
            case MemoryReset():
                self._give("personal", record, event)
            case LessonTaught() if event.series == self._series:
                self._lessons.apply(event, record)
                self._log.apply(event)
            case SnapshotTaken() if is_of(event, self._base, self._series):
                self._lessons.apply(event, record)
            case LearningSet() | LessonsForgotten():
                self._lessons.apply(event, record)
            case None:
                pass
            case _:
                self._log.apply(event)

    @property
    def ends(self) -> dict[NamedPartition, int]:
        """The last offset read of each partition that has any."""
        return dict(self._ends)

    @property
    def taken(self) -> dict[str, int]:
        """How many messages were folded, by fold."""
        return {stage: sum(fresh.taken for fresh in several.values()) for stage, several in self._fresh.items()}

    def _give(self, stage: str, record: Record, event: Event) -> None:
        if (fresh := self._fresh[stage].get(record.partition)) is not None:
            origin = Origin(record.partition, record.offset, len(record.value or b""))
            fresh.waiting.append(Waiting(record.timestamp_ms, record.topic, event, origin))

    def _watch(self, fold: Fold, event: Event, partition: int) -> None:
        """Keep the state of the sample's own models after each example or reset."""
        if isinstance(fold, PersonalModels) and (whose := getattr(event, "player_id", "")) in self._own_answers:
            self._own_answers.learned(whose, fold.player(partition, whose))

    # --- what differs

    def faults(
        self, ledgers: Mapping[NamedPartition, Kept] | None, committed: Mapping[tuple[str, NamedPartition], int]
    ) -> dict[str, list[str]]:
        """Return what is wrong by all that was read, by fold.

        Args:
            ledgers: By fold and partition, read before the last of the log; None: there are none here, and all is folded.
            committed: By fold and partition of the log, the offset committed to Kafka; read before the ledgers.
        """
        for stage, several in self._fresh.items():
            for partition, fresh in several.items():
                if ledgers is None:
                    fresh.fold_to(None)
                elif (kept := ledgers.get((stage, partition))) is not None:
                    fresh.fold_to(kept.offsets)
        later: dict[str, Published] = {}
        cells: dict[NamedPartition, MemoryCells] = {}
        for stage, several in self._fresh.items():
            later[stage] = self._said[stage].copy()
            cells |= {(stage, partition): fresh.beyond(later[stage]).cells for partition, fresh in several.items()}
        self._find_cuts(ledgers or {}, cells)
        found: dict[str, list[str]] = {stage: [] for stage in self._fresh}
        for stage in self._fresh:
            kept_here = {} if ledgers is None else {p: kept for (name, p), kept in ledgers.items() if name == stage}
            found[stage] += self._of_ledgers(stage, kept_here, cells, committed)
            unkept = any(_UNKEPT in fault for fault in found[stage])
            found[stage] += self._of_the_log(stage, later[stage], kept_ahead=unkept)
        found["personal"] += self._own_answers.faults()
        found["learner"] += self._lessons.faults()
        for place, (first, _) in self._starts.items():
            cut = place[0] in (ExampleLabelled.topic, LessonTaught.topic) and place[1] in self._cut
            if place[0] in _KEPT and first > 0 and not cut:
                found[_KEPT[place[0]]].append(
                    f"{place[0]}/{place[1]} begins at offset {first}: what came before, and is to be kept for good, is gone"
                )
        return found

    def behind(self, ledgers: Mapping[NamedPartition, Kept], ends: Mapping[NamedPartition, int]) -> Iterator[str]:
        """Yield what the folds have not taken of the log up to ``ends``."""
        for stage, several in self._fresh.items():
            for partition in several:
                kept = ledgers.get((stage, partition))
                for topic in self._makers[stage]().sources:
                    here, end = (-1 if kept is None else kept.offsets.get(topic, -1)), ends.get((topic, partition), -1)
                    if here < end:
                        where = f"{stage}: the ledger of partition {partition}"
                        yield f"{where} stands at offset {here} of {topic}, which ends at {end}"

    def _find_cuts(self, ledgers: Mapping[NamedPartition, Kept], later: Mapping[NamedPartition, MemoryCells]) -> None:
        """Note up to when stories were forgotten for want of room, in the ledgers or in fresh folds."""
        held = [(place, kept.cells) for place, kept in ledgers.items()]
        held += [(("joiner", partition), fresh.cells) for partition, fresh in self._fresh["joiner"].items()]
        for (stage, partition), cells in (*held, *later.items()):
            if stage == "joiner" and (cut := cut_of(cells)) is not None:
                self._cuts[partition] = max(int((cut + AHEAD).timestamp() * 1000), self._cuts.get(partition, 0))

    def _of_ledgers(
        self,
        stage: str,
        ledgers: Mapping[int, Kept],
        later: Mapping[NamedPartition, MemoryCells],
        committed: Mapping[tuple[str, NamedPartition], int],
    ) -> Iterator[str]:
        sources = self._makers[stage]().sources
        for partition, kept in sorted(ledgers.items()):
            fresh = self._fresh[stage].get(partition)
            if fresh is None:
                continue
            where = f"{stage}: the ledger of partition {partition}"
            found = compared(stage, in_order(kept.cells), in_order(fresh.cells))
            if not found.same:
                if compared(stage, in_order(kept.cells), in_order(later[stage, partition])).same:
                    yield f"{where} {_UNKEPT}"
                else:
                    yield f"{where} is not what a fresh fold of the log up to its offsets gives: {found.first[0]}"
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

    def _of_the_log(self, stage: str, later: Published, kept_ahead: bool) -> Iterator[str]:
        compare = self._comparison(stage)
        explained = dict(compare(self._log, later))
        for subject, fault in compare(self._log, self._said[stage]):
            if subject in explained:
                yield fault
            elif not kept_ahead:
                yield f"{stage}: {subject} is on the log, and its ledger does not hold it: published before the transaction"

    def _comparison(self, stage: str) -> Compare:
        match stage:
            case "joiner":
                return partial(joined, drawings=self._joinable().keys())
            case "scorer":
                return partial(scored, cut=self._cut)
            case "learner":
                return partial(learned, series=self._series, cut=bool(self._cut))
            case "evidence":
                return partial(gathered, series=self._of_evidence, cut=self._cut)
            case "drift":
                return partial(detected, series=self._of_drift, since_ms=self._since(DriftDetected.topic))
            case _:
                return remembered

    def _since(self, topic: str) -> int:
        """Return the time since which the log has all of a topic, in ms; 0: of all times."""
        starts = [at_ms for (name, _), (first, at_ms) in self._starts.items() if name == topic and first > 0]
        return max([0, *starts, self._newest_ms - TOPICS[topic].retention_ms])

    def _joinable(self) -> dict[UUID, None]:
        """Return the drawings of which the log has all that the joiner reads, in their order."""
        floors, before = self._floors(), self._before - self._answered
        return {
            drawing_id: None
            for drawing_id, (partition, at_ms) in self._drawn.items()
            if at_ms >= floors[partition] and drawing_id not in before
        }

    def _floors(self) -> dict[int, int]:
        """Return, by partition, the time since which the log has all that the joiner reads; 0 if nothing was dropped yet."""
        floors = {}
        for partition in self._fresh["joiner"]:
            starts = [start for topic in Joiner.sources if (start := self._starts.get((topic, partition))) is not None]
            cut_ms = self._cuts.get(partition, 0)
            floors[partition] = max((at_ms for first, at_ms in starts if first > 0), default=0)
            floors[partition] = max(floors[partition], cut_ms + 1 if cut_ms else 0)
        return floors
