"""Runs a small fold in a process, for tests that kill it: it counts what each player does, and publishes it at each drawing.

python tests/integration/tallying.py      (settings from the environment, as every process of the game)
"""

import json
import os
from collections.abc import Iterable

from contracts.events import CorrectionGiven, DrawingSubmitted, Event, GuessMade
from contracts.ports import Cells, Origin
from contracts.settings import Settings
from producers import logs
from streams.worker import Worker

POISON_WIDTH = 13.0
"""A drawing of this width makes the fold fail after it has written."""


class TallyFold:
    """Counts each player's drawings and corrections, in order; memory holds the total, as it holds a learner's weights."""

    name = "tally"
    sources = ("drawings.v1", "corrections.v1")

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._totals: dict[int, int] = {}

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        self._totals[partition] = int(cells.get("total") or b"0")
        return ()

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        assert isinstance(event, DrawingSubmitted | CorrectionGiven)
        key = f"{event.topic}/{event.player_id}"
        order = [*json.loads(cells.get(key) or b"[]"), str(event.drawing_id)]
        cells.put(key, json.dumps(order).encode())
        if isinstance(event, DrawingSubmitted):
            if event.width == POISON_WIDTH:
                raise ValueError("thirteen")
            made = GuessMade(
                drawing_id=event.drawing_id,
                player_id=event.player_id,
                model="tally",
                version=str(len(order)),
                label=0,
                probabilities=[0.1] * 10,
                final=event.final,
                hops={},
                at=event.at,
            )
            self._totals[origin.partition] += 1
            return (made,)
        self._totals[origin.partition] += 1
        return ()

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        cells.put("total", str(self._totals[partition]).encode())
        return ()

    def close(self, partition: int) -> None:
        """Do nothing: there is nothing to let go of."""


if __name__ == "__main__":
    settings = Settings.load()
    logs.configure(settings, "tally")
    worker = Worker(settings, "tally")
    worker.fold(TallyFold(os.environ.get("TALLY_SCHEMA", "tally 1")))
    worker.run()
