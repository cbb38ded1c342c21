"""Who a player is shown first: found by what they say, and found again from the log."""

from random import Random

import numpy as np
import pytest

from contracts.events import ExampleLabelled
from contracts.ports import Origin
from streams.bandit import DISCOUNT, REFRESH, START, STRENGTH, Belief, Means, outcomes, pick
from streams.personal_model import PersonalModels
from tests.histories import READER, MemoryCells, example, shown
from tests.roster import MODELS


def belief(corrections: int, **correct: float) -> Belief:
    """What is believed after so many corrections of a player, of which each model was right so many times."""
    return Belief(corrections, dict.fromkeys(correct, float(corrections)), correct, {})


def test_the_same_belief_picks_the_same_model_and_another_player_or_correction_may_pick_another():
    known = belief(0)

    assert len({pick("ada", known, MODELS) for _ in range(20)}) == 1
    assert {pick(f"player {n}", known, MODELS) for n in range(300)} == set(MODELS)
    assert len({pick("ada", belief(n), MODELS) for n in range(300)}) == len(MODELS)


def test_who_else_is_there_does_not_change_a_draw():
    for n in range(100):
        first = pick(f"p{n}", belief(3), MODELS)
        others = [arm for arm in MODELS if arm != first]
        second = pick(f"p{n}", belief(3), others)

        assert pick(f"p{n}", belief(3), [first, second]) == first
        assert pick(f"p{n}", belief(3), [*reversed(others)]) == second
        assert pick(f"p{n}", belief(3), [*MODELS, "one-more"]) in (first, "one-more")


def test_only_those_who_are_asked_for_are_picked():
    assert pick("ada", belief(30, xgboost=30), ["kmeans"]) == "kmeans"
    with pytest.raises(ValueError, match="empty"):
        pick("ada", belief(0), [])


def test_one_more_model_is_believed_in_as_all_are_at_birth_so_that_it_is_tried_and_no_more_than_that():
    good = [pick(f"p{n}", belief(100, xgboost=99, river=60), ["xgboost", "river", "one-more"]) for n in range(300)]
    bad = [pick(f"p{n}", belief(100, xgboost=60, river=60), ["xgboost", "river", "one-more"]) for n in range(300)]

    assert 20 < good.count("one-more") < 150
    assert bad.count("one-more") > 290


def test_later_outcomes_weigh_more():
    said = np.array([[7, 7, 1, -1], [1, -1, 7, -1]])

    n, correct = outcomes(np.array([7, 7]), said, ("kmeans", "mxnet", "river", "yours"))

    assert n == pytest.approx({"kmeans": 1 + DISCOUNT, "mxnet": DISCOUNT, "river": 1 + DISCOUNT})
    assert correct == pytest.approx({"kmeans": DISCOUNT, "mxnet": DISCOUNT, "river": 1})


def test_the_means_of_all_players_are_taken_anew_after_some_corrections_and_survive_being_kept():
    means = Means.of(None)
    said = dict.fromkeys(MODELS, 1)

    for _ in range(REFRESH - 1):
        means = means.counting(7, said, 1).after_correction()
    assert [means.mean(model) for model in MODELS] == [START] * len(MODELS)
    means = means.counting(7, said, 1).after_correction()

    assert max(means.in_force.values()) < 0.5
    assert means.mean("one-more") == START
    assert means.n_in_force == dict.fromkeys(MODELS, REFRESH)
    later = means.counting(7, said, 1).after_correction()
    assert (later.n_in_force, later.in_force) == (means.n_in_force, means.in_force), "both say what was known then"
    assert Means.of(later.cell()) == later
    assert Means.of(means.cell()) == means


def test_what_is_kept_depends_on_what_was_said_and_not_on_the_order_in_which_models_came():
    means = [Means.of(None).counting(7, dict.fromkeys(models, 7), 1).after_correction() for models in (MODELS, MODELS[::-1])]

    assert means[0].cell() == means[1].cell()


def test_a_drawing_that_is_counted_no_longer_leaves_the_means_as_if_it_never_was():
    before = Means.of(None).counting(7, {"river": 7}, 1)

    after = before.counting(1, {"river": 1, "kmeans": 7}, 1).counting(1, {"river": 1, "kmeans": 7}, -1)

    assert {model: after.n[model] for model in ("river", "kmeans")} == {"river": 1, "kmeans": 0}
    assert before.counting(-1, {"river": 7}, 1) == before, "it has no label"


def test_the_means_follow_a_model_that_changed():
    means = Means.of(None)
    for right in [True] * 20_000 + [False] * 4_000:
        means = means.counting(7, dict.fromkeys(MODELS, 7 if right else 1), 1).after_correction()

    assert max(means.in_force.values()) < 0.35
    assert max(means.n.values()) <= 2000 + REFRESH


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
            history.append(example(name, 7, correction=name, player_id=player, at=n, guesses=guesses, features=None))
    return history


def test_it_finds_the_model_that_is_best_for_each_player():
    own, cells = PersonalModels(READER), MemoryCells()
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
    own, cells = PersonalModels(READER), MemoryCells()
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
    own, cells = PersonalModels(READER), MemoryCells()
    list(own.open(cells, 0))
    made = []
    for offset, said in enumerate(history):
        made.append((said.player_id, *own.pick(0, said.player_id, PLAYED)))
        list(own.apply(cells, said, Origin(0, offset, 0)))
        list(own.settle(cells, 0))
        if offset % 37 == 0:  # the process was restarted
            own = PersonalModels(READER)
            list(own.open(cells, 0))

    assert {corrections for _, _, corrections in made} == set(range(150))
    for player, picked, corrections in made[::7]:
        assert picked == picked_again(history, player, corrections)


def picked_again(history: list[ExampleLabelled], player: str, corrections: int) -> str:
    """A pick by the formula in the module's docstring, from the log alone; here every example is a correction."""
    of_player = [place for place, said in enumerate(history) if said.player_id == player]
    prefix = history[: of_player[corrections - 1] + 1] if corrections else []  # by the first of either, no means were taken yet
    means = {}
    for arm in PLAYED:
        until = history[: len(prefix) // REFRESH * REFRESH]
        right = [guess.label == said.label for said in until for guess in said.guesses if guess.model == arm]
        means[arm] = (sum(right) + 20 * START) / (len(right) + 20)
    draws = {}
    mine = [said for said in prefix if said.player_id == player]
    for arm in PLAYED:
        n = correct = 0.0
        for age, said in enumerate(reversed(mine)):
            for guess in said.guesses:
                if guess.model == arm:
                    n += DISCOUNT**age
                    correct += DISCOUNT**age * (guess.label == said.label)
        random = Random(f"{player}/{corrections}/{arm}")
        draws[arm] = random.betavariate(STRENGTH * means[arm] + correct, STRENGTH * (1 - means[arm]) + n - correct)
    return max(PLAYED, key=lambda arm: draws[arm])
