"""Calls a tick again and again, for work that must not wait for an event (ways 1 and 2)."""

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


async def tick_every(seconds: float, tick: Callable[[], object]) -> None:
    """Call a tick again and again, for ever.

    If a tick fails, the failure is logged, and the next tick comes in its time. The process does not end: it holds the sockets
    of all players, a tick leaves nothing half done for the next, and a tick that always fails would end each process that
    replaces this one. Of failures in a row the first is logged whole, and their number once a tick succeeds.
    """
    failures = 0
    while True:
        await asyncio.sleep(seconds)
        try:
            tick()
        except Exception:
            failures += 1
            if failures == 1:
                log.exception("tick failed", tick=tick.__qualname__)
        else:
            if failures:
                log.warning("tick works again", tick=tick.__qualname__, failures=failures)
            failures = 0
