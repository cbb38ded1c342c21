"""Who a player is shown first: found by what they say, and found again from the log."""

from random import Random

import numpy as np
import pytest

from contracts.events import MODELS, ExampleLabelled
from streams.bandit import ARMS, DISCOUNT, REFRESH, START, STRENGTH, Belief, Means, outcomes, pick
from streams.personal_model import Personal
from tests.histories import READER, MemoryCells, example, shown


def test_every_model_that_guesses_can_be_picked():
    assert set(ARMS) == set(MODELS)


def belief(words: int, **correct: float) -> Belief:
    """Of a player with so many words, of which each model got so many right."""
    n = np.array([float(words) if arm in correct else 0.0 for arm in ARMS])
    return Belief(words, n, np.array([correct.get(arm, 0.0) for arm in ARMS]), np.full(len(ARMS), START))


def test_the_same_belief_picks_the_same_model_and_another_player_or_word_may_pick_another():
    known = belief(0)

    assert len({pick("ada", known, ARMS) for _ in range(20)}) == 1
    assert {pick(f"player {n}", known, ARMS) for n in range(300)} == set(ARMS)
    assert len({pick("ada", belief(words), ARMS) for words in range(300)}) == len(ARMS)


def test_who_else_is_there_does_not_change_a_draw():
    for n in range(100):
        first = pick(f"p{n}", belief(3), ARMS)
        others = [arm for arm in ARMS if arm != first]
        second = pick(f"p{n}", belief(3), others)

        assert pick(f"p{n}", belief(3), [first, second]) == first
        assert pick(f"p{n}", belief(3), [*reversed(others)]) == second


def test_only_those_who_are_asked_for_are_picked_and_strangers_never():
    assert pick("ada", belief(30, xgboost=30), ["kmeans", "stranger"]) == "kmeans"
    with pytest.raises(ValueError, match="empty"):
        pick("ada", belief(0), ["stranger"])


def test_later_outcomes_weigh_more():
    labels = np.array([7, 7])
    said = np.full((2, len(ARMS)), -1)
    said[:, 0], said[0, 1], said[:, 2] = [7, 1], 7, [1, 7]

    n, correct = outcomes(labels, said)

    assert n[:4].tolist() == pytest.approx([1 + DISCOUNT, DISCOUNT, 1 + DISCOUNT, 0])
    assert correct[:4].tolist() == pytest.approx([DISCOUNT, DISCOUNT, 1, 0])


def test_the_means_of_all_players_are_taken_anew_after_some_words_and_survive_being_kept():
    means = Means.of(None)
    labels, said = np.array([7]), np.full((1, len(ARMS)), 1)

    for _ in range(REFRESH - 1):
        means = means.counting(labels, said, 1).another_word()
    assert means.in_force.tolist() == [START] * len(ARMS)
    means = means.counting(labels, said, 1).another_word()

    assert means.in_force.max() < 0.5
    again = Means.of(means.cell())
    assert (again.words, again.in_force.tolist()) == (REFRESH, means.in_force.tolist())


def test_the_means_follow_a_model_that_changed():
    means = Means.of(None)
    for right in [True] * 20_000 + [False] * 4_000:
        means = means.counting(np.array([7]), np.full((1, len(ARMS)), 7 if right else 1), 1).another_word()

    assert means.in_force.max() < 0.35
    assert means.n.max() <= 2000 + REFRESH


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
            history.append(example(name, 7, word=name, player_id=player, at=n, guesses=guesses, features=None))
    return history


def test_it_finds_the_model_that_is_best_for_each_player():
    own, cells = Personal(READER), MemoryCells()
    list(own.open(cells, 0))
    picks: dict[str, list[str]] = {player: [] for player in SKILL}
    for offset, said in enumerate(sitting(SKILL, 600)):
        picks[said.player_id].append(own.pick(0, said.player_id, PLAYED)[0])
        list(own.decide(cells, said, 0, offset))

    for player, best in (("ada", "xgboost"), ("bob", "river")):
        skill = SKILL[player]
        regret = sum(skill[best] - skill[picked] for picked in picks[player])
        uniform = 600 * (skill[best] - sum(skill.values()) / len(skill))
        assert picks[player][-200:].count(best) > 170
        assert regret < uniform / 5


def test_it_follows_a_model_that_became_better():
    before = {"ada": {"xgboost": 0.95, "river": 0.7}}
    after = {"ada": {"xgboost": 0.7, "river": 0.95}}
    own, cells = Personal(READER), MemoryCells()
    list(own.open(cells, 0))
    picks = []
    later = [said.model_copy(update={"drawing_id": said.correction_id}) for said in sitting(after, 300, seed=2)]
    for offset, said in enumerate([*sitting(before, 300), *later]):
        at = example(at=offset).drawn_at
        picks.append(own.pick(0, "ada", ("xgboost", "river"))[0])
        word = example(word=f"word {offset}").correction_id
        list(own.decide(cells, said.model_copy(update={"drawn_at": at, "correction_id": word}), 0, offset))

    assert picks[200:300].count("xgboost") > 90
    assert picks[500:].count("river") > 90


def test_every_pick_can_be_made_again_from_the_log():
    history = sitting(SKILL, 150)
    own, cells = Personal(READER), MemoryCells()
    list(own.open(cells, 0))
    made = []
    for offset, said in enumerate(history):
        made.append((said.player_id, *own.pick(0, said.player_id, PLAYED)))
        list(own.decide(cells, said, 0, offset))
        list(own.settle(cells, 0))
        if offset % 37 == 0:  # the process was restarted
            own = Personal(READER)
            list(own.open(cells, 0))

    assert {words for _, _, words in made} == set(range(150))
    for player, picked, words in made[::7]:
        assert picked == picked_again(history, player, words)


def picked_again(history: list[ExampleLabelled], player: str, words: int) -> str:
    """A pick by the formula in the module's docstring, from the log alone; here every example is a word."""
    of_player = [place for place, said in enumerate(history) if said.player_id == player]
    prefix = history[: of_player[words - 1] + 1] if words else []  # by the first word of either, no means were taken yet
    means = {}
    for arm in ARMS:
        until = history[: len(prefix) // REFRESH * REFRESH]
        right = [guess.label == said.label for said in until for guess in said.guesses if guess.model == arm]
        means[arm] = (sum(right) + 20 * START) / (len(right) + 20)
    random = Random(f"{player}/{words}")
    draws = {}
    mine = [said for said in prefix if said.player_id == player]
    for arm in ARMS:
        n = correct = 0.0
        for age, said in enumerate(reversed(mine)):
            for guess in said.guesses:
                if guess.model == arm:
                    n += DISCOUNT**age
                    correct += DISCOUNT**age * (guess.label == said.label)
        draws[arm] = random.betavariate(STRENGTH * means[arm] + correct, STRENGTH * (1 - means[arm]) + n - correct)
    return max(PLAYED, key=lambda arm: draws[arm])
