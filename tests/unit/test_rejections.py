"""Telling what cannot be handled is never in the way of what can."""

from concurrent.futures import Future

from contracts.events import Event, MessageRejected
from contracts.ports import Record
from contracts.records import read
from producers import rejections
from producers.bus import open_bus
from producers.placement import BusFull
from producers.rejections import PENDING, Rejections


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
