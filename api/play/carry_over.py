"""Decides how a player goes on on another device: one socket offers a code, another claims the seat (ways 1 and 2). Pure.

The code is on the bus as its HMAC alone. Who gives a code claims the seat over the bus, and the first claim of the log has it,
whichever process took it. So a code works once, in every process, and whoever reads the log cannot use it. Who has claimed a
seat and does not take it, since the room is full or the socket is gone, gives the claim back, and the code is good for another
try. A process that is killed in between gives nothing back: then the code is used up, and never twice.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from api.folds.seat_codes import SeatOffer
from api.play.frames import SeatCode
from api.play.lobby import Lobby
from api.play.messages import Join, Mistake
from contracts.events import SeatClaimed, SeatOffered

CODE_S: Final = 600
"""How long a code is valid, in seconds."""


class CarryOver:
    """The code that a socket has asked for, and the claim that it has made."""

    def __init__(self, lobby: Lobby) -> None:
        """Begin with neither."""
        self._lobby = lobby
        self._codes: dict[str, str] = {}
        """The codes that the broker does not have yet, by their ids."""
        self._claim: tuple[SeatClaimed, Join] | None = None

    def offer(self, player_id: str, room: str, at: datetime) -> SeatOffered:
        """Make a new code for a player's seat."""
        code = self._lobby.new_code()
        code_id = self._lobby.seats.code_id(code)
        self._codes[code_id] = code
        return SeatOffered(code_id=code_id, player_id=player_id, room=room, valid_s=CODE_S, at=at)

    def offered(self, offer: SeatOffered, failure: str | None) -> SeatCode | None:
        """Return the frame with the code, once the broker has the offer; None: it does not."""
        code = self._codes.pop(offer.code_id)
        return SeatCode(code=code, valid_s=offer.valid_s) if failure is None else None

    @property
    def claiming(self) -> bool:
        """Whether a claim has been made and is not settled yet."""
        return self._claim is not None

    def claim(self, join: Join, at: datetime) -> SeatClaimed:
        """Claim the seat of the code in a `join`.

        Raises:
            Mistake: If the code gives no seat.
        """
        code_id = self._lobby.seats.code_id(join.code or "")
        if why := self._lobby.codes.refusal(code_id, at):
            raise _bad_code(why)
        claim_id = UUID(self._lobby.new_id())
        claim = SeatClaimed(code_id=code_id, claim_id=claim_id, at=at)
        self._claim = (claim, join)
        return claim

    def settled(self, claim: SeatClaimed) -> tuple[Join, SeatOffer] | None:
        """Return the `join`, and the seat for it, once a claim has come over the bus; None: it is another socket's claim.

        Raises:
            Mistake: If another claim was first.
        """
        if self._claim is None or self._claim[0].claim_id != claim.claim_id:
            return None
        _, join = self._claim
        self._claim = None
        offer = self._lobby.codes.won(claim)
        if offer is None:
            raise _bad_code("this code was used a moment ago, or was too old: it is good for one device")
        return join, offer

    def drop(self, claim: SeatClaimed) -> bool:
        """Forget a claim that the broker did not acknowledge; return whether it was pending.

        The log may have brought it meanwhile: then it is settled, and what was won with it is not given back.
        """
        if self._claim is None or claim.returned or self._claim[0].claim_id != claim.claim_id:
            return False
        self._claim = None
        return True

    def abandon(self) -> list[SeatClaimed]:
        """Give back the claim that is not settled yet, if there is one: its socket is gone."""
        claim, self._claim = self._claim, None
        return [] if claim is None else [given_back(claim[0])]


def given_back(claim: SeatClaimed) -> SeatClaimed:
    """Return what leaves the code of a claim to the next one."""
    return claim.model_copy(update={"returned": True})


def _bad_code(why: str) -> Mistake:
    return Mistake("bad_code", f"{why}; ask for a new one on the device on which you play")
