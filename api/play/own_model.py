"""Decides what a socket may ask for its player's own model: its card, a file, a reset, a code for another device. Pure."""

from datetime import datetime
from uuid import UUID

from api.limits import A_WHOLE_MEMORY, OF_A_RESET, Guest
from api.play.carry_over import CarryOver
from api.play.frames import SeatCode
from api.play.lobby import Lobby
from api.play.messages import Card, Carry, Reset
from contracts.events import Event, MemoryAsked, ResetAsked, SeatClaimed, SeatOffered


class OwnModel:
    """What one socket has asked."""

    def __init__(self, lobby: Lobby, guest: Guest) -> None:
        """Begin with nothing asked; each question is charged to the ``guest``."""
        self.carry_over = CarryOver(lobby)
        self._lobby = lobby
        self._guest = guest
        self._wanted: set[UUID] = set()
        """The questions for all that is remembered, which this socket alone is told."""

    def ask(
        self, message: Card | Reset | Carry, player_id: str, room: str, now: float, at: datetime
    ) -> MemoryAsked | ResetAsked | SeatOffered:
        """Return the event by which a player asks.

        Raises:
            RequestRefused: If the player or the address asks too much.
        """
        if isinstance(message, Carry):
            self._guest.join(now)  # it costs as much as what it is for
            return self.carry_over.offer(player_id, room, at)
        if isinstance(message, Reset):
            self._guest.correct(player_id, None, OF_A_RESET, now)
            return ResetAsked(reset_id=message.reset_id, player_id=player_id, at=at)
        self._guest.ask(player_id, A_WHOLE_MEMORY if message.whole else 1, now)
        asked = MemoryAsked(request_id=UUID(self._lobby.new_id()), player_id=player_id, whole=message.whole, at=at)
        if message.whole:
            self._wanted.add(asked.request_id)
        return asked

    def put_done(self, event: Event, failure: str | None) -> SeatCode | None:
        """Handle the acknowledgement, or the failure, of an event; return the frame with a code whose offer is on the log."""
        if isinstance(event, SeatClaimed) and failure is not None:
            self.carry_over.drop(event)
        return self.carry_over.offered(event, failure) if isinstance(event, SeatOffered) else None

    def wants(self, request_id: UUID) -> bool:
        """Say whether this socket has asked for all that is remembered, and is told it now."""
        wanted = request_id in self._wanted
        self._wanted.discard(request_id)
        return wanted
