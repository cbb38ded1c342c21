"""Whether a new version has shown that it works (way 1, ANSWER). Pure.

A version that fails before it has answered `FIRST_CALLS` calls is taken out again: the one before answers in its place.
"""

from datetime import datetime, timedelta
from typing import Final

from streams.circuit_breaker import FAILURES

FIRST_CALLS: Final = 20
"""Calls in which a new version must show that it works."""
NEW_FOR: Final = timedelta(minutes=1)
"""Before this process began: a version that was put in its place earlier has shown that it works, and a restart is no trial."""


class Trial:
    """The calls of the version that was called last."""

    def __init__(self, began: datetime) -> None:
        """Begin; ``began`` is when this process did."""
        self._began = began
        self._version = ""
        self._answered = 0
        self._failures = 0
        """Failed calls in a row."""

    def answered(self, version: str) -> None:
        """Note that a version has answered a call."""
        self._of(version)
        self._answered += 1
        self._failures = 0

    def failed(self, version: str, since: datetime, silent: bool) -> bool:
        """Note that a version has failed a call; returns whether that is one too many for a new one.

        Args:
            version: That was called.
            since: When it was put in its place.
            silent: Whether it said nothing at all: once is enough.
        """
        self._of(version)
        self._failures += 1
        new = since > self._began - NEW_FOR and self._answered < FIRST_CALLS
        return new and (silent or self._failures >= FAILURES)

    def _of(self, version: str) -> None:
        if version != self._version:
            self._version, self._answered, self._failures = version, 0, 0
