"""Settles from when on commands must be signed: noted once in the bucket, where nobody who writes to Kafka can change it.

Commands of a home from before signatures, done or due, count as they are. Without the note, which is so once, it is made: the
time of the first record with a signature, or else the present.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from contracts.events import now
from contracts.ports import BlobExists, Blobs, NoSuchBlob, Record
from contracts.records import read

KEY: Final = "operators/signed-since"


def signed_since(blobs: Blobs, records: Iterable[Record]) -> datetime:
    """Return the time from which on each record of commands.v1 must be signed, by the broker's clock.

    Args:
        blobs: The bucket.
        records: Those of commands.v1, which are read only if the bucket has no note.
    """
    try:
        return datetime.fromisoformat(blobs.get(KEY).decode())
    except NoSuchBlob:
        pass
    signed = (record for record in records if getattr(read(record, "trainers"), "signature", None) is not None)
    first = next(signed, None)
    since = now() if first is None else datetime.fromtimestamp(first.timestamp_ms / 1000, UTC)
    try:
        blobs.put(KEY, since.isoformat().encode(), only_if_absent=True)
    except BlobExists:  # another trainer of this home was faster: its note counts
        return datetime.fromisoformat(blobs.get(KEY).decode())
    return since
