"""The real Kafka, S3 and DynamoDB of one machine: what they were given survives kill -9, and they end with their supervisor."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import orjson
import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from contracts.events import TOPICS
from contracts.settings import SECRETS, Settings
from deploy.local.components import components
from deploy.local.supervisor import Supervisor, running
from producers.topics import TopicsDiffer, create_topics
from tests.conftest import fresh_settings
from tests.serving import eventually

BASES = ["kafka", "s3", "dynamodb"]


def wait_for(what: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until it is so, or fail."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Supervisor]]:
    """The three services, of this module alone: they are killed here."""
    settings = fresh_settings(tmp_path_factory.mktemp("home"))
    with running(settings, BASES) as supervisor:
        yield settings, supervisor


def kill(supervisor: Supervisor, name: str) -> None:
    """kill -9, and wait until it is ready again."""

    def standing() -> Any:
        return next(one for one in supervisor.standings if one.name == name)

    before = standing().restarts
    os.kill(supervisor.pid(name), signal.SIGKILL)
    wait_for(lambda: standing().restarts > before and standing().phase == "ready")


def test_kafka_has_every_topic_as_the_contracts_say(bases: tuple[Settings, Supervisor]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bases[0].bootstrap_servers)
    try:
        partitions = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
        described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in TOPICS])
    finally:
        admin.close()

    assert {name: partitions[name] for name in TOPICS} == {name: spec.partitions for name, spec in TOPICS.items()}
    for name, spec in TOPICS.items():
        found = described["topic"][name]
        demanded = spec.configs(bases[0].log_bytes)
        assert {key: found[key]["value"] for key in demanded} == demanded


def test_topics_of_before_get_what_is_demanded_of_them_now(bases: tuple[Settings, Supervisor]) -> None:
    settings = bases[0]
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    before = {"retention.bytes": "-1", "retention.ms": "1000"}

    def there() -> dict[str, str]:
        described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "previews.v1")])["topic"]["previews.v1"]
        return {key: described[key]["value"] for key in before}

    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "previews.v1", before)])
        eventually(lambda: there() == before)  # the broker learns of it from its controller, a moment later

        create_topics(settings)

        demanded = TOPICS["previews.v1"].configs(settings.log_bytes)
        eventually(lambda: there() == {key: demanded[key] for key in before})
    finally:
        admin.close()


def test_topics_are_made_once_and_differing_ones_are_named(
    bases: tuple[Settings, Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_topics(bases[0])
    other = TOPICS["commands.v1"].model_copy(update={"partitions": 3})
    monkeypatch.setattr("producers.topics.TOPICS", {**TOPICS, "commands.v1": other})

    with pytest.raises(TopicsDiffer, match=r"commands\.v1 has 1 partitions instead of 3"):
        create_topics(bases[0])


def test_acknowledged_messages_survive_kill_9_of_kafka(bases: tuple[Settings, Supervisor]) -> None:
    settings, supervisor = bases
    place = TopicPartition("rejected.v1", 0)
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all")
    try:
        sent = [producer.send(place.topic, f"message {n}".encode(), partition=0) for n in range(500)]
        kept = {future.get(30).offset: f"message {n}".encode() for n, future in enumerate(sent)}
    finally:
        producer.close()

    kill(supervisor, "kafka")

    consumer = KafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    found: dict[int, bytes] = {}
    try:
        consumer.assign([place])
        consumer.seek(place, min(kept))

        def all_there() -> bool:
            with suppress(KafkaError):
                for records in consumer.poll(timeout_ms=200).values():
                    found.update((record.offset, record.value) for record in records)
            return found.keys() >= kept.keys()

        wait_for(all_there)
    finally:
        consumer.close()
    assert {offset: found[offset] for offset in kept} == kept


def test_objects_survive_kill_9_of_s3_and_are_not_overwritten_where_that_is_forbidden(
    bases: tuple[Settings, Supervisor],
) -> None:
    settings, supervisor = bases
    s3 = boto3.client("s3", **settings.aws("s3"))
    s3.put_object(Bucket=settings.bucket, Key="a/b", Body=b"kept", ContentType="x/y")

    kill(supervisor, "s3")

    kept = s3.get_object(Bucket=settings.bucket, Key="a/b")
    assert (kept["Body"].read(), kept["ContentType"]) == (b"kept", "x/y")
    with pytest.raises(s3.exceptions.ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=settings.bucket, Key="a/b", Body=b"other", IfNoneMatch="*")


def test_items_survive_kill_9_of_dynamodb(bases: tuple[Settings, Supervisor]) -> None:
    settings, supervisor = bases
    dynamodb = boto3.client("dynamodb", **settings.aws("dynamodb"))
    key = {"player_id": {"S": "ada"}, "drawing_id": {"S": "d1"}}
    dynamodb.put_item(TableName=settings.table, Item={**key, "label": {"N": "7"}})

    kill(supervisor, "dynamodb")

    item = dynamodb.get_item(TableName=settings.table, Key=key, ConsistentRead=True)["Item"]
    assert item["label"] == {"N": "7"}


def test_every_service_listens_on_the_loopback_address_only(bases: tuple[Settings, Supervisor]) -> None:
    _, supervisor = bases
    listening = {
        connection.laddr[0]
        for name in BASES
        for connection in psutil.Process(supervisor.pid(name)).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.fixture
def up(tmp_path: Path) -> Iterator["Up"]:
    """`gamenight up` in a home of its own."""
    running_up = Up(tmp_path)
    yield running_up
    running_up.end()


class Up:
    """A process of ``gamenight up``, and what it says."""

    def __init__(self, home: Path) -> None:
        self.settings = fresh_settings(home)
        self.output = home / "output"
        self.process = self.another()

    def another(self) -> "subprocess.Popen[bytes]":
        """Start it on the same home, a first or a second time."""
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "up"],
                env={**os.environ, **self.settings.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def children(self) -> list[psutil.Process]:
        """All that it started, and what those started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def phases(self) -> dict[str, str]:
        """How it stands with each process, as the doctor sees it."""
        try:
            state = orjson.loads((self.settings.home / "run" / "state.json").read_bytes())
        except FileNotFoundError:
            return {}
        return {one["name"]: one["phase"] for one in state["components"]}

    def pids(self) -> dict[str, int]:
        """The process of each part."""
        state = orjson.loads((self.settings.home / "run" / "state.json").read_bytes())
        return {one["name"]: one["pid"] for one in state["components"]}

    def wait_until_ready(self) -> None:
        """Wait for every process."""
        wait_for(lambda: self.process.poll() is not None or set(self.phases().values()) == {"ready"}, 150)
        assert self.process.poll() is None, self.output.read_text()

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more."""
    return all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in processes)


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("localhost", 200), ("rebound.example", 404)])
def test_dynamodb_serves_no_foreign_name(bases: tuple[Settings, Supervisor], host: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", bases[0].dynamodb_port, timeout=10)
    scope = "Credential=AKIA/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"
    headers = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Content-Type": "application/x-amz-json-1.0"}

    connection.request("POST", "/", b"{}", {"Host": host, "Authorization": f"AWS4-HMAC-SHA256 {scope}", **headers})

    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.timeout(400)
def test_up_is_alone_on_its_home_stops_on_ctrl_c_and_leaves_nothing_running(up: Up) -> None:
    up.wait_until_ready()
    children = up.children()
    assert len(children) >= len(up.phases())

    second = up.another()
    assert second.wait(60) == 2
    assert f"already runs on {up.settings.home} (process {up.process.pid})" in up.output.read_text()

    readable = [path for path in up.settings.home.rglob("*") if path != up.output and path.lstat().st_mode & 0o077]
    assert [path for path in readable if not path.is_symlink() and path.suffix != ".sock"] == []
    doors = [one for child in children for one in child.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert len(doors) >= len([port for part in components(up.settings) for port in part.ports])
    assert {one.laddr.ip.removeprefix("::ffff:") for one in doors} == {"127.0.0.1"}
    assert up.settings.dynamodb_port in {one.laddr.port for one in doors}
    secrets = {name: getattr(up.settings, name) for name in SECRETS}
    held = {
        name: {secret for secret, value in secrets.items() if value in psutil.Process(pid).environ().values()}
        for name, pid in up.pids().items()
    }
    assert held == {part.name: set(part.secrets) & set(SECRETS) for part in components(up.settings)}

    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0
    assert gone(children)
    assert "everything is kept" in up.output.read_text()
    assert (up.settings.home / "kafka" / "data" / "drawings.v1-0").is_dir()


@pytest.mark.timeout(400)
def test_kill_9_of_up_leaves_no_orphans_and_the_home_works_again(up: Up) -> None:
    up.wait_until_ready()
    children = up.children()
    up.process.kill()
    up.process.wait()
    wait_for(lambda: gone(children), 10)

    up.process = up.another()
    up.wait_until_ready()


def test_what_a_setting_names_elsewhere_is_not_started_but_provisioned(
    bases: tuple[Settings, Supervisor], tmp_path: Path
) -> None:
    outside, _ = bases
    here = fresh_settings(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "up"],
        env={
            **os.environ,
            **here.environment(),
            "KAFKA_BOOTSTRAP_SERVERS": outside.bootstrap_servers,
            "AWS_ENDPOINT_URL_S3": outside.endpoint_urls["s3"],
            "AWS_ACCESS_KEY_ID": str(outside.aws_access_key_id),
            "AWS_SECRET_ACCESS_KEY": str(outside.aws_secret_access_key),
            "AWS_ENDPOINT_URL_DYNAMODB": outside.endpoint_urls["dynamodb"],
            "GAMENIGHT_BUCKET": "another-bucket",
            "GAMENIGHT_TABLE": "another-table",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        s3, dynamodb = (boto3.client(name, **outside.aws(name)) for name in ("s3", "dynamodb"))  # type: ignore[call-overload]
        wait_for(lambda: "another-bucket" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]])
        wait_for(lambda: "another-table" in dynamodb.list_tables()["TableNames"])
        commands = [" ".join(child.cmdline()) for child in psutil.Process(process.pid).children()]
        assert not [command for command in commands if "kafka.Kafka" in command or "s3_server" in command or "jetty" in command]
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert f"kafka is {outside.bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS)" in output.decode()
