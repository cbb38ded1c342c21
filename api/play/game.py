"""Connects players' sessions to their sockets and the bus, and carries out what api.play decides (ways 1 and 2)."""

import asyncio
import secrets
import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from typing import assert_never
from uuid import UUID, uuid4

import structlog

from api.folds.model_board import ModelBoard
from api.folds.recent_drawings import RecentDrawings
from api.limits import Guest
from api.metrics import Metrics
from api.play.actions import Close, LogRefusal, Publish, SendToRoom, SendToSocket, SessionAction
from api.play.frames import Error, memory_text
from api.play.lobby import Lobby
from api.play.messages import CODE_LENGTH, ROOM_LENGTH, ROOM_LETTERS
from api.play.own_model import FAREWELL
from api.play.seats import Seats
from api.play.session import Session
from api.sockets import INTERNAL_ERROR, Connection
from contracts.events import CorrectionGiven, DrawingSubmitted, Event, MemoryTold, SeatClaimed, SeatOffered, mark_of, now
from contracts.ports import Bus, Record

TICK_S = 0.5

log = structlog.get_logger(__name__)


def room_name() -> str:
    """Return four random letters, which name a room."""
    return _letters(ROOM_LENGTH)


def seat_code() -> str:
    """Return ten random letters, which give another device a seat."""
    return _letters(CODE_LENGTH)


def _letters(count: int) -> str:
    return "".join(secrets.choice(ROOM_LETTERS) for _ in range(count))


class Game:
    """All sessions of this process, on one event loop; the bus's acknowledgements may come from another thread."""

    def __init__(
        self,
        bus: Bus,
        recent: RecentDrawings,
        seats: Seats,
        board: ModelBoard,
        metrics: Metrics,
        clock: Callable[[], float],
        pick: float,
        chance: Callable[[], float],
    ) -> None:
        """Join the parts; nothing runs before a socket comes.

        Args:
            bus: Where drawings and corrections are published.
            recent: Remembers recent drawings and corrections.
            seats: Signs and reads seats.
            board: Knows the current state of all models.
            metrics: Counts what happens.
            clock: Monotonic, in seconds.
            pick: The probability with which a finished drawing is picked, see `Lobby.pick`.
            chance: See `Lobby.chance`.
        """
        self._bus = bus
        made = (lambda: str(uuid4()), room_name, chance, pick, seat_code)
        self._lobby = Lobby(recent, seats, board.states, *made)
        self._connections: dict[Session, Connection] = {}
        self._metrics = metrics
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    @property
    def online(self) -> int:
        """The number of players with at least one socket."""
        return len(self._lobby.players)

    async def play(self, connection: Connection, guest: Guest) -> None:
        """Serve one accepted socket until it ends."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        session = Session(self._lobby, self._clock(), guest)
        self._connections[session] = connection

        def hear(data: str | bytes) -> None:
            self._metrics.frames.inc()
            self._carry_out(session, session.receive(data, self._clock(), now()))

        try:
            await connection.listen(hear)
        finally:
            del self._connections[session]
            self._carry_out(session, session.leave())

    def tick(self) -> None:
        """Let time pass for all sessions, every `TICK_S`; a session that fails is closed, as if a frame of it had failed."""
        time = self._clock()
        for session, connection in list(self._connections.items()):
            try:
                self._carry_out(session, session.tick(time))
            except Exception:
                log.exception("session failed", player_id=session.player_id)
                connection.close(INTERNAL_ERROR, "a fault of the server")

    def deliver(self, player_id: str, text: str) -> None:
        """Send a frame to every socket of a player, and to nobody else."""
        for session in self._lobby.players.get(player_id, ()):
            self._connections[session].send(text)

    def tell(self, event: MemoryTold) -> None:
        """Tell a player what is remembered of them: counts to all their sockets, the whole to the one that asked."""
        for session in self._lobby.players.get(event.player_id, ()):
            if event.drawings is None or session.own_model.wants(event.request_id):
                self._connections[session].send(memory_text(event))

    def settle(self, event: SeatOffered | SeatClaimed) -> None:
        """Note that a seat was offered or claimed, and let the socket in that has claimed it first."""
        self._lobby.codes.apply(event)
        if isinstance(event, SeatClaimed):
            for session in list(self._connections):
                self._carry_out(session, session.claimed(event, self._clock()))

    def is_forgotten(self, player_id: str) -> bool:
        """Say whether a player is forgotten."""
        return self._lobby.is_forgotten(player_id)

    def forget(self, marks: Collection[str]) -> None:
        """End the sockets of the players with these marks; from now on no seat makes anybody one of them."""
        self._lobby.forgotten.update(marks)
        self._lobby.codes.forget(self._lobby.is_forgotten)
        gone = [player for player in self._lobby.players if mark_of(player) in marks]
        for session in [session for player in gone for session in self._lobby.players[player]]:
            session.closed = True
            self._carry_out(session, FAREWELL)

    def keep(self, command_id: UUID) -> None:
        """Tell whoever asked to be forgotten by a command that this is not done; operators are told why."""
        told = f"this game cannot forget you yet: tell whoever runs it that request {command_id} was refused, which says why"
        for session, connection in list(self._connections.items()):
            if session.own_model.stays(command_id):
                connection.send(Error(code="not_forgotten", message=told).text())

    def plays(self, player_id: str) -> bool:
        """Say whether a player has a socket in this process."""
        return player_id in self._lobby.players

    def broadcast(self, text: str) -> None:
        """Send a frame to every player."""
        for sessions in self._lobby.players.values():
            for session in sessions:
                self._connections[session].send(text)

    def _carry_out(self, session: Session, actions: Iterable[SessionAction]) -> None:
        for action in actions:
            match action:
                case SendToSocket():
                    if session in self._connections:
                        self._connections[session].send(action.text)
                case SendToRoom():
                    for member in self._lobby.rooms.get(action.room, ()):
                        self._connections[member].send(action.text)
                case Publish():
                    self._put(session, action.event)
                case LogRefusal():
                    self._refused(session, action)
                case Close():
                    log.warning("socket closed", code=action.code, reason=action.reason, player_id=session.player_id)
                    self._connections[session].close(action.code, action.reason)
                case _:
                    assert_never(action)

    def _refused(self, session: Session, refusal: LogRefusal) -> None:
        self._metrics.errors.labels(refusal.code).inc()
        log.warning(
            "frame refused",
            code=refusal.code,
            message=refusal.message,
            player_id=session.player_id,
            drawing_id=str(refusal.drawing_id) if refusal.drawing_id else None,
        )

    def _put(self, session: Session, event: Event) -> None:
        began = self._clock()
        if isinstance(event, CorrectionGiven):
            self._metrics.corrected(event.correction_id, began)
        loop = self._loop
        assert loop is not None

        def settled(future: "Future[Record]") -> None:
            if loop.is_closed():
                return
            here = threading.get_ident() == self._thread  # the bus is attached to the loop, and nobody must be woken
            (loop.call_soon if here else loop.call_soon_threadsafe)(self._settled, session, event, began, future.exception())

        self._bus.publish(event).add_done_callback(settled)

    def _settled(self, session: Session, event: Event, began: float, failure: BaseException | None) -> None:
        actions = session.put_done(event, None if failure is None else str(failure))
        if failure is None and isinstance(event, DrawingSubmitted) and event.final:
            self._metrics.saved.observe(self._clock() - began)
            for action in actions:  # every socket of the player gets the frame, whichever socket the drawing came from
                if isinstance(action, SendToSocket):
                    self.deliver(event.player_id, action.text)
            actions = [action for action in actions if not isinstance(action, SendToSocket)]
        self._carry_out(session, actions)
