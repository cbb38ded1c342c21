"""What the audit finds on a log: what is missing, what happened twice, and counts that are wrong."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from contracts.events import (
    LATENCY_BUCKETS_MS,
    CorrectionGiven,
    CorrectionReceipt,
    DrawingSubmitted,
    Event,
    ExampleLabelled,
    GuessMade,
    LessonTaught,
    ScoresCounted,
    ShownGuess,
    now,
)
from contracts.ports import Record
from producers.audit import Auditor, AuditReport, audit
from producers.bus import open_bus

STROKES = [[[1.0, 1.0], [5.0, 5.0]]]
FLAT = [0.1] * 10


def history(drawing: UUID, correction: UUID, label: int = 3) -> Iterator[Event]:
    """A drawing that both models took for a 3, and that was labelled."""
    of = {"drawing_id": drawing, "player_id": "p"}
    yield DrawingSubmitted(**of, strokes=STROKES, width=9, height=9, final=True)
    shown = []
    for model, version in (("xgboost", "base1"), ("river", "mnist1+4")):
        yield GuessMade(**of, model=model, version=version, label=3, probabilities=FLAT, final=True, hops={})
        shown.append(ShownGuess(model=model, version=version, label=3, probabilities=FLAT, latency_ms=1))
    said = {**of, "correction_id": correction}
    yield CorrectionGiven(**said, label=label)
    yield ExampleLabelled(
        **said, revision=1, label=label, drawn_at=now(), strokes=STROKES, width=9, height=9, features=None, guesses=shown
    )
    yield LessonTaught(**said, lesson_id=uuid4(), model="river", label=label, embedding=b"", reader="r", shown=[])
    yield CorrectionReceipt(**said, outcome="learned", models={})
    for guess in shown:
        right = int(label == 3)
        confusion = [0] * 100
        confusion[label * 10 + 3] = 1
        yield ScoresCounted(
            model=guess.model, version=guess.version.split("+")[0], window=None, source=0, n=1, correct=right,
            confusion=confusion, latency=[1] + [0] * len(LATENCY_BUCKETS_MS),
        )  # fmt: skip


def audited(events: list[Event], drawing: UUID, correction: UUID) -> AuditReport:
    auditor = Auditor({drawing}, {correction: drawing}, whole=True)
    for offset, event in enumerate(events):
        auditor.read(Record(event.topic, 0, offset, event.record_key(), event.record_value(), 0))
    return auditor.report()


DRAWING, CORRECTION = uuid4(), uuid4()


@pytest.mark.parametrize("label", [3, 7])
def test_a_whole_history_is_clean(label):
    report = audited(list(history(DRAWING, CORRECTION, label)), DRAWING, CORRECTION)

    assert report.clean
    assert report.faults == []


@pytest.mark.parametrize(
    ("absent", "kind"),
    [
        (DrawingSubmitted, "drawings"),
        (GuessMade, "guesses"),
        (CorrectionGiven, "corrections"),
        (ExampleLabelled, "examples"),
        (LessonTaught, "lessons"),
        (CorrectionReceipt, "receipts"),
    ],
)
def test_what_is_missing_is_found(absent, kind):
    events = [event for event in history(DRAWING, CORRECTION) if not isinstance(event, absent)]

    report = audited(events, DRAWING, CORRECTION)

    assert report.lost[kind] > 0
    assert not report.clean


def test_the_same_message_again_is_a_repeat_and_no_fault():
    events = list(history(DRAWING, CORRECTION))

    report = audited(events + events, DRAWING, CORRECTION)

    assert report.clean
    assert report.repeats == {"drawings": 1, "guesses": 2, "corrections": 1, "examples": 1, "lessons": 1, "receipts": 1}


def test_a_second_lesson_of_a_correction_is_doubled():
    events = list(history(DRAWING, CORRECTION))
    again = next(event for event in history(DRAWING, CORRECTION) if isinstance(event, LessonTaught))

    assert audited([*events, again], DRAWING, CORRECTION).doubled["lessons"] == 1


def test_a_drawing_that_was_counted_twice_differs_from_the_examples():
    events = list(history(DRAWING, CORRECTION))
    total = next(event for event in reversed(events) if isinstance(event, ScoresCounted))
    confusion = [2 * n for n in total.confusion]

    report = audited([*events, total.model_copy(update={"n": 2, "correct": 2, "confusion": confusion})], DRAWING, CORRECTION)

    assert report.scores_differ == 3
    assert any("river mnist1: n is 2, by the examples 1" in fault for fault in report.faults)


async def test_the_audit_reads_the_log_itself():
    bus = open_bus("memory://audit")
    try:
        for event in history(DRAWING, CORRECTION):
            bus.publish(event).result(5)

        assert (await audit(bus, {DRAWING}, {CORRECTION: DRAWING}, since="start")).clean
        assert not (await audit(bus, {DRAWING, uuid4()}, {}, since="start", wait_s=0)).clean
    finally:
        bus.close()
