"""Decides how a version that the gate let through goes on to answer all players, step by step, or back (way 3, OPERATE). Pure.

A canary answers a share of the players. Both versions are asked about every finished drawing, and the one that does not answer
a player is a shadow there: so they are compared drawing by drawing and person by person, as a shadow is, and a small share of
the players costs no evidence. It is rolled back once it is worse beyond chance, by a test that holds however often one looks,
or at once if it does not answer, or too slowly, where the champion does. It goes on if it was looked at for long enough without
that. The gate has shown before that it is better: a canary looks for what the gate could not see.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID

from contracts.events import (
    MAX_CANDIDATES,
    CanaryHealth,
    DrawingAnswered,
    Event,
    LiveBeside,
    RolloutStep,
)
from contracts.training_settings import TrainingSettings
from trainers import gate

LEAST_SHOWN: Final = 20
"""So many drawings it must have answered at a share, before it goes on to the next."""
_LEAST_BAD: Final = 3
"""Fewer answers than this that are slow, or do not come, are an accident."""
_TWICE: Final = 2
"""How much oftener than the champion's a canary's answers must be slow, or not come: both share a machine."""
_MISSED: Final = "the canary did not answer"
"""How the router begins the note of a guess that the champion gave in the canary's place: see `streams.round`."""


@dataclass(frozen=True, slots=True)
class CanaryPolicy:
    """What the operator wants of a canary."""

    shares: Sequence[float] = ()
    """The shares of the players that it answers, one after another, each 0..1; none: a version answers all at once."""
    drawings: int = 100
    """How many drawings both versions must be judged by at each share."""
    lasts: timedelta = timedelta(minutes=10)
    """How long each share lasts at least."""
    slow_ms: float = 500.0
    """An answer that takes longer is slow; 1 % of them may be."""
    unanswered: float = 0.01
    """The share of the drawings that may stay unanswered."""
    candidates: int = MAX_CANDIDATES
    """How many versions may stand beside a champion; a canary waits for a place."""


def policy_of(settings: TrainingSettings) -> CanaryPolicy:
    """Return what the operator wants, by the settings."""
    return CanaryPolicy(
        settings.canary_shares,
        settings.gate_canary_drawings,
        timedelta(minutes=settings.gate_canary_minutes),
        settings.gate_canary_slow_ms,
        settings.gate_canary_unanswered_percent / 100,
        settings.candidates,
    )


class NextStep(NamedTuple):
    """What is done next with a canary."""

    step: Literal["share", "promoted", "rolled-back"]
    share: float
    why: str
    failed: bool = False
    """Whether it does not work, whatever it guesses."""


def begins(policy: CanaryPolicy, why: str) -> NextStep:
    """Return the first step of a version that may answer players."""
    return NextStep("share", policy.shares[0], why)


def decide(
    policy: CanaryPolicy, last: RolloutStep, live: LiveBeside | None, health: CanaryHealth, now: datetime
) -> NextStep | None:
    """Return what follows the last step; None: it is to be watched for longer.

    Args:
        policy: What the operator wants.
        last: The step by which it answers the share that it does.
        live: What drawings have shown of both versions since it began.
        health: How both have answered since the last step.
        now: The time.
    """
    if (ill := alarm(policy, health)) is not None:
        return NextStep("rolled-back", 0.0, ill, failed=True)
    if live is not None and live.chance_worse <= gate.LIKELY:
        return NextStep("rolled-back", 0.0, f"worse on live drawings, {gate.on_live(live)}")
    before = last.live.judged if last.live is not None and live is not None and last.live.since == live.since else 0
    judged = 0 if live is None else live.judged - before
    if judged < policy.drawings or health.canary_drawings < LEAST_SHOWN or now - last.at < policy.lasts or live is None:
        return None
    told = f"not worse on {judged} live drawings at {last.share:.0%}: {gate.on_live(live)}; {answering(health)}"
    following = next((share for share in policy.shares if share > last.share), None)
    if following is None or following >= 1:
        return NextStep("promoted", 1.0, told)
    return NextStep("share", following, told)


def alarm(policy: CanaryPolicy, health: CanaryHealth) -> str | None:
    """Return why a canary does not work, by what its champion does at the same time; None: it does."""
    if _worse(
        health.canary_misses, health.canary_drawings, health.champion_misses, health.champion_drawings, policy.unanswered
    ):
        missed = f"{health.canary_misses} of {health.canary_drawings} drawings"
        return f"{missed} were not answered, or not with probabilities: {answering(health)}"
    if _worse(health.canary_late, health.canary_answers, health.champion_late, health.champion_answers, 0.01):
        return f"{health.canary_late} of {health.canary_answers} answers took over {policy.slow_ms:g} ms: {answering(health)}"
    return None


def _worse(bad: int, n: int, champion_bad: int, champion_n: int, bound: float) -> bool:
    champions = champion_bad / champion_n if champion_n else 0.0
    return bad >= _LEAST_BAD and bad > n * max(bound, _TWICE * champions)


def answering(health: CanaryHealth) -> str:
    """Say how a canary and its champion have answered."""
    return (
        f"99 of 100 answers within {health.canary_p99_ms:.0f} ms, its champion's within {health.champion_p99_ms:.0f} ms;"
        f" {health.canary_misses} of {health.canary_drawings} unanswered, its champion's {health.champion_misses} of"
        f" {health.champion_drawings}"
    )


class CanaryCalls:
    """How a canary and its champion answer finished drawings. A fold of answers.v1: each drawing counts once a version."""

    def __init__(self, model: str, champion: str, canary: str, slow_ms: float) -> None:
        """Begin with none."""
        self._model, self._champion, self._canary, self._slow_ms = model, champion, canary, slow_ms
        self._took: dict[str, dict[UUID, float]] = {champion: {}, canary: {}}
        """Milliseconds of each answer, shown or not, by version."""
        self._shown: dict[str, set[UUID]] = {champion: set(), canary: set()}
        self._missed: dict[str, set[UUID]] = {champion: set(), canary: set()}

    def apply(self, event: Event) -> None:
        """Take in an event; one of another kind changes nothing."""
        if not isinstance(event, DrawingAnswered):
            return
        drawing = event.drawing_id
        for guess in event.guesses:
            if guess.model != self._model or guess.version not in self._took:
                continue
            self._took[guess.version].setdefault(drawing, guess.hops.get("wait", 0.0) + guess.hops.get("model", 0.0))
            if guess.role == "shadow":
                continue
            if guess.version == self._champion and guess.fallback is not None and guess.fallback.startswith(_MISSED):
                self._missed[self._canary].add(drawing)
            else:
                self._shown[guess.version].add(drawing)
        if self._model in event.missed:
            self._missed[self._champion].add(drawing)

    def health(self) -> CanaryHealth:
        """Return the counts."""
        canary, champion = self._took[self._canary].values(), self._took[self._champion].values()
        return CanaryHealth(
            canary_drawings=len(self._shown[self._canary] | self._missed[self._canary]),
            canary_misses=len(self._missed[self._canary] - self._shown[self._canary]),
            canary_answers=len(canary),
            canary_late=self._slow(canary),
            canary_p99_ms=_p99(canary),
            champion_drawings=len(self._shown[self._champion] | self._missed[self._champion]),
            champion_misses=len(self._missed[self._champion] - self._shown[self._champion]),
            champion_answers=len(champion),
            champion_late=self._slow(champion),
            champion_p99_ms=_p99(champion),
        )

    def _slow(self, took: Iterable[float]) -> int:
        return sum(one > self._slow_ms for one in took)


def _p99(took: Iterable[float]) -> float:
    ordered = sorted(took)
    return round(ordered[max(0, -(-len(ordered) * 99 // 100) - 1)], 3) if ordered else 0.0
