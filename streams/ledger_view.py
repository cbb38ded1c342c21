"""Reads a ledger as it is at one moment, beside the process that has it open (way 2)."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.ledger import Identity


@dataclass(frozen=True, slots=True)
class Kept:
    """The content of a ledger at one moment."""

    cells: dict[str, bytes]
    offsets: dict[str, int]
    """The last folded offset of each topic."""
    outbox: frozenset[int]
    """The ids of events that are not known to be published."""


class View:
    """The content of a ledger at one moment, which is read bit by bit."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Fix the moment: later changes of the ledger are not seen."""
        db.execute("BEGIN")
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self._db = db if {"cells", "offsets", "outbox", "identity"} <= tables else None  # None: it is being made

    def cells(self) -> Iterator[tuple[str, bytes]]:
        """Read all cells, in the order of their keys."""
        if self._db is not None:
            for key, value in self._db.execute("SELECT key, value FROM cells ORDER BY key"):
                yield key, bytes(value)

    def offsets(self) -> dict[str, int]:
        """Return the last folded offset of each topic."""
        return {} if self._db is None else dict(self._db.execute("SELECT topic, last FROM offsets"))

    def outbox(self) -> frozenset[int]:
        """Return the ids of events that are not known to be published."""
        return frozenset() if self._db is None else frozenset(n for (n,) in self._db.execute("SELECT id FROM outbox"))

    def identity(self) -> Identity | None:
        """Return the fold and the log that it belongs to; None: it does not say."""
        found = None if self._db is None else self._db.execute("SELECT schema, cluster FROM identity").fetchone()
        return None if found is None else Identity(*found)


@contextmanager
def viewing(path: Path) -> Iterator[View]:
    """Open a ledger to read it as it is now, without disturbing the process that has it open."""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    try:
        yield View(db)
    finally:
        db.close()


def look(path: Path) -> Kept:
    """Read the whole content of a ledger as it is now."""
    with viewing(path) as ledger:
        return Kept(dict(ledger.cells()), ledger.offsets(), ledger.outbox())
