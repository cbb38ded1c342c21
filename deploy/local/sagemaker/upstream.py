"""Sends requests to a serving process: HTTP/1.1 over connections that stay open. It is leaner than a general client, since
every guess passes through it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import httptools

from deploy.local.sagemaker.http_server import header_name

MAX_BYTES: Final = 25 * 2**20
"""The size of the largest body of a request or an answer, in bytes; it is SageMaker's own limit."""


class UpstreamLost(ConnectionError):
    """The connection broke, or the server did not speak HTTP."""


class UpstreamRefused(UpstreamLost):
    """No server listens on the port: nothing was sent."""


@dataclass(slots=True)
class UpstreamResponse:
    """The answer of a serving process."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """The headers by lower-case name."""
    body: bytes = b""


class _Connection(asyncio.Protocol):
    """A connection to a serving process for one request at a time; the parser calls the ``on_`` methods."""

    def __init__(self) -> None:
        self.open = True
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[UpstreamResponse] | None = None
        self._response = UpstreamResponse()
        self._parts: list[bytes] = []
        self._size = 0
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes, timeout_s: float) -> UpstreamResponse:
        """Send a whole request and wait for the whole response.

        Raises:
            UpstreamLost: If the response does not come.
            TimeoutError: If the response takes too long.
        """
        if self._transport is None or not self.open:
            raise UpstreamLost("the connection is closed")
        self._response, self._parts, self._size = UpstreamResponse(), [], 0
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        late = loop.call_later(timeout_s, self._fail, TimeoutError(f"no answer in {timeout_s:g} s"))
        self._transport.write(request)
        try:
            return await self._waiter
        finally:
            late.cancel()
            if self._waiter.cancelled() or self._waiter.exception():
                self.close()  # the answer may still come, and the next request must not get it
            self._waiter = None

    def close(self) -> None:
        """Close the connection."""
        self.open = False
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as wrong:
            self._fail(UpstreamLost(f"no HTTP: {wrong}"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._fail(UpstreamLost(str(error or "the connection was closed")))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[header_name(name)] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BYTES:
            raise ValueError(f"the answer is over {MAX_BYTES} bytes")  # the parser stops with this error
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._response.status = self._parser.get_status_code()
        self._response.body = b"".join(self._parts)
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(self._response)

    def _fail(self, error: UpstreamLost | TimeoutError) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(error)


class Upstream:
    """A serving process on a port of this machine."""

    def __init__(self, port: int) -> None:
        """Keep the port; nothing connects yet."""
        self._port = port
        self._idle: list[_Connection] = []

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> UpstreamResponse:
        """Send a request over a free connection, or a new one; return the response.

        Raises:
            UpstreamRefused: If no server listens.
            UpstreamLost: If the server went away before it had answered.
            TimeoutError: If the server took too long.
        """
        given = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{given}Content-Length: {len(body)}\r\n\r\n"
        connection = await self._connection()
        response = await connection.ask(head.encode("latin-1") + body, timeout_s)
        if connection.open:
            self._idle.append(connection)
        return response

    def close(self) -> None:
        """Close the free connections; the others close when their request is done."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()  # the connection used last is the least likely to have been closed
            if connection.open:
                return connection
        try:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", self._port)
        except OSError as error:
            raise UpstreamRefused(str(error)) from error
        return connection
