"""The online model: the sum of the lessons of all partitions, whatever order and split they come in."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from contracts.events import PLAYER_PARTITIONS, LessonTaught
from contracts.roster import BUILT_IN
from streams.additive import NotASum, Solved, Sums
from streams.online_base import load_base
from streams.online_model import (
    LessonSet,
    NobodysLesson,
    OnlineModel,
    OutOfSequence,
    UnreadableFeatures,
    features_of,
    of_base,
)
from tests.histories import READER, SERIES, features, lesson, named, seconds, taken_back

BASE = replace(load_base(), reader=READER)
PLAYERS = tuple(f"player {n}" for n in range(8))
Log = dict[int, list[LessonTaught]]
"""The lessons of each partition, in order."""
WEIGHTS = st.sampled_from([0.125, 0.5, 1.0, 1.375])


@st.composite
def changes(draw: st.DrawFn) -> list[LessonTaught]:
    """What 1, 2 or 8 players teach and take back, each drawing with one lesson at a time; the numbers are still to come."""
    players = PLAYERS[: draw(st.sampled_from([1, 2, 8]))]
    in_force: dict[tuple[str, int], LessonTaught] = {}
    said: list[LessonTaught] = []
    told = st.tuples(
        st.sampled_from(players), st.integers(0, 2), st.one_of(st.none(), st.integers(0, 9)), WEIGHTS, st.booleans()
    )
    for n, (player, name, label, weight, newcomer) in enumerate(draw(st.lists(told, max_size=16))):
        of_drawing = (player, name)
        if of_drawing in in_force:
            said.append(taken_back(in_force.pop(of_drawing), 0))
        if label is not None:
            seed = PLAYERS.index(player) * 3 + name
            drawing_id = named(f"{player}'s {name}")
            said_of = {"player_id": player, "drawing_id": drawing_id, "weight": weight, "newcomer": newcomer}
            in_force[of_drawing] = lesson(f"l{n}", label, number=0, seed=seed, **said_of)
            said.append(in_force[of_drawing])
    return said


def log_of(said: list[LessonTaught], places: dict[str, int]) -> Log:
    """The lessons as they stand on the log, numbered, each player's in the partition of the player."""
    log: Log = {}
    for one in said:
        partition = log.setdefault(places[one.player_id], [])
        partition.append(one.model_copy(update={"number": len(partition) + 1}))
    return log


def read(data: DataObject, log: Log, again: bool = False) -> OnlineModel:
    """The model after the log, read in some interleaving that keeps each partition's order; ``again``: with repetitions."""
    model = OnlineModel(BASE, SERIES)
    order = data.draw(st.permutations([partition for partition, several in log.items() for _ in several]))
    offsets = dict.fromkeys(log, 0)
    for partition in order:
        model.apply(log[partition][offsets[partition]], partition, offsets[partition])
        if again and data.draw(st.booleans()):
            offset = data.draw(st.integers(0, offsets[partition]))
            model.apply(log[partition][offset], partition, offset)
        if data.draw(st.integers(0, 3)) == 0:
            model.sums()  # some have been added up already when others come
        offsets[partition] += 1
    return model


def stands(model: OnlineModel) -> tuple[Any, ...]:
    """What must be the same, bit for bit."""
    sums = [kept for several in map(model.sums, (False, True)) for kept in (several.products, several.labelled)]
    return *(kept.tobytes() for kept in sums), model.known, model.known.digest(BASE), model.known.version(BASE)


def copied(model: OnlineModel) -> tuple[Any, ...]:
    return *stands(model), dict(model.numbers), dict(model.offsets)


places = st.fixed_dictionaries({player: st.integers(0, PLAYER_PARTITIONS - 1) for player in PLAYERS})


@settings(max_examples=60, deadline=None)
@given(said=changes(), split=places, other=places, data=st.data())
def test_the_model_is_the_same_for_every_order_and_every_split_of_the_players(said, split, other, data):
    in_order = OnlineModel(BASE, SERIES)
    for offset, one in enumerate(log_of(said, dict.fromkeys(PLAYERS, 0)).get(0, [])):
        in_order.apply(one, 0, offset)

    assert stands(read(data, log_of(said, split))) == stands(read(data, log_of(said, other))) == stands(in_order)


@settings(max_examples=40, deadline=None)
@given(said=changes(), split=places, data=st.data())
def test_a_lesson_that_comes_twice_counts_once(said, split, data):
    log = log_of(said, split)

    assert stands(read(data, log, again=True)) == stands(read(data, log))


@settings(max_examples=40, deadline=None)
@given(said=changes(), split=places, data=st.data())
def test_when_all_is_taken_back_the_model_is_the_base_bit_for_bit(said, split, data):
    in_force: dict[Any, LessonTaught] = {}
    for one in said:
        in_force.pop(one.drawing_id, None)
        if one.sign > 0:
            in_force[one.drawing_id] = one
    back = [taken_back(one, 0) for one in data.draw(st.permutations(list(in_force.values())))]

    model = read(data, log_of([*said, *back], split))

    assert (model.sums().digest(), model.known.lessons, model.known.newcomers) == (BASE.digest, 0, 0)
    assert not model.sums(newcomers=True).products.any()
    assert not model.sums(newcomers=True).labelled.any()
    assert model.known.digest(BASE) == LessonSet().digest(BASE)
    assert model.known.version(BASE) == f"{BASE.generation}+{len(said) + len(back)}"
    assert model.in_force().solved.weights.tobytes() == of_base(BASE).solved.weights.tobytes()


def test_the_digest_names_the_lessons_and_nothing_else():
    def digest(**fields: Any) -> str:
        return LessonSet().apply(lesson(**fields)).digest(BASE)

    told = {"model": "river", "drawing_id": named("d1"), "label": 3}
    others = [
        {"label": 4},
        {"drawing_id": named("d2")},
        {"weight": 0.5},
        {"embedding": features(5).embedding},
        {"reader": "raster-2/00000000"},
        {"model": "brook"},
        {"newcomer": True},
    ]

    assert digest(**told) == digest(**told, number=9, correction_id=named("c9"), player_id="bob")
    assert len({digest(**told), *(digest(**told | other) for other in others)}) == 1 + len(others)
    assert LessonSet().digest(BASE) != LessonSet().digest(replace(BASE, digest="another"))


def test_sets_of_lessons_are_merged_by_addition_as_sums_are():
    one, other = lesson("l1", 1, number=1), lesson("l2", 2, number=2, seed=2)
    both, first, second = (OnlineModel(BASE, SERIES) for _ in range(3))
    both.apply(one, 0, 0)
    both.apply(other, 0, 1)
    first.apply(one, 0, 0)
    second.apply(other.model_copy(update={"number": 1}), 1, 0)

    assert first.known.merged(second.known) == both.known
    of_second = Sums(second.sums().products - BASE.sums.products, second.sums().labelled - BASE.sums.labelled)
    assert first.sums().merged(of_second).digest() == both.sums().digest()


# --- what cannot be learned


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lesson("l9", number=3), OutOfSequence),
        (lesson("l9", number=2**40), OutOfSequence),
        (taken_back(lesson("l9"), 3), OutOfSequence),
        (lesson("l9", number=2, model="brook"), NobodysLesson),
        (lesson("l9", number=2, reader="raster-2/00000000"), UnreadableFeatures),
        (lesson("l9", number=2, embedding=b"\0" * 252), UnreadableFeatures),
        (lesson("l9", number=2, embedding=np.full(64, np.nan, "<f4").tobytes()), UnreadableFeatures),
        (lesson("l9", number=2, embedding=np.full(64, 0.6, "<f4").tobytes()), UnreadableFeatures),
    ],
    ids=["a gap", "a wide gap", "a gap before one taken back", "nobody's", "another reader", "short", "not numbers", "long"],
)
def test_a_lesson_that_cannot_be_learned_changes_nothing_and_the_next_one_is_learned(wrong, why):
    model = OnlineModel(BASE, SERIES)
    model.apply(lesson("l1", number=1), 2, 0)
    before = copied(model)

    with pytest.raises(why):
        model.apply(wrong, 2, 1)

    assert copied(model) == before
    model.apply(lesson("l2", number=2, seed=2), 2, 2)
    assert (model.known.lessons, model.numbers, model.offsets) == (2, {2: 2}, {2: 2})


def test_each_partition_has_numbers_of_its_own():
    model = OnlineModel(BASE, SERIES)
    for partition in range(PLAYER_PARTITIONS):
        model.apply(lesson(f"l{partition}", number=1, seed=partition), partition, 0)

    assert model.numbers == dict.fromkeys(range(PLAYER_PARTITIONS), 1)
    with pytest.raises(OutOfSequence, match="lesson 3 of partition 1 came after lesson 1"):
        model.apply(lesson("l9", number=3), 1, 1)


@pytest.mark.parametrize("series", ["", "sums-0 of another learner"])
def test_lessons_of_another_series_are_passed_by_whatever_they_are(series):
    model = OnlineModel(BASE, SERIES)
    model.apply(lesson("l1", number=1), 0, 0)
    before = stands(model)

    for offset, number in enumerate((0, 1, 2, 7), 1):
        model.apply(lesson("l9", number=number, series=series, model="brook", reader="raster-2/0"), 0, offset)

    assert stands(model) == before
    assert (model.numbers, model.offsets) == ({0: 1}, {0: 4})
    model.apply(lesson("l2", number=2), 0, 5)
    assert model.known.lessons == 2


@pytest.mark.parametrize("far", [2, 6])
def test_lessons_that_are_taken_out_and_never_came_in_are_no_sum_and_the_next_ones_make_it_one_again(far):
    model = OnlineModel(BASE, SERIES)
    for number in range(1, 4):
        model.apply(lesson(f"l{number}", 1, seed=number, number=number, weight=0), 0, number)
    for number in range(4, 7):
        model.apply(taken_back(lesson("l9", seed=far, weight=10), number), 0, number)

    with pytest.raises(NotASum, match="no weights solve these sums: lessons were taken out that had not come in"):
        model.in_force()

    for number in range(7, 10):
        model.apply(lesson("l9", seed=far, number=number, weight=10), 0, number)
    assert model.sums().digest() == BASE.digest
    assert model.in_force().solved.weights.tobytes() == of_base(BASE).solved.weights.tobytes()


def test_more_lessons_taken_out_than_came_in_are_no_sum_though_weights_would_solve_it():
    model = OnlineModel(BASE, SERIES)
    model.apply(lesson("l1", weight=1, number=1), 0, 0)
    for number in (2, 3):
        model.apply(taken_back(lesson("l1", weight=0.125), number), 0, number)
    Solved(model.sums())

    with pytest.raises(NotASum, match="1 lessons more were taken out than had come in"):
        model.in_force()


# --- what it says


def test_a_snapshot_has_the_model_that_answers_and_how_far_each_partition_was_read():
    model = OnlineModel(BASE, SERIES)
    model.apply(lesson("l1", 1, number=1), 1, 4)
    model.apply(lesson("l2", 2, number=1, seed=2), 3, 0)
    model.apply(taken_back(lesson("l1", 1), 2), 1, 5)
    now = model.in_force()

    told = model.snapshot(now, seconds(7))

    assert (told.at, told.model, told.title) == (seconds(7), "river", BUILT_IN["river"].title)
    assert (told.version, told.lessons, told.offset) == (f"{BASE.generation}+3", 1, 6)
    assert (told.offsets, told.reader, told.basis) == ([-1, 5, -1, 0], READER, BASE.basis.name)
    assert told.digest == LessonSet().apply(lesson("l2", 2, seed=2)).digest(BASE)
    weights = np.frombuffer(told.weights, "<f4").reshape(10, BASE.basis.width)
    np.testing.assert_allclose(weights, now.solved.weights, rtol=1e-6)
    assert type(told).model_validate_json(told.record_value()) == told


@pytest.mark.parametrize(("lessons", "share"), [(1, 1 / 8), (2, 1 / 16), (8, 1 / 64), (20, 1 / 160)])
def test_the_lessons_of_all_newcomers_together_count_as_an_eighth_of_one(lessons, share):
    model, sums = OnlineModel(BASE, SERIES), BASE.sums
    for number in range(1, lessons + 1):
        one = lesson(f"l{number}", number % 10, number=number, seed=number, newcomer=True)
        model.apply(one, 0, number)
        sums = sums.merged(
            Sums.nothing(BASE.basis.width)
            .plus(features_of(BASE, one.embedding, READER)[None], [one.label], np.array([8]))
            .share(share)
        )

    assert model.sums().digest() == BASE.digest
    assert (model.known.newcomers, model.in_force().newcomers) == (lessons, lessons)
    np.testing.assert_allclose(model.in_force().solved.weights, Solved(sums).weights, rtol=1e-9, atol=1e-12)


def test_without_a_lesson_it_is_the_base():
    told = OnlineModel(BASE, SERIES).snapshot(of_base(BASE), seconds(0))

    assert (told.version, told.lessons, told.offset) == (f"{BASE.generation}+0", 0, -1)
    assert told.offsets == [-1] * PLAYER_PARTITIONS
    assert told.digest == LessonSet().digest(BASE)


def test_a_model_names_the_version_that_follows_it():
    assert of_base(BASE).after(2) == f"{BASE.generation}+2"
    model = OnlineModel(BASE, SERIES)
    model.apply(lesson(), 0, 0)
    assert model.in_force().after(0) == f"{BASE.generation}+1"
    assert model.in_force().after(1) == f"{BASE.generation}+2"


lessons_of_it = st.one_of(st.none(), st.tuples(st.integers(0, 9), st.integers(1, 16)))


@settings(max_examples=100, deadline=None)
@given(
    others=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=3),
    seed=st.integers(0, 200),
    before=lessons_of_it,
    after=lessons_of_it,
)
def test_what_would_be_answered_with_another_lesson_is_what_is_answered_when_all_is_solved_anew(others, seed, before, after):
    def with_it(sums: Sums, told: tuple[int, int] | None) -> Sums:
        return sums if told is None else sums.plus(row[None], [told[0]], np.array([told[1]]))

    row = features_of(BASE, features(seed).embedding, READER)
    sums = BASE.sums
    for number, label in others:
        sums = sums.plus(features_of(BASE, features(number).embedding, READER)[None], [label], np.array([8]))

    changed = Solved(with_it(sums, before)).probabilities_with(row, before, after)

    anew = Solved(with_it(sums, after)).probabilities(row[None])[0]
    np.testing.assert_allclose(changed, anew, rtol=0, atol=1e-9)
    assert changed.sum() == pytest.approx(1)
