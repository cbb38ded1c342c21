"""Simulated players on a socket, against a game that answers by the protocol and sometimes hangs up."""

import asyncio

import pytest

from gamenight.errors import GameNightUnreachable
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from tests.fake_game import Game, playing


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
    with pytest.raises(GameNightUnreachable, match="gamenight up"):
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
