"""What the sender on a loop makes of a producer that fails; on a real broker: tests/contract/test_bus_scenarios.py."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from aiokafka.errors import KafkaConnectionError, NotLeaderForPartitionError, TopicAuthorizationFailedError

from producers import loop_client
from producers.connection import KafkaAddress
from producers.loop_client import LoopSender

DEADLINE_S = 10.0
PLACE = ("drawings.v1", 0)


class Producer:
    """A producer that takes records until it is told otherwise, and keeps them."""

    made: ClassVar[list["Producer"]] = []
    refusals: ClassVar[list[Exception | None]] = []
    """What becomes of the next records that are sent, one after another, by whichever producer."""
    starts: ClassVar[list[Exception]] = []
    silent: ClassVar[bool] = False
    full_at: ClassVar[bytes] = b""
    """The record for which there is no room, until others have failed."""

    def __init__(self, **_: Any) -> None:
        self.stopped = False
        self.made.append(self)

    log: ClassVar[list[bytes]] = []

    slow: ClassVar[bool] = False

    async def start(self) -> None:
        if self.slow:
            await asyncio.sleep(0.05)
            self.log.append(b"started")
        if self.starts:
            raise self.starts.pop(0)

    async def stop(self) -> None:
        if self.slow:
            await asyncio.sleep(0.05)
        self.stopped = True

    async def send(self, topic: str, value: bytes, key: bytes, partition: int, timestamp_ms: int) -> "asyncio.Future[Any]":
        if value == self.full_at:
            await asyncio.sleep(0.05)
        assert not self.stopped or value == self.full_at
        kept: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            kept.set_exception(refusal)
        elif not self.silent:
            self.log.append(value)
            kept.set_result(SimpleNamespace(offset=len(self.log) - 1, timestamp=timestamp_ms))
        return kept


@pytest.fixture(autouse=True)
def producers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_client, "AIOKafkaProducer", Producer)
    fresh = {"made": [], "refusals": [], "starts": [], "log": [], "silent": False, "slow": False, "full_at": b""}
    for name, value in fresh.items():
        monkeypatch.setattr(Producer, name, value)


class Told:
    """What became of each record."""

    def __init__(self, sender: LoopSender) -> None:
        self.sender = sender
        self.kept: dict[bytes, int] = {}
        self.refused: dict[bytes, str] = {}

    def send(self, value: bytes, within_s: float = 60.0) -> None:
        def acknowledged(offset: int, _: int) -> None:
            self.kept[value] = offset

        def refused(why: BaseException | str) -> None:
            self.refused[value] = str(why)

        self.sender.send(PLACE, b"key", value, 1, within_s, acknowledged, refused)

    async def settled(self, n: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.kept) + len(self.refused) < n:
                await asyncio.sleep(0.005)


async def test_in_a_rush_records_gather_and_who_sends_alone_is_not_waited_for(monkeypatch):
    rests: list[float] = []
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    later = sender._loop.call_later
    monkeypatch.setattr(loop_client.LoopSender, "_queue", lambda self, record: queued.append(record.value))
    queued: list[bytes] = []
    told = Told(sender)
    with monkeypatch.context() as patched:
        patched.setattr(sender, "_loop", SimpleNamespace(call_later=lambda s, what: rests.append(s) or later(s, what)))
        told.send(b"alone")
        assert (queued, rests) == ([b"alone"], [])
        for n in range(60):
            told.send(b"%d" % n)

    assert len(rests) == 1
    assert 0.003 <= rests[0] <= 0.008
    assert 40 < len(queued) < 61, "those of the rush wait"
    async with asyncio.timeout(DEADLINE_S):
        while len(queued) < 61:
            await asyncio.sleep(0.001)
    assert queued == [b"alone", *(b"%d" % n for n in range(60))]


async def test_what_was_gathered_is_refused_at_the_end_like_all_that_waits():
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    Producer.silent = True
    sender.start()
    told = Told(sender)
    for n in range(80):
        told.send(b"%d" % n)
    assert sender._gathered
    await sender.stop(0)

    assert len(told.refused) == 80
    assert set(told.refused.values()) == {"the bus is closed"}


async def test_what_can_be_tried_again_is_by_a_new_producer_and_in_order():
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    sender.start()
    told = Told(sender)
    Producer.refusals[:] = [None, NotLeaderForPartitionError(), NotLeaderForPartitionError()]
    for value in (b"a", b"b", b"c", b"d"):
        told.send(value)
    await told.settled(4)

    assert told.refused == {}
    assert Producer.log.index(b"b") < Producer.log.index(b"c")
    assert [producer.stopped for producer in Producer.made] == [True, False]
    await sender.stop(1)
    assert all(producer.stopped for producer in Producer.made)


async def test_what_failed_goes_before_what_waits_meanwhile():
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    sender.start()
    told = Told(sender)
    Producer.refusals[:] = [NotLeaderForPartitionError()]
    Producer.full_at = b"b"
    for value in (b"a", b"b", b"c", b"d"):
        told.send(value)
    await told.settled(4)

    assert Producer.log == [b"b", b"a", b"c", b"d"]
    await sender.stop(1)


async def test_what_is_refused_for_good_is_told_and_the_next_goes_by_a_new_producer():
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    sender.start()
    told = Told(sender)
    Producer.refusals[:] = [TopicAuthorizationFailedError("drawings.v1")]
    told.send(b"a")
    await told.settled(1)
    told.send(b"b")
    await told.settled(2)

    assert "drawings.v1" in told.refused[b"a"]
    assert (told.kept, len(Producer.made)) == ({b"b": 0}, 2)
    await sender.stop(1)


async def test_what_is_not_acknowledged_in_time_is_told_so_once(monkeypatch):
    monkeypatch.setattr(loop_client, "_LOOK_S", 0.01)
    Producer.silent = True
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    sender.start()
    told = Told(sender)
    told.send(b"late", within_s=0.05)
    told.send(b"not yet")
    await told.settled(1)

    assert told.refused == {b"late": "the broker did not acknowledge it in time"}
    began = time.monotonic()
    await sender.stop(0.05)
    assert told.refused[b"not yet"] == "the bus is closed"
    assert time.monotonic() - began < DEADLINE_S
    assert told.kept == {}


async def test_it_waits_for_a_broker_that_is_not_there_yet(monkeypatch):
    monkeypatch.setattr(loop_client, "_AGAIN_S", 0.01)
    Producer.starts[:] = [KafkaConnectionError("away"), KafkaConnectionError("away")]
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    sender.start()
    told = Told(sender)
    told.send(b"a")
    await told.settled(1)

    assert told.kept == {b"a": 0}
    assert [producer.stopped for producer in Producer.made] == [True, True, False]
    await sender.stop(1)


async def test_what_is_given_up_while_no_broker_answers_is_not_kept_until_one_does(monkeypatch):
    monkeypatch.setattr(loop_client, "_LOOK_S", 0.01)
    monkeypatch.setattr(loop_client, "_AGAIN_S", 0.01)
    Producer.starts[:] = [KafkaConnectionError("away")] * 10_000
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    sender.start()
    told = Told(sender)
    for n in range(50):
        told.send(b"%d" % n, within_s=0.05)
    await told.settled(50)

    assert not any(sender._waiting.values())
    Producer.starts.clear()
    async with asyncio.timeout(DEADLINE_S):
        while sender._producer is None or sender._waiting:
            await asyncio.sleep(0.005)
    told.send(b"after")
    await told.settled(51)
    assert (told.kept, len(told.refused)) == ({b"after": 0}, 50)
    await sender.stop(1)


async def test_a_connection_that_is_being_made_is_finished_and_closed_at_the_end():
    Producer.slow = True
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    sender.start()
    await asyncio.sleep(0.01)
    await sender.stop(0)

    assert Producer.log == [b"started"]
    assert [producer.stopped for producer in Producer.made] == [True]


async def test_a_producer_that_has_failed_is_disconnected_wholly_before_the_end(monkeypatch):
    monkeypatch.setattr(Producer, "slow", True)
    Producer.refusals[:] = [TopicAuthorizationFailedError()]
    sender = LoopSender(KafkaAddress(("localhost:1",)))
    sender.start()
    told = Told(sender)
    told.send(b"a")
    await told.settled(1)

    await sender.stop(1.0)

    assert told.refused
    assert all(producer.stopped for producer in Producer.made), "what is cut off halfway leaves its connections open"


async def test_who_sends_from_another_thread_or_after_the_end_is_told_too():
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    sender.start()
    told = Told(sender)
    thread = threading.Thread(target=told.send, args=(b"a",))
    thread.start()
    await told.settled(1)
    thread.join()
    await sender.stop(1)
    told.send(b"b")

    assert (told.kept, told.refused) == ({b"a": 0}, {b"b": "the bus is closed"})


def test_who_sends_when_the_loop_is_gone_is_told_too():
    async def make() -> LoopSender:
        return LoopSender(KafkaAddress(("nowhere:1",)))

    told = Told(asyncio.run(make()))
    thread = threading.Thread(target=told.send, args=(b"a",))
    thread.start()
    thread.join()
    assert told.refused == {b"a": "the bus is closed"}


async def test_whatever_a_connection_fails_with_it_is_tried_again(monkeypatch):
    monkeypatch.setattr(loop_client, "_AGAIN_S", 0.01)
    Producer.starts[:] = [RuntimeError("no token"), ValueError("nor this one")]
    sender = LoopSender(KafkaAddress(("nowhere:1",)))
    told = Told(sender)
    for value in (b"a", b"b"):
        told.send(value)
    await told.settled(2)

    assert told.kept == {b"a": 0, b"b": 1}
    assert [producer.stopped for producer in Producer.made] == [True, True, False]
    await sender.stop(1)
