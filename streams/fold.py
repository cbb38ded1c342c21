"""Advances a fold by a step: records in; state, offsets and outbox in one transaction (way 2, LEARN). Knows no Faust."""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from weakref import WeakKeyDictionary

import structlog
from cachetools import FIFOCache

from contracts.events import Event, MessageRejected, PlayerForgotten
from contracts.ports import Cells, Origin, Record
from contracts.records import dated, read, rejection
from streams.ledger import Identity, Ledger, LedgerTaken

_log = structlog.get_logger()
_NOT_OF_A_RECORD: Final = (sqlite3.Error, LedgerTaken, OSError)
"""Errors of the state rather than of the record: they end the process."""
_ASIDE: Final = 3
_decoded: Final[WeakKeyDictionary[Record, Event]] = WeakKeyDictionary()
"""The events of the records that are still on their way to a fold of this process."""
_read_here: Final[dict[str, set[str]]] = {}
"""The topics that folds of this process read, and which."""
_written: Final[FIFOCache[tuple[str, bytes], Event]] = FIFOCache(256)
"""By topic and value, the newest events of this process that a fold of it will read: what it wrote, it need not decode. Some
dozen are on their way at a time."""


class Fold(Protocol):
    """A state that is a function of topics, and the events that it publishes as it changes. Values in, events out.

    Every method is called by one task, one partition at a time. State lives in the cells: what is kept in memory beside them is
    a copy that `open` reads and `settle` writes.
    """

    @property
    def name(self) -> str:
        """The name of its state files."""
        ...

    @property
    def schema(self) -> str:
        """The form of its cells and what they depend on, as the list of models: a state of another schema is folded again."""
        ...

    @property
    def sources(self) -> tuple[str, ...]:
        """The topics that it reads, with the same number of partitions; partition n of all of them is on one worker."""
        ...

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Take up a partition: its memory is not valid any more. Returns the events that are published again."""
        ...

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Fold an event. Offsets are those of the event's own topic and rise; each comes once.

        Raises:
            Exception: The event becomes a MessageRejected and its cells are put back; so change memory last, after all that
                can fail.
        """
        ...

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Write the memory to the cells: called once a step, in its transaction. Returns the events of the whole step.

        Raises:
            Exception: The step's records are folded one by one, after `close` and `open`; one that fails alone is rejected.
        """
        ...

    def close(self, partition: int) -> None:
        """Give up a partition, whose cells can no longer be read: another process may have it now."""
        ...


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The ends of a partition's topics on the broker, as they are now."""

    cluster: str
    """The id of the Kafka cluster; empty: it is not known."""
    first: Mapping[str, int]
    """By topic, the offset of the oldest record that is kept."""
    end: Mapping[str, int]
    """By topic, the offset of the next record to come."""


def take_up(path: Path, fold: Fold, partition: int, log: LogBounds) -> Ledger:
    """Open the ledger of a partition, and let the fold continue from its state.

    A ledger of another fold or another log is put aside, and the log is folded again: so the fold never continues from a wrong
    state, and never skips a record because another log had one of its offset.
    """
    identity = Identity(fold.schema, log.cluster)
    ledger: Ledger | None = None
    try:
        ledger = Ledger(path)
        why = unfit(ledger, identity, log)
        if why is None:
            if ledger.untouched:
                ledger.name(identity, _goal(fold, log))
            _tell_lost(ledger, fold, partition, log)
            begin(ledger, fold, partition)
            return ledger
    except sqlite3.OperationalError:  # such as a full disk: it says nothing of what is kept
        raise
    except sqlite3.DatabaseError as wrong:
        why = f"it is damaged ({wrong})"
    except _NOT_OF_A_RECORD:
        raise
    except Exception as wrong:  # noqa: BLE001 what cannot be read is folded again
        why = f"it cannot be read ({type(wrong).__name__}: {wrong})"
    if ledger is not None:
        fold.close(partition)
        ledger.close()
    kept = _put_aside(path)
    where = {"fold": fold.name, "partition": partition}
    _log.error("state of something else: folded again from the log", why=why, aside=str(kept), **where)
    for topic, first in log.first.items():
        if first > 0:
            _log.error("the log begins later: what was before is in no state now", topic=topic, first=first, **where)
    ledger = Ledger(path)
    ledger.name(identity, _goal(fold, log))
    begin(ledger, fold, partition)
    return ledger


def unfit(ledger: Ledger, identity: Identity, log: LogBounds) -> str | None:
    """Return why the fold cannot continue from a ledger; None: it can."""
    kept = ledger.identity
    if ledger.untouched:
        return None
    if kept is None:
        return "it does not say what it is a state of"
    if kept.schema != identity.schema:
        return f"it is a state of {kept.schema!r}, and {identity.schema!r} is wanted"
    if kept.cluster and identity.cluster and kept.cluster != identity.cluster:
        return f"it is of the Kafka cluster {kept.cluster}, and this one is {identity.cluster}"
    ahead = [topic for topic, end in log.end.items() if ledger.offset(topic) >= end]
    return f"it is ahead of {', '.join(ahead)}" if ahead else None


def _goal(fold: Fold, log: LogBounds) -> dict[str, tuple[int, int]]:
    return {t: (log.first[t], log.end[t]) for t in fold.sources if log.end.get(t, 0) > log.first.get(t, 0)}


def _tell_lost(ledger: Ledger, fold: Fold, partition: int, log: LogBounds) -> None:
    """Log what the broker has dropped before it was folded: the state is kept, and continues with what is left."""
    for topic, first in log.first.items():
        lost = first - ledger.offset(topic) - 1
        if lost > 0 and not ledger.untouched:
            where = {"fold": fold.name, "partition": partition, "topic": topic}
            _log.error("the log was cut before it was folded in: the state goes on without these records", lost=lost, **where)


def _put_aside(path: Path) -> Path:
    """Rename a ledger, so that it can be examined later; only the last few of each are kept."""
    aside = path.with_name(f"{path.name}.{time.time_ns()}.aside")
    path.rename(aside)
    for rest in ("-wal", "-shm"):  # there, if somebody else has it open too
        with suppress(FileNotFoundError):
            path.with_name(path.name + rest).rename(aside.with_name(aside.name + rest))
    for old in sorted(path.parent.glob(f"{path.name}.*.aside"))[:-_ASIDE]:
        for rest in ("", "-wal", "-shm"):
            old.with_name(old.name + rest).unlink(missing_ok=True)
    return aside


def drop_asides(path: Path) -> None:
    """Delete the ledgers that were put aside in the place of this one: they hold whoever was there then."""
    for old in path.parent.glob(f"{path.name}.*.aside*"):
        old.unlink(missing_ok=True)


def begin(ledger: Ledger, fold: Fold, partition: int) -> None:
    """Take up a partition at the offsets of its ledger."""
    for topic in fold.sources:
        _read_here.setdefault(topic, set()).add(fold.name)
    with ledger.step():
        ledger.post(fold.open(ledger, partition))


def advance(ledger: Ledger, fold: Fold, partition: int, records: Sequence[Record]) -> None:
    """Fold records of one partition in one transaction; the events that they cause go into the ledger's outbox.

    A record at or below the offset of its topic in the ledger was folded before, and is skipped. One that cannot be read or
    folded is rejected, and the next one is handled. If the step as a whole fails, its records are folded one by one from the
    ledger's state, so that the one to blame is rejected too.
    """
    news = [record for record in records if record.offset > ledger.offset(record.topic)]
    try:
        _step(ledger, fold, partition, news)
    except _NOT_OF_A_RECORD:
        raise
    except Exception:  # noqa: BLE001 one bad message stops nothing: find it
        _log.exception("step failed, its records are folded in one by one", fold=fold.name, partition=partition)
        _again(ledger, fold, partition)
        for record in news:
            try:
                _step(ledger, fold, partition, [record])
            except _NOT_OF_A_RECORD:
                raise
            except Exception as wrong:  # noqa: BLE001 one bad message stops nothing
                _again(ledger, fold, partition)
                with ledger.step():
                    ledger.post([told(rejection(record, fold.name, wrong))])
                    ledger.move(record.topic, record.offset)


def _step(ledger: Ledger, fold: Fold, partition: int, records: Sequence[Record]) -> None:
    with ledger.step():
        folded = False
        for record in records:
            if record.offset <= ledger.offset(record.topic):
                continue
            folded = True
            ledger.post(_decide(ledger, fold, partition, record))
            ledger.move(record.topic, record.offset)
        if folded:
            ledger.post(fold.settle(ledger, partition))
    for out in ledger.posted:
        if out.event is not None and out.topic in _read_here:
            _written[out.topic, out.value] = out.event


def _again(ledger: Ledger, fold: Fold, partition: int) -> None:
    """Make the fold read the ledger again: its memory is from a step that failed."""
    fold.close(partition)
    begin(ledger, fold, partition)


def _decide(ledger: Ledger, fold: Fold, partition: int, record: Record) -> list[Event]:
    event = _read(record, fold.name)
    if isinstance(event, MessageRejected):
        return [told(event)]
    if event is None:
        return []
    if isinstance(event, PlayerForgotten):
        ledger.unscrubbed = True
        drop_asides(ledger.path)
    try:
        with ledger.attempt():
            value = record.value or b""
            return list(fold.apply(ledger, event, Origin(partition, record.offset, len(value), value)))
    except Exception as wrong:  # noqa: BLE001 one bad message stops nothing
        return [told(rejection(record, fold.name, wrong))]


def _read(record: Record, stage: str) -> Event | MessageRejected | None:
    """Return what `contracts.records.read` does; a record that several folds are handed is decoded once, and our own never."""
    event: Event | MessageRejected | None = _decoded.get(record)
    if event is None:
        own = None if record.value is None else _written.pop((record.topic, record.value), None)
        event = read(record, stage) if own is None else dated(own, record.timestamp_ms)
        if len(_read_here.get(record.topic, ())) > 1 and event is not None and not isinstance(event, MessageRejected):
            _decoded[record] = event  # but no rejection, which names the stage
    return event


def told(rejected: MessageRejected) -> MessageRejected:
    """Write a rejection into the process's own log too, and return it."""
    where = {"topic": rejected.source, "partition": rejected.source_partition, "offset": rejected.source_offset}
    _log.warning("message rejected", stage=rejected.stage, error=rejected.error, **where)
    return rejected
