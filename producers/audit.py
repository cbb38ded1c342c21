"""Whether the log holds what the players were told, each thing once (stands beside all three ways, and changes nothing).

A message may lie on the log more than once: writers send again, and readers count an id once. So repeats are told, and are no
fault; a fault is what is missing, or an effect that happened twice under two ids, or counts that are not those of the examples.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from rich.table import Table

from contracts.events import (
    BATCH_MODELS,
    ONLINE_MODELS,
    CorrectionGiven,
    CorrectionReceipt,
    DrawingSubmitted,
    ExampleLabelled,
    GuessMade,
    LessonTaught,
    MessageRejected,
    Outcome,
    ScoresCounted,
    UnknownEvent,
    decode,
    generation,
)
from contracts.ports import Bus, Record

TOPICS_READ: Final = (
    "drawings.v1", "guesses.v1", "corrections.v1", "examples.v1", "lessons.v1", "receipts.v1", "metrics.v1", "rejected.v1",
)  # fmt: skip
_SHOWN = 20  # faults that are told one by one; all are counted


class AuditReport(BaseModel):
    """What the log says of some drawings and corrections."""

    model_config = ConfigDict(frozen=True)

    drawings: int
    """Acknowledged to players."""
    corrections: int
    """Receipted to players."""
    lost: dict[str, int]
    """What should be on the log and is not, by kind; all 0 when all is well."""
    doubled: dict[str, int]
    """Effects that happened twice, by kind; all 0 when all is well."""
    scores_differ: int | None
    """Totals of metrics.v1 that are not those of the examples; None: only a part of the log was read."""
    repeats: dict[str, int]
    """Messages that are there again under the same id: harmless, and worth knowing."""
    rejected: int
    unread: int
    """Records that are no event of their topic."""
    faults: list[str]
    """The first of them, in words."""

    @property
    def clean(self) -> bool:
        """Whether nothing is lost and nothing doubled."""
        return not (sum(self.lost.values()) or sum(self.doubled.values()) or self.scores_differ or self.unread)

    def to_table(self) -> Table:
        """For people."""
        verdict = "[green]nothing lost, nothing doubled" if self.clean else "[red]the log is not what the players were told"
        table = Table("on the log", "n", title=f"audit: {verdict}", title_justify="left")
        table.add_row("drawings acknowledged to players", str(self.drawings))
        table.add_row("corrections receipted to players", str(self.corrections))
        for kind, counts in (("lost", self.lost), ("doubled", self.doubled), ("repeated, harmless", self.repeats)):
            for what, n in counts.items():
                table.add_row(f"{kind}: {what}", str(n))
        if self.scores_differ is not None:
            table.add_row("totals that differ from the examples", str(self.scores_differ))
        table.add_row("rejected messages", str(self.rejected))
        for fault in self.faults:
            table.add_row(f"[red]{fault}", "")
        return table


class Auditor:
    """A fold over the log, asked at any time what is missing."""

    def __init__(
        self,
        drawings: Collection[UUID],
        corrections: Mapping[UUID, UUID],
        models: Collection[str] = (*BATCH_MODELS, *ONLINE_MODELS),
        whole: bool = False,
    ) -> None:
        """An auditor of what players were told.

        Args:
            drawings: Finished drawings that were acknowledged.
            corrections: Corrections that were receipted, and the drawing of each.
            models: Those that must have answered each drawing.
            whole: The log is read from its start, so that the totals of metrics.v1 can be compared with the examples.
        """
        self._drawings = frozenset(drawings)
        self._corrections = dict(corrections)
        self._models = frozenset(models)
        self._whole = whole
        self._submitted: Counter[UUID] = Counter()
        self._guessed: Counter[tuple[UUID, str]] = Counter()
        self._given: Counter[UUID] = Counter()
        self._exampled: set[UUID] = set()
        self._examples: dict[UUID, ExampleLabelled] = {}
        self._revisions: Counter[tuple[UUID, int]] = Counter()
        self._lessons: dict[tuple[UUID, str], set[UUID]] = {}
        self._lesson_copies: Counter[UUID] = Counter()
        self._receipts: dict[UUID, set[Outcome]] = {}
        self._receipt_copies = 0
        self._totals: dict[str, ScoresCounted] = {}
        self._rejected = 0
        self._unread = 0

    def read(self, record: Record) -> None:
        """Take a record in; previews, and what is of other topics, are passed over."""
        try:
            event = decode(record.topic, record.value)
        except UnknownEvent:
            self._unread += 1
            return
        match event:
            case DrawingSubmitted(final=True):
                self._submitted[event.drawing_id] += 1
            case GuessMade(final=True):
                self._guessed[event.drawing_id, event.model] += 1
            case CorrectionGiven():
                self._given[event.correction_id] += 1
            case ExampleLabelled():
                self._read_example(event)
            case LessonTaught():
                self._lessons.setdefault((event.correction_id, event.model), set()).add(event.lesson_id)
                self._lesson_copies[event.lesson_id] += 1
            case CorrectionReceipt():
                outcomes = self._receipts.setdefault(event.correction_id, set())
                self._receipt_copies += event.outcome in outcomes
                outcomes.add(event.outcome)
            case ScoresCounted(window=None):
                self._totals[event.score_key] = event
            case MessageRejected():
                self._rejected += 1
            case _:
                pass

    def _read_example(self, event: ExampleLabelled) -> None:
        self._exampled.add(event.correction_id)
        self._revisions[event.drawing_id, event.revision] += 1
        newest = self._examples.get(event.drawing_id)
        if newest is None or event.revision > newest.revision:
            self._examples[event.drawing_id] = event.model_copy(update={"strokes": [], "features": None})

    def report(self) -> AuditReport:
        """What is there, what is missing and what happened twice, by all that was read."""
        faults: list[str] = []

        def count(kind: str, found: Iterable[object]) -> int:
            several = list(found)
            faults.extend(f"{kind}: {one}" for one in several)
            return len(several)

        lost = {
            "drawings": count("drawing not on the log", (d for d in self._drawings if d not in self._submitted)),
            "guesses": count(
                "drawing not answered",
                (f"{d} by {m}" for d in self._drawings for m in self._models if (d, m) not in self._guessed),
            ),
            "corrections": count("correction not on the log", (c for c in self._corrections if c not in self._given)),
            "examples": count("correction without an example", (c for c in self._corrections if c not in self._exampled)),
            "receipts": count("correction without a receipt", (c for c in self._given if c not in self._receipts)),
            "lessons": count(
                "learned without a lesson",
                (
                    f"{c} of {m}"
                    for c, outcomes in self._receipts.items()
                    for m in ONLINE_MODELS
                    if outcomes & {Outcome.LEARNED, Outcome.WEIGHTED} and (c, m) not in self._lessons
                ),
            ),
        }
        doubled = {
            "lessons": count("lesson taught twice", (f"{c} of {m}" for (c, m), ids in self._lessons.items() if len(ids) > 1)),
            "receipts": count(
                "correction with two outcomes",
                (c for c, outcomes in self._receipts.items() if len(outcomes - {Outcome.SUPERSEDED}) > 1),
            ),
        }
        differ = count("totals that differ", self._wrong_totals()) if self._whole else None
        return AuditReport(
            drawings=len(self._drawings),
            corrections=len(self._corrections),
            lost=lost,
            doubled=doubled,
            scores_differ=differ,
            repeats={
                "drawings": _again(self._submitted),
                "guesses": _again(self._guessed),
                "corrections": _again(self._given),
                "examples": _again(self._revisions),
                "lessons": _again(self._lesson_copies),
                "receipts": self._receipt_copies,
            },
            rejected=self._rejected,
            unread=self._unread,
            faults=faults[:_SHOWN],
        )

    def _wrong_totals(self) -> list[str]:
        """Models and versions whose totals on metrics.v1 are not the counts of the newest examples."""
        counted: Counter[tuple[str, str, str]] = Counter()
        for total in self._totals.values():
            name = total.model, total.version or ""
            counted[*name, "n"] += total.n
            counted[*name, "correct"] += total.correct
            counted[*name, "confusion"] += sum(total.confusion)
        expected: Counter[tuple[str, str, str]] = Counter()
        for example in self._examples.values():
            if example.label is None:
                continue
            for guess in example.guesses:
                name = guess.model, generation(guess.version)
                expected[*name, "n"] += 1
                expected[*name, "correct"] += guess.label == example.label
                expected[*name, "confusion"] += 1
        return [
            f"{model} {version}: {what} is {counted[model, version, what]}, by the examples {expected[model, version, what]}"
            for model, version, what in sorted(counted.keys() | expected.keys())
            if counted[model, version, what] != expected[model, version, what]
        ]


def _again(copies: Counter[Any]) -> int:
    return copies.total() - len(copies)


async def audit(
    bus: Bus,
    drawings: Collection[UUID],
    corrections: Mapping[UUID, UUID],
    *,
    since: Literal["start"] | datetime,
    models: Collection[str] = (*BATCH_MODELS, *ONLINE_MODELS),
    wait_s: float = 20.0,
) -> AuditReport:
    """What the log says of what players were told.

    Args:
        bus: Where the log is.
        drawings: Finished drawings that were acknowledged.
        corrections: Corrections that were receipted, and the drawing of each.
        since: A time before the first of them; from the start the totals of metrics.v1 are compared too.
        models: Those that must have answered each drawing.
        wait_s: How long what is missing may still come.
    """
    auditor = Auditor(drawings, corrections, models, whole=since == "start")
    tail = bus.follow(TOPICS_READ, since)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            records = await asyncio.to_thread(tail.poll, 0.2)
            for record in records:
                auditor.read(record)
            if not records and tail.caught_up():
                report = auditor.report()
                if report.clean or time.monotonic() > deadline:
                    return report
    finally:
        tail.close()
