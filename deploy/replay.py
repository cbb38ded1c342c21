"""Folds the log anew, in a process a core, and compares the folds with those at work (beside all ways; it only reads).

The states at work are ledgers in the home, which are read beside their writers, and the online model's snapshots on models.v1.
A fold at work moves on meanwhile: so its ledger is looked at when nearly all is folded, and the fresh fold goes on to just the
offsets that it has then. The fresh states are under ``<home>/replay``: a run that is interrupted goes on where it was.
"""

import ctypes
import fcntl
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any, Final

from contracts.events import PLAYER_PARTITIONS
from contracts.ports import Bus
from contracts.settings import Settings
from deploy.local.die_with_parent import PR_SET_PDEATHSIG
from deploy.replay_part import Task, newest_snapshot, online_replayed, part_replayed
from deploy.replay_report import PartReplayed, ReplayReport
from producers import logs
from producers.bus import open_bus
from producers.topics import open_admin
from streams.learner import Learner
from streams.online_base import load_base
from streams.refold.kept_fold import ONLINE, KeptFold

FOLDS: Final = ("joiner", "learner", "personal", "evidence", "scorer", ONLINE, "drift")
"""What is made anew, that first which takes longest."""
_UNFINISHED: Final = "unfinished"
_PATIENCE_S: Final = 5.0
"""How long a broker that is not there is waited for, in seconds."""
TOPICS_READ: Final = ("drawings.v1", "answers.v1", "corrections.v1", "examples.v1", "lessons.v1", "evidence.v1")
Progress = Callable[[str, int, int], None]
"""Is told of a fold how many records of how many are folded."""


class ReplayRefused(RuntimeError):
    """A replay cannot be done now; the message says what to do."""


def replay(settings: Settings, folds: Collection[str], from_kept: bool, progress: Progress, processes: int = 0) -> ReplayReport:
    """Fold the log anew and compare.

    Args:
        settings: Where Kafka and the home are.
        folds: Which of `FOLDS`.
        from_kept: Whether to go on from the states that an earlier replay has left.
        progress: Is told how far it is.
        processes: How many processes fold; 0: one a core.

    Raises:
        BusError: If there is no broker.
        ReplayRefused: If another replay is at work in this home, or a process of this one was killed.
    """
    began = time.monotonic()
    cluster = _cluster_of(settings)
    folder = settings.home / "replay"
    with _alone(folder):
        resumed = []
        for fold in folds:
            if (folder / fold).exists() and not from_kept and not (folder / fold / _UNFINISHED).exists():
                shutil.rmtree(folder / fold)
            if any((folder / fold).glob("*.sqlite")):
                resumed.append(fold)
            (folder / fold).mkdir(exist_ok=True)
            (folder / fold / _UNFINISHED).touch()
        snapshot = newest_snapshot(settings, load_base()) if ONLINE in folds else None
        tasks = [
            Task(fold, number, cluster, snapshot.offsets[number] if snapshot and fold == ONLINE else None)
            for fold in FOLDS
            if fold in folds
            for number in range(PLAYER_PARTITIONS)
        ]
        parts = _shared_out(settings, folder, tasks, progress, processes or os.cpu_count() or 1)
        if ONLINE in folds:
            parts = [online_replayed(folder, [part for part in parts if part.fold == ONLINE], snapshot), *parts]
            parts = [part for part in parts if part.fold != ONLINE or part.partition is None]
        for fold in folds:
            (folder / fold / _UNFINISHED).unlink()
    parts.sort(key=lambda part: (FOLDS.index(part.fold), part.partition or 0))
    return ReplayReport(parts=parts, resumed=resumed, seconds=time.monotonic() - began)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other replay work in a folder."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReplayRefused(f"another replay is at work in {folder}: wait for its end, or stop it") from None
        yield


def _cluster_of(settings: Settings) -> str:
    admin = open_admin(settings, _PATIENCE_S)
    try:
        return str(admin.describe_cluster().get("cluster_id") or "")
    finally:
        admin.close()


# --- processes


def _shared_out(settings: Settings, folder: Path, tasks: list[Task], progress: Progress, processes: int) -> list[PartReplayed]:
    """Do the tasks in so many processes; they die with this one."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it: a process a core is enough
    context = multiprocessing.get_context("spawn")
    waiting, told = context.Queue(), context.Queue()
    count = min(processes, len(tasks))
    for task in (*tasks, *[None] * count):
        waiting.put(task)
    arguments = (settings, folder, waiting, told, os.getpid())
    workers = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    try:
        return _gathered(workers, told, tasks, progress)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _gathered(workers: list[Any], told: Any, tasks: list[Task], progress: Progress) -> list[PartReplayed]:
    done: list[PartReplayed] = []
    counts: dict[Task, tuple[int, int]] = {}
    while len(done) < len(tasks):
        try:
            task, said = told.get(timeout=1.0)
        except Empty:
            if any(worker.exitcode not in (None, 0) for worker in workers):
                raise ReplayRefused("a process of the replay was killed: run it again, and it goes on where it was") from None
            continue
        if isinstance(said, PartReplayed):
            done.append(said)
        elif isinstance(said, str):
            raise ReplayRefused(f"{task.fold}, partition {task.partition}: {said}")
        else:
            counts[task] = said
            mine = [count for one, count in counts.items() if one.fold == task.fold]
            progress(task.fold, sum(n for n, _ in mine), sum(of for _, of in mine))
    return done


def _work(settings: Settings, folder: Path, waiting: Any, told: Any, parent: int) -> None:
    """Do one task after another, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us stops us
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    logs.configure(settings.model_copy(update={"log_level": "CRITICAL"}), "replay")  # what is rejected is counted
    base = load_base()
    series = Learner(base).series
    bus: Bus | None = None
    while (task := waiting.get()) is not None:
        try:
            bus = bus or open_bus(settings, TOPICS_READ)
            fold = KeptFold(folder, task.fold, task.partition, base, series, settings.log_bytes)
            told.put((task, part_replayed(bus, fold, task, settings.home, partial(_tell, told, task))))
        except Exception as wrong:  # noqa: BLE001 the one who waits says it
            told.put((task, f"{type(wrong).__name__}: {wrong}"))


def _tell(told: Any, task: Task, done: int, whole: int) -> None:
    told.put((task, (done, whole)))
