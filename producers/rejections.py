"""Publishes to rejected.v1 what a reader outside the folds cannot handle, and never delays it for long (all ways).

For the relay, the trainer and the router's follower of models.v1; a fold's rejections go through its outbox. Several processes
of a stage read the same record, and each reads it again when it starts: a rejection's id is made of the record and the stage,
so that twice is once for whoever reads rejected.v1.
"""

import threading
from concurrent.futures import Future
from typing import Final
from uuid import UUID

import structlog
from cachetools import FIFOCache

from contracts.events import MessageRejected
from contracts.ports import Bus, Record

PENDING: Final = 4
"""Of a megabyte at most, that may wait for the broker's acknowledgement."""
WAIT_S: Final = 5.0
"""How long telling one may wait for those before; then it is in the process's own log alone."""
_REMEMBERED: Final = 4096

log = structlog.get_logger(__name__)


class Rejections:
    """Publishes each rejection once a process. For any thread but an event loop's."""

    def __init__(self, bus: Bus) -> None:
        """Publish them on ``bus``."""
        self._bus = bus
        self._free = threading.Semaphore(PENDING)
        self._lock = threading.Lock()
        self._told: FIFOCache[UUID, None] = FIFOCache(_REMEMBERED)

    def tell(self, rejected: MessageRejected) -> None:
        """Publish a rejection. It never raises and never blocks for long: what could not be published is logged."""
        with self._lock:
            if rejected.rejection_id in self._told:
                return
            self._told[rejected.rejection_id] = None
        where = {"topic": rejected.source, "partition": rejected.source_partition, "offset": rejected.source_offset}
        log.warning("message rejected", stage=rejected.stage, error=rejected.error[:300], **where)
        if not self._free.acquire(timeout=WAIT_S):
            log.error("rejection not told: the broker does not answer", stage=rejected.stage, **where)
            return

        def acknowledged(future: "Future[Record]") -> None:
            self._free.release()
            if (wrong := future.exception()) is not None:
                log.error("rejection not told", stage=rejected.stage, error=str(wrong), **where)

        self._bus.publish(rejected).add_done_callback(acknowledged)
