"""Sends right and broken frames over a socket, and reads the answers."""

import socket
import struct
from contextlib import suppress

import orjson

from tests.hostile.client import PATIENCE_S, Act, Doors, game, sends
from tests.strangers import handshake, wire


def opens(path: str, *headers: str, host: str = "", without: str = "") -> Act:
    """Make an act that sends a handshake and reads the answer; ``without`` is a header that is left out."""

    def act(doors: Doors, source: str) -> str:
        sent = handshake(path, host or doors.game, *headers)
        if without:
            lines = [line for line in sent.split(b"\r\n") if not line.startswith(without.encode())]
            sent = b"\r\n".join(lines)
        return sends(game, sent)(doors, source)

    return act


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """Return a client's frame, with a mask of zeros."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask, size = 0x80 if masked else 0, len(payload)
    length = (
        struct.pack("!B", mask | size)
        if size < 126
        else struct.pack("!BH", mask | 126, size)
        if size < 1 << 16
        else struct.pack("!BQ", mask | 127, size)
    )
    return bytes([first]) + length + (b"\x00" * 4 if masked else b"") + payload


class Talk:
    """A socket that was accepted."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._got = b""

    def _take(self, n: int) -> bytes:
        while len(self._got) < n:
            part = self._raw.recv(1 << 16)
            if not part:
                raise ConnectionResetError
            self._got += part
        taken, self._got = self._got[:n], self._got[n:]
        return taken

    def accepted(self) -> bool:
        """Read the answer to the handshake; return whether it was accepted."""
        while b"\r\n\r\n" not in self._got:
            self._got += self._raw.recv(1 << 16) or b"\r\n\r\n"
        head, _, self._got = self._got.partition(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 101")

    def next(self) -> tuple[int, bytes]:
        """Return the next frame: opcode and payload."""
        first, second = self._take(2)
        size = second & 127
        if size > 125:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        return first & 15, self._take(size)

    def outcome(self, until_close: bool) -> str:
        """Return the error or the close that comes; other frames are ignored."""
        self._raw.settimeout(PATIENCE_S)
        try:
            while True:
                opcode, payload = self.next()
                if opcode == 8:
                    return f"close {int.from_bytes(payload[:2], 'big')}"
                if opcode == 1 and not until_close:
                    message = orjson.loads(payload)
                    if message["type"] == "error":
                        return f"error:{message['code']}"
                    if message["type"] == "receipt":
                        return f"receipt:{message['outcome']}"
        except TimeoutError:
            return "open"
        except OSError:
            return "dropped"


def talks(path: str, *frames: bytes, joined: bool = False, until_close: bool = False) -> Act:
    """Make an act that opens a socket, perhaps joins, sends frames, and reads the answer."""

    def act(doors: Doors, source: str) -> str:
        with wire(doors.game, source=source) as raw:
            talk = Talk(raw)
            raw.sendall(handshake(path, doors.game))
            if not talk.accepted():
                return "refused"
            with suppress(OSError):
                if joined:
                    raw.sendall(frame(1, b'{"type":"join","name":"Eve","room":null,"seat":null}'))
                for one in frames:
                    raw.sendall(one)
            return talk.outcome(until_close)

    return act
