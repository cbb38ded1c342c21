"""Measures the latency of the game against its floor: ``python -m tests.bench.floor`` (part of `make bench`).

The floor is the same hops with no work on them (`tests.bench.floor_hops`): WebSocket in, produce with acks=all, consume,
produce, consume, WebSocket out. Both play on one machine and one broker, in turn, with the same simulated player, strokes and
pace (row `one` of `tests.bench.loop`), so the result is a ratio, which can be compared with another machine's.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from contracts.events import TOPICS
from deploy.local.archive import free_ports
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from producers.simulation_report import SimulationReport
from producers.tally import Spread
from producers.topics import open_admin
from tests.bench import floor_hops
from tests.bench.loop import machine
from tests.product import ROOT, Product, product

console = Console(stderr=True)
TARGETS = {"first guess": 2.0, "all guesses": 2.5}
"""The most that the game's time may be as a multiple of the floor's, at p50 and at p99."""
QUANTILES = (0.5, 0.99)


@contextmanager
def floor(game: Product) -> Iterator[str]:
    """Run the floor's two processes on the game's own broker; yield the address."""
    admin = open_admin(game.settings)
    like = TOPICS["drawings.v1"]
    made = {"num_partitions": like.partitions, "replication_factor": -1, "configs": like.configs(game.settings.log_bytes)}
    admin.create_topics(dict.fromkeys((floor_hops.ASKED, floor_hops.ANSWERED), made))
    admin.wait_for_topics([floor_hops.ASKED, floor_hops.ANSWERED])
    admin.close()
    [port] = free_ports(1)
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": game.settings.bootstrap_servers}
    commands = (
        ["-m", "uvicorn", "tests.bench.floor_hops:app", "--port", str(port), "--log-level", "warning"],
        ["-m", "tests.bench.floor_hops"],
    )
    running = [subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment) for command in commands]
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while not _there(url):
            if time.monotonic() > deadline or any(process.poll() is not None for process in running):
                raise RuntimeError("the floor's processes did not start")
            time.sleep(0.05)
        yield url
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(10)


def _there(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False


def play(url: str, seed: int, drawings: int, teaching: bool) -> SimulationReport:
    """Simulate a player, as in row `one`: 2.5 drawings a second with two previews each, whether answered or not."""
    odds = {} if teaching else {"correct_probability": 0, "confirm_probability": 0}
    report = uvloop.run(simulate(SimulationOptions(url=url, players=1, drawings=drawings, speed=10, seed=seed, **odds)))
    if report.seen.get("unfinished") or report.errors:
        raise RuntimeError(f"{url}: {report.seen.get('unfinished', 0)} drawings unfinished, errors {report.errors}")
    return report


def compare(game: Product, seed: int, rounds: int, drawings: int) -> dict[str, dict[str, Spread]]:
    """Return both sides' distributions, from rounds in turn; drawings that warm up are not counted."""
    sides: dict[str, dict[str, Spread]] = {"floor": {}, "game": {}}
    with floor(game) as url:
        for number in range(-1, rounds):
            for side, at in (("floor", url), ("game", game.url)):
                report = play(at, seed + number, drawings if number >= 0 else 30, teaching=side == "game")
                if number < 0:
                    continue
                for what, spread in report.spreads.items():
                    sides[side].setdefault(what, Spread()).update(spread)
                console.print(f"round {number + 1}, {side}: {report.latency_ms['all guesses']}")
    return sides


def ratios(sides: dict[str, dict[str, Spread]]) -> dict[str, dict[str, Any]]:
    """Return the game's times as multiples of the floor's, beside their targets."""
    base = sides["floor"]["first guess"]
    found: dict[str, dict[str, Any]] = {}
    for what, target in TARGETS.items():
        for share in QUANTILES:
            ours, least = sides["game"][what].quantile(share), base.quantile(share)
            found[f"{what}, p{100 * share:g}"] = {
                "game, ms": round(ours, 2),
                "floor, ms": round(least, 2),
                "ratio": round(ours / least, 2),
                "target": target,
                "met": ours / least <= target,
            }
    return found


def main(
    rounds: Annotated[int, typer.Option(help="of the floor and the game in turn")] = 4,
    drawings: Annotated[int, typer.Option(help="a round, of each")] = 150,
    seed: Annotated[int, typer.Option(help="of all chances")] = 20181103,
) -> None:
    """Measure both, and print the ratios as a table (standard error) and as JSON (standard output)."""
    result: dict[str, Any] = {"machine": machine(), "seed": seed, "drawings of each": rounds * drawings}
    with product(None) as game:
        game.start()
        result |= ratios(compare(game, seed, rounds, drawings))
    table = Table("from pen-up to", "game, ms", "floor, ms", "ratio", "target")
    for what, found in result.items():
        if isinstance(found, dict) and "ratio" in found:
            colour = "green" if found["met"] else "red"
            values = (found["game, ms"], found["floor, ms"], f"[{colour}]{found['ratio']}", found["target"])
            table.add_row(what, *map(str, values))
    console.print(table)
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    typer.run(main)
