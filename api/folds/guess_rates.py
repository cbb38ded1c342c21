"""Counts how many guesses each model makes in an hour (ways 1 and 3). Pure and bounded; it starts anew with the process.

It counts what comes while the process lives, by the minute of the guess. Twice is harmless for what it is for: a guess that is
sent again after a failure makes a rate of thousands larger by one.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final

from contracts.events import Event, GuessMade

MINUTES: Final = 60
"""How far back is counted, in minutes."""
LEAST_MINUTES: Final = 5
"""A rate of fewer minutes is none: a start's own probes, or a minute in which nobody played, would be made an hour."""


@dataclass(slots=True)
class _Minute:
    number: int = -1
    """The minute since 1970."""
    guesses: int = 0
    finished: int = 0


@dataclass(frozen=True, slots=True)
class GuessRate:
    """How much a model was asked lately."""

    minutes: int
    """Over how many minutes it was counted: up to `MINUTES`; 0: less than one."""
    guesses: int
    """All guesses within them: on previews, on probes and as a shadow too, since each is asked of the endpoint."""
    finished: int
    """The guesses on finished drawings that players were shown."""
    awake: tuple[bool, ...]
    """Of each of these minutes whether the model was asked within it, the oldest first."""

    @property
    def per_hour(self) -> float | None:
        """Guesses an hour; None: it was counted for less than `LEAST_MINUTES`."""
        return self.guesses * 60 / self.minutes if self.minutes >= LEAST_MINUTES else None

    @property
    def finished_per_hour(self) -> float | None:
        """The same of `finished`."""
        return self.finished * 60 / self.minutes if self.minutes >= LEAST_MINUTES else None


@dataclass(slots=True)
class GuessRates:
    """The guesses of each model, by minute."""

    takes: ClassVar[tuple[type[Event], ...]] = (GuessMade,)

    began: datetime
    """When counting began."""
    _of: dict[str, list[_Minute]] = field(default_factory=dict)

    def apply(self, guess: GuessMade) -> None:
        """Apply a guess; one that is older than what was counted meanwhile is left out."""
        number = int(guess.at.timestamp()) // 60
        minutes = self._of.get(guess.model)
        if minutes is None:
            minutes = self._of[guess.model] = [_Minute() for _ in range(MINUTES)]
        minute = minutes[number % MINUTES]
        if minute.number < number:
            minute.number, minute.guesses, minute.finished = number, 0, 0
        elif minute.number > number:
            return
        minute.guesses += 1
        if guess.final and guess.role != "shadow":
            minute.finished += 1

    def rate(self, model: str, at: datetime) -> GuessRate:
        """Return how much a model was asked in the minutes before a time, that of the time itself left out."""
        now = int(at.timestamp()) // 60
        n = min(MINUTES - 1, now - -(-int(self.began.timestamp()) // 60))
        numbers = range(now - max(0, n), now)
        there = {minute.number: minute for minute in self._of.get(model, ())}
        found = [there.get(number, _Minute()) for number in numbers]
        return GuessRate(
            minutes=len(numbers),
            guesses=sum(minute.guesses for minute in found),
            finished=sum(minute.finished for minute in found),
            awake=tuple(minute.guesses > 0 for minute in found),
        )
