"""Collects the events of folds by identity, from the log or from folds that were made anew. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from contracts.events import (
    ONLINE_MODELS,
    PERSONAL_MODEL,
    CorrectionReceipt,
    DrawingEvidence,
    DrawingPicked,
    DriftDetected,
    Event,
    EvidenceGathered,
    ExampleLabelled,
    LessonTaught,
    PicksCounted,
    ScoresCounted,
    generation,
)
from streams.kernel_memory import GENERATION
from streams.trust import TRUST

ALIKE: Final = 1e-4
"""By how much a probability may differ: guesses are published with six digits, and the own model's is made of a guess."""


class LessonName(NamedTuple):
    """What a lesson is known by; a player's lessons are all on one partition, which numbers them."""

    series: str
    player_id: str
    number: int


class EvidenceName(NamedTuple):
    """What a drawing's evidence is known by; each partition of examples.v1 numbers its own."""

    series: str
    partition: int
    number: int


@dataclass(slots=True)
class Published:
    """The published events; one that comes twice changes nothing."""

    examples: dict[UUID, ExampleLabelled | DrawingPicked] = field(default_factory=dict)
    """The highest revision of each drawing; without a label if it was only picked."""
    lessons: dict[LessonName, LessonTaught] = field(default_factory=dict)
    """Those taught and those taken back."""
    scores: dict[str, ScoresCounted | PicksCounted] = field(default_factory=dict)
    """The newest event of each score_key and pick_key."""
    evidence: dict[EvidenceName, DrawingEvidence] = field(default_factory=dict)
    """Of each number what came first, however many are in a record."""
    jumps: dict[tuple[str, int], int] = field(default_factory=dict)
    """By series and partition of evidence, the number from which it went on last after a player was forgotten."""
    drift: dict[UUID, DriftDetected] = field(default_factory=dict)
    """By the id of the detection."""
    receipts: dict[tuple[str, UUID], list[CorrectionReceipt]] = field(default_factory=lambda: defaultdict(list))
    """The different receipts of each stage and correction."""

    def apply(self, event: Event) -> None:
        """Add an event; one that no fold publishes changes nothing."""
        match event:
            case ExampleLabelled() | DrawingPicked():
                before = self.examples.get(event.drawing_id)
                if before is None or event.revision > before.revision:
                    self.examples[event.drawing_id] = event
            case LessonTaught():
                self.lessons.setdefault(LessonName(event.series, event.player_id, event.number), event)
            case ScoresCounted():
                self.scores[event.score_key] = event
            case PicksCounted():
                self.scores[event.pick_key] = event
            case EvidenceGathered():
                if event.behind is not None:
                    place = event.series, event.source_partition
                    self.jumps[place] = max(event.number - 1, self.jumps.get(place, 0))
                for number, one in enumerate(event.drawings, event.number):
                    self.evidence.setdefault(EvidenceName(event.series, event.source_partition, number), one)
            case DriftDetected():
                self.drift.setdefault(event.detection_id, event)
            case CorrectionReceipt(stage="learner") if event.weight is None or event.rules != TRUST:
                pass  # from before models were sums, or by other rules: the learner has told it again
            case CorrectionReceipt(stage="personal") if _of_another_generation(event):
                pass  # the memory of before, of which all was told again when it was folded anew
            case CorrectionReceipt():
                several = self.receipts[event.stage, event.correction_id]
                if not any(alike(one, event) for one in several):
                    several.append(event)
            case _:
                pass

    def copy(self) -> "Published":
        """Return an independent copy."""
        receipts = defaultdict(list, {key: list(told) for key, told in self.receipts.items()})
        evidence, jumps, drift = dict(self.evidence), dict(self.jumps), dict(self.drift)
        return Published(dict(self.examples), dict(self.lessons), dict(self.scores), evidence, jumps, drift, receipts)


def _of_another_generation(receipt: CorrectionReceipt) -> bool:
    change = receipt.models.get(PERSONAL_MODEL)
    return change is not None and generation(change.version_after) != GENERATION


def alike(one: CorrectionReceipt, other: CorrectionReceipt) -> bool:
    """Say whether two receipts say the same; probabilities within `ALIKE`, since other threads or machines add in other orders.

    What an online model gave depends on which lessons of other partitions had come, so it is not compared.
    """
    if (one.drawing_id, one.outcome, one.models.keys()) != (other.drawing_id, other.outcome, other.models.keys()):
        return False
    pairs = [(change, other.models[model]) for model, change in one.models.items() if model not in ONLINE_MODELS]
    return all(
        (here.version_before, here.version_after) == (there.version_before, there.version_after)
        and max(abs(here.p_before - there.p_before), abs(here.p_after - there.p_after)) <= ALIKE
        for here, there in pairs
    )
