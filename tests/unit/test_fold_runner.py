"""What a fold's runner decides by itself; the rest is tested on a real broker."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from contracts.ports import Record
from streams.delivery import Delivery
from streams.fold import LogBounds
from streams.fold_runner import FoldRunner, RecordsPassedOver
from streams.ledger import Ledger
from tests.histories import Quiet, drawing


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
