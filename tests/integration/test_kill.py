"""kill -9 of each process in turn, and of three at once, while people play: what was acknowledged is kept."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from deploy.audit import committed
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from tests.audited import audited
from tests.product import PROCESSES, Product, Recovery, product
from tests.roster import MODELS

BACK_WITHIN_S = 10.0
AT_ONCE = ("router", "learning", "kafka")


@pytest.fixture(scope="module")
def game() -> Iterator[Product]:
    with product() as running:
        running.start()
        yield running


@pytest.mark.timeout(280)
async def test_kill_9_of_any_process_and_of_three_at_once_under_play_loses_nothing_and_counts_nothing_twice(
    game, record_property
):
    begun, enough = asyncio.Event(), asyncio.Event()
    options = SimulationOptions(url=game.url, players=6, drawings=100_000, speed=6, duplicates=0.05, patience_s=40)
    playing = asyncio.create_task(simulate(options, lambda done, _: begun.set() if done else None, enough))
    seconds: dict[str, Recovery] = {}
    try:
        await asyncio.wait_for(begun.wait(), 30)
        for process in PROCESSES:
            seconds[process] = await game.kill(process)
            record_property(f"after kill -9 of {process}, s", seconds[process])
        seconds[" and ".join(AT_ONCE)] = await game.kill(*AT_ONCE)
    finally:
        enough.set()
        report = await playing

    commits = partial(committed, game.settings)
    found = await audited(game.settings, report, wait_s=30, home=game.settings.home, commits=commits)
    assert found.clean, found.model_dump_json(indent=2)
    assert all(found.answered.get(model, 0) + found.missed.get(model, 0) == found.drawings for model in MODELS)
    assert all(found.refolded.values())
    assert report.seen.get("unfinished", 0) == 0, report.to_json()
    assert max(recovery.playable for recovery in seconds.values()) <= BACK_WITHIN_S, seconds
