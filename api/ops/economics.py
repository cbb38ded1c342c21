"""Reckons what endpoints and trainings cost, and what they give for it (way 3, OPERATE). Pure; money is decimal and exact.

`api.ops.costs` puts the game's own numbers in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from contracts.prices import PriceList

HOURS_A_MONTH: Final = 730
"""As AWS reckons."""
HOURS_A_YEAR: Final = 8760
IDLE_MINUTES: Final = 15
"""How long an endpoint that is scaled to zero stays up after its last call."""
CALL_BYTES: Final = 1_200
"""What a call of one drawing moves in and out: 784 pixels, ten probabilities, and the heads of both .npy bodies."""
_GB: Final = Decimal(10**9)
_CENT: Final = Decimal("0.01")


def per_thousand(per_hour: Decimal, guesses_per_hour: float) -> Decimal | None:
    """Return the dollars that a thousand guesses cost at an endpoint that is always there; None: nobody asks it.

    >>> per_thousand(Decimal("0.115"), 2300)
    Decimal('0.050')
    """
    if guesses_per_hour <= 0:
        return None
    return per_hour * 1000 / Decimal(str(guesses_per_hour))


def per_correct(per_hour: Decimal, finished_per_hour: float, share: float) -> Decimal | None:
    """Return the dollars that each right guess on a finished drawing costs; None: there is none.

    >>> per_correct(Decimal("0.115"), 1000, 0.5)
    Decimal('0.00023')
    """
    right = Decimal(str(finished_per_hour)) * Decimal(str(share))
    return per_hour / right if right > 0 else None


def serverless_call(prices: PriceList, memory_gb: int, call_ms: float, size: int = CALL_BYTES) -> Decimal:
    """Return the dollars that one call to a serverless endpoint costs.

    Args:
        prices: The list.
        memory_gb: The endpoint's memory: 1 to 6.
        call_ms: How long a call takes.
        size: The bytes that go in and come out.
    """
    seconds = Decimal(str(call_ms)) / 1000
    return prices.serverless_per_gb_second * memory_gb * seconds + prices.serverless_per_gb_of_data * size / _GB


def break_even(per_hour: Decimal, per_call: Decimal) -> int | None:
    """Return the calls an hour from which an endpoint that is always there is cheaper; None: a call costs nothing.

    >>> break_even(Decimal("0.115"), Decimal("0.00002"))
    5750
    """
    return int(per_hour / per_call) if per_call > 0 else None


def awake_share(minutes: Sequence[bool], idle: int = IDLE_MINUTES) -> float | None:
    """Return the share of the time for which an endpoint is up that goes to zero when nobody asks; None: no minute is known.

    Args:
        minutes: Of each minute whether the endpoint was asked, the oldest first.
        idle: How many minutes it stays up after the last call.

    >>> awake_share([True, False, False, False], idle=1)
    0.5
    """
    if not minutes:
        return None
    up, left = 0, 0
    for asked in minutes:
        left = idle + 1 if asked else left
        up += left > 0
        left -= 1
    return up / len(minutes)


@dataclass(frozen=True, slots=True)
class Bought:
    """What a training gave for its money."""

    points: Decimal | None
    """Percentage points won on held-back drawings over the champion of then, on the same drawings; None: not compared."""
    per_cent: Decimal | None
    """Points for each cent."""
    each: Decimal | None
    """What each further right guess of a month costs, in dollars; None: nobody asks, or nothing was won."""
    warning: str
    """Why it was not worth it; empty: it was, or nobody can say."""


def bought(
    cost: Decimal | None,
    before: float | None,
    after: float | None,
    answers: bool,
    verdict: str | None,
    finished_per_hour: float | None,
    right_costs: Decimal | None,
) -> Bought:
    """Return what a training bought.

    It was worth its money if the further right guesses of a month cost no more each than a right guess costs anyway.

    Args:
        cost: Dollars; None: not known.
        before: The champion's accuracy on held-back drawings; None: not compared.
        after: The new version's on the same ones.
        answers: Whether the version may reach players.
        verdict: What the gate has said; None: the version is from before there were verdicts.
        finished_per_hour: Guesses on finished drawings in an hour; None: not known.
        right_costs: What a right guess costs at the endpoint; None: not known.
    """
    points = None if before is None or after is None else (Decimal(str(after)) - Decimal(str(before))) * 100
    per_cent = points / (cost * 100) if points is not None and cost else None
    more = points / 100 * Decimal(str(finished_per_hour)) * HOURS_A_MONTH if points is not None and finished_per_hour else None
    each = cost / more if cost is not None and more is not None and more > 0 else None
    warning = ""
    if not answers and verdict == "undecided":
        warning = "nobody can tell yet what it bought: the gate could not decide"
    elif not answers:
        warning = "it bought nothing: the gate refused the version"
    elif points is not None and points <= 0:
        warning = f"it bought nothing: {points.quantize(_CENT):+f} points on held-back drawings"
    elif each is not None and right_costs is not None and each > right_costs:
        warning = f"each further right guess of a month costs ${each:.6f}, and ${right_costs:.6f} at the endpoint"
    return Bought(points=points, per_cent=per_cent, each=each, warning=warning)
