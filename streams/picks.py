"""Counts how often each model was right on the drawings that chance picked (way 2, LEARN). Pure.

Players correct mostly what is wrong, so the scores of what they label are not the truth. Of picked drawings none is left out:
the digit is known if the server had asked for it, or if its player says it, and otherwise the drawing counts as one of which
nobody knows. Left out are drawings that a later one of the same question has taken the place of, and all of a player whom an
operator has restricted, until they are pardoned. Counts are kept by the probability of the pick, since each drawing stands for
one over it. They are a function of the set of the newest revisions and restrictions, whatever order these came in.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from contracts.events import DIGITS, PICK_WINDOW_S, PICK_WINDOWS, WINDOW_S, PicksCounted, PickStratum
from contracts.ports import Cells
from streams.counted import Counted, Marked, Slot, Total, totals, write_counts

_INDEX: Final = "picks"
_PREFIX: Final = "picks/"
_WINDOWS: Final = PICK_WINDOW_S // WINDOW_S
"""How many windows of the scores make one of the picks."""


class PickCounts:
    """The counts of one total or one window: by stratum, all drawings, and the confusion matrix of those that are known."""

    def __init__(self, kept: bytes | None) -> None:
        """Read the counts from a cell; nothing is counted where it is empty."""
        read: dict[str, Any] = {"window": 0, "strata": []} if kept is None else json.loads(kept)
        self.window: int = read["window"]
        self._strata: dict[tuple[float, bool], list[int]] = {(picked, gold): counts for picked, gold, counts in read["strata"]}

    def restart(self, window: int) -> None:
        """Count a newer window from nothing."""
        self.window, self._strata = window, {}

    def move(self, guess: Marked, before: Counted | None, after: Counted) -> None:
        """Count a guess as ``after`` says and no longer as ``before`` says; None: the guess was not there.

        What chance and the server decided of a drawing never changes, so it stays in its stratum.
        """
        if after.picked is None:
            raise AssertionError("only what was picked is counted")
        counts = self._strata.setdefault((after.picked, after.asked is not None), [0] * (1 + DIGITS * DIGITS))
        for one, times in ((before, -1), (after, 1)):
            if one is not None and one.counts:
                counts[0] += times
                if one.digit is not None:
                    counts[1 + one.digit * DIGITS + guess.label] += times

    def cell(self) -> bytes:
        """Write the counts as their cell."""
        strata = [[picked, gold, counts] for (picked, gold), counts in self._told()]
        return json.dumps({"window": self.window, "strata": strata}).encode()

    def event(self, of: Total | Slot, source: int, at: datetime) -> PicksCounted:
        """Return the counts as an event of the time ``at``."""
        return PicksCounted(
            at=at,
            model=of.model,
            version=of.version if isinstance(of, Total) else None,
            window=None if isinstance(of, Total) else datetime.fromtimestamp(self.window * PICK_WINDOW_S, UTC),
            source=source,
            strata=[
                PickStratum(picked=picked, gold=gold, n=counts[0], confusion=counts[1:])
                for (picked, gold), counts in self._told()
            ],
        )

    def _told(self) -> list[tuple[tuple[float, bool], list[int]]]:
        """Return the strata that have a drawing: what came and went leaves no trace."""
        return sorted((stratum, counts) for stratum, counts in self._strata.items() if counts[0])


Changed = dict[Total | Slot, PickCounts]
"""The counts that a step has changed, in the order of change."""


def count_pick(cells: Cells, step: Changed, before: Counted, after: Counted) -> None:
    """Count a revision of a picked drawing in place of the one before."""
    window = after.window // _WINDOWS
    for guess in after.guesses:
        was = before if guess in before.guesses else None
        if was is not None and (was.digit, was.counts) == (after.digit, after.counts):
            continue
        total = Total(guess.model, guess.version)
        if total not in step:
            step[total] = _kept(cells, total)
        step[total].move(guess, was, after)
        if guess.hidden:
            continue
        slot = Slot(guess.model, window % PICK_WINDOWS)
        counts = step[slot] if slot in step else _kept(cells, slot)
        if window < counts.window:
            continue  # an hour has passed over it
        step[slot] = counts
        if window > counts.window:
            counts.restart(window)
            was = None
        counts.move(guess, was, after)


class PlayersPicks:
    """The picked drawings of a player, and whether an operator has restricted the player.

    A drawing has a cell of its own, so that a pick costs the same however many there were.
    """

    def __init__(self, cells: Cells, player_id: str) -> None:
        """Read the cell."""
        self._cells, self._player = cells, f"of/{player_id}"
        kept = cells.get(f"picks/{self._player}")
        read: list[Any] = [0, False] if kept is None else json.loads(kept)
        self._count: int = read[0]
        self.restricted: bool = read[1]

    def add(self, drawing_id: UUID) -> None:
        """Add a picked drawing."""
        self._cells.put(f"picks/{self._count}/{self._player}", str(drawing_id).encode())
        self._count += 1
        self._put()

    def restrict(self, restricted: bool) -> list[str]:
        """Restrict the player, or lift that; return the drawings for which it is new."""
        if restricted == self.restricted:
            return []
        self.restricted = restricted
        self._put()
        return [(self._cells.get(f"picks/{n}/{self._player}") or b"").decode() for n in range(self._count)]

    def drop(self) -> None:
        """Drop the cells: the player is forgotten."""
        for n in range(self._count):
            self._cells.drop(f"picks/{n}/{self._player}")
        self._cells.drop(f"picks/{self._player}")

    def _put(self) -> None:
        self._cells.put(f"picks/{self._player}", json.dumps([self._count, self.restricted]).encode())


def picks_again(cells: Cells, partition: int) -> list[PicksCounted]:
    """Return the totals of a partition that is taken up."""
    return [_kept(cells, total).event(total, partition, cells.at) for total in totals(cells, _INDEX)]


def settled(cells: Cells, step: Changed, partition: int) -> Iterable[PicksCounted]:
    """Write the counts that a step has changed; return them, each once."""
    write_counts(cells, _INDEX, _PREFIX, step)
    return [counts.event(of, partition, cells.at) for of, counts in step.items()]


def _kept(cells: Cells, of: Total | Slot) -> PickCounts:
    return PickCounts(cells.get(_PREFIX + of.cell))
