"""Learns online: makes lessons of examples, and takes them back (way 2, LEARN). Pure: events in, events out.

Each drawing has at most one lesson in force, that of its latest label. A changed label takes the old lesson out and puts the
new one in; a withdrawn one takes it out. So which lessons are in force is a function of the set of the latest revisions of
examples, whatever order they came in, and so is the model, which is their sum (`streams.online_model`). Twice is harmless: a
revision at or below the one that is held changes nothing, and each correction gets one receipt.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import uuid5

import numpy as np
from cachetools import LRUCache

from contracts.events import (
    NAMESPACE,
    ONLINE_MODELS,
    CorrectionReceipt,
    Event,
    ExampleLabelled,
    ExampleProbed,
    LessonProbed,
    LessonTakenBack,
    LessonTaught,
    ModelChange,
    Outcome,
)
from contracts.ports import Cells, Origin
from contracts.roster import is_batch
from streams.additive import EIGHTHS, Floats
from streams.online_base import Base
from streams.online_model import SHARED, InForce, features_of, of_base
from streams.taught import NONE, ROW, ROWS_A_CELL, Rows, drawing_of, place_of, putting, read, taught_by, taught_row, write

_LOADED: Final = 16_384
"""How many drawings of a partition's players are held in memory, those of the latest players: some 5 MB at most."""
_NUMBER: Final = "number"


@dataclass(slots=True)
class _Partition:
    """What the players of an assigned partition have taught."""

    cells: Cells
    number: int
    """The number of the last lesson."""
    players: LRUCache[str, Rows] = field(default_factory=lambda: LRUCache(_LOADED, lambda rows: 1 + len(rows)))
    """The players of the latest lessons, as many as have `_LOADED` rows together; each player counts as one row more."""

    def player(self, player_id: str) -> Rows:
        """Return what a player has taught."""
        rows = self.players.get(player_id)
        if rows is None:
            rows = read(self.cells, player_id)
            self.keep(player_id, rows)
        return rows

    def keep(self, player_id: str, rows: Rows) -> None:
        """Keep what a player has taught in memory; one who alone has more than `_LOADED` rows is read anew each time."""
        if self.players.getsizeof(rows) <= self.players.maxsize:
            self.players[player_id] = rows
        else:
            self.players.pop(player_id, None)


class Learner:
    """The fold from examples to lessons, and to the receipts of what each changed."""

    name = "learner"
    sources = ("examples.v1",)

    def __init__(self, base: Base, in_force: Callable[[], InForce] | None = None) -> None:
        """Build a learner.

        Args:
            base: The base of the online model.
            in_force: Returns the model as it answers now, for the receipts; None: the base.
        """
        self._base = base
        self._bare = of_base(base)
        self._in_force = in_force
        made_of = sha256(repr((ROW.descr, ROWS_A_CELL)).encode()).hexdigest()[:16]
        self.series = f"sums-1 {base.reader}"
        """The name of the lessons that this learner makes of the examples."""
        self.schema = f"learner 2 of {ONLINE_MODELS}, {self.series}, cells {made_of}"
        self._partitions: dict[int, _Partition] = {}

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Take up a partition; nothing is published again, and players are read when they teach."""
        self._partitions[partition] = _Partition(cells, int(cells.get(_NUMBER) or b"0"))
        return ()

    def close(self, partition: int) -> None:
        """Forget the partition: from now on it may change elsewhere."""
        self._partitions.pop(partition, None)

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that are learned here."""
        return frozenset(self._partitions)

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Teach an example's latest label, and take back the one before; return the lessons and a new correction's receipt.

        An example is learned once its features are there.

        Raises:
            UnreadableFeatures: If the example's features are of another reader, or no features at all.
        """
        if isinstance(event, ExampleProbed):
            probe = {"probe_id": event.probe_id, "player_id": event.player_id}
            return [LessonProbed(**probe, model=model, at=cells.at) for model in ONLINE_MODELS]
        if not isinstance(event, ExampleLabelled) or event.features is None:
            return ()
        here = self._partitions[origin.partition]
        rows = here.player(event.player_id)
        features = features_of(self._base, event.features.embedding, event.features.reader)
        row = taught_row(event, np.frombuffer(event.features.embedding, "<f4"))
        place = place_of(rows, row)
        was = rows[place : place + 1]
        if len(was) and event.revision <= was["revision"][0]:
            return ()
        row["eighths"] = 0 if event.label is None else EIGHTHS
        news = event.label is not None and not (len(was) and np.array_equal(was["correction"], row["correction"]))
        said: list[Event] = []
        if _lesson(was) == _lesson(row):
            for name in ("taught", "embedding") if len(was) else ():
                row[name] = was[name]
        else:
            if _lesson(was) is not None:
                said.append(self._lesson(LessonTakenBack, event.player_id, was, here.number + 1, cells.at))
            if _lesson(row) is not None:
                said.append(self._lesson(LessonTaught, event.player_id, row, here.number + len(said) + 1, cells.at))
        taught = len(said)
        if news:
            said.append(self._receipt(event, features, _lesson(was), _lesson(row), taught, cells.at))
        after = putting(rows, place, row)
        write(cells, event.player_id, after, place)
        if taught:
            cells.put(_NUMBER, str(here.number + taught).encode())
        here.number += taught
        here.keep(event.player_id, after)
        return said

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Do nothing: all is written and published already."""
        return ()

    def _lesson(self, kind: type[LessonTaught], player_id: str, row: Rows, number: int, at: datetime) -> LessonTaught:
        """Make a lesson of a row of shape (1,)."""
        correction_id = taught_by(row)
        return kind(
            at=at,
            lesson_id=uuid5(NAMESPACE, f"lesson/{correction_id}/{SHARED}"),
            model=SHARED,
            drawing_id=drawing_of(row),
            correction_id=correction_id,
            player_id=player_id,
            label=int(row["label"][0]),
            weight=int(row["eighths"][0]) / EIGHTHS,
            embedding=row["embedding"][0].tobytes(),
            reader=self._base.reader,
            series=self.series,
            number=number,
        )

    def _receipt(
        self,
        example: ExampleLabelled,
        features: Floats,
        before: tuple[int, int] | None,
        after: tuple[int, int] | None,
        changes: int,
        at: datetime,
    ) -> CorrectionReceipt:
        """Make the receipt: what the model gave the label as it answers now, and what it gives after this lesson alone."""
        if example.label is None:
            raise AssertionError("a withdrawal has no receipt of the learner")
        now = self._bare if self._in_force is None else self._in_force()
        change = ModelChange(
            version_before=now.version,
            version_after=now.after(changes),
            p_before=float(now.solved.probabilities(features[None])[0, example.label]),
            p_after=float(now.solved.probabilities_with(features, before, after)[example.label]),
        )
        return CorrectionReceipt(
            at=at,
            correction_id=example.correction_id,
            drawing_id=example.drawing_id,
            player_id=example.player_id,
            outcome=Outcome.LEARNED,
            models={SHARED: change, **_unchanged(example, example.label)},
        )


def _lesson(row: Rows) -> tuple[int, int] | None:
    """Return the label and the weight in eighths of the lesson of a row; None: it has none, or there is no row."""
    if not len(row) or row["label"][0] == NONE or row["eighths"][0] == 0:
        return None
    return int(row["label"][0]), int(row["eighths"][0])


def _unchanged(example: ExampleLabelled, label: int) -> dict[str, ModelChange]:
    """Make the batch models' lines of the receipt: they learn only when they are rebuilt."""
    return {
        guess.model: ModelChange(
            version_before=guess.version,
            version_after=guess.version,
            p_before=guess.probabilities[label],
            p_after=guess.probabilities[label],
        )
        for guess in example.guesses
        if is_batch(guess.model) and not guess.shadow
    }
