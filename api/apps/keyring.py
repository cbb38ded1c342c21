"""Keeps the keys of apps and the tokens of operators: a file with the digest of each, read as one changes (ways 1, 3)."""

import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from api.apps.keys import NAME, digest

SETTLED_NS: Final = 1_000_000_000
"""If a folder's last change is this old, the next change will alter its time."""


class KeyringError(ValueError):
    """A key cannot be added or revoked; the message says what to do."""


class Holders(NamedTuple):
    """A kind of key holder, and the words for it in messages."""

    folder: str
    """Also the command that gives them."""
    holder: str
    key: str


APPS: Final = Holders("keys", "an app", "key")
OPERATORS: Final = Holders("operators", "an operator", "token")


class Keyring:
    """The keys of one kind in the folder of a home."""

    def __init__(self, home: Path, kind: Holders = APPS) -> None:
        """Keep the home; nothing is read or made yet."""
        self._kind = kind
        self._folder = home / "secrets" / kind.folder
        self._read_at: int | None = None
        self._known: dict[str, bytes] = {}

    def known(self) -> dict[str, bytes]:
        """Return the digests of the keys by name. If nothing has changed, only the folder's time is read."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        if changed != self._read_at:
            self._known = {path.name: kept for path in self._files() if (kept := _kept(path)) is not None}
            self._read_at = changed if time.time_ns() - changed > SETTLED_NS else None
        return self._known

    def given(self) -> dict[str, datetime]:
        """Return by name when each key was added."""
        return {path.name: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in sorted(self._files())}

    def add(self, name: str) -> str:
        """Make and return a new key; only its digest is stored.

        Raises:
            KeyringError: If the name is not valid, or has a key already.
        """
        if not NAME.fullmatch(name):
            raise KeyringError(
                f"{name!r} is no name for {self._kind.holder}: use up to 32 letters, digits, _ . and -, beginning with a letter"
                " or digit"
            )
        key = secrets.token_urlsafe(24)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = self._folder / f".{name}.{secrets.token_hex(8)}"  # no name begins with a dot, and another adds its own
        made.touch(0o600, exist_ok=False)
        made.write_text(digest(key).hex())
        try:
            os.link(made, self._folder / name)
        except FileExistsError:
            raise KeyringError(
                f"{name} has a {self._kind.key}: gamenight {self._kind.folder} revoke {name} takes it away"
            ) from None
        finally:
            made.unlink()
        return key

    def revoke(self, name: str) -> None:
        """Revoke a key: requests with it are refused from now on.

        Raises:
            KeyringError: If there is no key of that name.
        """
        if not NAME.fullmatch(name) or not (self._folder / name).is_file():
            raise KeyringError(
                f"no {self._kind.key} of {name!r} was given here: gamenight {self._kind.folder} lists those that were"
            )
        (self._folder / name).unlink()

    def _files(self) -> list[Path]:
        return [path for path in self._folder.glob("*") if NAME.fullmatch(path.name)]


def _kept(path: Path) -> bytes | None:
    try:
        return bytes.fromhex(path.read_text())
    except FileNotFoundError:  # the key was revoked meanwhile
        return None
