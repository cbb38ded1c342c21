"""Tries that many workers learn what one learns: ``python -m tests.bench.workers`` (some ten minutes; 1 if a digest differs).

Each message comes three times, the players mixed, over 1, 2 and 8 learning processes, of which 20 are killed with -9 at random,
while others leave and come, and the broker is killed too. The end is compared with that of one undisturbed process that got
each message once; and every state with a replay of its own log, bit for bit.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from contracts.events import PLAYER_PARTITIONS
from deploy.replay import FOLDS, replay
from tests.workers import game, played, shuffled

console = Console()


def main(
    players: Annotated[int, typer.Option(help="how many play")] = 24,
    drawings: Annotated[int, typer.Option(help="how many drawings each")] = 20,
    kills: Annotated[int, typer.Option(help="how many workers are killed in each run")] = 20,
    seed: Annotated[int, typer.Option(help="of players, order and harm")] = 20181103,
) -> None:
    """Try, and print."""
    told = game(players, drawings, seed)
    out: dict[str, Any] = {"players": players, "drawings": players * drawings, "kills in each run": kills, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        with played(Path(folder) / "clean", 1, [event for events in told for event in events]) as (_, clean, _):
            out["clean run"] = {fold: digest[:16] for fold, digest in clean.items()}
        for count in (1, 2, 8):
            began, events = time.monotonic(), shuffled(told, seed + count)
            harm = {"kills": kills, "leaves": 3, "restarts": 1, "seed": seed + count, "within_s": 300.0}
            with played(Path(folder) / str(count), count, events, **harm) as (settings, found, owners):  # type: ignore[arg-type]
                report = replay(settings, FOLDS, False, lambda *_: None)
            out[f"{count} workers"] = {
                "messages": len(events),
                "had partitions at once": f"{owners} of {count}, there are {PLAYER_PARTITIONS} partitions",
                "differ from the clean run": [fold for fold in clean if found[fold] != clean[fold]],
                "replay": report.status,
                "seconds": round(time.monotonic() - began),
            }
            console.print_json(json.dumps(out[f"{count} workers"]))
    console.print(json.dumps(out, indent=2))
    wrong = any(out[f"{n} workers"]["differ from the clean run"] or out[f"{n} workers"]["replay"] for n in (1, 2, 8))
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
