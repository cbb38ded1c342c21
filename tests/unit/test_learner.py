"""The learner: lessons to an online model, one after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contracts.events import CorrectionReceipt, Event, LessonProbed, Outcome, ReceiptProbed, SnapshotTaken
from contracts.ports import Origin
from contracts.roster import BUILT_IN
from streams.learner import REHEARSAL_WEIGHT, Base, Learner, Softmax, UnreadableFeatures
from streams.online_base import load_base
from tests.histories import READER, MemoryCells, drawing, folded, lesson, named, shown

SIZE = 64
LESSONS = [lesson(f"l{n}", n % 10, seed=n) for n in range(12)]


def small_base(seed: int = 0) -> Base:
    """A base of noise: what a model knows is not at issue here."""
    rng = np.random.default_rng(seed)
    rehearsal = np.append(rng.normal(size=(7, SIZE)), np.ones((7, 1)), axis=1)
    weights = rng.normal(size=(10, SIZE + 1)) / 10
    return Base("mnist1", READER, weights, rehearsal, np.arange(7, dtype=np.uint8))


BASE = small_base()


def snapshot(said: list[Event]) -> SnapshotTaken:
    """The newest."""
    return [event for event in said if isinstance(event, SnapshotTaken)][-1]


def receipts(said: list[Event]) -> list[CorrectionReceipt]:
    return [event for event in said if isinstance(event, CorrectionReceipt)]


def features_of(event: Event) -> dict[int, float]:
    """A lesson's features, as river takes them."""
    return dict(enumerate(np.frombuffer(event.embedding, "<f4").astype(float).tolist()))


def weights_of(event: SnapshotTaken) -> NDArray[np.float32]:
    return np.frombuffer(event.weights, "<f4").reshape(10, SIZE + 1)


def test_before_its_first_lesson_a_model_is_the_base():
    [opened] = Learner(BASE).open(MemoryCells(), 0)

    assert (opened.model, opened.version, opened.lessons, opened.offset) == ("river", "mnist1+0", 0, -1)
    assert opened.title == BUILT_IN["river"].title
    assert np.array_equal(weights_of(opened), BASE.weights.astype("<f4"))


def test_a_lesson_makes_its_label_likelier_and_the_receipt_says_by_how_much():
    said = folded(Learner(BASE), [lesson("l1", 4)])

    [receipt] = receipts(said)
    change = receipt.models["river"]
    assert (Outcome.LEARNED, named("correction of l1")) == (receipt.outcome, receipt.correction_id)
    assert (change.version_before, change.version_after) == ("mnist1+0", "mnist1+1")
    assert change.p_after > change.p_before
    assert snapshot(said).version == "mnist1+1"


def test_the_receipt_is_the_difference_between_two_snapshots():
    cells, learner = MemoryCells(), Learner(BASE)
    [before] = learner.open(cells, 0)
    row = np.append(np.frombuffer(LESSONS[3].embedding, "<f4"), 1)

    said = folded(learner, [LESSONS[3]], cells)

    change = receipts(said)[0].models["river"]
    for taken, p in ((before, change.p_before), (snapshot(said), change.p_after)):
        logits = weights_of(taken) @ row
        assert p == pytest.approx(np.exp(logits[3]) / np.exp(logits).sum(), rel=1e-4)


def test_batch_models_stand_in_the_receipt_unchanged():
    guesses = [shown(7, model="xgboost", version="base1"), shown(7), shown(1, model="xgboost", version="2", shadow=True)]
    guesses += [shown(7, model="everyone", version="blend2+25"), shown(7, model="yours", version="own1+2")]

    [receipt] = receipts(folded(Learner(BASE), [lesson("l1", 7, shown=guesses)]))

    assert set(receipt.models) == {"river", "xgboost"}
    change = receipt.models["xgboost"]
    assert (change.version_before, change.version_after, change.p_before, change.p_after) == ("base1", "base1", 0.91, 0.91)


def test_a_lesson_without_weight_teaches_nothing():
    said = folded(Learner(BASE), [lesson("l1", 4, weight=0.0)])

    [receipt] = receipts(said)
    assert receipt.outcome is Outcome.QUARANTINED
    assert receipt.models["river"].p_before == receipt.models["river"].p_after
    assert (snapshot(said).version, snapshot(said).offset) == ("mnist1+0", 0)
    assert np.array_equal(weights_of(snapshot(said)), BASE.weights.astype("<f4"))


def test_a_lesson_of_less_weight_teaches_less():
    gained = {}
    for weight in (0.5, 1.0):
        [receipt] = receipts(folded(Learner(BASE), [lesson("l1", 4, weight=weight)]))
        gained[receipt.outcome] = receipt.models["river"].p_after - receipt.models["river"].p_before

    assert 0 < gained[Outcome.WEIGHTED] < gained[Outcome.LEARNED]


def test_a_lesson_that_comes_twice_is_learned_once():
    once, twice = folded(Learner(BASE), LESSONS), folded(Learner(BASE), [*LESSONS, *LESSONS])

    assert snapshot(once).digest == snapshot(twice).digest
    assert len(receipts(once)) == len(receipts(twice)) == len(LESSONS)
    assert snapshot(twice).offset == 2 * len(LESSONS) - 1


def test_a_probe_is_answered_and_leaves_no_trace():
    cells, learner = MemoryCells(), Learner(BASE)
    folded(learner, LESSONS[:2], cells)
    kept = cells.copy()

    [said] = folded(learner, [LessonProbed(probe_id=named("p"), player_id="probe", model="river")], cells, first=2)

    assert (type(said), said.probe_id, said.player_id, said.stage) == (ReceiptProbed, named("p"), "probe", "learner")
    assert cells == kept


@pytest.mark.parametrize(
    "spoilt",
    [
        lesson("l9", reader="raster-2/00000000"),
        lesson("l9", embedding=b"\0" * 12),
        lesson("l9", embedding=np.full(SIZE, np.nan, "<f4").tobytes()),
        lesson("l9", embedding=np.full(SIZE, 1e30, "<f4").tobytes()),
    ],
    ids=["of another reader", "too short", "not numbers", "out of bounds"],
)
def test_a_lesson_that_cannot_be_read_is_refused_and_leaves_no_trace(spoilt):
    cells, learner = MemoryCells(), Learner(BASE)
    before = folded(learner, LESSONS[:2], cells)
    kept = cells.copy()

    with pytest.raises(UnreadableFeatures):
        list(learner.apply(cells, spoilt, Origin(0, 2, 0)))

    assert cells == kept
    assert list(learner.settle(cells, 0)) == []
    assert snapshot(list(learner.open(cells, 0))).digest == snapshot(before).digest


def test_a_partition_that_is_no_models_has_nothing_to_say():
    learner, cells = Learner(BASE), MemoryCells()

    assert [*learner.open(cells, 3), *learner.settle(cells, 3)] == []


def test_what_is_no_lesson_is_not_learned():
    assert receipts(folded(Learner(BASE), [drawing()])) == []


def test_the_order_of_lessons_is_part_of_the_state():
    there, back = folded(Learner(BASE), LESSONS), folded(Learner(BASE), LESSONS[::-1])

    assert snapshot(there).digest != snapshot(back).digest


@settings(max_examples=60, deadline=None)
@given(
    order=st.lists(st.integers(0, len(LESSONS) - 1), min_size=1, max_size=30),
    breaks=st.sets(st.integers(0, 30)),
    restarts=st.sets(st.integers(0, 30)),
)
def test_the_state_is_the_same_however_lessons_are_batched_and_workers_restarted(order, breaks, restarts):
    history = [LESSONS[n] for n in order]
    cells, learner, said = MemoryCells(), Learner(BASE), []
    list(learner.open(cells, 0))
    for offset, taught in enumerate(history):
        said += learner.apply(cells, taught, Origin(0, offset, 0))
        if offset in breaks | restarts:
            said += learner.settle(cells, 0)
        if offset in restarts:
            learner = Learner(BASE)
            said += learner.open(cells, 0)
    said += learner.settle(cells, 0)

    at_once = folded(Learner(BASE), history)

    assert snapshot(said).model_dump(exclude={"at"}) == snapshot(at_once).model_dump(exclude={"at"})
    assert [receipt.models for receipt in receipts(said)] == [receipt.models for receipt in receipts(at_once)]


def test_a_worker_that_loses_a_batch_learns_it_again_to_the_same_end():
    cells, learner = MemoryCells(), Learner(BASE)
    folded(learner, LESSONS[:5], cells)
    lost = cells.copy()
    folded(learner, LESSONS[5:], lost, first=5)  # died before it was committed

    again = folded(learner, LESSONS[5:], cells, first=5)

    assert snapshot(again).digest == snapshot(folded(Learner(BASE), LESSONS)).digest


def test_the_fold_learns_what_a_plain_river_loop_learns():
    model, p_before = Softmax(SIZE, initial=BASE.weights), []
    for n, taught in enumerate(LESSONS):
        x = features_of(taught)
        p_before.append(model.predict_proba_one(x)[taught.label])
        model.learn_one(x, taught.label)
        rehearsed = dict(enumerate(BASE.rehearsal[n % 7, :-1].tolist()))
        model.learn_one(rehearsed, int(BASE.labels[n % 7]), w=REHEARSAL_WEIGHT)

    said = folded(Learner(BASE), LESSONS)

    assert [receipt.models["river"].p_before for receipt in receipts(said)] == p_before
    assert np.array_equal(weights_of(snapshot(said)), model.weights.astype("<f4"))


def test_softmax_is_a_river_classifier():
    model = Softmax(SIZE)
    x = features_of(LESSONS[0])

    assert model.predict_proba_one(x) == dict.fromkeys(range(10), pytest.approx(0.1))
    model.learn_one(x, 3)
    assert model.predict_one(x) == 3
    assert model.clone().predict_proba_one(x) == dict.fromkeys(range(10), pytest.approx(0.1))


def test_the_base_in_the_repository_fits_its_network_and_its_digests():
    base = load_base()

    assert base.weights.shape == (10, SIZE + 1)
    assert base.rehearsal.shape == (2000, SIZE + 1)
    assert np.bincount(base.labels, minlength=10).min() > 100
    assert ((base.rehearsal @ base.weights.T).argmax(axis=1) == base.labels).mean() > 0.99
