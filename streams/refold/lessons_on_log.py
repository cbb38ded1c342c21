"""Adds up the lessons of the log again, and compares what the online model has said of them. Pure: records in, faults out."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from contracts.events import LearningSet, LessonsForgotten, LessonTaught, SnapshotTaken
from contracts.ports import Record
from streams.additive import NotASum
from streams.online_base import Base
from streams.online_model import SHARED, LessonError, LessonSet, OnlineModel, OutOfSequence
from streams.refold.differences import summed


class LessonsOnLog:
    """The online model that the lessons on the log make, and its snapshots."""

    def __init__(self, base: Base, series: str) -> None:
        """Begin with the base; lessons of another ``series`` are passed by."""
        self._base = base
        self._online = OnlineModel(base, series)
        self._sets: dict[int, list[tuple[int, LessonSet]]] = defaultdict(lambda: [(-1, LessonSet())])
        """By partition, the set of lessons after each of its offsets."""
        self._gapped: dict[int, list[tuple[LessonTaught | LessonsForgotten, Record]]] = defaultdict(list)
        """By partition, what is behind a gap that nothing has explained yet."""
        self._forgotten: dict[int, int] = {}
        """The offset of the last event of each partition that says that lessons are missing."""
        self._snapshots: dict[tuple[Any, ...], SnapshotTaken] = {}
        """The snapshots that differ, without their weights."""
        self._newest: SnapshotTaken | None = None
        self._frozen = False
        """Whether the online model's learning is frozen, so that the newest snapshot need not have all lessons."""

    def apply(self, event: LessonTaught | LessonsForgotten | SnapshotTaken | LearningSet, record: Record) -> None:
        """Apply what the log says of lessons, or of the model that they make."""
        match event:
            case LessonsForgotten():
                self._forgotten[record.partition] = record.offset
                waiting, self._gapped[record.partition] = [*self._gapped[record.partition], (event, record)], []
                self._online.explain(event, record.partition)
                for one, where in waiting:
                    self._add(one, where, record.offset)
            case LessonTaught():
                self._add(event, record, record.offset)
            case SnapshotTaken():
                self._newest = event
                told = (event.model, event.version, event.lessons, event.digest, *event.offsets)
                self._snapshots[told] = event.model_copy(update={"weights": b""})
            case LearningSet():
                self._frozen = event.frozen if event.model == SHARED else self._frozen

    def _add(self, event: LessonTaught | LessonsForgotten, record: Record, offset: int) -> None:
        """Add a lesson to the set of its partition, unless its number has come; ``offset``: since when it counts."""
        before = self._online.known
        try:
            if isinstance(event, LessonsForgotten):
                self._online.forget(event, record.partition, record.offset)
            else:
                self._online.apply(event, record.partition, record.offset)
        except OutOfSequence:
            self._gapped[record.partition].append((event, record))
        except LessonError:  # the online model rejects it, and so is without it
            return
        if (known := self._online.known) != before:
            here = self._sets[record.partition]
            more = LessonSet(
                known.lessons - before.lessons,
                known.newcomers - before.newcomers,
                known.changes - before.changes,
                known.marked - before.marked,
            )
            here.append((offset, here[-1][1].merged(more)))

    def faults(self) -> Iterator[str]:
        """Yield what snapshots say that is not so, by the lessons of each partition up to their offsets."""
        for snapshot in self._snapshots.values():
            if any(snapshot.offsets[partition] < offset for partition, offset in self._forgotten.items()):
                continue  # it is from before a player was forgotten, whose lessons are not on the log any more
            sets = {}
            for partition, offset in enumerate(snapshot.offsets):
                several = self._sets[partition]
                sets[partition] = several[bisect_right(several, offset, key=lambda one: one[0]) - 1][1]
            yield from summed(snapshot, self._base, sets)
        newest, known = self._newest, self._online.known
        if newest is None or newest.digest != known.digest(self._base):
            if known.changes and not self._frozen:
                told = "there is no snapshot" if newest is None else f"the newest snapshot is {newest.version}"
                yield f"learner: the log has lessons up to {known.version(self._base)}, and {told}, not of all of them"
            return
        try:
            wanted = self._online.in_force().solved.weights.astype("<f4")
        except NotASum as wrong:
            yield f"learner: the lessons on the log make no model: {wrong}"
            return
        given = np.frombuffer(newest.weights, "<f4") if len(newest.weights) == wanted.nbytes else np.full(wanted.size, np.nan)
        if not np.allclose(given, wanted.ravel(), atol=1e-5):
            yield f"learner: the weights of the snapshot {newest.version} are not those of its lessons"
