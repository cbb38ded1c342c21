"""Sends watchers of the dashboard a snapshot of the board, and then its changes (way 2).

How often models are right is estimated in a thread: it takes tens of milliseconds a model, and all sockets are on the loop.
"""

import asyncio
from typing import Final

import orjson
import structlog

from api.folds.honest import HonestAccuracy, HonestModel
from api.folds.model_board import Frame, ModelBoard
from api.folds.recent_drawings import RecentDrawings
from api.limits import Guest
from api.play.game import Game
from api.sockets import POLICY, Connection

log = structlog.get_logger(__name__)

TICK_S: Final = 0.2
"""How long changes are gathered before they are sent, in seconds."""
ESTIMATES_S: Final = 1.0
"""How long a model's estimates stand at least, in seconds, before one of those that have changed is estimated anew."""
_SAID: Final = 20  # the most frames that a watcher may send, though no frame has a meaning


class Watchers:
    """The sockets of /ws/watch."""

    def __init__(self, board: ModelBoard, honest: HonestAccuracy, game: Game, recent: RecentDrawings) -> None:
        """Keep what watchers are shown: the board, the estimates, players of the game, and the number of recent drawings."""
        self._board = board
        self._honest = honest
        self._game = game
        self._recent = recent
        self._connections: set[Connection] = set()
        self._estimated: dict[str, HonestModel] = {}
        """What was estimated since the last tick."""
        self._numbers = (0, 0)
        """The numbers of players and drawings that were last sent."""

    async def watch(self, connection: Connection, _: Guest) -> None:
        """Show a watcher the board and its changes until the watcher leaves."""
        said = 0

        def hear(_: str | bytes) -> None:
            nonlocal said
            said += 1
            connection.send('{"type":"error","code":"read_only","message":"this socket only tells"}')
            if said >= _SAID:
                connection.close(POLICY, "this socket only tells")

        honest = {model: one.model_dump() for model, one in self._honest.models().items()}
        connection.send(_text(self._board.snapshot(self._game.online, self._recent.total) | {"honest": honest}))
        self._connections.add(connection)
        try:
            await connection.listen(hear)
        finally:
            self._connections.discard(connection)

    def tick(self) -> None:
        """Send the changes; called every `TICK_S` seconds. The `Connection` of a watcher who does not read closes."""
        frames = self._board.changes()
        numbers = (self._game.online, self._recent.total)
        if numbers != self._numbers:
            self._numbers = numbers
            frames.append({"type": "online", "online": numbers[0], "drawings": numbers[1]})
        changed, self._estimated = self._estimated, {}
        if self._connections:
            frames += [{"type": "honest", "honest": {model: told.model_dump()}} for model, told in changed.items()]
            for text in map(_text, frames):
                for connection in self._connections:
                    connection.send(text)

    async def estimate(self) -> None:
        """Estimate the models whose counts have changed, for ever: a new one at once, then one every `ESTIMATES_S` seconds.

        One that cannot be estimated is logged, and its estimates stay as they were.
        """
        while True:
            estimation = self._honest.next_estimation()
            if estimation is None:
                await asyncio.sleep(ESTIMATES_S)
                continue
            new = estimation.model not in self._honest.models()
            try:
                computed = await asyncio.to_thread(estimation.compute)
            except Exception:
                log.exception("cannot be estimated", model=estimation.model)
            else:
                self._honest.keep(estimation.model, computed)
                self._estimated[estimation.model] = computed
                if new:
                    continue
            await asyncio.sleep(ESTIMATES_S)


def _text(frame: Frame) -> str:
    return orjson.dumps(frame).decode()
