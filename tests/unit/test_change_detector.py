"""The detector of changes: what it sees and what it passes by, and that its state is plain numbers that lose nothing."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.change_detector import ALARM, WARM_UP, ChangeDetector, DetectedChange


def fed(detector: ChangeDetector, holds: np.ndarray) -> list[tuple[int, DetectedChange]]:
    """What is told of a row of drawings, and at which."""
    told = ((n, detector.update(np.atleast_1d(one))) for n, one in enumerate(holds, 1))
    return [(n, change) for n, change in told if change is not None]


def chances(share: float, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < share


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.3, 0.9, 1.0])
def test_what_happens_as_often_as_ever_is_no_change(share):
    assert fed(ChangeDetector(1), chances(share, 4000, seed=1)) == []


@pytest.mark.parametrize("seed", range(8))
def test_errors_that_rise_from_5_to_40_percent_are_told_within_60_drawings_with_the_size_of_the_change(seed):
    detector = ChangeDetector(1)
    assert fed(detector, chances(0.05, 1000, seed)) == []

    n, change = fed(detector, chances(0.40, 400, 100 + seed))[0]

    assert n <= 60
    assert change.statistic >= ALARM
    assert (0.02 < change.before < 0.09, change.after > 0.25, 5 <= change.n <= n + 40) == (True, True, True)


def test_what_gets_rarer_is_no_change():
    detector = ChangeDetector(1)
    fed(detector, chances(0.4, 500, 1))

    assert fed(detector, chances(0.05, 2000, 2)) == []


def test_a_change_is_told_once_and_what_came_of_it_is_usual_from_then_on():
    detector = ChangeDetector(1)
    fed(detector, chances(0.05, 500, 1))

    assert len(fed(detector, chances(0.4, 3000, 2))) == 1


def test_which_indicator_has_changed_is_told():
    detector = ChangeDetector(3)
    chance = np.random.default_rng(1)
    for _ in range(600):
        assert detector.update(chance.random(3) < 0.1) is None
    changes = [detector.update(chance.random(3) < [0.1, 0.1, 0.6]) for _ in range(100)]

    [change] = [one for one in changes if one is not None]
    assert change.indicator == 2


def test_during_the_warm_up_nothing_is_told():
    assert fed(ChangeDetector(1), np.arange(WARM_UP) >= WARM_UP // 2) == []


@settings(max_examples=60, deadline=None)
@given(holds=st.lists(st.booleans(), max_size=400), cut=st.integers(0, 400), count=st.integers(1, 3))
def test_a_state_that_was_kept_as_json_goes_on_as_if_nothing_had_been(holds, cut, count):
    rows = np.array([[one] * count for one in holds], bool).reshape(-1, count)
    whole, first = ChangeDetector(count), ChangeDetector(count)
    told = [whole.update(row) for row in rows]

    before = [first.update(row) for row in rows[:cut]]
    again = ChangeDetector(count, json.loads(json.dumps(first.kept())))

    assert before + [again.update(row) for row in rows[cut:]] == told
    assert again.kept() == whole.kept()
    assert all(math.isfinite(one) for one in np.ravel(again.kept()["stake"]))
