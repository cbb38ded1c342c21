"""Creates the topics of contracts/events.py on a broker, and brings the settings of existing ones up to date."""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import AuthorizationError, TopicAlreadyExistsError, UnknownBrokerIdError

from contracts.events import SIGNED, TOPICS
from contracts.settings import Settings
from producers.connection import DIRECT, BrokerAbsent, NotAdmitted, kafka_of, knock

log = structlog.get_logger(__name__)


class TopicsDiffer(RuntimeError):
    """A topic has another number of partitions, so that keys would go to wrong ones; or too few brokers keep its acknowledged
    records; or its records have the time that their writer claims, although that says which must be signed."""


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
_IN_SYNC: Final = "min.insync.replicas"
CONTROLLER_S: Final = 30.0
"""How long a starting cluster may take until its controller is among the brokers that it lists."""
_BY_SEVERAL: Final = (
    f"what players are told is saved must be on {IN_SYNC} brokers, of which this cluster has enough: let an administrator"
    f" run `gamenight topics`, or set {_IN_SYNC} to {IN_SYNC} or more"
)
_STAMPS: Final = "message.timestamp.type"
_STAMPED: Final = "LogAppendTime"
_BY_BROKER: Final = (
    "the broker must stamp these records, since their time says which of them had to be signed: let an administrator"
    f" run `gamenight topics`, or set {_STAMPS} to {_STAMPED}"
)


def create_topics(settings: Settings) -> None:
    """Create the topics that do not exist yet; twice is once.

    If the cluster has three brokers or more, three keep each topic, and at least two acknowledge its records (acks=all): what
    players are told is saved survives the loss of any one broker.

    Args:
        settings: The address of Kafka, and how to connect.

    Raises:
        TopicsDiffer: If a topic has another number of partitions, too few brokers keep it or acknowledge its records, or the
            broker does not stamp records that are signed, and we may not change that.
        BusError: If no broker answers, or it refuses us.
    """
    deadline = time.monotonic() + CONTROLLER_S
    while True:
        try:
            return _create(settings)
        except UnknownBrokerIdError as unknown:  # the client does not ask for the brokers again
            if time.monotonic() > deadline:
                raise BrokerAbsent(
                    f"Kafka's controller is not among its brokers after {CONTROLLER_S:.0f} s: is it up?"
                ) from unknown
        time.sleep(0.2)


def _create(settings: Settings) -> None:
    admin = open_admin(settings)
    try:
        several = _several(admin)
        in_sync = {_IN_SYNC: str(IN_SYNC)} if several else {}
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
            with suppress(TopicAlreadyExistsError):  # another process made it meanwhile
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


def check_topics(settings: Settings, topics: Collection[str] = tuple(TOPICS)) -> None:
    """Check that the broker stamps records that are signed, and that acknowledged ones are on two brokers if the cluster has
    three or more; change nothing.

    Every process calls this at its start, since anybody may have created or changed the topics. A broker that is started here
    is the only one, and has its topics as they are to be, so nothing is checked.

    Args:
        settings: The address of Kafka, and how to connect.
        topics: The topics that the process reads or writes.

    Raises:
        TopicsDiffer: If a single broker acknowledges a record of one of the topics, or one that is signed has the time that its
            writer claims.
        BusError: If no broker answers, or it refuses us.
    """
    if settings.kafka_bootstrap_servers is None:
        return
    admin = open_admin(settings)
    try:
        several, replicas = _several(admin), _partitions(admin)
        asked = {name: [_IN_SYNC] * several + [_STAMPS] * (name in SIGNED) for name in topics if name in replicas}
        kept = _configs(admin, {name: keys for name, keys in asked.items() if keys})
        claimed = {name: f"{_STAMPS}={told}" for name in asked if name in SIGNED and (told := _stamps(kept[name])) != _STAMPED}
        if claimed:
            raise TopicsDiffer(f"{_each(claimed)}; {_BY_BROKER}")
        thin = {name: why for name in asked if several and (why := _thin(min(replicas[name]), kept[name][_IN_SYNC]["value"]))}
        if thin:
            raise TopicsDiffer(f"{_each(thin)}; {_BY_SEVERAL}")
    except AuthorizationError as error:
        raise NotAdmitted(
            f"Kafka at {settings.bootstrap_servers} does not tell us how topics are kept ({error}):"
            " `gamenight acls` gives the right"
        ) from error
    finally:
        admin.close()


def _stamps(configs: Mapping[str, Any]) -> str:
    """Return whose time the records of a topic have."""
    return str(configs[_STAMPS]["value"])


def _several(admin: KafkaAdminClient) -> bool:
    return len(admin.describe_cluster()["brokers"]) > MOST_BROKERS_ALONE


def _thin(replicas: int, in_sync: str) -> str:
    """Return what is wrong with a topic of a cluster of several brokers; empty: nothing."""
    if replicas < IN_SYNC:
        return f"kept by {replicas} broker"
    return "" if int(in_sync) >= IN_SYNC else f"{_IN_SYNC}={in_sync}"


def _each(of: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({why})" for name, why in sorted(of.items()))


def _suffices(key: str, there: str, demanded: str) -> bool:
    """Return whether a topic's setting is right; an operator may require more brokers to acknowledge."""
    return int(there) >= int(demanded) if key == _IN_SYNC else there == demanded


def _configs(admin: KafkaAdminClient, keys: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Read the settings of topics from the cluster, by topic and setting."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, list(several)) for name, several in keys.items()]
    told: dict[str, Any] = admin.describe_configs(asked, config_filter="all")["topic"]
    return told


def _configure(admin: KafkaAdminClient, demanded: Mapping[str, Mapping[str, str]]) -> None:
    """Change the settings that differ from the contracts: topics outlive the settings that they were created with.

    Raises:
        TopicsDiffer: If too few brokers acknowledge a topic's records, or the broker does not stamp those that are signed, and
            the cluster does not let us change that.
    """
    there = _configs(admin, demanded)
    differing = {
        name: wrong
        for name, configs in demanded.items()
        if (wrong := {key: value for key, value in configs.items() if not _suffices(key, there[name][key]["value"], value)})
    }
    if not differing:
        return
    done = admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wrong) for name, wrong in differing.items()])
    thin, claimed = {}, {}
    for name, outcome in done["topic"].items():
        if outcome == "OK":
            log.info("topic configured", topic=name, **{key.replace(".", "_"): value for key, value in differing[name].items()})
        else:  # somebody else's cluster may not let us
            log.warning("topic not configured", topic=name, why=outcome, wanted=differing[name])
            if _IN_SYNC in differing[name]:
                thin[name] = f"{_IN_SYNC}={there[name][_IN_SYNC]['value']}, and it may not be changed: {outcome}"
            if name in SIGNED and _STAMPS in differing[name]:
                claimed[name] = f"{_STAMPS}={_stamps(there[name])}, and it may not be changed: {outcome}"
    if claimed:
        raise TopicsDiffer(f"{_each(claimed)}; {_BY_BROKER}")
    if thin:
        raise TopicsDiffer(f"{_each(thin)}; {_BY_SEVERAL}")


def _partitions(admin: KafkaAdminClient) -> dict[str, list[int]]:
    """Return, by topic, how many brokers keep each partition."""
    topics = admin.describe_topics()
    return {topic["name"]: [len(partition["replica_nodes"]) for partition in topic["partitions"]] for topic in topics}
