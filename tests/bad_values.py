"""Lists bad values of records: a value that is no event of its topic, or an event that means harm.

`READERS` says which stages read a topic, and so which must reject a value that they can do nothing with.
"""

import base64
import json
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import numpy as np

from streams.additive import BASIS
from streams.evidence import Evidence
from streams.learner import Learner
from streams.online_base import load_base

GOLDEN: Final = Path(__file__).parent / "contract" / "golden"
READERS: Final = {
    "drawings.v1": {"router", "joiner"},
    "guesses.v1": {"api"},
    "answers.v1": {"joiner"},
    "previews.v1": {"api"},
    "corrections.v1": {"joiner"},
    "examples.v1": {"personal", "scorer", "learner", "evidence", "trainers.archive", "trainers.observations"},
    "evidence.v1": {"drift"},
    "drift.v1": {"trainers", "api"},
    "lessons.v1": {"online"},
    "receipts.v1": {"api"},
    "seats.v1": {"api"},
    "metrics.v1": {"api"},
    "models.v1": {"router", "api", "trainers"},
    "commands.v1": {"trainers", "api"},
    "rejected.v1": set(),
}
"""The stages that read each topic as it grows, by the names under which they reject."""
BEYOND: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "drawings.v1": ("DrawingSubmitted", {"strokes": []}),
    "guesses.v1": ("GuessMade", {"hops": {"a": 1e308, "b": 1e308}}),
    "answers.v1": ("DrawingAnswered", {"missed": {"../../x": ""}}),
    "previews.v1": ("PreviewGuessed", {"version": "../../x"}),
    "corrections.v1": ("CorrectionGiven", {"at": "9999-12-31T23:59:59Z"}),
    "examples.v1": ("ExampleLabelled", {"revision": 1 << 40}),
    "evidence.v1": ("EvidenceGathered", {"number": -1}),
    "drift.v1": ("DriftDetected", {"after": 1.5}),
    "lessons.v1": ("LessonTaught", {"label": 10}),
    "receipts.v1": ("CorrectionReceipt", {"player_id": "x" * 500_000}),
    "seats.v1": ("SeatOffered", {"valid_s": 10**9}),
    "metrics.v1": ("ScoresCounted", {"n": 10**30}),
    "models.v1": ("SnapshotTaken", {"offset": -7}),
    "commands.v1": ("PromoteModel", {"version": "../../x"}),
    "rejected.v1": ("MessageRejected", {"source_offset": -5}),
}
"""For each topic an event with a field beyond its bounds, which no stage can read."""


class Hostile(NamedTuple):
    """An event that can be read, but means harm."""

    topic: str
    kind: str
    fields: dict[str, Any]
    """The fields that replace those of the golden file."""
    rejected_by: frozenset[str] = frozenset()
    """The readers that can do nothing with the event."""

    def value(self, player_id: str, drawing_id: str) -> bytes:
        """Return the value that a stranger writes who knows a player and one of the player's drawings."""
        fields = {"player_id": player_id} if "player_id" in _golden(self.kind) else {}
        if "drawing_id" in _golden(self.kind):
            fields["drawing_id"] = drawing_id
        return json.dumps(_golden(self.kind) | fields | self.fields).encode()


_BARE: Final = frozenset({"trainers"})
_LATE: Final = "2199-12-31T23:59:59Z"
_MOST: Final = (1 << 53) - 1
_HUGE: Final = base64.urlsafe_b64encode(np.full(64, 1e38, "<f4").tobytes()).decode()
_HUGE_WEIGHTS: Final = base64.urlsafe_b64encode(np.full((10, BASIS.width), 1e38, "<f4").tobytes()).decode()
_OTHER_SHAPE: Final = base64.urlsafe_b64encode(np.ones((10, 9), "<f4").tobytes()).decode()
_READER: Final = load_base().reader
_READ: Final = {"reader": _READER, "basis": BASIS.name}
_LENGTH_ONE: Final = base64.urlsafe_b64encode(np.eye(1, 64, dtype="<f4").tobytes()).decode()
_IN_SERIES: Final = {"reader": _READER, "series": Learner(load_base()).series, "lesson_id": str(uuid4())}
_EVIDENCE: Final = {"series": Evidence(load_base()).series, "number": 1}
_WEIGHTS: Final = base64.urlsafe_b64encode(np.ones((10, BASIS.width), "<f4").tobytes()).decode()
_FEATURES: Final = {"raster": base64.urlsafe_b64encode(bytes(784)).decode(), "embedding": _HUGE, "reader": _READER}
_BOTH: Final = frozenset({"router", "api"})
_API: Final = frozenset({"api"})
HOSTILE: Final[dict[str, Hostile]] = {
    "a drawing of another century": Hostile("drawings.v1", "DrawingSubmitted", {"drawing_id": str(uuid4()), "at": _LATE}),
    "a drawing at the ends of all canvases": Hostile(
        "drawings.v1",
        "DrawingSubmitted",
        {"drawing_id": str(uuid4()), "strokes": [[[-8192, -8192, 1e14]], [[16384, 16384, -8192]]]},
    ),
    "a drawing that is sought, and there": Hostile("drawings.v1", "DrawingSought", {"player_id": "eve"}),
    "somebody else's guess": Hostile("guesses.v1", "GuessMade", {"player_id": "eve", "at": _LATE, "features": _FEATURES}),
    "somebody else's answers": Hostile(
        "answers.v1", "DrawingAnswered", {"player_id": "eve", "at": _LATE, "features": _FEATURES}, frozenset({"joiner"})
    ),
    "answers that nobody gave": Hostile(
        "answers.v1",
        "DrawingAnswered",
        {"drawing_id": str(uuid4()), "at": _LATE, "guesses": [], "features": _FEATURES, "lead_after": _MOST},
    ),
    "a guess of extremes": Hostile(
        "guesses.v1",
        "GuessMade",
        {"drawing_id": str(uuid4()), "at": _LATE, "hops": {"model": 1e9, "x" * 200: -1e9}, "features": _FEATURES},
    ),
    "a miss of another century": Hostile("guesses.v1", "GuessMissed", {"at": _LATE, "resting": True, "model": "nobody"}),
    "somebody else's preview": Hostile(
        "previews.v1", "PreviewGuessed", {"player_id": "eve", "final": True, "at": _LATE, "table": "x" * 200}
    ),
    "a correction of another century": Hostile(
        "corrections.v1", "CorrectionGiven", {"correction_id": str(uuid4()), "at": _LATE}
    ),
    "a correction of somebody else's drawing": Hostile(
        "corrections.v1", "CorrectionGiven", {"correction_id": str(uuid4()), "player_id": "eve"}
    ),
    "an example of the highest revision": Hostile(
        "examples.v1",
        "ExampleLabelled",
        {"drawing_id": str(uuid4()), "revision": 65, "drawn_at": _LATE, "at": _LATE, "features": _FEATURES, "guesses": []},
        frozenset({"learner"}),
    ),
    "a lesson of extremes": Hostile(
        "lessons.v1",
        "LessonTaught",
        _IN_SERIES | {"number": _MOST, "embedding": _HUGE, "weight": 10},
        frozenset({"online"}),
    ),
    "a lesson far ahead": Hostile(
        "lessons.v1", "LessonTaught", _IN_SERIES | {"number": _MOST, "embedding": _LENGTH_ONE}, frozenset({"online"})
    ),
    "a lesson taken back that nobody taught": Hostile(
        "lessons.v1",
        "LessonTakenBack",
        _IN_SERIES | {"number": _MOST, "embedding": _LENGTH_ONE},
        frozenset({"online"}),
    ),
    "a lesson for nobody": Hostile(
        "lessons.v1",
        "LessonTaught",
        _IN_SERIES | {"number": _MOST, "embedding": _LENGTH_ONE, "model": "nobody"},
        frozenset({"online"}),
    ),
    "a lesson that was given long ago": Hostile("lessons.v1", "LessonTaught", _IN_SERIES | {"number": 0}),
    "a lesson from before models were sums": Hostile("lessons.v1", "LessonTaught", {"lesson_id": str(uuid4())}),
    "evidence far ahead": Hostile("evidence.v1", "EvidenceGathered", _EVIDENCE | {"number": _MOST}, frozenset({"drift"})),
    "evidence of no partition": Hostile(
        "evidence.v1", "EvidenceGathered", _EVIDENCE | {"source_partition": _MOST}, frozenset({"drift"})
    ),
    "evidence of another series": Hostile("evidence.v1", "EvidenceGathered", {"series": "x" * 200, "number": 1, "at": _LATE}),
    "drift of nobody, in another century": Hostile(
        "drift.v1", "DriftDetected", {"detection_id": str(uuid4()), "subject": "nobody", "drawn_at": _LATE, "at": _LATE}
    ),
    "a deed about no drift": Hostile("drift.v1", "DriftHandled", {"detection_id": str(uuid4()), "message": "x" * 10_000}),
    "a receipt of somebody else's": Hostile(
        "receipts.v1", "CorrectionReceipt", {"player_id": "eve", "outcome": "refused", "why": "x" * 10_000}
    ),
    "a seat of the far future": Hostile("seats.v1", "SeatOffered", {"valid_s": 3600, "room": "x" * 200, "at": _LATE}),
    "a claim of a seat that nobody offered": Hostile("seats.v1", "SeatClaimed", {"code_id": "0" * 64, "at": _LATE}),
    "a reset of all that is still to be drawn": Hostile("examples.v1", "MemoryReset", {"player_id": "eve", "until": _LATE}),
    "a question of nobody": Hostile("drawings.v1", "MemoryAsked", {"player_id": "x" * 64, "whole": True, "at": _LATE}),
    "a memory that nobody asked for": Hostile("previews.v1", "MemoryTold", {"lessons": _MOST, "both": 1, "own_alone": _MOST}),
    "counts beyond all": Hostile("metrics.v1", "ScoresCounted", {"n": _MOST, "correct": _MOST, "source": _MOST}, _API),
    "a window of another century": Hostile("metrics.v1", "ScoresCounted", {"window": _LATE, "at": _LATE}, _API),
    "a fold of nobody": Hostile("metrics.v1", "FoldAdvanced", {"fold": "nobody", "source_partition": _MOST}, _API),
    "a snapshot beyond all lessons": Hostile(
        "models.v1",
        "SnapshotTaken",
        _READ | {"offset": _MOST, "lessons": _MOST, "version": "mnist3+9", "weights": _HUGE_WEIGHTS, "at": _LATE},
    ),
    "a snapshot of another basis": Hostile(
        "models.v1", "SnapshotTaken", {"reader": _READER, "basis": "relu-64-256-1", "weights": _WEIGHTS, "at": _LATE}
    ),
    "a snapshot from before models were sums": Hostile("models.v1", "SnapshotTaken", {"reader": _READER}),
    "a snapshot of another shape": Hostile(
        "models.v1", "SnapshotTaken", _READ | {"offset": _MOST, "weights": _OTHER_SHAPE}, frozenset({"router"})
    ),
    "a snapshot of nobody": Hostile("models.v1", "SnapshotTaken", _READ | {"model": "nobody"}, _BOTH),
    "a promotion to no endpoint": Hostile("models.v1", "ModelPromoted", {"endpoint": "", "at": _LATE}, _BOTH),
    "a policy of nobody": Hostile("models.v1", "PolicySet", {"lead": "nobody", "parts": {"nobody": "shown"}, "at": _LATE}),
    "a rebuild that nobody asked for": Hostile(
        "models.v1", "TrainingAdvanced", {"command_id": str(uuid4()), "step": "x" * 10_000, "log": ["x" * 100_000], "at": _LATE}
    ),
    "the end of no command": Hostile("commands.v1", "CommandSettled", {"command_id": str(uuid4()), "at": _LATE}, _BARE),
    "a version that is none": Hostile("commands.v1", "PromoteModel", {"command_id": str(uuid4()), "version": "999999"}, _BARE),
    "a rebuild of nobody": Hostile("commands.v1", "RetrainModel", {"command_id": str(uuid4()), "target": "nobody"}, _BARE),
    "a rejection of nothing": Hostile(
        "rejected.v1",
        "MessageRejected",
        {"source": "nobody.v1", "source_offset": _MOST, "stage": "nobody", "error": "x" * 500_000, "at": _LATE},
    ),
    "a repair of nothing": Hostile("rejected.v1", "MessageRepaired", {"rejection_id": str(uuid4()), "source": "nobody.v1"}),
}
"""Hostile events by description. Each can be read; honest events still count, and win where both are about one thing."""
_CORRECTION: Final = (GOLDEN / "CorrectionGiven.json").read_bytes()
_DRAWING: Final = (GOLDEN / "DrawingSubmitted.json").read_bytes()


def _golden(kind: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GOLDEN / f"{kind}.json").read_text())
    return read


def kinds(topic: str) -> dict[str, bytes | None]:
    """Return bad values of a topic, by what is wrong with them."""
    kind, fields = BEYOND[topic]
    future = _golden(kind) | {"type": f"{kind}V9", "version_of_the_schema": 9}
    return {
        "null": None,
        "empty": b"",
        "a list": b"[1]",
        "not UTF-8": b'{"type":"\xff\xfe"}',
        "not JSON": b"<drawing/>",
        "of a wrong type": _DRAWING if topic == "corrections.v1" else _CORRECTION,
        "of a future version": json.dumps(future).encode(),
        "900 KB of garbage": bytes(range(256)) * 3516,
        "beyond all": json.dumps(_golden(kind) | fields).encode(),
    }
