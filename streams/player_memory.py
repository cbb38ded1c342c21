"""Keeps each drawing that a player has corrected, for the player's own model (way 2, LEARN). Pure.

A row has the drawing and its label; beside it are the labels that each model was shown to give, by the model's name, so that
one model more or fewer makes nothing unreadable. The cells have only models that have guessed, in alphabetical order, so they
are a function of the examples, whatever models there were meanwhile.

A player's memory takes at most `MOST_BYTES`: an embedding is kept as small integers, since only its direction counts, and the
raster as one bit a pixel, for the outline that is made of it and for the player's own eyes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS, ExampleLabelled, MemoryReset, ShownGuess
from contracts.ports import Cells
from streams.additive import SHARPNESS
from streams.bandit import Belief
from streams.outline import INK_BYTES, ink_of
from streams.shown_labels import NONE, ShownLabels

SIZE: Final = 64
"""How many numbers an embedding has."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MOST_BYTES: Final = 65_536
"""How many bytes a player's memory takes at most, with ten models that guess."""
RESETS: Final = 8
"""How many of a player's resets are known again when they come twice, the newest."""
FLOOR: Final = 0.002
"""What is added to each probability of the shared model, which is published with six digits, before its logarithm is taken."""
_LEAST_SCORE: Final = -0.3
_PARTS: Final = 15  # of a score: it is kept in four bits, from -0.3 to 0.7
_sorted: Final = json.JSONEncoder(sort_keys=True).encode
_SCORES: Final = np.array([divmod(kept, _PARTS + 1) for kept in range(256)]) / _PARTS + _LEAST_SCORE
"""The two scores of each byte, shape (256, 2)."""
_LARGEST: Final = 127
_MICROSECOND: Final = timedelta(microseconds=1)
_HEAD: Final = Struct("<qQQi")
"""How every kind of row begins: with ``at``, ``high``, ``low`` and ``revision``."""
ROWS_A_CELL: Final = 8
ROW: Final = np.dtype(
    [
        ("at", "<i8"),  # when it was drawn, in microseconds since 1970
        ("high", "<u8"),  # the drawing_id
        ("low", "<u8"),
        ("revision", "<i4"),
        ("correction", "u1", 16),  # the last correction_id that was counted
        ("label", "i1"),
        ("read", "?"),  # whether there are features that this reads, and the shared model's guess
        ("told", "?"),  # whether there was a receipt for it
        ("hit", "?"),  # whether the shared model was right, as it was shown
        ("scores", "u1", DIGITS // 2),  # the shared model's, as it was shown: see `scores_of`
        ("ink", "u1", INK_BYTES),  # the raster, one bit a pixel
        ("embedding", "i1", SIZE),  # its direction: the largest number is 127 or -127
    ]
)
"""A drawing that the player has corrected, as it is kept. One whose label was withdrawn stays, without influence: otherwise the
set of the newest drawings would depend on the order of the revisions. The models' labels are kept beside it."""

Rows = NDArray[Any]
NO_ROWS: Final = np.empty(0, ROW)


def labelled_row(example: ExampleLabelled, kind: np.dtype[Any]) -> Rows:
    """Make a row of some kind, shape (1,), with what an example says of its drawing and label; all else is zero."""
    row = np.zeros(1, kind)
    at = (example.drawn_at - _EPOCH) // _MICROSECOND
    _HEAD.pack_into(row.data, 0, at, *divmod(example.drawing_id.int, 1 << 64), example.revision)
    row["label"] = NONE if example.label is None else example.label
    return row


def row_of(example: ExampleLabelled, shared: ShownGuess | None, reader: str) -> Rows:
    """Make the row of an example, shape (1,).

    Args:
        example: The example.
        shared: The shared model's guess as it was shown; None: there is none yet.
        reader: Features of another reader are not learned.
    """
    row = labelled_row(example, ROW)
    row["correction"] = np.frombuffer(example.correction_id.bytes, np.uint8)
    features = example.features
    if shared is not None and features is not None and features.reader == reader and len(features.embedding) == 4 * SIZE:
        embedding = np.frombuffer(features.embedding, "<f4")
        largest = float(np.maximum.reduce(np.abs(embedding)))
        if 0 < largest < np.inf:
            row["read"] = True
            row["embedding"] = np.rint(embedding / largest * _LARGEST)
        row["ink"] = ink_of(np.frombuffer(features.raster, np.uint8)[None])
        row["scores"] = _kept_scores(shared.probabilities)
        row["hit"] = shared.label == example.label
    return row


def _kept_scores(probabilities: Sequence[float]) -> NDArray[np.uint8]:
    scores = np.log(np.array(probabilities) + FLOOR) / SHARPNESS
    scores += 1.0 / DIGITS - np.add.reduce(scores) / DIGITS
    parts = np.minimum(np.maximum(np.rint(_PARTS * (scores - _LEAST_SCORE)), 0), _PARTS).astype(np.uint8)
    return np.asarray(parts[::2] << 4 | parts[1::2])


def scores_of(rows: Rows) -> NDArray[np.float64]:
    """Return the shared model's scores of drawings, shape (n, 10): log(p + FLOOR) / 9, with the sum 1, nearly."""
    return _SCORES.take(rows["scores"], axis=0).reshape(-1, DIGITS)


def same_drawing(rows: Rows, row: Rows) -> NDArray[np.bool_]:
    """Find the rows of the same drawing as this one."""
    return np.asarray((rows["high"] == row["high"]) & (rows["low"] == row["low"]))


def place_of(rows: Rows, row: Rows) -> int:
    """Return the place of a row's drawing; behind the last if it is new."""
    [same] = np.nonzero(same_drawing(rows, row))
    return int(same[0]) if len(same) else len(rows)


def putting(rows: Rows, place: int, row: Rows) -> Rows:
    """Return the rows with this one at its place."""
    size, kept = rows.itemsize, rows.tobytes()  # to copy bytes is ten times as fast as to copy fields
    return np.frombuffer(b"".join((kept[: place * size], row.tobytes(), kept[(place + 1) * size :])), rows.dtype)


def age_of(rows: Rows, place: int) -> tuple[int, int, int]:
    """Return a key that orders the drawing at a place: the time of the drawing, then its id."""
    return int(rows["at"][place]), int(rows["high"][place]), int(rows["low"][place])


def remembered(rows: Rows) -> NDArray[np.bool_]:
    """Find the rows that are learned: those with a label and features."""
    return np.asarray((rows["label"] != NONE) & rows["read"])


def in_order(rows: Rows, which: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the places of these rows, in the order of drawing."""
    [at] = np.nonzero(which)
    drawn = rows["at"][at]
    if np.logical_and.reduce(drawn[1:] > drawn[:-1]):
        return np.asarray(at)
    return np.asarray(at[np.lexsort((rows["low"][at], rows["high"][at], drawn))])


@dataclass(frozen=True, slots=True)
class Resets:
    """The resets of a player's memory; never changed in place."""

    until: int = -(1 << 63)
    """What was drawn up to this time is forgotten, in microseconds since 1970."""
    known: tuple[str, ...] = ()
    """The newest reset_ids, at most `RESETS`."""

    def __contains__(self, reset: MemoryReset) -> bool:
        """Whether a reset has come before."""
        return reset.reset_id.hex in self.known

    def adding(self, reset: MemoryReset) -> "Resets":
        """Return the resets with one more."""
        until = (reset.until - _EPOCH) // timedelta(microseconds=1)
        return Resets(max(self.until, until), (*self.known, reset.reset_id.hex)[-RESETS:])

    def forgets(self, rows: Rows) -> NDArray[np.bool_]:
        """Find the rows that are forgotten."""
        return np.asarray(rows["at"] <= self.until)

    @property
    def time(self) -> datetime | None:
        """The time up to which all is forgotten; None: nothing is."""
        return time_of(self.until) if self.known else None


NEVER: Final = Resets()


def time_of(microseconds: int) -> datetime:
    """Return the time of a row's ``at``."""
    return _EPOCH + timedelta(microseconds=microseconds)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept of a player; never changed in place."""

    rows: Rows = field(default_factory=lambda: NO_ROWS)
    """Rows of `ROW`, in any order."""
    said: ShownLabels = field(default_factory=lambda: ShownLabels.nothing(0))
    """The labels that models were shown to give these drawings."""
    belief: Belief | None = None
    """The bandit's belief; None: the player has corrected nothing yet."""
    resets: Resets = NEVER

    def without_forgotten(self) -> "Memory":
        """Return the memory without the drawings that are forgotten."""
        [left] = np.nonzero(~self.resets.forgets(self.rows))
        return replace(self, rows=self.rows[left], said=self.said.part(left))

    def head(self) -> bytes:
        """Pack all but the drawings for a cell."""
        belief, resets = self.belief and self.belief.kept(), self.resets
        head: dict[str, Any] = {"rows": len(self.rows), "belief": belief}
        if resets.known:
            head |= {"until": resets.until, "resets": resets.known}
        return _sorted(head).encode()

    def part(self, number: int) -> bytes:
        """Pack eight drawings for a cell: a line with the names of the models that have guessed, rows, the models' labels."""
        part = slice(number * ROWS_A_CELL, (number + 1) * ROWS_A_CELL)
        return pack(self.rows[part], self.said.part(part))

    @property
    def parts(self) -> int:
        """How many cells the drawings take."""
        return -(-len(self.rows) // ROWS_A_CELL)

    @property
    def size(self) -> int:
        """The bytes that all of it takes."""
        return len(self.head()) + sum(len(self.part(number)) for number in range(self.parts))


def read_rows(
    cells: Cells, key: str, count: int, in_a_cell: int, row: np.dtype[Any], what: str = "rows"
) -> tuple[Rows, ShownLabels]:
    """Read so many rows of a player from the cells ``key/0``, ``key/1`` and so on; an error calls them ``what``.

    Raises:
        LookupError: If the cells are damaged.
    """
    kept = (cells.get(f"{key}/{number}") for number in range(-(-count // in_a_cell)))
    parts = [unpack(part, row) for part in kept if part is not None]
    rows = np.concatenate([np.empty(0, row), *(rows for rows, _ in parts)])
    if len(rows) != count:
        player_id = key.partition("/")[2]
        raise LookupError(f"player {player_id} has {len(rows)} {what} instead of {count}: the cells are damaged")
    return rows, ShownLabels.together([shown for _, shown in parts])


# --- cells: a head a player, and rows by the eight, so that a label writes 2 KB


def read(cells: Cells, player_id: str) -> Memory:
    """Read the memory of a player, which is empty if they have corrected nothing yet.

    Raises:
        LookupError: If the cells are damaged.
    """
    kept = cells.get(f"player/{player_id}")
    if kept is None:
        return Memory()
    head = json.loads(kept)
    rows, said = read_rows(cells, f"rows/{player_id}", int(head["rows"]), ROWS_A_CELL, ROW)
    resets = Resets(head["until"], tuple(head["resets"])) if "until" in head else NEVER
    return Memory(rows, said, Belief(**head["belief"]) if head["belief"] else None, resets)


def write(cells: Cells, player_id: str, memory: Memory, place: int) -> None:
    """Write a player of whom the row at ``place`` has changed."""
    cells.put(f"player/{player_id}", memory.head())
    number = place // ROWS_A_CELL
    cells.put(f"rows/{player_id}/{number}", memory.part(number))


def write_anew(cells: Cells, player_id: str, memory: Memory, parts: int) -> None:
    """Write all of a player, whose drawings took so many cells before."""
    cells.put(f"player/{player_id}", memory.head())
    for number in range(memory.parts):
        cells.put(f"rows/{player_id}/{number}", memory.part(number))
    for number in range(memory.parts, parts):
        cells.drop(f"rows/{player_id}/{number}")


def drop(cells: Cells, player_id: str) -> None:
    """Drop the memory of a player."""
    if (kept := cells.get(f"player/{player_id}")) is not None:
        for number in range(-(-int(json.loads(kept)["rows"]) // ROWS_A_CELL)):
            cells.drop(f"rows/{player_id}/{number}")
        cells.drop(f"player/{player_id}")


def pack(rows: Rows, said: ShownLabels) -> bytes:
    """Pack drawings for a cell: a line with the names of the models that have guessed, rows, the models' labels."""
    return b"\n".join((_line(said.models), rows.tobytes() + said.labels.tobytes()))


@lru_cache
def _line(models: tuple[str, ...]) -> bytes:
    """Return the names of models as a line of a cell."""
    return json.dumps(models).encode()


def unpack(part: bytes, kind: np.dtype[Any]) -> tuple[Rows, ShownLabels]:
    """Read what `pack` has packed of rows of some kind."""
    names, _, kept = part.partition(b"\n")
    models = tuple(json.loads(names))
    count = len(kept) // (kind.itemsize + len(models))
    rows = np.frombuffer(kept, kind, count)
    return rows, ShownLabels(models, np.frombuffer(kept, np.int8, offset=rows.nbytes).reshape(count, len(models)))
