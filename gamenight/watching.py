"""Follows the dashboard's socket: a snapshot of all models, then each change (way 2)."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

from gamenight.sockets import HERE, LastingSocket, knock

PATH: Final = "/ws/watch"


class Watching(AsyncIterator[dict[str, Any]]):
    """The frames of the dashboard, for ever, until `aclose`.

    It is no generator: whoever breaks off a loop over one that loops over another has both closed at the same time by asyncio.
    """

    def __init__(self, url: str) -> None:
        """Keep the address; the first frame connects."""
        self._url = url
        self._frames: AsyncGenerator[dict[str, Any], None] | None = None

    async def __anext__(self) -> dict[str, Any]:
        """Return the next frame.

        Raises:
            GameNightUnreachable: If no game answers at the beginning; later it is waited for.
        """
        if self._frames is None:
            await knock(self._url, PATH, {})
            self._frames = LastingSocket(self._url, PATH, lambda: None, lambda why: None).frames()
        return await anext(self._frames)

    async def aclose(self) -> None:
        """Close the socket."""
        if self._frames is not None:
            await self._frames.aclose()


def async_watch(url: str = HERE) -> Watching:
    """Return the frames of the dashboard, which /asyncapi names: first ``snapshot``, and again after each interruption."""
    return Watching(url)
