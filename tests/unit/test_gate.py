"""The gate."""

import numpy as np
import pytest

from tests.roster import ROSTER
from trainers.gate import Marks, by_chance, judge


def marks(mnist: int, held_back: int = 0, of: int = 0) -> Marks:
    """So many right of 10,000, and of the held-back drawings the first so many."""
    return Marks(np.arange(10_000) < mnist, np.arange(of) < held_back)


def test_a_candidate_as_good_as_the_champion_passes():
    verdict = judge(None, marks(9900, 95, 100), marks(9900, 95, 100))
    assert verdict.passed
    assert "MNIST 99.00% against 99.00%" in verdict.reason


def test_a_candidate_may_lose_a_tenth_of_a_point_on_mnist_and_no_more():
    assert judge(None, marks(9890), marks(9900)).passed
    refused = judge(None, marks(9889), marks(9900))
    assert not refused.passed
    assert "more than 0.1 points lost" in refused.reason


def decided(won: int, lost: int) -> tuple[Marks, Marks]:
    """Candidate and champion that both get 9,900 right, but of ``won`` and ``lost`` pictures only one does."""
    candidate, champion = np.arange(10_000) < 9900, np.arange(10_000) < 9900
    candidate[:lost], champion[lost : lost + won] = False, False
    return Marks(candidate, candidate[:0]), Marks(champion, champion[:0])


def test_a_loss_on_mnist_that_chance_alone_would_give_is_none():
    assert judge(None, *decided(24, 36)).passed, "99.03 % beside 99.15 %: the same training on another processor"
    refused = judge(None, *decided(10, 30))
    assert not refused.passed
    assert "more than 0.1 points lost (10 pictures won, 30 lost)" in refused.reason


def test_more_than_the_most_is_a_loss_whatever_chance_says():
    assert by_chance(196, 361) > 0.05
    assert "more than 0.3 points lost" in judge(ROSTER["kmeans"].least_mnist, *decided(165, 196)).reason


def test_a_broken_candidate_is_refused_even_beside_a_broken_champion():
    refused = judge(None, marks(9849), marks(9000))
    assert not refused.passed
    assert "98.5%" in refused.reason


def test_a_candidate_that_loses_held_back_drawings_beyond_chance_is_refused():
    refused = judge(None, marks(9950, 90, 100), marks(9900, 95, 100))
    assert not refused.passed
    assert "0 won, 5 lost" in refused.reason


def test_losing_a_drawing_or_two_is_chance():
    assert judge(None, marks(9900, 93, 100), marks(9900, 95, 100)).passed


def test_few_held_back_drawings_say_nothing():
    verdict = judge(None, marks(9900, 0, 29), marks(9900, 29, 29))
    assert verdict.passed
    assert "too few" in verdict.reason


def test_the_coin_is_fair():
    assert pytest.approx(1.0) == by_chance(0, 9)
    assert pytest.approx(0.5) == by_chance(5, 9)
    assert pytest.approx(0.5) == by_chance(1000, 1999), "also when it is tossed more often than a float can count"


def test_metrics_are_counts_first():
    assert (marks(9900).metrics()) == {
        "mnist_n": 10000.0,
        "mnist_correct": 9900.0,
        "mnist_accuracy": 0.99,
        "held_back_n": 0,
        "held_back_correct": 0,
    }


def test_the_first_version_of_a_model_is_judged_alone():
    assert judge(None, marks(9900), None).passed
    assert not judge(None, marks(9849), None).passed


def test_a_model_that_is_not_as_good_even_when_all_is_well_has_a_least_accuracy_of_its_own():
    assert judge(ROSTER["kmeans"].least_mnist, marks(9700), marks(9700)).passed
    assert not judge(ROSTER["kmeans"].least_mnist, marks(9699), marks(9699)).passed
    assert not judge(None, marks(9700), marks(9700)).passed
