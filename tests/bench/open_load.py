"""Puts drawings on the bus at a constant rate, whether answered or not (an open loop), and records the answers to each."""

import asyncio
import random
import time
from collections.abc import Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console

from contracts.events import DrawingSubmitted, now
from producers.handwriting import handwriting, ink
from producers.tally import Spread
from tests.product import Product
from tests.roster import MODELS

console = Console(stderr=True)
Row = dict[str, Any]
GRACE_S: Final = 5.0
"""How many seconds after the last drawing an answer may come."""


class AskedDrawing:
    """A drawing that was put on the bus, and its answers."""

    __slots__ = ("at", "guesses", "left_out", "missed")

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.guesses: dict[str, tuple[float, str, int]] = {}
        """The guesses by model: ms after the drawing was put, version, label. A shadow's is under ``<model>/shadow``."""
        self.missed: dict[str, str] = {}
        self.left_out: dict[str, str] = {}

    def all_ms(self, models: Sequence[str]) -> float | None:
        """Return after how many ms the last of these models answered; None: a model has not answered."""
        times = [self.guesses[model][0] for model in models if model in self.guesses]
        return max(times) if len(times) == len(models) else None


class Load:
    """Drawings at a constant rate, and their answers."""

    def __init__(self, game: Product, seed: int) -> None:
        self._bootstrap = game.settings.bootstrap_servers
        chance = random.Random(seed)
        pen = [written for someone in handwriting().values() for written in someone]
        self._inks = [ink(chance.choice(pen), chance) for _ in range(500)]
        self._next = 0
        listed = httpx.get(f"{game.url}/api/models", timeout=10, trust_env=False).json()
        self.models = [one["model"] for one in listed if one["unavailable"] is None]
        """The models that can answer on this machine."""
        if set(self.models) != set(MODELS):
            console.print(f"not here, so not waited for: {', '.join(set(MODELS) - set(self.models))}", style="red")
        self.asked: dict[UUID, AskedDrawing] = {}

    @asynccontextmanager
    async def open(self) -> Any:
        """Connect, and read answers meanwhile."""
        self._producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all", linger_ms=2)
        self._consumer = AIOKafkaConsumer(
            "guesses.v1", "previews.v1", bootstrap_servers=self._bootstrap, auto_offset_reset="latest"
        )
        await self._producer.start()
        await self._consumer.start()
        await self._consumer.seek_to_end()
        for partition in self._consumer.assignment():
            await self._consumer.position(partition)
        reading = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await self._producer.stop()
            await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                heard = time.monotonic()
                for record in records:
                    event = orjson.loads(record.value)
                    asked = self.asked.get(UUID(event["drawing_id"]))
                    if asked is None:
                        continue
                    if event["type"] == "GuessMissed":
                        asked.missed[event["model"]] = event["why"]
                        continue
                    name = event["model"] + ("/shadow" if event["role"] == "shadow" else "")
                    asked.guesses.setdefault(name, ((heard - asked.at) * 1000, event["version"], event["label"]))
                    if event["left_out"]:
                        asked.left_out = event["left_out"]

    async def put(self, **given: Any) -> AskedDrawing:
        """Put a drawing on the bus; by default a finished drawing of a person."""
        inked = self._inks[self._next % len(self._inks)]
        drawn = {"strokes": inked.strokes, "width": inked.width, "height": inked.height, "final": True} | given
        player = given.pop("player_id", f"bench-{self._next % 100}")
        self._next += 1
        event = DrawingSubmitted(drawing_id=uuid4(), player_id=player, at=now(), **drawn)
        asked = self.asked[event.drawing_id] = AskedDrawing()
        await self._producer.send(event.topic, event.record_value(), event.record_key())
        return asked

    async def run(self, rate: float, seconds: float, until: Awaitable[Any] | None = None) -> list[AskedDrawing]:
        """Put ``rate`` drawings a second for ``seconds``, and go on until ``until`` is done; then wait for the answers."""
        began, put = time.monotonic(), []
        doing = asyncio.ensure_future(until) if until is not None else None
        while (passed := time.monotonic() - began) < seconds or (doing is not None and not doing.done()):
            while len(put) < passed * rate:
                put.append(await self.put())
            await asyncio.sleep(0.004)
        if doing is not None:
            await doing
        waited = time.monotonic() + GRACE_S
        while time.monotonic() < waited and any(
            asked.guesses.keys() | asked.missed.keys() < set(MODELS) for asked in put[-400:]
        ):
            await asyncio.sleep(0.05)
        return put


def summary(put: Sequence[AskedDrawing], models: Sequence[str]) -> Row:
    """Return the latencies of these models' answers, and how many drawings were not answered by all of them."""
    spread, first = Spread(), Spread()
    unanswered = 0
    for asked in put:
        ms = asked.all_ms(models)
        if ms is None:
            unanswered += 1
        else:
            spread.add(ms)
            first.add(min(asked.guesses[model][0] for model in models))
    told: Row = {"drawings": len(put), "unanswered by one or more": unanswered}
    told["left out of everyone"] = sum(bool(asked.left_out) for asked in put)
    if spread.n:
        told |= {"all ms": {f"p{q}": round(spread.quantile(q / 100), 1) for q in (50, 95, 99)}}
        told |= {"first ms": {f"p{q}": round(first.quantile(q / 100), 1) for q in (50, 99)}}
    return told
