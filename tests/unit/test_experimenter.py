"""The thread in which the experiments learn: over the bus in memory, what it publishes, and how it goes on."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from contracts.events import (
    Event,
    ExperimentLearned,
    LessonsForgotten,
    LessonsRestricted,
    LessonTaught,
    ModelRolledBack,
    PlayersForgotten,
    decode,
    generation,
)
from contracts.ports import Record
from producers.memory_bus import MemoryBus, MemoryLog
from streams import experimenter
from streams.experimenter import Experimenter
from streams.experiments import Experiment, package
from streams.online_base import BaseRows, load_base, load_rows
from streams.online_model import of_base
from tests.experiments import learned, lets_answer
from tests.histories import READER, SERIES, lesson, taken_back

BASE = replace(load_base(), reader=READER)
ROWS = load_rows()
FEW = BaseRows(ROWS.embeddings[:20], ROWS.labels[:20], "few")
TOPICS = ("lessons.v1", "models.v1")
SOFTMAX = Experiment("softmax-9", lambda r: r.linear_model.SoftmaxRegression(r.optim.SGD(0.1)))
OTHER = Experiment("other-9", lambda r: r.linear_model.SoftmaxRegression(r.optim.SGD(0.02)))
WILD = Experiment("wild-9", lambda r: r.linear_model.SoftmaxRegression(r.optim.SGD(1e306)))
"""Its weights are no numbers soon."""


def _broken(_: Any) -> Any:
    raise RuntimeError("this line is wrong")


class Process:
    """A process of the learning role, as far as the experiments are concerned."""

    def __init__(self, log: MemoryLog, *experiments: Experiment, publishes: bool = True) -> None:
        self.publishes = publishes
        self.at_work = Experimenter(
            BASE,
            SERIES,
            partial(of_base, BASE),
            lambda: self.publishes,
            experiments or (SOFTMAX, OTHER),
            lambda: FEW,
            settled_s=0.0,
            rest=lambda _: None,
        )
        self._connect = partial(MemoryBus, log, TOPICS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Process"]:
        """Run while the body does."""
        task = asyncio.ensure_future(self.at_work.follow(self._connect))
        try:
            yield self
        finally:
            self.at_work._stopping.set()
            await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 10)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experimenter, "SAID_S", 0.0)
    monkeypatch.setattr(experimenter, "_POLL_S", 0.02)
    monkeypatch.setattr(experimenter, "_AGAIN_S", 0.02)
    monkeypatch.setattr(experimenter, "_GATHER_S", 0.02)


def tell(log: MemoryLog, *events: Event) -> None:
    bus = MemoryBus(log, TOPICS)
    for event in events:
        bus.publish(event).result()


def teach(log: MemoryLog, *several: LessonTaught | LessonsForgotten | LessonsRestricted) -> None:
    """Put lessons into partition 0."""
    records = log.logs.setdefault(("lessons.v1", 0), [])
    for one in several:
        records.append(Record("lessons.v1", 0, len(records), one.record_key(), one.record_value(), 0))


def lessons(n: int, first: int = 1) -> list[LessonTaught]:
    return [lesson(f"l{k}", k % 10, number=k, seed=k) for k in range(first, first + n)]


def said(log: MemoryLog) -> list[ExperimentLearned]:
    events = [decode("models.v1", record.value) for record in log.logs.get(("models.v1", 0), [])]
    return [event for event in events if isinstance(event, ExperimentLearned)]


def newest(log: MemoryLog) -> dict[str, ExperimentLearned]:
    return {generation(event.version): event for event in said(log)}


def versions(log: MemoryLog) -> set[str]:
    return {event.version for event in newest(log).values()}


async def until(met: Callable[[], bool]) -> None:
    """Wait for a condition, 20 s at most."""
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.005)


async def test_each_experiment_learns_the_base_and_then_the_lessons_as_they_come(log):
    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+0", "other-9+0"})
        teach(log, *lessons(3))
        await until(lambda: versions(log) == {"softmax-9+3", "other-9+3"})

    now = newest(log)["softmax-9"]
    assert (now.model, now.taught, now.numbers, now.offsets) == ("river", 3, [3, 0, 0, 0], [2, -1, -1, -1])
    assert (now.reader, now.link, now.ended) == (READER, "softmax", False)
    assert now.weights != newest(log)["other-9"].weights


async def test_one_that_does_not_publish_the_model_lets_no_experiment_learn_until_it_does(log):
    teach(log, *lessons(2))
    async with Process(log, publishes=False).running() as other:
        await asyncio.sleep(0.2)
        assert said(log) == []
        other.publishes = True
        await until(lambda: versions(log) == {"softmax-9+2", "other-9+2"})


async def test_another_process_goes_on_from_what_was_published_and_teaches_nothing_twice(log):
    teach(log, *lessons(5))
    async with Process(log).running() as first, Process(log, publishes=False).running() as second:
        await until(lambda: versions(log) == {"softmax-9+5", "other-9+5"})
        first.publishes = False
        await until(lambda: not first.at_work._here)
        teach(log, *lessons(1), *lessons(4, first=6))  # the first comes twice
        assert versions(log) == {"softmax-9+5", "other-9+5"}
        second.publishes = True
        await until(lambda: versions(log) == {"softmax-9+9", "other-9+9"})

    assert {event.taught for event in newest(log).values()} == {9}
    assert [event.version for event in said(log) if event.version.endswith("+0")] == [], "nobody began anew"


async def test_a_process_that_was_killed_in_the_middle_goes_on_when_it_starts_again(log):
    teach(log, *lessons(4))
    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+4", "other-9+4"})
    teach(log, *lessons(4, first=5))
    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+8", "other-9+8"})

    assert {event.taught for event in newest(log).values()} == {8}


async def test_one_more_line_is_all_that_a_further_experiment_takes(log):
    teach(log, *lessons(4))
    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+4", "other-9+4"})
    one_more = Experiment("one-more-9", lambda r: r.linear_model.SoftmaxRegression(r.optim.SGD(0.3)))
    async with Process(log, SOFTMAX, OTHER, one_more).running():
        await until(lambda: "one-more-9+4" in versions(log))

    assert {event.taught for event in newest(log).values()} == {4}


async def test_a_line_that_is_removed_ends_its_experiment(log):
    async with Process(log).running():
        await until(lambda: len(newest(log)) == 2)
    async with Process(log, SOFTMAX).running():
        await until(lambda: newest(log)["other-9"].ended)
    ended = len(said(log))
    async with Process(log, SOFTMAX).running():
        teach(log, *lessons(1))
        await until(lambda: newest(log)["softmax-9"].taught == 1)

    assert len(said(log)) == ended + 1, "it ends once"


@pytest.mark.parametrize("bad", [Experiment("broken-9", _broken), WILD])
async def test_an_experiment_that_fails_stops_no_other(log, bad):
    async with Process(log, bad, SOFTMAX).running():
        teach(log, *lessons(5))
        await until(lambda: "softmax-9+5" in versions(log))
        teach(log, *lessons(2, first=6))
        await until(lambda: "softmax-9+7" in versions(log))

    assert bad.name not in newest(log)


async def test_lessons_that_begin_again_are_learned_from_the_base_on(log):
    tell(log, learned("softmax-9", 50).model_copy(update={"offsets": [-1, -1, -1, -1]}))
    teach(log, *lessons(6))
    async with Process(log, SOFTMAX).running():
        await until(lambda: "softmax-9+6" in versions(log))
    log.logs["lessons.v1", 0].clear()
    teach(log, *lessons(2))
    async with Process(log, SOFTMAX).running():
        await until(lambda: "softmax-9+2" in versions(log))

    assert newest(log)["softmax-9"].taught == 2


async def test_receipts_are_those_of_the_experiment_that_answers_until_it_is_rolled_back(log):
    async with Process(log).running() as process:
        in_force = process.at_work.in_force
        await until(lambda: len(newest(log)) == 2)
        assert in_force().version == f"{BASE.generation}+0"
        tell(log, lets_answer("softmax-9"))
        await until(lambda: in_force().version == "softmax-9+0")
        teach(log, *lessons(3))
        await until(lambda: in_force().version == "softmax-9+3")
        assert in_force().after(2) == "softmax-9+5"
        tell(log, lets_answer(BASE.generation, kind=ModelRolledBack, own=True))
        await until(lambda: in_force().version == f"{BASE.generation}+0")


@pytest.mark.parametrize(("hurried", "answers", "times"), [(False, False, 1), (True, False, 9), (True, True, 1)])
def test_experiments_leave_nine_tenths_to_the_process_in_a_rush_unless_one_answers(monkeypatch, hurried, answers, times):
    rests: list[float] = []
    own = partial(of_base, BASE)
    at_work = Experimenter(BASE, SERIES, own, lambda: True, rest=rests.append, hurried=lambda: hurried)
    at_work._promoted = learned("softmax-9") if answers else None

    for spent_s in (0.02, 0.1):
        clock = iter([5.0, 5.0 + spent_s])
        with monkeypatch.context() as context:
            context.setattr(experimenter, "_POLL_S", 0.25)
            context.setattr("streams.experimenter.time.perf_counter", partial(next, clock))
            at_work._resting(lambda: None)

    assert rests == pytest.approx([0.02 * times, min(0.25, 0.1 * times)])


async def test_what_is_promoted_answers_only_once_the_start_is_over_since_its_package_takes_seconds_to_load(log, monkeypatch):
    loaded = []
    monkeypatch.setattr(experimenter, "package", lambda: loaded.append(1) or package())
    tell(log, learned("softmax-9", 4), lets_answer("softmax-9"))
    process = Process(log, SOFTMAX, publishes=False)
    process.at_work._settled_s = 3600.0
    async with process.running():
        await until(lambda: process.at_work._catalog.promoted("river") is not None)
        await asyncio.sleep(0.1)
        assert (process.at_work.in_force().version, loaded) == (f"{BASE.generation}+0", [])
        process.at_work._settled_at = 0.0
        await until(lambda: process.at_work.in_force().version == "softmax-9+4")


async def test_receipts_are_those_of_the_sums_while_what_is_promoted_is_not_there(log):
    async with Process(log, SOFTMAX).running() as process:
        tell(log, lets_answer("gone-9"), learned("gone-9", 4))
        await until(lambda: len(newest(log)) == 2)

        assert process.at_work.in_force().version == f"{BASE.generation}+0"


# --- a player is forgotten


def forgotten(*numbers: int, after: int, number: int) -> LessonsForgotten:
    return LessonsForgotten(source=0, series=SERIES, number=number, numbers=[(one, one) for one in numbers], offset=after)


def cut_out(log: MemoryLog, *numbers: int) -> None:
    kept = [record for record in log.logs["lessons.v1", 0] if decode("lessons.v1", record.value).number not in numbers]  # type: ignore[attr-defined]
    log.logs["lessons.v1", 0] = kept


async def without(*numbers: int) -> dict[str, bytes]:
    """The weights of experiments that never had these of the first six lessons."""
    log = MemoryLog()
    teach(log, *(one for one in lessons(6) if one.number not in numbers))
    async with Process(log).running():
        await until(lambda: {event.taught for event in newest(log).values()} == {6 - len(numbers)})
    return {name: event.weights for name, event in newest(log).items()}


@pytest.mark.parametrize("restarted", [False, True], ids=["while it learns", "while nothing learns"])
async def test_when_a_player_is_forgotten_all_begin_anew_without_their_lessons_though_these_are_on_the_log_still(
    log, restarted
):
    clean = await without(2, 5)
    teach(log, *lessons(6))
    gone = forgotten(2, 5, after=6, number=100)
    process = Process(log)
    async with process.running():
        await until(lambda: versions(log) == {"softmax-9+6", "other-9+6"})
        if not restarted:
            tell(log, PlayersForgotten(marks=["m"]))
            teach(log, gone)
            await until(lambda: {tuple(event.offsets) for event in newest(log).values()} == {(6, -1, -1, -1)})
    if restarted:
        tell(log, PlayersForgotten(marks=["m"]))
        teach(log, gone)
        async with Process(log).running():
            await until(lambda: {tuple(event.offsets) for event in newest(log).values()} == {(6, -1, -1, -1)})

    assert {name: event.weights for name, event in newest(log).items()} == clean
    assert {event.taught for event in newest(log).values()} == {4}
    assert versions(log) == {"softmax-9+6", "other-9+6"}, "the number is that of the sums, which goes on"


async def test_what_only_newcomers_taught_is_in_no_experiment_and_nobody_begins_anew_for_it(log):
    teach(log, *lessons(6))
    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+6", "other-9+6"})
        before = len(said(log))
        teach(
            log, forgotten(2, 5, after=6, number=100).model_copy(update={"counted": False}), lesson("l7", 7, number=101, seed=7)
        )
        await until(lambda: versions(log) == {"softmax-9+7", "other-9+7"})

    assert {event.taught for event in newest(log).values()} == {7}
    assert [event.version for event in said(log)[before:] if event.version.endswith("+0")] == [], "nobody began anew"


async def test_who_had_not_read_as_far_as_their_lessons_goes_on_and_learns_the_others(log):
    teach(log, *lessons(1))
    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+1", "other-9+1"})
    before = len(said(log))
    tell(log, PlayersForgotten(marks=["m"]))
    teach(log, *lessons(5, first=2), forgotten(2, 5, after=6, number=100))
    async with Process(log).running():
        await until(lambda: {event.offsets[0] for event in newest(log).values()} == {6})

    assert {event.taught for event in newest(log).values()} == {4}
    assert {event.taught for event in said(log)[before:]} <= {2, 3, 4}, "nobody began anew"
    for name, weights in (await without(2, 5)).items():  # a state that is taken up has its weights in 32 bits
        np.testing.assert_allclose(*(np.frombuffer(one, "<f4") for one in (newest(log)[name].weights, weights)), atol=1e-6)


async def test_what_was_published_goes_on_to_answer_until_the_one_that_began_anew_has_read_as_far(log, monkeypatch):
    monkeypatch.setattr(experimenter, "_AT_ONCE", 1)
    teach(log, *lessons(6))
    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+6", "other-9+6"})
        before = len(said(log))
        tell(log, lets_answer("softmax-9"))
        teach(log, forgotten(2, 5, after=6, number=100))
        await until(lambda: {event.offsets[0] for event in newest(log).values()} == {6})

    assert {event.taught for event in said(log)[before:]} == {4}, "no half of it was shown"


async def test_nothing_begins_anew_again_and_again(log):
    teach(log, *lessons(6))
    async with Process(log).running() as process:
        await until(lambda: versions(log) == {"softmax-9+6", "other-9+6"})
        teach(log, forgotten(2, after=6, number=100))
        await until(lambda: {event.taught for event in newest(log).values()} == {5})
        teach(log, forgotten(5, after=100, number=200))
        await until(lambda: not process.at_work._here)
        assert process.at_work._settled_at > process.at_work._anew_at + experimenter.ANEW_S - 1
        assert {event.taught for event in newest(log).values()} == {5}
        process.at_work._settled_at = 0.0
        await until(lambda: {event.taught for event in newest(log).values()} == {4})


async def test_what_was_passed_by_is_said_though_no_lesson_follows(log):
    teach(log, *lessons(6))
    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+6", "other-9+6"})
        teach(log, forgotten(2, 5, after=6, number=100).model_copy(update={"counted": False}))
        await until(lambda: {event.offsets[0] for event in newest(log).values()} == {6})

    assert {event.taught for event in newest(log).values()} == {6}


# --- a player is restricted


def of(player: str, several: list[LessonTaught]) -> list[LessonTaught]:
    return [one.model_copy(update={"player_id": player}) for one in several]


def restricted(player: str, number: int) -> LessonsRestricted:
    return LessonsRestricted(player_id=player, series=SERIES, number=number)


@pytest.mark.parametrize("restarted", [False, True], ids=["while it learns", "while nothing learns"])
async def test_when_a_player_is_banned_all_begin_anew_without_what_they_taught_until_then(log, restarted):
    first, theirs, later = lessons(2), of("mallory", lessons(2, first=3)), lessons(2, first=5)
    withdrawn = taken_back(theirs[0], 7)
    ban = restricted("mallory", 8)
    async with Process(log).running():
        teach(log, *first, *theirs, *later, withdrawn, taken_back(theirs[1], 8))
        await until(lambda: versions(log) == {"softmax-9+8", "other-9+8"})
        assert {event.taught for event in newest(log).values()} == {6}
        if not restarted:
            teach(log, ban)
            await until(lambda: {event.offsets[0] for event in newest(log).values()} == {8})
    if restarted:
        teach(log, ban)
        async with Process(log).running():
            await until(lambda: {event.offsets[0] for event in newest(log).values()} == {8})

    assert {event.taught for event in newest(log).values()} == {4}
    assert versions(log) == {"softmax-9+8", "other-9+8"}
    assert {name: event.weights for name, event in newest(log).items()} == await without(3, 4)


async def test_who_is_pardoned_is_learned_from_again(log):
    again = of("mallory", lessons(2, first=3))
    teach(log, *of("mallory", lessons(2)), restricted("mallory", 2), *again)
    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+4", "other-9+4"})

    assert {event.taught for event in newest(log).values()} == {2}


@pytest.mark.parametrize("taught", [{}, {"newcomer": True}, {"weight": 0.25}], ids=["nothing", "a newcomer", "little"])
async def test_nobody_begins_anew_for_a_banned_player_of_whom_no_experiment_has_learned(log, taught):
    theirs = [one.model_copy(update=taught) for one in of("mallory", lessons(2, first=5))] if taught else []
    teach(log, *lessons(4), *theirs)
    async with Process(log).running() as process:
        await until(lambda: {event.taught for event in newest(log).values()} == {4})
        await until(lambda: {event.offsets[0] for event in newest(log).values()} == {3 + len(theirs)})
        before = len(said(log))
        teach(log, restricted("mallory", 4 + len(theirs)))
        await until(lambda: {event.offsets[0] for event in newest(log).values()} == {4 + len(theirs)})

    assert {event.taught for event in said(log)[before:]} == {4}
    assert process.at_work._anew_at == -math.inf


async def test_after_the_lessons_are_cut_out_they_go_on_and_nobody_begins_anew_for_what_is_known(log):
    teach(log, *lessons(6), forgotten(2, 5, after=6, number=100))
    tell(log, PlayersForgotten(marks=["m"]))
    async with Process(log).running():
        await until(lambda: {tuple(event.offsets) for event in newest(log).values()} == {(6, -1, -1, -1)})
    cut_out(log, 2, 5)
    before = len(said(log))
    records = log.logs["lessons.v1", 0]
    one = lesson("l7", 7, number=101, seed=7)
    records.append(Record("lessons.v1", 0, 7, one.record_key(), one.record_value(), 0))

    async with Process(log).running():
        await until(lambda: versions(log) == {"softmax-9+7", "other-9+7"})

    assert {event.taught for event in newest(log).values()} == {5}
    assert [event.version for event in said(log)[before:] if event.version.endswith("+0")] == [], "nobody began anew"
