"""What the supervisor knows of a process: how to start it, when it is ready, and what it must wait for."""

import http.client
import socket
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
    """Variables besides the environment of the supervisor and the settings."""
    secrets: tuple[str, ...] = ()
    """The secrets that it needs, by their fields in the settings: it gets no others."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """The ports that it opens on the host, by the environment variable of the setting."""
    host: str = "127.0.0.1"
    needs: tuple[str, ...] = ()
    """Components that must be ready before it is started."""
    tier: int = 0
    """A component has a higher tier than those that it depends on, and is stopped before them."""
    nice: int = 0
    """Its niceness, 0..19: how much it lets the others go first."""
    prepare: Callable[[], None] = nothing
    """Called before every start."""
    ready: Callable[[], bool] | None = None
    """Says whether it answers; called until it does. None: it cannot be asked, and is ready when it has run for a while."""
    settle: Callable[[], None] = nothing
    """Called when it first answers, before those that need it are started: makes its topics, bucket or table."""
    patience_s: float = 60.0
    """How long it may take to become ready, in seconds."""


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether a port accepts connections."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def answers(port: int, path: str = "/", host: str = "127.0.0.1") -> bool:
    """Say whether an HTTP server answers with a status below 500."""
    if not listens(port, host):
        return False
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
