"""Lets versions that may answer players do so step by step, and takes them back, by policy (way 3, OPERATE).

A step is on the log with its reason and all that it was decided by, in the version's own entry, before it is carried out. So a
trainer that was killed in between, or another one that has the lease by then, reads what is to be, and makes it so. Twice is
harmless for the same reason. An operator's command ends a canary's way (`trainers.promote` notes that), and wins.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

import structlog

from contracts.events import CandidateSet, DrawingAnswered, ModelPublished, RolloutStep, now
from contracts.ports import Bus, Tail
from trainers import gate
from trainers.approval import Approvals
from trainers.canary import CanaryCalls, CanaryPolicy, NextStep, begins, decide
from trainers.live_evidence import LiveEvidence, read_on
from trainers.model_log import ModelLog
from trainers.policy_audit import BY_POLICY
from trainers.promote import Promoter
from trainers.serving import ServingFailed

log = structlog.get_logger()
MOST_WHY: Final = 1500


class _Calls(NamedTuple):
    """The answers of a canary since a step."""

    since: datetime
    tail: Tail
    counts: CanaryCalls


class CanaryWatch:
    """Looks at the canaries of all batch models that the policy moves."""

    def __init__(
        self,
        policy: CanaryPolicy,
        bus: Bus,
        model_log: ModelLog,
        promoter: Promoter,
        approvals: Approvals,
        evidence: LiveEvidence,
        check: Callable[[], None],
    ) -> None:
        """Keep what it needs.

        Args:
            policy: What the operator wants.
            bus: Has answers.v1.
            model_log: The log, folded.
            promoter: Changes who answers.
            approvals: Asks the registry whether a version is still approved.
            evidence: What live drawings say.
            check: Raises if another trainer does the work by now.
        """
        self._policy = policy
        self._bus = bus
        self._model_log = model_log
        self._promoter = promoter
        self._approvals = approvals
        self._evidence = evidence
        self._check = check
        self._calls: dict[str, _Calls] = {}

    def look(self, model: str) -> None:
        """Carry out what was decided, look at the canary, and decide what follows."""
        for version in list(self._model_log.published(model).values()):
            self._make_so(version)
        self._begin_one(model)
        canary = next((one for one in self._model_log.beside(model) if one.role == "canary" and one.watched), None)
        last = self._share_of(canary)
        if canary is None or last is None:
            self._leave(model)
            return
        live, counts = self._evidence.look(canary), self._counted(canary, last)
        version = self._model_log.published(model)[canary.version]
        decided = decide(self._policy, last, live, counts.health(), now())
        if decided is None:
            return
        if decided.step != "rolled-back" and (why := self._against(version)):
            decided = NextStep("rolled-back", 0.0, why)
        self.step(version, decided, counts)

    def _share_of(self, canary: CandidateSet | None) -> RolloutStep | None:
        """Return the step by which a canary answers its share; None: it does not by policy."""
        version = self._model_log.published(canary.model).get(canary.version) if canary else None
        steps = version.rollout if version else []
        return steps[-1] if steps and steps[-1].step == "share" else None

    def step(self, version: ModelPublished, decided: NextStep, counts: CanaryCalls | None = None) -> None:
        """Put a step on the log, then carry it out."""
        champion = self._model_log.champion(version.model)
        assert champion, f"no version of {version.model} was ever promoted"
        self._check()
        step = RolloutStep(
            step=decided.step,
            at=now(),
            champion=champion.version,
            share=decided.share,
            why=decided.why[:MOST_WHY],
            live=version.live if version.live and version.live.champion == champion.version else None,
            health=counts.health() if counts else None,
        )
        failed = {"failed": f"{BY_POLICY}: {decided.why}"[:500]} if decided.failed else {}
        noted = self._promoter.note_step(version.model, version.version, step, **failed)
        log.info("canary", model=version.model, version=version.version, step=step.step, share=step.share, why=step.why)
        self._make_so(noted)

    def _make_so(self, version: ModelPublished) -> None:
        """Carry out the last step of a version, unless that is done, or the champion is another since."""
        model, champion = version.model, self._model_log.champion(version.model)
        if not version.rollout or champion is None:
            return
        last, note = version.rollout[-1], f"{BY_POLICY}: {version.rollout[-1].why}"
        mine = next((one for one in self._model_log.beside(model) if one.version == version.version), None)
        watched = mine is not None and mine.watched
        if champion.version == version.version:
            if watched:  # whoever promoted it was killed before this was said
                self._check()
                self._promoter.untry(model, note, version.version)
        elif last.step == "share":
            if champion.version != last.champion:
                self._check()
                why = f"{champion.version} answers now, and {version.version} was let through beside {last.champion}"
                self._promoter.stop(model, version.version, why)
            elif mine is None or (mine.role, mine.share, mine.watched) != ("canary", last.share, True):
                self._check()
                self._answer_some(version, last, note)
        elif last.step == "rolled-back" and watched:
            self._check()
            self._promoter.untry(model, note, version.version)
        elif last.step == "promoted" and watched and champion.version == last.champion:
            self._check()
            self._promoter.promote(version, note)

    def _answer_some(self, version: ModelPublished, last: RolloutStep, note: str) -> None:
        try:
            self._promoter.try_beside(version, "canary", last.share, note, watched=True)
        except ServingFailed as failed:
            self.step(version, NextStep("rolled-back", 0.0, f"it cannot be served: {failed}", failed=True))

    def _begin_one(self, model: str) -> None:
        """Let the newest version that the gate let through answer the first share, unless somebody ended that."""
        if not self._policy.shares or any(one.role == "canary" for one in self._model_log.beside(model)):
            return
        champion, published = self._model_log.champion(model), self._model_log.published(model)
        newest = max(published.values(), key=lambda one: one.at, default=None)
        if champion is None or newest is None or newest.beside is None or newest.beside.champion != champion.version:
            return
        new = newest.at > champion.at and not newest.rollout and not self._model_log.was_tried(model, newest.version)
        room = self._promoter.has_room(newest, self._policy.candidates)
        if newest.verdict == "promoted" and new and room and not self._against(newest):
            self.step(newest, begins(self._policy, f"the gate let it through: {newest.gate}"))

    def _against(self, version: ModelPublished) -> str | None:
        """Return why a version may not go on, as somebody says in the registry by now; None: it may."""
        self._approvals.ask(version.model, version.version)
        asked = self._model_log.published(version.model)[version.version]
        if asked.failed:
            return asked.failed
        return None if asked.approved else asked.gate

    def begin_proven(self, version: ModelPublished) -> bool:
        """Let a shadow that is better on live drawings answer the first share, if there are canaries; say whether it does."""
        if not self._policy.shares or version.live is None:
            return False
        if self._promoter.has_room(version, self._policy.candidates):
            self.step(version, begins(self._policy, f"better on live drawings, {gate.on_live(version.live)}"))
        return True

    def _counted(self, canary: CandidateSet, last: RolloutStep) -> CanaryCalls:
        known = self._calls.get(canary.model)
        if known is None or known.since != last.at:
            self._leave(canary.model)
            tail = self._bus.follow([DrawingAnswered.topic], last.at)
            counts = CanaryCalls(canary.model, last.champion, canary.version, self._policy.slow_ms)
            known = self._calls[canary.model] = _Calls(last.at, tail, counts)
        read_on(known.tail, known.counts)
        return known.counts

    def _leave(self, model: str) -> None:
        if (known := self._calls.pop(model, None)) is not None:
            known.tail.close()
