"""Experiments on their way to an answer: who answers as river, who is asked beside it, and what an operator may change."""

from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from api.folds.implausible import Implausible, refuse_implausible
from api.folds.model_board import ModelBoard
from api.ops.library import best, library, unscored
from contracts.events import (
    SHADOW,
    DrawingAnswered,
    Event,
    ModelPromoted,
    ModelRolledBack,
    PolicySet,
    PromoteModel,
    RollBackModel,
    TryVersion,
)
from contracts.ports import Record
from streams.additive import BASIS
from streams.models import Models
from streams.pending import CallDetails, rows
from streams.routing import Online, Table
from streams.story import Story
from tests.experiments import learned, lets_answer
from tests.histories import (
    READER,
    answered,
    correction,
    drawing,
    guess,
    promoted,
    scores,
    seconds,
    snapshot,
)
from tests.roster import ROSTER
from tests.rounds import begun
from trainers import online
from trainers.model_log import ModelLog
from trainers.steering import refusal

OWN = snapshot(4, weights=np.zeros((10, BASIS.width), "<f4").tobytes())
ROLLED_BACK = lets_answer("mnist1", kind=ModelRolledBack, own=True)


def routed(*events: Event) -> Table:
    start = Online("mnist1+0", READER, -1, np.zeros((10, BASIS.width), np.float32))
    out = Table(online={"river": start})
    for event in events:
        out = out.apply(event)
    return out


def names(several: Any) -> list[str]:
    return [one.version for one in several]


# --- the router


def test_every_experiment_is_asked_beside_the_sums_by_name():
    after = routed(OWN, learned("softmax-1", 7), learned("pa-1", 6, link="sigmoid"), learned("softmax-1", 8))

    assert (after.answering["river"].version, names(after.beside["river"])) == ("mnist1+4", ["pa-1+6", "softmax-1+8"])


def test_a_promoted_experiment_answers_and_the_sums_are_its_shadow_until_it_is_rolled_back():
    told = [OWN, learned("softmax-1", 7), learned("pa-1", 6), lets_answer("softmax-1", "mnist1")]

    after, back = routed(*told), routed(*told, ROLLED_BACK)

    assert (after.answering["river"].version, names(after.beside["river"])) == ("softmax-1+7", ["mnist1+4", "pa-1+6"])
    assert after.answering["river"].answer(np.ones((2, 64), np.float32)).argmax(axis=1).tolist() == [3, 3]
    assert (back.answering["river"].version, names(back.beside["river"])) == ("mnist1+4", ["pa-1+6", "softmax-1+7"])
    assert (after.stand_in("river"), back.stand_in("river")) == (None, None)
    assert len({routed(*told[:3]).digest, after.digest, back.digest}) == 2, "a guess names the table that it was made by"


def test_the_sums_answer_in_the_place_of_an_experiment_that_is_not_there_and_say_so():
    missing, gone = (
        routed(OWN, lets_answer("softmax-1")),
        routed(OWN, learned("softmax-1", 7), lets_answer("softmax-1"), learned("softmax-1", 7, ended=True)),
    )

    for after in (missing, gone):
        assert (after.answering["river"].version, after.beside["river"]) == ("mnist1+4", [])
        assert after.stand_in("river") == "softmax-1 is promoted, and there is no snapshot of it: mnist1+4 answers"


def test_nothing_is_asked_beside_a_model_that_is_a_shadow_itself():
    policy = PolicySet(lead="everyone", parts={"river": "shadow"})

    assert routed(OWN, learned("softmax-1", 7), policy).beside == {}


def test_a_snapshot_of_the_sums_never_replaces_the_promotion_whatever_compaction_keeps():
    assert len({event.record_key() for event in (OWN, learned("softmax-1", 7), learned("pa-1", 7), lets_answer("pa-1"))}) == 4
    assert lets_answer("pa-1").record_key() == ROLLED_BACK.record_key()


@pytest.mark.parametrize(
    "bad",
    [
        {"weights": b"\0" * 4},
        {"weights": np.full((10, 65), np.nan, "<f4").tobytes()},
        {"model": "xgboost"},
    ],
)
def test_an_experiment_that_is_none_changes_nothing(bad):
    with pytest.raises(ValueError, match=r"no finite 10 x 65|no online model"):
        routed(OWN).apply(learned("softmax-1", 7).model_copy(update=bad))


def test_a_router_passes_by_what_is_no_experiment_of_this_game_or_of_other_features():
    models = Models(routed(), READER, BASIS.name)

    told = [learned("nobodys-1", 3), learned("pa-1", 3, reader="another"), learned("softmax-1", 3)]
    rejected = models.apply([Record("models.v1", 0, n, e.record_key(), e.record_value(), 0) for n, e in enumerate(told)])

    assert (rejected, list(models.table.experiments["river"])) == ([], ["softmax-1"])


def test_shadows_of_an_online_model_are_told_to_those_who_learn_and_shown_to_nobody():
    [row] = rows(np.eye(10)[[5]])
    call = CallDetails("softmax-1+7", "shadow", "t", 100.0, 1.0)
    fresh = begun("xgboost", beside=[("river", call, row)])
    fresh.ticks(0.3)

    [part] = fresh.parts()

    assert [(one.model, one.version, one.role) for one in part.guesses if one.model == "river"] == [
        ("river", "1", "champion"),
        ("river", "softmax-1+7", "shadow"),
    ]
    assert [said.version for said in fresh.guesses().values() if said.model == "river"] == ["1"]


# --- the joiner


def test_an_example_has_each_shadow_of_an_online_model_once():
    told = [guess(version="mnist1+4"), *(guess(version=v, role="shadow") for v in ("softmax-1+7", "pa-1+6", "softmax-1+9"))]
    story = Story(seconds(0))
    for event in (drawing(), answered(told), answered(told), correction()):
        story.apply(event, 10)

    example = story.example(seconds(9))

    assert example is not None
    assert [(one.version, one.shadow) for one in example.guesses] == [
        ("mnist1+4", False),
        ("softmax-1+7", True),
        ("pa-1+6", True),
    ]


def test_a_guess_of_a_batch_models_shadow_keeps_its_id():
    assert len({guess(model="xgboost", version=v, role="shadow").guess_id for v in "12"}) == 1
    assert len({guess(version=f"{v}-1+3", role="shadow").guess_id for v in ("pa", "softmax")}) == 2
    assert isinstance(answered([guess()]), DrawingAnswered)


# --- operators


def promote(version: str) -> PromoteModel:
    return PromoteModel(command_id=uuid4(), target="river", version=version, by="ada")


def roll_back(version: str | None = None) -> RollBackModel:
    return RollBackModel(command_id=uuid4(), target="river", version=version, by="ada")


LEARNED = [OWN, learned("softmax-1", 7), learned("pa-1", 6)]


def test_promotion_and_rollback_say_who_stands_by():
    log = ModelLog(ROSTER, LEARNED)

    first = online.promotion(log, promote("softmax-1"), "ada")
    assert first is not None
    assert (type(first), first.version, first.variant, first.endpoint, first.previous) == (
        ModelPromoted, "softmax-1", "softmax-1", "", "mnist1",
    )  # fmt: skip
    log.apply(first)
    assert online.promotion(log, promote("softmax-1+9"), "ada") is None, "it answers already"
    second = online.promotion(log, promote("pa-1"), "ada")
    assert second is not None
    assert second.previous == "softmax-1"
    log.apply(second)

    back = online.promotion(log, roll_back(), "ada")
    assert back is not None
    assert (type(back), back.version, back.previous) == (ModelRolledBack, "softmax-1", "mnist1")
    log.apply(back)
    last = online.promotion(log, roll_back(), "ada")
    assert last is not None
    assert (last.version, last.variant, last.previous) == ("mnist1", "", None)
    log.apply(last)
    assert refusal(log, roll_back()) == "river has no earlier version: mnist1 stays"


@pytest.mark.parametrize(
    ("history", "command", "why"),
    [
        (
            LEARNED,
            promote("softmax-2"),
            "river has no version softmax-2 that has learned anything: there is mnist1, pa-1, softmax-1",
        ),
        ([OWN], promote("softmax-1"), "that has learned anything: there is mnist1. An experiment is there some seconds after"),
        ([], promote("softmax-1"), "there is none yet"),
        (LEARNED, roll_back("softmax-2"), "river has no version softmax-2"),
        (LEARNED, roll_back(), "river has no earlier version: mnist1 stays"),
        (
            LEARNED,
            TryVersion(command_id=uuid4(), target="river", version="pa-1", role="shadow", by="ada"),
            "every version of river but the one that answers is a shadow already",
        ),
    ],
)
def test_what_cannot_answer_as_river_is_refused_with_the_reason(history, command, why):
    assert why in (refusal(ModelLog(ROSTER, history), command) or "")


@pytest.mark.parametrize("version", ["mnist1", "mnist1+4", "softmax-1", "pa-1+2"])
def test_whatever_has_learned_may_be_promoted(version):
    assert refusal(ModelLog(ROSTER, LEARNED), promote(version)) is None


# --- the pages


def board(*events: Event) -> ModelBoard:
    out = ModelBoard(ROSTER)
    for event in events:
        out.apply(event)
    return out


def scored(version: str, n: int, correct: int) -> Event:
    confusion = [0] * 100
    confusion[0], confusion[1] = correct, n - correct
    given = scores("river", n).model_dump() | {"version": version, "correct": correct, "confusion": confusion}
    return type(scores("river", n)).model_validate(given)


def test_the_library_shows_who_answers_who_is_best_and_how_far_each_is():
    here = board(*LEARNED, scored("mnist1", 100, 95), scored("softmax-1" + SHADOW, 100, 97), scored("pa-1" + SHADOW, 20, 20))

    [river] = [model for model in library(here) if model.model == "river"]

    told = {one.version: (one.status, one.best, one.as_shadow.n, one.lineage.get("behind")) for one in river.versions}
    assert told == {
        "mnist1+4": ("champion", False, 0, None),
        "pa-1+6": ("shadow", False, 20, "0"),
        "softmax-1+7": ("shadow", True, 100, "0"),
    }
    assert river.version == "mnist1+4"
    assert best(here, "xgboost", {}) is None


def test_the_library_shows_what_is_promoted_and_that_it_is_missing():
    there = board(*LEARNED, lets_answer("softmax-1", "mnist1"))
    gone = board(OWN, lets_answer("softmax-1", "mnist1"))

    [river] = [model for model in library(there) if model.model == "river"]
    assert (river.version, {one.version: one.status for one in river.versions}) == (
        "softmax-1+7",
        {"mnist1+4": "previous", "pa-1+6": "shadow", "softmax-1+7": "champion"},
    )
    [river] = [model for model in library(gone) if model.model == "river"]
    [own] = river.versions
    assert (own.status, own.gate) == ("champion", "it answers since softmax-1 is promoted, and there is no snapshot of that")


def test_an_experiment_is_not_promoted_before_it_was_scored():
    here = board(*LEARNED, scored("pa-1" + SHADOW, 1, 1))

    assert unscored(here, "river", "softmax-1") == (
        "river softmax-1 has no score yet: it is scored when a drawing that it has guessed gets its label"
    )
    assert [unscored(here, "river", version) for version in ("pa-1", "mnist1", "nobodys-1")] == [None] * 3
    assert unscored(here, "xgboost", "1") is None


@pytest.mark.parametrize(
    "event", [lets_answer("softmax-1").model_copy(update={"model": m}) for m in ("xgboost", "yours", "everyone")]
)
def test_only_an_online_model_is_promoted_without_an_endpoint(event):
    with pytest.raises(Implausible):
        refuse_implausible(event)
    with pytest.raises(ValueError, match="no batch model"):
        routed(event)
    with pytest.raises(Implausible):
        refuse_implausible(promoted("1", model="river"))
    refuse_implausible(lets_answer("softmax-1"))
