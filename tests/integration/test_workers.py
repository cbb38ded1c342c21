"""Eight workers, kill -9, rebalances and a broker's restart: what is learned is what one undisturbed worker learns."""

from pathlib import Path

import pytest

from deploy.replay import FOLDS, replay
from tests.workers import game, played, shuffled

PLAYERS, DRAWINGS, SEED = 8, 5, 7


@pytest.mark.timeout(420)
def test_eight_workers_that_are_killed_learn_what_one_learns_from_what_comes_once(tmp_path: Path, record_property) -> None:
    told = game(PLAYERS, DRAWINGS, SEED)
    with played(tmp_path / "clean", 1, [event for events in told for event in events]) as (_, clean, _):
        pass

    with played(tmp_path / "harmed", 8, shuffled(told, SEED), kills=4, leaves=1, restarts=1, seed=SEED) as (
        settings,
        harmed,
        owners,
    ):
        report = replay(settings, FOLDS, False, lambda *_: None)

    record_property("workers that had partitions at once, of 8", owners)
    assert harmed == clean
    assert report.status == 0, report.faults()
    assert len(clean) == len(set(clean.values())) == 5
