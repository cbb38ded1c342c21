"""The broker is killed under players: they are told, nothing that was taken is lost, and it goes on by itself."""

import os
import signal
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from contracts.events import ModelPromoted, decode
from deploy.local.supervisor import Supervisor, running
from producers.bus import open_bus
from tests.answering import answering
from tests.conftest import fresh_settings
from tests.histories import drawing, guess, named
from tests.roster import BATCH_MODELS
from tests.serving import DEADLINE_S, eventually, get, playing, serving


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Supervisor, str]]:
    """A broker of its own, started again when it dies."""
    settings = fresh_settings(tmp_path_factory.mktemp("outage"))
    with running(settings, ["kafka"]) as supervisor:
        yield supervisor, f"kafka://{settings.bootstrap_servers}"


@pytest.mark.timeout(120)
def test_a_broker_killed_under_load_loses_and_doubles_nothing_that_it_was_given(broker):
    supervisor, url = broker
    bus = open_bus(url)
    tail = bus.follow(["drawings.v1"], "end")
    given, longest = [], 0.0
    for i in range(300):
        event = drawing().model_copy(update={"drawing_id": uuid4()})
        began = time.monotonic()
        given.append((event.drawing_id, bus.publish(event)))
        longest = max(longest, time.monotonic() - began)
        if i == 100:
            os.kill(supervisor.pid("kafka"), signal.SIGKILL)
        time.sleep(0.01)

    for _, kept in given:
        kept.result(90)

    found: list[UUID] = []
    eventually(lambda: found.extend(decode(r.topic, r.value).drawing_id for r in tail.poll(0.5)) or len(found) >= 300)
    assert sorted(found) == sorted(drawing_id for drawing_id, _ in given)
    assert longest < 1.0, "publishing waited"
    tail.close()
    bus.close()


@pytest.mark.timeout(120)
def test_a_player_is_told_that_the_log_is_away_and_gets_saved_when_it_is_back(broker):
    supervisor, url = broker
    bus = open_bus(url)
    with serving(bus) as address, playing(address) as player:
        player.saved("before")
        held = supervisor.pid("kafka")
        os.kill(held, signal.SIGSTOP)  # it keeps its connections and answers nothing
        player.draw("meanwhile")

        health = get(address, "/healthz")
        told = player.next("error")
        os.kill(held, signal.SIGKILL)

        assert (told["code"], told["drawing_id"]) == ("unavailable", str(named("meanwhile")))
        assert (health.status_code, health.json()["status"]) == (503, "unavailable")
        assert "did not acknowledge" in health.json()["missing"]["kafka"]
        assert player.next("saved")["drawing_id"] == str(named("meanwhile"))
        bus.publish(guess("meanwhile", 7, player=player.player_id))
        assert player.next("guess")["drawing_id"] == str(named("meanwhile"))
        player.saved("afterwards")
    bus.close()


@pytest.mark.timeout(120)
def test_health_says_that_the_broker_is_away_within_half_a_second_of_its_kill_and_stands_on_nothing_later(broker):
    supervisor, url = broker
    bus = open_bus(url)
    for model in BATCH_MODELS:
        bus.publish(ModelPromoted(model=model, version="1", title=model, endpoint="e", variant="v1")).result(DEADLINE_S)
    with serving(bus) as address:
        with answering(bus):
            eventually(lambda: get(address, "/healthz").json()["status"] == "ok")
            os.kill(supervisor.pid("kafka"), signal.SIGKILL)
            killed = time.monotonic()
            while True:
                asked = time.monotonic()
                verdict = get(address, "/healthz").json()
                if verdict["status"] != "ok" or asked - killed >= 0.5:
                    break
                assert asked - killed <= verdict["age_s"] + 0.001 <= 1.0, "no answer that it stands on came after the kill"

        assert (verdict["status"], list(verdict["missing"])) == ("unavailable", ["kafka"])
        bus.publish(drawing()).result(90)
        with answering(bus):
            eventually(lambda: get(address, "/healthz").json()["status"] == "ok")
    bus.close()
