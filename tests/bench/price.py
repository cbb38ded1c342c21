"""Measures what a drawing costs: ``python -m tests.bench.price`` prints CPU by process, latencies and receipts (ways 1 and 2).

Players draw over the socket at 25, 100 and 300 drawings a second, and correct nine of ten, whether answered or not (an open
loop). The simulated players run beside the game on the same cores; what they cost is reported, and is no part of the game's.
With ``--beside`` another checkout, which is set up, is measured in turn with this one: before and after, in one sitting.
"""

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import orjson
import psutil
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from producers import heap
from producers.bus import open_bus
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from producers.simulation_report import SimulationReport
from tests.bench import corrections
from tests.bench.loop import machine
from tests.bench.serving import cpu_seconds
from tests.product import ROOT, Product, product

console = Console(stderr=True)
Row = dict[str, Any]
GAME: Final = ("kafka", "api", "router", "learning", "sagemaker", "trainer", "s3", "dynamodb")
"""All processes of the game; each counts with its children, and endpoints are children of the local SageMaker."""


class Load(NamedTuple):
    """Players who draw at a rate."""

    rate: int
    """Drawings a second, of all players together."""
    players: int


LOADS: Final = (Load(25, 100), Load(100, 200), Load(300, 1000))


async def measured(game: Product, load: Load, seconds: float, seed: int) -> Row:
    """Play at a rate; return CPU ms for each drawing by process, latencies in ms, and how much was not answered."""
    options = SimulationOptions(
        url=game.url,
        token=game.settings.operator_token,
        players=load.players,
        drawings=round(load.rate * seconds),
        speed=4.0 * load.rate / load.players,
        previews=0,
        seed=seed,
        patience_s=20,
    )
    with closing(open_bus(game.settings)) as bus:
        told = corrections.Told(bus)
        with told.models():
            before, own = cpu_seconds(game), psutil.Process().cpu_times()
            began = time.monotonic()
            report: SimulationReport = await simulate(options)
            took = time.monotonic() - began
            used, ours = cpu_seconds(game), psutil.Process().cpu_times()
        learned = corrections.spans(told)
    drawn = report.seen["drawn"]
    cost = {name: round(1000 * (used.get(name, 0.0) - before.get(name, 0.0)) / drawn, 2) for name in GAME}
    return {
        "drawn a second": report.drawings_per_second,
        "CPU ms a drawing": cost | {"all": round(sum(cost.values()), 2)},
        "CPU ms a drawing of the players": round(1000 * (ours.user + ours.system - own.user - own.system) / drawn, 2),
        "took, s": round(took, 1),
        **{what: {"p50": one.p50, "p99": one.p99} for what, one in report.latency_ms.items()},
        "correction to a guess that uses it": learned,
        "unfinished": report.seen.get("unfinished", 0),
        "missed": sum(report.missed.values()),
        "errors": report.errors,
    }


def sides(beside: Path | None) -> dict[str, Path]:
    """Return the checkouts that are measured, by their names in the table."""
    return {"before": beside.resolve(), "after": ROOT} if beside else {"this": ROOT}


async def play_all(game: Product, loads: list[Load], seconds: float, seed: int, side: str) -> dict[int, Row]:
    """Warm up, then measure each load."""
    await measured(game, LOADS[0], 8, seed + 1)
    heap.freeze()  # else the players stand still for 0.2 s now and then, and the game seems to
    found = {}
    for load in loads:
        found[load.rate] = await measured(game, load, seconds, seed)
        console.print(side, load.rate, found[load.rate])
        await asyncio.sleep(3)
    return found


def table(results: list[tuple[str, Row]]) -> Table:
    """Make a table with a row for each measurement."""
    spans = ("first guess", "all guesses", "receipt")
    shown = Table("side", "a second", *GAME, "all", "players", *(f"{what} p50/p99" for what in spans), "in use", "unfinished")
    for side, row in results:
        times = [f"{row[what]['p50']:.0f}/{row[what]['p99']:.0f}" if what in row else "" for what in spans]
        cost = [f"{row['CPU ms a drawing'][name]:.2f}" for name in (*GAME, "all")]
        own = row["CPU ms a drawing of the players"]
        used = row["correction to a guess that uses it"].get("river", {})
        times.append(f"{used.get('p50', '')}/{used.get('p99', '')}")
        shown.add_row(side, f"{row['drawn a second']:.0f}", *cost, f"{own:.2f}", *times, str(row["unfinished"]))
    return shown


def main(
    beside: Annotated[Path | None, typer.Option(help="another checkout, set up: what was before")] = None,
    rounds: Annotated[int, typer.Option(help="of both in turn")] = 2,
    seconds: Annotated[float, typer.Option(help="of each load")] = 20.0,
    rates: Annotated[list[int] | None, typer.Option(help="of 25, 100, 300; none: all")] = None,
    seed: Annotated[int, typer.Option(help="of all chances")] = 20181103,
) -> None:
    """Measure, and print a table (standard error) and JSON (standard output)."""
    loads = [load for load in LOADS if not rates or load.rate in rates]
    told: list[tuple[str, Row]] = []
    result: Row = {"machine": machine(), "seed": seed, "seconds": seconds, "rounds": []}
    for number in range(rounds):
        for side, root in sides(beside).items():
            with product(root=root) as game:
                game.start()
                found = uvloop.run(play_all(game, loads, seconds, seed + number, side))
            result["rounds"].append({side: found})
            told += [(side, row) for row in found.values()]
    console.print(table(told))
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())


if __name__ == "__main__":
    typer.run(main)
