"""An online model that is a sum of its lessons (way 2, LEARN). Pure.

A drawing's embedding becomes a row of whole numbers (`Basis`). A lesson adds to two sums of them, A = sum w x x' and
B = sum w x onehot(y), and what answers is ridge regression on the sums: W = (A + ridge I)^-1 B. All sums stay below 2^53, where
float64 adds whole numbers exactly. So lessons may come in any order and through any number of workers, sums are merged by
addition, and a lesson that is taken out leaves, bit for bit, the state without it.

See docs/decisions/0027-a-model-that-is-a-sum.md for the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256, shake_256
from typing import Any, Final

import numpy as np
from cachetools import FIFOCache
from numpy.typing import NDArray
from river.base import Classifier
from river.base.typing import ClfTarget, FeatureName
from scipy.linalg import blas, lapack

from contracts.events import DIGITS
from contracts.lesson_marks import EIGHTHS as EIGHTHS

Floats = NDArray[np.float64]
RIDGE: Final = 256.0
"""What is added to the diagonal of A, which keeps weights small where there are few lessons."""
SHARPNESS: Final = 9.0
"""What the scores of the regression are multiplied with before they become probabilities: it makes them as sure as they are
right."""
_MOST: Final = 2047
"""The largest feature: 2^28 lessons, each of a whole weight, stay below 2^53."""
_PER_UNIT: Final = 32
_PROJECTED_PER_UNIT: Final = 64
_FLAT: Final = 2.0**-11
"""The scale of the projections: a power of two, so that the product stays exact."""
_ONE: Final = 64.0
_MANY: Final = 256
"""From so many lessons on, those of one weight are added up together."""


@dataclass(frozen=True)
class Basis:
    """The whole-numbered features of an embedding: itself, its fixed random projections where they are positive, and a one.

    They are computed from whole numbers alone, so they are the same on every machine and in every batch.
    """

    size: int = 64
    """The numbers of an embedding."""
    projections: int = 256
    seed: int = 20181103

    @property
    def name(self) -> str:
        """The name of the basis, by which a snapshot says what its weights are for."""
        return f"relu-{self.size}-{self.projections}-{self.seed}"

    @property
    def width(self) -> int:
        """The number of features."""
        return self.size + self.projections + 1

    @cached_property
    def _projection(self) -> tuple[Floats, Floats]:
        """The matrix, shape (size, projections), and what is added, shape (projections,): whole, bell-shaped, from the seed."""
        count = (self.size + 1) * self.projections
        drawn = np.frombuffer(shake_256(self.name.encode()).digest(4 * count), np.uint8).reshape(4, self.size + 1, -1)
        made = drawn.astype(np.float64).sum(axis=0) - 510.0
        return made[:-1], made[-1] * _PROJECTED_PER_UNIT

    def rows(self, embeddings: NDArray[np.floating[Any]]) -> Floats:
        """Return the features of embeddings of shape (n, size): whole numbers in +-2047, shape (n, width)."""
        given = np.asarray(embeddings, np.float64)
        matrix, added = self._projection
        raised = np.floor((np.clip(np.rint(given * _PROJECTED_PER_UNIT), -_MOST, _MOST) @ matrix + added) * _FLAT)
        out = np.empty((len(given), self.width))
        out[:, : self.size] = np.clip(np.rint(given * _PER_UNIT), -_MOST, _MOST)
        out[:, self.size : -1] = np.clip(raised, 0, _MOST)
        out[:, -1] = _ONE
        return out


BASIS: Final = Basis()
"""The basis of the online models."""


_lately: Final[FIFOCache[tuple[Basis, bytes], Floats]] = FIFOCache(1024)
"""The latest rows, by basis and embedding in float32: 2.6 KB each."""


def rows_of(basis: Basis, embeddings: NDArray[np.float32]) -> Floats:
    """Return what `Basis.rows` does, not to be changed in place, and keep it: a drawing is labelled soon after its guesses."""
    rows = basis.rows(embeddings)
    rows.flags.writeable = False
    _lately.update(((basis, embedding.tobytes()), row) for embedding, row in zip(embeddings, rows, strict=True))
    return rows


def row_of(basis: Basis, embedding: bytes) -> Floats:
    """Return the features of an embedding in float32, shape (width,), not to be changed in place.

    The folds of a process read the same examples one after the other, so the latest rows are kept.
    """
    row = _lately.get((basis, embedding))
    return rows_of(basis, np.frombuffer(embedding, "<f4")[None])[0] if row is None else row


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of some lessons; never changed in place."""

    products: Floats
    """A, shape (width, width), in eighths: whole numbers."""
    labelled: Floats
    """B, shape (width, 10), in eighths: whole numbers."""

    @classmethod
    def nothing(cls, width: int) -> "Sums":
        """Return the sums of no lessons, for rows of so many features."""
        return cls(np.zeros((width, width)), np.zeros((width, DIGITS)))

    def plus(self, rows: Floats, labels: Sequence[int] | NDArray[np.integer[Any]], eighths: NDArray[np.integer[Any]]) -> "Sums":
        """Return the sums with these lessons too.

        Args:
            rows: Of `Basis.rows`, shape (n, width).
            labels: The digit of each.
            eighths: The weight of each in eighths; a negative one takes a lesson out.
        """
        weights = np.asarray(eighths, np.float64)
        weighed = rows * weights[:, None]
        labelled = np.zeros((len(rows), DIGITS))
        labelled[np.arange(len(rows)), labels] = 1.0
        if len(rows) < _MANY:
            return Sums(self.products + rows.T @ weighed, self.labelled + weighed.T @ labelled)
        products = self.products.copy()
        for weight in np.unique(weights):  # a product with itself is half the work, and all sums are exact
            alike = rows[weights == weight]
            products += weight * (alike.T @ alike)
        return Sums(products, self.labelled + weighed.T @ labelled)

    def merged(self, other: "Sums") -> "Sums":
        """Return the sums of both sets of lessons."""
        return Sums(self.products + other.products, self.labelled + other.labelled)

    def share(self, fraction: float) -> "Sums":
        """Return the sums of the same lessons with another weight, which need not be whole."""
        return Sums(self.products * fraction, self.labelled * fraction)

    def digest(self) -> str:
        """Return the sha256 of both sums: the same for the same lessons, whatever their order."""
        return sha256(self.products.astype("<i8").tobytes() + self.labelled.astype("<i8").tobytes()).hexdigest()


class Fixed:
    """Weights that no lesson changes: what a frozen model answers."""

    def __init__(self, weights: Floats) -> None:
        """Keep weights of shape (10, width)."""
        self.weights = weights

    def probabilities(self, rows: Floats) -> Floats:
        """Return the probability of each digit, shape (n, 10), for rows of shape (n, width)."""
        return probabilities(rows @ self.weights.T)

    def probabilities_with(self, row: Floats, before: tuple[int, float] | None, after: tuple[int, float] | None) -> Floats:
        """Return what is answered to a row, shape (10,), whatever lesson of it was changed: see `Solved`."""
        answered: Floats = self.probabilities(row[None])[0]
        return answered


class Solved(Fixed):
    """What some sums answer."""

    def __init__(self, sums: Sums) -> None:
        """Solve for the weights; about a millisecond."""
        ridged = sums.products + np.diag(np.full(len(sums.products), RIDGE * EIGHTHS))
        self._factor, info = lapack.dpotrf(ridged, lower=1, overwrite_a=1, clean=0)
        if info != 0:
            raise NotASum(f"no weights solve these sums: lessons were taken out that had not come in (dpotrf says {info})")
        super().__init__(lapack.dpotrs(self._factor, sums.labelled, lower=1)[0].T.copy())

    def probabilities_with(self, row: Floats, before: tuple[int, float] | None, after: tuple[int, float] | None) -> Floats:
        """Return what would be answered to a row, shape (10,), had a lesson of this very row been changed.

        A lesson that counts more than the sums can have of it is not in them yet: then only what is put in changes anything.

        Args:
            row: Shape (width,).
            before: The label and the weight in eighths that the sums have of it; None: they have no such lesson.
            after: Those that they would have instead; None: none.
        """
        half = blas.dtrsv(self._factor, row, lower=1)  # the sums are the factor times itself, so half of the solution is enough
        spread = float(half @ half)
        out, put = (0 if lesson is None else lesson[1] for lesson in (before, after))
        if 1.0 + (put - out) * spread <= 0.0:
            before, out = None, 0
        scores = self.weights @ row
        for lesson, sign in ((before, -1), (after, 1)):
            if lesson is not None:
                scores[lesson[0]] += sign * lesson[1] * spread
        weight = put - out
        answered: Floats = probabilities((scores / (1.0 + weight * spread))[None])[0]
        return answered


def probabilities(scores: Floats) -> Floats:
    """Return the probabilities of scores, shape (n, 10)."""
    raised = np.exp(SHARPNESS * (scores - scores.max(axis=1, keepdims=True)))
    shares: Floats = raised / raised.sum(axis=1, keepdims=True)
    return shares


class NotASum(ValueError):
    """The sums are those of no set of lessons."""


class AdditiveClassifier(Classifier):
    """Ridge regression on sums, as a river classifier that can unlearn: the state is a function of the set of its lessons.

    A feature of any name has its place, by its number or by the hash of its name; a label may be anything.

    Examples:
        >>> model = AdditiveClassifier()
        >>> model.learn_one({0: 1.0}, "a")
        >>> model.learn_one({1: 1.0}, "b")
        >>> model.predict_one({0: 0.9})
        'a'
        >>> digest = model.digest()
        >>> model.learn_one({0: 0.9}, "b")
        >>> model.unlearn_one({0: 0.9}, "b")
        >>> model.digest() == digest
        True
    """

    def __init__(self, size: int = 64, projections: int = 256, seed: int = 20181103) -> None:
        """Begin with no lessons, on a `Basis` of these values."""
        self.size = size
        self.projections = projections
        self.seed = seed
        self._basis = Basis(size, projections, seed)
        self._products = np.zeros((self._basis.width, self._basis.width))
        self._labelled: dict[ClfTarget, Floats] = {}
        self._solved: Solved | None = None

    @property
    def _multiclass(self) -> bool:
        return True

    def learn_one(self, x: dict[FeatureName, Any], y: ClfTarget, w: float = 1.0) -> None:
        """Learn that ``x`` has the label ``y``, with the weight ``w``, which counts in eighths."""
        row, eighths = self._row(x), round(w * EIGHTHS)
        self._products += np.outer(row, eighths * row)
        labelled = self._labelled.get(y, np.zeros(self._basis.width)) + eighths * row
        if labelled.any():
            self._labelled[y] = labelled
        else:
            self._labelled.pop(y, None)
        self._solved = None

    def unlearn_one(self, x: dict[FeatureName, Any], y: ClfTarget, w: float = 1.0) -> None:
        """Take out a lesson that was learned: the state is the one without it, bit for bit."""
        self.learn_one(x, y, -w)

    def predict_proba_one(self, x: dict[FeatureName, Any], **kwargs: Any) -> dict[ClfTarget, float]:
        """Return the probability of each label that is known."""
        if not self._labelled:
            return {}
        labels = sorted(self._labelled, key=repr)
        if self._solved is None:
            self._solved = Solved(Sums(self._products, np.column_stack([self._labelled[label] for label in labels])))
        return dict(zip(labels, self._solved.probabilities(self._row(x)[None])[0].tolist(), strict=True))

    def digest(self) -> str:
        """Return the sha256 of the state: the same for the same lessons, whatever their order."""
        state = sha256(self._products.astype("<i8").tobytes())
        for label in sorted(self._labelled, key=repr):
            state.update(repr(label).encode() + self._labelled[label].astype("<i8").tobytes())
        return state.hexdigest()

    def _row(self, x: dict[FeatureName, Any]) -> Floats:
        given = np.zeros((1, self.size))
        for name, value in x.items():
            if not (isinstance(name, int) and 0 <= name < self.size):
                name = int.from_bytes(sha256(repr(name).encode()).digest()[:8], "big") % self.size
            given[0, name] += round(float(value) * _PROJECTED_PER_UNIT) / _PROJECTED_PER_UNIT  # exact, in any order
        row: Floats = self._basis.rows(given)[0]
        return row
