"""Measures a restart under load: ``python -m tests.bench.restart [--seconds 600] [--rate 150]``, for docs/benchmarks.md.

Simulated players draw at a constant rate, answered or not, and put right or confirm most of the guesses. Then the API is
killed with -9 while they go on. Measured from the kill: until its process runs again, until a drawing that was begun after the
kill is answered by every model that is shown, over a new socket, and until a correction to the very first drawing of the run,
over its player's seat, is learned: nobody begins another drawing from then on. Everything, the players too, runs on the one
machine.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final
from uuid import uuid4

import orjson
import psutil
import typer
import uvloop
from kafka import KafkaConsumer
from kafka.structs import TopicPartition
from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from contracts.events import TOPICS
from producers.connection import kafka_of
from producers.handwriting import handwriting, ink
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from tests.bench.loop import machine
from tests.bench.serving import cpu_seconds
from tests.product import Product, product

console = Console(stderr=True)
Row = dict[str, Any]
PLAYERS: Final = 100
PATIENCE_S: Final = 120.0
LEARNED_S: Final = 900.0
"""How long learning may be behind, in seconds."""


class Somebody:
    """A player whom the bench plays frame by frame, on one socket."""

    def __init__(self, wire: ClientConnection) -> None:
        self._wire = wire
        self.seat = ""
        self.shown: set[str] = set()

    async def say(self, **frame: Any) -> None:
        """Send a frame."""
        await self._wire.send(orjson.dumps(frame), text=True)

    async def hear(self) -> Row:
        """Return the next frame."""
        frame: Row = orjson.loads(await self._wire.recv(decode=False))
        return frame

    async def draw(self, seed: int) -> str:
        """Draw, and wait until every model that is shown has answered; return the drawing's id."""
        chance = random.Random(seed)
        inked = ink(chance.choice(next(iter(handwriting().values()))), chance)
        drawing_id = str(uuid4())
        drawn = {"strokes": inked.strokes, "width": inked.width, "height": inked.height, "final": True, "asked": None}
        await self.say(type="draw", drawing_id=drawing_id, **drawn)
        answered: set[str] = set()
        while not answered >= self.shown:
            frame = await self.hear()
            if frame["type"] == "guess" and frame["drawing_id"] == drawing_id:
                answered.add(frame["model"])
        return drawing_id

    async def correct(self, drawing_id: str, label: int) -> Row:
        """Correct a drawing; return the receipt of the shared models."""
        correction_id = str(uuid4())
        await self.say(type="correct", drawing_id=drawing_id, correction_id=correction_id, label=label)
        while True:
            frame = await self.hear()
            if frame["type"] == "error":
                raise RuntimeError(f"the correction was not taken: {frame}")
            if frame["type"] == "receipt" and frame["correction_id"] == correction_id and frame["stage"] != "personal":
                return frame


@asynccontextmanager
async def somebody(game: Product, seat: str | None = None) -> AsyncIterator[Somebody]:
    """Yield a player, new or with an earlier seat."""
    async with connect(game.url.replace("http", "ws", 1) + "/ws/play", proxy=None, compression=None, max_queue=None) as wire:
        player = Somebody(wire)
        await player.say(type="join", name="Bench", room=None, seat=seat)
        joined = await player.hear()
        player.seat = joined["seat"]
        player.shown = {one["model"] for one in joined["models"] if one["part"] == "shown" and one["unavailable"] is None}
        yield player


async def until(condition: Any, began: float) -> float:
    """Call a coroutine function until it reaches the game and returns a true value; return the seconds since ``began``."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if await condition():
                    return round(time.monotonic() - began, 2)
            except (OSError, WebSocketException):
                pass
            await asyncio.sleep(0.02)


def on_the_log(game: Product) -> dict[str, int]:
    """Return the number of records of each topic: end less begin, which on a compacted topic also counts deleted records."""
    place = kafka_of(game.settings)
    consumer = KafkaConsumer(bootstrap_servers=place.servers, **place.security)
    try:
        parts = [TopicPartition(topic, n) for topic, spec in TOPICS.items() for n in range(spec.partitions)]
        ends, begins = consumer.end_offsets(parts), consumer.beginning_offsets(parts)
        return {topic: sum(ends[part] - begins[part] for part in parts if part.topic == topic) for topic in TOPICS}
    finally:
        consumer.close(autocommit=False)


async def measure(game: Product, seconds: float, rate: float, seed: int) -> Row:
    """Measure the row."""
    async with somebody(game) as first:
        seat, drawing_id, shown = first.seat, await first.draw(seed), sorted(first.shown)
    options = SimulationOptions(
        url=game.url, players=PLAYERS, drawings=10_000_000, speed=rate * 4 / PLAYERS, previews=0, seed=seed, patience_s=60
    )
    enough = asyncio.Event()
    before = cpu_seconds(game)
    playing = asyncio.create_task(simulate(options, None, enough))
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await asyncio.sleep(min(10.0, seconds))
        console.print(f"{time.monotonic() - began:.0f} s of {seconds:.0f}")
    after = cpu_seconds(game)
    cores = {name: round((after[name] - before.get(name, 0)) / seconds, 2) for name in after}
    held = await asyncio.to_thread(on_the_log, game)

    pid = game.pid("api")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()

    async def running() -> bool:
        return game.pid("api") not in (pid, None)

    async def playable() -> bool:
        async with somebody(game) as player:
            await player.draw(seed + 1)
        return True

    async def learned() -> Row:
        async with somebody(game, seat) as player:
            return await player.correct(drawing_id, 3)

    told: Row = {"seconds of play": seconds, "shown": shown, "cores": cores, "records on the log at the kill": held}
    ups = asyncio.create_task(until(running, killed))
    told["new drawing answered by every model, s after the kill"] = await until(playable, killed)
    times = psutil.Process(game.pid("api") or 0).cpu_times()
    told["CPU of the new process until then, s"] = round(times.user + times.system, 2)
    console.print(told)
    enough.set()  # the lag of learning is then over some time
    asked = time.monotonic()
    receipt = await asyncio.wait_for(learned(), LEARNED_S)
    told["first drawing corrected: outcome"] = receipt["outcome"]
    told["first drawing corrected: s from correction to receipt"] = round(time.monotonic() - asked, 2)
    told["process runs again, s after the kill"] = await ups
    report = await playing
    told["drawings a second, as drawn"] = round(report.drawings / report.seconds, 1)
    told["seen"] = report.seen
    told["receipts"] = report.receipts
    told["errors"] = report.errors
    told["latency ms, the restart included"] = {what: spread.model_dump() for what, spread in report.latency_ms.items()}
    return told


def main(
    seconds: Annotated[float, typer.Option(help="of play before the kill")] = 600,
    rate: Annotated[float, typer.Option(help="drawings a second")] = 150,
    seed: Annotated[int, typer.Option(help="of all chances")] = 20181103,
) -> None:
    """Measure, and print as JSON (standard output)."""
    result: Row = {"machine": machine(), "seed": seed, "rate": rate}
    with product() as game:
        game.start()
        console.print(f"playable at {game.url}")
        result["restart"] = uvloop.run(measure(game, seconds, rate, seed))
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    typer.run(main)
