"""Acts on drift by the operators' policy: notify, rebuild, freeze (way 3, OPERATE). `decide` is pure.

What is done is an operators' command like any other, with an id that is made of the detection; then DriftHandled says what was
done, or why nothing was. A detection is due until that is on the log. So a trainer that dies in between gives the same command
again, which is carried out once, and a detection that comes twice is handled once.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID, uuid5

import structlog

from contracts.events import (
    DRIFT_POLICY,
    NAMESPACE,
    ONLINE_MODELS,
    DriftAction,
    DriftDetected,
    DriftHandled,
    DriftKind,
    FreezeLearning,
    RetrainModel,
    now,
)
from trainers.model_log import ModelLog
from trainers.promote import Promoter

STALE: Final = timedelta(hours=1)
"""What was drawn longer ago calls for nothing any more, as when the log is folded again."""
INPUTS: Final[tuple[DriftKind, ...]] = ("class-mix", "ink", "embedding")
"""The kinds that are about what is drawn: whatever is done about one is done about all of them."""
BEGUN: Final[tuple[DriftAction, ...]] = ("retrain", "freeze")
"""The actions that are commands."""

log = structlog.get_logger()


class Deed(NamedTuple):
    """What is to be done about a detection."""

    action: DriftAction
    refused: str | None
    """Why nothing is done; None: it is done."""
    commands: tuple[RetrainModel | FreezeLearning, ...] = ()


def impossible(kind: DriftKind, action: DriftAction) -> str | None:
    """Return why an action is none for a kind of drift; None: it is one."""
    if kind == "batch-errors" and action == "freeze":
        return "a batch model learns nothing before it is rebuilt: notify or retrain"
    if kind == "online-errors" and action == "retrain":
        return "a model that learns from lesson to lesson is not rebuilt: notify or freeze"
    return None


def decide(model_log: ModelLog, detection: DriftDetected, at: datetime) -> Deed:
    """Return what is to be done about a detection, by the policy in force and by what was done before."""
    for begun in BEGUN:
        if any(model_log.knows(_command_id(detection, begun, model)) for model in (*model_log.roster.batch, *ONLINE_MODELS)):
            return _rested(model_log, detection, begun, at)  # by a trainer that died before it said so
    policy = model_log.drift_policy()
    action = policy.actions.get(detection.kind, "notify")
    if action == "notify":
        return Deed(action, None)
    if (why := impossible(detection.kind, action)) is not None:
        return Deed(action, why)
    if at - detection.drawn_at > STALE:
        return Deed(action, f"the last of these drawings is of {detection.drawn_at:%Y-%m-%d %H:%M} UTC: too long ago")
    if detection.hands < policy.least_hands:
        return Deed(action, f"it is the drawings of {detection.hands} players; the policy wants {policy.least_hands}")
    return _rested(model_log, detection, action, at)


def _rested(model_log: ModelLog, detection: DriftDetected, action: DriftAction, at: datetime) -> Deed:
    """Return the commands for an action, without those that the cooldown forbids and that were not given yet."""
    commands, cooldown_s = _commands(model_log, detection, action), model_log.drift_policy().cooldown_s
    if not commands:
        return Deed(action, f"nothing to {action}: it is under way, or so already")
    done = [one for one in model_log.drift_actions(action) if at - one.at < timedelta(seconds=cooldown_s)]
    last = {target: one for one in done for target in one.targets or _concerned(model_log, one.subject, action)}
    if detection.subject in INPUTS:
        last |= {command.target: one for one in done if one.subject in INPUTS for command in commands}
    due = tuple(command for command in commands if command.target not in last or model_log.knows(command.command_id))
    if due:
        return Deed(action, None, due)
    ago = (at - max(last[command.target].at for command in commands)).total_seconds()
    return Deed(action, f"cooldown: the same was done {ago:.0f} s ago, and is not done again for {cooldown_s} s")


def _concerned(model_log: ModelLog, subject: str, action: DriftAction) -> Sequence[str]:
    """Return the models that an action is about: that whose errors they are, or all where it is what is drawn that changed."""
    if action == "freeze":
        return ONLINE_MODELS
    batch = model_log.roster.batch
    return batch if subject in INPUTS else [model for model in batch if model == subject]


def _commands(model_log: ModelLog, detection: DriftDetected, action: DriftAction) -> tuple[RetrainModel | FreezeLearning, ...]:
    """Return the commands for an action that is not under way."""

    def known(target: str) -> bool:
        return model_log.knows(_command_id(detection, action, target))

    reason = f"{detection.subject}: {detection.what} {detection.before:.1%} before, {detection.after:.1%} now"
    concerned = _concerned(model_log, detection.subject, action)
    if action == "freeze":
        targets = [model for model in concerned if known(model) or model_log.frozen(model) is None]
    else:
        waiting = {command.target for command in model_log.due()}
        targets = [model for model in concerned if known(model) or model not in waiting]
    made: list[RetrainModel | FreezeLearning] = []
    for target in targets:
        command_id = _command_id(detection, action, target)
        fields = {"command_id": command_id, "target": target, "by": DRIFT_POLICY, "reason": reason, "via": "policy"}
        if action == "freeze":
            made.append(FreezeLearning.model_validate(fields))
        else:
            made.append(RetrainModel.model_validate(fields | {"trigger": "drift"}))
    return tuple(made)


def _command_id(detection: DriftDetected, action: DriftAction, target: str) -> UUID:
    return uuid5(NAMESPACE, f"drift/{detection.detection_id}/{action}/{target}")


class DriftActions:
    """Carries out what the policy says."""

    def __init__(self, model_log: ModelLog, promoter: Promoter) -> None:
        """Keep the folded log, and what publishes."""
        self._model_log = model_log
        self._promoter = promoter

    def handle(self, detection: DriftDetected) -> DriftHandled:
        """Do what the policy says about a detection, and publish what was done."""
        deed = decide(self._model_log, detection, now())
        for command in deed.commands:
            self._promoter.say(command)
        handled = DriftHandled(
            detection_id=detection.detection_id,
            subject=detection.subject,
            action=deed.action,
            outcome="done" if deed.refused is None else "refused",
            message=deed.refused or _message(deed),
            by=self._model_log.drift_policy().by,
            targets=[command.target for command in deed.commands],
        )
        self._promoter.say(handled)
        where = {"subject": detection.subject, "kind": detection.kind, "detection_id": str(detection.detection_id)}
        log.warning("drift", **where, action=handled.action, outcome=handled.outcome, message=handled.message)
        return handled


def _message(deed: Deed) -> str:
    told = [f"{command.type} of {command.target}, command {command.command_id}" for command in deed.commands]
    return ", ".join(told) or "operators are notified"
