"""Twice is once, and in any order: the folds end the same however their topics were interleaved, resent and taken in steps.

What is promised: whatever keeps each player's own order on each topic ends in the same labels, counts, answers of each player's
own model, and the same lessons of each drawing in the same order. An online model's weights also depend on which drawing's
lessons came first, since it learns by gradient descent: they are the same for one arrival however it was gathered into steps.
Only how often an example is revised on the way depends on order and steps.
"""

import json
from collections import defaultdict
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from contracts.events import (
    CorrectionReceipt,
    DrawingAnswered,
    Event,
    ExampleLabelled,
    GuessMade,
    LessonTaught,
    PreviewGuessed,
    ScoresCounted,
)
from streams.joiner import Joiner
from streams.learner import Learner, LearnerState
from streams.online_base import load_base
from streams.personal_model import PersonalModels
from streams.scorer import Scorer
from tests.histories import (
    READER,
    MemoryCells,
    answer,
    answered,
    correction,
    drawing,
    features,
    folded,
    guess,
    named,
    withdrawal,
)

PLAYERS = ("ada", "bob")
DRAWINGS = ("d1", "d2", "d3")
VERSIONS = {
    "river": ["mnist1+0", "mnist1+7"],
    "xgboost": ["base1", "2"],
    "yours": ["own1+0", "own1+3"],
    "everyone": ["blend2+0", "blend2+25"],
}
STEPS = st.sampled_from([1, 2, 5, None])
ASKED = np.frombuffer(features().embedding, "<f4")[None]


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
def topics(draw: st.DrawFn) -> list[list[Event]]:
    """What some players put on each topic, in the order in which they did."""
    drawings, answers, corrections = [], [], []
    for player in PLAYERS:
        for n, name in enumerate(f"{player}'s {name}" for name in DRAWINGS[: draw(st.integers(1, 3))]):
            at = draw(st.sampled_from([0, 5, 12, 3600, 3605]))
            drawings.append(drawing(name, player=player, at=at + n))
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
                    corrections.append(correction(name, draw(st.integers(0, 9)), correction=given, player=player))
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
    own = folded(PersonalModels(READER), joined, step=step)
    taught = folded(Scorer(), joined, step=step)
    lessons = [event for event in taught if isinstance(event, LessonTaught)]
    learned = folded(Learner(LEARNER), lessons, step=step)

    said = [event for event in (*joined, *own, *taught, *learned) if not isinstance(event, PreviewGuessed)]
    assert {event.at for event in said} <= {MemoryCells.at}


def ended(history: list[Event], step: int | None = None) -> dict[str, Any]:
    """What stands after a history: examples, counts, whose corrections' receipts went out, and what is answered."""
    joined = folded(Joiner(), history, step=step)
    examples = {str(event.drawing_id): said_of(event) for event in joined if isinstance(event, ExampleLabelled)}
    counts = {event.score_key: said_of(event) for event in folded(Scorer(), joined) if isinstance(event, ScoresCounted)}
    receipts = sorted(str(event.correction_id) for event in joined if isinstance(event, CorrectionReceipt))
    own = PersonalModels(READER)
    folded(own, joined, step=step)
    answers = {}
    for player in PLAYERS:
        p, version = own.answer(0, player, ASKED, np.full((1, 10), 0.1))
        answers[player] = (version, p.tolist())
    return {"examples": examples, "counts": counts, "receipts": receipts, "answers": answers}


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
def test_a_correction_is_a_lesson_and_has_a_receipt_of_yours_once_at_most(lanes, data, step):
    history = arrival(data, lanes)
    joined = folded(Joiner(), [*history, *history], step=step)

    taught = [event.correction_id for event in folded(Scorer(), joined) if isinstance(event, LessonTaught)]
    told = [event.correction_id for event in folded(PersonalModels(READER), joined) if isinstance(event, CorrectionReceipt)]

    assert len(set(taught)) == len(taught)
    assert len(set(told)) == len(told)
    gone = {event.correction_id for event in joined if isinstance(event, CorrectionReceipt)}
    assert set(told) <= set(taught) <= set(told) | gone, "yours learns of the labels that stand, river of all"


LEARNER = replace(load_base(), reader=READER)
"""What the lessons of these tests are learned with: their features are noise that no network has read."""


def lessons(history: list[Event], step: int | None) -> list[LessonTaught]:
    """What a history teaches, joiner and scorer taking it in steps of one size."""
    joined = folded(Joiner(), history, step=step)
    return [event for event in folded(Scorer(), joined, step=step) if isinstance(event, LessonTaught)]


def weights(history: list[Event], step: int | None) -> str:
    """The digest of river's whole state after a history."""
    cells = MemoryCells()
    folded(Learner(LEARNER), lessons(history, step), cells, step=step)
    return LearnerState.of(cells["state"]).digest() if "state" in cells else "the base"


def test_two_corrections_of_one_drawing_in_one_step_or_in_two_give_one_digest():
    history = [drawing(), answer(), correction(label=1, correction="c1"), correction(label=2, correction="c2")]

    in_one, in_two = weights(history, None), weights(history, 3)

    assert in_one == in_two != weights(history[:3], None)


@pytest.mark.parametrize(
    "second", [correction(label=2, correction="c2"), withdrawal(correction="c1")], ids=["replaced", "taken back"]
)
def test_two_corrections_of_one_drawing_give_one_digest_wherever_the_guess_comes_among_them(second):
    told = [drawing(), answer(), correction(label=1, correction="c1"), second]
    orders = [order for order in permutations(told) if order.index(told[2]) < order.index(second)]

    digests = {(weights(list(order), step)) for order in orders for step in (1, None)}

    assert len(digests) == 1


@settings(max_examples=60, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_the_weights_of_one_arrival_are_the_same_however_it_was_gathered_into_steps(lanes, data, step):
    arrived = arrival(data, lanes)

    assert weights(arrived, step) == weights(arrived, 1)


@settings(max_examples=60, deadline=None)
@given(lanes=topics(), data=st.data(), step=STEPS)
def test_each_drawing_has_the_same_lessons_in_the_same_order_whatever_comes_when(lanes, data, step):
    def by_drawing(taught: list[LessonTaught]) -> dict[UUID, list[tuple[UUID, int]]]:
        out = defaultdict(list)
        for event in taught:
            out[event.drawing_id].append((event.lesson_id, event.label))
        return out

    in_order = [event for events in lanes for event in events]

    assert by_drawing(lessons(arrival(data, lanes), step)) == by_drawing(lessons(in_order, None))


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data())
def test_every_label_that_stands_has_been_taught(lanes, data):
    joined = folded(Joiner(), arrival(data, lanes))
    standing = {event.drawing_id: event for event in joined if isinstance(event, ExampleLabelled)}.values()

    taught = {event.correction_id for event in folded(Scorer(), joined) if isinstance(event, LessonTaught)}

    assert taught >= {example.correction_id for example in standing if example.label is not None and example.features}


@settings(max_examples=40, deadline=None)
@given(lanes=topics(), data=st.data())
def test_a_restart_after_any_event_changes_nothing(lanes, data):
    history = arrival(data, lanes)
    examples = folded(Joiner(), history)
    for make, source in ((Joiner, history), (Scorer, examples), (partial(PersonalModels, READER), examples)):
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
        case LessonTaught():
            return str(event.lesson_id)
        case _:
            return str(getattr(event, "correction_id", event.type))


def test_one_drawing_goes_the_whole_way_to_a_receipt():
    base = load_base()
    read = features(reader=base.reader)
    history = [drawing(), answered([guess(features=read), guess(model="xgboost")]), correction(label=1)]

    examples = folded(Joiner(), history)
    scored = folded(Scorer(), examples)
    learned = folded(Learner(base), [event for event in scored if isinstance(event, LessonTaught)])

    [own] = folded(PersonalModels(base.reader), examples)

    assert set(own.models) == {"yours"}
    [receipt] = [event for event in learned if isinstance(event, CorrectionReceipt)]
    assert receipt.correction_id == named("c1")
    assert set(receipt.models) == {"river", "xgboost"}
    assert receipt.models["river"].p_after > receipt.models["river"].p_before
    assert json.loads(receipt.record_value())["outcome"] == "learned"
