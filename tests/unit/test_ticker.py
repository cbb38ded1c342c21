"""Time that passes goes on passing, whatever a tick does."""

import asyncio

import pytest
from structlog.testing import capture_logs

from api.ticker import tick_every


class Clockwork:
    """Fails in some of its ticks."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.ticks = 0
        self.enough = asyncio.Event()

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == 6:
            self.enough.set()
        if self.ticks in self.failing:
            raise KeyError(f"tick {self.ticks}")


async def test_a_tick_that_fails_is_logged_once_a_row_and_the_next_come():
    clockwork = Clockwork(2, 3, 5)
    with capture_logs() as logs:
        ticking = asyncio.create_task(tick_every(0, clockwork.tick))
        async with asyncio.timeout(20):
            await clockwork.enough.wait()
        assert not ticking.done()
        ticking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ticking

    assert [(line["event"], line.get("failures")) for line in logs] == [
        ("tick failed", None),
        ("tick works again", 2),
        ("tick failed", None),
        ("tick works again", 1),
    ]
    assert {line["tick"] for line in logs} == {"Clockwork.tick"}
