"""One step of a fold: records in, state and offsets and outgoing events in one transaction (way 2, LEARN). No Faust here."""

from collections.abc import Iterable
from typing import Protocol

from contracts.events import Event
from contracts.ports import Cells


class Fold(Protocol):
    """A state that is a function of topics, and what it has to say as it changes. Values in, events out.

    Every method is called by one task, one partition at a time. State lives in the cells: what is kept in memory beside them is
    a copy that `open` reads and `settle` writes.
    """

    name: str
    """Of its consumer group and of its state files."""
    sources: tuple[str, ...]
    """The topics that it reads; all have the same number of partitions, and partition n of all of them meets on one worker."""

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Take up a partition: nothing in memory of it is valid any more. Gives what is worth saying again, such as a snapshot."""
        ...

    def decide(self, cells: Cells, event: Event, partition: int, offset: int) -> Iterable[Event]:
        """Fold one event in. Offsets are those of the event's own topic and rise; each is given once.

        Raises:
            Exception: The event becomes a MessageRejected and its cells are put back; so change memory last, after all that can fail.
        """
        ...

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Write what memory holds to the cells: called once a gathered batch, in the same transaction. Gives what it changed."""
        ...
