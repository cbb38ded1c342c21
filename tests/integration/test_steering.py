"""Who answers, changed by command on real services, while the endpoint is asked without a pause: nothing is lost or made up.

The versions are the repository's base under other names, so that none has to be trained; one of them is broken.
"""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from contracts.events import (
    CandidateSet,
    CommandSettled,
    EndpointSeen,
    Event,
    ModelPromoted,
    ModelPublished,
    ModelRolledBack,
    PolicySet,
    PromoteModel,
    RollBackModel,
    SetPolicy,
    TryVersion,
    decode,
    variant_of,
    version_of,
)
from contracts.ports import Bus
from contracts.settings import Settings
from deploy.local.supervisor import Supervisor, running
from producers.blobs import S3Blobs, ensure_bucket
from producers.bus import open_bus
from producers.signing import Signer, SigningBus
from tests.conftest import fresh_settings
from tests.roster import BATCH_MODELS, ROSTER
from trainers.model_log import ModelLog, QuickCommand
from trainers.registry import Registry

pytestmark = pytest.mark.timeout(300)
DEADLINE_S = 90.0
ROOT = Path(__file__).parents[2]
BASE = ROOT / "trainers" / "images" / "xgboost" / "base" / "model.tar.gz"
ENDPOINT = "gamenight-xgboost"
GOOD = ("1", "2", "5", "6")
REFUSED = "3"
BROKEN = "4"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Supervisor]]:
    """Services of their own, and a folder of tools without the image of xgboost."""
    home = tmp_path_factory.mktemp("steering")
    fresh = fresh_settings(home)
    tools = home / "tools"
    (tools / "images").mkdir(parents=True)
    for there in (ROOT / ".tools").iterdir():
        if there.name != "images":
            (tools / there.name).symlink_to(there.resolve())
    settings = fresh.model_copy(update={"tools": tools})
    with running(settings, ["kafka"]), running(settings, ["s3", "dynamodb", "sagemaker"]) as supervisor:
        yield settings, supervisor


@pytest.fixture(scope="module")
def place(house: tuple[Settings, Supervisor]) -> Settings:
    return house[0]


@pytest.fixture(scope="module")
def services(house: tuple[Settings, Supervisor]) -> Supervisor:
    return house[1]


@pytest.fixture(scope="module")
def bus(place: Settings) -> Iterator[Bus]:
    made = SigningBus(open_bus(f"kafka://{place.bootstrap_servers}"), Signer("api", place.api_signing_key))
    yield made
    made.close()


class Log:
    """models.v1 and commands.v1 from their start, as they come, and what they say."""

    def __init__(self, bus: Bus) -> None:
        self.model_log = ModelLog(ROSTER)
        self.events: list[Event] = []
        self._tail = bus.follow(["models.v1", "commands.v1"], "start")

    def read(self) -> list[Event]:
        for record in self._tail.poll(0.05):
            event = decode(record.topic, record.value)
            self.model_log.apply(event)
            self.events.append(event)
        return self.events

    def close(self) -> None:
        self._tail.close()


class Asking(threading.Thread):
    """Asks the endpoint without a pause: as it comes, and as every version that the log names. Tries nothing twice."""

    def __init__(self, settings: Settings, bus: Bus) -> None:
        super().__init__(name="asking")
        config = Config(retries={"total_max_attempts": 1}, read_timeout=20)
        self._runtime: Any = boto3.client("sagemaker-runtime", config=config, **settings.aws("sagemaker-runtime"))
        self._log = Log(bus)
        self._ended = threading.Event()
        body = io.BytesIO()
        np.save(body, np.zeros((1, 784), np.uint8))
        self._body = body.getvalue()
        self.asked = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self._ended.is_set():
            self._log.read()
            model_log = self._log.model_log
            champion, candidate = model_log.champion("xgboost"), model_log.candidate("xgboost")
            if champion is None:
                continue
            named = {champion.version, *([champion.previous] if champion.previous else [])}
            named |= {candidate.version} if candidate else set()
            for variant in (None, *map(variant_of, named)):
                for _ in range(3):
                    self._ask(variant)

    def _ask(self, variant: str | None) -> None:
        target = {"TargetVariant": variant} if variant else {}
        self.asked += 1
        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=ENDPOINT, Body=self._body, ContentType="application/x-npy", Accept="application/x-npy", **target
            )
            np.load(io.BytesIO(answer["Body"].read()), allow_pickle=False)
        except (BotoCoreError, ClientError, ValueError) as error:
            self.wrong.append(f"{variant}: {error}")
            return
        found = answer["InvokedProductionVariant"]
        if version_of(found) not in ("base1", *GOOD, REFUSED) or (variant and found != variant):
            self.wrong.append(f"{variant} was answered by {found}")

    def stop(self) -> None:
        self._ended.set()
        self.join(30)
        self._log.close()


class Trainer:
    """The real process, and what one says to it."""

    def __init__(self, settings: Settings, bus: Bus) -> None:
        self.settings = settings
        self.bus = bus
        self.log = Log(bus)
        self.sagemaker: Any = boto3.client("sagemaker", **settings.aws("sagemaker"))
        self._file = settings.home / "logs" / "trainer.log"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        with self._file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trainers"],
                cwd=ROOT,
                env={**os.environ, **self.settings.environment()},
                stdout=log,
                stderr=log,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        assert self.process.wait(10) in (0, -signal.SIGKILL)

    def until(self, what: str, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + DEADLINE_S
        while not (found := condition()):
            self.log.read()
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"not: {what}\n{self._file.read_text()[-6000:]}")
        return found

    def settled(self, command: QuickCommand) -> list[CommandSettled]:
        said = [event for event in self.log.read() if isinstance(event, CommandSettled)]
        return [event for event in said if event.command_id == command.command_id]

    def obey(self, command: QuickCommand) -> CommandSettled:
        """Give a command, and wait until it is settled."""
        self.bus.publish(command).result(30)
        [settled] = self.until(f"{command.type} settled", lambda: self.settled(command))
        return settled

    def promote(self, version: str) -> CommandSettled:
        return self.obey(PromoteModel(command_id=uuid4(), target="xgboost", version=version, by="test"))

    def roll_back(self, **given: Any) -> CommandSettled:
        return self.obey(RollBackModel(command_id=uuid4(), target="xgboost", by="test", **given))

    def attempt(self, role: str, version: str | None = None, share: float = 0.0) -> CommandSettled:
        given: Any = {"role": role, "version": version, "share": share}
        return self.obey(TryVersion(command_id=uuid4(), target="xgboost", by="test", **given))

    def policy(self, **given: Any) -> CommandSettled:
        return self.obey(SetPolicy(command_id=uuid4(), by="test", **given))

    @property
    def champion(self) -> ModelPromoted:
        self.log.read()
        champion = self.log.model_log.champion("xgboost")
        assert champion
        return champion

    def status(self) -> str:
        return str(self.sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"])

    def weights(self) -> dict[str, float]:
        there = self.sagemaker.describe_endpoint(EndpointName=ENDPOINT)
        assert there["EndpointStatus"] == "InService"
        return {one["VariantName"]: one["CurrentWeight"] for one in there["ProductionVariants"]}

    def config(self) -> str:
        return str(self.sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"])

    def said(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self.log.read() if isinstance(event, kinds)]


def publish_versions(settings: Settings, bus: Bus) -> None:
    """The versions of the tests, registered and told, as rebuilds would have left them."""
    ensure_bucket(settings)
    blobs = S3Blobs(settings)
    registry = Registry(settings, blobs)
    bus = SigningBus(bus, Signer("trainer", settings.trainer_signing_key))
    for version in (*GOOD, REFUSED, BROKEN):
        key = f"models/xgboost/{version}/model.tar.gz"
        artifact = broken() if version == BROKEN else BASE.read_bytes()
        blobs.put(key, artifact)
        published = ModelPublished(
            model="xgboost",
            version=version,
            title="XGBoost",
            digest=hashlib.sha256(artifact).hexdigest(),
            artifact=f"s3://{settings.bucket}/{key}",
            lineage={"source": "a test"},
            metrics={},
            gate="refused: MNIST 12.00%" if version == REFUSED else "passed: a test",
            approved=version != REFUSED,
        )
        bus.publish(registry.register(published)).result(30)


def broken() -> bytes:
    """An artifact that no server can load."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("model.ubj"))
    return out.getvalue()


@pytest.fixture(scope="module")
def trainer(place: Settings, bus: Bus) -> Iterator[Trainer]:
    """One trainer for all tests here, which read as one story."""
    made = Trainer(place, bus)
    try:
        yield made
        made.stop()
    finally:
        made.process.kill()
        made.process.wait()
        made.log.close()


@pytest.fixture
def asking(trainer: Trainer, place: Settings, bus: Bus) -> Iterator[Asking]:
    """The endpoint is asked all the while; at the end, nothing was lost, and nobody answered who was not published."""
    made = Asking(place, bus)
    made.start()
    yield made
    asked = made.asked
    trainer.until("asked after the change, too", lambda: made.asked > asked + 20)
    made.stop()
    assert made.wrong == []


def test_a_model_that_cannot_be_served_is_told_with_the_reason_and_answers_once_it_can(trainer, place, bus):
    seen = trainer.until("the endpoint", lambda: trainer.log.model_log.endpoint("xgboost"))
    assert seen.status in ("Unavailable", "Failed")
    assert "xgboost" in seen.reason
    assert trainer.log.model_log.champion("xgboost") is None
    trainer.until("all four", lambda: all(trainer.log.model_log.endpoint(model) for model in BATCH_MODELS))

    (place.tools / "images" / "xgboost").symlink_to((ROOT / ".tools" / "images" / "xgboost").resolve())
    (place.tools / "images" / "xgboost.stamp").touch()
    promoted = trainer.until("a champion", lambda: trainer.log.model_log.champion("xgboost"))
    assert (promoted.version, promoted.previous) == ("base1", None)

    served = trainer.until("in service", lambda: one if (one := in_service(trainer)) else None)
    assert served.arn.endswith(f":endpoint/{ENDPOINT}")
    assert [one.version for one in served.variants] == ["base1"]
    assert served.cost_per_hour_usd == 0.115

    trainer.stop()  # what it knows of versions is what models.v1 says at its start
    with closing(open_bus(f"kafka://{place.bootstrap_servers}")) as unsigned:
        publish_versions(place, unsigned)
    trainer.start()
    assert trainer.promote("9").message == "xgboost has no version 9: there is base1, 1, 2, 5, 6, 3, 4"


def in_service(trainer: Trainer) -> EndpointSeen | None:
    seen = trainer.log.model_log.endpoint("xgboost")
    return seen if seen and seen.status == "InService" else None


def test_a_version_is_promoted_and_the_one_before_stands_by(trainer, asking):
    assert trainer.promote("1").outcome == "done"
    assert (trainer.champion.version, trainer.champion.previous) == ("1", "base1")
    assert trainer.weights() == {"v1": 1.0, "base1": 0.0}

    assert trainer.promote("2").outcome == "done"
    assert (trainer.champion.version, trainer.champion.previous) == ("2", "1")
    assert {"v2": 1.0, "v1": 0.0}.items() <= trainer.weights().items()
    seen = trainer.until("seen", lambda: seen_as(trainer, "2"))
    assert {one.version: one.weight for one in seen.variants}["1"] == 0.0


def seen_as(trainer: Trainer, version: str) -> EndpointSeen | None:
    seen = in_service(trainer)
    return seen if seen and seen.version == version else None


def test_a_stranger_who_can_write_to_the_bus_leads_nobody(trainer, place):
    """Any producer could: what is not signed by the API, and a forged outcome, are rejected with the reason."""
    before = trainer.champion
    wanted = [PromoteModel(command_id=uuid4(), target="xgboost", version="1", by="ada", token="ada/3f9c21") for _ in range(2)]
    forged = [wanted[0], Signer("api", "66" * 32).signed(wanted[1])]
    settled = CommandSettled(command_id=wanted[0].command_id, target="xgboost", outcome="done", message="believe me")
    told: list[Any] = []
    with closing(open_bus(f"kafka://{place.bootstrap_servers}")) as strangers:
        rejected = strangers.follow(["rejected.v1"], "end")
        for event in (*forged, settled):
            strangers.publish(event).result(30)

        def heard() -> bool:
            told.extend(decode(record.topic, record.value) for record in rejected.poll(0.2))
            return len(told) >= 3

        trainer.until("all three rejected", heard)
    assert [one.error.split(":")[1].strip() for one in told] == [
        "it is not signed",
        "its signature is not of these bytes by the key of api",
        "it is not signed",
    ]
    assert trainer.promote("2").message == "xgboost 2 answers already"
    assert trainer.champion == before
    assert trainer.settled(wanted[1]) == []


def test_a_stranger_names_no_champion_and_what_it_has_hidden_on_the_log_is_said_again(trainer, place):
    """Of a slot the broker keeps the last record: whoever starts later would know no champion."""
    before = trainer.champion
    evil = before.bare().model_copy(update={"version": "evil", "endpoint": "elsewhere"})
    old = next(one for one in trainer.said(ModelPromoted) if one.record_key() == before.record_key())
    told: list[Any] = []
    with closing(open_bus(f"kafka://{place.bootstrap_servers}")) as strangers:
        rejected = strangers.follow(["rejected.v1"], "end")
        for event, why in ((evil, "it is not signed"), (old, "it is a copy of what was said before, or was delayed")):
            said = len(trainer.said(ModelPromoted))
            strangers.publish(event).result(30)

            def heard() -> bool:
                told.extend(decode(record.topic, record.value) for record in rejected.poll(0.2))
                return bool(told)

            trainer.until("rejected", heard)
            assert [one.error.split(":")[1].strip() for one in told] == [why]
            trainer.until("said again", lambda said=said: len(trainer.said(ModelPromoted)) >= said + 2)
            assert trainer.said(ModelPromoted)[-1] == before
            told.clear()
    trainer.stop()
    trainer.start()
    assert trainer.promote(before.version).message == f"xgboost {before.version} answers already"
    assert trainer.champion == before


def test_rolling_back_shifts_weights_and_starts_nothing(trainer, asking):
    config = trainer.config()
    assert trainer.roll_back().message == "xgboost 1 answers again, in the place of 2"
    assert isinstance(trainer.champion, ModelRolledBack)
    assert (trainer.champion.version, trainer.champion.previous) == ("1", "base1")
    assert trainer.weights()["v1"] == 1.0
    assert trainer.weights()["v2"] == 0.0
    assert trainer.config() == config


def test_a_version_that_failed_is_rolled_back_from_once_and_is_never_the_last_good_one(trainer, asking):
    assert trainer.promote("2").outcome == "done"
    failed = RollBackModel(command_id=uuid4(), target="xgboost", failed="2", by="router")
    assert trainer.obey(failed).outcome == "done"
    assert trainer.champion.version == "1"
    assert trainer.log.model_log.published("xgboost")["2"].failed == "asked for by router"
    trainer.bus.publish(failed).result(30)
    again = trainer.roll_back(failed="2")
    assert (again.outcome, again.message) == ("done", "nothing to do: xgboost 1 answers, not 2")
    assert len(trainer.settled(failed)) == 1

    assert trainer.promote("5").outcome == "done"
    assert trainer.champion.previous == "1"
    assert trainer.roll_back().outcome == "done"
    assert trainer.champion.version == "1"


def test_what_the_gate_refused_is_never_promoted_and_never_a_canary_but_may_be_a_shadow(trainer, asking):
    before = trainer.champion
    for refused in (trainer.promote(REFUSED), trainer.attempt("canary", REFUSED, 0.5), trainer.roll_back(version=REFUSED)):
        assert refused.outcome == "refused"
        assert refused.message == "xgboost 3 is not approved: refused: MNIST 12.00%"
    assert trainer.champion == before

    assert trainer.attempt("shadow", REFUSED).outcome == "done"
    candidate = trainer.log.model_log.candidate("xgboost")
    assert (candidate.version, candidate.role, candidate.variant) == ("3", "shadow", "v3")
    assert trainer.weights()["v3"] == 0.0


def test_a_canary_stands_beside_the_shadow_and_is_no_candidate_any_more_once_it_is_promoted(trainer, asking):
    told = "xgboost 6 answers 10% of the players; 2 versions stand beside the champion"
    assert trainer.attempt("canary", "6", 0.1).message == told
    assert [one.version for one in trainer.log.model_log.beside("xgboost")] == ["6", "3"]
    assert trainer.weights()["v3"] == trainer.weights()["v6"] == 0.0
    config = trainer.config()
    assert trainer.attempt("canary", "6", 0.25).outcome == "done"
    assert trainer.log.model_log.candidate("xgboost").share == 0.25
    assert trainer.promote("6").outcome == "done"
    assert trainer.config() == config
    promoted, gone = trainer.said(ModelPromoted, CandidateSet)[-2:]
    assert (promoted.type, promoted.version) == ("ModelPromoted", "6")
    assert (gone.type, gone.version, gone.role) == ("CandidateSet", "6", "none")

    assert trainer.attempt("canary", "6", 0.5).message == "xgboost 6 answers everybody already"
    assert trainer.attempt("shadow", "2").outcome == "done"
    assert trainer.attempt("none", "2").message == "xgboost 2 is no candidate any more"
    assert trainer.attempt("none").message == "xgboost 3 is no candidate any more"
    assert trainer.attempt("none").message == "xgboost has no candidate"


def test_a_version_that_does_not_start_stays_off_and_the_champion_goes_on(trainer, asking):
    before, weights = trainer.champion, trainer.weights()
    failed = trainer.promote(BROKEN)
    assert failed.outcome == "failed"
    assert "v4" in failed.message
    assert trainer.champion == before
    assert trainer.weights() == weights
    assert trainer.attempt("canary", BROKEN, 0.5).outcome == "failed"
    assert trainer.log.model_log.candidate("xgboost") is None


def test_what_somebody_says_in_the_registry_decides_who_may_be_promoted(trainer, asking):
    """Approval was cosmetic: what UpdateModelPackage set never reached those who promote."""
    arns = {version: one.arn for version, one in trainer.log.model_log.published("xgboost").items()}
    before = trainer.champion

    def overrule(version: str, status: str, why: str) -> None:
        trainer.sagemaker.update_model_package(
            ModelPackageArn=arns[version], ModelApprovalStatus=status, ApprovalDescription=why
        )

    def told(version: str) -> ModelPublished:
        return trainer.log.model_log.published("xgboost")[version]

    overrule("5", "Rejected", "draws on the left only")
    for refused in (trainer.promote("5"), trainer.attempt("canary", "5", 0.5)):
        assert refused.outcome == "refused"
        assert refused.message.startswith("xgboost 5 is not approved: Rejected in the model registry: draws on the left only;")
    assert trainer.champion == before
    assert not told("5").approved
    overrule("5", "Approved", "it does not")
    trainer.until("told without being asked", lambda: told("5").approved)
    assert told("5").gate == "passed: a test"

    overrule(REFUSED, "Approved", "we need it")
    assert trainer.promote(REFUSED).outcome == "done"
    assert trainer.champion.version == REFUSED
    why = "Approved in the model registry: we need it; the gate had said: refused: MNIST 12.00%"
    assert trainer.champion.note == f"asked for by test; {why}"
    overrule(REFUSED, "Rejected", "not any more")
    trainer.until("told without being asked", lambda: not told(REFUSED).approved)
    assert trainer.champion.version == REFUSED, "what answers goes on until somebody goes back"
    assert trainer.promote("1").outcome == "done"
    assert trainer.champion.previous != REFUSED, "what was rejected does not stand by"
    assert trainer.promote(before.version).outcome == "done"
    assert trainer.champion.previous == "1"


def test_a_policy_is_set_whole_and_refused_where_it_makes_no_sense(trainer):
    assert trainer.policy(lead="bandit", parts={"kmeans": "shadow", "yours": "off"}).outcome == "done"
    assert trainer.policy(parts={"yours": "shown"}).outcome == "done"
    policy = trainer.log.model_log.policy()
    assert (policy.lead, policy.parts, policy.by) == ("bandit", {"kmeans": "shadow"}, "test")
    assert trainer.policy(parts={"kmeans": "shadow"}).message == "it is so already"
    assert trainer.policy(lead="kmeans").outcome == "refused"
    assert trainer.policy(lead="nobody").message.startswith("no model 'nobody': there is everyone")
    said = trainer.said(PolicySet)
    assert [(one.lead, one.parts) for one in said[1:]] == [(policy.lead, policy.parts)] * 2, "what is so already is said again"
    assert len(said) == 3


def test_a_trainer_that_was_killed_finds_its_command_still_due(trainer, asking):
    before = trainer.champion
    trainer.stop(signal.SIGKILL)
    command = RollBackModel(command_id=uuid4(), target="xgboost", by="test")
    trainer.bus.publish(command).result(30)
    trainer.start()
    [settled] = trainer.until("settled", lambda: trainer.settled(command))
    assert settled.outcome == "done"
    assert trainer.champion.version == before.previous


def test_sagemaker_killed_in_the_middle_of_a_promotion_leaves_no_half_state(trainer, services):
    before = trainer.champion.version
    command = PromoteModel(command_id=uuid4(), target="xgboost", version="5", by="test")
    trainer.bus.publish(command).result(30)
    trainer.until("an update under way", lambda: trainer.status() == "Updating")
    [service] = [one for one in services.standings if one.name == "sagemaker"]
    os.kill(service.pid, signal.SIGKILL)
    [settled] = trainer.until("settled", lambda: trainer.settled(command))
    if settled.outcome != "done":
        assert trainer.champion.version == before
        assert trainer.promote("5").outcome == "done"
    assert (trainer.champion.version, trainer.champion.previous) == ("5", before)
    assert {"v5": 1.0, variant_of(before): 0.0}.items() <= trainer.weights().items()


def test_an_endpoint_that_was_deleted_is_told_and_comes_back(trainer):
    champion = trainer.champion
    trainer.sagemaker.delete_endpoint(EndpointName=ENDPOINT)
    trainer.until("gone", lambda: trainer.log.model_log.endpoint("xgboost").status == "Unavailable")
    (trainer.settings.tools / "images" / "xgboost.stamp").write_text("again")
    trainer.until("back", lambda: seen_as(trainer, champion.version))
    assert trainer.champion == champion
