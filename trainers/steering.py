"""Carries out operators' commands on which version answers, or refuses them with a reason (way 3, REBUILD).

`refusal` is pure and returns what on the log forbids a command; `Steering` makes sure that the log has the registry's latest
approval of the version, and does the rest. Twice is harmless: a settled command is no longer due (trainers.model_log), and a
command whose result is there already changes nothing.
"""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Final

import structlog

from contracts.events import (
    MAX_CANDIDATES,
    ONLINE_MODELS,
    CancelTraining,
    CommandSettled,
    DriftPolicySet,
    FreezeLearning,
    LearningSet,
    ModelPublished,
    ModelRolledBack,
    PlayerRestricted,
    PolicySet,
    PromoteModel,
    RestrictPlayer,
    RollBackModel,
    SetDriftPolicy,
    SetPolicy,
    ThawLearning,
    TryVersion,
)
from trainers import cancelling, gate, online, refusals
from trainers.approval import Approvals
from trainers.drift_actions import impossible
from trainers.model_log import ModelLog, QuickCommand
from trainers.promote import Promoter
from trainers.registry import by_hand, told_gate
from trainers.serving import ServingFailed

MAX_MESSAGE: Final = 1000

log = structlog.get_logger()


def refusal(model_log: ModelLog, command: QuickCommand, candidates: int = MAX_CANDIDATES) -> str | None:
    """Return why a command is refused, for people; None if nothing on the log forbids it.

    As many as ``candidates`` may stand beside a champion.
    """
    if isinstance(command, RestrictPlayer):
        return refusals.against_restriction(model_log, command)
    if isinstance(command, SetPolicy):
        return refusals.against_policy(model_log, command)
    if isinstance(command, FreezeLearning | ThawLearning):
        return refusals.against_freezing(command.target)
    if isinstance(command, SetDriftPolicy):
        return next(filter(None, (impossible(*one) for one in command.actions.items())), None)
    if isinstance(command, CancelTraining):
        return cancelling.refusal(model_log, command)
    if command.target in ONLINE_MODELS:
        return online.refusal(model_log, command)
    if command.target not in model_log.roster.batch:
        return f"no batch model {command.target!r}: there is {', '.join(model_log.roster.batch)}"
    match command:
        case PromoteModel():
            return _against_promotion(model_log, command)
        case RollBackModel():
            return _against_rollback(model_log, command)
        case TryVersion():
            return _against_trial(model_log, command, candidates)


def _against_version(model_log: ModelLog, model: str, version: str, *, approved: bool) -> str | None:
    published = model_log.published(model)
    if version not in published:
        there = ", ".join(published) or "none yet"
        return f"{model} has no version {version}: there is {there}"
    if approved and not published[version].approved:
        return f"{model} {version} is not approved: {published[version].gate}"
    return None


def _against_promotion(model_log: ModelLog, command: PromoteModel) -> str | None:
    model, version = command.target, command.version
    known = model_log.published(model).get(version)
    if command.force and known is not None and known.failed:
        return f"{model} {version} has failed to serve, and nothing forces that: {known.failed}"
    shown = known is not None and not by_hand(known) and gate.proven(known, model_log.champion(model))
    return _against_version(model_log, model, version, approved=not (command.force or shown))


def _against_rollback(model_log: ModelLog, command: RollBackModel) -> str | None:
    model, champion = command.target, model_log.champion(command.target)
    if champion is None:
        return f"no version of {model} answers"
    if command.failed is not None and command.failed != champion.version:
        return None
    if command.version is not None:
        if command.version == command.failed:
            return f"{model} {command.version} is the one that failed"
        return _against_version(model_log, model, command.version, approved=True)
    if model_log.last_good(model) is None:
        return f"{model} has no earlier version that is any good: {champion.version} stays"
    return None


def _against_trial(model_log: ModelLog, command: TryVersion, most: int) -> str | None:
    model, named = command.target, command.version
    if command.role == "none" and named is not None and all(one.version != named for one in model_log.beside(model)):
        there = ", ".join(one.version for one in model_log.beside(model)) or "nobody"
        return f"{model} {named} is no candidate: beside the champion stands {there}"
    if command.role == "none" or _is_past(model_log, command):
        return None
    model, champion = command.target, model_log.champion(command.target)
    if champion is None:
        return f"no version of {model} answers that another could stand beside"
    if command.version is None:
        there = ", ".join(model_log.published(model)) or "none yet"
        return f"which version of {model}? There is {there}"
    if command.version == champion.version:
        return f"{model} {command.version} answers everybody already"
    if (full := refusals.against_one_more(model_log, command, most)) is not None:
        return full
    return _against_version(model_log, model, command.version, approved=command.role == "canary")


def _is_past(model_log: ModelLog, command: TryVersion) -> bool:
    """Return whether the candidate that a command names is no longer one."""
    return command.failed is not None and all(one.version != command.failed for one in model_log.beside(command.target))


def parts_after(before: Mapping[str, str], command: SetPolicy) -> dict[str, str]:
    """Return the part of each model that is not ``shown``, as it is after a command."""
    return {model: part for model, part in {**before, **command.parts}.items() if part != "shown"}


class Steering:
    """Carries out the commands that change which version answers."""

    def __init__(self, model_log: ModelLog, promoter: Promoter, approvals: Approvals, candidates: int = MAX_CANDIDATES) -> None:
        """Keep the folded log, the promoter and the registry's approvals; ``candidates`` may stand beside a champion."""
        self._candidates = candidates
        self._model_log = model_log
        self._promoter = promoter
        self._approvals = approvals

    def settle(self, command: QuickCommand) -> CommandSettled:
        """Carry a command out or refuse it, and publish the outcome."""
        began = time.monotonic()
        self._note_failure(command)
        named = command.version if isinstance(command, PromoteModel | RollBackModel | TryVersion) else None
        if named is not None and command.target not in ONLINE_MODELS:
            self._approvals.ask(command.target, named)
        with self._promoter.too_late if isinstance(command, CancelTraining) else nullcontext():
            against = refusal(self._model_log, command, self._candidates)
            if against is None:
                return self._say(command, "done", self._carry_out(command), began)
            return self._say(command, "refused", against, began)

    def failed(self, command: QuickCommand, error: Exception) -> CommandSettled:
        """Publish that a command failed."""
        told = str(error) if isinstance(error, ServingFailed) else f"{type(error).__name__}: {error}"
        return self._say(command, "failed", told)

    def _say(self, command: QuickCommand, outcome: str, message: str, began: float | None = None) -> CommandSettled:
        settled = CommandSettled.model_validate(
            {
                "command_id": command.command_id,
                "target": command.target,
                "outcome": outcome,
                "message": message[:MAX_MESSAGE],
            }
        )
        self._promoter.say(settled)
        took = {} if began is None else {"seconds": round(time.monotonic() - began, 3)}
        log.info("command settled", command=command.type, target=command.target, outcome=outcome, message=message, **took)
        return settled

    def _note_failure(self, command: QuickCommand) -> None:
        """Record on the version's own entry, which outlives the command, that it was reported as broken.

        That counts even if the command comes too late to change which version answers.
        """
        if isinstance(command, RollBackModel | TryVersion) and command.failed is not None:
            named = self._model_log.published(command.target).get(command.failed)
            if named and not named.failed:
                self._promoter.amend(command.target, command.failed, failed=_note(command))

    def _carry_out(self, command: QuickCommand) -> str:
        match command:
            case PromoteModel():
                return self._promote(command)
            case RollBackModel():
                return self._roll_back(command)
            case TryVersion():
                return self._try(command)
            case SetPolicy():
                return self._set_policy(command)
            case RestrictPlayer():
                return self._restrict(command)
            case FreezeLearning():
                return self._set_learning(command, frozen=True)
            case ThawLearning():
                return self._set_learning(command, frozen=False)
            case SetDriftPolicy():
                return self._set_drift_policy(command)
            case CancelTraining():
                return self._cancel(command)

    def _version(self, model: str, version: str) -> ModelPublished:
        return self._model_log.published(model)[version]

    def _online(self, command: PromoteModel | RollBackModel) -> str:
        """Let another version of an online model answer: there is nothing to change but what the log says."""
        model, event = command.target, online.promotion(self._model_log, command, _note(command))
        if event is None:
            return f"{model} {online.answering(self._model_log, model)} answers already"
        self._promoter.say(event)
        behind = f", and {event.previous} stands by" if event.previous else ""
        return f"{model} {event.version} answers{' again' if isinstance(event, ModelRolledBack) else ''}{behind}"

    def _promote(self, command: PromoteModel) -> str:
        model, version = command.target, command.version
        if model in ONLINE_MODELS:
            return self._online(command)
        before = self._model_log.champion(model)
        if (published := self._version(model, version)).approved:
            event = self._promoter.promote(published, _note(command, published))
        else:  # it is approved once it has answered: a rollback must not find one that never did
            why = "forced" if command.force or published.live is None else gate.on_live(published.live)
            why = f"{why}, {_note(command)}"
            forced = published.model_copy(update={"gate": told_gate(published, "Approved", why)})
            approve = partial(self._approvals.force, model, version, why)
            event = self._promoter.promote(published, _note(command, forced), approve=approve)
        self._promoter.amend(model, version, failed="")
        if before and before.version == version:
            return f"{model} {version} answers already"
        behind = f", and {event.previous} stands by" if event.previous else ""
        return f"{model} {version} answers{behind}"

    def _roll_back(self, command: RollBackModel) -> str:
        model, champion = command.target, self._model_log.champion(command.target)
        if model in ONLINE_MODELS:
            return self._online(command)
        assert champion
        if command.failed is not None and command.failed != champion.version:
            return f"nothing to do: {model} {champion.version} answers, not {command.failed}"
        good = self._version(model, command.version) if command.version else self._model_log.last_good(model)
        assert good
        if good.version == champion.version:
            return f"{model} {good.version} answers already"
        self._promoter.promote(good, _note(command, good), back=True)
        return f"{model} {good.version} answers again, in the place of {champion.version}"

    def _try(self, command: TryVersion) -> str:
        model = command.target
        if _is_past(self._model_log, command):
            return f"nothing to do: {model} {command.failed} is no candidate"
        if command.role == "none" or command.version is None:
            removed = self._promoter.untry(model, _note(command), command.failed or command.version)
            gone = " and ".join(one.version for one in removed) + (" are no candidates" if removed[1:] else " is no candidate")
            return f"{model} {gone} any more" if removed else f"{model} has no candidate"
        share = command.share if command.role == "canary" else 0.0
        wanted, published = (command.role, share, command.watched), self._version(model, command.version)
        before = next((one for one in self._model_log.beside(model) if one.version == command.version), None)
        if before and (before.role, before.share, before.watched) == wanted:
            return f"{model} {command.version} is that already"
        note = _note(command, published)
        if command.watched:
            self._promoter.note_share(published, share, note)
        self._promoter.try_beside(published, command.role, share, note, watched=command.watched)
        told = f"answers {share:.0%} of the players" if command.role == "canary" else "is asked, scored, and not shown"
        told += ", and goes on by policy" if command.watched else ""
        beside = len(self._model_log.beside(model))
        told += f"; {beside} versions stand beside the champion" if beside > 1 else ""
        return f"{model} {command.version} {told}"

    def _set_policy(self, command: SetPolicy) -> str:
        before = self._model_log.policy()
        event = PolicySet.model_validate(
            {
                "lead": command.lead or before.lead,
                "parts": parts_after(before.parts, command),
                "by": command.by,
                "note": command.reason,
            }
        )
        self._promoter.say(event)  # always: the log may hold a newer policy of somebody else
        if (event.lead, event.parts) == (before.lead, before.parts):
            return "it is so already"
        parts = "".join(f", {model} {'off' if part == 'off' else 'a shadow'}" for model, part in event.parts.items())
        return f"shown first: {event.lead}{parts}"

    def _restrict(self, command: RestrictPlayer) -> str:
        player, restriction = command.player_id, command.restriction
        self._promoter.restrict(player, restriction)
        self._promoter.say(PlayerRestricted(player_id=player, restriction=restriction, by=command.by, note=command.reason))
        frozen = [model for model in ONLINE_MODELS if self._model_log.frozen(model)]
        later = f"; {', '.join(frozen)} is frozen, and will be without it once it is thawed" if frozen else ""
        held = online.holding(self._model_log)
        match restriction:
            case "none":
                return f"what the player teaches counts, as far as the player is trusted{later.replace('without', 'with')}"
            case "quarantined":
                return f"nothing that the player taught or teaches counts in the online models{later}{held}"
            case "banned":
                told = "nothing that the player taught or teaches counts in the online models, nor in datasets from now on"
                return f"{told}{later}{held}"

    def _set_learning(self, command: FreezeLearning | ThawLearning, *, frozen: bool) -> str:
        model, before = command.target, self._model_log.frozen(command.target)
        if frozen and before is not None:
            return f"{model} is frozen already, {before.who}"
        self._promoter.say(LearningSet(model=model, frozen=frozen, by=command.by, note=command.reason))
        if frozen:
            return f"{model} answers as it does now; what is taught counts once it is thawed"
        return f"{model} learns again, and all that was taught meanwhile" if before else f"{model} is not frozen"

    def _cancel(self, command: CancelTraining) -> str:
        events, told = cancelling.outcome(self._model_log, command)
        for event in events:
            self._promoter.say(event)
        return told

    def _set_drift_policy(self, command: SetDriftPolicy) -> str:
        before = self._model_log.drift_policy()
        actions = {kind: action for kind, action in {**before.actions, **command.actions}.items() if action != "notify"}
        event = DriftPolicySet(
            actions=actions,
            cooldown_s=before.cooldown_s if command.cooldown_s is None else command.cooldown_s,
            least_hands=before.least_hands if command.least_hands is None else command.least_hands,
            by=command.by,
            note=command.reason,
        )
        self._promoter.say(event)
        told = ", ".join(f"{kind}: {action}" for kind, action in sorted(event.actions.items())) or "operators are notified"
        return f"{told}; again after {event.cooldown_s} s, if it is the drawings of {event.least_hands} players or more"


def _note(command: PromoteModel | RollBackModel | TryVersion, version: ModelPublished | None = None) -> str:
    """Return who gave the command and why, and who has overruled the gate on the version."""
    asked = f"{command.by}: {command.reason}" if command.reason else f"asked for by {command.by}"
    return f"{asked}; {version.gate}" if version and by_hand(version) else asked
