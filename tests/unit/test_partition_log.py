"""One partition of several topics is read by the broker's time, up to the offsets that are asked for and no further."""

from uuid import uuid4

import pytest

from contracts.ports import Record
from producers.memory_bus import MemoryBus, log_of
from streams.refold.partition_log import PartitionLog

TOPICS = ("drawings.v1", "corrections.v1")


@pytest.fixture
def bus() -> MemoryBus:
    """A bus whose log the test writes itself."""
    name = uuid4().hex
    memory = log_of(name)
    for topic, times in (("drawings.v1", [10, 30, 50]), ("corrections.v1", [10, 20, 60])):
        for partition in (1, 2):
            memory.logs[topic, partition] = [Record(topic, partition, n, b"", b"", at) for n, at in enumerate(times)]
    return MemoryBus(memory, TOPICS)


def read(log: PartitionLog, until: dict[str, int], most: int = 100) -> list[tuple[str, int]]:
    return [(record.topic[0], record.offset) for several in log.batches(until, most) for record in several]


def test_records_come_by_time_of_one_partition_alone(bus):
    log = PartitionLog(bus, TOPICS, 1, {})

    assert log.ends() == {"drawings.v1": 2, "corrections.v1": 2}
    found = [("d", 0), ("c", 0), ("c", 1), ("d", 1), ("d", 2), ("c", 2)]
    assert read(log, log.ends()) == found


def test_reading_stops_at_the_offsets_and_goes_on_from_there(bus):
    log = PartitionLog(bus, TOPICS, 1, {})

    assert read(log, {"drawings.v1": 0, "corrections.v1": 1}) == [("d", 0), ("c", 0), ("c", 1)]
    assert log.next("drawings.v1") == 1
    assert read(log, {"corrections.v1": 2}) == [("c", 2)]
    assert read(log, {"drawings.v1": 2, "corrections.v1": -1}) == [("d", 1), ("d", 2)]


def test_reading_begins_where_it_is_told_and_in_steps(bus):
    log = PartitionLog(bus, TOPICS, 2, {"drawings.v1": 2, "corrections.v1": 1})

    steps = [[record.offset for record in several] for several in log.batches(log.ends(), 2)]

    assert steps == [[1, 2], [2]]
    log.close()


def test_a_topic_without_records_holds_nobody_up(bus):
    log = PartitionLog(bus, TOPICS, 0, {})

    assert log.ends() == {"drawings.v1": -1, "corrections.v1": -1}
    assert read(log, log.ends()) == []


def test_a_bystander_of_one_partition_hears_of_no_other(bus):
    tail = bus.follow(["drawings.v1"], "start", only=2)

    assert {record.partition for record in tail.poll(0)} == {2}
    assert tail.ends() == {("drawings.v1", 2): 3}
    assert tail.caught_up()
