"""Folds receipts into what became of each player's corrections: operators look for those who mean harm (way 3, OPERATE).

Pure and bounded: who taught longest ago is forgotten first, and of a player's receipts the newest count. Twice is harmless: a
correction counts once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

from pydantic import BaseModel

from contracts.events import CorrectionReceipt, Event, Outcome, Restriction

MOST: Final = 2000
"""How many players are known at most."""
NEWEST: Final = 50
"""How many of a player's corrections count, the newest."""


class PlayerTeaching(BaseModel):
    """What became of a player's newest corrections in the shared model, and whether the player is restricted."""

    player_id: str
    corrections: int = 0
    learned: int = 0
    weighted: int = 0
    """How many counted less than others."""
    set_aside: int = 0
    last: datetime | None = None
    """When the last one was receipted; None: none lately."""
    restriction: Restriction = "none"


class Teachers:
    """The players whose corrections were receipted lately."""

    takes: ClassVar[tuple[type[Event], ...]] = (CorrectionReceipt,)

    def __init__(self) -> None:
        """Start empty."""
        self._outcomes: dict[str, dict[UUID, Outcome]] = {}
        """By player and correction; the player of the last receipt is the last."""
        self._last: dict[str, datetime] = {}

    def apply(self, receipt: CorrectionReceipt) -> None:
        """Count a receipt that says how much a lesson counts; others concern no shared model."""
        if receipt.weight is None:
            return
        outcomes = self._outcomes[receipt.player_id] = self._outcomes.pop(receipt.player_id, {})
        outcomes[receipt.correction_id] = receipt.outcome
        if len(outcomes) > NEWEST:
            del outcomes[next(iter(outcomes))]
        self._last[receipt.player_id] = receipt.at
        if len(self._outcomes) > MOST:
            gone = next(iter(self._outcomes))
            del self._outcomes[gone], self._last[gone]

    def forget(self, player_id: str) -> None:
        """Forget a player."""
        self._outcomes.pop(player_id, None)
        self._last.pop(player_id, None)

    @property
    def known(self) -> set[str]:
        """The players of whom something is remembered."""
        return set(self._outcomes)

    def players(self, restrictions: Mapping[str, Restriction]) -> list[PlayerTeaching]:
        """Return the players, those first of whom the most was set aside; ``restrictions``: who is restricted."""
        known = {player: self._of(player, outcomes) for player, outcomes in self._outcomes.items()}
        for player, restriction in restrictions.items():
            known[player] = known.get(player, PlayerTeaching(player_id=player)).model_copy(update={"restriction": restriction})
        return sorted(known.values(), key=lambda one: (-one.set_aside, -one.weighted, -one.corrections, one.player_id))

    def _of(self, player_id: str, outcomes: Mapping[UUID, Outcome]) -> PlayerTeaching:
        said = list(outcomes.values())
        return PlayerTeaching(
            player_id=player_id,
            corrections=len(said),
            learned=said.count(Outcome.LEARNED),
            weighted=said.count(Outcome.WEIGHTED),
            set_aside=said.count(Outcome.QUARANTINED),
            last=self._last.get(player_id),
        )
