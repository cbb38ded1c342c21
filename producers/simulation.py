"""Runs simulated players over the public WebSocket, and reports what they saw (outside all three ways).

They know only what a browser knows: the protocol of /ws/play. One asyncio process runs a hundred of them. A socket that
drops is opened again with the same seat, and frames that were not acknowledged are sent again with the same ids.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from contracts.events import now
from gamenight.sockets import LastingSocket, knock
from producers.handwriting import handwriting
from producers.simulated_player import SimulatedPlayer
from producers.simulation_options import SimulationOptions
from producers.simulation_report import SimulationReport, report
from producers.tally import Tally

ReportProgress = Callable[[int, int], None]
"""A function that is called a few times a second with the number of finished drawings and of all drawings."""

_TICK_S = 0.25
_MOST_WAITING = 64  # open drawings of one player; beyond it the player waits, and the report says how often
_LONGEST_WAIT_S = 1.0  # the pause between two tries to reach the game
_PATH: Final = "/ws/play"


async def simulate(
    options: SimulationOptions, progress: ReportProgress | None = None, enough: asyncio.Event | None = None
) -> SimulationReport:
    """Play until every drawing is done or given up.

    The report has the ids that `deploy.audit.audit` looks for on the log.

    Args:
        options: How many players there are, and how they play.
        progress: Called with the progress.
        enough: Once it is set, no player begins another drawing.

    Raises:
        GameNightUnreachable: If nobody answers at the address.
    """
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    await knock(options.url, _PATH, headers)
    tally = Tally(options.drawings)
    pens = list(handwriting(options.data).values())
    enough = enough or asyncio.Event()
    players = [SimulatedPlayer(i, options, pens[i % len(pens)], tally) for i in range(options.players)]
    connections = [_Connection(player, i, headers, options, tally, enough) for i, player in enumerate(players)]
    started, began = now(), time.monotonic()  # not the loop's time: uvloop counts whole milliseconds
    playing = asyncio.gather(*(connection.play() for connection in connections))
    try:
        while not playing.done():
            await asyncio.wait([playing], timeout=_TICK_S)
            for connection in connections:
                await connection.tick()
            if progress:
                progress(tally.seen["through"] + tally.seen["unfinished"], options.drawings)
        await playing
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    return report(options, tally, started, time.monotonic() - began)


class _Connection:
    """A player's connection: carries their frames, and connects again when the socket drops."""

    def __init__(
        self,
        player: SimulatedPlayer,
        number: int,
        headers: dict[str, str],
        options: SimulationOptions,
        tally: Tally,
        enough: asyncio.Event,
    ) -> None:
        self._player = player
        self._enough = enough
        self._options = options
        self._tally = tally
        self._chance = random.Random(f"pace/{options.seed}/{number}")
        self._socket = LastingSocket(
            options.url, _PATH, player.join, self._lost, headers=headers, longest_s=_LONGEST_WAIT_S, chance=self._chance
        )
        self._seated = asyncio.Event()
        self._moved = asyncio.Event()
        self._looking: set[asyncio.TimerHandle] = set()
        self._saying: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def play(self) -> None:
        """Draw this player's share; return when all of it is done or given up."""
        holding = asyncio.create_task(self._hold_on())
        try:
            drawing = asyncio.create_task(self._draw())
            await asyncio.wait([holding, drawing], return_when=asyncio.FIRST_COMPLETED)
            for task in (drawing, holding):
                if task.done():
                    task.result()
        finally:
            drawing.cancel()
            for handle in self._looking:
                handle.cancel()
            await self._socket.close()
            holding.cancel()
            await asyncio.gather(drawing, holding, return_exceptions=True)

    async def tick(self) -> None:
        """Send frames again that were not acknowledged in time, and give up drawings that are too old."""
        self._player.give_up(time.monotonic())
        if self._seated.is_set():
            await self._say(self._player.again(time.monotonic()))
        self._moved.set()

    async def _draw(self) -> None:
        await self._seated.wait()
        pace, speed = self._options.pace_s, self._options.speed
        due = time.monotonic() + self._chance.uniform(0, pace)
        for drawn in self._player.draws():
            if pace:
                await self._until(due)
                due += pace * self._chance.uniform(0.5, 1.5)
            if self._enough.is_set():
                break
            down = time.monotonic()
            for after_s, frame in drawn.previews:
                if pace:
                    await self._until(down + after_s / speed)
                self._tally.seen["previews"] += 1
                await self._say([frame])
            if pace:
                await self._until(down + drawn.duration_s / speed)
            await self._say(self._player.pen_up(drawn, time.monotonic()))
            if pace and self._player.waiting > _MOST_WAITING:
                self._tally.seen["held back"] += 1
            await self._fewer_than(_MOST_WAITING if pace else 1)
        await self._fewer_than(1)

    async def _until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - time.monotonic()))

    async def _fewer_than(self, waiting: int) -> None:
        while self._player.waiting >= waiting:
            self._moved.clear()
            await self._moved.wait()

    async def _say(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            if not self._seated.is_set() or not await self._socket.send(frame):
                return  # it is kept, and sent once there is a seat again

    async def _hold_on(self) -> None:
        async for frame in self._socket.frames():
            await self._receive(frame)

    def _lost(self, why: str) -> None:
        self._tally.errors[why] += 1
        self._seated.clear()

    async def _receive(self, frame: dict[str, Any]) -> None:
        look = self._player.receive(frame, time.monotonic())
        if frame["type"] == "joined":
            self._seated.set()
            self._tally.seen["seats taken"] += 1
            await self._say(self._player.again(time.monotonic(), everything=True))
        elif look is not None:
            drawing_id, in_s = look
            if in_s:
                self._look_later(drawing_id, in_s)
            else:
                await self._say(self._player.judge(drawing_id, time.monotonic()))
        self._moved.set()

    def _look_later(self, drawing_id: str, in_s: float) -> None:
        def look() -> None:
            self._looking.discard(handle)
            saying = asyncio.ensure_future(self._say(self._player.judge(drawing_id, time.monotonic())))
            self._saying.add(saying)
            saying.add_done_callback(self._saying.discard)
            self._moved.set()

        handle = self._loop.call_later(in_s, look)
        self._looking.add(handle)
