"""Refuses restrictions of players whom the game does not know, before anything of them is on the log (way 3, OPERATE).

Twice is harmless: who is forgotten stays so.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError

from api.folds.model_board import ModelBoard
from api.folds.teachers import PlayerTeaching, Teachers
from api.ops.door import wrong_field
from api.ops.requests import RestrictRequest
from contracts.events import ExampleLabelled
from contracts.ports import Bus
from producers.whole_log import all_records

FORGOTTEN: Final = "this player is forgotten"
NOBODY: Final = "no player of this id has taught: see `gamenight players`"
FREE: Final = "this player is not restricted: see `gamenight players`"


class KnownPlayers:
    """The players who have taught or are restricted, as memory has them and, of those who taught long ago, the log."""

    def __init__(self, board: ModelBoard, teachers: Teachers, is_forgotten: Callable[[str], bool], bus: Bus) -> None:
        """Keep what knows players."""
        self._board = board
        self._teachers = teachers
        self._is_forgotten = is_forgotten
        self._bus = bus
        self._reading = asyncio.Semaphore(1)

    def listed(self) -> list[PlayerTeaching]:
        """Return the players who taught lately or are restricted."""
        return self._teachers.players(self._board.catalog.restrictions)

    async def check(self, request: RestrictRequest) -> None:
        """Check that a player can be restricted, or pardoned. What is refused is told without the id, which would be kept.

        Raises:
            RequestValidationError: If the player is forgotten or nobody, or to be pardoned and not restricted.
            HTTPException: If the log has to be read and cannot be.
        """
        player = request.player_id
        if self._is_forgotten(player):
            raise _refused(FORGOTTEN)
        if player in self._board.catalog.restrictions:
            return
        if player not in self._teachers.known and not await self._on_the_log(player):
            raise _refused(NOBODY)
        if request.restriction == "none":
            raise _refused(FREE)

    async def _on_the_log(self, player: str) -> bool:
        async with self._reading:  # a big topic is read
            try:
                return await asyncio.to_thread(self._has_taught, player)
            except RuntimeError as failure:
                raise HTTPException(503, f"{ExampleLabelled.topic} cannot be read: {failure}") from failure

    def _has_taught(self, player: str) -> bool:
        key = player.encode()
        begin = key + b"/"  # a mark follows, but in homes of before
        keys = (record.key or b"" for record in all_records(self._bus, [ExampleLabelled.topic]))
        return any(one == key or one.startswith(begin) for one in keys)


def _refused(why: str) -> RequestValidationError:
    return RequestValidationError([wrong_field(why, ("player_id",))])
