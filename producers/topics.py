"""Makes the topics of contracts/events.py on a broker, and gives those of before what is demanded of them now."""

from contextlib import suppress

import structlog
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from contracts.events import TOPICS
from contracts.settings import Settings
from producers.connection import kafka_of, knock

log = structlog.get_logger(__name__)


class TopicsDiffer(RuntimeError):
    """A topic is there with another number of partitions, so keys would meet on the wrong ones."""


def open_admin(settings: Settings, timeout_s: float = 30.0) -> KafkaAdminClient:
    """A client for administration.

    Raises:
        BrokerAbsent: If nobody answered in ``timeout_s``.
        NotAdmitted: If a broker is there and refuses us, or is not to be trusted.
    """
    place = kafka_of(settings)
    knock(place, timeout_s)
    return KafkaAdminClient(bootstrap_servers=list(place.servers), client_id="gamenight-admin", **place.security)


def create_topics(settings: Settings, replicas: int = -1) -> None:
    """Make the topics that are not there yet; twice is once.

    Args:
        settings: Where Kafka is, and how it is spoken to.
        replicas: Of each partition; -1 is the broker's default.

    Raises:
        TopicsDiffer: If one is there with another number of partitions.
        BusError: If nobody is there, or does not admit us.
    """
    admin = open_admin(settings)
    try:
        there = _partitions(admin)
        missing = {
            name: {
                "num_partitions": spec.partitions,
                "replication_factor": replicas,
                "configs": spec.configs(settings.log_bytes),
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
            f"{name} has {there[name]} partitions instead of {spec.partitions}"
            for name, spec in TOPICS.items()
            if there[name] != spec.partitions
        ]
        if differing:
            raise TopicsDiffer(f"{'; '.join(differing)}: use another Kafka, or make these topics again")
        _configure(admin, settings.log_bytes)
    finally:
        admin.close()


def _configure(admin: KafkaAdminClient, log_bytes: int) -> None:
    """Set what differs from the contracts: topics live longer than what is demanded of them."""
    demanded = {name: spec.configs(log_bytes) for name, spec in TOPICS.items()}
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


def _partitions(admin: KafkaAdminClient) -> dict[str, int]:
    return {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
