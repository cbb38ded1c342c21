"""Describes a record that is sent on an event loop, until the broker has it or it is given up (ways 1 and 2)."""

from collections.abc import Callable
from dataclasses import dataclass

from contracts.ports import Partition


@dataclass(slots=True, eq=False)
class Sending:
    """A record on its way, and who is told what became of it, on the loop."""

    place: Partition
    key: bytes
    value: bytes
    timestamp_ms: int
    due: float
    """When it counts as undelivered, on the monotonic clock."""
    acknowledged: Callable[[int, int], object]
    refused: Callable[[BaseException | str], object]
    number: int = 0
    """Its place among all that were sent."""
