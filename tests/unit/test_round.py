"""A round as a history of what happens: who is asked, what is said, and that it ends once, whatever comes in whatever order."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import DrawingAnswered, PolicySet
from streams.lineup import Answerer, AnswererState
from streams.pending import Deadlines, rows
from streams.round import Acknowledge, Ask
from tests.rounds import SHADOW, Played, begun, canary, moment, table

XGBOOST, KMEANS = Answerer("xgboost"), Answerer("kmeans")
BESIDE = Answerer("xgboost", beside=True)
RESTS, OVERDUE = AnswererState(resting="it is down"), AnswererState(overdue=True)


def test_all_models_answer_then_the_blend_then_all_is_said_together_and_then_the_drawing_is_acknowledged():
    played = begun()
    assert list(played.guesses()) == ["river", "yours"]
    assert played.asked == [XGBOOST, KMEANS]

    played.answers(XGBOOST, 0.02)
    played.answers(KMEANS, 0.03)

    assert list(played.guesses()) == ["river", "yours", "xgboost", "kmeans", "everyone"]
    assert isinstance(played.events[-1], DrawingAnswered)
    assert not played.acknowledged
    assert played.sent() == [Acknowledge()]
    assert played.round.due is None


def test_a_drawing_is_not_acknowledged_before_the_broker_has_the_last_of_its_events():
    played = begun()
    played.answers(XGBOOST, 0.02)
    played.sent()
    played.answers(KMEANS, 0.03)
    assert played.sent(2) == []
    assert played.sent() == [Acknowledge()]


def test_the_blend_leaves_out_who_is_late_at_its_deadline_and_the_late_one_is_still_heard():
    played = begun()
    played.answers(XGBOOST, 0.02)
    assert played.ticks(0.2) == []
    assert played.round.due == pytest.approx(100.25)

    played.ticks(0.25)

    assert played.guesses()["everyone"].left_out == {"kmeans": "late"}
    assert played.round.due == pytest.approx(102)
    played.answers(KMEANS, 0.6)
    assert played.guesses()["kmeans"].label == 3
    assert played.sent() == [Acknowledge()]


@pytest.mark.parametrize(("state", "why"), [(RESTS, "resting"), (OVERDUE, "late")])
def test_nobody_waits_for_one_that_rests_or_is_overdue_and_it_is_heard_if_it_comes_in_time(state: AnswererState, why: str):
    alone = begun("kmeans", states={KMEANS: state})
    assert alone.guesses()["everyone"].left_out == {"kmeans": why}

    played = begun(states={KMEANS: state})
    played.answers(KMEANS, 0.02)
    played.answers(XGBOOST, 0.03)
    assert played.guesses()["everyone"].left_out == {}


@pytest.mark.parametrize("happens", ["late", "rests"])
def test_the_blend_goes_on_without_one_that_became_slow_or_failed(happens: str):
    played = begun()
    played.answers(XGBOOST, 0.02)
    assert "everyone" not in played.guesses()

    played.take(getattr(played.round, happens)(KMEANS, played_at := moment(0.06)))

    everyone = played.guesses()["everyone"]
    assert everyone.left_out == {"kmeans": {"late": "late", "rests": "resting"}[happens]}
    assert everyone.at == played_at.at
    played.answers(KMEANS, 0.07)
    assert "kmeans" in played.guesses()


def test_a_shadow_that_is_slow_keeps_nobody_out_of_the_blend():
    played = begun(by=table("xgboost", candidates={"xgboost": SHADOW}))
    assert played.asked == [XGBOOST, BESIDE]

    played.take(played.round.late(BESIDE, moment(0.06)))
    played.answers(XGBOOST, 0.07)

    assert played.guesses()["everyone"].left_out == {}


def test_who_has_not_answered_within_the_budget_is_missed_and_not_heard_any_more():
    played = begun()
    played.answers(XGBOOST, 0.02)
    played.ticks(0.25)
    played.ticks(2.0, resting={"xgboost": "of no matter"})

    assert played.missed() == [("kmeans", False)]
    assert played.sent() == [Acknowledge()]
    assert played.answers(KMEANS, 2.1) == []


def test_who_waits_for_a_resting_model_is_told_why_when_the_budget_is_used_up():
    played = begun("kmeans", states={KMEANS: RESTS})
    played.ticks(2.0, resting={"kmeans": "it is down"})

    assert played.missed() == [("kmeans", True)]
    assert [part.missed for part in played.parts()] == [{"kmeans": "it is down"}]


def test_a_budget_that_ends_before_the_blends_deadline_ends_its_waiting_too():
    played = begun("kmeans", deadlines=Deadlines(blend_s=0.25, budget_s=0.05))
    assert played.round.due == pytest.approx(100.05)

    played.ticks(0.05)

    assert played.missed() == [("kmeans", False)]
    assert played.guesses()["everyone"].left_out == {"kmeans": "late"}
    assert played.sent() == [Acknowledge()]


# --- canaries and shadows


def test_the_champion_answers_in_the_place_of_a_canary_that_does_not_and_says_so():
    played = begun(by=table("xgboost", candidates={"xgboost": canary()}))
    assert played.asked == [BESIDE]

    assert played.misses(BESIDE, 0.05) == [Ask(XGBOOST)]
    assert played.answers(BESIDE, 0.06) == [], "it had its turn"
    played.answers(XGBOOST, 0.07)

    guess = played.guesses()["xgboost"]
    assert (guess.role, guess.fallback) == ("champion", "the canary did not answer: down")
    assert not played.missed()


def test_a_canary_that_is_a_shadow_when_it_is_asked_still_answers_in_its_models_place():
    played = begun(by=table("xgboost", candidates={"xgboost": canary()}))

    played.answers(BESIDE, 0.05, role="shadow")

    assert played.guesses()["xgboost"].role == "canary"


def test_a_shadow_that_became_a_canary_meanwhile_answers_as_the_shadow_it_was():
    played = begun(by=table("xgboost", candidates={"xgboost": SHADOW}))

    played.answers(BESIDE, 0.05, role="canary")
    played.answers(XGBOOST, 0.06)

    assert {slot: guess.version for slot, guess in played.guesses().items() if guess.model == "xgboost"} == {
        "xgboost/shadow": "2",
        "xgboost": "1",
    }


def test_a_shadow_that_does_not_answer_is_not_missed_and_holds_the_acknowledgement_until_it_is_given_up():
    played = begun(by=table("xgboost", candidates={"xgboost": SHADOW}))
    played.answers(XGBOOST, 0.02)
    assert played.sent() == []

    played.misses(BESIDE, 0.05)

    assert played.missed() == []
    assert played.sent() == [Acknowledge()]


def test_a_canary_that_is_watched_and_its_champion_are_asked_of_every_finished_drawing():
    by = {share: table("xgboost", candidates={"xgboost": canary(share, watched=True)}) for share in (0.0, 1.0)}
    for share, shown, hidden in ((1.0, "2", "1"), (0.0, "1", "2")):
        played = begun(by=by[share])
        assert set(played.asked) == {XGBOOST, BESIDE}
        played.answers(XGBOOST, 0.02)
        played.answers(BESIDE, 0.03)
        found = played.guesses()
        assert (found["xgboost"].version, found["xgboost/shadow"].version) == (shown, hidden)
        assert found["xgboost"].role == ("canary" if share else "champion")
    assert begun(by=by[1.0], final=False).asked == [BESIDE]


@pytest.mark.parametrize("order", ["first the champion", "first the canary"])
def test_the_champion_that_is_only_compared_answers_in_the_place_of_a_canary_that_does_not(order):
    played = begun(by=table("xgboost", candidates={"xgboost": canary(watched=True)}))
    if order == "first the canary":
        assert played.misses(BESIDE, 0.05) == [], "it is asked already"
        played.answers(XGBOOST, 0.06)
    else:
        played.answers(XGBOOST, 0.02)
        assert played.misses(BESIDE, 0.05) == [Ask(XGBOOST)]
        played.answers(XGBOOST, 0.06)
    assert played.guesses()["xgboost"].fallback == "the canary did not answer: down"
    assert not played.missed()
    assert played.sent() == [Acknowledge()]


def test_each_candidate_is_asked_and_told_in_a_part_of_its_own():
    several = [canary(0.0), replace(SHADOW, version="3", place=1), replace(SHADOW, version="4", place=2)]
    played = begun(by=table("xgboost", candidates={"xgboost": several}))
    second, third = Answerer("xgboost", 2), Answerer("xgboost", 3)
    assert played.asked == [XGBOOST, second, third]
    for answerer, version in ((third, "4"), (XGBOOST, "1"), (second, "3")):
        played.answers(answerer, 0.02, version=version)
    told = {guess.part: (guess.version, guess.place) for part in played.parts() for guess in part.guesses}
    mine = {part: one for part, one in told.items() if part.startswith("xgboost")}
    assert mine == {"xgboost": ("1", 0), "xgboost/shadow/1": ("3", 1), "xgboost/shadow/2": ("4", 2)}
    assert played.sent() == [Acknowledge()]


def test_a_shadow_is_not_asked_of_a_preview():
    assert begun(by=table("xgboost", candidates={"xgboost": SHADOW}), final=False).asked == [XGBOOST]


# --- previews and probes


def test_a_preview_that_newer_strokes_follow_is_dropped_and_acknowledged():
    played = begun(final=False)
    played.sent()

    assert played.take(played.round.dropped(moment(0.05))) == [Acknowledge()]
    assert played.answers(XGBOOST, 0.06) == []
    assert "everyone" not in played.guesses()


def test_a_preview_is_not_missed_and_a_probe_is():
    preview, probe = begun(final=False), begun(final=False, probe=True)
    for played in (preview, probe):
        played.misses(KMEANS, 0.05)
        played.answers(XGBOOST, 0.06)
        assert played.sent() == [Acknowledge()]
        assert not played.parts(), "nobody learns from it"

    assert (preview.missed(), probe.missed()) == ([], [("kmeans", False)])


def test_a_probe_is_answered_by_those_who_are_wanted():
    played = begun(final=False, probe=True, models=["kmeans"])
    assert played.asked == [KMEANS]

    played.answers(KMEANS, 0.02)

    assert list(played.guesses()) == ["kmeans"]
    assert played.sent() == [Acknowledge()]


# --- what is said together, for those who learn


def test_all_guesses_are_said_together_once_all_are_there_and_the_features_with_them():
    played = begun()
    played.answers(XGBOOST, 0.02)
    assert not played.parts()
    played.answers(KMEANS, 0.03)

    [part] = played.parts()
    assert part.made() == [guess.model_copy(update={"at": part.at, "features": None}) for guess in played.guesses().values()]
    assert part.features == played.round.drawing.features
    assert (part.lead, part.missed) == ("everyone", {})


def test_at_the_blends_deadline_what_is_there_is_said_together_and_what_comes_later_follows_alone():
    played = begun("xgboost", "kmeans", "mxnet")
    played.answers(XGBOOST, 0.02)
    played.ticks(0.25)
    played.answers(KMEANS, 0.5)
    played.ticks(2.0)

    first, second, third = played.parts()
    assert [guess.model for guess in first.guesses] == ["river", "yours", "xgboost", "everyone"]
    assert ([guess.model for guess in second.guesses], second.features) == (["kmeans"], None)
    assert (third.guesses, third.missed) == ([], {"mxnet": "no answer in 2 s"})
    assert played.sent() == [Acknowledge()]


def test_a_blend_that_went_on_early_does_not_have_the_rest_said_apart_before_the_deadline():
    played = begun(states={KMEANS: OVERDUE})
    played.answers(XGBOOST, 0.02)
    assert "everyone" in played.guesses()
    assert played.round.due == pytest.approx(100.25)
    played.answers(KMEANS, 0.1)

    assert len(played.parts()) == 1


# --- whatever comes, in whatever order


HAPPENS = ("answered", "missed", "late", "rests", "sent", "wait", "again")
TABLES = {
    "plain": table("xgboost", "kmeans", "mxnet"),
    "a canary and a shadow": table("xgboost", "kmeans", "mxnet", candidates={"xgboost": canary(), "kmeans": SHADOW}),
    "of parts": table(
        "xgboost", "kmeans", policy=PolicySet(lead="xgboost", parts={"kmeans": "shadow", "yours": "off", "river": "shadow"})
    ),
    "nobody but those who are here": table(),
}


@given(
    st.sampled_from(sorted(TABLES)),
    st.sampled_from(["final", "probe", "preview"]),
    st.lists(st.tuples(st.sampled_from(HAPPENS), st.integers(0, 5), st.floats(0.001, 0.4)), max_size=40),
    st.dictionaries(st.sampled_from([XGBOOST, KMEANS, BESIDE]), st.sampled_from([RESTS, OVERDUE]), max_size=3),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_order_of_events_ends_in_one_answer_or_miss_of_each_model_one_blend_and_one_acknowledgement(
    by: str, kind: str, history: list[tuple[str, int, float]], states: dict[Answerer, AnswererState], dropped: bool
):
    fields = {"final": kind == "final", "probe": kind == "probe"}
    played = begun(by=TABLES[by], states=states, **fields)
    now = 0.01
    for what, which, takes in history:
        now += takes
        _happens(played, what, which, now)
        _is_acknowledged_exactly_when_nothing_is_open(played)
    if dropped and kind == "preview":
        played.take(played.round.dropped(moment(now)))
        assert not played.round.awaits(XGBOOST)
    while (due := played.round.due) is not None:
        played.ticks(max(now, due - 100.0))
    assert not any(played.round.awaits(one) for one in set(played.asked))
    played.sent()
    _is_acknowledged_exactly_when_nothing_is_open(played)

    assert played.acknowledged == 1
    if kind == "preview":
        assert not played.missed()
        assert not played.parts()
        return
    lineup = [*TABLES[by].batch, *(model for model in ("river", "yours", "everyone") if TABLES[by].part(model) != "off")]
    shadows = {guess.model for slot, guess in played.guesses().items() if slot.endswith("/shadow")}
    answered = Counter(
        guess.model for slot, guess in played.guesses().items() if guess.version != "2" or not slot.endswith("/shadow")
    )
    missed = Counter(model for model, _ in played.missed())
    assert answered + missed == Counter(lineup), "each model answers once or is missed once"
    assert shadows <= {"kmeans", "river", "yours"}
    if kind == "final":
        assert played.told() == Counter((guess.model, guess.role) for guess in played.guesses().values())
        assert [part.features is not None for part in played.parts()] == [True] + [False] * (len(played.parts()) - 1)
        assert Counter(model for part in played.parts() for model in part.missed) == missed


def _happens(played: Played, what: str, which: int, now: float) -> None:
    """Something that a client, the broker or the clock may bring at any time, also about those who had their turn."""
    everybody = [XGBOOST, KMEANS, Answerer("mxnet"), BESIDE, Answerer("kmeans", beside=True), Answerer("nobody")]
    one = everybody[which]
    match what:
        case "answered" if one in played.asked:
            played.answers(one, now)
        case "missed" if one in played.asked:
            played.misses(one, now, resting=bool(which % 2))
        case "late":
            played.take(played.round.late(one, moment(now)))
        case "rests":
            played.take(played.round.rests(one, moment(now)))
        case "sent":
            played.sent(min(which, played.unsent))
        case "wait":
            played.ticks(now, resting={"xgboost": "it is down"})
        case _:
            pass


def _is_acknowledged_exactly_when_nothing_is_open(played: Played) -> None:
    waits = played.round.due is not None
    assert played.acknowledged == (not waits and not played.unsent)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=10, max_size=10).filter(lambda shares: sum(shares) > 0.1))
def test_rounding_keeps_probabilities_probabilities(shares: list[float]):
    [row] = rows(np.array([shares]) / sum(shares))

    assert sum(row.probabilities) == pytest.approx(1, abs=1e-5)
