"""The gate, and what the log says is still to be done."""

from uuid import UUID, uuid4

import numpy as np
import pytest

from contracts.events import ModelPromoted, ModelPublished, RetrainModel, TrainingAdvanced
from trainers.gate import Marks, by_chance, judge
from trainers.standing import Standing, next_version, variant_of, version_of


def marks(mnist: int, held_back: int = 0, of: int = 0) -> Marks:
    """So many right of 10,000, and of the held-back drawings the first so many."""
    return Marks(np.arange(10_000) < mnist, np.arange(of) < held_back)


def test_a_candidate_as_good_as_the_champion_passes():
    verdict = judge(marks(9900, 95, 100), marks(9900, 95, 100))
    assert verdict.passed
    assert "MNIST 99.00% against 99.00%" in verdict.reason


def test_a_candidate_may_lose_a_tenth_of_a_point_on_mnist_and_no_more():
    assert judge(marks(9890), marks(9900)).passed
    refused = judge(marks(9889), marks(9900))
    assert not refused.passed
    assert "more than 0.1 points lost" in refused.reason


def test_a_broken_candidate_is_refused_even_beside_a_broken_champion():
    refused = judge(marks(9849), marks(9000))
    assert not refused.passed
    assert "98.5%" in refused.reason


def test_a_candidate_that_loses_held_back_drawings_beyond_chance_is_refused():
    refused = judge(marks(9950, 90, 100), marks(9900, 95, 100))
    assert not refused.passed
    assert "0 won, 5 lost" in refused.reason


def test_losing_a_drawing_or_two_is_chance():
    assert judge(marks(9900, 93, 100), marks(9900, 95, 100)).passed


def test_few_held_back_drawings_say_nothing():
    verdict = judge(marks(9900, 0, 29), marks(9900, 29, 29))
    assert verdict.passed
    assert "too few" in verdict.reason


def test_the_coin_is_fair():
    assert pytest.approx(1.0) == by_chance(0, 9)
    assert pytest.approx(0.5) == by_chance(5, 9)


def test_metrics_are_counts_first():
    assert (marks(9900).metrics()) == {
        "mnist_n": 10000.0,
        "mnist_correct": 9900.0,
        "mnist_accuracy": 0.99,
        "held_back_n": 0,
        "held_back_correct": 0,
    }


def command(target: str = "xgboost") -> RetrainModel:
    return RetrainModel(command_id=uuid4(), target=target, by="operator")


def advanced(command_id: UUID, step: str, model: str = "xgboost") -> TrainingAdvanced:
    return TrainingAdvanced(model=model, version="1", command_id=command_id, step=step, fraction=0.5)


def test_a_command_is_due_until_its_rebuild_has_ended():
    asked = command()
    assert [asked] == Standing([asked]).due()
    assert [asked] == Standing([advanced(asked.command_id, "training"), asked]).due()
    for end in ("done", "refused", "failed"):
        assert Standing([asked, advanced(asked.command_id, end)]).due() == []


def test_commands_are_done_one_after_another_and_a_repeated_one_once():
    first, second = command(), command()
    history = [first, second, first]
    assert [first, second] == Standing(history).due()
    assert [second] == Standing([*history, advanced(first.command_id, "done")]).due()
    assert Standing([*history, advanced(second.command_id, "done")]).due() == []


def test_commands_after_one_that_the_topic_has_forgotten_are_due():
    asked = command()
    assert [asked] == Standing([asked, advanced(uuid4(), "done")]).due()


def test_models_do_not_wait_for_each_other():
    first, other = command(), command("kmeans")
    assert [other] == Standing([first, other, advanced(first.command_id, "failed")]).due()


def test_the_champion_is_whoever_was_promoted_last():
    def promoted(version: str) -> ModelPromoted:
        return ModelPromoted(model="xgboost", version=version, title="XGBoost", endpoint="e", variant=variant_of(version))

    standing = Standing([promoted("base1"), promoted("1"), promoted("base1")])
    assert standing.champion("xgboost").version == "base1"
    assert standing.champion("kmeans") is None


def test_published_versions_are_known_once():
    event = ModelPublished(
        model="xgboost", version="1", title="XGBoost", digest="d", artifact="s3://b/k", lineage={}, metrics={}, gate="passed"
    )
    assert {"1": event} == Standing([event, event]).published("xgboost")


def test_a_version_number_is_never_used_twice():
    assert next_version(["base1"]) == "1"
    assert next_version(["base1", "2", "11"]) == "12"


@pytest.mark.parametrize("version", ["base1", "1", "42", "v-next"])
def test_a_variant_names_its_version(version):
    assert version == version_of(variant_of(version))
