"""Folds a partition of the log anew into a state on disk, which is taken up again after an interruption (way 2).

State and offsets are one transaction of a ledger, as in the fold at work, and the records go through the same code
(`streams.fold.advance`): what another process folded, stopped, killed and started again must come to the same cells. Nothing is
published. Lessons are added up too: each partition's sums are a state of their own, and the model is the sum of them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from contracts.events import DIGITS, Event, LessonsForgotten, LessonTaught, MessageRejected
from contracts.ports import Record
from contracts.records import read
from streams.additive import Sums
from streams.fold import Fold, LogBounds, advance, begin, unfit
from streams.ledger import Identity, Ledger
from streams.lesson_lines import lesson_of
from streams.online_base import Base, folded, unfolded
from streams.online_model import LessonError, LessonSet, OnlineModel, PartSums
from streams.refold.folds import fold_makers
from streams.refold.partition_log import PartitionLog

ONLINE: Final = "online"
"""The name of the sums of lessons among the folds."""
_SUMS, _NEWCOMERS, _KNOWN = "sums", "sums of newcomers", "known"
_STEP: Final = 500
_LESSONS: Final = 8192
"""How many lessons are added up in one transaction, which writes 1.6 MB."""


class SilentLedger(Ledger):
    """A ledger of a fold that publishes nothing: its outbox stays empty."""

    rejected = 0
    """How many records could not be read or folded."""

    def post(self, events: Iterable[Event]) -> None:
        """Drop what the fold at work has published."""
        self.rejected += sum(isinstance(event, MessageRejected) for event in events)


class AddedLessons:
    """The lessons of one partition, added up; kept in a ledger's cells."""

    name = ONLINE
    sources = (LessonTaught.topic,)

    def __init__(self, base: Base, series: str) -> None:
        """Begin with no lesson; those of another ``series`` are passed by."""
        self._base = replace(base, sums=Sums.nothing(base.basis.width))
        self._series = series
        self.schema = f"online 1, {series}, {base.basis.name}"
        self._model = OnlineModel(self._base, series)

    def open(self, ledger: Ledger, partition: int) -> None:
        """Go on from what the ledger holds."""
        self._model = OnlineModel(self._base, self._series)
        kept = part_of(dict(ledger.cells()), {LessonTaught.topic: ledger.offset(LessonTaught.topic)}, self._base, partition)
        if kept is not None:
            self._model.add(kept)

    def take(self, ledger: SilentLedger, partition: int, records: Sequence[Record]) -> None:
        """Add the lessons of some records, in one transaction."""
        with ledger.step():
            for record in records:
                lesson = lesson_of(record, ONLINE)
                if lesson is None:
                    self._forget(record, partition)
                    continue
                try:
                    if isinstance(lesson, MessageRejected):
                        raise LessonError(lesson.error)
                    self._model.apply(lesson, partition, record.offset)
                except LessonError:
                    ledger.rejected += 1
            ledger.move(LessonTaught.topic, records[-1].offset)
            self._write(ledger, partition)

    def explain(self, several: Iterable[LessonsForgotten], partition: int) -> None:
        """Take note beforehand of lessons that are missing: the gap that they leave comes earlier than the event."""
        for event in several:
            self._model.explain(event, partition)

    def _forget(self, record: Record, partition: int) -> None:
        event = read(record, ONLINE)
        if isinstance(event, LessonsForgotten):
            with suppress(LessonError):
                self._model.forget(event, partition, record.offset)

    def _write(self, ledger: Ledger, partition: int) -> None:
        part = self._model.part()
        known = part.known._asdict() | {"marked": f"{part.known.marked:x}", "number": part.numbers.get(partition, 0)}
        ledger.put(_KNOWN, json.dumps(known).encode())
        for key, sums in ((_SUMS, part.sums), (_NEWCOMERS, part.newcomers)):
            ledger.put(key, folded(sums.products).astype("<i8").tobytes() + sums.labelled.astype("<i8").tobytes())


def part_of(cells: Mapping[str, bytes], offsets: Mapping[str, int], base: Base, partition: int) -> PartSums | None:
    """Read the lessons of a partition that were added up; None: none were."""
    kept, width = cells.get(_KNOWN), base.basis.width
    if kept is None:
        return None
    known = json.loads(kept)
    number = known.pop("number")
    both: list[Sums] = []
    for key in (_SUMS, _NEWCOMERS):
        whole = np.frombuffer(cells[key], "<i8")
        cut = width * (width + 1) // 2
        both.append(Sums(unfolded(whole[:cut]), whole[cut:].reshape(width, DIGITS).astype(np.float64)))
    known["marked"] = int(known["marked"], 16)
    return PartSums(both[0], both[1], LessonSet(**known), {partition: number}, {partition: offsets.get(LessonTaught.topic, -1)})


class KeptFold:
    """One fold and partition, made anew on disk."""

    def __init__(self, folder: Path, stage: str, partition: int, base: Base, series: str, log_bytes: int | None) -> None:
        """Prepare; `open` opens the ledger.

        Args:
            folder: Where the states are: ``<folder>/<stage>/<partition>.sqlite``.
            stage: The name of the fold.
            partition: The number of the partition.
            base: The base of the online model.
            series: The series of its lessons.
            log_bytes: How much the log may take, which bounds the joiner's stories; None: there is no bound.
        """
        makers = fold_makers(base, log_bytes)
        self.fold: Fold | AddedLessons = AddedLessons(base, series) if stage == ONLINE else makers[stage]()
        self.partition = partition
        self.path = folder / stage / f"{partition}.sqlite"
        self.ledger: SilentLedger

    def open(self, log: LogBounds) -> None:
        """Go on from the state on disk; if that is of another fold or another log, begin with nothing."""
        self.ledger = SilentLedger(self.path)
        identity = Identity(self.fold.schema, log.cluster)
        if unfit(self.ledger, identity, log) is not None:
            self.ledger.close()
            for rest in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + rest).unlink(missing_ok=True)
            self.ledger = SilentLedger(self.path)
        if self.ledger.untouched:
            self.ledger.name(identity, {})
        if isinstance(self.fold, AddedLessons):
            self.fold.open(self.ledger, self.partition)
        else:
            begin(self.ledger, self.fold, self.partition)

    def fold_to(self, log: PartitionLog, until: Mapping[str, int]) -> Iterator[int]:
        """Fold the log up to these offsets of its topics; yields how many records were folded, step by step."""
        lessons = isinstance(self.fold, AddedLessons)
        for records in log.batches(until, _LESSONS if lessons else _STEP):
            if isinstance(self.fold, AddedLessons):
                self.fold.take(self.ledger, self.partition, records)
            else:
                advance(self.ledger, self.fold, self.partition, records)
            yield len(records)

    def cells(self) -> Iterator[tuple[str, bytes]]:
        """Read all cells, in the order of their keys."""
        return self.ledger.cells()

    def close(self) -> None:
        """Let go of the ledger."""
        self.ledger.close()
