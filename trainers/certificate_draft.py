"""Counts what a certificate will tell of a forgetting that is interrupted: each thing once, over all tries (way 3, OPERATE).

The draft lies in the bucket under the player's mark, and goes when the certificate is there. Twice is harmless: records are
known by their place on the log, objects by their keys, observations by a hash of theirs.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from contracts.events import ExampleLabelled, UnknownEvent, decode, now
from contracts.ports import Blobs, NoSuchBlob, Partition, Record
from producers.cutting import Found, named, unnamed
from trainers.archive_names import read_name

LEFT: Final = (
    "counts of how often models were right in ten seconds that the player began, with none of theirs in them",
    "versions of batch models that learned from their drawings, as named here: a rebuild is without them",
    "evidence of drift: when a drawing was made, its digit, its ink, nine measures and which models erred, of nobody by name",
)
"""What a forgotten player leaves, none of which names or shows them."""
_APART: Final = timedelta(hours=1)
"""By how much clocks may differ: those of Kafka's writers, of the bucket and of the home's files."""
OLD_EXPERIMENTS: Final = "experiments that have not begun anew yet, as named here: they do when they learn again"


_OWN: Final = re.compile(rb'"type":\s?"(?:(?:Player|Examples)Forgotten|RestrictionSet|StageForgot)"')
"""What a forgetting itself says of the player: it goes as well, and is none of theirs."""


def _is_own(record: Record) -> bool:
    return record.value is not None and _OWN.search(record.value) is not None


class CertificateDraft:
    """What was found of a player so far; it is written before anything of that is cut out."""

    def __init__(self, blobs: Blobs, mark: str) -> None:
        """Go on from what an earlier try has left."""
        self._blobs = blobs
        self._key = f"certificates/{mark}.draft.json"
        try:
            told: dict[str, Any] = json.loads(blobs.get(self._key))
        except NoSuchBlob:
            told = {}
        self.is_begun = bool(told)
        """Whether anything was noted of the player, by an earlier try or this one."""
        self.begun_at: str = told.get("begun_at", now().isoformat())
        self._records: dict[str, list[int]] = told.get("records", {})
        """By ``topic/partition``: how many records, and the offset after the last one."""
        self._objects: dict[str, int] = told.get("objects", {})
        """By the key of an object of the archive: how many examples."""
        self._items: set[str] = set(told.get("items", ()))
        """The hashes of the observations' keys."""
        self._firsts: dict[str, int] = told.get("firsts", dict.fromkeys(("record", "example"), 0) if told else {})
        """The times of the first record of theirs, and of the first example, in ms; 0: older than anything."""
        self._copies: set[str] = set(told.get("copies", ()))
        """The hashes of the keys of what notebooks had left."""
        self.log_lines: int = told.get("log_lines", 0)
        self.before: dict[str, str] = told.get("before", {})
        """The sum over all others' records before anything was cut, by ``topic/partition``; see `producers.cutting.Found`."""
        self.ends: dict[str, int] = told.get("ends", {})
        """The offset after the last record of each such partition."""

    def note_others(self, found: Found) -> None:
        """Note what others have on the log, unless an earlier try, which may have cut something, has noted it."""
        if not self.before:
            self.before = found.digests()
            self.ends = named(found.bounds)
            self._write()

    @property
    def bounds(self) -> dict[Partition, int]:
        """`ends`, as a scan takes them."""
        return unnamed(self.ends)

    def add_records(self, records: Iterable[Record]) -> None:
        """Count the player's records that are on the log: those behind the last one that was counted of their partition."""
        for record in sorted(records, key=lambda one: one.offset):
            if _is_own(record):
                continue
            for first in ("record", "example") if _is_example(record) else ("record",):
                self._firsts[first] = min(record.timestamp_ms, self._firsts.get(first, record.timestamp_ms))
            counted = self._records.setdefault(f"{record.topic}/{record.partition}", [0, 0])
            if record.offset >= counted[1]:
                counted[:] = counted[0] + 1, record.offset + 1
        self._write()

    def add_object(self, key: str, examples: int) -> None:
        """Count the examples in an object of the archive."""
        self._objects.setdefault(key, examples)
        self._write()

    def add_items(self, keys: Iterable[str]) -> None:
        """Count observations."""
        self._items.update(map(_hashed, keys))
        self._write()

    def add_copies(self, keys: Iterable[str]) -> None:
        """Count what notebooks had left."""
        self._copies.update(map(_hashed, keys))
        self._write()

    def add_lines(self, places: int) -> None:
        """Count places in log lines."""
        if places:
            self.log_lines += places
            self._write()

    @property
    def known_since(self) -> datetime | None:
        """From when on what read the log may hold something of theirs; None: there was nothing."""
        return _least(self._firsts.get("record"))

    @property
    def taught_since(self) -> datetime | None:
        """From when on what read the archive may hold an example of theirs; None: there was none."""
        named_by = [one for one in map(read_name, self._objects) if one]
        hours = [datetime(*one.day.timetuple()[:3], one.hour or 0, tzinfo=UTC).timestamp() * 1000 for one in named_by]
        return _least(self._firsts.get("example"), *hours)

    @property
    def topics(self) -> dict[str, int]:
        """How many records there were, by topic."""
        out: Counter[str] = Counter()
        for place, (n, _) in self._records.items():
            out[place.rpartition("/")[0]] += n
        return dict(sorted(out.items()))

    def stores(self) -> dict[str, Any]:
        """Return what there was in archive and observations, as the certificate tells it."""
        return {
            "archive": {"objects": len(self._objects), "examples": sum(self._objects.values())},
            "observations": len(self._items),
            "notebook_objects": len(self._copies),
        }

    def drop(self) -> None:
        """Delete the draft: the certificate is there."""
        self._blobs.drop(self._key)

    def _write(self) -> None:
        self.is_begun = True
        told = {
            "begun_at": self.begun_at,
            "firsts": self._firsts,
            "records": self._records,
            "objects": self._objects,
            "items": sorted(self._items),
            "copies": sorted(self._copies),
            "log_lines": self.log_lines,
            "before": self.before,
            "ends": self.ends,
        }
        self._blobs.put(self._key, json.dumps(told).encode())


def _is_example(record: Record) -> bool:
    """Say whether a record is an example, as the archive keeps it."""
    if record.topic != ExampleLabelled.topic:
        return False
    try:
        return isinstance(decode(record.topic, record.value), ExampleLabelled)
    except UnknownEvent:
        return False


def _least(*times_ms: float | None) -> datetime | None:
    """Return the first of some times, less what clocks may differ by; None: there is none."""
    first = min((one for one in times_ms if one is not None), default=None)
    return None if first is None else datetime.fromtimestamp(first / 1000, UTC) - _APART


def _hashed(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:16]


def certificate_key(command_id: UUID) -> str:
    """Return the key of a command's certificate in the bucket, which is its path in the home too."""
    return f"certificates/{command_id}.json"


def certified(blobs: Blobs, home: Path, command_id: UUID) -> str | None:
    """Put the certificate of a command into the home, and return what is told of it; None: there is none yet."""
    try:
        whole = blobs.get(certificate_key(command_id))
    except NoSuchBlob:
        return None
    told = json.loads(whole)
    CertificateDraft(blobs, told["player"]).drop()
    path = home / certificate_key(command_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(whole)
    versions = ", ".join(f"{one['model']} {one['version']}" for one in told["versions"]) or "none"
    return f"forgotten; batch versions that learned from their drawings: {versions}; certificate: {path}"
