"""The gate's bench, with so few runs that it is a test: the whole is `make bench`."""

import numpy as np

from tests.bench.training import SEED, WORLDS, asked, crowd, drawn, is_promoted, peeked, watched


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
