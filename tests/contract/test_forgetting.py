"""A player who is forgotten leaves every fold as if they had never been there, bit for bit, in random histories.

`python -m tests.bench.forgotten` runs a thousand of them.

What may differ is told: the learner numbers its lessons on, since a number is never given twice; and a window of ten seconds
that the player began stays, with nothing of theirs counted (docs/decisions/0034).
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import (
    CountedGuess,
    DrawingPicked,
    Event,
    EvidenceGathered,
    ExampleLabelled,
    ExamplesForgotten,
    LessonsCut,
    LessonsForgotten,
    LessonTaught,
    MemoryReset,
    PlayerForgotten,
    PlayerRestricted,
    StageForgot,
)
from contracts.ports import Record
from streams.drift import Drift
from streams.evidence import Evidence
from streams.joiner import Joiner
from streams.learner import Learner
from streams.lessons import Lessons
from streams.online_base import load_base
from streams.online_model import OnlineModel, OutOfSequence
from streams.personal_model import PersonalModels
from streams.scorer import ScoreCounts, Scorer
from streams.story import Story
from streams.story_store import STORY
from tests.contract.test_fold_orders import DRAWINGS, FOUR, STEPS, arrival, topics
from tests.histories import READER, MemoryCells, example, features, folded, forgotten, lesson, named, seconds
from trainers.forgetting_log import STAGES

BASE = replace(load_base(), reader=READER)
SERIES = Learner(BASE).series
FAR = 1 << 20
HISTORIES = int(os.environ.get("GAMENIGHT_TEST_HISTORIES", "60"))
EVIDENCE = Evidence(BASE)
"""One for all histories, since it takes a tenth of a second to make; all that it keeps is in cells, or gone with `open`."""


class Folds:
    """All folds of one partition, and what they have published."""

    def __init__(self, step: int | None) -> None:
        self.step = step
        self.joiner, self.scorer, self.learner, self.evidence, self.personal = (MemoryCells() for _ in range(5))
        self.joined: list[Event] = []
        self.taught: list[Event] = []
        self.said: list[Event] = []

    @property
    def of_examples(self) -> tuple[MemoryCells, ...]:
        return self.scorer, self.learner, self.evidence, self.personal

    def play(self, history: Sequence[Event], examples: Sequence[Event] = ()) -> None:
        """Fold what comes from outside: on the joiner's topics, and on examples.v1."""
        passed = [*folded(Joiner(), history, self.joiner, step=self.step), *examples]
        self.joined += passed
        self.said += passed
        read = [event for event in passed if event.topic == "examples.v1"]
        taught = folded(Learner(BASE), read, self.learner, step=self.step)
        self.taught += [event for event in taught if event.topic == "lessons.v1"]
        self.said += [*taught, *folded(Scorer(), read, self.scorer, step=self.step)]
        self.said += folded(EVIDENCE, read, self.evidence, step=self.step)
        self.said += folded(PersonalModels(BASE), read, self.personal, step=self.step)

    def forget(self, player: str) -> None:
        """Do what the trainer does: tell the joiner, then number on."""
        names = [f"{player}'s {name}" for name in DRAWINGS]
        self.play([forgotten(player, names, PlayerForgotten)])
        numbers = [lesson.number for lesson in self.lessons if lesson.player_id == player]
        if numbers:
            self.play([], [cut(numbers)])

    @property
    def lessons(self) -> list[LessonTaught]:
        return [event for event in self.taught if isinstance(event, LessonTaught)]

    def online(self) -> tuple[Any, ...]:
        model = OnlineModel(BASE, SERIES)
        for offset, event in enumerate(self.taught):
            if isinstance(event, LessonTaught):
                model.apply(event, 0, offset)
            elif isinstance(event, LessonsForgotten):
                model.forget(event, 0, offset)
        return stands(model)

    def state(self) -> dict[str, Any]:
        """What must be the same, bit for bit."""
        totals = {key: kept for key, kept in self.scorer.items() if key.startswith("total/") and any(kept)}
        picks = {key: json.loads(kept) for key, kept in self.scorer.items() if key.startswith("picks/total/")}
        return {
            "joiner": {key: Story.of(kept) for key, kept in self.joiner.items() if key.startswith(STORY)},
            "scorer": totals,
            "picks": {key: kept for key, kept in picks.items() if kept["strata"]},
            "counted": {key for key in self.scorer if key.startswith("example/")},
            "learner": {key: kept for key, kept in self.learner.items() if key != "number"},
            "personal": dict(self.personal),
            "evidence": {key: kept for key, kept in self.evidence.items() if key != "number"},
            "online": self.online(),
        }


def cut(numbers: Sequence[int], far: int = FAR) -> LessonsCut:
    return LessonsCut(source=0, series=SERIES, number=far, numbers=[(number, number) for number in numbers])


def stands(model: OnlineModel) -> tuple[Any, ...]:
    sums = [kept.tobytes() for several in map(model.sums, (False, True)) for kept in (several.products, several.labelled)]
    return *sums, model.known.lessons, model.known.newcomers, model.known.digest(BASE)


@settings(max_examples=HISTORIES, deadline=None)
@given(lanes=topics(FOUR), data=st.data(), step=STEPS, player=st.sampled_from(FOUR))
def test_after_a_player_is_forgotten_every_fold_is_as_if_they_had_never_been_there(lanes, data, step, player):
    history = arrival(data, lanes)
    place = data.draw(st.integers(0, len(history)))
    before, after = history[:place], [event for event in history[place:] if event.player_id != player]
    real, other = Folds(step), Folds(step)

    real.play(before)
    real.forget(player)
    real.play(after)
    other.play([event for event in before if event.player_id != player])
    other.play(after)

    assert real.state() == other.state()
    assert b"".join([*real.learner.values(), *real.evidence.values(), *real.personal.values()]).count(player.encode()) == 0
    assert not [key for cells in real.of_examples for key in cells if player in key.split("/")]
    assert windows(real.scorer, other.scorer) == []


def windows(real: MemoryCells, other: MemoryCells) -> list[str]:
    """The windows that differ, but for those that the forgotten player began, of which nothing is left."""
    wrong = []
    for key in real.keys() | other.keys():
        if key.startswith("window/") and real.get(key) != other.get(key):
            here, there = ScoreCounts(real.get(key)), ScoreCounts(other.get(key))
            if not (key in real and here.window > there.window and not any(real[key][8:])):
                wrong.append(key)
    return wrong


@settings(max_examples=HISTORIES // 3, deadline=None)
@given(lanes=topics(FOUR), data=st.data(), step=STEPS, player=st.sampled_from(FOUR))
def test_a_fold_of_the_log_without_the_player_is_the_state_that_was_left_and_goes_on_as_it_does(lanes, data, step, player):
    history = arrival(data, lanes)
    real = Folds(step)
    real.play(history)
    real.forget(player)
    log = [event for event in real.joined if event.topic == "examples.v1" and getattr(event, "player_id", "") != player]
    cells = MemoryCells()
    again = folded(Learner(BASE), log, cells)

    one_more = example("one more", 3, player_id="eve", features=features(99))
    on, anew = folded(Learner(BASE), [one_more], real.learner), folded(Learner(BASE), [one_more], cells)

    taught_on, taught_anew = ([event for event in said if isinstance(event, LessonTaught)] for said in (on, anew))
    if any(isinstance(event, LessonsCut) for event in log):
        assert [event.number for event in taught_on] == [event.number for event in taught_anew] == [FAR + 1]
    assert cells == real.learner
    assert [event for event in again if isinstance(event, StageForgot)] == []


def cut_log(real: Folds, player: str) -> list[Event]:
    return [event for event in real.taught if getattr(event, "player_id", "") != player]


@settings(max_examples=HISTORIES // 3, deadline=None)
@given(lanes=topics(FOUR), data=st.data(), player=st.sampled_from(FOUR))
def test_who_reads_the_lessons_anew_finds_the_gaps_explained_and_the_same_model_under_the_same_name(lanes, data, player):
    real = Folds(None)
    real.play(arrival(data, lanes))
    real.forget(player)
    real.play([], [example("one more", 3, player_id="eve", features=features(99))])

    reader = Lessons(BASE, SERIES, _nobody, lambda: False)
    log = [Record("lessons.v1", 0, n, b"k", e.record_value(), 0) for n, e in enumerate(real.taught)]
    kept = [record for record, event in zip(log, real.taught, strict=True) if getattr(event, "player_id", "") != player]
    running = Lessons(BASE, SERIES, _nobody, lambda: False)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(kept)), max_size=3)))
    told = [reader.apply(kept[first:end])[1] for first, end in zip([0, *cuts], [*cuts, len(kept)], strict=True)]

    assert running.apply(log)[1] == []
    assert stands(reader._model) == stands(running._model)
    assert reader._model.known == running._model.known
    assert reader._model.numbers == running._model.numbers
    assert reader._gapped == {}
    assert len(cuts) > 0 or told == [[]]


@settings(max_examples=HISTORIES // 3, deadline=None)
@given(lanes=topics(FOUR), data=st.data(), player=st.sampled_from(FOUR))
def test_a_reader_that_has_looked_ahead_lets_nothing_wait_behind_a_gap(lanes, data, player):
    real = Folds(None)
    real.play(arrival(data, lanes))
    real.forget(player)
    log = [Record("lessons.v1", 0, n, b"k", event.record_value(), 0) for n, event in enumerate(real.taught)]
    kept = [record for record, event in zip(log, real.taught, strict=True) if getattr(event, "player_id", "") != player]
    reader, running = (Lessons(BASE, SERIES, _nobody, lambda: False) for _ in range(2))
    first = data.draw(st.integers(0, len(kept)))

    _, told = reader.apply(kept[:first])
    explained = reader.explain([record for record in kept if b'"LessonsForgotten"' in (record.value or b"")])

    assert explained == told
    assert reader._gapped == {}
    for record in kept[first:]:
        assert reader.apply([record])[1] == []
        assert reader._gapped == {}
    assert running.apply(log)[1] == []
    assert stands(reader._model) == stands(running._model)
    assert reader._model.known == running._model.known


def test_lessons_behind_a_gap_are_added_at_once_by_a_reader_that_has_looked_ahead_and_wait_without():
    real = Folds(None)
    real.play(
        [], [example(f"{player}'s d{n}", n, player_id=player, features=features(n)) for n in range(3) for player in FOUR[:2]]
    )
    real.forget(FOUR[0])
    log = [Record("lessons.v1", 0, n, b"k", event.record_value(), 0) for n, event in enumerate(real.taught)]
    kept = [record for record, event in zip(log, real.taught, strict=True) if getattr(event, "player_id", "") != FOUR[0]]
    ahead, unaware = (Lessons(BASE, SERIES, _nobody, lambda: False) for _ in range(2))
    first = kept[0]

    ahead.explain([record for record in kept if b'"LessonsForgotten"' in (record.value or b"")])
    ahead.apply([first])
    unaware.apply([first])

    assert (ahead._gapped, list(unaware._gapped)) == ({}, [first])
    assert (ahead._model.known.lessons, unaware._model.known.lessons) == (1, 0)


async def _nobody(records: Any) -> None:
    raise AssertionError(list(records))


def test_a_gap_that_nothing_explains_is_refused_and_one_that_is_partly_explained_too():
    model = OnlineModel(BASE, SERIES)
    model.apply(lesson("l1", number=1, series=SERIES), 0, 0)
    model.forget(explained([(2, 2)], after=1, number=1), 0, 1)

    with pytest.raises(OutOfSequence, match="lesson 4 of partition 0 came after lesson 1"):
        model.apply(lesson("l4", number=4, series=SERIES), 0, 2)
    with pytest.raises(OutOfSequence, match="what was forgotten after lesson 4 of partition 0 came after lesson 1"):
        model.forget(explained([(3, 3)], after=4, number=9), 0, 3)
    model.apply(lesson("l4", number=4, series=SERIES), 0, 2)
    model.forget(explained([(3, 3)], after=4, number=9), 0, 3)
    model.forget(explained([(3, 3)], after=4, number=9), 0, 3)
    model.apply(lesson("l10", number=10, series=SERIES), 0, 4)

    assert (model.numbers, model.known.lessons, model.known.changes) == ({0: 10}, 3, 5)


def explained(numbers: list[tuple[int, int]], after: int, number: int) -> LessonsForgotten:
    return LessonsForgotten(source=0, series=SERIES, number=number, numbers=numbers, offset=after)


def test_every_stage_says_that_it_has_forgotten_and_twice_is_once():
    real = Folds(None)
    real.play([], [example("ada's d1", player_id="ada"), example("bob's d1", player_id="bob")])
    real.forget("ada")
    stages = sorted(event.stage for event in real.said if isinstance(event, StageForgot))
    before = real.state()

    real.forget("ada")

    assert stages == sorted(STAGES)
    assert real.state() == before
    assert [event for event in real.joined if isinstance(event, ExampleLabelled)][-1].player_id == "bob"


def test_nobody_is_forgotten_by_a_drawing_that_another_has_named():
    real = Folds(None)
    real.play([], [example("bob's d1", player_id="bob")])
    before = real.state()

    real.play([forgotten("ada", ["bob's d1"], PlayerForgotten, examples=[])])

    assert real.state() == before
    [passed] = [event for event in real.joined if isinstance(event, ExamplesForgotten)]
    assert (passed.drawings, passed.examples) == ([named("bob's d1")], [])


def test_evidence_that_is_made_anew_after_a_player_was_forgotten_gives_no_number_twice_and_drift_misses_none():
    several = [example(f"{player}'s d{n}", player_id=player) for n in range(3) for player in ("ada", "bob")]
    more = example("bob's d9", player_id="bob")
    real = Folds(None)
    real.play([], several)
    real.forget("ada")
    cells = MemoryCells()
    folded(EVIDENCE, [event for event in (*several, cut([1])) if getattr(event, "player_id", "bob") == "bob"], cells)

    [on], [anew] = (folded(EVIDENCE, [more], one) for one in (real.evidence, cells))
    told = [event for event in real.said if isinstance(event, EvidenceGathered)]
    drift = MemoryCells()
    folded(Drift(Evidence(BASE).series), [*told, anew], drift)

    assert isinstance(on, EvidenceGathered)
    assert on.number == anew.number == FAR + 1
    assert json.loads(drift["subject/class-mix"])["fed"] == 7


def test_a_restriction_of_a_player_who_is_forgotten_stays_in_no_fold():
    real = Folds(None)
    real.play([], [PlayerRestricted(player_id="ada", restriction="banned"), example("ada's d1", player_id="ada")])

    real.forget("ada")

    assert not [key for cells in real.of_examples for key in cells if "ada" in key.split("/")]


def test_a_reset_memory_is_forgotten_too():
    reset = MemoryReset(reset_id=named("reset"), player_id="ada", until=seconds(1000))
    real = Folds(None)
    real.play([], [example("ada's d1", player_id="ada"), reset])
    assert "player/ada" in real.personal

    real.forget("ada")

    assert not [key for key in real.personal if "ada" in key]


def picked(player: str) -> DrawingPicked:
    guesses = [CountedGuess(model="river", version="mnist1+0", label=7, latency_ms=8.0)]
    given: dict[str, Any] = {"drawing_id": named(f"{player}'s d1"), "player_id": player, "drawn_at": seconds(0)}
    return DrawingPicked(guesses=guesses, picked=0.5, asked=None, revision=1, **given)


def test_a_picked_drawing_without_a_label_is_forgotten_too():
    real, other = Folds(None), Folds(None)
    for folds, players in ((real, ("ada", "bob")), (other, ("bob",))):
        folds.play([], [picked(player) for player in players])
    assert any(key.startswith("picks/") for key in real.scorer)

    real.forget("ada")

    assert real.state() == other.state()
    assert not [key for cells in real.of_examples for key in cells if "ada" in key.split("/")]
