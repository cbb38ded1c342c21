"""Measures what players notice of strangers: ``python -m tests.bench.hostile``, a row of docs/benchmarks.md.

It starts the product in a fresh home with its default limits; two people play alone, then while strangers send all the cases of
tests/hostile, from other addresses of the loopback. All runs on one machine, the strangers too.
"""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import orjson
import psutil
import typer
from rich.console import Console

from contracts.settings import LIMITS, Settings
from tests.bench.loop import machine
from tests.hostile.battery import battery
from tests.hostile.client import KEY, Case, Doors
from tests.product import ROOT, Product, product

MOST_MEMORY: Final = 300 << 20
"""The most bytes that the API may have resident."""
PACE: Final = "4"
"""The speed of the players: one drawing a second each; faster players would give more corrections than they may."""

console = Console(stderr=True)


@dataclass
class Watched:
    """What two people saw, and the memory that the API used meanwhile."""

    report: dict[str, Any] = field(default_factory=dict)
    most_memory: int = 0
    """The most bytes that were resident."""


@contextmanager
def people(game: Product, seed: int = 20181103) -> Iterator[Watched]:
    """Let two people play, in a process of their own, until the block ends."""
    watched, stop = Watched(), threading.Event()

    def weigh() -> None:
        while not stop.wait(0.05):
            with suppress(psutil.NoSuchProcess):
                watched.most_memory = max(watched.most_memory, psutil.Process(game.pid("api")).memory_info().rss)

    scales = threading.Thread(target=weigh)
    command = ("-m", "deploy.cli", "simulate", "--players", "2", "--drawings", "1000000", "--speed", PACE, "--seed", str(seed))
    playing = subprocess.Popen(
        [sys.executable, *command, "--url", game.url, "--no-audit", "--json"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    scales.start()
    try:
        yield watched
        playing.send_signal(signal.SIGINT)
        out, wrong = playing.communicate(timeout=60)
        assert out, wrong[-2000:]
        watched.report = orjson.loads(out)
    finally:
        stop.set()
        scales.join()
        playing.kill()
        playing.communicate()


def main(
    seed: Annotated[int, typer.Option(help="of all chances")] = 20181103,
    turns: Annotated[int, typer.Option(help="of the whole battery")] = 5,
    seconds: Annotated[float, typer.Option(help="that the two play alone")] = 60.0,
) -> None:
    """Print the row as JSON."""
    heard: dict[str, str] = {}
    otherwise: dict[str, str] = {}

    def told(case: Case, outcome: str) -> None:
        heard[case.name] = outcome
        if outcome not in case.expected:
            otherwise[case.name] = outcome
            console.print(f"{case.name}: {outcome}, not {' or '.join(sorted(case.expected))}", style="red")

    defaults = {name: Settings.model_fields[name].default for name in LIMITS}
    with product(api_keys=f"battery:{KEY}", **defaults) as game:
        game.start()
        with people(game, seed + 1):
            time.sleep(10)  # warming up
        idle = psutil.Process(game.pid("api")).memory_info().rss
        with people(game, seed) as before:
            time.sleep(seconds)
        began = time.monotonic()
        with people(game, seed) as during:
            for turn in range(turns):
                battery(Doors.of(game.settings), told, turn)
            took = time.monotonic() - began
    row: dict[str, Any] = {
        "machine": machine(),
        "cases": len(heard),
        "otherwise": otherwise,
        "turns, s": [turns, round(took, 1)],
        "API, MB: idle, alone, at most": [round(n / (1 << 20), 1) for n in (idle, before.most_memory, during.most_memory)],
    }
    for name, watched in (("alone", before), ("meanwhile", during)):
        report = watched.report
        row[name] = {key: report[key] for key in ("seen", "errors", "missed")} | {
            what: report["latency_ms"][what] for what in ("saved", "first guess", "all guesses")
        }
    row["p99 of all guesses, ratio"] = round(
        during.report["latency_ms"]["all guesses"]["p99"] / before.report["latency_ms"]["all guesses"]["p99"], 2
    )
    print(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    typer.run(main)
