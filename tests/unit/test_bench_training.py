"""The gate's bench, with so few runs that it is a test: the whole is `make bench`."""

import numpy as np

from tests.bench.training import SEED, UNEVEN, WORLDS, asked, crowd, drawn, hidden, is_promoted, peeked, uneven, unsure, watched


def test_whoever_rebuilds_again_and_again_promotes_nothing_that_is_no_better():
    rng = np.random.default_rng(SEED)
    assert sum(peeked(rng, world, 8) for world in WORLDS for _ in range(25)) <= 4, "of 75 at most 5 in a hundred"


def test_whoever_looks_at_a_shadow_all_the_time_promotes_nothing_that_is_no_better():
    rng = np.random.default_rng(SEED)
    assert sum(watched(rng, world, 20, 12) for world in WORLDS for _ in range(40)) <= 4


def test_two_points_worse_is_promoted_at_no_size_and_two_points_better_at_the_size_that_was_asked_for():
    rng = np.random.default_rng(SEED)
    for people in (3, 8, 33, 120):
        assert not any(is_promoted(*drawn(rng, WORLDS[0], *crowd(rng, WORLDS[0], -0.02, people)), 1) for _ in range(40))
    found = [asked(rng, WORLDS[0]) for _ in range(20)]
    assert sum(promoted for _, _, promoted, _ in found) >= 18
    assert sum(either for *_, either in found) == 20


def test_twenty_points_lost_on_one_digit_are_no_gain_and_what_loses_nothing_is_refused_for_no_digit():
    rng = np.random.default_rng(SEED)
    for world in WORLDS:
        refused, promoted, _ = hidden(rng, world, 60, 20)
        assert (refused, promoted) == (1.0, 0.0)
        for more in UNEVEN.values():
            assert uneven(rng, world, more, 60, 20)[0] <= 0.05


def test_a_version_is_refused_for_its_calibration_if_it_is_off_and_else_not():
    rng = np.random.default_rng(SEED)
    assert sum(unsure(rng, WORLDS[0], 0.08, 33) for _ in range(20)) >= 18
    assert not any(unsure(rng, WORLDS[0], 0.0, 33) for _ in range(20))
