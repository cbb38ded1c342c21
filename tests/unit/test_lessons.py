"""The follower of lessons: over the bus in memory, what it publishes, answers and rejects."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest

from contracts.events import (
    Event,
    LearningSet,
    LessonProbed,
    LessonTaught,
    MessageRejected,
    ReceiptProbed,
    SnapshotTaken,
    decode,
)
from contracts.ports import Bus, Record
from contracts.records import rejection
from producers.memory_bus import MemoryBus, MemoryLog
from producers.pace import Pace
from streams.delivery import UnsentRecord
from streams.lessons import STAGE, Lessons, without
from streams.online_base import load_base
from streams.online_model import OnlineModel, of_base
from tests.histories import BEGAN, READER, SERIES, lesson, named, snapshot, taken_back

BASE = replace(load_base(), reader=READER)
TOPICS = ("lessons.v1", "models.v1", "rejected.v1")
ADA = lesson("l1", 4, number=1, seed=1, player_id="ada")
OLD_WEIGHTS = np.full((10, BASE.basis.width), 0.25, "<f4").tobytes()


class Following:
    """A follower, the bus that it reads, and what it published."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.bus = MemoryBus(self.log, TOPICS)
        self.said: list[Event] = []
        self.publishes = True
        self.turns = 0
        """How often it was asked whether it publishes: once for all that came together."""
        self.begin()

    def begin(self) -> None:
        """Begin as a process does, with the base."""
        self.lessons = Lessons(BASE, SERIES, self._publish, self._publishes)

    def _publishes(self) -> bool:
        self.turns += 1
        return self.publishes

    async def _publish(self, records: Iterable[UnsentRecord]) -> None:
        await asyncio.sleep(0)
        several = [decode(record.topic, record.value) for record in records]
        self.tell(*(event for event in several if isinstance(event, SnapshotTaken)))
        self.said += several

    def tell(self, *events: Event) -> None:
        for event in events:
            self.bus.publish(event).result()

    def append(self, event: LessonTaught, partition: int) -> None:
        """Put a lesson into a partition, whatever its player."""
        log = self.log.logs.setdefault(("lessons.v1", partition), [])
        log.append(Record("lessons.v1", partition, len(log), event.record_key(), event.record_value(), 0))

    @property
    def snapshots(self) -> list[SnapshotTaken]:
        return [event for event in self.said if isinstance(event, SnapshotTaken)]

    @property
    def answered(self) -> list[Any]:
        return [event.probe_id for event in self.said if isinstance(event, ReceiptProbed)]

    @property
    def rejected(self) -> list[MessageRejected]:
        tail = self.bus.follow(["rejected.v1"], "start")
        told = [decode("rejected.v1", record.value) for record in tail.poll(0)]
        return [event for event in told if isinstance(event, MessageRejected)]

    @property
    def version(self) -> str:
        return self.lessons.in_force().version


@asynccontextmanager
async def following(it: Following) -> AsyncIterator[None]:
    """Follow while the body runs."""
    connect: Callable[[], Bus] = partial(MemoryBus, it.log, TOPICS)
    task = asyncio.ensure_future(it.lessons.follow(connect))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(met: Callable[[], bool]) -> None:
    """Wait for a condition, 20 s at most."""
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.005)


def of(changes: int) -> str:
    return f"{BASE.generation}+{changes}"


def probe(name: str) -> LessonProbed:
    return LessonProbed(probe_id=named(name), player_id=f"probe {name}", model="river")


def after(*taught: LessonTaught) -> OnlineModel:
    """The model after lessons of one partition."""
    model = OnlineModel(BASE, SERIES)
    for offset, one in enumerate(taught):
        model.apply(one, 0, offset)
    return model


async def test_lessons_gather_for_the_next_model_in_a_rush(monkeypatch: pytest.MonkeyPatch):
    it = Following()
    monkeypatch.setattr(it.lessons, "_pace", Pace(rush=0.001, rush_s=3.0, most_s=3.0))
    async with following(it):
        await until(lambda: len(it.snapshots) == 1)
        it.tell(ADA)
        await until(lambda: len(it.snapshots) == 2)
        for turn in range(3):
            it.tell(lesson(f"more {turn}", 4, number=2 + turn, seed=1, player_id="ada"))
            await asyncio.sleep(0.02)
        await until(lambda: it.version == of(4))
        await until(lambda: it.snapshots[-1].version == of(4))

    assert [one.version for one in it.snapshots] == [of(0), of(1), of(4)]


async def test_the_base_is_published_at_first_and_then_the_model_after_each_lot_of_lessons():
    it = Following()
    async with following(it):
        await until(lambda: len(it.snapshots) == 1)
        it.tell(ADA)
        await until(lambda: len(it.snapshots) == 2)
        it.tell(taken_back(ADA, 2))
        await until(lambda: len(it.snapshots) == 3)

    first, second, third = it.snapshots
    assert [taken.version for taken in it.snapshots] == [of(0), of(1), of(2)]
    assert [taken.lessons for taken in it.snapshots] == [0, 1, 0]
    assert first.weights == third.weights == of_base(BASE).solved.weights.astype("<f4").tobytes()
    assert second.weights == after(ADA).in_force().solved.weights.astype("<f4").tobytes()
    assert (second.digest, third.digest) == (after(ADA).known.digest(BASE), first.digest)
    assert it.lessons.in_force().changes == 2


async def test_what_was_on_the_log_at_the_start_is_in_the_first_snapshot():
    it = Following()
    it.tell(ADA, *(lesson(f"b{n}", n, number=n, seed=n, player_id="ada") for n in range(2, 6)))
    async with following(it):
        await until(lambda: bool(it.snapshots))
        it.tell(probe("after"))
        await until(lambda: it.answered == [named("after")])

    [taken] = it.snapshots
    assert (taken.version, taken.lessons, taken.offset) == (of(5), 5, 4)
    assert sorted(taken.offsets) == [-1, -1, -1, 4]


async def test_lessons_of_all_partitions_are_added_up():
    it = Following()
    several = [lesson(f"p{partition}", partition, number=1, seed=partition) for partition in range(4)]
    for partition, one in enumerate(several):
        it.append(one, partition)
    async with following(it):
        await until(lambda: bool(it.snapshots))

    in_one = after(*(one.model_copy(update={"number": place}) for place, one in enumerate(several, 1)))
    [taken] = it.snapshots
    assert (taken.offsets, taken.lessons, taken.digest) == ([0, 0, 0, 0], 4, in_one.known.digest(BASE))
    assert taken.weights == in_one.in_force().solved.weights.astype("<f4").tobytes()


async def test_one_that_may_not_publish_says_nothing_and_keeps_up_and_says_where_it_is_once_it_may():
    it = Following()
    it.publishes = False
    async with following(it):
        it.tell(ADA, probe("unheard"))
        await until(lambda: it.version == of(1))
        assert it.said == []
        it.publishes = True
        await until(lambda: len(it.snapshots) == 1)
        it.tell(probe("heard"))
        await until(lambda: bool(it.answered))

        it.publishes = False
        it.tell(taken_back(ADA, 2))
        await until(lambda: it.version == of(2))
        assert len(it.snapshots) == 1
        it.publishes = True
        await until(lambda: len(it.snapshots) == 2)

    assert it.answered == [named("heard")]
    assert [taken.version for taken in it.snapshots] == [of(1), of(2)]


async def test_one_that_may_publish_again_says_where_it_is_though_nothing_has_changed():
    it = Following()
    polls = count()
    it.lessons = Lessons(BASE, SERIES, it._publish, lambda: next(polls) != 1)
    async with following(it):
        await until(lambda: len(it.snapshots) == 2)

    assert [taken.version for taken in it.snapshots] == [of(0), of(0)]


async def test_a_new_probe_is_answered_and_one_that_was_on_the_log_at_the_start_is_not():
    it = Following()
    it.tell(probe("old"))
    async with following(it):
        await until(lambda: bool(it.snapshots))
        assert it.answered == []
        it.tell(probe("new"))
        await until(lambda: bool(it.answered))

    assert it.answered == [named("new")]
    [told] = [event for event in it.said if isinstance(event, ReceiptProbed)]
    assert (told.player_id, told.stage) == ("probe new", "learner")
    assert len(it.snapshots) == 1, "a probe changes no model"


async def test_a_record_that_cannot_be_learned_is_rejected_once_and_the_next_lesson_is_learned():
    it = Following()
    gap = lesson("gap", number=5, player_id="ada")
    async with following(it):
        await until(lambda: bool(it.snapshots))
        it.tell(ADA, gap, lesson("other", number=2, player_id="ada", reader="raster-9/0"))
        with it.log.changed:
            [[_, log]] = [kept for kept in it.log.logs.items() if kept[0][0] == "lessons.v1" and kept[1]]
            log.append(Record("lessons.v1", log[0].partition, len(log), b"ada", b"{", 0))
            log.append(Record("lessons.v1", log[0].partition, len(log), b"ada", None, 0))
        it.tell(lesson("l2", 2, number=2, seed=2, player_id="ada"))
        await until(lambda: it.version == of(2))
        await until(lambda: it.snapshots[-1].version == of(2))
    first = it.rejected

    assert [(event.stage, event.source, event.source_offset) for event in first] == [
        (STAGE, "lessons.v1", offset) for offset in (1, 2, 3, 4)
    ]
    assert "lesson 5 of partition" in first[0].error
    assert it.snapshots[-1].lessons == 2
    it.begin()  # another process reads the log again, and tells the same
    async with following(it):
        await until(lambda: it.version == of(2) and len(it.rejected) == 8)
    assert [event.rejection_id for event in it.rejected] == 2 * [event.rejection_id for event in first]


async def test_when_lessons_make_no_model_the_last_one_stays_and_later_ones_are_learned():
    heavy = lesson("heavy", 3, number=1, seed=9, weight=10, player_id="ada")
    it = Following()
    async with following(it):
        await until(lambda: len(it.snapshots) == 1)
        it.tell(ADA)
        await until(lambda: len(it.snapshots) == 2)
        it.tell(*(taken_back(heavy, number) for number in range(2, 6)))
        it.tell(probe("still there"))
        await until(lambda: bool(it.answered))
        assert (it.version, len(it.snapshots)) == (of(1), 2)
        it.tell(*(heavy.model_copy(update={"number": number}) for number in range(6, 10)))
        await until(lambda: it.version == of(9))
        await until(lambda: len(it.snapshots) == 3)

    np.testing.assert_array_equal(it.lessons.in_force().solved.weights, after(ADA).in_force().solved.weights)
    assert it.snapshots[-1].lessons == 1


async def test_while_lessons_make_no_model_whoever_begins_to_publish_says_of_the_last_one_what_is_true_of_it():
    heavy = lesson("heavy", 3, number=1, seed=9, weight=10, player_id="ada")
    it = Following()
    async with following(it):
        it.tell(ADA)
        await until(lambda: it.version == of(1) and bool(it.snapshots))
        told = it.snapshots[-1]
        it.publishes = False
        it.tell(*(taken_back(heavy, number) for number in range(2, 6)))
        it.tell(lesson("gap", number=99, player_id="ada"))  # once it is rejected, those before have come
        await until(lambda: bool(it.rejected))
        turn = it.turns
        await until(lambda: it.turns > turn + 1)
        it.publishes = True
        await until(lambda: it.snapshots[-1] is not told)

    assert it.snapshots[-1].model_dump(exclude={"at"}) == told.model_dump(exclude={"at"})


@pytest.mark.parametrize("series", ["", "sums-0 of another learner"])
async def test_lessons_of_another_series_are_passed_by(series):
    it = Following()
    async with following(it):
        await until(lambda: len(it.snapshots) == 1)
        it.tell(lesson("old", number=1, series=series, player_id="ada"), ADA)
        await until(lambda: len(it.snapshots) == 2)

    assert it.version == of(1)
    assert it.rejected == []
    assert it.snapshots[-1].lessons == 1


# --- frozen


def learning(frozen: bool) -> LearningSet:
    return LearningSet(model="river", frozen=frozen, by="ada")


def more(number: int) -> LessonTaught:
    return lesson(f"more {number}", number % 10, number=number, seed=number, player_id="ada")


async def passed(it: Following, name: str) -> None:
    """Wait until all that was told so far was handled; what is asked before the start is over is not answered."""
    async with asyncio.timeout(20):
        while named(name) not in it.answered:
            it.tell(probe(name))
            await asyncio.sleep(0.05)


async def test_what_is_taught_to_a_frozen_model_changes_nothing_and_all_of_it_counts_at_once_when_it_is_thawed():
    it = Following()
    async with following(it):
        await until(lambda: len(it.snapshots) == 1)
        it.tell(ADA)
        await until(lambda: len(it.snapshots) == 2)
        it.tell(learning(True))
        await until(lambda: it.lessons.in_force().frozen)
        it.tell(more(2), more(3))
        await passed(it, "frozen")

        frozen = it.lessons.in_force()
        assert (frozen.version, frozen.after(5)) == (of(1), of(1))
        assert [taken.version for taken in it.snapshots] == [of(0), of(1)]
        it.tell(learning(False))
        await until(lambda: len(it.snapshots) == 3)

    assert it.snapshots[-1].version == of(3)
    assert it.snapshots[-1].digest == after(ADA, more(2), more(3)).known.digest(BASE)
    assert not it.lessons.in_force().frozen


async def test_a_process_that_begins_while_the_model_is_frozen_publishes_nothing_and_knows_what_answers():
    it = Following()
    it.tell(ADA)
    async with following(it):
        await until(lambda: it.version == of(1) and len(it.snapshots) == 1)
        it.tell(learning(True))
        await until(lambda: it.lessons.in_force().frozen)
        it.tell(more(2))
        await passed(it, "before")
    said = len(it.snapshots)
    it.begin()
    async with following(it):
        await passed(it, "again")
        frozen = it.lessons.in_force()
        assert (frozen.version, len(it.snapshots)) == (of(1), said)
        row = BASE.basis.rows(np.frombuffer(ADA.embedding, "<f4")[None])
        given = after(ADA).in_force().solved.probabilities(row)
        assert np.allclose(frozen.solved.probabilities(row), given, atol=1e-5), "weights are published as float32"
        assert (frozen.solved.probabilities_with(row[0], None, (4, 8)) == frozen.solved.probabilities(row)[0]).all()
        it.tell(learning(False))
        await until(lambda: len(it.snapshots) == said + 1)
    assert it.snapshots[-1].version == of(2)


async def test_a_frozen_model_knows_how_many_lessons_of_newcomers_it_has():
    """Receipts say how much a newcomer's lesson counts among them."""
    it = Following()
    it.tell(*(lesson(f"new {n}", n, number=n, seed=n, newcomer=True, player_id="ada") for n in range(1, 10)))
    async with following(it):
        await until(lambda: it.version == of(9) and len(it.snapshots) == 1)
        it.tell(learning(True))
        await until(lambda: it.lessons.in_force().frozen)

    assert it.lessons.in_force().newcomers == 9


async def test_who_waits_until_the_model_is_known_knows_that_it_is_frozen():
    """The learner waits for it: otherwise its first receipts after a restart would say that a frozen model has learned."""
    it = Following()
    it.tell(ADA, learning(True))
    async with following(it):
        waiting = asyncio.ensure_future(it.lessons.known())
        await asyncio.sleep(0)
        assert not waiting.done()
        await waiting

        assert it.lessons.in_force().frozen


async def test_a_model_that_is_frozen_before_any_lesson_answers_as_its_base():
    it = Following()
    it.tell(learning(True), ADA)
    async with following(it):
        await passed(it, "known")
    frozen = it.lessons.in_force()
    assert (frozen.version, frozen.frozen, it.snapshots) == (of(0), True, [])
    assert (frozen.solved.weights == of_base(BASE).solved.weights).all()


async def test_a_home_of_before_answers_by_the_new_rules_from_its_start_and_if_its_model_is_frozen_from_its_thaw():
    """mnist2 weighed newcomers' lessons in another way: a name of a version stands for one model."""
    new = [lesson(f"new {n}", n, number=n, seed=n, newcomer=True, player_id="ada") for n in range(1, 4)]
    model = after(*new)
    by_old_rules = model.snapshot(model.in_force(), BEGAN).model_copy(update={"version": "mnist2+3", "weights": OLD_WEIGHTS})
    it = Following()
    it.tell(*new, by_old_rules, learning(True))
    async with following(it):
        await passed(it, "known")
        frozen = it.lessons.in_force()
        assert (frozen.version, frozen.newcomers, it.snapshots) == ("mnist2+3", 3, [])
        assert (frozen.solved.weights == 0.25).all()
        it.tell(learning(False))
        await until(lambda: len(it.snapshots) == 1)

    assert it.snapshots[0].version == of(3) != by_old_rules.version
    weights = np.frombuffer(it.snapshots[0].weights, "<f4").reshape(10, -1)
    np.testing.assert_allclose(weights, model.in_force().solved.weights, rtol=1e-6)


async def test_a_snapshot_of_other_features_is_not_taken_for_what_a_frozen_model_answers():
    it = Following()
    it.tell(snapshot(3, reader="raster-1/ffffffff"), learning(True))
    async with following(it):
        await passed(it, "known")

    assert it.version == of(0)


async def test_a_snapshot_that_another_process_published_in_the_moment_of_freezing_is_what_answers():
    it = Following()
    late = after(ADA)
    async with following(it):
        it.tell(learning(True))
        await until(lambda: it.lessons.in_force().frozen)
        it.tell(late.snapshot(late.in_force(), BEGAN))
        await until(lambda: it.version == of(1))

    assert it.lessons.in_force().frozen


async def test_another_model_that_is_frozen_is_none_of_ours():
    it = Following()
    async with following(it):
        it.tell(LearningSet(model="other", frozen=True))
        await passed(it, "known")

    assert not it.lessons.in_force().frozen


async def test_what_is_behind_a_gap_is_told_once_at_the_end_of_the_log_however_much_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("streams.lessons._MOST_GAPPED", 40)
    it = Following()
    it.append(ADA, 0)
    for number in range(5, 65):
        it.append(lesson(f"l{number}", number=number, player_id="ada"), 0)
    async with following(it):
        await until(lambda: bool(it.snapshots))
        it.append(lesson("later", number=80, player_id="ada"), 0)
        with it.log.changed:
            it.log.changed.notify_all()
        await until(lambda: len(it.rejected) >= 61)

    assert sorted(event.source_offset for event in it.rejected) == list(range(1, 62))
    assert it.rejected[-1].source_offset == 61


def test_rejections_are_told_apart_by_their_ids() -> None:
    """By all that they hold it took a second for a thousand of them, while nothing else in the process moved."""
    records = [Record("lessons.v1", 0, offset, b"ada", b"x", 0) for offset in range(4)]
    rejected = [rejection(record, STAGE, ValueError("a gap")) for record in records]

    assert without(rejected, [rejection(record, STAGE, ValueError("anew")) for record in records[1:3]]) == [
        rejected[0],
        rejected[3],
    ]
