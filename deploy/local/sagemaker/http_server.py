"""Serves HTTP/1.1 to the service's callers; it is leaner than a general server, since every guess passes through it."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final, cast

import httptools

MAX_HEAD_BYTES: Final = 64 * 1024
_MOST_WAITING: Final = 8  # requests on a connection that may wait for an earlier request; with more, reading pauses
_LINGER_S: Final = 2.0
_REASONS: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """A caller's request."""

    method: str
    target: str
    """Path and query, as the caller sent them."""
    headers: dict[str, str]
    """The headers by lower-case name; the values of several headers with one name are joined by commas."""
    body: bytes
    keep: bool = True
    """Whether the caller wants the connection to stay."""


@dataclass(slots=True, frozen=True)
class Response:
    """The answer to a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Handle = Callable[[Request], Awaitable[Response]]
"""A function that answers a request; it is cancelled when the caller has gone."""


@dataclass(slots=True)
class HttpServer:
    """An HTTP server: a listening socket and its connections."""

    handle: Handle
    max_bytes: int
    """The size of the largest body, in bytes."""
    refuse: Callable[[int, str], Response]
    """Makes the answer to a request that cannot be handled: from an HTTP status and the reason."""
    admit: Callable[[str, Mapping[str, str]], Response | None] = lambda target, headers: None
    """Checks the target and headers of a request before its body is read; returns the refusal, or None to admit the request."""
    max_held: int = 2**63
    """The most bytes of bodies that are held at a time, each from its first byte to the answer."""
    held: int = 0
    """The bytes of bodies that are held now."""
    connections: "set[_Connection]" = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> None:
        """Listen at a host and port.

        Raises:
            OSError: If another process listens there.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=1024, reuse_address=True)

    async def close(self, patience_s: float) -> None:
        """Stop listening; requests that are being answered have ``patience_s`` seconds to finish."""
        if self._server is None:
            return
        self._server.close()
        tasks = [connection.task for connection in self.connections if connection.task]
        if tasks:
            await asyncio.wait(tasks, timeout=patience_s)
        for connection in list(self.connections):
            connection.close()


class _Connection(asyncio.Protocol):
    """A caller's connection, which answers one request at a time, in order; the parser calls the ``on_`` methods."""

    def __init__(self, server: HttpServer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._server = server
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._target = b""
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._head = self._size = 0
        self._in_head = True
        self._completed = False
        self._refused = False

    def close(self) -> None:
        """Close the connection once everything written is sent."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is no subclass
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._server.held -= self._size + sum(len(request.body) for request in self._waiting)
        self._size = 0
        self._waiting.clear()
        if self.task:
            self.task.cancel()  # a caller that has gone must not keep a hung server's queue full

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._completed = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(self._server.refuse(400, "this is no HTTP"))
            return
        if self._in_head and not self._completed:  # else these bytes are the end of a body
            self._head += len(data)
            if self._head > MAX_HEAD_BYTES:
                self._refuse(self._server.refuse(431, "the headers are too long"))

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def on_message_begin(self) -> None:
        self._target, self._headers, self._parts = b"", {}, []
        self._head = self._size = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, told = header_name(name), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]},{told}" if key in self._headers else told

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._refused:
            return
        if self.task is None and (refusal := self._server.admit(self._target.decode("ascii"), self._headers)):
            self._refuse(refusal)
        elif "expect" in self._headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._size += len(body)
        self._server.held += len(body)
        self._parts.append(body)
        if self._size > self._server.max_bytes:
            self._refuse(self._server.refuse(413, f"The body is over {self._server.max_bytes} bytes"))
        elif self._server.held > self._server.max_held:
            self._refuse(self._server.refuse(503, "Too many large bodies come at once: try again"))

    def on_message_complete(self) -> None:
        self._in_head = self._completed = True
        if self._refused:
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._size = [], 0  # the request holds it from here on
        method = self._parser.get_method().decode("ascii")
        request = Request(method, self._target.decode("ascii"), self._headers, body, self._parser.should_keep_alive())
        if self.task is None:
            self._begin(request)
            return
        self._waiting.append(request)
        if len(self._waiting) >= _MOST_WAITING:
            self._transport.pause_reading()

    def _begin(self, request: Request) -> None:
        self.task = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            response = await self._server.handle(request)
        finally:
            self._server.held -= len(request.body)
        self.task = None
        if self._refused:
            return
        self._write(response, request.keep)
        if not request.keep:
            self.close()
        elif self._waiting:
            self._begin(self._waiting.popleft())
            self._transport.resume_reading()

    def _refuse(self, refusal: Response) -> None:
        """Send a refusal; read on for a while and drop all bytes, or the caller would be cut off before it has read why."""
        if self._refused:
            return
        self._refused = True
        self._parts.clear()
        self._server.held -= self._size
        self._size = 0
        self._write(refusal, keep=False)
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def _write(self, response: Response, keep: bool) -> None:
        given = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
        ending = "\r\n" if keep else "Connection: close\r\n\r\n"
        date = _date(int(time.time()))
        head = f"{_REASONS[response.status]}{given}Date: {date}\r\nContent-Length: {len(response.body)}\r\n{ending}"
        self._transport.write(head.encode("latin-1") + response.body)


@lru_cache(maxsize=256)
def header_name(name: bytes) -> str:
    """Return a header's name in lower case; the result is cached, since callers send the same names again and again."""
    return name.decode("ascii").lower()


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
