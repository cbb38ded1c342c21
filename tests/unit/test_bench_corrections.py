"""How long until corrections are used, as it is estimated from the log: known delays have to come out again."""

import numpy as np
import pytest

from tests.bench.corrections import grown


def test_the_delay_of_half_of_all_corrections_and_of_ninety_nine_in_a_hundred_comes_out_of_guesses_at_any_time():
    rng = np.random.default_rng(1)
    delays = rng.gamma(4, 15, 3000)
    after = rng.uniform(0, 500, (3000, 40))
    found = grown(after.round().ravel(), (after >= delays[:, None]).ravel())
    truth = np.quantile(delays, (0.5, 0.95, 0.99))
    assert [found["p50"], found["p95"], found["p99"]] == pytest.approx(list(truth), rel=0.15)


def test_a_share_that_no_time_has_reached_is_not_made_up():
    assert grown(np.array([1, 2, 3, 4]), np.array([False, False, True, False])) == {"p50": 3, "p95": None, "p99": None}
    assert grown(np.array([1, 2]), np.array([False, False])) == {"p50": None, "p95": None, "p99": None}
