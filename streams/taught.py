"""Keeps what each player has taught: every drawing with the lesson on it that is in force (way 2, LEARN). Pure."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from contracts.events import ExampleLabelled
from contracts.ports import Cells
from streams.player_memory import ROWS_A_CELL, SIZE, Rows, labelled_row
from streams.shown_labels import NONE

ROW: Final = np.dtype(
    [
        ("at", "<i8"),  # when it was drawn, in microseconds since 1970
        ("high", "<u8"),  # the drawing_id
        ("low", "<u8"),
        ("revision", "<i4"),  # of the example that was read last
        ("correction", "u1", 16),  # the correction_id of the label
        ("taught", "u1", 16),  # the correction_id of the lesson that is in force: the first that gave the drawing this label
        ("label", "i1"),  # the digit; NONE: it was withdrawn
        ("over", "?"),  # whether it came over the quota, so that only the player's own model learns it
        ("eighths", "i1"),  # the weight of the lesson that is in force; 0: there is none
        ("known", "?"),  # whether that lesson counts by itself, and not among those of newcomers
        ("said", "i1"),  # the digit that the judge sees, see streams.trust
        ("sure", "?"),  # whether it is sure
        ("embedding", "<f4", SIZE),
    ]
)
"""A drawing that was labelled. One whose label was withdrawn stays, so that an earlier revision is known when it comes late."""


def taught_row(example: ExampleLabelled, embedding: NDArray[np.float32]) -> Rows:
    """Make the row of an example, shape (1,), with no lesson in force; ``embedding`` is of shape (SIZE,)."""
    row = labelled_row(example, ROW)
    row["correction"] = row["taught"] = np.frombuffer(example.correction_id.bytes, np.uint8)
    row["over"] = example.over_quota
    row["embedding"] = embedding
    return row


def drawing_of(row: Rows) -> UUID:
    """Return the drawing_id of a row of shape (1,)."""
    return UUID(int=(int(row["high"][0]) << 64) + int(row["low"][0]))


def taught_by(row: Rows) -> UUID:
    """Return the correction_id of the lesson of a row of shape (1,)."""
    return UUID(bytes=row["taught"][0].tobytes())


def changed(before: Rows, after: Rows) -> set[int]:
    """Return the places of which the lesson in force is another."""
    was = np.zeros(len(after), after.dtype)
    was[: len(before)] = before
    there, here = ((rows["eighths"] > 0) & (rows["label"] != NONE) for rows in (was, after))
    same = (was["label"] == after["label"]) & (was["eighths"] == after["eighths"]) & (was["known"] == after["known"])
    return set(np.nonzero((there | here) & ~(there & here & same))[0].tolist())


# --- cells: the number of rows of each player, and rows by the eight, so that a lesson writes 2.5 KB


def read(cells: Cells, player_id: str) -> Rows:
    """Read what a player has taught.

    Raises:
        LookupError: If the cells are damaged.
    """
    count = int(cells.get(f"player/{player_id}") or b"0")
    parts = [cells.get(f"taught/{player_id}/{number}") or b"" for number in range(-(-count // ROWS_A_CELL))]
    rows = np.frombuffer(b"".join(parts), ROW)
    if len(rows) != count:
        raise LookupError(f"player {player_id} has {len(rows)} rows instead of {count}: the cells are damaged")
    return rows


def write(cells: Cells, player_id: str, rows: Rows, places: Iterable[int]) -> None:
    """Write a player of whom the rows at ``places`` have changed."""
    cells.put(f"player/{player_id}", str(len(rows)).encode())
    for number in sorted({place // ROWS_A_CELL for place in places}):
        cells.put(f"taught/{player_id}/{number}", rows[number * ROWS_A_CELL : (number + 1) * ROWS_A_CELL].tobytes())


def drop(cells: Cells, player_id: str) -> None:
    """Drop what a player has taught."""
    for number in range(-(-int(cells.get(f"player/{player_id}") or b"0") // ROWS_A_CELL)):
        cells.drop(f"taught/{player_id}/{number}")
    cells.drop(f"player/{player_id}")
