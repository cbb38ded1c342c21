"""Telling what cannot be handled is never in the way of what can."""

import time
from collections.abc import Callable
from concurrent.futures import Future

from contracts.events import Event, MessageRejected
from contracts.ports import Record
from contracts.records import read
from producers import rejections
from producers.bus import open_bus
from producers.placement import BusClosed, BusFull
from producers.rejections import OWED, PENDING, Rejections


def bad(offset: int) -> MessageRejected:
    told = read(Record("drawings.v1", 0, offset, b"ada", b"[1]", 0), "s")
    assert isinstance(told, MessageRejected)
    return told


class Silent:
    """A bus whose broker never answers, or refuses."""

    def __init__(self, error: Exception | None = None) -> None:
        self.tried: list[Event] = []
        self._error = error

    def publish(self, event: Event) -> "Future[Record]":
        self.tried.append(event)
        future: Future[Record] = Future()
        if self._error is not None:
            future.set_exception(self._error)
        return future


def test_a_rejection_is_told_once_a_process():
    bus = open_bus("memory://rejections")
    tell = Rejections(bus).tell

    for offset in (1, 2, 1, 2):
        tell(bad(offset))

    told = bus.follow(["rejected.v1"], "start").poll(0)
    assert len(told) == 2


def test_a_broker_that_does_not_answer_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(rejections, "WAIT_S", 0.01)
    bus = Silent()
    tell = Rejections(bus).tell  # type: ignore[arg-type]

    for offset in range(PENDING + 3):
        tell(bad(offset))

    assert len(bus.tried) == PENDING, "what waits is bounded"


def test_a_rejection_that_cannot_be_told_is_no_failure_of_who_tells_it():
    bus = Silent(BusFull("full"))
    tell = Rejections(bus).tell  # type: ignore[arg-type]

    for offset in range(3 * PENDING):
        tell(bad(offset))

    assert len(bus.tried) == 3 * PENDING


class Restarted(Silent):
    """A bus that refuses, until its broker is there again."""

    def publish(self, event: Event) -> "Future[Record]":
        if self._error is not None:
            return super().publish(event)
        self.tried.append(event)
        future: Future[Record] = Future()
        future.set_result(Record("rejected.v1", 0, len(self.tried), None, b"", 0))
        return future

    def up(self) -> None:
        self.tried, self._error = [], None


def eventually(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "not in 30 s"
        time.sleep(0.005)


def test_a_rejection_that_the_broker_did_not_take_is_told_when_it_does(monkeypatch):
    monkeypatch.setattr(rejections, "AGAIN_S", 0.02)
    bus = Restarted(BusFull("full"))
    tell = Rejections(bus).tell  # type: ignore[arg-type]

    tell(bad(1))
    eventually(lambda: len(bus.tried) > 2)
    bus.up()

    eventually(lambda: [one.source_offset for one in bus.tried] == [1])  # type: ignore[attr-defined]
    tell(bad(1))
    assert len(bus.tried) == 1, "it is told once"


def test_one_that_had_to_wait_for_others_too_long_is_told_later(monkeypatch):
    monkeypatch.setattr(rejections, "WAIT_S", 0.01)
    monkeypatch.setattr(rejections, "AGAIN_S", 0.02)
    waiting: list[Future[Record]] = []
    bus = Silent()
    publish = bus.publish
    monkeypatch.setattr(bus, "publish", lambda event: waiting.append(publish(event)) or waiting[-1])
    tell = Rejections(bus).tell  # type: ignore[arg-type]

    for offset in range(PENDING + 1):
        tell(bad(offset))
    assert len(bus.tried) == PENDING
    for future in waiting[:PENDING]:
        future.set_result(Record("rejected.v1", 0, 0, None, b"", 0))

    eventually(lambda: [one.source_offset for one in bus.tried] == [*range(PENDING + 1)])  # type: ignore[attr-defined]


def test_one_that_is_not_tried_again_is_told_when_its_record_is_read_again():
    bus = Restarted(BusFull("full"))
    tell = Rejections(bus).tell  # type: ignore[arg-type]
    for offset in range(OWED + 1):
        tell(bad(offset))

    bus.up()
    tell(bad(OWED))

    assert [one.source_offset for one in bus.tried] == [OWED]  # type: ignore[attr-defined]


def test_a_bus_that_is_closed_is_not_tried_again(monkeypatch):
    started: list[object] = []
    monkeypatch.setattr("threading.Timer.start", started.append)
    bus = Restarted(BusClosed("closed"))

    Rejections(bus).tell(bad(1))  # type: ignore[arg-type]

    assert not started
