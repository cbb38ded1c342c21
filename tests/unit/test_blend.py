"""The blend: a geometric mean that nobody can veto, which follows whoever is right most often."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streams.additive import EIGHTHS
from streams.all_players import AT_FIRST, MOST, Means
from streams.blend import FLOOR, RATE, Blend, BlendWeights, blend_weights, blended, opinions
from streams.player_outcomes import ModelCounts
from tests.roster import BATCH_MODELS, MODELS

shares = arrays(np.float64, (4, 10), elements=st.floats(0.0, 1.0)).filter(lambda a: (a.sum(axis=1) > 0.1).all())


def mixed(*models: np.ndarray) -> np.ndarray:
    return blended(sum(opinions(model) for model in models), np.full(len(models[0]), float(len(models))))


@given(shares, shares, shares)
def test_a_blend_is_a_set_of_probabilities_and_the_order_does_not_matter(a: np.ndarray, b: np.ndarray, c: np.ndarray):
    one, other = mixed(a, b, c), mixed(c, a, b)

    assert np.isfinite(one).all()
    assert (one >= 0).all()
    assert one.sum(axis=1) == pytest.approx(np.ones(4))
    assert one == pytest.approx(other)


def test_models_that_agree_are_repeated():
    said = np.full((1, 10), 0.02)
    said[0, 7] = 0.82

    assert mixed(said, said, said) == pytest.approx(said)


def test_one_who_is_sure_and_wrong_is_outvoted():
    sure, likely = np.eye(10)[[3]], np.full((1, 10), 0.01)
    likely[0, 7] = 0.91

    assert mixed(sure, likely, likely, likely).argmax() == 7
    assert mixed(sure, sure, likely).argmax() == 3


def test_it_is_the_geometric_mean_above_the_floor():
    a, b = np.linspace(1, 10, 10)[None] / 55, np.linspace(10, 1, 10)[None] / 55
    by_hand = np.sqrt(a * b)

    assert a.min() > FLOOR
    assert mixed(a, b) == pytest.approx(by_hand / by_hand.sum())


def after(drawings: int, right: dict[str, int]) -> Means:
    """The means of so many drawings, of which each model had so many right; the others guessed nothing."""
    n = dict.fromkeys(right, drawings * EIGHTHS)
    counts = {arm: count * EIGHTHS for arm, count in right.items()}
    return Means(ModelCounts(drawings, n, counts, counts))


def test_until_somebody_says_something_what_learns_at_once_has_the_most_to_say_and_all_others_the_same():
    first = blend_weights(AT_FIRST)

    assert {arm: first.of(arm) for arm in (*MODELS, "one that is new")} == dict.fromkeys(
        (*BATCH_MODELS, "everyone", "one that is new"), 1.0
    ) | {"river": 50.0, "yours": 50.0}
    assert first.version == "blend5+0"


def test_a_weight_falls_exponentially_with_how_far_a_model_is_behind_the_best_one():
    said = blend_weights(after(100, {"river": 89, "kmeans": 77, "xgboost": 95}))

    # 20 outcomes at 95 % are believed before, so of 120 outcomes the best one is 6 ahead, and 18
    assert said.of("xgboost") == pytest.approx(1)
    assert said.of("river") == pytest.approx(50 * np.exp(-RATE * 100 * 6 / 120))
    assert said.of("kmeans") == pytest.approx(np.exp(-RATE * 100 * 18 / 120))
    assert said.of("yours") == 50, "nobody has heard it"
    assert said.version == "blend5+100"


def test_a_model_that_is_behind_loses_its_say_the_sooner_the_more_is_known():
    said = [blend_weights(after(count, {"yours": count // 2, "mxnet": count})) for count in (25, 50, 200)]
    shares = [weights.of("yours") / weights.of("mxnet") for weights in said]

    assert 50 > shares[0] > 1 > shares[1] > 1e-6 > shares[2] > 0


def test_what_is_known_counts_as_so_much_at_most_so_that_nothing_is_behind_for_ever():
    once, much = (blend_weights(after(count * MOST, {"yours": count * MOST, "kmeans": 0})) for count in (1, 100))

    assert once.of("kmeans") > much.of("kmeans") > np.exp(-RATE * MOST)


LABELLED = {"yours": 260, "river": 256, "xgboost": 240, "kmeans": 200}
"""How many of 400 labelled guesses were right, where players label mostly what was wrong: three fifths."""


def heard(**heard: tuple[int, int]) -> Means:
    """The means after 400 labelled drawings, and of some models so many guesses, of which so many were right."""
    n = dict.fromkeys(LABELLED, 400) | {model: count for model, (count, _) in heard.items()}
    right = LABELLED | {model: count for model, (_, count) in heard.items()}
    counts = {model: count * EIGHTHS for model, count in right.items()}
    return Means(ModelCounts(400, {model: count * EIGHTHS for model, count in n.items()}, counts, counts))


@pytest.mark.parametrize(("count", "right"), [(1, 0), (1, 1), (10, 10), (199, 130), (199, 199)])
def test_a_model_that_is_new_or_seldom_heard_takes_nothing_from_the_others_and_weighs_as_their_heaviest_at_most(count, right):
    before, with_one = blend_weights(heard()), blend_weights(heard(new=(count, right)))

    assert {model: with_one.of(model) for model in LABELLED} == dict(before.by_model)
    assert 0 < with_one.of("new") <= 1, "its weight before any word"


def test_a_voice_that_is_seldom_heard_weighs_as_the_heaviest_of_the_others_at_most_and_less_if_it_is_worse():
    rested = [blend_weights(heard(yours=(100, right), river=(400, 100))) for right in (90, 40)]

    assert rested[0].of("yours") == rested[0].of("xgboost") == 1
    assert rested[1].of("yours") == pytest.approx(50 * np.exp(-RATE * 100 * 100 / 120 * (0.6 - 0.4)))


def test_what_is_known_of_a_model_that_is_heard_half_as_often_makes_it_no_better_than_it_is():
    """Before, the belief in it made it the best one: the others fell to a twelfth beside their like."""
    weights = blend_weights(heard(xgboost=(200, 120), kmeans=(400, 240), yours=(400, 240), river=(400, 240)))

    assert dict(weights.by_model) == {"yours": 50, "river": 50, "xgboost": 1, "kmeans": 1}


def test_how_good_everyone_is_has_no_effect_on_its_voices():
    """It is no voice of its own: if it were the best, a model that was heard less would gain on the others."""
    without = after(25, {"xgboost": 20, "kmeans": 10})
    beside = after(25, {"xgboost": 20, "kmeans": 10, "everyone": 25})

    assert blend_weights(beside) == blend_weights(without)


SURE = opinions(np.eye(10))


def test_a_blend_awaits_who_is_asked_and_hears_them_by_their_weights():
    blend = Blend(BlendWeights({"kmeans": 30.0}, "blend5+25"), {"kmeans", "xgboost"}, {})

    blend.hear("yours", SURE[7])
    blend.hear("xgboost", SURE[7])
    assert not blend.complete
    blend.hear("kmeans", SURE[5])

    assert blend.complete
    assert blend.left_out == {}
    assert blend.probabilities(SURE[0]) == pytest.approx(blended(2 * SURE[[7]] + 30 * SURE[[5]], np.array([32.0]))[0])


def test_who_is_not_awaited_any_more_is_left_out_and_heard_if_it_comes_in_time():
    blend = Blend(BlendWeights({}, ""), {"kmeans", "xgboost"}, {"mxnet": "resting"})

    blend.leave_out("kmeans", "late")
    blend.leave_out("kmeans", "resting")
    blend.leave_out("yours", "late")
    blend.hear("mxnet", SURE[3])

    assert blend.left_out == {"kmeans": "late"}, "it was left out already, and nobody waited for the other"
    assert blend.awaited == {"xgboost"}
    assert blend.probabilities(SURE[0]).argmax() == 3


def test_a_blend_of_nobody_says_what_it_was_given():
    blend = Blend(BlendWeights({}, ""), (), {})

    assert blend.complete
    assert blend.probabilities(SURE[4]).argmax() == 4
