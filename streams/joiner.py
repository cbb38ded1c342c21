"""Joins drawings, answers and corrections to examples, as a fold (way 2, LEARN). Pure: events in, events out.

The three come on three topics, so in any order: the first wait for the rest in the drawing's story (`streams.story`).
Twice is harmless, since a story holds each event once. A player who sends a drawing again has not seen the guesses on it, so
they are shown again.

The joiner checks whose drawing a correction is about; the API accepts any. A correction whose drawing is not known waits, since
the corrections' topic may have been read first. A DrawingSought tells when the drawing cannot come any more: it is written
behind all drawings that were on their topic before the correction, so when it comes back these have been read. Then the
correction is refused.

An example that can be learned is published at once, so that no lesson depends on how the events were gathered into steps.
Of the revisions that only add a guess, the last one of a step is published. A drawing that chance picked, to estimate accuracy
by it, is published in the same way once it is answered, as a DrawingPicked; once it has a label, as an example.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.events import (
    PLAYER_PARTITIONS,
    CorrectionGiven,
    CorrectionProbed,
    CorrectionReceipt,
    CorrectionWithdrawn,
    DrawingAnswered,
    DrawingSought,
    DrawingSubmitted,
    Event,
    ExampleProbed,
    ExamplesForgotten,
    GuessMade,
    MemoryReset,
    Outcome,
    PlayerForgotten,
    PreviewGuessed,
    ReceiptProbed,
    ResetAsked,
    StageForgot,
)
from contracts.ports import Cells, Origin
from streams.story import UNKNOWN, Story
from streams.story_cell import CorrectionEvent
from streams.story_store import StoryStore

SHARE: Final = 0.2
"""How many bytes all stories together may take, as a share of the bytes that the log may take."""
LEAST_BYTES: Final = 8 << 20
"""How many bytes a partition's stories may always take, however small the log: some dozens of the largest stories."""
TAKEN_BACK: Final = "you have taken it back"
"""Why a correction counts no more that no other has replaced."""

_Sought = dict[tuple[UUID, str], None]
"""The unknown drawings that a step had corrections of, with the players who gave them, in order."""


class Joiner:
    """The fold to examples; it also publishes the receipt of a correction that is refused, or no longer in force."""

    name = "joiner"
    schema = "joiner 4"
    sources = ("drawings.v1", "answers.v1", "corrections.v1")

    def __init__(self, log_bytes: int | None = None) -> None:
        """Build a joiner that has no partition yet.

        Args:
            log_bytes: How much the topics that players fill may take; stories may take `SHARE` of it. None: there is no bound.
        """
        each = None if log_bytes is None else int(log_bytes * SHARE) // PLAYER_PARTITIONS
        self._most = None if each is None else max(each, LEAST_BYTES)
        """Bytes of a partition's stories."""
        self._stores: dict[int, StoryStore] = {}
        self._sought: dict[int, _Sought] = {}

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Take up a partition; nothing is published again."""
        self._stores[partition] = StoryStore(cells)
        self._sought[partition] = {}
        return ()

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Add an event to its drawing's story; return receipts of corrections, and examples that can now be learned.

        Previews, probes and misses are not part of any story; a reset and a probe are passed on.

        Raises:
            AnotherPlayersDrawing: If a drawing or its answers cannot be part of its drawing's story.
            TooManyGuesses: If the story would have too many guesses.
        """
        match event:
            case DrawingSubmitted() if event.final and not event.probe:
                return self._add(cells, event, origin)
            case DrawingAnswered():
                return self._add(cells, event, origin)
            case CorrectionGiven() | CorrectionWithdrawn():
                return self._add(cells, event, origin)
            case DrawingSought():
                return self._not_found(cells, event, origin.partition)
            case ResetAsked():
                return (MemoryReset(reset_id=event.reset_id, player_id=event.player_id, until=event.at, at=cells.at),)
            case CorrectionProbed(only="joiner"):
                return (ReceiptProbed(probe_id=event.probe_id, player_id=event.player_id, stage="joiner", at=cells.at),)
            case CorrectionProbed():
                return (ExampleProbed(probe_id=event.probe_id, player_id=event.player_id, at=cells.at),)
            case PlayerForgotten():
                return self._forget(cells, event, origin.partition)
            case _:
                return ()

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Write the stories; return the last revision of each example with a guess of this step, and the drawings to seek."""
        store = self._stores[partition]
        sought, self._sought[partition] = self._sought[partition], {}
        missing = [
            DrawingSought(drawing_id=drawing_id, player_id=player_id, at=cells.at)
            for drawing_id, player_id in sought
            if (story := store.get(cells, drawing_id)) is not None and story.drawing is None
        ]
        owed = store.settle(cells)
        return [*(told for story in owed if (told := story.told(cells.at)) is not None), *missing]

    def close(self, partition: int) -> None:
        """Forget the partition."""
        self._stores.pop(partition, None)
        self._sought.pop(partition, None)

    def _add(
        self, cells: Cells, event: DrawingSubmitted | DrawingAnswered | CorrectionEvent, origin: Origin
    ) -> Iterable[Event]:
        store = self._stores[origin.partition]
        known = store.get(cells, event.drawing_id)
        story = Story(news=event.at) if known is None else known
        if isinstance(event, CorrectionGiven | CorrectionWithdrawn) and (why := story.refusal(event)) is not None:
            return (_refused(event, why, cells.at),)
        before, size = story.in_force(event.player_id), story.size
        guesses, read = len(story.guesses), story.features is not None
        if not story.apply(event, origin.size, origin.value):
            shown = [guess for guess in story.made() if guess.role != "shadow"]
            return map(_shown_again, shown) if isinstance(event, DrawingSubmitted) else ()
        only_a_guess = isinstance(event, DrawingAnswered) and read is (story.features is not None)
        only_features = isinstance(event, DrawingAnswered) and len(story.guesses) == guesses
        said: list[Event] = []
        if isinstance(event, CorrectionGiven | CorrectionWithdrawn):
            said += _superseded(before, event, cells.at)
            if story.drawing is None:
                self._sought[origin.partition][event.drawing_id, event.player_id] = None
        elif isinstance(event, DrawingSubmitted):
            # Corrections of other players came before the drawing did; it is not theirs to correct.
            said += [_refused(other, UNKNOWN, cells.at) for other in story.expel(lambda one: one.player_id == event.player_id)]
        if known is None:
            store.enqueue(cells, event.drawing_id, event.at)
        example = None if only_a_guess else story.example(cells.at)
        owes = not only_features if only_a_guess else example is None
        store.put(event.drawing_id, story, story.size - size, owes_example=owes)
        if example is not None:
            said.append(example)
        said += store.forget_old(cells, event.at)
        if self._most is not None:
            said += store.make_room(cells, self._most)
        return said

    def _forget(self, cells: Cells, event: PlayerForgotten, partition: int) -> Iterable[Event]:
        """Drop the player's stories, and what is theirs in others'; pass the word on, and say that nothing is left.

        The word names the drawings that are still on the log. A story may stay longer, so all are looked at.
        """
        store = self._stores[partition]
        for drawing_id, story in store.of_player(cells, event.player_id).items():
            size = story.size
            story.forget(event.player_id)
            if story.size == 0:
                store.forget(cells, drawing_id, size)
            else:
                store.put(drawing_id, story, story.size - size, owes_example=False)
        sought = self._sought[partition]
        self._sought[partition] = {place: None for place in sought if place[1] != event.player_id}
        passed = event.model_dump(exclude={"type", "at"})
        return (
            ExamplesForgotten(**passed, at=cells.at),
            StageForgot(forget_id=event.forget_id, player_id=event.player_id, stage="joiner", at=cells.at),
        )

    def _not_found(self, cells: Cells, sought: DrawingSought, partition: int) -> Iterable[Event]:
        """Refuse the player's corrections if the drawing has not come: all drawings from before them have been read."""
        store = self._stores[partition]
        story = store.get(cells, sought.drawing_id)
        if story is None or story.drawing is not None:
            return ()
        size = story.size
        refused = [_refused(gone, UNKNOWN, cells.at) for gone in story.expel(lambda one: one.player_id != sought.player_id)]
        if story.corrections or story.parts:
            store.put(sought.drawing_id, story, story.size - size, owes_example=False)
        else:
            store.forget(cells, sought.drawing_id, size)
        return refused


def _shown_again(guess: GuessMade) -> PreviewGuessed:
    """Make an event that only shows an earlier guess again: nobody learns from it a second time."""
    said = {name: value for name, value in guess if name not in ("type", "features", "at")}
    return PreviewGuessed(**said, at=guess.at)


def _refused(correction: CorrectionEvent, why: str, at: datetime) -> CorrectionReceipt:
    """Make the receipt of a correction that teaches nothing."""
    return _receipt(correction, correction.correction_id, Outcome.REFUSED, at, why)


def _superseded(before: CorrectionGiven | None, correction: CorrectionEvent, at: datetime) -> Iterator[CorrectionReceipt]:
    """Make receipts for the correction that was in force until now, and for the one that a withdrawal names."""
    gone = [before.correction_id] if before is not None else []
    withdrawn = isinstance(correction, CorrectionWithdrawn)
    if withdrawn and correction.correction_id not in gone:
        gone.append(correction.correction_id)
    for correction_id in gone:
        yield _receipt(correction, correction_id, Outcome.SUPERSEDED, at, TAKEN_BACK if withdrawn else "")


def _receipt(cause: CorrectionEvent, correction_id: UUID, outcome: Outcome, at: datetime, why: str = "") -> CorrectionReceipt:
    """What is told of a correction because of ``cause``, which is another one on the same drawing, or the same."""
    return CorrectionReceipt(
        at=at,
        correction_id=correction_id,
        drawing_id=cause.drawing_id,
        player_id=cause.player_id,
        outcome=outcome,
        models={},
        stage="joiner",
        why=why,
    )
