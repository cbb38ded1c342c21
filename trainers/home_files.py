"""Finds and removes a player in the files of a home: logs, replays, and what local services leave on the disk (way 3, OPERATE).

In the cloud there are none: logs are the platform's, and DynamoDB's own storage is not ours to see.
"""

import fcntl
import mmap
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

_PATIENCE_S: Final = 10.0


def blot_logs(home: Path, player_id: str) -> int:
    """Write over a player's id in all log lines, with as many characters; return in how many places.

    Processes go on writing at the end meanwhile: no byte moves.
    """
    name, places = player_id.encode(), 0
    for path in sorted((home / "logs").glob("*")):
        with suppress(OSError, ValueError), path.open("r+b") as file, closing(mmap.mmap(file.fileno(), 0)) as content:
            at = content.find(name)
            while at >= 0:
                content[at : at + len(name)] = b"x" * len(name)
                places += 1
                at = content.find(name, at + len(name))
    return places


def drop_replays(home: Path, since: datetime) -> bool:
    """Delete the states that replays of the log have left since then, which hold whoever was on it.

    Returns:
        False: a replay is at work, and nothing is deleted.
    """
    folder = home / "replay"
    if not folder.is_dir():
        return True
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        for path in folder.iterdir():
            if path.is_dir() and any(one.stat().st_mtime >= since.timestamp() for one in (path, *path.rglob("*"))):
                shutil.rmtree(path)
    return True


def shrink_dynamodb(home: Path) -> None:
    """Make DynamoDB Local's files anew: SQLite leaves the bytes of deleted items in them."""
    for path in (home / "dynamodb").glob("*.db"):
        with closing(sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)) as db:
            db.execute("VACUUM")


def holding(home: Path, texts: list[bytes]) -> Iterator[str]:
    """Yield the files of a home, by their path in it, that hold one of the texts."""
    for path in sorted(home.rglob("*")):
        with suppress(OSError, ValueError):  # it may be gone by now, or empty
            if path.is_file() and not path.is_symlink() and path.stat().st_size:
                with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
                    if any(content.find(text) >= 0 for text in texts):
                        yield str(path.relative_to(home))
