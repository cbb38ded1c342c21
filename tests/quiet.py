"""A fold that publishes nothing, for tests of what runs folds."""

from collections.abc import Iterable

from contracts.events import Event
from contracts.ports import Cells, Origin


class Quiet:
    """A fold that publishes nothing."""

    name = "quiet"
    schema = "quiet 1"

    def __init__(self, *sources: str) -> None:
        self.sources = sources

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Publish nothing."""
        return ()

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Ignore the event."""
        return ()

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Publish nothing."""
        return ()

    def close(self, partition: int) -> None:
        """Do nothing: there is nothing to let go of."""
