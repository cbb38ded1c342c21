"""Creates the topics of contracts/events.py on a broker, and brings the settings of existing ones up to date."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from contracts.events import TOPICS
from contracts.settings import Settings
from producers.connection import DIRECT, kafka_of, knock

log = structlog.get_logger(__name__)


class TopicsDiffer(RuntimeError):
    """A topic is there with another number of partitions, so keys would meet on the wrong ones, or is kept by too few."""


def open_admin(settings: Settings, timeout_s: float = 30.0) -> KafkaAdminClient:
    """Open an admin client.

    Raises:
        BrokerAbsent: If nobody answered in ``timeout_s``.
        NotAdmitted: If a broker is there and refuses us, or is not to be trusted.
    """
    place = kafka_of(settings)
    knock(place, timeout_s)
    return KafkaAdminClient(
        bootstrap_servers=list(place.servers), client_id="gamenight-admin", proxy_url=DIRECT, **place.security
    )


MOST_BROKERS_ALONE: Final = 2
"""Above so many brokers, each event is demanded to be on `REPLICAS` of them, and on `IN_SYNC` before it is acknowledged."""
REPLICAS: Final = 3
IN_SYNC: Final = 2


def create_topics(settings: Settings) -> None:
    """Create the topics that do not exist yet; twice is once.

    Where the cluster has three brokers or more, they are kept by three, and acknowledged (acks=all) by two at least: what a
    player was told is saved survives any one broker.

    Args:
        settings: Where Kafka is, and how it is spoken to.

    Raises:
        TopicsDiffer: If one is there with another number of partitions, or is kept by fewer brokers.
        BusError: If nobody is there, or does not admit us.
    """
    admin = open_admin(settings)
    try:
        several = len(admin.describe_cluster()["brokers"]) > MOST_BROKERS_ALONE
        in_sync = {"min.insync.replicas": str(IN_SYNC)} if several else {}
        demanded = {name: spec.configs(settings.log_bytes) | in_sync for name, spec in TOPICS.items()}
        there = _partitions(admin)
        missing = {
            name: {
                "num_partitions": spec.partitions,
                "replication_factor": REPLICAS if several else -1,  # the broker's default
                "configs": demanded[name],
            }
            for name, spec in TOPICS.items()
            if name not in there
        }
        if missing:
            with suppress(TopicAlreadyExistsError):  # somebody else made it meanwhile
                admin.create_topics(missing)
            admin.wait_for_topics(list(TOPICS))
        there = _partitions(admin)
        differing = [
            f"{name} has {len(there[name])} partitions instead of {spec.partitions}"
            for name, spec in TOPICS.items()
            if len(there[name]) != spec.partitions
        ]
        if differing:
            raise TopicsDiffer(f"{'; '.join(differing)}: use another Kafka, or make these topics again")
        if several and (thin := sorted(name for name in TOPICS if min(there[name]) < REPLICAS)):
            raise TopicsDiffer(
                f"{', '.join(thin)}: kept by fewer than {REPLICAS} brokers, of which the cluster has enough:"
                " give them more replicas (kafka-reassign-partitions), or make these topics again"
            )
        _configure(admin, demanded)
    finally:
        admin.close()


def _configure(admin: KafkaAdminClient, demanded: Mapping[str, Mapping[str, str]]) -> None:
    """Set what differs from the contracts: topics live longer than what is demanded of them."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, list(configs)) for name, configs in demanded.items()]
    there = admin.describe_configs(asked, config_filter="all")["topic"]
    differing = {
        name: wrong
        for name, configs in demanded.items()
        if (wrong := {key: value for key, value in configs.items() if there[name][key]["value"] != value})
    }
    if not differing:
        return
    done = admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wrong) for name, wrong in differing.items()])
    for name, outcome in done["topic"].items():
        if outcome == "OK":
            log.info("topic configured", topic=name, **{key.replace(".", "_"): value for key, value in differing[name].items()})
        else:  # a cluster of others may not let us
            log.warning("topic not configured", topic=name, why=outcome, wanted=differing[name])


def _partitions(admin: KafkaAdminClient) -> dict[str, list[int]]:
    """By topic, how many brokers keep each partition."""
    topics = admin.describe_topics()
    return {topic["name"]: [len(partition["replica_nodes"]) for partition in topic["partitions"]] for topic in topics}
