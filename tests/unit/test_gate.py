"""The gate: what it promotes, what it refuses, and when it says that nobody can tell yet."""

from dataclasses import replace

import numpy as np
import pytest

from deploy.compared import compared
from tests.histories import promoted, published
from tests.roster import ROSTER
from trainers import judging
from trainers.gate import GateDecision, GatePolicy, by_chance, judge, same, spent
from trainers.marks import Marks, Pictures

ALL = np.arange(10_000) < 9900


def pictures(people: int = 0, each: int = 20, newest: int = 0) -> Pictures:
    """So many drawings of each of some people; of the last of them so many are held back for their time."""
    n = people * each
    return Pictures(
        (np.arange(n) % 10).astype(np.uint8), np.repeat(np.arange(people), each).astype(np.int32), np.arange(n) >= n - newest
    )


def marks(mnist: int = 9900, people: int = 0, right: int = 19, each: int = 20, better: dict[int, int] | None = None) -> Marks:
    """A version that gets so many of each person's drawings right, but of some people others."""
    held_back = [np.arange(each) < (better or {}).get(person, right) for person in range(people)]
    return Marks(np.arange(10_000) < mnist, np.concatenate([np.zeros(0, np.bool_), *held_back]))


def gate(
    candidate: Marks, champion: Marks, people: int, *, newest: int = 0, tries: int = 1, policy: GatePolicy | None = None
) -> GateDecision:
    said = pictures(people, newest=newest)
    return judge(None, candidate, champion, said, beside="3", tries=tries, policy=policy or GatePolicy())


def test_a_version_that_is_better_for_enough_people_is_promoted_with_its_reasons():
    decided = gate(marks(people=12, right=20), marks(people=12), 12)
    assert decided.passed
    assert decided.reason.startswith("passed: +5.0 points on 240 drawings of 12 people whom neither has seen")
    assert "better for 12 people, worse for 0" in decided.reason
    assert "MNIST 99.00% against 99.00%" in decided.reason
    found = decided.beside
    assert found
    assert (found.champion, found.tries, found.people, found.judged, found.won, found.lost) == ("3", 1, 12, 240, 12, 0)
    assert (found.better, found.worse, found.needs_people, sum(found.digit_won), sum(found.digit_judged)) == (
        12,
        0,
        0,
        12,
        240,
    )


def test_it_says_by_what_was_drawn_with_what_is_won_and_lost():
    drawn = replace(pictures(12), devices=np.repeat(np.arange(12) % 3, 20).astype(np.uint8))
    worse = dict.fromkeys(range(0, 12, 3), 18)

    found = judge(None, marks(people=12, right=20, better=worse), marks(people=12), drawn, beside="3").beside

    assert found
    assert found.device_judged == {"unknown": 80, "mouse": 80, "pen": 80}
    assert (found.device_won, found.device_lost) == (
        {"unknown": 0, "mouse": 4, "pen": 4},
        {"unknown": 4, "mouse": 0, "pen": 0},
    )
    assert "devices unknown: -4 of 80, mouse: +4 of 80, pen: +4 of 80" in compared(found.model_dump())
    untold = gate(marks(people=12, right=20), marks(people=12), 12).beside
    assert untold
    assert "devices" not in compared(untold.model_dump())


def test_of_equals_and_of_few_people_it_says_how_many_more_it_takes():
    decided = gate(marks(people=12), marks(people=12), 12)
    assert decided.verdict == "undecided"
    assert "needs about 980 more held-back drawings, of 49 other people, to tell a difference of 2 points" in decided.reason
    few = gate(marks(people=5, right=20), marks(people=5), 5)
    assert few.verdict == "undecided", "five people who are all better off are so by luck in one case of 32"
    assert few.beside
    assert few.beside.needs_people > 0


def test_without_a_drawing_of_anybody_nobody_can_tell():
    decided = gate(marks(), marks(), 0)
    assert decided.verdict == "undecided"
    assert "no drawing of people whom neither has seen" in decided.reason


def test_one_person_with_many_drawings_is_one_person():
    lopsided = {0: 10}
    decided = judge(None, marks(people=1, right=600, each=600), marks(people=1, each=600, better=lopsided), pictures(1, 600))
    assert decided.verdict == "undecided"


def test_a_version_that_is_worse_beyond_chance_is_refused():
    decided = gate(marks(people=12), marks(people=12, right=20), 12)
    assert decided.verdict == "refused"
    assert decided.reason.endswith("worse on people by more than chance")


def test_a_version_that_surely_gains_too_little_is_refused():
    some = {person: 18 + 2 * (person % 2) for person in range(400)}
    decided = gate(marks(people=400), marks(people=400, better=some), 400)
    assert decided.verdict == "refused"
    assert "a gain of 0.5 points or more is out of the question" in decided.reason


def test_what_is_told_already_is_asked_no_more_but_a_finer_difference():
    won, lost = dict.fromkeys(range(0, 100, 10), 20), dict.fromkeys(range(5, 100, 10), 20)
    decided = gate(marks(people=100, better=won), marks(people=100, better=lost), 100, policy=GatePolicy(least_gain=0.002))
    assert decided.verdict == "undecided"
    assert "a difference of 2 points would have shown; needs about" in decided.reason
    assert decided.reason.endswith("to tell a difference of 1 point")


def test_each_rebuild_beside_one_champion_must_be_better_beyond_less_chance():
    better = dict.fromkeys(range(7), 20)
    candidate, champion = marks(people=12, better=better), marks(people=12)
    assert gate(candidate, champion, 12).passed, "seven people of seven: one in 128"
    later = gate(candidate, champion, 12, tries=3)
    assert later.verdict == "undecided"
    assert spent(0.05, 3) < 1 / 128 < spent(0.05, 1)
    assert pytest.approx(0.05, abs=1e-5) == sum(spent(0.05, tries) for tries in range(1, 10_000)) + 0.05 / 10_000


def test_a_gain_on_people_pays_for_a_loss_on_mnist_as_the_policy_says():
    better, champion = marks(people=12, right=20), marks(people=12)
    assert gate(replace(better, mnist=np.arange(10_000) < 9860), champion, 12).passed, "0.4 points for 5"
    too_much = gate(
        replace(better, mnist=np.arange(10_000) < 9890), champion, 12, policy=GatePolicy(mnist_per_gain=0.0, mnist_free=0.0005)
    )
    assert too_much.verdict == "refused"
    assert "0.10 points lost on MNIST, 0.05 are borne for such a gain" in too_much.reason
    assert gate(replace(better, mnist=np.arange(10_000) < 9890), champion, 12, policy=GatePolicy(mnist_per_gain=0.0)).passed
    most = GatePolicy(mnist_most=0.003)
    assert gate(replace(better, mnist=np.arange(10_000) < 9860), champion, 12, policy=most).verdict == "refused"


def test_a_loss_on_mnist_that_chance_alone_would_give_is_none():
    """24 of 60 pictures won: 99.03 % beside 99.15 %, the same training on another processor."""
    people, before = marks(people=12, right=20), marks(people=12)
    candidate, champion = ALL.copy(), ALL.copy()
    candidate[:36], champion[36:60] = False, False
    none = GatePolicy(mnist_per_gain=0.0)
    assert gate(replace(people, mnist=candidate), replace(before, mnist=champion), 12, policy=none).passed
    candidate[36:60], champion[36:60] = True, True
    candidate[:36] = False
    assert gate(replace(people, mnist=candidate), replace(before, mnist=champion), 12, policy=none).verdict == "refused"


def test_a_version_that_forgot_mnist_is_refused_before_anybody_is_asked_for_more():
    decided = gate(marks(mnist=9860), marks(mnist=9980), 0, policy=GatePolicy(mnist_most=0.005))
    assert decided.verdict == "refused"


def test_a_broken_candidate_is_refused_even_beside_a_broken_champion():
    refused = gate(marks(9849), marks(9000), 0)
    assert refused.verdict == "refused"
    assert "98.5%" in refused.reason


def test_drawings_that_are_held_back_for_their_time_can_refuse_and_never_promote():
    champion = marks(people=12)
    only_newest = gate(marks(people=12, right=20), champion, 12, newest=240)
    assert only_newest.verdict == "undecided"
    worse = marks(people=24, better={person: 20 if person < 12 else 10 for person in range(24)})
    refused = gate(worse, marks(people=24), 24, newest=240)
    assert refused.verdict == "refused"
    assert "worse on the 240 newest drawings" in refused.reason


def test_the_champions_own_bytes_are_refused():
    refused = same("d1", "d1")
    assert refused
    assert refused.verdict == "refused"
    assert same("d1", "d2") is None
    assert same("d1", None) is None


def test_where_the_versions_never_disagreed_a_gain_is_still_possible():
    decided = gate(marks(people=12), marks(people=12), 12)
    assert decided.beside
    assert 0.01 < decided.beside.high < 0.02
    assert decided.beside.low == pytest.approx(-decided.beside.high)


def test_the_coin_is_fair():
    assert pytest.approx(1.0) == by_chance(0, 9)
    assert pytest.approx(0.5) == by_chance(5, 9)
    assert pytest.approx(0.5) == by_chance(1000, 1999), "also when it is tossed more often than a float can count"


def test_metrics_are_counts_first():
    assert (marks(9900).metrics()) == {
        "mnist_n": 10000.0,
        "mnist_correct": 9900.0,
        "mnist_accuracy": 0.99,
        "held_back_n": 0,
        "held_back_correct": 0,
    }


def test_a_version_that_is_as_often_right_as_it_says_is_calibrated():
    sure = np.full((10, 2), 0.8)
    honest = Marks(ALL, np.arange(10) < 8, sure).metrics()
    assert honest["calibration_error"] == pytest.approx(0.0)
    assert honest["brier_score"] == pytest.approx(0.16)
    boastful = Marks(ALL, np.arange(10) < 4, sure).metrics()
    assert boastful["calibration_error"] == pytest.approx(0.4)
    assert boastful["log_loss"] == pytest.approx(-np.log(0.8))


def test_the_first_version_of_a_model_is_judged_alone():
    assert judge(None, marks(9900), None, pictures()).passed
    assert not judge(None, marks(9849), None, pictures()).passed


def test_a_model_that_is_not_as_good_even_when_all_is_well_has_a_least_accuracy_of_its_own():
    own = ROSTER["kmeans"].least_mnist
    assert judge(own, marks(9700), None, pictures()).passed
    assert not judge(own, marks(9699), None, pictures()).passed
    assert not judge(None, marks(9700), None, pictures()).passed


def test_a_version_does_not_answer_by_itself_in_place_of_one_that_it_was_not_judged_beside():
    compared = gate(marks(people=12, right=20), marks(people=12), 12).beside
    assert compared
    judged = published("4", beside=compared.model_copy(update={"champion": "1"}))
    assert judging.overtaken(judged, promoted("1")) is None
    assert judging.overtaken(judged, promoted("4")) is None, "it answers already: the trainer was killed after that"
    assert judging.overtaken(published("4"), promoted("3")) is None, "the first version of a model"
    assert "judged beside 1, and 3 answers since" in str(judging.overtaken(judged, promoted("3")))
