"""The quick reader of lessons agrees with the one of all events on every record, right or wrong."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import LessonTaught, MessageRejected, decode
from contracts.ports import Record
from contracts.records import read
from streams import lesson_lines
from streams.lesson_lines import LessonLine, lesson_of
from tests.histories import lesson, seconds, taken_back

ONE = lesson(player_id="c0ffee", at=seconds(0.25), weight=0.5, newcomer=True)


def record(value: bytes | None) -> Record:
    return Record("lessons.v1", 0, 7, b"ada", value, 0)


def by_the_model(value: bytes | None) -> Any:
    """What `lesson_of` must return, by the model of the event."""
    event = read(record(value), "online")
    if not isinstance(event, LessonTaught):
        return event if isinstance(event, MessageRejected) else None
    fields = {name: getattr(event, name) for name in LessonLine._fields}
    return LessonLine(**fields | {"drawing_id": str(event.drawing_id)})


@pytest.mark.parametrize(
    "event", [ONE, taken_back(ONE, 2), lesson(weight=10), lesson(number=(1 << 53) - 1), lesson(player_id="é")]
)
def test_a_lesson_is_read_as_it_was_written(event):
    assert lesson_of(record(event.record_value()), "online") == by_the_model(event.record_value())


def test_what_the_learner_writes_is_read_the_quick_way(monkeypatch):
    monkeypatch.setattr(lesson_lines, "read", None)

    assert lesson_of(record(ONE.record_value()), "online") == by_the_model(ONE.record_value())
    assert isinstance(lesson_of(record(taken_back(ONE, 2).record_value()), "online"), LessonLine)


FIELDS: dict[str, list[Any]] = {
    "at": ["2026-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2026-11-31T00:00:00Z", "2026-12-31T23:59:59Z",
           "2026-13-01T00:00:00Z", "1969-12-31T00:00:00Z", "2200-01-01T00:00:00Z", "2026-01-01T24:00:00Z",
           "2026-01-01T00:00:60Z", 7, None],
    "weight": [-0.5, 0.0, 10.0, 10.5, 1e-7, 3, "1.0", None, 9.999999999999999],
    "label": [-1, 10, "3", 3.0, True, None],
    "number": [-1, 0, 1 << 53, (1 << 53) - 1, "1", 1.0],
    "newcomer": [0, "true", None, True],
    "embedding": ["", "AAAA", "A" * 344, "A" * 341 + "B==", "A" * 342 + "=", "A" * 341 + "A==", "+" * 341 + "A==", "A" * 8192,
                  None],
    "drawing_id": ["x", "00000000-0000-0000-0000-000000000000", "{00000000-0000-0000-0000-000000000000}", "0" * 32],
    "player_id": ["", "p" * 64, "p" * 65, "\n", '"', "\\", "é", "a b"],
    "model": ["river", "River", "", "r" * 32, "r" * 33, "xgboost"],
    "reader": ["", "r" * 200, "r" * 201, "\x00"],
    "series": ["s" * 201, "é", 1],
    "shown": [None, {}, [{}]],
    "type": ["LessonProbed", "LessonTakenBack", "Lesson", None],
    "one more": [1],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FIELDS.items() for value in values])
def test_a_field_of_any_value_is_read_as_the_model_reads_it(name, value):
    told = json.loads(ONE.record_value()) | {name: value}
    raw = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()

    assert lesson_of(record(raw), "online") == by_the_model(raw)


@settings(max_examples=300)
@given(at=st.integers(0, len(ONE.record_value()) - 1), put=st.binary(max_size=3), cut=st.integers(0, 3))
def test_a_record_with_any_bytes_changed_is_read_as_the_model_reads_it(at, put, cut):
    whole = ONE.record_value()
    raw = whole[:at] + put + whole[at + cut :]

    assert lesson_of(record(raw), "online") == by_the_model(raw)


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", ONE.record_value() + b"\n", ONE.record_value() + b" "])
def test_what_is_no_lesson_is_what_the_model_says_it_is(value):
    assert lesson_of(record(value), "online") == by_the_model(value)


def test_both_readers_of_one_lesson_give_the_sums_the_same():
    read_quickly, event = lesson_of(record(ONE.record_value()), "online"), decode("lessons.v1", ONE.record_value())

    from streams.online_model import mark

    assert isinstance(read_quickly, LessonLine)
    assert isinstance(event, LessonTaught)
    assert mark(read_quickly) == mark(event)
