"""Says what the models would have answered at a time of the past (beside all ways; it only reads).

The online model is made anew of the lessons that the broker had taken by then. Which version of a batch model answered is known
from models.v1 while it still has the promotion, and else from guesses that players were shown about then.
"""

from collections.abc import Collection
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from api.apps.pictures import BadPicture, read_png
from api.apps.predict_request import Problem, decoded, pixels, read_request
from contracts.drawing import DrawingError, framed, ink, rasterize
from contracts.events import (
    DIGITS,
    CommandSettled,
    DrawingSubmitted,
    Event,
    ExampleLabelled,
    LearningSet,
    ModelPromoted,
    ModelPublished,
    PromoteModel,
    RollBackModel,
    generation,
)
from contracts.ports import Bus, Partition, Tail
from contracts.records import read
from contracts.roster import is_batch
from deploy.lesson_reader import STAGE, events_on, model_at
from producers.whole_log import all_records
from streams.additive import Fixed, NotASum
from streams.embedding import EmbeddingNetwork
from streams.make_base import mnist
from streams.online_base import Base, load_base
from streams.online_model import SHARED

TOPICS_READ: Final = ("lessons.v1", "examples.v1", "models.v1", "commands.v1", "drawings.v1")
_SHOWN: Final = timedelta(days=1)
"""How long before and after a time guesses are looked for that players were shown."""


class CannotTell(RuntimeError):
    """It is not known what was answered then; the message says why."""


class BatchThen(BaseModel):
    """The version of a batch model that answered at a time."""

    model: str
    version: str | None
    """None: it is not known."""
    how: str
    """How that is known, or what is known instead."""


class AsOf(BaseModel):
    """What was answered at a time."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    model: str
    version: str
    """Of the online model, by what the broker had taken by then; the router answers with it a moment later."""
    lessons: int
    digest: str
    learning: str = ""
    """What the log says of its learning having been frozen then, in words; empty: nothing."""
    promoted: str = ""
    """What the log says of an experiment having answered then in place of the sums, in words; empty: nothing."""
    other_series: int
    """How many lessons of that time were made by other rules: they are in no sum of this version of the game."""
    forgotten: int = 0
    """How many lessons of that time are of players who were forgotten since: they are not on the log any more."""
    label: int | None = None
    """The answer to the drawing; None: the test set was asked."""
    probabilities: list[float] = []
    right: list[float] = []
    """The share of MNIST's test images that are answered rightly, in percent, by digit; empty: a drawing was asked."""
    accuracy: float | None = None
    batch: list[BatchThen]


def as_of(bus: Bus, at: datetime, now: datetime, raster: NDArray[np.uint8] | None) -> AsOf:
    """Say what was answered at a time.

    Args:
        bus: Where the log is.
        at: The time.
        now: The time now.
        raster: A drawing, shape (28, 28) or (784,); None: MNIST's test images.

    Raises:
        CannotTell: If the time is before the log or after now, or if the lessons of then make no model.
    """
    check_past(at, now)
    begun = log_begins(bus)
    if begun is None:
        raise CannotTell("the log is empty: nobody has played yet")
    if at < begun:
        raise CannotTell(f"the log begins at {begun.isoformat(timespec='seconds')}: give a time after that")
    base, log = load_base(), list(events_on(bus, ["models.v1", "commands.v1"]))
    stood, learning = _learning_at(bus, log, at)
    model, others, forgotten = model_at(bus, stood, base, log)
    try:
        solved = model.in_force().solved
    except NotASum as wrong:
        raise CannotTell(f"the lessons of then make no model ({wrong}): gamenight replay says more") from wrong
    told = {
        "at": at,
        "model": SHARED,
        "version": model.known.version(base),
        "lessons": model.known.lessons,
        "digest": model.known.digest(base),
        "other_series": others,
        "forgotten": forgotten,
        "learning": learning,
        "promoted": _promoted_at(bus, log, at),
        "batch": batch_at(bus, log, at),
    }
    return AsOf.model_validate(told | (_tested(solved, base) if raster is None else _answered(solved, base, raster)))


def check_past(at: datetime, now: datetime) -> None:
    """Raise `CannotTell` if a time is still to come."""
    if at > now:
        raise CannotTell(f"{at.isoformat()} is after now, {now.isoformat(timespec='seconds')}: give a time of the past")


def log_begins(bus: Bus) -> datetime | None:
    """Return when the oldest record was written that the log still has; None: it has none."""
    found: list[int] = []
    for topic in TOPICS_READ:
        with closing(bus.follow([topic], "start")) as tail:
            first: dict[int, int] = {}
            while not tail.caught_up() and any(number not in first for _, number in _unread(tail)):
                for record in tail.poll(0.25):
                    first.setdefault(record.partition, record.timestamp_ms)
            found += first.values()
    return datetime.fromtimestamp(min(found) / 1000, UTC) if found else None


def _unread(tail: Tail) -> set[Partition]:
    """Return the partitions of which records are left that were there when the tail was opened."""
    ends = tail.ends()
    return {place for place, at in tail.positions().items() if at < ends[place]}


def _learning_at(bus: Bus, log: Collection[Event], at: datetime) -> tuple[datetime, str]:
    """Return until when the lessons are in force that answer at a time, and why, if the model's learning was frozen."""
    told = [event for event in log if isinstance(event, LearningSet) and event.model == SHARED]
    before = max((event for event in told if event.at <= at), key=lambda event: event.at, default=None)
    if before is not None:
        return (before.at, f"its learning was frozen at {before.at.isoformat()} {before.who}") if before.frozen else (at, "")
    if any(not event.frozen for event in told):
        return at, "its learning may have been frozen then: models.v1 has only that it was thawed later"
    if told and not _whole_before(bus, told[0].record_key()):
        return at, "its learning may have been frozen then: models.v1 is compacted, and has only that it was frozen later"
    return at, ""


def _whole_before(bus: Bus, key: bytes) -> bool:
    """Whether no record of models.v1 is gone from before the first of a key."""
    following: dict[int, int] = {}
    for record in all_records(bus, ["models.v1"]):
        if record.offset != following.get(record.partition, 0):
            return False
        if record.key == key:
            return True
        following[record.partition] = record.offset + 1
    return True


def _promoted_at(bus: Bus, log: Collection[Event], at: datetime) -> str:
    """Say whether an experiment answered players at a time, as far as that is known; empty: the model's own sums did."""
    told = [event for event in log if isinstance(event, ModelPromoted) and event.model == SHARED]
    before = max((event for event in told if event.at <= at), key=lambda event: event.at, default=None)
    if before is not None:
        who = f"the experiment {before.variant} answered players then, promoted at {before.at.isoformat()}"
        return f"{who}: this is what the sums beside it would have said" if before.variant else ""
    if told and not _whole_before(bus, told[0].record_key()):
        return "an experiment may have answered players then: models.v1 has only a later promotion"
    return ""


def _answered(solved: Fixed, base: Base, raster: NDArray[np.uint8]) -> dict[str, object]:
    [answer] = solved.probabilities(base.basis.rows(EmbeddingNetwork().embed(raster.reshape(1, -1))))
    return {"label": int(answer.argmax()), "probabilities": answer.tolist()}


def _tested(solved: Fixed, base: Base) -> dict[str, object]:
    rasters, labels = mnist("t10k")
    answers = solved.probabilities(base.basis.rows(EmbeddingNetwork().embed(rasters))).argmax(axis=1)
    right = answers == labels
    by_digit = np.bincount(labels, right, DIGITS) / np.bincount(labels, minlength=DIGITS)
    return {"right": (100 * by_digit).round(3).tolist(), "accuracy": float(right.mean())}


# --- what is asked


def drawing_on_the_log(bus: Bus, drawing_id: UUID) -> NDArray[np.uint8]:
    """Return the raster of a drawing that is on the log.

    Raises:
        CannotTell: If it is not there, or shows nothing.
    """
    named = str(drawing_id).encode()
    for topic in ("examples.v1", "drawings.v1"):
        for record in all_records(bus, [topic]):
            if record.value is None or named not in record.value:
                continue
            event = read(record, STAGE)
            if isinstance(event, ExampleLabelled | DrawingSubmitted) and event.drawing_id == drawing_id:
                if isinstance(event, ExampleLabelled) and event.features is not None:
                    return np.frombuffer(event.features.raster, np.uint8)
                try:
                    return rasterize(event.strokes)
                except DrawingError as wrong:
                    raise CannotTell(f"drawing {drawing_id} shows nothing") from wrong
    raise CannotTell(f"the log has no drawing {drawing_id}: unlabelled ones are kept for a week")


def drawing_in(file: Path) -> NDArray[np.uint8]:
    """Return the raster of a PNG, or of JSON as ``POST /api/predict`` takes it.

    Raises:
        CannotTell: If the file cannot be read, or shows nothing.
    """
    try:
        data = file.read_bytes()
        if data[:1] != b"{":
            return read_png(data)[0]
        request = read_request(data)
        if request.strokes is not None:
            return rasterize(request.strokes)
        if request.png is not None:
            return read_png(decoded(request.png))[0]
        assert request.image is not None
        return framed(ink(pixels(request.image))[0])
    except (OSError, BadPicture, DrawingError, Problem) as wrong:
        raise CannotTell(f"{file} cannot be asked: {wrong}") from wrong


# --- batch models


def batch_at(bus: Bus, log: Collection[Event], at: datetime) -> list[BatchThen]:
    """Return which version of each batch model answered at a time, as far as the log says.

    Args:
        bus: Where the log is.
        log: What models.v1 and commands.v1 have.
        at: The time.
    """
    promoted: dict[str, ModelPromoted] = {}
    existed: dict[str, list[str]] = {}
    for event in sorted((event for event in log if event.at <= at), key=lambda event: event.at):
        if isinstance(event, ModelPromoted):
            promoted[event.model] = event
        elif isinstance(event, ModelPublished):
            existed.setdefault(event.model, []).append(event.version)
    models = {event.model for event in log if isinstance(event, ModelPromoted | ModelPublished)}
    shown = _shown(bus, at)
    commanded = _commanded(log, at)
    out = []
    for model in sorted(model for model in models if is_batch(model)):
        if model in promoted:  # compaction drops an event for a later one alone: so nothing came between this one and then
            version = promoted[model].version
            out.append(
                BatchThen(model=model, version=version, how=f"promoted at {promoted[model].at.isoformat()}, by models.v1")
            )
            continue
        before, after = shown.get(model, (None, None))
        if before is not None and after is not None and before[1] == after[1]:
            how = f"players were shown its guesses at {before[0].isoformat()} and at {after[0].isoformat()}"
            out.append(BatchThen(model=model, version=before[1], how=how))
            continue
        hints = [
            f"a player was shown a guess of {one[1]} at {one[0].isoformat()}" for one in (before, after) if one is not None
        ]
        hints += [commanded[model]] if model in commanded else []
        hints += [f"there were by then {', '.join(existed[model])}"] if model in existed else []
        why = "not known: models.v1 is compacted, and has later promotions only"
        out.append(BatchThen(model=model, version=None, how="; ".join([why, *hints])))
    return out


_Guess = tuple[datetime, str]


def _shown(bus: Bus, at: datetime) -> dict[str, tuple[_Guess | None, _Guess | None]]:
    """Return by model the last version before a time, and the first after it, whose guess a player was shown."""
    out: dict[str, tuple[_Guess | None, _Guess | None]] = {}
    later: set[Partition] = set()
    with closing(bus.follow(["examples.v1"], at - _SHOWN)) as tail:
        while not tail.caught_up() and _unread(tail) - later:
            for record in tail.poll(0.25):
                if record.timestamp_ms > (at + _SHOWN).timestamp() * 1000:
                    later.add((record.topic, record.partition))
                    continue
                event = read(record, STAGE)
                if not isinstance(event, ExampleLabelled):
                    continue
                for guess in event.guesses:
                    if guess.shadow:
                        continue
                    before, after = out.get(guess.model, (None, None))
                    this = event.drawn_at, generation(guess.version)
                    if event.drawn_at <= at and (before is None or before[0] < event.drawn_at):
                        before = this
                    elif event.drawn_at > at and (after is None or event.drawn_at < after[0]):
                        after = this
                    out[guess.model] = before, after
    return out


def _commanded(log: Collection[Event], at: datetime) -> dict[str, str]:
    """Return by model the last command before a time that changed who answers, in words."""
    done = {event.command_id for event in log if isinstance(event, CommandSettled) and event.outcome == "done"}
    out: dict[str, str] = {}
    for event in log:
        if isinstance(event, PromoteModel | RollBackModel) and event.command_id in done and event.at <= at:
            verb = "promoted" if isinstance(event, PromoteModel) else "rolled back to"
            out[event.target] = f"by command {verb} {event.version or 'the last good one'} at {event.at.isoformat()}"
    return out
