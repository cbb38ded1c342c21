"""The dashboard's socket: a watcher gets a snapshot of the board, then what changes (way 2)."""

import asyncio
from collections.abc import Callable
from typing import Final

import orjson

from api.folds.model_board import Board, Frame
from api.limits import Guest
from api.sockets import POLICY, Line

EVERY_S: Final = 0.2
"""Changes are gathered for so long."""
_SAID: Final = 20  # frames that a watcher may send: it has nothing to say


class Watchers:
    """The sockets of /ws/watch."""

    def __init__(self, board: Board, online: Callable[[], int], drawings: Callable[[], int]) -> None:
        """Show ``board``, and two numbers that are asked for when they are sent."""
        self._board = board
        self._online = online
        self._drawings = drawings
        self._lines: set[Line] = set()

    async def watch(self, line: Line, _: Guest) -> None:
        """Show one watcher all there is until they go."""
        said = 0

        def hear(_: str | bytes) -> None:
            nonlocal said
            said += 1
            line.send('{"type":"error","code":"read_only","message":"this socket only tells"}')
            if said >= _SAID:
                line.close(POLICY, "this socket only tells")

        line.send(_text(self._board.snapshot(self._online(), self._drawings())))
        self._lines.add(line)
        try:
            await line.listen(hear)
        finally:
            self._lines.discard(line)

    async def tick(self) -> None:
        """Tell what changed, at most five times a second, for ever. Who does not read is dropped by their `Line`."""
        last = (0, 0)
        while True:
            await asyncio.sleep(EVERY_S)
            frames = self._board.changes()
            numbers = (self._online(), self._drawings())
            if numbers != last:
                last = numbers
                frames.append({"type": "online", "online": numbers[0], "drawings": numbers[1]})
            if self._lines:
                for text in map(_text, frames):
                    for line in self._lines:
                        line.send(text)


def _text(frame: Frame) -> str:
    return orjson.dumps(frame).decode()
