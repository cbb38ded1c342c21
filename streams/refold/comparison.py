"""Compares the cells of two states of one fold and partition, in the order of their keys (way 2). Pure.

Neither is held in memory: both come as iterators.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from contracts.ports import CUT
from streams.story import Story
from streams.story_store import FORGET_AFTER, QUEUE, STORY, cut_of

Cell = tuple[str, bytes]
ReadCells = Callable[[], Iterable[Cell]]
"""Reads all cells of a state, in the order of their keys, as often as it is called."""
_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two states have in common."""

    cells: int
    """How many cells were compared."""
    running: str
    """The digest of those of the first state: for all folds but the joiner, that of its ledger."""
    fresh: str
    """The digest of those of the second."""
    differing: int
    """How many cells differ or are in one state only."""
    first: tuple[str, ...]
    """The first of them, in words."""

    @property
    def same(self) -> bool:
        """Whether the states are the same."""
        return not self.differing


def compared(stage: str, running: ReadCells, fresh: ReadCells, since: datetime | None = None) -> Comparison:
    """Compare two states in all that the set of their messages decides, whatever the order in which they came.

    In which order drawings came among the topics decides the joiner's queue, and what it has forgotten. So its stories alone
    are compared, and of those that differ only those that neither state may have forgotten.

    Args:
        stage: The name of the fold.
        running: The cells of the fold at work.
        fresh: The cells of the one that was made anew.
        since: The time since which the log has all that the joiner reads; None: nothing of it is gone.
    """
    of_joiner = stage == "joiner"
    digests = sha256(), sha256()
    cells, differing = 0, 0
    first: list[str] = []
    forgotten: _Forgotten | None = None
    cut = False
    for key, one, other in _merged(running(), fresh()):
        if of_joiner and not key.startswith(STORY):
            continue
        cut = cut or (key == CUT and one == other)
        if cut and one != other and _left_over(stage, key, one, other):
            continue
        if one != other:
            if of_joiner:
                forgotten = forgotten or _Forgotten(running, fresh, since)
                if forgotten.may_be(one, other) or _same_story(one, other):
                    continue
            differing += 1
            if len(first) < _NAMED:
                first.append(f"{key} {_difference(one, other)}")
        cells += 1
        for digest, value in zip(digests, (one, other), strict=True):
            if value is not None:
                digest.update(f"{len(key)} {len(value)} {key} ".encode())
                digest.update(value)
    return Comparison(cells, digests[0].hexdigest(), digests[1].hexdigest(), differing, tuple(first))


def _left_over(stage: str, key: str, one: bytes | None, other: bytes | None) -> bool:
    """Whether a difference is what a forgotten player leaves, none of which is theirs: see docs/decisions/0034.

    Windows that they began, with nothing of them counted; and versions that only they saw.
    """
    empty = all(kept is None or not any(kept) for kept in (one, other))
    left = key in ("totals", "picks") or key.startswith(("window/", "picks/total/", "picks/window/"))
    return stage == "scorer" and (empty or left)


def in_order(cells: Mapping[str, bytes]) -> ReadCells:
    """Return what reads cells that are in memory, in the order of their keys."""
    return lambda: sorted(cells.items())


class _Forgotten:
    """Which stories one of two joiners may have forgotten, and the other not."""

    def __init__(self, running: ReadCells, fresh: ReadCells, since: datetime | None) -> None:
        cuts = [cut for read in (running, fresh) if (cut := cut_of(dict(_queue(read())))) is not None]
        self._began_by = max([*cuts, *([since] if since else [])], default=None)
        self._newest = max(Story.of(cell).news for read in (running, fresh) for key, cell in read() if key.startswith(STORY))

    def may_be(self, one: bytes | None, other: bytes | None) -> bool:
        """Whether a story, as the two states have it, may be forgotten or half forgotten in either."""
        stories = [Story.of(cell) for cell in (one, other) if cell is not None]
        began, news = min(story.began for story in stories), max(story.news for story in stories)
        return news + FORGET_AFTER <= self._newest or (self._began_by is not None and began <= self._began_by)


def _same_story(one: bytes | None, other: bytes | None) -> bool:
    """Whether two cells hold one story, put down in two ways, as by another version of zlib."""
    return one is not None and other is not None and Story.of(one) == Story.of(other)


def _queue(cells: Iterable[Cell]) -> Iterator[Cell]:
    return ((key, value) for key, value in cells if key == QUEUE)


def _merged(ones: Iterable[Cell], others: Iterable[Cell]) -> Iterator[tuple[str, bytes | None, bytes | None]]:
    """Yield each key with its value in both; None: it has none there."""
    left, right = iter(ones), iter(others)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], one[1], None
            one = next(left, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = next(right, None)
        else:
            yield one[0], one[1], other[1]
            one, other = next(left, None), next(right, None)


def _difference(one: bytes | None, other: bytes | None) -> str:
    if one is None:
        return "is in the fresh fold only"
    return "is in the running one only" if other is None else "differs"
