"""Measures how soon people play again after kill -9 of one to three processes at a time, and after a broker hung for 30 s.

python -m tests.bench.kills      (some six minutes; ends with 1 if anything is lost, unanswered or too slow: `wrong`)
"""

import asyncio
import json
import random
import time
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.audit import FOLDS, committed
from deploy.auditor import AuditReport
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from producers.simulation_report import SimulationReport
from tests.audited import audited
from tests.product import PROCESSES, Product, Recovery, product
from tests.roster import MODELS

console = Console()
HANG_S = 30.0
BACK_WITHIN_S = 10.0
"""The seconds within which people must play again after each kill."""

Recoveries = list[tuple[str, Recovery]]


def groups(kills: int, seed: int) -> list[tuple[str, ...]]:
    """Return the processes to kill, in order: each process as often as any other, one to three at a time."""
    chance = random.Random(seed)
    waiting: list[str] = []
    out: list[tuple[str, ...]] = []
    while kills > 0:
        size = min(chance.choice((1, 1, 2, 3)), kills)
        if len(waiting) < size:
            waiting += chance.sample(PROCESSES, len(PROCESSES))
        several: list[str] = []
        for process in list(waiting):
            if len(several) < size and process not in several:
                several.append(process)
                waiting.remove(process)
        out.append(tuple(several))
        kills -= len(several)
    return out


async def killed(game: Product, kills: int, players: int, seed: int) -> tuple[Recoveries, SimulationReport, AuditReport]:
    """Kill while people play; return the seconds until they play and teach again, what they saw, and what the audit found."""
    begun, enough = asyncio.Event(), asyncio.Event()
    options = SimulationOptions(
        url=game.url, players=players, drawings=1_000_000, speed=2, duplicates=0.02, patience_s=60, seed=seed
    )
    playing = asyncio.create_task(simulate(options, lambda done, _: begun.set() if done else None, enough))
    seconds: Recoveries = []
    try:
        await asyncio.wait_for(begun.wait(), 60)
        order = groups(kills, seed)
        for number, several in enumerate(order):
            if number == len(order) // 2:
                seconds.append((f"kafka hung for {HANG_S:.0f} s", await game.hang("kafka", HANG_S)))
                console.print(*seconds[-1])
            seconds.append((" + ".join(several), await game.kill(*several)))
            console.print(*seconds[-1])
    finally:
        enough.set()
        report = await playing
    commits = partial(committed, game.settings)
    found = await audited(game.settings, report, wait_s=60, home=game.settings.home, commits=commits)
    return seconds, report, found


def wrong(seconds: Recoveries, report: SimulationReport, found: AuditReport) -> list[str]:
    """Return a sentence for each failed expectation; none when all is well."""
    said = list(found.faults) if not found.clean else []
    if not found.clean and not said:
        said.append("the audit is not clean")
    if not found.drawings:
        said.append("no drawing was acknowledged, so nothing was tried")
    for model in MODELS:
        heard = found.answered.get(model, 0) + found.missed.get(model, 0)
        if heard != found.drawings:
            said.append(f"{model} answered or was told as missed for {heard} of {found.drawings} acknowledged drawings")
    if unfinished := report.seen.get("unfinished", 0):
        said.append(f"{unfinished} drawings are unfinished: their players never heard the end of them")
    if not all(found.refolded.get(fold) for fold in FOLDS):
        said.append("not every fold was made anew, so the audit has compared less than it must")
    said += [
        f"playable {recovery.playable:.2f} s after {what}, and it must be within {BACK_WITHIN_S:.0f} s"
        for what, recovery in seconds
        if recovery.playable > BACK_WITHIN_S
    ]
    return said


def main(
    kills: Annotated[int, typer.Option(help="Processes killed, all together.")] = 60,
    players: Annotated[int, typer.Option(help="Who play meanwhile.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the order, and of the players.")] = 20181103,
) -> None:
    """Kill processes, and print how long the recoveries took."""
    began = time.monotonic()
    with product() as game:
        game.start()
        seconds, report, found = asyncio.run(killed(game, kills, players, seed))
    table = Table(
        "kill -9 of", "playable, s", "learning, s", "all run again, s", title=f"{kills} kills, {players} players, seed {seed}"
    )
    for what, recovery in sorted(seconds, key=lambda one: -one[1].playable):
        table.add_row(what, f"{recovery.playable:.2f}", f"{recovery.learning:.2f}", f"{recovery.back:.2f}")
    console.print(report.to_table(), found.to_table(), table)
    told = {
        "kills": kills,
        "players": players,
        "seed": seed,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "worst playable s": max(recovery.playable for _, recovery in seconds),
        "drawings saved": found.drawings,
        "answered": found.answered,
        "missed": found.missed,
        "unfinished": report.seen.get("unfinished", 0),
        "audit clean": found.clean,
        "wrong": wrong(seconds, report, found),
    }
    console.print(json.dumps(told, indent=2))
    raise typer.Exit(1 if told["wrong"] else 0)


if __name__ == "__main__":
    typer.run(main)
