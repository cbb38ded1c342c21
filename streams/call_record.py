"""What the calls to one version have shown: how long one usually takes, and whether it fails (way 1, ANSWER). Pure.

A call is overdue once it takes `PATIENCE` times as long as usual: nobody waits for it any more, and its answer is heard all the
same. Nobody waits for a version whose last call failed either.
"""

from collections.abc import Hashable
from typing import Final

from streams.circuit_breaker import CircuitBreaker
from streams.lineup import AnswererState

PATIENCE: Final = 5.0
"""A call is overdue after so many times what one usually takes ..."""
LEAST_PATIENCE_S: Final = 0.05
"""... but not before so many seconds."""
SMOOTHING: Final = 0.1
"""The weight of the newest call in what is usual."""


class CallRecord:
    """The calls to one version, one at a time. Times are seconds of one monotonic clock."""

    def __init__(self, longest_s: float, version: Hashable = None) -> None:
        """Begin with a closed breaker, and no call yet.

        Args:
            longest_s: A call that takes longer is overdue, whatever is usual.
            version: Whose calls these are; None: there is no version yet.
        """
        self.version = version
        self.breaker = CircuitBreaker()
        self._longest_s = longest_s
        self._usual_s = 0.0
        """0: no call was answered yet."""
        self._under_way_since: float | None = None

    def of(self, version: Hashable, alike: bool) -> "CallRecord":
        """Return the record of a version: this one, or one for another version, which begins with a closed breaker.

        A call that is under way holds up the next version too, since there is one call at a time.

        Args:
            version: Who is asked from now on.
            alike: Whether calls to another version are expected to take as long as these did.
        """
        if version == self.version:
            return self
        record = CallRecord(self._longest_s, version)
        record._under_way_since = self._under_way_since
        record._usual_s = self._usual_s if alike else 0.0
        return record

    @property
    def patience_s(self) -> float:
        """Seconds after which a call is overdue."""
        return min(self._longest_s, max(LEAST_PATIENCE_S, PATIENCE * self._usual_s))

    @property
    def resting(self) -> str | None:
        """Why the version is not asked now; None: it is."""
        return self.breaker.why if self.breaker.open else None

    def state(self, now: float) -> AnswererState:
        """Return whether the version can be asked now, and waited for."""
        since = self._under_way_since
        return AnswererState(self.resting, self.breaker.failing or (since is not None and now - since > self.patience_s))

    def began(self, now: float) -> None:
        """Note that a call begins."""
        self._under_way_since = now

    def ended(self) -> None:
        """Note that the call under way is over, be it one to the version before."""
        self._under_way_since = None

    def answered(self, began: float, now: float) -> float | None:
        """Note that a call was answered, and when it had begun; return for how many seconds the version rested, or None."""
        self._usual_s += (SMOOTHING if self._usual_s else 1.0) * (now - began - self._usual_s)
        return self.breaker.succeeded(now)
