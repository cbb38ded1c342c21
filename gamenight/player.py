"""Plays the game over its public socket (ways 1 and 2): draws, sees guesses, corrects, reads receipts.

What the game has not acknowledged is sent again with the same id, also on the next socket, so that twice is once.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, Self
from uuid import UUID, uuid4

import orjson

from contracts.events import Device
from gamenight.conversation import Conversation, PenPath, SeenDrawing, SeenReceipt, drawing_id_of
from gamenight.errors import GameNightError, GameNightSilent, GameNightUnreachable
from gamenight.outbox import ClientFrame
from gamenight.sockets import HERE, LastingSocket

PATIENCE_S: Final = 6.0
"""What is not answered for so long, in seconds, is sent again; so is all of it after each new socket."""
WAIT_S: Final = 15.0
"""How long a method waits for the game, in seconds, unless it is told otherwise."""
LEFT: Final = "this player has left: make another one, with the same `seat` to be the same player"
_PATH: Final = "/ws/play"


class AsyncPlayer:
    """A player on a socket that comes back when it drops; `gamenight.client.Player` is the same without asyncio."""

    def __init__(
        self,
        url: str = HERE,
        name: str = "Guest",
        *,
        room: str | None = None,
        seat: str | None = None,
        questions: bool = False,
        wait_s: float = WAIT_S,
    ) -> None:
        """Keep what is needed to join; ``async with`` joins.

        Args:
            url: The address of the game.
            name: What others in the room see, 1 to 32 characters.
            room: The room to join, as four letters; None: the seat's room, or a new one.
            seat: The `seat` of an earlier player, to be the same one; None: a new player.
            questions: Whether the game may ask for digits (`question`).
            wait_s: How long each method waits for the game, in seconds.
        """
        self.url, self._wait_s = url, wait_s
        self.talk = Conversation(name, room, seat, questions)
        """All that was said and seen."""
        self._socket = LastingSocket(url, _PATH, lambda: orjson.dumps(self.talk.join()), self._lost)
        self._why = ""
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._left = False

    async def __aenter__(self) -> Self:
        """Join the game.

        Raises:
            GameNightUnreachable: If no game answers.
            GameNightRefused: If it does not let this player in, as with a seat that is not its own, or not in time (``busy``).
        """
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._resend())]
        try:
            await self._until(lambda: self.talk.joined or self._why, "the game has not let us in")
            if not self.talk.joined:
                raise GameNightUnreachable(self.url, self._why)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *ended: object) -> None:
        """Leave the game."""
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the game; what was not acknowledged is not sent any more."""
        self._left = True
        try:
            await self._socket.close()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- what a player does

    async def draw(
        self,
        strokes: Sequence[PenPath],
        *,
        size: tuple[float, float] | None = None,
        final: bool = True,
        asked: int | None = None,
        device: Device | None = None,
        drawing_id: UUID | None = None,
    ) -> SeenDrawing:
        """Send a drawing, and wait until it is saved and every model has answered or is missed.

        Args:
            strokes: Pen paths: lists of (x, y), or (x, y, milliseconds), in pixels of the canvas, y downwards.
            size: Width and height of the canvas; None: as large as the drawing needs.
            final: Whether the drawing is finished; if not, it is a preview, which nobody learns from.
            asked: The `question` that it answers, if it does.
            device: What it was drawn with: mouse, pen or touch; None: something else.
            drawing_id: Its id; None: a new one. The same id again is the same drawing: this waits for it once more.

        Raises:
            GameNightRefused: If the game does not take the drawing.
            GameNightSilent: If it was not answered in time; its ``drawing_id`` waits for the same drawing once more.
            GameNightUnreachable: If the game has gone, and did not come back in time.
            GameNightError: If this player has not joined by ``async with``, or has left.
        """
        self._in_game()
        named = uuid4() if drawing_id is None else drawing_id_of(drawing_id)
        frame = self.talk.draw(named, strokes, size, final, asked, device)
        drawing = self.talk.drawings[str(named)]
        await self._say(frame, final)
        await self._until(lambda: self.talk.answered(drawing), "the drawing is not answered", named)
        return drawing

    async def correct(self, drawing: SeenDrawing | UUID, label: int) -> SeenReceipt:
        """Say what a drawing is, and wait for the receipts of all who learn; raises as `draw` does."""
        return await self._teach(drawing, lambda named, given: self.talk.correct(named, given, label))

    async def withdraw(self, drawing: SeenDrawing | UUID) -> SeenReceipt:
        """Take back what was said of a drawing, and wait for the receipts; raises as `draw` does."""
        return await self._teach(drawing, self.talk.withdraw)

    async def _teach(self, drawing: SeenDrawing | UUID, say: Callable[[UUID, UUID], ClientFrame]) -> SeenReceipt:
        self._in_game()
        drawing_id, correction_id = drawing_id_of(drawing), uuid4()
        frame = say(drawing_id, correction_id)
        receipt = self.talk.receipts[str(correction_id)]
        await self._say(frame, True)
        await self._until(lambda: receipt.whole, "the correction has no receipt of all who learn", drawing_id)
        return receipt

    def _in_game(self) -> None:
        if self._left:
            raise GameNightError(LEFT)
        if not self._tasks:
            raise GameNightError("this player has not joined: use `async with AsyncPlayer(...) as player`")

    # --- the socket

    async def _say(self, frame: ClientFrame, kept: bool) -> None:
        """Send a frame now; one that is kept goes with all else that is due, in its order."""
        if not self.talk.joined:
            return
        for one in self.talk.outbox.due(time.monotonic(), PATIENCE_S) if kept else [frame]:
            await self._socket.send(orjson.dumps(one))

    def _lost(self, why: str) -> None:
        self._why = why
        self.talk.lost()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _listen(self) -> None:
        async with aclosing(self._socket.frames()) as frames:
            async for frame in frames:
                self.talk.receive(frame)
                if frame["type"] == "joined":
                    for one in self.talk.outbox.due(time.monotonic(), 0):
                        await self._socket.send(orjson.dumps(one))
                self._wake()
                if self.talk.refused:  # for good: another socket would be told the same
                    return

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(PATIENCE_S / 2)
            if self.talk.join_again:
                await self._socket.send(orjson.dumps(self.talk.join()))
            if self.talk.joined:
                for one in self.talk.outbox.due(time.monotonic(), PATIENCE_S):
                    await self._socket.send(orjson.dumps(one))

    async def _until(self, done: Callable[[], Any], otherwise: str, drawing_id: UUID | None = None) -> None:
        """Wait until the frames that come make something true.

        Raises:
            GameNightRefused: If the game refuses this player, or the drawing, or has put joining off until now.
            GameNightSilent: If it takes too long, with a socket.
            GameNightUnreachable: If it takes too long, without.
        """
        deadline = time.monotonic() + self._wait_s
        while not done():
            if refusal := self.talk.refusals.get(str(drawing_id)) or self.talk.refused:
                raise refusal
            for task in self._tasks:
                if task.done():
                    task.result()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                if self.talk.put_off and drawing_id is None:
                    raise self.talk.put_off from None
                if not self.talk.joined and not self.talk.put_off:
                    raise GameNightUnreachable(self.url, self._why or "it does not answer", drawing_id) from None
                again = "ask again" if drawing_id is None else f"ask again with drawing_id {drawing_id}"
                cause = (
                    f"the game still puts joining off: {self.talk.put_off}" if self.talk.put_off else f"see {self.url}/healthz"
                )
                why = f"{otherwise} after {self._wait_s:g} s: {cause}, and {again}"
                raise GameNightSilent(why, drawing_id) from None
