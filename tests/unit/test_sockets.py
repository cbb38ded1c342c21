"""Frames that wait together are written at once, up to a bound, none lost or out of turn; what comes too late is dropped."""

import asyncio
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.play.game import Game
from api.play.session import Session
from api.sockets import _WIRE, AT_ONCE, Connection
from contracts.events import Event
from contracts.ports import Record
from producers.placement import BusClosed
from tests.serving import DEADLINE_S


class Wire:
    """A socket that keeps what was written, and may be full."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self.scope: dict[str, Any] = {"extensions": {_WIRE: {"cut": lambda code, reason: None, "send_texts": self.send_texts}}}
        self.url = SimpleNamespace(path="/ws/play")

    async def send_texts(self, texts: list[str]) -> None:
        await self.takes.wait()
        self.written.append(list(texts))

    async def has(self, count: int) -> list[list[str]]:
        """Return what was written once there are so many frames."""
        async with asyncio.timeout(DEADLINE_S):
            while sum(map(len, self.written)) < count:
                await asyncio.sleep(0)
        return self.written


@pytest.fixture
async def wire():
    return Wire()


async def test_frames_that_wait_together_are_written_at_once_in_their_order(wire):
    connection = Connection(wire)
    for text in ("saved", "guess", "another guess"):
        connection.send(text)
    assert await wire.has(3) == [["saved", "guess", "another guess"]]

    connection.send("receipt")
    assert (await wire.has(4))[1:] == [["receipt"]]
    await connection.finish()


async def test_more_than_is_written_at_once_goes_in_parts_and_each_has_a_frame_however_large(wire):
    connection = Connection(wire)
    half, huge = "h" * (AT_ONCE // 2), "x" * (3 * AT_ONCE)
    for text in (half, half, "third", huge, "last"):
        connection.send(text)
    assert await wire.has(5) == [[half, half], ["third", huge], ["last"]]
    await connection.finish()


async def test_while_a_peer_takes_nothing_frames_gather_and_then_go_together(wire):
    connection = Connection(wire)
    wire.takes.clear()
    connection.send("first")
    await asyncio.sleep(0)
    for n in range(5):
        connection.send(str(n))
    wire.takes.set()
    assert await wire.has(6) == [["first"], ["0", "1", "2", "3", "4"]]
    await connection.finish()


def test_what_the_bus_says_of_a_record_after_the_loop_has_ended_is_dropped(caplog: pytest.LogCaptureFixture):
    loop, told = asyncio.new_event_loop(), Future[Record]()
    game: Any = SimpleNamespace(
        _clock=lambda: 0.0,
        _loop=loop,
        _thread=threading.get_ident(),
        _bus=SimpleNamespace(publish=lambda event: told),
        _settled=lambda *_: None,
    )
    Game._put(game, cast(Session, None), event=cast(Event, None))
    loop.close()

    told.set_exception(BusClosed("the bus is closed"))

    assert "exception calling callback" not in caplog.text
