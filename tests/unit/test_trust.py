"""Trust: what a player's lessons count, by what the player has taught; on real handwriting, judged by other people's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.additive import BASIS, EIGHTHS
from streams.online_base import load_base
from streams.player_memory import Rows
from streams.shown_labels import NONE
from streams.taught import ROW
from streams.trust import FIRST, JUDGE_SCALE, KEPT, LATEST, LOOKS, SURE, _different, judged, weigh


def taught(*lessons: tuple[int, int], sure: bool = True) -> Rows:
    """Rows of drawings in the order of time, each with its label and the digit that the judge sees."""
    rows = np.zeros(len(lessons), ROW)
    for number, (label, said) in enumerate(lessons):
        rows[number]["at"], rows[number]["low"] = number, number
        rows[number]["label"], rows[number]["said"], rows[number]["sure"] = label, said, sure
    return rows


HONEST = [(digit, digit) for digit in range(10)] * 3


def test_nobody_has_no_weights():
    weights, known = weigh(taught())

    assert (weights.tolist(), known) == ([], False)


def test_a_player_is_a_newcomer_until_enough_drawings_are_evidence():
    few, enough = taught(*HONEST[: FIRST - 1]), taught(*HONEST[:FIRST])
    unclear = taught(*HONEST)
    unclear["sure"][FIRST - 1 :] = False

    assert [weigh(rows)[1] for rows in (few, unclear, enough)] == [False, False, True]
    assert set(weigh(few)[0]) == {EIGHTHS}, "whole: the model makes all newcomers' small"
    assert set(weigh(enough)[0]) == set(weigh(taught(*HONEST))[0]) == {EIGHTHS}


def test_a_withdrawn_label_has_no_weight_and_is_no_evidence():
    rows = taught(*HONEST[:FIRST])
    rows["label"][0] = NONE

    weights, known = weigh(rows)

    assert not known
    assert weights.tolist() == [0] + [EIGHTHS] * (FIRST - 1)


@pytest.mark.parametrize("enough", [FIRST - 2, 3 * FIRST])
def test_a_label_over_the_quota_has_no_weight_and_is_evidence_all_the_same(enough):
    rows = taught(*HONEST[:enough])
    rows["over"][0] = True

    weights, known = weigh(rows)

    assert known is (enough >= FIRST)
    assert weights.tolist() == [0] + [EIGHTHS] * (enough - 1)
    rows["label"][0] += 1
    assert (weigh(rows)[0] <= weights).all()


def test_who_labels_anything_teaches_nothing():
    rows = taught(*[((digit + 1) % 10, digit) for digit in range(10)] * 2)

    assert set(weigh(rows)[0]) == {0}
    assert set(weigh(taught(*[(3, digit) for digit in range(10)] * 2))[0]) == {0}


def test_an_odd_hand_keeps_its_lessons():
    """Their ones look like sevens, and their sevens are called sevens."""
    rows = taught(*HONEST, *HONEST, *[(1, 7)] * 2)

    weights, _ = weigh(rows)

    assert min(weights[:-2]) >= EIGHTHS - 1
    assert min(weights[-2:]) >= EIGHTHS / 2
    without_sevens = rows[rows["label"] != 7]
    assert set(weigh(without_sevens)[0][-2:]) == {0}, "so they might be somebody who swaps the two"


def test_who_swaps_two_digits_teaches_neither_and_all_others():
    swaps = {1: 7, 7: 1}
    rows = taught(*[(swaps.get(digit, digit), digit) for digit in range(10)] * 5)
    swapped = np.isin(rows["said"], list(swaps))

    weights, known = weigh(rows)

    assert known
    assert set(weights[swapped]) == {0}
    assert min(weights[~swapped]) >= EIGHTHS / 2


def test_who_agrees_but_for_one_chosen_shape_does_not_teach_that():
    rows = taught(*[(digit, digit) for digit in range(10) if digit != 4] * 4, *[(9, 4)] * 4)

    weights, _ = weigh(rows)

    assert set(weights[-4:]) == {0}
    assert min(weights[:-4]) >= EIGHTHS / 2


def test_a_good_name_does_not_last():
    """Two hundred right labels, and then as many wrong ones as are looked at: what was learned from the first goes too."""
    rows = taught(*HONEST * 7, *[((digit + 1) % 10, digit) for digit in range(10)] * (LATEST // 10 + 1))

    assert set(weigh(rows)[0]) == {0}


def test_the_best_name_does_not_outlast_some_dozen_lies():
    rows = taught(*[(n % 10, n % 10) for n in range(2048)], *[((n + 1) % 10, n % 10) for n in range(LATEST + KEPT // LOOKS)])

    assert set(weigh(rows)[0]) == {0}


def test_who_is_known_stays_known_while_more_comes():
    rows = taught(*[(n % 10, n % 10) for n in range(1500)])
    rows["sure"][FIRST:] = False

    assert all(weigh(rows[:n])[1] for n in range(FIRST, len(rows), 7))


def test_no_more_than_the_newest_lessons_of_a_newcomer_count_either():
    rows = taught(*[(n % 10, n % 10) for n in range(KEPT + 30)], sure=False)

    weights, known = weigh(rows)

    assert not known
    assert np.count_nonzero(weights) == KEPT


def test_lies_where_the_judge_is_not_sure_do_not_hide_behind_what_agrees_there():
    rows = taught(*HONEST, *[(1, 1)] * 108, *[(9, 4)] * 108)
    rows["sure"][len(HONEST) :] = False

    assert set(weigh(rows)[0][-108:]) == {0}


def test_a_little_disagreement_costs_a_little():
    rows = taught(*HONEST, *[(5, 3)] * 3, *[(6, 8)] * 3)

    weights, _ = weigh(rows)

    assert 0 < min(weights[: len(HONEST)]) <= max(weights) < EIGHTHS
    assert [weight > 0 for weight in weights[len(HONEST) :]] == [False] * 5 + [True], "thirty that agree pay for one"


def test_nobody_counts_more_than_the_newest_lessons():
    rows = taught(*[(digit % 10, digit % 10) for digit in range(KEPT + 30)])
    shuffled = np.random.default_rng(0).permutation(len(rows))

    weights, _ = weigh(rows[shuffled])

    assert sorted(shuffled[weights == 0].tolist()) == list(range(30))
    assert set(weights) == {0, EIGHTHS}


@settings(max_examples=150, deadline=None)
@given(
    lessons=st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 9), st.booleans()), max_size=60),
    order=st.randoms(use_true_random=False),
)
def test_the_weights_are_of_the_set_of_drawings_in_whatever_order_they_are_kept(lessons, order):
    rows = taught(*[(label, said) for label, said, _ in lessons])
    rows["sure"] = [sure for *_, sure in lessons]
    rows["embedding"] = pictures([order.randrange(20) for _ in lessons] or [0])[: len(rows)]
    places = list(range(len(rows)))
    order.shuffle(places)

    weights, known = weigh(rows, rows["embedding"])
    again, still = weigh(rows[places], rows[places]["embedding"])

    assert still == known
    assert again.tolist() == weights[places].tolist()
    assert ((weights >= 0) & (weights <= EIGHTHS)).all()
    assert not weights[rows["label"] == NONE].any()


def test_who_lies_only_where_the_judge_is_not_sure_teaches_no_lies():
    rows = taught(*HONEST, *[((digit + 1) % 10, digit) for digit in range(10)] * 3)
    rows["sure"][len(HONEST) :] = False

    weights, known = weigh(rows)

    assert known
    assert set(weights[len(HONEST) :]) == {0}
    assert set(weights[: len(HONEST)]) == {EIGHTHS}


def test_what_an_odd_hand_teaches_where_the_judge_is_not_sure_counts():
    rows = taught(*HONEST, *[(digit, digit) for digit in range(10)], *[(4, 9), (1, 7), (9, 4)])
    rows["sure"][len(HONEST) :] = False

    assert set(weigh(rows)[0]) == {EIGHTHS}


@pytest.mark.parametrize(("agree", "count"), [(FIRST + 3, 0), (FIRST + 8, 2), (FIRST + 24, 6)])
def test_lies_where_the_judge_is_not_sure_are_paid_for_though_as_much_agrees_there(agree, count):
    rows = taught(*HONEST[:agree], *[(4, 4), (4, 4), (9, 4), (9, 4)] * 30)
    rows["sure"][agree:] = False

    weights, known = weigh(rows)

    assert known
    lies = weights[rows["label"] != rows["said"]]
    assert [weight > 0 for weight in lies] == [False] * (60 - count) + [True] * count, "the newest"


def pictures(numbers: list[int], moved: float = 0.0) -> NDArray[np.float32]:
    """Embeddings, the same for the same number but for how far they are moved, shape (n, 64), each of length 4."""
    shape = (len(numbers), BASIS.size)
    made = np.random.default_rng(1).normal(size=(max(numbers) + 1, BASIS.size))[numbers]
    made = made / np.linalg.norm(made, axis=1, keepdims=True) + moved * np.random.default_rng(2).normal(size=shape) / 8
    return (4 * made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("moved", [0.0, 0.03])
def test_the_same_drawing_again_and_again_pays_for_one_lie_at_most(moved):
    """Nine of ten labels are true, of the same ten drawings; the tenth is a lie about another clear one."""
    told = [
        ((digit + 1) % 10 if lies else digit, digit)
        for turn in range(12)
        for digit in range(10)
        for lies in [digit == turn % 10]
    ]
    rows = taught(*told)
    lies = rows["label"] != rows["said"]
    numbers = [10 + n if lie else n % 10 for n, lie in enumerate(lies)]

    alike, different = weigh(rows, pictures(numbers, moved))[0], weigh(rows, pictures(list(range(len(rows)))))[0]

    assert np.count_nonzero(alike[lies]) == 0, "ten different drawings pay for none"
    assert np.count_nonzero(different[lies]) == (108 - FIRST) // 16
    assert different.tolist() == weigh(rows)[0].tolist()


@pytest.mark.parametrize("n", [1, 31, 32, 33, 200])
def test_as_many_drawings_are_different_as_are_like_none_before_them(n):
    numbers = np.random.default_rng(n).integers(0, max(1, n // 3), n).tolist()
    made = pictures(numbers)

    assert _different(np.arange(n), made, 10**6) == len(set(numbers))
    assert _different(np.arange(n), made, 5) == min(5, len(set(numbers)))


@pytest.mark.parametrize("sure", [True, False])
def test_a_player_at_a_threshold_cannot_have_all_lessons_taught_anew_with_each_drawing(sure):
    """Drawings that agree and that do not by turns, after as many of each as give half a weight."""
    rows = taught(*[(digit, digit) if turn % 4 else ((digit + 1) % 10, digit) for turn in range(60) for digit in range(10)])
    rows["sure"] = np.where(np.arange(len(rows)) % 3 > 0, True, sure)
    changed = 0

    for n in range(1, len(rows)):
        before, after = weigh(rows[:n])[0], weigh(rows[: n + 1])[0][:n]
        changed += np.count_nonzero(before != after)

    assert changed <= LOOKS * len(rows)


def test_the_judge_is_sure_of_what_is_clear_and_says_so_in_whole_numbers():
    judge, rows = load_base().judge, BASIS.rows(np.random.default_rng(0).normal(size=(50, BASIS.size)) / 2)
    scores = rows @ (judge.T / JUDGE_SCALE)

    for row, score in zip(rows, scores, strict=True):
        second, best = np.sort(score)[-2:]
        assert judged(judge, row) == (int(score.argmax()), bool(best - second >= SURE))
    assert judge.dtype == np.int64


@pytest.mark.parametrize("writer", ["28", "15", "20"])
def test_the_judge_of_the_base_knows_the_hands_that_it_has_seen(writer):
    from tests.writers import drawings

    one, judge = drawings(writer), load_base().judge
    said = [judged(judge, row) for row in BASIS.rows(one.embeddings)]

    sure = [digit == label for (digit, sure), label in zip(said, one.labels, strict=True) if sure]
    assert len(sure) > 0.8 * len(said)
    assert np.mean(sure) > 0.98
