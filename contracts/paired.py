"""Compares two versions by the drawings that both have guessed, person by person. Pure.

A person's drawings look alike: a version that cannot read one of their sevens reads none. So people are what is counted here,
not drawings: of each, how many drawings there are and on how many more of them the one version was right than the other. Who
has drawn more says more, up to a bound, since more drawings of one hand tell less and less of others.

If the versions are equally good, each person's difference is as likely in favour of the one as of the other. All that follows
supposes this symmetry, and neither a variance nor a bound nor a number of people.

`chance` and `interval` are for one look, as at a rebuild: of all ways to give the differences their signs, how many give as
much in all. `sequence` is for as many looks as one likes, as at what players say all day: for each number x, the product of
exp(x d - x^2 d^2 / 2) over all people is a supermartingale that begins at 1, and so is the mean of such products over several
x, the capital. By Ville's inequality it ever exceeds 1 / a with a probability of at most a. That costs people, some two or
three times as many. Either interval has the differences that are not refuted, with each person's diminished by them.

Source:
    Fisher 1935, "The design of experiments", and Pitman 1937 for signs. De la Pena 1999, "A general class of exponential
    inequalities for martingales and ratios", Annals of Probability 27; Howard, Ramdas, McAuliffe, Sekhon 2020, "Time-uniform
    Chernoff bounds via nonnegative supermartingales", Probability Surveys 17, and 2021, "Time-uniform, nonparametric,
    nonasymptotic confidence sequences", Annals of Statistics 49.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Floats = NDArray[np.float64]

ALPHA: Final = 0.05
"""The probability with which an interval may ever miss the truth."""
HALF: Final = 20.0
"""A person who has drawn so many counts half as much as one who draws for ever."""
_BETS: Final[_Floats] = 2.0 ** np.arange(-1.0, 9.0)
"""The numbers x of the mixture: the small ones for differences that are far from what was seen."""
_STAKES: Final[_Floats] = np.log(np.array([1, 1, 1, 2, 4, 8, 8, 4, 2, 1]) / 32)
"""Their weights: most on those that tell a difference of some points soonest."""
_HALVINGS: Final = 16
_STEPS: Final = 3000
"""Into how many steps all differences together are divided, to add up all ways to sign them; into more if people are many."""
_SUMMED_UP: Final = 1500
"""Of more people than this the ways are not added up: the normal distribution says as much, and sooner."""
_USUAL_SPREAD: Final = 0.02
"""How much the difference of two versions varies from person to person, until people have shown it."""
_USUAL_DISAGREEMENT: Final = 0.05
"""On how many drawings only one of two versions is right, until people have shown it."""
_USUAL_DRAWINGS: Final = 20
_BELIEF: Final = 8
"""As how many people the usual counts."""
_DOUBT: Final = 1.5
"""By how much more the variance may be than it seems, in shares of it, over the root of the number of people."""
_SURE: Final = 1.645
"""A plan is enough in 95 of 100 cases, if the variance is what it seems."""


@dataclass(frozen=True, slots=True)
class People:
    """What each person's drawings say of two versions."""

    drawings: NDArray[np.int64]
    """How many drawings each person has made that both versions have guessed; none has made 0."""
    more: NDArray[np.int64] | NDArray[np.float64]
    """On how many more of them the second version was right than the first; or how much more of something else it has there."""

    @classmethod
    def of(cls, people: ArrayLike, first: ArrayLike, second: ArrayLike) -> "People":
        """Sum up drawings.

        Args:
            people: Whose each drawing is, an index, shape (n,).
            first: Whether the first version was right, shape (n,).
            second: Whether the second was.
        """
        who = np.asarray(people, np.int64)
        difference = np.asarray(second, np.int64) - np.asarray(first, np.int64)
        drawings = np.bincount(who) if who.size else np.zeros(0, np.int64)
        more = np.bincount(who, difference).astype(np.int64) if who.size else np.zeros(0, np.int64)
        return cls(drawings[drawings > 0], more[drawings > 0])

    @classmethod
    def measured(cls, people: ArrayLike, first: NDArray[np.float64], second: NDArray[np.float64]) -> "People":
        """Sum up what was measured on drawings, -1..1 each; the arguments are those of `of`."""
        who = np.asarray(people, np.int64)
        drawings, more = np.bincount(who), np.bincount(who, second - first)
        return cls(drawings[drawings > 0], more[drawings > 0])

    @classmethod
    def counted(cls, rows: Iterable[tuple[int, int, int]]) -> "People":
        """Return people who were counted: drawings, how many more were right, and how many such people there are."""
        rows = list(rows)
        times = [row[2] for row in rows]
        return cls(np.repeat([row[0] for row in rows], times), np.repeat([row[1] for row in rows], times)) if rows else NOBODY

    def __len__(self) -> int:
        return len(self.drawings)

    @property
    def difference(self) -> float:
        """How much more often the second version is right, -1..1, each person weighed by what their drawings tell."""
        weights = self.drawings / (self.drawings + HALF)
        return float((self.more / (self.drawings + HALF)).sum() / weights.sum()) if len(self) else 0.0

    def log_capital(self, differences: ArrayLike, sign: int = 1) -> _Floats:
        """Return the logarithm of the capital against each of some differences: that the second version is no better than so.

        Args:
            differences: Each -1..1, shape (n,).
            sign: -1: against its being no worse than so.
        """
        told, weights = self.more / (self.drawings + HALF), self.drawings / (self.drawings + HALF)
        at = np.asarray(differences, float)
        total = sign * (told.sum() - at * weights.sum())
        squares = (told**2).sum() - 2 * at * (told * weights).sum() + at**2 * (weights**2).sum()
        logs = total[:, None] * _BETS - squares[:, None] * _BETS**2 / 2 + _STAKES
        most = logs.max(axis=1)
        return np.asarray(most + np.log(np.exp(logs - most[:, None]).sum(axis=1)))

    def ever(self, sign: int = 1) -> float:
        """Return how likely it is that the second version ever seems so much better if it is not; -1: so much worse."""
        return min(1.0, math.exp(-self.log_capital([0.0], sign)[0])) if len(self) else 1.0

    def chance(self, difference: float = 0.0, sign: int = 1) -> float:
        """Return how likely so much is by luck, if the second version is better by no more than a difference.

        Args:
            difference: -1..1.
            sign: -1: if it is worse by no more than that.
        """
        found = sign * (self.more - difference * self.drawings) / (self.drawings + HALF)
        whole = np.abs(found).sum()
        if whole == 0:
            return 1.0
        if len(self) > _SUMMED_UP:
            return NormalDist().cdf(-float(found.sum() / np.sqrt((found**2).sum())))
        steps = np.rint(found * (max(_STEPS, 20 * len(self)) / whole)).astype(np.int64)
        ways, reach = np.ones(1), 0
        for step in np.abs(steps[steps != 0]).tolist():  # the sum of what is signed so far, from -reach to reach, by two
            wider = np.zeros(len(ways) + step)
            wider[step:] += ways / 2
            wider[: len(ways)] += ways / 2
            ways, reach = wider, reach + step
        return float(min(1.0, ways[max(0, (int(steps.sum()) + reach) // 2) :].sum()))

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Return the ends of the confidence interval of the difference, for one look; it misses the truth as often as alpha."""
        low, high = (self._end(sign, lambda at, way: self.chance(at, way) <= alpha / 2) for sign in (1, -1))
        return low, high

    def sequence(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Return the ends of the confidence sequence of the difference; it ever misses the truth as often as alpha."""
        least = math.log(2 / alpha)
        low, high = (self._end(sign, lambda at, way: self.log_capital([at], way)[0] >= least) for sign in (1, -1))
        return low, high

    def _end(self, sign: int, refuted: Callable[[float, int], bool]) -> float:
        out, near = -float(sign), self.difference
        if not len(self) or not refuted(out, sign):
            return out
        for _ in range(_HALVINGS):
            middle = (out + near) / 2
            if refuted(middle, sign):
                out = middle
            else:
                near = middle
        return out


NOBODY: Final = People(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class Size:
    """How much is needed to answer a question."""

    people: int
    drawings: int


def needed(seen: People, gain: float, alpha: float) -> Size:
    """Return how many people and drawings there must be in all to find a version better that is better by ``gain``.

    It is enough in 90 of 100 cases if further people are like those who were seen. While these are few, it is supposed besides
    that two versions differ as two versions usually do.
    """
    each = float(seen.drawings.mean()) if len(seen) else float(_USUAL_DRAWINGS)
    weight = each / (each + HALF)
    usual = weight**2 * (_USUAL_SPREAD**2 + _USUAL_DISAGREEMENT / each)
    told, weights = seen.more / (seen.drawings + HALF), seen.drawings / (seen.drawings + HALF)
    squares = float(((told - seen.difference * weights) ** 2).sum())
    variance = (squares + _BELIEF * usual) / (max(0, len(seen) - 1) + _BELIEF)
    variance *= 1 + _DOUBT / math.sqrt(max(0, len(seen) - 1) + _BELIEF)  # by few people one may think them too much alike
    share, strict = weight * gain, NormalDist().inv_cdf(1 - alpha)
    people = math.ceil(math.log2(1 / alpha)) + 1
    while people * share - _SURE * math.sqrt(people * variance) < strict * math.sqrt(people * (variance + share**2)):
        people += max(1, people // 50)
    return Size(people, math.ceil(people * each))


def rounded(n: int) -> int:
    """Round a plan to two digits, upwards.

    >>> rounded(417), rounded(31), rounded(7)
    (420, 31, 7)
    """
    step: int = 10 ** max(0, len(str(n)) - 2)
    return -(-n // step) * step
