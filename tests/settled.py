"""Says what folds have come to, in digests that no order of arrival changes: to compare runs whose topics came in other orders.

The cells of one run are bit for bit those of its own log (`gamenight replay`). Those of two runs differ in the order of rows,
in how often a lesson was changed on the way, and in what the bandit believed then; what is promised is the rest.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np

from contracts.events import PLAYER_PARTITIONS, LessonTaught, SnapshotTaken
from contracts.ports import Bus
from contracts.settings import Settings
from deploy.lesson_reader import events_on
from producers.bus import open_bus
from streams import player_memory, taught
from streams.ledger_view import Kept, look
from streams.online_base import load_base
from streams.player_memory import Rows, in_order
from streams.refold.folds import fold_makers
from streams.refold.partition_log import PartitionLog
from streams.story_store import STORY
from tests.histories import MemoryCells

Digests = dict[str, str]
"""The digest of each fold, and of the online model."""
_OF_THE_WAY = {"taught", "correction", "told"}
"""The fields of rows that say by which of several corrections to one label it came."""


def digests(home: Path, bus: Bus) -> Digests:
    """Return what the folds of a home have come to, all partitions together."""
    stories = {key: value for key, value in _cells(home, "joiner") if key.startswith(STORY)}
    return {
        "joiner": _digest(stories),
        "scorer": _digest(_scores(home)),
        "learner": _digest(_taught(dict(_cells(home, "learner")))),
        "personal": _digest(_memories(dict(_cells(home, "personal")))),
        "online": newest(bus).digest,
    }


def newest(bus: Bus) -> SnapshotTaken:
    """Return the newest snapshot of the online model."""
    return [event for event in events_on(bus, ["models.v1"]) if isinstance(event, SnapshotTaken)][-1]


def at_rest(settings: Settings) -> bool:
    """Whether the folds have read all that is on the log, have said all, and the online model has all lessons."""
    bus = open_bus(settings)
    try:
        for fold, make in fold_makers(load_base(), None).items():
            for number in range(PLAYER_PARTITIONS):
                ledger = settings.home / "state" / fold / f"{number}.sqlite"
                held = look(ledger) if ledger.exists() else Kept({}, {}, frozenset())
                log = PartitionLog(bus, make().sources, number, {})
                ends = log.ends()
                log.close()
                if held.outbox or any(held.offsets.get(topic, -1) < end for topic, end in ends.items()):
                    return False
        log = [PartitionLog(bus, [LessonTaught.topic], number, {}) for number in range(PLAYER_PARTITIONS)]
        ends = [one.ends()[LessonTaught.topic] for one in log]
        for one in log:
            one.close()
        snapshots = [event for event in events_on(bus, ["models.v1"]) if isinstance(event, SnapshotTaken)]
        return bool(snapshots) and snapshots[-1].offsets == ends
    finally:
        bus.close()


def _cells(home: Path, fold: str) -> Iterator[tuple[str, bytes]]:
    for number in range(PLAYER_PARTITIONS):
        yield from look(home / "state" / fold / f"{number}.sqlite").cells.items()


def _scores(home: Path) -> dict[str, bytes]:
    """Return the counts of each partition; lists of which counts there are, are in the order in which they came."""
    out = {}
    for number in range(PLAYER_PARTITIONS):
        for key, value in look(home / "state" / "scorer" / f"{number}.sqlite").cells.items():
            listed = value if "/" in key else json.dumps(sorted(json.loads(value))).encode()
            out[f"{number} {key}"] = listed
    return out


def _digest(state: Mapping[str, bytes]) -> str:
    whole = sha256()
    for key in sorted(state):
        whole.update(f"{len(key)} {len(state[key])} {key} ".encode() + state[key])
    return whole.hexdigest()


def _bytes(rows: Rows, order: np.ndarray) -> bytes:
    names = [name for name in rows.dtype.names or () if name not in _OF_THE_WAY]
    return b"".join(np.ascontiguousarray(rows[name][order]).tobytes() for name in names)


def _players(cells: Mapping[str, bytes]) -> list[str]:
    return [key.removeprefix("player/") for key in cells if key.startswith("player/")]


def _taught(cells: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what each player has taught, in the order of drawing."""
    out = {}
    for player in _players(cells):
        rows = taught.read(MemoryCells(cells), player)
        out[player] = _bytes(rows, in_order(rows, np.ones(len(rows), bool)))
    return out


def _memories(cells: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what each player's own model remembers, in the order of drawing."""
    out = {}
    for player in _players(cells):
        memory = player_memory.read(MemoryCells(cells), player)
        order = in_order(memory.rows, np.ones(len(memory.rows), bool))
        shown = json.dumps([memory.said.of(int(place)) for place in order], sort_keys=True).encode()
        out[player] = _bytes(memory.rows, order) + shown + str(memory.resets).encode()
    return out
