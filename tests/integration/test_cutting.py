"""Records are cut out of the log of a real broker, and nothing else is."""

import time
from collections.abc import Collection, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from contracts.events import TOPICS
from contracts.ports import Bus, Record
from contracts.settings import Settings
from deploy.local.supervisor import running
from producers.bus import open_bus
from producers.cutting import CUTTABLE, LogCutter, NotCut, scan
from producers.placement import partition_of
from producers.topics import _configs, create_topics, open_admin
from tests.conftest import fresh_settings
from tests.histories import correction, drawing, example, lesson

MINE = "a player who goes"
TAUGHT = ("drawings.v1", "corrections.v1", "examples.v1", "lessons.v1")
WITHIN_S = 60.0


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Settings]:
    """Yield the settings of a broker of the test's own: it looks at every byte of it."""
    settings = fresh_settings(tmp_path)
    with running(settings, ["kafka"]):
        yield settings


def played(bus: Bus, players: Collection[str], n: int) -> None:
    for _ in range(n):
        for player in players:
            name = str(uuid4())
            bus.publish(drawing(name, player=player))
            bus.publish(correction(name, player=player))
            bus.publish(example(name, player_id=player))
            bus.publish(lesson(name, player_id=player))
    bus.flush(30)


def mine(record: Record) -> bool:
    return MINE.encode() in (record.key or b"") + (record.value or b"")


def others(bus: Bus) -> list[Record]:
    found = scan(bus, TAUGHT, lambda record: record.value is not None and not mine(record)).records
    return sorted(found, key=lambda record: (record.topic, record.partition, record.offset))


def holds(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and MINE.encode() in path.read_bytes()]


def policies(settings: Settings) -> dict[str, dict[str, str]]:
    admin = open_admin(settings)
    try:
        told = _configs(admin, dict.fromkeys(CUTTABLE, ("cleanup.policy", "segment.ms", "delete.retention.ms")))
        return {topic: {name: one["value"] for name, one in several.items()} for topic, several in told.items()}
    finally:
        admin.close()


def test_all_records_of_a_player_leave_the_log_and_the_disk_and_every_other_keeps_its_offset(own: Settings):
    bus = open_bus(own)
    played(bus, (MINE, "ada", "bob", "eve"), 40)
    before, settings_before = others(bus), policies(own)
    assert holds(own.home / "kafka")

    found = scan(bus, CUTTABLE, mine)
    LogCutter(own, bus, time.sleep).cut(found, mine, WITHIN_S)

    assert len(found.records) == 40 * len(TAUGHT)
    assert others(bus) == before
    assert holds(own.home / "kafka") == []
    assert policies(own) == settings_before
    bus.close()


def test_a_topic_of_before_keys_had_marks_is_seen_and_none_of_its_keys_is_cut(own: Settings):
    bus = open_bus(own)
    old = KafkaProducer(bootstrap_servers=own.bootstrap_servers, acks="all", metrics_enabled=False)
    for n in range(3):
        event = example(str(n), player_id=MINE)
        old.send("examples.v1", event.record_value(), MINE.encode(), partition=partition_of(MINE.encode(), 4)).get(20)
    old.close()
    played(bus, (MINE,), 1)

    found = scan(bus, CUTTABLE, mine)
    with pytest.raises(NotCut, match="1 keys have no mark"):
        LogCutter(own, bus, time.sleep).cut(found, mine, WITHIN_S)

    assert dict(found.unmarked) == {"examples.v1": 3}
    assert len(scan(bus, ["examples.v1"], mine).records) == 4
    assert policies(own)["examples.v1"]["cleanup.policy"] == TOPICS["examples.v1"].configs(own.log_bytes)["cleanup.policy"]
    bus.close()


def raw(own: Settings, topic: str, several: Collection[tuple[bytes, bytes | None]]) -> None:
    """Write records as somebody does who is no part of the game."""
    stranger = KafkaProducer(bootstrap_servers=own.bootstrap_servers, acks="all", metrics_enabled=False)
    for key, value in several:
        stranger.send(topic, value, key, partition=partition_of(b"ada", TOPICS[topic].partitions)).get(20)
    stranger.close()


PLANTED = (
    ("examples.v1", [(b"ada/AAAAAAAAAAAA", None)], "without a value under the keys of 1 others"),
    ("drawings.v1", [(b"ada/AAAAAAAAAAAA", b"{}")], "1 records under keys of others"),
    ("corrections.v1", [(b"bob", b"{}"), (b"bob", b"{}")], "2 records whose keys have no mark"),
)


def test_nothing_is_cut_where_what_a_stranger_has_written_would_take_others_along(own: Settings):
    bus = open_bus(own)
    played(bus, (MINE, "ada", "bob"), 2)
    for topic, planted, _ in PLANTED:
        raw(own, topic, [(b"ada/AAAAAAAAAAAA", b"{}"), *planted])
    before = others(bus)

    for topic, _, said in PLANTED:
        with pytest.raises(NotCut, match=said):
            LogCutter(own, bus, time.sleep).cut(scan(bus, [topic], mine), mine, WITHIN_S)

    assert others(bus) == before
    assert policies(own)["examples.v1"]["cleanup.policy"] == "delete"
    bus.close()


def test_what_a_killed_try_has_left_goes_with_the_next_and_the_settings_come_back_by_it_or_by_a_start(own: Settings):
    bus = open_bus(own)
    played(bus, ("ada",), 3)
    settings_before = policies(own)
    LogCutter(own, bus, time.sleep).configure(["examples.v1", "drawings.v1"], {"cleanup.policy": "compact", "segment.ms": "50"})
    raw(own, "examples.v1", [(MINE.encode() + b"/AAAAAAAAAAAA", None), (b"/nobody/AAAAAAAAAAAA", None)])
    found = scan(bus, CUTTABLE, mine)
    assert (found.records, found.is_left) == ([], True)

    LogCutter(own, bus, time.sleep).cut(found, mine, WITHIN_S)
    by_the_next, left = policies(own), scan(bus, CUTTABLE, mine).is_left
    LogCutter(own, bus, time.sleep).configure(["examples.v1"], {"cleanup.policy": "compact", "segment.ms": "50"})
    create_topics(own)

    assert (by_the_next, left) == (settings_before, False)
    assert policies(own) == settings_before
    assert len(others(bus)) == 3 * len(TAUGHT)
    bus.close()
