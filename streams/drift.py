"""Detects drift: that a model errs more often than it did, or that what is drawn has changed (way 2, LEARN). Pure.

It folds evidence.v1, on one partition of which the labelled drawings of all players lie in one order. So what is detected is a
function of the log, however its records are taken in steps and whoever restarts; twice is harmless, since evidence is numbered.

Four kinds of things are watched, with one construction (`streams.change_detector`). What was usual is learned, and never a
constant, since players label mostly what was guessed wrong:

- each model's errors, as shown;
- the class mix: how often each digit is drawn;
- the ink: drawings with more or less of it than nine in ten had, for their digit;
- the embedding: drawings that lie further out than nine in ten did, in some direction or in all.

After a change all is learned anew from there: a change is told once, and not how long it lasts.

All newcomers together are one hand (`streams.evidence`), which counts once in `SPACING` drawings, whatever is watched. And it
is told how many hands a change takes: so those who happen to draw beside a few liars are not counted among them.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid5

import numpy as np
from numpy.typing import NDArray

from contracts.events import (
    DIGITS,
    NAMESPACE,
    PLAYER_PARTITIONS,
    DrawingEvidence,
    DriftDetected,
    DriftKind,
    Event,
    EvidenceGathered,
)
from contracts.ports import Cells, Origin
from contracts.roster import is_batch
from streams.change_detector import ALARM, ChangeDetector, DetectedChange, of_json
from streams.evidence import DIRECTIONS, NEWCOMERS, digits

RULES: Final = 3
"""The version of what is detected, and how: another one folds the evidence again."""
REFERENCE: Final = 200
"""How many drawings say what is usual of ink and embedding."""
_TAIL: Final = 0.1
"""The share of the usual drawings that count as unusual, at either end."""
_PULL: Final = 5.0
"""As how many drawings all digits together count in what is usual of one."""
SPACING: Final = 10
"""Of how many drawings in a row a player's ink and embedding count once: whoever draws several is no drift of all hands."""
_LATEST: Final = 256
"""Of how many drawings it is kept at most who drew them, when, and what held of them: of those of a bet that is winning."""
_REST: Final = 2.0
"""Up to this logarithm of their stake, other players' drawings are no evidence of a change: chance seldom brings more."""
CLASS_MIX: Final = "class-mix"
INK: Final = "ink"
EMBEDDING: Final = "embedding"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Reference:
    """What is usual of some measures, by the first `REFERENCE` drawings, and which later ones are not."""

    def __init__(self, measures: int, kept: dict[str, Any] | None = None) -> None:
        """Begin with nothing, or with what `kept` returned."""
        self.measures = measures
        self._first: list[list[int]] = [] if kept is None else kept["first"]
        """The digit and the measures of each of the first drawings, until there are enough."""
        self._usual: Any = None if kept is None or kept["usual"] is None else np.array(kept["usual"])
        """Shape (10, measures); None: it is not known yet."""
        self._bounds: Any = None if kept is None or kept["bounds"] is None else np.array(kept["bounds"])
        """Below and above which a drawing is unusual, shape (2, measures)."""

    def kept(self) -> dict[str, Any]:
        """Return the state as plain numbers."""
        usual, bounds = (None if one is None else one.tolist() for one in (self._usual, self._bounds))
        return {"first": self._first, "usual": usual, "bounds": bounds}

    def holds(self, label: int, values: Sequence[int]) -> list[NDArray[np.bool_]]:
        """Return of which measures the drawing lies above or below the usual, shape (2 * measures,).

        While it is being learned what is usual there is nothing to return; then all drawings that it was learned from.
        """
        if self._usual is not None:
            return [self._of(label, values)]
        self._first.append([label, *values])
        if len(self._first) < REFERENCE:
            return []
        first, self._first = np.array(self._first, np.float64), []
        labels, measured = first[:, 0].astype(int), first[:, 1:]
        of_all = measured.mean(axis=0)
        sums = np.zeros((DIGITS, self.measures))
        np.add.at(sums, labels, measured)
        counts = np.bincount(labels, minlength=DIGITS)[:, None]
        self._usual = (sums + _PULL * of_all) / (counts + _PULL)
        self._bounds = np.quantile(measured - self._usual[labels], [_TAIL, 1 - _TAIL], axis=0)
        return [self._of(int(one[0]), one[1:]) for one in first]

    def _of(self, label: int, values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.bool_]:
        away = np.asarray(values, np.float64) - self._usual[label]
        return np.concatenate([away > self._bounds[1], away < self._bounds[0]])


class Watched:
    """One thing that is watched: what was usual of it, the bets on a change, and the latest drawings."""

    def __init__(self, subject: str, kept: bytes | None) -> None:
        """Take up what a cell has kept; None: begin."""
        told = of_json(kept)
        self.subject = subject
        self.fed = 0 if told is None else int(told["fed"])
        """How many drawings were taken in."""
        self._latest: list[list[int]] = [] if told is None else told["latest"]
        """Of the latest that counted: the mark of who drew it, its partition, when it was drawn, in ms since 1970, its number
        here, and of which indicators it held, a bit each."""
        self._measures = {INK: 1, EMBEDDING: DIRECTIONS + 1}.get(subject, 0)
        self._begin(told)

    def _begin(self, told: dict[str, Any] | None) -> None:
        count = 2 * self._measures or (DIGITS if self.subject == CLASS_MIX else 1)
        self._detector = ChangeDetector(count, told and told["detector"])
        self._reference = Reference(self._measures, told and told["reference"]) if self._measures else None

    def cell(self) -> bytes:
        """Write the state."""
        reference = None if self._reference is None else self._reference.kept()
        told = {"fed": self.fed, "latest": self._latest, "detector": self._detector.kept(), "reference": reference}
        return json.dumps(told).encode()

    @property
    def kind(self) -> DriftKind:
        """The kind of drift that it would be."""
        match self.subject:
            case "class-mix" | "ink" | "embedding" as kind:
                return kind
        return "batch-errors" if is_batch(self.subject) else "online-errors"

    def take(
        self, drawing: DrawingEvidence, values: Sequence[int], partition: int, series: str, at: datetime
    ) -> Iterable[Event]:
        """Take in a drawing; return that something has changed, if it has.

        Args:
            drawing: The drawing.
            values: What was measured of it.
            partition: Where its player's examples are.
            series: The name of the drift that is detected.
            at: The time of the step.
        """
        self.fed += 1
        spaced = self._measures or drawing.mark == NEWCOMERS
        if spaced and any(one[0] == drawing.mark and one[3] > self.fed - SPACING for one in self._latest):
            return ()
        holds = self._holds(drawing.label or 0, values)
        bits = 0 if holds is None else sum(1 << int(one) for one in np.nonzero(holds)[0])
        drawn_ms = (drawing.drawn_at - _EPOCH) // timedelta(milliseconds=1)
        self._latest.append([drawing.mark, partition, drawn_ms, self.fed, bits])
        change = None if holds is None else self._detector.update(holds)
        if change is None:
            self._latest = self._latest[-max(SPACING, min(self._detector.winning, _LATEST)) :]
            return ()
        detected = self._detected(change, series, at)
        self._begin(None)
        return [detected]

    def _holds(self, label: int, values: Sequence[int]) -> NDArray[np.bool_] | None:
        """Return which indicators hold of a drawing; None: that is not known yet, or was only learned from."""
        if self.subject == CLASS_MIX:
            return digits(values[0])
        if self._reference is None:
            return np.array([bool(values[0])])
        several = self._reference.holds(label, values)
        if len(several) == 1:
            return several[0]
        for one in several:
            self._detector.learn(one)
        return None

    def _detected(self, change: DetectedChange, series: str, at: datetime) -> DriftDetected:
        since = self._latest[-change.n :]
        return DriftDetected(
            at=at,
            detection_id=uuid5(NAMESPACE, f"drift/{series}/{self.subject}/{self.fed}"),
            series=series,
            kind=self.kind,
            subject=self.subject,
            what=self._what(change.indicator),
            statistic=round(change.statistic, 3),
            threshold=ALARM,
            before=change.before,
            after=change.after,
            n=change.n,
            hands=hands([(mark, bool(bits >> change.indicator & 1)) for mark, *_, bits in since], change),
            by_partition=np.bincount([one[1] for one in since]).tolist(),
            began_at=_EPOCH + timedelta(milliseconds=since[0][2]),
            drawn_at=_EPOCH + timedelta(milliseconds=max(one[2] for one in since)),
        )

    def _what(self, indicator: int) -> str:
        if self.subject == CLASS_MIX:
            return f"drawings of a {indicator}"
        if self.subject == INK:
            return "drawings with much ink" if indicator == 0 else "drawings with little ink"
        if self.subject == EMBEDDING:
            direction, end = indicator % self._measures, "far" if indicator < self._measures else "near"
            where = "from the usual" if direction == DIRECTIONS else f"along direction {direction + 1}"
            return f"drawings {end} {where}"
        return "wrong guesses"


def hands(drawn: Iterable[tuple[int, bool]], change: DetectedChange) -> int:
    """Return how many hands a change takes: without the drawings of that many, the rest do not speak for it.

    Args:
        drawn: Of each drawing since it began, the mark of who drew it, and whether what has changed holds of it.
        change: The change.
    """
    said: dict[int, float] = {}
    for mark, holds in drawn:
        said[mark] = said.get(mark, 0.0) + (change.won if holds else change.lost)
    most, left = sorted(said.values(), reverse=True), sum(said.values())
    for taken, one in enumerate(most, 1):
        left -= one
        if left <= _REST:
            return taken
    return len(most)


class Drift:
    """The fold from evidence to the drift that it shows."""

    name = "drift"
    sources = ("evidence.v1",)

    def __init__(self, evidence: str) -> None:
        """Begin with nothing watched; ``evidence`` is the series of the evidence that counts, and any other is passed by."""
        self._evidence = evidence
        self.series = f"drift-{RULES} of {evidence}"
        """The name of the drift that this detects."""
        self.schema = self.series
        self._watched: dict[int, dict[str, Watched]] = {}
        self._changed: dict[int, set[str]] = {}

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Take up a partition; nothing is told again."""
        self._watched[partition], self._changed[partition] = {}, set()
        return ()

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Take in the drawings of a record that have not come yet; return the drift that they show.

        Raises:
            ValueError: If there is no such partition, or drawings are missing before these.
        """
        if not isinstance(event, EvidenceGathered) or event.series != self._evidence:
            return ()
        if event.source_partition >= PLAYER_PARTITIONS:
            raise ValueError(f"evidence of partition {event.source_partition}, of {PLAYER_PARTITIONS}")
        cell = f"source/{event.series}/{event.source_partition}"
        last = int(cells.get(cell) or b"0")
        if event.behind == last:
            cells.put(cell, str(max(last, event.number - 1)).encode())
        elif event.number > last + 1:
            raise ValueError(f"evidence from number {event.number} of partition {event.source_partition} came after {last}")
        news = event.drawings[max(0, last + 1 - event.number) :]
        if not news:
            return ()
        cells.put(cell, str(event.number + len(event.drawings) - 1).encode())
        said: list[Event] = []
        for drawing in news:
            for subject, values in _measured(drawing):
                watched = self._of(cells, origin.partition, subject)
                said += watched.take(drawing, values, event.source_partition, self.series, cells.at)
        return said

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Write what has changed."""
        for subject in sorted(self._changed[partition]):
            cells.put(f"subject/{subject}", self._watched[partition][subject].cell())
        self._changed[partition].clear()
        return ()

    def close(self, partition: int) -> None:
        """Forget the partition."""
        self._watched.pop(partition, None)
        self._changed.pop(partition, None)

    def _of(self, cells: Cells, partition: int, subject: str) -> Watched:
        here = self._watched[partition]
        if subject not in here:
            here[subject] = Watched(subject, cells.get(f"subject/{subject}"))
        self._changed[partition].add(subject)
        return here[subject]


def _measured(drawing: DrawingEvidence) -> Iterable[tuple[str, Sequence[int]]]:
    """Yield all that is watched of a drawing, and its measures."""
    for model, wrong in sorted(drawing.wrong.items()):
        yield model, [int(wrong)]
    if drawing.label is not None and drawing.ink is not None:
        yield CLASS_MIX, [drawing.label]
        yield INK, [drawing.ink]
        if len(drawing.directions) == DIRECTIONS + 1:
            yield EMBEDDING, drawing.directions
