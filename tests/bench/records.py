"""Measures how bad records of every kind disturb a player: ``python -m tests.bench.records [--rounds N]``.

It starts the product in a fresh home, as `gamenight up` does, prints JSON, and fails if a process was lost, a record was not
rejected, or the next record was handled after more than a second.
"""

import json
import time
from typing import Annotated

import typer

from producers.bus import open_bus
from tests.bad_records import Player, Told, spoil
from tests.product import product

PROCESSES = ("api", "router", "learning", "trainer")
WITHIN_S = 1.0
"""The seconds within which the next record must be handled."""


def main(rounds: Annotated[int, typer.Option(min=1)] = 5, wait_s: float = 60.0) -> None:
    """Spoil every topic ``rounds`` times."""
    with product(archive_every_s=1.0) as game:
        game.start()
        bus = open_bus(f"kafka://{game.settings.bootstrap_servers}")
        told = Told(bus)
        before = {name: game.pid(name) for name in PROCESSES}
        slowest: dict[str, float] = {}
        usual: dict[str, float] = {}
        records = rejections = found = 0
        with Player(game, wait_s) as player:
            for _ in range(rounds):
                for what, seconds in player.play().items():
                    usual[what] = max(seconds, usual.get(what, 0.0))
                spoilt = spoil(game.settings.bootstrap_servers, player.player_id, player.drawing_id)
                for what, seconds in player.play().items():
                    slowest[what] = max(seconds, slowest.get(what, 0.0))
                deadline = time.monotonic() + wait_s
                while (missing := told.missing(spoilt)) and time.monotonic() < deadline:
                    pass
                records += spoilt.records
                rejections += len(spoilt.expected)
                found += len(spoilt.expected) - len(missing)
        lost = sum(game.pid(name) != pid for name, pid in before.items())
        told.close()
        bus.close()
    row = {
        "bad records": records,
        "processes lost": lost,
        "on rejected.v1, %": round(100 * found / rejections, 2),
        "of rejections": rejections,
        "next record after them, slowest of all rounds, s": {what: round(s, 3) for what, s in slowest.items()},
        "the same without bad records, s": {what: round(s, 3) for what, s in usual.items()},
    }
    print(json.dumps(row, indent=2))
    if lost or found < rejections or max(slowest.values()) > WITHIN_S:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
