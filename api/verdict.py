"""A verdict on the game's health: how it is, and what is missing (ways 1 and 2). Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How the game is."""

    OK = "ok"
    """A drawing is answered by every model that is shown, and a correction is learned."""
    DEGRADED = "degraded"
    """It can be played; what is missing is named."""
    UNAVAILABLE = "unavailable"
    """It cannot be played."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the game is, and why."""

    status: Status
    missing: dict[str, str]
    """What is missing, and the cause."""
    since: float
    """The time of the oldest answer that it stands on, in seconds of the clock."""

    @property
    def reason(self) -> str:
        """In one line."""
        told = "; ".join(f"{name}: {why}" for name, why in self.missing.items())
        return told or "a drawing is answered by every model that is shown, and a correction is learned"
