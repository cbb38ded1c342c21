"""The blend: a geometric mean that nobody can veto."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streams.blending import FLOOR, blended, opinions

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
