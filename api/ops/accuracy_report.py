"""Tells how often each model is right, as labels give it and as it is, and how quick and how fresh it is (way 3, OPERATE)."""

from bisect import bisect_left
from datetime import datetime
from itertools import accumulate

from pydantic import BaseModel

from api.folds.honest import HonestAccuracy, HonestModel
from api.folds.model_board import ModelBoard
from api.folds.scores import counted
from api.ops.accuracy import Accuracy
from contracts.events import LATENCY_BUCKETS_MS


class ModelAccuracy(BaseModel):
    """How often a model is right."""

    model: str
    title: str
    version: str | None
    """The version that answers; None: each guess names its own."""
    since: datetime | None
    """When that version began to answer, or has learned last; None: it is not known."""
    latency_ms: dict[str, float | None]
    """Up to how many milliseconds half of its guesses took, and 95 of 100; None: over a second, or there are none."""
    labelled: Accuracy
    """As players' labels give it: they label mostly what is wrong. The interval is true of one look."""
    counted: list[str]
    """The versions whose guesses these were, the one of the most guesses first; that which answers may be none of them yet."""
    labelled_versions: dict[str, Accuracy]
    estimated: HonestModel
    """As it is, by drawings that chance picked. The intervals are true of any number of looks."""


def accuracy_report(board: ModelBoard, honest: HonestAccuracy) -> list[ModelAccuracy]:
    """Return the accuracy of every model, in the order in which they are shown."""
    report = []
    for state in board.states():
        score, answering = board.score(state.model), board.catalog.answering(state.model)
        report.append(
            ModelAccuracy(
                model=state.model,
                title=state.title,
                version=state.version,
                since=answering.at if answering else None,
                latency_ms={str(part): _within(score["latency"], part / 100) for part in (50, 95)},
                labelled=Accuracy.of(score["n"], score["correct"]),
                counted=counted(score),
                labelled_versions={name: Accuracy.of(one["n"], one["correct"]) for name, one in score["versions"].items()},
                estimated=honest.told(state.model),
            )
        )
    return report


def _within(latency: list[int], share: float) -> float | None:
    """Return the least bound of a bucket within which a share of all lies; None: of nothing, or it is above the last."""
    place = bisect_left(list(accumulate(latency)), share * sum(latency))
    return LATENCY_BUCKETS_MS[place] if sum(latency) and place < len(LATENCY_BUCKETS_MS) else None
