"""Defines the options of a simulation: how many players there are, and how they play (ways 1 and 2)."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from producers.handwriting import PEN_DATA

_PACE_S = 4.0  # how often a player draws, at human pace


class SimulationOptions(BaseModel):
    """The options of a simulation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = "http://127.0.0.1:8000"
    """The address of the game."""
    token: str | None = Field(None, repr=False)
    """The operators' token, which lifts the limits of the address that all players share; None: the limits hold."""
    players: int = Field(30, ge=1, le=1000)
    drawings: int = Field(6000, ge=1)
    """How many drawings all players make together."""
    speed: float = Field(1.0, ge=0)
    """1: human pace, a drawing every 4 s per player, answered or not; N: N times that; 0: as fast as answers come."""
    correct_probability: float = Field(0.9, ge=0, le=1)
    """The probability that a wrong guess is corrected."""
    confirm_probability: float = Field(0.9, ge=0, le=1)
    """The probability that a right guess is confirmed."""
    answer_probability: float = Field(0.9, ge=0, le=1)
    """The probability that a player says what it was when the game asks whether the guess was right."""
    delay_s: float = Field(1.0, ge=0)
    """Seconds from the last guess to the player's correction at human pace; shortened with `speed`, and 0 at speed 0."""
    error_rate: float = Field(0.01, ge=0, le=1)
    """The probability that a player's label is wrong."""
    previews: int = Field(2, ge=0, le=10)
    """How many previews are sent before each finished drawing."""
    duplicates: float = Field(0.01, ge=0, le=1)
    """The probability that a message is sent twice."""
    patience_s: float = Field(30.0, gt=0)
    """Seconds after which a drawing that is not saved, answered and receipted is counted as unfinished."""
    late_s: float = Field(0.0, ge=0)
    """Seconds beyond `patience_s` for which a drawing is waited for; it counts as late then, and not as unfinished."""
    seed: int = 20181103
    data: Path = PEN_DATA

    @property
    def pace_s(self) -> float:
        """Return the seconds between two drawings of a player; 0: the next follows the answers."""
        return _PACE_S / self.speed if self.speed else 0.0
