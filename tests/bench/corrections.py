"""Measures, from what lies on the log, how long it took from corrections to guesses that use them (way 2, LEARN).

It reads when the load is over, so it costs the game nothing; the models' snapshots alone are read as they come, as the broker
soon compacts them away. Nobody sees when a model comes into force, only when its snapshot was written and by which version a
guess was made: a correction is in use at some time from its snapshot, or from the last guess without it, to the first one with
it. When the next guess comes is up to the players; so what is asked is, of the guesses that were made so many ms after a
correction, how many used it. With what share of them that grows is estimated from all pairs of
correction and guess, as from current status data (Ayer et al., 1955, doi:10.1214/aoms/1177728423): by isotonic regression.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Final
from uuid import UUID

import numpy as np
from scipy.optimize import isotonic_regression

from contracts.events import CorrectionGiven, CorrectionReceipt, Event, GuessMade, LessonTaught, SnapshotTaken, decode
from contracts.ports import Bus, Record
from producers.tally import Spread
from streams.online_model import SHARED

TOPICS: Final = ("corrections.v1", "lessons.v1", "guesses.v1", "previews.v1", "receipts.v1")
_MODELS: Final = SnapshotTaken.topic
_QUIET_S: Final = 2.0
_WINDOW_MS: Final = 10_000
"""How long after a correction guesses are looked at."""


class Told:
    """What was written to the log while somebody played: records, each with its event."""

    def __init__(self, bus: Bus) -> None:
        """Begin where the log ends now; `models` must run meanwhile."""
        self._bus = bus
        tail = bus.follow(TOPICS, "end")
        try:
            self._began = tail.positions()
        finally:
            tail.close()
        self._models: list[Record] = []

    @contextmanager
    def models(self) -> Iterator[None]:
        """Keep what is on models.v1 and what comes until the block ends; raises what a reader of the log may raise."""
        tail, over = self._bus.follow([_MODELS], "start"), threading.Event()

        def keep() -> None:
            while not over.wait(1.0):
                self._models += tail.poll(_QUIET_S / 4)
            while records := tail.poll(_QUIET_S):
                self._models += records

        with closing(tail), ThreadPoolExecutor(1) as thread:
            keeping = thread.submit(keep)
            try:
                yield
            finally:
                over.set()
                keeping.result()

    def __iter__(self) -> Iterator[tuple[Record, Event]]:
        """Read what was written since the beginning."""
        yield from ((record, decode(record.topic, record.value)) for record in self._models if record.value)
        tail = self._bus.follow(TOPICS, self._began)
        try:
            while not tail.caught_up():
                for record in tail.poll(_QUIET_S):
                    if record.value:
                        yield record, decode(record.topic, record.value)
        finally:
            tail.close()


def spans(told: Iterable[tuple[Record, Event]]) -> dict[str, Any]:
    """Return milliseconds from a correction to the next guess that uses it.

    Args:
        told: The records of `TOPICS` and models.v1 since before the first correction, each with its event.

    Returns:
        ``river``: after so many ms half, 95 and 99 % of the guesses use a correction;
        ``river, at the latest``: to the first guess of anybody with the correction; ``river, at the earliest``: to the first
        snapshot with it, or to the last guess without it if that was later; ``yours``: to the receipt, which the player's own
        model writes once it answers by the correction. ``corrections`` and ``in use``: how many there were, and how many a
        guess has used. ``guesses by unknown versions``: those left out, since no snapshot of their version was told.
    """
    given: dict[UUID, int] = {}
    own: dict[UUID, int] = {}
    taught: dict[UUID, tuple[int, int]] = {}
    offsets: dict[str, list[int]] = {}
    written: list[tuple[int, str]] = []
    guesses: list[tuple[int, str]] = []
    for record, event in told:
        match event:
            case CorrectionGiven():
                given.setdefault(event.correction_id, record.timestamp_ms)
            case LessonTaught() if event.sign > 0:
                taught.setdefault(event.correction_id, (record.partition, record.offset))
            case SnapshotTaken() if event.offsets and event.model == SHARED:
                offsets[event.version] = event.offsets
                written.append((record.timestamp_ms, event.version))
            case GuessMade() if event.model == SHARED and event.role != "shadow":
                guesses.append((record.timestamp_ms, event.version))
            case CorrectionReceipt(stage="personal"):
                own.setdefault(event.correction_id, record.timestamp_ms)
            case _:
                pass
    unknown = sum(version not in offsets for _, version in guesses)
    guesses = sorted((at, version) for at, version in guesses if version in offsets)
    earliest, latest, yours = Spread(), Spread(), Spread()
    made = np.array([guessed_at for guessed_at, _ in guesses])
    known = np.array([offsets[version] for _, version in guesses])
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for correction_id, at in given.items():
        if correction_id in own:
            yours.add(own[correction_id] - at)
        if correction_id not in taught:
            continue
        has = partial(_has, offsets, *taught[correction_id])
        snapshot_at, used_at = _first(written, at, has), _first(guesses, at, has)
        if snapshot_at is not None and used_at is not None:
            without = [made_at for made_at, _ in guesses[: bisect_left(guesses, (used_at, ""))]]
            earliest.add(max([snapshot_at, *without[-1:]]) - at)
            latest.add(used_at - at)
        partition, offset = taught[correction_id]
        looked_at = slice(*np.searchsorted(made, (at, at + _WINDOW_MS)))
        pairs.append((made[looked_at] - at, known[looked_at, partition] >= offset))
    found: dict[str, Any] = {"corrections": len(given), "in use": latest.n, "guesses by unknown versions": unknown}
    for name, spread in (("river, at the latest", latest), ("river, at the earliest", earliest), ("yours", yours)):
        if spread.n:
            found[name] = {f"p{q}": round(spread.quantile(q / 100)) for q in (50, 95, 99)}
    if pairs:
        found["river"] = grown(np.concatenate([after for after, _ in pairs]), np.concatenate([used for _, used in pairs]))
    return found


def grown(after_ms: np.ndarray, used: np.ndarray) -> dict[str, int | None]:
    """Return after how many ms a correction is used by half, 95 and 99 % of the guesses; None: by fewer in all that was seen.

    >>> grown(np.array([5, 10, 20, 30, 30, 40]), np.array([False, False, True, False, True, True]))
    {'p50': 20, 'p95': 40, 'p99': 40}

    Args:
        after_ms: By how much each guess came after the correction, shape (n,).
        used: Whether it was made by a model that has it, shape (n,).
    """
    times, of_time = np.unique(after_ms, return_inverse=True)
    counts = np.bincount(of_time)
    share = isotonic_regression(np.bincount(of_time, used) / counts, weights=counts).x
    found = {q: int(np.searchsorted(share, q / 100 - 1e-9)) for q in (50, 95, 99)}
    return {f"p{q}": int(times[place]) if place < len(times) else None for q, place in found.items()}


def _has(offsets: dict[str, list[int]], partition: int, offset: int, version: str) -> bool:
    return offsets[version][partition] >= offset


def _first(versions: list[tuple[int, str]], at: int, has: Callable[[str], bool]) -> int | None:
    """Return the first time from ``at`` on of a version that has something, of versions by their times."""
    return next((time for time, version in versions[bisect_left(versions, (at, "")) :] if has(version)), None)
