"""Events that are well-formed and mean harm: each is refused where it is read, or rejected by every fold that reads it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.events import EVENTS, MessageRejected, decode
from contracts.ports import Record
from contracts.records import read
from streams.fold import Fold, advance, begin
from streams.joiner import Joiner
from streams.learner import Learner, load_base
from streams.ledger import Ledger
from streams.models import Models
from streams.personal_model import Personal
from streams.routing import Table
from streams.scorer import Scorer
from tests.contract.test_events import GOLDEN
from tests.histories import correction, drawing, example, guess, lesson

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


def _folds() -> Iterator[tuple[str, Fold, list[Any]]]:
    base = load_base()
    many = [guess(model=f"m{n}", features=None) for n in range(70)]
    yield "guesses without end", Joiner(), [drawing(), *many, correction()]
    yield "a lesson for a model that nobody knows", Learner(base), [lesson(model="nobody", reader=base.reader)]
    yield "a lesson of other features", Learner(base), [lesson(reader="raster-9/0")]
    infinite = b"\x00\x00\x80\x7f" * 64
    yield "a lesson of infinite features", Learner(base), [lesson(reader=base.reader, embedding=infinite)]


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


@pytest.mark.parametrize("fold", [Scorer(), Personal("raster-1/00000000")], ids=lambda fold: fold.name)
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
    models = Models(Table(), "raster-1/00000000")
    snapshot = json.loads((GOLDEN / "SnapshotTaken.json").read_text()) | {"weights": "AAAA", "reader": "raster-1/00000000"}

    [told] = models.learn([Record("models.v1", 0, 3, b"river", json.dumps(snapshot).encode(), 0)])

    assert (told.source, told.source_offset, told.stage) == ("models.v1", 3, "router")
    assert models.table == Table()


def test_a_bad_record_hides_no_good_one_of_its_key():
    good = (GOLDEN / "ModelPromoted.json").read_bytes()
    models = Models(Table(), "r")

    told = models.learn([Record("models.v1", 0, n, b"xgboost", value, 0) for n, value in enumerate([good, b"[1]", None])])

    assert [one.source_offset for one in told] == [1]
    assert list(models.table.batch) == ["xgboost"]
