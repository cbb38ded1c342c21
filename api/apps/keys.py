"""Reads and compares the keys of apps, and counts wrong keys by address (way 1). Pure."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from cachetools import LRUCache

from api.limits import MAX_ADDRESSES, RateLimiter

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
WRONG_PER_MINUTE: Final = 30
"""How many wrong keys an address may try in a minute."""


def digest(key: str) -> bytes:
    """Compute the digest of a key, which is all that is kept; it does not reveal the key, since keys made here are random."""
    return hashlib.sha256(key.encode()).digest()


def named(setting: str | None) -> dict[str, bytes]:
    """Return the digests of the keys in the setting, by name.

    Args:
        setting: ``name:key`` entries, with commas between.

    Raises:
        ValueError: If an entry has no name of letters, digits, ``_``, ``.`` and ``-``, or no key.
    """
    known = {}
    for entry in filter(None, (part.strip() for part in (setting or "").split(","))):
        name, _, key = entry.partition(":")
        if not NAME.fullmatch(name) or not key:
            raise ValueError("GAMENIGHT_API_KEYS: write name:key, comma between; a name has letters, digits, _ . and -")
        known[name] = digest(key)
    return known


def app_of(key: str, known: Mapping[str, bytes]) -> str | None:
    """Return the name of the app that has a key; None: no app has it. It takes the same time for every key."""
    given, found = digest(key), None
    for name, kept in known.items():
        if hmac.compare_digest(given, kept):
            found = name
    return found


class Tries:
    """Counts the wrong keys of each address; after too many, the address is not told whether another key is right.

    An app that was admitted from an address before is always admitted from there: otherwise a stranger behind the same proxy
    could shut it out.
    """

    def __init__(self) -> None:
        """Begin with no tries."""
        self._wrong = RateLimiter(WRONG_PER_MINUTE / 60, WRONG_PER_MINUTE)
        self._right: LRUCache[tuple[str, str], None] = LRUCache(MAX_ADDRESSES)

    def wait(self, address: str, app: str | None, now: float) -> float:
        """Count a try with the key of ``app``, or with a wrong key; return 0, or the seconds to wait before the next try."""
        bucket = self._wrong.bucket(address, now)
        if app is None:
            return bucket.take(now)
        if (address, app) not in self._right and (wait_s := bucket.wait(now)):
            return wait_s
        self._right[address, app] = None
        return 0.0
