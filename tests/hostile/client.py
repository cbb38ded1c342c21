"""A stranger: what they do from an address of their own, and what they hear."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from contracts.settings import Settings
from tests.strangers import wire

PATIENCE_S: Final = 25.0
"""So long may a refusal take: the longest wait here is for a request that does not come."""
KEY: Final = "a-key-of-the-battery"
"""The key of the app whose predictions are asked for."""
OPERATOR: Final = ("Authorization: Bearer TOKEN", "Content-Type: application/json")


class Doors(NamedTuple):
    """Where the doors are, as ``host:port``."""

    game: str
    sagemaker: str
    s3: str
    dynamodb: str
    kafka: str
    token: str

    @classmethod
    def of(cls, settings: Settings) -> "Doors":
        """Of a game that runs."""
        ports = (settings.port, settings.sagemaker_port, settings.s3_port, settings.dynamodb_port, settings.kafka_port)
        return cls(*(f"127.0.0.1:{port}" for port in ports), Settings.load(home=settings.home).operator_token or "")


Act = Callable[[Doors, str], str]
"""Does it, from an address; gives what was heard: a status, ``error:code``, ``close 1008``, ``closed``, or ``open``."""


class Case(NamedTuple):
    """One thing that a stranger does."""

    name: str
    expected: frozenset[str]
    act: Act


def case(name: str, expected: str, act: Act) -> Case:
    """``expected`` is what may be heard, ``|`` between."""
    return Case(name, frozenset(expected.split("|")), act)


# --- bytes over HTTP -----------------------------------------------------------------------------------------------------


def heard(raw: socket.socket) -> str:
    """The status of the first answer, or how the connection ended without one."""
    raw.settimeout(PATIENCE_S)
    got = b""
    try:
        while b"\r\n" not in got:
            part = raw.recv(4096)
            if not part:
                return "closed"
            got += part
            if not (got.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(got[:7])):
                return f"said {got[:20]!r}"
    except TimeoutError:
        return "open"
    except OSError:
        return "closed"
    return got.split(b" ", 2)[1].decode("latin-1")


def sends(door: Callable[[Doors], str], *parts: bytes | Callable[[Doors], bytes], half_close: bool = False) -> Act:
    """Send bytes and listen."""

    def act(doors: Doors, source: str) -> str:
        with wire(door(doors), source=source) as raw:
            with suppress(OSError):
                for part in parts:
                    raw.sendall(part(doors) if callable(part) else part)
                if half_close:
                    raw.shutdown(socket.SHUT_WR)
            return heard(raw)

    return act


def game(doors: Doors) -> str:
    return doors.game


def request(method: str, path: str, *headers: str, body: bytes = b"", host: str | None = "", version: str = "1.1") -> Act:
    """A request to the game; ``host`` is the game's own unless told otherwise, None: no header. ``TOKEN`` is the operators'."""

    def act(doors: Doors, source: str) -> str:
        named = [f"{method} {path} HTTP/{version}"]
        if host is not None:
            named.append(f"Host: {host or doors.game}")
        named += [header.replace("TOKEN", doors.token) for header in headers]
        if body and not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
            named.append(f"Content-Length: {len(body)}")
        return sends(game, "\r\n".join([*named, "", ""]).encode("latin-1") + body)(doors, source)

    return act
