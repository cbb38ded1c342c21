"""Decides when an endpoint that fails is asked again: a circuit breaker (way 1, ANSWER). Pure: times in, decisions out.

While it is closed, all calls go through. After `FAILURES` failures in a row, or one silence, it opens: no call goes through,
and the endpoint rests. While it is open, a single probe goes through from time to time (half open); the first that succeeds
closes it.
"""

from typing import Final

FAILURES: Final = 3
"""How many failures in a row open the breaker."""
FIRST_S: Final = 0.25
"""Seconds from the opening to the first probe."""
LONGEST_S: Final = 2.0
"""The most seconds between two probes; each failed probe doubles the time."""


class CircuitBreaker:
    """Opens after failures in a row, then lets probes through until one succeeds. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        """Begin closed."""
        self.why = ""
        """The last failure, while the breaker is open."""
        self._failures = 0
        self._since: float | None = None
        self._pause_s = FIRST_S
        self._probe_at = 0.0

    @property
    def failing(self) -> bool:
        """Whether the last call failed."""
        return self._failures > 0

    @property
    def open(self) -> bool:
        """Whether no call goes through."""
        return self._since is not None

    def failed(self, now: float, why: str, silent: bool = False) -> bool:
        """Note a failure; return whether it opened the breaker."""
        self._failures += 1
        self.why = why
        if self._since is not None:
            self._pause_s = min(LONGEST_S, self._pause_s * 2)
            self._probe_at = now + self._pause_s
            return False
        if silent or self._failures >= FAILURES:
            self._since, self._pause_s = now, FIRST_S
            self._probe_at = now + FIRST_S
            return True
        return False

    def succeeded(self, now: float) -> float | None:
        """Note a success; return how many seconds the breaker had been open, None if it was closed."""
        since, self._since = self._since, None
        self._failures, self.why = 0, ""
        return None if since is None else now - since

    def until_probe(self, now: float) -> float:
        """Seconds until the next probe may go through; 0: now."""
        return max(0.0, self._probe_at - now)
