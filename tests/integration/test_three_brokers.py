"""Three brokers, and those that matter killed with -9 while people play: nothing acknowledged is lost, and people are told."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import KafkaError

from contracts.events import TOPICS
from contracts.settings import LIMITS, Settings
from deploy.local.keys import with_secrets
from deploy.local.supervisor import running
from producers.connection import BusError
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from producers.topics import IN_SYNC, REPLICAS, TopicsDiffer, check_topics, create_topics, open_admin
from tests.audited import WITHOUT_ENDPOINTS, audited
from tests.clusters import Cluster, Node, cluster, outside
from tests.histories import named
from tests.serving import Player, eventually, get, playing

KEY = "min.insync.replicas"
"""The models that answer without a SageMaker."""
SAVED_WITHIN_S = 20.0
"""Of a broker that leads being killed; on two busy cores, with three brokers and the game on them."""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Settings]]:
    folder = tmp_path_factory.mktemp("three")
    with cluster(folder, brokers=3) as made:
        told = {"kafka_bootstrap_servers": made.servers, "log_level": "WARNING"}
        yield made, outside(folder / "home", **told, **dict.fromkeys(LIMITS, 0))


def described(settings: Settings) -> tuple[list[dict[str, Any]], int]:
    """Our topics as the cluster tells them, and the number of the controller that leads."""
    admin = open_admin(settings)
    try:
        topics = [topic for topic in admin.describe_topics() if topic["name"] in TOPICS]
        return topics, admin.describe_metadata_quorum()["topics"][0]["partitions"][0]["leader_id"]
    finally:
        admin.close()


def leader_of_most(made: Cluster, settings: Settings) -> Node:
    topics, _ = described(settings)
    leads = Counter(partition["leader_id"] for topic in topics for partition in topic["partitions"])
    [(number, _)] = leads.most_common(1)
    return made.nodes[number - 1]


def controller(made: Cluster, settings: Settings) -> Node:
    return made.nodes[described(settings)[1] - 1]


async def until_kept_by(replicas: int, settings: Settings, patience_s: float = 60.0) -> None:
    """Wait until every partition of our topics is kept by so many brokers."""

    def kept() -> bool:
        try:
            topics, _ = described(settings)
        except (KafkaError, BusError):
            return False
        return {len(partition["isr_nodes"]) >= replicas for topic in topics for partition in topic["partitions"]} == {
            True
        } and len(topics) == len(TOPICS)

    deadline = time.monotonic() + patience_s
    while not await asyncio.to_thread(kept):
        assert time.monotonic() < deadline, f"not every partition is kept by {replicas} brokers"
        await asyncio.sleep(0.1)


def test_three_brokers_keep_everything_twice_before_it_is_acknowledged(three: tuple[Cluster, Settings]) -> None:
    _, settings = three
    create_topics(settings)
    admin = open_admin(settings)
    try:
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in TOPICS]
        configs = admin.describe_configs(asked, config_filter="all")["topic"]
    finally:
        admin.close()
    topics, _ = described(settings)

    assert {len(partition["replica_nodes"]) for topic in topics for partition in topic["partitions"]} == {REPLICAS}
    assert {name: configs[name]["min.insync.replicas"]["value"] for name in TOPICS} == dict.fromkeys(TOPICS, str(IN_SYNC))


def test_topics_that_one_broker_keeps_are_refused_where_there_are_three(
    three: tuple[Cluster, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, settings = three
    thin = TOPICS["commands.v1"].model_copy(update={"name": "thin.v1"})
    monkeypatch.setattr("producers.topics.TOPICS", {"thin.v1": thin})
    admin = open_admin(settings)
    try:
        admin.create_topics([NewTopic("thin.v1", thin.partitions, 1)])
        admin.wait_for_topics(["thin.v1"])
    finally:
        admin.close()

    with pytest.raises(TopicsDiffer, match=r"thin\.v1: kept by fewer than 3 brokers"):
        create_topics(settings)


def in_sync(settings: Settings, **given: str) -> dict[str, str]:
    """What each topic demands, after it was set for those that are given."""
    admin = open_admin(settings)
    try:
        wanted = {name.replace("_", "."): value for name, value in given.items()}
        if wanted:
            admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name, {KEY: value}) for name, value in wanted.items()]
            )
        told = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in TOPICS], config_filter="all")
        return {name: told["topic"][name][KEY]["value"] for name in TOPICS}
    finally:
        admin.close()


def test_what_one_broker_would_acknowledge_alone_is_raised_and_what_an_operator_set_higher_is_left(
    three: tuple[Cluster, Settings],
) -> None:
    _, settings = three
    create_topics(settings)
    in_sync(settings, drawings_v1="1", corrections_v1="3")

    create_topics(settings)

    assert in_sync(settings) == dict.fromkeys(TOPICS, "2") | {"corrections.v1": "3"}
    in_sync(settings, corrections_v1="2")


def test_what_may_not_be_raised_is_refused(three: tuple[Cluster, Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    _, settings = three
    create_topics(settings)
    in_sync(settings, drawings_v1="1")
    denied = {"topic": {"drawings.v1": "TopicAuthorizationFailedError"}}
    monkeypatch.setattr("kafka.KafkaAdminClient.alter_configs", lambda *_: denied)
    try:
        with pytest.raises(TopicsDiffer, match=r"drawings\.v1 \(min\.insync\.replicas=1, and it may not be changed: Topic"):
            create_topics(settings)
    finally:
        monkeypatch.undo()
        in_sync(settings, drawings_v1="2")


PROCESSES = {"api": ("api",), "router": ("streams", "router"), "learning": ("streams", "learning"), "trainer": ("trainers",)}


@pytest.mark.parametrize("module", PROCESSES.values(), ids=PROCESSES)
def test_who_says_that_something_is_kept_does_not_start_where_one_broker_would_acknowledge_alone(
    three: tuple[Cluster, Settings], module: tuple[str, ...]
) -> None:
    _, settings = three
    create_topics(settings)
    check_topics(settings)
    in_sync(settings, corrections_v1="1")
    try:
        done = subprocess.run(
            [sys.executable, "-m", *module],
            env={**os.environ, **with_secrets(settings).environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        in_sync(settings, corrections_v1="2")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "corrections.v1 (min.insync.replicas=1); what players are told is saved must be on 2 brokers" in done.stderr


@pytest.mark.timeout(280)
async def test_brokers_killed_while_people_play_lose_nothing_that_was_acknowledged(
    three: tuple[Cluster, Settings], record_property: Callable[[str, object], None]
) -> None:
    made, settings = three
    create_topics(settings)
    await until_kept_by(REPLICAS, settings)
    address = f"127.0.0.1:{settings.port}"
    url = f"http://{address}"
    with running(settings, ["api", "router", "learning"]):
        one_word = {"drawings": 1, "players": 1, "speed": 0, "correct_probability": 1, "confirm_probability": 1}
        first = await simulate(SimulationOptions(url=url, patience_s=120, **one_word))
        assert first.whole, first.to_json()  # everybody is there: who learns starts late where the machine is busy
        begun, enough = asyncio.Event(), asyncio.Event()
        options = SimulationOptions(url=url, players=5, drawings=100_000, speed=6, duplicates=0.05, patience_s=90)
        people = asyncio.create_task(simulate(options, lambda done, _: begun.set() if done > 5 else None, enough))
        try:
            await asyncio.wait_for(begun.wait(), 60)
            for which in (leader_of_most, controller):
                node = await asyncio.to_thread(which, made, settings)
                made.kill(node)
                took = await asyncio.to_thread(saved, address)
                record_property(f"saved after kill -9 of the {which.__name__}, s", round(took, 2))
                assert took < SAVED_WITHIN_S
                made.start(node)
                await until_kept_by(REPLICAS, settings)

            one, other, _ = made.nodes
            made.kill(one)
            made.kill(other)  # what is left may not acknowledge alone
            await asyncio.to_thread(told_and_saved, address, lambda: (made.start(one), made.start(other)))
            await until_kept_by(REPLICAS, settings)
        finally:
            enough.set()
            report = await people
        found = await audited(settings, report, wait_s=60, models=WITHOUT_ENDPOINTS)
    record_property("report", report.model_dump_json())
    assert found.clean, found.model_dump_json(indent=2)
    assert report.seen.get("unfinished", 0) == 0, report.to_json()
    assert report.errors.get("unavailable", 0) > 0, "the players were not told that two brokers were away"
    assert len(report.saved) > 20


def heard(player: Player, kind: str, drawing_id: str, within_s: float = 60.0) -> dict[str, Any]:
    """The frame of this kind on a drawing; others are passed over."""
    deadline = time.monotonic() + within_s
    while True:
        frame = orjson.loads(player.socket.recv(max(0.01, deadline - time.monotonic())))
        if frame["type"] == kind and frame.get("drawing_id") == drawing_id:
            return dict(frame)


def saved(address: str) -> float:
    """Seconds until a drawing that is made now is saved."""
    began = time.monotonic()
    with playing(address) as player:
        player.draw(f"at {began}")
        heard(player, "saved", str(named(f"at {began}")))
    return time.monotonic() - began


def told_and_saved(address: str, mend: Callable[[], object]) -> None:
    """A player is told that the log is away, and health says so; once it is mended, the drawing is saved by itself."""
    drawing_id = str(named("meanwhile"))
    with playing(address) as player:
        player.draw("meanwhile")
        assert heard(player, "error", drawing_id, within_s=20)["code"] == "unavailable"
        eventually(lambda: get(address, "/healthz").status_code == 503)
        mend()
        heard(player, "saved", drawing_id)
