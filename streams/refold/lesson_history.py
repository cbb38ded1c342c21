"""Finds which lessons an online model had at a version or at a time, and which made the difference of two versions. Pure.

A version's number is how many lessons were taught and taken back. Which ones follows exactly from its snapshot, which names the
last offset of each partition; but models.v1 is compacted, and has the newest snapshots only. For a version between two known
ones the lessons between them are taken in the order of the broker's clock: that is exact if they are all of one partition, and
else all but the few within a second of the version, which may have been read in another order.

The lessons of players who were forgotten are gone, and count only as changes. All of them were taken back in the end, so a
version from after that is exact; one from before is told without them, and how many they are.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from contracts.events import LessonsForgotten, SnapshotTaken
from streams.additive import EIGHTHS
from streams.experiments import NAMES
from streams.lesson_lines import LessonLine
from streams.online_base import Base
from streams.online_model import SHARED, LessonError, OnlineModel, is_of

_VERSION: Final = re.compile(r"([A-Za-z0-9._-]+)\+(\d{1,15})")
_NEAR_MS: Final = 1000
_DRAWINGS: Final = 4000


class NoSuchVersion(ValueError):
    """There is no such version, or nothing is known of it; the message says which there are."""


class PlacedLesson(NamedTuple):
    """A lesson and its place on the log."""

    at_ms: int
    partition: int
    offset: int
    lesson: LessonLine | LessonsForgotten
    """A LessonsForgotten says which lessons are missing, and from which number it goes on."""


class Gaps:
    """The lessons that are missing on the log, since their players were forgotten."""

    def __init__(self, events: Iterable[tuple[int, LessonsForgotten]], series: str) -> None:
        """Take all events that say so, each with its partition, in the order of the log."""
        self.events: list[tuple[int, LessonsForgotten]] = []
        """Those that say something new."""
        self._part: dict[tuple[int, int], int] = {}
        """By partition and number, the event that names a lesson first."""
        self._jumps: dict[tuple[int, int], int] = {}
        for partition, event in events:
            if event.series != series:
                continue
            place = len(self.events)
            self.events.append((partition, event))
            self._jumps.setdefault((partition, event.number), event.number - event.offset)
            for first, last in event.numbers:
                for number in range(first, last + 1):
                    self._part.setdefault((partition, number), place)
        self._sizes = Counter(self._part.values())

    def explain(self, partition: int, first: int, end: int) -> bool:
        """Say whether all lessons from a number up to, but not, another one are missing for this reason."""
        return end - first <= len(self._part) and all((partition, number) in self._part for number in range(first, end))

    def unsettled(self, taken: Iterable[tuple[int, int]]) -> int:
        """Return how many of these missing lessons, by partition and number, may be in force: not all of theirs are here."""
        count = Counter(self._part[place] for place in taken)
        return sum(n for part, n in count.items() if n < self._sizes[part])

    def missing(self, numbers: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """Yield the missing lessons up to a number of each partition."""
        return (place for place in self._part if place[1] <= numbers.get(place[0], 0))

    def changes(self, partition: int, last: int) -> int:
        """Return how many lessons a partition ever had, whose last number among those that are left is ``last``."""
        here = {number: jump for (place, number), jump in self._jumps.items() if place == partition}
        return max([last, *here]) - sum(here.values())


NO_GAPS: Final = Gaps((), "")


class Change(NamedTuple):
    """A lesson that is in force in one of two versions only."""

    player_id: str
    drawing_id: str
    label: int
    eighths: int
    newcomer: bool
    embedding: bytes
    reader: str

    def line(self, sign: int) -> LessonLine:
        """Return the lesson that brings it in, or takes it out."""
        about = (self.drawing_id, self.player_id, self.label, self.eighths / EIGHTHS, self.embedding, self.reader)
        return LessonLine(sign, SHARED, *about, "", 0, self.newcomer)


@dataclass(slots=True)
class Cut:
    """A version, as a part of the log that is read in the order of the broker's clock."""

    version: str
    changes: int
    """The version's number."""
    offsets: Mapping[int, int]
    """Of the nearest version before it whose snapshot is known: by partition, the last offset; empty: the base."""
    until: Mapping[int, int] | None
    """Of the nearest one after it; None: no later one is known."""
    left: int
    """How many changes follow that one."""
    digest: str | None
    """Of the version's own snapshot; None: it is gone."""
    taken: int = 0
    last_ms: int = 0
    """When the last change was written that follows the snapshot before."""
    gone: list[tuple[int, int]] = field(default_factory=list)
    """The changes that are missing on the log, by partition and number."""
    _near: list[tuple[int, int, bool]] = field(default_factory=list)

    def takes(self, one: PlacedLesson) -> bool:
        """Whether the version has the next change of the log; ask once for each, in order."""
        if one.offset <= self.offsets.get(one.partition, -1):
            self.taken += 1
            return True
        if self.until is not None and one.offset > self.until.get(one.partition, -1):
            return False
        inside = self.left > 0
        if inside:
            self.left -= 1
            self.taken += 1
            self.last_ms = one.at_ms
        if inside or (self.last_ms and one.at_ms <= self.last_ms + _NEAR_MS):
            self._near = [(at, place, there) for at, place, there in self._near if at >= self.last_ms - _NEAR_MS]
            self._near.append((one.at_ms, one.partition, inside))
        return inside

    def whole(self, at_ms: int) -> bool:
        """Whether all changes of the version were taken, and none that was written by then could be in doubt."""
        return self.taken == self.changes and (self.digest is not None or at_ms > self.last_ms + _NEAR_MS)

    @property
    def doubtful(self) -> int:
        """How many of the changes within a second of the version may be on its other side; 0: the version is exact."""
        near = [(place, inside) for at, place, inside in self._near if abs(at - self.last_ms) <= _NEAR_MS]
        if not any(not inside for _, inside in near) or len({place for place, _ in near}) == 1:
            return 0
        return len(near)


def cut_at(version: str, base: Base, series: str, snapshots: Iterable[SnapshotTaken], newest: int) -> Cut:
    """Return the part of the log that a version is.

    Args:
        version: Its name.
        base: The base of the online model.
        series: The series of its lessons.
        snapshots: Those that models.v1 still has, of any base and series.
        newest: How many changes the log has.

    Raises:
        NoSuchVersion: If there is no such version, or it is of a model of another kind.
    """
    there = f"{base.generation}+0 to {base.generation}+{newest}"
    found = _VERSION.fullmatch(version)
    if found is None:
        raise NoSuchVersion(f"{version!r} is no version of {SHARED}: there are {there}")
    generation, changes = found[1], int(found[2])
    if generation in NAMES:
        raise NoSuchVersion(
            f"{version} is of the experiment {generation}, which is no sum, so nobody can say what one of its lessons did: of"
            f" the sums there are {there}"
        )
    if generation != base.generation:
        raise NoSuchVersion(
            f"{version} is from before {SHARED} was a sum of its lessons, of another base or of other rules, so nobody can say"
            f" what it had learned: there are {there}"
        )
    if changes > newest:
        raise NoSuchVersion(f"there is no {version} yet: there are {there}")
    known = {_number(one): one for one in snapshots if is_of(one, base, series)}
    before = max((number for number in known if number <= changes), default=0)
    after = min((number for number in known if number >= changes), default=None)
    return Cut(
        version,
        changes,
        dict(enumerate(known[before].offsets)) if before else {},
        None if after is None else dict(enumerate(known[after].offsets)),
        changes - before,
        known[changes].digest if changes in known else None,
    )


def _number(snapshot: SnapshotTaken) -> int:
    return int(snapshot.version.rpartition("+")[2])


@dataclass(frozen=True, slots=True)
class VersionPair:
    """Two versions of an online model, and what is in one of them only."""

    first: OnlineModel
    came: Sequence[Change]
    """The lessons that are in force in the second only."""
    went: Sequence[Change]
    """Those that are in force in the first only."""
    drawings: Mapping[str, Change]
    """Drawings of players, each with its lesson that is in force in the second: all, or some thousand by chance."""


def pair_of(
    lessons: Iterable[PlacedLesson], base: Base, series: str, first: Cut, second: Cut, gaps: Gaps = NO_GAPS
) -> VersionPair:
    """Read the log up to the later of two versions.

    Args:
        lessons: The lessons of all partitions, in the order of the broker's clock.
        base: The base of the online model.
        series: The series of its lessons.
        first: The one version.
        second: The other one.
        gaps: The lessons that are missing.
    """
    model, numbers, offsets = OnlineModel(base, series), dict[int, int](), dict[int, int]()
    for partition, event in gaps.events:
        model.explain(event, partition)
    net: dict[Change, int] = {}
    drawings, part = dict[str, Change](), 1
    for one in lessons:
        lesson = one.lesson
        last = numbers.get(one.partition, 0)
        end = lesson.offset + 1 if isinstance(lesson, LessonsForgotten) else lesson.number
        if lesson.series != series or lesson.number <= last or not gaps.explain(one.partition, last + 1, end):
            continue  # of another learner, or it has come before
        for number in range(last + 1, end):
            offsets[one.partition] = min(offsets.get(one.partition, -1) + 1, one.offset)
            for cut in (first, second):
                if cut.takes(one._replace(offset=offsets[one.partition])):
                    cut.gone.append((one.partition, number))
        numbers[one.partition], offsets[one.partition] = lesson.number, one.offset
        if isinstance(lesson, LessonsForgotten):
            with suppress(LessonError):
                model.forget(lesson, one.partition, one.offset)
            continue
        in_first, in_second = first.takes(one), second.takes(one)
        if in_first:
            try:
                model.apply(lesson, one.partition, one.offset)
            except LessonError:
                continue
        change = _change(lesson)
        if in_first != in_second:
            net[change] = net.get(change, 0) + (lesson.sign if in_second else -lesson.sign)
            if not net[change]:
                del net[change]  # it holds as much as the lesson
        if in_second and int(lesson.drawing_id[:8], 16) % part == 0:
            if lesson.sign < 0:
                drawings.pop(lesson.drawing_id, None)
            else:
                drawings[lesson.drawing_id] = change
        if len(drawings) > _DRAWINGS:
            part *= 2
            drawings = {name: kept for name, kept in drawings.items() if int(name[:8], 16) % part == 0}
        if first.whole(one.at_ms) and second.whole(one.at_ms):
            break
    return VersionPair(
        model,
        [change for change, count in net.items() for _ in range(count)],
        [change for change, count in net.items() for _ in range(-count)],
        drawings,
    )


def _change(lesson: LessonLine) -> Change:
    eighths = round(lesson.weight * EIGHTHS)
    return Change(lesson.player_id, lesson.drawing_id, lesson.label, eighths, lesson.newcomer, lesson.embedding, lesson.reader)
