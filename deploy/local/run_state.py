"""Records who runs a home, by a lock that dies with its holder, and its processes' status, in a file for `gamenight doctor`."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Phase = Literal["waiting", "starting", "ready", "down", "stopped"]


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """The status of a process."""

    name: str
    phase: Phase = "waiting"
    pid: int | None = None
    started_at: str | None = None
    """When the process was started: UTC, ISO 8601."""
    took_s: float | None = None
    """How long the process took from its start until it was ready, in seconds."""
    restarts: int = 0
    note: str = ""
    """Why the process is down."""


class AlreadyRunning(RuntimeError):
    """Another supervisor already runs this home."""

    def __init__(self, home: Path, pid: int) -> None:
        """Name the other supervisor; ``pid`` is 0 if it is not known yet."""
        super().__init__(f"Game Night already runs on {home} (process {pid}): stop it with Ctrl-C there, or kill {pid}")
        self.pid = pid


def write_state(path: Path, standings: Sequence[ProcessStatus]) -> None:
    """Write the status of all processes for `gamenight doctor`, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps({"pid": os.getpid(), "components": [asdict(standing) for standing in standings]}, indent=1))
    scratch.replace(path)


def state_file(home: Path) -> Path:
    """Return the path of the file that `gamenight up` writes the status to."""
    return home / "run" / "state.json"


def read_state(home: Path) -> dict[str, Any] | None:
    """Read what `write_state` wrote; None if there is nothing that can be read."""
    try:
        state = json.loads(state_file(home).read_bytes())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def holder(home: Path) -> int | None:
    """Return the process id of the supervisor that runs this home; None if nobody does."""
    try:
        with (home / "run" / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return int((home / "run" / "lock").read_text().strip() or 0)
    return None


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the home's lock; it is released when this process ends, however it ends.

    Raises:
        AlreadyRunning: If another process holds the lock; the message names its pid.
    """
    (home / "run").mkdir(parents=True, exist_ok=True)
    with (home / "run" / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyRunning(home, int(file.read().strip() or 0)) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
