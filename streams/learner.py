"""Learns online: makes lessons of examples, and takes them back (way 2, LEARN). Pure: events in, events out.

Each drawing has at most one lesson in force, that of its latest label. A changed label takes the old lesson out and puts the
new one in; a withdrawn one takes it out. How much each counts follows from all that the player has taught (`streams.trust`),
and is changed in the same way. So the lessons in force are a function of the set of the latest revisions of examples, whatever
order they came in, and so is the model, which is their sum (`streams.online_model`). Twice is harmless: a revision at or below
the one that is held changes nothing, and each correction gets one receipt.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
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
    ExamplesForgotten,
    LessonProbed,
    LessonsCut,
    LessonsForgotten,
    LessonsRestricted,
    LessonTakenBack,
    LessonTaught,
    ModelChange,
    Outcome,
    PlayerRestricted,
    StageForgot,
)
from contracts.ports import Cells, Origin
from contracts.roster import is_batch
from streams.additive import EIGHTHS, Floats
from streams.online_base import Base
from streams.online_model import SHARED, Answering, features_of, newcomers_share, of_base
from streams.player_memory import ROWS_A_CELL, Rows, place_of, putting
from streams.shown_labels import NONE
from streams.taught import ROW, changed, drawing_of, drop, read, taught_by, taught_row, write
from streams.trust import KEPT, TRUST, judged, weigh

_LOADED: Final = 16_384
"""How many drawings of a partition's players are held in memory, those of the latest players: some 5 MB at most."""
_NUMBER: Final = "number"
NEW: Final = "your first answers count little for everybody's model, until it has seen some clear drawings of yours"
"""Why a newcomer's lesson counts little, as players are told."""
UNLIKE: Final = "it counts less for everybody's model, since your answers to drawings like this are unlike most people's"
"""Why another's does."""
ENOUGH: Final = "everybody's model learns your newest drawings, and this is an older one"
"""Why an old drawing of somebody with very many does not count."""
OVER: Final = "everybody's model learns so many answers a minute from one player and one network, and this came on top"
"""Why the lesson of a label that came over the quota does not count."""
FROZEN: Final = "everybody's model learns nothing at the moment, and this counts as soon as it does again"
"""Why a lesson changes nothing yet, while the model's learning is frozen."""
HELD: Final = "an operator has set your answers aside for everybody's model"
"""Why the lesson of a player who is restricted does not count."""


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


@dataclass(frozen=True, slots=True)
class _Change:
    """What an event has changed of what a player has taught."""

    rows: Rows
    """All rows of the player, after it."""
    places: set[int]
    """The rows that are others now."""
    lessons: list[LessonTaught]
    """The lessons that are taught and taken back, in order."""


class Learner:
    """The fold from examples to lessons, and to the receipts of what each changed."""

    name = "learner"
    sources = ("examples.v1",)

    def __init__(self, base: Base, in_force: Callable[[], Answering] | None = None) -> None:
        """Build a learner.

        Args:
            base: The base of the online model.
            in_force: Returns what answers as the online model now, for the receipts; None: the base.
        """
        self._base = base
        self._in_force: Callable[[], Answering] = cache(lambda: of_base(base)) if in_force is None else in_force
        made_of = sha256(repr((ROW.descr, ROWS_A_CELL)).encode()).hexdigest()[:16]
        judge = sha256(base.judge.tobytes()).hexdigest()[:8]
        self.series = f"sums-1 {base.reader}, trust {TRUST} by {judge}"
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
        here = self._partitions[origin.partition]
        if isinstance(event, PlayerRestricted):
            cells.put(f"restriction/{event.player_id}", event.restriction.encode())
            rows = here.player(event.player_id)
            changed = self._weighed(cells, event.player_id, rows, rows, here.number)
            self._keep(here, event.player_id, changed)
            told = LessonsRestricted(player_id=event.player_id, series=self.series, number=here.number, at=cells.at)
            return changed.lessons if event.restriction == "none" or not len(rows) else [*changed.lessons, told]
        if isinstance(event, ExamplesForgotten):
            return self._forget(cells, event, here)
        if isinstance(event, LessonsCut):
            return self._number_on(event, here)
        if not isinstance(event, ExampleLabelled) or event.features is None:
            return ()
        rows = here.player(event.player_id)
        features = features_of(self._base, event.features.embedding, event.features.reader)
        row = taught_row(event, np.frombuffer(event.features.embedding, "<f4"))
        place = place_of(rows, row)
        was = rows[place : place + 1]
        if len(was) and event.revision <= was["revision"][0]:
            return ()
        row["said"], row["sure"] = judged(self._base.judge, features)
        if len(was) and was["label"] == row["label"]:  # a lesson is taken back as it was taught
            for name in ("taught", "embedding", "said", "sure"):
                row[name] = was[name]
        changed = self._weighed(cells, event.player_id, rows, putting(rows, place, row), here.number)
        said: list[Event] = [*changed.lessons]
        if event.label is not None and not (len(was) and np.array_equal(was["correction"], row["correction"])):
            now, why = changed.rows[place : place + 1], _why(cells, event.player_id, changed.rows, place)
            said.append(self._receipt(event, features, was, now, changed.lessons, why, cells.at))
        changed.places.add(place)
        self._keep(here, event.player_id, changed)
        return said

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Do nothing: all is written and published already."""
        return ()

    def _forget(self, cells: Cells, event: ExamplesForgotten, here: _Partition) -> list[Event]:
        """Take all lessons of a player back, drop what they have taught, and say so."""
        rows = here.player(event.player_id)
        nothing = rows.copy()
        nothing["label"] = NONE
        taken = self._weighed(cells, event.player_id, rows, nothing, here.number)
        self._keep(here, event.player_id, taken)
        drop(cells, event.player_id)
        cells.drop(f"restriction/{event.player_id}")
        here.players.pop(event.player_id, None)
        forgot = StageForgot(forget_id=event.forget_id, player_id=event.player_id, stage="learner", at=cells.at)
        return [*taken.lessons, forgot]

    def _number_on(self, event: LessonsCut, here: _Partition) -> list[Event]:
        """Go on from the number that the event gives, and tell which lessons are missing on the log, and why."""
        forgotten = LessonsForgotten(**event.model_dump(exclude={"type", "at"}), offset=here.number, at=here.cells.at)
        if event.series == self.series:
            here.number = max(here.number, event.number)
            here.cells.put(_NUMBER, str(here.number).encode())
        return [forgotten]

    def _weighed(self, cells: Cells, player_id: str, before: Rows, rows: Rows, number: int) -> _Change:
        """Weigh a player's lessons anew; return what is taught and taken back by it.

        Args:
            cells: The partition's.
            player_id: The player.
            before: The rows with the lessons that are in force.
            rows: The rows as they are now, with all in the same places.
            number: The number of the partition's last lesson.
        """
        after = rows.copy()
        after["eighths"], after["known"] = weigh(after, after["embedding"])
        if _restricted(cells, player_id):
            after["eighths"] = 0
        change = _Change(after, changed(before, after), [])
        for place in sorted(change.places):
            for kind, row in ((LessonTakenBack, before[place : place + 1]), (LessonTaught, after[place : place + 1])):
                if _lesson(row) is not None:
                    next_number = number + len(change.lessons) + 1
                    change.lessons.append(self._lesson(kind, player_id, row, next_number, cells.at))
        return change

    def _keep(self, here: _Partition, player_id: str, change: _Change) -> None:
        """Write what has changed."""
        write(here.cells, player_id, change.rows, change.places)
        if change.lessons:
            here.cells.put(_NUMBER, str(here.number + len(change.lessons)).encode())
        here.number += len(change.lessons)
        here.keep(player_id, change.rows)

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
            newcomer=not row["known"][0],
        )

    def _receipt(
        self,
        example: ExampleLabelled,
        features: Floats,
        was: Rows,
        row: Rows,
        lessons: Sequence[LessonTaught],
        why: str,
        at: datetime,
    ) -> CorrectionReceipt:
        """Make the receipt: what the model gave the label as it answers now, and what it gives after this lesson alone.

        Args:
            example: The example.
            features: Its features, shape (width,).
            was: The row of its drawing before, of shape (1,); (0,): there was none.
            row: The row after, shape (1,).
            lessons: All that was taught and taken back.
            why: Why the lesson counts less than others, if it does.
            at: The time of the receipt.
        """
        if example.label is None or example.features is None:
            raise AssertionError("a withdrawal has no receipt of the learner")
        now = self._in_force()
        newcomers = now.newcomers + sum(lesson.sign for lesson in lessons if lesson.newcomer)
        before, after = _counted(was, now.newcomers), _counted(row, newcomers)
        weight = 0.0 if after is None else after[1] / EIGHTHS
        p_before, p_after = now.given(np.frombuffer(example.features.embedding, "<f4"), features, example.label, before, after)
        versions = {"version_before": now.version, "version_after": now.after(len(lessons))}
        change = ModelChange(**versions, p_before=p_before, p_after=p_after)
        outcome = Outcome.QUARANTINED if weight == 0 else Outcome.WEIGHTED if weight < 1 else Outcome.LEARNED
        waits = now.frozen and weight > 0
        reasons = [*(() if outcome is Outcome.LEARNED else (why,)), *((FROZEN,) if waits else ())]
        return CorrectionReceipt(
            at=at,
            correction_id=example.correction_id,
            drawing_id=example.drawing_id,
            player_id=example.player_id,
            outcome=outcome,
            weight=weight,
            why="; ".join(reasons),
            frozen=waits,
            rules=TRUST,
            models={SHARED: change, **_unchanged(example, example.label)},
        )


def _restricted(cells: Cells, player_id: str) -> bool:
    return cells.get(f"restriction/{player_id}") not in (None, b"none")


def _why(cells: Cells, player_id: str, rows: Rows, place: int) -> str:
    """Return why the lesson at a place counts less than others, if it does."""
    if _restricted(cells, player_id):
        return HELD
    if rows["over"][place]:
        return OVER
    if not rows["known"][place]:
        return NEW
    newer = np.count_nonzero((rows["at"] > rows["at"][place]) & (rows["label"] != NONE))
    return ENOUGH if newer >= KEPT else UNLIKE


def _lesson(row: Rows) -> tuple[int, int, bool] | None:
    """Return label, weight in eighths and whether it counts by itself, of the lesson of a row; None: it has none, or no row."""
    if not len(row) or row["label"][0] == NONE or row["eighths"][0] == 0:
        return None
    return int(row["label"][0]), int(row["eighths"][0]), bool(row["known"][0])


def _counted(row: Rows, newcomers: int) -> tuple[int, float] | None:
    """Return the label and the weight in eighths with which the lesson of a row counts among so many of newcomers."""
    lesson = _lesson(row)
    if lesson is None:
        return None
    label, eighths, known = lesson
    return label, eighths if known else eighths * newcomers_share(newcomers)


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
