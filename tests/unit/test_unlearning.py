"""Which states of experiments may hold lessons of a player who is forgotten."""

import pytest

from contracts.events import LessonsForgotten
from contracts.ports import Record
from streams.unlearning import Unlearning
from tests.histories import SERIES


def notice(offset: int = 9, *, numbers: list[tuple[int, int]], series: str = SERIES, counted: bool = True) -> Record:
    """The record that tells these numbers of partition 1 to be missing."""
    event = LessonsForgotten(source=1, series=series, number=1000, numbers=numbers, offset=8, counted=counted)
    return Record(event.topic, 1, offset, event.record_key(), event.record_value(), 0)


@pytest.mark.parametrize(
    ("offsets", "numbers", "held"),
    [
        ([-1, 8], [0, 8], True),
        ([-1, 8], [0, 4], True),
        ([-1, 3], [0, 3], False),
        ([-1, 9], [0, 1000], False),
        ([99, -1], [99, 0], False),
    ],
    ids=["read all", "read the first", "read none of them", "read the notice", "read another partition"],
)
def test_a_state_may_hold_lessons_that_it_has_read_before_the_notice(offsets: list[int], numbers: list[int], held: bool):
    told = Unlearning(SERIES)
    told.read(lambda: [notice(numbers=[(4, 5), (7, 7)])], "test")

    assert told.is_about(offsets, numbers) is held
    assert [number for number in range(10) if told.is_missing(number, 1)] == [4, 5, 7]
    assert not told.is_missing(4, 0)


@pytest.mark.parametrize(
    "record",
    [notice(numbers=[]), notice(numbers=[(4, 5)], counted=False), notice(numbers=[(4, 5)], series="another")],
    ids=["no lessons", "what no experiment learns", "another series"],
)
def test_what_no_experiment_can_have_learned_is_about_none(record: Record):
    told = Unlearning(SERIES)

    assert told.apply(record, "test") is None
    assert not told.is_about([-1, 8], [0, 8])


def test_a_notice_is_new_once():
    told = Unlearning(SERIES)

    assert told.apply(notice(numbers=[(4, 5)]), "test") is not None
    assert told.apply(notice(numbers=[(4, 5)]), "test") is None
    assert told.apply(notice(10, numbers=[(6, 6)]), "test") is not None
