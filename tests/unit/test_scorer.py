"""The scorer: examples to counts."""

from itertools import permutations
from typing import Any

import pytest

from contracts.events import (
    PICK_WINDOW_S,
    PICK_WINDOWS,
    WINDOW_S,
    WINDOWS,
    CountedGuess,
    DrawingPicked,
    Event,
    ExampleProbed,
    PicksCounted,
    PlayerRestricted,
    ScoresCounted,
)
from streams.scorer import Scorer
from tests.histories import MemoryCells, example, folded, named, seconds, shown

HOUR = WINDOW_S * WINDOWS


def scores(history: list[Event], cells: MemoryCells | None = None) -> dict[str, ScoresCounted]:
    """What the topic holds after compaction."""
    return {said.score_key: said for said in folded(Scorer(), history, cells) if isinstance(said, ScoresCounted)}


def total(history: list[Event], model: str = "river", version: str = "mnist1") -> ScoresCounted:
    return scores(history)[f"{model}/0/total/{version}"]


def test_a_probe_counts_nothing_and_is_not_passed_on():
    cells = MemoryCells()

    assert folded(Scorer(), [ExampleProbed(probe_id=named("p"), player_id="probe")], cells) == []
    assert cells == {}


def test_it_says_counts_alone():
    history = [example("d1"), example("d1", 2, revision=4, correction="c2"), example("d1", None, revision=5, correction="c2")]

    assert {type(said) for said in folded(Scorer(), history, step=1)} == {ScoresCounted}


def test_a_wrong_guess_is_counted_where_label_and_guess_cross():
    counted = total([example(label=1, guesses=[shown(7)])])

    assert (counted.n, counted.correct) == (1, 0)
    assert [cell for cell, n in enumerate(counted.confusion) if n] == [17]
    assert [bucket for bucket, n in enumerate(counted.latency) if n] == [1]  # 8 ms: above 5, up to 10


def test_every_lesson_of_an_online_model_counts_for_its_generation():
    history = [
        example("d1", label=7, guesses=[shown(7, version="mnist1+0")]),
        example("d2", label=7, guesses=[shown(7, version="mnist1+41")]),
    ]

    assert (total(history).n, total(history).correct) == (2, 2)


def test_versions_of_a_batch_model_are_counted_apart():
    history = [
        example("d1", label=7, guesses=[shown(7, model="xgboost", version="base1")]),
        example("d2", label=7, guesses=[shown(1, model="xgboost", version="3")]),
    ]

    assert total(history, "xgboost", "base1").correct == 1
    assert total(history, "xgboost", "3").correct == 0


def test_a_shadow_is_counted_for_its_version_and_in_no_window():
    history = [example(label=7, guesses=[shown(1, model="xgboost"), shown(7, model="xgboost", version="4", shadow=True)])]

    counted = scores(history)

    assert {key for key in counted if "/total/" in key} == {"xgboost/0/total/base1", "xgboost/0/total/4/shadow"}
    assert counted["xgboost/0/total/4/shadow"].correct == 1
    assert [(said.n, said.correct) for key, said in counted.items() if "/window/" in key] == [(1, 0)]


def test_the_blend_and_each_players_own_model_are_counted_like_all_others():
    guesses = [shown(7, model="everyone", version="blend5+25"), shown(1, model="yours", version="own3+12")]

    history = [example(label=1, guesses=guesses)]

    assert (total(history, "everyone", "blend5").n, total(history, "everyone", "blend5").correct) == (1, 0)
    assert (total(history, "yours", "own3").n, total(history, "yours", "own3").correct) == (1, 1)


def test_however_the_examples_were_gathered_into_steps_the_state_is_the_same():
    history = [
        example(f"d{n}", n % 3, correction=f"c{n}", at=n * HOUR / 4, guesses=[shown(1), shown(2, model="yours")])
        for n in range(9)
    ]
    history += [example(f"d{n}", 1, correction=f"again{n}", revision=9, guesses=[shown(1)]) for n in range(9)]
    states = []
    for step in (1, 4, None):
        states.append(MemoryCells())
        folded(Scorer(), history, states[-1], step=step)

    assert states.count(states[0]) == len(states)


def test_a_changed_label_moves_the_guess_and_a_withdrawn_one_takes_it_out():
    first, changed = example(label=1, revision=3), example(label=7, revision=4, correction="c2")
    withdrawn = example(label=None, revision=5, correction="c2")

    assert (total([first, changed]).n, total([first, changed]).correct) == (1, 1)
    assert total([first, changed, withdrawn]).n == 0
    assert sum(total([first, changed, withdrawn]).confusion) == 0


def test_an_older_or_repeated_revision_changes_nothing():
    newest = example(label=7, revision=4)

    assert total([newest, newest, example(label=1, revision=3)]).correct == 1
    assert total([newest, newest, example(label=1, revision=3)]).n == 1


def test_a_late_guess_is_counted_once_and_beside_the_others():
    history = [example(revision=2, guesses=[shown()]), example(revision=3, guesses=[shown(), shown(1, model="xgboost")])]

    assert total(history).n == 1
    assert total(history, "xgboost", "base1").n == 1


def test_counts_of_ten_seconds_stand_in_a_window_of_their_own():
    history = [example("d1", at=0), example("d2", at=WINDOW_S - 1), example("d3", at=WINDOW_S)]

    windows = {said.window: said.n for said in scores(history).values() if said.window}

    assert [windows[time] for time in sorted(windows)] == [2, 1]


def test_a_window_takes_the_place_of_the_one_an_hour_before():
    [window] = [said for said in scores([example("d1"), example("d2", at=HOUR)]).values() if said.window]

    assert window.n == 1
    assert window.window == example(at=HOUR).drawn_at


def test_a_drawing_of_an_hour_ago_is_in_the_totals_but_no_longer_in_a_window():
    history = [example("d2", at=HOUR), example("d1", at=0)]
    [window] = [said for said in scores(history).values() if said.window]

    assert window.n == 1
    assert total(history).n == 2


def test_what_changed_is_said_once_a_batch():
    said = folded(Scorer(), [example(f"d{n}") for n in range(20)])

    assert len([counted for counted in said if isinstance(counted, ScoresCounted)]) == 2


def test_a_restarted_scorer_says_its_totals_again_and_goes_on_counting():
    cells = MemoryCells()
    folded(Scorer(), [example("d1")], cells)

    [again] = Scorer().open(cells, 0)
    gone_on = scores([example("d2")], cells)

    assert isinstance(again, ScoresCounted)
    assert again.n == 1
    assert gone_on[again.score_key].n == 2


# --- what chance picked ---------------------------------------------------------------------------------------------------


def picked(name: str = "d1", *, revision: int = 2, at: float = 0, label: int = 7, **fields: Any) -> DrawingPicked:
    """A drawing that river guessed as a 7, which was asked for, and has no label."""
    guesses = [CountedGuess(model="river", version="mnist1+0", label=label, latency_ms=8.0)]
    given: dict[str, Any] = {"player_id": "ada", "asked": 7, "picked": 0.2, "guesses": guesses}
    return DrawingPicked(drawing_id=named(name), revision=revision, drawn_at=seconds(at), **given | fields)


def picks(history: list[Event], cells: MemoryCells | None = None) -> dict[str, PicksCounted]:
    """What the topic holds after compaction."""
    return {said.pick_key: said for said in folded(Scorer(), history, cells) if isinstance(said, PicksCounted)}


def known(counted: PicksCounted) -> list[tuple[float, bool, int, dict[int, int]]]:
    """Of each stratum: probability, whether the server asked, all, and the cells of the confusion that are not empty."""
    return [(one.picked, one.gold, one.n, {cell: n for cell, n in enumerate(one.confusion) if n}) for one in counted.strata]


def test_a_picked_drawing_without_a_label_is_of_the_digit_that_was_asked_and_in_no_score():
    assert known(picks([picked()])["picks/river/0/total/mnist1"]) == [(0.2, True, 1, {77: 1})]
    assert scores([picked()]) == {}


def test_what_its_player_says_of_a_drawing_that_was_asked_for_changes_no_pick():
    """It comes after the guess, so it would come more often where the guess was wrong."""
    said = example(label=1, picked=0.2, gold=True, asked=7)
    withdrawn = example(label=None, revision=4, picked=0.2, gold=True, asked=7)

    for history in ([picked(), said], [said], [picked(), said, withdrawn]):
        assert known(picks(history)["picks/river/0/total/mnist1"]) == [(0.2, True, 1, {77: 1})]
    assert total([picked(), said]).n == 1
    assert total([picked(), said, withdrawn]).n == 0


def test_of_what_was_not_asked_the_players_word_counts_until_it_is_withdrawn():
    silent, said = picked(asked=None), example(label=1, picked=0.2)
    withdrawn = example(label=None, revision=4, picked=0.2)

    assert known(picks([silent, said])["picks/river/0/total/mnist1"]) == [(0.2, False, 1, {17: 1})]
    assert known(picks([silent, said, withdrawn])["picks/river/0/total/mnist1"]) == [(0.2, False, 1, {})]


def test_of_the_drawings_of_one_question_the_last_is_counted_in_whatever_order_they_come():
    first, second = picked("d1", label=9), picked("d2", label=7, instead_of=named("d1"))
    third = example("d3", label=7, picked=0.2, gold=True, asked=7, instead_of=named("d2"), guesses=[shown(4)])
    late = picked("d1", revision=3, label=9)

    for history in permutations([first, second, late]):
        assert known(picks(list(history))["picks/river/0/total/mnist1"]) == [(0.2, True, 1, {77: 1})]
    for history in permutations([first, second, third]):
        assert known(picks(list(history))["picks/river/0/total/mnist1"]) == [(0.2, True, 1, {74: 1})]


@pytest.mark.parametrize("restriction", ["quarantined", "banned"])
def test_the_picks_of_a_restricted_player_are_left_out_until_they_are_pardoned(restriction):
    banned, pardoned = (PlayerRestricted(player_id="ada", restriction=one) for one in (restriction, "none"))
    before, after = picked("d1", label=1), picked("d2", label=9, at=61)
    bobs = picked("d3", player_id="bob")
    of_bob, of_all = [(0.2, True, 1, {77: 1})], [(0.2, True, 3, {71: 1, 77: 1, 79: 1})]

    for history in permutations([before, after, bobs, banned]):
        assert known(picks(list(history))["picks/river/0/total/mnist1"]) == of_bob
        windows = [known(said) for said in picks(list(history)).values() if said.window]
        assert sorted(windows) == [[], of_bob]
        assert known(picks([*history, banned, pardoned])["picks/river/0/total/mnist1"]) == of_all


def test_of_what_was_not_asked_the_silent_are_counted_too():
    silent, spoken = picked("d1", asked=None), example("d2", label=7, picked=0.2, asked=3)

    assert known(picks([silent, spoken])["picks/river/0/total/mnist1"]) == [(0.2, False, 2, {77: 1})]


def test_drawings_that_were_picked_with_other_probabilities_are_counted_apart():
    counted = picks([picked("d1"), picked("d2", picked=0.5), picked("d3", asked=None)])["picks/river/0/total/mnist1"]

    assert known(counted) == [(0.2, False, 1, {}), (0.2, True, 1, {77: 1}), (0.5, True, 1, {77: 1})]


def test_a_label_of_what_was_not_picked_is_no_pick():
    assert picks([example(gold=True, asked=7)]) == {}


def test_chance_decides_of_a_drawing_once():
    """A drawing that the joiner had forgotten may come again, and be decided of again."""
    again = example(revision=5, label=1, picked=0.5)

    assert known(picks([picked(), again])["picks/river/0/total/mnist1"]) == [(0.2, True, 1, {77: 1})]


def test_a_minute_of_picks_takes_the_place_of_the_one_an_hour_before():
    hour = PICK_WINDOW_S * PICK_WINDOWS
    history = [picked("d1"), picked("d2", at=59), picked("d3", at=hour), picked("d4", at=30)]
    windows = [said for said in picks(history).values() if said.window]

    assert [known(said) for said in windows] == [[(0.2, True, 1, {77: 1})]]
    assert windows[0].window == seconds(hour)


def test_picks_are_taken_up_again_where_they_were():
    cells = MemoryCells()
    folded(Scorer(), [picked("d1")], cells)

    again = [said for said in Scorer().open(cells, 0) if isinstance(said, PicksCounted)]

    assert [known(said) for said in again] == [[(0.2, True, 1, {77: 1})]]
    assert known(picks([picked("d2")], cells)["picks/river/0/total/mnist1"]) == [(0.2, True, 2, {77: 2})]
