"""Estimates what endpoints and training jobs would cost on AWS (way 3, REBUILD). Pure.

The prices are SageMaker's list prices in us-east-1, on demand, in US dollars an hour, as of 2025. Other regions cost up to
half as much again, and a savings plan costs less: the estimates are for comparing, not for an invoice.
"""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

PER_HOUR_USD: Final = MappingProxyType(
    {
        "ml.t2.medium": 0.056,
        "ml.t2.large": 0.111,
        "ml.t2.xlarge": 0.223,
        "ml.m5.large": 0.115,
        "ml.m5.xlarge": 0.23,
        "ml.m5.2xlarge": 0.461,
        "ml.m5.4xlarge": 0.922,
        "ml.c5.large": 0.102,
        "ml.c5.xlarge": 0.204,
        "ml.c5.2xlarge": 0.408,
        "ml.c5.4xlarge": 0.816,
        "ml.g4dn.xlarge": 0.736,
        "ml.g5.xlarge": 1.408,
    }
)
"""What one instance costs in dollars an hour, for training and for real-time inference alike."""


def price_per_hour_usd(instances: Iterable[tuple[str, int]]) -> float | None:
    """Return the dollars an hour that instances cost, given the number of each type; None if a price is not known.

    >>> price_per_hour_usd([("ml.m5.large", 2), ("ml.c5.large", 1)])
    0.332
    >>> price_per_hour_usd([("ml.p9.huge", 1)]) is None
    True
    """
    total = 0.0
    for kind, count in instances:
        price = PER_HOUR_USD.get(kind)
        if price is None:
            return None
        total += price * count
    return round(total, 6)


def job_price_usd(instance_type: str, seconds: float) -> float | None:
    """Return the dollars that a training job on one instance costs; None if the price is not known.

    >>> job_price_usd("ml.m5.large", 90)
    0.002875
    """
    price = PER_HOUR_USD.get(instance_type)
    return None if price is None else round(price * seconds / 3600, 6)
