"""Decides what a socket asks for its player: what is remembered, a reset, a code for another device, to be forgotten. Pure."""

from datetime import datetime
from typing import Final
from uuid import UUID

from api.limits import A_WHOLE_MEMORY, OF_A_RESET, Guest
from api.play.actions import Close, SendToSocket
from api.play.carry_over import CarryOver
from api.play.frames import Forgotten, SeatCode
from api.play.lobby import Lobby
from api.play.messages import Card, Carry, Forget, Reset
from contracts.events import Event, ForgetPlayer, MemoryAsked, ResetAsked, SeatOffered

FAREWELL: Final = (SendToSocket(Forgotten().text()), Close(1000, "this player is forgotten"))
"""What a socket is told and comes to when its player is forgotten."""


class OwnModel:
    """What one socket has asked."""

    def __init__(self, lobby: Lobby, guest: Guest) -> None:
        """Begin with nothing asked; each question is charged to the ``guest``."""
        self.carry_over = CarryOver(lobby)
        self._lobby = lobby
        self._guest = guest
        self._wanted: set[UUID] = set()
        """The questions for all that is remembered, which this socket alone is told."""
        self._goes: UUID | None = None
        """The command by which it was asked that the player be forgotten; None: it was not, or it is not done."""

    def ask(
        self, message: Card | Reset | Carry | Forget, player_id: str, room: str, now: float, at: datetime
    ) -> MemoryAsked | ResetAsked | SeatOffered | ForgetPlayer | None:
        """Return the event by which a player asks; None: they have asked already.

        Raises:
            RequestRefused: If the player or the address asks too much.
        """
        if isinstance(message, Forget):
            if self._goes is not None:
                return None
            self._guest.go(now)
            self._goes = UUID(self._lobby.new_id())
            return ForgetPlayer(command_id=self._goes, player_id=player_id, by="the player", via="player", at=at)
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
        if isinstance(event, ForgetPlayer) and failure is not None:
            self._goes = None
        return self.carry_over.offered(event, failure) if isinstance(event, SeatOffered) else None

    def stays(self, command_id: UUID) -> bool:
        """Say whether this socket gave the command, which is not carried out: the player stays, and may ask again."""
        stays = self._goes == command_id
        if stays:
            self._goes = None
        return stays

    def wants(self, request_id: UUID) -> bool:
        """Say whether this socket has asked for all that is remembered, and is told it now."""
        wanted = request_id in self._wanted
        self._wanted.discard(request_id)
        return wanted
