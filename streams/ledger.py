"""Keeps the state of one partition of a fold on disk: cells, the folded offsets, and the events still to publish (way 2).

It is one SQLite file with one transaction a step, so the three always match. In WAL with ``synchronous=NORMAL`` a commit
survives the death of the process. A power cut may take the last commits, but no half ones, and loses nothing: the offsets go
back with the cells, and the log is read again from there.
"""

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from contracts.events import MAX_EVENT, Event, now

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS offsets (topic TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, part INTEGER, key BLOB NOT NULL, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS identity (
    one INTEGER PRIMARY KEY CHECK (one = 1), schema TEXT NOT NULL, cluster TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS goal (topic TEXT PRIMARY KEY, first INTEGER NOT NULL, "end" INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unscrubbed (one INTEGER PRIMARY KEY CHECK (one = 1)) WITHOUT ROWID;
"""


_KNOWN_CELLS: Final = 512
"""How many small cells a ledger remembers, so that it need not look for them in the file."""
_SMALL: Final = 2048  # bytes


class LedgerTaken(RuntimeError):
    """Another worker has opened this ledger; this worker's view is out of date."""


class TooLarge(ValueError):
    """An event is too large for any topic; from the outbox, it could never be sent."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The fold and the log that a state belongs to."""

    schema: str
    """The fold's schema: see `streams.fold.Fold`."""
    cluster: str
    """The id of the Kafka cluster of the offsets; empty: it was not known."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record in the outbox."""

    id: int
    topic: str
    partition: int | None
    key: bytes
    value: bytes
    replaced: bool = False
    """Whether a later record of its key takes its place while it is unsent: see `contracts.events.Event.replaces`."""
    event: Event | None = field(default=None, compare=False, repr=False)
    """What the value says; None: it was read from the file."""


class Ledger:
    """The cells (see `contracts.ports.Cells`), offsets and outbox of one partition, for one thread."""

    def __init__(self, path: Path) -> None:
        """Open or create the file, and take it over: any other `Ledger` on it can no longer write."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA secure_delete=ON")  # what is dropped is overwritten with zeros: a player may be forgotten
        if self._db.execute("PRAGMA user_version").fetchone() == (0,):
            self._db.execute("VACUUM")  # it may be older than that
            self._db.execute("PRAGMA user_version=1")
        self._db.executescript(_SCHEMA)
        [(self._epoch,)] = self._db.execute(
            "INSERT INTO owner VALUES (1, 1) ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch"
        ).fetchall()
        self._offsets: dict[str, int] = dict(self._db.execute("SELECT topic, last FROM offsets"))
        found = self._db.execute("SELECT schema, cluster FROM identity").fetchone()
        self.identity = None if found is None else Identity(*found)
        """The fold and the log that it belongs to; None: it is new, or older than this record."""
        self._goal: dict[str, tuple[int, int]] = {
            topic: (first, end) for topic, first, end in self._db.execute('SELECT topic, first, "end" FROM goal')
        }
        self.at = now()
        """When the last step began."""
        self._moved: set[str] = set()
        self._changed: dict[str, bytes | None] = {}  # by this step
        self._known: dict[str, bytes | None] = {}  # as they are in the file
        self._tried: dict[str, bytes | None] | None = None  # by the attempt under way
        self._posted: list[Event] = []
        self.unscrubbed = self._db.execute("SELECT * FROM unscrubbed").fetchone() is not None
        """Whether a player was forgotten in it since the last whole `scrub`; a step keeps it."""
        rows = self._db.execute("SELECT id, topic, part, key, value FROM outbox ORDER BY id")
        self._unsent = [Outgoing(*row) for row in rows]
        self._last_id = self._unsent[-1].id if self._unsent else 0
        self.posted: Sequence[Outgoing] = ()
        """The events of the last step."""
        self._acknowledged: set[int] = set()
        """The events that are published and still in the file."""

    # --- cells

    def get(self, key: str) -> bytes | None:
        """The value, or None."""
        for layer in (self._tried, self._changed):
            if layer is not None and key in layer:
                return layer[key]
        if key in self._known:
            return self._known[key]
        row = self._db.execute("SELECT value FROM cells WHERE key = ?", (key,)).fetchone()
        value = None if row is None else bytes(row[0])
        self._remember(((key, value),))
        return value

    def _remember(self, cells: Iterable[tuple[str, bytes | None]]) -> None:
        """Keep what the file has of cells, if that is little."""
        for key, value in cells:
            if value is not None and len(value) > _SMALL:
                self._known.pop(key, None)
                continue
            if len(self._known) >= _KNOWN_CELLS:
                self._known.clear()
            self._known[key] = value

    def put(self, key: str, value: bytes) -> None:
        """Set a value."""
        (self._changed if self._tried is None else self._tried)[key] = value

    def drop(self, key: str) -> None:
        """Delete a value; nothing happens if there is none."""
        (self._changed if self._tried is None else self._tried)[key] = None

    # --- what it is

    def name(self, identity: Identity, goal: Mapping[str, tuple[int, int]]) -> None:
        """Record what this is the state of, before anything is folded.

        Args:
            identity: The fold and the log.
            goal: By topic the log's first offset and its end as they are now, up to which the log is folded again.
        """
        self.identity, self._goal = identity, dict(goal)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("INSERT OR REPLACE INTO identity VALUES (1, ?, ?)", (identity.schema, identity.cluster))
        self._db.execute("DELETE FROM goal")
        self._db.executemany("INSERT INTO goal VALUES (?, ?, ?)", [(topic, *span) for topic, span in goal.items()])
        self._db.execute("COMMIT")

    @property
    def folded(self) -> float:
        """The share that is folded of what was on the log at the beginning; 1.0 is all, and stays so."""
        if not self._goal:
            return 1.0
        done = sum(min(max(self.offset(topic) + 1, first), end) - first for topic, (first, end) in self._goal.items())
        whole = sum(end - first for first, end in self._goal.values())
        if done >= whole:
            self._goal = {}
            self._db.execute("DELETE FROM goal")
            return 1.0
        return float(done / whole)

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever folded."""
        return not self._offsets

    # --- steps

    def offset(self, topic: str) -> int:
        """Return the last folded offset of a topic; -1: none."""
        return self._offsets.get(topic, -1)

    def move(self, topic: str, offset: int) -> None:
        """Note that a topic is folded up to ``offset``."""
        self._offsets[topic] = offset
        self._moved.add(topic)

    def post(self, events: Iterable[Event]) -> None:
        """Put events into the outbox, to be published once the step is committed."""
        self._posted.extend(events)

    @contextmanager
    def step(self) -> Iterator[Self]:
        """Write all changes inside the context in one transaction at its end, or none of them.

        Raises:
            LedgerTaken: If another worker has opened the file since.
        """
        self.at = now()
        try:
            self._db.execute("BEGIN")  # one for all that is read: each look alone would begin anew
            yield self
            self._write()
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._offsets = dict(self._db.execute("SELECT topic, last FROM offsets"))
            raise
        finally:
            self._moved, self._changed, self._posted = set(), {}, []

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undo the changes of cells inside the context if it raises."""
        self._tried = {}
        try:
            yield
            self._changed.update(self._tried)
        finally:
            self._tried = None

    def _write(self) -> None:
        self._db.execute("COMMIT")  # of what was read
        self._db.execute("BEGIN IMMEDIATE")
        [epoch] = self._db.execute("SELECT epoch FROM owner").fetchone()
        if epoch != self._epoch:
            raise LedgerTaken("another worker has taken this partition over")
        self._write_cells()
        if self.unscrubbed:
            self._db.execute("INSERT OR IGNORE INTO unscrubbed VALUES (1)")
        if self._moved:
            self._db.executemany(
                "INSERT OR REPLACE INTO offsets VALUES (?, ?)", [(topic, self._offsets[topic]) for topic in self._moved]
            )
        posted = [_outgoing(number, event) for number, event in enumerate(self._posted, self._last_id + 1)]
        again = {(o.topic, o.key) for o in posted if o.replaced}
        outdated = {o.id for o in self._unsent if o.replaced and (o.topic, o.key) in again} if again else set()
        if gone := outdated | self._acknowledged:
            self._remove(gone)
        if posted:
            self._db.executemany(
                "INSERT INTO outbox VALUES (?, ?, ?, ?, ?)", [(o.id, o.topic, o.partition, o.key, o.value) for o in posted]
            )
        self._db.execute("COMMIT")
        self._acknowledged.clear()
        self._remember(self._changed.items())
        self.posted = posted
        self._unsent = [waiting for waiting in self._unsent if waiting.id not in outdated] + posted
        self._last_id += len(posted)

    def _write_cells(self) -> None:
        if dropped := [(key,) for key, value in self._changed.items() if value is None]:
            self._db.executemany("DELETE FROM cells WHERE key = ?", dropped)
        if put := [(key, value) for key, value in self._changed.items() if value is not None]:
            self._db.executemany("INSERT INTO cells VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", put)

    # --- outbox

    def outgoing(self, replaced: bool = True) -> list[Outgoing]:
        """Return the committed events that are not known to be published, in order.

        Args:
            replaced: Whether to include those that a later one of their key may still replace.
        """
        return [waiting for waiting in self._unsent if replaced or not waiting.replaced]

    def sent(self, outgoing: Sequence[Outgoing], at_once: bool = True) -> None:
        """Note that the broker has acknowledged events: they leave the outbox, if the ledger is still ours.

        Args:
            outgoing: The events.
            at_once: False: they leave the file with the next step, or by `tidy`, whichever is first. A transaction has its
                price; and if the process dies before, they are published twice, as when it dies before it comes here.
        """
        if outgoing:
            sent = {one.id for one in outgoing}
            self._acknowledged |= sent
            self._unsent = [waiting for waiting in self._unsent if waiting.id not in sent]
            if at_once:
                self.tidy()

    @property
    def tidied(self) -> bool:
        """Whether nothing that is published is in the file."""
        return not self._acknowledged

    def tidy(self) -> None:
        """Remove from the file what is published, if the ledger is still ours."""
        if self._acknowledged:
            self._remove(self._acknowledged)
            self._acknowledged.clear()

    def _remove(self, ids: Collection[int]) -> None:
        self._db.execute(
            "DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(?)) AND (SELECT epoch FROM owner) = ?",
            (json.dumps(list(ids)), self._epoch),
        )

    # --- the whole

    def cells(self) -> Iterator[tuple[str, bytes]]:
        """Read all cells that are written, in the order of their keys."""
        for key, value in self._db.execute("SELECT key, value FROM cells ORDER BY key"):
            yield key, bytes(value)

    def scrub(self) -> bool:
        """Leave no byte of what was dropped in the files: SQLite's log of changes is put into the file, and emptied.

        It waits for nobody. False: somebody reads the file, so it is to be done again.
        """
        self.tidy()
        self._db.execute("PRAGMA busy_timeout=0")
        busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._db.execute("PRAGMA busy_timeout=5000")
        if not busy:
            self._db.execute("DELETE FROM unscrubbed WHERE (SELECT epoch FROM owner) = ?", (self._epoch,))
            self.unscrubbed = False
        return not busy

    def digest(self) -> str:
        """Compute the sha256 of all cells, which a rebuilt state must equal."""
        digest = hashlib.sha256()
        for key, value in self.cells():
            digest.update(f"{len(key)} {len(value)} {key} ".encode())
            digest.update(value)
        return digest.hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        try:
            self.tidy()
        finally:
            self._db.close()


def _outgoing(number: int, event: Event) -> Outgoing:
    value = event.record_value()
    if len(value) > MAX_EVENT:
        raise TooLarge(f"a {event.type} of {len(value)} bytes: an event has at most {MAX_EVENT}")
    return Outgoing(number, event.topic, event.partition(), event.record_key(), value, event.replaces, event)
