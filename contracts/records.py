"""Reads a record of any topic into its event, or into a rejection for rejected.v1. No record raises. Pure.

`read` is the only way from a record to an event. An event that a reader cannot handle becomes a `rejection` too, so every
record of a topic is either handled or rejected, and kept whole as far as a message can hold it.
"""

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from contracts.events import TOPICS, Event, MessageRejected, decode
from contracts.ports import Record

KEPT_BYTES: Final = 700_000
"""How many bytes of a value are kept: as base64, with key and error, they fit into the broker's largest message."""
KEPT_KEY_BYTES: Final = 16_384
AHEAD: Final = timedelta(minutes=1)
"""How far a writer's clock may be ahead of the broker's."""
_AHEAD_S: Final = AHEAD.total_seconds()
MARK_BYTES: Final = 9
"""The random bytes in the mark of a record's key: see `producers.placement.marked`."""
_MARKED: Final = re.compile(rb"(.*)/[A-Za-z0-9_-]{12}", re.DOTALL)
_ERROR: Final = 2000  # characters, of which JSON may make six bytes each


def read(record: Record, stage: str) -> Event | MessageRejected | None:
    """Return the event that a record carries, or the MessageRejected that ``stage`` must publish.

    Returns:
        None if there is nothing to do: for a record without a value with which Kafka removes what was written under its key,
        an entry of a compacted topic or one record of another (readers keep the entry until they read the topic again); and
        for a record of rejected.v1 that is no MessageRejected, since rejecting it would add another one there. On rejected.v1
        a MessageRejected is the event. No event has a later time than its record: anything that is ordered or forgotten by
        time would wait for it.
    """
    spec = TOPICS.get(record.topic)
    if record.value is None and spec is not None and (spec.compacted or key_of(record.key) is not None):
        return None
    try:
        return dated(decode(record.topic, record.value), record.timestamp_ms)
    except Exception as wrong:  # noqa: BLE001 one bad record stops nothing
        return None if record.topic == MessageRejected.topic else rejection(record, stage, wrong)


def key_of(key: bytes | None) -> bytes | None:
    """Return the key of a record's event, without the record's own mark; None: it has no mark, or no key.

    >>> key_of(b"ada/AAAAAAAAAAAA"), key_of(b"ada")
    (b'ada', None)
    """
    found = None if key is None else _MARKED.fullmatch(key)
    return found[1] if found else None


def dated(event: Event, timestamp_ms: int) -> Event:
    """Return the event with no time over `AHEAD` after its record's; 0 or less: the record's time is not known."""
    if timestamp_ms <= 0:
        return event
    latest_s = timestamp_ms / 1000 + _AHEAD_S
    late = {}
    for name in event.times:  # a loop, since most have one time: this is done for every record that anybody reads
        if getattr(event, name).timestamp() > latest_s:
            late[name] = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    return event.model_copy(update=late) if late else event


def rejection(record: Record, stage: str, wrong: BaseException) -> MessageRejected:
    """Make the rejection of a record that ``stage`` could not handle; it fits on its topic, whatever the record holds.

    It has the record's own time, so that a record that is rejected again gives the same rejection.
    """
    value, key = record.value or b"", record.key
    error = _said(wrong)
    if len(value) > KEPT_BYTES:
        error = f"only the first {KEPT_BYTES} of {len(value)} bytes are kept; {error}"
    return MessageRejected(
        at=_taken_at(record),
        source=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_key=None if key is None else key[:KEPT_KEY_BYTES],
        source_key_size=None if key is None else len(key),
        value=value[:KEPT_BYTES],
        null=record.value is None,
        size=len(value),
        digest=sha256(value).hexdigest(),
        stage=stage,
        error=error[:_ERROR],
    )


def _taken_at(record: Record) -> datetime:
    """Return when the broker took a record; the year 1970 if it is not known."""
    return datetime.fromtimestamp(max(record.timestamp_ms, 0) / 1000, UTC)


def _said(wrong: BaseException) -> str:
    """Return an error's text in a form that JSON can hold, even if it quotes what JSON cannot."""
    try:
        text = f"{type(wrong).__name__}: {str(wrong)[: 2 * _ERROR]}"
    except Exception:  # noqa: BLE001 the error's own text raises
        text = type(wrong).__name__
    return text.encode("utf-8", "backslashreplace").decode()
