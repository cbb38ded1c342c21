"""Keeps what each process counts of itself, and which have fallen silent (way 3, OPERATE). Pure.

A fold of metrics.v1, bounded: a process that has said nothing for an hour is forgotten, and the oldest where they
are too many. Twice is harmless: the newest of a process counts.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import ClassVar, Final

from contracts.events import PROCESSES, Event, ProcessMeasured

SILENT: Final = timedelta(seconds=15)
"""After how long a process that says nothing counts as down: it tells every five seconds."""
FORGOTTEN: Final = timedelta(hours=1)
MOST: Final = 200
"""How many processes are remembered."""


class ProcessBoard:
    """The processes, by kind and instance."""

    takes: ClassVar[tuple[type[Event], ...]] = (ProcessMeasured,)

    def __init__(self) -> None:
        """Start without any."""
        self._told: dict[str, ProcessMeasured] = {}

    def apply(self, told: ProcessMeasured) -> None:
        """Apply what a process tells; what comes late is left out, but a clock that was set back is believed."""
        before = self._told.get(told.process_key)
        if before is not None and timedelta() < before.at - told.at <= SILENT:
            return
        self._told[told.process_key] = told
        if len(self._told) > MOST:
            del self._told[min(self._told, key=lambda key: self._told[key].at)]

    def alive(self, time: datetime) -> list[ProcessMeasured]:
        """Return the newest of each process that is not silent."""
        return [told for told in self._told.values() if time - told.at <= SILENT]

    def standings(self, time: datetime) -> Iterator[tuple[str, str, bool]]:
        """Yield kind and instance of each process that was heard of, and whether it is up; of a kind that was not, ``none``."""
        for key in [key for key, told in self._told.items() if time - told.at > FORGOTTEN]:
            del self._told[key]
        for told in self._told.values():
            yield told.process, told.instance, time - told.at <= SILENT
        for process in PROCESSES:
            if not any(told.process == process for told in self._told.values()):
                yield process, "none", False
