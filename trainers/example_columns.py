"""Lays examples out as the columns of the archive, one by one as they are read from the log (way 3, REBUILD). Pure.

An event is hundreds of lists, one for each point, and as long as a batch of events is held, each of Python's collections goes
through all of them: that cost four times what it costs to decode and validate them. So an event is taken apart at once, into
values that hold no others.
"""

from operator import attrgetter
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from contracts.events import DIGITS, ExampleLabelled

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
_ALIKE: Final = ("partition", "player_id", "revision", "label", "over_quota", "asked", "device", "reader", "width", "height")
REPEATED: Final = [*_ALIKE, *(f"guesses.list.element.{name}" for name in ("model", "version", "label", "shadow"))]
"""The columns, as Parquet names them, of which a dictionary of their values saves bytes; it costs time and bytes for others."""


_TOLD: Final = tuple(one.name for one in _GUESS if one.name != "probabilities")
_ATTRIBUTES: Final = ("player_id", "revision", "label", "over_quota", "asked", "device", "drawn_at", "at", "width", "height")
_MADE: Final = ("offset", "drawing_id", "correction_id", "strokes", "raster", "reader")
_ROW: Final = _MADE + _ATTRIBUTES
_attributes: Final = attrgetter(*_ATTRIBUTES)
_told: Final = attrgetter(*_TOLD)


class ExampleColumns:
    """Examples of one partition, in the order in which they were added."""

    def __init__(self) -> None:
        """Begin with none."""
        self._rows: list[Any] = []
        """What `_ROW` names, example after example: a tuple for each would be one more for the garbage collector."""
        self._embeddings: list[bytes | None] = []
        self._guesses: list[Any] = []
        """What `_TOLD` names, guess after guess."""
        self._probabilities: list[float] = []
        self._sizes: list[int] = []
        """The number of guesses of each example."""

    def add(self, offset: int, example: ExampleLabelled) -> None:
        """Add an example; nothing is added if it raises, and nothing of the event is held."""
        features, guesses = example.features, example.guesses
        strokes = orjson.dumps(example.strokes).decode()
        read = (features.raster, features.reader) if features else (None, None)
        self._rows += (offset, str(example.drawing_id), str(example.correction_id), strokes, *read, *_attributes(example))
        self._embeddings.append(features.embedding if features else None)
        self._sizes.append(len(guesses))
        for guess in guesses:
            self._guesses += _told(guess)
            self._probabilities += guess.probabilities

    def table(self, partition: int) -> pa.Table:
        """Return the examples as a table of `SCHEMA`."""
        columns = _turned(self._rows, _ROW)
        columns["partition"] = np.full(len(self._sizes), partition, np.int32)
        columns["embedding"] = self._embedded()
        columns["guesses"] = self._guessed()
        return pa.Table.from_arrays([_array(columns[one.name], one.type) for one in SCHEMA], schema=SCHEMA)

    def _embedded(self) -> Any:
        sizes = [len(one or b"") // 4 for one in self._embeddings]
        flat = np.frombuffer(b"".join(one or b"" for one in self._embeddings), "<f4")
        mask = pa.array([one is None for one in self._embeddings]) if None in self._embeddings else None
        return pa.ListArray.from_arrays(_ends(sizes), pa.array(flat, pa.float32()), mask=mask)

    def _guessed(self) -> Any:
        columns = _turned(self._guesses, _TOLD)
        flat = pa.array(self._probabilities, pa.float32())
        columns["probabilities"] = pa.ListArray.from_arrays(_ends([DIGITS] * sum(self._sizes)), flat)
        made = [_array(columns[one.name], one.type) for one in _GUESS]
        return pa.ListArray.from_arrays(_ends(self._sizes), pa.StructArray.from_arrays(made, fields=list(_GUESS)))


def _array(values: Any, kind: Any) -> Any:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


def _turned(rows: list[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return rows, one after another, as columns by their names."""
    return {name: rows[at :: len(names)] for at, name in enumerate(names)}


def _ends(sizes: list[int]) -> Any:
    """Return where each list begins and ends in the flat one."""
    return pa.array(np.cumsum([0, *sizes]), pa.int32())
