"""Adds up the lessons of all partitions to the online model that answers (way 2, LEARN). Pure: events in, models out.

What stands after some lessons is the same for every order in which the partitions came and for every split over processes, bit
for bit. Twice is harmless: the lessons of a partition are numbered. Those of a player who was forgotten are not on the log any
more: their numbers are known from a LessonsForgotten, which comes later than the gap that they leave.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS, ONLINE_MODELS, PLAYER_PARTITIONS, LessonsForgotten, LessonTaught, SnapshotTaken, generation
from contracts.lesson_marks import EIGHTHS, MODULUS, mark
from contracts.roster import BUILT_IN
from streams.additive import Fixed, Floats, NotASum, Solved, Sums, row_of
from streams.embedding import LENGTH
from streams.lesson_lines import LessonLine
from streams.online_base import Base

SHARED: Final = ONLINE_MODELS[0]
"""The online model that each player's own model builds on."""
_GATHERED: Final = 1024
"""How many lessons wait at most to be added to the sums at once."""


class LessonError(ValueError):
    """A lesson that cannot be learned."""


class NobodysLesson(LessonError):
    """A lesson is for a model that is no online model."""


class UnreadableFeatures(LessonError):
    """A lesson's features were made by another reader than the model's."""


class OutOfSequence(LessonError):
    """A lesson's number does not follow that of the lesson before."""


@dataclass(frozen=True, slots=True)
class Answering(ABC):
    """What answers as the online model, for the receipts."""

    version: str
    changes: int
    """How many lessons were taught and taken back: the number in the version."""
    newcomers: int
    """How many of the lessons in force are newcomers'."""
    frozen: bool = field(default=False, kw_only=True)
    """Whether its learning is frozen."""

    def after(self, changes: int) -> str:
        """Return the name of the version after so many more changes; a frozen one stays as it is."""
        if self.frozen:
            return self.version
        return f"{generation(self.version)}+{self.changes + changes}"

    @abstractmethod
    def given(
        self,
        embedding: NDArray[np.float32],
        row: Floats,
        label: int,
        before: tuple[int, float] | None,
        after: tuple[int, float] | None,
    ) -> tuple[float, float]:
        """Return the probability of a label for a drawing: as the model answers, and as it does after this lesson alone.

        Args:
            embedding: The drawing's, shape (size,).
            row: Its features, shape (width,).
            label: The label.
            before: The label and the weight in eighths of the lesson of this drawing that is taken out; None: there is none.
            after: Those of the lesson that is put in; None: there is none.
        """


@dataclass(frozen=True, slots=True)
class InForce(Answering):
    """The sums as they answer after some lessons."""

    solved: Fixed
    """What it answers, and would with one lesson more."""

    def given(
        self,
        embedding: NDArray[np.float32],
        row: Floats,
        label: int,
        before: tuple[int, float] | None,
        after: tuple[int, float] | None,
    ) -> tuple[float, float]:
        """Return the probability of a label as the sums answer, and as they do after this lesson alone."""
        p_before = self.solved.probabilities(row[None])[0, label]
        return float(p_before), float(self.solved.probabilities_with(row, before, after)[label])


def embedding_of(base: Base, embedding: bytes, reader: str) -> NDArray[np.float32]:
    """Return the numbers of an embedding that the model can read, shape (size,).

    Raises:
        UnreadableFeatures: If it is of another reader, or no embedding at all.
    """
    if reader != base.reader:
        raise UnreadableFeatures(f"read with {reader}, learned is {base.reader}")
    if len(embedding) != 4 * base.basis.size:
        raise UnreadableFeatures(f"{len(embedding)} bytes are no embedding of {base.basis.size} float32")
    numbers = np.frombuffer(embedding, "<f4")
    length = math.hypot(*numbers.tolist())
    if not length <= LENGTH * 1.01:  # so written, it refuses NaN
        raise UnreadableFeatures("the embedding is longer than any that the network gives")
    return numbers


def features_of(base: Base, embedding: bytes, reader: str) -> Floats:
    """Return the features of an embedding as the model reads it, shape (width,), not to be changed in place.

    Raises:
        UnreadableFeatures: If it is of another reader, or no embedding at all.
    """
    embedding_of(base, embedding, reader)
    return row_of(base.basis, embedding)


def newcomers_share(lessons: int) -> float:
    """Return how much of a whole lesson each of so many lessons of newcomers counts: an eighth, all of them together."""
    return 1 / (EIGHTHS * max(lessons, 1))


class LessonSet(NamedTuple):
    """What identifies the set of lessons in force; sets are merged by addition."""

    lessons: int = 0
    """How many are in force."""
    newcomers: int = 0
    """How many of them are newcomers'."""
    changes: int = 0
    """How many were taught and taken back."""
    marked: int = 0
    """The sum of the marks of all lessons in force."""

    def apply(self, lesson: LessonTaught | LessonLine) -> "LessonSet":
        """Return the set after a lesson."""
        newcomers, marked = self.newcomers + lesson.sign * lesson.newcomer, (self.marked + mark(lesson)) % MODULUS
        return LessonSet(self.lessons + lesson.sign, newcomers, self.changes + 1, marked)

    def merged(self, other: "LessonSet") -> "LessonSet":
        """Return the set of the lessons of both."""
        return LessonSet(
            self.lessons + other.lessons,
            self.newcomers + other.newcomers,
            self.changes + other.changes,
            (self.marked + other.marked) % MODULUS,
        )

    def digest(self, base: Base) -> str:
        """Return the digest of the model that these lessons make of the base: the same for the same lessons in any order."""
        return sha256(f"{base.digest}|{self.lessons}|{self.marked:064x}".encode()).hexdigest()

    def version(self, base: Base) -> str:
        """Return the name of the version."""
        return f"{base.generation}+{self.changes}"


@dataclass(frozen=True, slots=True)
class PartSums:
    """The lessons of some partitions, added up without the base."""

    sums: Sums
    """Of those that count by themselves."""
    newcomers: Sums
    known: LessonSet
    numbers: Mapping[int, int]
    """By partition, the number of the last lesson."""
    offsets: Mapping[int, int]
    """By partition, the offset of the last record."""


class OnlineModel:
    """The sums of the base and of the lessons of all partitions, up to some offset of each."""

    def __init__(self, base: Base, series: str) -> None:
        """Begin with the base; lessons of another ``series`` are passed by."""
        self._base = base
        self._series = series
        self._sums = {False: base.sums, True: Sums.nothing(base.basis.width)}
        """The sums of all lessons that count by themselves, and of those of newcomers."""
        self._waiting: dict[bool, list[tuple[NDArray[np.float32], int, int]]] = {False: [], True: []}
        """The lessons that are not in these sums yet: embedding, label, and weight in eighths."""
        self.known = LessonSet()
        self.numbers: dict[int, int] = {}
        """By partition, the number of the last lesson."""
        self.offsets: dict[int, int] = {}
        """By partition, the offset of the last record."""
        self._missing: dict[int, set[int]] = {}
        """By partition, the numbers of lessons that are forgotten."""

    def apply(self, lesson: LessonTaught | LessonLine, partition: int, offset: int) -> None:
        """Add a lesson, or take it out.

        Raises:
            LessonError: If it is for no online model, its features cannot be read, or a lesson before it has not come.
        """
        before = self.numbers.get(partition, 0)
        if lesson.series == self._series and lesson.number > before:
            if lesson.model not in ONLINE_MODELS:
                raise NobodysLesson(f"a lesson for {lesson.model}, which is no online model")
            embedding = embedding_of(self._base, lesson.embedding, lesson.reader)
            forgotten = self._forgotten(partition, lesson.number, f"lesson {lesson.number}")
            self._waiting[lesson.newcomer].append((embedding, lesson.label, lesson.sign * round(lesson.weight * EIGHTHS)))
            if len(self._waiting[lesson.newcomer]) >= _GATHERED:
                self.sums(lesson.newcomer)
            self.known = self.known.apply(lesson).merged(LessonSet(changes=forgotten))
            self.numbers[partition] = lesson.number
        self.offsets[partition] = max(offset, self.offsets.get(partition, -1))

    def forget(self, event: LessonsForgotten, partition: int, offset: int) -> None:
        """Take note of lessons that are missing, and go on from the number that the event gives.

        Lessons that were refused because of the gap may be applied now, and then the event again, if it was refused too.

        Raises:
            OutOfSequence: If a lesson before it has not come.
        """
        self.explain(event, partition)
        if event.series == self._series:
            before = self.numbers.get(partition, 0)
            if event.number > before:
                forgotten = 0
                if event.offset > before:
                    forgotten = self._forgotten(partition, event.offset + 1, f"what was forgotten after lesson {event.offset}")
                self.known = self.known.merged(LessonSet(changes=forgotten))
                self.numbers[partition] = event.number
        self.offsets[partition] = max(offset, self.offsets.get(partition, -1))

    def explain(self, event: LessonsForgotten, partition: int) -> None:
        """Take note of lessons that are missing, so that the gap that they leave is no fault."""
        if event.series == self._series:
            for first, last in event.numbers:
                self._missing.setdefault(partition, set()).update(range(first, last + 1))

    def _forgotten(self, partition: int, number: int, what: str) -> int:
        """Return how many lessons are missing before a number, all of them forgotten.

        Raises:
            OutOfSequence: If one is missing that is not.
        """
        before = self.numbers.get(partition, 0)
        missing = self._missing.get(partition, set())
        if number != before + 1 and (
            number - before - 1 > len(missing) or not all(gone in missing for gone in range(before + 1, number))
        ):
            raise OutOfSequence(f"{what} of partition {partition} came after lesson {before}")
        return number - before - 1

    def sums(self, newcomers: bool = False) -> Sums:
        """Return the sums of all lessons so far that count by themselves, with the base; or those of newcomers."""
        if waiting := self._waiting[newcomers]:
            embeddings, labels, eighths = zip(*waiting, strict=True)
            rows = self._base.basis.rows(np.stack(embeddings))
            self._sums[newcomers] = self._sums[newcomers].plus(rows, np.array(labels), np.array(eighths))
            waiting.clear()
        return self._sums[newcomers]

    def add(self, several: PartSums) -> None:
        """Add the lessons of other partitions, or of this one up to an offset, which were added up elsewhere."""
        for newcomers, sums in ((False, several.sums), (True, several.newcomers)):
            self._sums[newcomers] = self._sums[newcomers].merged(sums)
        self.known = self.known.merged(several.known)
        self.numbers |= several.numbers
        self.offsets |= several.offsets

    def part(self) -> PartSums:
        """Return what `add` takes: what was added since the beginning."""
        sums = self.sums().merged(self._base.sums.share(-1))
        return PartSums(sums, self.sums(newcomers=True), self.known, dict(self.numbers), dict(self.offsets))

    def in_force(self) -> InForce:
        """Return the model after all lessons so far; about a millisecond.

        Raises:
            NotASum: If lessons were taken out that had not come in.
        """
        if self.known.lessons < 0:
            raise NotASum(f"{-self.known.lessons} lessons more were taken out than had come in")
        known, sums = self.known, self.sums()
        if known.newcomers:
            sums = sums.merged(self.sums(newcomers=True).share(newcomers_share(known.newcomers)))
        return InForce(known.version(self._base), known.changes, known.newcomers, Solved(sums))

    def snapshot(self, model: InForce, at: datetime) -> SnapshotTaken:
        """Return the event that says so; ``model`` is what `in_force` returned last."""
        return SnapshotTaken(
            at=at,
            model=SHARED,
            version=model.version,
            title=BUILT_IN[SHARED].title,
            offset=sum(offset + 1 for offset in self.offsets.values()) - 1,
            offsets=offsets_of(self.offsets),
            lessons=self.known.lessons,
            newcomers=model.newcomers,
            series=self._series,
            digest=self.known.digest(self._base),
            marked=f"{self.known.marked:064x}",
            reader=self._base.reader,
            basis=self._base.basis.name,
            weights=model.solved.weights.astype("<f4").tobytes(),
        )


def offsets_of(offsets: Mapping[int, int]) -> list[int]:
    """Return the offsets by partition as a snapshot has them."""
    return [offsets.get(partition, -1) for partition in range(PLAYER_PARTITIONS)]


def is_of(snapshot: SnapshotTaken, base: Base, series: str) -> bool:
    """Whether a snapshot is of the lessons of a series, added to a base: then its version and offsets are of these."""
    return bool(snapshot.offsets) and snapshot.series == series and generation(snapshot.version) == base.generation


def of_base(base: Base) -> InForce:
    """Return the model without any lesson."""
    return InForce(LessonSet().version(base), 0, 0, Solved(base.sums))


def stands_still(snapshot: SnapshotTaken | None, base: Base) -> InForce:
    """Return a frozen model: the one of the last snapshot, or the base if there is none.

    Raises:
        ValueError: If the snapshot is of other features than the base.
    """
    if snapshot is None:
        return replace(of_base(base), frozen=True)
    if (snapshot.reader, snapshot.basis) != (base.reader, base.basis.name):
        raise ValueError(f"the snapshot {snapshot.version} is of other features")
    weights = np.frombuffer(snapshot.weights, "<f4").reshape(DIGITS, base.basis.width).astype(np.float64)
    return InForce(snapshot.version, 0, snapshot.newcomers, Fixed(weights), frozen=True)
