"""Serves HTTP connections with limits on heads, bodies and times, and delivers a refusal before it cuts one (all ways).

`HttpProtocol` extends uvicorn's over httptools, which accepts heads of any size and waits for ever for a request.
"""

import asyncio
from collections import Counter
from http import HTTPStatus
from math import inf
from typing import Any, Final

import structlog
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.apps.predict_request import MAX_BODY
from api.limits import address_of

MAX_URL: Final = 8192
"""The most bytes of a request's target."""
MAX_HEAD: Final = 16_384
"""The most bytes of a request's head, and of the trailer after a body in chunks."""
MAX_FIELD: Final = 8000
"""The most bytes of a header; the socket's own parser takes lines of 8,192."""
MAX_FIELDS: Final = 64
MAX_WIRE: Final = 2 * MAX_BODY
"""The most bytes of a body on the wire; routes take less."""
MAX_PIPELINED: Final = 16
"""How many requests may come before the first is answered."""
HEAD_S: Final = 10.0
"""How long a head may take to come, in seconds, counted from the connection's beginning or from the head's first byte."""
REQUEST_S: Final = 15.0
"""How long a body may take to come, in seconds."""
READ_S: Final = 20.0
"""How long an answer may stay unread, in seconds."""
CLOSE_S: Final = 1.0
"""How long the connection is still read after a refusal, in seconds, so that the refusal arrives."""
MAX_UNHEARD: Final = 32 << 20
"""The most bytes that are read and dropped within `CLOSE_S`."""

log = structlog.get_logger(__name__)


class ConnectionCounts:
    """Counts the HTTP connections of a process by address. A connection that becomes a socket no longer counts."""

    def __init__(self, most: int, trusted_proxies: str) -> None:
        """Let each address hold ``most`` connections, or any number if it is 0; trusted proxies may hold any number too."""
        self._most = most or inf
        self._proxies = ProxyHeadersMiddleware(_nobody, trusted_proxies).trusted_hosts
        self._open: Counter[str] = Counter()

    def enter(self, host: str) -> bool:
        """Count a connection, and return True, unless its address has as many as it may hold."""
        address = address_of(host)
        if self._open[address] >= self._most and host not in self._proxies:
            return False
        self._open[address] += 1
        return True

    def leave(self, host: str) -> None:
        """Stop counting a connection that has ended."""
        address = address_of(host)
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]


async def _nobody(*_: Any) -> None:
    """Answer nothing: uvicorn's middleware needs some app, and is used here only to read the trusted proxies."""


class _Refused(Exception):
    """The request is over a limit."""


class _Politely:
    """The transport of an answer that may come before its request has ended: closing it then reads on for a moment first."""

    def __init__(self, protocol: "HttpProtocol") -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        self._protocol.part()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with limits."""

    def __init__(self, crowd: ConnectionCounts, *args: Any, **kwargs: Any) -> None:
        """Count the connection in ``crowd``; the other arguments are uvicorn's."""
        super().__init__(*args, **kwargs)
        self._crowd = crowd
        self._host: str | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._heading = False
        self._whole = True
        self._begun = False
        self._head = self._fields = self._wire = 0
        self._keeps = False
        self._parted = False
        self._answer = (400, "this is no HTTP request")

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or refuse it if its address has too many."""
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        if self._crowd.enter(host):
            self._host = host
            self._await(HEAD_S)
        else:
            self.refuse(429, "too many connections from your address: use one again, or close one")

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that the connection held."""
        self._leave()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to `api.sockets`."""
        self._leave()
        super().handle_websocket_upgrade()

    def _leave(self) -> None:
        self._await(None)
        self.resume_writing()
        if self._host is not None:
            self._crowd.leave(self._host)
            self._host = None

    # --- requests

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; after a refusal they are read and dropped."""
        if self._parted:
            self._wire += len(data)
            if self._wire > MAX_UNHEARD:
                self.transport.abort()
            return
        if self._whole and not self._heading and self._deadline is None:
            self._await(HEAD_S)  # empty lines do not count as the beginning of a request
        elif not self._heading:
            self._wire += len(data)
        self._begun = False
        super().data_received(data)
        if self._heading and not self._begun:
            self._wire += len(data)  # counted here, since the parser buffers an incomplete header without a callback
            if self._wire > MAX_HEAD:
                self.refuse(431, f"a request's head has at most {MAX_HEAD} bytes")
        elif not self._whole and self._wire > MAX_WIRE:
            self.refuse(413, f"a request has at most {MAX_BODY} bytes")

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._heading, self._whole, self._begun = True, False, True
        self._head = self._fields = self._wire = 0
        if self.cycle is None or self.cycle.response_complete:
            self._await(HEAD_S)

    def on_url(self, url: bytes) -> None:
        """Add a part of the target."""
        super().on_url(url)
        if len(self.url) > MAX_URL:
            self._stop(414, f"an address here has at most {MAX_URL} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, from before the body or from after its last chunk."""
        self._head += len(name) + len(value) + 4
        self._fields += 1
        if self._fields > MAX_FIELDS or self._head > MAX_HEAD or len(name) + len(value) > MAX_FIELD:
            self._stop(431, f"a request has at most {MAX_FIELDS} headers, of {MAX_FIELD} bytes each and {MAX_HEAD} together")
        if self._heading:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the app; if it answers before the whole body is here, the connection ends with the answer."""
        self._heading, before = False, self.cycle
        self._wire = 0
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"} or (version == "1.0" and self._should_upgrade()):
            self._stop(505, "HTTP/1.1 is spoken here")
        super().on_headers_complete()
        if self.cycle is before:  # the request asks for a socket
            return
        self._await(REQUEST_S)
        self._keeps, self.cycle.keep_alive = self.cycle.keep_alive, False
        self.cycle.transport = _Politely(self)  # type: ignore[assignment]
        if len(self.pipeline) > MAX_PIPELINED:
            self._stop(429, f"at most {MAX_PIPELINED} requests at once")

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        super().on_message_complete()
        self._whole = True
        self._await(None)
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps

    def on_response_complete(self) -> None:
        """Wait for the next request, unless the connection is to end."""
        if not self._parted:
            super().on_response_complete()

    # --- timers

    def pause_writing(self) -> None:
        """Give a peer that does not read `READ_S` seconds to read."""
        super().pause_writing()
        self._stalled = self._stalled or self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the peer reads again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, since no further request came in time."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(CLOSE_S, self.transport.abort)

    def _await(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._late, seconds)

    def _late(self, seconds: float) -> None:
        self._deadline = None
        self.refuse(408, f"the request did not come within {seconds:.0f} s: send it at once")

    # --- the end

    def _stop(self, status: int, why: str) -> None:
        self._answer = (status, why)
        raise _Refused(why)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that the parser could not read, or that is over a limit."""
        self.refuse(*self._answer)

    def refuse(self, status: int, why: str) -> None:
        """Answer with the reason, unless another answer is already on its way, and end the connection."""
        if self._parted or self.transport.is_closing():
            return
        log.warning("request refused", status=status, why=why, by=self.client[0] if self.client else "")
        cycle = self.cycle
        asked_before = bool(self.pipeline) or (self._heading and cycle is not None and not cycle.response_complete)
        silent = cycle is None or cycle.response_complete or not cycle.response_started
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()
        if silent and not asked_before:
            body = why.encode()
            self.transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
                + body
            )
        self._whole = False  # more of the request may be on its way
        self.part()

    def part(self) -> None:
        """Read on until the answer has arrived, then close: unread bytes would make the kernel reset the connection."""
        if self._parted:
            return
        self._await(None)
        self._parted, self._wire = True, 0
        if self._whole:
            self.transport.close()
        else:
            self.flow.resume_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()
        self.loop.call_later(CLOSE_S, self.transport.abort)
