"""Defines the verdict on the game's health: its status, and what is missing (ways 1 and 2). Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The status of the game."""

    OK = "ok"
    """A drawing is answered by every model that is shown, and a correction is learned."""
    DEGRADED = "degraded"
    """The game can be played, but something is missing."""
    UNAVAILABLE = "unavailable"
    """The game cannot be played."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The game's status, and why."""

    status: Status
    missing: dict[str, str]
    """What is missing, and the cause."""
    since: float
    """The time of the oldest answer behind the verdict, in seconds of the clock."""

    @property
    def reason(self) -> str:
        """Say in one line what is missing and why."""
        told = "; ".join(f"{name}: {why}" for name, why in self.missing.items())
        return told or "a drawing is answered by every model that is shown, and a correction is learned"
