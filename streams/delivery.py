"""What the transport delivers to those who take records: each with its acknowledgement, as many at a time as have gathered."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from contracts.ports import Record

_T = TypeVar("_T")
STEP: Final = 500
"""Most records that a fold takes in one transaction: while it is under way nothing else in the process moves."""
QUEUED: Final = 4096
"""Most records that wait for a taker before the transport waits too."""
_TURNS: Final = 12
"""Turns of the event loop within which the transport brings at least one message if it has any."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record, and how to say that nobody needs to read it again."""

    record: Record
    ack: Callable[[], object]


class Taker(Protocol):
    """Takes records as they come, and acknowledges each when all that it causes is published."""

    async def take(self, gathered: Sequence[Delivery]) -> None:
        """Take what has gathered; called again only when it returns, which is how it holds the flow back."""
        ...


async def take_gathered(queue: "asyncio.Queue[_T]", most: int = STEP) -> list[_T]:
    """Take all that has gathered: at least one, at most ``most``.

    The transport takes some turns of the loop to bring each message, and a step takes none until it is done: so that steps grow
    with the load, this waits until some turns have brought nothing more. Without load that is some 0.1 ms.
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
