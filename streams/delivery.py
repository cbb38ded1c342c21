"""Defines how the transport delivers records to takers, each with its acknowledgement, as many at a time as have gathered; and
how it is given records to send."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

from contracts.events import Event
from contracts.ports import Record

_T = TypeVar("_T")
STEP: Final = 500
"""The most records that a fold takes in one transaction, during which nothing else in the process moves."""
LINGER_S: Final = 0.002
"""How long what is sent waits for more, while many drawings are under way."""
QUEUED: Final = 4096
"""The most records that wait for a taker before the transport waits too."""
_TURNS: Final = 12
"""The turns of the event loop within which the transport brings at least one message if it has any."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record with its acknowledgement, after which nobody reads it again."""

    record: Record
    ack: Callable[[], object]
    current: Callable[[], bool] = lambda: True
    """Whether the assignment by which it came still holds; after that its partition is read anew, from another offset."""


class Fork:
    """A queue that puts each delivery into several: the record is acknowledged once each of their takers has done so."""

    def __init__(self) -> None:
        """Begin without a queue."""
        self._queues: list[asyncio.Queue[Delivery | None]] = []

    def add(self, queue: "asyncio.Queue[Delivery | None]") -> None:
        """Put what comes into one more queue."""
        self._queues.append(queue)

    async def put(self, delivery: Delivery) -> None:
        """Put a delivery into each queue, and wait while one is full."""
        if len(self._queues) == 1:
            await self._queues[0].put(delivery)
            return
        waiting = set(range(len(self._queues)))

        def acknowledge(taker: int) -> None:
            waiting.discard(taker)
            if not waiting:
                delivery.ack()

        for taker, queue in enumerate(self._queues):
            await queue.put(Delivery(delivery.record, partial(acknowledge, taker), delivery.current))


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


Emit = Callable[[Sequence[UnsentRecord]], Awaitable[None]]
"""Sends records, and returns when the broker has all of them."""


class SendQueue:
    """Sends records, and tells when the broker has them; many senders share a request, which costs as much as ten guesses."""

    def __init__(self, publish: Emit) -> None:
        """Begin empty."""
        self._publish = publish
        self._waiting: list[tuple[Sequence[UnsentRecord], Callable[[], object]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def send(
        self, sending: asyncio.TaskGroup, records: Sequence[UnsentRecord], done: Callable[[], object], *, calm: bool
    ) -> None:
        """Send records in a task of a group; ``done`` is called when the broker has them.

        ``calm``: all that waits goes at once; else it waits some milliseconds for more.
        """
        self._waiting.append((records, done))
        if calm:
            self._flush(sending)
        elif len(self._waiting) == 1:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._flush, sending)

    def stop(self) -> None:
        """Send no more of what waits, once the group has ended: it is not acknowledged, so it is said anew."""
        if self._timer is not None:
            self._timer.cancel()

    def _flush(self, sending: asyncio.TaskGroup) -> None:
        self.stop()
        several, self._waiting = self._waiting, []

        async def send() -> None:
            await self._publish([record for records, _ in several for record in records])
            for _, done in several:
                done()

        if several:
            sending.create_task(send())


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
