"""Decides whether a candidate may answer the players (way 3, REBUILD). Pure.

A version replaces the champion if it is better on drawings of people whom neither has seen, and if what it loses on MNIST (its
test images) is worth that. It is refused if it is worse, or not better by enough to matter; and, however good it is over all,
if a digit, a device, calibration, speed or size pays too much for that (`trainers.gate_bounds`). Otherwise nobody can tell yet,
and the gate says how many more drawings it takes. Both versions answer the same pictures through the same serving code, so they
are compared picture by picture, and person by person (`contracts.paired`).

Each rebuild looks at the same people again. The k-th version that is judged beside one champion must be better beyond a chance
of the allowed one over k (k + 1). All these together never exceed the allowed one: so however often one rebuilds, the chance
that a version that is no better replaces this champion stays what the policy allows.

Source:
    Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials", Biometrika 70, for chance that is spent look by
    look; here by the union bound, since each look is at another version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import comb
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS, BesideChampion, GateVerdict, LiveBeside, ModelPromoted, ModelPublished
from contracts.paired import NOBODY, People, Size, needed, rounded
from trainers.gate_bounds import LossBounds, losses_of
from trainers.marks import Marks, Pictures
from trainers.split import DEVICES

LEAST_MNIST: Final = 0.985
"""Accuracy on MNIST below which a candidate is broken, whatever the champion's is."""
MNIST_BY_CHANCE: Final = 0.003
"""A loss on MNIST above this counts, whatever the test of chance says."""
LIKELY: Final = 0.05
"""A loss counts if chance alone gives it less often than this."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What the operator wants of a version; shares, not points."""

    tells: float = 0.02
    """The difference on people that a verdict asks for enough drawings to tell."""
    least_gain: float = 0.005
    """A version whose gain on people is surely smaller than this is refused."""
    false_promotions: float = 0.05
    """The chance with which a version that is no better may ever replace a champion."""
    mnist_free: float = 0.001
    """The loss on MNIST that is borne without a gain: ten pictures of 10,000, as much as another seed changes."""
    mnist_per_gain: float = 0.2
    """How much may be lost on MNIST for what is gained on people."""
    mnist_most: float = 0.01
    """The loss on MNIST that no gain makes up for."""
    bounds: LossBounds = field(default_factory=LossBounds)
    """What a digit, a device, calibration, speed and size may lose, whatever is gained over all."""

    def bearable(self, gain: float) -> float:
        """Return the loss on MNIST that is borne for a gain on people."""
        return min(max(self.mnist_free, self.mnist_per_gain * gain), max(self.mnist_free, self.mnist_most))


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate decided, and why."""

    verdict: GateVerdict
    reason: str
    beside: BesideChampion | None = None

    @property
    def passed(self) -> bool:
        """Whether the version may answer the players."""
        return self.verdict == "promoted"


def least(own: float | None) -> float:
    """Return the least accuracy on MNIST: the model's own bound, since some models are weaker by nature, or `LEAST_MNIST`."""
    return LEAST_MNIST if own is None else own


def spent(false_promotions: float, tries: int) -> float:
    """Return the chance that is allowed the k-th version beside one champion; all of them together have what is allowed.

    >>> spent(0.05, 1), round(sum(spent(0.05, k) for k in range(1, 100_000)), 4)
    (0.025, 0.05)
    """
    return false_promotions / (tries * (tries + 1))


def same(candidate: str, champion: str | None) -> GateDecision | None:
    """Refuse a candidate whose artifact has the champion's digest; None: it has another."""
    if candidate != champion:
        return None
    return GateDecision("refused", "refused: its artifact is the champion's, byte for byte")


def proven(version: ModelPublished, champion: ModelPromoted | None) -> bool:
    """Say whether live drawings have shown an undecided version to be better than the champion."""
    live = version.live
    if champion is None or live is None or live.champion != champion.version or version.verdict != "undecided":
        return False
    return live.chance <= live.allowed


def on_live(live: LiveBeside) -> str:
    """Say what live drawings show."""
    return (
        f"{live.difference * 100:+.1f} points on {live.judged} drawings of {live.people} people, {live.low * 100:+.1f} to"
        f" {live.high * 100:+.1f} however often one looks ({live.won} won, {live.lost} lost; better for {live.better}"
        f" people, worse for {live.worse}); by chance alone in {live.chance:.2g} of the cases"
    )


def judge(
    own_least: float | None,
    candidate: Marks,
    champion: Marks | None,
    pictures: Pictures,
    *,
    beside: str = "",
    tries: int = 1,
    policy: GatePolicy = GatePolicy(),
    numbers: Mapping[str, float] | None = None,
) -> GateDecision:
    """Decide whether the candidate may replace the champion, and say why.

    The first version of a model, which has no champion to be compared with, needs the least accuracy only.

    Args:
        own_least: The least accuracy on MNIST of this model; None: `LEAST_MNIST`.
        candidate: What the candidate got right.
        champion: What the champion did; None: there is none.
        pictures: The held-back drawings.
        beside: The version of the champion.
        tries: How many versions, with this one, were judged beside this champion.
        policy: What the operator wants.
        numbers: How long an answer takes and how large the artifact is, of both, as ModelPublished has them; what is missing
            is not compared.
    """
    bound, mnist = least(own_least), candidate.mnist_accuracy
    told = f"MNIST {mnist:.2%}" + (f" against {champion.mnist_accuracy:.2%}" if champion else ", the first version")
    if mnist < bound:
        return GateDecision("refused", f"refused: {told}, at least {bound:.1%} is needed")
    if champion is None:
        return GateDecision("promoted", f"passed: {told}")
    people, newest = _people(candidate, champion, pictures, ~pictures.newest), pictures.newest
    recent = _people(candidate, champion, pictures, newest)
    alpha = spent(policy.false_promotions, tries)
    size = _missing(people, policy, alpha)
    found = _compared(candidate, champion, pictures, people, {"champion": beside or "none", "tries": tries}, size, alpha)
    told = f"{_on_people(people, found)}; {told} ({found.mnist_won} pictures won, {found.mnist_lost} lost)"

    losses = losses_of(policy.bounds, candidate, champion, pictures, numbers or {}, spent(LIKELY, tries))

    def decided(verdict: GateVerdict, *why: str) -> GateDecision:
        needs = {} if verdict == "undecided" else {"needs_people": 0, "needs_drawings": 0}
        name = "passed" if verdict == "promoted" else verdict
        reason = f"{name}: {told}: {'; '.join((*why, *losses.by_chance))}"
        return GateDecision(verdict, reason, found.model_copy(update=needs))

    fewer = round(champion.mnist_accuracy - mnist, 9)
    better, worse = people.chance() <= alpha, _is_worse(people)
    bearable = policy.bearable(found.difference if better else 0 if worse else found.high)
    against = list[str]()
    if fewer > bearable and (fewer > max(bearable, MNIST_BY_CHANCE) or by_chance(found.mnist_lost, _sum(found)) < LIKELY):
        against.append(f"{fewer * 100:.2f} points lost on MNIST, {bearable * 100:.2f} are borne for such a gain")
    if worse:
        against.append("worse on people by more than chance")
    if _is_worse(recent):
        against.append(f"worse on the {found.newest_judged} newest drawings by more than chance")
    if not better and not worse and found.high < policy.least_gain:
        against.append(f"a gain of {policy.least_gain * 100:g} points or more is out of the question")
    against += losses.beyond
    if against:
        return decided("refused", *against)
    if better:
        return decided("promoted", "better on people by more than chance")
    return decided("undecided", _needs(people, policy, alpha, size))


def _people(candidate: Marks, champion: Marks, pictures: Pictures, where: NDArray[np.bool_]) -> People:
    if not where.any():
        return NOBODY
    return People.of(pictures.people[where], champion.held_back[where], candidate.held_back[where])


def _is_worse(people: People) -> bool:
    return people.chance(sign=-1) <= LIKELY


def _missing(people: People, policy: GatePolicy, alpha: float) -> Size:
    whole = needed(people, policy.tells, alpha)
    return Size(max(0, whole.people - len(people)), max(0, whole.drawings - int(people.drawings.sum())))


def _needs(people: People, policy: GatePolicy, alpha: float, size: Size) -> str:
    """Return how many more drawings it takes, of the difference that is asked about, or of the next that was not told."""
    tells = policy.tells
    while not size.people and tells > policy.least_gain / 2:
        tells /= 2
        size = _missing(people, GatePolicy(tells=tells), alpha)
    already = f"a difference of {policy.tells * 100:g} points would have shown; " if tells < policy.tells else ""
    return (
        f"{already}needs about {rounded(size.drawings)} more held-back drawings, of {rounded(size.people)} other people,"
        f" to tell a difference of {tells * 100:g} point{'s' * (tells != 0.01)}"
    )


def _on_people(people: People, found: BesideChampion) -> str:
    if not len(people):
        return "no drawing of people whom neither has seen and who are known (a player is, after some clear drawings)"
    return (
        f"{found.difference * 100:+.1f} points on {found.judged} drawings of {found.people} people whom neither has seen,"
        f" {found.low * 100:+.1f} to {found.high * 100:+.1f} ({found.won} won, {found.lost} lost;"
        f" better for {found.better} people, worse for {found.worse})"
    )


def _compared(
    candidate: Marks, champion: Marks, pictures: Pictures, people: People, told: dict[str, Any], size: Size, alpha: float
) -> BesideChampion:
    won, lost = candidate.held_back & ~champion.held_back, champion.held_back & ~candidate.held_back
    old = ~pictures.newest
    low, high = people.interval(2 * alpha)
    n = max(1, int(old.sum()))
    high = min(1.0, max(high, (at_most(int(won[old].sum()), alpha) - int(lost[old].sum())) / n))
    if people.chance() > alpha:
        low = max(-1.0, min(low, (int(won[old].sum()) - at_most(int(lost[old].sum()), alpha)) / n))
    each = people.more / people.drawings if len(people) else np.zeros(1)
    return BesideChampion(
        **told,
        people=len(people),
        judged=int(old.sum()),
        won=int(won[old].sum()),
        lost=int(lost[old].sum()),
        difference=people.difference,
        low=low,
        high=high,
        better=int((people.more > 0).sum()),
        worse=int((people.more < 0).sum()),
        quantiles=np.quantile(each, [0, 0.25, 0.5, 0.75, 1]).tolist(),
        needs_people=size.people,
        needs_drawings=size.drawings,
        digit_judged=by_digit(pictures, old),
        digit_won=by_digit(pictures, old & won),
        digit_lost=by_digit(pictures, old & lost),
        device_judged=by_device(pictures, old),
        device_won=by_device(pictures, old & won),
        device_lost=by_device(pictures, old & lost),
        newest_judged=int(pictures.newest.sum()),
        newest_won=int(won[pictures.newest].sum()),
        newest_lost=int(lost[pictures.newest].sum()),
        mnist_won=int((candidate.mnist & ~champion.mnist).sum()),
        mnist_lost=int((champion.mnist & ~candidate.mnist).sum()),
    )


def by_digit(pictures: Pictures, where: NDArray[np.bool_]) -> list[int]:
    """Return how many there are of each digit."""
    counts: list[int] = np.bincount(pictures.labels[where], minlength=DIGITS).tolist()
    return counts


def by_device(pictures: Pictures, where: NDArray[np.bool_]) -> dict[Any, int]:
    """Return how many there are of each device that any of the pictures was drawn with."""
    if pictures.devices is None:
        return {}
    counts = np.bincount(pictures.devices[where], minlength=len(DEVICES))
    return {DEVICES[place]: int(counts[place]) for place in np.unique(pictures.devices[~pictures.newest]).tolist()}


def at_most(seen: int, alpha: float) -> float:
    """Return how many are to be expected at most of what was seen so often; of what was never seen, some three.

    >>> round(at_most(0, 0.05), 1), round(at_most(10, 0.05), 1)
    (3.0, 17.0)

    Source:
        Garwood 1936, by the approximation of Wilson and Hilferty 1931.
    """
    n = seen + 1
    return float(n * (1 - 1 / (9 * n) + NormalDist().inv_cdf(1 - alpha) / (3 * n**0.5)) ** 3)


def _sum(found: BesideChampion) -> int:
    return found.mnist_won + found.mnist_lost


def by_chance(at_least: int, tosses: int) -> float:
    """Return how likely a fair coin falls on one side at least that often: the sign test of a loss on MNIST.

    >>> by_chance(5, 5)
    0.03125

    Source:
        Dietterich 1998, "Approximate statistical tests for comparing supervised classification learning algorithms".
    """
    ways: int = sum(comb(tosses, k) for k in range(at_least, tosses + 1))
    return ways / (1 << tosses)
