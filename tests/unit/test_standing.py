"""What the log says about batch models: who answers, who stands by, and what is still to be done."""

from uuid import UUID, uuid4

from contracts.events import ModelPromoted, ModelPublished, RetrainModel, TrainingAdvanced, variant_of
from trainers.standing import Standing, next_version


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
