"""The queue of rebuilds: what is due, what is cancelled, and what begins one by itself."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.events import (
    CancelTraining,
    CommandSettled,
    PlayersForgotten,
    RestrictionSet,
    RetrainModel,
    TrainingAdvanced,
    mark_of,
    now,
)
from contracts.rebuilds import KEPT, RebuildQueue
from contracts.settings import Settings
from producers.blobs import MemoryBlobs
from tests.histories import published
from tests.roster import ROSTER
from tests.sinks import keep
from tests.unit.test_archive import example
from trainers import cancelling, triggers
from trainers.archive import Archive
from trainers.example_sink import Placed
from trainers.model_log import ModelLog


def asked(model: str = "xgboost", **fields: Any) -> RetrainModel:
    return RetrainModel(**{"command_id": uuid4(), "target": model, "by": "ada"} | fields)


def step(command: RetrainModel, name: str, **fields: Any) -> TrainingAdvanced:
    told = {"model": command.target, "version": "3", "command_id": command.command_id, "step": name, "fraction": 0.5}
    return TrainingAdvanced(**told | fields)


def cancel(command: RetrainModel, reason: str = "") -> CancelTraining:
    return CancelTraining(command_id=uuid4(), target=command.target, by="bob", reason=reason, training_id=command.command_id)


def queue(*events: Any) -> RebuildQueue:
    out = RebuildQueue()
    for event in events:
        out.apply(event)
    return out


def test_rebuilds_wait_in_the_order_of_their_commands_and_each_knows_its_place():
    first, second, third = asked(), asked("kmeans"), asked("mxnet", trigger="count")
    told = queue(first, second, third, step(first, "training"), first)
    assert [one.command_id for one in told.due()] == [first.command_id, second.command_id, third.command_id]
    rows = [(one.state, one.position, one.trigger, one.by) for one in told.all()]
    assert rows == [("running", None, "hand", "ada"), ("queued", 1, "hand", "ada"), ("queued", 2, "count", "ada")]


def test_what_was_cancelled_in_the_queue_takes_nothing_else_with_it():
    first, second, third = asked(), asked(), asked()
    told = queue(first, second, third, step(first, "training"), cancel(third), step(third, "cancelled", version="none"))
    assert told.due() == [first, second]
    told.apply(step(first, "done"))
    told.apply(step(first, "training"))
    assert told.due() == [second], "a step that comes late begins nothing anew"
    assert [one.state for one in told.all()] == ["queued", "done", "cancelled"]


def test_of_a_log_that_has_lost_old_steps_only_what_came_after_the_last_is_due():
    first, second, third = asked(), asked(), asked()
    assert queue(first, second, third, step(second, "done")).due() == [third]


def test_how_a_rebuild_ended_is_known_when_its_command_has_left_the_log_and_the_newest_are_kept():
    many = [asked() for _ in range(KEPT + 5)]
    began = now()
    told = queue(*(step(one, "failed", by="ada", trigger="time", began=began) for one in many))
    rows = told.all()
    assert (len(rows), rows[0].state, rows[0].by, rows[0].trigger, rows[0].asked_at) == (KEPT, "failed", "ada", "time", None)
    slots = {event.slot for event in (step(many[0], "training"), step(many[0], "done"), step(many[1], "done"))}
    assert len(slots) == 3, "compaction keeps the end of each rebuild"


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ((), "no rebuild"),
        (("done",), "it has ended already: done"),
        (("endpoint",), "its version is being promoted"),
    ],
)
def test_what_cannot_be_cancelled_is_refused_with_the_reason(history, why):
    command = asked()
    log = ModelLog(ROSTER, [command, *(step(command, name) for name in history)] if history else [])
    assert str(cancelling.refusal(log, cancel(command))).startswith(why)


def test_a_cancel_that_is_refused_ends_nothing_and_one_that_is_taken_does():
    command, other = asked(), cancel(asked("kmeans"))
    wanted = cancel(command)
    elsewhere = other.model_copy(update={"training_id": command.command_id})
    refused = CommandSettled(command_id=elsewhere.command_id, target="kmeans", outcome="refused", message="no")
    taken = CommandSettled(command_id=wanted.command_id, target="xgboost", outcome="done", message="it ends")

    told = queue(command, step(command, "training"), elsewhere, refused, wanted)
    assert told.cancelled(command.command_id) is None
    told.apply(taken)
    assert told.cancelled(command.command_id) == wanted


def test_a_rebuild_that_was_cancelled_at_work_had_begun_so_none_before_it_is_due():
    first, second = asked(), asked()
    assert queue(first, second, step(second, "training"), step(second, "cancelled", began=now())).due() == []
    assert queue(first, second, step(second, "cancelled")).due() == [first]


def test_a_rebuild_that_waits_leaves_the_queue_and_one_at_work_ends_itself():
    first, second = asked(), asked("kmeans")
    log = ModelLog(ROSTER, [first, second, step(first, "training")])
    assert cancelling.refusal(log, cancel(second)) is None
    (settled, ended), told = cancelling.outcome(log, cancel(second, "not needed"))
    assert (settled.command_id, settled.outcome) == (second.command_id, "failed")
    assert (ended.step, ended.message, told) == (
        "cancelled",
        "cancelled by bob: not needed",
        "the rebuild of kmeans has left the queue",
    )
    log.apply(ended)
    assert log.due() == [first]
    events, told = cancelling.outcome(log, cancel(first))
    assert (events, told) == ((), "the rebuild of xgboost will stop where it is, and its training job with it")


AT = now()
COUNT = Settings(retrain_after_labels=10, retrain_cooldown_s=60)
TIME = Settings(retrain_every_hours=2, retrain_cooldown_s=60)


def log_of(*events: Any, hours: float = 5) -> ModelLog:
    version = published("1", lineage={"offsets": "0:5,1:2"}).model_copy(update={"at": AT - timedelta(hours=hours)})
    return ModelLog(ROSTER, [version, *events])


def test_labels_begin_a_rebuild_once_there_are_enough_and_the_same_one_for_two_trainers():
    assert triggers.decide(COUNT, log_of(), "xgboost", 9, AT) is None
    due = triggers.decide(COUNT, log_of(), "xgboost", 12, AT)
    assert due
    assert (due.trigger, due.reason, due.by) == ("count", "12 new labels", "trainer")
    again = triggers.decide(COUNT, log_of(), "xgboost", 14, AT + timedelta(seconds=9))
    assert again
    assert due.command_id == again.command_id


def test_time_begins_a_rebuild_if_there_is_anything_new():
    assert triggers.decide(TIME, log_of(), "xgboost", 0, AT) is None
    assert triggers.decide(TIME, log_of(hours=1), "xgboost", 1, AT) is None
    due = triggers.decide(TIME, log_of(), "xgboost", 1, AT)
    assert due
    assert (due.trigger, due.reason) == ("time", "5.0 hours, and 1 new labels")


def test_a_model_that_waits_or_rests_is_not_asked_for_again():
    command = asked()
    failed = step(command, "failed", at=AT - timedelta(seconds=30))
    assert triggers.decide(COUNT, log_of(command), "xgboost", 99, AT) is None
    assert triggers.decide(COUNT, log_of(command, failed), "xgboost", 99, AT) is None
    assert triggers.decide(COUNT, log_of(command, failed), "xgboost", 99, AT + timedelta(seconds=31)) is not None


def test_labels_are_counted_behind_what_the_last_dataset_has_read_and_withdrawn_ones_are_none():
    blobs, said = MemoryBlobs(), list[RetrainModel]()
    archive = Archive(blobs)
    for partition in (0, 2):
        several = [example(n + 9 * partition, player=f"p{partition}", label=None if n == 7 else 3) for n in range(9)]
        keep(archive, partition, [Placed(n, one) for n, one in enumerate(several)])
    log = log_of()
    assert triggers.read_up_to(log, "xgboost") == {0: 5, 1: 2}
    assert triggers.labels_since(blobs, {0: 5, 1: 2}) == 3 + 8

    looking = triggers.Triggers(COUNT, blobs, log, archive.places, said.append)
    looking.look()
    assert [one.target for one in said] == list(ROSTER.batch), "of models that were never rebuilt all labels are new"
    for one in said:
        log.apply(one)
    looking.look()
    assert len(said) == len(ROSTER.batch)
    triggers.Triggers(Settings(), blobs, log, archive.places, lambda command: pytest.fail("nothing is set")).look()


def test_the_settings_name_the_models_that_are_rebuilt_by_themselves():
    blobs, said = MemoryBlobs(), list[RetrainModel]()
    archive = Archive(blobs)
    keep(archive, 0, [Placed(n, example(n)) for n in range(12)])
    settings = COUNT.model_copy(update={"retrain_models": "kmeans, nothing"})
    triggers.Triggers(settings, blobs, ModelLog(ROSTER), archive.places, said.append).look()
    assert [(one.target, one.trigger, isinstance(one.command_id, UUID)) for one in said] == [("kmeans", "count", True)]


def test_only_labels_that_a_dataset_would_learn_begin_a_rebuild():
    blobs, said = MemoryBlobs(), list[RetrainModel]()
    archive = Archive(blobs)
    over = [example(1, revision=n).model_copy(update={"over_quota": True}) for n in range(1, 12)]
    revised = [example(2, revision=n) for n in range(1, 12)]
    left_out = [example(n, player=player) for player in ("eve", "gone") for n in range(10, 20)]
    keep(archive, 0, [Placed(n, one) for n, one in enumerate([*over, *revised, *left_out])])
    log = ModelLog(ROSTER, [RestrictionSet(players={"eve": "banned"}), PlayersForgotten(marks=[mark_of("gone")])])
    looking = triggers.Triggers(COUNT, blobs, log, archive.places, said.append)
    looking.look()
    assert looking._new_labels("xgboost") == 1
    assert said == []
    log.apply(RestrictionSet(players={}))
    looking.look()
    assert {one.reason for one in said} == {"11 new labels"}, "who is not banned any more counts"


def test_labels_that_a_rebuild_has_read_in_vain_begin_no_other_also_after_a_restart():
    command = asked()
    log = log_of(command, step(command, "refused", message="nothing is new", offsets=[9, 1]))
    assert triggers.read_up_to(log, "xgboost") == {0: 9, 1: 2}
    assert triggers.read_up_to(log, "kmeans") == {}
