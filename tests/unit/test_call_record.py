"""What calls show of a version, as histories: how long is too long, and that another version begins anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.call_record import LEAST_PATIENCE_S, PATIENCE, SMOOTHING, CallRecord
from streams.circuit_breaker import FAILURES
from streams.lineup import WELL

LONGEST_S = 0.25
SOON_S = 1e-6
"""More than floats are wrong by."""

Calls = list[tuple[float, str]]
CALLS = st.lists(st.tuples(st.floats(0.0001, 2.0), st.sampled_from(["answered", "failed", "silent"])), max_size=30)
"""How long each call took, and how it ended."""


def played(calls: Calls, record: CallRecord | None = None) -> tuple[CallRecord, float]:
    """The record after these calls, a second apart, and the time."""
    record, now = record or CallRecord(LONGEST_S, "1"), 100.0
    for took, how in calls:
        record.began(now)
        record.ended()
        if how == "answered":
            record.answered(now, now + took)
        else:
            record.breaker.failed(now + took, "down", silent=how == "silent")
        now += took + 1
    return record, now


def bounded(patience_s: float) -> float:
    return min(LONGEST_S, max(LEAST_PATIENCE_S, patience_s))


@given(CALLS)
def test_a_call_is_overdue_after_some_times_what_calls_took_never_before_the_least_and_always_after_the_longest(calls: Calls):
    record, now = played([*calls, (0.02, "answered")])
    took = [took for took, how in calls if how == "answered"] + [0.02]

    assert bounded(PATIENCE * min(took)) - SOON_S <= record.patience_s <= bounded(PATIENCE * max(took)) + SOON_S
    assert record.state(now) == WELL, "the last call was answered, and none is under way"
    record.began(now)
    assert record.state(now + record.patience_s - SOON_S) == WELL
    assert record.state(now + record.patience_s + SOON_S) == (None, True)
    record.ended()
    assert record.state(now + 1000) == WELL


@given(st.floats(0.0001, 0.2), st.integers(1, 50), st.floats(0.0001, 0.2))
def test_the_first_call_says_what_is_usual_and_each_later_one_changes_it_a_little(usual: float, n: int, other: float):
    record, now = played([(usual, "answered")] * n)
    assert record.patience_s == pytest.approx(bounded(PATIENCE * usual))

    record.answered(now, now + other)
    assert record.patience_s == pytest.approx(bounded(PATIENCE * (usual + SMOOTHING * (other - usual))))


@given(CALLS)
def test_nobody_waits_for_a_version_whose_last_call_failed_and_it_rests_while_its_breaker_is_open(calls: Calls):
    record, now = played(calls)
    since_success = [how for _, how in calls]
    while "answered" in since_success:
        since_success = since_success[since_success.index("answered") + 1 :]

    resting = "silent" in since_success or len(since_success) >= FAILURES
    assert record.state(now) == ("down" if resting else None, bool(since_success))


@given(CALLS, st.booleans())
def test_another_version_begins_anew_whatever_the_one_before_did_and_its_calls_are_expected_to_last_as_long(
    calls: Calls, alike: bool
):
    before, now = played(calls)
    assert before.of("1", alike) is before

    after = before.of("2", alike)
    assert (after.version, after.state(now)) == ("2", WELL)
    patience_s = before.patience_s if alike else LEAST_PATIENCE_S
    assert after.patience_s == patience_s

    before.answered(now, now + 1000)
    before.breaker.failed(now, "down", silent=True)
    assert (after.state(now), after.patience_s) == (WELL, patience_s), "what the one before still does is its own"


@given(CALLS, st.booleans())
def test_a_call_to_the_version_before_holds_up_the_next_one_until_it_ends(calls: Calls, alike: bool):
    before, now = played(calls)
    before.began(now)
    after = before.of("2", alike)

    assert after.state(now + after.patience_s - SOON_S) == WELL
    assert after.state(now + after.patience_s + SOON_S).overdue
    after.ended()
    assert after.state(now + 1000) == WELL


def test_a_version_that_comes_back_says_how_long_it_rested():
    record, _ = played([(0.01, "silent")])

    assert record.answered(103.0, 103.01) == pytest.approx(3.0)
    assert record.answered(104.0, 104.01) is None
