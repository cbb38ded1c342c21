"""Runs Apache Kafka, the real broker, as one KRaft node with its data under ``<home>/kafka``."""

import base64
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from contracts.settings import Settings
from deploy.local import java
from deploy.local.component import Component, listens

LEAST_FREE = 64 << 20
"""Bytes that must be free on the disk before the broker starts: indexes alone take 20 MB for each partition that is written."""
LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)


def component(settings: Settings) -> Component:
    """Return the broker as a component; once it is ready, the topics exist."""
    return Component(
        name="kafka",
        argv=command(settings.tools / "jars" / "kafka", properties_file(settings.home)),
        ports={"GAMENIGHT_KAFKA_PORT": settings.kafka_port, "GAMENIGHT_KAFKA_CONTROLLER_PORT": settings.kafka_controller_port},
        prepare=lambda: prepare(settings),
        ready=lambda: listens(settings.kafka_port),
        settle=lambda: make_topics(settings),
    )


def command(jars: Path, properties: Path) -> tuple[str, ...]:
    """Return the command that runs the broker; the class archive is made with the same command."""
    options = ("-Xmx512m", "-XX:+UseTransparentHugePages", *LOGGING)
    return java.command(jars, "kafka.Kafka", str(properties.absolute()), options=options)


def properties_file(home: Path) -> Path:
    """Return the path of the broker's settings."""
    return home / "kafka" / "server.properties"


def properties(data: Path, port: int, controller_port: int) -> dict[str, str]:
    """Return the broker's settings: one node, nothing replicated, quick to restart after kill -9."""
    alone = {
        f"{topic}.{name}": value
        for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
        for name, value in (("replication.factor", "1"), ("min.isr", "1"), ("num.partitions", "4"))
        if (topic, name) != ("offsets.topic", "min.isr")
    }
    return alone | {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data.absolute()),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # After kill -9 the old session must end before the node may register again: 12 s with the defaults, 3 s with these.
        "broker.session.timeout.ms": "1500",
        "broker.heartbeat.interval.ms": "500",
        # The machine is small and the partitions are few: these sizes keep an idle broker small.
        "log.segment.bytes": str(128 << 20),
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        "log.cleaner.backoff.ms": "500",  # somebody waits for what is cut out of the log: with the default half a minute
        "group.min.session.timeout.ms": "1000",
    }


class DiskFull(RuntimeError):
    """The disk has no room for the log; the message says which folder it is."""


def prepare(settings: Settings) -> None:
    """Write the settings, and format the data folder the first time.

    Raises:
        DiskFull: If less than `LEAST_FREE` is left: the broker would end at once, with an error that nobody understands.
    """
    file, data = properties_file(settings.home), settings.home / "kafka" / "data"
    data.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(data).free) < LEAST_FREE:
        raise DiskFull(f"{free >> 20} MB are left on the disk of {data}: make room, and the broker is started again by itself")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_properties(file, data, settings.kafka_port, settings.kafka_controller_port)
    if not (data / "meta.properties").is_file():
        format_storage(settings.tools / "jars" / "kafka", file)


def write_properties(file: Path, data: Path, port: int, controller_port: int) -> None:
    """Write the broker's settings in the form that it reads."""
    file.write_text("".join(f"{key}={value}\n" for key, value in properties(data, port, controller_port).items()))


def new_cluster_id() -> str:
    """Make an id for a new cluster; it never begins with a dash, which Kafka's tools take for the sign of an option."""
    while True:
        identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not identity.startswith("-"):
            return identity


def format_storage(jars: Path, file: Path, cluster: str | None = None, users: Mapping[str, str] | None = None) -> None:
    """Give the data folder its cluster id, as Kafka demands before the first start.

    Args:
        jars: The folder of the broker's jars.
        file: The file of the broker's settings.
        cluster: The id, the same for all nodes of a cluster; None: a new id.
        users: Passwords of SCRAM-SHA-512 by user, which the cluster knows from its first start.
    """
    scram = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in (users or {}).items()]
    added = [part for one in scram for part in ("--add-scram", one)]
    arguments = ("format", "--ignore-formatted", "-t", cluster or new_cluster_id(), "-c", str(file.absolute()), *added)
    done = subprocess.run(
        java.command(jars, "kafka.tools.StorageTool", *arguments, options=LOGGING), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"Kafka could not format {file.parent}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


def make_topics(settings: Settings) -> None:
    """Create the topics that do not exist."""
    from producers.topics import create_topics  # the import takes a while, in which the broker starts

    create_topics(settings)
