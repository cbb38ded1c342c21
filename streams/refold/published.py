"""Collects the events of folds by identity, from the log or from folds that were made anew. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from contracts.events import CorrectionReceipt, Event, ExampleLabelled, LessonTaught, ScoresCounted, SnapshotTaken


class Snapshot(NamedTuple):
    """The part of a snapshot that is compared."""

    version: str
    lessons: int
    digest: str
    weights: str
    """The sha256 of the weights."""

    @classmethod
    def of(cls, event: SnapshotTaken) -> "Snapshot":
        """Return the part of a snapshot that is compared."""
        return cls(event.version, event.lessons, event.digest, sha256(event.weights).hexdigest())


@dataclass(slots=True)
class Published:
    """The published events; one that comes twice changes nothing."""

    examples: dict[UUID, ExampleLabelled] = field(default_factory=dict)
    """The highest revision of each drawing."""
    lessons: dict[UUID, LessonTaught] = field(default_factory=dict)
    scores: dict[str, ScoresCounted] = field(default_factory=dict)
    """The newest event of each score_key."""
    snapshots: dict[tuple[str, int], list[Snapshot]] = field(default_factory=lambda: defaultdict(list))
    """The different snapshots of each model and offset."""
    receipts: dict[tuple[str, UUID], list[CorrectionReceipt]] = field(default_factory=lambda: defaultdict(list))
    """The different receipts of each stage and correction."""

    def apply(self, event: Event) -> None:
        """Add an event; one that no fold publishes changes nothing."""
        match event:
            case ExampleLabelled():
                before = self.examples.get(event.drawing_id)
                if before is None or event.revision > before.revision:
                    self.examples[event.drawing_id] = event
            case LessonTaught():
                self.lessons.setdefault(event.lesson_id, event)
            case ScoresCounted():
                self.scores[event.score_key] = event
            case SnapshotTaken():
                told, snapshot = self.snapshots[event.model, event.offset], Snapshot.of(event)
                if snapshot not in told:
                    told.append(snapshot)
            case CorrectionReceipt():
                several = self.receipts[event.stage, event.correction_id]
                if all(content(one) != content(event) for one in several):
                    several.append(event)
            case _:
                pass

    def copy(self) -> "Published":
        """Return an independent copy."""
        several: Any = ({key: list(told) for key, told in kind.items()} for kind in (self.snapshots, self.receipts))
        snapshots, receipts = (defaultdict(list, kind) for kind in several)
        return Published(dict(self.examples), dict(self.lessons), dict(self.scores), snapshots, receipts)


def content(receipt: CorrectionReceipt) -> dict[str, object]:
    """Return what is compared of a receipt; probabilities to nine digits, since another machine may add in another order."""
    return {
        "drawing_id": receipt.drawing_id,
        "outcome": receipt.outcome,
        "models": {
            model: (change.version_before, change.version_after, round(change.p_before, 9), round(change.p_after, 9))
            for model, change in sorted(receipt.models.items())
        },
    }
