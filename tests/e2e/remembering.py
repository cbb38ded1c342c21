"""Remembers what players have said on the `Stage`, and tells it as the router and the personal fold do."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.events import PERSONAL_MODEL, CorrectionGiven, DrawingSubmitted, MemoryTold, RememberedDrawing, now

SHARED: Final = "river"


@dataclass
class Remembering:
    """By player, each drawing with its label and what the models were shown to say of it."""

    players: dict[str, dict[UUID, RememberedDrawing]] = field(default_factory=dict)
    resets: dict[str, datetime] = field(default_factory=dict)
    _said: dict[UUID, dict[str, int]] = field(default_factory=dict)

    def guessed(self, drawing: DrawingSubmitted, says: dict[str, int]) -> None:
        """Note what the models say of a finished drawing."""
        self._said.setdefault(drawing.drawing_id, dict(says))

    def corrected(self, correction: CorrectionGiven) -> None:
        """Remember the drawing with the label."""
        self.players.setdefault(correction.player_id, {})[correction.drawing_id] = RememberedDrawing(
            drawing_id=correction.drawing_id,
            drawn_at=correction.at,
            label=correction.label,
            bits=bytes(97) + b"\x01",
            said=self._said.get(correction.drawing_id, {}),
        )

    def reset(self, player_id: str) -> None:
        """Forget what a player has said."""
        self.players.pop(player_id, None)
        self.resets[player_id] = now()

    def told(self, player_id: str, request_id: UUID, *, whole: bool = False) -> MemoryTold:
        """Tell what is remembered of a player."""
        drawings = list(self.players.get(player_id, {}).values())
        compared = [(one.said.get(PERSONAL_MODEL) == one.label, one.said.get(SHARED) == one.label) for one in drawings]
        return MemoryTold(
            request_id=request_id,
            player_id=player_id,
            version=f"own3+{len(drawings)}",
            lessons=len(drawings),
            most=256,
            size=200 * len(drawings),
            both=len(drawings),
            own_alone=compared.count((True, False)),
            shared_alone=compared.count((False, True)),
            reset_until=self.resets.get(player_id),
            drawings=drawings if whole else None,
            at=now(),
        )
