"""Asks a player for digits, and decides which drawings are gold, and which are picked, to estimate accuracy by them (way 2).

Pure: chance and times are passed in. A question gives one gold drawing: the last that is of it, if its player adds a stroke.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from contracts.events import DIGITS

SECOND_THOUGHT_S: Final = 10.0
"""How long after a gold drawing another one may take its place, in seconds: crossed sevens take their time."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of a finished drawing."""

    gold: bool = False
    picked: float | None = None
    """The probability with which it was picked; None: it was not."""
    instead_of: UUID | None = None
    """The picked drawing that it takes the place of."""
    answers: bool = False
    """Whether it answers the question, so that the next one is due."""


UNASKED: Final = Decision()
"""Of a page that shows no questions."""


@dataclass(frozen=True, slots=True)
class _Gold:
    """The gold drawing of the question before."""

    drawing_id: UUID
    digit: int
    at: float
    decision: Decision


class Questions:
    """The questions on one socket."""

    def __init__(self, chance: Callable[[], float], pick: float) -> None:
        """Ask nothing yet.

        Args:
            chance: Returns a number from 0 up to, but not, 1, which nobody can foresee.
            pick: The probability with which a drawing is picked.
        """
        self._chance = chance
        self._pick = pick
        self._digit: int | None = None
        self._chosen = False
        """Whether the player wanted another digit than they were asked for: a drawing of this one is not gold."""
        self._gold: _Gold | None = None

    def ask(self, *, chosen: bool) -> int:
        """Return another digit than before, each with the same probability; ``chosen``: the player wanted another one."""
        before = DIGITS if self._digit is None else self._digit
        digit = int(self._chance() * (DIGITS - (before < DIGITS)))
        self._digit, self._chosen = digit + (digit >= before), chosen
        return self._digit

    def decide(self, drawing_id: UUID, asked: int | None, now: float, may: Callable[[float, bool], bool]) -> Decision:
        """Decide of a new drawing.

        Args:
            drawing_id: The drawing.
            asked: The digit that its player says they were asked for.
            now: When it came.
            may: Says whether a drawing may be picked, by what else was picked; True: one more was picked already for it.
        """
        gold = self._gold
        if gold is not None and asked == gold.digit and now - gold.at < SECOND_THOUGHT_S:
            if drawing_id == gold.drawing_id:
                return gold.decision
            if gold.decision.picked is not None and not may(now, True):
                return UNASKED
            instead_of = None if gold.decision.picked is None else gold.drawing_id
            decision = replace(gold.decision, instead_of=instead_of, answers=False)
            self._gold = _Gold(drawing_id, gold.digit, now, decision)
            return decision
        answers = asked is not None and asked == self._digit
        picked = self._pick if self._chance() < self._pick and may(now, False) else None
        decision = Decision(gold=answers and not self._chosen, picked=picked, answers=answers)
        if decision.gold and asked is not None:
            self._gold = _Gold(drawing_id, asked, now, replace(decision, answers=False))
        return decision
