"""Offsets: where reading begins, what is missing between records, what may be committed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ports import Record
from streams.progress import Gap, OffsetTracker, gaps, least, next_offset


def records(*offsets: int, topic: str = "drawings.v1", partition: int = 0) -> list[Record]:
    return [Record(topic, partition, offset, b"k", b"v", 0) for offset in offsets]


def test_what_may_be_committed_ends_before_the_first_record_that_nobody_has_acknowledged():
    progress = OffsetTracker()
    assert progress.next is None
    for offset in (4, 5, 9, 10):  # 6 to 8 were compacted away
        progress.deliver(offset)

    told = []
    for offset in (5, 4, 4, 10, 9, 3):
        progress.acknowledge(offset)
        told.append(progress.next)

    assert told == [None, 6, 6, 6, 11, 11]


@given(st.permutations(range(12)))
def test_acknowledged_in_any_order_all_is_committed_in_the_end_and_nothing_too_early(order: list[int]):
    progress = OffsetTracker()
    for offset in range(12):
        progress.deliver(offset)
    missing = set(range(12))

    for offset in order:
        progress.acknowledge(offset)
        missing.discard(offset)
        assert (progress.next or 0) == min(missing, default=12)


@pytest.mark.parametrize(("folded", "first", "wanted"), [(-1, 0, 0), (-1, 5, 5), (4, 0, 5), (4, 9, 9), (9, 9, 10)])
def test_reading_goes_on_behind_what_is_folded_and_not_before_the_log(folded: int, first: int, wanted: int):
    assert next_offset(folded, first) == wanted


def test_several_folds_begin_where_the_one_that_is_furthest_behind_must():
    place, other = ("drawings.v1", 0), ("drawings.v1", 1)

    assert least([{place: 7, other: 3}, {place: 5}, {other: 9}]) == {place: 5, other: 3}
    assert least([]) == {}


def test_a_gap_is_found_before_and_between_records_of_each_partition():
    came = [*records(5, 6, 9), *records(2, partition=1), *records(8, topic="guesses.v1"), *records(10, 12)]

    found = list(gaps(came, {("drawings.v1", 0): 5, ("drawings.v1", 1): 0, ("guesses.v1", 0): 8}.__getitem__))

    assert found == [Gap("drawings.v1", 0, 7, 9), Gap("drawings.v1", 1, 0, 2), Gap("drawings.v1", 0, 11, 12)]
    assert found[0].place == ("drawings.v1", 0)


def test_records_that_are_folded_already_are_no_gap():
    assert list(gaps(records(2, 3, 4, 5), lambda _: 4)) == []


@given(st.sets(st.integers(0, 30)), st.integers(0, 30))
def test_records_and_gaps_together_are_all_offsets(offsets: set[int], first: int):
    came = sorted(offsets)

    missing = {n for gap in gaps(records(*came), lambda _: first) for n in range(gap.first, gap.end)}

    assert missing == {n for n in range(first, max(came, default=0) + 1) if n not in offsets and came}
