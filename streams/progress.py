"""Decides offsets without a broker: where to begin reading, what is missing between records, what to commit. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from contracts.ports import Partition, Record


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets of a partition that were skipped: a later record came instead."""

    topic: str
    partition: int
    first: int
    """The offset that was expected."""
    end: int
    """The offset that came instead."""

    @property
    def place(self) -> Partition:
        """The partition."""
        return self.topic, self.partition


def gaps(records: Sequence[Record], expected: Callable[[Partition], int]) -> Iterator[Gap]:
    """Find what is missing before and between records of some partitions.

    Args:
        records: As they came.
        expected: Gives the next offset of a partition before these records.
    """
    wanted: dict[Partition, int] = {}
    for record in records:
        place = record.topic, record.partition
        if place not in wanted:
            wanted[place] = expected(place)
        if record.offset > wanted[place]:
            yield Gap(*place, wanted[place], record.offset)
        wanted[place] = max(wanted[place], record.offset + 1)


def next_offset(folded: int, first: int) -> int:
    """The offset to read next, if a state is folded up to ``folded`` (-1: nothing is) and the log begins at ``first``."""
    return max(folded + 1, first)


def least(positions: Iterable[Mapping[Partition, int]]) -> dict[Partition, int]:
    """Where to begin so that several readers of the same partitions all get what they need."""
    wanted: dict[Partition, int] = {}
    for one in positions:
        for place, offset in one.items():
            wanted[place] = min(offset, wanted.get(place, offset))
    return wanted


class OffsetTracker:
    """Tracks the acknowledged offsets of a partition: records are delivered in order and acknowledged in any order.

    An acknowledgement that comes twice, or after its partition was read anew, changes nothing.
    """

    def __init__(self) -> None:
        """Start with nothing delivered."""
        self._delivered: deque[int] = deque()  # from the first one that is not acknowledged
        self._acknowledged: set[int] = set()
        self._next: int | None = None

    def deliver(self, offset: int) -> None:
        """Remember that the record at ``offset``, after all before, was delivered."""
        self._delivered.append(offset)

    def acknowledge(self, offset: int) -> None:
        """Remember that nobody needs to read this record again."""
        if self._delivered and offset >= self._delivered[0]:
            self._acknowledged.add(offset)

    @property
    def next(self) -> int | None:
        """The offset to commit to Kafka, from which the next process reads; None: the one where reading began."""
        while self._delivered and self._delivered[0] in self._acknowledged:
            self._next = self._delivered.popleft() + 1
            self._acknowledged.discard(self._next - 1)
        return self._next
