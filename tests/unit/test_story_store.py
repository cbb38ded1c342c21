"""The stories of a partition: what is kept of them, for how long, and what goes first."""

from datetime import UTC, datetime

import pytest

from contracts.events import CorrectionReceipt, DrawingSought, Event, ExampleLabelled, Outcome
from contracts.ports import Cells, Record
from streams import joiner, story_store
from streams.fold import advance, begin
from streams.joiner import Joiner
from streams.ledger import Ledger
from streams.story import UNKNOWN, Story
from streams.story_store import FORGET_AFTER, StoryStore
from tests.histories import MemoryCells, answer, correction, drawing, folded, named, seconds
from tests.unit.test_joiner import examples

WEEK = FORGET_AFTER.total_seconds()


def test_a_drawing_without_news_for_a_week_is_forgotten():
    cells = MemoryCells()
    folded(Joiner(), [drawing("old"), drawing("older, corrected", at=1), correction("older, corrected", at=WEEK - 5)], cells)

    folded(Joiner(), [drawing("new", at=WEEK + 2)], cells)

    assert f"story/{named('old')}" not in cells
    assert f"story/{named('older, corrected')}" in cells


def test_what_is_kept_is_bounded_by_a_week_of_drawings():
    cells, fold = MemoryCells(), Joiner()
    hour = 3600.0

    folded(fold, [drawing(f"d{n}", at=n * hour) for n in range(1000)], cells)

    a_week = int(WEEK / hour) + 1
    assert 2 * a_week + 1 >= len(cells)  # a story and its place in the queue each


def stories(cells: MemoryCells) -> list[Story]:
    return [Story.of(cell) for key, cell in cells.items() if key.startswith("story/")]


def few_bytes(monkeypatch: pytest.MonkeyPatch, most: int = 40_000) -> Joiner:
    monkeypatch.setattr(joiner, "LEAST_BYTES", most)
    return Joiner(log_bytes=1)


def played(n: int) -> list[Event]:
    """A drawing, two guesses, and a correction on every third."""
    given = [correction(f"d{n}", correction=f"c{n}", at=n + 0.5)] if n % 3 == 0 else []
    return [drawing(f"d{n}", at=n), answer(f"d{n}", at=n + 0.1), answer(f"d{n}", model="xgboost", at=n + 0.2), *given]


@pytest.mark.parametrize("step", [1, 7, None])
def test_what_is_kept_is_bounded_by_bytes_and_the_oldest_goes_first(monkeypatch, step):
    cells = MemoryCells()

    folded(few_bytes(monkeypatch), [event for n in range(300) for event in played(n)], cells, step=step)

    kept = [story.drawing.drawing_id for story in stories(cells) if story.drawing]
    events = [event for s in stories(cells) for event in (s.drawing, *s.parts, *s.corrections) if event]
    size = sum(len(event.model_dump_json()) for event in events)
    assert 30_000 < size <= 40_000
    assert sum(len(cell) for cell in cells.values()) < 40_000
    assert set(kept) == {named(f"d{n}") for n in range(300 - len(kept), 300)}
    assert len(cells) == 2 * len(kept) + 1


def test_what_goes_for_want_of_room_is_the_same_however_events_were_gathered_or_workers_restarted(monkeypatch):
    monkeypatch.setattr(story_store, "STORIES_IN_MEMORY", 2)
    history = [event for n in range(120) for event in played(n)]
    history += [answer("d119", model="mxnet", at=200), correction("d3", correction="late", at=201), *played(122)]
    states = []
    for step in (1, 3, 50, None):
        states.append(MemoryCells())
        folded(few_bytes(monkeypatch), history, states[-1], step=step)
    restarted = MemoryCells()
    for event in history:
        folded(few_bytes(monkeypatch), [event], restarted)

    assert states.count(restarted) == len(states)


def test_a_correction_on_a_drawing_that_went_for_want_of_room_is_refused(monkeypatch):
    cells, fold = MemoryCells(), few_bytes(monkeypatch)
    said = folded(
        fold, [*(event for n in range(100) for event in played(n)), correction("d1", correction="late", at=101)], cells
    )
    [sought] = [one for one in said if isinstance(one, DrawingSought)]

    [receipt] = folded(fold, [sought], cells)

    assert isinstance(receipt, CorrectionReceipt)
    assert (receipt.outcome, receipt.why) == (Outcome.REFUSED, UNKNOWN)
    assert sum(story.size for story in stories(cells)) <= 40_000


def test_to_make_room_one_event_forgets_no_more_stories_than_it_needs(monkeypatch):
    cells, fold = MemoryCells(), few_bytes(monkeypatch)
    folded(fold, [event for n in range(14) for event in played(n)], cells)
    before = len(stories(cells))
    looked_at: list[None] = []
    pop = StoryStore._pop

    def counted(self: StoryStore, cells: Cells) -> object:
        looked_at.append(None)
        return pop(self, cells)

    monkeypatch.setattr(StoryStore, "_pop", counted)
    folded(fold, played(20), cells)

    assert len(stories(cells)) >= before - 1
    assert len(looked_at) <= 2


def test_a_story_that_goes_for_want_of_room_in_the_step_that_made_its_example_is_told(monkeypatch):
    fold = few_bytes(monkeypatch, 6000)
    large = drawing("d2", strokes=[[[10.0, 90.0]] * 400], at=5)
    history = [drawing("d1"), correction("d1"), answer("d1", model="xgboost"), large]

    told = [said for said in folded(fold, history, step=None) if isinstance(said, ExampleLabelled)]

    assert [(one.drawing_id, len(one.guesses)) for one in told] == [(named("d1"), 0), (named("d1"), 1)]


def test_a_drawing_of_another_century_keeps_no_other_from_being_forgotten(tmp_path):
    ledger, fold = Ledger(tmp_path / "0.sqlite"), Joiner()
    begin(ledger, fold, 0)
    hostile = drawing("hostile").model_copy(update={"at": datetime(2199, 1, 1, tzinfo=UTC)})

    for offset, (event, at) in enumerate([(hostile, 0), (drawing("old", at=1), 1), (drawing("new", at=WEEK + 9), WEEK + 9)]):
        at_ms = int(seconds(at).timestamp() * 1000)
        advance(ledger, fold, 0, [Record("drawings.v1", 0, offset, b"ada", event.record_value(), at_ms)])

    kept = {name for name in ("hostile", "old", "new") if ledger.get(f"story/{named(name)}") is not None}
    ledger.close()
    assert kept == {"new"}


def test_stories_that_have_their_correction_leave_memory_before_those_that_wait_for_it(monkeypatch):
    monkeypatch.setattr(story_store, "STORIES_IN_MEMORY", 8)

    class Looked(MemoryCells):
        found = 0

        def get(self, key: str) -> bytes | None:
            kept = super().get(key)
            self.found += key.startswith("story/") and kept is not None
            return kept

    cells = Looked()
    drawn = [[drawing(f"d{n}", at=n), answer(f"d{n}")] for n in range(40)]
    corrected = [[] for _ in range(6)] + [[correction(f"d{n}", correction=f"c{n}", at=n + 6)] for n in range(34)]
    folded(Joiner(), [event for pair in zip(drawn, corrected, strict=True) for part in pair for event in part], cells, step=3)

    assert cells.found == 0


def test_an_example_that_is_forgotten_in_the_step_that_made_it_is_still_told():
    history = [drawing("old"), correction("old", at=1), drawing("new", at=WEEK + 2)]

    assert [example.drawing_id for example in examples(history, step=None)] == [named("old")]


def test_however_the_events_were_gathered_into_steps_the_state_is_the_same(monkeypatch):
    monkeypatch.setattr(story_store, "STORIES_IN_MEMORY", 2)
    history = [
        event for n in range(6) for event in (drawing(f"d{n}", at=n), answer(f"d{n}"), correction(f"d{n}", correction=f"c{n}"))
    ]
    history += [answer(f"d{n}", model="xgboost") for n in range(6)] + [
        drawing("late", at=WEEK + 4),
        answer("late", at=WEEK + 9),
    ]
    states = []
    for step in (1, 3, 4, None):
        states.append(MemoryCells())
        folded(Joiner(), history, states[-1], step=step)

    assert states.count(states[0]) == len(states)
