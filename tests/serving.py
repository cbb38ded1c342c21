"""Serves the API on a real socket, in a thread of the test, with a player who sends and receives frames."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.__main__ import server
from api.app import create_app
from contracts.ports import Bus
from contracts.settings import LIMITS, Settings
from tests.histories import named

DEADLINE_S = 20.0
SECRETS: dict[str, Any] = {"seat_secret": "secret", "operator_token": "token", "api_signing_key": "5e" * 32}
UNLIMITED: dict[str, Any] = dict.fromkeys(LIMITS, 0)
"""Settings without limits: tests share an address and are faster than people. tests/integration/test_hostile.py has limits."""


SERVERS: dict[str, uvicorn.Server] = {}
"""The running servers by address: set ``should_exit`` of a server to stop it as SIGTERM would."""


@contextmanager
def serving(bus: Bus, **settings: Any) -> Iterator[str]:
    """Serve the API on a bus until the block ends; yield its address, as ``127.0.0.1:port``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        given = Settings(**(SECRETS | UNLIMITED | {"port": port} | settings))
        running = server(create_app(given, bus), given)
        thread = threading.Thread(target=running.run, args=([listening],), name="api")
        thread.start()
        try:
            eventually(lambda: running.started or not thread.is_alive())
            assert running.started
            SERVERS[f"127.0.0.1:{port}"] = running
            yield f"127.0.0.1:{port}"
        finally:
            running.should_exit = True
            SERVERS.pop(f"127.0.0.1:{port}", None)
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


class Player:
    """A player on a socket that has joined."""

    def __init__(
        self, connection: ClientConnection, seat: str | None = None, room: str | None = None, name: str = "Ada"
    ) -> None:
        self.socket = connection
        self.say({"type": "join", "name": name, "room": room, "seat": seat})
        joined = self.next("joined")
        self.player_id, self.seat, self.room = joined["player_id"], joined["seat"], joined["room"]
        self.models = joined["models"]

    def say(self, message: dict[str, Any] | str | bytes) -> None:
        """Send a frame."""
        self.socket.send(orjson.dumps(message).decode() if isinstance(message, dict) else message)

    def hear(self) -> dict[str, Any]:
        """Return the next frame."""
        frame: dict[str, Any] = orjson.loads(self.socket.recv(DEADLINE_S))
        return frame

    def next(self, kind: str) -> dict[str, Any]:
        """Return the next frame that is not about a room; it must be of this type."""
        while True:
            frame = self.hear()
            if frame["type"] != "room":
                assert frame["type"] == kind, frame
                return frame

    def draw(self, name: str, final: bool = True) -> None:
        """Send a drawing; ``name`` stands for its id."""
        strokes = [[[60, 60, 0], [60, 200, 160]]]
        self.say(
            {"type": "draw", "drawing_id": str(named(name)), "strokes": strokes, "width": 280, "height": 280, "final": final}
        )

    def saved(self, name: str) -> None:
        """Send a drawing and wait until it is kept; guesses may come before."""
        self.draw(name)
        while (frame := self.hear())["type"] != "saved":
            assert frame["type"] in {"guess", "room"}, frame
        assert frame["drawing_id"] == str(named(name))

    def fence(self) -> None:
        """Check that no frame except those about rooms was under way to this socket."""
        self.say("fence")
        assert self.next("error")["code"] == "not_json"


def opened(address: str, path: str = "/ws/play", host: str | None = None, **kwargs: Any) -> connect:
    """Return a socket to use in a ``with``; ``host`` is the name for the server in the handshake, by default the address."""
    if host is not None:
        name, port = address.split(":")
        kwargs["sock"] = socket.create_connection((name, int(port)))
    return connect(f"ws://{host or address}{path}", proxy=None, compression=None, max_queue=None, **kwargs)


@contextmanager
def playing(address: str, seat: str | None = None, room: str | None = None, name: str = "Ada") -> Iterator[Player]:
    """Yield a player on a socket that has joined; close it afterwards."""
    with opened(address) as connection:
        yield Player(connection, seat, room, name)


def closing(connection: ClientConnection) -> tuple[int, str]:
    """Return code and reason of the close frame that ends a socket; frames before it are ignored."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            connection.recv(DEADLINE_S)
        except ConnectionClosed as end:
            if end.rcvd is None:
                raise AssertionError("the socket was dropped without a close frame") from end
            return end.rcvd.code, end.rcvd.reason
    raise AssertionError("the socket was not closed")


def get(address: str, path: str, **kwargs: Any) -> httpx.Response:
    """Send a GET request, and return the answer."""
    return httpx.get(f"http://{address}{path}", timeout=DEADLINE_S, trust_env=False, **kwargs)


def eventually(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
