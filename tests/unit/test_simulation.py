"""Simulated players on a socket, against a game that answers by the protocol and sometimes hangs up."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import orjson
import pytest
from websockets.asyncio.server import serve

from producers.simulation import NoGame, simulate
from producers.simulation_options import SimulationOptions

MODELS = ("xgboost", "river")


class Game:
    """Answers by the public protocol; hangs up on the finished drawings that ``hang_up_on`` numbers, before it saves them."""

    def __init__(self, hang_up_on: frozenset[int] = frozenset()) -> None:
        self.hang_up_on = hang_up_on
        self.finals: Counter[str] = Counter()
        self.corrections: Counter[str] = Counter()
        self.seats: Counter[str | None] = Counter()

    async def handle(self, socket):
        async for text in socket:
            frame = orjson.loads(text)
            for answer in getattr(self, frame["type"])(frame):
                if answer is None:
                    return
                await socket.send(orjson.dumps(answer), text=True)

    def join(self, frame):
        self.seats[frame["seat"]] += 1
        seat = frame["seat"] or f"seat of {frame['name']}"
        yield {"type": "joined", "player_id": seat, "seat": seat, "room": "AAAA", "models": [{"model": m} for m in MODELS]}

    def draw(self, frame):
        drawing_id = frame["drawing_id"]
        if frame["final"]:
            self.finals[drawing_id] += 1
            if self.finals.total() in self.hang_up_on:
                yield None
            yield {"type": "saved", "drawing_id": drawing_id}
        for model in MODELS:
            yield {"type": "guess", "drawing_id": drawing_id, "model": model, "version": "1", "label": 3, "confidence": 0.5,
                   "probabilities": [0.05] * 3 + [0.55] + [0.05] * 6, "hops": {"model": 1.0}}  # fmt: skip

    def correct(self, frame):
        self.corrections[frame["correction_id"]] += 1
        yield {"type": "receipt", "correction_id": frame["correction_id"], "drawing_id": frame["drawing_id"],
               "outcome": "learned", "models": {}}  # fmt: skip


@asynccontextmanager
async def playing(game):
    async with serve(game.handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def options(url, **given):
    return SimulationOptions(**{"url": url, "players": 3, "drawings": 40, "speed": 0.0, "previews": 1, **given})


async def test_every_drawing_is_saved_answered_and_receipted_and_the_report_says_so():
    game = Game()
    async with playing(game) as url:
        report = await simulate(options(url, correct_probability=1.0, confirm_probability=1.0, duplicates=0.2))

    assert report.whole
    assert len(game.finals) == 40 < game.finals.total()
    assert report.seen["answered by every model"] == len(report.saved) == len(report.receipted) == 40
    assert {n for spread in report.latency_ms.values() for n in [spread.n]} == {40}
    assert report.last_tenth["river"].n == 4
    assert report.receipts == {"learned": 40}
    assert '"last_tenth"' in report.to_json()


async def test_a_dropped_socket_loses_nothing_and_keeps_the_seat():
    game = Game(hang_up_on=frozenset({3, 17, 18}))
    async with playing(game) as url:
        report = await simulate(options(url))

    assert report.whole
    assert report.seen["seats taken"] == 6
    assert game.seats == {None: 3} | {seat: n for seat, n in game.seats.items() if seat}
    assert report.errors == {"socket closed, 1000": 3}


async def test_at_a_pace_of_its_own_a_player_does_not_wait_for_answers():
    async with playing(Game()) as url:
        report = await simulate(options(url, speed=400.0, drawings=12))

    assert report.whole


async def test_nobody_at_the_address_is_said_in_one_line():
    with pytest.raises(NoGame, match="gamenight up"):
        await simulate(options("http://127.0.0.1:9"))


async def test_when_it_is_enough_nobody_begins_another_drawing():
    game, enough = Game(), asyncio.Event()

    def stop_at_ten(done, _):
        if done >= 10:
            enough.set()

    async with playing(game) as url:
        report = await simulate(options(url, drawings=100_000, speed=40.0), stop_at_ten, enough)

    assert report.whole
    assert 10 <= report.seen["drawn"] < 1000
