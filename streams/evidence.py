"""Gathers from examples what drift is looked for in: how each model did, and what the drawing was like (way 2, LEARN). Pure.

A partition's drawings are told in one record a step on evidence.v1, where all partitions meet: a detector for each partition
would need four times as many drawings. A drawing counts once, by the first label that its player gave it; so what players
change later moves nothing, and which evidence there is does not depend on the order of arrival. A guess that comes after the
label is told when it comes. Twice is harmless: a drawing's part is told once, and drawings are numbered.

Not counted are shadows' guesses, drawings whose first label is over the quota, and players whom an operator has restricted.
Of a player who is forgotten no cell stays; what was told of their drawings does, and says neither whose they were nor how they
were drawn.

Evidence names no player. It has a mark, by which it is known how many hands a drift is of. All newcomers have one mark, and
so has everybody whose labels are not believed (`streams.trust`): a seat costs nothing, so many seats are one hand. Whether a
player has a mark of their own is decided when a drawing is told, by what came before it on the log and by its own label.
"""

import json
from collections.abc import Iterable
from functools import cached_property
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import (
    DIGITS,
    DrawingEvidence,
    Event,
    EvidenceGathered,
    ExampleLabelled,
    ExamplesForgotten,
    Features,
    LessonsCut,
    PlayerRestricted,
    StageForgot,
)
from contracts.ports import Cells, Origin
from streams.additive import EIGHTHS, Floats
from streams.online_base import Base
from streams.online_model import UnreadableFeatures, features_of
from streams.trust import FIRST, LATEST, TRUST, believed, judged

DIRECTIONS: Final = 8
"""Along how many directions of the embedding a drawing is looked at: those in which drawings of one digit differ most."""
NEWCOMERS: Final = 0
"""The mark that all share whose labels are not believed, or not yet."""
_MARKS: Final = 1 << 16
_NUMBER: Final = "number"
MOST: Final = 500
"""How many drawings one record tells at most."""


class Hands:
    """Says how a drawing differs from the usual one of its digit, by the base's drawings."""

    def __init__(self, base: Base) -> None:
        """Find the usual drawing of each digit, and the directions in which drawings differ."""
        size = base.basis.size
        one = float(base.basis.rows(np.zeros((1, size)))[0, -1])
        counts = base.sums.labelled[-1] / one
        self._base = base
        self._usual: Floats = (base.sums.labelled[:size] / counts).T
        spread = base.sums.products[:size, :size] - (self._usual.T * counts) @ self._usual
        _, vectors = np.linalg.eigh(spread / counts.sum())
        vectors = vectors[:, ::-1][:, :DIRECTIONS]
        self._directions: Floats = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(DIRECTIONS)])

    def measure(self, features: Floats, label: int) -> list[int]:
        """Return where a drawing lies along each direction, and how far away it is; ``features`` has shape (width,)."""
        away = features[: self._base.basis.size] - self._usual[label]
        return [round(float(value)) for value in (*(away @ self._directions), np.linalg.norm(away))]


class LabelTrust:
    """How far a player's labels are believed, by the drawings of which the judge is sure; in the order in which they came."""

    def __init__(self, kept: bytes | None) -> None:
        """Take up what a cell has kept; None: begin."""
        self._n, self._right, self._latest = (0, 0, []) if kept is None else json.loads(kept)

    def cell(self) -> bytes:
        """Write the state: how many there are, how many agree, and which of the latest."""
        return json.dumps([self._n, self._right, self._latest]).encode()

    def add(self, agrees: bool) -> None:
        """Add a drawing whose label is what the judge sees, or is not."""
        self._n += 1
        self._right += agrees
        self._latest = [*self._latest, int(agrees)][-LATEST:]

    @property
    def whole(self) -> bool:
        """Whether enough is known of the player, and their labels count whole."""
        agreements = (self._right, self._n), (sum(self._latest), len(self._latest))
        return self._n >= FIRST and believed(*agreements) == EIGHTHS


class Evidence:
    """The fold from examples to evidence."""

    name = "evidence"
    sources = ("examples.v1",)

    def __init__(self, base: Base) -> None:
        """Build; ``base`` says what a digit usually looks like."""
        self._base = base
        judge = sha256(base.judge.tobytes()).hexdigest()[:8]
        self.series = f"evidence-2 {base.reader} {base.digest[:8]}, trust {TRUST} by {judge}"
        """The name of the evidence that this makes of the examples."""
        self.schema = self.series
        self._steps: dict[int, list[DrawingEvidence]] = {}
        """The evidence of the current step, by partition."""

    @cached_property
    def _hands(self) -> Hands:
        return Hands(self._base)  # a tenth of a second, which none pays that has no examples

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Take up a partition; what was told is in the outbox or on the log."""
        self._steps[partition] = []
        return ()

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Take what is new in an example; it is told with the step."""
        if isinstance(event, PlayerRestricted):
            cells.put(f"restriction/{event.player_id}", event.restriction.encode())
        if isinstance(event, ExamplesForgotten):
            for drawing_id in event.examples:
                cells.drop(f"drawing/{drawing_id}")
            cells.drop(f"restriction/{event.player_id}")
            cells.drop(f"hand/{event.player_id}")
            return (StageForgot(forget_id=event.forget_id, player_id=event.player_id, stage="evidence", at=cells.at),)
        if isinstance(event, LessonsCut):  # made anew of the examples that are left, it would give numbers twice
            return [*self.settle(cells, origin.partition), *self._number_on(cells, origin.partition, event.number)]
        if not isinstance(event, ExampleLabelled):
            return ()
        first = event.labels[0] if event.labels else event  # an example from before examples had all labels has its own
        label = first.label
        if label is None or first.over_quota or cells.get(f"restriction/{event.player_id}") not in (None, b"none"):
            return ()
        cell = f"drawing/{event.drawing_id}"
        known: list[str] = json.loads(cells.get(cell) or b"[]")
        wrong = {guess.model: guess.label != label for guess in event.guesses if not guess.shadow and guess.model not in known}
        features = None if "" in known else event.features
        if not wrong and features is None:
            return ()
        read = None if features is None else self._read(features)
        told = DrawingEvidence(
            mark=self._mark(cells, event.player_id, read, label),
            drawn_at=event.drawn_at,
            label=None if features is None else label,
            ink=None if features is None else sum(features.raster) // 255,
            directions=[] if read is None else self._hands.measure(read, label),
            wrong=wrong,
        )
        cells.put(cell, json.dumps([*known, *wrong, *([""] if features is not None else [])]).encode())
        self._steps[origin.partition].append(told)
        return ()

    def _read(self, features: Features) -> Floats | None:
        try:
            return features_of(self._base, features.embedding, features.reader)
        except UnreadableFeatures:
            return None

    def _mark(self, cells: Cells, player_id: str, read: Floats | None, label: int) -> int:
        """Return a player's mark, after a drawing with this first label and these features; None: none that are new."""
        cell = f"hand/{player_id}"
        trust = LabelTrust(cells.get(cell))
        said, sure = (label, False) if read is None else judged(self._base.judge, read)
        if sure:
            trust.add(said == label)
            cells.put(cell, trust.cell())
        own = int.from_bytes(sha256(player_id.encode()).digest()[:4], "big") % (_MARKS - 1)
        return 1 + own if trust.whole else NEWCOMERS

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Tell the step's evidence, numbered."""
        several, self._steps[partition] = self._steps[partition], []
        if not several:
            return ()
        first = int(cells.get(_NUMBER) or b"0") + 1
        cells.put(_NUMBER, str(first + len(several) - 1).encode())
        return [
            EvidenceGathered(
                at=cells.at,
                series=self.series,
                source_partition=partition,
                number=first + begin,
                drawings=several[begin : begin + MOST],
            )
            for begin in range(0, len(several), MOST)
        ]

    def _number_on(self, cells: Cells, partition: int, number: int) -> Iterable[Event]:
        """Go on from a number, and tell it, unless it has come."""
        last = int(cells.get(_NUMBER) or b"0")
        if number <= last:
            return ()
        cells.put(_NUMBER, str(number).encode())
        told = {"series": self.series, "source_partition": partition, "number": number + 1, "behind": last}
        return [EvidenceGathered.model_validate({**told, "at": cells.at, "drawings": []})]

    def close(self, partition: int) -> None:
        """Forget the partition."""
        self._steps.pop(partition, None)


def digits(label: int) -> NDArray[np.bool_]:
    """Return which digit a label is, shape (10,)."""
    return np.asarray(np.arange(DIGITS) == label)
