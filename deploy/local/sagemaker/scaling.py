"""Decides how many servers a variant should have, as Application Auto Scaling's target tracking does. Pure.

Source: Amazon, "How target tracking scaling for Application Auto Scaling works", "Automatic scaling of SageMaker AI models".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

OUT_MINUTES: Final = 3
"""How many minutes in a row must be above the target before servers are added."""
IN_MINUTES: Final = 15
"""How many minutes in a row must be well below the target before servers are removed."""
_WELL_BELOW: Final = 0.9
"""The share of the target under which servers may be removed, so that they do not come and go."""


@dataclass(frozen=True, slots=True)
class TrafficMinute:
    """What a variant was asked in a minute."""

    invocations: int
    """How many requests it had; 0 counts as nothing known, since SageMaker publishes no zero."""
    instances: int
    """How many servers it had; at least 1."""

    @property
    def per_instance(self) -> float:
        """SageMakerVariantInvocationsPerInstance of the minute."""
        return self.invocations / self.instances


@dataclass(frozen=True, slots=True)
class TrackingPolicy:
    """A policy of type TargetTrackingScaling on SageMakerVariantInvocationsPerInstance."""

    name: str
    target: float
    """Invocations a minute that each server should have; above 0."""
    out_cooldown_s: float = 300.0
    in_cooldown_s: float = 300.0
    may_remove: bool = True


@dataclass(frozen=True, slots=True)
class CapacityLimits:
    """What a scalable target allows."""

    least: int
    most: int
    may_add: bool = True
    may_remove: bool = True


@dataclass(frozen=True, slots=True)
class ScalingStep:
    """A change that was made."""

    at: float
    """When it was done, in seconds since 1970."""
    added: int
    """How many servers were added; negative: removed."""


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """A change to make."""

    count: int
    cause: str


def desired_capacity(
    limits: CapacityLimits,
    policies: Sequence[TrackingPolicy],
    minutes: Sequence[TrafficMinute],
    current: int,
    steps: Sequence[ScalingStep],
    now: float,
) -> ScalingDecision | None:
    """Return how many servers a variant should have; None: as many as now.

    Servers are added when any policy wants it, as many as the busiest of the minutes needs, and the policy that wants most
    counts. They are removed when all policies want it, and the one that wants fewest removed counts. While the cooldown of an
    addition lasts, only a larger one is made; while that of a removal lasts, no other removal.

    Args:
        limits: What the scalable target allows. A count beyond them is brought back within them, if there is a policy.
        policies: The variant's policies.
        minutes: What it was asked, the newest minute last, without gaps.
        current: How many servers it has.
        steps: What was changed before, the newest last.
        now: The time, in seconds since 1970.
    """
    if not policies:
        return None
    within = min(max(current, limits.least), limits.most)
    if within != current and (limits.may_add if within > current else limits.may_remove):
        return ScalingDecision(within, f"the capacity lay outside of {limits.least} to {limits.most}")
    if limits.may_add and (added := _added(policies, minutes, current, steps, now)):
        wanted, policy = added
        if (count := min(wanted, limits.most)) > current:
            return ScalingDecision(count, f"{OUT_MINUTES} minutes above {policy.target:g} triggered policy {policy.name}")
    if limits.may_remove and (removed := _removed(policies, minutes, current, steps, now)):
        wanted, policy = removed
        if (count := max(wanted, limits.least)) < current:
            below = f"{IN_MINUTES} minutes below {_WELL_BELOW * policy.target:g}"
            return ScalingDecision(count, f"{below} triggered policy {policy.name}")
    return None


def _added(
    policies: Sequence[TrackingPolicy],
    minutes: Sequence[TrafficMinute],
    current: int,
    steps: Sequence[ScalingStep],
    now: float,
) -> tuple[int, TrackingPolicy] | None:
    """Return the largest count that a policy wants beyond the current one, with the policy; None: none wants more."""
    newest = minutes[-OUT_MINUTES:]
    last = next((step for step in reversed(steps) if step.added > 0), None)
    found = []
    for policy in policies:
        if len(newest) < OUT_MINUTES or not all(minute.per_instance > policy.target for minute in newest):
            continue
        wanted = _needed(newest, policy)
        cooling = last is not None and now - last.at < policy.out_cooldown_s
        if wanted > current and not (cooling and last is not None and wanted - current <= last.added):
            found.append((wanted, policy))
    return max(found, key=lambda one: one[0], default=None)


def _removed(
    policies: Sequence[TrackingPolicy],
    minutes: Sequence[TrafficMinute],
    current: int,
    steps: Sequence[ScalingStep],
    now: float,
) -> tuple[int, TrackingPolicy] | None:
    """Return the largest count that a policy wants, with the policy, if all want fewer than there are; None: not all do."""
    newest = minutes[-IN_MINUTES:]
    last = next((step for step in reversed(steps) if step.added < 0), None)
    found = []
    for policy in policies:
        low = all(0 < minute.per_instance < _WELL_BELOW * policy.target for minute in newest)
        cooling = last is not None and now - last.at < policy.in_cooldown_s
        if len(newest) < IN_MINUTES or not low or cooling or not policy.may_remove:
            return None
        wanted = _needed(newest, policy)
        if wanted >= current:
            return None
        found.append((wanted, policy))
    return max(found, key=lambda one: one[0], default=None)


def _needed(minutes: Sequence[TrafficMinute], policy: TrackingPolicy) -> int:
    """Return how many servers the busiest of some minutes needs."""
    return max(1, math.ceil(max(minute.invocations for minute in minutes) / policy.target))
