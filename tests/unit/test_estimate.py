"""The estimate of accuracy, and its interval: a function of counts that holds however often one looks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.folds.estimate import ALPHA, Stratum, estimates, interval

BETS = [0.01 * 1.3**power for power in range(27)]


def test_of_nothing_everything_may_be_true():
    [nothing] = estimates([[]])

    assert (nothing.picked, nothing.share, nothing.low, nothing.least) == (0, None, None, None)
    assert [ends.tolist() for ends in interval([0], [0])] == [[0.0], [1.0]]


def test_the_interval_has_the_means_that_the_capital_does_not_refute():
    right, known = 93, 100

    def capital(mean: float, sign: int) -> float:
        return sum(math.exp(sign * bet * right - known * math.log1p(mean * math.expm1(sign * bet))) for bet in BETS) / len(BETS)

    [low], [high] = interval([right], [known])

    assert capital(low, 1) == pytest.approx(2 / ALPHA, rel=1e-4)
    assert capital(high, -1) == pytest.approx(2 / ALPHA, rel=1e-4)
    assert low < 0.93 < high


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_right_and_wrong_are_mirrored(right, wrong):
    low, high = interval([right], [right + wrong])
    below, above = interval([wrong], [right + wrong])

    assert low[0] == pytest.approx(1 - above[0])
    assert high[0] == pytest.approx(1 - below[0])
    assert 0 <= low[0] <= high[0] <= 1


def test_many_drawings_are_said_more_exactly_and_the_price_of_looking_is_bounded():
    for known in (100, 1_000, 10_000, 100_000, 1_000_000):
        [low], [high] = interval([0.97 * known], [known])

        assert 3 < (high - low) / 2 / math.sqrt(0.97 * 0.03 / known) < 3.7


def test_a_drawing_that_was_picked_more_rarely_stands_for_more():
    [one] = estimates([[Stratum(0.1, 100, 100, 90), Stratum(0.5, 100, 100, 50)]])

    assert one.share == pytest.approx((900 + 100) / (1000 + 200), abs=1e-5)
    assert one.picked == one.known == 200


def test_who_is_silent_may_be_all_right_or_all_wrong():
    [one] = estimates([[Stratum(0.2, 100, 80, 72)]])

    assert (one.share, one.least, one.most) == (0.9, 0.72, 0.92)


def test_strata_together_say_about_what_one_of_all_would_say():
    [apart] = estimates([[Stratum(0.2, 1000, 1000, 970), Stratum(0.2000001, 1000, 1000, 970)]])
    [low], [high] = interval([1940], [2000])

    assert apart.low is not None
    assert apart.high is not None
    assert apart.low <= low
    assert high <= apart.high
    assert apart.high - apart.low < 1.4 * (high - low)


def test_the_interval_of_two_strata_holds_the_mean_weighted_by_what_was_picked():
    """However often one looks, and though models are better in one than in the other."""
    chance, runs, true = np.random.default_rng(7), 60, (0.95, 0.7)
    missed = 0
    for _ in range(runs):
        right, known, bad = [0, 0], [0, 0], False
        for n in range(1, 301):
            one = int(chance.random() < 0.4)
            known[one] += 1
            right[one] += int(chance.random() < true[one])
            if n % 30 or not all(known):
                continue
            [told] = estimates([[Stratum(p, k, k, r) for p, k, r in zip((0.1, 0.5), known, right, strict=True)]])
            mean = np.average(true, weights=[known[0] / 0.1, known[1] / 0.5])
            assert told.low is not None
            assert told.high is not None
            bad |= not told.low <= mean <= told.high
        missed += bad

    assert missed / runs < ALPHA


def test_a_stratum_of_little_weight_gives_nothing_away():
    """Of a product of capitals, one that has lost all its bets must not make up for another that has won."""
    [alone] = estimates([[Stratum(0.01, 1000, 1000, 970)]])
    [beside] = estimates([[Stratum(0.01, 1000, 1000, 970), Stratum(1.0, 3000, 3000, 1500)]])

    assert alone.low is not None
    assert beside.low is not None
    assert alone.low - beside.low < 0.02


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1)), min_size=1, max_size=12))
def test_several_at_once_are_as_each_alone(several):
    cells = [[Stratum(0.2, n, n, round(share * n))] for n, share in several]

    assert estimates(cells) == [one for cell in cells for one in estimates([cell])]


@pytest.mark.parametrize("drifts", [False, True])
def test_looking_after_every_drawing_the_truth_is_missed_in_fewer_runs_than_five_of_a_hundred(drifts):
    chance, runs, drawings = np.random.default_rng(7), 400, 500
    true = np.linspace(0.99, 0.7, drawings) if drifts else np.full(drawings, 0.93)
    right = np.cumsum(chance.random((runs, drawings)) < true, axis=1)
    known = np.arange(1, drawings + 1)
    mean = np.cumsum(true) / known
    missed = np.zeros(runs, bool)
    for n in known:
        low, high = interval(right[:, n - 1], np.full(runs, n))
        missed |= (low > mean[n - 1]) | (high < mean[n - 1])

    assert missed.mean() < ALPHA
