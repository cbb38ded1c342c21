"""Watches the versions beside champions on live drawings, and acts on what they show by policy (way 3, OPERATE).

What it does is on the log with its reason: in the version's entry, and in the note of its promotion. Twice is harmless: it
looks at what is, and does what is not done yet. Canaries are moved by `trainers.canary_watch`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from contracts.events import CandidateSet, LiveBeside, ModelPublished, ModelRolledBack, RolloutStep, now
from contracts.ports import Bus
from contracts.training_settings import TrainingSettings
from trainers import gate
from trainers.approval import Approvals
from trainers.canary import policy_of
from trainers.canary_watch import CanaryWatch
from trainers.live_evidence import LiveEvidence
from trainers.model_log import ModelLog
from trainers.policy_audit import BY_POLICY
from trainers.promote import Promoter
from trainers.registry import by_hand
from trainers.serving import ServingFailed

ENOUGH: Final = 3000
"""After so many drawings a version that answered before is watched no longer."""

log = structlog.get_logger()


class ShadowWatch:
    """Looks at the candidates of all batch models."""

    def __init__(
        self,
        settings: TrainingSettings,
        bus: Bus,
        model_log: ModelLog,
        promoter: Promoter,
        approvals: Approvals,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep what it needs; it reads nothing while there is no candidate.

        Args:
            settings: Have the policy.
            bus: Has what is drawn.
            model_log: The log, folded.
            promoter: Changes who answers.
            approvals: Asks the registry, and tells it.
            check: Raises `LeaseLost` if another trainer does the work by now.
        """
        self._settings = settings
        self._model_log = model_log
        self._promoter = promoter
        self._approvals = approvals
        self._check = check
        self._evidence = LiveEvidence(bus, model_log, promoter, settings.gate_false_promotions)
        self._canaries = CanaryWatch(policy_of(settings), bus, model_log, promoter, approvals, self._evidence, check)

    def look(self) -> None:
        """Read what came, keep what it shows with each candidate, and do what the policy says."""
        for model in self._model_log.roster.batch:
            try:
                self._look(model)
            except (ServingFailed, BotoCoreError, ClientError) as error:  # the other models are looked at all the same
                log.warning("a candidate waits", model=model, error=str(error))

    def _look(self, model: str) -> None:
        self._canaries.look(model)
        self._begin(model)
        watched = [one for one in self._model_log.beside(model) if one.role == "shadow" or one.watched]
        self._evidence.keep(model, [one.version for one in watched])
        for shadow in watched:
            champion = self._model_log.champion(model)
            if shadow.role != "shadow" or shadow not in self._model_log.beside(model) or champion is None:
                continue  # what was done about another one has changed it
            live = self._evidence.look(shadow)
            if live is not None and self._settings.gate_watches == "acts":
                self._act(self._model_log.published(model)[shadow.version], live)

    def _act(self, version: ModelPublished, live: LiveBeside) -> None:
        model, name, champion = version.model, version.version, self._model_log.champion(version.model)
        self._check()
        if champion is not None and champion.previous == name and not isinstance(champion, ModelRolledBack):
            if live.chance <= gate.LIKELY:
                told = f"{name} is better on live drawings than {champion.version}, {gate.on_live(live)}"
                self._note(self._model_log.published(model)[champion.version], "rolled-back", name, told, live)
                self._promoter.promote(version, f"{BY_POLICY}: {told}", back=True)
            elif live.chance_worse <= gate.LIKELY or live.judged >= ENOUGH:
                self._remove(version, live, f"{champion.version} stays, {gate.on_live(live)}")
        elif live.chance_worse <= gate.LIKELY:
            self._remove(version, live, f"worse on live drawings, {gate.on_live(live)}")
        elif gate.proven(version, champion) and not self._is_overruled(model, name):
            self._approvals.force(model, name, f"{BY_POLICY}: better on live drawings, {gate.on_live(live)}")
            published = self._model_log.published(model)[name]
            if not self._canaries.begin_proven(published):
                self._promoter.promote(published, published.gate)

    def _remove(self, version: ModelPublished, live: LiveBeside, why: str) -> None:
        self._note(version, "stopped", live.champion, why, live)
        self._promoter.untry(version.model, f"{BY_POLICY}: {why}", version.version)

    def _note(
        self, version: ModelPublished, step: Literal["rolled-back", "stopped"], champion: str, why: str, live: LiveBeside
    ) -> None:
        """Keep with a version what is done about it, and by what; nothing if a trainer before has done so."""
        champions = self._model_log.champion(version.model)
        if version.rollout and champions and version.rollout[-1].step == step and version.rollout[-1].at > champions.at:
            return
        told = RolloutStep(step=step, at=now(), champion=champion, why=why, live=live)
        self._promoter.note_step(version.model, version.version, told)

    def _is_overruled(self, model: str, version: str) -> bool:
        """Say whether somebody has rejected a version in the registry: what people say there stands above the policy."""
        self._approvals.ask(model, version)
        asked = self._model_log.published(model)[version]
        return by_hand(asked) and not asked.approved

    def _begin(self, model: str) -> None:
        """Make versions shadows that are to be watched, if the policy says so and there is room."""
        if self._settings.gate_watches == "no":
            return
        for version, why in list(self._worth_watching(model)):
            beside = self._model_log.beside(model)
            if len(beside) < self._settings.candidates and self._is_new(version, beside):
                self._check()
                self._promoter.try_beside(version, "shadow", 0.0, f"{BY_POLICY}: {why}, so watched on live drawings")

    def _is_new(self, version: ModelPublished, beside: Sequence[CandidateSet]) -> bool:
        """Say whether a version is to be watched that works, is not yet, and was not removed beside this champion."""
        champion = self._model_log.champion(version.model)
        ended = any(one.step != "share" and champion and one.at > champion.at for one in version.rollout)
        there = any(one.version == version.version for one in beside)
        return not (version.failed or there or ended or self._model_log.was_tried(version.model, version.version))

    def _worth_watching(self, model: str) -> Iterator[tuple[ModelPublished, str]]:
        """Yield the newest version, if it is undecided beside the champion; then the one before a champion that is new."""
        champion, published = self._model_log.champion(model), self._model_log.published(model)
        if champion is None:
            return
        newest = max(published.values(), key=lambda one: one.at)
        judged = newest.beside is not None and newest.beside.champion == champion.version
        if judged and newest.verdict == "undecided" and not newest.approved:
            yield newest, "undecided"
        before = published.get(champion.previous or "")
        if champion.version not in published or before is None or isinstance(champion, ModelRolledBack):
            return
        yield before, f"it answered before {champion.version}"
