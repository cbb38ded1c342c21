"""Decides what cancelling a rebuild does (way 3, OPERATE)."""

from collections.abc import Sequence

from contracts.events import CancelTraining, Event, TrainingAdvanced
from contracts.rebuilds import CANCELLED, Rebuild
from trainers.model_log import ModelLog
from trainers.rebuild_progress import settled


def refusal(model_log: ModelLog, command: CancelTraining) -> str | None:
    """Return why a rebuild cannot be cancelled; None: it can."""
    found = _found(model_log, command)
    if found is None:
        return f"no rebuild {command.training_id} of {command.target}: see `gamenight jobs`"
    if found.state not in ("queued", "running"):
        return f"it has ended already: {found.state}"
    if found.last is not None and found.last.step == "endpoint":
        return f"its version is being promoted: `gamenight rollback {found.model}` takes that back"
    return None


def outcome(model_log: ModelLog, command: CancelTraining) -> tuple[Sequence[Event], str]:
    """Return the events that take a rebuild out of the queue (none: it is at work or has ended), and what is told."""
    found = _found(model_log, command)
    if found is None or found.command is None or found.state != "queued":
        return (), f"the rebuild of {command.target} will stop where it is, and its training job with it"
    ended = TrainingAdvanced(
        model=command.target,
        version="none",
        command_id=command.training_id,
        step=CANCELLED,
        fraction=1.0,
        message=who(command),
        by=found.by,
        trigger=found.command.trigger,
    )
    return (settled(found.command, CANCELLED, who(command)), ended), f"the rebuild of {command.target} has left the queue"


def who(command: CancelTraining) -> str:
    """Return who cancels, and why."""
    return f"cancelled by {command.by}{f': {command.reason}' if command.reason else ''}"


def _found(model_log: ModelLog, command: CancelTraining) -> Rebuild | None:
    of_the_model = (one for one in model_log.rebuilds() if one.model == command.target)
    return next((one for one in of_the_model if one.command_id == command.training_id), None)
