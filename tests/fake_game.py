"""A game that answers by the public protocol, and sometimes hangs up: for tests of those who play."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection, serve

MODELS = ("xgboost", "river")


class Game:
    """Answers by the public protocol; hangs up on the finished drawings that ``hang_up_on`` numbers, before it saves them."""

    def __init__(self, hang_up_on: frozenset[int] = frozenset()) -> None:
        self.hang_up_on = hang_up_on
        self.finals: Counter[str] = Counter()
        self.corrections: Counter[str] = Counter()
        self.seats: Counter[str | None] = Counter()

    async def handle(self, socket: ServerConnection) -> None:
        async for text in socket:
            frame = orjson.loads(text)
            for answer in getattr(self, frame["type"])(frame):
                if answer is None:
                    return
                await socket.send(orjson.dumps(answer), text=True)

    def join(self, frame: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
        self.seats[frame["seat"]] += 1
        seat = frame["seat"] or f"seat of {frame['name']}"
        yield {"type": "joined", "player_id": seat, "seat": seat, "room": "AAAA", "models": [{"model": m} for m in MODELS]}

    def draw(self, frame: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
        drawing_id = frame["drawing_id"]
        if frame["final"]:
            self.finals[drawing_id] += 1
            if self.finals.total() in self.hang_up_on:
                yield None
            yield {"type": "saved", "drawing_id": drawing_id}
        for model in MODELS:
            yield {"type": "guess", "drawing_id": drawing_id, "model": model, "version": "1", "label": 3, "confidence": 0.5,
                   "probabilities": [0.05] * 3 + [0.55] + [0.05] * 6, "hops": {"model": 1.0}}  # fmt: skip

    def correct(self, frame: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
        self.corrections[frame["correction_id"]] += 1
        for stage in ("personal", "learner"):
            yield {"type": "receipt", "correction_id": frame["correction_id"], "drawing_id": frame["drawing_id"],
                   "outcome": "learned", "stage": stage, "models": {}}  # fmt: skip


@asynccontextmanager
async def playing(game: Game) -> AsyncIterator[str]:
    """Serve a game; yield its address."""
    async with serve(game.handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
