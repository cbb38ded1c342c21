"""Measures `gamenight export`: rows a second, and what memory it takes, whose growth with the log is what matters.

The log is made up as it is read, so that only the export holds anything. ``python -m tests.bench.exporting --drawings 100000``.
"""

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import orjson

from contracts.ports import Partition, Record, Since
from deploy.export import Export, Wanted, export
from streams.online_base import load_base
from tests.histories import example, shown
from tests.roster import MODELS

SEED: Final = 20181103
_POLL: Final = 500


class MadeUpLog:
    """A bus whose topic of examples has so many drawings of a hundred players, and whose other topics are empty."""

    def __init__(self, drawings: int) -> None:
        """Make one example, of which all others are copies with ids, labels and times of their own."""
        guesses = [shown(7, model=model) for model in MODELS]
        self._example = orjson.loads(example("d1", 7, guesses=guesses).record_value())
        self._drawings = drawings

    def follow(self, topics: Sequence[str], since: Since, only: int | None = None) -> "MadeUpTail":
        """Read topics."""
        return MadeUpTail(self._records() if "examples.v1" in topics else iter(()), topics, only)

    def _records(self) -> Iterator[Record]:
        chance = random.Random(SEED)
        for n in range(self._drawings):
            self._example["drawing_id"] = str(UUID(int=chance.getrandbits(128), version=4))
            self._example["player_id"] = f"player {n % 100}"
            self._example["label"] = chance.randrange(10)
            yield Record("examples.v1", 0, n, b"", orjson.dumps(self._example), 0)


class MadeUpTail:
    """What is read of it."""

    def __init__(self, records: Iterator[Record], topics: Sequence[str], only: int | None) -> None:
        self._records, self._done = records, False
        self._places: list[Partition] = [(topic, only or 0) for topic in topics]

    def poll(self, timeout_s: float) -> list[Record]:
        """Return the next records."""
        found = [record for _, record in zip(range(_POLL), self._records, strict=False)]
        self._done = not found
        return found

    def caught_up(self) -> bool:
        """Say whether there are no more."""
        return self._done

    def positions(self) -> Mapping[Partition, int]:
        """Return where reading goes on: at the end, as far as empty topics go."""
        return dict.fromkeys(self._places, 0)

    def ends(self) -> Mapping[Partition, int]:
        """Return the ends, likewise."""
        return dict.fromkeys(self._places, 0)

    def close(self) -> None:
        """Stop."""


def main() -> None:
    """Print a line of Markdown."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--drawings", type=int, default=100_000)
    drawings = asked.parse_args().drawings
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"guesses.{ending}" for ending in ("csv", "parquet", "hyper")]
        base = load_base()
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic()
        done: Export = export(MadeUpLog(drawings), base, files, Wanted())  # type: ignore[arg-type]
        took, peak = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sizes = ", ".join(f"{file.path.suffix[1:]} {file.bytes / 1e6:.0f} MB" for file in done.files)
    counts = f"{done.drawings:,} | {done.guesses:,} | {took:.1f} | {done.guesses / took:,.0f}"
    print(f"| {counts} | {before:.0f} to {peak:.0f} | {sizes} |")


if __name__ == "__main__":
    main()
