"""What is changed, withdrawn or banned leaves the state that would be there without it: see tests/bench/unlearning.py."""

import pytest

from contracts.events import LessonTakenBack
from tests.bench.unlearning import differs

SEEDS = range(20)


def test_a_random_history_ends_in_the_state_of_the_history_in_which_only_what_stands_was_said():
    found = {seed: differs(seed) for seed in SEEDS}

    assert {seed: wrong for seed, (wrong, _) in found.items() if wrong} == {}
    done = {name for _, did in found.values() for name, times in did.items() if times}
    assert done == {"withdrawn", "changed", "sent again", "banned", "quarantined", "pardoned"}


def test_a_model_that_does_not_unlearn_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(LessonTakenBack, "sign", 0)

    assert any("online model" in differs(seed)[0] for seed in SEEDS)
