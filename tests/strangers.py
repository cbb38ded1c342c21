"""Opens connections of plain bytes, for tests that send what no client would."""

import socket
from contextlib import suppress

from tests.serving import DEADLINE_S


def wire(address: str, receive: int | None = None, source: str = "") -> socket.socket:
    """Open a connection to ``host:port``; ``receive`` is its buffer in bytes, ``source`` the address that it comes from."""
    host, port = address.split(":")
    raw = socket.socket()
    if receive is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    raw.settimeout(DEADLINE_S)
    if source:
        raw.bind((source, 0))
    raw.connect((host, int(port)))
    return raw


def said(raw: socket.socket, until: bytes | None = None) -> str:
    """Return the other end's text until it closes, and close the connection; or the text up to ``until``, and keep it open."""
    heard = b""
    with suppress(ConnectionResetError):
        while part := raw.recv(1 << 16):
            heard += part
            if until is not None and until in heard:
                return heard.decode("latin-1")
    if until is None:
        raw.close()
    return heard.decode("latin-1")


def handshake(path: str, host: str, *headers: str) -> bytes:
    """Return the request that opens a WebSocket."""
    named = [
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([f"GET {path} HTTP/1.1", *named, *headers, "", ""]).encode("latin-1")
