"""Reads what some topics have now, once, from one end to the other (all ways)."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

from contracts.ports import Bus, Record, Since

_POLL_S: Final = 0.25


def all_records(bus: Bus, topics: Sequence[str], since: Since = "start") -> Iterator[Record]:
    """Yield the records that some topics have when this is called, in order within each partition.

    Args:
        bus: Where the log is.
        topics: The topics.
        since: Where to begin.

    Raises:
        BusError: If they cannot be read.
    """
    with closing(bus.follow(topics, since)) as tail:
        while not tail.caught_up():
            yield from tail.poll(_POLL_S)
