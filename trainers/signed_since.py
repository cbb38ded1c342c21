"""Settles from when on commands must be signed: noted once in the bucket, where nobody who writes to Kafka can change it.

Commands of a home from before signatures, done or due, count as they are. Without the note, which is so once, it is made: the
time of the first record with a signature, or else the present. A note that is no time, has no zone or is of the future counts
as lost, and is made anew.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from contracts.events import now
from contracts.ports import BlobExists, Blobs, NoSuchBlob, Record
from contracts.records import read

KEY: Final = "operators/signed-since"
CLOCKS: Final = timedelta(minutes=1)
"""By how much the clocks of two machines may differ; a note of later than that would let unsigned commands count."""

log = structlog.get_logger()


def signed_since(blobs: Blobs, records: Iterable[Record], *, kept: bool = True) -> datetime:
    """Return the time from which on each record of commands.v1 must be signed, by the broker's clock.

    Args:
        blobs: The bucket.
        records: Those of commands.v1, which are read only if the bucket has no note that can be one.
        kept: Whether the note is made; a trainer without keys makes none, since it proves nothing yet.
    """
    noted, broken = _noted(blobs)
    if noted is not None:
        return noted
    signed = (record for record in records if getattr(read(record, "trainers"), "signature", None) is not None)
    first = next(signed, None)
    since = now() if first is None else datetime.fromtimestamp(first.timestamp_ms / 1000, UTC)
    if kept:
        try:
            blobs.put(KEY, since.isoformat().encode(), only_if_absent=not broken)
        except BlobExists:  # another trainer of this home was faster: its note counts
            return _noted(blobs)[0] or since
    return since


def _noted(blobs: Blobs) -> tuple[datetime | None, bool]:
    """Return the time that is noted, and whether there is a note that cannot be one: it counts as lost."""
    try:
        note = blobs.get(KEY)
    except NoSuchBlob:
        return None, False
    try:
        at = datetime.fromisoformat(note.decode())
        if at.tzinfo is not None and at <= now() + CLOCKS:
            return at, False
    except ValueError:
        pass
    log.error("the note of when commands began to be signed is none: it is made anew from the log", key=KEY)
    return None, True
