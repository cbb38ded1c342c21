"""Measures the whole loop on one machine: `make bench`, or ``python -m tests.bench.loop [row ...]``.

It starts the product in a fresh home on free ports, as `gamenight up` does, and plays on it from outside through the public
protocol. Each row warms up first, and drawings that warm up are not counted. The rows are those of docs/benchmarks.md.
"""

import asyncio
import os
import platform
import random
import subprocess
import time
import urllib.request
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import orjson
import typer
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect

from contracts.events import TRAINING_ENDS, ModelPublished, TrainingAdvanced, decode, now
from contracts.settings import Settings
from producers.bus import open_bus
from producers.handwriting import Inked, handwriting, ink
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from producers.simulation_report import SimulationReport
from producers.tally import Spread
from tests.audited import audited
from tests.product import PROCESSES, ROOT, Product, product

console = Console(stderr=True)


# --- rows --------------------------------------------------------------------------------------------------------------


Row = dict[str, Any]


def summary(spread: Spread, digits: int = 1) -> Row:
    """Return a distribution as a row, with its count."""
    return {"n": spread.n, **{f"p{q:g}": round(spread.quantile(q / 100), digits) for q in (50, 95, 99, 100)}}


def play(game: Product, title: str, seed: int, **options: Any) -> SimulationReport:
    """Run simulated players, with a progress bar."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(title, total=options["drawings"])
        chosen = SimulationOptions(url=game.url, seed=seed, **options)
        return uvloop.run(simulate(chosen, lambda done, _: bar.update(task, completed=done)))


def latencies(report: SimulationReport) -> Row:
    """Return the latencies of a report, and how many drawings got no answer."""
    return {
        "drawings per second": report.drawings_per_second,
        **{what: spread.model_dump() for what, spread in report.latency_ms.items()},
        "hops p50": report.hops_ms,
        "unfinished": report.seen.get("unfinished", 0),
        "errors": report.errors,
    }


def row_start(game: Product, seed: int) -> Row:
    """Measure the time from start to playable, in a fresh home and again in the same home; and from Ctrl-C to stopped."""
    stopped = game.stop()
    again = [game.start()]
    stops = [stopped, game.stop()]
    again.append(game.start())
    return {"again, s": [round(s, 2) for s in again], "stop, s": [round(s, 2) for s in stops]}


def row_one(game: Product, seed: int) -> Row:
    """Measure one player with 2.5 drawings a second and two previews each, whether answered or not."""
    play(game, "one player, warming up", seed + 1, players=1, drawings=30, speed=10)
    return latencies(play(game, "one player", seed, players=1, drawings=300, speed=10))


def row_hundred(game: Product, seed: int) -> Row:
    """Measure a hundred players at human pace, 25 drawings a second, answered or not; then with two previews each as well."""
    measured: Row = {}
    for previews in (0, 2):
        play(game, "100 players, warming up", seed + 1, players=100, drawings=400, speed=1, previews=previews)
        report = play(game, "100 players", seed, players=100, drawings=2500, speed=1, previews=previews)
        measured[f"{previews} previews a drawing"] = latencies(report)
    return measured


def row_correction(game: Product, seed: int, corrections: int = 200) -> Row:
    """Measure the time from a correction's frame to river's first guess that has learned it, while asking all the time."""
    return asyncio.run(_corrections(game, seed, corrections))


async def _corrections(game: Product, seed: int, corrections: int) -> Row:
    chance = random.Random(seed)
    pen = [written for someone in handwriting().values() for written in someone]
    used, receipt = Spread(), Spread()
    async with connect(game.url.replace("http", "ws", 1) + "/ws/play", proxy=None, compression=None) as wire:
        await _say(wire, {"type": "join", "name": "Bench", "room": None, "seat": None})
        await _until(wire, lambda frame: frame["type"] == "joined")
        for i in range(corrections + 10):
            written = chance.choice(pen)
            drawing_id = await _draw(wire, ink(written, chance), final=True)
            await _until(wire, lambda f, d=drawing_id: f["type"] == "guess" and f["drawing_id"] == d and f["model"] == "river")
            correction_id = str(uuid4())
            sent = time.perf_counter()
            await _say(
                wire, {"type": "correct", "drawing_id": drawing_id, "correction_id": correction_id, "label": written.label}
            )
            needed: int | None = None
            while True:
                asked = await _draw(wire, ink(chance.choice(pen), chance), final=False)
                while True:
                    frame = orjson.loads(await wire.recv(decode=False))
                    if frame["type"] == "receipt" and frame["correction_id"] == correction_id and "river" in frame["models"]:
                        needed = _lessons(frame["models"]["river"]["version_after"])
                        receipt_ms = 1000 * (time.perf_counter() - sent)
                    if frame["type"] == "guess" and frame["drawing_id"] == asked and frame["model"] == "river":
                        break
                if needed is not None and _lessons(frame["version"]) >= needed:
                    break
            if i >= 10:
                used.add(1000 * (time.perf_counter() - sent))
                receipt.add(receipt_ms)
    return {"correction to a guess that uses it, ms": summary(used), "correction to receipt, ms": summary(receipt)}


def _lessons(version: str) -> int:
    return int(version.rpartition("+")[2])


async def _say(wire: ClientConnection, frame: Row) -> None:
    await wire.send(orjson.dumps(frame), text=True)


async def _draw(wire: ClientConnection, inked: Inked, final: bool) -> str:
    drawing_id = str(uuid4())
    await _say(
        wire,
        {"type": "draw", "drawing_id": drawing_id, "strokes": inked.strokes, "width": inked.width, "height": inked.height,
         "final": final, "asked": None},
    )  # fmt: skip
    return drawing_id


async def _until(wire: ClientConnection, wanted: Callable[[Row], bool]) -> Row:
    async with asyncio.timeout(20):
        while True:
            frame: Row = orjson.loads(await wire.recv(decode=False))
            if wanted(frame):
                return frame


def row_loop(game: Product, seed: int) -> Row:
    """Let 30 players make 6,000 drawings, then audit the log."""
    report = play(game, "30 players, 6,000 drawings", seed, players=30, drawings=6000, speed=3)
    found = asyncio.run(audited(game.settings, report, home=game.settings.home))
    console.print(report.to_table(), found.to_table())
    return {
        "first tenth": {model: share.text for model, share in report.first_tenth.items()},
        "last tenth": {model: share.text for model, share in report.last_tenth.items()},
        "drawings saved": report.seen.get("saved", 0),
        "answered by every model": report.seen.get("answered by every model", 0),
        "lost": sum(found.lost.values()),
        "doubled": sum(found.doubled.values()),
        "totals that differ from the examples": found.scores_differ,
        "receipts": report.receipts,
        **latencies(report),
    }


def row_training(game: Product, seed: int) -> Row:
    """Measure a rebuild on MNIST's 60,000 drawings and all feedback so far, from the command to the version's promotion."""
    bus = open_bus(f"kafka://{game.settings.bootstrap_servers}")
    tail = bus.follow(["models.v1"], "end")
    steps: dict[str, float] = {}
    published: ModelPublished | None = None
    try:
        token = Settings.load(home=game.settings.home).operator_token
        request = urllib.request.Request(
            f"{game.url}/api/ops/retrain",
            orjson.dumps({"target": "xgboost", "reason": "bench"}),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        began = time.monotonic()
        with urllib.request.urlopen(request, timeout=10) as answer:
            command_id = orjson.loads(answer.read())["command_id"]
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("training", total=1.0)
            while not steps.keys() & set(TRAINING_ENDS):
                if time.monotonic() - began > 600:
                    raise TimeoutError(f"no end of the training in 600 s: {steps}")
                for record in tail.poll(0.5):
                    event = decode(record.topic, record.value)
                    if isinstance(event, TrainingAdvanced) and str(event.command_id) == command_id:
                        steps.setdefault(event.step, round(time.monotonic() - began, 1))
                        bar.update(task, completed=event.fraction, description=f"training: {event.step}")
                    elif isinstance(event, ModelPublished):
                        published = event
    finally:
        tail.close()
        bus.close()
    return {
        "seconds at each step": steps,
        "metrics": published.metrics if published else None,
        "gate": published.gate if published else None,
    }


def row_kill(game: Product, seed: int) -> Row:
    """Measure the time from kill -9 to playable again, and to learning again, twice each, while six players play."""
    return asyncio.run(_kills(game, seed))


async def _kills(game: Product, seed: int) -> Row:
    enough = asyncio.Event()
    options = SimulationOptions(url=game.url, players=6, drawings=1_000_000, speed=6, seed=seed, patience_s=60)
    playing = asyncio.create_task(simulate(options, enough=enough))
    seconds: dict[str, list[Row]] = {}
    for process in PROCESSES * 2:
        await asyncio.sleep(3)
        seconds.setdefault(process, []).append((await game.kill(process))._asdict())
    enough.set()
    report = await playing
    found = await audited(game.settings, report, home=game.settings.home)
    return {"seconds": seconds, "seen": report.seen, "errors": report.errors, "audit": found.model_dump()}


ROWS: dict[str, Callable[[Product, int], Row]] = {
    "start": row_start,
    "one": row_one,
    "hundred": row_hundred,
    "correction": row_correction,
    "loop": row_loop,
    "training": row_training,
    "kill": row_kill,
}


# --- report ------------------------------------------------------------------------------------------------------------


def machine() -> Row:
    """Describe the machine that measures."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.processor(),
        "load before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "at": now().isoformat(timespec="seconds"),
    }


def known(rows: Sequence[str] | None, there: Collection[str]) -> list[str]:
    """Return the rows that were asked for, or all rows if none was named.

    Raises:
        typer.BadParameter: If a row that was asked for does not exist.
    """
    unknown = [row for row in rows or () if row not in there]
    if unknown:
        raise typer.BadParameter(f"no row {', '.join(unknown)}: there are {', '.join(there)}")
    return list(rows or there)


def main(
    rows: Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(ROWS)}; none: all")] = None,
    seed: Annotated[int, typer.Option(help="of all chances")] = 20181103,
    home: Annotated[Path | None, typer.Option(help="folder of the data; none: a fresh one")] = None,
) -> None:
    """Measure the rows, and print them as a table (standard error) and as JSON (standard output)."""
    chosen = known(rows, ROWS)
    result: Row = {"machine": machine(), "seed": seed}
    with product(home) as game:
        result["first start, s"] = round(game.start(), 2)
        console.print(f"playable at {game.url} after {result['first start, s']} s")
        for row in chosen:
            began = time.monotonic()
            result[row] = ROWS[row](game, seed)
            result[row]["took, s"] = round(time.monotonic() - began, 1)
            console.print(_table(row, result[row]))
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())


def _table(row: str, measured: Row) -> Table:
    table = Table(row, ROWS[row].__doc__ or "")
    for what, value in measured.items():
        table.add_row(what, value if isinstance(value, str) else orjson.dumps(value).decode())
    return table


if __name__ == "__main__":
    typer.run(main)
