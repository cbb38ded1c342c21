"""Defines how the transport delivers records to takers, each with its acknowledgement, as many at a time as have gathered; and
how it is given records to send."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from contracts.events import Event
from contracts.ports import Record

_T = TypeVar("_T")
STEP: Final = 500
"""The most records that a fold takes in one transaction, during which nothing else in the process moves."""
QUEUED: Final = 4096
"""The most records that wait for a taker before the transport waits too."""
_TURNS: Final = 12
"""The turns of the event loop within which the transport brings at least one message if it has any."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record with its acknowledgement, after which nobody reads it again."""

    record: Record
    ack: Callable[[], object]


def shared(delivery: Delivery, takers: int) -> list[Delivery]:
    """Return a delivery for each of several takers; the record is acknowledged once all of them have acknowledged it."""
    if takers == 1:
        return [delivery]
    waiting = set(range(takers))

    def acknowledge(taker: int) -> None:
        waiting.discard(taker)
        if not waiting:
            delivery.ack()

    return [Delivery(delivery.record, partial(acknowledge, taker)) for taker in range(takers)]


async def put(queues: "Sequence[asyncio.Queue[Any]]", delivery: Delivery) -> None:
    """Put a delivery into each queue; the record is acknowledged once all who take from them have acknowledged it."""
    for queue, one in zip(queues, shared(delivery, len(queues)), strict=True):
        await queue.put(one)


class UnsentRecord(NamedTuple):
    """An event as it is sent."""

    topic: str
    key: bytes
    value: bytes
    partition: int | None
    """None: the one that the key hashes to."""

    @classmethod
    def of(cls, event: Event) -> "UnsentRecord":
        """Write an event; whatever it holds that JSON cannot is an error of this event alone, before anything is sent."""
        return cls(event.topic, event.record_key(), event.record_value(), event.partition())


class Taker(Protocol):
    """Takes records as they come, and acknowledges each when all its effects are published."""

    async def take(self, gathered: Sequence[Delivery]) -> None:
        """Take the gathered records; it is called again only when it returns, which holds back the flow."""
        ...


async def take_gathered(queue: "asyncio.Queue[_T]", most: int = STEP) -> list[_T]:
    """Take all records that have gathered: at least one, at most ``most``.

    The transport takes some turns of the loop to bring each message, and the loop does not turn during a step. To let steps
    grow with the load, this waits until some turns have brought nothing more; without load that takes some 0.1 ms.
    """
    several = [await queue.get()]
    idle = 0
    while idle < _TURNS and len(several) < most:
        if queue.empty():
            idle += 1
            await asyncio.sleep(0)
        else:
            idle = 0
            several.append(queue.get_nowait())
    return several
