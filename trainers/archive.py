"""Keeps examples as Parquet on S3, in the order of the log (way 3, REBUILD).

The names of the objects alone tell how far each partition is archived (`trainers.archive_names`), so there is no state to lose:
an archiver that was killed between two objects continues after the last one, and an object that is written twice has the same
name.
"""

import io
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.events import ExampleLabelled, mark_of
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
from trainers.example_sink import Placed

COPIES: Final = "notebooks/"
TRIES: Final = "tuning/"
"""Where notebooks put what they train on, and what they make of it."""
_READERS: Final = 8  # objects fetched at a time
_TRIES: Final = 20
"""How often reading begins anew, when objects are merged meanwhile."""

_GUESS: Final = pa.struct(
    [
        ("model", pa.string()),
        ("version", pa.string()),
        ("label", pa.int8()),
        ("probabilities", pa.list_(pa.float32())),
        ("latency_ms", pa.float64()),
        ("shadow", pa.bool_()),
    ]
)
_FIELDS: "Final[list[pa.Field[Any]]]" = [
    pa.field("offset", pa.int64(), nullable=False),  # on its partition of examples.v1
    pa.field("partition", pa.int32(), nullable=False),  # no such column: it is older, and the object's name says it
    pa.field("drawing_id", pa.string(), nullable=False),
    pa.field("player_id", pa.string(), nullable=False),
    pa.field("revision", pa.int32(), nullable=False),  # the highest of a drawing_id counts
    pa.field("correction_id", pa.string(), nullable=False),
    pa.field("label", pa.int8()),  # null: the player withdrew their correction
    pa.field("over_quota", pa.bool_()),  # whether the player's own model alone learns it; null, or no such column: it is older
    pa.field("asked", pa.int8()),
    pa.field("device", pa.string()),  # mouse, pen, touch; null: not known, or no such column: it is older
    pa.field("drawn_at", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("raster", pa.binary()),  # 784 bytes, row by row, 0 is paper; null: no model has read it
    pa.field("embedding", pa.list_(pa.float32())),
    pa.field("reader", pa.string()),
    pa.field("strokes", pa.string(), nullable=False),  # JSON, as the event has it
    pa.field("width", pa.float64(), nullable=False),
    pa.field("height", pa.float64(), nullable=False),
    pa.field("guesses", pa.list_(_GUESS), nullable=False),
]
SCHEMA: Final = pa.schema(_FIELDS)
"""The columns of every object, for analysts and for trainers.dataset."""


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

    def keep(self, partition: int, batch: Sequence[Placed]) -> None:
        """Write a batch, an hour at a time; an hour is UTC, of the example's writing.

        A message that is no example counts with the example before it. A batch without examples writes nothing: after a restart
        its messages are read again.
        """
        with self._alone:
            places = self.places()
            self._next = None  # a write may fail half-way: then the bucket is asked again
            for (day, hour), run in _hours(batch):
                span = Span(partition, run[0].offset, run[-1].offset)
                examples = [placed for placed in run if placed.example]
                if examples:
                    self._check()
                    self._blobs.put(part_key(day, hour, span), parquet(partition, examples))
                places[partition] = span.last + 1
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


def drop_copies(blobs: Blobs, tell: Callable[[Sequence[str]], None] = lambda keys: None) -> None:
    """Delete what notebooks and tries of settings have left: nobody knows whose drawings are in it, or have taught it.

    Args:
        blobs: The bucket.
        tell: Is told the keys of what notebooks have left beforehand.
    """
    if keys := list(blobs.keys(COPIES)):
        tell(keys)
    for key in [*keys, *blobs.keys(TRIES)]:
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


def _hours(batch: Sequence[Placed]) -> Iterator[tuple[tuple[date, int], list[Placed]]]:
    hour = next((hour_of(placed.example.at) for placed in batch if placed.example), (date(1970, 1, 1), 0))
    dated = []
    for placed in batch:
        hour = hour_of(placed.example.at) if placed.example else hour
        dated.append((hour, placed))
    for hour, run in groupby(dated, key=lambda pair: pair[0]):
        yield hour, [placed for _, placed in run]


def parquet(partition: int, batch: Iterable[Placed]) -> bytes:
    """Encode examples as a Parquet file of `SCHEMA`; the same examples give the same bytes."""
    rows = [(placed.offset, placed.example) for placed in batch if placed.example]
    return encoded(_table(partition, [offset for offset, _ in rows], [example for _, example in rows]))


def encoded(table: pa.Table) -> bytes:
    """Encode a table as Parquet."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _table(partition: int, offsets: Sequence[int], examples: Sequence[ExampleLabelled]) -> pa.Table:
    """Return examples as a table of `SCHEMA`, made column by column: row by row takes twice as long."""
    features = [example.features for example in examples]
    embeddings = [np.frombuffer(one.embedding, "<f4") if one else None for one in features]
    columns: dict[str, Any] = {
        "offset": offsets,
        "partition": np.full(len(examples), partition, np.int32),
        "drawing_id": [str(example.drawing_id) for example in examples],
        "correction_id": [str(example.correction_id) for example in examples],
        "raster": [one.raster if one else None for one in features],
        "embedding": _lists(embeddings, pa.float32()),
        "reader": [one.reader if one else None for one in features],
        "strokes": [orjson.dumps(example.strokes).decode() for example in examples],
        "guesses": _guesses(examples),
    }
    for name in SCHEMA.names:
        if name not in columns:
            columns[name] = [getattr(example, name) for example in examples]
    made = [_array(columns[field.name], field.type) for field in SCHEMA]
    return pa.Table.from_arrays(made, schema=SCHEMA)


def _array(values: Any, kind: Any) -> Any:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


def _lists(parts: Sequence[Any], kind: Any) -> Any:
    """Return arrays, or None, as a column of lists."""
    sizes = np.array([0 if part is None else len(part) for part in parts], np.int32)
    ends: Any = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    there = [part for part in parts if part is not None]
    flat = pa.array(np.concatenate(there) if there else [], kind)
    if len(there) < len(parts):
        return pa.ListArray.from_arrays(ends, flat, mask=pa.array([part is None for part in parts]))
    return pa.ListArray.from_arrays(ends, flat)


def _guesses(examples: Sequence[ExampleLabelled]) -> Any:
    guesses = [guess for example in examples for guess in example.guesses]
    probabilities = _lists([guess.probabilities for guess in guesses], pa.float32())
    fields: dict[str, Any] = {field.name: [getattr(guess, field.name) for guess in guesses] for field in _GUESS}
    made = [probabilities if field.name == "probabilities" else pa.array(fields[field.name], field.type) for field in _GUESS]
    sizes = np.cumsum([0, *(len(example.guesses) for example in examples)])
    return pa.ListArray.from_arrays(pa.array(sizes, pa.int32()), pa.StructArray.from_arrays(made, fields=list(_GUESS)))
