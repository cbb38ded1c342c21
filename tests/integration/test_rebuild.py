"""The rebuild on real services: Kafka, S3, DynamoDB, the local SageMaker with real jobs and endpoints, the genuine SDK.

The trainer is the real process. Only its MNIST is a small part of the real one, so that a job takes seconds, and its gate is
open where a test is about what comes after the gate.
"""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import boto3
import numpy as np
import psutil
import pytest

from contracts.events import (
    TRAINING_ENDS,
    CancelTraining,
    Event,
    ExampleLabelled,
    Features,
    ModelPromoted,
    ModelPublished,
    ModelsEvent,
    RetrainModel,
    SetPolicy,
    ShownGuess,
    SignedEvent,
    TrainingAdvanced,
    Tried,
    decode,
    now,
)
from contracts.ports import Bus, Tail
from contracts.settings import Settings
from producers.blobs import S3Blobs
from producers.bus import open_bus
from producers.signing import Proofs, Signer, SigningBus, public_keys
from tests.contract.sagemaker_cases import must_be_here
from tests.histories import lesson
from tests.roster import ROSTER
from tests.sinks import keep
from trainers.archive import PREFIX
from trainers.base_models import BaseModels
from trainers.dataset import LabelledImages, read_archive, read_mnist
from trainers.example_sink import Placed, catch_up
from trainers.model_log import ModelLog, next_version
from trainers.observations import Observations, time_key
from trainers.promote import Promoter
from trainers.registry import Registry
from trainers.serving import Serving
from trainers.tables import BOOKKEEPING, DRAWINGS, GUESSES, ensure_tables
from trainers.tuning import tuning_name

HOLDOUT_KEY = "key-1"
"""It holds back the hands 1, 3, 6 and 7 of nine."""
pytestmark = pytest.mark.timeout(600)  # several trainers, each with an SDK that imports for seconds
DEADLINE_S = 300.0
ROOT = Path(__file__).parents[2]
OPEN_GATE = """
import dataclasses; import trainers.gate as gate
decided, gate.least = gate.judge, lambda own: 0.0
gate.judge = lambda *given, **named: dataclasses.replace(decided(*given, **named), verdict="promoted")
"""
SHUT_GATE = ""
MAIN = """
import sys; from pathlib import Path
{gate}
import trainers.dataset; trainers.dataset.read_mnist.__defaults__ = (Path(sys.argv[1]),)
import runpy; runpy.run_module("trainers", run_name="__main__")
"""


@pytest.fixture(scope="module")
def bus(kafka: str, settings: Settings) -> Iterator[Bus]:
    made = SigningBus(open_bus(f"kafka://{kafka}"), Signer("api", settings.api_signing_key))
    yield made
    made.close()


@pytest.fixture(scope="module")
def little(local_aws: Settings) -> Settings:
    """Settings of a rebuild that takes seconds."""
    given = {"training_rounds": 4, "archive_every_s": 0.5, "held_back": 0.5, "holdout_key": HOLDOUT_KEY, "log_level": "INFO"}
    return local_aws.model_copy(update=given)


@pytest.fixture(scope="module")
def some_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first 3,000 training and 500 test images."""
    folder = tmp_path_factory.mktemp("mnist")
    for part, count in (("train", 3000), ("t10k", 500)):
        data = read_mnist(part)
        for kind, body, header in (("images-idx3", data.images, 16), ("labels-idx1", data.labels, 8)):
            raw = bytes(header) + body[:count].tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(raw, 1))
    return folder


@pytest.fixture(scope="module")
def digits() -> LabelledImages:
    return read_mnist("train")


class Trainer:
    """`python -m trainers`, as the supervisor runs it."""

    def __init__(self, settings: Settings, mnist: Path, gate: str) -> None:
        self._log = settings.home / "logs" / f"trainer-{uuid4()}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **settings.environment(), "PYTHONFAULTHANDLER": "1"}
        command = [sys.executable, "-c", MAIN.format(gate=gate), str(mnist)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def until(self, what: str, condition: Callable[[], Any]) -> Any:
        """What ``condition`` gives, once it is true."""
        deadline = time.monotonic() + DEADLINE_S
        while not (found := condition()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"not: {what}\n{self._log.read_text()[-6000:]}")
        return found

    def stop(self) -> None:
        """End it as the supervisor does; it may have been killed before."""
        self.process.terminate()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # it writes down where its threads stand
            self.process.wait(10)
            pytest.fail(f"it does not end\n{self._log.read_text()[-6000:]}")
        assert status in (0, -signal.SIGKILL)

    def holds_the_lease(self) -> bool:
        """Whether it is the trainer that works."""
        return "the lease is taken" in self._log.read_text()

    def answers(self) -> bool:
        """Whether it has seen to it that a base answers."""
        return "bases answer" in self._log.read_text()


@contextmanager
def trainer(settings: Settings, mnist: Path, gate: str = OPEN_GATE) -> Iterator[Trainer]:
    """A trainer that has begun its work; it is stopped at the end, and says that it went well."""
    running = Trainer(settings, mnist, gate)
    try:
        running.until("a base that answers", running.answers)
        yield running
        running.stop()
    finally:
        running.process.kill()
        running.process.wait()


class Log:
    """models.v1 and commands.v1, from their start, as the trainer believes them: tests of the API sign with other keys."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self._proofs = Proofs(public_keys(settings))
        self._tail: Tail = bus.follow(["models.v1", "commands.v1"], "start")
        self.model_log = ModelLog(ROSTER)
        self.events: list[Event] = []
        while not self._tail.caught_up():
            self.read()

    def read(self) -> "Log":
        for record in self._tail.poll(0.2):
            event = decode(record.topic, record.value)
            if isinstance(event, SignedEvent) and self._proofs.against(record, event) is not None:
                continue
            event = event.bare() if isinstance(event, ModelsEvent) else event
            self.model_log.apply(event)
            self.events.append(event)
        return self

    def ended(self, command_id: UUID) -> str | None:
        """How a rebuild ended, and why where it failed; None while it has not."""
        last = self.advanced(command_id)[-1:]
        return next(
            (f"failed: {one.message}" if one.step == "failed" else one.step for one in last if one.step in TRAINING_ENDS), None
        )

    def steps(self, command_id: UUID) -> list[str]:
        return [event.step for event in self.advanced(command_id)]

    def tried(self, command_id: UUID) -> list[Tried]:
        """The settings that a rebuild has tried, as it told last."""
        return next((event.tried for event in reversed(self.advanced(command_id))), [])

    def advanced(self, command_id: UUID) -> list[TrainingAdvanced]:
        told = [event for event in self.read().events if isinstance(event, TrainingAdvanced)]
        return [event for event in told if event.command_id == command_id]


@pytest.fixture(scope="class")
def at_work(little: Settings, kafka: str, some_mnist: Path) -> Iterator[Trainer]:
    """One trainer for a class of tests; there is never more than one."""
    with trainer(little, some_mnist) as running:
        yield running


@pytest.fixture
def log(bus: Bus, little: Settings) -> Iterator[Log]:
    made = Log(bus, little)
    yield made
    made._tail.close()


def labelled(
    digits: LabelledImages, n: int, *, player: str = "ada", revision: int = 1, drawing_id: UUID | None = None
) -> ExampleLabelled:
    return ExampleLabelled(
        drawing_id=drawing_id or uuid4(),
        player_id=player,
        revision=revision,
        correction_id=uuid4(),
        label=int(digits.labels[n]),
        drawn_at=now() - timedelta(seconds=3),
        strokes=[[[1.0, 2.0], [3.0, 4.0]]],
        width=300,
        height=300,
        features=Features(raster=digits.images[n].tobytes(), embedding=np.zeros(64, "<f4").tobytes(), reader="raster-1/test"),
        guesses=[ShownGuess(model="xgboost", version="base1", label=1, probabilities=[0.1] * 10, latency_ms=9.0)],
    )


def retrain(bus: Bus, model: str = "xgboost", **given: Any) -> RetrainModel:
    command = RetrainModel(command_id=uuid4(), target=model, by="test", reason="a test", **given)
    bus.publish(command).result(30)
    return command


def asked(settings: Settings, image: np.ndarray) -> tuple[str, int]:
    """The variant that answers a drawing, and the digit it says."""
    runtime = boto3.client("sagemaker-runtime", **settings.aws("sagemaker-runtime"))
    body = io.BytesIO()
    np.save(body, image.reshape(1, 784))
    answer = runtime.invoke_endpoint(
        EndpointName="gamenight-xgboost", Body=body.getvalue(), ContentType="application/x-npy", Accept="application/x-npy"
    )
    return answer["InvokedProductionVariant"], int(np.load(io.BytesIO(answer["Body"].read()), allow_pickle=False).argmax())


def observed(settings: Settings, drawing_id: UUID, player: str = "ada") -> dict[str, Any]:
    key = {"player_id": {"S": player}, "drawing_id": {"S": str(drawing_id)}}
    dynamodb = boto3.client("dynamodb", **settings.aws("dynamodb"))
    return dict(dynamodb.get_item(TableName=settings.table, Key=key, ConsistentRead=True).get("Item", {}))


def kill_listener(port: int) -> None:
    """Kill whoever listens at a port with -9; the supervisor starts it again."""
    [pid] = {one.pid for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port}
    os.kill(pid, signal.SIGKILL)


class TestATrainerAtWork:
    """What is asked of one and the same trainer."""

    def test_a_base_answers_before_anything_was_ever_trained(self, little, at_work, log, digits):
        champion = at_work.until("a champion", lambda: log.read().model_log.champion("xgboost"))
        assert champion.version in log.model_log.published("xgboost")
        assert asked(little, digits.images[0]) == (champion.variant, 5)

    def test_feedback_becomes_a_version_that_answers(self, little, bus, at_work, log, digits):
        examples = [labelled(digits, n, player=f"hand-{n % 9}") for n in range(40_000, 40_120)]
        for number, example in enumerate(examples, 1):
            bus.publish(example)
            told = {"drawing_id": example.drawing_id, "player_id": example.player_id, "newcomer": False}
            bus.publish(lesson(f"of {example.drawing_id}", example.label or 0, number=number, **told))
        corrected = labelled(digits, 40_000, player="hand-4", revision=2, drawing_id=examples[0].drawing_id)
        bus.publish(corrected).result(30)
        before = at_work.until("the base", lambda: log.read().model_log.champion("xgboost") if idle(log) else None)

        command = retrain(bus)
        at_work.until("a change of the endpoint", lambda: "endpoint" in log.steps(command.command_id))
        kill_listener(little.s3_port)  # the new version's server has yet to fetch its artifact
        assert at_work.until("the end of the rebuild", lambda: log.ended(command.command_id)) == "done"

        promoted = log.model_log.champion("xgboost")
        assert isinstance(promoted, ModelPromoted)
        assert promoted.version.isdigit()
        assert promoted.previous == before.version
        assert asked(little, digits.images[0])[0] == promoted.variant
        assert {"archive", "dataset", "training", "evaluation", "gate", "endpoint"} < set(log.steps(command.command_id))
        assert any("round=4/4" in line for event in log.events for line in getattr(event, "log", ()))

        published = log.model_log.published("xgboost")[promoted.version]
        blobs = S3Blobs(little)
        assert blobs.get(published.artifact.split("/", 3)[3])
        assert published.lineage["training_job"].startswith(f"gamenight-xgboost-{command.command_id}")
        assert published.metrics["mnist_n"] == 500
        assert published.metrics["held_back_n"] >= 30
        assert approval(little, promoted.version) == "Approved"

        found, _ = read_archive(blobs)
        assert {str(example.drawing_id) for example in examples} <= {feedback.drawing_id for feedback in found}
        at_work.until("the correction", lambda: observed(little, corrected.drawing_id, "hand-4").get("revision") == {"N": "2"})
        seen = observed(little, corrected.drawing_id, "hand-4")
        assert seen["guesses"]["M"]["xgboost"]["M"]["version"] == {"S": "base1"}

    def test_a_command_for_a_model_that_is_not_rebuilt_fails_with_a_reason_and_stops_nothing(self, bus, at_work, log):
        command = retrain(bus, "river")
        assert "no batch model 'river'" in at_work.until("the end", lambda: log.ended(command.command_id))

    def test_a_rebuild_from_the_base_leaves_the_players_out_and_delays_nobody(self, little, bus, at_work, log, digits):
        bus.publish(labelled(digits, 123)).result(30)
        command = retrain(bus, base=True)
        at_work.until("a rebuild under way", lambda: log.steps(command.command_id))
        policy = SetPolicy(command_id=uuid4(), lead="bandit", by="test")
        bus.publish(policy).result(30)
        at_work.until("the policy", lambda: log.read().model_log.policy().lead == "bandit")
        assert log.ended(command.command_id) is None

        assert at_work.until("the end of the rebuild", lambda: log.ended(command.command_id)) == "done"
        published = log.model_log.published("xgboost")[log.model_log.champion("xgboost").version]
        assert published.lineage["command"] == str(command.command_id)
        assert published.lineage["learned_from"] == "MNIST alone"
        assert (published.lineage["feedback"], published.lineage["offsets"]) == ("0", "")
        assert published.metrics["held_back_n"] == 0
        assert published.metrics["training_cost_usd"] > 0
        assert sum(published.slices.mnist_judged) == published.metrics["mnist_n"]
        assert sum(published.slices.mnist_right) == published.metrics["mnist_correct"]
        assert published.approved
        assert published.arn.startswith("arn:aws:sagemaker:")
        assert "archive" not in log.steps(command.command_id)
        job = boto3.client("sagemaker", **little.aws("sagemaker")).describe_training_job(
            TrainingJobName=published.lineage["training_job"]
        )
        made_by = {"CODE_VERSION": published.lineage["code"], "IMAGE_VERSION": published.lineage["image_version"]}
        assert job["Environment"] == made_by, "a trainer after this one knows what has begun the job"
        assert published.lineage["instance_type"] == little.training_instance

    @pytest.mark.parametrize("model", ["tensorflow", "mxnet", "kmeans"])
    def test_every_batch_model_is_rebuilt_by_its_own_image(self, model, little, bus, at_work, log):
        must_be_here(little.tools, model)
        model_log = at_work.until("a champion, or why not", lambda: answers_or_not(log, model))
        before = model_log.champion(model)
        assert before is not None, f"{model} does not answer: {model_log.endpoint(model).reason}"
        command = retrain(bus, model, base=True)
        assert at_work.until("the end of the rebuild", lambda: log.ended(command.command_id)) == "done"
        champion = model_log.champion(model)
        assert (champion.version, champion.previous) == (next_version([]), before.version)
        published = model_log.published(model)[champion.version]
        hyperparameters = json.loads(published.lineage["hyperparameters"])
        assert hyperparameters == {**ROSTER[model].hyperparameters, "seed": str(little.seed)}
        fractions = [event.fraction for event in log.advanced(command.command_id) if event.step == "training"]
        assert len(set(fractions)) > 1, "the job's log tells how far it is"
        assert ROSTER[model].title == published.title

    def test_a_rebuild_that_is_cancelled_stops_its_job_and_changes_nothing(self, little, bus, at_work, log, digits):
        before = at_work.until("the champion", lambda: log.read().model_log.champion("xgboost") if idle(log) else None)
        bus.publish(labelled(digits, 50_001)).result(30)
        command, waiting = retrain(bus, grid={"eta": ["0.1", "0.3"], "rounds": ["900", "901"]}), retrain(bus)
        at_work.until("tries", lambda: any(one.status == "running" for one in log.tried(command.command_id)))
        for one in (waiting, command):
            cancel = CancelTraining(
                command_id=uuid4(), target="xgboost", by="test", reason="not now", training_id=one.command_id
            )
            bus.publish(cancel).result(30)
        assert at_work.until("the end of the rebuild", lambda: log.read().ended(command.command_id)) == "cancelled"
        assert at_work.until("the end of the other", lambda: log.read().ended(waiting.command_id)) == "cancelled"
        sagemaker = boto3.client("sagemaker", **little.aws("sagemaker"))
        assert sagemaker.list_training_jobs(NameContains=str(command.command_id))["TrainingJobSummaries"] == []
        tries = sagemaker.list_training_jobs(NameContains=tuning_name(command.command_id))["TrainingJobSummaries"]
        assert {job["TrainingJobStatus"] for job in tries} == {"Stopped"}
        told = [sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"]) for job in tries]
        billed = {one.command_id: log.advanced(one.command_id)[-1] for one in (command, waiting)}
        assert billed[command.command_id].seconds == sum(job["BillableTimeInSeconds"] for job in told) > 0
        assert billed[command.command_id].cost > 0
        assert billed[waiting.command_id].seconds is None, "it had no job"
        assert len(tries) < 4, "those that wait are not begun any more"
        assert not list(S3Blobs(little).keys("tuning/"))
        assert log.model_log.champion("xgboost").version == before.version
        assert not log.model_log.due()


def answers_or_not(log: Log, model: str) -> ModelLog | None:
    model_log = log.read().model_log
    seen = model_log.endpoint(model)
    return model_log if model_log.champion(model) or (seen and seen.status == "Unavailable") else None


def idle(log: Log) -> bool:
    """Whether every command on the log is carried out."""
    return not log.read().model_log.due()


def approval(settings: Settings, version: str) -> str:
    sagemaker = boto3.client("sagemaker", **settings.aws("sagemaker"))
    for found in sagemaker.list_model_packages(ModelPackageGroupName="gamenight-xgboost")["ModelPackageSummaryList"]:
        package = sagemaker.describe_model_package(ModelPackageName=found["ModelPackageArn"])
        if package["CustomerMetadataProperties"]["version"] == version:
            return str(package["ModelApprovalStatus"])
    return "unknown"


def test_of_two_trainers_one_works_and_when_it_is_killed_in_the_middle_the_other_resumes_its_one_job(
    little, bus, some_mnist, log, digits
):
    longer = little.model_copy(update={"training_rounds": 25})
    sagemaker = boto3.client("sagemaker", **little.aws("sagemaker"))
    with trainer(longer, some_mnist) as killed, trainer(longer, some_mnist) as other:
        killed.until("the base", lambda: log.read().model_log.champion("xgboost"))
        bus.publish(labelled(digits, 50_002)).result(30)
        parent = log.model_log.champion("xgboost").version
        first = retrain(bus, warm=True)
        assert other.until("the end of the rebuild", lambda: log.ended(first.command_id)) == "done"
        known = log.model_log.published("xgboost")
        continued = known[log.model_log.champion("xgboost").version].lineage
        assert continued["continued_from"] == parent
        assert json.loads(continued["hyperparameters"])["parent"] == known[parent].digest
        bus.publish(labelled(digits, 50_003)).result(30)
        command = retrain(bus, grid={"eta": ["0.1", "0.3"]})

        def jobs() -> list[Any]:
            return list(sagemaker.list_training_jobs(NameContains=str(command.command_id))["TrainingJobSummaries"])

        killed.until("tries", lambda: any(one.status == "running" for one in log.tried(command.command_id)))
        assert [one.holds_the_lease() for one in (killed, other)] == [True, False]
        killed.process.kill()
        killed.process.wait()
        began = time.monotonic()
        other.until("the lease", other.holds_the_lease)
        assert time.monotonic() - began < 30
        assert other.until("the end of the rebuild", lambda: log.ended(command.command_id)) == "done"
        assert len(jobs()) == 1
        tries = sagemaker.list_training_jobs(NameContains=tuning_name(command.command_id))["TrainingJobSummaries"]
        assert [job["TrainingJobStatus"] for job in tries] == ["Completed", "Completed"]
        assert [(one.status, one.kept, one.accuracy is not None) for one in log.tried(command.command_id)] == [
            ("done", True, True),
            ("done", False, True),
        ]
        assert not list(S3Blobs(little).keys("tuning/"))
        for asked_for in (first, command):
            [made] = [
                p for p in log.model_log.published("xgboost").values() if p.lineage.get("command") == str(asked_for.command_id)
            ]
        assert log.model_log.champion("xgboost").version == made.version


def test_a_version_that_forgot_is_refused_and_the_champion_stays(little, bus, some_mnist, log, digits):
    with trainer(little, some_mnist, gate=SHUT_GATE) as running:
        before = running.until("the champion", lambda: log.read().model_log.champion("xgboost"))
        command = retrain(bus)
        assert running.until("the end of the rebuild", lambda: log.ended(command.command_id)) == "refused"

        [made] = [p for p in log.model_log.published("xgboost").values() if p.lineage.get("command") == str(command.command_id)]
        assert isinstance(made, ModelPublished)
        assert made.gate.startswith("refused: MNIST")
        assert approval(little, made.version) == "Rejected"
        assert log.model_log.champion("xgboost").version == before.version
        assert asked(little, digits.images[0])[0] == before.variant


def test_tables_that_were_thrown_away_or_are_of_an_older_version_fill_again_from_the_log(little, bus, digits):
    example = labelled(digits, 7)
    bus.publish(example).result(30)
    dynamodb = boto3.client("dynamodb", **little.aws("dynamodb"))
    for design in (DRAWINGS, GUESSES, BOOKKEEPING):
        dynamodb.delete_table(TableName=design.name(little))
    key = {"AttributeName": "drawing_id", "KeyType": "HASH"}, {"AttributeName": "drawing_id", "AttributeType": "S"}
    dynamodb.create_table(
        TableName=little.table, KeySchema=[key[0]], AttributeDefinitions=[key[1]], BillingMode="PAY_PER_REQUEST"
    )
    ensure_tables(little)
    ensure_tables(little)
    assert catch_up(bus, Observations(little, threading.Event())) > 0
    assert observed(little, example.drawing_id)["revision"] == {"N": "1"}


def test_observations_are_asked_by_player_day_label_and_model_without_a_scan(little, digits):
    sink = Observations(little, threading.Event())
    told = [labelled(digits, n, player="asker") for n in range(30)]
    keep(sink, 1, [Placed(n, example) for n, example in enumerate(told)])
    dynamodb, last = boto3.client("dynamodb", **little.aws("dynamodb")), time_key(told[19].drawn_at)

    def asked_for(table: str, index: str | None, key: str, value: dict[str, str], until: str | None = None) -> set[str]:
        """The drawings of a query, as docs/observations.md has it."""
        names, values = {"#key": key}, {":value": value} | ({":until": {"S": until}} if until else {})
        found = dynamodb.query(
            TableName=table,
            **({"IndexName": index} if index else {}),
            KeyConditionExpression="#key = :value" + (" AND drawn_at <= :until" if until else ""),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
        )
        return {one["drawing_id"]["S"] for one in found["Items"] if one["player_id"]["S"] == "asker"}

    everything, until = {str(one.drawing_id) for one in told}, {str(one.drawing_id) for one in told[:20]}
    day = told[0].drawn_at.date().isoformat()
    guesses = GUESSES.name(little)
    assert asked_for(little.table, None, "player_id", {"S": "asker"}) == everything
    assert asked_for(guesses, None, "player_id", {"S": "asker"}) == everything
    assert asked_for(little.table, "by-day", "day", {"S": day}, last) == until
    assert asked_for(guesses, "by-model", "model", {"S": "xgboost"}, last) == until
    sevens = {str(one.drawing_id) for one in told if one.label == 7}
    assert asked_for(little.table, "by-label", "label", {"N": "7"}) == sevens != set()
    sink.without("asker", lambda drawings: None)
    assert asked_for(guesses, "by-model", "model", {"S": "xgboost"}) == set()


def test_an_older_revision_never_replaces_a_newer_one(little, digits):
    sink = Observations(little, threading.Event())
    drawings = [uuid4() for _ in range(150)]
    for revision in (2, 1, 3, 2):
        told = [labelled(digits, n, revision=revision, drawing_id=drawing) for n, drawing in enumerate(drawings)]
        keep(sink, 0, [Placed(n, example) for n, example in enumerate(told)])
    assert {observed(little, drawing)["revision"]["N"] for drawing in drawings[::30]} == {"3"}


def test_an_endpoint_that_is_gone_or_serves_another_version_is_repaired(little, some_mnist, log, digits):
    sagemaker = boto3.client("sagemaker", **little.aws("sagemaker"))
    with trainer(little, some_mnist) as running:
        champion = running.until("the champion", lambda: log.read().model_log.champion("xgboost"))
    sagemaker.delete_endpoint(EndpointName="gamenight-xgboost")
    with trainer(little, some_mnist):
        assert asked(little, digits.images[0])[0] == champion.variant

    base = log.model_log.published("xgboost")["base1"]
    serving = Serving(little, time.sleep)
    serving.serve("gamenight-xgboost", base, only=True)
    serving.ready("gamenight-xgboost", base)
    assert champion.variant != "base1"
    with trainer(little, some_mnist):
        assert asked(little, digits.images[0])[0] == champion.variant


def test_a_log_that_was_thrown_away_is_told_again_by_the_registry(little, log):
    forgotten = open_bus(f"memory://{uuid4()}")
    model_log = ModelLog(ROSTER)
    blobs, serving = S3Blobs(little), Serving(little, time.sleep)
    promoter, registry = Promoter(forgotten, model_log, serving), Registry(little, blobs)
    assert BaseModels(little, blobs, model_log, serving, promoter, registry).bring("xgboost")
    assert model_log.published("xgboost") == log.model_log.published("xgboost")
    assert model_log.champion("xgboost").version == log.model_log.champion("xgboost").version


def test_the_archive_has_every_example_once(little, bus, some_mnist, digits):
    blobs = S3Blobs(little)
    before = len(list(blobs.keys(PREFIX)))
    examples = [labelled(digits, n, player=f"once-{n % 5}") for n in range(50)]
    for example in examples:
        bus.publish(example)
    bus.flush(30)
    ids = sorted(str(example.drawing_id) for example in examples)

    def kept() -> list[str]:
        found, _ = read_archive(blobs)
        return sorted(feedback.drawing_id for feedback in found if feedback.player_id.startswith("once-"))

    with trainer(little, some_mnist) as running:
        running.until("the archive", lambda: len(list(blobs.keys(PREFIX))) > before)
        running.process.kill()
        running.process.wait()
    with trainer(little, some_mnist) as running:
        running.until("all of them", lambda: len(kept()) >= len(ids))
    assert kept() == ids
