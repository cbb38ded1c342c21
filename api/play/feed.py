"""Sends players what comes from the bus: guesses, receipts, and changes of models (ways 1 and 2).

The feed applies each event to the folds of models and of recent drawings, and sends what they return: a drawing's guesses
and receipts to its own player, a change of a model to everybody. Twice is harmless: the folds see that an event came before.
"""

import time
from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from api.folds.model_board import ModelBoard
from api.folds.model_state import StateChange
from api.folds.recent_drawings import RecentDrawings
from api.metrics import Metrics
from api.play.frames import ModelChanged
from api.play.game import Game
from contracts.events import CorrectionReceipt, Event, GuessMade, GuessMissed, MemoryTold, SeatClaimed, SeatOffered, now

TICK_S: Final = 0.5


class PlayerFeed:
    """Sends events from the bus to the players whom they concern; it lives on one event loop."""

    beside: ClassVar[tuple[type[Event], ...]] = (MemoryTold, SeatOffered, SeatClaimed)
    """The events that it takes beside those of the folds."""

    def __init__(
        self,
        board: ModelBoard,
        recent: RecentDrawings,
        game: Game,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Apply events to ``board`` and ``recent``, and tell the players of ``game``; ``clock`` is the game's."""
        self._board = board
        self._recent = recent
        self._game = game
        self._metrics = metrics
        for model in board.roster.names:
            metrics.guess.labels(model)  # it is exported at 0 before the first guess
        self._clock = clock
        self.takes = (*board.takes, *recent.takes, *PlayerFeed.beside)

    def apply(self, event: Event) -> None:
        """Apply an event, and tell the players whom it concerns."""
        if isinstance(event, MemoryTold):
            self._game.tell(event)
        elif isinstance(event, SeatOffered | SeatClaimed):
            self._game.settle(event)
        if isinstance(event, self._board.takes):
            self._broadcast(self._board.apply(event))
        if isinstance(event, GuessMade | GuessMissed | CorrectionReceipt) and self._shown(event):
            hops = self._recent.timed(event, now(), self._clock()) if isinstance(event, GuessMade) else None
            text = self._recent.apply(event, hops)
            if text is not None:
                self._game.deliver(event.player_id, text)
                if isinstance(event, CorrectionReceipt):
                    self._metrics.learned(event, self._clock())
                if isinstance(event, GuessMade) and hops is not None and "total" in hops:
                    self._metrics.guessed(event.model, hops)

    def _broadcast(self, changes: Iterable[StateChange]) -> None:
        for change in changes:
            self._game.broadcast(ModelChanged(**change.model_dump()).text())

    def _shown(self, event: GuessMade | GuessMissed | CorrectionReceipt) -> bool:
        """Say whether to show an event to its player: answers to unfinished drawings only while the player is here."""
        if isinstance(event, CorrectionReceipt):
            return True
        if event.model in self._board.hidden:
            return False
        if isinstance(event, GuessMissed):
            return event.final
        return event.role != "shadow" and (event.final or self._game.plays(event.player_id))

    def tick(self) -> None:
        """Let time pass for the models that rest, every `TICK_S`."""
        self._broadcast(self._board.tick(now()))
