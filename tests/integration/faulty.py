"""Runs the folds of a role with a fault in their code, for the test that the audit names the fault.

python -m tests.integration.faulty ROLE FAULT      (settings from the environment, as every process of the game)

Some faults show only after a crash: then the process stops in the middle of a step as soon as the file of `stops_at` exists.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from contracts.events import Event, ExampleLabelled
from contracts.ports import Cells, Origin
from contracts.settings import Settings
from producers import logs
from producers.bus import open_bus
from streams import fold_runner, personal_model, story
from streams.app import LEARNING
from streams.delivery import STEP
from streams.fold import Fold
from streams.fold_runner import FoldRunner
from streams.joiner import Joiner
from streams.learner import Learner
from streams.ledger import Ledger
from streams.online_base import load_base
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
    story._same_guess = lambda *_: False
    story._is_news = lambda *_: True


def _personal_takes_all(_: Settings) -> None:
    personal_model._place = lambda rows, _: len(rows)


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


def _publishes_first(settings: Settings) -> None:
    bus, real = open_bus(settings), Ledger._write

    def published(self: Ledger) -> None:
        for sent in [bus.publish(event) for event in self._posted]:
            sent.result(30)
        if any(isinstance(event, ExampleLabelled) for event in self._posted) and stops_at(settings.home).exists():
            threading.Event().wait()
        real(self)

    Ledger._write = published  # type: ignore[method-assign]


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
    Ledger.sent = lambda *_: None  # type: ignore[method-assign]


def _never_publishes(_: Settings) -> None:
    real = FoldRunner._publish

    async def published(self: Any) -> None:
        if self.fold.name != Scorer.name:
            await real(self)

    FoldRunner._publish = published  # type: ignore[method-assign]


FAULTS: Final[Mapping[str, Callable[[Settings], None]]] = MappingProxyType(
    {
        "none": lambda _: None,
        "no deduplication in the joiner": _joiner_takes_all,
        "no deduplication in the scorer": _forgets(Scorer, "example/"),
        "no deduplication in the learner": _forgets(Learner, "lesson/"),
        "no deduplication in personal": _personal_takes_all,
        "acknowledged before the transaction": _acknowledges_first,
        "published before the transaction": _publishes_first,
        "offset not kept": _forgets_offsets,
        "outbox not emptied": _keeps_what_is_sent,
        "outbox not published": _never_publishes,
    }
)

if __name__ == "__main__":
    settings = Settings.load()
    logs.configure(settings, "faulty")
    role, fault = sys.argv[1:]
    FAULTS[fault](settings)
    base = load_base()
    working = Worker(settings, role, LEARNING())
    for fold in {"learning": (Joiner(), Scorer(), Learner(base)), "router": (PersonalModels(base.reader),)}[role]:
        working.fold(fold, step=20)
    working.run()
