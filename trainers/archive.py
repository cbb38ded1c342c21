"""Keeps examples as Parquet on S3, in the order of the log (way 3, REBUILD).

The names of a partition's objects alone tell how far it is archived, so there is no state to lose: an archiver that was
killed between two objects continues after the last one, and an object that is written twice has the same name.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.events import ExampleLabelled
from contracts.ports import Blobs
from trainers.example_sink import Placed

PREFIX: Final = "examples/"

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
    pa.field("drawing_id", pa.string(), nullable=False),
    pa.field("player_id", pa.string(), nullable=False),
    pa.field("revision", pa.int32(), nullable=False),  # the highest of a drawing_id counts
    pa.field("correction_id", pa.string(), nullable=False),
    pa.field("label", pa.int8()),  # null: the player withdrew their correction
    pa.field("over_quota", pa.bool_()),  # whether the player's own model alone learns it; null, or no such column: it is older
    pa.field("asked", pa.int8()),
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

_KEY = re.compile(r"^examples/dt=\d{4}-\d\d-\d\d/p(\d+)-(\d+)-(\d+)\.parquet$")


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets of a partition in an object, both ends included."""

    partition: int
    first: int
    last: int

    def key(self, day: date) -> str:
        """Return the object's name."""
        return f"{PREFIX}dt={day.isoformat()}/p{self.partition}-{self.first:012d}-{self.last:012d}.parquet"


def span_of(key: str) -> Span | None:
    """Read the offsets that an object holds from its name; None for a name that is not the archive's."""
    found = _KEY.match(key)
    return Span(*(int(part) for part in found.groups())) if found else None


class Archive:
    """Keeps all examples as objects under ``examples/``, one for each flush of a partition and day."""

    def __init__(self, blobs: Blobs) -> None:
        """Keep the bucket; it is listed at the first use."""
        self._blobs = blobs
        self._next: dict[int, int] | None = None

    def places(self) -> dict[int, int]:
        """Return the first offset that no object holds, by partition."""
        if self._next is None:
            spans = [span for key in self._blobs.keys(PREFIX) if (span := span_of(key))]
            self._next = {}
            for span in spans:
                self._next[span.partition] = max(self._next.get(span.partition, 0), span.last + 1)
        return dict(self._next)

    def keep(self, partition: int, batch: Sequence[Placed]) -> None:
        """Write a batch, a day at a time; a day is UTC, of the example's writing.

        A message that is no example counts with the example before it. A batch without examples writes nothing: after a restart
        its messages are read again.
        """
        places = self.places()
        self._next = None  # a write may fail half-way: then the bucket is asked again
        for day, run in _days(batch):
            span = Span(partition, run[0].offset, run[-1].offset)
            examples = [placed for placed in run if placed.example]
            if examples:
                self._blobs.put(span.key(day), parquet(examples))
            places[partition] = span.last + 1
        self._next = places


def without(blobs: Blobs, player_id: str, tell: Callable[[str, int], None]) -> None:
    """Rewrite the objects that hold examples of a player, under their names; ``tell`` each beforehand, and how many it holds.

    The names say how far the log is archived, so an object of which nothing is left stays, empty.
    """
    for key in [key for key in blobs.keys(PREFIX) if span_of(key)]:
        table = pq.read_table(io.BytesIO(blobs.get(key)))
        others = [player != player_id for player in table["player_id"].to_pylist()]
        n = others.count(False)
        if n:
            tell(key, n)
            out = io.BytesIO()
            pq.write_table(table.filter(pa.array(others)), out, compression="zstd")
            blobs.put(key, out.getvalue())


def _days(batch: Sequence[Placed]) -> Iterator[tuple[date, list[Placed]]]:
    day = next((placed.example.at.date() for placed in batch if placed.example), date(1970, 1, 1))
    dated = []
    for placed in batch:
        day = placed.example.at.date() if placed.example else day
        dated.append((day, placed))
    for day, run in groupby(dated, key=lambda pair: pair[0]):
        yield day, [placed for _, placed in run]


def parquet(batch: Sequence[Placed]) -> bytes:
    """Encode examples as a Parquet file of `SCHEMA`; the same examples give the same bytes."""
    rows = [_row(placed.offset, placed.example) for placed in batch if placed.example]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), out, compression="zstd")
    return out.getvalue()


def _row(offset: int, example: ExampleLabelled) -> dict[str, Any]:
    features = example.features
    return {
        "offset": offset,
        "drawing_id": str(example.drawing_id),
        "player_id": example.player_id,
        "revision": example.revision,
        "correction_id": str(example.correction_id),
        "label": example.label,
        "over_quota": example.over_quota,
        "asked": example.asked,
        "drawn_at": example.drawn_at,
        "at": example.at,
        "raster": features.raster if features else None,
        "embedding": np.frombuffer(features.embedding, "<f4") if features else None,
        "reader": features.reader if features else None,
        "strokes": orjson.dumps(example.strokes).decode(),
        "width": example.width,
        "height": example.height,
        "guesses": [guess.model_dump() for guess in example.guesses],
    }
