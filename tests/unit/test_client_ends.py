"""The client ends well: interrupted, dropped, refused, asked once more, or with a game that hangs up at once."""

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from gamenight.blocking import _LoopThread
from gamenight.client import AsyncPlayer, GameNightError, GameNightRefused, GameNightSilent, Player, watch
from gamenight.conversation import Conversation
from gamenight.sockets import LastingSocket
from tests.fake_game import Game, playing

SEVEN = [[(20, 20), (80, 20), (45, 100)]]


def clients() -> list[threading.Thread]:
    """Return the threads of clients."""
    return [one for one in threading.enumerate() if one.name == "gamenight client"]


class Served:
    """A handler of sockets, served from a thread of its own, so that the main thread can be interrupted."""

    def __init__(self, handle: Any) -> None:
        self._loop = _LoopThread()
        self._server = self._loop.run(self._serve(handle))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @staticmethod
    async def _serve(handle: Any) -> Any:
        return await serve(handle, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    def close(self) -> None:
        """Serve no more."""
        self._loop.run(self._end())
        self._loop.close()


async def quiet(socket: ServerConnection) -> None:
    """Send a snapshot, and nothing after it."""
    await socket.send(orjson.dumps({"type": "snapshot"}), text=True)
    await socket.wait_closed()


def test_ctrl_c_ends_a_watch_with_keyboard_interrupt_and_leaves_no_thread():
    served, before = Served(quiet), len(clients())
    interrupt = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        frames = watch(served.url)
        assert next(frames) == {"type": "snapshot"}

        def heard_in_vain() -> None:
            interrupt.start()
            next(frames)

        with pytest.raises(KeyboardInterrupt):
            heard_in_vain()
        assert len(clients()) == before
    finally:
        interrupt.cancel()
        served.close()


def test_a_player_that_is_dropped_or_cannot_leave_keeps_no_thread(monkeypatch: pytest.MonkeyPatch):
    game = Game()
    served, before = Served(game.handle), clients()
    try:
        player: Player | None = Player(served.url, "Ada")
        [thread] = [one for one in clients() if one not in before]
        del player
        gc.collect()
        thread.join(5)
        assert not thread.is_alive()

        async def broken(self: AsyncPlayer) -> None:
            raise OSError("cannot leave")

        player = Player(served.url, "Bob")
        monkeypatch.setattr(AsyncPlayer, "aclose", broken)
        with pytest.raises(OSError, match="cannot leave"):
            player.close()
        player.close()  # twice is once
        assert clients() == before
    finally:
        served.close()


class Slow(Game):
    """Answers for no drawing before it has been sent twice."""

    def draw(self, frame: Any) -> Any:
        answers = list(super().draw(frame))
        if self.finals[frame["drawing_id"]] > 1:
            yield from answers


async def test_who_asks_again_with_the_id_of_what_was_not_answered_has_one_drawing():
    game = Slow()
    async with playing(game) as url, AsyncPlayer(url, "Ada", wait_s=1.0) as ada:
        with pytest.raises(GameNightSilent, match="ask again with drawing_id") as silent:
            await ada.draw(SEVEN)
        drawing = await ada.draw(SEVEN, drawing_id=silent.value.drawing_id)

    assert drawing.saved
    assert list(game.finals) == [str(silent.value.drawing_id)]


def test_an_id_that_was_refused_is_asked_anew_and_what_was_seen_of_a_drawing_stays():
    talk, named = Conversation("Ada", None, "s", questions=False), uuid4()
    talk.joined = True
    talk.draw(named, SEVEN, None, final=True, asked=None)
    talk.receive({"type": "error", "code": "invalid", "message": "too few", "drawing_id": str(named)})
    assert str(named) in talk.refusals

    talk.draw(named, SEVEN, None, final=True, asked=None)
    assert talk.refusals == {}
    talk.receive({"type": "saved", "drawing_id": str(named)})
    talk.draw(named, SEVEN, None, final=True, asked=None)
    assert talk.drawings[str(named)].saved, "the game says it once"


async def test_what_cannot_be_sent_is_refused_and_does_not_stand_in_the_way_of_what_comes_after():
    game = Game()
    async with playing(game) as url, AsyncPlayer(url, "Ada", wait_s=2) as ada:
        drawing = await ada.draw(SEVEN)
        for label in (None, "seven", 7.0, 2**70):
            with pytest.raises(GameNightRefused, match=r"\(invalid\)"):
                await ada.correct(drawing, label)  # type: ignore[arg-type]
        with pytest.raises(GameNightRefused, match=r"\(invalid\)"):
            await ada.draw(SEVEN, asked=2**70)
        learned = await ada.correct(drawing, np.int64(7))  # type: ignore[arg-type]

    assert learned.outcome == "learned"
    assert len(game.corrections) == 1, "nothing was withdrawn without being asked for"


async def test_what_is_no_drawing_or_no_id_is_told_in_one_line_at_once():
    async with playing(Game()) as url, AsyncPlayer(url, "Ada", wait_s=2) as ada:
        drawing = await ada.draw(SEVEN, drawing_id=str(uuid4()))  # type: ignore[arg-type]
        wrong: list[tuple[Callable[[], Any], str]] = [
            (lambda: ada.draw(SEVEN, drawing_id="abc"), "'abc': neither a drawing nor the id of one"),  # type: ignore[arg-type]
            (lambda: ada.correct("x", 7), "'x': neither a drawing nor the id of one"),  # type: ignore[arg-type]
            (lambda: ada.withdraw(None), "None: neither a drawing"),  # type: ignore[arg-type]
            (lambda: ada.draw(SEVEN[0]), "strokes: a list of pen paths, each a list of"),  # type: ignore[arg-type]
            (lambda: ada.draw([[("a", "b")]]), "strokes: a list of pen paths, each a list of"),  # type: ignore[list-item]
            (lambda: ada.draw(SEVEN, size=300), "size: width and height"),  # type: ignore[arg-type]
        ]
        for ask, told in wrong:
            with pytest.raises(GameNightRefused, match=told) as refused:
                await ask()
            assert "\n" not in str(refused.value)
        assert (await ada.correct(str(drawing.drawing_id), 7)).outcome == "learned"  # type: ignore[arg-type]


async def test_who_has_not_joined_or_has_left_is_told_so_at_once():
    async with playing(Game()) as url:
        ada = AsyncPlayer(url, "Ada")
        with pytest.raises(GameNightError, match="not joined: use `async with"):
            await ada.draw(SEVEN)
        async with ada:
            drawing = await ada.draw(SEVEN)
        with pytest.raises(GameNightError, match="this player has left"):
            await ada.correct(drawing, 7)

        def script() -> None:
            with Player(url, "Bob") as bob:
                pass
            for ask in (lambda: bob.draw(SEVEN), lambda: bob.correct(drawing, 7), lambda: bob.withdraw(drawing)):
                with pytest.raises(GameNightError, match="this player has left"):
                    ask()

        await asyncio.to_thread(script)


def test_a_watch_that_is_broken_off_ends_without_a_word():
    """It looped over a generator in a generator, both of which asyncio closed at its end: the one was running in the other."""
    program = """
import asyncio, sys
from gamenight.client import async_watch

async def look():
    async for frame in async_watch(sys.argv[1]):
        print(frame["type"])
        break

asyncio.run(look())
"""
    served = Served(quiet)
    try:
        run = subprocess.run(
            [sys.executable, "-c", program, served.url], capture_output=True, text=True, timeout=30, check=False
        )
    finally:
        served.close()

    assert (run.stdout, run.stderr) == ("snapshot\n", "")


class Busy(Game):
    """Puts off so many joins after ``free`` ones, which is what an address with too many of them is told."""

    def __init__(self, put_off: int, free: int = 0, hang_up_on: frozenset[int] = frozenset()) -> None:
        super().__init__(hang_up_on)
        self.put_off, self.free = put_off, free

    def join(self, frame: Any) -> Any:
        if self.free or not self.put_off:
            self.free = max(0, self.free - 1)
            yield from super().join(frame)
        else:
            self.put_off -= 1
            yield {"type": "error", "code": "busy", "message": "too many joins from your address: try again in 1 s"}


async def test_a_join_that_the_game_puts_off_is_said_again_also_on_a_later_socket(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gamenight.player.PATIENCE_S", 0.2)
    game = Busy(put_off=2)
    async with playing(game) as url, AsyncPlayer(url, "Ada", wait_s=4) as ada:
        game.hang_up_on, game.put_off = frozenset({1}), 2
        drawing = await ada.draw(SEVEN)

    assert drawing.saved
    assert game.put_off == 0


async def test_who_is_not_let_in_in_time_is_told_what_the_game_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gamenight.player.PATIENCE_S", 0.2)
    async with playing(Busy(put_off=999)) as url:
        with pytest.raises(GameNightRefused, match=r"too many joins from your address.*\(busy\)"):
            await AsyncPlayer(url, "Ada", wait_s=0.6).__aenter__()
    later = Busy(put_off=999, free=1, hang_up_on=frozenset({1}))
    async with playing(later) as url, AsyncPlayer(url, "Ada", wait_s=0.8) as ada:
        with pytest.raises(GameNightSilent, match=r"too many joins from .*ask again with drawing_id") as silent:
            await ada.draw(SEVEN)

    assert str(silent.value.drawing_id) in ada.talk.drawings


class Unhurried(random.Random):
    """Chance that spreads nobody."""

    def uniform(self, a: float, b: float) -> float:
        return 1.0


async def test_a_game_that_hangs_up_after_a_frame_is_asked_more_and_more_seldom_until_a_socket_has_lasted():
    waits: list[float] = []
    now = 0.0

    async def rest(seconds: float) -> None:
        waits.append(seconds)

    def clock() -> float:
        nonlocal now
        now += 60 if len(waits) == 5 else 0.1
        return now

    async def hangs_up(socket: ServerConnection) -> None:
        await socket.send(b'{"type": "joined"}', text=True)
        await socket.close(1011, "a fault of the server")

    async with serve(hangs_up, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        socket = LastingSocket(url, "/ws/play", lambda: None, lambda why: None, chance=Unhurried(), clock=clock, rest=rest)
        async with aclosing(socket.frames()) as frames:  # type: ignore[type-var]
            async for _ in frames:
                if len(waits) == 7:
                    break

    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 0.05, 0.1]


class Restarted(Game):
    """Lets its player in once, and after the next hang-up does not know the seat any more."""

    def join(self, frame: Any) -> Any:
        if self.seats.total():
            self.seats[frame["seat"]] += 1
            yield {"type": "error", "code": "bad_seat", "message": "this seat is not valid here"}
            yield None
        else:
            yield from super().join(frame)


async def test_a_seat_that_is_refused_for_good_is_not_asked_for_again():
    game = Restarted(hang_up_on=frozenset({1}))
    async with playing(game) as url, AsyncPlayer(url, "Ada") as ada:
        with pytest.raises(GameNightRefused, match="bad_seat"):
            await ada.draw(SEVEN)
        async with asyncio.timeout(5):
            await asyncio.wait([ada._tasks[0]])

    assert game.seats.total() == 2
