"""Counts what a player's labels say of the models: how often each was right, by trust, and within bounds (way 2, LEARN). Pure.

What it rests on is the set of the player's labelled drawings, whatever their own model has forgotten of them:

- A label counts as much as its lesson does (`streams.trust`, by the same judge, but that drawings that are alike are not taken
  for one): nothing of a newcomer, nothing that came over the quota, nothing of a player who is restricted.
- The `NEWEST` of these count.
- No player says of a model that it is wrong more often than their best one by more than one guess in `LEAD_SPREAD`, for the
  pick of the lead, or in `BLEND_SPREAD`, for the weights of the blend. So nobody moves two models apart by more than six
  guesses there, and three here, whatever they say of them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from contracts.events import BLEND, ExampleLabelled
from contracts.ports import Cells
from streams.online_base import Base
from streams.online_model import UnreadableFeatures, features_of
from streams.player_memory import Rows, in_order, labelled_row, pack, place_of, putting, read_rows
from streams.shown_labels import ShownLabels
from streams.trust import judged, weigh

NEWEST: Final = 48
"""How many of a player's drawings count at most, the newest that count at all."""
LEAD_SPREAD: Final = 8
"""A model that is further behind a player's best one than by one guess in so many counts as if it were so far behind."""
BLEND_SPREAD: Final = 16
"""The same for the blend, whose weights fall exponentially: what learns at once begins eight guesses ahead of all others."""
HOUR: Final = 3_600_000_000
"""An hour, in microseconds."""
_ROWS_A_CELL: Final = 32
ROW: Final = np.dtype(
    [
        ("at", "<i8"),  # when it was drawn, in microseconds since 1970
        ("high", "<u8"),  # the drawing_id
        ("low", "<u8"),
        ("revision", "<i4"),
        ("label", "i1"),  # the digit; NONE: it was withdrawn
        ("over", "?"),  # whether it came over the quota
        ("said", "i1"),  # the digit that the judge sees, see streams.trust
        ("sure", "?"),  # whether it is sure
    ]
)
"""A drawing that was labelled, as far as it says something of models. The models' labels are kept beside it."""
_NO_ROWS: Final = np.empty(0, ROW)


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """How many guesses of each model were labelled, and how many of them were right, in eighths of a guess."""

    drawings: int = 0
    """How many drawings they are of."""
    n: Mapping[str, int] = field(default_factory=dict)
    right: Mapping[str, int] = field(default_factory=dict)
    """Bounded for the pick of the lead."""
    right_blend: Mapping[str, int] = field(default_factory=dict)
    """Bounded for the blend."""

    def adding(self, other: "ModelCounts", sign: int = 1) -> "ModelCounts":
        """Return the sum, or with a sign of -1 the difference; what is nothing is left out."""
        pairs = (self.n, other.n), (self.right, other.right), (self.right_blend, other.right_blend)
        sums = ({model: count for model in {*a, *b} if (count := a.get(model, 0) + sign * b.get(model, 0))} for a, b in pairs)
        return ModelCounts(self.drawings + sign * other.drawings, *sums)

    def cell(self) -> bytes:
        """Write the counts as their cell."""
        return json.dumps([self.drawings, self.n, self.right, self.right_blend], sort_keys=True).encode()

    @classmethod
    def of(cls, cell: bytes | None) -> "ModelCounts":
        """Read the counts from their cell; None: there are none."""
        return cls() if cell is None else cls(*json.loads(cell))


NOTHING: Final = ModelCounts()


@dataclass(frozen=True)
class PlayerOutcomes:
    """The labelled drawings of a player, each with the models' guesses; never changed in place."""

    rows: Rows = field(default_factory=lambda: _NO_ROWS)
    """Rows of `ROW`, in any order."""
    shown: ShownLabels = field(default_factory=lambda: ShownLabels.nothing(0))
    """The labels that models were shown to give them."""
    restricted: bool = False
    """Whether an operator has set the player's answers aside."""

    def hearing(self, base: Base, example: ExampleLabelled) -> tuple["PlayerOutcomes", int] | None:
        """Return the outcomes with an example, and the place of its drawing; None: it changes nothing.

        Args:
            base: What the judge is of; an example whose features it cannot read teaches nobody, and counts nothing.
            example: The example.
        """
        row = labelled_row(example, ROW)
        place = place_of(self.rows, row)
        was = self.rows[place : place + 1]
        if example.features is None or (len(was) and example.revision <= was["revision"][0]):
            return None
        row["over"] = example.over_quota
        if len(was) and was["label"] == row["label"]:  # as the learner judges it: see `streams.learner`
            row["said"], row["sure"] = was["said"], was["sure"]
        else:
            try:
                features = features_of(base, example.features.embedding, example.features.reader)
            except UnreadableFeatures:
                return None
            row["said"], row["sure"] = judged(base.judge, features)
        shown = {guess.model: guess.label for guess in example.guesses if not guess.shadow}
        after = PlayerOutcomes(putting(self.rows, place, row), self.shown.putting(place, shown), self.restricted)
        return after, place

    def restricting(self, restricted: bool) -> "PlayerOutcomes":
        """Return the outcomes of the player, who is restricted or not."""
        return PlayerOutcomes(self.rows, self.shown, restricted)

    @cached_property
    def counted(self) -> tuple[int, ModelCounts]:
        """The hour of the newest drawing that counts, since 1970, and what counts."""
        if self.restricted or not len(self.rows):
            return 0, NOTHING
        weights, known = weigh(self.rows)
        newest = in_order(self.rows, weights > 0)[-NEWEST:]
        if not known or not len(newest):
            return 0, NOTHING
        eighths = weights[newest].astype(np.int64)
        labels, said = self.rows["label"][newest], self.shown.labels[newest]
        n = dict(zip(self.shown.models, (eighths @ (said >= 0)).tolist(), strict=True))
        right = dict(zip(self.shown.models, (eighths @ (said == labels[:, None])).tolist(), strict=True))
        counts = ModelCounts(len(newest), n, *(_bounded(n, right, spread) for spread in (LEAD_SPREAD, BLEND_SPREAD)))
        return int(self.rows["at"][newest[-1]]) // HOUR, NOTHING.adding(counts)


def well_heard(n: Mapping[str, int]) -> list[str]:
    """Return the models that others are measured by, with half of the most guesses at least; the blend is no voice."""
    voices = {model: count for model, count in n.items() if model != BLEND}
    most = max(voices.values(), default=0)
    return [model for model, count in voices.items() if count and 2 * count >= most]


def _bounded(n: Mapping[str, int], right: Mapping[str, int], spread: int) -> dict[str, int]:
    """Return how many guesses were right, with no model further behind the best one than by one guess in ``spread``.

    The best one is among those that are `well_heard`.
    """
    voices = well_heard(n)
    if not voices:
        return dict(right)
    best = max(voices, key=lambda model: (right[model] / n[model], model))
    of, missed = n[best], n[best] - right[best]
    return {model: max(right[model], count - count * (spread * missed + of) // (spread * of)) for model, count in n.items()}


# --- cells: a head a player, and rows by the thirty-two


def read(cells: Cells, player_id: str) -> PlayerOutcomes:
    """Read the outcomes of a player, of which there may be none.

    Raises:
        LookupError: If the cells are damaged.
    """
    kept = cells.get(f"outcomes/{player_id}")
    if kept is None:
        return PlayerOutcomes()
    head = json.loads(kept)
    rows, shown = read_rows(cells, f"outcomes/{player_id}", int(head["rows"]), _ROWS_A_CELL, ROW, "outcomes")
    return PlayerOutcomes(rows, shown, bool(head["restricted"]))


def drop(cells: Cells, player_id: str, outcomes: PlayerOutcomes) -> None:
    """Drop the outcomes of a player, which are these."""
    cells.drop(f"outcomes/{player_id}")
    for number in range(-(-len(outcomes.rows) // _ROWS_A_CELL)):
        cells.drop(f"outcomes/{player_id}/{number}")


def write(cells: Cells, player_id: str, outcomes: PlayerOutcomes, place: int | None = None) -> None:
    """Write a player of whom the row at ``place`` has changed; None: no row has."""
    if not len(outcomes.rows) and not outcomes.restricted:
        cells.drop(f"outcomes/{player_id}")
        return
    head = {"restricted": outcomes.restricted, "rows": len(outcomes.rows)}
    cells.put(f"outcomes/{player_id}", json.dumps(head).encode())
    if place is not None:
        number = place // _ROWS_A_CELL
        part = slice(number * _ROWS_A_CELL, (number + 1) * _ROWS_A_CELL)
        cells.put(f"outcomes/{player_id}/{number}", pack(outcomes.rows[part], outcomes.shown.part(part)))
