"""Decides whether a new version works (way 1, ANSWER). Pure.

A version that fails before it has answered `FIRST_CALLS` calls is replaced by the one before.
"""

from datetime import datetime, timedelta
from typing import Final

from streams.circuit_breaker import FAILURES

FIRST_CALLS: Final = 20
"""How many calls a new version must answer to show that it works."""
NEW_FOR: Final = timedelta(minutes=1)
"""A version that was promoted longer than this before the process began has shown that it works: a restart is no trial."""


class Trial:
    """The calls of the version that was called last."""

    def __init__(self, began: datetime) -> None:
        """Begin; ``began`` is when this process began."""
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
            version: The version that was called.
            since: When it was promoted or set.
            silent: Whether it gave no answer at all, which counts at once.
        """
        self._of(version)
        self._failures += 1
        new = since > self._began - NEW_FOR and self._answered < FIRST_CALLS
        return new and (silent or self._failures >= FAILURES)

    def _of(self, version: str) -> None:
        if version != self._version:
            self._version, self._answered, self._failures = version, 0, 0
