"""What watchers see is a fold: absolute counts, so twice is harmless."""

import random
from datetime import timedelta
from typing import Any
from uuid import uuid4

from api.watch import Board
from contracts.events import (
    WINDOW_S,
    WINDOWS,
    Event,
    ModelPromoted,
    ModelPublished,
    ModelRolledBack,
    ScoresCounted,
    SnapshotTaken,
    TrainingAdvanced,
)
from tests.histories import BEGAN

START = int(BEGAN.timestamp())


def scores(model: str = "river", *, n: int = 10, correct: int = 7, source: int = 0, **fields: Any) -> ScoresCounted:
    """A total of ``mnist1``, or with ``at`` the window that begins so many seconds after `BEGAN`."""
    at = fields.pop("at", None)
    return ScoresCounted(
        model=model,
        version=fields.pop("version", "mnist1") if at is None else None,
        window=None if at is None else BEGAN + timedelta(seconds=at),
        source=source,
        n=n,
        correct=correct,
        confusion=fields.pop("confusion", [n] + [0] * 99),
        latency=fields.pop("latency", [0, n] + [0] * 10),
    )


def published(version: str, model: str = "xgboost") -> ModelPublished:
    return ModelPublished(
        model=model,
        version=version,
        title="XGBoost",
        digest="d",
        artifact="s3://b/k",
        lineage={},
        metrics={"mnist": 0.99},
        gate="ok",
    )


def promoted(version: str, model: str = "xgboost") -> ModelPromoted:
    return ModelPromoted(model=model, version=version, title="XGBoost", endpoint="e", variant=f"v{version}", note="better")


def snapshot(lessons: int) -> SnapshotTaken:
    return SnapshotTaken(
        model="river",
        version=f"mnist1+{lessons}",
        title="River",
        offset=lessons - 1,
        lessons=lessons,
        digest="d",
        reader="r",
        weights=b"\x00" * 40,
    )


def board(*events: Event) -> Board:
    out = Board()
    for event in events:
        out.apply(event)
    return out


def test_counts_of_all_sources_and_versions_are_summed():
    shown = board(
        scores(n=10, correct=7, source=0), scores(n=5, correct=1, source=1), scores(n=2, correct=2, version="mnist2")
    ).scores()["river"]

    assert (shown["n"], shown["correct"]) == (17, 10)
    assert shown["versions"] == {"mnist1": {"n": 15, "correct": 8}, "mnist2": {"n": 2, "correct": 2}}
    assert shown["confusion"] == [17] + [0] * 99
    assert shown["latency"] == [0, 17] + [0] * 10


def test_a_later_count_of_the_same_slot_replaces_the_earlier():
    shown = board(scores(n=10, correct=7), scores(n=11, correct=8), scores(n=11, correct=8)).scores()["river"]
    assert (shown["n"], shown["correct"]) == (11, 8)


def test_windows_are_shown_by_time_and_count_for_nothing_else():
    shown = board(
        scores(at=20, n=3, correct=1), scores(at=10, n=2, correct=2), scores(at=10, n=1, correct=0, source=1)
    ).scores()["river"]

    assert shown["recent"] == [[START + 10, 3, 2], [START + 20, 3, 1]]
    assert shown["n"] == 0


def test_windows_of_over_an_hour_before_the_newest_are_not_shown():
    hour = WINDOW_S * WINDOWS
    shown = board(scores(at=0, source=0), scores(at=hour, source=1)).scores()["river"]
    assert [window[0] for window in shown["recent"]] == [START + hour]


def test_the_fold_is_the_same_for_every_order_of_slots():
    history = [scores(n=i + 1, correct=1, source=i % 4, version=f"v{i}") for i in range(8)] + [
        scores(at=10 * i) for i in range(8)
    ]
    shuffled = random.Random(3).sample(history, len(history))
    assert board(*history).scores() == board(*shuffled).scores()


def test_the_models_that_answer_are_the_last_promoted_and_the_newest_snapshots():
    shown = board(published("base1"), promoted("base1"), snapshot(0), published("2"), snapshot(3))

    assert [(m.model, m.version) for m in shown.answering()] == [("xgboost", "base1"), ("river", "mnist1+3")]
    assert [(m["model"], m["kind"], [v["version"] for v in m["versions"]]) for m in shown.models()] == [
        ("xgboost", "batch", ["base1", "2"]),
        ("river", "online", []),
    ]


def test_an_older_snapshot_changes_nothing():
    assert board(snapshot(3), snapshot(1)).answering()[0].version == "mnist1+3"


def test_players_are_told_of_versions_but_not_of_every_lesson():
    shown = board()

    assert shown.apply(snapshot(1)) is None
    assert shown.apply(scores()) is None
    told = [shown.apply(event) for event in (published("2"), promoted("2"), rolled_back("base1"))]

    assert [(change.version, change.event, change.note) for change in told if change] == [
        ("2", "published", "ok"),
        ("2", "promoted", "better"),
        ("base1", "rolled-back", "worse"),
    ]


def rolled_back(version: str) -> ModelRolledBack:
    return ModelRolledBack(model="xgboost", version=version, title="XGBoost", endpoint="e", variant="v", note="worse")


def test_a_snapshot_shows_all_there_is():
    shown = board(promoted("base1"), scores("xgboost"), training("training", 0.4)).snapshot(online=3, drawings=9)

    assert shown["type"] == "snapshot"
    assert shown["models"] == [{"model": "xgboost", "version": "base1", "title": "XGBoost", "kind": "batch"}]
    assert set(shown["scores"]) == {"xgboost"}
    assert (shown["online"], shown["drawings"]) == (3, 9)
    assert (
        shown["training"]["xgboost"].items() >= {"version": "2", "step": "training", "fraction": 0.4, "message": "half"}.items()
    )


def training(step: str, fraction: float) -> TrainingAdvanced:
    return TrainingAdvanced(
        model="xgboost", version="2", command_id=uuid4(), step=step, fraction=fraction, message="half", log=["[1] error 0.1"]
    )


def test_changes_hold_only_what_changed_and_are_told_once():
    shown = board(scores("xgboost"), scores("river"))
    shown.changes()

    shown.apply(scores("river", n=11, correct=8))
    shown.apply(scores("river", n=12, correct=8))

    [change] = shown.changes()
    assert change["type"] == "scores"
    assert set(change["scores"]) == {"river"}
    assert change["scores"]["river"]["n"] == 12
    assert shown.changes() == []


def test_a_rebuild_is_told_step_by_step_with_its_log():
    shown = board(training("queued", 0), training("training", 0.4))

    steps = [frame for frame in shown.changes() if frame["type"] == "training"]

    assert [(frame["step"], frame["fraction"]) for frame in steps] == [("queued", 0), ("training", 0.4)]
    assert steps[1]["log"] == ["[1] error 0.1"]


def test_many_lessons_between_two_looks_are_told_as_one():
    shown = board(*(snapshot(i) for i in range(50)))
    assert [frame["version"] for frame in shown.changes()] == ["mnist1+49"]
