"""All that tests/hostile.py knows is done to the running product, with its limits by default, while two people play."""

from collections.abc import Iterator

import pytest

from contracts.settings import LIMITS, Settings
from tests.bench.hostile import MOST_MEMORY, people
from tests.hostile.battery import battery
from tests.hostile.client import KEY, Case, Doors
from tests.product import PROCESSES, Product, product
from tests.serving import eventually


@pytest.fixture(scope="module")
def game() -> Iterator[Product]:
    defaults = {name: Settings.model_fields[name].default for name in LIMITS}
    with product(api_keys=f"battery:{KEY}", **defaults) as running:
        running.start()
        eventually(lambda: all(running.pid(name) for name in PROCESSES))
        yield running


@pytest.mark.timeout(300)
def test_strangers_are_refused_and_those_who_play_do_not_notice(game: Product) -> None:
    otherwise: dict[str, str] = {}
    done: list[str] = []

    def told(case: Case, outcome: str) -> None:
        done.append(case.name)
        if outcome not in case.expected:
            otherwise[case.name] = f"{outcome}, not {' or '.join(sorted(case.expected))}"

    pids = {name: game.pid(name) for name in PROCESSES}
    with people(game) as watched:
        battery(Doors.of(game.settings), told)

    assert otherwise == {}
    assert len(done) >= 400
    assert watched.report["seen"]["drawn"] > 20
    assert {
        key: watched.report["seen"].get(key, 0) for key in ("unfinished", "answers not seen", "never saved")
    } == dict.fromkeys(("unfinished", "answers not seen", "never saved"), 0)
    assert (watched.report["missed"], watched.report["errors"]) == ({}, {})
    assert watched.most_memory <= MOST_MEMORY
    assert {name: game.pid(name) for name in pids} == pids, "a process had to be started again"
