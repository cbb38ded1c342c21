"""Defines the actions that a session asks for: frames to send, events to publish (ways 1 and 2). Pure; api.play.game acts."""

from dataclasses import dataclass
from uuid import UUID

from contracts.events import Event


@dataclass(frozen=True, slots=True)
class SendToSocket:
    """Send a frame to this socket."""

    text: str


@dataclass(frozen=True, slots=True)
class SendToRoom:
    """Send a frame to every socket in a room."""

    room: str
    text: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish an event; then call `Session.put_done` with it."""

    event: Event


@dataclass(frozen=True, slots=True)
class LogRefusal:
    """Log that something was refused."""

    code: str
    message: str
    drawing_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """End this socket."""

    code: int
    reason: str


SessionAction = SendToSocket | SendToRoom | Publish | LogRefusal | Close
