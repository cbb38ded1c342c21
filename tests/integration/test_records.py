"""Every topic x kind of bad record x reader, on the running product: all live on, all is told, the next is handled."""

import time
from collections.abc import Callable, Iterator

import pytest

from producers.bus import open_bus
from tests.bad_records import READERS, Player, Told, spoil
from tests.product import Product, product

PROCESSES = ("api", "router", "learning", "trainer")
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def game() -> Iterator[Product]:
    with product(archive_every_s=1.0) as running:
        running.start()
        yield running


def eventually(true: Callable[[], object], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, what()


@pytest.mark.timeout(240)
async def test_no_record_stops_anything_and_every_one_is_told(game: Product, record_property: Callable[[str, object], None]):
    bus = open_bus(f"kafka://{game.settings.bootstrap_servers}")
    told = Told(bus)
    before = {name: game.pid(name) for name in PROCESSES}
    try:
        with Player(game, DEADLINE_S) as player:
            player.play()

            spoilt = spoil(game.settings.bootstrap_servers, player.player_id)
            for what, seconds in player.play().items():
                record_property(f"next record, {what}, s", round(seconds, 3))

            eventually(lambda: not told.missing(spoilt), lambda: told.missing(spoilt))
            assert {name: game.pid(name) for name in PROCESSES} == before, "a process was lost"
            ours = {identity: n for identity, n in told.times.items() if identity in spoilt.expected}
            assert set(ours.values()) == {1}, [spoilt.expected[i] for i, n in ours.items() if n != 1]
            assert {i: told.of[i].digest for i in spoilt.expected} == spoilt.digests
            assert not [one for one in told.of.values() if one.source == "rejected.v1"]
            strangers = {one.stage for one in told.of.values()} - {stage for stages in READERS.values() for stage in stages}
            assert strangers == set()

        for name in PROCESSES:
            recovery = await game.kill(name)
            record_property(f"restarted over it, {name}, s", recovery)
        told.look()
        again = {one.stage for one in told.of.values()}
        assert "trainers" in again
        with Player(game, DEADLINE_S) as player:
            player.play()
    finally:
        told.close()
        bus.close()
