"""What the supervisor knows of a process: how it is started, when it is ready, and what it must wait for."""

import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Component:
    """A process that `gamenight up` starts and watches."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Besides the environment of the supervisor and the settings."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """The ports that it opens on the host, by the environment variable of the setting."""
    host: str = "127.0.0.1"
    needs: tuple[str, ...] = ()
    """Components that must be ready before it is started; it is stopped before them."""
    prepare: Callable[[], None] = nothing
    """Called before every start."""
    ready: Callable[[], bool] | None = None
    """Whether it answers; asked again and again until it does. None: it has no door, and is ready when it has lived a while."""
    settle: Callable[[], None] = nothing
    """Called when it answers first, before those who need it are started: makes its topics, bucket or table."""
    patience_s: float = 60.0
    """How long it may take to become ready, in seconds."""


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    """Whether an HTTP server says anything below 500 there."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
            return bool(response.status < 500)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
