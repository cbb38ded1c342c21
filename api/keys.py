"""Who may ask for predictions, and how often: the keys of apps, each with a bucket of its own (way 1). Pure."""

import math
import re
import secrets
from dataclasses import dataclass
from typing import Final

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


@dataclass(slots=True)
class Bucket:
    """Predictions that an app may ask for now: fills evenly, up to what it may ask for in a minute."""

    limit: int
    tokens: float
    filled: float
    """When it was filled last, in seconds of the caller's monotonic clock."""

    def take(self, now: float) -> float:
        """Take one. Returns 0, or how many seconds to wait for the next."""
        self.tokens = min(float(self.limit), self.tokens + (now - self.filled) * self.limit / 60)
        self.filled = now
        if self.tokens < 1:
            return (1 - self.tokens) * 60 / self.limit
        self.tokens -= 1
        return 0.0

    def headers(self, wait_s: float = 0.0) -> dict[str, str]:
        """What is left, and when all of it is there again."""
        full_s = (self.limit - self.tokens) * 60 / self.limit
        told = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(int(self.tokens)),
            "RateLimit-Reset": str(math.ceil(full_s)),
        }
        return told | ({"Retry-After": str(math.ceil(wait_s))} if wait_s else {})


class Keys:
    """The apps that may ask."""

    def __init__(self, setting: str | None, per_minute: int, now: float) -> None:
        """Read the setting.

        Args:
            setting: ``name:key``, comma between.
            per_minute: Predictions that each may ask for.
            now: Monotonic, in seconds.

        Raises:
            ValueError: If an entry has no name of letters, digits, ``_``, ``.`` and ``-``, or no key.
        """
        self._keys: list[tuple[str, bytes]] = []
        self._buckets: dict[str, Bucket] = {}
        for entry in filter(None, (part.strip() for part in (setting or "").split(","))):
            name, _, key = entry.partition(":")
            if not NAME.fullmatch(name) or not key:
                raise ValueError("GAMENIGHT_API_KEYS: write name:key, comma between; a name has letters, digits, _ . and -")
            self._keys.append((name, key.encode()))
            self._buckets[name] = Bucket(per_minute, float(per_minute), now)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._keys)

    def app(self, key: str) -> str | None:
        """The name of the app that has a key; None: nobody. Takes as long for every key."""
        given, found = key.encode(), None
        for name, known in self._keys:
            if secrets.compare_digest(given, known):
                found = name
        return found

    def bucket(self, app: str) -> Bucket:
        """An app's bucket."""
        return self._buckets[app]
