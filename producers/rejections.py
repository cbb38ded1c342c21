"""Publishes rejections of readers outside the folds on rejected.v1, and never delays a reader for long (all ways).

The relay, the trainer and the router's follower of models.v1 use it; a fold's rejections go through its outbox. Several
processes of a stage read the same record, and each reads it again when it starts: a rejection's id is made from the record and
the stage, so readers of rejected.v1 count it once. A bystander reads a record once, so a rejection that the broker does not
take is tried again until it does.
"""

import threading
from collections import deque
from concurrent.futures import Future
from typing import Final
from uuid import UUID

import structlog
from cachetools import FIFOCache

from contracts.events import MessageRejected
from contracts.ports import Bus, Record
from producers.placement import BusClosed

PENDING: Final = 4
"""How many rejections, of a megabyte at most, may wait for the broker's acknowledgement."""
WAIT_S: Final = 5.0
"""How long a rejection may wait for those before it; after that it is published later."""
OWED: Final = 16
"""How many rejections may wait to be tried again; any more are published when their records are read again."""
AGAIN_S: Final = 5.0
"""How long after a failure a rejection is tried again."""
_REMEMBERED: Final = 4096

log = structlog.get_logger(__name__)


class Rejections:
    """Publishes each rejection once in a process. Any thread but an event loop's may use it."""

    def __init__(self, bus: Bus) -> None:
        """Publish them on ``bus``."""
        self._bus = bus
        self._free = threading.Semaphore(PENDING)
        self._lock = threading.Lock()
        self._told: FIFOCache[UUID, None] = FIFOCache(_REMEMBERED)
        """The rejections that were published or are waiting."""
        self._owed: deque[MessageRejected] = deque()
        self._trying: threading.Timer | None = None

    def tell(self, rejected: MessageRejected) -> None:
        """Publish a rejection. It never raises or blocks for long: a failure is logged, and the rejection is tried again."""
        with self._lock:
            if rejected.rejection_id in self._told:
                return
            self._told[rejected.rejection_id] = None
        log.warning("message rejected", stage=rejected.stage, error=rejected.error[:300], **_where(rejected))
        self._publish(rejected, WAIT_S)

    def _publish(self, rejected: MessageRejected, wait_s: float) -> None:
        if not self._free.acquire(timeout=wait_s):
            self._failed(rejected, "the broker does not answer")
            return

        def acknowledged(future: "Future[Record]") -> None:
            self._free.release()
            if (wrong := future.exception()) is not None:
                self._failed(rejected, str(wrong), again=not isinstance(wrong, BusClosed))

        self._bus.publish(rejected).add_done_callback(acknowledged)

    def _failed(self, rejected: MessageRejected, why: str, again: bool = True) -> None:
        """Try a rejection again later; one that is not tried again is published when its record is read again."""
        with self._lock:
            again = again and len(self._owed) < OWED
            if again:
                self._owed.append(rejected)
                if self._trying is None:
                    self._trying = threading.Timer(AGAIN_S, self._again)
                    self._trying.daemon = True
                    self._trying.start()
            else:
                self._told.pop(rejected.rejection_id, None)
        log.error("rejection not told", again=again, error=why, stage=rejected.stage, **_where(rejected))

    def _again(self) -> None:
        with self._lock:
            self._trying = None
            owed = [self._owed.popleft() for _ in range(len(self._owed))]
        for rejected in owed:
            self._publish(rejected, 0)


def _where(rejected: MessageRejected) -> dict[str, str | int]:
    return {"topic": rejected.source, "partition": rejected.source_partition, "offset": rejected.source_offset}
