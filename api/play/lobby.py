"""Keeps what the sessions of a process share: the players, their rooms, and recent drawings (ways 1 and 2). Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.folds.model_state import ModelState
from api.folds.recent_drawings import Drawing, RecentDrawings
from api.folds.seat_codes import SeatCodes
from api.limits import LATE_S, lasting
from api.play.actions import SendToRoom
from api.play.frames import RoomChanged
from api.play.seats import Seats
from contracts.events import mark_of

if TYPE_CHECKING:
    from api.play.session import Session


@dataclass(slots=True)
class Lobby:
    """The sessions by player and by room, and what is remembered of their drawings."""

    recent: RecentDrawings
    seats: Seats
    models: Callable[[], list[ModelState]]
    """Returns the state of all models."""
    new_id: Callable[[], str]
    """Makes the id of a player who has no seat yet, or of a question: no id is made twice, and nobody can guess one."""
    new_name: Callable[[], str]
    """Makes a name for a new room; if the name is taken, it is called again."""
    chance: Callable[[], float]
    """Returns a number from 0 up to, but not, 1, which nobody can foresee."""
    pick: float
    """The probability with which a finished drawing is picked, to estimate accuracy by it; 0: none is."""
    new_code: Callable[[], str]
    """Makes a code for another device, which nobody can guess."""
    codes: SeatCodes = field(default_factory=SeatCodes)
    """The codes that give a seat to another device."""
    players: dict[str, set["Session"]] = field(default_factory=dict)
    rooms: dict[str, set["Session"]] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    """The marks of the players who are forgotten: see `contracts.events.mark_of`."""

    def is_forgotten(self, player_id: str) -> bool:
        """Say whether a player is forgotten: nobody may play as them."""
        return mark_of(player_id) in self.forgotten

    def enter(self, session: "Session") -> None:
        """Add a session that has joined, so that it gets the frames for its player and its room."""
        self.players.setdefault(session.player_id, set()).add(session)
        self.rooms.setdefault(session.room, set()).add(session)

    def leave(self, session: "Session") -> None:
        """Remove a session; nothing happens if it never joined."""
        for group, key in ((self.players, session.player_id), (self.rooms, session.room)):
            if key in group:
                group[key].discard(session)
                if not group[key]:
                    del group[key]

    def crowd(self, room: str) -> set[str]:
        """Return the ids of the players in a room."""
        return {session.player_id for session in self.rooms.get(room, ())}

    def room_changed(self, room: str) -> SendToRoom:
        """Return the action that tells a room who is in it."""
        names = {session.player_id: session.name for session in self.rooms.get(room, ())}
        return SendToRoom(room, RoomChanged(room=room, players=sorted(names.values())).text())

    def shown(self) -> set[str]:
        """Return the models whose answers players are shown."""
        return {state.model for state in self.models() if state.part == "shown" and state.unavailable is None}

    def lasting(self, drawing: Drawing | None, now: float) -> int:
        """Compute the bytes that a correction of a drawing adds, at most, to what is kept for good."""
        if drawing is None or drawing.size is None:
            return lasting(None, 0, 0)
        told = drawing.guesses.keys() | drawing.misses.keys()
        late = drawing.received_at is None or now - drawing.received_at > LATE_S
        return lasting(drawing.size, drawing.corrections, len(self.shown() - told), late)

    def new_room(self) -> str:
        """Return the name of a room that nobody is in."""
        while True:
            room = self.new_name()
            if room not in self.rooms:
                return room
