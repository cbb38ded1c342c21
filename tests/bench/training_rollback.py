"""Rollbacks and promotions in turn while somebody draws: ``python -m tests.bench.training rollback``.

A real game, with one batch model of two versions, and one player who draws at a steady rate. Each command's time is from before
it is sent until the first guess of the version that it asks for is there at the player's socket. A guess on a drawing that was
sent after that must never name the other one.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from tests.bench.rebuilding_game import MODEL, RebuildingGame, rebuilding_game

EVERY_S: Final = 0.04
"""Between two drawings."""
PAUSE_S: Final = 1.0
"""From a command's first guess to the next command: so long the other version must not be named."""
PATIENCE_S: Final = 20.0
_SEVEN: Final = [[[20, 20, 0], [80, 20, 60], [45, 90, 120]]]


@dataclass(frozen=True)
class Heard:
    """A guess of the model, as the player has heard it."""

    version: str
    sent: float
    """When its drawing was sent, on the monotonic clock."""
    at: float


@dataclass
class Drawer:
    """A player who draws at a steady rate, and all that the model said."""

    wire: ClientConnection
    guesses: list[Heard] = field(default_factory=list)
    sent: dict[str, float] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def draw(self) -> None:
        """Draw without end, whatever is answered."""
        due = time.monotonic()
        while True:
            drawing_id = str(uuid4())
            self.sent[drawing_id] = time.monotonic()
            frame = {"type": "draw", "drawing_id": drawing_id, "strokes": _SEVEN, "width": 100, "height": 100, "final": True}
            await self.wire.send(json.dumps(frame))
            due += EVERY_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def listen(self) -> None:
        """Note each guess of the model."""
        async for frame in self.wire:
            told = json.loads(frame)
            if told["type"] == "error":
                raise RuntimeError(str(told))
            if told["type"] == "guess" and told["model"] == MODEL:
                self.guesses.append(Heard(told["version"], self.sent[told["drawing_id"]], time.monotonic()))
                self.heard.set()

    async def first(self, version: str, asked: float) -> Heard:
        """Return the first guess of a version on a drawing that was sent since."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.heard.clear()
                found = [one for one in self.guesses if one.at >= asked and one.version == version]
                if found:
                    return found[0]
                await self.heard.wait()


@asynccontextmanager
async def drawer(url: str) -> AsyncIterator[Drawer]:
    """Yield a player who draws."""
    async with connect(url.replace("http", "ws", 1) + "/ws/play", proxy=None, compression=None, max_queue=None) as wire:
        await wire.send(json.dumps({"type": "join", "name": "Bench", "room": None, "seat": None}))
        while json.loads(await wire.recv())["type"] != "joined":
            pass
        player = Drawer(wire)
        tasks = [asyncio.create_task(player.draw()), asyncio.create_task(player.listen())]
        try:
            yield player
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Turned:
    """One command, and what was seen of it."""

    seconds: float
    """Until the first guess of the version that was asked for."""
    back: bool
    """Whether it was a rollback."""
    later: int
    """Guesses of the other version on drawings that were sent after that."""
    guesses: int


async def turns(game: RebuildingGame, old: str, new: str, commands: int) -> list[Turned]:
    """Give rollbacks and promotions in turn."""
    token = {"Authorization": f"Bearer {game.settings.operator_token}"}
    out: list[Turned] = []
    async with (
        httpx.AsyncClient(base_url=game.game.url, headers=token, timeout=10, trust_env=False) as http,
        drawer(game.game.url) as player,
    ):
        await player.first(new, 0.0)
        for number in range(commands):
            back = number % 2 == 0
            wanted, other = (old, new) if back else (new, old)
            body: dict[str, Any] = {"target": MODEL, "reason": "the bench"} | ({} if back else {"version": new})
            asked = time.monotonic()
            answer = await http.post(f"/api/ops/{'rollback' if back else 'promote'}", json=body)
            answer.raise_for_status()
            found = await player.first(wanted, asked)
            await asyncio.sleep(PAUSE_S)
            since = [one for one in player.guesses if one.sent > found.at]
            later = sum(one.version == other for one in since)
            out.append(Turned(found.at - asked, back, later, len(since)))
    return out


def rollback(commands: int) -> Iterator[str]:
    """From the command to the first guess of the other version; and whether any later guess names the one before."""
    with rebuilding_game() as game:
        command = game.retrain()
        ended = game.end(command)
        assert ended.step == "done", ended.message
        old, new = "1", game.champion().version
        found = asyncio.run(turns(game, old, new, commands))
    for what, back in (("rollback", True), ("promotion", False)):
        seconds = np.array([one.seconds for one in found if one.back is back])
        yield (
            f"{what}: {len(seconds)} by command, {1 / EVERY_S:.0f} drawings a second: first guess of the other version after"
            f" p50 {np.quantile(seconds, 0.5) * 1000:.0f} ms, p95 {np.quantile(seconds, 0.95) * 1000:.0f} ms,"
            f" p99 {np.quantile(seconds, 0.99) * 1000:.0f} ms, most {seconds.max() * 1000:.0f} ms"
        )
    later, guesses = sum(one.later for one in found), sum(one.guesses for one in found)
    yield f"later guesses that name the version before: {later} of {guesses}"
