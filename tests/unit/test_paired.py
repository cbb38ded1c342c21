"""Two versions compared person by person."""

from itertools import product
from statistics import NormalDist

import numpy as np
import pytest

from contracts.paired import NOBODY, People, needed, rounded


def people(*more: int, each: int = 20) -> People:
    return People(np.full(len(more), each), np.array(more))


def test_drawings_are_summed_up_by_person_and_who_drew_none_is_nobody():
    found = People.of([4, 4, 1, 4], first=[True, False, False, False], second=[False, True, True, True])
    assert (found.drawings.tolist(), found.more.tolist()) == ([1, 3], [1, 1])
    assert len(People.of([], [], [])) == 0


def test_people_who_were_counted_are_the_same_people():
    found = People.counted([(20, 2, 2), (5, -1, 1)])
    assert (found.drawings.tolist(), found.more.tolist()) == ([20, 20, 5], [2, 2, -1])
    assert len(People.counted([])) == 0


def test_the_chance_is_that_of_all_ways_to_sign_the_differences():
    more = [3, 1, -1, 2, 0, 4, -2]
    ways = [sum(sign * abs(one) for sign, one in zip(signs, more, strict=True)) for signs in product((1, -1), repeat=len(more))]
    assert people(*more).chance() == pytest.approx(np.mean([way >= sum(more) for way in ways]), abs=0.02)
    assert people(*more).chance(sign=-1) == pytest.approx(np.mean([way <= sum(more) for way in ways]), abs=0.02)
    assert people(0, 0).chance() == NOBODY.chance() == 1.0


@pytest.mark.parametrize("size", [1500, 1501])
def test_many_people_are_added_up_too_and_of_very_many_the_normal_distribution_says_as_much(size: int):
    rng = np.random.default_rng(3)
    many = People(np.full(size, 30), rng.choice([-2, -1, 0, 1, 2], size, p=[0.18, 0.2, 0.2, 0.2, 0.22]))
    sums = many.more / 50
    normal = NormalDist().cdf(-sums.sum() / np.sqrt((sums**2).sum()))
    assert many.chance() == pytest.approx(normal, rel=0.05)
    assert many.chance(sign=-1) == pytest.approx(1 - normal, rel=0.05)


def test_an_interval_has_what_was_seen_and_refutes_nothing_if_people_are_few():
    low, high = people(1, 2, 1, 0, 1, 2, 1, 1, 0, 1).interval()
    assert 0 < low < people(1, 2, 1, 0, 1, 2, 1, 1, 0, 1).difference < high < 0.12
    assert people(1, 2).interval() == (-1.0, 1.0) == NOBODY.interval() == NOBODY.sequence()


def test_the_sequence_is_wider_since_one_may_look_as_often_as_one_likes():
    seen = people(*[1, 2, 1, 0, 1, 2, 1, 1, 0, 1] * 4)
    (low, high), (least, most) = seen.interval(), seen.sequence()
    assert -0.02 < least < low
    assert high < most < 0.2
    assert seen.ever() < 0.05 < people(1, -1, 0, 1).ever()
    assert seen.ever(-1) == NOBODY.ever() == 1.0


@pytest.mark.parametrize("share", [0.0, 0.02])
def test_looking_all_day_misses_the_truth_as_seldom_as_promised(share: float):
    """300 runs, looked at after every person from the tenth on; people come once."""
    rng, missed = np.random.default_rng(7), 0
    for _ in range(300):
        own = share + rng.normal(0, 0.02, 60)
        wins, losses = rng.binomial(20, np.clip(0.03 + own / 2, 0, 1)), rng.binomial(20, np.clip(0.03 - own / 2, 0, 1))
        for n in range(10, 61, 2):
            seen = People(np.full(n, 20), (wins - losses)[:n])
            if max(seen.log_capital([share], sign)[0] for sign in (1, -1)) >= np.log(2 / 0.05):  # out of `sequence`
                missed += 1
                break
    assert missed <= 15


def test_what_is_needed_grows_with_how_people_differ_and_with_how_little_is_to_be_told():
    alike, apart = people(*[1, -1] * 20), people(*[6, -6] * 20)
    assert needed(alike, 0.02, 0.025).people < needed(apart, 0.02, 0.025).people
    assert needed(alike, 0.02, 0.025).people < needed(alike, 0.01, 0.025).people
    assert needed(alike, 0.02, 0.025).people < needed(alike, 0.02, 0.001).people
    assert needed(NOBODY, 0.02, 0.025).drawings == needed(NOBODY, 0.02, 0.025).people * 20


def test_a_plan_is_rounded_upwards_to_what_it_is_worth():
    assert [rounded(n) for n in (0, 7, 31, 417, 420, 10_001)] == [0, 7, 31, 420, 420, 11_000]


def test_what_is_measured_is_summed_up_by_person_as_what_is_counted():
    found = People.measured([4, 4, 1], first=np.array([0.5, 0.0, 1.0]), second=np.array([0.25, 0.5, 0.0]))
    assert (found.drawings.tolist(), found.more.tolist()) == ([1, 2], [-1.0, 0.25])
    twelve = People.measured(np.arange(12), np.zeros(12), np.full(12, 0.05))
    assert twelve.chance() == pytest.approx(2**-12)
    assert twelve.chance(0.06) > 0.99
