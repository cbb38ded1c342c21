"""Joins a drawing, the guesses on it and the player's word to an example (way 2, LEARN). Pure: events in, events out.

The three come on three topics, so in any order: whatever is there waits for the rest. What is kept of a drawing is its story,
the events themselves; an example is only a view of it, so every order of arrival ends in the same example. Twice is harmless:
a drawing_id, a guess of a model or of its shadow, or a correction_id that the story holds adds nothing to it; and whoever sends
a drawing again does not know what came of it, so the guesses on it are shown again.

What was answered comes in parts, the features with the first that has them. Of a part only that is kept which is new.

A story is kept on disk for a week, or until there is no room: a partition's stories have their bytes, and the oldest go first.
So the joiner is the one who knows whose drawing a word is on: the API takes any. A word whose drawing is not there waits, since
its topic may have been read first. DrawingSought tells when it is not to come any more: written behind all drawings of before
the word, it comes back when these have been read. Then the word is refused.

A drawing has three events or four, most of them within a second: the stories that had news lately are kept in memory, and
each is written once a step. What can be learned is said at once, so that no lesson depends on how the events were gathered into
steps; of the revisions that only add a guess the last of a step is published.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from cachetools import LRUCache
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from contracts.events import (
    MAX_GUESSES,
    MAX_WORDS,
    ONLINE_MODELS,
    PLAYER_PARTITIONS,
    AnswerGuess,
    CorrectionGiven,
    CorrectionProbed,
    CorrectionReceipt,
    CorrectionWithdrawn,
    DrawingAnswered,
    DrawingSought,
    DrawingSubmitted,
    Event,
    ExampleLabelled,
    ExampleProbed,
    Features,
    GivenLabel,
    GuessMade,
    Outcome,
    PreviewGuessed,
    ReceiptProbed,
    ShownGuess,
)
from contracts.ports import Cells

FORGET_AFTER: Final = timedelta(days=7)
"""Without news of a drawing, by the time of the events: as long as the topics keep them."""
SHARE: Final = 0.2
"""Of the bytes that the log may take, which all stories together may take beside it."""
LEAST_BYTES: Final = 8 << 20
"""Of a partition, however small the log: some dozens of the largest stories."""
STORIES_IN_MEMORY: Final = 256
"""Of a partition, 30 KB each: as many drawings as come in some seconds."""
UNKNOWN: Final = "no finished drawing of yours has this id, or it is over a week old, or too many have come since"
TOO_MANY: Final = f"you have said {MAX_WORDS} times already what this drawing is"
_QUEUE: Final = "queue"

Word = Annotated[CorrectionGiven | CorrectionWithdrawn, Field(discriminator="type")]


class AnotherPlayersDrawing(ValueError):
    """The event's player is not the one who made the drawing."""


class TooManyGuesses(ValueError):
    """More models have guessed one drawing than there are."""


class Story(BaseModel):
    """What is known of one drawing: each event once, in the order of its own topic."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    news: AwareDatetime
    """When the newest of the events was written."""
    drawing: DrawingSubmitted | None = None
    parts: list[DrawingAnswered] = []
    """Of each only what no earlier one of its player has: guesses, and the features."""
    words: list[Word] = []
    size: int = 0
    """Bytes of its events as they would be on their topics, each with what is kept of it."""

    @classmethod
    def of(cls, cell: bytes) -> "Story":
        """The story that was kept."""
        return cls.model_validate_json(zlib.decompress(cell))

    def cell(self) -> bytes:
        """The story as it is kept: of what it was, less than half."""
        return zlib.compress(self.model_dump_json().encode(), 1)

    def add(self, event: DrawingSubmitted | DrawingAnswered | Word) -> bool:
        """Take an event into the story; whether that changed it.

        Raises:
            AnotherPlayersDrawing: If it is by another player than the drawing.
            TooManyGuesses: If the story would have more than it may.
        """
        if self.drawing is not None and event.player_id != self.drawing.player_id:
            raise AnotherPlayersDrawing(f"drawing {event.drawing_id} is not by player {event.player_id}")
        match event:
            case DrawingSubmitted():
                if self.drawing is not None:
                    return False
                others = [part for part in self.parts if part.player_id != event.player_id]
                self.parts = [part for part in self.parts if part.player_id == event.player_id]
                self.size -= sum(map(_size, others))
                self.drawing = event
                self.size += _size(event)
            case DrawingAnswered():
                part = self._new_of(event)
                if part is None:
                    return False
                if sum(len(one.guesses) for one in (*self.parts, part)) > MAX_GUESSES:
                    raise TooManyGuesses(f"drawing {event.drawing_id} would have more than {MAX_GUESSES} guesses")
                self.parts.append(part)
                self.size += _size(part)
            case _:
                if not self.is_news(event):
                    return False
                self.words.append(event)
                self.size += _size(event)
        self.news = max(self.news, event.at)
        return True

    @property
    def guesses(self) -> list[AnswerGuess]:
        """All guesses, in the order in which they came."""
        return [guess for part in self.parts for guess in part.guesses]

    @property
    def features(self) -> Features | None:
        """The drawing as it was read; None while no online model has answered."""
        if not any(guess.model in ONLINE_MODELS for guess in self.guesses):
            return None
        return next((part.features for part in self.parts if part.features is not None), None)

    def made(self) -> list[GuessMade]:
        """The guesses as they were shown."""
        return [guess for part in self.parts for guess in part.made()]

    @property
    def began(self) -> datetime:
        """When the oldest of the events was written."""
        events = (*self.parts, *self.words, *((self.drawing,) if self.drawing else ()))
        return min((event.at for event in events), default=self.news)

    def is_news(self, word: Word) -> bool:
        """Whether a word changes anything after its player's earlier ones."""
        return _is_news(self._words_of(word.player_id), word)

    def refusal(self, word: Word) -> str | None:
        """Why a word cannot be part of the story; None: it can, or its drawing is not there yet."""
        if self.drawing is not None and word.player_id != self.drawing.player_id:
            return UNKNOWN
        return TOO_MANY if len(self.words) >= MAX_WORDS and self.is_news(word) else None

    def expel(self, mine: Callable[[Word], bool]) -> list[Word]:
        """Take the words that are not ``mine`` out of the story; gives them."""
        out = [word for word in self.words if not mine(word)]
        self.words = [word for word in self.words if mine(word)]
        self.size -= sum(map(_size, out))
        return out

    def standing(self, player_id: str) -> CorrectionGiven | None:
        """The player's word that stands; None: they have said nothing, or taken it back."""
        words = self._words_of(player_id)
        return words[-1] if words and isinstance(words[-1], CorrectionGiven) else None

    def example(self) -> ExampleLabelled | None:
        """The story as an example; None while the drawing or the player's word is missing.

        The revision is the number of events it stands on: it grows with each, and is the same in whatever order they came.
        """
        if self.drawing is None or not self.words:
            return None
        drawing, word, guesses = self.drawing, self.words[-1], self.guesses
        return ExampleLabelled(
            drawing_id=drawing.drawing_id,
            player_id=drawing.player_id,
            revision=1 + len(guesses) + len(self.words),
            correction_id=word.correction_id,
            label=word.label if isinstance(word, CorrectionGiven) else None,
            labels=[
                GivenLabel(correction_id=given.correction_id, label=given.label)
                for given in self.words
                if isinstance(given, CorrectionGiven)
            ],
            asked=drawing.asked,
            drawn_at=drawing.at,
            strokes=drawing.strokes,
            width=drawing.width,
            height=drawing.height,
            features=self.features,
            guesses=[_shown(guess) for guess in guesses],
        )

    def _new_of(self, event: DrawingAnswered) -> DrawingAnswered | None:
        """What a part says that its player's earlier ones do not; None: nothing.

        Features that come late count only together with a guess, so that no example changes without a higher revision.
        """
        before = [part for part in self.parts if part.player_id == event.player_id]
        known = [guess for part in before for guess in part.guesses]
        guesses: list[AnswerGuess] = []
        for guess in event.guesses:
            if not any(_same_guess(earlier, guess) for earlier in (*known, *guesses)):
                guesses.append(guess)
        read = any(part.features is not None for part in before)
        features = None if read or (known and not guesses) else event.features
        if not guesses and features is None:
            return None
        return event.model_copy(update={"guesses": guesses, "features": features, "missed": {}})

    def _words_of(self, player_id: str) -> list[Word]:
        return [word for word in self.words if word.player_id == player_id]


def _size(event: DrawingSubmitted | DrawingAnswered | Word) -> int:
    return len(event.model_dump_json())


def _is_news(words: list[Word], word: Word) -> bool:
    """Whether a player's word changes anything after their earlier ones."""
    if isinstance(word, CorrectionGiven):
        return all(earlier.correction_id != word.correction_id for earlier in words)
    same = [earlier for earlier in words if earlier.correction_id == word.correction_id]
    return not same or (same[-1] is words[-1] and isinstance(same[-1], CorrectionGiven))


def _same_guess(one: AnswerGuess, other: AnswerGuess) -> bool:
    """Of one drawing and player: whether they have one `guess_id`, told without making it."""
    return (one.model, one.shadow) == (other.model, other.shadow)


def _shown(guess: AnswerGuess) -> ShownGuess:
    return ShownGuess(
        model=guess.model,
        version=guess.version,
        label=guess.label,
        probabilities=guess.probabilities,
        latency_ms=sum(guess.hops.values()),
        shadow=guess.shadow,
    )


class _Queue(BaseModel):
    """The stories in the order in which they may be forgotten: entries ``first`` to ``end`` - 1."""

    first: int = 0
    end: int = 0
    due: AwareDatetime | None = None
    """When the first entry is to be looked at; None: there is none."""
    size: int = 0
    """Of all stories together."""
    cut: AwareDatetime | None = None
    """The latest news of a story that went before its time, for want of room; None: none did."""


class _Entry(BaseModel):
    drawing_id: UUID
    due: AwareDatetime


class _Memory:
    """What is in memory of a partition: copies of cells, and what the step under way has changed of them."""

    def __init__(self, queue: bytes | None) -> None:
        self.queue = _Queue() if queue is None else _Queue.model_validate_json(queue)
        self.kept_queue = self.queue.model_dump_json().encode()
        self.stories: LRUCache[UUID, Story] = LRUCache(STORIES_IN_MEMORY)
        """Those asked for lately."""
        self.changed: dict[UUID, Story] = {}
        """By this step."""
        self.owed: dict[UUID, Story] = {}
        """Of those, the ones whose example is still to be published, in the order of their latest news."""
        self.sought: dict[tuple[UUID, str], None] = {}
        """Drawings that this step had a word on and did not know, and whose word that was, in the order of the words."""

    def story(self, cells: Cells, drawing_id: UUID) -> Story | None:
        """What is known of a drawing; None: nothing."""
        story = self.changed.get(drawing_id) or self.stories.get(drawing_id)
        if story is None and (kept := cells.get(_story_key(drawing_id))) is not None:
            story = Story.of(kept)
        return story

    def told(self, drawing_id: UUID, story: Story, at_once: bool) -> None:
        """A story has had news; ``at_once``: its example is published now, and not when the step is over."""
        self.stories[drawing_id] = story
        self.changed[drawing_id] = story
        self.owed.pop(drawing_id, None)
        if not at_once:
            self.owed[drawing_id] = story

    def forget(self, cells: Cells, drawing_id: UUID, story: Story) -> bool:
        """Let go of a story for good; whether this step owes an example of it."""
        self.queue.size -= story.size
        cells.drop(_story_key(drawing_id))
        self.stories.pop(drawing_id, None)
        self.changed.pop(drawing_id, None)
        return self.owed.pop(drawing_id, None) is not None

    def settled(self) -> tuple[dict[UUID, Story], list[Story]]:
        """The stories to be written, and those whose example is owed."""
        changed, self.changed = self.changed, {}
        owed, self.owed = self.owed, {}
        return changed, list(owed.values())


class Joiner:
    """The fold from drawings, answers and corrections to examples; and the receipt of a word that no longer stands."""

    name = "joiner"
    schema = "joiner 3"
    sources = ("drawings.v1", "answers.v1", "corrections.v1")

    def __init__(self, log_bytes: int | None = None) -> None:
        """Nothing is here.

        Args:
            log_bytes: That the topics may take which players fill; the stories may take `SHARE` of it. None: there is room.
        """
        each = None if log_bytes is None else int(log_bytes * SHARE) // PLAYER_PARTITIONS
        self._most = None if each is None else max(each, LEAST_BYTES)
        """Bytes of a partition's stories."""
        self._partitions: dict[int, _Memory] = {}

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Nothing to say; stories are read when they are asked for."""
        self._partitions[partition] = _Memory(cells.get(_QUEUE))
        return ()

    def decide(self, cells: Cells, event: Event, partition: int, offset: int) -> Iterable[Event]:
        """Take an event into its drawing's story; gives receipts of words that no longer stand, and what can be learned now.

        Previews and probes are no part of any story, and neither is a guess that was missed.

        Raises:
            AnotherPlayersDrawing: If a drawing or its answers cannot be part of its drawing's story.
        """
        match event:
            case DrawingSubmitted() if event.final and not event.probe:
                return self._tell(cells, event, partition)
            case DrawingAnswered():
                return self._tell(cells, event, partition)
            case CorrectionGiven() | CorrectionWithdrawn():
                return self._tell(cells, event, partition)
            case DrawingSought():
                return self._not_found(cells, event, partition)
            case CorrectionProbed(only="joiner"):
                return (ReceiptProbed(probe_id=event.probe_id, player_id=event.player_id, stage="joiner"),)
            case CorrectionProbed():
                return (ExampleProbed(probe_id=event.probe_id, player_id=event.player_id),)
            case _:
                return ()

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """The examples to which this step added a guess, the last revision of each; and what it looks for."""
        memory = self._partitions[partition]
        sought, memory.sought = memory.sought, {}
        missing = [
            DrawingSought(drawing_id=drawing_id, player_id=player_id)
            for drawing_id, player_id in sought
            if (story := memory.story(cells, drawing_id)) is not None and story.drawing is None
        ]
        changed, owed = memory.settled()
        for drawing_id, story in changed.items():
            cells.put(_story_key(drawing_id), story.cell())
        queue = memory.queue.model_dump_json().encode()
        if queue != memory.kept_queue:
            cells.put(_QUEUE, queue)
            memory.kept_queue = queue
        return [*(example for story in owed if (example := story.example()) is not None), *missing]

    def close(self, partition: int) -> None:
        """Forget the partition."""
        self._partitions.pop(partition, None)

    def _tell(self, cells: Cells, event: DrawingSubmitted | DrawingAnswered | Word, partition: int) -> Iterable[Event]:
        memory = self._partitions[partition]
        known = memory.story(cells, event.drawing_id)
        story = Story(news=event.at) if known is None else known
        if isinstance(event, CorrectionGiven | CorrectionWithdrawn) and (why := story.refusal(event)) is not None:
            return (_refused(event, why),)
        before, size = story.standing(event.player_id), story.size
        guesses, read = len(story.guesses), story.features is not None
        if not story.add(event):
            return [_again(guess) for guess in story.made()] if isinstance(event, DrawingSubmitted) else ()
        only_a_guess = isinstance(event, DrawingAnswered) and read is (story.features is not None)
        only_read = isinstance(event, DrawingAnswered) and len(story.guesses) == guesses
        memory.told(event.drawing_id, story, at_once=not only_a_guess or only_read)
        if known is None:
            _enqueue(cells, memory.queue, _Entry(drawing_id=event.drawing_id, due=event.at + FORGET_AFTER))
        said: list[Event] = []
        if isinstance(event, CorrectionGiven | CorrectionWithdrawn):
            said += _superseded(before, event)
            if story.drawing is None:
                memory.sought[event.drawing_id, event.player_id] = None
        elif isinstance(event, DrawingSubmitted):
            # What others said of it while it was not there was never theirs to say.
            said += [_refused(word, UNKNOWN) for word in story.expel(lambda word: word.player_id == event.player_id)]
        memory.queue.size += story.size - size
        if not only_a_guess and (example := story.example()) is not None:
            said.append(example)
        said += _forget_old(cells, memory, event.at)
        if self._most is not None:
            said += _make_room(cells, memory, self._most)
        return said

    def _not_found(self, cells: Cells, sought: DrawingSought, partition: int) -> Iterable[Event]:
        """All drawings of before the player's words have been read: without this one, the words are on nothing."""
        memory = self._partitions[partition]
        story = memory.story(cells, sought.drawing_id)
        if story is None or story.drawing is not None:
            return ()
        size = story.size
        refused = [_refused(word, UNKNOWN) for word in story.expel(lambda word: word.player_id != sought.player_id)]
        memory.queue.size += story.size - size
        if story.words or story.parts:
            memory.told(sought.drawing_id, story, at_once=True)
        else:
            memory.forget(cells, sought.drawing_id, story)
        return refused


def _again(guess: GuessMade) -> PreviewGuessed:
    """A guess of before, only to be shown: there is nothing to learn from it a second time."""
    said = {name: value for name, value in guess if name not in ("type", "features")}
    return PreviewGuessed(**said)


def _refused(word: Word, why: str) -> CorrectionReceipt:
    """The receipt of a word of which nothing comes."""
    return CorrectionReceipt(
        correction_id=word.correction_id,
        drawing_id=word.drawing_id,
        player_id=word.player_id,
        outcome=Outcome.REFUSED,
        models={},
        stage="joiner",
        why=why,
    )


def _superseded(before: CorrectionGiven | None, word: Word) -> Iterator[CorrectionReceipt]:
    """A receipt for the word that stood until now, and for the one that a withdrawal names."""
    gone = [before.correction_id] if before is not None else []
    if isinstance(word, CorrectionWithdrawn) and word.correction_id not in gone:
        gone.append(word.correction_id)
    for correction_id in gone:
        yield CorrectionReceipt(
            correction_id=correction_id,
            drawing_id=word.drawing_id,
            player_id=word.player_id,
            outcome=Outcome.SUPERSEDED,
            models={},
            stage="joiner",
        )


def _story_key(drawing_id: UUID) -> str:
    return f"story/{drawing_id}"


def _forget_old(cells: Cells, memory: _Memory, now: datetime) -> Iterator[ExampleLabelled]:
    """Forget up to two stories without news for `FORGET_AFTER`: so their number stays bounded. Gives examples still to be told.

    Each story is in the queue once. One that has had news by the time it is looked at goes to the end again.
    """
    for _ in range(2):
        if memory.queue.due is None or memory.queue.due > now:
            break
        drawing_id = _dequeue(cells, memory.queue).drawing_id
        story = memory.story(cells, drawing_id)
        if story is None:
            continue
        due = story.news + FORGET_AFTER
        if due > now:
            _enqueue(cells, memory.queue, _Entry(drawing_id=drawing_id, due=due))
            continue
        if memory.forget(cells, drawing_id, story) and (example := story.example()) is not None:
            yield example


def _make_room(cells: Cells, memory: _Memory, most: int) -> Iterator[ExampleLabelled]:
    """Forget stories before their time until they are at most so many bytes, in the order of the queue.

    Whether one has had news since is not asked: nearly all have, and to put them all to the end again would take as long as
    there are stories.
    """
    queue = memory.queue
    while queue.size > most and queue.first < queue.end:
        drawing_id = _dequeue(cells, queue).drawing_id
        story = memory.story(cells, drawing_id)
        if story is None:
            continue
        queue.cut = max(queue.cut or story.news, story.news)
        if memory.forget(cells, drawing_id, story) and (example := story.example()) is not None:
            yield example


def cut_of(cells: Mapping[str, bytes]) -> datetime | None:
    """Up to when stories went before their time, by a partition's cells; None: none did."""
    kept = cells.get(_QUEUE)
    return None if kept is None else _Queue.model_validate_json(kept).cut


def _enqueue(cells: Cells, queue: _Queue, entry: _Entry) -> None:
    cells.put(f"{_QUEUE}/{queue.end}", entry.model_dump_json().encode())
    queue.end += 1
    queue.due = queue.due or entry.due


def _dequeue(cells: Cells, queue: _Queue) -> _Entry:
    entry = _entry(cells, queue.first)
    cells.drop(f"{_QUEUE}/{queue.first}")
    queue.first += 1
    queue.due = _entry(cells, queue.first).due if queue.first < queue.end else None
    return entry


def _entry(cells: Cells, place: int) -> _Entry:
    kept = cells.get(f"{_QUEUE}/{place}")
    if kept is None:
        raise LookupError(f"the joiner's queue has no entry {place}: its cells are damaged")
    return _Entry.model_validate_json(kept)
