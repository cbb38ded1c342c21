"""Plays and watches without asyncio, for scripts and notebooks (ways 1 and 2): a loop runs in a thread of its own."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from contracts.events import Device
from gamenight.conversation import PenPath, SeenDrawing, SeenReceipt
from gamenight.errors import GameNightError
from gamenight.player import LEFT, WAIT_S, AsyncPlayer
from gamenight.sockets import HERE
from gamenight.watching import async_watch

Result = TypeVar("Result")

_CANCELLED_S: Final = 5.0
"""How long what is cancelled may take to let go of its socket, in seconds."""


class _LoopThread:
    """An event loop that others may ask from their own threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name="gamenight client", daemon=True)
        self._thread.start()

    def _turn(self) -> None:
        try:
            self._loop.run_forever()
            if left := asyncio.all_tasks(self._loop):  # whoever could not leave
                for task in left:
                    task.cancel()
                self._loop.run_until_complete(asyncio.wait(left, timeout=_CANCELLED_S))
        finally:
            self._loop.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something in the loop; if this thread is interrupted, it is cancelled there, and has ended when this raises."""
        ended: Future[asyncio.Task[Result]] = Future()
        begun: list[asyncio.Task[Result]] = []

        def begin() -> None:
            begun.append(self._loop.create_task(work))
            begun[0].add_done_callback(ended.set_result)

        self._loop.call_soon_threadsafe(begin)
        try:
            return ended.result().result()
        except BaseException:
            if not ended.done():
                self._loop.call_soon_threadsafe(lambda: begun[0].cancel())
                wait([ended], _CANCELLED_S)
            raise

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def drop(self, player: AsyncPlayer) -> None:
        """Let a player leave, then end the loop; nobody waits for it, since whoever collects garbage may be the loop itself."""

        async def leaving() -> None:
            try:
                await player.aclose()
            finally:
                self._loop.stop()

        def leave() -> None:
            self._leaving = self._loop.create_task(leaving())

        self._loop.call_soon_threadsafe(leave)


class Player:
    """A player of the game, who waits for each answer; use it in a ``with``, or `close` it; one that is dropped leaves too."""

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
        """Join the game; arguments and errors are those of `AsyncPlayer`."""
        self._loop = _LoopThread()
        try:
            self._player = self._loop.run(self._joined(url, name, room, seat, questions, wait_s))
        except BaseException:
            self._loop.close()
            raise
        self._dropped = weakref.finalize(self, self._loop.drop, self._player)
        self._dropped.atexit = False

    @staticmethod
    async def _joined(url: str, name: str, room: str | None, seat: str | None, questions: bool, wait_s: float) -> AsyncPlayer:
        player = AsyncPlayer(url, name, room=room, seat=seat, questions=questions, wait_s=wait_s)
        return await player.__aenter__()

    def __enter__(self) -> Self:
        """Return this player, who has joined already."""
        return self

    def __exit__(self, *ended: object) -> None:
        """Leave the game."""
        self.close()

    def close(self) -> None:
        """Leave the game; twice is once."""
        if self._dropped.detach() is None:
            return
        try:
            self._loop.run(self._player.aclose())
        finally:
            self._loop.close()

    def _do(self, ask: Callable[[AsyncPlayer], Coroutine[Any, Any, Result]]) -> Result:
        if not self._dropped.alive:
            raise GameNightError(LEFT)
        return self._loop.run(ask(self._player))

    @property
    def player_id(self) -> str:
        """Who this is, for the game and its operators."""
        return self._player.talk.player_id

    @property
    def seat(self) -> str:
        """What makes a later `Player` the same one; it is a secret."""
        return self._player.talk.seat or ""

    @property
    def room(self) -> str:
        """The room's four letters."""
        return self._player.talk.room

    @property
    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """The state of each model, by its name: title, version, kind, part, unavailable and so on."""
        return self._player.talk.models

    @property
    def question(self) -> int | None:
        """The digit that the game asks for, if it does."""
        return self._player.talk.question

    def draw(
        self,
        strokes: Sequence[PenPath],
        *,
        size: tuple[float, float] | None = None,
        final: bool = True,
        asked: int | None = None,
        device: Device | None = None,
        drawing_id: UUID | None = None,
    ) -> SeenDrawing:
        """Send a drawing and wait for its guesses, see `AsyncPlayer.draw`."""
        return self._do(
            lambda player: player.draw(strokes, size=size, final=final, asked=asked, device=device, drawing_id=drawing_id)
        )

    def correct(self, drawing: SeenDrawing | UUID, label: int) -> SeenReceipt:
        """Say what a drawing is and wait for the receipts, see `AsyncPlayer.correct`."""
        return self._do(lambda player: player.correct(drawing, label))

    def withdraw(self, drawing: SeenDrawing | UUID) -> SeenReceipt:
        """Take back what was said of a drawing, see `AsyncPlayer.withdraw`."""
        return self._do(lambda player: player.withdraw(drawing))


def watch(url: str = HERE) -> Iterator[dict[str, Any]]:
    """Yield the frames of the dashboard, see `async_watch`; the socket closes when the iterator does."""
    loop = _LoopThread()
    frames = async_watch(url)

    async def following() -> dict[str, Any] | None:
        return await anext(frames, None)

    try:
        while (frame := loop.run(following())) is not None:
            yield frame
    finally:
        try:
            loop.run(frames.aclose())
        finally:
            loop.close()
