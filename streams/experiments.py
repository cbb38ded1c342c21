"""Lists the experiments beside the online model: river's own estimators, a line each (way 2, LEARN). Pure.

Each learns the lessons that the sum learns, as they come, and is asked as a shadow of the same model; an operator may let one
answer in its place. An estimator that descends a gradient cannot unlearn: a lesson that is taken back stays in it, and its
state depends on the order of its lessons. So when a player is forgotten or restricted, those that have learned from them
begin anew, without that player's lessons. Twice is harmless: the lessons of a partition are numbered.

See docs/decisions/0033-experiments.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from river.base import Classifier

from contracts.events import (
    DIGITS,
    PLAYER_PARTITIONS,
    ExperimentLearned,
    LessonsForgotten,
    LessonsRestricted,
    LessonTaught,
    Link,
)
from contracts.lesson_marks import LEAST, is_whole
from streams.additive import EIGHTHS, Floats
from streams.online_base import Base, BaseRows
from streams.online_model import SHARED, Answering, embedding_of, offsets_of
from streams.routing import linked

_LATELY: Final = 16_384
"""How many of the latest lessons are remembered, so that one whose weight changes is not learned again."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An estimator of river beside the online model."""

    name: str
    """Its generation, by which it is counted and promoted; one that is changed needs another."""
    make: Callable[[Any], Classifier]
    """Makes it of the package ``river``. It has no intercept, since it is given a one, and its weights are all of its state."""


EXPERIMENTS: Final = (
    Experiment("softmax-1", lambda r: r.linear_model.SoftmaxRegression(r.optim.SGD(0.1))),
    Experiment("pa-1", lambda r: one_vs_rest(r, r.linear_model.PAClassifier(C=0.05, learn_intercept=False))),
    Experiment("logistic-1", lambda r: one_vs_rest(r, r.linear_model.LogisticRegression(r.optim.SGD(0.3), intercept_lr=0.0))),
)
"""The experiments. To add one is to add a line here."""
NAMES: Final = frozenset(one.name for one in EXPERIMENTS)


def one_vs_rest(river: Any, binary: Classifier) -> Classifier:
    """Return a classifier of digits that has one of these for each of them."""
    made: Classifier = river.multiclass.OneVsRestClassifier(binary)
    return made


def package() -> Any:
    """Return the package ``river`` with its linear models: the first time, that takes two seconds and 54 MB."""
    import river.linear_model
    import river.multiclass
    import river.optim

    return river


class Estimator:
    """A river estimator, with its weights as one array.

    Examples:
        >>> one = Estimator(EXPERIMENTS[0], package())
        >>> one.learn(np.ones(64), 7)
        >>> one.weights().shape, int(one.weights()[:, 0].argmax())
        ((10, 65), 7)
    """

    def __init__(self, experiment: Experiment, river: Any, weights: NDArray[np.floating[Any]] | None = None) -> None:
        """Make an estimator that knows nothing; or the one of these ``weights``, of shape (10, size + 1)."""
        self._model: Any = experiment.make(river)
        self._vectors = river.utils.VectorDict
        self.link: Link = "sigmoid" if hasattr(self._model, "classifiers") else "softmax"
        """How its scores become probabilities."""
        for label, row in enumerate([] if weights is None else weights.tolist()):
            self._put(label, dict(enumerate(row)))

    def learn(self, embedding: NDArray[np.floating[Any]], label: int) -> None:
        """Learn that an embedding, shape (size,), has this label."""
        self._model.learn_one(_features(embedding), label)

    def probabilities(self, embedding: NDArray[np.floating[Any]]) -> list[float]:
        """Return what the estimator itself says of an embedding: the probability of each digit; 0 if it has seen none."""
        said = self._model.predict_proba_one(_features(embedding))
        return [float(said.get(label, 0.0)) for label in range(DIGITS)]

    def weights(self, size: int = 64) -> Floats:
        """Return the weights, shape (10, size + 1): the last column is that of the one.

        Raises:
            ValueError: If one is no number.
        """
        out = np.array([[float(row.get(at, 0.0)) for at in range(size + 1)] for row in map(self._row, range(DIGITS))])
        if not (np.abs(out) <= np.finfo("f4").max).all():  # so written, it refuses NaN
            raise ValueError("the weights are no finite numbers")
        return out

    def _row(self, label: int) -> Any:
        if self.link == "softmax":
            return self._model.weights.get(label, {})
        binary = self._model.classifiers.get(label)
        return {} if binary is None else binary.weights

    def _put(self, label: int, row: dict[int, float]) -> None:
        """Set the weights of a digit."""
        if self.link == "softmax":
            self._model.weights[label].update(row)
            return
        binary = self._model.classifiers[label] = self._model.classifier.clone()
        if hasattr(binary, "initializer"):  # of a GLM, `weights` is a copy
            binary._weights = self._vectors(row, binary.initializer)
        else:
            binary.weights.update(row)


class Apprentice:
    """An experiment as it learns: the estimator, and how far it has read the lessons."""

    def __init__(
        self, experiment: Experiment, river: Any, base: Base, rows: BaseRows, series: str, state: ExperimentLearned | None
    ) -> None:
        """Go on from a state that was published, if it is of the same estimator; else begin with nothing, and call `begin`.

        Args:
            experiment: The experiment.
            river: The package.
            base: The base of the online model, for its reader.
            rows: Drawings of MNIST: what it learns before any lesson, and one beside each lesson, lest it forgets them.
            series: The series of lessons that count.
            state: Its newest state on the log; None: there is none.
        """
        self.experiment, self._base, self._rows, self._series = experiment, base, rows, series
        made = f"{experiment.name}|{experiment.make(river)!r}|{base.reader}|{rows.digest}|{series}|{LEAST}"
        self.made_of = sha256(made.encode()).hexdigest()[:16]
        known = state if state is not None and state.made_of == self.made_of and not state.ended else None
        weights = None if known is None else np.frombuffer(known.weights, "<f4").reshape(DIGITS, -1)
        self.estimator = Estimator(experiment, river, weights)
        self.offsets = dict(enumerate(known.offsets)) if known else {}
        """By partition, the offset of the last record."""
        self.numbers = dict(enumerate(known.numbers)) if known else {}
        """By partition, the number of the last lesson."""
        self.taught = known.taught if known else 0
        self.jumped = known.jumped if known else 0
        """How many numbers of lessons were passed over."""
        self.passed = 0
        """How many notices of lessons that count no more it has read since it was taken up."""
        self.fresh = known is None
        """Whether it has not even learned the base yet."""
        self._lately: LRUCache[UUID, None] = LRUCache(_LATELY)

    def begin(self, place: int) -> None:
        """Learn the base's row at a place."""
        self.estimator.learn(self._rows.embeddings[place], int(self._rows.labels[place]))

    def apply(self, lesson: LessonTaught, partition: int, offset: int, *, held: bool = False) -> bool:
        """Read a lesson; return whether it was learned.

        Args:
            lesson: The lesson.
            partition: Where it is on the log.
            offset: Its offset there.
            held: Whether it is a restricted player's, which is not learned.

        Raises:
            LessonError: If its features cannot be read.
        """
        learned = False
        if lesson.series == self._series and lesson.number > self.numbers.get(partition, 0):
            if not held and self._counts(lesson):
                embedding = embedding_of(self._base, lesson.embedding, lesson.reader)
                self._lately[lesson.lesson_id] = None
                self.estimator.learn(embedding, lesson.label)
                self.begin(self.taught % len(self._rows.labels))
                self.taught += 1
                learned = True
            self.numbers[partition] = lesson.number
        self.offsets[partition] = max(offset, self.offsets.get(partition, -1))
        return learned

    def pass_over(self, event: LessonsForgotten | LessonsRestricted, partition: int, offset: int) -> None:
        """Go on from the number that a forgotten player's lessons have left; to be told anew is harmless."""
        self.passed += 1
        if (
            isinstance(event, LessonsForgotten)
            and event.series == self._series
            and event.number > self.numbers.get(partition, 0)
        ):
            self.jumped += event.number - event.offset
            self.numbers[partition] = event.number
        self.offsets[partition] = max(offset, self.offsets.get(partition, -1))

    def _counts(self, lesson: LessonTaught) -> bool:
        """Whether a lesson is learned: what a newcomer teaches counts little, and what is taken back cannot be unlearned."""
        return is_whole(lesson) and lesson.lesson_id not in self._lately

    @property
    def version(self) -> str:
        """The name of the version."""
        return f"{self.experiment.name}+{sum(self.numbers.values()) - self.jumped}"

    def state(self, at: datetime) -> ExperimentLearned:
        """Return the event that says so.

        Raises:
            ValueError: If the weights are no numbers.
        """
        return ExperimentLearned(
            at=at,
            model=SHARED,
            version=self.version,
            offsets=offsets_of(self.offsets),
            numbers=[self.numbers.get(partition, 0) for partition in range(PLAYER_PARTITIONS)],
            taught=self.taught,
            jumped=self.jumped,
            made_of=self.made_of,
            reader=self._base.reader,
            link=self.estimator.link,
            weights=self.estimator.weights(self._base.basis.size).astype("<f4").tobytes(),
        )


@dataclass(frozen=True, slots=True)
class Promoted(Answering):
    """An experiment that answers as the online model, for the receipts."""

    experiment: Experiment
    river: Any
    weights: NDArray[np.float32]
    """Shape (10, size + 1)."""
    link: Link

    def given(
        self,
        embedding: NDArray[np.float32],
        row: Floats,
        label: int,
        before: tuple[int, float] | None,
        after: tuple[int, float] | None,
    ) -> tuple[float, float]:
        """Return the probability of a label as the experiment answers, and as it does after this lesson alone."""
        learned = self.weights.astype(np.float64)
        known = before is not None and before[0] == label and before[1] >= LEAST * EIGHTHS
        if after is not None and after[1] >= LEAST * EIGHTHS and not known and not self.frozen:
            estimator = Estimator(self.experiment, self.river, self.weights)
            estimator.learn(embedding, after[0])
            learned = estimator.weights(len(embedding))
        asked = np.append(embedding.astype(np.float64), 1.0)
        p_before, p_after = (float(linked((each @ asked)[None], self.link)[0, label]) for each in (self.weights, learned))
        return p_before, p_after


def promoted(state: ExperimentLearned, experiment: Experiment, river: Any, newcomers: int, *, frozen: bool = False) -> Promoted:
    """Return an experiment as it answers; ``newcomers`` are the lessons of newcomers that are in force."""
    weights = np.frombuffer(state.weights, "<f4").reshape(DIGITS, -1)
    return Promoted(state.version, state.changes, newcomers, experiment, river, weights, state.link, frozen=frozen)


def _features(embedding: NDArray[np.floating[Any]]) -> dict[int, float]:
    """Return an embedding as river's estimators read it: its numbers by their places, and a one."""
    return {**dict(enumerate(embedding.tolist())), len(embedding): 1.0}
