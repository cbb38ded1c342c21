"""The model that is a sum, held to river's checks of estimators, to plain ridge regression, and to Python's whole numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject
from river import checks

from streams.additive import BASIS, EIGHTHS, RIDGE, SHARPNESS, AdditiveClassifier, Basis, NotASum, Solved, Sums
from streams.online_base import folded, load_base, unfolded
from tests.writers import drawings

UNFIT = AdditiveClassifier()._unit_test_skips()
CHECKS = [check for check in checks.yield_checks(AdditiveClassifier()) if check.__name__ not in UNFIT]
MOST = 2047
Taught = tuple[dict[Any, float], str, float]

numbers = st.floats(-3, 3, allow_nan=False)
names = st.one_of(st.integers(-2, 70), st.sampled_from(["x", "y", "a name", (1, 2), 3.5, None]))
taught = st.tuples(
    st.dictionaries(names, numbers, max_size=5), st.sampled_from("abc"), st.sampled_from([0.125, 0.5, 1.0, 2.25])
)


def small() -> AdditiveClassifier:
    return AdditiveClassifier(size=16, projections=16)


def after(lessons: list[Taught]) -> AdditiveClassifier:
    model = small()
    for x, y, w in lessons:
        model.learn_one(x, y, w)
    return model


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_river_takes_it_for_one_of_its_own(check):
    check(small())


# --- ridge regression


def ridge(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """What ridge regression on one-hot labels answers, by least squares of the stacked problem: no sums, no Cholesky."""
    root = np.sqrt(weights)[:, None]
    stacked = np.vstack([root * rows, np.sqrt(RIDGE) * np.eye(rows.shape[1])])
    wanted = np.vstack([root * np.eye(10)[labels], np.zeros((rows.shape[1], 10))])
    scores = SHARPNESS * (asked @ np.linalg.lstsq(stacked, wanted, rcond=None)[0])
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("n", [1, 7, 400])
def test_it_has_the_numbers_of_plain_ridge_regression(n, seed):
    rng = np.random.default_rng(seed)
    rows = BASIS.rows(rng.normal(size=(n, 64)) / 2)
    labels, eighths = rng.integers(0, 10, n), rng.integers(1, 17, n)
    asked = BASIS.rows(rng.normal(size=(20, 64)) / 2)

    answered = Solved(Sums.nothing(BASIS.width).plus(rows, labels, eighths)).probabilities(asked)

    np.testing.assert_allclose(answered, ridge(rows, labels, eighths / EIGHTHS, asked), rtol=0, atol=1e-9)


def test_the_classifier_has_the_numbers_of_plain_ridge_regression():
    rng = np.random.default_rng(4)
    given_x, labels = rng.integers(-128, 129, (60, 16)) / 64, rng.integers(0, 10, 60)  # values come in steps of 1/64
    weights = rng.integers(1, 17, 60) / EIGHTHS
    labels[:10] = range(10)
    model, basis = small(), Basis(16, 16)
    for x, label, weight in zip(given_x, labels, weights, strict=True):
        model.learn_one(dict(enumerate(x.tolist())), int(label), float(weight))
    asked = rng.integers(-128, 129, (10, 16)) / 64

    wanted = ridge(basis.rows(given_x), labels, weights, basis.rows(asked))
    for x, p in zip(asked, wanted, strict=True):
        answered = model.predict_proba_one(dict(enumerate(x.tolist())))
        np.testing.assert_allclose([answered[digit] for digit in range(10)], p, rtol=0, atol=1e-9)


# --- the state is a function of the set of lessons


@settings(max_examples=60, deadline=None)
@given(lessons=st.lists(taught, max_size=8), data=st.data())
def test_the_digest_is_the_same_in_every_order(lessons, data):
    assert after(data.draw(st.permutations(lessons))).digest() == after(lessons).digest()


@settings(max_examples=60, deadline=None)
@given(lessons=st.lists(taught, max_size=6), out=st.lists(taught, max_size=6), data=st.data())
def test_lessons_that_are_taken_out_leave_the_state_without_them_wherever_they_stood(lessons, out, data: DataObject):
    model, known = small(), after(lessons)
    steps = data.draw(st.permutations([(one, True) for one in lessons] + [(one, False) for one in out]))
    for (x, y, w), _ in steps:
        model.learn_one(x, y, w)
    for x, y, w in data.draw(st.permutations(out)):
        model.unlearn_one(x, y, w)

    asked = {0: 1.0, "x": -0.5}
    assert model.digest() == known.digest()
    assert model.predict_proba_one(asked) == known.predict_proba_one(asked)


@settings(max_examples=40, deadline=None)
@given(lessons=st.lists(taught, min_size=1, max_size=6))
def test_a_lesson_that_comes_twice_weighs_twice_and_is_another_state(lessons):
    twice = after([*lessons, *lessons])

    assert twice.digest() == after([(x, y, 2 * w) for x, y, w in lessons]).digest() != after(lessons).digest()


def test_a_label_that_is_not_taught_any_more_is_forgotten():
    model = after([({0: 1.0}, "a", 1.0), ({1: 1.0}, "b", 1.0)])

    model.unlearn_one({1: 1.0}, "b")

    assert model.predict_proba_one({1: 1.0}) == {"a": 1.0}
    model.unlearn_one({0: 1.0}, "a")
    assert model.predict_proba_one({1: 1.0}) == {}
    assert model.digest() == small().digest()


def test_what_was_never_learned_cannot_be_taken_out_unnoticed():
    model = after([({0: 1.0}, "a", 0.125)])
    model.unlearn_one({5: 3.0}, "b", 4.0)

    with pytest.raises(NotASum):
        model.predict_proba_one({0: 1.0})


def test_a_weight_counts_in_eighths():
    x = {0: 1.0}

    assert after([(x, "a", 0.5)]).digest() == after([(x, "a", 0.125)] * 4).digest() == after([(x, "a", 0.54)]).digest()
    assert after([(x, "a", 0.05)]).digest() == small().digest()
    assert len({after([(x, "a", eighths / 8)]).digest() for eighths in range(1, 9)}) == 8


@settings(max_examples=60, deadline=None)
@given(x=st.dictionaries(names, numbers, max_size=6), data=st.data())
def test_the_order_of_features_does_not_matter(x, data):
    shuffled = dict(data.draw(st.permutations(list(x.items()))))

    assert after([(shuffled, "a", 1.0)]).digest() == after([(x, "a", 1.0)]).digest()


def test_features_of_any_name_have_a_place():
    states = [after([({name: 1.0}, "a", 1.0)]).digest() for name in (0, 15, 16, -1, "x", "another", 2.5)]

    assert states[0] != states[1]
    assert small().digest() not in states
    far = after([({16: 1.0}, "a", 1.0)])
    assert far.digest() == after([({16: 1.0}, "a", 1.0)]).digest()
    assert far.predict_proba_one({16: 1.0}) == {"a": 1.0}


# --- whole numbers


embeddings = st.lists(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=64, max_size=64), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(several=embeddings, cut=st.integers(0, 6), scale=st.sampled_from([1e-6, 1e-3, 1.0]))
def test_features_are_whole_and_bounded_and_the_same_in_every_batch(several, cut, scale):
    asked = np.array(several) * scale

    rows = BASIS.rows(asked)

    assert rows.shape == (len(several), BASIS.width)
    assert np.array_equal(rows, np.rint(rows))
    assert np.abs(rows).max() <= MOST
    assert np.array_equal(rows, np.vstack([BASIS.rows(asked[:cut]), BASIS.rows(asked[cut:])]))
    assert np.array_equal(rows, np.vstack([BASIS.rows(one[None]) for one in asked]))
    assert (rows[:, BASIS.size : -1] >= 0).all()
    assert (rows[:, -1] == 64).all()


def test_features_of_real_drawings_use_their_range_and_seldom_leave_it():
    rows = BASIS.rows(drawings("28").embeddings)

    assert (np.abs(rows) == MOST).mean() < 0.001
    assert 0.2 < (rows[:, BASIS.size : -1] > 0).mean() < 0.8
    assert rows[:, BASIS.size : -1].max() > 50


def test_a_basis_is_made_of_its_name_alone():
    asked = np.random.default_rng(0).normal(size=(3, 64)) / 2

    assert np.array_equal(Basis().rows(asked), BASIS.rows(asked))
    assert not np.array_equal(Basis(seed=1).rows(asked), BASIS.rows(asked))
    assert len({Basis().name, Basis(seed=1).name, Basis(32).name, Basis(projections=128).name}) == 4


def test_sums_of_ten_thousand_extreme_rows_are_exact():
    rng = np.random.default_rng(20181103)
    rows = rng.choice([-MOST, MOST, MOST - 1, 1.0], size=(10_000, BASIS.width))
    labels, eighths = rng.integers(0, 10, 10_000), rng.integers(60, 81, 10_000)
    largest = Sums(np.full((BASIS.width, BASIS.width), 2.0**52), np.full((BASIS.width, 10), 2.0**52))

    for begun in (Sums.nothing(BASIS.width), largest):
        whole = begun.plus(rows, labels, eighths)
        for i, j in ((0, 0), (0, 1), (17, 300), (320, 320), (64, 5)):
            exact = sum(int(a) * int(b) * int(w) for a, b, w in zip(rows[:, i], rows[:, j], eighths, strict=True))
            assert int(whole.products[i, j]) - int(begun.products[i, j]) == exact
            of_label = labels == j % 10
            exact = sum(int(a) * int(w) for a, w in zip(rows[of_label, i], eighths[of_label], strict=True))
            assert int(whole.labelled[i, j % 10]) - int(begun.labelled[i, j % 10]) == exact


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 300), max_size=4), data=st.data())
def test_sums_are_the_same_in_every_order_and_every_split(seed, cuts, data):
    rng = np.random.default_rng(seed)
    rows = rng.choice([-MOST, MOST, 3.0, 0.0], size=(300, BASIS.width))
    labels, eighths = rng.integers(0, 10, 300), rng.integers(1, 81, 300)
    whole = Sums.nothing(BASIS.width).plus(rows, labels, eighths)
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(300)

    merged = Sums.nothing(BASIS.width)
    for part in np.split(order, sorted(cuts)):
        merged = Sums.nothing(BASIS.width).plus(rows[part], labels[part], eighths[part]).merged(merged)

    assert merged.digest() == whole.digest()
    back = whole.plus(rows[order], labels[order], -eighths[order])
    assert back.digest() == Sums.nothing(BASIS.width).digest()


# --- the base


def test_the_base_in_the_repository_is_whole_symmetric_and_reads_digits():
    base = load_base()

    for kept in (base.sums.products, base.sums.labelled):
        assert np.array_equal(kept, np.rint(kept))
        assert np.abs(kept).max() < 2**53
    assert np.array_equal(base.sums.products, base.sums.products.T)
    assert np.array_equal(unfolded(folded(base.sums.products)), base.sums.products)
    assert base.digest == base.sums.digest()
    one = drawings("26")
    assert (Solved(base.sums).probabilities(BASIS.rows(one.embeddings)).argmax(axis=1) == one.labels).mean() > 0.9
