"""Where the cluster denies what is not allowed, each part works as its own user, and can write nobody else's topics."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import httpx
import pytest

from contracts.events import CorrectionProbed, PolicySet, RetrainModel
from contracts.settings import LIMITS, Settings
from deploy.local.keys import with_secrets
from producers import acls
from producers.bus import open_bus
from producers.cutting import CUTTABLE, LogCutter, NotCut, scan
from producers.placement import Undelivered
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from producers.topics import create_topics
from tests.audited import WITHOUT_ENDPOINTS, audited
from tests.clusters import PASSWORD, Authority, cluster, outside, scram
from tests.histories import drawing
from tests.serving import eventually, get
from trainers.forgetting_log import is_of

USERS = ("admin", "gamenight-api", "gamenight-router", "gamenight-learning", "gamenight-trainer")
PARTS = {"api": ("api",), "router": ("streams", "router"), "learning": ("streams", "learning")}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The administrator's settings of a broker with an authorizer, where each part has a user and its rights."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder)
    given = scram(authority.sign("broker")) | {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",  # brokers among themselves speak in the clear here, so they have no name
    }
    with cluster(folder, protocol="SASL_SSL", properties=given, users=dict.fromkeys(USERS, PASSWORD)) as made:
        settings = outside(
            folder / "home",
            kafka_bootstrap_servers=made.servers,
            kafka_security_protocol="SASL_SSL",
            kafka_ssl_cafile=authority.file,
            kafka_sasl_username="admin",
            kafka_sasl_password=PASSWORD,
            log_level="WARNING",
            **dict.fromkeys(LIMITS, 0),
        )
        create_topics(settings)
        said = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "acls"],
            env={**os.environ, **settings.environment()},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (
            "gamenight-api, gamenight-router, gamenight-learning, gamenight-trainer to write their own topics only"
            in said.stdout
        )
        yield settings


def of(settings: Settings, part: str) -> Settings:
    return settings.model_copy(update={"kafka_sasl_username": f"gamenight-{part}"})


COMMAND = RetrainModel(command_id=uuid4(), target="xgboost", by="somebody")
PROBE = CorrectionProbed(probe_id=uuid4(), player_id="p")
POLICY = PolicySet(lead="bandit")


@pytest.mark.parametrize(
    ("part", "may", "may_not"),
    [
        ("api", (COMMAND, PROBE), (POLICY,)),
        ("learning", (POLICY,), (COMMAND, PROBE)),  # snapshots are on the topic of policies
        ("trainer", (POLICY, COMMAND), (PROBE,)),  # it says on the commands' topic how they ended
        ("router", (), (PROBE,)),
    ],
)
def test_a_part_writes_its_own_topics_and_no_others(guarded: Settings, part: str, may: tuple, may_not: tuple) -> None:  # type: ignore[type-arg]
    bus = open_bus(of(guarded, part))
    try:
        for event in may:
            bus.publish(event).result(20)
        for event in may_not:
            with pytest.raises(Undelivered, match="TopicAuthorizationFailed"):
                bus.publish(event).result(20)
    finally:
        bus.close()


def test_given_twice_the_rights_are_the_same_and_what_is_too_much_is_taken(guarded: Settings) -> None:
    many = acls.acls()
    too_much = acls.ACL(
        acls.principal("learning"),
        "*",
        acls.ACLOperation.WRITE,
        acls.ACLPermissionType.ALLOW,
        acls.ResourcePattern(acls.ResourceType.TOPIC, "commands.v1"),
    )
    admin = acls.open_admin(guarded)
    try:
        admin.create_acls([too_much])
        acls.give(guarded)
        everything = acls.ResourcePatternFilter(acls.ResourceType.ANY, None, acls.ACLResourcePatternType.ANY)
        anybody = acls.ACLFilter(None, None, acls.ACLOperation.ANY, acls.ACLPermissionType.ANY, everything)
        found, _ = admin.describe_acls(anybody)
    finally:
        admin.close()

    assert set(found) == set(many)
    assert len(found) == len(many)


def test_who_may_not_give_rights_is_told_so(guarded: Settings) -> None:
    with pytest.raises(acls.AclsRefused, match=r"gives no rights .*super\.users"):
        acls.give(of(guarded, "api"))


def test_the_trainer_cuts_a_player_out_of_the_log_only_as_long_as_it_has_the_rights_for_it(guarded: Settings) -> None:
    trainer = of(guarded, "trainer")
    bus, everybodys = open_bus(trainer), open_bus(guarded)
    name = str(uuid4())
    everybodys.publish(drawing(name, player=f"{name} who goes")).result(20)
    everybodys.close()
    wanted = is_of(f"{name} who goes")
    cutter = LogCutter(trainer, bus, time.sleep)
    try:
        with pytest.raises(NotCut, match="may not be changed"):
            cutter.cut(scan(bus, CUTTABLE, wanted), wanted, 60)
        acls.give(guarded, forgetting=True)
        cutter.cut(scan(bus, CUTTABLE, wanted), wanted, 60)

        assert not scan(bus, CUTTABLE, wanted).is_left
        acls.give(guarded)
        with pytest.raises(NotCut, match="may not be changed"):
            cutter.configure(["drawings.v1"], {"cleanup.policy": "compact"})
    finally:
        bus.close()


@pytest.mark.timeout(240)
async def test_the_game_is_played_with_a_user_for_each_part(guarded: Settings) -> None:
    settings = with_secrets(guarded)
    address = f"127.0.0.1:{settings.port}"
    with ExitStack() as stack:
        for part, module in PARTS.items():
            process = subprocess.Popen([sys.executable, "-m", *module], env={**os.environ, **of(settings, part).environment()})
            stack.callback(process.wait)
            stack.callback(process.kill)
        await asyncio.to_thread(eventually, lambda: _answers(address))
        options = SimulationOptions(url=f"http://{address}", players=2, drawings=10, speed=6, patience_s=90)
        report = await simulate(options)
        found = await audited(guarded, report, wait_s=30, models=WITHOUT_ENDPOINTS)
    assert report.whole, report.to_json()
    learned = report.receipts.get("learned", 0) + report.receipts.get("weighted", 0)
    assert learned > 0, "nobody learned: a right is missing"
    assert found.clean, found.model_dump_json(indent=2)


def _answers(address: str) -> bool:
    try:
        return get(address, "/api/models").status_code == 200
    except httpx.TransportError:
        return False
