"""Reads from the log what forgetting a player must know: which records are theirs, and who has let go (way 3, OPERATE)."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, get_args
from uuid import UUID

from contracts.events import (
    MAX_FORGOTTEN,
    CommandSettled,
    DrawingPicked,
    ExampleLabelled,
    ExperimentLearned,
    LessonsCut,
    LessonsForgotten,
    LessonTaught,
    MessageRejected,
    RestrictionSet,
    SeatOffered,
    SnapshotTaken,
    StageForgot,
    UnknownEvent,
    decode,
    generation,
)
from contracts.lesson_marks import MODULUS, is_whole, mark
from contracts.ports import Bus, Record
from contracts.records import key_of
from contracts.settings import Settings
from producers.acls import GROUPS
from producers.connection import BusError
from producers.cutting import OF_PLAYERS
from producers.topics import open_admin
from producers.whole_log import all_records
from trainers.jobs import Pause
from trainers.named_commands import names

STAGES: Final[frozenset[str]] = frozenset(get_args(StageForgot.model_fields["stage"].annotation))
"""The folds that hold something of players: each must say that it has forgotten one."""
_SOURCES: Final = {
    "learning": ("drawings.v1", "answers.v1", "corrections.v1", "examples.v1"),
    "router": ("drawings.v1", "examples.v1"),
}
"""What each group reads, by its kind of process."""
_POLL_S: Final = 0.25

T = TypeVar("T")


class Unheard(BusError):
    """Something that must be waited for did not come; the message says what, and what to do."""


def is_of(player_id: str, but: UUID | None = None) -> Callable[[Record], bool]:
    """Return what says whether a record is a player's, or names them.

    On the topics of players the key says it, so that no record of anybody else is ever taken for theirs. Elsewhere it is the
    whole id as a word of the text; of commands, of what says something of a player (`trainers.named_commands`).

    Args:
        player_id: The player.
        but: The id of a command, whose records are not looked for; None: they are.
    """
    name = player_id.encode()
    word = re.compile(rb"(?<![\w-])" + re.escape(json.dumps(player_id)[1:-1].encode()) + rb"(?![\w-])")
    command = None if but is None else str(but).encode()

    def wanted(record: Record) -> bool:
        if record.topic in OF_PLAYERS:
            return name in (key_of(record.key), record.key)
        if record.value is None:
            return False
        if record.topic == SeatOffered.topic:
            return word.search(record.value) is not None
        if record.topic == RestrictionSet.topic:
            return word.search(record.value) is not None and b'"RestrictionSet"' in record.value
        if record.topic == CommandSettled.topic:
            return names(record, player_id, word) and (command is None or command not in record.value)
        return record.topic == MessageRejected.topic and (word.search(record.value) is not None or _rejected(record, word))

    return wanted


def _rejected(record: Record, word: re.Pattern[bytes]) -> bool:
    """Say whether a rejected message names a player, in what was kept of it."""
    try:
        event = decode(record.topic, record.value)
    except UnknownEvent:
        return False
    kept = (getattr(event, "value", b""), getattr(event, "source_key", b"") or b"")
    return any(word.search(part) is not None for part in kept)


def drawings_of(records: Sequence[Record], player_id: str) -> tuple[list[UUID], set[UUID]]:
    """Return the drawings that records of a player name, and those of which there is an example of theirs."""
    drawings: dict[UUID, None] = {}
    examples: set[UUID] = set()
    for _, event in _decoded(records):
        drawing_id = getattr(event, "drawing_id", None)
        if drawing_id is not None and getattr(event, "player_id", None) == player_id:
            drawings[drawing_id] = None
            if isinstance(event, ExampleLabelled | DrawingPicked):
                examples.add(drawing_id)
                if event.instead_of is not None:  # the scorer has noted it, whether it came or not
                    drawings[event.instead_of] = None
                    examples.add(event.instead_of)
    return list(drawings), examples


@dataclass(slots=True)
class LessonNumbers:
    """The lessons of a player on the log."""

    missing: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By series: the runs of their numbers that nobody has told to be missing yet."""
    highest: int = 0
    """The highest number of anybody, in whatever series: the evidence fold numbers on with all of them."""
    series: str = ""
    """The series of the newest lesson of the partition."""
    last: int = -1
    """The offset of the last one of theirs; -1: there is none."""
    counted: bool = False
    """Whether one of theirs is such as experiments learn."""
    known: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """By series: the numbers of all lessons of theirs, told to be missing or not."""

    def has(self, records: Iterable[Record]) -> bool:
        """Say whether the lessons among these records of the player are all known."""
        lessons = [event for _, event in _decoded(records) if isinstance(event, LessonTaught) and event.series]
        return all(event.number in self.known[event.series] for event in lessons)


def lesson_numbers(bus: Bus, partition: int, player_id: str) -> LessonNumbers:
    """Read the numbers of a player's lessons, and what is told to be missing already."""
    out = LessonNumbers()
    told: dict[str, set[int]] = defaultdict(set)
    for record, event in _events(bus, (LessonTaught.topic, ExampleLabelled.topic)):
        if record.partition != partition:
            continue
        if isinstance(event, LessonTaught):
            out.highest = max(out.highest, event.number)
            out.series = event.series
            if event.player_id == player_id:
                out.known[event.series].add(event.number)
                out.counted = out.counted or is_whole(event)
                out.last = record.offset
        elif isinstance(event, LessonsCut):
            out.highest = max(out.highest, event.number)
            if record.topic == LessonsCut.topic:
                for first, last in event.numbers:
                    told[event.series].update(range(first, last + 1))
    for series, numbers in out.known.items():
        runs = list(_runs(sorted(numbers - told[series])))
        if runs and series:
            out.missing[series] = runs
    return out


def parts_of(several: Sequence[T]) -> list[list[T]]:
    """Split what is told of a player into parts that fit into an event each; nothing is one part."""
    return [list(several[first : first + MAX_FORGOTTEN]) for first in range(0, max(1, len(several)), MAX_FORGOTTEN)]


def _runs(numbers: Sequence[int]) -> Iterable[tuple[int, int]]:
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last


def _events(bus: Bus, topics: Sequence[str]) -> Iterable[tuple[Record, Any]]:
    """Read topics from the start to where they end now."""
    return _decoded(all_records(bus, topics))


def _decoded(records: Iterable[Record]) -> Iterable[tuple[Record, Any]]:
    """Return the records that any event can be read from, each with it."""
    for record in records:
        try:
            yield record, decode(record.topic, record.value)
        except UnknownEvent:
            continue


class Echoes:
    """Waits for what stages say of a player who is forgotten."""

    def __init__(self, settings: Settings, bus: Bus, pause: Pause, within_s: float) -> None:
        """Listen from now on."""
        self._settings = settings
        self._pause = pause
        self._within_s = within_s
        self._tail = bus.follow([StageForgot.topic, LessonsForgotten.topic], "end")
        self._models = bus.follow([SnapshotTaken.topic], "start")
        self._stages: dict[UUID, set[str]] = defaultdict(set)
        self._lessons: set[tuple[int, str, int]] = set()
        self._snapshot: SnapshotTaken | None = None

    def close(self) -> None:
        """Listen no more."""
        self._tail.close()
        self._models.close()

    def wait_folded(self, partition: int) -> None:
        """Wait until each group has read all that is on its topics now, of a partition."""
        admin = open_admin(self._settings)
        try:
            from kafka.admin import OffsetSpec
            from kafka.structs import TopicPartition

            places = {TopicPartition(topic, partition) for topics in _SOURCES.values() for topic in topics}
            ends = {p: at.offset for p, at in admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST)).items()}
            wanted = {(GROUPS[part], TopicPartition(topic, partition)) for part, topics in _SOURCES.items() for topic in topics}

            def behind() -> str:
                told = admin.list_group_offsets(sorted(set(GROUPS.values())))
                for group, place in sorted(wanted):
                    at = told.get(group, {}).get(place)
                    if ends[place] and (at is None or at.offset < ends[place]):
                        return f"{group} at {place.topic}/{partition}"
                return ""

            self._until(lambda: not behind(), behind)
        finally:
            admin.close()

    def wait_stages(self, forget_id: UUID) -> None:
        """Wait until all stages have let go."""
        self._until(lambda: self._stages[forget_id] >= STAGES, lambda: ", ".join(sorted(STAGES - self._stages[forget_id])))

    def wait_lessons(self, cut: LessonsCut) -> None:
        """Wait until the learner has told the online model which lessons will be missing."""
        self._until(lambda: (cut.source, cut.series, cut.number) in self._lessons, lambda: "learner")

    def wait_snapshot(self, partition: int, offset: int) -> None:
        """Wait for a model that has all lessons of a partition up to an offset."""

        def there() -> bool:
            taken = self._snapshot
            return offset < 0 or (taken is not None and len(taken.offsets) > partition and taken.offsets[partition] >= offset)

        self._until(there, lambda: "online model")

    def _until(self, done: Callable[[], bool], missing: Callable[[], str]) -> None:
        deadline = time.monotonic() + self._within_s
        while not done():
            if time.monotonic() > deadline:
                raise Unheard(
                    f"{missing()} has not answered in {self._within_s:.0f} s: see gamenight doctor, and give it again"
                )
            self._pause(0)
            for _, event in _decoded((*self._tail.poll(0.1), *self._models.poll(0.0))):
                if isinstance(event, StageForgot):
                    self._stages[event.forget_id].add(event.stage)
                elif isinstance(event, LessonsForgotten):
                    self._lessons.add((event.source, event.series, event.number))
                elif isinstance(event, SnapshotTaken) and event.offsets:
                    self._snapshot = event


def experiments_anew(bus: Bus, partition: int, pause: Pause, within_s: float) -> dict[str, Any]:
    """Wait until the experiments have begun anew, since they cannot unlearn; return which have, by name."""
    told = [
        record.offset
        for record, event in _events(bus, (LessonsForgotten.topic,))
        if isinstance(event, LessonsForgotten) and event.counted and record.partition == partition
    ]
    offset, deadline = max(told, default=-1), time.monotonic() + within_s
    newest: dict[str, ExperimentLearned] = {}
    with closing(bus.follow([ExperimentLearned.topic], "start")) as tail:
        while True:
            read = tail.caught_up()
            events = (event for _, event in _decoded(tail.poll(_POLL_S)))
            newest |= {event.slot: event for event in events if isinstance(event, ExperimentLearned)}
            anew = {
                generation(one.version): len(one.offsets) > partition and one.offsets[partition] >= offset
                for one in newest.values()
                if not one.ended
            }
            if read and (all(anew.values()) or time.monotonic() > deadline):
                return {"partition": partition, "offset": offset, "begun_anew": dict(sorted(anew.items()))}
            pause(0)


class OnlineFold:
    """Folds the lessons that are on the log, and compares them with the online model that answers."""

    def __init__(self, bus: Bus, pause: Pause) -> None:
        """Keep the bus; ``pause`` waits, and raises when the trainer must stop."""
        self._bus = bus
        self._pause = pause

    def proof(self, within_s: float) -> dict[str, Any]:
        """Return the digests of the newest snapshot and of the lessons on the log up to its offsets, which are equal.

        Raises:
            Unheard: If they are not.
        """
        deadline = time.monotonic() + within_s
        while True:
            newest = [event for _, event in _events(self._bus, (SnapshotTaken.topic,)) if isinstance(event, SnapshotTaken)]
            if not newest:
                return {"version": None}
            taken = newest[-1]
            folded = self._folded(taken)
            if (taken.lessons, taken.marked) in folded or (not taken.lessons and not folded):
                break
            if time.monotonic() > deadline:
                raise Unheard(f"the online model {taken.version} is not that of the lessons on the log: nothing is certified")
            self._pause(0.5)
        return {
            "version": taken.version,
            "digest": taken.digest,
            "offsets": list(taken.offsets),
            "lessons": taken.lessons,
            "marked": taken.marked,
            "folded": [list(one) for one in folded],
        }

    def _folded(self, taken: SnapshotTaken) -> list[tuple[int, str]]:
        """Return, by series, how many lessons are in force and the sum of their marks, up to the offsets of a snapshot."""
        numbers: dict[tuple[str, int], int] = defaultdict(int)
        lessons: dict[str, int] = defaultdict(int)
        marked: dict[str, int] = defaultdict(int)
        for record, event in _events(self._bus, (LessonTaught.topic,)):
            if record.partition >= len(taken.offsets) or record.offset > taken.offsets[record.partition]:
                continue
            if (
                not isinstance(event, LessonTaught | LessonsForgotten)
                or event.number <= numbers[event.series, record.partition]
            ):
                continue
            numbers[event.series, record.partition] = event.number
            if isinstance(event, LessonTaught) and event.series:
                lessons[event.series] += event.sign
                marked[event.series] = (marked[event.series] + mark(event)) % MODULUS
        return [(lessons[series], f"{marked[series]:064x}") for series in sorted(lessons)]
