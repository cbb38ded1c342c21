"""Makes one fold and partition anew, or the online model, and compares it with the one at work (beside all ways)."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from sqlite3 import DatabaseError
from typing import Any, Final

import numpy as np

from contracts.events import PLAYER_PARTITIONS, TOPICS, LessonsForgotten, LessonTaught, SnapshotTaken
from contracts.ports import Bus
from contracts.records import read
from contracts.settings import Settings
from deploy.replay_report import PartReplayed, PartResult
from producers.bus import open_bus
from producers.whole_log import all_records
from streams.additive import NotASum
from streams.fold import LogBounds
from streams.learner import Learner
from streams.ledger_view import View, viewing
from streams.online_base import Base, load_base
from streams.online_model import OnlineModel, is_of
from streams.refold.comparison import compared
from streams.refold.kept_fold import ONLINE, AddedLessons, KeptFold, part_of
from streams.refold.partition_log import PartitionLog

_ALIKE: Final = 1e-5  # weights are published as float32


@dataclass(frozen=True, slots=True)
class Task:
    """A fold and partition to be made anew by one process."""

    fold: str
    partition: int
    cluster: str
    until: int | None
    """The offset of lessons.v1 up to which the newest snapshot has them; None: the ledger says."""


def part_replayed(bus: Bus, kept: KeptFold, task: Task, home: Path, tell: Callable[[int, int], None]) -> PartReplayed:
    """Make a fold of a partition anew, and compare it with the ledger at work.

    Args:
        bus: Where the log is.
        kept: The fold that is made anew.
        task: Which it is.
        home: The home of the folds at work.
        tell: Is told how many records of how many are folded.
    """
    try:
        return _made_anew(bus, kept, task, home, tell)
    except DatabaseError as wrong:
        paths = [kept.path] if task.fold == ONLINE else [_at_work(home, task), kept.path]
        why = f"damaged ledger {' or '.join(map(str, paths))}: {wrong}"
        empty: dict[str, Any] = {"records": 0, "cpu_s": 0.0, "offsets": {}, "fresh": ""}
        return PartReplayed(fold=task.fold, partition=task.partition, verdict="not compared", why=why, **empty)


def _at_work(home: Path, task: Task) -> Path:
    return home / "state" / task.fold / f"{task.partition}.sqlite"


def _made_anew(bus: Bus, kept: KeptFold, task: Task, home: Path, tell: Callable[[int, int], None]) -> PartReplayed:
    topics, number = kept.fold.sources, task.partition
    path = _at_work(home, task)
    with ExitStack() as stack:
        whole_log = PartitionLog(bus, topics, number, {})
        first, ends = {topic: whole_log.next(topic) for topic in topics}, whole_log.ends()
        whole_log.close()
        kept.open(LogBounds(task.cluster, first, {topic: end + 1 for topic, end in ends.items()}))
        stack.callback(kept.close)
        if isinstance(kept.fold, AddedLessons):
            kept.fold.explain(_forgotten(bus, number), number)
        log = PartitionLog(bus, topics, number, {topic: kept.ledger.offset(topic) + 1 for topic in topics})
        stack.callback(log.close)
        verdict, why, goal = _goal(bus, kept, task, path, ends)
        began, records = time.process_time(), 0
        whole = sum(max(0, goal.get(topic, -1) + 1 - log.next(topic)) for topic in topics)
        for n in chain((0,), kept.fold_to(log, goal)):
            records += n
            tell(min(records, whole), whole)
        told: dict[str, Any] = {"verdict": verdict, "why": why, "fresh": kept.ledger.digest()}
        told["offsets"] = {topic: kept.ledger.offset(topic) for topic in topics}
        if task.fold != ONLINE and not why:
            with viewing(path) as view:
                records += sum(kept.fold_to(log, view.offsets()))
                since = _since(bus, topics, number, first) if task.fold == "joiner" else None
                found = compared(task.fold, view.cells, kept.cells, since)
                told = {
                    "offsets": view.offsets(),
                    "verdict": "same" if found.same else "differs",
                    "running": found.running,
                    "fresh": found.fresh,
                    "cells": found.cells,
                    "differing": found.differing,
                    "what": list(found.first),
                }
        told["begins"] = {topic: at for topic, at in first.items() if at > 0 and TOPICS[topic].retention_ms < 0}
        told |= {"records": records, "cpu_s": time.process_time() - began, "rejected": kept.ledger.rejected}
        return PartReplayed(fold=task.fold, partition=number, **told)


def _forgotten(bus: Bus, partition: int) -> Iterator[LessonsForgotten]:
    """Return what the log says of lessons that are missing in a partition."""
    log = PartitionLog(bus, [LessonTaught.topic], partition, {})
    try:
        for records in log.batches(log.ends(), 1000):
            for record in records:
                if b'"LessonsForgotten"' in (record.value or b""):
                    event = read(record, ONLINE)
                    if isinstance(event, LessonsForgotten):
                        yield event
    finally:
        log.close()


def _goal(
    bus: Bus, kept: KeptFold, task: Task, path: Path, ends: Mapping[str, int]
) -> tuple[PartResult, str, Mapping[str, int]]:
    """Return the verdict and why, if nothing is to be compared, or nothing; and up to which offsets to fold."""
    if task.fold == ONLINE:
        why, goal = "", dict(ends) if task.until is None else {LessonTaught.topic: task.until}
    elif not path.exists():
        why, goal = f"there is no ledger {path}", dict(ends)
    else:
        with viewing(path) as view:
            why, goal = _not_of_this(view, kept, task.cluster), view.offsets()
        goal = dict(ends) if why else goal
    if beyond := _ahead(bus, task.partition, goal, ends):
        return "differs", f"the {'snapshot' if task.fold == ONLINE else 'ledger'} {beyond}", dict(ends)
    ahead = [topic for topic in ends if kept.ledger.offset(topic) > goal.get(topic, -1)]
    if ahead and not why:
        here = f"the kept state has {ahead[0]} up to offset {kept.ledger.offset(ahead[0])}"
        why = f"{here}, and the one at work up to {goal.get(ahead[0], -1)}: replay without --from-snapshot"
    return "not compared", why, goal


def _ahead(bus: Bus, partition: int, offsets: Mapping[str, int], ends: Mapping[str, int]) -> str:
    """Say that a state has more than the log, whose ``ends`` were these before the state was read; empty: it has not."""
    for topic, end in ends.items():
        if offsets.get(topic, -1) > end:
            log = PartitionLog(bus, [topic], partition, {})
            end = log.ends()[topic]  # it may have grown since
            log.close()
            if offsets[topic] > end:
                where = f"stands at offset {offsets[topic]} of {topic}, which ends at {end}"
                return f"{where}: it is ahead of the log, or of another log"
    return ""


def _not_of_this(view: View, kept: KeptFold, cluster: str) -> str:
    """Say why a ledger at work is none of this fold and log; empty: it is one."""
    identity = view.identity()
    if identity is None:
        return "the ledger does not say what it is a state of"
    if identity.schema != kept.fold.schema:
        return f"the ledger is of {identity.schema!r}, and this version makes {kept.fold.schema!r}: start the game once"
    if identity.cluster and cluster and identity.cluster != cluster:
        return f"the ledger is of the Kafka cluster {identity.cluster}, and this one is {cluster}"
    return ""


def _since(bus: Bus, topics: Collection[str], partition: int, first: Mapping[str, int]) -> datetime | None:
    """Return when the log begins to have all that the joiner reads; None: nothing was dropped yet."""
    begun = []
    for topic in topics:
        if first[topic] > 0:
            log = PartitionLog(bus, [topic], partition, {})
            begun += [one.timestamp_ms for several in log.batches({topic: first[topic]}, 1) for one in several]
            log.close()
    return datetime.fromtimestamp(max(begun) / 1000, UTC) if begun else None


# --- the online model


def online_replayed(folder: Path, parts: list[PartReplayed], snapshot: SnapshotTaken | None) -> PartReplayed:
    """Add the partitions' lessons up to the model, and compare it with the snapshot that says it has just these."""
    if bad := next((part for part in parts if not part.fresh or part.verdict == "differs"), None):
        return bad.model_copy(update={"partition": None, "fresh": "", "why": f"partition {bad.partition}: {bad.why}"})
    base = load_base()
    model = OnlineModel(base, Learner(base).series)
    for number in range(PLAYER_PARTITIONS):
        with viewing(folder / ONLINE / f"{number}.sqlite") as view:
            kept = part_of(dict(view.cells()), view.offsets(), base, number)
        if kept is not None:
            model.add(kept)
    offsets = {str(part.partition): part.offsets[LessonTaught.topic] for part in parts}
    told: dict[str, Any] = {
        "offsets": offsets,
        "fresh": model.known.digest(base),
        "records": sum(part.records for part in parts),
        "cpu_s": sum(part.cpu_s for part in parts),
        "rejected": sum(part.rejected for part in parts),
        "cells": 3,
        "begins": {f"lessons.v1/{part.partition}": at for part in parts for at in part.begins.values()},
    }
    here = partial(PartReplayed, fold=ONLINE, partition=None, **told)
    if why := next((part.why for part in parts if part.why), ""):
        return here(verdict="not compared", why=why)
    if snapshot is None:
        return here(verdict="not compared", why=f"models.v1 has no snapshot of {base.generation} by these rules")
    what = []
    if (snapshot.version, snapshot.lessons) != (model.known.version(base), model.known.lessons):
        by_log = f"{model.known.version(base)} with {model.known.lessons}"
        what.append(f"{snapshot.version} with {snapshot.lessons} lessons; by the log {by_log}")
    if snapshot.digest != model.known.digest(base):
        what.append(f"the set of lessons of {snapshot.version} is not that of the log up to its offsets")
    try:
        wanted = model.in_force().solved.weights.ravel()
        given = np.frombuffer(snapshot.weights, "<f4")
        if given.size != wanted.size or not np.allclose(given, wanted, atol=_ALIKE):
            what.append(f"the weights of {snapshot.version} are not those of its lessons")
    except NotASum as wrong:
        what.append(f"the lessons on the log make no model: {wrong}")
    verdict = "differs" if what else "same"
    return here(verdict=verdict, running=snapshot.digest, differing=len(what), what=what)


def newest_snapshot(settings: Settings, base: Base) -> SnapshotTaken | None:
    """Return the newest snapshot of the online model on models.v1; None: there is none of this base and series."""
    bus, series = open_bus(settings, [SnapshotTaken.topic]), Learner(base).series
    try:
        newest = None
        for record in all_records(bus, [SnapshotTaken.topic]):
            event = read(record, "replay")
            if isinstance(event, SnapshotTaken) and is_of(event, base, series):
                newest = event
        return newest
    finally:
        bus.close()
