"""How often a canary is rolled back that is no worse, and how soon one that is: ``python -m tests.bench.training canary``.

Chance draws people and their drawings as for the gate; the rule is that of `trainers.canary`, after every ten drawings.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import CanaryHealth, LiveBeside, RolloutStep
from contracts.paired import People
from trainers.canary import CanaryPolicy, decide

BEGAN: Final = datetime(2026, 11, 30, tzinfo=UTC)
LOSSES: Final = (0.0, 0.02, 0.05, 0.1, 0.3)
SEED: Final = 20181103
_LATER: Final = timedelta(hours=1)
_WELL: Final = CanaryHealth(
    canary_drawings=1000, canary_misses=0, canary_answers=1000, canary_late=0, canary_p99_ms=40,
    champion_drawings=1000, champion_misses=0, champion_answers=1000, champion_late=0, champion_p99_ms=40,
)  # fmt: skip
Drawn = Callable[[np.random.Generator, float], tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]]
"""Returns whose each drawing is, and which champion and canary got right, of one that is better by so much."""


def ended(
    people: NDArray[np.int32], champion: NDArray[np.bool_], canary: NDArray[np.bool_], policy: CanaryPolicy
) -> tuple[str, int]:
    """Return how a canary ended, and after how many drawings; "undecided" if these were too few."""
    step = RolloutStep(step="share", at=BEGAN, champion="1", share=policy.shares[0], why="", live=_live(0, 1.0))
    for n in range(10, len(people) + 1, 10):
        live = _live(n, People.of(people[:n], champion[:n], canary[:n]).ever(-1))
        found = decide(policy, step, live, _WELL, BEGAN + _LATER)
        if found is not None and found.step != "share":
            return found.step, n
        if found is not None:
            step = step.model_copy(update={"share": found.share, "live": live})
    return "undecided", len(people)


def _live(judged: int, worse: float) -> LiveBeside:
    return LiveBeside(
        champion="1", tries=2, people=0, judged=judged, won=0, lost=0, difference=0, low=0, high=0, better=0, worse=0,
        chance=1, chance_worse=worse, allowed=0.01, since=BEGAN,
    )  # fmt: skip


def canary(runs: int, drawn: Drawn) -> Iterator[str]:
    """Three shares, so many drawings each; in an order in which people take turns."""
    for drawings in (100, 300, 1000):
        policy = CanaryPolicy((0.05, 0.25, 0.5), drawings=drawings)
        for loss in LOSSES:
            rng, found = np.random.default_rng(SEED), []
            for _ in range(runs):
                who, first, second = drawn(rng, -loss)
                turn = rng.permutation(len(who))[: 3 * drawings]
                found.append(ended(who[turn], first[turn], second[turn], policy))
            back = [n for step, n in found if step == "rolled-back"]
            after = f", half of them within {np.median(back):.0f} drawings" if back else ""
            told = f"rolled back {len(back) / runs:.1%} of {runs}{after}"
            yield f"{drawings} drawings a share, worse by {loss * 100:g} points: {told}"
