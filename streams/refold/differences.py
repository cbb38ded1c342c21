"""Finds what differs between the log and a fresh fold of it, in words. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from hashlib import sha256
from uuid import UUID

from contracts.events import (
    DIGITS,
    CorrectionReceipt,
    DrawingEvidence,
    DrawingPicked,
    DriftDetected,
    ExampleLabelled,
    LessonTaught,
    ModelChange,
    PicksCounted,
    ScoresCounted,
    SnapshotTaken,
)
from streams.online_base import Base
from streams.online_model import LessonSet
from streams.refold.published import LessonName, Published, alike

Differences = Iterator[tuple[str, str]]
"""The subject of each difference, and the fault in words."""
Compare = Callable[[Published, Published], Differences]
"""Compares the events on the log with those of fresh folds."""


def joined(real: Published, fresh: Published, drawings: Set[UUID]) -> Differences:
    """Compare the joiner's events on these drawings."""
    for drawing_id in drawings:
        here, there = real.examples.get(drawing_id), fresh.examples.get(drawing_id)
        if here is None and there is None:
            continue
        if here is None or (there is not None and here.revision < there.revision):
            newest = "none" if here is None else f"revision {here.revision}"
            yield (
                f"the example of drawing {drawing_id}",
                f"joiner: the example of drawing {drawing_id} has revision {there and there.revision} by a fresh fold"
                f" of the log, and {newest} is on it",
            )
        elif there is None or _example(here) != _example(there):
            yield (
                f"revision {here.revision} of the example of drawing {drawing_id}",
                f"joiner: the example of drawing {drawing_id} stands on {here.revision} events, {_models(here)}; by a fresh"
                f" fold of the log, each once, on {there.revision if there else 0}, {_models(there)}",
            )
    yield from _receipts("joiner", real, fresh, drawings)


def scored(real: Published, fresh: Published, cut: Set[int] = frozenset()) -> Differences:
    """Compare the scorer's events.

    Where a player was forgotten (``cut``: in which partitions), windows that they began and versions that only they saw stay,
    with nothing counted: so windows are not compared there, and a total of nothing is as good as none.
    """
    for key in real.scores.keys() | fresh.scores.keys():
        here, there = real.scores.get(key), fresh.scores.get(key)
        if any(one is not None and one.source in cut and _is_left_over(one) for one in (here, there)):
            continue
        if here is None or there is None or _score(here) != _score(there):
            told = ["nothing" if one is None else _counts(one) for one in (here, there)]
            yield f"the count {key}", f"scorer: the count {key} is {told[0]}; by a fresh fold of the examples {told[1]}"


def learned(real: Published, fresh: Published, series: str, cut: bool = False) -> Differences:
    """Compare the learner's events; lessons of another ``series`` are skipped.

    Where a player was forgotten (``cut``), a fresh fold gives the lessons from before that other numbers, in the same order.
    """
    mine = {name: _taught(lesson) for name, lesson in real.lessons.items() if name.series == series}
    others = {name: _taught(lesson) for name, lesson in fresh.lessons.items()}
    if cut:
        mine, others = _ranked(mine), _ranked(others)
    for name in mine.keys() | others.keys():
        here, there = mine.get(name), others.get(name)
        if here != there:
            subject = f"lesson {name.number} of player {name.player_id}"
            yield (
                subject,
                f"learner: {subject} is {here or 'not there'}; by a fresh fold of the examples {there or 'not there'}",
            )
    yield from _receipts("learner", real, fresh, None)


def _ranked(lessons: Mapping[LessonName, str]) -> dict[LessonName, str]:
    """Return the lessons numbered anew, each player's by themselves."""
    count: Counter[str] = Counter()
    out = {}
    for name in sorted(lessons):
        count[name.player_id] += 1
        out[name._replace(number=count[name.player_id])] = lessons[name]
    return out


def _is_left_over(score: ScoresCounted | PicksCounted) -> bool:
    """Whether a count may be what a forgotten player leaves, none of which is theirs."""
    return isinstance(score, PicksCounted) or score.window is not None or score.n == 0


def summed(snapshot: SnapshotTaken, base: Base, sets: Mapping[int, LessonSet]) -> Iterator[str]:
    """Yield what a snapshot says that is not so, by the lessons of each partition up to its offsets."""
    known = LessonSet()
    for several in sets.values():
        known = known.merged(several)
    where = f"learner: the snapshot {snapshot.version} of {snapshot.model}"
    if (snapshot.version, snapshot.lessons) != (known.version(base), known.lessons):
        yield f"{where} has {snapshot.lessons} lessons; the log up to there has {known.lessons} in force, {known.version(base)}"
    elif snapshot.digest != known.digest(base):
        yield f"{where} is not of the lessons that are on the log up to there"


def gathered(real: Published, fresh: Published, series: str, cut: Set[int] = frozenset()) -> Differences:
    """Compare the evidence that was gathered of examples; that of another ``series`` is skipped.

    Where a player was forgotten (``cut``: in which partitions), evidence of their drawings stays on the log, and a fresh fold
    has none of it: there it must be part of what is on the log, in the same order, up to the number from which it went on.
    """
    ends = {partition: max(told.jumps.get((series, partition), 0) for told in (real, fresh)) for partition in cut}
    for partition, end in ends.items():
        several, left = (_evidence_until(told, series, partition, end) for told in (real, fresh))
        rest = iter(several)
        if not all(one in rest for one in left):
            subject = f"the evidence of partition {partition} from before a player was forgotten"
            yield subject, f"evidence: {subject} is not that of a fresh fold of the examples that are left"
    for name in sorted(real.evidence.keys() | fresh.evidence.keys()):
        here, there = real.evidence.get(name), fresh.evidence.get(name)
        if name.series == series and here != there and name.number > ends.get(name.partition, 0):
            subject = f"number {name.number} of the evidence of partition {name.partition}"
            what = f"{here or 'not there'}; by a fresh fold of the examples {there or 'not there'}"
            yield subject, f"evidence: {subject} is {what}"


def _evidence_until(told: Published, series: str, partition: int, number: int) -> list[DrawingEvidence]:
    """Return the evidence of a partition up to a number, in order."""
    names = sorted(name for name in told.evidence if name[:2] == (series, partition) and name.number <= number)
    return [told.evidence[name] for name in names]


def detected(real: Published, fresh: Published, series: str, since_ms: int) -> Differences:
    """Compare the drift that was detected; that of another ``series`` is skipped, and what was told before ``since_ms`` may be
    gone from the log."""
    mine = {name: one for name, one in real.drift.items() if one.series == series}
    for detection_id in mine.keys() | fresh.drift.keys():
        here, there = mine.get(detection_id), fresh.drift.get(detection_id)
        if here is None and there is not None and there.at.timestamp() * 1000 < since_ms:
            continue
        if here is None or there is None or _drift(here) != _drift(there):
            subject = f"the detection {detection_id}"
            told = ["not there" if one is None else _told(one) for one in (here, there)]
            yield subject, f"drift: {subject} is {told[0]}; by a fresh fold of the evidence {told[1]}"


def remembered(real: Published, fresh: Published) -> Differences:
    """Compare the events of the players' own models."""
    yield from _receipts("personal", real, fresh, None)


def _drift(detection: DriftDetected) -> dict[str, object]:
    return detection.model_dump(exclude={"at", "signer", "signature"})


def _told(detection: DriftDetected) -> str:
    found = f"{detection.before:.4f} > {detection.after:.4f} of {detection.n} drawings, statistic {detection.statistic}"
    return f"{detection.what}, {detection.subject}: {found}"


def _taught(lesson: LessonTaught) -> str:
    read = sha256(lesson.reader.encode() + lesson.embedding).hexdigest()[:8]
    return (
        f"{lesson.type} {lesson.lesson_id} for {lesson.model} on drawing {lesson.drawing_id}: {lesson.label},"
        f" weight {lesson.weight}, features {read}"
    )


def _receipts(stage: str, real: Published, fresh: Published, drawings: Set[UUID] | None) -> Differences:
    """Compare a stage's receipts, of these ``drawings``; None: of all."""
    keys = {key for key in real.receipts.keys() | fresh.receipts.keys() if key[0] == stage}
    for key in keys:
        here, there = real.receipts.get(key, []), fresh.receipts.get(key, [])
        if drawings is not None and not any(one.drawing_id in drawings for one in (*here, *there)):
            continue
        if len(here) == len(there) and all(map(alike, here, there)):
            continue
        subject = f"the receipt of correction {key[1]}"
        what = f"{_changes(here)}; by a fresh fold {_changes(there)}"
        yield subject, f"{stage}: {subject} is {what}"


def _example(example: ExampleLabelled | DrawingPicked) -> dict[str, object]:
    """Return what is compared of an example; one from before examples had all labels is compared without them."""
    return example.model_dump(exclude={"at", "labels"})


def _score(score: ScoresCounted | PicksCounted) -> dict[str, object]:
    return score.model_dump(exclude={"at"})


def _counts(score: ScoresCounted | PicksCounted) -> str:
    if isinstance(score, ScoresCounted):
        return f"n {score.n}, correct {score.correct}"
    n, known = sum(one.n for one in score.strata), sum(sum(one.confusion) for one in score.strata)
    return f"n {n}, known {known}, correct {sum(sum(one.confusion[:: DIGITS + 1]) for one in score.strata)}"


def _models(example: ExampleLabelled | DrawingPicked | None) -> str:
    return "of " + (", ".join(guess.model for guess in example.guesses) if example else "nobody")


def _changes(receipts: Sequence[CorrectionReceipt]) -> str:
    """Receipts in words."""
    if not receipts:
        return "not there"
    return " and ".join(
        f"{one.outcome} ({', '.join(_change(model, one.models[model]) for model in one.models)})" for one in receipts
    )


def _change(model: str, change: ModelChange) -> str:
    return f"{model} {change.version_before} > {change.version_after}, {change.p_before:.4f} > {change.p_after:.4f}"
