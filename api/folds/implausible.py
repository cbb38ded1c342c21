"""Recognises events of models and scores that no part of the product can have written. Pure."""

from datetime import timedelta
from typing import Final

from contracts.events import (
    ONLINE_MODELS,
    PICK_WINDOW_S,
    PLAYER_PARTITIONS,
    TOPICS,
    WINDOW_S,
    Event,
    ExampleLabelled,
    ExperimentLearned,
    FoldAdvanced,
    LearningSet,
    ModelPromoted,
    PicksCounted,
    ScoresCounted,
    SnapshotTaken,
)
from contracts.roster import is_batch

FOLDS: Final = ("joiner", "scorer", "learner", "evidence", "drift", "personal")


class Implausible(ValueError):
    """An event of the right shape says something impossible."""


def refuse_implausible(event: Event) -> None:
    """Raise an error for an event that no part of the product can have written.

    Raises:
        Implausible: If no part of the product can have written the event.
    """
    if (why := _implausible(event)) is not None:
        raise Implausible(why)


def _implausible(event: Event) -> str | None:
    """Say why no part of the product can have written this event; None: some part can.

    Counts are shown as they are, and an entry stays until another takes its place: a false entry would stay for ever.
    """
    match event:
        case ScoresCounted():
            if event.source >= TOPICS[ExampleLabelled.topic].partitions:
                return f"counts of partition {event.source}, of {TOPICS[ExampleLabelled.topic].partitions}"
            if event.window is not None and event.window > event.at + timedelta(seconds=WINDOW_S):
                return f"counts of {event.window}, before it"
            if not event.correct <= event.n == sum(event.confusion) == sum(event.latency):
                return f"{event.n} guesses, {event.correct} right, {sum(event.confusion)} by label, {sum(event.latency)} by ms"
        case PicksCounted():
            if event.source >= TOPICS[ExampleLabelled.topic].partitions:
                return f"picks of partition {event.source}, of {TOPICS[ExampleLabelled.topic].partitions}"
            if event.window is not None and event.window > event.at + timedelta(seconds=PICK_WINDOW_S):
                return f"picks of {event.window}, before it"
            if any(sum(one.confusion) > one.n or (one.gold and sum(one.confusion) < one.n) for one in event.strata):
                return "picks of which more are known than there are, or of a digit that was asked for and is not known"
        case FoldAdvanced():
            if event.fold not in FOLDS or event.source_partition >= PLAYER_PARTITIONS:
                return f"no fold {event.fold!r} of partition {event.source_partition}"
        case SnapshotTaken() | ExperimentLearned() | LearningSet():
            return None if event.model in ONLINE_MODELS else f"{event.model} is no online model"
        case ModelPromoted():
            if not (is_batch(event.model) if event.endpoint else event.model in ONLINE_MODELS):
                return f"{event.model} at {event.endpoint!r}: no batch model at an endpoint"
        case _:
            pass
    return None
