"""Runs a fold with a ledger for each assigned partition: it folds records, publishes, then acknowledges (way 2).

The order makes it exact. State, offsets and outbox are one transaction of the ledger; then the outbox is sent and the broker's
answer awaited, but for scores, which may wait there for newer ones; Kafka's own commit comes last. A process that dies in
between reads the same records again, and the ledger knows them.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from contracts.events import FoldAdvanced
from contracts.ports import Partition, Record
from streams.delivery import QUEUED, STEP, Delivery, UnsentRecord, take_gathered
from streams.fold import Fold, LogBounds, advance, take_up
from streams.ledger import Ledger, Outgoing
from streams.progress import gaps, next_offset

_log = structlog.get_logger()
_REPLACED_S: Final = 1.0
"""How long the events of a partition that later ones of their key replace, such as scores, wait for those at most."""
_SCRUB_S: Final = 1.0
"""How long to wait until a ledger that somebody reads is scrubbed again."""
_TIDY_S: Final = 0.5
"""How long after the last step what is published leaves the files of the ledgers, if no step comes that takes it along."""
_TELL_S: Final = 0.5
"""How often the runner publishes the progress of a fold that is made again."""

SendRecord = Callable[[str, bytes, bytes, int | None], Coroutine[Any, Any, Awaitable[object]]]
"""Sends a record (topic, key, value, partition; None: by the key); its result is done when the broker has acknowledged."""
OnTheLog = Callable[[str, int, int], Coroutine[Any, Any, int | None]]
"""Finds the offset of the first record of a partition from an offset on, with a separate reader; None: none came in time."""


class RecordsPassedOver(RuntimeError):
    """Records on the log were skipped; the process ends, and the next one reads them from the ledger's offsets."""


class FoldRunner:
    """A running fold."""

    def __init__(
        self,
        fold: Fold,
        folder: Path,
        send: SendRecord,
        on_the_log: OnTheLog,
        step: int = STEP,
        every_s: float = 0.0,
        stepped: Callable[[int, float], object] = lambda _, __: None,
    ) -> None:
        """Prepare; `take_up` opens the ledgers.

        Args:
            fold: The fold.
            folder: The folder of the ledgers, one file a partition.
            send: Publishes events.
            on_the_log: Searches the log for records that did not come.
            step: The most records in one transaction.
            every_s: How long from one step to the next, at least, unless a whole one has gathered: each has its price.
            stepped: Told of each step: its records, and its seconds.
        """
        self.fold = fold
        self.gathered: asyncio.Queue[Delivery | None] = asyncio.Queue(maxsize=QUEUED)
        """None: there may be events to publish, since a ledger was opened or some have waited long enough."""
        self._folder = folder
        self._send = send
        self._on_the_log = on_the_log
        self._step = step
        self._every_s = every_s
        self._stepped = stepped
        self._ledgers: dict[int, Ledger] = {}
        self._begun: dict[Partition, int] = {}
        """The offset at which reading began, of each assigned partition."""
        self._told: dict[int, float] = {}
        """The progress that was published last."""
        self._told_at = 0.0
        self._replaced_at: dict[int, float] = {}
        """When the step began that last sent events which later ones replace, by partition, on the monotonic clock."""
        self._scrub_at = -math.inf
        """When a ledger may be scrubbed again after one that somebody read, on the monotonic clock."""
        self._waking: asyncio.TimerHandle | None = None
        self._stepped_at = -math.inf
        """When records were folded last, on the monotonic clock."""
        self._working = asyncio.Lock()

    def positions(self, first: Mapping[Partition, int], ends: Mapping[Partition, int], cluster: str) -> dict[Partition, int]:
        """Open the ledgers of the assigned partitions, and return where to read each from.

        Args:
            first: The oldest offset of each assigned partition.
            ends: The next offset to be written of each.
            cluster: The id of the Kafka cluster.
        """
        mine = [place for place in ends if place[0] in self.fold.sources]
        wanted: dict[Partition, int] = {}
        for partition in {place[1] for place in mine}:
            here = [place for place in mine if place[1] == partition]
            log = LogBounds(cluster, {place[0]: first[place] for place in here}, {place[0]: ends[place] for place in here})
            self.take_up(partition, log)
            wanted |= {place: self._begun[place] for place in here}
        return wanted

    def take_up(self, partition: int, log: LogBounds) -> Ledger:
        """Open the partition's ledger if it is not open: see `streams.fold.take_up`."""
        if partition not in self._ledgers:
            ledger = take_up(self._folder / f"{partition}.sqlite", self.fold, partition, log)
            self._ledgers[partition] = ledger
            self._wake()
        ledger = self._ledgers[partition]
        for topic, first in log.first.items():
            self._begun[topic, partition] = next_offset(ledger.offset(topic), first)
        return ledger

    async def release(self) -> None:
        """Finish the current step and give up all partitions: their next owner may be another process."""
        async with self._working:
            while self._ledgers:
                partition, ledger = self._ledgers.popitem()
                self.fold.close(partition)
                ledger.close()
            self._begun.clear()
            self._told.clear()
            self._replaced_at.clear()
            while not self.gathered.empty():
                self.gathered.get_nowait()

    async def run(self) -> None:
        """Fold records, publish the events, acknowledge; again and again."""
        while True:
            gathered = await take_gathered(self.gathered, self._step)
            async with self._working:
                began = time.monotonic()
                by_partition: dict[int, list[Delivery]] = defaultdict(list)
                for delivery in (one for one in gathered if one is not None and one.current()):
                    by_partition[delivery.record.partition].append(delivery)
                mine = [(p, several) for p, several in by_partition.items() if p in self._ledgers]
                for partition, several in mine:
                    records = [delivery.record for delivery in several]
                    await self._look_for_gaps(self._ledgers[partition], records)
                    advance(self._ledgers[partition], self.fold, partition, records)
                await self._publish(began)
                self._stepped_at = began if mine else self._stepped_at
                self._tidy()
                self._scrub()
                self._wake_later()
                await self._tell()
                for _, several in mine:
                    for delivery in several:
                        delivery.ack()
                self._stepped(sum(len(several) for _, several in mine), time.monotonic() - began)
            if len(gathered) < self._step:
                await asyncio.sleep(began + self._every_s - time.monotonic())

    async def _look_for_gaps(self, ledger: Ledger, records: Sequence[Record]) -> None:
        """Check that the log has no record between the folded ones and those that have come.

        Offsets may be missing: of transaction markers, of compacted records, of those that retention has removed. A separate
        reader tells: it sees the log's own gaps too.

        Raises:
            RecordsPassedOver: If a record was skipped.
        """

        def expected(place: Partition) -> int:
            return next_offset(ledger.offset(place[0]), self._begun.get(place, 0))

        for gap in gaps(records, expected):
            found = await self._on_the_log(gap.topic, gap.partition, gap.first)
            if found is None or found < gap.end:
                raise RecordsPassedOver(f"{gap.topic}/{gap.partition}: {gap.first} was to come, and {gap.end} came")
            where = {"topic": gap.topic, "partition": gap.partition, "first": gap.first}
            _log.warning("offsets that the log does not have", n=gap.end - gap.first, **where)

    async def _tell(self) -> None:
        """Publish the progress of a fold that is made again: at once when a partition is taken up or done, or now and then."""
        pending: list[Awaitable[object]] = []
        now = time.monotonic()
        for partition, ledger in list(self._ledgers.items()):
            folded, told = ledger.folded, self._told.get(partition)
            if folded == told or not (told is None or folded == 1 or now - self._told_at > _TELL_S):
                continue
            self._told[partition] = folded
            self._told_at = now
            if folded < 1:
                _log.info("folded again", fold=self.fold.name, partition=partition, percent=int(folded * 100))
            event = FoldAdvanced(fold=self.fold.name, source_partition=partition, fraction=folded)
            pending.append(await self._send(*UnsentRecord.of(event)))
        if pending:
            await asyncio.gather(*pending)

    async def _publish(self, began: float) -> None:
        """Send the events of the outboxes; those that later ones replace at once if none was sent lately, and else when due.

        ``began`` is when the step did: if a step comes as often as they are due, each of them takes them along.
        """
        now = time.monotonic()
        sent: dict[Ledger, list[Outgoing]] = {}
        for partition, ledger in self._ledgers.items():
            due = now >= self._replaced_at.get(partition, -math.inf) + _REPLACED_S
            unsent = ledger.outgoing(replaced=due)
            if unsent:
                sent[ledger] = unsent
            if any(out.replaced for out in unsent):
                self._replaced_at[partition] = began
        pending = [
            await self._send(out.topic, out.key, out.value, out.partition) for several in sent.values() for out in several
        ]
        if pending:
            await asyncio.gather(*pending)
        for ledger, several in sent.items():
            ledger.sent(several, at_once=False)

    def _tidy(self) -> None:
        """Take out of the ledgers' files what is published, when there has been no step for a while."""
        if time.monotonic() >= self._stepped_at + _TIDY_S:
            for ledger in self._ledgers.values():
                ledger.tidy()

    def _scrub(self) -> None:
        """Scrub the ledgers of whoever was forgotten; one that somebody reads is scrubbed later."""
        for ledger in self._ledgers.values():
            if ledger.unscrubbed and not ledger.outgoing() and time.monotonic() >= self._scrub_at and not ledger.scrub():
                self._scrub_at = time.monotonic() + _SCRUB_S

    def _wake_later(self) -> None:
        """Have the events that wait be published, and ledgers scrubbed, when they are due, if nothing comes until then."""
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        due = [
            self._replaced_at.get(partition, -math.inf) + _REPLACED_S
            for partition, ledger in self._ledgers.items()
            if any(out.replaced for out in ledger.outgoing())
        ]
        if not all(ledger.tidied for ledger in self._ledgers.values()):
            due.append(self._stepped_at + _TIDY_S)
        due += [self._scrub_at for ledger in self._ledgers.values() if ledger.unscrubbed and not ledger.outgoing()]
        if due:
            wait_s = max(0.0, min(due) - time.monotonic())
            self._waking = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _wake(self) -> None:
        """Let `run` publish although nothing has come; where something has, it does so anyway."""
        if not self.gathered.full():
            self.gathered.put_nowait(None)
