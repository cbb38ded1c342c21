"""How long a reader of the bus gathers before it takes what has come. Pure: the time is passed in.

Each request to the broker, and each step of whoever reads, has a price that does not depend on how much it brings. While little
comes, nobody should wait to save it; in a rush everybody waits longer if it is not saved.
"""

import math
from collections.abc import Collection
from typing import Final

_MEMORY_S: Final = 0.5
"""The time over which what came is averaged."""


class Pace:
    """The waits of one reader, by how much came lately."""

    def __init__(
        self,
        rush: float,
        rush_s: float,
        most_s: float = 0.0,
        calm_s: float = 0.0,
        prompt: Collection[str] = (),
        held: Collection[str] = (),
        held_s: float = 0.0,
        few: float = 0.0,
    ) -> None:
        """Begin calm.

        Args:
            rush: Records a second from which on it is a rush.
            rush_s: Seconds to gather when a rush begins.
            most_s: Seconds up to which that grows in proportion to what comes, so that a request or a step is for more
                records the more there are, and their number for less; at least ``rush_s``.
            calm_s: Seconds to gather otherwise, after something has come: while nothing does, asking every few
                milliseconds would be all that the reader does.
            prompt: The topics of which a record soon brings another to this reader, for which somebody waits: then only a rush
                gathers.
            held: The topics of records that come while other processes are busy with something more urgent.
            held_s: Seconds for which a reader holds what is of no other topics, while little comes.
            few: Records a second up to which that is little.
        """
        self._rush = rush
        self._rush_s = rush_s
        self._most_s = max(most_s, rush_s)
        self._calm_s = calm_s
        self._prompt = frozenset(prompt)
        self._held = frozenset(held)
        self._held_s = held_s
        self._few = few
        self._rate = 0.0
        self._told_at = -math.inf

    def rushing(self, now: float) -> bool:
        """Say whether it is a rush at a time on the monotonic clock.

        >>> pace = Pace(rush=100, rush_s=0.02)
        >>> _ = pace.wait_s(80, now=0.1)
        >>> pace.rushing(now=0.2), pace.rushing(now=1.0)
        (True, False)
        """
        return self._rate * math.exp((self._told_at - now) / _MEMORY_S) >= self._rush

    def wait_s(self, n: int, now: float, topics: Collection[str] = ()) -> float:
        """Return how long to gather before taking more.

        >>> pace = Pace(rush=100, rush_s=0.02)
        >>> pace.wait_s(1, now=0.0)  # somebody who draws alone
        0.0
        >>> pace.wait_s(80, now=0.1)
        0.02
        >>> pace = Pace(rush=100, rush_s=0.02, most_s=0.06)
        >>> pace.wait_s(100, now=0.0), pace.wait_s(200, now=0.01)  # 200 a second, then many more
        (0.04, 0.06)

        Args:
            n: Records that have come since the last call.
            now: The time on a monotonic clock, in seconds.
            topics: Those of these records.
        """
        self._rate = self._rate * math.exp((self._told_at - now) / _MEMORY_S) + n / _MEMORY_S
        self._told_at = now
        if self._rate >= self._rush:
            return min(self._most_s, self._rush_s * self._rate / self._rush)
        return self._calm_s if n and self._prompt.isdisjoint(topics) else 0.0

    def hold_s(self, topics: Collection[str]) -> float:
        """Return how long to hold what has just come, of these topics, before it is taken; to be asked after `wait_s`.

        >>> pace = Pace(rush=100, rush_s=0.02, held=["drawings.v1"], held_s=0.03, few=50)
        >>> pace.wait_s(1, now=0.0), pace.hold_s(["drawings.v1"]), pace.hold_s(["drawings.v1", "corrections.v1"])
        (0.0, 0.03, 0.0)
        """
        return self._held_s if topics and self._rate <= self._few and self._held.issuperset(topics) else 0.0
