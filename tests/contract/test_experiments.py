"""What every experiment promises: the router answers as river's own estimator does, and its weights are all of its state."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from contracts.events import LessonTaught
from streams.experiments import EXPERIMENTS, LEAST, Apprentice, Estimator, Experiment, one_vs_rest, package, promoted
from streams.online_base import BaseRows, load_base, load_rows
from streams.online_model import UnreadableFeatures
from streams.routing import experiment as read
from tests.histories import READER, SERIES, lesson, taken_back

ONE_MORE = Experiment("one-more-1", lambda r: r.linear_model.SoftmaxRegression(r.optim.SGD(0.02)))
"""As somebody adds one: a line."""
ALL = [*EXPERIMENTS, ONE_MORE]
BASE = replace(load_base(), reader=READER)
ROWS = load_rows()
FEW = BaseRows(ROWS.embeddings[:60], ROWS.labels[:60], "few")
AT = datetime(2026, 11, 29, tzinfo=UTC)
every = pytest.mark.parametrize("experiment", ALL, ids=lambda one: one.name)


def apprentice(experiment: Experiment, state: Any = None, rows: BaseRows = FEW, series: str = SERIES) -> Apprentice:
    one = Apprentice(experiment, package(), BASE, rows, series, state)
    for place in range(len(rows.labels) if one.fresh else 0):
        one.begin(place)
    return one


def lessons(n: int, first: int = 1) -> list[LessonTaught]:
    return [lesson(f"l{k}", k % 10, number=k, seed=k) for k in range(first, first + n)]


def taught(one: Apprentice, several: list[LessonTaught]) -> Apprentice:
    for told in several:
        one.apply(told, 0, told.number - 1)
    return one


def weights(one: Apprentice) -> list[list[float]]:
    return one.estimator.weights().tolist()


def test_each_has_a_name_of_its_own_that_is_no_generation_of_the_sums():
    names = [one.name for one in EXPERIMENTS]

    assert len({*names, BASE.generation}) == len(names) + 1 >= 4
    assert not any("+" in name for name in names)


@every
def test_the_router_answers_what_the_estimator_itself_says(experiment):
    one = taught(apprentice(experiment), lessons(20))
    asked = ROWS.embeddings[100:140]

    answered = read(one.state(AT)).answer(asked)

    assert np.allclose(answered, [one.estimator.probabilities(each) for each in asked], atol=1e-5)
    assert np.allclose(answered.sum(axis=1), 1)


@every
def test_the_weights_are_all_of_its_state(experiment):
    one = taught(apprentice(experiment), lessons(20))
    other = Estimator(experiment, package(), one.estimator.weights())
    for estimator in (one.estimator, other):
        for place in range(100, 130):
            estimator.learn(ROWS.embeddings[place], int(ROWS.labels[place]))

    assert np.allclose(one.estimator.weights(), other.weights(), atol=1e-12), (
        "it has a state beside its weights, or an intercept"
    )


def test_an_estimator_with_an_intercept_of_its_own_is_told_apart():
    bad = Experiment("bad-1", lambda r: one_vs_rest(r, r.linear_model.PAClassifier(C=0.05)))
    one = taught(apprentice(bad), lessons(20))

    said = [one.estimator.probabilities(each) for each in ROWS.embeddings[100:140]]

    assert not np.allclose(read(one.state(AT)).answer(ROWS.embeddings[100:140]), said, atol=1e-5)


@every
def test_it_goes_on_from_its_state_as_if_it_had_not_stopped(experiment):
    whole = taught(apprentice(experiment), lessons(40))

    half = taught(apprentice(experiment), lessons(20)).state(AT)
    again = taught(apprentice(experiment, half), lessons(40))

    assert (again.version, again.taught, again.offsets, again.numbers) == (
        whole.version,
        whole.taught,
        {0: 39, **dict.fromkeys((1, 2, 3), -1)},
        {0: 40, **dict.fromkeys((1, 2, 3), 0)},
    )
    assert np.allclose(weights(again), weights(whole), atol=1e-4)
    assert again.version == f"{experiment.name}+40"


@every
def test_the_base_is_learned_from_the_drawings_in_the_repository(experiment):
    one = apprentice(experiment, rows=load_rows())
    unseen = load_rows().embeddings[:200]

    right = read(one.state(AT)).answer(unseen).argmax(axis=1) == load_rows().labels[:200]

    assert right.mean() > 0.98


@pytest.mark.parametrize(
    "other",
    [
        {"made_of": "another"},
        {"ended": True},
    ],
)
def test_a_state_of_another_estimator_or_of_one_that_ended_is_not_gone_on_from(other):
    state = taught(apprentice(ONE_MORE), lessons(5)).state(AT).model_copy(update=other)

    assert apprentice(ONE_MORE, state).version == "one-more-1+0"


def test_a_line_that_is_changed_begins_anew_and_so_does_another_base_or_series():
    made = {
        apprentice(ONE_MORE).made_of,
        apprentice(Experiment("one-more-1", lambda r: r.linear_model.SoftmaxRegression(r.optim.SGD(0.03)))).made_of,
        apprentice(ONE_MORE, rows=BaseRows(FEW.embeddings, FEW.labels, "others")).made_of,
        apprentice(ONE_MORE, series="sums-2").made_of,
    }

    assert len(made) == 4
    assert apprentice(ONE_MORE).made_of in made, "the same in each process"


def test_a_lesson_that_comes_twice_is_learned_once():
    once, twice = (taught(apprentice(ONE_MORE), several) for several in (lessons(3), [*lessons(3), *lessons(3)]))

    assert weights(once) == weights(twice)
    assert twice.version == "one-more-1+3"


def test_what_counts_little_what_is_taken_back_and_what_is_weighed_anew_is_read_and_not_learned():
    first = lesson("l1", 4, number=1, seed=1)
    one = taught(apprentice(ONE_MORE), [first])
    before = weights(one)

    told = [
        taken_back(first, 2),
        first.model_copy(update={"number": 3, "weight": 0.75}),
        lesson("l2", 5, number=4, seed=2, newcomer=True),
        lesson("l3", 5, number=5, seed=3, weight=LEAST - 0.125),
        lesson("l4", 5, number=6, seed=3, series="another"),
    ]

    assert weights(taught(one, told)) == before
    assert (one.taught, one.numbers, one.offsets) == (1, {0: 5}, {0: 5})
    assert one.apply(lesson("l5", 5, number=6, seed=3, weight=LEAST), 0, 9)
    assert weights(one) != before


def test_a_lesson_that_cannot_be_read_teaches_nothing():
    one = apprentice(ONE_MORE)

    with pytest.raises(UnreadableFeatures):
        one.apply(lesson("l1", 4, number=1, seed=1).model_copy(update={"reader": "another"}), 0, 0)
    assert one.version == "one-more-1+0"


def test_weights_that_are_no_numbers_are_never_said():
    one = apprentice(ONE_MORE)
    one.estimator._put(3, {0: float("nan")})

    with pytest.raises(ValueError, match="no finite numbers"):
        one.state(AT)


@every
def test_the_receipt_says_what_the_estimator_gives_before_and_after_the_lesson(experiment):
    one = taught(apprentice(experiment), lessons(5))
    answers = promoted(one.state(AT), experiment, package(), newcomers=2)
    embedding = ROWS.embeddings[500]

    p_before, p_after = answers.given(embedding, np.zeros(3), 4, None, (4, 8))

    assert p_before == pytest.approx(one.estimator.probabilities(embedding)[4], abs=1e-4)
    one.estimator.learn(embedding, 4)
    assert p_after == pytest.approx(one.estimator.probabilities(embedding)[4], abs=1e-4)
    assert p_after > p_before
    assert (answers.version, answers.after(2), answers.newcomers) == (f"{experiment.name}+5", f"{experiment.name}+7", 2)


def test_a_lesson_that_an_experiment_does_not_learn_changes_nothing_on_the_receipt():
    answers = promoted(taught(apprentice(ONE_MORE), lessons(5)).state(AT), ONE_MORE, package(), 0)

    for before, after in ((None, None), (None, (4, 1)), ((4, 8), None), ((4, 8), (4, 6))):
        p_before, p_after = answers.given(ROWS.embeddings[500], np.zeros(3), 4, before, after)
        assert p_before == p_after
    p_before, p_after = answers.given(ROWS.embeddings[500], np.zeros(3), 4, (9, 8), (4, 8))
    assert p_after > p_before, "another label than before is learned"
