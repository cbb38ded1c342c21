"""Every topic x kind of bad record x reader, on the running product: all live on, all is told, the next is handled."""

import base64
import time
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest

from contracts.events import TOPICS, CorrectionGiven
from producers.bus import open_bus
from tests.bad_records import Player, Told, spoil
from tests.bad_values import READERS
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


def repair_and_replay(player: Player) -> None:
    """What was no correction is made one, and is learned as if it had come so."""
    given = CorrectionGiven(correction_id=uuid4(), drawing_id=UUID(player.drawing_id), player_id=player.player_id, label=3)
    with player.operator() as asking:
        asked = {"topic": "corrections.v1", "stage": "joiner", "limit": 1000, "last": 20_000}
        listed = asking.get("/api/ops/rejected", params=asked).raise_for_status().json()
        [bad] = [one for one in listed if one["text"] == "<drawing/>"]
        assert (bad["state"], bad["whole"], bad["key"]) == ("open", True, "bad not JSON")
        where = f"/api/ops/rejected/{bad['rejection_id']}"
        assert base64.b64decode(asking.get(where).raise_for_status().json()["value"]) == b"<drawing/>"
        assert asking.post(f"{where}/replay").status_code == 409, "it is no event yet"
        mended = asking.post(f"{where}/repair", json={"value": given.record_value().decode()}).raise_for_status().json()
        assert (mended["state"], mended["repaired"]) == ("repaired", given.record_value().decode())
        replayed = asking.post(f"{where}/replay").raise_for_status().json()
        assert replayed["topic"] == "corrections.v1"
        told = player.receipted(str(given.correction_id))
        assert told["outcome"] == ("weighted" if told["stage"] == "learner" else "learned"), (
            "as a newcomer's is, in the shared model"
        )
        assert asking.get(where).raise_for_status().json()["state"] == "replayed"


@pytest.mark.timeout(240)
async def test_no_record_stops_anything_and_every_one_is_told(game: Product, record_property: Callable[[str, object], None]):
    bus = open_bus(f"kafka://{game.settings.bootstrap_servers}")
    told = Told(bus)
    before = {name: game.pid(name) for name in PROCESSES}
    try:
        with Player(game, DEADLINE_S) as player:
            player.play()

            spoilt = spoil(game.settings.bootstrap_servers, player.player_id, player.drawing_id)
            for what, seconds in player.play().items():
                record_property(f"next record, {what}, s", round(seconds, 3))

            eventually(lambda: not told.missing(spoilt), lambda: told.missing(spoilt))
            assert {name: game.pid(name) for name in PROCESSES} == before, "a process was lost"
            ours = {identity: n for identity, n in told.times.items() if identity in spoilt.expected}
            assert set(ours.values()) == {1}, [spoilt.expected[i] for i, n in ours.items() if n != 1]
            assert {i: told.of[i].digest for i in spoilt.expected} == spoilt.digests
            assert not [one for one in told.of.values() if one.source == "rejected.v1"]
            ours_say = {one.stage for one in told.of.values() if one.source in TOPICS}
            assert ours_say - {stage for stages in READERS.values() for stage in stages} == set()
            taught = player.taught["river"]
            player.play()
            assert player.versions["river"] == taught, "a snapshot that means harm stands before an honest one"
            repair_and_replay(player)

        told.of.clear()
        for name in PROCESSES:
            recovery = await game.kill(name)
            record_property(f"restarted over it, {name}, s", recovery)
        again: set[tuple[str, str]] = set()

        def told_again() -> bool:
            told.look()
            again.update((one.source, one.stage) for one in told.of.values())
            return ("models.v1", "trainers") in again  # which it reads when it starts

        eventually(told_again, lambda: again)
        with Player(game, DEADLINE_S) as player:
            player.play()
    finally:
        told.close()
        bus.close()
