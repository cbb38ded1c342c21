"""Who a player is shown first: found by what they say, and found again from the log."""

from random import Random

import numpy as np
import pytest

from contracts.events import ExampleLabelled
from contracts.ports import Origin
from streams.bandit import DISCOUNT, START, STRENGTH, Belief, outcomes, pick
from streams.personal_model import PersonalModels
from streams.player_outcomes import LEAD_SPREAD, NEWEST
from streams.trust import FIRST
from tests.histories import MemoryCells, example, shown
from tests.judged import BASE, clear
from tests.roster import MODELS


def belief(corrections: int, **correct: float) -> Belief:
    """What is believed after so many corrections of a player, of which each model was right so many times."""
    return Belief(corrections, dict.fromkeys(correct, float(corrections)), correct)


def test_the_same_belief_picks_the_same_model_and_another_player_or_correction_may_pick_another():
    known = belief(0)

    assert len({pick("ada", known, MODELS, {}) for _ in range(20)}) == 1
    assert {pick(f"player {n}", known, MODELS, {}) for n in range(300)} == set(MODELS)
    assert len({pick("ada", belief(n), MODELS, {}) for n in range(300)}) == len(MODELS)


def test_who_else_is_there_does_not_change_a_draw():
    for n in range(100):
        first = pick(f"p{n}", belief(3), MODELS, {})
        others = [arm for arm in MODELS if arm != first]
        second = pick(f"p{n}", belief(3), others, {})

        assert pick(f"p{n}", belief(3), [first, second], {}) == first
        assert pick(f"p{n}", belief(3), [*reversed(others)], {}) == second
        assert pick(f"p{n}", belief(3), [*MODELS, "one-more"], {}) in (first, "one-more")


def test_only_those_who_are_asked_for_are_picked():
    assert pick("ada", belief(30, xgboost=30), ["kmeans"], {}) == "kmeans"
    with pytest.raises(ValueError, match="empty"):
        pick("ada", belief(0), [], {})


def test_one_more_model_is_believed_in_as_all_are_at_birth_so_that_it_is_tried_and_no_more_than_that():
    good = [pick(f"p{n}", belief(100, xgboost=99, river=60), ["xgboost", "river", "one-more"], {}) for n in range(300)]
    bad = [pick(f"p{n}", belief(100, xgboost=60, river=60), ["xgboost", "river", "one-more"], {}) for n in range(300)]

    assert 20 < good.count("one-more") < 150
    assert bad.count("one-more") > 290


def test_later_outcomes_weigh_more():
    said = np.array([[7, 7, 1, -1], [1, -1, 7, -1]])

    n, correct = outcomes(np.array([7, 7]), said, ("kmeans", "mxnet", "river", "yours"))

    assert n == pytest.approx({"kmeans": 1 + DISCOUNT, "mxnet": DISCOUNT, "river": 1 + DISCOUNT})
    assert correct == pytest.approx({"kmeans": DISCOUNT, "mxnet": DISCOUNT, "river": 1})


def test_the_sums_of_the_outcomes_are_whole_parts_so_that_they_are_the_same_on_every_machine():
    chance = np.random.default_rng(3)
    labels, said = chance.integers(0, 2, 120), chance.integers(0, 2, (120, len(MODELS)))

    n, correct = outcomes(labels, said, MODELS)
    backwards = [outcomes(labels, said[:, [place]], [model])[1][model] for place, model in enumerate(MODELS)]

    assert all(count * (1 << 30) == int(count * (1 << 30)) for count in (*n.values(), *correct.values()))
    assert list(correct.values()) == backwards
    assert n[MODELS[0]] == pytest.approx(sum(DISCOUNT**age for age in range(120)), rel=1e-6)


SKILL = {
    "ada": {"xgboost": 0.97, "everyone": 0.85, "river": 0.8, "kmeans": 0.7},
    "bob": {"xgboost": 0.75, "everyone": 0.88, "river": 0.97, "kmeans": 0.6},
}
PLAYED = tuple(SKILL["ada"])


def sitting(skill: dict[str, dict[str, float]], drawings: int, seed: int = 1) -> list[ExampleLabelled]:
    """Drawings of all players in turn, guessed as well as each model does with each of them."""
    chance = Random(seed)
    history = []
    for n in range(drawings):
        for player, of in skill.items():
            guesses = [shown(7 if chance.random() < p else 1, model=model) for model, p in of.items()]
            name = f"{player} {n}"
            history.append(example(name, 7, correction=name, player_id=player, at=n, guesses=guesses, features=clear(7, n)))
    return history


def test_it_finds_the_model_that_is_best_for_each_player():
    own, cells = PersonalModels(BASE), MemoryCells()
    list(own.open(cells, 0))
    picks: dict[str, list[str]] = {player: [] for player in SKILL}
    for offset, said in enumerate(sitting(SKILL, 600)):
        picks[said.player_id].append(own.pick(0, said.player_id, PLAYED)[0])
        list(own.apply(cells, said, Origin(0, offset, 0)))

    for player, best in (("ada", "xgboost"), ("bob", "river")):
        skill = SKILL[player]
        regret = sum(skill[best] - skill[picked] for picked in picks[player])
        uniform = 600 * (skill[best] - sum(skill.values()) / len(skill))
        assert picks[player][-200:].count(best) > 170
        assert regret < uniform / 5


def test_it_follows_a_model_that_became_better():
    before = {"ada": {"xgboost": 0.95, "river": 0.7}}
    after = {"ada": {"xgboost": 0.7, "river": 0.95}}
    own, cells = PersonalModels(BASE), MemoryCells()
    list(own.open(cells, 0))
    picks = []
    later = [said.model_copy(update={"drawing_id": said.correction_id}) for said in sitting(after, 300, seed=2)]
    for offset, said in enumerate([*sitting(before, 300), *later]):
        at = example(at=offset).drawn_at
        picks.append(own.pick(0, "ada", ("xgboost", "river"))[0])
        given = example(correction=f"correction {offset}").correction_id
        list(own.apply(cells, said.model_copy(update={"drawn_at": at, "correction_id": given}), Origin(0, offset, 0)))

    assert picks[200:300].count("xgboost") > 90
    assert picks[500:].count("river") > 90


def test_every_pick_can_be_made_again_from_the_log():
    history = sitting(SKILL, 150)
    own, cells, began = PersonalModels(BASE), MemoryCells(), 0
    list(own.open(cells, 0))
    made = []
    for offset, said in enumerate(history):
        made.append((said.player_id, *own.pick(0, said.player_id, PLAYED), began))
        list(own.apply(cells, said, Origin(0, offset, 0)))
        list(own.settle(cells, 0))
        if offset % 37 == 0:  # the process was restarted: what it reads anew stands on the means of then
            own, began = PersonalModels(BASE), offset + 1
            list(own.open(cells, 0))

    assert {corrections for _, _, corrections, _ in made} == set(range(150))
    for player, picked, corrections, began in made[::7]:
        assert picked == picked_again(history, player, corrections, began)


def picked_again(history: list[ExampleLabelled], player: str, corrections: int, began: int) -> str:
    """A pick by the formula in the module's docstring, from the log alone; here every example is a correction."""
    of_player = [place for place, said in enumerate(history) if said.player_id == player]
    until = of_player[corrections - 1] + 1 if corrections else 0
    mine, prefix = history[:until], history[: max(until, began if corrections else of_player[0], 0)]
    means = means_by_hand(prefix)
    draws = {}
    for arm in PLAYED:
        n = correct = 0.0
        for age, said in enumerate(said for said in reversed(mine) if said.player_id == player):
            for guess in said.guesses:
                if guess.model == arm:
                    n += DISCOUNT**age
                    correct += DISCOUNT**age * (guess.label == said.label)
        random = Random(f"{player}/{corrections}/{arm}")
        draws[arm] = random.betavariate(STRENGTH * means[arm] + correct, STRENGTH * (1 - means[arm]) + n - correct)
    return max(PLAYED, key=lambda arm: draws[arm])


def means_by_hand(prefix: list[ExampleLabelled]) -> dict[str, float]:
    """The means over all players: here all labels are true of clear sevens, so after six a player's newest 48 count."""
    right, n = dict.fromkeys(PLAYED, 0), dict.fromkeys(PLAYED, 0)
    for player in SKILL:
        mine = [said for said in prefix if said.player_id == player]
        newest = mine[-NEWEST:] if len(mine) >= FIRST else []
        seen = [(guess.model, guess.label != said.label) for said in newest for guess in said.guesses]
        wrong = {arm: seen.count((arm, True)) for arm in PLAYED}
        best = min(wrong[arm] for arm in PLAYED if arm != "everyone")
        for arm in PLAYED:
            n[arm] += len(newest)
            right[arm] += 8 * len(newest) - min(8 * wrong[arm], 8 * best + 8 * len(newest) // LEAD_SPREAD)
    return {arm: (right[arm] / 8 + 20 * START) / (n[arm] + 20) for arm in PLAYED}
