"""Events that are well-formed and mean harm: each is refused where it is read, or rejected by every fold that reads it."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.folds.command_status import CommandStatus
from api.folds.implausible import Implausible
from api.folds.model_board import ModelBoard
from contracts.events import (
    EVENTS,
    TOPICS,
    CorrectionReceipt,
    DrawingEvidence,
    DriftDetected,
    Event,
    EvidenceGathered,
    ExampleLabelled,
    LessonTaught,
    MessageRejected,
    ScoresCounted,
    SignedEvent,
    SnapshotTaken,
    decode,
)
from contracts.ports import Record
from contracts.records import read
from producers.memory_bus import MemoryBus, MemoryLog
from producers.signing import Proofs
from streams.delivery import UnsentRecord
from streams.drift import Drift
from streams.evidence import Evidence
from streams.fold import Fold, advance, begin
from streams.joiner import Joiner
from streams.learner import Learner
from streams.ledger import Ledger
from streams.lessons import Lessons
from streams.models import Models
from streams.online_base import Base, load_base
from streams.online_model import OnlineModel, of_base
from streams.personal_model import PersonalModels
from streams.routing import Online, Table
from streams.scorer import Scorer
from tests.bad_values import HOSTILE
from tests.contract.test_events import GOLDEN
from tests.histories import SERIES, answer, correction, drawing, example, features, lesson, named, seconds
from tests.judged import BASE
from tests.roster import ROSTER
from trainers.model_log import ModelLog

_B64 = "AAAA" * 400
_GUESS = {"model": "river", "version": "1", "label": 7, "probabilities": [0.1] * 10, "hops": {}}
_MANY = [f"m{n}" for n in range(65)]
_FAR, _EARLY = "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "a drawing of no stroke": ("DrawingSubmitted", {"strokes": []}),
    "a drawing of too many points": ("DrawingSubmitted", {"strokes": [[[1, 1]] * 4096] * 2}),
    "a coordinate beyond all canvases": ("DrawingSubmitted", {"strokes": [[[1e308, 1e308]]]}),
    "a coordinate that is none": ("DrawingSubmitted", {"strokes": [[[float("nan"), 1]]]}),
    "a raster of a wrong length": ("DrawingSubmitted", {"raster": "AAAA", "strokes": [], "final": False, "probe": True}),
    "a raster that is final": ("DrawingSubmitted", {"raster": _B64[:1048], "strokes": []}),
    "a final probe": ("DrawingSubmitted", {"final": True, "probe": True}),
    "an id that is long": ("DrawingSubmitted", {"player_id": "x" * 800_000}),
    "a room that is long": ("DrawingSubmitted", {"room": "x" * 800_000}),
    "the year 9999": ("DrawingSubmitted", {"at": _FAR}),
    "the year 1": ("CorrectionGiven", {"at": _EARLY}),
    "a label of null": ("CorrectionGiven", {"label": None}),
    "a probability that is none": ("GuessMade", {"probabilities": [float("nan")] * 10}),
    "too few probabilities": ("GuessMade", {"probabilities": [1.0]}),
    "hops that overflow": ("GuessMade", {"hops": {"a": 1e308, "b": 1e308}}),
    "hops without end": ("GuessMade", {"hops": {str(n): 1.0 for n in range(5000)}}),
    "a version in another folder": ("GuessMade", {"version": "../../x"}),
    "a version of a newline": ("GuessMade", {"version": "1\n2"}),
    "an embedding that is cut": ("GuessMade", {"features": {"raster": _B64[:1048], "embedding": "AAAA", "reader": "r"}}),
    "a miss in another folder": ("DrawingAnswered", {"missed": {"../../x": ""}}),
    "guesses without end": ("DrawingAnswered", {"guesses": [_GUESS] * 65}),
    "a guess of a blend without end": ("DrawingAnswered", {"guesses": [_GUESS | {"left_out": dict.fromkeys(_MANY, "")}]}),
    "a revision beyond all": ("ExampleLabelled", {"revision": 1 << 40}),
    "a day of drawing in the year 9999": ("ExampleLabelled", {"drawn_at": _FAR}),
    "a width without end": ("ExampleLabelled", {"width": float("inf")}),
    "a weight that is none": ("LessonTaught", {"weight": float("nan")}),
    "half an embedding": ("LessonTaught", {"embedding": "AAA="}),
    "a belief that is none": (
        "CorrectionReceipt",
        {"models": {"river": {"version_before": "1", "version_after": "2", "p_before": 2, "p_after": float("nan")}}},
    ),
    "counts beyond JSON": ("ScoresCounted", {"n": 10**30}),
    "counts below zero": ("ScoresCounted", {"confusion": [-1] * 100}),
    "a window in the year 9999": ("ScoresCounted", {"window": _FAR}),
    "an offset below all": ("SnapshotTaken", {"offset": -7}),
    "lessons beyond all": ("SnapshotTaken", {"lessons": 1 << 70}),
    "an endpoint elsewhere": ("ModelPromoted", {"endpoint": "../../endpoints/other"}),
    "a metric that is none": ("ModelPublished", {"metrics": {"accuracy": float("nan")}}),
    "a share of more than all": ("CandidateSet", {"share": 7.5}),
    "a fraction that is none": ("TrainingAdvanced", {"fraction": float("nan")}),
    "a command for a path": ("RetrainModel", {"target": "../xgboost"}),
    "a version to promote in another folder": ("PromoteModel", {"version": "../../x"}),
}


@pytest.mark.parametrize(("kind", "fields"), REFUSED.values(), ids=REFUSED)
def test_what_means_harm_is_refused_where_it_is_read(kind: str, fields: dict[str, Any]):
    event = json.loads((GOLDEN / f"{kind}.json").read_text())
    topic = next(each.topic for each in EVENTS if each.__name__ == kind)
    assert type(read(Record(topic, 0, 0, b"k", json.dumps(event).encode(), 0), "s")).__name__ == kind

    told = read(Record(topic, 0, 0, b"k", json.dumps(event | fields).encode(), 0), "s")

    assert isinstance(told, MessageRejected)
    assert next(iter(fields)) in told.error or "drawn" in told.error or "Value error" in told.error or "final" in told.error


NOW_MS = int(seconds(60).timestamp() * 1000)


def test_there_is_a_valid_event_that_means_harm_for_every_topic():
    assert {bad.topic for bad in HOSTILE.values()} == set(TOPICS)
    for what, bad in HOSTILE.items():
        assert type(_read(bad.topic, bad.value("ada", str(named("d1"))))).__name__ == bad.kind, what


def _read(topic: str, value: bytes) -> Event | MessageRejected | None:
    return read(Record(topic, 0, 50, b"bad", value, NOW_MS), "s")


def _honest(number: int, reader: str) -> dict[str, tuple[list[Event], type[Event]]]:
    """By fold: what is folded of a drawing, and what it says to that."""
    name, given = f"d{number}", f"c{number}"
    read_so = features(number, reader)
    told = example(name, correction=given, features=read_so)
    return {
        "joiner": ([drawing(name), answer(name), correction(name, correction=given)], ExampleLabelled),
        "scorer": ([told], ScoresCounted),
        "personal": ([told], CorrectionReceipt),
        "learner": ([told], LessonTaught),
        "evidence": ([told], EvidenceGathered),
        "drift": ([_wrong_from(number)], DriftDetected),
    }


def _wrong_from(number: int) -> EvidenceGathered:
    """A hundred and fifty drawings of which the model guesses all right; then as many more, of which none."""
    told = {"mark": 1, "drawn_at": seconds(1), "label": None, "ink": None, "directions": [], "wrong": {"river": number > 1}}
    first, series = 1 + 150 * (number - 1), Evidence(load_base()).series
    drawings = [DrawingEvidence.model_validate(told)] * 150
    return EvidenceGathered(series=series, source_partition=0, number=first, drawings=drawings)


def _take(ledger: Ledger, fold: Fold, offsets: dict[str, int], *events: Event) -> None:
    for event in events:
        offsets[event.topic] += 1
        advance(ledger, fold, 0, [Record(event.topic, 0, offsets[event.topic], b"k", event.record_value(), NOW_MS)])


@pytest.mark.parametrize("what", HOSTILE)
def test_a_valid_event_that_means_harm_stops_no_fold_and_the_next_is_folded(tmp_path: Path, what: str):
    base, bad = load_base(), HOSTILE[what]
    value = bad.value("ada", str(named("d1")))
    for fold in (Joiner(), Scorer(), PersonalModels(base), Learner(base), Evidence(base), Drift(Evidence(base).series)):
        if bad.topic not in fold.sources:
            continue
        ledger = Ledger(tmp_path / f"{fold.name}.sqlite")
        begin(ledger, fold, 0)
        offsets = dict.fromkeys(fold.sources, -1)
        _take(ledger, fold, offsets, *_honest(1, base.reader)[fold.name][0])
        advance(ledger, fold, 0, [Record(bad.topic, 0, offsets[bad.topic] + 1, b"bad", value, NOW_MS)])
        offsets[bad.topic] += 1
        rejected = [out for out in ledger.outgoing() if out.topic == "rejected.v1"]
        assert bool(rejected) == (fold.name in bad.rejected_by), fold.name
        ledger.sent(ledger.outgoing())
        history, kind = _honest(2, base.reader)[fold.name]
        _take(ledger, fold, offsets, *history)
        said = [decode(out.topic, out.value) for out in ledger.outgoing()]
        assert any(isinstance(one, kind) for one in said), fold.name
        assert not any(isinstance(one, MessageRejected) for one in said), fold.name
        ledger.close()


@pytest.mark.parametrize(
    "what", [what for what, bad in HOSTILE.items() if bad.topic in ("models.v1", "metrics.v1", "commands.v1")]
)
def test_a_valid_event_that_means_harm_stands_before_no_honest_one(what: str):
    base, bad = load_base(), HOSTILE[what]
    value, honest, start = bad.value("ada", str(named("d1"))), _snapshot(base), _start(base)
    models = Models(Table(online={"river": start}), base.reader, base.basis.name)
    board, model_log, commands = ModelBoard(ROSTER), ModelLog(ROSTER), CommandStatus()
    event = _read(bad.topic, value)
    assert isinstance(event, Event)
    rejecting = set()
    if bad.topic == "models.v1":
        rejecting |= {one.stage for one in models.apply([Record(bad.topic, 0, 0, b"bad", value, NOW_MS)])}
    try:
        board.apply(event)
    except Implausible:
        rejecting.add("api")
    record = Record(bad.topic, 0, 0, b"bad", value, NOW_MS)
    if (
        bad.topic == "commands.v1"
        and isinstance(event, SignedEvent)
        and Proofs(None, datetime.fromtimestamp(0, UTC)).against(record, event)
    ):
        rejecting.add("trainers")
    model_log.apply(event)
    commands.apply(event)
    assert rejecting == bad.rejected_by

    assert models.apply([Record("models.v1", 0, 1, b"river", honest.record_value(), NOW_MS)]) == []
    board.apply(honest)
    assert models.table.online.keys() == {"river"}
    assert models.table.online["river"].version == honest.version == board.state("river").version
    assert np.array_equal(models.table.online["river"].weights, start.weights)


@pytest.mark.parametrize("what", ["a snapshot of another basis", "a snapshot from before models were sums"])
def test_the_version_of_a_snapshot_that_the_router_cannot_read_is_not_taken(what: str):
    base = load_base()
    start, value = _start(base), HOSTILE[what].value("ada", str(named("d1")))
    models = Models(Table(online={"river": start}), base.reader, base.basis.name)

    assert models.apply([Record("models.v1", 0, 0, b"river", value, NOW_MS)]) == []
    assert models.table.online["river"] is start
    assert models.table.digest == Table(online={"river": start}).digest


def _start(base: Base) -> Online:
    river = of_base(base)
    return Online(river.version, base.reader, -1, river.solved.weights.astype("f4"))


def _snapshot(base: Base) -> SnapshotTaken:
    return OnlineModel(base, SERIES).snapshot(of_base(base), seconds(60))


LESSONS = [what for what, bad in HOSTILE.items() if bad.topic == "lessons.v1"]


@pytest.mark.parametrize("what", LESSONS)
async def test_a_lesson_that_means_harm_changes_no_model_and_the_next_is_learned(what: str):
    base, value = load_base(), HOSTILE[what].value("ada", str(named("d1")))
    honest = [lesson(f"l{n}", number=n, seed=n, reader=base.reader, series=Learner(base).series) for n in (1, 2)]
    said: list[Event] = []

    async def publish(records: Iterable[UnsentRecord]) -> None:
        said.extend(decode(record.topic, record.value) for record in records)

    log = MemoryLog()
    log.logs["lessons.v1", 0] = [
        Record("lessons.v1", 0, n, b"ada", one, NOW_MS)
        for n, one in enumerate([honest[0].record_value(), value, honest[1].record_value()])
    ]
    follower = Lessons(base, Learner(base).series, publish, lambda: True)
    task = asyncio.ensure_future(follower.follow(partial(MemoryBus, log, ("lessons.v1", "models.v1", "rejected.v1"))))
    try:
        async with asyncio.timeout(20):
            while not said:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    alone = OnlineModel(base, Learner(base).series)
    for offset, one in enumerate(honest):
        alone.apply(one, 0, offset)
    told = [decode("rejected.v1", record.value) for record in log.logs.get(("rejected.v1", 0), [])]
    assert {one.stage for one in told if isinstance(one, MessageRejected)} == HOSTILE[what].rejected_by
    assert follower.in_force().version == f"{base.generation}+2"
    assert np.array_equal(follower.in_force().solved.weights, alone.in_force().solved.weights)


def test_why_a_lesson_is_rejected_is_told():
    base = load_base()
    follower = Lessons(base, Learner(base).series, _publishes_nothing, lambda: True)

    def why(what: str) -> str:
        value = HOSTILE[what].value("ada", str(named("d1")))
        [told] = follower.apply([Record("lessons.v1", 0, 0, b"ada", value, NOW_MS)])[1]
        return told.error

    assert "UnreadableFeatures" in why("a lesson of extremes")
    assert "OutOfSequence" in why("a lesson far ahead")
    assert "OutOfSequence" in why("a lesson taken back that nobody taught")
    assert "NobodysLesson" in why("a lesson for nobody")


async def _publishes_nothing(records: Iterable[UnsentRecord]) -> None:
    raise AssertionError(f"published {list(records)}")


def test_a_snapshot_that_cannot_be_used_hides_no_honest_one_of_its_key():
    base = load_base()
    honest = _snapshot(base)
    models = Models(Table(online={"river": replace(_start(base), version="mnist1+9")}), base.reader, base.basis.name)
    bad = HOSTILE["a snapshot of another shape"].value("ada", str(named("d1")))

    told = models.apply(
        [Record("models.v1", 0, n, b"river", value, NOW_MS) for n, value in enumerate([honest.record_value(), bad])]
    )

    assert [one.source_offset for one in told] == [1]
    assert models.table.online["river"].version == honest.version


def _folds() -> Iterator[tuple[str, Fold, list[Any]]]:
    base = load_base()
    many = [answer(model=f"m{n}", features=None) for n in range(70)]
    yield "guesses without end", Joiner(), [drawing(), *many, correction()]
    yield "an example of other features", Learner(base), [example(features=features(reader="raster-9/0"))]
    infinite = features(reader=base.reader).model_copy(update={"embedding": b"\x00\x00\x80\x7f" * 64})
    yield "an example of infinite features", Learner(base), [example(features=infinite)]
    nothing = features(reader=base.reader).model_copy(update={"embedding": b"\x00\x00\xc0\x7f" * 3})
    yield "an example of features that are none", Learner(base), [example(features=nothing)]


@pytest.mark.parametrize(("fold", "history"), [case[1:] for case in _folds()], ids=[case[0] for case in _folds()])
def test_what_a_fold_cannot_take_is_rejected_and_the_next_is_folded(tmp_path: Path, fold: Fold, history: list[Any]):
    ledger = Ledger(tmp_path / "0.sqlite")
    begin(ledger, fold, 0)
    offsets = dict.fromkeys(fold.sources, -1)

    for event in history:
        offsets[event.topic] += 1
        record = Record(event.topic, 0, offsets[event.topic], event.record_key(), event.record_value(), 0)
        advance(ledger, fold, 0, [record])

    told = [event for out in ledger.outgoing() if isinstance(event := decode(out.topic, out.value), MessageRejected)]
    assert told, "nothing was rejected"
    assert all(ledger.offset(topic) == offset for topic, offset in offsets.items())
    ledger.close()


@pytest.mark.parametrize("fold", [Scorer(), PersonalModels(BASE)], ids=lambda fold: fold.name)
def test_an_example_with_features_of_nobody_hurts_no_fold(tmp_path: Path, fold: Fold):
    ledger = Ledger(tmp_path / "0.sqlite")
    begin(ledger, fold, 0)
    odd = example(features=example().features.model_copy(update={"embedding": b"\x00\x00\xc0\x7f" * 3}))  # type: ignore[union-attr]

    for offset, event in enumerate([odd, example("d2")]):
        advance(ledger, fold, 0, [Record(event.topic, 0, offset, b"ada", event.record_value(), 0)])

    assert ledger.offset("examples.v1") == 1
    assert not [out for out in ledger.outgoing() if out.topic == "rejected.v1"]
    ledger.close()


def test_a_snapshot_whose_weights_are_no_matrix_is_told_and_the_models_stay():
    models = Models(Table(), "raster-1/00000000", "")
    snapshot = json.loads((GOLDEN / "SnapshotTaken.json").read_text()) | {"weights": "AAAA", "reader": "raster-1/00000000"}

    [told] = models.apply([Record("models.v1", 0, 3, b"river", json.dumps(snapshot).encode(), 0)])

    assert (told.source, told.source_offset, told.stage) == ("models.v1", 3, "router")
    assert models.table == Table()


def test_a_bad_record_hides_no_good_one_of_its_key():
    good = (GOLDEN / "ModelPromoted.json").read_bytes()
    models = Models(Table(), "r", "b")

    told = models.apply([Record("models.v1", 0, n, b"xgboost", value, 0) for n, value in enumerate([good, b"[1]", None])])

    assert [one.source_offset for one in told] == [1]
    assert list(models.table.batch) == ["xgboost"]
