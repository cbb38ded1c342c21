"""Runs the folds of a role with a fault in their code, for the test that the audit names the fault.

python -m tests.integration.faulty ROLE FAULT      (settings from the environment, as every process of the game)

Some faults show only after a crash: then the process stops in the middle of a step as soon as the file of `stops_at` exists.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from contracts.events import Event, ExampleLabelled, LessonTakenBack, LessonTaught, MemoryReset
from contracts.ports import Cells, Origin
from contracts.settings import Settings
from producers import logs
from producers.bus import open_bus
from streams import fold_runner, learner, personal_model, story
from streams.app import LEARNING
from streams.delivery import STEP
from streams.drift import Drift
from streams.evidence import Evidence
from streams.fold import Fold
from streams.fold_runner import FoldRunner
from streams.joiner import Joiner
from streams.learner import Learner
from streams.ledger import Ledger
from streams.lessons import Lessons
from streams.online_base import load_base
from streams.online_model import OnlineModel
from streams.personal_model import PersonalModels
from streams.scorer import Scorer
from streams.worker import Worker


def stops_at(home: Path) -> Path:
    """Return the path of a file; once it exists, the process stops in the middle of its next step."""
    return home / "stop"


class _Forgetful:
    """Cells that pretend to hold nothing under some keys."""

    def __init__(self, cells: Cells, prefix: str) -> None:
        self._cells, self._prefix = cells, prefix
        self.put, self.drop, self.at = cells.put, cells.drop, cells.at

    def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        return None if key.startswith(self._prefix) else self._cells.get(key)


def _forgets(fold: type[Any], prefix: str) -> Callable[[Settings], None]:
    def put_in(_: Settings) -> None:
        apply = fold.apply

        def forgetful(self: Fold, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
            said: Iterable[Event] = apply(self, _Forgetful(cells, prefix), event, origin)
            return said

        fold.apply = forgetful

    return put_in


def _joiner_takes_all(_: Settings) -> None:
    story._part_of = lambda _: object()  # type: ignore[assignment,return-value]
    story._is_news = lambda *_: True


def _learner_takes_all(_: Settings) -> None:
    learner.place_of = lambda rows, _: len(rows)


def _learner_never_takes_back(_: Settings) -> None:
    apply = Learner.apply

    def taught(self: Learner, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        return [said for said in apply(self, cells, event, origin) if not isinstance(said, LessonTakenBack)]

    Learner.apply = taught  # type: ignore[method-assign]


def _personal_takes_all(_: Settings) -> None:
    personal_model._place = lambda rows, _: len(rows)


def _personal_never_resets(_: Settings) -> None:
    apply = PersonalModels.apply

    def taken(self: PersonalModels, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        return () if isinstance(event, MemoryReset) else apply(self, cells, event, origin)

    PersonalModels.apply = taken  # type: ignore[method-assign]


def _acknowledges_first(settings: Settings) -> None:
    real = fold_runner.take_gathered

    async def acknowledged(queue: Any, most: int = STEP) -> list[Any]:
        several = await real(queue, most)
        for delivery in filter(None, several):
            delivery.ack()
        if any(several) and stops_at(settings.home).exists():
            await asyncio.Event().wait()
        return several

    fold_runner.take_gathered = acknowledged


def _publishes_first(kind: type[Event]) -> Callable[[Settings], None]:
    """Publish before the transaction, and stop in the middle of a step that publishes such an event."""

    def put_in(settings: Settings) -> None:
        bus, real = open_bus(settings), Ledger._write

        def published(self: Ledger) -> None:
            for sent in [bus.publish(event) for event in self._posted]:
                sent.result(30)
            if any(isinstance(event, kind) for event in self._posted) and stops_at(settings.home).exists():
                threading.Event().wait()
            real(self)

        Ledger._write = published  # type: ignore[method-assign]

    return put_in


def _forgets_offsets(_: Settings) -> None:
    made, real = Ledger.__init__, Ledger._write
    of_the_scorer: set[int] = set()

    def opened(self: Ledger, path: Path, *given: Any, **named: Any) -> None:
        made(self, path, *given, **named)
        if path.parent.name == Scorer.name:
            of_the_scorer.add(id(self))

    def written(self: Ledger) -> None:
        if id(self) in of_the_scorer:
            self._moved.clear()
        real(self)

    Ledger.__init__ = opened  # type: ignore[method-assign]
    Ledger._write = written  # type: ignore[method-assign]


def _keeps_what_is_sent(_: Settings) -> None:
    Ledger.sent = lambda *_, **__: None  # type: ignore[method-assign]


def _never_publishes(fold: type[Any]) -> Callable[[Settings], None]:
    def put_in(_: Settings) -> None:
        real = FoldRunner._publish

        async def published(self: Any, began: float) -> None:
            if self.fold.name != fold.name:
                await real(self, began)

        FoldRunner._publish = published  # type: ignore[method-assign]

    return put_in


def _follows_lessons_doubled(_: Settings) -> None:
    apply = OnlineModel.apply

    def twice(self: OnlineModel, lesson: LessonTaught, partition: int, offset: int) -> None:
        apply(self, lesson, partition, offset)
        self.numbers[partition] -= 1  # so that the same number may come again
        apply(self, lesson, partition, offset)

    OnlineModel.apply = twice  # type: ignore[method-assign]


FAULTS: Final[Mapping[str, Callable[[Settings], None]]] = MappingProxyType(
    {
        "none": lambda _: None,
        "no deduplication in the joiner": _joiner_takes_all,
        "no deduplication in the scorer": _forgets(Scorer, "example/"),
        "no deduplication in the learner": _learner_takes_all,
        "no lesson taken back": _learner_never_takes_back,
        "lessons summed twice": _follows_lessons_doubled,
        "no deduplication in personal": _personal_takes_all,
        "no reset in personal": _personal_never_resets,
        "no deduplication in the evidence": _forgets(Evidence, "drawing/"),
        "no deduplication in drift": _forgets(Drift, "source/"),
        "acknowledged before the transaction": _acknowledges_first,
        "published before the transaction": _publishes_first(ExampleLabelled),
        "lessons published before the transaction": _publishes_first(LessonTaught),
        "offset not kept": _forgets_offsets,
        "outbox not emptied": _keeps_what_is_sent,
        "outbox not published": _never_publishes(Scorer),
        "lessons not published": _never_publishes(Learner),
    }
)

if __name__ == "__main__":
    settings = Settings.load()
    logs.configure(settings, "faulty")
    role, fault = sys.argv[1:]
    FAULTS[fault](settings)
    base = load_base()
    working = Worker(settings, role, LEARNING())
    if role == "learning":
        teaching = Learner(base, lambda: lessons.in_force())
        lessons = Lessons(base, teaching.series, working.publish, lambda: 0 in teaching.partitions)
        for fold in (Joiner(), Scorer(), teaching, Evidence(base), Drift(Evidence(base).series)):
            working.fold(fold, step=20)
        working.alongside(partial(lessons.follow, partial(open_bus, settings, ["lessons.v1", "models.v1", "rejected.v1"])))
    else:
        working.fold(PersonalModels(base), step=20)
    working.run()
