"""Folds one partition from nothing, each message once. Pure: no ledger, no disk.

The folds skip messages that they hold already. Here nothing depends on that: repeated messages are left out before the fold.
So a fold that counts a message twice differs from this one, whether its process or its code is at fault.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from contracts.events import Event
from contracts.ports import Origin
from streams.fold import Fold
from streams.refold.published import Published

_STEP: Final = 200

Watch = Callable[[Fold, Event, int], None]
"""A function that is called after each event, with the fold and the partition."""


class MemoryCells(dict[str, bytes]):
    """Cells in memory, whose changes are undone when a decision fails, as in `streams.ledger`."""

    at: datetime = datetime.fromtimestamp(0, UTC)
    """The time of the record that is folded."""
    before: dict[str, bytes | None] | None = None

    def put(self, key: str, value: bytes) -> None:
        """Set a value."""
        if self.before is not None:
            self.before.setdefault(key, self.get(key))
        self[key] = value

    def drop(self, key: str) -> None:
        """Forget a value."""
        if self.before is not None:
            self.before.setdefault(key, self.get(key))
        self.pop(key, None)

    def apply(self, fold: Fold, event: Event, origin: Origin) -> list[Event]:
        """Fold an event; if the fold refuses it, nothing is published and no cell is changed."""
        self.before = {}
        try:
            return list(fold.apply(self, event, origin))
        except Exception:  # noqa: BLE001 streams.fold rejects it, and so the fold is without it
            for key, value in self.before.items():
                if value is None:
                    self.pop(key, None)
                else:
                    self[key] = value
            return []
        finally:
            self.before = None


class Waiting(NamedTuple):
    """An event that waits to be folded."""

    at_ms: int
    topic: str
    event: Event
    origin: Origin

    def within(self, offsets: Mapping[str, int] | None) -> bool:
        """Whether the event is within these offsets of the topics; None: there is no limit."""
        return offsets is None or self.origin.offset <= offsets.get(self.topic, -1)


class FreshFold:
    """A fold that is made anew, and what waits to be folded."""

    def __init__(self, make: Callable[[], Fold], partition: int, said: Published, watch: Watch) -> None:
        """Begin with nothing.

        Args:
            make: Builds the fold.
            partition: The partition to fold.
            said: Collects the events that the fold publishes.
            watch: Called after each event.
        """
        self._make, self._partition, self._watch = make, partition, watch
        self.said = said
        self.cells = MemoryCells()
        self.offsets: dict[str, int] = {}
        self.waiting: list[Waiting] = []
        self.taken = 0
        """How many messages were folded."""
        self._fold = make()
        self._publish(self._fold.open(self.cells, partition))

    def fold_to(self, offsets: Mapping[str, int] | None) -> None:
        """Fold the waiting events up to these offsets of their topics; None: all."""
        now = [one for one in self.waiting if one.within(offsets)]
        if not now:
            return
        self.waiting = [one for one in self.waiting if not one.within(offsets)]
        # By time, so that drawings come before what is said of them: topics have no order among each other.
        if len(self._fold.sources) > 1:
            now.sort(key=lambda one: one.at_ms)
        for first in range(0, len(now), _STEP):
            for one in now[first : first + _STEP]:
                self.cells.at = datetime.fromtimestamp(one.at_ms / 1000, UTC)
                self._publish(self.cells.apply(self._fold, one.event, one.origin))
                self.offsets[one.topic] = one.origin.offset
                self._watch(self._fold, one.event, self._partition)
            self._publish(self._fold.settle(self.cells, self._partition))
        self.taken += len(now)

    def beyond(self, said: Published) -> "FreshFold":
        """Return a copy of the fold after all waiting events, and leave this one as it is."""
        other = FreshFold(self._make, self._partition, Published(), lambda *_: None)
        other.cells.update(self.cells)
        list(other._fold.open(other.cells, self._partition))
        other.said = said
        other.waiting = list(self.waiting)
        other.fold_to(None)
        return other

    def _publish(self, said: Iterable[Event]) -> None:
        for event in said:
            self.said.apply(event)
