"""Builds events, and a fold's cells in memory: a test gives only the values that matter to it.

Names stand for ids: ``drawing("d1")`` has the same drawing_id in every test. ``at`` is seconds after `BEGAN`.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from contracts.events import (
    DIGITS,
    LATENCY_BUCKETS_MS,
    NAMESPACE,
    AnswerGuess,
    CommandSettled,
    CorrectionGiven,
    CorrectionWithdrawn,
    DrawingAnswered,
    DrawingSubmitted,
    DriftDetected,
    Event,
    ExampleLabelled,
    ExamplesForgotten,
    Features,
    GuessMade,
    GuessMissed,
    LessonTakenBack,
    LessonTaught,
    MemoryReset,
    ModelPromoted,
    ModelPublished,
    PlayerForgotten,
    ScoresCounted,
    ShownGuess,
    SnapshotTaken,
    variant_of,
)
from contracts.ports import Origin
from streams.additive import BASIS
from streams.fold import Fold

BEGAN: Final = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
READER: Final = "raster-1/00000000"
SERIES: Final = f"sums-1 {READER}"
"""The series of the lessons."""


def named(name: str) -> UUID:
    """Return the id that a name stands for."""
    return uuid5(NAMESPACE, f"test/{name}")


def seconds(at: float) -> datetime:
    """Return the time ``at`` seconds after `BEGAN`."""
    return BEGAN + timedelta(seconds=at)


def drawing(name: str = "d1", *, player: str = "ada", at: float = 0, final: bool = True, **fields: Any) -> DrawingSubmitted:
    """Return a drawing of one stroke."""
    given: dict[str, Any] = {"strokes": [[[10, 10, 0], [10, 90, 160]]], "width": 300, "height": 300}
    return DrawingSubmitted(drawing_id=named(name), player_id=player, final=final, at=seconds(at), **given | fields)


def probabilities(label: int, p: float = 0.91) -> list[float]:
    """Return probabilities: ``p`` for the label, the rest shared out evenly."""
    return [p if digit == label else (1 - p) / 9 for digit in range(10)]


def features(seed: int = 0, reader: str = READER) -> Features:
    """Return the features of a drawing: noise of the right sizes."""
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=64)
    embedding *= 4 / np.linalg.norm(embedding)
    return Features(raster=rng.bytes(784), embedding=embedding.astype("<f4").tobytes(), reader=reader)


def like(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the drawing that `features` of this seed are of, as a player's own model is asked: its embedding, its raster."""
    read = features(seed)
    return np.frombuffer(read.embedding, "<f4")[None], np.frombuffer(read.raster, np.uint8)[None]


def guess(
    name: str = "d1", label: int = 7, *, model: str = "river", player: str = "ada", at: float = 0.02, **fields: Any
) -> GuessMade:
    """Return a model's answer; river's has features."""
    online = model == "river"
    given: dict[str, Any] = {
        "version": "mnist1+0" if online else "base1",
        "probabilities": probabilities(label),
        "final": True,
        "hops": {"bus_in": 4.0, "read": 1.0, "wait": 0.5, "model": 2.5},
        "features": features() if online else None,
    }
    return GuessMade(drawing_id=named(name), player_id=player, model=model, label=label, at=seconds(at), **given | fields)


def missed(name: str = "d1", *, model: str = "xgboost", player: str = "ada", at: float = 0.3, **fields: Any) -> GuessMissed:
    """Return the event of a model that was too slow for a drawing."""
    given: dict[str, Any] = {"final": True, "resting": False, "why": "no answer within 250 ms"}
    return GuessMissed(drawing_id=named(name), player_id=player, model=model, at=seconds(at), **given | fields)


def answered(guesses: Iterable[GuessMade], *, at: float | datetime = 0.06, **fields: Any) -> DrawingAnswered:
    """Return a drawing with these guesses on it, and the features of the guess that has any."""
    several = list(guesses)
    told = [AnswerGuess.model_validate(dict(made)) for made in several]
    features = next((made.features for made in several if made.features is not None), None)
    given: dict[str, Any] = {"features": features}
    if several:
        given |= {"drawing_id": several[0].drawing_id, "player_id": several[0].player_id}
    return DrawingAnswered.model_validate(
        {"guesses": told, "at": at if isinstance(at, datetime) else seconds(at), **given | fields}
    )


def answer(name: str = "d1", label: int = 7, *, at: float = 0.02, **fields: Any) -> DrawingAnswered:
    """Return a drawing with the guess of one model on it, as learners read a `guess`."""
    return answered([guess(name, label, at=at, **fields)], at=at)


def correction(
    name: str = "d1",
    label: int = 1,
    *,
    correction: str = "c1",
    player: str = "ada",
    over_quota: bool = False,
    at: float = 2,
) -> CorrectionGiven:
    """Return a player's correction; ``correction`` names its correction_id."""
    what = {"drawing_id": named(name), "label": label, "over_quota": over_quota}
    return CorrectionGiven(correction_id=named(correction), player_id=player, at=seconds(at), **what)


def withdrawal(name: str = "d1", *, correction: str = "c1", player: str = "ada", at: float = 3) -> CorrectionWithdrawn:
    """Return the event by which a player withdraws a correction."""
    return CorrectionWithdrawn(correction_id=named(correction), drawing_id=named(name), player_id=player, at=seconds(at))


def shown(
    label: int = 7, *, model: str = "river", version: str | None = None, latency_ms: float = 8.0, shadow: bool = False
) -> ShownGuess:
    """Return a guess as it stands in an example."""
    version = version or ("mnist1+0" if model == "river" else "base1")
    said = probabilities(label)
    return ShownGuess(model=model, version=version, label=label, probabilities=said, latency_ms=latency_ms, shadow=shadow)


def example(
    name: str = "d1", label: int | None = 1, *, revision: int = 3, correction: str = "c1", at: float = 0, **fields: Any
) -> ExampleLabelled:
    """Return a labelled drawing that river guessed as a 7."""
    given: dict[str, Any] = {
        "player_id": "ada",
        "strokes": [[[10, 10], [10, 90]]],
        "width": 300,
        "height": 300,
        "features": features(),
        "guesses": [shown()],
    }
    return ExampleLabelled(
        drawing_id=named(name),
        revision=revision,
        correction_id=named(correction),
        label=label,
        drawn_at=seconds(at),
        **given | fields,
    )


def reset(name: str = "r1", *, until: float = 0, player: str = "ada") -> MemoryReset:
    """Return a reset that forgets what was drawn up to ``until``."""
    return MemoryReset(reset_id=named(name), player_id=player, until=seconds(until), at=seconds(until))


def lesson(
    name: str = "l1", label: int = 1, *, number: int = 1, seed: int = 0, reader: str = READER, **fields: Any
) -> LessonTaught:
    """Return a lesson for river; ``number`` is its place in `SERIES` and its partition."""
    read = features(seed)
    given: dict[str, Any] = {
        "lesson_id": named(name),
        "model": "river",
        "drawing_id": named(f"drawing of {name}"),
        "correction_id": named(f"correction of {name}"),
        "player_id": "ada",
        "embedding": read.embedding,
        "series": SERIES,
    }
    return LessonTaught(
        label=label,
        reader=reader,
        number=number,
        **given | fields,
    )


def taken_back(taught: LessonTaught, number: int) -> LessonTakenBack:
    """Return the event that takes a lesson back, with a number of its own."""
    return LessonTakenBack.model_validate(dict(taught) | {"type": "LessonTakenBack", "number": number})


def forgotten(
    player: str = "ada", names: Iterable[str] = (), kind: type[PlayerForgotten] = ExamplesForgotten, **fields: Any
) -> PlayerForgotten:
    """Return the event by which a player is forgotten, with drawings of these names."""
    drawings = [named(name) for name in names]
    given: dict[str, Any] = {"forget_id": named("forget"), "drawings": drawings, "examples": drawings}
    return kind(player_id=player, **given | fields)


def in_force(said: Iterable[Event]) -> dict[UUID, LessonTaught]:
    """Return the lesson of each drawing that stands after some events; what is taken back must be what was taught."""
    out: dict[UUID, LessonTaught] = {}

    def told(one: LessonTaught) -> tuple[UUID, int, float, bool]:
        return one.lesson_id, one.label, one.weight, one.newcomer

    for event in said:
        if isinstance(event, LessonTaught) and event.sign > 0:
            assert event.drawing_id not in out, "a drawing has one lesson at a time"
            out[event.drawing_id] = event
        elif isinstance(event, LessonTaught):
            assert told(out.pop(event.drawing_id)) == told(event), "what is taken back is what was taught"
    return out


def counted(said: Iterable[Event]) -> dict[UUID, tuple[int, float, bool]]:
    """Return label, weight, and whether it is a newcomer's, of each lesson in force.

    Its ids are left out: which of two corrections to one label taught it depends on the order.
    """
    return {drawing_id: (one.label, one.weight, one.newcomer) for drawing_id, one in in_force(said).items()}


def published(version: str, at: float = 0, *, model: str = "xgboost", **fields: Any) -> ModelPublished:
    """Return a new version of a batch model, approved by default."""
    given: dict[str, Any] = {
        "title": "XGBoost",
        "digest": "d",
        "artifact": "s3://b/k",
        "lineage": {},
        "metrics": {},
        "gate": "g",
    }
    return ModelPublished(model=model, version=version, at=seconds(at), **given | fields)


def promoted(
    version: str, previous: str | None = None, kind: type[ModelPromoted] = ModelPromoted, *, model: str = "xgboost"
) -> ModelPromoted:
    """Return the event by which a version answers, and another stands by."""
    given = {"title": "XGBoost", "endpoint": f"gamenight-{model}", "variant": variant_of(version)}
    return kind(model=model, version=version, previous=previous, **given)


def snapshot(
    offset: int,
    *,
    reader: str = READER,
    basis: str = BASIS.name,
    offsets: Sequence[int] | None = None,
    weights: bytes = b"",
) -> SnapshotTaken:
    """Return river after the lessons up to an offset, all of partition 0 by default."""
    return SnapshotTaken(
        model="river",
        version=f"mnist1+{offset}",
        title="River",
        offset=offset,
        offsets=[offset, -1, -1, -1] if offsets is None else list(offsets),
        lessons=offset,
        digest="",
        reader=reader,
        basis=basis,
        weights=weights,
    )


def drift(name: str, subject: str = "river", *, at: float = 5, **fields: Any) -> DriftDetected:
    """Return a drift that was detected: a model errs more often, by default; ``name`` names its detection_id."""
    given: dict[str, Any] = {"kind": "online-errors", "what": "wrong guesses", "statistic": 9.5, "threshold": 9.0}
    given |= {"before": 0.05, "after": 0.4, "n": 27, "hands": 9, "by_partition": [27]}
    given |= {"began_at": seconds(at - 3), "drawn_at": seconds(at - 1)}
    return DriftDetected(detection_id=named(name), subject=subject, at=seconds(at), **given | fields)


def settled(command: Any, outcome: str = "done") -> CommandSettled:
    """Return the outcome of a command, which is carried out by default."""
    told = {"command_id": command.command_id, "target": command.target, "outcome": outcome, "message": ""}
    return CommandSettled.model_validate(told)


class MemoryCells(dict[str, bytes]):
    """Cells in memory; ``cells.copy()`` is what a restarted worker finds on disk."""

    at = BEGAN

    def put(self, key: str, value: bytes) -> None:
        """Set a value."""
        self[key] = value

    def drop(self, key: str) -> None:
        """Delete a value."""
        self.pop(key, None)

    def copy(self) -> "MemoryCells":
        """Return a copy of the cells, which changes separately."""
        return MemoryCells(self)


def folded(
    fold: Fold, history: Iterable[Event], cells: MemoryCells | None = None, first: int = 0, step: int | None = None
) -> list[Event]:
    """Return all events of a fold over a history, with offsets from ``first``; events of its opening are left out.

    ``step`` is how many events are folded in at a time; None: all at once.
    """
    cells = MemoryCells() if cells is None else cells
    list(fold.open(cells, 0))
    said: list[Event] = []
    waiting = list(enumerate(history, first))
    while waiting:
        now, waiting = waiting[:step], waiting[len(waiting) if step is None else step :]
        for offset, event in now:
            said += fold.apply(cells, event, Origin(0, offset, len(value := event.record_value()), value))
        said += fold.settle(cells, 0)
    return said


def scores(model: str, n: int, source: int = 0) -> ScoresCounted:
    """The total of a model's only version, all of it right: sevens."""
    confusion = [0] * DIGITS * DIGITS
    confusion[7 * DIGITS + 7] = n
    latency = [n] + [0] * len(LATENCY_BUCKETS_MS)
    return ScoresCounted(
        model=model, version="1", window=None, source=source, n=n, correct=n, confusion=confusion, latency=latency
    )
