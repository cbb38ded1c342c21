"""Settles from when on a topic must be signed: noted once in the bucket, where nobody who writes to Kafka can change it.

What a home has from before signatures, as commands that are done or due, counts as it is. Without the note, which is so once,
it is made: the time of the first record with a signature, or else the present. A note that is no time, has no zone or is of the
future counts as lost, and is made anew.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from contracts.events import SIGNED, CommandsEvent, SignaturesBegan, now
from contracts.ports import BlobExists, Blobs, Bus, NoSuchBlob, Record
from contracts.records import read
from producers.signing import Proofs, entries
from producers.whole_log import all_records
from trainers.example_sink import ACKNOWLEDGED_S

KEY: Final = "operators/signed-since"
"""The note about commands.v1; that about another topic has its name besides."""
KEYS: Final = "operators/public-keys"
"""The note of all public keys that there were, each with the time at which it was used no more, or null."""
CLOCKS: Final = timedelta(minutes=1)
"""By how much the clocks of two machines may differ; a note of later than that would let unsigned commands count."""

log = structlog.get_logger()


def proving(bus: Bus, blobs: Blobs, keys: str | None, tells: bool) -> Proofs:
    """Return what proves every topic that is signed, and say on the log from when on each is.

    Others who prove have no bucket: they know it from there, by the signature of the trainer.

    Args:
        bus: Signs what is said.
        blobs: The bucket.
        keys: The public keys; None: nothing is proven, and nothing noted or said.
        tells: Whether it is said: not without a key to sign it.
    """
    since = {
        topic: signed_since(blobs, all_records(bus, [topic]), topic=topic, kept=keys is not None) for topic in sorted(SIGNED)
    }
    proofs = Proofs(keys, since, past_keys(blobs, keys))
    if keys is not None and tells:
        for topic in since.keys() - _told(bus, proofs):
            bus.publish(SignaturesBegan(source=topic, since=since[topic])).result(ACKNOWLEDGED_S)
    return proofs


def _told(bus: Bus, proofs: Proofs) -> set[str]:
    """Return the topics of which it is on the log, as the trainer signs it, from when on they are signed."""
    events = ((record, read(record, "trainers")) for record in all_records(bus, [CommandsEvent.topic]))
    return {
        event.source for record, event in events if isinstance(event, SignaturesBegan) and proofs.against(record, event) is None
    }


def signed_since(blobs: Blobs, records: Iterable[Record], *, topic: str = CommandsEvent.topic, kept: bool = True) -> datetime:
    """Return the time from which on each record of a topic must be signed, by the broker's clock.

    Args:
        blobs: The bucket.
        records: Those of the topic, which are read only if the bucket has no note that can be one.
        topic: The topic.
        kept: Whether the note is made; a trainer without keys makes none, since it proves nothing yet.
    """
    key = KEY if topic == CommandsEvent.topic else f"{KEY}-{topic}"
    noted, broken = _noted(blobs, key)
    if noted is not None:
        return noted
    signed = (record for record in records if getattr(read(record, "trainers"), "signature", None) is not None)
    first = next(signed, None)
    since = now() if first is None else datetime.fromtimestamp(first.timestamp_ms / 1000, UTC)
    if kept:
        try:
            blobs.put(key, since.isoformat().encode(), only_if_absent=not broken)
        except BlobExists:  # another trainer of this home was faster: its note counts
            return _noted(blobs, key)[0] or since
    return since


def past_keys(blobs: Blobs, keys: str | None) -> Mapping[str, datetime]:
    """Return the public keys that are used no more, each with the time from which on it is not; and note those that are.

    What stands on models.v1 is signed by the key of its time. The setting has the present keys, which may be made anew with the
    secrets of a home; so the bucket has all that there were. A key that is left out of the setting ends then, and stays so.

    Args:
        blobs: The bucket.
        keys: The present keys, as ``process:key`` with commas between; None: there are none, and nothing is noted.
    """
    try:
        noted: dict[str, str | None] = json.loads(blobs.get(KEYS))
        past = {key: datetime.fromisoformat(until) for key, until in noted.items() if until is not None}
        Proofs(",".join(noted))
    except (NoSuchBlob, ValueError, TypeError, AttributeError) as wrong:
        if not isinstance(wrong, NoSuchBlob):
            log.error("the note of the keys that there were is none: it is made anew", key=KEYS)
        noted, past = {}, {}
    if keys is None:
        return past
    present = entries(keys)
    ended = {key: past.get(key, now()) for key in noted if key not in present}
    told = {**dict.fromkeys(present), **{key: until.isoformat() for key, until in ended.items()}}
    if told != noted:
        blobs.put(KEYS, json.dumps(told).encode())
    return ended


def _noted(blobs: Blobs, key: str) -> tuple[datetime | None, bool]:
    """Return the time that is noted, and whether there is a note that cannot be one: it counts as lost."""
    try:
        note = blobs.get(key)
    except NoSuchBlob:
        return None, False
    try:
        at = datetime.fromisoformat(note.decode())
        if at.tzinfo is not None and at <= now() + CLOCKS:
            return at, False
    except ValueError:
        pass
    log.error("the note of when signatures began is none: it is made anew from the log", key=key)
    return None, True
