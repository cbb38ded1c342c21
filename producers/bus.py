"""Opens the bus of a URL: ``kafka://host:port`` is the real one, ``memory://name`` the one of tests (all ways).

`open_bus` chooses; both keep the promises of contracts.ports.Bus, and tests/contract/test_bus_scenarios.py holds both to one
list of scenarios. Streams read through Faust; bystanders (sockets, trainer, command line) follow topics here.
"""

from collections.abc import Collection

from contracts.events import TOPICS
from contracts.ports import LoopBus
from contracts.settings import Settings
from producers.connection import BrokerAbsent as BrokerAbsent
from producers.connection import BusError as BusError
from producers.connection import KafkaAddress, kafka_of
from producers.kafka_bus import KafkaBus
from producers.memory_bus import MemoryBus, log_of


def open_bus(where: Settings | str, topics: Collection[str] = tuple(TOPICS), *, deadline_s: float = 30.0) -> LoopBus:
    """Connect to the bus of some settings, or to the one that a URL names.

    Args:
        where: The product's settings, which say how Kafka is spoken to; or ``kafka://host:port[,host:port...]``, with neither
            TLS nor SASL; or ``memory://name``: one log a name, in this process only.
        topics: The topics that may be published to and followed. On Kafka they must exist; producers.topics makes them.
        deadline_s: How long to wait for a broker that is not up yet, in seconds.

    Raises:
        BrokerAbsent: If no broker answered before the deadline, or if one of the topics is missing.
        NotAdmitted: If a broker is there and refuses us, or is not to be trusted.
        ValueError: If the URL is of no known kind.
    """
    if isinstance(where, Settings):
        return KafkaBus(kafka_of(where), topics, deadline_s)
    scheme, _, rest = where.partition("://")
    if scheme == "kafka" and rest:
        return KafkaBus(KafkaAddress(tuple(rest.split(","))), topics, deadline_s)
    if scheme == "memory" and rest:
        return MemoryBus(log_of(rest), topics)
    raise ValueError(f"no bus at {where!r}: say kafka://host:port or memory://name")
