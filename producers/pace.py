"""How long a reader of the bus gathers before it takes what has come. Pure: the time is passed in.

Each request to the broker, and each step of whoever reads, has a price that does not depend on how much it brings. While little
comes, nobody should wait to save it; in a rush everybody waits longer if it is not saved.
"""

import math
from typing import Final

_MEMORY_S: Final = 0.5
"""The time over which what came is averaged."""


class Pace:
    """The waits of one reader, by how much came lately."""

    def __init__(self, rush: float, rush_s: float, calm_s: float = 0.0) -> None:
        """Begin calm.

        Args:
            rush: Records a second from which on it is a rush.
            rush_s: Seconds to gather in a rush.
            calm_s: Seconds to gather otherwise, after something has come: while nothing does, asking every few
                milliseconds would be all that the reader does.
        """
        self._rush = rush
        self._rush_s = rush_s
        self._calm_s = calm_s
        self._rate = 0.0
        self._told_at = -math.inf

    def wait_s(self, n: int, now: float) -> float:
        """Return how long to gather before taking more.

        >>> pace = Pace(rush=100, rush_s=0.02)
        >>> pace.wait_s(1, now=0.0)  # somebody who draws alone
        0.0
        >>> pace.wait_s(80, now=0.1)
        0.02

        Args:
            n: Records that have come since the last call.
            now: The time on a monotonic clock, in seconds.
        """
        self._rate = self._rate * math.exp((self._told_at - now) / _MEMORY_S) + n / _MEMORY_S
        self._told_at = now
        if self._rate >= self._rush:
            return self._rush_s
        return self._calm_s if n else 0.0
