"""Keeps frames that the game has not answered for yet, to send them again with the same ids (ways 1 and 2). Pure.

It is web/game/outbox.js once more.
"""

from dataclasses import dataclass
from math import inf
from typing import Any

ClientFrame = dict[str, Any]


@dataclass
class _Waiting:
    frame: ClientFrame
    sent_at: float


class ClientOutbox:
    """Frames by their ids; twice is once, since the game knows the ids.

    >>> outbox = ClientOutbox()
    >>> outbox.add("d1", {"type": "draw", "drawing_id": "d1"})
    >>> len(outbox.due(0.0, 6.0)), len(outbox.due(5.9, 6.0)), len(outbox.due(6.0, 6.0))
    (1, 0, 1)
    >>> outbox.settle("d1")
    >>> outbox.due(99.0, 0.0)
    []
    """

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: dict[str, _Waiting] = {}

    def add(self, frame_id: str, frame: ClientFrame) -> None:
        """Keep a frame until its id is settled."""
        self._waiting[frame_id] = _Waiting(frame, -inf)

    def settle(self, frame_id: str) -> None:
        """Let go of a frame: the game has answered for it."""
        self._waiting.pop(frame_id, None)

    def drop(self, drawing_id: str) -> None:
        """Let go of all frames of a drawing: the game does not want them."""
        self._waiting = {name: one for name, one in self._waiting.items() if one.frame.get("drawing_id") != drawing_id}

    def due(self, now: float, patience_s: float) -> list[ClientFrame]:
        """Return the frames to send now, in their first order; they count as sent.

        Args:
            now: In seconds of any clock.
            patience_s: What was sent within so many seconds before is not due.
        """
        due = [one for one in self._waiting.values() if now - one.sent_at >= patience_s]
        for one in due:
            one.sent_at = now
        return [one.frame for one in due]
