"""Follows the dashboard's socket: a snapshot of all models, then each change (way 2)."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from gamenight.sockets import HERE, LastingSocket, knock

PATH: Final = "/ws/watch"


async def async_watch(url: str = HERE) -> AsyncIterator[dict[str, Any]]:
    """Yield the frames of the dashboard, which /asyncapi names: first ``snapshot``, and again after each interruption.

    Raises:
        GameNightUnreachable: If no game answers at the beginning; later it is waited for.
    """
    await knock(url, PATH, {})
    socket = LastingSocket(url, PATH, lambda: None, lambda why: None)
    try:
        async with aclosing(socket.frames()) as frames:  # type: ignore[type-var]
            async for frame in frames:
                yield frame
    finally:
        await socket.close()
