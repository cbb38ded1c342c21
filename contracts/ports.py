"""Defines what the processes need of the world, as protocols; adapters are in producers/ and streams/. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.events import Event


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Record:
    """A message on a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    """None: the record has no value, which on a compacted topic removes the key's entry."""
    timestamp_ms: int


Partition = tuple[str, int]
"""A topic, and the number of one of its partitions."""
Since = Literal["start", "end"] | datetime | Mapping[Partition, int]
"""Where reading begins. A mapping gives the first offset to read of each partition, for a reader that keeps its own place (see
`Tail.positions`); a negative one counts back from the end, as in a list. A partition that it does not name is read from the
start, and so is one that ends before the offset, since the log is another one. One that begins after it is read from there."""


class Bus(Protocol):
    """Publishes events, and lets bystanders follow topics. One implementation is Kafka, one is memory."""

    def publish(self, event: Event) -> "Future[Record]":
        """Send an event; the future is done when the broker has acknowledged it (acks=all), or failed.

        The record of the result has the partition and offset, with an empty value.
        """
        ...

    def flush(self, timeout_s: float) -> None:
        """Wait until everything that was published is acknowledged."""
        ...

    def follow(self, topics: Sequence[str], since: "Since", only: int | None = None) -> "Tail":
        """Read topics as a bystander: no group, nothing committed; every partition, or the one that ``only`` names."""
        ...

    async def listen(self, topics: Sequence[str], since: "Mapping[Partition, int]") -> "Listener":
        """Read topics as `follow` does, on the running loop."""
        ...

    def close(self) -> None:
        """Flush, then close every connection and thread."""
        ...


class LoopBus(Bus, Protocol):
    """A bus that an event loop sends to, without threads of its own, for what people wait for."""

    def attached(self) -> AbstractAsyncContextManager[None]:
        """Send on the running loop while the context lasts."""
        ...


class Listener(Protocol):
    """A bystander's view of some topics, for an event loop; see `Tail`."""

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the records that came since, in order within each partition; empty after ``timeout_s`` without any."""
        ...

    def caught_up(self) -> bool:
        """Say whether everything that was on the topics when it was opened has been polled."""
        ...

    def positions(self) -> dict[Partition, int]:
        """Return the first offset of each partition that was not polled."""
        ...

    async def close(self) -> None:
        """Stop."""
        ...


class Tail(Protocol):
    """A bystander's view of some topics."""

    def poll(self, timeout_s: float) -> list[Record]:
        """Return the records that came since, in order within each partition; empty after ``timeout_s`` without any."""
        ...

    def caught_up(self) -> bool:
        """Say whether everything that was on the topics when it was opened has been polled."""
        ...

    def positions(self) -> dict[Partition, int]:
        """Return the first offset of each partition that was not polled, from where another tail can go on."""
        ...

    def ends(self) -> dict[Partition, int]:
        """Return the offset behind the last record that each partition had when the tail was opened."""
        ...

    def close(self) -> None:
        """Stop; a poll under way in another thread returns."""
        ...


class Blobs(Protocol):
    """Objects by key, as S3 has them."""

    def put(self, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
        """Store an object. Raises `BlobExists` if it must not exist yet, and does."""
        ...

    def get(self, key: str) -> bytes:
        """Return an object's bytes. Raises `NoSuchBlob`."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Return all keys under a prefix, in order."""
        ...

    def written(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Return all keys under a prefix, in order, and when each was written last."""
        ...

    def drop(self, key: str) -> None:
        """Delete an object; nothing happens if there is none."""
        ...


class NoSuchBlob(KeyError):
    """There is no object under that key."""


class BlobExists(FileExistsError):
    """There is an object under that key already."""


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """An endpoint's answer to some rasters."""

    probabilities: NDArray[np.float64]
    """Shape (n, 10), rows sum to 1."""
    variant: str
    """The production variant that answered."""


class Endpoint(Protocol):
    """A place where the versions of a batch model answer."""

    async def predict(self, rasters: NDArray[np.uint8], variant: str | None = None) -> EndpointAnswer:
        """Ask about ``rasters``, shape (n, 784).

        Args:
            rasters: Drawings.
            variant: The production variant that must answer; None: whichever has the traffic.

        Raises:
            EndpointDown: If the endpoint did not answer in time, or with an error, or with no set of probabilities.
        """
        ...


class EndpointDown(RuntimeError):
    """The endpoint did not answer, or not with probabilities; what it said instead is put so that an event can hold it."""

    def __init__(self, why: str) -> None:
        """Keep why; what UTF-8 cannot hold, such as half of a surrogate pair, is escaped."""
        super().__init__(why.encode("utf-8", "backslashreplace").decode())


class EndpointSilent(EndpointDown):
    """The endpoint did not answer in time."""


class Origin(NamedTuple):
    """What a fold needs to know of the record of an event."""

    partition: int
    offset: int
    size: int
    """The size of the record's value in bytes."""
    value: bytes = b""
    """The value, which may say more than the event, and an `at` that is later; empty: it is not known."""


CUT: Final = "cut"
"""The key of the cell by which a state says that a player of its partition was forgotten."""


class Cells(Protocol):
    """The state of a fold: small values by key, kept in one transaction with the offsets they are folded up to."""

    @property
    def at(self) -> datetime:
        """The time of the current step, which is that of the events that the fold publishes in it."""
        ...

    def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Set a value."""
        ...

    def drop(self, key: str) -> None:
        """Forget a value; nothing happens if there is none."""
        ...
