"""Makes the topics of contracts/events.py on a broker."""

import socket
import time
from contextlib import suppress

from kafka import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from contracts.events import TOPICS


class BrokerUnreachable(ConnectionError):
    """Nobody accepts connections where Kafka should be."""


class TopicsDiffer(RuntimeError):
    """A topic is there with another number of partitions, so keys would meet on the wrong ones."""


def open_admin(bootstrap_servers: str, timeout_s: float = 30.0) -> KafkaAdminClient:
    """A client for administration.

    It is made only once somebody listens: constructed too early it would hang for half a minute.

    Raises:
        BrokerUnreachable: If nobody listened in ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        for server in bootstrap_servers.split(","):
            host, _, port = server.strip().rpartition(":")
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
            except (OSError, ValueError):
                continue
            return KafkaAdminClient(bootstrap_servers=bootstrap_servers, client_id="gamenight-admin")
        if time.monotonic() > deadline:
            raise BrokerUnreachable(f"no Kafka at {bootstrap_servers}: check KAFKA_BOOTSTRAP_SERVERS or GAMENIGHT_KAFKA_PORT")
        time.sleep(0.05)


def create_topics(bootstrap_servers: str, replicas: int = -1) -> None:
    """Make the topics that are not there yet; twice is once.

    Args:
        bootstrap_servers: Of the broker, ``host:port`` with commas between.
        replicas: Of each partition; -1 is the broker's default.

    Raises:
        TopicsDiffer: If one is there with another number of partitions.
        BrokerUnreachable: If nobody listens there.
    """
    admin = open_admin(bootstrap_servers)
    try:
        there = _partitions(admin)
        missing = {
            name: {"num_partitions": spec.partitions, "replication_factor": replicas, "configs": spec.configs()}
            for name, spec in TOPICS.items()
            if name not in there
        }
        if missing:
            with suppress(TopicAlreadyExistsError):  # somebody else made it meanwhile
                admin.create_topics(missing)
            admin.wait_for_topics(list(TOPICS))
        there = _partitions(admin)
        differing = [
            f"{name} has {there[name]} partitions instead of {spec.partitions}"
            for name, spec in TOPICS.items()
            if there[name] != spec.partitions
        ]
        if differing:
            raise TopicsDiffer(f"{'; '.join(differing)}: use another Kafka, or make these topics again")
    finally:
        admin.close()


def _partitions(admin: KafkaAdminClient) -> dict[str, int]:
    return {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
