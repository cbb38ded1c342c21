"""Counts how often each model was right (way 2, LEARN). Pure: events in, events out.

The guess that was shown is scored, never a new one. What a drawing has added to the counts is kept with it, so that a later
revision can replace it. Twice is harmless: a revision at or below the counted one changes nothing.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from contracts.events import (
    DIGITS,
    LATENCY_BUCKETS_MS,
    WINDOW_S,
    WINDOWS,
    DrawingPicked,
    Event,
    ExampleLabelled,
    ExamplesForgotten,
    LessonsCut,
    PlayerRestricted,
    ScoresCounted,
    StageForgot,
)
from contracts.ports import CUT, Cells, Origin
from streams.counted import Counted, Marked, Slot, Total, counted, totals, write_counts
from streams.picks import Changed, PlayersPicks, count_pick, picks_again, settled

_INDEX: Final = "totals"
_CELLS_OF_CONFUSION: Final = DIGITS * DIGITS


class ScoreCounts:
    """Counts of one total or one window, as one array: the window, n, correct, confusion, latency."""

    def __init__(self, kept: bytes | None) -> None:
        """Read the counts from a cell; zeros where it is empty."""
        size = 3 + _CELLS_OF_CONFUSION + len(LATENCY_BUCKETS_MS) + 1
        self._counts: NDArray[np.int64] = np.zeros(size, np.int64) if kept is None else np.frombuffer(kept, np.int64).copy()

    @property
    def window(self) -> int:
        """Number of the window that is counted; 0 on a total."""
        return int(self._counts[0])

    def restart(self, window: int) -> None:
        """Count a newer window from nothing."""
        self._counts[:] = 0
        self._counts[0] = window

    def move(self, guess: Marked, before: int | None, after: int | None) -> None:
        """Count a guess under the label ``after`` and no longer under ``before``; None: under none."""
        for label, times in ((before, -1), (after, 1)):
            if label is not None:
                self._counts[1] += times
                self._counts[2] += times * (label == guess.label)
                self._counts[3 + label * DIGITS + guess.label] += times
                self._counts[3 + _CELLS_OF_CONFUSION + guess.bucket] += times

    def cell(self) -> bytes:
        """Write the counts as their cell."""
        return self._counts.tobytes()

    def scores(self, model: str, version: str | None, source: int, at: datetime) -> ScoresCounted:
        """Return the counts as an event of the time ``at``."""
        counts = self._counts.tolist()
        return ScoresCounted(
            at=at,
            model=model,
            version=version,
            window=datetime.fromtimestamp(counts[0] * WINDOW_S, UTC) if version is None else None,
            source=source,
            n=counts[1],
            correct=counts[2],
            confusion=counts[3 : 3 + _CELLS_OF_CONFUSION],
            latency=counts[3 + _CELLS_OF_CONFUSION :],
        )


class Scorer:
    """The fold from examples to scores."""

    name = "scorer"
    schema = f"scorer 4, windows {WINDOWS} x {WINDOW_S} s, digits {DIGITS}, ms {LATENCY_BUCKETS_MS}"
    sources = ("examples.v1",)

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._steps: dict[int, dict[Total | Slot, ScoreCounts]] = {}
        """The counts that the current step has changed, by partition, in the order of change."""
        self._picks: dict[int, Changed] = {}
        """In the same way, those of picked drawings."""

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Publish the totals again: they are absolute, so this costs nothing but a few messages."""
        self._steps[partition], self._picks[partition] = {}, {}
        scores = [_scores(ScoreCounts(cells.get(total.cell)), total, partition, cells.at) for total in totals(cells, _INDEX)]
        return [*scores, *picks_again(cells, partition)]

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Count a drawing's newest revision, or no longer count a player's; the counts are published with the step."""
        picks = self._picks[origin.partition]
        if isinstance(event, PlayerRestricted):
            restricted = event.restriction != "none"
            for drawing_id in PlayersPicks(cells, event.player_id).restrict(restricted):
                _leave_out(cells, picks, drawing_id, restricted=restricted)
            return ()
        if isinstance(event, ExamplesForgotten):
            for forgotten_id in event.examples:
                self._forget(cells, _cell(forgotten_id), origin.partition)
            PlayersPicks(cells, event.player_id).drop()
            return [StageForgot(forget_id=event.forget_id, player_id=event.player_id, stage="scorer", at=cells.at)]
        if isinstance(event, LessonsCut):
            cells.put(CUT, b"")
        if not isinstance(event, ExampleLabelled | DrawingPicked):
            return ()
        before = _kept(cells, event.drawing_id)
        if event.revision <= before.revision:
            return ()
        after = counted(event)
        if before.revision:  # chance decided of a drawing when it came first
            after = after.model_copy(update={"picked": before.picked, "asked": before.asked})
        after.replaced, after.restricted = before.replaced, before.restricted
        if not before.revision and after.picked is not None:
            player = PlayersPicks(cells, event.player_id)
            player.add(event.drawing_id)
            after.restricted = player.restricted
            if event.instead_of is not None:
                _leave_out(cells, picks, event.instead_of, replaced=True)
        cells.put(_cell(event.drawing_id), after.model_dump_json(exclude_defaults=True).encode())
        if after.labelled:
            _recount(cells, self._steps[origin.partition], before if before.labelled else Counted(), after)
        if after.picked is not None:
            count_pick(cells, picks, before, after)
        return ()

    def _forget(self, cells: Cells, cell: str, partition: int) -> None:
        """Take a drawing out of the counts, and drop its cell. A window that it has begun stays, with nothing of it counted."""
        if (kept := cells.get(cell)) is not None:
            before = Counted.model_validate_json(kept)
            if before.labelled:
                _recount(cells, self._steps[partition], before, before.model_copy(update={"label": None}))
            if before.picked is not None:
                count_pick(cells, self._picks[partition], before, before.model_copy(update={"restricted": True}))
            cells.drop(cell)

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Publish the counts that changed, each once however many examples changed them."""
        changed, self._steps[partition] = self._steps[partition], {}
        write_counts(cells, _INDEX, "", changed)
        scores = [_scores(tally, counts, partition, cells.at) for counts, tally in changed.items()]
        picks, self._picks[partition] = self._picks[partition], {}
        return [*scores, *settled(cells, picks, partition)]

    def close(self, partition: int) -> None:
        """Forget the partition."""
        self._steps.pop(partition, None)
        self._picks.pop(partition, None)


def _cell(drawing_id: UUID | str) -> str:
    return f"example/{drawing_id}"


def _kept(cells: Cells, drawing_id: UUID | str) -> Counted:
    kept = cells.get(_cell(drawing_id))
    return Counted() if kept is None else Counted.model_validate_json(kept)


def _leave_out(cells: Cells, step: Changed, drawing_id: UUID | str, **why: bool) -> None:
    """Leave a picked drawing out of the picks, or take it in again; it need not have come yet."""
    before = _kept(cells, drawing_id)
    after = before.model_copy(update=why)
    cells.put(_cell(drawing_id), after.model_dump_json(exclude_defaults=True).encode())
    if after.picked is not None:
        count_pick(cells, step, before, after)


def _recount(cells: Cells, step: dict[Total | Slot, ScoreCounts], before: Counted, after: Counted) -> None:
    """Move a drawing's guesses from the label before to the label after, in the counts of the step.

    A guess never changes, since a model answers a drawing once: only labels change, and guesses are added. A guess makes its
    window even while there is no label: which windows there are must not depend on whether a label came and went.
    """
    for guess in after.guesses:
        was = guess in before.guesses
        if was and before.label == after.label:
            continue
        total = Total(guess.model, guess.version)
        if total not in step:
            step[total] = ScoreCounts(cells.get(total.cell))
        step[total].move(guess, before.label if was else None, after.label)
        if guess.hidden:
            continue
        slot = Slot(guess.model, after.window % WINDOWS)
        tally = step[slot] if slot in step else ScoreCounts(cells.get(slot.cell))
        if after.window < tally.window:
            continue  # an hour has passed over it
        step[slot] = tally
        if after.window > tally.window:
            tally.restart(after.window)
            was = False
        tally.move(guess, before.label if was else None, after.label)


def _scores(tally: ScoreCounts, counts: Total | Slot, partition: int, at: datetime) -> ScoresCounted:
    return tally.scores(counts.model, counts.version if isinstance(counts, Total) else None, partition, at)
