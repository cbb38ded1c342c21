"""The learner: examples to numbered lessons, of which each drawing has one at most in force."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import (
    CorrectionReceipt,
    Event,
    ExampleLabelled,
    ExampleProbed,
    Features,
    LessonProbed,
    LessonsRestricted,
    LessonTakenBack,
    LessonTaught,
    ModelChange,
    Outcome,
    PlayerRestricted,
    Restriction,
)
from contracts.ports import Origin
from streams import learner as learner_module
from streams.additive import EIGHTHS, Fixed, Floats, Solved, Sums
from streams.learner import ENOUGH, FROZEN, HELD, NEW, OVER, UNLIKE, Learner
from streams.online_model import InForce, OnlineModel, UnreadableFeatures, newcomers_share, of_base
from streams.trust import FIRST, KEPT
from tests.histories import READER, MemoryCells, counted, drawing, example, features, folded, in_force, lesson, named, shown
from tests.judged import BASE, clear, clear_one


def taught(said: Sequence[Event]) -> list[LessonTaught]:
    """The lessons that are taught and those that are taken back, as they come."""
    return [event for event in said if isinstance(event, LessonTaught)]


def told(said: Sequence[Event]) -> list[tuple[int, UUID, int]]:
    """Of each lesson: whether it is added or taken out, the drawing, and the label."""
    return [(event.sign, event.drawing_id, event.label) for event in taught(said)]


def receipts(said: Sequence[Event]) -> list[CorrectionReceipt]:
    return [event for event in said if isinstance(event, CorrectionReceipt)]


def learned(said: Sequence[Event], series: str | None = None, partition: int = 0) -> OnlineModel:
    """The online model after these lessons."""
    model = OnlineModel(BASE, Learner(BASE).series if series is None else series)
    for offset, event in enumerate(taught(said)):
        model.apply(event, partition, offset)
    return model


def is_the_base(model: OnlineModel) -> bool:
    """Whether both sums are, bit for bit, those without a lesson."""
    nothing = not model.sums(newcomers=True).products.any() and not model.sums(newcomers=True).labelled.any()
    return nothing and model.sums().digest() == BASE.digest


def stands(said: Sequence[Event]) -> tuple[Any, ...]:
    """What the online model is made of after these lessons, apart from how many changes led there."""
    model = learned(said)
    sums = [model.sums(newcomers).digest() for newcomers in (False, True)]
    return *sums, model.known.lessons, model.known.newcomers, model.known.digest(BASE)


def row_of(embedding: bytes) -> Floats:
    return BASE.basis.rows(np.frombuffer(embedding, "<f4")[None])


def p_of(model: InForce, embedding: bytes, label: int) -> float:
    return float(model.solved.probabilities(row_of(embedding))[0, label])


# --- one lesson a drawing


def test_a_confirmed_guess_is_a_lesson_and_has_a_receipt():
    lesson_said, receipt = folded(Learner(BASE), [example(label=7)])

    assert isinstance(lesson_said, LessonTaught)
    assert (lesson_said.type, lesson_said.model, lesson_said.label, lesson_said.weight) == ("LessonTaught", "river", 7, 1.0)
    assert (lesson_said.drawing_id, lesson_said.correction_id, lesson_said.player_id) == (named("d1"), named("c1"), "ada")
    assert (lesson_said.embedding, lesson_said.reader) == (features().embedding, READER)
    assert (lesson_said.series, lesson_said.number) == (Learner(BASE).series, 1)
    assert isinstance(receipt, CorrectionReceipt)
    assert (receipt.correction_id, receipt.drawing_id, receipt.player_id) == (named("c1"), named("d1"), "ada")
    assert lesson_said.newcomer
    assert (receipt.outcome, receipt.weight, receipt.why) == (Outcome.WEIGHTED, 1 / 8, NEW)


def test_a_corrected_guess_makes_the_label_likelier_and_the_receipt_says_by_how_much():
    [receipt] = receipts(folded(Learner(BASE), [example(label=4)]))

    change = receipt.models["river"]
    assert (change.version_before, change.version_after) == (f"{BASE.generation}+0", f"{BASE.generation}+1")
    assert change.p_after > change.p_before


def test_a_changed_label_takes_the_lesson_back_before_it_teaches_the_new_one():
    first, second = example(label=1, revision=3, correction="c1"), example(label=2, revision=4, correction="c2")

    said = folded(Learner(BASE), [first, second])

    assert told(said) == [(1, named("d1"), 1), (-1, named("d1"), 1), (1, named("d1"), 2)]
    there, back, again = taught(said)
    assert isinstance(back, LessonTakenBack)
    assert back.model_dump(exclude={"type", "number"}) == there.model_dump(exclude={"type", "number"})
    assert again.lesson_id != there.lesson_id
    assert [receipt.correction_id for receipt in receipts(said)] == [named("c1"), named("c2")]
    assert learned(said).known.digest(BASE) == learned(folded(Learner(BASE), [second])).known.digest(BASE)


def test_a_withdrawn_label_takes_the_lesson_back_and_has_no_receipt_of_the_learner():
    history = [example(label=1, revision=3), example(label=None, revision=4)]

    said = folded(Learner(BASE), history)

    assert told(said) == [(1, named("d1"), 1), (-1, named("d1"), 1)]
    assert [receipt.correction_id for receipt in receipts(said)] == [named("c1")]
    assert is_the_base(learned(said))


def test_a_label_that_is_given_again_after_it_was_withdrawn_is_taught_again():
    history = [example(revision=3), example(label=None, revision=4), example(label=6, revision=5, correction="c2")]

    said = folded(Learner(BASE), history)

    assert told(said)[-1] == (1, named("d1"), 6)
    assert learned(said).known.lessons == 1
    assert [receipt.correction_id for receipt in receipts(said)] == [named("c1"), named("c2")]


def test_a_withdrawal_that_comes_before_anything_was_taught_teaches_nothing_and_an_earlier_label_neither():
    assert folded(Learner(BASE), [example(label=None, revision=4), example(label=1, revision=3)]) == []


@pytest.mark.parametrize("revision", [3, 2], ids=["sent twice", "an earlier revision"])
def test_a_revision_at_or_below_the_one_that_is_known_changes_nothing(revision):
    cells, learner = MemoryCells(), Learner(BASE)
    folded(learner, [example(label=1, revision=3)], cells)
    kept = cells.copy()

    assert folded(learner, [example(label=5, revision=revision, correction="c9")], cells, first=1) == []
    assert cells == kept


def test_a_correction_teaches_once_however_often_its_example_is_revised():
    late = [shown(), shown(model="xgboost")]
    history = [example(revision=3), example(revision=4, guesses=late), example(revision=4, guesses=late), example(revision=9)]

    said = folded(Learner(BASE), history)

    assert [event.type for event in said] == ["LessonTaught", "CorrectionReceipt"]


def test_an_example_teaches_once_its_features_are_there():
    waiting = example(label=1, revision=1, features=None, guesses=[])
    changed = example(label=2, revision=2, correction="c2", features=None, guesses=[])

    assert folded(Learner(BASE), [waiting, changed]) == []
    said = folded(Learner(BASE), [waiting, changed, example(label=2, revision=3, correction="c2")])

    assert told(said) == [(1, named("d1"), 2)]
    assert [receipt.correction_id for receipt in receipts(said)] == [named("c2")]


def test_an_example_teaches_without_a_guess_and_the_receipt_names_river_alone():
    said = folded(Learner(BASE), [example(label=1, guesses=[])])

    assert told(said) == [(1, named("d1"), 1)]
    assert set(receipts(said)[0].models) == {"river"}


def test_a_drawing_that_is_labelled_days_later_is_taught_as_any_other():
    late, at_once = example("d1", label=3, at=-9 * 86_400), example("d1", label=3)

    assert taught(folded(Learner(BASE), [example("d2", label=3), late]))[1].model_dump(exclude={"number"}) == taught(
        folded(Learner(BASE), [at_once])
    )[0].model_dump(exclude={"number"})


def test_the_same_label_of_another_correction_has_a_receipt_and_is_no_other_lesson():
    history = [example(label=1, revision=3, correction="c1"), example(label=1, revision=4, correction="c2")]

    said = folded(Learner(BASE), history)

    assert told(said) == [(1, named("d1"), 1)]
    first, second = receipts(said)
    assert (first.correction_id, second.correction_id) == (named("c1"), named("c2"))
    change = second.models["river"]
    assert (change.version_before, change.p_before) == (change.version_after, pytest.approx(change.p_after, abs=1e-12))


def test_a_lesson_is_taken_back_with_the_features_and_the_ids_that_it_was_taught_with():
    history = [
        example(label=1, revision=3, correction="c1", features=features(1)),
        example(label=1, revision=4, correction="c2", features=features(2)),
        example(label=5, revision=5, correction="c3", features=features(3)),
        example(label=None, revision=6, correction="c3", features=features(4)),
    ]

    there, back, again, gone = taught(folded(Learner(BASE), history))

    for given_one, taken_one in ((there, back), (again, gone)):
        assert taken_one.model_dump(exclude={"type", "number"}) == given_one.model_dump(exclude={"type", "number"})
    assert (there.embedding, again.embedding) == (features(1).embedding, features(3).embedding)


def test_a_lesson_has_the_same_id_whenever_it_is_made_and_another_for_another_correction():
    ids = [taught(folded(Learner(BASE), [example(correction=name)]))[0].lesson_id for name in ("c1", "c1", "c2")]

    assert ids[0] == ids[1] != ids[2]


def test_what_is_no_example_teaches_nothing():
    cells = MemoryCells()

    assert folded(Learner(BASE), [drawing(), lesson()], cells) == []
    assert cells == {}


def test_a_probe_is_passed_on_to_every_online_model_and_leaves_no_trace():
    cells = MemoryCells()

    [said] = folded(Learner(BASE), [ExampleProbed(probe_id=named("p"), player_id="probe")], cells)

    assert (type(said), said.probe_id, said.player_id, said.model) == (LessonProbed, named("p"), "probe", "river")
    assert cells == {}


# --- what a lesson counts


def test_once_enough_is_known_of_a_player_all_lessons_count_by_themselves():
    said = folded(Learner(BASE), [clear_one(n, n) for n in range(FIRST + 3)])

    assert {one.newcomer for one in in_force(said).values()} == {False}
    assert {one.weight for one in in_force(said).values()} == {1.0}
    assert sum(event.sign < 0 and event.newcomer for event in taught(said)) == FIRST - 1
    assert [receipt.why == NEW for receipt in receipts(said)] == [True] * (FIRST - 1) + [False] * 4
    assert receipts(said)[-1].why == ""
    assert (receipts(said)[-1].outcome, receipts(said)[-1].weight) == (Outcome.LEARNED, 1.0)
    whole = learned(said)
    assert (whole.known.lessons, whole.known.newcomers) == (FIRST + 3, 0)
    assert not whole.sums(newcomers=True).products.any()


def test_whoever_mostly_disagrees_counts_less_and_is_told_why():
    said = folded(Learner(BASE), [clear_one(n, n % 10, right=n % 4 == 0) for n in range(12)])

    last = receipts(said)[-1]
    assert last.outcome in (Outcome.WEIGHTED, Outcome.QUARANTINED)
    assert (last.weight, last.why) != (1.0, "")
    assert last.why == UNLIKE
    assert sum(one.weight for one in in_force(said).values() if not one.newcomer) < 12


# --- restrictions


def restricted(restriction: Restriction, player: str = "ada") -> PlayerRestricted:
    return PlayerRestricted(player_id=player, restriction=restriction)


@pytest.mark.parametrize("restriction", ["quarantined", "banned"])
def test_all_that_a_restricted_player_taught_is_taken_out_and_nothing_of_anybody_else(restriction):
    others = [clear_one(50 + n, n, player_id="bob") for n in range(FIRST + 1)]

    said = folded(Learner(BASE), [*(clear_one(n, n) for n in range(FIRST + 3)), *others, restricted(restriction)])

    assert stands(said) == stands(folded(Learner(BASE), others))
    assert [lesson.number for lesson in taught(said)] == list(range(1, len(taught(said)) + 1))


def test_that_all_of_a_restricted_players_lessons_count_no_more_is_told_behind_them_though_they_withdrew_them():
    withdrawn = clear_one(1, 1).model_copy(update={"label": None, "revision": 99})

    said = folded(Learner(BASE), [clear_one(1, 1), withdrawn, restricted("banned"), restricted("none")])

    series = Learner(BASE).series
    [told] = [one for one in said if isinstance(one, LessonsRestricted)]
    assert (told.player_id, told.series, told.number) == ("ada", series, taught(said)[-1].number)
    assert said.index(told) > said.index(taught(said)[-1])


def test_what_a_restricted_player_teaches_is_set_aside_and_the_receipt_says_why():
    said = folded(Learner(BASE), [restricted("quarantined"), clear_one(1, 1)])

    [receipt] = receipts(said)
    assert taught(said) == []
    assert (receipt.outcome, receipt.weight, receipt.why) == (Outcome.QUARANTINED, 0.0, HELD)
    assert receipt.models["river"].p_before == receipt.models["river"].p_after


@pytest.mark.parametrize("known", [True, False], ids=["known", "newcomer"])
def test_while_the_model_is_frozen_lessons_are_taught_and_a_receipt_says_that_they_wait(known):
    still = replace(of_base(BASE), frozen=True, solved=Fixed(of_base(BASE).solved.weights))
    before = [clear_one(n, n) for n in range(FIRST + 1)] if known else []
    frozen = Learner(BASE, lambda: still)

    said = folded(frozen, [*before, clear_one(20, 1)])

    assert taught(said) == taught(folded(Learner(BASE), [*before, clear_one(20, 1)])), "nothing is lost"
    receipt = receipts(said)[-1]
    assert (receipt.frozen, receipt.outcome) == (True, Outcome.LEARNED if known else Outcome.WEIGHTED)
    assert receipt.why == (FROZEN if known else f"{NEW}; {FROZEN}")
    change = receipt.models["river"]
    assert (change.version_before, change.p_before) == (change.version_after, change.p_after)
    [held] = receipts(folded(frozen, [restricted("banned"), clear_one(1, 1)]))
    assert (held.frozen, held.why) == (False, HELD), "it will not count either when the model is thawed"


def test_a_pardon_puts_back_what_would_be_there_without_the_restriction():
    before, after = [clear_one(n, n) for n in range(FIRST + 3)], [clear_one(n, n % 10) for n in range(20, 24)]

    said = folded(Learner(BASE), [*before, restricted("banned"), *after, restricted("none"), restricted("none")])

    assert stands(said) == stands(folded(Learner(BASE), [*before, *after]))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), restriction=st.sampled_from(["quarantined", "banned"]))
def test_it_does_not_matter_when_among_the_examples_a_player_is_restricted(data, restriction):
    examples = [clear_one(n, n % 10, right=n % 5 > 0) for n in range(FIRST + 4)]
    others = [clear_one(50 + n, n, player_id="bob") for n in range(3)]
    place = data.draw(st.integers(0, len(examples)))
    history = [*examples[:place], restricted(restriction), *examples[place:], *others]
    cells, said = MemoryCells(), []

    for offset, event in enumerate(history):  # each by a learner that was just started
        said += folded(Learner(BASE), [event], cells, first=offset)

    assert stands(said) == stands(folded(Learner(BASE), others))


def test_a_player_of_whom_nothing_is_known_may_be_restricted():
    assert folded(Learner(BASE), [restricted("banned", "nobody")]) == []


def test_a_label_over_the_quota_teaches_nothing_and_the_receipt_says_why():
    known = [clear_one(n, n % 10) for n in range(10, 10 + FIRST)]
    over = clear_one(1, 1, over_quota=True)

    said = folded(Learner(BASE), [*known, over])

    receipt = receipts(said)[-1]
    assert (receipt.outcome, receipt.weight, receipt.why) == (Outcome.QUARANTINED, 0.0, OVER)
    assert receipt.models["river"].p_before == receipt.models["river"].p_after
    assert stands(said) == stands(folded(Learner(BASE), known))


def test_what_came_over_the_quota_may_be_said_again_within_it_and_what_was_within_it_may_be_taken_back_by_one_over_it():
    known = [clear_one(n, n % 10) for n in range(10, 10 + FIRST)]
    first, again = clear_one(1, 1, over_quota=True), clear_one(1, 1, revision=4, correction="again")
    changed = clear_one(1, 1, revision=5, correction="changed", over_quota=True)

    said = folded(Learner(BASE), [*known, first, again])

    assert stands(said) == stands(folded(Learner(BASE), [*known, again]))
    assert receipts(said)[-1].outcome is Outcome.LEARNED
    assert stands(folded(Learner(BASE), [*known, first, again, changed])) == stands(folded(Learner(BASE), known))


def test_the_digit_that_a_client_says_was_asked_for_is_no_evidence():
    said = folded(Learner(BASE), [example(f"d{n}", 3, correction=f"c{n}", features=features(n), asked=3) for n in range(40)])

    assert {one.newcomer for one in in_force(said).values()} == {True}


def test_an_old_drawing_of_somebody_with_very_many_does_not_count_and_the_receipt_says_so():
    cells = MemoryCells()
    folded(Learner(BASE), [clear_one(n, n % 10) for n in range(10, KEPT + 12)], cells)

    said = folded(Learner(BASE), [clear_one(0, 0)], cells, first=KEPT + 12)

    assert taught(said) == []
    assert (receipts(said)[0].outcome, receipts(said)[0].why) == (Outcome.QUARANTINED, ENOUGH)


def test_when_what_made_a_player_known_is_withdrawn_the_lessons_are_a_newcomers_again():
    known = [clear_one(n, n) for n in range(FIRST)]
    withdrawn = clear_one(0, None, revision=9)

    said = folded(Learner(BASE), [*known, withdrawn])

    assert stands(said) == stands(folded(Learner(BASE), known[1:]))
    assert {one.newcomer for one in in_force(said).values()} == {True}


@settings(max_examples=40, deadline=None)
@given(
    revisions=st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 9)), st.booleans()), max_size=24),
    seen=st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=10, max_size=10),
    data=st.data(),
)
def test_the_lessons_in_force_are_those_of_the_latest_revisions_in_whatever_order_all_came(revisions, seen, data):
    heard = [
        example(
            f"d{n}",
            label,
            revision=revision,
            correction=f"c{revision}",
            features=features(n) if seen[n] is None else clear(seen[n], n),
            at=n,
            over_quota=over,
        )
        for revision, (n, label, over) in enumerate(revisions, 1)
    ]
    latest = {event.drawing_id: event for event in heard}

    said = folded(Learner(BASE), data.draw(st.permutations(heard)))
    standing = folded(Learner(BASE), list(latest.values()))

    assert counted(said) == counted(standing)
    assert stands(said) == stands(standing)


def test_weights_that_change_in_many_cells_at_once_outlive_a_restart_after_any_event():
    heard = [example(f"d{n}", n % 10, correction=f"c{n}", features=features(n), at=n) for n in range(20)]  # no evidence
    heard += [clear_one(n, n % 10) for n in range(20, 20 + FIRST + 1)]
    restarted, at_once = MemoryCells(), MemoryCells()

    said = [event for number, one in enumerate(heard) for event in folded(Learner(BASE), [one], restarted, first=number)]

    assert said == folded(Learner(BASE), heard, at_once)
    assert restarted == at_once
    assert {one.newcomer for one in in_force(said).values()} == {False}


# --- numbers


def test_lessons_are_numbered_by_partition_without_gaps():
    learner, cells = Learner(BASE), [MemoryCells(), MemoryCells()]
    history = [example(f"d{n % 3}", n % 10, revision=n + 3, correction=f"c{n}", player_id=f"p{n % 3}") for n in range(9)]
    said: list[list[Event]] = [[], []]
    for partition in (0, 1):
        list(learner.open(cells[partition], partition))
    for offset, heard in enumerate(history):
        for partition in (0, 1):
            said[partition] += learner.apply(cells[partition], heard, Origin(partition, offset, 0))

    for of_one in said:
        assert [event.number for event in taught(of_one)] == list(range(1, len(taught(of_one)) + 1))
        assert len(taught(of_one)) == 15


def test_the_partitions_of_a_learner_are_those_that_it_has_taken_up():
    learner = Learner(BASE)
    for partition in (0, 2):
        list(learner.open(MemoryCells(), partition))
    learner.close(0)

    assert learner.partitions == {2}


# --- what cannot be learned


@pytest.mark.parametrize(
    "spoilt",
    [
        features(9, reader="raster-2/00000000"),
        Features(raster=features().raster, embedding=b"\0" * 252, reader=READER),
        Features(raster=features().raster, embedding=np.full(64, np.nan, "<f4").tobytes(), reader=READER),
        Features(raster=features().raster, embedding=np.full(64, 0.6, "<f4").tobytes(), reader=READER),
        Features(raster=features().raster, embedding=np.full(64, np.inf, "<f4").tobytes(), reader=READER),
        Features(raster=features().raster, embedding=np.full(64, 3e38, "<f4").tobytes(), reader=READER),
    ],
    ids=["of another reader", "too short", "not numbers", "too long", "infinite", "huge"],
)
@pytest.mark.parametrize("name", ["d1", "d9"], ids=["of a drawing that is known", "of a new one"])
def test_features_that_cannot_be_read_are_refused_without_a_trace_and_the_next_example_is_learned(spoilt, name):
    good = [example(f"d{n}", n, correction=f"c{n}", features=features(n)) for n in range(3)]
    after = example("d4", 4, correction="c4", features=features(4))
    cells, learner = MemoryCells(), Learner(BASE)
    before = folded(learner, good, cells)
    kept = cells.copy()

    with pytest.raises(UnreadableFeatures):
        list(learner.apply(cells, example(name, 5, revision=4, correction="c9", features=spoilt), Origin(0, 3, 0)))

    assert cells == kept
    gone_on = [*before, *learner.apply(cells, after, Origin(0, 4, 0))]
    clean = MemoryCells()
    assert gone_on == folded(Learner(BASE), [*good, after], clean)
    assert cells == clean


# --- receipts


labels = st.one_of(st.none(), st.integers(0, 9))


@settings(max_examples=20, deadline=None)
@given(
    history=st.lists(st.tuples(st.integers(0, 2), labels, st.integers(0, 5)), max_size=8),
    last=st.integers(0, 2),
    label=st.integers(0, 9),
)
def test_a_receipt_has_what_the_model_answers_without_the_lesson_and_with_it_alone(history, last, label):
    model = OnlineModel(BASE, Learner(BASE).series)
    learner, cells, said = Learner(BASE, model.in_force), MemoryCells(), []
    list(learner.open(cells, 0))
    asked = [*history, (last, label, 6)]
    for offset, (name, given_label, number) in enumerate(asked):
        heard = example(
            f"d{name}", given_label, revision=3 + offset, correction=f"c{number}", features=features(name), guesses=[]
        )
        before, newcomers = model.in_force(), model.known.newcomers
        alone = model.sums().merged(model.sums(newcomers=True).share(newcomers_share(newcomers)))
        now = learner.apply(cells, heard, Origin(0, offset, 0))
        for event in taught(now):
            model.apply(event, 0, len(said))
            said.append(event)
        for event in taught(now):
            one = Sums.nothing(BASE.basis.width).plus(row_of(event.embedding), [event.label], np.array([EIGHTHS]))
            among = newcomers if event.sign < 0 else model.known.newcomers
            alone = alone.merged(one.share(event.sign * newcomers_share(among)))
        for receipt in receipts(now):
            change = receipt.models["river"]
            row = row_of(features(name).embedding)
            assert (change.version_before, change.version_after) == (before.version, model.in_force().version)
            assert change.p_before == pytest.approx(before.solved.probabilities(row)[0, given_label], abs=1e-9)
            assert change.p_after == pytest.approx(Solved(alone).probabilities(row)[0, given_label], abs=1e-9)
    assert receipts(now), "the last correction was new and had a label"


def test_batch_models_stand_in_the_receipt_unchanged_and_shadows_are_left_out():
    guesses = [shown(7, model="xgboost", version="base1"), shown(7), shown(1, model="kmeans", version="2", shadow=True)]
    guesses += [shown(7, model="everyone", version="blend5+25"), shown(7, model="yours", version="own3+2")]

    [receipt] = receipts(folded(Learner(BASE), [example(label=7, guesses=guesses)]))

    assert set(receipt.models) == {"river", "xgboost"}
    assert receipt.models["xgboost"] == ModelChange(version_before="base1", version_after="base1", p_before=0.91, p_after=0.91)


# --- memory


told_once = st.tuples(st.integers(0, 3), labels, st.integers(1, 6), st.sampled_from(["ada", "bob", "cleo"]))


def heard_of(number: int, told_of: tuple[int, int | None, int, str]) -> ExampleLabelled:
    """An example; a drawing is of one player, and has features from its second revision on."""
    name, label, revision, player = told_of
    read = None if revision == 1 else features(name)
    return example(
        f"{player}'s {name}", label, revision=revision, correction=f"c{number}", player_id=player, features=read, guesses=[]
    )


@settings(max_examples=40, deadline=None)
@given(history=st.lists(told_once, max_size=20))
def test_a_restart_after_any_event_changes_nothing(history):
    heard = [heard_of(number, of_one) for number, of_one in enumerate(history)]
    restarted, at_once = MemoryCells(), MemoryCells()

    said = [event for number, one in enumerate(heard) for event in folded(Learner(BASE), [one], restarted, first=number)]

    assert said == folded(Learner(BASE), heard, at_once)
    assert restarted == at_once


@settings(max_examples=40, deadline=None)
@given(history=st.lists(told_once, min_size=1, max_size=20), data=st.data())
def test_a_step_that_is_lost_and_folded_again_gives_the_same(history, data):
    heard = [heard_of(number, of_one) for number, of_one in enumerate(history)]
    first, end = sorted(data.draw(st.tuples(st.integers(0, len(heard)), st.integers(0, len(heard)))))
    cells, learner, at_once = MemoryCells(), Learner(BASE), MemoryCells()
    said = folded(learner, heard[:first], cells)

    folded(learner, heard[first:end], cells.copy(), first=first)  # it died before this was committed
    said += folded(learner, heard[first:], cells, first=first)

    assert said == folded(Learner(BASE), heard, at_once)
    assert cells == at_once


@settings(max_examples=40, deadline=None)
@given(history=st.lists(told_once, max_size=30))
def test_players_that_memory_has_no_room_for_are_read_again_from_the_cells(history):
    heard = [heard_of(number, of_one) for number, of_one in enumerate(history)]
    roomy, tight = MemoryCells(), MemoryCells()
    said = folded(Learner(BASE), heard, roomy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner_module, "_LOADED", 4)

        assert folded(Learner(BASE), heard, tight) == said

    assert tight == roomy


def test_a_player_of_more_drawings_than_memory_holds_goes_on_teaching_and_so_do_others(monkeypatch):
    heard = [example(f"d{n}", n % 10, correction=f"c{n}", features=features(n), guesses=[]) for n in range(12)]
    heard += [example("b1", 3, player_id="bob"), example("d1", 5, revision=9, correction="again")]
    said = folded(Learner(BASE), heard)
    monkeypatch.setattr(learner_module, "_LOADED", 4)

    assert folded(Learner(BASE), heard) == said
    assert [event.number for event in taught(said)] == list(range(1, 16))


def test_cells_of_a_player_that_lack_rows_are_refused_by_name():
    cells = MemoryCells()
    folded(Learner(BASE), [example(f"d{n}", n, correction=f"c{n}") for n in range(9)], cells)
    cells.drop("taught/ada/1")

    with pytest.raises(LookupError, match="ada has 8 rows instead of 9"):
        folded(Learner(BASE), [example("d9")], cells, first=9)
