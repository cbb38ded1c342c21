"""Pairs what a champion and a version beside it said of the same drawings, as players draw them (way 3, OPERATE). Pure.

Only drawings count that chance picked and whose digit the server had asked for. Of others the digit is known if the player
says it, and players say it more often where the guess that they were shown is wrong: by these, every shadow would seem better.
A fold of examples.v1: the highest revision of a drawing counts, so twice is harmless.
"""

from collections import Counter
from collections.abc import Container, Iterable
from datetime import datetime
from uuid import UUID

from contracts.events import (
    CountedGuess,
    DrawingPicked,
    Event,
    ExampleLabelled,
    ExamplesForgotten,
    LiveBeside,
    ShownGuess,
)
from contracts.paired import People


class ShadowPairs:
    """The drawings that a champion and its shadow have both guessed."""

    def __init__(self, model: str, champion: str, shadow: str) -> None:
        """Begin with none."""
        self._model, self._champion, self._shadow = model, champion, shadow
        self._revisions: dict[UUID, int] = {}
        self._right: dict[UUID, tuple[str, bool, bool]] = {}
        """Whose each drawing is, and whether the champion and the shadow were right."""
        self._replaced: set[UUID] = set()

    def apply(self, event: Event) -> None:
        """Take in an event; one of another kind changes nothing."""
        match event:
            case ExampleLabelled() | DrawingPicked():
                self._count(event)
            case ExamplesForgotten():
                self._right = {one: told for one, told in self._right.items() if told[0] != event.player_id}
            case _:
                pass

    def _count(self, event: ExampleLabelled | DrawingPicked) -> None:
        asked = event.asked if not isinstance(event, ExampleLabelled) or event.gold else None
        if event.picked is None or asked is None or event.revision <= self._revisions.get(event.drawing_id, 0):
            return
        self._revisions[event.drawing_id] = event.revision
        if event.instead_of is not None:
            self._replaced.add(event.instead_of)
        champion, shadow = self._said(event.guesses, self._champion), self._said(event.guesses, self._shadow)
        if champion is not None and shadow is not None:
            self._right[event.drawing_id] = event.player_id, champion == asked, shadow == asked

    def _said(self, guesses: Iterable[ShownGuess | CountedGuess], version: str) -> int | None:
        """Return a version's guess, shown or not: of a canary and its champion the one that is not shown is a shadow."""
        return next((one.label for one in guesses if one.model == self._model and one.version == version), None)

    def live(self, tries: int, alpha: float, restricted: Container[str], since: datetime) -> LiveBeside:
        """Return what they say, as it is shown and kept with the version.

        Args:
            tries: The how-many-th look beside this champion it is; see `trainers.gate`.
            alpha: The chance of error that it may have.
            restricted: The players whom an operator has restricted, whenever that was: they judge nobody.
            since: From when on drawings count.
        """
        told = [one for drawing, one in self._right.items() if drawing not in self._replaced]
        told = [one for one in told if one[0] not in restricted]
        who = {player: place for place, player in enumerate(sorted({player for player, _, _ in told}))}
        people = People.of([who[one[0]] for one in told], [one[1] for one in told], [one[2] for one in told])
        low, high = people.sequence(2 * alpha)
        turned = Counter((champion, shadow) for _, champion, shadow in told)
        return LiveBeside(
            champion=self._champion,
            tries=tries,
            people=len(people),
            judged=len(told),
            won=turned[False, True],
            lost=turned[True, False],
            difference=people.difference,
            low=low,
            high=high,
            better=int((people.more > 0).sum()),
            worse=int((people.more < 0).sum()),
            chance=people.ever(),
            chance_worse=people.ever(-1),
            allowed=alpha,
            since=since,
        )
