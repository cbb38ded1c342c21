"""Exports labelled guesses from the log to files that analysts open (beside all ways; it only reads).

Of each drawing the newest revision counts, wherever on the log it stands; so examples are first kept in a database of
SQLite's own on disk, which nobody else can open and which is gone with the process; memory holds a thousand drawings at a time.
Who is banned or forgotten is read last.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
import pyarrow as pa
from pydantic import BaseModel

from contracts.catalog import Catalog
from contracts.events import ExampleLabelled, LessonsForgotten, mark_of
from contracts.ports import Bus
from contracts.records import read
from deploy.export_files import ExportRefused, written
from deploy.labelled_guesses import SCHEMA, CountedLesson, LabelledDrawing, drawing_of, microseconds, rows
from deploy.lesson_reader import STAGE, events_on, lessons_of
from producers.whole_log import all_records
from streams.learner import Learner
from streams.lesson_lines import LessonLine
from streams.online_base import Base

TOPICS_READ: Final = ("examples.v1", "lessons.v1", "models.v1")
_DRAWINGS: Final = 1000
"""Drawings that are held at a time, with all their guesses."""

Tell = Callable[[str, int], None]
"""A function that is told what is under way, and how many records or rows of it are done."""


class Wanted(BaseModel):
    """Which labelled guesses are wanted."""

    since: datetime | None = None
    """Drawings from this time on; None: from the first."""
    until: datetime | None = None
    """Drawings before this time; None: to the last."""
    models: list[str] = []
    """Whose guesses; empty: everybody's."""


class ExportedFile(BaseModel):
    """A file that was written."""

    path: Path
    bytes: int


class Export(BaseModel):
    """What was exported."""

    guesses: int
    """Rows."""
    drawings: int
    players: int
    models: dict[str, int]
    """The rows of each model."""
    banned: int
    """Drawings that were left out, since their players are banned."""
    forgotten: int
    """Drawings that were left out, since their players are being forgotten."""
    files: list[ExportedFile]


def export(bus: Bus, base: Base, files: Sequence[Path], wanted: Wanted, tell: Tell = lambda what, done: None) -> Export:
    """Write the labelled guesses of the log to files, each whole or not at all.

    Args:
        bus: Where the log is.
        base: The online model's base, which says whose lessons are those of now.
        files: Where to; the ending of each says in which format.
        wanted: Which ones.
        tell: Told of the progress.

    Raises:
        ExportRefused: If a file cannot be written, or a model that is wanted has no guess.
        BusError: If the log cannot be read.
    """
    try:
        return _export(bus, base, files, wanted, tell)
    except sqlite3.Error as wrong:  # it is full: SQLite says so in its own way
        raise ExportRefused(f"what is read does not fit into the folder for temporary files (TMPDIR): {wrong}") from wrong


def _export(bus: Bus, base: Base, files: Sequence[Path], wanted: Wanted, tell: Tell) -> Export:
    with ExitStack() as opened:
        writers = [opened.enter_context(written(path, SCHEMA)) for path in files]
        spool = opened.enter_context(closing(_Spool()))
        spool.read_examples(bus, wanted, tell)
        spool.read_weights(bus, Learner(base).series, tell)
        catalog = Catalog()
        for event in events_on(bus, ["models.v1"]):
            catalog = catalog.apply(event)
        found = spool.leave_out(catalog)
        counted: Counter[str] = Counter()
        drawings = 0
        held: list[dict[str, Any]] = []
        players: set[str] = set()
        for drawing, lesson, quarantined in spool.drawings():
            said = list(rows(drawing, lesson, quarantined, wanted.models))
            held += said
            if said:
                drawings += 1
                players.add(drawing.example["player"][:16])  # half of a hash tells people apart as well
                counted.update(row["model"] for row in said)
            if drawings % _DRAWINGS == 0 and held:
                _write(writers, held, tell, counted.total())
        _write(writers, held, tell, counted.total())
        if missing := [name for name in wanted.models if name not in counted]:
            there = ", ".join(sorted(spool.models)) or "nothing"
            raise ExportRefused(f"no labelled guess of {', '.join(missing)} in that time: there is {there}")
    return Export(
        guesses=counted.total(),
        drawings=drawings,
        players=len(players),
        models=dict(sorted(counted.items())),
        banned=found["banned"],
        forgotten=found["forgotten"],
        files=[ExportedFile(path=path, bytes=path.stat().st_size) for path in files],
    )


def _write(writers: Sequence[Any], held: list[dict[str, Any]], tell: Tell, done: int) -> None:
    if held:
        batch = pa.RecordBatch.from_pylist(held, schema=SCHEMA)
        held.clear()
        for writer in writers:
            writer.write(batch)
        tell("guesses", done)


class _Spool:
    """The newest revision of each drawing, and what its label counts, in a database without a name."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA cache_size = -65536;"  # 64 MiB; the rest is on disk
            "CREATE TABLE newest (id BLOB PRIMARY KEY, revision INT, at INT, player TEXT, said BLOB);"
            "CREATE TABLE weights (id BLOB PRIMARY KEY, weight REAL, newcomer INT) WITHOUT ROWID;"
            "CREATE TABLE restricted (player TEXT PRIMARY KEY, how TEXT) WITHOUT ROWID;"
        )
        self.models: set[str] = set()
        """All models that have guessed."""

    def close(self) -> None:
        self._db.close()

    def read_examples(self, bus: Bus, wanted: Wanted, tell: Tell) -> None:
        """Keep the newest revision of each drawing of the time."""
        least = wanted.since or datetime(1970, 1, 1, tzinfo=UTC)
        most = wanted.until or datetime(2200, 1, 1, tzinfo=UTC)
        self._db.execute("BEGIN")
        for n, record in enumerate(all_records(bus, ["examples.v1"]), 1):
            event = read(record, STAGE)
            if isinstance(event, ExampleLabelled) and least <= event.drawn_at < most:
                self._keep(event)
            if n % 1000 == 0:
                tell("examples", n)
        self._db.execute("COMMIT")

    def _keep(self, example: ExampleLabelled) -> None:
        drawing = drawing_of(example)
        self.models.update(guess.model for guess in example.guesses)
        said = orjson.dumps([drawing.example, drawing.guesses]) if drawing else None
        at = microseconds(example.drawn_at.timestamp())
        self._db.execute(
            "INSERT INTO newest VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET revision = excluded.revision,"
            " at = excluded.at, player = excluded.player, said = excluded.said WHERE excluded.revision > revision",
            (example.drawing_id.bytes, example.revision, at, example.player_id, said),
        )

    def read_weights(self, bus: Bus, series: str, tell: Tell) -> None:
        """Keep what the lesson in force of each drawing counts."""
        last: dict[int, int] = {}
        self._db.execute("BEGIN")
        for n, placed in enumerate(lessons_of(bus), 1):
            lesson = placed.lesson
            if isinstance(lesson, LessonsForgotten) or lesson.series != series:
                continue
            if lesson.number <= last.get(placed.partition, 0):
                continue  # it has come twice
            last[placed.partition] = lesson.number
            self._teach(lesson)
            if n % 1000 == 0:
                tell("lessons", n)
        self._db.execute("COMMIT")

    def _teach(self, lesson: LessonLine) -> None:
        drawing = UUID(lesson.drawing_id).bytes
        if lesson.sign > 0:
            self._db.execute("INSERT OR REPLACE INTO weights VALUES (?, ?, ?)", (drawing, lesson.weight, lesson.newcomer))
        else:
            self._db.execute("DELETE FROM weights WHERE id = ?", (drawing,))

    def leave_out(self, catalog: Catalog) -> dict[str, int]:
        """Drop the drawings of players who are banned or forgotten; return how many that were."""
        marks = set(catalog.forgotten)
        players = [player for (player,) in self._db.execute("SELECT DISTINCT player FROM newest") if mark_of(player) in marks]
        how = dict(catalog.restrictions) | dict.fromkeys(players, "forgotten")
        self._db.executemany("INSERT INTO restricted VALUES (?, ?)", list(how.items()))
        found = {}
        for why in ("banned", "forgotten"):
            theirs = "player IN (SELECT player FROM restricted WHERE how = ?)"
            [(found[why],)] = self._db.execute(f"SELECT COUNT(*) FROM newest WHERE said NOT NULL AND {theirs}", (why,))  # noqa: S608
            self._db.execute(f"DELETE FROM newest WHERE {theirs}", (why,))  # noqa: S608
        return found

    def drawings(self) -> Iterator[tuple[LabelledDrawing, CountedLesson | None, bool]]:
        """Yield the labelled drawings by time, each with its lesson, and whether its player is quarantined."""
        self._db.execute("CREATE INDEX by_time ON newest (at, id)")
        found = self._db.execute(
            "SELECT said, weight, newcomer, how FROM newest LEFT JOIN weights USING (id) LEFT JOIN restricted USING (player)"
            " WHERE said NOT NULL ORDER BY at, newest.id"
        )
        for said, weight, newcomer, how in found:
            example, guesses = orjson.loads(said)
            lesson = None if weight is None else CountedLesson(weight, bool(newcomer))
            yield LabelledDrawing(example, [tuple(guess) for guess in guesses]), lesson, how == "quarantined"
