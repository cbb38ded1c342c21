"""Stores the stories of one partition, and forgets the oldest (way 2, LEARN). Pure.

A story is kept for a week, or until there is no room: the stories of a partition may take so many bytes, and the oldest go
first.

A drawing has three or four events, most of them within a second. So the stories with recent news are kept in memory, and each
is written once a step.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID

from cachetools import FIFOCache
from pydantic import AwareDatetime, BaseModel

from contracts.events import DrawingPicked, ExampleLabelled
from contracts.ports import Cells
from streams.story import Story
from streams.story_cell import names

FORGET_AFTER: Final = timedelta(days=7)
"""How long after its last news a story is forgotten, by the time of the events: as long as the topics keep them."""
STORIES_IN_MEMORY: Final = 384
"""How many stories of a partition are in memory, 30 KB each: as many drawings as come in some seconds. The one that came first
is the first to go, whatever news it has had: the last that most have is their correction."""
_LOOKED_AT: Final = 2
"""How many stories an event checks for their age: twice as many as it can add, so that their number stays bounded."""
QUEUE: Final = "queue"
"""The key of the queue's cell."""
STORY: Final = "story/"
"""What the keys of the stories' cells begin with."""


class _Queue(BaseModel):
    """The stories in the order in which they may be forgotten: entries ``first`` to ``end`` - 1."""

    first: int = 0
    end: int = 0
    due: AwareDatetime | None = None
    """When to check the first entry; None: there is none."""
    size: int = 0
    """The bytes of all stories together."""
    cut: AwareDatetime | None = None
    """The latest news of a story that was forgotten early, for want of room; None: none was."""


class _Entry(BaseModel):
    drawing_id: UUID
    due: AwareDatetime


class StoryStore:
    """The stories of a partition; what a step has changed is written when the step is over."""

    def __init__(self, cells: Cells) -> None:
        """Take up the partition of these cells; stories are read when they are asked for."""
        kept = cells.get(QUEUE)
        self._queue = _Queue() if kept is None else _Queue.model_validate_json(kept)
        self._kept_queue = self._queue.model_dump_json().encode()
        self._recent: FIFOCache[str, Story] = FIFOCache(STORIES_IN_MEMORY)
        self._changed: dict[str, Story] = {}
        """The stories that this step has changed, by the key of their cell, as all here."""
        self._owed: dict[str, Story] = {}
        """The changed stories whose example is still to be published, in the order of their latest news."""

    def get(self, cells: Cells, drawing_id: UUID) -> Story | None:
        """Return the story of a drawing; None: there is none."""
        key = _story_key(drawing_id)
        story = self._changed.get(key) or self._recent.get(key)
        if story is None and (kept := cells.get(key)) is not None:
            story = Story.of(kept)
        return story

    def of_player(self, cells: Cells, player_id: str) -> dict[UUID, Story]:
        """Return all stories with anything of a player, by drawing. It looks at every story of the partition."""
        found: dict[UUID, Story] = {}
        for place in range(self._queue.first, self._queue.end):
            drawing_id = _entry(cells, place).drawing_id
            if (key := _story_key(drawing_id)) not in self._changed:
                kept = cells.get(key)
                if kept is None or not names(kept, player_id):
                    continue
            story = self.get(cells, drawing_id)
            if story is not None and story.is_of(player_id):
                found[drawing_id] = story
        return found

    def enqueue(self, cells: Cells, drawing_id: UUID, at: datetime) -> None:
        """Put a new story, which began at ``at``, into the queue of stories to forget."""
        self._push(cells, _Entry(drawing_id=drawing_id, due=at + FORGET_AFTER))

    def put(self, drawing_id: UUID, story: Story, grown: int, owes_example: bool) -> None:
        """Keep a story that has changed.

        Args:
            drawing_id: The drawing of the story.
            story: The story as it is now.
            grown: By how many bytes it has grown.
            owes_example: Whether its example is to be published when the step is over.
        """
        key = _story_key(drawing_id)
        self._queue.size += grown
        if self._recent.get(key) is not story:
            self._recent[key] = story
        self._changed[key] = story
        self._owed.pop(key, None)
        if owes_example:
            self._owed[key] = story

    def forget(self, cells: Cells, drawing_id: UUID, size: int) -> bool:
        """Drop a story of so many bytes for good; return whether this step owes its example."""
        key = _story_key(drawing_id)
        self._queue.size -= size
        cells.drop(key)
        self._recent.pop(key, None)
        self._changed.pop(key, None)
        return self._owed.pop(key, None) is not None

    def settle(self, cells: Cells) -> list[Story]:
        """Write the stories that the step has changed; return those whose example is owed."""
        for key, story in self._changed.items():
            cells.put(key, story.cell())
        queue = self._queue.model_dump_json().encode()
        if queue != self._kept_queue:
            cells.put(QUEUE, queue)
            self._kept_queue = queue
        self._changed = {}
        owed, self._owed = self._owed, {}
        return list(owed.values())

    def forget_old(self, cells: Cells, now: datetime) -> Iterator[ExampleLabelled | DrawingPicked]:
        """Forget up to two stories without news for `FORGET_AFTER`; return their examples that were still owed.

        Each story is in the queue once. One that has had news by the time of its check goes to the end again.
        """
        for _ in range(_LOOKED_AT):
            if self._queue.due is None or self._queue.due > now:
                break
            drawing_id = self._pop(cells).drawing_id
            story = self.get(cells, drawing_id)
            if story is None:
                continue
            due = story.news + FORGET_AFTER
            if due > now:
                self._push(cells, _Entry(drawing_id=drawing_id, due=due))
                continue
            if self.forget(cells, drawing_id, story.size) and (told := story.told(cells.at)) is not None:
                yield told

    def make_room(self, cells: Cells, most: int) -> Iterator[ExampleLabelled | DrawingPicked]:
        """Forget stories early, in the order of the queue, until all have at most ``most`` bytes.

        It does not check for later news: nearly all stories have some, and to put them all to the end again would take time in
        proportion to their number. Returns their examples that were still owed.
        """
        queue = self._queue
        while queue.size > most and queue.first < queue.end:
            drawing_id = self._pop(cells).drawing_id
            story = self.get(cells, drawing_id)
            if story is None:
                continue
            queue.cut = max(queue.cut or story.news, story.news)
            if self.forget(cells, drawing_id, story.size) and (told := story.told(cells.at)) is not None:
                yield told

    def _push(self, cells: Cells, entry: _Entry) -> None:
        cells.put(f"{QUEUE}/{self._queue.end}", entry.model_dump_json().encode())
        self._queue.end += 1
        self._queue.due = self._queue.due or entry.due

    def _pop(self, cells: Cells) -> _Entry:
        queue = self._queue
        entry = _entry(cells, queue.first)
        cells.drop(f"{QUEUE}/{queue.first}")
        queue.first += 1
        queue.due = _entry(cells, queue.first).due if queue.first < queue.end else None
        return entry


def cut_of(cells: Mapping[str, bytes]) -> datetime | None:
    """Return up to when stories were forgotten early, by a partition's cells; None: none were."""
    kept = cells.get(QUEUE)
    return None if kept is None else _Queue.model_validate_json(kept).cut


@lru_cache(maxsize=4096)
def _story_key(drawing_id: UUID) -> str:
    return f"{STORY}{drawing_id}"


def _entry(cells: Cells, place: int) -> _Entry:
    kept = cells.get(f"{QUEUE}/{place}")
    if kept is None:
        raise LookupError(f"the joiner's queue has no entry {place}: its cells are damaged")
    return _Entry.model_validate_json(kept)
