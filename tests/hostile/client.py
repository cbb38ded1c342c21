"""Defines what a stranger does from an address of their own, and reads the answer."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from contracts.settings import Settings
from tests.strangers import wire

PATIENCE_S: Final = 25.0
"""How long a refusal may take, in seconds: the longest wait is for a request that does not come."""
KEY: Final = "a-key-of-the-battery"
"""The key of the app whose predictions are asked for."""
OPERATOR: Final = ("Authorization: Bearer TOKEN", "Content-Type: application/json")


class Doors(NamedTuple):
    """The addresses of the game and of the services beside it, as ``host:port``."""

    game: str
    sagemaker: str
    s3: str
    dynamodb: str
    kafka: str
    token: str

    @classmethod
    def of(cls, settings: Settings) -> "Doors":
        """Return the addresses of a running game."""
        ports = (settings.port, settings.sagemaker_port, settings.s3_port, settings.dynamodb_port, settings.kafka_port)
        return cls(*(f"127.0.0.1:{port}" for port in ports), Settings.load(home=settings.home).operator_token or "")


Act = Callable[[Doors, str], str]
"""Acts from an address; returns what was heard: a status, ``error:code``, ``close 1008``, ``closed``, or ``open``."""


class Case(NamedTuple):
    """An act of a stranger, and the outcomes that are expected."""

    name: str
    expected: frozenset[str]
    act: Act


def case(name: str, expected: str, act: Act) -> Case:
    """Make a case; ``expected`` lists the outcomes that are right, with ``|`` between them."""
    return Case(name, frozenset(expected.split("|")), act)


# --- bytes over HTTP -----------------------------------------------------------------------------------------------------


def heard(raw: socket.socket) -> str:
    """Return the status of the first answer, or how the connection ended without an answer."""
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
    """Make an act that sends bytes and reads the answer."""

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
    """Make an act that sends the game a request; ``host`` None: no Host header. ``TOKEN`` stands for the operators' token."""

    def act(doors: Doors, source: str) -> str:
        named = [f"{method} {path} HTTP/{version}"]
        if host is not None:
            named.append(f"Host: {host or doors.game}")
        named += [header.replace("TOKEN", doors.token) for header in headers]
        if body and not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
            named.append(f"Content-Length: {len(body)}")
        return sends(game, "\r\n".join([*named, "", ""]).encode("latin-1") + body)(doors, source)

    return act
