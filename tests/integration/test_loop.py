"""The whole loop on real parts, played from outside: what the players saw is what is on the log."""

import asyncio
from collections.abc import Iterator

import orjson
import pytest
from websockets.asyncio.client import connect

from contracts.events import MODELS as ALL
from producers.audit import audit
from producers.bus import open_bus
from producers.people import SimulationOptions
from producers.players import simulate
from tests.product import Product, product

MODELS = set(ALL)


@pytest.fixture(scope="module")
def game() -> Iterator[Product]:
    with product() as running:
        running.start()
        yield running


async def watched(url: str, drawings: int, corrected: int) -> dict[str, dict]:
    """The scores on the dashboard's socket, once they count this many labelled drawings of every model."""
    scores: dict[str, dict] = {}
    async with asyncio.timeout(20), connect(url.replace("http", "ws", 1) + "/ws/watch", proxy=None) as socket:
        while {model for model, score in scores.items() if score["n"] >= corrected} < MODELS:
            frame = orjson.loads(await socket.recv())
            if frame["type"] in ("snapshot", "scores"):
                scores |= frame["scores"]
    return scores


@pytest.mark.timeout(150)
async def test_every_drawing_is_answered_learned_and_counted_once_although_many_messages_come_twice(game):
    options = SimulationOptions(url=game.url, players=5, drawings=150, speed=12, duplicates=0.2, patience_s=20)

    report = await simulate(options)

    assert report.whole, report.to_json()
    assert report.errors == {}
    assert set(report.last_tenth) == MODELS | {"shown first"}
    assert report.seen["answered by every model"] == 150
    assert sum(report.receipts.values()) == report.seen["corrected"] + report.seen["confirmed"]

    bus = open_bus(f"kafka://{game.settings.bootstrap_servers}")
    try:
        found = await audit(bus, report.saved, report.receipted, since="start")
    finally:
        bus.close()
    assert found.clean, found.model_dump_json(indent=2)
    assert found.rejected == 0

    labelled = len(report.receipted)
    scores = await watched(game.url, 150, labelled)
    assert {model: score["n"] for model, score in scores.items() if model in MODELS} == dict.fromkeys(MODELS, labelled)
    assert all(sum(score["confusion"]) == labelled for model, score in scores.items() if model in MODELS)
