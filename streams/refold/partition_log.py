"""Reads one partition of some topics up to given offsets, in the order in which the broker took the records (way 2)."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from contracts.ports import Bus, Record, Tail

_POLL_S: Final = 0.25


class PartitionLog:
    """One partition of some topics; of each topic as much is held as one poll brings."""

    def __init__(self, bus: Bus, topics: Sequence[str], partition: int, since: Mapping[str, int]) -> None:
        """Begin to read.

        Args:
            bus: Where the log is.
            topics: The topics; of records of one moment, those of the first topic come first.
            partition: The number of the partition.
            since: By topic, the first offset to read.
        """
        self._partition = partition
        self._tails: dict[str, Tail] = {}
        self._waiting: dict[str, deque[Record]] = {topic: deque() for topic in topics}
        try:
            for topic in topics:
                self._tails[topic] = bus.follow([topic], {(topic, partition): since.get(topic, 0)}, only=partition)
        except BaseException:
            self.close()
            raise

    def next(self, topic: str) -> int:
        """Return the offset of the next record of a topic, if there is one already; else where reading goes on."""
        waiting = self._waiting[topic]
        return waiting[0].offset if waiting else self._tails[topic].positions()[topic, self._partition]

    def ends(self) -> dict[str, int]:
        """Return the last offset that each topic had when it was opened; -1: none."""
        return {topic: tail.ends()[topic, self._partition] - 1 for topic, tail in self._tails.items()}

    def batches(self, until: Mapping[str, int], most: int) -> Iterator[list[Record]]:
        """Yield the records up to these offsets, at most so many at a time; a topic that is not named is not read."""
        batch: list[Record] = []
        for record in self._records({topic: until[topic] for topic in self._tails if topic in until}):
            batch.append(record)
            if len(batch) == most:
                yield batch
                batch = []
        if batch:
            yield batch

    def _records(self, until: Mapping[str, int]) -> Iterator[Record]:
        while True:
            ready = [topic for topic, last in until.items() if self._fill(topic, last)]
            if not ready:
                return
            if len(ready) == 1:
                [topic] = ready
                waiting = self._waiting[topic]
                while waiting and waiting[0].offset <= until[topic]:
                    yield waiting.popleft()
            else:
                yield self._waiting[min(ready, key=lambda topic: self._waiting[topic][0].timestamp_ms)].popleft()

    def _fill(self, topic: str, last: int) -> bool:
        """Have a record of a topic ready; returns whether there is one up to the ``last`` offset."""
        waiting = self._waiting[topic]
        while not waiting and self.next(topic) <= last:
            waiting.extend(self._tails[topic].poll(_POLL_S))
        return bool(waiting) and waiting[0].offset <= last

    def close(self) -> None:
        """Stop reading."""
        for tail in self._tails.values():
            tail.close()
