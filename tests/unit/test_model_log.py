"""What the log says about batch models: who answers, who stands by, and what is still to be done."""

from typing import get_args
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import (
    EVENTS,
    CandidateSet,
    Command,
    CommandSettled,
    EndpointSeen,
    Event,
    ForgetPlayer,
    ModelRolledBack,
    PlayersForgotten,
    PolicySet,
    PromoteModel,
    RestrictPlayer,
    RetrainModel,
    RollBackModel,
    SetPolicy,
    TrainingAdvanced,
    TryVersion,
    mark_of,
)
from tests.histories import named, promoted, published, settled
from tests.roster import ROSTER
from trainers.model_log import ModelLog, QuickCommand, is_base, next_base, next_version


def command(target: str = "xgboost") -> RetrainModel:
    return RetrainModel(command_id=uuid4(), target=target, by="operator")


def advanced(command_id: UUID, step: str, model: str = "xgboost") -> TrainingAdvanced:
    return TrainingAdvanced(model=model, version="1", command_id=command_id, step=step, fraction=0.5)


def roll_back(name: str = "r", **fields: str) -> RollBackModel:
    return RollBackModel(command_id=named(name), target="xgboost", by="operator", **fields)


def promote(version: str, name: str = "p") -> PromoteModel:
    return PromoteModel(command_id=named(name), target="xgboost", version=version, by="operator")


VERSIONS = [published("base1", 0), published("1", 1), published("2", 2), published("3", 3, approved=False), published("4", 4)]


# --- rebuilds


def test_a_rebuild_is_due_until_it_has_ended():
    asked = command()
    assert [asked] == ModelLog(ROSTER, [asked]).due()
    assert [asked] == ModelLog(ROSTER, [advanced(asked.command_id, "training"), asked]).due()
    for end in ("done", "refused", "failed"):
        assert ModelLog(ROSTER, [asked, advanced(asked.command_id, end)]).due() == []


def test_rebuilds_are_done_one_after_another_and_a_repeated_one_once():
    first, second = command(), command()
    history = [first, second, first]
    assert [first, second] == ModelLog(ROSTER, history).due()
    assert [second] == ModelLog(ROSTER, [*history, advanced(first.command_id, "done")]).due()
    assert ModelLog(ROSTER, [*history, advanced(second.command_id, "done")]).due() == []


def test_rebuilds_after_one_that_the_topic_has_forgotten_are_due():
    asked = command()
    assert [asked] == ModelLog(ROSTER, [asked, advanced(uuid4(), "done")]).due()


def test_models_do_not_wait_for_each_other():
    first, other = command(), command("kmeans")
    assert [other] == ModelLog(ROSTER, [first, other, advanced(first.command_id, "failed")]).due()


# --- commands that are carried out at once


def test_a_command_is_due_until_it_is_settled_however_that_was():
    asked = [promote("1", "a"), roll_back("b"), TryVersion(command_id=named("c"), target="kmeans", role="none", by="x")]
    assert ModelLog(ROSTER, [*asked, asked[0]]).unsettled() == asked
    for outcome in ("done", "refused", "failed"):
        assert ModelLog(ROSTER, [*asked, settled(asked[0], outcome)]).unsettled() == asked[1:]


def test_every_command_is_carried_out_at_once_or_is_a_rebuild_or_forgets_a_player():
    """One that is none of these would be accepted, and never due."""
    assert {kind for kind in EVENTS if issubclass(kind, Command)} == {RetrainModel, ForgetPlayer, *get_args(QuickCommand)}


def test_a_player_is_to_be_forgotten_until_the_command_is_cut_out_of_the_log_and_nothing_names_them_afterwards():
    ban = RestrictPlayer(command_id=named("a"), by="x", player_id="eve", restriction="banned")
    other = RestrictPlayer(command_id=named("b"), by="x", player_id="bob", restriction="banned")
    asked = ForgetPlayer(command_id=named("c"), by="x", player_id="eve")
    log = ModelLog(ROSTER, [ban, other, asked, asked])
    assert (log.forgettings(), log.outcome(asked.command_id)) == ([asked], None)

    log.apply(CommandSettled(command_id=asked.command_id, target="players", outcome="done", message="forgotten"))
    assert (log.forgettings(), log.outcome(asked.command_id)) == ([asked], "done"), "it is still on the log"
    log.forget(asked.command_id)

    assert (log.forgettings(), log.unsettled()) == ([], [other])


def test_the_marks_of_the_forgotten_are_known_and_say_nothing_of_them():
    log = ModelLog(ROSTER, [PlayersForgotten(marks=[mark_of("eve")]), PlayersForgotten(marks=[mark_of("eve"), mark_of("bob")])])

    assert list(log.marks) == [mark_of("eve"), mark_of("bob")]
    assert "eve" not in "".join(log.marks)
    assert len(mark_of("eve")) == 32


def test_a_rebuild_is_no_command_that_is_settled_and_the_other_way_round():
    asked = SetPolicy(command_id=named("p"), lead="bandit", by="operator")
    assert ModelLog(ROSTER, [asked]).due() == []
    assert ModelLog(ROSTER, [command()]).unsettled() == []


# --- who answers, who stands by


def test_the_champion_is_whoever_was_promoted_last():
    model_log = ModelLog(ROSTER, [promoted("base1"), promoted("1"), promoted("base1", kind=ModelRolledBack)])
    assert model_log.champion("xgboost").version == "base1"
    assert model_log.champion("kmeans") is None


def test_published_versions_are_known_once():
    event = published("1")
    assert {"1": event} == ModelLog(ROSTER, [event, event]).published("xgboost")


def test_the_last_good_version_is_the_one_that_the_champion_names():
    assert ModelLog(ROSTER, [*VERSIONS, promoted("4", "1")]).last_good("xgboost").version == "1"


def test_without_a_name_it_is_the_newest_approved_one_from_before_the_champion():
    assert ModelLog(ROSTER, [*VERSIONS, promoted("4")]).last_good("xgboost").version == "2"
    assert ModelLog(ROSTER, [*VERSIONS, promoted("2")]).last_good("xgboost").version == "1"
    assert ModelLog(ROSTER, [*VERSIONS, promoted("base1")]).last_good("xgboost") is None
    assert ModelLog(ROSTER, VERSIONS).last_good("xgboost") is None


def test_what_failed_or_was_never_approved_is_not_good_even_if_it_is_named():
    history = [*VERSIONS, promoted("4", "2"), published("2", 2, failed="router: no answer")]
    assert ModelLog(ROSTER, history).last_good("xgboost").version == "1"
    assert ModelLog(ROSTER, [*VERSIONS, promoted("4", "3")]).last_good("xgboost").version == "2"


def test_who_failed_is_known_when_the_commands_that_said_so_are_forgotten():
    """commands.v1 is kept for seven days; a broken version once became the last good one when they were over."""
    failed = published("2", 2, failed="router: no answer")
    compacted = list({event.record_key(): event for event in [*VERSIONS, promoted("4", "1"), failed]}.values())
    assert ModelLog(ROSTER, compacted).failed("xgboost") == {"2"}
    assert ModelLog(ROSTER, compacted).before("xgboost", "4").version == "1"
    assert ModelLog(ROSTER, compacted).failed("kmeans") == set()
    assert ModelLog(ROSTER, [*compacted, published("2", 2)]).failed("xgboost") == set()


def test_a_candidate_stands_beside_until_it_is_taken_away():
    canary = CandidateSet(model="xgboost", version="2", role="canary", share=0.1)
    assert ModelLog(ROSTER, [canary]).candidate("xgboost") == canary
    assert ModelLog(ROSTER, [canary, canary.model_copy(update={"role": "none"})]).candidate("xgboost") is None


def test_everyone_is_shown_first_until_a_policy_says_otherwise():
    assert (ModelLog(ROSTER).policy().lead, ModelLog(ROSTER).policy().parts) == ("everyone", {})
    assert ModelLog(ROSTER, [PolicySet(lead="bandit"), PolicySet(lead="mxnet")]).policy().lead == "mxnet"


MODELS_LOG: list[Event] = [
    *VERSIONS,
    promoted("1", "base1"),
    CandidateSet(model="xgboost", version="4", role="shadow"),
    promoted("2", "1"),
    PolicySet(lead="bandit"),
    EndpointSeen(model="xgboost", version="2", endpoint="e", status="InService"),
    published("2", 2, failed="operator: no good"),
    promoted("1", "base1", ModelRolledBack),
]
COMMANDS_LOG: list[Event] = [
    promote("2", "a"),
    settled(promote("2", "a")),
    roll_back("b", failed="2"),
    settled(roll_back("b", failed="2")),
    promote("4", "c"),
    roll_back("d"),
]


def told(model_log: ModelLog) -> object:
    """All that is asked of it."""
    answers = (model_log.champion, model_log.candidate, model_log.endpoint, model_log.failed, model_log.last_good)
    return [model_log.published("xgboost"), model_log.unsettled(), model_log.policy(), *(ask("xgboost") for ask in answers)]


@given(st.lists(st.booleans(), min_size=len(MODELS_LOG) + len(COMMANDS_LOG)), st.data())
def test_it_is_the_same_in_whatever_order_the_two_topics_come_and_however_often(turns, data):
    models, commands, history = list(MODELS_LOG), list(COMMANDS_LOG), []
    for turn in turns:
        source = models if (turn and models) or not commands else commands
        if source:
            history.append(source.pop(0))
    again = data.draw(st.integers(0, len(history)))
    assert told(ModelLog(ROSTER, [*history, *models, *commands])) == told(ModelLog(ROSTER, [*MODELS_LOG, *COMMANDS_LOG]))
    replayed = [*history[:again], *history, *models, *commands]  # a reader that began again from the start
    assert told(ModelLog(ROSTER, replayed)) == told(ModelLog(ROSTER, [*MODELS_LOG, *COMMANDS_LOG]))


# --- names


def test_a_version_number_is_never_used_twice():
    assert next_version(["base1"]) == "1"
    assert next_version(["base1", "2", "11"]) == "12"


def test_another_base_gets_another_name():
    assert next_base([]) == "base1"
    assert next_base(["base1", "7", "base10"]) == "base11"


@pytest.mark.parametrize(("version", "is_one"), [("base1", True), ("base", False), ("1", False), ("baseline", False)])
def test_a_base_is_known_by_its_name(version, is_one):
    assert is_base(version) is is_one


def test_news_of_a_rebuild_that_nobody_asked_for_makes_none_due_again():
    first, second = command(), command()
    done = [first, second, advanced(first.command_id, "done"), advanced(second.command_id, "done")]

    assert ModelLog(ROSTER, [*done, advanced(uuid4(), "queued")]).due() == []
