"""Twice is once, and in any order: the folds end the same however their topics were interleaved, resent and taken in steps.

What is promised: whatever keeps each player's own order on each topic ends in the same labels, counts, answers of each player's
own model, and the same lessons in force; so the online model's sums are the same too, bit for bit, also however the players are
split over partitions. Only how often an example is revised, and a lesson is changed, on the way depends on order and steps.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from contracts.events import (
    CorrectionReceipt,
    DrawingAnswered,
    DrawingPicked,
    DrawingSubmitted,
    Event,
    EvidenceGathered,
    ExampleLabelled,
    GuessMade,
    LessonTaught,
    PicksCounted,
    PlayerRestricted,
    PreviewGuessed,
    ScoresCounted,
)
from streams import trust
from streams.drift import Drift
from streams.evidence import Evidence
from streams.joiner import Joiner
from streams.learner import Learner
from streams.online_base import load_base
from streams.online_model import OnlineModel
from streams.personal_model import PersonalModels
from streams.scorer import Scorer
from tests.histories import (
    READER,
    MemoryCells,
    answer,
    answered,
    correction,
    counted,
    drawing,
    features,
    folded,
    guess,
    in_force,
    like,
    named,
    withdrawal,
)

PLAYERS = ("ada", "bob")
FOUR = (*PLAYERS, "cleo", "dan")
DRAWINGS = ("d1", "d2", "d3")
VERSIONS = {
    "river": ["mnist1+0", "mnist1+7"],
    "xgboost": ["base1", "2"],
    "yours": ["own3+0", "own3+3"],
    "everyone": ["blend5+0", "blend5+25"],
}
STEPS = st.sampled_from([1, 2, 5, None])


@st.composite
def parts(draw: st.DrawFn, name: str, player: str, guesses: list[GuessMade]) -> list[DrawingAnswered]:
    """These guesses in one part or several, the features with any of them or none, misses beside them."""
    cuts = sorted(draw(st.sets(st.integers(0, len(guesses)), max_size=2)))
    several = [guesses[first:end] for first, end in zip([0, *cuts], [*cuts, len(guesses)], strict=True)]
    read = draw(st.integers(0, len(several)))
    who = {"drawing_id": named(name), "player_id": player}
    missing = st.sampled_from([{}, {"mxnet": "no answer within 250 ms"}])
    return [
        answered(part, **who, missed=draw(missing), features=features() if n == read else None)
        for n, part in enumerate(several)
    ]


@st.composite
def topics(draw: st.DrawFn, players: Sequence[str] = PLAYERS) -> list[list[Event]]:
    """What some players put on each topic, in the order in which they did."""
    drawings, answers, corrections = [], [], []
    for player in players:
        for n, name in enumerate(f"{player}'s {name}" for name in DRAWINGS[: draw(st.integers(1, 3))]):
            at = draw(st.sampled_from([0, 5, 12, 3600, 3605]))
            asked = draw(st.one_of(st.none(), st.integers(0, 9)))
            gold = asked is not None and draw(st.booleans())
            picked = draw(st.sampled_from([None, 0.2, 0.5]))
            drawings.append(drawing(name, player=player, at=at + n, asked=asked, gold=gold, picked=picked))
            guesses: list[GuessMade] = []
            for model in draw(st.lists(st.sampled_from(list(VERSIONS)), unique=True)):
                version = draw(st.sampled_from(VERSIONS[model]))
                made = guess(name, draw(st.integers(0, 9)), model=model, version=version, player=player, features=None)
                guesses.append(made)
                if model == "xgboost" and draw(st.booleans()):
                    shadow = guess(name, draw(st.integers(0, 9)), model=model, version="3", player=player, role="shadow")
                    guesses.append(shadow)
            answers += draw(parts(name, player, guesses))
            for number in draw(st.lists(st.integers(0, 2), max_size=4)):
                given = f"{name}, correction {number}"
                if draw(st.booleans()):
                    over = draw(st.booleans())
                    corrections.append(
                        correction(name, draw(st.integers(0, 9)), correction=given, player=player, over_quota=over)
                    )
                else:
                    corrections.append(withdrawal(name, correction=given, player=player))
    return [drawings, answers, corrections]


def arrival(data: DataObject, lanes: list[list[Event]]) -> list[Event]:
    """The topics in some interleaving that keeps each one's order, with some records resent later."""
    places = data.draw(st.permutations([lane for lane, events in enumerate(lanes) for _ in events]))
    waiting = [iter(events) for events in lanes]
    arrived: list[Event] = []
    for lane in places:
        arrived.append(next(waiting[lane]))
        if data.draw(st.integers(0, 3)) == 0:
            arrived.append(data.draw(st.sampled_from(arrived)))
    return arrived


def said_of(event: Event) -> dict[str, Any]:
    """An event without the time at which it was written."""
    return event.model_dump(mode="json", exclude={"at"})


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_what_a_fold_says_is_of_the_time_of_its_step_and_reads_no_clock(lanes, data, step):
    joined = folded(Joiner(), arrival(data, lanes), step=step)
    own = folded(PersonalModels(LEARNER), joined, step=step)
    counted = folded(Scorer(), joined, step=step)
    learned = folded(Learner(LEARNER), joined, step=step)

    said = [event for event in (*joined, *own, *counted, *learned) if not isinstance(event, PreviewGuessed)]
    assert {event.at for event in said} <= {MemoryCells.at}


def ended(history: list[Event], step: int | None = None) -> dict[str, Any]:
    """What stands after a history: examples, counts, whose corrections' receipts went out, and what is answered."""
    joined = folded(Joiner(), history, step=step)
    examples = {str(event.drawing_id): said_of(event) for event in joined if isinstance(event, ExampleLabelled)}
    scored = folded(Scorer(), joined)
    counts = {event.score_key: said_of(event) for event in scored if isinstance(event, ScoresCounted)}
    picks = {event.pick_key: said_of(event) for event in scored if isinstance(event, PicksCounted)}
    receipts = sorted(str(event.correction_id) for event in joined if isinstance(event, CorrectionReceipt))
    own = PersonalModels(LEARNER)
    folded(own, joined, step=step)
    answers = {}
    for player in PLAYERS:
        p, version = own.answer(0, player, *like(), np.full((1, 10), 0.1))
        answers[player] = (version, p.tolist())
    return {"examples": examples, "counts": counts, "picks": picks, "receipts": receipts, "answers": answers}


@settings(max_examples=80, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_labels_counts_receipts_and_answers_are_the_same_in_whatever_order_and_steps_the_topics_come(lanes, data, step):
    in_order = [event for events in lanes for event in events]

    assert ended(arrival(data, lanes), step) == ended(in_order)


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_revisions_of_a_drawing_rise_whatever_comes_when(lanes, data, step):
    last: dict[Any, int] = {}

    for event in folded(Joiner(), arrival(data, lanes), step=step):
        if isinstance(event, ExampleLabelled):
            assert event.revision > last.get(event.drawing_id, 0)
            last[event.drawing_id] = event.revision


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data())
def test_the_counts_are_those_of_the_examples_that_stand(lanes, data):
    joined = folded(Joiner(), arrival(data, lanes))
    standing = {event.drawing_id: event for event in joined if isinstance(event, ExampleLabelled)}.values()
    scores = [event for event in folded(Scorer(), joined) if isinstance(event, ScoresCounted) and event.version]

    shown = [(example.label, seen.label) for example in standing if example.label is not None for seen in example.guesses]

    assert sum(event.n for event in scores) == len(shown) == sum(sum(event.latency) for event in scores)
    assert sum(event.correct for event in scores) == sum(label == guessed for label, guessed in shown)


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_the_picks_are_those_of_all_picked_drawings_that_were_answered(lanes, data, step):
    joined = folded(Joiner(), arrival(data, lanes), step=step)
    drawn = {event.drawing_id: event for event in lanes[0] if isinstance(event, DrawingSubmitted) and event.picked is not None}
    labels = {event.drawing_id: event.label for event in joined if isinstance(event, ExampleLabelled)}
    guesses = {
        (event.drawing_id, one.model, one.shadow): one.label
        for event in lanes[1]
        if isinstance(event, DrawingAnswered) and event.drawing_id in drawn
        for one in event.guesses
    }
    expected: Counter[tuple[float, bool, int | None, int]] = Counter()
    for (drawing_id, _, _), label in guesses.items():
        one = drawn[drawing_id]
        digit = one.asked if one.gold else labels.get(drawing_id)
        assert one.picked is not None
        expected[one.picked, one.gold, digit, label if digit is not None else 0] += 1

    totals = {event.pick_key: event for event in folded(Scorer(), joined) if isinstance(event, PicksCounted) and event.version}

    told: Counter[tuple[float, bool, int | None, int]] = Counter()
    for stratum in (stratum for event in totals.values() for stratum in event.strata):
        told[stratum.picked, stratum.gold, None, 0] += stratum.n - sum(stratum.confusion)
        for cell, n in enumerate(stratum.confusion):
            told[stratum.picked, stratum.gold, cell // 10, cell % 10] += n
    assert told == expected


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_picks_are_left_out_and_taken_in_again_the_same_wherever_restrictions_and_replacements_come(lanes, data, step):
    for n, one in enumerate(lanes[0]):
        if n and isinstance(one, DrawingSubmitted) and one.player_id == lanes[0][n - 1].player_id and data.draw(st.booleans()):
            lanes[0][n] = one.model_copy(update={"instead_of": lanes[0][n - 1].drawing_id})
    kinds = st.lists(st.sampled_from(["quarantined", "banned", "none"]), max_size=3)
    restrictions = [PlayerRestricted(player_id=who, restriction=kind) for who in PLAYERS for kind in data.draw(kinds)]
    joined, straight = (folded(Joiner(), history, step=step) for history in (arrival(data, lanes), [*chain(*lanes)]))

    mixed = list(restrictions)
    for event in joined:  # each player's restrictions keep their order
        mixed.insert(data.draw(st.integers(0, len(mixed))), event)
    mixed_cells, last_cells = MemoryCells(), MemoryCells()
    one_by_one = folded(Scorer(), [*mixed, *joined], mixed_cells, step=step)
    at_last = folded(Scorer(), [*straight, *restrictions], last_cells)

    told, wanted = ({key: said for key, said in newest(list(said)).items() if "Picks" in key} for said in (one_by_one, at_last))
    assert told == wanted
    last = {one.player_id: one.restriction for one in restrictions}
    stays = [event for event in straight if last.get(str(getattr(event, "player_id", "")), "none") == "none"]
    assert totals(at_last) == totals(folded(Scorer(), stays))


def totals(said: Sequence[Event]) -> dict[str, Any]:
    """The strata of all versions of which any drawing is counted."""
    picks = {event.pick_key: event.strata for event in said if isinstance(event, PicksCounted) and event.version}
    return {key: strata for key, strata in picks.items() if strata}


LEARNER = replace(load_base(), reader=READER)
"""What the lessons of these tests are learned with: their features are noise that no network has read."""


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_a_correction_has_a_receipt_of_river_and_one_of_yours_once_at_most(lanes, data, step):
    history = arrival(data, lanes)
    joined = folded(Joiner(), [*history, *history], step=step)

    shared = [event.correction_id for event in folded(Learner(LEARNER), joined) if isinstance(event, CorrectionReceipt)]
    told = [event.correction_id for event in folded(PersonalModels(LEARNER), joined) if isinstance(event, CorrectionReceipt)]

    assert len(set(shared)) == len(shared)
    assert len(set(told)) == len(told)
    gone = {event.correction_id for event in joined if isinstance(event, CorrectionReceipt)}
    assert set(told) <= set(shared) <= set(told) | gone


def lessons(history: Sequence[Event], step: int | None) -> list[LessonTaught]:
    """What a history teaches and takes back, joiner and learner taking it in steps of one size."""
    joined = folded(Joiner(), history, step=step)
    return [event for event in folded(Learner(LEARNER), joined, step=step) if isinstance(event, LessonTaught)]


def model(partitions: Sequence[Sequence[LessonTaught]], order: Sequence[int] | None = None) -> tuple[Any, ...]:
    """What the online model is after the lessons of some partitions: its sums, and the digest of its lessons.

    ``order`` has the number of a partition for each lesson, as they come; None: one partition after the other.
    """
    summed = OnlineModel(LEARNER, Learner(LEARNER).series)
    waiting = [iter(enumerate(several)) for several in partitions]
    for partition in [n for n, several in enumerate(partitions) for _ in several] if order is None else order:
        offset, one = next(waiting[partition])
        summed.apply(one, partition, offset)
    sums = [summed.sums(newcomers).digest() for newcomers in (False, True)]
    return *sums, summed.known.lessons, summed.known.newcomers, summed.known.digest(LEARNER)


def test_two_corrections_of_one_drawing_in_one_step_or_in_two_give_one_model():
    history = [drawing(), answer(), correction(label=1, correction="c1"), correction(label=2, correction="c2")]

    in_one, in_two = model([lessons(history, None)]), model([lessons(history, 3)])

    assert in_one == in_two != model([lessons(history[:3], None)])


@pytest.mark.parametrize(
    "second", [correction(label=2, correction="c2"), withdrawal(correction="c1")], ids=["replaced", "taken back"]
)
def test_two_corrections_of_one_drawing_give_one_model_wherever_the_guess_comes_among_them(second):
    told = [drawing(), answer(), correction(label=1, correction="c1"), second]
    orders = [order for order in permutations(told) if order.index(told[2]) < order.index(second)]

    models = {model([lessons(list(order), step)]) for order in orders for step in (1, None)}

    assert len(models) == 1
    assert (models == {model([])}) == (type(second) is not type(told[2]))


@pytest.mark.parametrize("first", [trust.FIRST, 2, 1], ids=["all are newcomers", "two make one known", "one makes one known"])
@settings(max_examples=50, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_the_lessons_in_force_and_the_model_are_the_same_for_every_arrival_and_stepping(first, lanes, data, step):
    in_order = [event for events in lanes for event in events]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "FIRST", first)

        arrived, straight = lessons(arrival(data, lanes), step), lessons(in_order, None)

        assert model([arrived]) == model([straight])
    assert counted(arrived) == counted(straight)


@settings(max_examples=50, deadline=None)
@given(lanes=topics(players=FOUR), data=st.data(), step=STEPS, first=st.sampled_from([2, trust.FIRST]))
def test_the_model_is_the_same_however_the_players_are_split_over_partitions(lanes, data, step, first):
    in_order = [event for events in lanes for event in events]
    count = data.draw(st.sampled_from([1, 2, 4]))
    place = {player: data.draw(st.integers(0, count - 1)) for player in FOUR}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "FIRST", first)

        split = []
        for partition in range(count):
            here = [[event for event in events if place[event.player_id] == partition] for events in lanes]
            split.append(lessons(arrival(data, here), step))
        order = data.draw(st.permutations([n for n, several in enumerate(split) for _ in several]))

        assert model(split, order) == model([lessons(in_order, None)])


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_lessons_are_numbered_without_gaps_whatever_comes_when(lanes, data, step):
    said = lessons(arrival(data, lanes), step)

    assert [event.number for event in said] == list(range(1, len(said) + 1))


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data())
def test_every_label_that_stands_is_taught_and_no_other(lanes, data):
    joined = folded(Joiner(), arrival(data, lanes))
    standing = {event.drawing_id: event for event in joined if isinstance(event, ExampleLabelled)}.values()

    said = [event for event in folded(Learner(LEARNER), joined) if isinstance(event, LessonTaught)]

    learned = [event for event in standing if event.features and not event.over_quota]
    labelled = {event.drawing_id: event.label for event in learned if event.label is not None}
    assert {drawing_id: one.label for drawing_id, one in in_force(said).items()} == labelled


def evidence(history: Sequence[Event], step: int | None) -> list[EvidenceGathered]:
    """What a history says of drift."""
    joined = folded(Joiner(), history, step=step)
    return [event for event in folded(Evidence(LEARNER), joined, step=step) if isinstance(event, EvidenceGathered)]


def parts_of(said: Sequence[EvidenceGathered]) -> dict[str, int]:
    """Each thing that is said of a drawing, and how often: a drawing's guesses may come in several parts."""
    told: Counter[str] = Counter()
    for one in (one for event in said for one in event.drawings):
        told.update(f"{one.mark} {one.drawn_at} {model} {wrong}" for model, wrong in one.wrong.items())
        if one.label is not None:
            told[f"{one.mark} {one.drawn_at} {one.label} {one.ink} {one.directions}"] += 1
    return told


@settings(max_examples=50, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_which_evidence_of_drift_there_is_is_the_same_for_every_arrival_and_stepping(lanes, data, step):
    in_order = [event for events in lanes for event in events]

    said = evidence(arrival(data, lanes), step)

    assert parts_of(said) == parts_of(evidence(in_order, None))
    numbers = [event.number + n for event in said for n in range(len(event.drawings))]
    assert numbers == list(range(1, len(numbers) + 1))


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data())
def test_a_restart_after_any_event_changes_nothing(lanes, data):
    history = arrival(data, lanes)
    examples = folded(Joiner(), history)
    for make, source in (
        (Joiner, history),
        (Scorer, examples),
        (partial(Learner, LEARNER), examples),
        (partial(PersonalModels, LEARNER), examples),
        (partial(Evidence, LEARNER), examples),
        (partial(Drift, Evidence(LEARNER).series), folded(Evidence(LEARNER), examples, step=1)),
    ):
        cells = MemoryCells()

        restarted = [event for heard in source for event in folded(make(), [heard], cells)]

        at_once = MemoryCells()
        folded(make(), source, at_once)
        assert newest(restarted) == newest(folded(make(), source, step=1))
        assert cells == at_once


def newest(said: list[Event]) -> dict[str, Any]:
    """The last event on each subject."""
    return {f"{event.type} {identity(event)}": said_of(event) for event in said}


def identity(event: Event) -> str:
    match event:
        case ExampleLabelled():
            return str(event.drawing_id)
        case ScoresCounted():
            return event.score_key
        case PicksCounted():
            return event.pick_key
        case DrawingPicked():
            return str(event.drawing_id)
        case LessonTaught() | EvidenceGathered():
            return str(event.number)
        case _:
            return str(getattr(event, "correction_id", event.type))


def test_one_drawing_goes_the_whole_way_to_a_receipt():
    base = load_base()
    read = features(reader=base.reader)
    history = [drawing(), answered([guess(features=read), guess(model="xgboost")]), correction(label=1)]

    examples = folded(Joiner(), history)
    learned = folded(Learner(base), examples)

    [own] = folded(PersonalModels(base), examples)

    assert set(own.models) == {"yours"}
    [receipt] = [event for event in learned if isinstance(event, CorrectionReceipt)]
    assert receipt.correction_id == named("c1")
    assert set(receipt.models) == {"river", "xgboost"}
    assert receipt.models["river"].p_after > receipt.models["river"].p_before
    assert json.loads(receipt.record_value())["outcome"] == "weighted"
    [taught] = [event for event in learned if isinstance(event, LessonTaught)]
    assert (taught.correction_id, taught.label, taught.embedding) == (named("c1"), 1, read.embedding)
