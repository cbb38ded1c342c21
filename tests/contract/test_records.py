"""Whatever a record holds, `read` gives an event, or a rejection that fits on its topic and says all that is needed."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import MAX_CORRECTIONS, TOPICS, MessageRejected, decode
from contracts.ports import Record
from contracts.records import KEPT_BYTES, KEPT_KEY_BYTES, key_of, read, rejection
from producers.placement import MAX_VALUE
from tests.contract.test_events import GOLDEN
from tests.histories import BEGAN, correction, drawing, example

EVERY = pytest.mark.parametrize("topic", TOPICS)
BAD = {
    "empty": b"",
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "not UTF-8": b'{"type":"\xff\xfe"}',
    "not JSON": b"<xml/>",
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 50_000,
    "a huge number": b'{"type":"DrawingSubmitted","width":' + b"9" * 100_000 + b"}",
    "a lone surrogate": b'{"type":"\\ud800"}',
    "of a future version": b'{"type":"DrawingSubmittedV9","at":"2026-11-22T12:00:00Z"}',
    "without a type": b"{}",
    "garbage": bytes(range(256)) * 3600,
    "NaN": b"NaN",
}


def record(topic: str, value: bytes | None, key: bytes | None = b"ada") -> Record:
    return Record(topic, 2, 17, key, value, 0)


@EVERY
@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_bytes_that_are_no_event_are_rejected_and_told_whole(topic, value):
    told = read(record(topic, value), "stage")

    if topic == MessageRejected.topic:
        assert told is None, "a rejection of a rejection would have no end"
        return
    assert isinstance(told, MessageRejected)
    assert (told.source, told.source_partition, told.source_offset, told.stage) == (topic, 2, 17, "stage")
    assert (told.digest, told.size, told.null) == (sha256(value).hexdigest(), len(value), False)
    assert told.value == value[:KEPT_BYTES]
    assert decode("rejected.v1", told.record_value()) == told
    assert len(told.record_value()) < MAX_VALUE


@EVERY
def test_no_value_takes_an_entry_off_a_compacted_topic_and_is_a_bad_record_elsewhere(topic):
    told = read(record(topic, None), "stage")

    if TOPICS[topic].compacted or topic == MessageRejected.topic:
        assert told is None
    else:
        assert isinstance(told, MessageRejected)
        assert (told.null, told.value, told.size) == (True, b"", 0)


@EVERY
def test_no_value_under_a_key_with_a_mark_takes_one_record_off_any_topic_and_is_no_bad_record(topic):
    assert read(record(topic, None, b"ada/AAAA_aaa-000"), "stage") is None


@pytest.mark.parametrize("key", [None, b"", b"ada", b"ada/", b"ada/AAAAAAAAAAA", b"ada/AAAAAAAAAAAAA", b"ada/AAAA AAAAAAA"])
def test_a_key_without_a_mark_is_no_key_of_ours(key):
    assert key_of(key) is None


def test_an_event_of_another_topic_is_rejected():
    assert isinstance(read(record("corrections.v1", drawing().record_value()), "s"), MessageRejected)
    assert isinstance(read(record("nobody.v7", drawing().record_value()), "s"), MessageRejected)


def test_an_event_is_read():
    assert read(record("corrections.v1", correction().record_value()), "s") == correction()


def test_the_largest_record_with_the_largest_key_fits_and_says_what_is_missing():
    told = rejection(record("drawings.v1", b"\x00" * 1_048_000, b"k" * 1_000_000), "s", ValueError("\x01" * 5000))

    assert len(told.record_value()) < MAX_VALUE
    assert not told.whole
    assert (told.source_key, told.source_key_size) == (b"k" * KEPT_KEY_BYTES, 1_000_000)
    assert f"only the first {KEPT_BYTES} of 1048000 bytes are kept" in told.error


@pytest.mark.parametrize("wrong", [MemoryError(), RecursionError("too deep"), ValueError("\ud800 alone")])
def test_an_error_of_any_kind_can_be_told(wrong):
    told = rejection(record("drawings.v1", b"x"), "s", wrong)

    assert told.error.startswith(type(wrong).__name__)
    assert decode("rejected.v1", told.record_value()) == told


LATER = datetime(2199, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("name", ["at", "drawn_at"])
def test_no_event_is_of_a_time_after_its_record(name):
    late = example().model_copy(update={name: LATER})
    written = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def told(timestamp_ms: int) -> datetime:
        return getattr(read(Record("examples.v1", 0, 0, b"ada", late.record_value(), timestamp_ms), "s"), name)  # type: ignore[no-any-return]

    assert told(int(written.timestamp() * 1000)) == written
    assert told(-1) == LATER, "of a record without a time nothing is known"


def test_a_clock_that_is_a_little_before_the_brokers_is_believed():
    said = drawing(at=30)

    assert read(Record("drawings.v1", 0, 0, b"ada", said.record_value(), int(BEGAN.timestamp() * 1000)), "s") == said


def test_the_time_of_a_record_is_the_brokers():
    assert {spec.configs(1 << 30)["message.timestamp.type"] for spec in TOPICS.values()} == {"LogAppendTime"}


def test_an_example_has_no_more_revisions_than_events():
    most = 1 + len(example().guesses) + MAX_CORRECTIONS

    assert example(revision=most).revision == most
    with pytest.raises(ValueError, match=f"revision {most + 1}"):
        example(revision=most + 1)


def test_out_of_memory_is_a_rejection_too(monkeypatch):
    def fails(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("contracts.records.decode", fails)

    assert isinstance(read(record("drawings.v1", drawing().record_value()), "s"), MessageRejected)


def test_who_rejects_a_record_again_says_the_same_and_another_stage_does_not():
    bad = record("drawings.v1", b"[1]")

    assert read(bad, "a").rejection_id == read(bad, "a").rejection_id  # type: ignore[union-attr]
    assert read(bad, "a") == read(bad, "a"), "to the last byte: it has the record's own time"
    assert read(bad, "a").rejection_id != read(bad, "b").rejection_id  # type: ignore[union-attr]


def test_a_rejection_of_the_first_day_is_whole():
    first = decode("rejected.v1", (GOLDEN / "MessageRejected.json").read_bytes())

    assert isinstance(first, MessageRejected)
    assert first.whole


@given(st.binary(max_size=200), st.sampled_from(sorted(TOPICS)))
def test_nothing_raises(value, topic):
    read(record(topic, value), "s")


def _json() -> st.SearchStrategy[Any]:
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    return st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    )


@given(st.data(), st.sampled_from(sorted(path.stem for path in GOLDEN.iterdir())))
def test_an_event_with_any_of_its_fields_replaced_by_anything_is_read_or_rejected(data, kind):
    event = json.loads((GOLDEN / f"{kind}.json").read_text())
    topic = next(t for t in TOPICS if isinstance(_try(t, event), dict))
    event[data.draw(st.sampled_from(sorted(event)))] = data.draw(_json())

    told = read(record(topic, json.dumps(event).encode()), "s")

    assert told is None or decode(told.topic, told.record_value()) == told


def _try(topic: str, event: dict[str, Any]) -> dict[str, Any] | None:
    try:
        decode(topic, json.dumps(event).encode())
    except ValueError:
        return None
    return event
