"""What the audit finds on a log: what is missing, what happened twice, and counts that are wrong."""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from contracts.events import (
    LATENCY_BUCKETS_MS,
    TOPICS,
    CorrectionGiven,
    CorrectionReceipt,
    DrawingAnswered,
    DrawingEvidence,
    DrawingSubmitted,
    EndpointSeen,
    Event,
    EvidenceGathered,
    ExampleLabelled,
    GuessMade,
    GuessMissed,
    LessonsCut,
    LessonsForgotten,
    LessonTakenBack,
    LessonTaught,
    ModelChange,
    Outcome,
    PlayerRestricted,
    PolicySet,
    ScoresCounted,
    ShownGuess,
    SnapshotTaken,
    now,
)
from contracts.ports import Record
from deploy.audit import audit
from deploy.auditor import Auditor, AuditReport
from producers.bus import open_bus
from streams import joiner, story
from streams.drift import Drift
from streams.evidence import Evidence
from streams.joiner import Joiner
from streams.learner import Learner
from streams.ledger_view import Kept
from streams.online_base import Base, load_base
from streams.online_model import OnlineModel
from streams.personal_model import PersonalModels
from streams.refold.lessons_on_log import LessonsOnLog
from streams.refold.published import alike
from streams.refold.refolding import Refolding
from streams.refold.repeats import Repeats
from streams.scorer import Scorer
from tests.histories import (
    READER,
    MemoryCells,
    answer,
    answered,
    correction,
    drawing,
    example,
    features,
    folded,
    guess,
    lesson,
    named,
    taken_back,
    withdrawal,
)

TWO = ("xgboost", "river")
STROKES = [[[1.0, 1.0], [5.0, 5.0]]]
FLAT = [0.1] * 10
SERIES = Evidence(load_base()).series


def history(drawing: UUID, correction: UUID, label: int = 3) -> Iterator[Event]:
    """A drawing that both models took for a 3, and that was labelled."""
    of = {"drawing_id": drawing, "player_id": "p"}
    yield DrawingSubmitted(**of, strokes=STROKES, width=9, height=9, final=True)
    shown, made = [], []
    for model, version in (("xgboost", "base1"), ("river", "mnist1+4")):
        made.append(GuessMade(**of, model=model, version=version, label=3, probabilities=FLAT, final=True, hops={}))
        yield made[-1]
        shown.append(ShownGuess(model=model, version=version, label=3, probabilities=FLAT, latency_ms=1))
    yield answered(made)
    said = {**of, "correction_id": correction}
    yield CorrectionGiven(**said, label=label)
    yield ExampleLabelled(
        **said, revision=1, label=label, drawn_at=now(), strokes=STROKES, width=9, height=9, features=None, guesses=shown
    )
    yield LessonTaught(**said, lesson_id=uuid4(), model="river", label=label, embedding=b"", reader="r", series="s", number=1)
    for stage in ("learner", "personal"):
        yield CorrectionReceipt(**said, outcome="learned", models={}, stage=stage)
    for one in shown:
        right = int(label == 3)
        confusion = [0] * 100
        confusion[label * 10 + 3] = 1
        yield ScoresCounted(
            model=one.model, version=one.version.split("+")[0], window=None, source=0, n=1, correct=right,
            confusion=confusion, latency=[1] + [0] * len(LATENCY_BUCKETS_MS),
        )  # fmt: skip


def audited(events: list[Event], drawing: UUID, correction: UUID, models: Sequence[str] = (*TWO, "yours")) -> AuditReport:
    auditor = Auditor({drawing}, {correction: drawing}, models)
    for offset, event in enumerate(events):
        auditor.apply(Record(event.topic, 0, offset, event.record_key(), event.record_value(), 0))
    return auditor.report()


DRAWING, CORRECTION = uuid4(), uuid4()


@pytest.mark.parametrize("label", [3, 7])
def test_a_whole_history_is_clean(label):
    report = audited(list(history(DRAWING, CORRECTION, label)), DRAWING, CORRECTION, TWO)

    assert report.clean
    assert report.faults == []


@pytest.mark.parametrize(
    ("absent", "kind"),
    [
        (DrawingSubmitted, "drawings"),
        (GuessMade, "guesses"),
        (GuessMade, "answers"),
        (DrawingAnswered, "answers"),
        (CorrectionGiven, "corrections"),
        (ExampleLabelled, "examples"),
        (LessonTaught, "lessons"),
        (CorrectionReceipt, "receipts"),
    ],
)
def test_what_is_missing_is_found(absent, kind):
    events = [event for event in history(DRAWING, CORRECTION) if not isinstance(event, absent)]

    report = audited(events, DRAWING, CORRECTION, TWO)

    assert report.lost[kind] > 0
    assert not report.clean


@pytest.mark.parametrize(
    "change",
    [
        {"label": 5},
        {"version": "base2"},
        {"probabilities": [0.2] * 5 + [0.0] * 5},
        {"fallback": "rests"},
        {"role": "canary"},
        {"role": "shadow"},
        {"model": "nobody"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_guess_that_those_who_learn_are_told_otherwise_than_it_was_shown_is_a_fault(change):
    events = list(history(DRAWING, CORRECTION))
    [at] = [n for n, event in enumerate(events) if isinstance(event, DrawingAnswered)]
    told = [one.model_copy(update=change) if one.model == "xgboost" else one for one in events[at].guesses]
    events[at] = events[at].model_copy(update={"guesses": told})

    report = audited(events, DRAWING, CORRECTION, TWO)

    assert report.lost["answers"] == 1 + ("model" in change or change.get("role") == "shadow")
    assert not report.clean


def test_who_leads_is_part_of_what_those_who_learn_are_told():
    events = list(history(DRAWING, CORRECTION))
    [at] = [n for n, event in enumerate(events) if isinstance(event, DrawingAnswered)]
    events[at] = events[at].model_copy(update={"lead": "xgboost"})

    assert audited(events, DRAWING, CORRECTION, TWO).lost["answers"] == 2


def test_guesses_may_be_told_in_several_parts_and_again_and_of_another_player_nothing_is_asked():
    events = list(history(DRAWING, CORRECTION))
    [at] = [n for n, event in enumerate(events) if isinstance(event, DrawingAnswered)]
    whole = events.pop(at)
    assert isinstance(whole, DrawingAnswered)
    parts = [whole.model_copy(update={"guesses": [one]}) for one in whole.guesses]
    strange = whole.model_copy(update={"player_id": "eve"})

    assert audited([*events, *parts, whole, strange], DRAWING, CORRECTION, TWO).clean
    assert audited([*events, parts[0]], DRAWING, CORRECTION, TWO).lost["answers"] == 1


def test_what_a_router_showed_before_it_was_started_again_and_then_missed_is_no_fault():
    events = list(history(DRAWING, CORRECTION))
    shown = GuessMade(**of("mxnet"), version="2", label=3, probabilities=FLAT, final=True, hops={})
    miss = GuessMissed(**of("mxnet"), final=True, resting=True, why="3 failures in a row")

    assert audited([*events, shown], DRAWING, CORRECTION, TWO).lost["answers"] == 1
    assert audited([*events, shown, miss], DRAWING, CORRECTION, TWO).clean


def test_a_drawing_that_was_answered_before_answers_were_told_together_is_not_compared():
    events = [event for event in history(DRAWING, CORRECTION) if not isinstance(event, DrawingAnswered)]
    read = [e.model_copy(update={"features": features()}) if isinstance(e, GuessMade) else e for e in events]

    assert audited(events, DRAWING, CORRECTION, TWO).lost["answers"] == 2
    assert audited(read, DRAWING, CORRECTION, TWO).clean


def test_the_same_message_again_is_a_repeat_and_no_fault():
    events = list(history(DRAWING, CORRECTION))

    report = audited(events + events, DRAWING, CORRECTION, TWO)

    assert report.clean
    assert report.repeats == {"drawings": 1, "guesses": 2, "corrections": 1, "examples": 1, "lessons": 1, "receipts": 2}


def of(model: str) -> dict[str, object]:
    return {"drawing_id": DRAWING, "player_id": "p", "model": model}


def test_a_missed_guess_is_told_apart_and_is_not_lost():
    events = list(history(DRAWING, CORRECTION))
    miss = GuessMissed(**of("mxnet"), final=True, resting=True, why="3 failures in a row")

    assert audited(events, DRAWING, CORRECTION, (*TWO, "mxnet")).lost["guesses"] == 1
    report = audited([*events, miss, miss], DRAWING, CORRECTION, (*TWO, "mxnet"))

    assert report.clean
    assert report.missed == {"mxnet": 1}


def test_a_guess_that_is_there_stands_whatever_was_said_to_be_missed():
    events = list(history(DRAWING, CORRECTION))
    miss = GuessMissed(**of("xgboost"), final=True, resting=False, why="too slow")

    assert audited([*events, miss], DRAWING, CORRECTION, TWO).missed == {}


@pytest.mark.parametrize(("status", "lost"), [("Unavailable", 0), ("Failed", 0), ("InService", 1)])
def test_a_model_that_cannot_be_here_is_not_expected(status, lost):
    seen = EndpointSeen(model="mxnet", version="none", endpoint="gamenight-mxnet", status=status, reason="no wheel")

    report = audited([*history(DRAWING, CORRECTION), seen], DRAWING, CORRECTION, (*TWO, "mxnet"))

    assert report.lost["guesses"] == lost
    assert report.absent == ([] if lost else ["mxnet"])


def test_a_batch_model_is_expected_from_its_first_guess_on():
    first, second = uuid4(), uuid4()
    events: list[Event] = []
    for one in (first, second):
        events += [event for event in history(one, uuid4()) if isinstance(event, DrawingSubmitted | GuessMade)]
    guessed = {event.drawing_id: event for event in events if isinstance(event, GuessMade) and event.model == "xgboost"}

    lost = []
    for absent in ([first], [first, second], [second]):
        told = [event for event in events if event not in [guessed[drawing] for drawing in absent]]
        auditor = Auditor({first, second}, {}, TWO)
        for offset, event in enumerate(told):
            auditor.apply(Record(event.topic, 0, offset, event.record_key(), event.record_value(), 0))
        lost.append(auditor.report().lost["guesses"])

    assert lost == [0, 2, 1]


def test_a_shadow_stands_for_a_model_only_where_the_policy_made_it_one():
    events = list(history(DRAWING, CORRECTION))
    shadow = GuessMade(**of("mxnet"), version="2", label=3, probabilities=FLAT, final=True, hops={}, role="shadow")
    events.append(answered([shadow]))
    policy = PolicySet(lead="everyone", parts={"mxnet": "shadow"})

    assert audited([*events, shadow], DRAWING, CORRECTION, (*TWO, "mxnet")).lost["guesses"] == 1
    assert audited([*events, shadow, policy], DRAWING, CORRECTION, (*TWO, "mxnet")).clean


def test_a_model_that_is_off_is_not_expected():
    events = [*history(DRAWING, CORRECTION), PolicySet(lead="everyone", parts={"mxnet": "off"})]

    assert audited(events, DRAWING, CORRECTION, (*TWO, "mxnet")).clean


def test_shadows_are_counted_apart_from_the_version_that_was_shown():
    events = list(history(DRAWING, CORRECTION))
    [at] = [n for n, event in enumerate(events) if isinstance(event, ExampleLabelled)]
    shadow = ShownGuess(model="xgboost", version="2", label=7, probabilities=FLAT, latency_ms=1, shadow=True)
    events[at] = events[at].model_copy(update={"guesses": [*events[at].guesses, shadow]})

    report = audited(events, DRAWING, CORRECTION, TWO)

    assert report.scores_differ == 2  # n and confusion
    assert any("xgboost 2/shadow" in fault for fault in report.faults)


def test_a_correction_that_only_the_model_of_all_has_learned_is_a_loss():
    events = [e for e in history(DRAWING, CORRECTION) if not (isinstance(e, CorrectionReceipt) and e.stage == "personal")]

    assert audited(events, DRAWING, CORRECTION, TWO).clean
    assert audited(events, DRAWING, CORRECTION).lost["receipts of yours"] == 1


def test_a_correction_that_was_replaced_before_it_became_an_example_is_no_loss():
    said = {"drawing_id": DRAWING, "player_id": "p", "correction_id": CORRECTION}
    begun = [
        e
        for e in history(DRAWING, CORRECTION)
        if isinstance(e, DrawingSubmitted | GuessMade | DrawingAnswered | CorrectionGiven)
    ]

    assert audited(begun, DRAWING, CORRECTION, TWO).lost["receipts"] == 1
    replaced = CorrectionReceipt(**said, outcome="superseded", models={}, stage="joiner")

    assert audited([*begun, replaced], DRAWING, CORRECTION, TWO).clean


def test_a_second_lesson_of_a_drawing_is_doubled_unless_the_first_was_taken_back():
    events = list(history(DRAWING, CORRECTION))
    [lesson] = [event for event in events if isinstance(event, LessonTaught)]
    again = [lesson.model_copy(update={"number": number}) for number in (2, 3)]
    of_another_series = lesson.model_copy(update={"series": "another"})

    assert audited([*events, again[0]], DRAWING, CORRECTION).doubled["lessons"] == 1
    assert audited([*events, lesson, of_another_series], DRAWING, CORRECTION).doubled["lessons"] == 0
    assert audited([*events, taken_back(lesson, 2), again[1]], DRAWING, CORRECTION).doubled["lessons"] == 0
    assert audited([*events, taken_back(lesson, 2), *again], DRAWING, CORRECTION).doubled["lessons"] == 0, "2 came already"


def test_a_lesson_from_before_models_were_sums_is_none():
    events = list(history(DRAWING, CORRECTION))
    [at] = [n for n, event in enumerate(events) if isinstance(event, LessonTaught)]
    events[at] = events[at].model_copy(update={"series": "", "number": 0})

    assert audited(events, DRAWING, CORRECTION, TWO).lost["lessons"] == 1


def test_an_outcome_from_before_models_were_sums_is_no_second_one_and_two_of_after_are():
    events = [event for event in history(DRAWING, CORRECTION) if not isinstance(event, CorrectionReceipt)]
    said = {"drawing_id": DRAWING, "player_id": "p", "correction_id": CORRECTION, "models": {}}
    before = CorrectionReceipt(**said, outcome="learned", stage="learner")
    after = [CorrectionReceipt(**said, outcome=outcome, weight=0.1, stage="learner") for outcome in ("weighted", "quarantined")]

    assert audited([*events, before, after[0]], DRAWING, CORRECTION, TWO).doubled["receipts"] == 0
    assert audited([*events, before, *after], DRAWING, CORRECTION, TWO).doubled["receipts"] == 1


def test_two_outcomes_of_one_stage_are_doubled_and_a_replaced_correction_is_not():
    events = list(history(DRAWING, CORRECTION))
    said = {"drawing_id": DRAWING, "player_id": "p", "correction_id": CORRECTION, "models": {}}
    replaced = CorrectionReceipt(**said, outcome="superseded", stage="joiner")
    again = CorrectionReceipt(**said, outcome="quarantined", stage="learner")

    assert audited([*events, replaced], DRAWING, CORRECTION, TWO).clean
    assert audited([*events, again], DRAWING, CORRECTION, TWO).doubled["receipts"] == 1


def test_a_drawing_that_was_counted_twice_differs_from_the_examples():
    events = list(history(DRAWING, CORRECTION))
    total = next(event for event in reversed(events) if isinstance(event, ScoresCounted))
    confusion = [2 * n for n in total.confusion]

    report = audited([*events, total.model_copy(update={"n": 2, "correct": 2, "confusion": confusion})], DRAWING, CORRECTION)

    assert report.scores_differ == 3
    assert any("river mnist1: n is 2, by the examples 1" in fault for fault in report.faults)


def whole_history(*names: str, changed: bool = False) -> list[Event]:
    """What is on the log of some drawings when real folds have worked; of a player whose partition is the first.

    If it is ``changed``, the player has corrected the first drawing anew, and withdrawn the correction of the last.
    """
    base, of_eve = load_base(), {"player": "eve"}
    said: list[Event] = []
    for seed, name in enumerate(names):
        read = features(seed, reader=base.reader)
        guesses = [guess(name, features=None, **of_eve), guess(name, model="xgboost", **of_eve)]
        guesses.append(guess(name, model="yours", version="own3+0", **of_eve))
        said += [drawing(name, **of_eve), *guesses, answered(guesses, features=read)]
        said.append(correction(name, correction=f"correction of {name}", **of_eve))
    if changed:
        said.append(correction(names[0], 5, correction="another", at=4, **of_eve))
        said.append(withdrawal(names[-1], correction=f"correction of {names[-1]}", at=5, **of_eve))
    examples = folded(Joiner(), said, step=1)
    learner = Learner(base)
    learned = folded(learner, examples)
    lessons = [event for event in learned if isinstance(event, LessonTaught)]
    summed = snapshots(base, learner.series, lessons)
    evidence = folded(Evidence(base), examples)
    scored, remembered = folded(Scorer(), examples), folded(PersonalModels(base), examples)
    return [*said, *examples, *scored, *learned, *summed, *remembered, *evidence, *folded(Drift(SERIES), evidence)]


def snapshots(base: Base, series: str, lessons: Sequence[LessonTaught]) -> Iterator[SnapshotTaken]:
    """The model after each of the lessons, which are on the first partition."""
    model = OnlineModel(base, series)
    for offset, one in enumerate(lessons):
        model.apply(one, 0, offset)
        yield model.snapshot(model.in_force(), now())


def refolded(events: list[Event]) -> list[str]:
    """What differs from a fresh fold, of a log that nobody's ledger is beside."""
    refolding = Refolding(load_base(), 1)
    last: Counter[str] = Counter()
    for event in events:
        refolding.apply(Record(event.topic, 0, last[event.topic], event.record_key(), event.record_value(), 0), event)
        last[event.topic] += 1
    return [fault for several in refolding.faults(None, {}).values() for fault in several]


def test_a_log_that_real_folds_have_written_is_what_fresh_folds_come_to_however_often_each_message_is_there():
    events = whole_history("d1", "d2")

    assert refolded(events) == []
    assert refolded(events + events) == []


def test_lessons_that_were_taken_back_are_what_a_fresh_fold_takes_back_too():
    events = whole_history("d1", "d2", changed=True)

    assert sum(isinstance(event, LessonTakenBack) for event in events) == 2
    assert refolded(events) == []
    assert refolded(events + events) == []


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        (ExampleLabelled, {"revision": 99}, "joiner: the example of drawing"),
        (LessonTaught, {"lesson_id": uuid4()}, "learner: lesson 2 of player eve is LessonTaught"),
        (LessonTaught, {"label": 9}, "learner: lesson 2 of player eve is LessonTaught"),
        (LessonTaught, {"weight": 0.5}, "learner: lesson 2 of player eve is LessonTaught"),
        (LessonTaught, {"embedding": features(7).embedding}, "learner: lesson 2 of player eve is LessonTaught"),
        (LessonTaught, {"player_id": "bob"}, "learner: lesson 2 of player bob is LessonTaught"),
        (LessonTaught, {"number": 3}, "learner: lesson 3 of player eve is LessonTaught"),
        (LessonTaught, {"label": 9}, "learner: the snapshot mnist3+2 of river is not of the lessons"),
        (ScoresCounted, {"n": 7}, "scorer: the count"),
        (SnapshotTaken, {"lessons": 3}, "learner: the snapshot mnist3+2 of river has 3 lessons; the log up to there has 2"),
        (SnapshotTaken, {"version": "mnist3+3"}, "learner: the snapshot mnist3+3 of river has 2 lessons; the log up to"),
        (SnapshotTaken, {"offsets": [0, -1, -1, -1]}, "learner: the snapshot mnist3+2 of river has 2 lessons; the log up to"),
        (SnapshotTaken, {"digest": "another"}, "learner: the snapshot mnist3+2 of river is not of the lessons"),
        (SnapshotTaken, {"digest": "another"}, "learner: the log has lessons up to mnist3+2, and the newest snapshot is"),
        (SnapshotTaken, {"weights": bytes(4 * 3210)}, "learner: the weights of the snapshot mnist3+2 are not those"),
        (SnapshotTaken, {"weights": bytes(2601)}, "learner: the weights of the snapshot mnist3+2 are not those"),
        (CorrectionReceipt, {"outcome": Outcome.QUARANTINED}, "personal: the receipt of correction"),
        (EvidenceGathered, {"number": 2}, "evidence: number 1 of the evidence of partition 0 is not there; by a fresh fold of"),
        (EvidenceGathered, {"number": 2}, "evidence: number 3 of the evidence of partition 0 is mark="),
        (EvidenceGathered, {"drawings": []}, "evidence: number 2 of the evidence of partition 0 is not there; by a fresh"),
        (EvidenceGathered, {"source_partition": 3}, "evidence: number 1 of the evidence of partition 3 is mark="),
    ],
)
def test_what_a_fold_has_said_and_a_fresh_one_does_not_is_a_fault(kind, change, told):
    events = whole_history("d1", "d2")
    at = max(n for n, event in enumerate(events) if isinstance(event, kind))
    events[at] = events[at].model_copy(update=change)

    assert [fault for fault in refolded(events) if fault.startswith(told)]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (ExampleLabelled, "joiner: the example of drawing"),
        (LessonTaught, "learner: lesson 2 of player eve is not there; by a fresh fold of the examples LessonTaught"),
        (SnapshotTaken, "learner: the log has lessons up to mnist3+2, and the newest snapshot is mnist3+1"),
        (ScoresCounted, "scorer: the count"),
        (CorrectionReceipt, "personal: the receipt of correction"),
        (EvidenceGathered, "evidence: number 1 of the evidence of partition 0 is not there"),
    ],
)
def test_what_a_fresh_fold_says_and_is_not_on_the_log_is_a_fault(kind, told):
    events = whole_history("d1", "d2")
    at = max(n for n, event in enumerate(events) if isinstance(event, kind))

    assert [fault for fault in refolded(events[:at] + events[at + 1 :]) if fault.startswith(told)]


def drifted() -> list[Event]:
    """Evidence on which a model begins to err, and what is detected in it."""
    at = now()
    several = [
        DrawingEvidence(mark=1 + n % 9, drawn_at=at, label=None, ink=None, directions=[], wrong={"river": n > 200})
        for n in range(240)
    ]
    whole = EvidenceGathered(series=SERIES, source_partition=0, number=1, drawings=several)
    return [whole, *folded(Drift(SERIES), [whole])]


def test_drift_that_was_detected_is_what_a_fresh_fold_detects_however_the_evidence_lies_on_the_log():
    evidence, detection = drifted()
    first, second = (
        evidence.model_copy(update={"number": 1 + at, "drawings": evidence.drawings[at : at + 150]}) for at in (0, 100)
    )

    for log in ([evidence, detection], [first, second, detection, evidence, detection]):
        assert [fault for fault in refolded(log) if fault.startswith("drift")] == []


def test_drift_that_was_detected_by_other_rules_is_compared_with_nothing():
    evidence, detection = drifted()
    old = detection.model_copy(update={"detection_id": named("another"), "series": ""})

    assert [fault for fault in refolded([old, evidence, detection]) if fault.startswith("drift")] == []


def test_evidence_that_came_before_is_left_out_before_it_is_folded():
    whole, _ = drifted()
    first, second, ahead = (
        whole.model_copy(update={"number": 1 + at, "drawings": whole.drawings[at : at + 150]}) for at in (0, 100, 239)
    )
    repeats = Repeats()

    assert repeats.new_evidence(first) == first
    assert repeats.new_evidence(first) is None
    assert repeats.new_evidence(second) == whole.model_copy(update={"number": 151, "drawings": whole.drawings[150:]})
    assert repeats.new_evidence(ahead.model_copy(update={"number": 242})) is not None, "the fold rejects it"
    assert repeats.new_evidence(whole) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n": 7}, "of 7 drawings, statistic"),
        ({"detection_id": named("another")}, "by a fresh fold of the evidence not there"),
        ({"detection_id": named("another")}, "is not there; by a fresh fold of the evidence wrong guesses, river"),
        (None, "is not there; by a fresh fold of the evidence wrong guesses, river"),
    ],
)
def test_drift_that_was_told_otherwise_is_a_fault(change, told):
    evidence, detection = drifted()
    rest = [detection.model_copy(update=change)] if change else []

    assert [fault for fault in refolded([evidence, *rest]) if fault.startswith("drift: the detection") and told in fault]


def test_drift_that_is_older_than_what_is_kept_may_be_gone_from_the_log():
    evidence, _ = drifted()
    refolding, month_ms = Refolding(load_base(), 1), TOPICS["drift.v1"].retention_ms
    refolding.apply(Record("evidence.v1", 0, 0, b"", b"", 0), evidence)
    assert len(refolding.faults(None, {})["drift"]) == 1

    refolding.apply(Record("evidence.v1", 0, 1, b"", b"", month_ms + 1), evidence)

    assert refolding.faults(None, {})["drift"] == []


def test_restrictions_count_for_evidence_where_they_lie_on_the_log_whatever_the_clock_said():
    events = whole_history("d1")
    quarantined = PlayerRestricted(player_id="eve", restriction="quarantined")
    refolding = Refolding(load_base(), 1)
    [example] = [event for event in events if isinstance(event, ExampleLabelled)]
    for offset, event in enumerate([quarantined, example]):
        refolding.apply(Record("examples.v1", 0, offset, b"", b"", 9 - offset), event)

    assert refolding.faults(None, {})["evidence"] == []


@pytest.mark.parametrize("stage", ["scorer", "learner", "evidence", "personal"])
def test_a_restriction_reaches_every_fold_of_examples(stage):
    base = replace(load_base(), reader=READER)
    banned = PlayerRestricted(player_id="eve", restriction="banned")
    events = [example("d1", player_id="eve"), banned, example("d2", player_id="eve")]
    fold = {"scorer": Scorer(), "learner": Learner(base), "evidence": Evidence(base), "personal": PersonalModels(base)}[stage]
    cells = MemoryCells()
    folded(fold, events, cells)
    refolding = Refolding(base, 1)
    for offset, event in enumerate(events):
        refolding.apply(Record("examples.v1", 0, offset, b"", b"", offset + 1), event)

    faults = refolding.faults({(stage, 0): Kept(dict(cells), {"examples.v1": len(events) - 1}, frozenset())}, {})[stage]

    assert [fault for fault in faults if "ledger" in fault] == []


@pytest.mark.parametrize(("by", "same"), [(2.5e-7, True), (9e-5, True), (2e-4, False)])
def test_what_another_machine_adds_in_another_order_is_no_fault_of_a_receipt(by, same):
    change = ModelChange(version_before="own3+0", version_after="own3+1", p_before=0.25, p_after=0.75)
    receipt = CorrectionReceipt(
        correction_id=uuid4(),
        drawing_id=uuid4(),
        player_id="eve",
        stage="personal",
        outcome=Outcome.LEARNED,
        models={"yours": change},
    )

    other = receipt.model_copy(update={"models": {"yours": change.model_copy(update={"p_after": 0.75 - by})}})

    assert alike(receipt, other) is same
    assert not alike(receipt, receipt.model_copy(update={"models": {}}))


def test_a_lesson_that_nobody_has_taught_is_a_fault():
    events = whole_history("d1", "d2")
    at = max(n for n, event in enumerate(events) if isinstance(event, LessonTaught))
    invented = events[at].model_copy(update={"number": 3, "lesson_id": uuid4()})

    told = [fault for fault in refolded([*events, invented]) if fault.startswith("learner: lesson 3 of player eve is Less")]

    assert told
    assert told[0].endswith("by a fresh fold of the examples not there")


def test_a_lesson_that_was_not_taken_back_is_a_fault():
    events = whole_history("d1", "d2", changed=True)
    kept = [event for event in events if not isinstance(event, LessonTakenBack)]

    assert [
        fault for fault in refolded(kept) if re.match(r"learner: lesson \d of player eve is not there; .* LessonTakenB", fault)
    ]


def test_a_snapshot_that_was_wrong_is_a_fault_though_the_right_one_follows():
    events = whole_history("d1", "d2")
    at = max(n for n, event in enumerate(events) if isinstance(event, SnapshotTaken))
    wrong = events[at].model_copy(update={"digest": "another"})

    faults = refolded([*events[:at], wrong, *events[at:]])

    assert faults == ["learner: the snapshot mnist3+2 of river is not of the lessons that are on the log up to there"]


def test_a_snapshot_of_another_generation_or_from_before_models_were_sums_is_not_compared():
    events = whole_history("d1", "d2")
    at = max(n for n, event in enumerate(events) if isinstance(event, SnapshotTaken))
    others = [events[at].model_copy(update=told) for told in ({"version": "mnist1+9"}, {"offsets": [], "digest": "old"})]

    assert refolded([*events, *others]) == []


@pytest.mark.parametrize("series", ["", "of older rules"])
def test_a_snapshot_of_another_series_is_not_compared_though_its_version_is_named_alike(series):
    """An upgrade that changes the rules begins again with number 1; compaction leaves the old snapshots for a while."""
    events = whole_history("d1", "d2")
    at = min(n for n, event in enumerate(events) if isinstance(event, SnapshotTaken))
    old = events[at].model_copy(update={"series": series, "version": "mnist3+3", "lessons": 3, "offsets": [9, -1, -1, -1]})

    assert refolded([*events[:at], old, *events[at:]]) == []


def test_what_the_learner_told_before_models_were_sums_is_told_again_and_is_no_fault():
    events = whole_history("d1")
    [at] = [n for n, e in enumerate(events) if isinstance(e, CorrectionReceipt) and e.stage == "learner"]
    before = events[at].model_copy(update={"outcome": Outcome.LEARNED, "weight": None})
    assert events[at].outcome is Outcome.WEIGHTED

    assert refolded([*events[:at], before, *events[at:]]) == []


def test_what_a_players_model_of_another_generation_told_is_told_again_and_is_no_fault():
    events = whole_history("d1")
    [at] = [n for n, e in enumerate(events) if isinstance(e, CorrectionReceipt) and e.stage == "personal"]
    change = events[at].models["yours"]

    def told(**fields: object) -> CorrectionReceipt:
        return events[at].model_copy(update={"models": {"yours": change.model_copy(update={"p_after": 0.5} | fields)}})

    assert refolded([*events[:at], told(version_after="own1+1"), *events[at:]]) == []
    assert refolded([*events[:at], told(), *events[at:]]) != []


def test_a_receipt_of_the_learner_is_compared_but_for_what_the_online_model_gave():
    events = whole_history("d1")
    [at] = [n for n, e in enumerate(events) if isinstance(e, CorrectionReceipt) and e.stage == "learner"]
    receipt = events[at]
    assert isinstance(receipt, CorrectionReceipt)

    def with_receipt(**fields: object) -> list[str]:
        return refolded([*events[:at], receipt.model_copy(update=fields), *events[at + 1 :]])

    other = {"version_after": "mnist3+80", "p_before": 0.001, "p_after": 0.002}
    differ = {model: change.model_copy(update=other) for model, change in receipt.models.items()}

    assert receipt.models.keys() == {"river", "xgboost"}
    assert with_receipt(models=receipt.models | {"river": differ["river"]}) == []
    for change in ({"outcome": Outcome.QUARANTINED}, {"models": differ}, {"models": {"xgboost": receipt.models["xgboost"]}}):
        assert [fault for fault in with_receipt(**change) if fault.startswith("learner: the receipt of correction")]


def test_an_answer_of_yours_that_the_players_examples_do_not_give_is_a_fault():
    events = whole_history("d1")
    [at] = [n for n, event in enumerate(events) if isinstance(event, DrawingAnswered)]
    guesses = [one.model_copy(update={"probabilities": FLAT}) if one.model == "yours" else one for one in events[at].guesses]
    events[at] = events[at].model_copy(update={"guesses": guesses})

    assert [fault for fault in refolded(events) if fault.startswith("personal: the answer of own3+0 to drawing")]


def test_examples_that_are_to_be_kept_for_good_and_are_gone_are_a_fault():
    refolding = Refolding(load_base(), 1)
    [example] = [event for event in whole_history("d1") if isinstance(event, ExampleLabelled)]
    refolding.apply(Record("examples.v1", 0, 5, b"", b"", 0), example)

    assert "examples.v1/0 begins at offset 5" in " ".join(refolding.faults(None, {})["scorer"])


def test_a_person_reads_whether_the_ledgers_were_compared():
    def told(ledgers: int | None) -> str:
        console = Console(file=io.StringIO(), width=100)
        console.print(Auditor((), {}, ()).report(ledgers=ledgers).to_table())
        return console.file.getvalue()

    assert "elsewhere: not compared" in told(None)
    assert "8 compared" in told(8)


def test_examples_on_drawings_that_an_earlier_router_answered_are_not_compared_with_a_fresh_fold():
    events = [event for event in whole_history("d1") if not isinstance(event, DrawingAnswered)]
    read = [e.model_copy(update={"features": features()}) if isinstance(e, GuessMade) else e for e in events]

    assert [fault for fault in refolded(events) if fault.startswith("joiner: the example of drawing")]
    assert [fault for fault in refolded(read) if fault.startswith("joiner")] == []


def test_a_part_that_lies_on_the_log_twice_is_folded_once_though_the_joiner_would_count_it_again(monkeypatch):
    events = whole_history("d1")
    [part] = [event for event in events if isinstance(event, DrawingAnswered)]
    later = part.model_copy(update={"features": None, "guesses": part.guesses[:2]})
    monkeypatch.setattr(story, "_part_of", lambda _: object())

    assert refolded([*events, part, later]) == []


def test_a_story_that_went_for_want_of_room_is_no_fault_and_one_that_is_lost_is(monkeypatch):
    monkeypatch.setattr(joiner, "LEAST_BYTES", 12_000)
    said = [event for n in range(12) for event in (drawing(f"d{n}", at=n), answer(f"d{n}", at=n + 0.1))]
    cells = MemoryCells()
    folded(Joiner(log_bytes=1), said, cells)

    def faults() -> list[str]:
        refolding, last = Refolding(load_base(), 1), Counter[str]()
        for event in said:
            refolding.apply(Record(event.topic, 0, last[event.topic], event.record_key(), event.record_value(), 0), event)
            last[event.topic] += 1
        kept = Kept(dict(cells), {topic: n - 1 for topic, n in last.items()}, frozenset())
        return refolding.faults({("joiner", 0): kept}, {})["joiner"]

    assert f"story/{named('d0')}" not in cells
    assert faults() == []
    cells.drop(f"story/{named('d11')}")
    assert "is in the fresh fold only" in " ".join(faults())


async def test_the_audit_reads_the_log_itself_and_says_what_it_has_not_compared(tmp_path):
    bus = open_bus("memory://audit")
    drawn, given = named("d1"), named("correction of d1")
    try:
        for event in whole_history("d1"):
            bus.publish(event).result(5)

        clean = await audit(bus, {drawn}, {given: drawn}, models=TWO, wait_s=1)

        assert clean.clean, clean.faults
        assert clean.ledgers is None, "the workers' home was not named"
        assert clean.answered == {"river": 1, "xgboost": 1, "yours": 1}
        assert not (await audit(bus, {drawn, uuid4()}, {}, models=TWO, wait_s=0)).clean
        assert (await audit(bus, {drawn}, {given: drawn}, models=TWO, wait_s=0, home=tmp_path)).ledgers == 0
    finally:
        bus.close()


def forgotten_history() -> tuple[list[Event], list[EvidenceGathered]]:
    """The examples that are left of two players when one is forgotten, and all evidence that was gathered."""
    base, cells = load_base(), MemoryCells()
    read = features(1).model_copy(update={"reader": base.reader})
    several = [example(f"{player}'s d{n}", n, player_id=player, features=read) for n in range(3) for player in ("ada", "bob")]
    cut = LessonsCut(source=0, series=Learner(base).series, number=1000, numbers=[(1, 3)])
    more = example("bob's d9", 9, player_id="bob", features=read)
    evidence = folded(Evidence(base), [*several, cut, more], cells, step=2)
    left = [event for event in several if event.player_id == "bob"]
    return [*left, cut, more], [event for event in evidence if isinstance(event, EvidenceGathered)]


def of_evidence(events: list[Event]) -> list[str]:
    return [fault for fault in refolded(events) if fault.startswith(("evidence", "drift"))]


def test_evidence_of_a_forgotten_player_is_no_fault_and_what_is_missing_or_another_still_is():
    examples, evidence = forgotten_history()

    assert [one.behind for one in evidence] == [None, None, None, 6, None]
    assert of_evidence([*examples, *evidence]) == []
    assert of_evidence([*examples, *evidence, *evidence]) == []
    before = evidence[1].model_copy(update={"drawings": [one.model_copy(update={"ink": 7}) for one in evidence[1].drawings]})
    [wrong] = of_evidence([*examples, evidence[0], before, *evidence[2:]])
    assert "from before a player was forgotten is not that of a fresh fold" in wrong
    assert any("number 1001 of the evidence" in fault for fault in of_evidence([*examples, *evidence[:-1]]))


@pytest.mark.parametrize("goes", [(1, 2), (3, 4), (1, 4)], ids=["first", "last", "around others"])
def test_the_newest_snapshot_after_a_player_was_forgotten_has_the_number_that_the_log_explains(goes):
    base = load_base()
    series = Learner(base).series
    read = {"series": series, "reader": base.reader}
    taught = [lesson(f"l{n}", n, number=n, player_id="eve" if n == goes[0] else "bob", **read) for n in (1, 2, 3, 4)]
    taught[goes[1] - 1] = taken_back(taught[goes[0] - 1], goes[1])
    numbers = [(number, number) for number in goes]
    told = LessonsForgotten(source=0, series=series, number=1000, numbers=numbers, offset=4)
    more = lesson("l9", 9, number=1001, player_id="bob", **read)
    model, log = OnlineModel(base, series), LessonsOnLog(base, series)
    for offset, one in enumerate([*taught, told, more]):
        if isinstance(one, LessonsForgotten):
            model.forget(one, 0, offset)
        else:
            model.apply(one, 0, offset)
        if offset + 1 not in goes:
            log.apply(one, Record("lessons.v1", 0, offset, b"k", one.record_value(), 0))
    newest = model.snapshot(model.in_force(), now())

    log.apply(newest, Record("models.v1", 0, 0, b"k", newest.record_value(), 0))

    assert newest.version.endswith("+5")
    assert list(log.faults()) == []


def test_receipts_by_rules_of_before_give_way_to_those_by_the_newest_in_whatever_order_they_are_read():
    events = list(history(DRAWING, CORRECTION))
    [at] = [n for n, event in enumerate(events) if isinstance(event, CorrectionReceipt) and event.stage == "learner"]
    events[at] = events[at].model_copy(update={"rules": 3, "weight": 1.0})
    same = events[at].model_copy(update={"outcome": Outcome.QUARANTINED, "weight": 0.0})
    before = same.model_copy(update={"rules": 2})

    assert audited([*events[:at], before, *events[at:]], DRAWING, CORRECTION, TWO).clean
    assert audited([*events, before], DRAWING, CORRECTION, TWO).clean
    assert audited([*events, same], DRAWING, CORRECTION, TWO).doubled["receipts"] == 1
