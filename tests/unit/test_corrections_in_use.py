"""The bench of corrections: how long until a guess uses one, from what lies on the log."""

from typing import Any

from contracts.events import TOPICS, CorrectionReceipt, Event, Outcome, SnapshotTaken
from contracts.ports import Record
from producers.memory_bus import MemoryBus, MemoryLog
from tests.bench.corrections import Told, spans
from tests.histories import correction, guess, lesson, named, snapshot


def written(at_ms: int, event: Event, partition: int = 0, offset: int = 0) -> tuple[Record, Event]:
    return Record(event.topic, partition, offset, b"", b"", at_ms), event


def taken(changes: int, *offsets: int) -> Event:
    return snapshot(changes, offsets=offsets)


def made(version: str, **given: Any) -> Event:
    return guess("another", version=version, **given)


def test_a_correction_is_in_use_from_the_first_guess_by_a_version_that_has_its_lesson():
    learned = lesson("l1", correction_id=named("c1"))
    own = CorrectionReceipt(
        correction_id=named("c1"), drawing_id=named("d1"), player_id="ada", outcome=Outcome.LEARNED, models={}, stage="personal"
    )
    log = [
        written(1000, correction(correction="c1")),
        written(1040, learned, 1, offset=7),
        written(1035, taken(1, 9, 6)),
        written(1060, taken(2, 9, 7)),
        written(1020, made("mnist1+1")),
        written(1070, made("mnist1+1")),
        written(1071, made("mnist1+2", role="shadow")),
        written(1090, made("mnist1+2")),
        written(1045, own),
        written(2000, correction(correction="never learned")),
    ]

    found = spans(log)

    assert (found["corrections"], found["in use"]) == (2, 1)
    spread = {name: round(found[name]["p50"]) for name in ("river, at the earliest", "river, at the latest", "yours")}
    assert spread == {"river, at the earliest": 70, "river, at the latest": 90, "yours": 45}


def test_until_there_is_a_guess_a_correction_is_in_use_no_sooner_than_its_snapshot():
    log = [written(0, correction(correction="c1")), written(20, lesson("l1", correction_id=named("c1")))]
    log += [written(60, taken(1, 0)), written(90, made("mnist1+1"))]

    assert spans(log)["river, at the earliest"]["p50"] == 60


def test_a_load_without_corrections_has_no_spans():
    assert spans([]) == {"corrections": 0, "in use": 0, "guesses by unknown versions": 0}


def test_a_guess_by_a_version_that_nothing_was_told_of_is_counted():
    assert spans([written(1, made("mnist1+1"))])["guesses by unknown versions"] == 1


def test_snapshots_are_told_that_the_log_has_lost_since():
    memory = MemoryLog()
    bus = MemoryBus(memory, TOPICS)
    bus.publish(taken(1, 0))
    told = Told(bus)

    with told.models():
        bus.publish(taken(2, 0))
        bus.publish(correction(correction="c1"))
    for (topic, _), records in memory.logs.items():
        if topic == SnapshotTaken.topic:
            records.clear()

    assert [event.topic for _, event in told] == ["models.v1", "models.v1", "corrections.v1"]
