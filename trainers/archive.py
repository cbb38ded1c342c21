"""Keeps examples as Parquet on S3, in the order of the log (way 3, REBUILD).

The names of the objects alone tell how far each partition is archived (`trainers.archive_names`), so there is no state to lose:
an archiver that was killed between two objects continues after the last one, and an object that is written twice has the same
name.
"""

import io
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.events import mark_of
from contracts.ports import Blobs, NoSuchBlob
from trainers.archive_names import (
    PREFIX,
    ArchiveObject,
    Span,
    ends_of,
    named_objects,
    overlapping,
    part_key,
    place_of,
    read_name,
)
from trainers.example_columns import REPEATED, SCHEMA, ExampleColumns
from trainers.example_sink import Placed

COPIES: Final = "notebooks/"
TRIES: Final = "tuning/"
"""Where notebooks put what they train on, and what they make of it."""
_READERS: Final = 8  # objects fetched at a time
_TRIES: Final = 20
"""How often reading begins anew, when objects are merged meanwhile."""


class Archive:
    """Keeps all examples as objects under ``examples/``, one for each flush of a partition and hour. Threads may share it."""

    def __init__(self, blobs: Blobs, check: Callable[[], None] = lambda: None) -> None:
        """Keep the bucket; it is listed at the first use. ``check`` raises if this trainer must not write any more."""
        self._blobs = blobs
        self._check = check
        self._next: dict[int, int] | None = None
        self._alone = threading.RLock()
        """Held while the bucket is listed or written: a listing of before a write must not count after it."""

    def places(self) -> dict[int, int]:
        """Return the first offset that no object holds, by partition."""
        with self._alone:
            if self._next is None:
                self._next = ends_of(named_objects(self._blobs.keys(PREFIX)))
            return dict(self._next)

    def lay(self, partition: int, batch: Iterable[Placed]) -> Callable[[], None]:
        """Lay a batch out, and return what writes it, an hour at a time; an hour is UTC, of the example's writing.

        A message that is no example counts with the example before it. A batch without examples writes nothing: after a restart
        its messages are read again.
        """
        runs = [(run.hour, Span(partition, run.first, run.last), run.columns.table(partition)) for run in _hours(batch)]
        return lambda: self._write(runs)

    def _write(self, runs: Iterable[tuple[tuple[date, int] | None, Span, pa.Table]]) -> None:
        with self._alone:
            places = self.places()
            self._next = None  # a write may fail half-way: then the bucket is asked again
            for hour, span, table in runs:
                if hour:
                    self._check()
                    self._blobs.put(part_key(*hour, span), encoded(table))
                places[span.partition] = span.last + 1
            self._next = places


def without(
    blobs: Blobs,
    player_id: str,
    tell: Callable[[str, int], None],
    check: Callable[[], None] = lambda: None,
    marks: Collection[str] = (),
) -> None:
    """Rewrite the objects that hold examples of a player, under their names.

    The names say how far the log is archived, so an object of which nothing is left stays, empty.

    Args:
        blobs: The bucket.
        player_id: The player.
        tell: Is told of each object beforehand, and how many of the player's examples it holds.
        check: Raises if this trainer must not write any more.
        marks: Of players who were forgotten before: a write of another trainer that came late has brought them back.
    """
    for key in [key for key in blobs.keys(PREFIX) if read_name(key)]:
        table = pq.read_table(io.BytesIO(blobs.get(key)))
        others = [player != player_id for player in table["player_id"].to_pylist()]
        left = unmarked(table.filter(pa.array(others, pa.bool_())), marks)
        if n := others.count(False):
            tell(key, n)
        if len(left) < len(table):
            check()
            blobs.put(key, encoded(left))


def unmarked(table: pa.Table, marks: Collection[str]) -> pa.Table:
    """Return the rows of a table without those of players with these marks: who are forgotten."""
    if not marks or not len(table):
        return table
    gone = [player for player in pc.unique(table["player_id"]).to_pylist() if mark_of(str(player)) in marks]
    return table.filter(pc.invert(pc.is_in(table["player_id"], pa.array(gone, pa.string())))) if gone else table


def drop_copies(blobs: Blobs, since: datetime, tell: Callable[[Sequence[str]], None] = lambda keys: None) -> None:
    """Delete what notebooks and tries of settings have left: nobody knows whose drawings are in it, or have taught it.

    Args:
        blobs: The bucket.
        since: What was written before stays: nothing of the player was there to be copied.
        tell: Is told the keys of what notebooks have left beforehand.
    """
    copies, tries = ([key for key, at in blobs.written(prefix) if at >= since] for prefix in (COPIES, TRIES))
    if copies:
        tell(copies)
    for key in (*copies, *tries):
        blobs.drop(key)


def listed(blobs: Blobs, prefix: str = PREFIX) -> list[ArchiveObject]:
    """List the archive, in the order of the names.

    A listing comes in pages, and objects are merged meanwhile: it counts once the next one says the same.
    """
    keys = list(blobs.keys(prefix))
    while (again := list(blobs.keys(prefix))) != keys:
        keys = again
    return named_objects(keys)


def read_rows(
    blobs: Blobs, columns: Sequence[str], within: Callable[[ArchiveObject], bool] = lambda one: True
) -> tuple[list[pa.Table], list[ArchiveObject]]:
    """Read some columns of the archive: each row once, also while its objects are being merged.

    Args:
        blobs: The bucket.
        columns: Those that are wanted; one that an older object has not is left out of its table.
        within: Says which objects are read.

    Returns:
        A table for each object, which has ``partition`` and ``offset`` besides, and the objects.
    """
    for _ in range(_TRIES):
        objects = [one for one in listed(blobs) if within(one)]
        try:
            return list(_tables(blobs, objects, columns)), objects
        except NoSuchBlob:
            continue
    raise RuntimeError(f"the archive under {PREFIX} changes faster than it can be read: try again")


def _tables(blobs: Blobs, objects: Sequence[ArchiveObject], columns: Sequence[str]) -> Iterator[pa.Table]:
    doubtful, seen = overlapping(objects), set[Any]()
    with ThreadPoolExecutor(_READERS) as pool:
        for one, table in zip(objects, pool.map(lambda one: read_object(blobs, one, columns), objects), strict=True):
            if one.key in doubtful:
                places: list[Any] = list(zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True))
                new = [place not in seen for place in places]
                seen.update(places)
                yield table if all(new) else table.filter(pa.array(new))
            else:
                yield table


def read_object(blobs: Blobs, one: ArchiveObject, columns: Sequence[str] | None = None) -> pa.Table:
    """Read an object, or some of its columns; ``partition`` and ``offset`` come always."""
    file = pq.ParquetFile(io.BytesIO(blobs.get(one.key)))
    wanted = None if columns is None else [*dict.fromkeys(["offset", "partition", *columns])]
    table = file.read(columns=wanted)
    if "partition" not in table.column_names:
        partitions = pa.array([one.span.partition] * len(table), pa.int32())
        table = table.add_column(1, SCHEMA.field("partition"), partitions)
    return table


def raster_at(blobs: Blobs, pixels: str) -> bytes | None:
    """Return the 784 pixels that an observation points to; None: it is not archived, or nobody has read it."""
    prefix, partition, offset = place_of(pixels)
    place = Span(partition, offset, offset)
    for one in listed(blobs, prefix):
        if any(span.overlaps(place) for span in one.spans):
            try:
                table = read_object(blobs, one, ["raster"])
            except NoSuchBlob:  # it was merged meanwhile
                return raster_at(blobs, pixels)
            here = (pc.field("partition") == partition) & (pc.field("offset") == offset)
            for raster in table.filter(here)["raster"].to_pylist():
                return bytes(raster) if raster is not None else None
    return None


def hour_of(at: datetime) -> tuple[date, int]:
    """Return the day and the hour of a time, UTC."""
    at = at.astimezone(UTC)
    return at.date(), at.hour


@dataclass(slots=True)
class _Run:
    """Records that follow each other on the log and are of one hour."""

    first: int
    last: int
    """Its offsets, both included."""
    hour: tuple[date, int] | None = None
    """None: there is no example in it."""
    columns: ExampleColumns = field(default_factory=ExampleColumns)


def _hours(batch: Iterable[Placed]) -> Iterator[_Run]:
    run: _Run | None = None
    for placed in batch:
        hour = hour_of(placed.example.at) if placed.example else None
        if run and run.hour and hour and hour != run.hour:
            yield run
            run = None
        run = run or _Run(placed.offset, placed.offset)
        run.last = placed.offset
        if placed.example:
            run.hour = hour
            run.columns.add(placed.offset, placed.example)
    if run:
        yield run


def encoded(table: pa.Table) -> bytes:
    """Encode a table as Parquet."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", use_dictionary=REPEATED)  # type: ignore[arg-type]  # its stub is wrong
    return out.getvalue()
