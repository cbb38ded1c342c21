"""Folds the codes by which another device takes a player's seat: which are open, and who was first to give one (ways 1 and 2).

Every process of the API folds the same topic, which has one partition, so all agree who was first. Pure and bounded: the oldest
code is forgotten first. Twice is harmless: an offer and a claim that came before change nothing. A claim that was given back
leaves the code to the next one; so a code is used up by who takes the seat, and by nobody else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar, Final
from uuid import UUID

from cachetools import FIFOCache

from contracts.events import Event, SeatClaimed, SeatOffered

MOST: Final = 10_000
"""How many codes are known at most."""


@dataclass(slots=True)
class SeatOffer:
    """A seat that a code gives, once."""

    player_id: str
    room: str
    until: datetime
    """The last moment at which the code may be given."""
    claim_id: UUID | None = None
    """The claim that has the seat; None: nobody has given the code, or all have given it back."""
    returned: set[UUID] = field(default_factory=set)
    """The claims that were given back, however often they come."""


class SeatCodes:
    """The offers of seats, by the codes' ids."""

    takes: ClassVar[tuple[type[Event], ...]] = (SeatOffered, SeatClaimed)

    def __init__(self, most: int = MOST) -> None:
        """Start empty; ``most``: how many codes are known."""
        self._offers: FIFOCache[str, SeatOffer] = FIFOCache(most)
        self._newest: FIFOCache[str, str] = FIFOCache(most)
        """By player, the id of the newest code: an older one gives nothing any more."""

    def apply(self, event: SeatOffered | SeatClaimed) -> None:
        """Apply an event from the bus."""
        if isinstance(event, SeatClaimed):
            offer = self._offers.get(event.code_id)
            if offer is not None and event.returned:
                offer.returned.add(event.claim_id)
                offer.claim_id = None if offer.claim_id == event.claim_id else offer.claim_id
            elif offer is not None and offer.claim_id is None and event.claim_id not in offer.returned:
                offer.claim_id = event.claim_id if event.at <= offer.until else None
        elif event.code_id not in self._offers:
            self._offers.pop(self._newest.pop(event.player_id, ""), None)
            self._newest[event.player_id] = event.code_id
            until = event.at + timedelta(seconds=event.valid_s)
            self._offers[event.code_id] = SeatOffer(event.player_id, event.room, until)

    def forget(self, gone: Callable[[str], bool]) -> None:
        """Drop the codes of players; ``gone`` says which."""
        for player_id in [player_id for player_id in self._newest if gone(player_id)]:
            self._offers.pop(self._newest.pop(player_id), None)

    def refusal(self, code_id: str, at: datetime) -> str:
        """Say why a code gives no seat at a time; an empty text: it does, to who claims it first."""
        offer = self._offers.get(code_id)
        if offer is None:
            return "no seat waits for this code: it may be mistyped, too old, or replaced by a newer one"
        if offer.claim_id is not None:
            return "this code was used already: it is good for one device"
        return "this code is too old" if at > offer.until else ""

    def won(self, claim: SeatClaimed) -> SeatOffer | None:
        """Return the seat that a claim has got, once it was applied; None: another claim was first, or it came too late."""
        offer = self._offers.get(claim.code_id)
        return offer if offer is not None and offer.claim_id == claim.claim_id else None
