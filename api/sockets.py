"""Serves sockets that always end with a close frame and hold a bounded amount of memory (all ways).

`Connection` is an accepted socket with a bounded queue of frames to send; `Protocol` is uvicorn's with its faults mended;
`from_here` says which pages may open a socket.
"""

import asyncio
import ipaddress
from asyncio import BaseTransport
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

from api.limits import full_bucket

MAX_WAITING: Final = 512
"""How many frames may wait for a peer that does not read; a further frame closes the socket."""
MAX_WAITING_CHARACTERS: Final = 1 << 18
"""How many characters the waiting frames may have together."""
AT_ONCE: Final = 1 << 14
"""How many characters of the frames that wait are written at once, rounded up to whole frames."""
CONTROLS: Final = 32
"""How many pings and pongs may come at once; browsers send only the pongs that answer our pings."""
CONTROLS_A_SECOND: Final = 2.0
MAX_FRAGMENTS: Final = 256
"""How many frames a message may consist of."""
MAX_UNHEARD: Final = 1024
"""How many messages may come at once, before the first is handled."""
SLICE: Final = 2048
"""How many bytes are read before the limits are checked again."""
CLOSE_S: Final = 1.0
"""How long the peer has to take a close frame before the connection is cut, in seconds."""

POLICY: Final = 1008
INTERNAL_ERROR: Final = 1011
_WIRE: Final = "gamenight.wire"
_QUIET: Final = frozenset({1000, 1001, 1005, 1006, 1012})

log = structlog.get_logger(__name__)


class Connection:
    """An accepted socket: `listen` for its messages, `send` frames without waiting, and `finish` in any case."""

    def __init__(self, socket: WebSocket) -> None:
        """Take over a socket that was accepted."""
        self._socket = socket
        wire: dict[str, Any] = socket.scope["extensions"][_WIRE]
        self._cut, self._send_texts = wire["cut"], wire["send_texts"]
        self._waiting: deque[str] = deque()
        self._characters = 0
        self._wake = asyncio.Event()
        self._end: tuple[int, str] | None = None
        self._patience = asyncio.timeout(None)
        self._writer = asyncio.create_task(self._write())
        self.code = 1006
        """The close code with which the socket ended."""

    def send(self, text: str) -> None:
        """Queue a frame. If the queue is full, close the socket instead, since the peer does not read."""
        if self._end is not None:
            return
        if self._waiting and (len(self._waiting) >= MAX_WAITING or self._characters + len(text) > MAX_WAITING_CHARACTERS):
            unread = len(self._waiting)
            self._waiting.clear()
            self.close(POLICY, f"{unread} frames were not read")
            return
        self._waiting.append(text)
        self._characters += len(text)
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """End the socket once the queued frames are sent."""
        if self._end is None:
            self._end = (code, reason)
            self._wake.set()
            self._patience.reschedule(asyncio.get_running_loop().time() + CLOSE_S)

    async def _write(self) -> None:
        try:
            while True:
                while self._waiting:
                    await self._send_texts(self._next())
                if self._end is not None:
                    await self._socket.close(*self._end)
                    return
                self._wake.clear()
                await self._wake.wait()
        except (WebSocketDisconnect, ClientDisconnected, RuntimeError):
            return  # the socket is gone, which `listen` sees too

    def _next(self) -> list[str]:
        """Take frames that wait, up to `AT_ONCE` characters and at least one."""
        texts: list[str] = []
        size = 0
        while self._waiting and size < AT_ONCE:
            texts.append(self._waiting.popleft())
            size += len(texts[-1])
        self._characters -= size
        return texts

    async def listen(self, hear: Callable[[str | bytes], None]) -> None:
        """Call ``hear`` with each message of the peer, until the peer or `close` ends the socket; bytes are a binary frame."""
        with suppress(TimeoutError):
            async with self._patience:
                while self._end is None:
                    message = await self._socket.receive()
                    if message["type"] == "websocket.disconnect":
                        self.code = int(message.get("code") or 1005)
                        return
                    text = message.get("text")
                    hear(text if text is not None else message.get("bytes") or b"")

    async def finish(self) -> None:
        """Send the queued frames and the close frame, if the peer takes them in time; then cut the connection."""
        if self._end is not None:
            self.code = self._end[0]
            await asyncio.wait([self._writer], timeout=CLOSE_S)
        self._writer.cancel()
        self._cut(*(self._end or (1000, "")))
        if self.code not in _QUIET:
            log.warning("socket ended", code=self.code, reason=self._end[1] if self._end else "", path=self._socket.url.path)


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol for sockets, with limits and a proper end.

    uvicorn closes the connection at once when a frame breaks the protocol: unread bytes then make the kernel reset it, and
    the close frame is lost on its way. It also waits for ever for a peer that never reads. This class reads on for a moment,
    then cuts the connection. uvicorn answers any number of pings into a buffer that the peer need not read, joins any number
    of empty fragments, and queues as many messages as one read brings. This class counts all of them.
    """

    _lingering = False

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin a connection; no ping or pong is counted yet."""
        super().connection_made(transport)
        self._controls = full_bucket(CONTROLS, CONTROLS_A_SECOND, self.loop.time())

    def handle_connect(self, event: Request) -> None:
        """Begin the handshake, and give the app ways to `cut` the socket and to write several frames at once."""
        super().handle_connect(event)
        if self.handshake_initiated and not self.handshake_complete:
            self.scope["extensions"][_WIRE] = {"cut": self.cut, "send_texts": self.send_texts}

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, a little at a time; bytes after a broken frame are read and dropped."""
        for start in range(0, len(data), SLICE):
            if self._lingering:
                return
            super().data_received(data[start : start + SLICE])
            if self.queue.qsize() > MAX_UNHEARD:
                self.abuse(f"over {MAX_UNHEARD} messages at once")

    async def send(self, message: ASGISendEvent) -> None:
        """Send the app's message; a handshake that the app has refused counts as complete."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True

    async def send_texts(self, texts: Iterable[str]) -> None:
        """Send some frames by one write, which uvloop hands to the kernel at once; wait first if the peer does not read.

        Raises:
            ClientDisconnected: If the socket is closed.
        """
        await self.writable.wait()
        if self.disconnected or self.close_sent:
            raise ClientDisconnected
        try:
            for text in texts:
                self.conn.send_text(text.encode())
        except InvalidState:
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))

    def handle_ping(self) -> None:
        """Answer a ping, unless the peer sends too many."""
        if self._counted("pings"):
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Note a pong, which may answer our ping or come unasked, unless the peer sends too many."""
        if self._counted("pongs"):
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Add a fragment to a message, unless it has too many."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self.abuse(f"a message in over {MAX_FRAGMENTS} frames")
        elif not self._lingering:
            super().handle_cont(event)

    def _counted(self, what: str) -> bool:
        if not self._lingering and self._controls.take(self.loop.time()):
            self.abuse(f"too many {what}")
        return not self._lingering

    def abuse(self, why: str) -> None:
        """End the socket of a peer that breaks a limit, with code 1008."""
        if self._lingering or self.close_sent or self.disconnected:
            self._lingering = True
            return
        self.conn.send_close(POLICY, why)
        log.warning("socket abused", why=why, by=self.client[0] if self.client else "")
        self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Send the close frame that says what was wrong; if the handshake could not be read, refuse it."""
        self._lingering = True
        self.stop_keepalive()
        if self.conn.close_sent is None:  # the handshake could not be read
            self.handshake_complete = True
            self.conn.send_response(self.conn.reject(400, "this is no handshake of a WebSocket\n"))
        else:
            end = self.conn.close_sent
            self.queue.put_nowait({"type": "websocket.disconnect", "code": end.code, "reason": end.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.resume_reading()
        self._cut_later()

    def keepalive_timeout(self) -> None:
        """End the connection to a peer that does not answer pings."""
        super().keepalive_timeout()
        self._cut_later()

    def cut(self, code: int, reason: str) -> None:
        """End the connection, whether or not the peer still reads; send a close frame if none was sent."""
        if self.disconnected:
            return
        if self.conn.state is State.OPEN:
            self.stop_keepalive()
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self._cut_later()

    def _cut_later(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(CLOSE_S, self.transport.abort)


def from_here(headers: Headers, known_origins: Collection[str]) -> bool:
    """Say whether a handshake comes from a page of the game, or from a program.

    A handshake without an Origin comes from a program, which cannot abuse a player's place in a network as a page could. The
    Origin of a page must be the address that the page asks for; unless that is a literal IP address or localhost, it must be
    a known origin, or a page under a stranger's name that points to this machine would be let in.

    Args:
        headers: The headers of the handshake.
        known_origins: The origins of the game's pages, such as ``https://game.example``.
    """
    origin = headers.get("origin")
    if origin is None or origin in known_origins:
        return True
    try:
        page = urlsplit(origin)
        host = page.hostname or ""
    except ValueError:
        return False
    if page.scheme not in {"http", "https"} or page.netloc.lower() != headers.get("host", "").lower():
        return False
    return host == "localhost" or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def origins(setting: str) -> frozenset[str]:
    """Read the origins in a setting, which has commas between them."""
    return frozenset(part.strip().rstrip("/") for part in setting.split(",") if part.strip())


async def deny(socket: WebSocket, status: int, why: str) -> None:
    """Refuse a handshake by an HTTP answer that says why."""
    log.warning("socket refused", status=status, why=why, path=socket.url.path, origin=socket.headers.get("origin", "")[:200])
    headers: Any = [(b"content-type", b"text/plain; charset=utf-8")]
    await socket.receive()
    await socket.send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await socket.send({"type": "websocket.http.response.body", "body": why.encode()})
