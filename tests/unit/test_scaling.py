"""How many servers a variant should have: a table, and what holds for every history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.sagemaker.scaling import (
    IN_MINUTES,
    OUT_MINUTES,
    CapacityLimits,
    ScalingStep,
    TrackingPolicy,
    TrafficMinute,
    desired_capacity,
)

ONE_TO_FOUR = CapacityLimits(1, 4)
HUNDRED = TrackingPolicy("hundred", 100.0)
NOW = 10_000.0


def minutes(*invocations: int, instances: int = 1) -> list[TrafficMinute]:
    return [TrafficMinute(count, instances) for count in invocations]


def counted(
    history: list[TrafficMinute],
    current: int = 1,
    limits: CapacityLimits = ONE_TO_FOUR,
    policies: tuple[TrackingPolicy, ...] = (HUNDRED,),
    steps: tuple[ScalingStep, ...] = (),
) -> int | None:
    decision = desired_capacity(limits, policies, history, current, steps, NOW)
    return decision and decision.count


LOW = minutes(*[120] * IN_MINUTES, instances=3)
"""Forty a server, of a hundred: two servers are enough."""


@pytest.mark.parametrize(
    ("history", "current", "wanted"),
    [
        ([], 1, None),
        (minutes(250, 250), 1, None),  # two minutes are not enough
        (minutes(250, 90, 250), 1, None),  # nor are three that are not all above the target
        (minutes(100, 100, 100), 1, None),  # nor those at the target
        (minutes(101, 101, 101), 1, 2),
        (minutes(120, 250, 130), 1, 3),  # what the busiest minute needs
        (minutes(900, 900, 900), 1, 4),  # not beyond the most
        (minutes(250, 250, 250, instances=3), 3, None),  # the three that were added are enough
        (minutes(10, 900, 900, 900), 1, 4),
        (LOW, 3, 2),
        (LOW[1:], 3, None),  # fourteen minutes are not enough
        ([*LOW[1:], TrafficMinute(0, 3)], 3, None),  # nothing is known of a minute without a request
        ([*LOW[1:], TrafficMinute(271, 3)], 3, None),  # ninety and more a server is not well below
        (minutes(*[10] * IN_MINUTES, instances=2), 1, None),  # not below the least
    ],
)
def test_minutes_above_the_target_add_servers_and_a_quarter_of_an_hour_well_below_removes_them(
    history: list[TrafficMinute], current: int, wanted: int | None
) -> None:
    assert counted(history, current) == wanted


@pytest.mark.parametrize(
    ("history", "current", "step", "wanted"),
    [
        (minutes(390, 390, 390, instances=3), 3, ScalingStep(NOW - 299, 2), None),  # no larger addition than the last
        (minutes(390, 390, 390, instances=3), 3, ScalingStep(NOW - 300, 2), 4),  # the cooldown is over
        (minutes(400, 400, 400, instances=2), 2, ScalingStep(NOW - 10, 1), 4),  # a larger one waits for nothing
        (minutes(250, 250, 250), 1, ScalingStep(NOW - 10, -1), 3),  # nor does an addition after a removal
        (LOW, 3, ScalingStep(NOW - 299, -1), None),
        (LOW, 3, ScalingStep(NOW - 300, -1), 2),
        (LOW, 3, ScalingStep(NOW - 10, 1), 2),
    ],
)
def test_a_change_cools_down(history: list[TrafficMinute], current: int, step: ScalingStep, wanted: int | None) -> None:
    assert counted(history, current, steps=(step,)) == wanted


def test_any_policy_adds_and_all_must_agree_to_remove() -> None:
    fifty, thousand = TrackingPolicy("fifty", 50.0), TrackingPolicy("thousand", 1000.0)
    assert counted(minutes(120, 120, 120), policies=(thousand, fifty)) == 3
    assert counted(LOW, 3, policies=(HUNDRED, thousand)) == 2, "the one that keeps most counts"
    assert counted(LOW, 3, policies=(fifty, thousand)) is None
    assert counted(LOW, 3, policies=(TrackingPolicy("kept", 100.0, may_remove=False), thousand)) is None


def test_what_is_suspended_is_not_done_and_nothing_is_without_a_policy() -> None:
    assert counted(minutes(250, 250, 250), limits=CapacityLimits(1, 4, may_add=False)) is None
    assert counted(LOW, 3, limits=CapacityLimits(1, 4, may_remove=False)) is None
    assert counted(minutes(250, 250, 250), policies=()) is None


def test_a_count_outside_of_the_limits_is_brought_back_within() -> None:
    assert counted([], 1, limits=CapacityLimits(2, 4)) == 2
    assert counted([], 5) == 4
    assert counted([], 5, limits=CapacityLimits(1, 4, may_remove=False)) is None


@given(
    least=st.integers(1, 5),
    more=st.integers(0, 5),
    targets=st.lists(st.floats(0.5, 1e6), max_size=3),
    history=st.lists(st.builds(TrafficMinute, st.integers(0, 10**6), st.integers(1, 20)), max_size=20),
    current=st.integers(1, 20),
    steps=st.lists(st.builds(ScalingStep, st.floats(0, NOW), st.integers(-3, 3)), max_size=3),
    switches=st.tuples(st.booleans(), st.booleans()),
)
def test_every_decision_is_a_change_within_the_limits_that_nobody_has_suspended(
    least: int,
    more: int,
    targets: list[float],
    history: list[TrafficMinute],
    current: int,
    steps: list[ScalingStep],
    switches: tuple[bool, bool],
) -> None:
    limits = CapacityLimits(least, least + more, *switches)
    policies = [TrackingPolicy(str(number), target) for number, target in enumerate(targets)]

    decision = desired_capacity(limits, policies, history, current, steps, NOW)

    if decision:
        assert policies
        assert least <= decision.count <= least + more
        assert decision.count != current
        assert limits.may_add if decision.count > current else limits.may_remove
        within = least <= current <= least + more
        assert not within or len(history) >= (OUT_MINUTES if decision.count > current else IN_MINUTES)


@given(load=st.integers(1, 10**5), target=st.floats(1, 1000), current=st.integers(1, 50))
def test_a_steady_load_settles_after_one_addition(load: int, target: float, current: int) -> None:
    limits, policy = CapacityLimits(1, 10**6), TrackingPolicy("any", target)
    before = [TrafficMinute(load, current)] * OUT_MINUTES

    decision = desired_capacity(limits, [policy], before, current, (), NOW)

    if decision:
        after = [TrafficMinute(load, decision.count)] * OUT_MINUTES
        assert desired_capacity(limits, [policy], after, decision.count, (), NOW) is None
        assert load / decision.count <= target
