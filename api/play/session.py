"""Decides what a player's session on /ws/play does (ways 1 and 2). Pure: frames, times and new names in, actions out.

A `Session` is the conversation on one socket; it has no socket, bus or clock, and api.play.game carries out its actions. An
error frame answers a mistake, and the socket stays open; abuse ends the socket with 1008.
"""

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from api.folds.recent_drawings import Drawing
from api.limits import Guest, RequestRefused, full_bucket
from api.play.actions import Close, LogRefusal, Publish, SendToSocket, SessionAction
from api.play.carry_over import given_back
from api.play.frames import Check, Error, Joined, Question, Saved
from api.play.lobby import Lobby
from api.play.messages import Another, ClientMessage, Correct, Draw, Join, Mistake, Withdraw, parse
from api.play.own_model import OwnModel
from api.play.questions import UNASKED, Questions
from api.play.seats import BadSeat, SeatHolder
from contracts.events import CorrectionGiven, CorrectionWithdrawn, DrawingSubmitted, Event, ResetAsked, SeatClaimed

FRAMES_A_SECOND: Final = 240
"""How many frames a second a socket may send for long; a simulated player that draws as fast as answers come sends 200."""
BURST: Final = 480
"""How many frames may come at once."""
BYTES_A_FRAME: Final = 8192
"""The bytes for which a frame counts once; a frame counts once more for each multiple of this size that it reaches."""
MISTAKES: Final = 20
"""How many mistakes within `MISTAKES_S` seconds close the socket."""
MISTAKES_S: Final = 10.0
JOIN_S: Final = 30.0
"""How long a socket may stay open without joining, in seconds."""
SLOW_S: Final = 3.0
"""After how many seconds a player is told that the log has not acknowledged a drawing or a correction yet."""
MAX_HELD: Final = 64
"""How many corrections of a drawing may wait for its acknowledgement; no honest player sends more."""
MAX_ROOM: Final = 64
"""The most players in a room: all of them are told of each player who comes or goes."""

POLICY: Final = 1008


class Session:
    """The conversation on one socket. ``now`` is always in seconds of one monotonic clock."""

    def __init__(self, lobby: Lobby, now: float, guest: Guest) -> None:
        """Begin a conversation in which nobody has joined yet; ``guest`` is the person at the other end."""
        self._guest = guest
        self.player_id = ""
        self.name = ""
        self.room = ""
        self.closed = False
        self._lobby = lobby
        self._began = now
        self._frames = full_bucket(BURST, FRAMES_A_SECOND, now)
        self._mistakes: deque[float] = deque(maxlen=MISTAKES)
        self._waiting: dict[UUID, tuple[float, UUID | None]] = {}
        """By the id of a drawing, correction or reset: when it was published, and its drawing."""
        self._held: dict[UUID, list[Publish]] = {}  # finished drawing that is not kept yet -> its corrections
        self.own_model = OwnModel(lobby, guest)
        self._preview_under_way = False
        self._next_preview: DrawingSubmitted | None = None
        self._questions: Questions | None = None
        """What the player is asked to draw; None: the page does not show questions."""

    def receive(self, data: str | bytes, now: float, at: datetime) -> list[SessionAction]:
        """Handle a frame; return the actions that follow.

        Args:
            data: Text, or bytes of a binary frame.
            now: When the frame came.
            at: The same time by the calendar, for the events that follow from the frame.
        """
        if self.closed:
            return []
        try:
            cost = 1 + len(data) // BYTES_A_FRAME
            self._pace(cost, now)
            if not self._guest.frame(cost, now):
                self.closed = True
                return [Close(POLICY, "too many frames from your address")]
            message = parse(data)
            return list(self._act(message, cost, now, at))
        except RequestRefused as refusal:
            return list(self._refused(refusal, now))

    def _act(self, message: ClientMessage, cost: int, now: float, at: datetime) -> Iterator[SessionAction]:
        if isinstance(message, Join):
            yield from self._join(message, now, at)
        elif not self.player_id:
            raise Mistake("not_joined", 'say {"type":"join",...} first', getattr(message, "drawing_id", None))
        elif isinstance(message, Draw):
            self._guest.draw(self.player_id, message.drawing_id, message.final, cost, now)
            yield from self._draw(message, now, at)
        elif isinstance(message, Another):
            if self._questions is None:
                raise Mistake("no_questions", "this socket joined without questions: there is none to change")
            yield from self._ask(chosen=True)
        elif isinstance(message, Correct | Withdraw):
            yield from self._correct(message, now, at)
        else:
            asked = self.own_model.ask(message, self.player_id, self.room, now, at)
            if asked is not None:
                yield self._keep(asked.reset_id, asked, now) if isinstance(asked, ResetAsked) else Publish(asked)

    def _pace(self, cost: int, now: float) -> None:
        if self._frames.take(now, cost):
            raise Mistake("too_fast", f"over {FRAMES_A_SECOND} frames a second: this one was dropped")

    def _refused(self, refusal: RequestRefused, now: float) -> Iterator[SessionAction]:
        yield LogRefusal(refusal.code, refusal.message, refusal.drawing_id)
        yield SendToSocket(Error(code=refusal.code, message=refusal.message, drawing_id=refusal.drawing_id).text())
        if refusal.code == "busy":  # another person behind the same address may be the cause
            return
        self._mistakes.append(now)
        if len(self._mistakes) == MISTAKES and now - self._mistakes[0] < MISTAKES_S:
            self.closed = True
            yield Close(POLICY, f"{MISTAKES} errors within {MISTAKES_S:.0f} s")

    # join

    def _join(self, join: Join, now: float, at: datetime) -> Iterator[SessionAction]:
        if self.player_id:
            raise Mistake("already_joined", f"this socket is in {self.room} already: open another one")
        if self.own_model.carry_over.claiming:
            raise Mistake("already_joined", "a code is being looked at: wait for the answer")
        self._guest.join(now)
        if join.code is not None and join.seat is not None:
            raise Mistake("invalid", "give a seat or a code: each says who you are")
        if join.code is not None:
            self._guest.code(now)
            yield Publish(self.own_model.carry_over.claim(join, at))
            return
        try:
            holder = None if join.seat is None else self._lobby.seats.read(join.seat)
        except BadSeat as wrong:
            raise Mistake("bad_seat", str(wrong)) from None
        yield from self._enter(join, holder, now)

    def claimed(self, claim: SeatClaimed, now: float) -> list[SessionAction]:
        """Handle a claim from the bus: if it is this socket's, and was first, its player is here now, or gives it back."""
        back: list[SessionAction] = []
        try:
            settled = None if self.closed else self.own_model.carry_over.settled(claim)
            if settled is None:
                return []
            back, (join, offer) = [Publish(given_back(claim))], settled
            return list(self._enter(join, SeatHolder(offer.player_id, offer.room), now))
        except RequestRefused as refusal:
            return [*back, *self._refused(refusal, now)]

    def _enter(self, join: Join, holder: SeatHolder | None, now: float) -> Iterator[SessionAction]:
        if holder is not None and self._lobby.is_forgotten(holder.player_id):
            raise Mistake("bad_seat", "the player of this seat is forgotten: join with seat null, as somebody new")
        room = join.room or (holder.room if holder else None)
        player_id = holder.player_id if holder else self._lobby.new_id()
        self._guest.seat(len(self._lobby.players.get(player_id, ())))
        if join.room is not None and (holder is None or join.room != holder.room):
            self._guest.room(join.room not in self._lobby.rooms, now)
        room = room or self._lobby.new_room()
        crowd = self._lobby.crowd(room)
        if len(crowd) >= MAX_ROOM and player_id not in crowd:
            raise Mistake("room_full", f"{room} has {MAX_ROOM} players: join another one, or null for a new one")
        self.player_id, self.name, self.room = player_id, join.name, room
        self._lobby.enter(self)
        seat = self._lobby.seats.sign(SeatHolder(player_id, room))
        yield SendToSocket(Joined(player_id=player_id, seat=seat, room=room, models=self._lobby.models()).text())
        yield self._lobby.room_changed(room)
        if join.questions:
            yield from self._ask()

    # draw

    def _ask(self, *, chosen: bool = False) -> Iterator[SendToSocket]:
        """Ask for another digit."""
        self._questions = self._questions or Questions(self._lobby.chance, self._lobby.pick)
        yield SendToSocket(Question(digit=self._questions.ask(chosen=chosen)).text())

    def _draw(self, draw: Draw, now: float, at: datetime) -> Iterator[SessionAction]:
        recent = self._lobby.recent
        known = recent.drawing(draw.drawing_id)
        if known is not None and known.player_id != self.player_id:
            raise Mistake("taken", "another player has used this drawing_id: make a new one", draw.drawing_id)
        if known is not None and not (draw.final and known.kept):
            return
        told = UNASKED
        if self._questions is not None and draw.final and known is None:
            told = self._questions.decide(draw.drawing_id, draw.asked, now, partial(self._guest.picks, self.player_id))
        event = DrawingSubmitted(
            at=at,
            drawing_id=draw.drawing_id,
            player_id=self.player_id,
            room=self.room,
            strokes=draw.strokes,
            width=draw.width,
            height=draw.height,
            final=draw.final,
            asked=draw.asked,
            device=draw.device,
            gold=told.gold,
            picked=told.picked,
            instead_of=told.instead_of,
        )
        if known is not None:  # sent twice, a drawing counts once: the first strokes stand
            yield SendToSocket(Saved(drawing_id=draw.drawing_id).text())
            yield from map(SendToSocket, known.frames())
            if known.seek(self._lobby.shown(), now):  # the joiner publishes the first answers again
                yield Publish(event)
        elif draw.final:
            recent.add_drawing(draw.drawing_id, self.player_id, now).size = len(event.record_value())
            self._held[draw.drawing_id] = []
            self._next_preview = None
            yield self._keep(draw.drawing_id, event, now)
            if told.picked is not None and not told.gold:
                yield SendToSocket(Check(drawing_id=draw.drawing_id).text())
            if told.answers:
                yield from self._ask()
        elif self._preview_under_way:
            self._next_preview = event  # an earlier preview that waits is stale
        else:
            self._preview_under_way = True
            yield Publish(event)

    # correct, withdraw

    def _correct(self, message: Correct | Withdraw, now: float, at: datetime) -> Iterator[SessionAction]:
        recent = self._lobby.recent
        drawing = recent.drawing(message.drawing_id)
        if drawing is not None and drawing.player_id != self.player_id:
            raise Mistake("unknown_drawing", "no finished drawing of yours has this id", message.drawing_id)
        if isinstance(message, Withdraw):
            self._charge(message, drawing, now)
            withdrawn = CorrectionWithdrawn(at=at, player_id=self.player_id, **message.model_dump(exclude={"type"}))
            yield from self._put_correction(withdrawn, now)
            return
        known = recent.correction(message.correction_id)
        if known is not None:  # sent twice, it counts once: the receipts so far are sent again
            if known.player_id == self.player_id:
                yield from map(SendToSocket, known.receipts.values())
            return
        self._charge(message, drawing, now)  # a correction is charged once: a player who reconnects sends all again
        recent.add_correction(message.correction_id, self.player_id)
        given = CorrectionGiven(
            correction_id=message.correction_id,
            drawing_id=message.drawing_id,
            player_id=self.player_id,
            label=message.label,
            over_quota=not self._guest.teaches(self.player_id, now),
            at=at,
        )
        yield from self._put_correction(given, now)

    def _charge(self, message: Correct | Withdraw, drawing: Drawing | None, now: float) -> None:
        """Charge the player for the bytes that a correction adds to what is kept for good."""
        self._guest.correct(self.player_id, message.drawing_id, self._lobby.lasting(drawing, now), now)
        if drawing is not None:
            drawing.corrections += 1

    def _put_correction(self, event: CorrectionGiven | CorrectionWithdrawn, now: float) -> Iterator[Publish]:
        """Publish a correction once its drawing is on the log: the joiner refuses a correction whose drawing comes later."""
        put = self._keep(event.correction_id, event, now)
        held = self._held.get(event.drawing_id)
        if held is None or len(held) >= MAX_HELD:
            yield put
        else:
            held.append(put)

    # acknowledgement

    def _keep(self, key: UUID, event: Event, now: float) -> Publish:
        self._waiting[key] = (now, getattr(event, "drawing_id", None))
        return Publish(event)

    def put_done(self, event: Event, failure: str | None) -> list[SessionAction]:
        """Handle the acknowledgement, or the failure, of an event of a `Publish`; return the actions that follow.

        Args:
            event: The event that was published.
            failure: Why the bus did not take the event; None: it is acknowledged.

        Returns:
            Actions for this socket; a `Saved` is for all sockets of its player.
        """
        recent = self._lobby.recent
        if isinstance(event, DrawingSubmitted) and not event.final:
            following, self._next_preview = self._next_preview, None
            self._preview_under_way = following is not None and failure is None
            return [Publish(following)] if following is not None and failure is None else []
        if isinstance(event, DrawingSubmitted):
            self._waiting.pop(event.drawing_id, None)
            held = self._held.pop(event.drawing_id, [])
            if failure is None:
                drawing = recent.add_drawing(event.drawing_id, event.player_id)
                if drawing.sought_at is not None:
                    return []
                drawing.kept = True
                return [SendToSocket(Saved(drawing_id=event.drawing_id).text()), *held]
            if (there := recent.drawing(event.drawing_id)) is not None and there.kept:
                return []  # the drawing was published again only to get the answers
            recent.drop_drawing(event.drawing_id)
            lost = list(_lost(event.drawing_id, "drawing", failure))
            return lost + [action for put in held for action in self.put_done(put.event, failure)]
        if isinstance(event, CorrectionGiven | CorrectionWithdrawn):
            self._waiting.pop(event.correction_id, None)
            if failure is not None:
                if isinstance(event, CorrectionGiven):
                    recent.drop_correction(event.correction_id)
                return list(_lost(event.drawing_id, "correction", failure))
        if isinstance(event, ResetAsked):
            self._waiting.pop(event.reset_id, None)
        code = self.own_model.put_done(event, failure)
        if failure is None or (isinstance(event, SeatClaimed) and not self.own_model.carry_over.drop(event)):
            return [] if code is None else [SendToSocket(code.text())]
        back = [Publish(given_back(event))] if isinstance(event, SeatClaimed) else []  # the broker may have it all the same
        return [*back, *_lost(None, "question", failure)]

    def tick(self, now: float) -> list[SessionAction]:
        """Let time pass; return the actions that follow. Call it about twice a second."""
        if self.closed:
            return []
        if not self.player_id and now - self._began > JOIN_S:
            self.closed = True
            return [Close(POLICY, f"no join within {JOIN_S:.0f} s")]
        late = [key for key, (since, _) in self._waiting.items() if now - since > SLOW_S]
        actions: list[SessionAction] = []
        for key in late:
            since, drawing_id = self._waiting.pop(key)
            message = f"not acknowledged after {now - since:.0f} s; it is still being tried, nothing needs to be sent again"
            actions.append(LogRefusal("unavailable", message, drawing_id))
            actions.append(SendToSocket(Error(code="unavailable", message=message, drawing_id=drawing_id).text()))
        return actions

    def leave(self) -> list[SessionAction]:
        """Leave the room, since the socket is gone; return the actions that tell the others, and give a code back."""
        self.closed = True
        if not self.player_id:
            return [Publish(claim) for claim in self.own_model.carry_over.abandon()]
        self._lobby.leave(self)
        return [self._lobby.room_changed(self.room)] if self.room in self._lobby.rooms else []


def _lost(drawing_id: UUID | None, what: str, failure: str) -> Iterator[SessionAction]:
    message = f"this {what} could not be kept: send it again{' with the same id' if drawing_id else ''}"
    yield LogRefusal("unavailable", f"{message} ({failure})", drawing_id)
    yield SendToSocket(Error(code="unavailable", message=message, drawing_id=drawing_id).text())
