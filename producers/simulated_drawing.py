"""Describes the drawings of a simulated player: about to be sent, and sent but not done with. Pure."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class OpenDrawing:
    """A finished drawing that still waits for an answer or an acknowledgement."""

    index: int
    label: int
    frame: bytes
    sent_at: float
    retry_at: float
    retries: int = 0
    saved: bool = False
    guesses: dict[str, int] = field(default_factory=dict)
    missed: set[str] = field(default_factory=set)
    """The models that gave no answer."""
    lead: str | None = None
    """The model that is shown first."""
    consensus: list[float] = field(default_factory=lambda: [0.0] * 10)
    judged: bool = False
    checked: bool = False
    """Whether the game has asked whether the guess was right."""
    correction_id: str | None = None
    correction: bytes = b""
    corrected_at: float = 0.0
    receipted: bool = False
    late: bool = False
    """Whether it waits for longer than the player's patience."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawing that a player is about to send: the previews with their times, then the finished drawing."""

    drawing_id: str
    index: int
    """The player's number in the whole run."""
    label: int
    previews: list[tuple[float, bytes]]
    """Seconds after pen down at human pace, and the frame."""
    frame: bytes
    duration_s: float
