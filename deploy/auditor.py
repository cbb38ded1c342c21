"""Compares the log with what players were told and with itself (ways 1 to 3): records in, faults out."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from rich.table import Table
from rich.text import Text

from contracts.events import (
    ONLINE_MODELS,
    PERSONAL_MODEL,
    SHADOW,
    CorrectionGiven,
    CorrectionReceipt,
    DrawingSubmitted,
    EndpointSeen,
    Event,
    ExampleLabelled,
    GuessMade,
    GuessMissed,
    LessonTaught,
    MessageRejected,
    ModelPromoted,
    ModelRolledBack,
    Outcome,
    PolicySet,
    ScoresCounted,
    generation,
)
from contracts.ports import Record
from contracts.records import read
from contracts.roster import is_batch
from deploy.answers import Answers
from deploy.lesson_tally import LessonTally

_SHOWN_OF_A_FOLD = 10
_SHOWN = 40  # faults that are listed one by one; all are counted
_GRACE = timedelta(seconds=10)  # from a model's first promotion to its first answer


class AuditReport(BaseModel):
    """The result of an audit."""

    model_config = ConfigDict(frozen=True)

    drawings: int
    """Drawings that were acknowledged to players."""
    corrections: int
    """Corrections that players have a receipt for."""
    lost: dict[str, int]
    """How many messages should be on the log and are not, by kind; all 0 when all is well."""
    doubled: dict[str, int]
    """How many effects happened twice, by kind; all 0 when all is well."""
    scores_differ: int
    """How many totals of metrics.v1 differ from a recount of the newest examples."""
    answered: dict[str, int] = {}
    """How many of the acknowledged drawings each model answered."""
    missed: dict[str, int] = {}
    """How many of the acknowledged drawings each model missed, because it was too slow or rested."""
    absent: list[str] = []
    """Models that could not be served here, so that nothing was expected of them."""
    repeats: dict[str, int]
    """How many messages are on the log again under the same id, by kind: harmless, and worth knowing."""
    rejected: int
    unread: int
    """How many records could not be read as an event of their topic."""
    refolded: dict[str, int] = {}
    """How many messages each fold was made anew from."""
    folds: dict[str, int] = {}
    """How many differences each fold has to a fresh fold, in what it holds or has published."""
    ledgers: int | None = None
    """How many of the workers' ledgers were compared with the fresh folds; None: they are elsewhere."""
    faults: list[str]
    """The first faults, each in a sentence."""

    @property
    def clean(self) -> bool:
        """Say whether nothing is lost and nothing doubled."""
        return not any((*self.lost.values(), *self.doubled.values(), *self.folds.values(), self.scores_differ, self.unread))

    def to_table(self) -> Table:
        """Show the report as a table for people."""
        verdict = ("nothing lost, nothing doubled", "green")
        if not self.clean:
            verdict = ("the log is not what the players were told", "red")
        table = Table("on the log", "n", title=Text.assemble("audit: ", verdict), title_justify="left")
        table.add_row("drawings acknowledged to players", str(self.drawings))
        table.add_row("corrections receipted to players", str(self.corrections))
        for kind, counts in (("lost", self.lost), ("doubled", self.doubled), ("repeated, harmless", self.repeats)):
            for what, n in counts.items():
                table.add_row(f"{kind}: {what}", str(n))
        for model, n in self.answered.items():
            table.add_row(f"answered by {model}", str(n))
        for model, n in self.missed.items():
            table.add_row(f"missed, and said so: {model}", str(n))
        for model in self.absent:
            table.add_row(f"not available: {model}", "")
        table.add_row("totals that differ from the examples", str(self.scores_differ))
        for fold, n in self.refolded.items():
            table.add_row(f"{fold}: made anew from so many messages", str(n))
            table.add_row(f"{fold}: what differs from it", str(self.folds.get(fold, 0)))
        table.add_row("workers' ledgers", "elsewhere: not compared" if self.ledgers is None else f"{self.ledgers} compared")
        table.add_row("rejected messages", str(self.rejected))
        for fault in self.faults:
            table.add_row(Text(fault, style="red"), "")
        return table


class Auditor:
    """A fold over the log, which can report at any time what is missing."""

    def __init__(self, drawings: Collection[UUID], corrections: Mapping[UUID, UUID], models: Collection[str]) -> None:
        """Begin with the drawings and corrections that players were told are kept.

        Args:
            drawings: Finished drawings that were acknowledged.
            corrections: Corrections that were receipted, and the drawing of each.
            models: The models that must have answered each drawing or missed it. No answer is expected from a batch model
                before it is there, or from a model that the policy turned off.
        """
        self._drawings = frozenset(drawings)
        self._corrections = dict(corrections)
        self._models = frozenset(models)
        self._submitted: Counter[UUID] = Counter()
        self._drawn_at: dict[UUID, datetime] = {}
        self._guessed: Counter[tuple[UUID, str]] = Counter()
        self._shadows: Counter[tuple[UUID, str]] = Counter()
        self._missed: set[tuple[UUID, str]] = set()
        self._answers = Answers(drawings)
        self._promoted: dict[str, datetime] = {}  # when each model was first promoted
        self._status: dict[str, str] = {}
        self._not_shown: set[str] = set()
        self._off: set[str] = set()
        self._given: Counter[UUID] = Counter()
        self._given_of: dict[UUID, UUID] = {}
        self._exampled: set[UUID] = set()
        self._examples: dict[UUID, ExampleLabelled] = {}
        self._revisions: Counter[tuple[UUID, int]] = Counter()
        self._lessons = LessonTally()
        self._receipts: dict[UUID, set[tuple[Outcome, str]]] = {}
        self._rules: dict[UUID, tuple[bool, int]] = {}
        self._totals: dict[str, ScoresCounted] = {}
        self._receipt_copies = self._rejected = self._unread = 0

    def apply(self, record: Record) -> Event | None:
        """Apply a record, and return the event that it carries; previews and records of other topics are ignored."""
        event = read(record, "audit")
        if event is None:
            return None
        if isinstance(event, MessageRejected) and record.topic != MessageRejected.topic:
            self._unread += 1
            return None
        self._answers.apply(event)
        match event:
            case DrawingSubmitted(final=True):
                self._submitted[event.drawing_id] += 1
                self._drawn_at.setdefault(event.drawing_id, event.at)
            case GuessMade(final=True):
                (self._shadows if event.role == "shadow" else self._guessed)[event.drawing_id, event.model] += 1
            case GuessMissed(final=True):
                self._missed.add((event.drawing_id, event.model))
            case CorrectionGiven():
                self._given[event.correction_id] += 1
            case ExampleLabelled():
                self._read_example(event)
            case LessonTaught():
                self._lessons.apply(event)
            case CorrectionReceipt():
                self._read_receipt(event)
            case ScoresCounted(window=None):
                self._totals[event.score_key] = event
            case MessageRejected():
                self._rejected += 1
            case ModelPromoted() | ModelRolledBack():
                self._promoted[event.model] = min(event.at, self._promoted.get(event.model, event.at))
            case EndpointSeen():
                self._status[event.model] = event.status
            case PolicySet():
                self._off |= {model for model, part in event.parts.items() if part == "off"}
                self._not_shown |= event.parts.keys()
        return event

    def _begun(self) -> dict[str, datetime]:
        """Find when the first drawing was made that each model answered or missed."""
        begun: dict[str, datetime] = {}
        for drawing, model in self._guessed.keys() | self._shadows.keys() | self._missed:
            if (at := self._drawn_at.get(drawing)) is not None:
                begun[model] = min(at, begun.get(model, at))
        return begun

    def _absent(self, begun: Mapping[str, datetime]) -> set[str]:
        """Find the models that answered nothing and were unavailable."""
        silent = set(filter(is_batch, self._models)) - begun.keys()
        return {model for model in silent if self._status.get(model) in {"Unavailable", "Failed"}}

    def _unanswered(self) -> Iterable[str]:
        """Find the answers that a model should have given and did not.

        A batch model must answer from the first drawing that it answered, or from `_GRACE` after its first promotion,
        whichever is earlier; a model that was ever turned off need not, and a model that was ever a shadow may answer as one.
        """
        begun = self._begun()
        since = {
            model: min(at, self._promoted[model] + _GRACE) if model in self._promoted else at
            for model, at in begun.items()
            if is_batch(model)
        }
        for drawing in self._drawings:
            at = self._drawn_at.get(drawing)
            for model in self._models - self._absent(begun) - self._off:
                if (drawing, model) in self._guessed or (drawing, model) in self._missed:
                    continue
                if model in self._not_shown and (drawing, model) in self._shadows:
                    continue
                if at is None or model not in since or at >= since[model]:
                    yield f"{drawing} by {model}"

    def _outcomes(self, correction: UUID, stage: str) -> set[Outcome]:
        return {outcome for outcome, who in self._receipts.get(correction, ()) if who == stage}

    def _read_receipt(self, event: CorrectionReceipt) -> None:
        """Note a receipt; of the learner's, which tells all again when its rules change, those by the newest rules count."""
        told, rules = self._receipts.setdefault(event.correction_id, set()), (event.weight is not None, event.rules)
        self._given_of[event.correction_id] = event.drawing_id
        if event.stage == "learner" and rules != (known := self._rules.setdefault(event.correction_id, rules)):
            if rules < known:
                return
            told -= {one for one in told if one[1] == "learner"}
            self._rules[event.correction_id] = rules
        self._receipt_copies += (event.outcome, event.stage) in told
        told.add((event.outcome, event.stage))

    def _read_example(self, event: ExampleLabelled) -> None:
        self._exampled.add(event.correction_id)
        self._revisions[event.drawing_id, event.revision] += 1
        newest = self._examples.get(event.drawing_id)
        if newest is None or event.revision > newest.revision:
            self._examples[event.drawing_id] = event.model_copy(update={"strokes": [], "features": None})

    def report(
        self,
        folds: Mapping[str, list[str]] | None = None,
        refolded: Mapping[str, int] | None = None,
        ledgers: int | None = None,
    ) -> AuditReport:
        """Report what is there, what is missing and what happened twice, in all records that were read.

        Args:
            folds: By fold, the differences to a fresh fold; None: they were not compared.
            refolded: By fold, from how many messages the fresh fold was made.
            ledgers: How many of the workers' ledgers were compared; None: they are elsewhere.
        """
        faults = [fault for several in (folds or {}).values() for fault in several[:_SHOWN_OF_A_FOLD]]

        def count(kind: str, found: Iterable[object]) -> int:
            several = list(found)
            faults.extend(f"{kind}: {one}" for one in several)
            return len(several)

        taught = [c for c in self._receipts if self._outcomes(c, "learner") & {Outcome.LEARNED, Outcome.WEIGHTED}]
        replaced = {c for c in self._receipts if Outcome.SUPERSEDED in self._outcomes(c, "joiner")}
        lost = {
            "drawings": count("drawing not on the log", (d for d in self._drawings if d not in self._submitted)),
            "guesses": count("drawing not answered", self._unanswered()),
            "answers": count("the guess on drawing", self._answers.faults()),
            "corrections": count("correction not on the log", (c for c in self._corrections if c not in self._given)),
            "examples": count(
                "correction without an example",
                (c for c in self._corrections if c not in self._exampled and c not in replaced),
            ),
            "receipts": count(
                "correction without a receipt",
                (c for c in self._given if not (self._outcomes(c, "learner") or c in replaced)),
            ),
            "receipts of yours": count(
                "learned by all players' model, and not by the player's own",
                (
                    c
                    for c in taught
                    if PERSONAL_MODEL in self._models and c not in replaced and not self._outcomes(c, "personal")
                ),
            ),
            "lessons": count(
                "learned without a lesson",
                (f"{c} of {m}" for c in taught for m in ONLINE_MODELS if not self._lessons.taught(self._given_of.get(c), m)),
            ),
        }
        doubled = {
            "lessons": count("drawing with more lessons in force than one", self._lessons.doubled()),
            "receipts": count(
                "correction with two outcomes",
                (c for c in self._receipts for stage in ("learner", "personal") if len(self._outcomes(c, stage)) > 1),
            ),
        }
        differ = count("totals that differ", self._wrong_totals())
        return AuditReport(
            drawings=len(self._drawings),
            corrections=len(self._corrections),
            lost=lost,
            doubled=doubled,
            scores_differ=differ,
            answered=dict(sorted(Counter(m for d, m in self._guessed if d in self._drawings).items())),
            missed=dict(sorted(Counter(m for d, m in self._missed - self._guessed.keys() if d in self._drawings).items())),
            absent=sorted(self._absent(self._begun())),
            repeats={
                "drawings": _again(self._submitted),
                "guesses": _again(self._guessed) + _again(self._shadows),
                "corrections": _again(self._given),
                "examples": _again(self._revisions),
                "lessons": self._lessons.repeated,
                "receipts": self._receipt_copies,
            },
            rejected=self._rejected,
            unread=self._unread,
            refolded=dict(refolded or {}),
            folds={fold: len(several) for fold, several in (folds or {}).items()},
            ledgers=ledgers,
            faults=faults[:_SHOWN],
        )

    def _wrong_totals(self) -> list[str]:
        """Find the models and versions whose totals on metrics.v1 are not the counts of the newest examples."""
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
                name = guess.model, generation(guess.version) + SHADOW * guess.shadow
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
