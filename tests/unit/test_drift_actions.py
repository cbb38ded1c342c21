"""What is done about drift: by policy, once for each detection, and why not."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from contracts.events import (
    DriftDetected,
    DriftHandled,
    DriftPolicySet,
    Event,
    FreezeLearning,
    LearningSet,
    RetrainModel,
    decode,
    now,
)
from producers.bus import open_bus
from tests.histories import drift, seconds, settled
from tests.roster import ROSTER
from trainers.drift_actions import INPUTS, STALE, DriftActions, decide
from trainers.model_log import ModelLog
from trainers.promote import Promoter

FREEZES = DriftPolicySet(actions={"online-errors": "freeze", "batch-errors": "retrain", "ink": "retrain"}, by="ada")


def handled(detection: DriftDetected, action: Any, at: float, outcome: Any = "done") -> DriftHandled:
    return DriftHandled(
        detection_id=detection.detection_id,
        subject=detection.subject,
        action=action,
        outcome=outcome,
        message="",
        at=seconds(at),
    )


def decided(detection: DriftDetected, *history: Event, at: float = 10) -> tuple[str, str | None, list[tuple[str, str]]]:
    deed = decide(ModelLog(ROSTER, history), detection, seconds(at))
    return deed.action, deed.refused, [(command.type, command.target) for command in deed.commands]


def test_without_a_policy_operators_are_notified():
    assert decided(drift("d1")) == ("notify", None, [])


@pytest.mark.parametrize(
    ("subject", "kind", "action", "commands"),
    [
        ("river", "online-errors", "freeze", [("FreezeLearning", "river")]),
        ("xgboost", "batch-errors", "retrain", [("RetrainModel", "xgboost")]),
        ("ink", "ink", "retrain", [("RetrainModel", model) for model in ROSTER.batch]),
        ("class-mix", "class-mix", "notify", []),
    ],
)
def test_each_kind_has_its_action(subject, kind, action, commands):
    assert decided(drift("d1", subject, kind=kind), FREEZES) == (action, None, commands)


def test_nothing_is_done_again_within_the_cooldown_and_then_it_is():
    before, again = drift("d1", at=0), drift("d2", at=100)
    history = [FREEZES, before, handled(before, "freeze", 2)]

    action, why, commands = decided(again, *history, at=101)

    assert (action, commands) == ("freeze", [])
    assert why == "cooldown: the same was done 99 s ago, and is not done again for 3600 s"
    assert decided(drift("d3", at=3700), *history, at=3701) == ("freeze", None, [("FreezeLearning", "river")])


def test_what_was_refused_or_done_for_another_model_is_no_cooldown_of_a_rebuild():
    other = drift("d1", "mxnet", kind="batch-errors")
    refused = drift("d2", "xgboost", kind="batch-errors")
    history = [FREEZES, other, handled(other, "retrain", 2), refused, handled(refused, "retrain", 3, "refused")]

    assert decided(drift("d3", "xgboost", kind="batch-errors"), *history) == ("retrain", None, [("RetrainModel", "xgboost")])


@pytest.mark.parametrize("subject", ["ink", "class-mix", "embedding", "xgboost"])
def test_five_subjects_of_a_model_are_one_rebuild_of_it(subject):
    """What was done about one thing that is drawn is done about all; and a model has one cooldown, whatever it is for."""
    policy = FREEZES.model_copy(update={"actions": dict.fromkeys(["batch-errors", *INPUTS], "retrain")})
    before, kind = drift("d1", "ink", kind="ink", at=0), subject if subject in INPUTS else "batch-errors"
    done = handled(before, "retrain", 2).model_copy(update={"targets": list(ROSTER.batch)})

    for old in (done, done.model_copy(update={"targets": []})):  # the second is from before it told its targets
        _, why, commands = decided(drift("d2", subject, kind=kind, at=100), policy, before, old, at=101)
        assert (commands, str(why)[:8]) == ([], "cooldown")


def test_what_is_drawn_rebuilds_the_models_that_were_not_rebuilt_for_their_errors_of_late():
    before = drift("d1", "xgboost", kind="batch-errors", at=0)
    done = handled(before, "retrain", 2).model_copy(update={"targets": ["xgboost"]})

    _, why, commands = decided(drift("d2", "ink", kind="ink", at=100), FREEZES, before, done, at=101)

    assert why is None
    assert [target for _, target in commands] == [model for model in ROSTER.batch if model != "xgboost"]


def test_a_rebuild_that_a_dead_trainer_has_begun_goes_on_without_the_models_that_rest():
    xgboost, ink = drift("d1", "xgboost", kind="batch-errors", at=0), drift("d2", "ink", kind="ink", at=100)
    done = handled(xgboost, "retrain", 2).model_copy(update={"targets": ["xgboost"]})
    first = decide(ModelLog(ROSTER, [FREEZES, xgboost, done]), ink, seconds(101)).commands[0]

    _, _, commands = decided(ink, FREEZES, xgboost, done, first, at=102)

    assert [target for _, target in commands] == [model for model in ROSTER.batch if model != "xgboost"]


def test_what_is_drawn_has_one_cooldown_whichever_models_were_rebuilt_for_it():
    policy = FREEZES.model_copy(update={"actions": {"ink": "retrain", "embedding": "retrain"}})
    before = drift("d1", "ink", kind="ink", at=0)
    done = handled(before, "retrain", 2).model_copy(update={"targets": [ROSTER.batch[0]]})  # the others were under way

    _, why, commands = decided(drift("d2", "embedding", kind="embedding", at=100), policy, before, done, at=101)

    assert (commands, str(why)[:8]) == ([], "cooldown")


def test_what_a_dead_trainer_has_begun_is_told_as_done_though_the_cooldown_is_longer_by_now():
    before, begun = drift("d1", "xgboost", kind="batch-errors", at=0), drift("d2", "xgboost", kind="batch-errors", at=4000)
    history = [FREEZES, before, handled(before, "retrain", 2).model_copy(update={"targets": ["xgboost"]})]
    [command] = decide(ModelLog(ROSTER, history), begun, seconds(4001)).commands

    _, why, commands = decided(begun, *history, command, FREEZES.model_copy(update={"cooldown_s": 10**6}), at=4002)

    assert (why, [target for _, target in commands]) == (None, ["xgboost"])


def test_drift_of_too_few_players_or_of_long_ago_brings_nothing_about():
    assert decided(drift("d1", hands=2), FREEZES)[1] == "it is the drawings of 2 players; the policy wants 3"
    late = STALE.total_seconds() + 10
    assert "too long ago" in str(decided(drift("d1"), FREEZES, at=late)[1])


def test_what_is_so_already_is_not_done_again():
    frozen = LearningSet(model="river", frozen=True)
    rebuilding = RetrainModel(command_id=uuid4(), target="xgboost", by="ada")

    assert "so already" in str(decided(drift("d1"), FREEZES, frozen)[1])
    assert "under way" in str(decided(drift("d1", "xgboost", kind="batch-errors"), FREEZES, rebuilding)[1])


class Desk:
    """A trainer that may die at any time, and the log."""

    def __init__(self, *history: Event) -> None:
        self.bus = open_bus(f"memory://{uuid4()}")
        for event in history:
            self.bus.publish(event).result()

    def said(self) -> list[Event]:
        tail = self.bus.follow(["models.v1", "commands.v1", "drift.v1"], "start")
        out: list[Event] = []
        while not tail.caught_up():
            out += [decode(record.topic, record.value) for record in tail.poll(0.0)]
        tail.close()
        return out

    def trainer(self, dies_after: int = 99) -> None:
        """Begin with what the log has, and handle what is due, until so many events were published."""
        log = ModelLog(ROSTER, self.said())
        promoter = Promoter(self.bus, log, None)  # type: ignore[arg-type]
        say, left = promoter.say, [dies_after]

        def dying(event: Event) -> None:
            if not left[0]:
                raise InterruptedError
            left[0] -= 1
            say(event)

        promoter.say = dying  # type: ignore[method-assign]
        while due := log.detections():
            try:
                DriftActions(log, promoter).handle(due[0])
            except InterruptedError:
                return


@pytest.mark.parametrize("dies_after", [0, 1, 2, 99])
@pytest.mark.parametrize("frozen_meanwhile", [False, True])
def test_a_detection_is_acted_on_once_whenever_the_trainer_dies_and_however_often_it_comes(dies_after, frozen_meanwhile):
    detection = drift("d1", at=(now() - seconds(0)) / timedelta(seconds=1))
    desk = Desk(FREEZES, detection, detection)
    desk.trainer(dies_after)
    if frozen_meanwhile and dies_after:
        [given] = [event for event in desk.said() if isinstance(event, FreezeLearning)]
        for event in (LearningSet(model="river", frozen=True), settled(given)):
            desk.bus.publish(event).result()

    desk.trainer()
    desk.bus.publish(detection).result()
    desk.trainer()

    commands = {event.command_id for event in desk.said() if isinstance(event, FreezeLearning)}
    [told] = [event for event in desk.said() if isinstance(event, DriftHandled)]
    assert len(commands) == 1
    assert (told.action, told.outcome, told.by, told.targets) == ("freeze", "done", "ada", ["river"])
    assert str(next(iter(commands))) in told.message


def test_what_a_trainer_has_begun_is_ended_as_it_was_begun_though_the_policy_is_another_by_now():
    detection = drift("d1", at=(now() - seconds(0)) / timedelta(seconds=1))
    desk = Desk(FREEZES, detection)
    desk.trainer(dies_after=1)
    desk.bus.publish(DriftPolicySet(actions={})).result()

    desk.trainer()

    [told] = [event for event in desk.said() if isinstance(event, DriftHandled)]
    assert (told.action, told.outcome) == ("freeze", "done")
