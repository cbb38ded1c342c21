"""What the seam to Faust decides by itself; the rest is tested on a real broker."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import Event
from contracts.ports import Cells, Record
from contracts.settings import Settings
from streams import pipe
from streams.fold import Log
from streams.ledger import Ledger
from tests.histories import drawing


class Quiet:
    """A fold that says nothing."""

    name = "quiet"
    schema = "quiet 1"

    def __init__(self, *sources: str) -> None:
        self.sources = sources

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        return ()

    def decide(self, cells: Cells, event: Event, partition: int, offset: int) -> Iterable[Event]:
        return ()

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        return ()

    def close(self, partition: int) -> None:
        """Nothing to let go of."""


def test_a_fold_of_topics_that_cannot_meet_on_one_worker_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"quiet.*drawings\.v1, metrics\.v1"):
        pipe.Pipe(Settings(home=tmp_path), "test").fold(Quiet("drawings.v1", "metrics.v1"))


def test_what_a_taker_reads_no_fold_of_the_same_process_may(tmp_path: Path):
    class Nobody:
        async def take(self, gathered: Sequence[pipe.Handed]) -> None:
            """Take nothing."""

    shared = pipe.Pipe(Settings(home=tmp_path), "test")
    shared.hand(["drawings.v1"], Nobody())
    shared.fold(Quiet("examples.v1"))

    with pytest.raises(ValueError, match=r"drawings\.v1 to two"):
        shared.fold(Quiet("drawings.v1"))
    with pytest.raises(ValueError, match=r"examples\.v1 to two"):
        shared.hand(["examples.v1"], Nobody())


async def said(topic: str, key: bytes, value: bytes, partition: int | None) -> asyncio.Future[object]:
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


async def _folding(tmp_path: Path, on_the_log: Callable[[int], int | None], offsets: Sequence[int]) -> int:
    """Where a fold stands that began at 5 and was handed records at ``offsets``."""

    async def look(topic: str, partition: int, first: int) -> int | None:
        return on_the_log(first)

    folding = pipe._Folding(Quiet("drawings.v1"), Settings(home=tmp_path), said, look)
    ledger = folding.take_up(0, Log("c", {"drawings.v1": 5}, {"drawings.v1": 50}))
    acknowledged = asyncio.Event()
    for offset in offsets:
        record = Record("drawings.v1", 0, offset, b"k", drawing().record_value(), 0)
        folding.gathered.put_nowait(pipe.Handed(record, acknowledged.set))
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
    with pytest.raises(pipe.RecordsPassedOver, match="7 was to come, and 9 came"):
        await _folding(tmp_path, lambda first: first, [5, 6, 9])

    ledger = Ledger(tmp_path / "state" / "quiet" / "0.sqlite")
    assert ledger.offset("drawings.v1") == -1, "nothing of it was folded"
    ledger.close()


async def test_a_log_that_cannot_be_asked_is_not_gone_on_with(tmp_path: Path):
    with pytest.raises(pipe.RecordsPassedOver):
        await _folding(tmp_path, lambda _: None, [7])


async def test_offsets_that_the_log_does_not_have_are_passed_over(tmp_path: Path):
    assert await _folding(tmp_path, lambda _: 9, [5, 6, 9, 10]) == 10


def test_processes_of_a_role_have_names_of_their_own_and_a_dead_ones_is_given_again(tmp_path: Path):
    first, second = pipe._place(tmp_path, "router"), pipe._place(tmp_path, "router")
    first.lock.close()  # as the death of a process does

    third = pipe._place(tmp_path, "router")

    assert first.name == third.name != second.name
    second.lock.close()
    third.lock.close()


async def test_a_step_takes_what_comes_while_it_gathers_and_no_more_than_it_may():
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def bring() -> None:
        for number in range(pipe.STEP + 10):
            await asyncio.sleep(0)
            queue.put_nowait(number)

    bringing = asyncio.create_task(bring())
    assert await pipe._all(queue) == list(range(pipe.STEP))
    await bringing
    assert await pipe._all(queue) == list(range(pipe.STEP, pipe.STEP + 10))


def test_what_may_be_committed_ends_before_the_first_record_that_nobody_has_acknowledged():
    progress = pipe.Progress()
    assert progress.next is None
    for offset in (4, 5, 9, 10):  # 6 to 8 were compacted away
        progress.hand(offset)

    told = []
    for offset in (5, 4, 4, 10, 9, 3):
        progress.acknowledge(offset)
        told.append(progress.next)

    assert told == [None, 6, 6, 6, 11, 11]


@given(st.permutations(range(12)))
def test_acknowledged_in_any_order_all_is_committed_in_the_end_and_nothing_too_early(order: list[int]):
    progress = pipe.Progress()
    for offset in range(12):
        progress.hand(offset)
    missing = set(range(12))

    for offset in order:
        progress.acknowledge(offset)
        missing.discard(offset)
        assert (progress.next or 0) == min(missing, default=12)


def test_a_key_goes_where_kafkas_own_partitioner_sends_it():
    partitioner = DefaultPartitioner()
    keys = [f"player-{n}".encode() for n in range(200)]

    assert [pipe._hashed(key, 4) for key in keys] == [partitioner(key, [0, 1, 2, 3], [0, 1, 2, 3]) for key in keys]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5])
def test_a_partition_of_every_topic_is_with_the_same_worker_and_none_is_with_nobody(workers: int):
    class Cluster:
        def partitions_for_topic(self, topic: str) -> set[int]:
            return {0, 1, 2, 3}

    members = {f"router-{n}": pipe._SamePlace.metadata(["drawings.v1", "examples.v1"]) for n in range(workers)}

    given = {name: dict(one.assignment) for name, one in pipe._SamePlace.assign(Cluster(), members).items()}

    assert all(one["drawings.v1"] == one["examples.v1"] for one in given.values())
    assert sorted(n for one in given.values() for n in one["drawings.v1"]) == [0, 1, 2, 3]
