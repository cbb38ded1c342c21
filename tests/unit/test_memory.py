"""What is remembered of a player: what the card says of it, and that a reset leaves nothing of what was drawn before."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import Event, ExampleLabelled, MemoryAsked, MemoryReset, MemoryTold, ResetAsked
from contracts.ports import Origin
from streams.joiner import Joiner
from streams.personal_model import KEPT, PersonalModels
from streams.player_memory import MOST_BYTES
from tests.histories import (
    BEGAN,
    MemoryCells,
    correction,
    drawing,
    example,
    features,
    folded,
    like,
    named,
    probabilities,
    reset,
    seconds,
    shown,
)
from tests.judged import BASE, clear

SHARED = np.array([probabilities(7)])
MODELS = ("everyone", "kmeans", "mxnet", "river", "tensorflow", "xgboost", "yours")


def one(number: int, label: int | None = 1, *, at: float | None = None, **fields: Any) -> ExampleLabelled:
    """A drawing of ada's, drawn ``number`` seconds after the beginning if ``at`` says nothing else."""
    given = {"correction": f"c{number}", "features": features(number)} | fields
    return example(f"d{number}", label, at=number if at is None else at, **given)


def seen(own: int, river: int) -> list[Any]:
    return [shown(own, model="yours"), shown(river, model="river")]


def after(history: list[Event], cells: MemoryCells | None = None) -> PersonalModels:
    own = PersonalModels(BASE)
    folded(own, history, cells)
    return own


def answers(own: PersonalModels, seeds: int = 6) -> list[tuple[str, list[float]]]:
    told = []
    for seed in range(seeds):
        p, version = own.answer(0, "ada", *like(seed), SHARED)
        told.append((version, p[0].tolist()))
    return told


def told(own: PersonalModels, *, whole: bool = False, player: str = "ada") -> MemoryTold:
    answer = own.told(0, MemoryAsked(request_id=named("q"), player_id=player, whole=whole), seconds(99))
    assert answer is not None
    return answer


# --- reset


def test_after_a_reset_the_players_own_model_is_the_shared_one_again():
    own = after([one(0), one(1), reset(until=1)])

    assert answers(own) == answers(after([]))


def test_what_is_drawn_after_a_reset_is_learned_as_by_a_player_who_is_new():
    assert answers(after([one(0, 3), one(1, 4), reset(until=1), one(2), one(3, 5)])) == answers(after([one(2), one(3, 5)]))


def test_whatever_becomes_later_of_a_drawing_from_before_the_reset_is_not_learned():
    later = one(0, 5, revision=9, correction="changed my mind")

    assert answers(after([one(0), reset(until=0), later, one(1, 4, at=0)])) == answers(after([]))


def test_a_reset_that_comes_twice_does_not_forget_what_was_drawn_between():
    history = [one(0), reset(until=0), one(1, 4), reset(until=5)]

    assert answers(after(history)) == answers(after([one(1, 4)]))


def test_of_two_resets_the_later_time_counts_in_any_order():
    first, second = reset("r1", until=1), reset("r2", until=3)
    history = [one(n, n) for n in range(5)]

    assert (
        answers(after([*history, first, second])) == answers(after([*history, second, first])) == answers(after([history[4]]))
    )


def test_a_reset_is_of_one_player_alone():
    of_bob = [example("bobs", 2, player_id="bob", features=features(0))]

    own = after([*of_bob, one(0), reset(until=9)])

    assert told(own, player="bob").lessons == 1
    assert told(own).lessons == 0


HISTORY: list[Event] = [
    one(n, label, at=n % 4, revision=revision, correction=f"d{n} {revision}", guesses=[shown(n % 10), shown(model="everyone")])
    for n in range(6)
    for revision, label in ((3, 1), (4, 2), (6, None if n % 2 else 3))
]
RESETS = [reset("r1", until=1), reset("r2", until=2), reset("r3", until=0)]


@settings(max_examples=80, deadline=None)
@given(
    resets=st.lists(st.sampled_from(RESETS), min_size=1, max_size=3, unique=True),
    data=st.data(),
    again=st.lists(st.sampled_from([*HISTORY, *RESETS[:1]]), max_size=4),
    kept=st.sampled_from([2, 4, KEPT]),
)
def test_every_order_of_examples_and_resets_ends_in_the_same_answers_bit_for_bit(resets, data, again, kept):
    order = data.draw(st.permutations([*HISTORY, *resets]))
    until = max(one.until for one in resets)
    without = [event for event in HISTORY if isinstance(event, ExampleLabelled) and event.drawn_at > until]
    again = [event for event in again if event in order]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.personal_model.KEPT", kept)
        own, clean = after([*order, *again]), after(without)

    assert answers(own) == answers(clean), "as if what was drawn before had never been there"


def test_a_reset_says_what_is_left_and_is_kept_through_a_restart():
    cells = MemoryCells()

    said = folded(PersonalModels(BASE), [*(one(n) for n in range(20)), reset("r1", until=16)], cells)
    again = folded(PersonalModels(BASE), [reset("r1", until=99)], cells)

    [confirmed] = [event for event in said if isinstance(event, MemoryTold)]
    assert (confirmed.request_id, confirmed.lessons, confirmed.reset_until) == (named("r1"), 3, seconds(16))
    assert again == [confirmed]
    assert [key for key in cells if key.startswith("rows/")] == ["rows/ada/0"], "cells that are not needed any more are gone"
    assert answers(after([], cells), 20) == answers(after([one(n) for n in range(17, 20)]), 20)


def test_a_reset_takes_nothing_from_what_all_players_say_of_the_models():
    history = [one(n, 7, features=clear(7, n), guesses=[shown(7), shown(1, model="kmeans")]) for n in range(25)]

    own, untouched = after([*history, reset(until=25)]), after(history)

    assert own.blend_weights(0) == untouched.blend_weights(0) != after([]).blend_weights(0)
    assert own.player(0, "ada").memory.belief.n == {}, "but who is shown first is learned anew"


def test_the_joiner_puts_a_reset_in_its_place_among_the_players_examples():
    asked = ResetAsked(reset_id=named("r1"), player_id="ada", at=seconds(7))

    passed = folded(Joiner(), [drawing(), correction(), asked])

    assert [event for event in passed if isinstance(event, MemoryReset)] == [
        MemoryReset(reset_id=named("r1"), player_id="ada", until=seconds(7), at=BEGAN)
    ]


# --- the card


def test_the_card_counts_on_how_many_drawings_only_one_of_the_two_was_right():
    history = [
        one(0, 1, guesses=seen(1, 7)),
        one(1, 1, guesses=seen(1, 7)),
        one(2, 1, guesses=seen(7, 1)),
        one(3, 1, guesses=seen(1, 1)),
        one(4, 1, guesses=seen(7, 3)),
        one(5, 1),
        one(6, None, guesses=seen(1, 7)),
    ]

    card = told(after(history))

    assert (card.lessons, card.version) == (6, "own3+6")
    assert (card.both, card.own_alone, card.shared_alone) == (5, 2, 1)
    assert card.drawings is None


def test_the_card_of_a_player_who_is_new_is_empty_and_that_of_another_process_is_not_told():
    own = after([])

    card = told(own)
    assert (card.lessons, card.both, card.reset_until) == (0, 0, None)
    assert own.told(3, MemoryAsked(request_id=named("q"), player_id="ada"), seconds(0)) is None


def test_a_whole_memory_has_each_labelled_drawing_as_it_was_drawn():
    raster = np.zeros((28, 28), np.uint8)
    raster[4:24, 13:15] = 255
    drawn = features(2).model_copy(update={"raster": raster.tobytes()})

    [first, second] = (
        told(after([one(5, 3, features=drawn, guesses=seen(3, 7)), one(1, 4), one(2, None)]), whole=True).drawings or []
    )

    assert (first.drawing_id, first.label, first.drawn_at) == (named("d1"), 4, seconds(1))
    assert (second.label, second.said) == (3, {"river": 7, "yours": 3})
    assert np.array_equal(np.unpackbits(np.frombuffer(second.bits, np.uint8)).reshape(28, 28) * 255, raster)


def test_a_full_memory_takes_at_most_64_kib_and_its_card_says_how_much():
    cells, more = MemoryCells(), ("neighbours", "another-one", "and-a-third")
    guesses = [shown(n, model=model) for n, model in enumerate((*MODELS, *more))]

    own = after([one(n, n % 10, guesses=guesses) for n in range(KEPT + 20)], cells)

    said = sum(len(value) for key, value in cells.items() if key.startswith("outcomes/ada"))
    kept = sum(len(value) for key, value in cells.items() if "/ada" in key) - said
    assert told(own).size == kept <= MOST_BYTES
    assert said < 50 * (KEPT + 20), "what they say of the models is no part of their own model, and small"
    assert len(told(own, whole=True).record_value()) < 200_000


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_only_the_direction_of_an_embedding_counts_and_a_large_one_fits(scale):
    embedding = np.frombuffer(features(0).embedding, "<f4")
    grown = features(0).model_copy(update={"embedding": (embedding * np.float32(scale)).astype("<f4").tobytes()})

    assert answers(after([one(0, 3, features=grown)])) == answers(after([one(0, 3)]))


def test_an_embedding_of_nothing_teaches_nothing():
    for bad in (np.zeros(64, "<f4"), np.full(64, np.nan, "<f4"), np.full(64, np.inf, "<f4")):
        cells = MemoryCells()
        own = PersonalModels(BASE)
        list(own.open(cells, 0))
        flat = features(0).model_copy(update={"embedding": bad.tobytes()})

        assert list(own.apply(cells, one(0, 3, features=flat), Origin(0, 0, 0))) == []
        assert answers(own) == answers(after([]))
