"""Learns online: softmax regression on the frozen embedding, lesson by lesson (way 2, LEARN). Pure: events in, events out.

The state is a function of the prefix of its lessons and of nothing else: the same lessons give the same digest, however they
were batched and however often the worker was restarted. Twice is harmless: a known lesson_id is skipped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from river.base import Classifier
from river.base.typing import ClfTarget, FeatureName

from contracts.events import (
    DIGITS,
    ONLINE_MODELS,
    CorrectionReceipt,
    Event,
    LessonProbed,
    LessonTaught,
    ModelChange,
    Outcome,
    ReceiptProbed,
    SnapshotTaken,
)
from contracts.ports import Cells, Origin
from contracts.roster import BUILT_IN, is_batch
from streams.embedding import LENGTH

RATE: Final = 0.1
"""The rate of learning: one lesson moves the logit of its label by 1.7 times the difference of its probability from 1."""
REHEARSAL_WEIGHT: Final = 0.5
"""The weight of the sample of the base that is repeated after each lesson, so that the model keeps what the base knew."""
_STATE: Final = "state"


class LessonError(ValueError):
    """A lesson that cannot be learned."""


class NobodysLesson(LessonError):
    """A lesson is for another model than that of its partition."""


class UnreadableFeatures(LessonError):
    """A lesson's features were made by another reader than the model's."""


class Softmax(Classifier):
    """Softmax regression by gradient descent, as a river classifier that keeps its weights in one array.

    The arithmetic and the results are those of ``river.linear_model.SoftmaxRegression(optim.SGD(rate))`` with a bias; see
    docs/decisions/0004-online-learner.md for why it is written again.

    Examples:
        >>> model = Softmax(size=2)
        >>> for _ in range(100):
        ...     model.learn_one({0: 0.0, 1: 4.0}, 7)
        >>> model.predict_one({0: 0.0, 1: 4.0})
        7
    """

    def __init__(self, size: int = 64, rate: float = RATE, initial: NDArray[np.float64] | None = None) -> None:
        """A model of ``size`` features that starts from ``initial``: shape (10, size + 1), bias last; None is zeros."""
        self.size = size
        self.rate = rate
        self.initial = initial
        self.weights = np.zeros((DIGITS, size + 1)) if initial is None else initial.copy()

    @property
    def _multiclass(self) -> bool:
        return True

    def predict_proba_one(self, x: dict[FeatureName, Any], **kwargs: Any) -> dict[ClfTarget, float]:
        """Return the probability of each digit; ``x`` has the features in order."""
        return dict(enumerate(self.probabilities(self.row(x)).tolist()))

    def learn_one(self, x: dict[FeatureName, Any], y: ClfTarget, w: float = 1.0) -> None:
        """Learn that ``x`` has the label ``y``, with the weight ``w``."""
        self.learn(self.row(x), int(y), w)

    def row(self, x: dict[FeatureName, Any]) -> NDArray[np.float64]:
        """Return the features and the bias's one, as an array."""
        return np.fromiter((*x.values(), 1.0), np.float64, self.size + 1)

    def probabilities(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of each digit for a row of `row`'s kind."""
        logits = self.weights @ row
        raised = np.exp(logits - logits.max())
        return np.asarray(raised / raised.sum())

    def learn(self, row: NDArray[np.float64], label: int, weight: float = 1.0) -> None:
        """`learn_one` for a row of `row`'s kind."""
        wrong = self.probabilities(row)
        wrong[label] -= 1
        self.weights -= np.outer((self.rate * weight) * wrong, row)


@dataclass(frozen=True, slots=True)
class Base:
    """The start of an online model, made from MNIST by ``python -m streams.make_base``; see `streams.online_base`."""

    generation: str
    """The generation, which stands before the ``+`` of every version."""
    reader: str
    """The reader whose features the model understands."""
    weights: NDArray[np.float64]
    """Shape (10, d + 1), bias last."""
    rehearsal: NDArray[np.float64]
    """Shape (n, d + 1): embeddings of MNIST, each with a one for the bias."""
    labels: NDArray[np.uint8]
    """The labels of the rehearsal, shape (n,)."""


class _Kept(BaseModel):
    """A `LearnerState` as it is written to its cell."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    weights: bytes
    lessons: int
    offset: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class LearnerState:
    """An online model after a prefix of its lessons."""

    weights: NDArray[np.float64]
    """Shape (10, d + 1); never changed in place."""
    lessons: int = 0
    """The number of lessons learned, without repeated and quarantined ones."""
    offset: int = -1
    """The last offset of the lessons that the state includes; -1: none."""
    chain: bytes = b""
    """The sha256 of the chain before and the lesson_id, for each lesson: it tells which lessons came, and in what order."""

    def digest(self) -> str:
        """Return the digest of all that later answers depend on: weights and lessons seen."""
        return sha256(b"%d|%s|%s" % (self.lessons, self.chain.hex().encode(), self.weights.tobytes())).hexdigest()

    def cell(self) -> bytes:
        """Write the state, exactly, as its cell."""
        kept = _Kept(weights=self.weights.tobytes(), lessons=self.lessons, offset=self.offset, chain=self.chain)
        return kept.model_dump_json().encode()

    @classmethod
    def of(cls, cell: bytes) -> "LearnerState":
        """Read the state from its cell."""
        kept = _Kept.model_validate_json(cell)
        weights = np.frombuffer(kept.weights, np.float64).reshape(DIGITS, -1)
        return cls(weights, kept.lessons, kept.offset, kept.chain)


class Learner:
    """The fold from lessons to an online model, its snapshots and the receipts of what each lesson changed."""

    name = "learner"
    sources = ("lessons.v1",)

    def __init__(self, base: Base) -> None:
        """Build a learner of every model in `ONLINE_MODELS`, each on its partition, from one base."""
        self._base = base
        made_of = sha256(base.weights.tobytes() + base.rehearsal.tobytes() + base.labels.tobytes()).hexdigest()[:16]
        self.schema = (
            f"learner 1 of {ONLINE_MODELS}, base {base.generation} {made_of}, reads {base.reader},"
            f" rates {RATE}, {REHEARSAL_WEIGHT}"
        )
        self._states: dict[int, LearnerState] = {}
        self._told: dict[int, LearnerState] = {}
        """The state of each partition's last snapshot."""

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Take up a partition and publish its model; a partition without a model publishes nothing."""
        if partition >= len(ONLINE_MODELS):
            return ()
        kept = cells.get(_STATE)
        self._states[partition] = self._told[partition] = (
            LearnerState(self._base.weights) if kept is None else LearnerState.of(kept)
        )
        return (self._snapshot(partition, cells.at),)

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Learn a lesson; return its receipt: the label's probability before and after.

        Raises:
            NobodysLesson: If the lesson is on the partition of another model, or of none.
            UnreadableFeatures: If the lesson's features are of another reader, or no features at all.
        """
        if isinstance(event, LessonProbed):
            return (ReceiptProbed(probe_id=event.probe_id, player_id=event.player_id, stage="learner", at=cells.at),)
        if not isinstance(event, LessonTaught):
            return ()
        partition = origin.partition
        if event.model not in ONLINE_MODELS or ONLINE_MODELS.index(event.model) != partition:
            raise NobodysLesson(f"a lesson for {event.model} on partition {partition}")
        before = self._states[partition]
        cell = f"lesson/{event.lesson_id}"
        if cells.get(cell) is not None:
            self._states[partition] = replace(before, offset=origin.offset)
            return ()
        row = self._row(event)
        model = Softmax(len(row) - 1, initial=before.weights)
        p_before = float(model.probabilities(row)[event.label])
        learned = event.weight > 0
        if learned:
            model.learn(row, event.label, event.weight)
            self._rehearse(model, before.lessons)
        after = LearnerState(
            weights=model.weights,
            lessons=before.lessons + learned,
            offset=origin.offset,
            chain=sha256(before.chain + event.lesson_id.bytes).digest(),
        )
        receipt = CorrectionReceipt(
            at=cells.at,
            correction_id=event.correction_id,
            drawing_id=event.drawing_id,
            player_id=event.player_id,
            outcome=_outcome(event.weight),
            models={
                event.model: ModelChange(
                    version_before=self._version(before),
                    version_after=self._version(after),
                    p_before=p_before,
                    p_after=float(model.probabilities(row)[event.label]),
                ),
                **_unchanged(event),
            },
        )
        cells.put(cell, b"")
        self._states[partition] = after
        return (receipt,)

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Publish the model after the step, if it has changed."""
        state = self._states.get(partition)
        if state is None or state is self._told[partition]:
            return ()
        self._told[partition] = state
        cells.put(_STATE, state.cell())
        return (self._snapshot(partition, cells.at),)

    def close(self, partition: int) -> None:
        """Forget the model."""
        self._states.pop(partition, None)
        self._told.pop(partition, None)

    def _row(self, lesson: LessonTaught) -> NDArray[np.float64]:
        if lesson.reader != self._base.reader:
            raise UnreadableFeatures(f"read with {lesson.reader}, learned is {self._base.reader}")
        size = self._base.weights.shape[1] - 1
        if len(lesson.embedding) != 4 * size:
            raise UnreadableFeatures(f"{len(lesson.embedding)} bytes are no embedding of {size} float32")
        row = np.append(np.frombuffer(lesson.embedding, "<f4").astype(np.float64), 1.0)
        if not np.linalg.norm(row[:-1]) <= LENGTH * 1.01:  # so written, it refuses NaN
            raise UnreadableFeatures("the embedding is longer than any that the network gives")
        return row

    def _rehearse(self, model: Softmax, lessons: int) -> None:
        """Repeat the base's next sample; the number of lessons alone decides which one."""
        i = lessons % len(self._base.labels)
        model.learn(self._base.rehearsal[i], int(self._base.labels[i]), REHEARSAL_WEIGHT)

    def _version(self, state: LearnerState) -> str:
        return f"{self._base.generation}+{state.lessons}"

    def _snapshot(self, partition: int, at: datetime) -> SnapshotTaken:
        model, state = ONLINE_MODELS[partition], self._states[partition]
        return SnapshotTaken(
            at=at,
            model=model,
            version=self._version(state),
            title=BUILT_IN[model].title,
            offset=state.offset,
            lessons=state.lessons,
            digest=state.digest(),
            reader=self._base.reader,
            weights=state.weights.astype("<f4").tobytes(),
        )


def _outcome(weight: float) -> Outcome:
    if weight == 0:
        return Outcome.QUARANTINED
    return Outcome.WEIGHTED if weight < 1 else Outcome.LEARNED


def _unchanged(lesson: LessonTaught) -> dict[str, ModelChange]:
    """Make the batch models' lines of the receipt: they learn only when they are rebuilt."""
    return {
        guess.model: ModelChange(
            version_before=guess.version,
            version_after=guess.version,
            p_before=guess.probabilities[lesson.label],
            p_after=guess.probabilities[lesson.label],
        )
        for guess in lesson.shown
        if is_batch(guess.model) and not guess.shadow
    }
