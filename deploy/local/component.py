"""Describes a process to the supervisor: how to start it, when it is ready, and what it must wait for."""

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
    """Environment variables besides those of the supervisor and of the settings."""
    secrets: tuple[str, ...] = ()
    """The secrets that the process needs, by their fields in the settings: it gets no others."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """The ports that the process opens on the host, by the environment variable of the setting."""
    host: str = "127.0.0.1"
    needs: tuple[str, ...] = ()
    """Components that must be ready before it is started."""
    tier: int = 0
    """A component has a higher tier than those that it depends on, and is stopped before them."""
    nice: int = 0
    """The niceness of the process, 0..19: how far it lets other processes go first."""
    prepare: Callable[[], None] = nothing
    """A function that is called before every start."""
    ready: Callable[[], bool] | None = None
    """Says whether the process answers, and is called until it does. None: the process counts as ready after a while."""
    settle: Callable[[], None] = nothing
    """A function that makes topics, bucket or table, called at the first answer, before components that need this one start."""
    patience_s: float = 60.0
    """How long the process may take to become ready, in seconds."""


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
