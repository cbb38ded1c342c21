"""What a fold's runner decides by itself; the rest is tested on a real broker."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from contracts.events import DrawingSubmitted, Event, ScoresCounted, decode
from contracts.ports import Cells, Origin, Record
from streams.delivery import Delivery, Fork
from streams.fold import Fold, LogBounds, advance
from streams.fold_runner import FoldRunner, RecordsPassedOver
from streams.joiner import Joiner
from streams.ledger import Ledger
from streams.ledger_view import viewing
from tests.histories import correction, drawing, scores
from tests.quiet import Quiet


async def said(topic: str, key: bytes, value: bytes, partition: int | None) -> asyncio.Future[object]:
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


def runner(folder: Path, on_the_log: Callable[[int], int | None] = lambda first: first) -> FoldRunner:
    async def look(topic: str, partition: int, first: int) -> int | None:
        return on_the_log(first)

    return FoldRunner(Quiet("drawings.v1"), folder, said, look)


async def _folding(folder: Path, on_the_log: Callable[[int], int | None], offsets: Sequence[int]) -> int:
    """Where a fold stands that began at 5 and was handed records at ``offsets``."""
    folding = runner(folder, on_the_log)
    ledger = folding.take_up(0, LogBounds("c", {"drawings.v1": 5}, {"drawings.v1": 50}))
    acknowledged = asyncio.Event()
    for offset in offsets:
        record = Record("drawings.v1", 0, offset, b"k", drawing().record_value(), 0)
        folding.gathered.put_nowait(Delivery(record, acknowledged.set))
    running = asyncio.create_task(folding.run())
    waiting = asyncio.create_task(acknowledged.wait())
    done, _ = await asyncio.wait({running, waiting}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    waiting.cancel()
    offset = ledger.offset("drawings.v1")
    await folding.release()
    if running in done:
        await running
    return offset


async def test_records_that_did_not_come_are_not_passed_over(tmp_path: Path):
    with pytest.raises(RecordsPassedOver, match="7 was to come, and 9 came"):
        await _folding(tmp_path, lambda first: first, [5, 6, 9])

    ledger = Ledger(tmp_path / "0.sqlite")
    assert ledger.offset("drawings.v1") == -1, "nothing of it was folded"
    ledger.close()


async def test_a_log_that_cannot_be_asked_is_not_gone_on_with(tmp_path: Path):
    with pytest.raises(RecordsPassedOver):
        await _folding(tmp_path, lambda _: None, [7])


async def test_offsets_that_the_log_does_not_have_are_passed_over(tmp_path: Path):
    assert await _folding(tmp_path, lambda _: 9, [5, 6, 9, 10]) == 10


async def test_each_partition_is_read_from_where_its_ledger_stands_and_others_are_nobodys(tmp_path: Path):
    assert await _folding(tmp_path, lambda first: first, [5, 6]) == 6
    again = runner(tmp_path)
    first = {("drawings.v1", 0): 5, ("drawings.v1", 2): 3, ("guesses.v1", 0): 0}
    ends = {("drawings.v1", 0): 50, ("drawings.v1", 2): 50, ("guesses.v1", 0): 50}

    assert again.positions(first, ends, "c") == {("drawings.v1", 0): 7, ("drawings.v1", 2): 3}

    await again.release()


class Counting(Quiet):
    """A fold that counts what it has folded, says a drawing for each, and the count once a step."""

    def __init__(self) -> None:
        super().__init__("drawings.v1")
        self.n = 0

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        self.n += 1
        return [drawing(f"after {self.n}")]

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        return [scores("river", self.n)]


class Heard:
    """Runs a fold, one that counts unless another is given, and remembers what it sends."""

    def __init__(self, folder: Path, fold: Fold | None = None, every_s: float = 0.0) -> None:
        self.told: list[Event] = []
        self.runner = FoldRunner(fold or Counting(), folder, self._tell, self._look, every_s=every_s)
        self.ledger = self.runner.take_up(0, LogBounds("c", {"drawings.v1": 0}, {"drawings.v1": 50}))
        self.next = 0
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens while an event is sent."""

    async def fold(self, n: int) -> None:
        """Fold records, each in a step of its own."""
        for _ in range(n):
            done = asyncio.Event()
            record = Record("drawings.v1", 0, self.next, b"k", drawing().record_value(), 0)
            self.runner.gathered.put_nowait(Delivery(record, done.set))
            self.next += 1
            await asyncio.wait_for(done.wait(), 30)

    @property
    def counts(self) -> list[int]:
        """The counts that were sent."""
        return [event.n for event in self.told if isinstance(event, ScoresCounted)]

    @property
    def drawings(self) -> int:
        """How many drawings were sent."""
        return sum(isinstance(event, DrawingSubmitted) for event in self.told)

    async def _tell(self, topic: str, key: bytes, value: bytes, partition: int | None) -> asyncio.Future[object]:
        self.told.append(decode(topic, value))
        self.meanwhile()
        return await said(topic, key, value, partition)

    async def _look(self, topic: str, partition: int, first: int) -> int | None:
        return first


async def test_the_first_counts_are_sent_at_once_and_then_the_newest_when_they_are_due(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("streams.fold_runner._REPLACED_S", 3600.0)
    heard = Heard(tmp_path)
    running = asyncio.create_task(heard.runner.run())
    await heard.fold(5)
    assert heard.counts == [1]
    assert heard.drawings == 5, "what nothing replaces waits for nothing"
    assert len(heard.ledger.outgoing()) == 1

    monkeypatch.setattr("streams.fold_runner._REPLACED_S", 0.0)
    await heard.fold(1)

    running.cancel()
    assert heard.counts == [1, 6]
    assert heard.ledger.outgoing() == []
    await heard.runner.release()


async def test_counts_that_are_due_are_sent_though_nothing_more_comes(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("streams.fold_runner._REPLACED_S", 0.2)
    heard = Heard(tmp_path)
    running = asyncio.create_task(heard.runner.run())
    await heard.fold(3)
    async with asyncio.timeout(30):
        while heard.counts[-1] < 3 or heard.ledger.outgoing():
            await asyncio.sleep(0.01)

    running.cancel()
    await heard.runner.release()


async def test_a_step_that_comes_when_counts_are_due_takes_them_along_though_the_one_before_took_longer(
    tmp_path: Path, monkeypatch
):
    took_s = [0.1]

    def slowly(*given: Any) -> None:
        time.sleep(took_s.pop() if took_s else 0.0)
        advance(*given)

    monkeypatch.setattr("streams.fold_runner.advance", slowly)
    monkeypatch.setattr("streams.fold_runner._REPLACED_S", 0.3)
    heard = Heard(tmp_path, every_s=0.3)
    running = asyncio.create_task(heard.runner.run())
    await heard.fold(1)
    await heard.fold(1)

    running.cancel()
    assert heard.counts == [1, 2]
    await heard.runner.release()


async def test_counts_that_waited_when_a_partition_was_given_up_are_sent_by_its_next_owner(tmp_path: Path):
    before = Ledger(tmp_path / "0.sqlite")
    with before.step():
        before.post([scores("river", 3)])
    before.close()
    heard = Heard(tmp_path, Quiet("drawings.v1"))
    running = asyncio.create_task(heard.runner.run())
    async with asyncio.timeout(30):
        while not heard.counts:
            await asyncio.sleep(0.01)

    running.cancel()
    await heard.runner.release()
    assert heard.counts == [3]


@pytest.mark.parametrize("first", [0, 1])
async def test_a_partition_that_comes_while_events_are_sent_ends_nothing(tmp_path: Path, first: int):
    """Its ledger may hold events of a process that was killed, and they are sent the next time.

    What is sent is an event of the first record, or how far the fold is.
    """
    left = Ledger(tmp_path / "1.sqlite")
    with left.step():
        left.post([drawing("left behind")])
    left.close()
    heard = Heard(tmp_path)
    heard.meanwhile = lambda: heard.runner.take_up(1, LogBounds("c", {"drawings.v1": 0}, {"drawings.v1": 50}))
    running = asyncio.create_task(heard.runner.run())

    await heard.fold(first)
    async with asyncio.timeout(30):
        while heard.drawings < first + 1 and not running.done():
            await asyncio.sleep(0.01)

    assert not running.done()
    running.cancel()
    await heard.runner.release()


async def test_a_ledger_that_somebody_reads_is_scrubbed_later_though_nothing_more_comes(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("streams.fold_runner._REPLACED_S", 0.0)
    monkeypatch.setattr("streams.fold_runner._SCRUB_S", 0.05)
    heard = Heard(tmp_path)
    running = asyncio.create_task(heard.runner.run())
    await heard.fold(1)
    with viewing(tmp_path / "0.sqlite") as view:
        list(view.cells())
        heard.ledger.unscrubbed = True
        await heard.fold(2)
        assert heard.ledger.unscrubbed
    async with asyncio.timeout(30):
        while heard.ledger.unscrubbed:
            await asyncio.sleep(0.01)

    running.cancel()
    await heard.runner.release()


async def test_a_fold_that_nobody_waits_for_gathers_but_a_whole_step_waits_for_nothing(tmp_path: Path):
    folding = FoldRunner(Quiet("drawings.v1"), tmp_path, said, _nowhere, step=2, every_s=3600)
    folding.take_up(0, LogBounds("c", {"drawings.v1": 0}, {"drawings.v1": 50}))
    acknowledged: list[int] = []
    last = asyncio.Event()

    def hand(offset: int, then: Callable[[], object] = lambda: None) -> None:
        record = Record("drawings.v1", 0, offset, b"k", drawing(f"{offset}").record_value(), 0)
        folding.gathered.put_nowait(Delivery(record, lambda: (acknowledged.append(offset), then())))

    for offset in range(3):  # the first step is that of a partition taken up, and offset 0
        hand(offset)
    hand(3, last.set)
    running = asyncio.create_task(folding.run())
    async with asyncio.timeout(30):
        await last.wait()
    hand(4)
    for _ in range(100):
        await asyncio.sleep(0)

    assert acknowledged == [0, 1, 2, 3], "it went on after the whole steps, and waits after the other one"
    running.cancel()
    await folding.release()


async def _nowhere(topic: str, partition: int, first: int) -> int | None:
    return first


async def test_what_is_published_leaves_the_files_of_a_fold_that_has_nothing_more_to_do(tmp_path: Path):
    folding = FoldRunner(Joiner(), tmp_path, said, lambda *_: pytest.fail("nothing is missing"))
    log = LogBounds("c", dict.fromkeys(Joiner.sources, 0), dict.fromkeys(Joiner.sources, 9))
    ledger = folding.take_up(0, log)
    running = asyncio.create_task(folding.run())
    for topic, event in (("drawings.v1", drawing()), ("corrections.v1", correction())):
        folding.gathered.put_nowait(Delivery(Record(topic, 0, 0, b"k", event.record_value(), 0), lambda: None))

    async with asyncio.timeout(20):
        while ledger.offset("corrections.v1") < 0 or ledger.outgoing() or not ledger.tidied:
            await asyncio.sleep(0.02)

    with viewing(tmp_path / "0.sqlite") as view:
        assert view.outbox() == frozenset()
    running.cancel()
    await folding.release()


async def test_what_still_comes_of_an_assignment_that_is_over_is_not_folded(tmp_path: Path):
    heard = Heard(tmp_path)
    queue = heard.runner.gathered
    holds = [True]
    of_before = Delivery(Record("drawings.v1", 0, 40, b"k", drawing().record_value(), 0), lambda: None, lambda: holds[0])
    while not queue.full():
        queue.put_nowait(of_before)
    fork = Fork()
    fork.add(queue)
    late = asyncio.ensure_future(fork.put(of_before))  # it waits for room while the partition is given up
    await asyncio.sleep(0)
    assert not late.done()

    holds[0] = False
    await heard.runner.release()
    heard.runner.take_up(0, LogBounds("c", {"drawings.v1": 0}, {"drawings.v1": 50}))
    await late
    assert not queue.empty()
    running = asyncio.ensure_future(heard.runner.run())
    await heard.fold(1)

    assert heard.drawings == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await heard.runner.release()
