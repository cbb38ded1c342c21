"""Measures what a control variate adds to estimated accuracy: ``python -m tests.bench.controlled`` (part of `make bench`).

How sure a model is of its guess says something of whether it is right, and is known of every drawing. So the mean of that over
all drawings, and of what is lacking over those that chance picked, estimates the same with less variance (difference estimator;
Robins, Rotnitzky and Zhao 1994; "prediction-powered inference", Angelopoulos and others 2023). Intervals that hold however
often one looks: the empirical Bernstein confidence sequence (Howard, Ramdas, McAuliffe, Sekhon 2021, theorem 4, with a mixture
as in `api.folds.estimate`), and the asymptotic one (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2024), which holds in the
limit alone. Both are put beside what the game shows. Drawings are those of data/pen, guessed by the base of `river`.
"""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray

from api.folds.estimate import ALPHA, interval
from producers.handwriting import handwriting
from tests.writers import drawings

Floats = NDArray[np.float64]
_BETS: Final[Floats] = np.append(0.01 * 1.3 ** np.arange(17.0), 0.9)
_COST: Final[Floats] = -np.log1p(-_BETS) - _BETS
_HALVINGS: Final = 40
_TUNED: Final = 1600
"""The number of known drawings at which the asymptotic sequence is narrowest."""


def population() -> tuple[Floats, Floats]:
    """Return of each drawing whether the guess is right, and how sure the model is of it, shape (n,) each."""
    people = [drawings(writer) for writer in handwriting()]
    right = np.concatenate([one.shared.argmax(axis=1) == one.labels for one in people])
    return right.astype(float), np.concatenate([one.shared.max(axis=1) for one in people])


def bernstein(spread: Floats, alpha: float = ALPHA) -> Floats:
    """Return how far the sum of what is lacking may be from what is expected, given the sum of its squares, shape (n,)."""
    below, above = np.zeros(len(spread)), 40.0 + 20.0 * np.sqrt(spread + 1)
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        logs = middle[:, None] * _BETS - spread[:, None] * _COST
        most = logs.max(axis=1)
        refuted = most + np.log(np.exp(logs - most[:, None]).mean(axis=1)) >= math.log(2 / alpha)
        below, above = np.where(refuted, below, middle), np.where(refuted, middle, above)
    return above


def asymptotic(deviation: Floats, n: Floats, alpha: float = ALPHA) -> Floats:
    """Return half the width of the asymptotic sequence of a mean, given the standard deviation of one, shape (n,)."""
    looks = -2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1
    scaled = n * looks / _TUNED + 1
    return deviation * np.sqrt(2 * scaled / (n * n * looks / _TUNED) * np.log(np.sqrt(scaled) / alpha))


class Runs:
    """Many runs at once, of which a fifth of the drawings is picked, and looked at after each pick."""

    def __init__(self, right: Floats, sure: Floats, picked: float, picks: int, runs: int, seed: int) -> None:
        """Draw them."""
        chance = np.random.default_rng(seed)
        drawn = chance.integers(0, len(right), (runs, picks))
        self.n = np.arange(1, picks + 1.0)
        self.drawn = np.cumsum(chance.geometric(picked, (runs, picks)), axis=1).astype(float)
        """How many drawings there were, picked or not, at each pick."""
        self.right = right[drawn].cumsum(axis=1)
        lacks = right[drawn] - sure[drawn]
        self.lacking, self.squares = lacks.cumsum(axis=1), (lacks**2).cumsum(axis=1)
        # how sure the model is of those that were not picked: the sum of so many is as good as normal
        others = self.drawn - self.n
        steps = np.diff(others, axis=1, prepend=0.0)
        more = sure.mean() * steps + sure.std() * np.sqrt(steps) * chance.standard_normal(steps.shape)
        self.sure = (sure[drawn].cumsum(axis=1) + more.cumsum(axis=1)) / self.drawn
        self.expected = picked * self.drawn


def measured(right: Floats, sure: Floats, picked: float, looks: Sequence[int], runs: int, seed: int) -> dict[str, object]:
    """Return standard errors and half widths after some numbers of picks, and how many runs ever miss the truth."""
    world = Runs(right, sure, picked, max(looks), runs, seed)
    truth, shown = right.mean(), world.right / world.n
    controlled = world.sure + world.lacking / world.n
    told: dict[str, object] = {}
    grid = np.linspace(0, float(world.squares.max()) + 1, 2000)
    reach = np.interp(world.squares, grid, bernstein(grid))
    weighted = world.sure + world.lacking / world.expected
    deviation = np.sqrt(np.maximum(world.squares / world.n - (world.lacking / world.n) ** 2, 0) + picked * sure.var())
    half = asymptotic(deviation, world.n)
    missed = {"as it is": np.zeros(runs, bool)}
    widths = {}
    for place in range(max(looks)):
        counts, which = np.unique(world.right[:, place], return_inverse=True)
        low, high = interval(counts, np.full(len(counts), place + 1))
        missed["as it is"] |= ((low > truth) | (high < truth))[which]
        if place + 1 in looks:
            widths[place] = float(((high - low) / 2)[which].mean())
    missed["empirical Bernstein"] = (np.abs(weighted - truth) > reach / world.expected).any(axis=1)
    missed["asymptotic"] = (np.abs(controlled - truth) > half).any(axis=1)
    for n in looks:
        at = n - 1
        told[f"{n} picks"] = {
            "standard error, points": _points(shown[:, at].std(), controlled[:, at].std()),
            "off by more than a point, % of the runs": _points(
                (np.abs(shown[:, at] - truth) > 0.01).mean(), (np.abs(controlled[:, at] - truth) > 0.01).mean()
            ),
            "half the width, points": _points(
                widths[at], float((reach[:, at] / world.expected[:, at]).mean()), float(half[:, at].mean())
            ),
        }
    told["runs that ever miss the truth, %"] = {name: round(100 * float(ever.mean()), 1) for name, ever in missed.items()}
    return told


def _points(*shares: float) -> list[float]:
    return [round(100 * float(share), 2) for share in shares]


def main(
    runs: Annotated[int, typer.Option(help="how many runs")] = 1000,
    picked: Annotated[float, typer.Option(help="probability that a drawing is picked")] = 0.2,
) -> None:
    """Estimate in many runs."""
    right, sure = population()
    told = {
        "variance that is left, share": round(float((right - sure).var() / right.var()), 3),
        "as it is, with the control variate, asymptotic": measured(right, sure, picked, (400, 1600, 4800), runs, 7),
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)
