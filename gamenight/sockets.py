"""Opens the game's sockets, and opens them again when they drop (ways 1 and 2)."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from gamenight.errors import GameNightUnreachable

HERE: Final = "http://127.0.0.1:8000"
"""The address of a game on this machine."""
_FIRST_S: Final = 0.05
_LASTED_S: Final = 5.0
"""A socket that has lasted so long, in seconds, was a good one: the next wait is the shortest again."""
_AT_FAULT: Final = (1008, 1009)  # the game says by these that the client did wrong: it had better wait


def socket_url(url: str, path: str) -> str:
    """Return the address of a socket of the game; a path that is part of the address stays.

    >>> socket_url("https://game.example", "/ws/play")
    'wss://game.example/ws/play'

    Raises:
        GameNightUnreachable: If it is no address.
    """
    try:
        parts = urlsplit(str(url))
    except ValueError as wrong:
        raise GameNightUnreachable(url, wrong) from wrong
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise GameNightUnreachable(url, "an address is written as http://host:port")
    return urlunsplit((scheme, parts.netloc, parts.path if len(parts.path) > 1 else path, "", ""))


async def knock(url: str, path: str, headers: Mapping[str, str]) -> None:
    """Open a socket and close it.

    Raises:
        GameNightUnreachable: If that is not possible.
    """
    try:
        async with _connected(socket_url(url, path), headers):
            pass
    except (OSError, WebSocketException, UnicodeError) as refused:
        raise GameNightUnreachable(url, refused) from refused


def _connected(url: str, headers: Mapping[str, str]) -> connect:
    timing = {"close_timeout": 1, "open_timeout": 5}
    return connect(url, additional_headers=dict(headers), proxy=None, compression=None, max_size=None, **timing)  # type: ignore[arg-type]


class LastingSocket:
    """A socket of the game that is opened again whenever it drops; it waits twice as long each time, until one has lasted."""

    def __init__(
        self,
        url: str,
        path: str,
        hello: Callable[[], bytes | None],
        lost: Callable[[str], None],
        *,
        headers: Mapping[str, str] | None = None,
        longest_s: float = 8.0,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Keep what is needed; `frames` connects.

        Args:
            url: The address of the game.
            path: The socket's path.
            hello: Returns the frame to send first on each new socket, if there is any.
            lost: Told why, each time that there is no socket.
            headers: Headers of the handshake.
            longest_s: The longest wait between two tries, in seconds.
            chance: Spreads the clients of a game that comes back.
            clock: Tells how long a socket has lasted, in seconds.
            rest: Waits for so many seconds.
        """
        self._url, self._headers, self._hello, self._lost = socket_url(url, path), headers or {}, hello, lost
        self._longest_s, self._chance, self._clock, self._rest = longest_s, chance or random.Random(), clock, rest
        self._socket: ClientConnection | None = None
        self._done = asyncio.Event()

    async def frames(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what the game sends, for ever: until `close`, or until this is cancelled."""
        wait_s = _FIRST_S
        while not self._done.is_set():
            opened_at = inf
            try:
                async with _connected(self._url, self._headers) as self._socket:
                    opened_at = self._clock()
                    if (hello := self._hello()) is not None:
                        await self._socket.send(hello, text=True)
                    while True:
                        yield orjson.loads(await self._socket.recv(decode=False))
            except ConnectionClosed as closed:
                if self._done.is_set():
                    return
                code = closed.rcvd.code if closed.rcvd else None
                wait_s = _FIRST_S if self._clock() - opened_at >= _LASTED_S else wait_s
                wait_s = self._longest_s if code in _AT_FAULT else wait_s
                why = closed.rcvd.reason if closed.rcvd else ""
                self._lost(f"socket closed, {code or 'without a close frame'}{f': {why}' if code in _AT_FAULT else ''}")
            except InvalidStatus as refused:
                self._lost(f"socket refused, {refused.response.status_code}")
            except (OSError, WebSocketException):
                self._lost("game not reached")
            finally:
                self._socket = None
            await self._rest(wait_s * self._chance.uniform(0.5, 1.5))
            wait_s = min(2 * wait_s, self._longest_s)

    async def send(self, frame: bytes) -> bool:
        """Send a frame if the socket is open; return whether it went out, not whether it arrived."""
        if self._socket is None:
            return False
        try:
            await self._socket.send(frame, text=True)
        except ConnectionClosed:
            return False
        return True

    async def close(self) -> None:
        """Close the socket for good."""
        self._done.set()
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.close()
