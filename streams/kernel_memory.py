"""Answers as a player's own model, `yours`, from what is remembered of the player (way 1, ANSWER). Pure.

It is a Gaussian process over the shared model: what the shared model's scores lack of each labelled drawing is carried over to
the drawings that look like it. Until the first label the answer is the shared model's own.

    p ~ (p_shared + 0.002) exp(9 sum_i k(x, x_i) a_i)
    a = (K + N)^-1 (2 onehot(y) - s - 0.1)      s: the shared model's scores of x_i, log(p_shared + 0.002) / 9, with the sum 1

Two drawings are alike by their embeddings, in the metric in which the base is sure, by their outlines, and, for people whose
signs are others, by what the shared model takes them for:

    k = 10 <e, e'>_A + (h - h_Z' (h_ZZ + 3)^-1 h_Z)(o, o') + 3 (1 - min(1, r / .6)^2) <p, p'>      h = 10 exp(8 (cos - 1))

Z are drawings of MNIST, which the shared model reads right: what both drawings have in common with them does not count, so that
a label teaches what is the player's own. N is 0.3 where the shared model was right, and 0.3 + 10 r^4 where it was not, since a
wrong key looks like that too; r = (hits + 6) / (n + 6). See docs/decisions/0038-a-players-own-model.md for the figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk, ssyrk
from scipy.linalg.lapack import dpotrf, dpotrs

from contracts.events import DIGITS, ModelName
from streams.additive import EIGHTHS, RIDGE, SHARPNESS, Floats
from streams.bandit import Belief, pick
from streams.online_base import Base
from streams.outline import ink_of, outlines_of_ink
from streams.player_memory import FLOOR, Memory, Rows, in_order, remembered, scores_of

GENERATION: Final = "own3"
_BY_EMBEDDING: Final = 10.0
_BY_OUTLINE: Final = 10.0
_BY_SIGN: Final = 3.0
_OUTLINE_SHARPNESS: Final = 8.0
_OPPOSED: Final = 3.0  # the noise of the base's drawings: with less they oppose more
_SURE: Final = 0.3
_SLIP: Final = 10.0
_STRANGE: Final = 0.6  # below this ``r`` the shared model's guesses begin to count as signs
_TRUST: Final = 6.0
_OF_LABELS: Final = 8
_GIVEN: Final = 2.0 * np.eye(DIGITS)
_UNIT: Final = 128.0  # an embedding of length 4 has 32 to the unit in the base's rows

_Single = NDArray[np.float32]


def _alike(some: _Single, others: _Single) -> _Single:
    """Return how much outlines are alike, ``h``."""
    made: _Single = some @ others.T
    made -= 1.0
    made *= _OUTLINE_SHARPNESS
    np.exp(made, out=made)
    made *= _BY_OUTLINE
    return made


def _units(embeddings: NDArray[np.float32]) -> Floats:
    given = embeddings.astype(np.float64)
    made: Floats = given / np.sqrt(np.maximum(np.einsum("nd,nd->n", given, given), 1e-12))[:, None]
    return made


def _right_root(matrix: Floats) -> Floats:
    """Return R, so that R R' is the inverse of a positive matrix."""
    made: Floats = np.ascontiguousarray(np.linalg.inv(np.linalg.cholesky(matrix)).T)
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What players' own models know before any label, from the base; never changed in place."""

    metric: Floats
    """The product of two unit embeddings, each times this, is how they count: shape (d, d)."""
    opposed: _Single
    """Z, the outlines of the base's drawings: shape (m, `OUTLINE`)."""
    opposing: _Single
    """The right root of (h_ZZ + 3)^-1, shape (m, m)."""

    @classmethod
    def of(cls, base: Base) -> "Prior":
        """Return what a base says; some milliseconds."""
        size = base.basis.size
        sums = base.sums.products[:size, :size] / EIGHTHS + RIDGE * np.eye(size)
        opposed = outlines_of_ink(base.ink)
        noisy = _alike(opposed, opposed).astype(np.float64) + _OPPOSED * np.eye(len(opposed))
        metric = _BY_EMBEDDING**0.5 * _UNIT * _right_root(sums)
        return cls(metric, opposed, _right_root(noisy).astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What a memory's labelled drawings are compared by. Each row is a function of its drawing alone, bit for bit.

    So it can be kept from label to label, and the answers still depend on nothing but the drawings.
    """

    places: NDArray[np.intp]
    """Which of the memory's rows have a label and features, in the order of drawing."""
    directions: _Single
    """Their products are 10 <e, e'>_A: shape (n, d)."""
    outlines: _Single
    """Shape (n, `OUTLINE`)."""
    against: _Single
    """Their products are h_Z' (h_ZZ + 3)^-1 h_Z: shape (n, m)."""

    @classmethod
    def of(cls, rows: Rows, places: NDArray[np.intp], prior: Prior, drawn: "Compared | None" = None) -> "_Seen":
        """Look at the rows of these places; ``drawn`` is of the same drawings, if they were looked at already."""
        if not len(places):
            return cls(
                places, *(np.empty((0, len(one)), np.float32) for one in (prior.metric, prior.opposed.T, prior.opposing))
            )
        # a row at a time, (n, 1, d) times (d, d): the bits of a product of matrices depend on how many rows there are
        directions = _units(rows["embedding"][places])[:, None] @ prior.metric
        made = outlines_of_ink(rows["ink"][places]) if drawn is None else drawn.outlines
        near = _alike(made[:, None], prior.opposed) if drawn is None else drawn.to_opposed[:, None]
        return cls(places, directions[:, 0].astype(np.float32), made, (near @ prior.opposing)[:, 0])

    def changing(self, rows: Rows, place: int, prior: Prior, drawn: "Compared | None") -> "_Seen":
        """Return this for other rows, of which only the one at a place, of the drawing ``drawn``, is not as it was."""
        places = in_order(rows, remembered(rows))
        new = places[places == place]
        more = _Seen.of(rows, new, prior, drawn)
        newest = len(new) == 1 and places[-1] == place and len(self.places) < len(places)

        def joined(kept: _Single, added: _Single) -> _Single:
            if newest:  # as most are
                return np.concatenate([kept, added])
            both, left = np.empty((len(places), kept.shape[1]), np.float32), places != place
            both[left], both[~left] = kept[self.places != place], added
            return both

        return _Seen(
            places,
            joined(self.directions, more.directions),
            joined(self.outlines, more.outlines),
            joined(self.against, more.against),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Learned:
    """The weights that are solved from a player's labels."""

    by_embedding: _Single
    """Shape (d, 10), for a unit embedding."""
    outlines: _Single
    """Those of the labelled drawings, shape (n, `OUTLINE`)."""
    by_outline: _Single
    """Shape (n, 10), for how much each of these is like the drawing in question."""
    by_opposed: _Single
    """Shape (m, 10), the same for the base's drawings."""
    by_sign: Floats | None
    """Shape (10, 10), for the shared model's probabilities; None: they are no signs."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """What drawings are compared by, whoever answers."""

    units: Floats
    """The embeddings, each of length 1: shape (n, d)."""
    outlines: _Single
    """Shape (n, `OUTLINE`)."""
    to_opposed: _Single
    """How much their outlines are like those of the base's drawings, shape (n, m)."""


class Player:
    """The memory of a player, ready to answer; what is remembered is never changed in place."""

    __slots__ = ("_known", "_picked", "_prior", "_seen", "means", "memory", "version")

    def __init__(
        self,
        memory: Memory,
        prior: Prior | None = None,
        means: Mapping[str, float] | None = None,
        seen: _Seen | None = None,
    ) -> None:
        """Answer from a player's memory.

        Args:
            memory: What is remembered.
            prior: What is known before any label; a memory without drawings needs none.
            means: Those over all players when the last correction came, on which the pick stands; None: those that the first
                pick is made with.
            seen: What the memory's drawings are compared by, if it is made already.
        """
        self.memory = memory
        self.means = means
        self._prior = prior
        self._seen = seen
        self._known: _Learned | None = None
        self._picked: tuple[Sequence[ModelName], Mapping[str, float], ModelName] | None = None
        rows = memory.rows
        self.version = f"{GENERATION}+{np.count_nonzero(remembered(rows))}" if len(rows) else f"{GENERATION}+0"

    @classmethod
    def nobody(cls) -> "Player":
        """Return a player who has corrected nothing yet."""
        return cls(Memory())

    @property
    def size(self) -> int:
        """How much memory this takes, counted in drawings; the solved weights take as much as eight."""
        rows = len(self.memory.rows)
        return 1 + rows + _OF_LABELS if rows else 1

    def learning(
        self, memory: Memory, place: int, means: Mapping[str, float] | None, drawn: Compared | None = None
    ) -> "Player":
        """Return the player with another memory, of which only the row at a place is not as it was, and with these means.

        ``drawn``: the drawing of that row, if it is looked at already.
        """
        prior = self._prior
        seen = None if prior is None else self._looked(prior).changing(memory.rows, place, prior, drawn)
        return Player(memory, prior, means, seen)

    def answer(self, embeddings: NDArray[np.float32], rasters: NDArray[np.uint8], shared: Floats) -> Floats:
        """Answer by the formula above.

        Args:
            embeddings: Of the drawings, shape (n, d).
            rasters: Of the same drawings, shape (n, 784).
            shared: The shared model's answers to them, shape (n, 10).
        """
        if self._learned() is None:
            return shared
        return self.answer_to(self.compared(embeddings, outlines_of_ink(ink_of(rasters))), shared)

    def compared(self, embeddings: NDArray[np.float32], made: _Single) -> Compared:
        """Return what drawings are compared by, given their outlines; it is the same for all players of a prior."""
        if self._prior is None:
            raise LookupError("a player without anything known before compares nothing")
        return Compared(_units(embeddings), made, _alike(made, self._prior.opposed))

    def answer_to(self, drawn: Compared, shared: Floats) -> Floats:
        """Answer as `answer` does."""
        known = self._learned()
        if known is None:
            return shared
        votes = drawn.units @ known.by_embedding
        if known.by_sign is not None:
            votes += shared @ known.by_sign
        votes += _alike(drawn.outlines, known.outlines) @ known.by_outline + drawn.to_opposed @ known.by_opposed
        votes -= np.maximum.reduce(votes, axis=1, keepdims=True)
        votes *= SHARPNESS
        p: Floats = np.exp(votes, out=votes)
        p *= shared + FLOOR
        p /= np.add.reduce(p, axis=1, keepdims=True)
        return p

    def pick(self, player_id: str, arms: Sequence[ModelName], means: Mapping[str, float]) -> tuple[ModelName, int]:
        """Return the model to show first, and after how many corrections; ``means``: those in force."""
        belief = self.memory.belief or Belief(0, {}, {})
        if self.means is None or not belief.corrections:
            self.means = means
        if self._picked is None or self._picked[0] != arms or self._picked[1] is not self.means:
            self._picked = (arms, self.means, pick(player_id, belief, arms, self.means))
        return self._picked[2], belief.corrections

    def _looked(self, prior: Prior) -> _Seen:
        """Return what the memory's drawings are compared by."""
        if self._seen is None:
            rows = self.memory.rows
            self._seen = _Seen.of(rows, in_order(rows, remembered(rows)), prior)
        return self._seen

    def _learned(self) -> _Learned | None:
        """Return what the labels come to, which is solved for when it is asked for first; None: there are none."""
        if self._known is None and self._prior is not None and len(self.memory.rows):
            seen = self._looked(self._prior)
            self._known = _learned(self.memory.rows.take(seen.places), seen, self._prior) if len(seen.places) else None
        return self._known


def _learned(rows: Rows, seen: _Seen, prior: Prior) -> _Learned:
    """Solve for what labels come to; a millisecond with a full memory. The rows are those that were seen, in this order."""
    count, hit, scores = len(rows), rows["hit"], scores_of(rows)
    r = (np.count_nonzero(hit) + _TRUST) / (count + _TRUST)
    by_sign = _BY_SIGN * (1.0 - min(1.0, r / _STRANGE) ** 2)

    # the lower triangle alone
    half: _Single = ssyrk(_OUTLINE_SHARPNESS, seen.outlines.T, trans=1, lower=1)
    half -= np.float32(_OUTLINE_SHARPNESS)
    np.exp(half, out=half)
    half *= np.float32(_BY_OUTLINE)
    half = ssyrk(-1.0, seen.against.T, 1.0, half, trans=1, lower=1, overwrite_c=1)
    half = ssyrk(1.0, seen.directions.T, 1.0, half, trans=1, lower=1, overwrite_c=1)
    alike: Floats = half.astype(np.float64)
    signs = None
    if by_sign:
        signs = np.exp(SHARPNESS * scores)
        signs /= signs.sum(axis=1, keepdims=True)
        alike = dsyrk(by_sign, signs.T, 1.0, alike, trans=1, lower=1, overwrite_c=1)
    alike.T.reshape(-1)[:: count + 1] += np.where(hit, _SURE, _SURE + _SLIP * r**4)
    lacking = -0.1 - scores
    lacking += _GIVEN.take(rows["label"], axis=0)
    root, failed = dpotrf(alike, lower=1, clean=0, overwrite_a=1)
    if failed:
        raise AssertionError("labels cannot be solved for: their drawings and the noise make no positive matrix")
    votes, _ = dpotrs(root, lacking, lower=1)
    by_outline = votes.astype(np.float32)
    return _Learned(
        (prior.metric @ (seen.directions.T @ votes)).astype(np.float32),
        seen.outlines,
        by_outline,
        -(prior.opposing @ (seen.against.T @ by_outline)),
        None if signs is None else by_sign * (signs.T @ votes),
    )
