"""Measures the estimate of accuracy: ``python -m tests.bench.honest`` (part of `make bench`).

People of data/pen play; the base that `river` starts from guesses. They put right what is wrong and rarely confirm what is
right. The real joiner, scorer and estimate fold what they do. Prints how far the share among labelled drawings is from the
truth, which only the data knows, and how far the estimate; how far it is in a hundred histories, of which the picks alone are
counted, which comes to the same; and in how many of a thousand runs the interval ever misses the
truth when one looks after every drawing, beside an interval that is made for one look.
"""

import json
import random
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from api.folds.estimate import ALPHA, interval
from api.folds.honest import HonestAccuracy
from api.folds.model_board import ModelBoard
from api.ops.accuracy import Accuracy
from contracts.events import Event, PicksCounted, ScoresCounted
from producers.handwriting import handwriting
from streams.joiner import Joiner
from streams.scorer import Scorer
from tests.histories import answered, correction, drawing, folded, guess
from tests.roster import ROSTER
from tests.writers import drawings

Floats = NDArray[np.float64]


class Drawn(NamedTuple):
    """A drawing of a history."""

    writer: str
    number: int
    gold: bool
    """Whether the server had asked for the digit."""
    picked: bool
    labelled: bool


def drawn(count: int, pick: float, free: float, confirm: float, correct: float, answer: float, seed: int) -> Iterator[Drawn]:
    """Yield so many drawings: whose, whether chance picked them, and whether the player said what they are."""
    chance = random.Random(seed)
    everybody = [(writer, number) for writer in handwriting() for number in range(len(drawings(writer).labels))]
    right = {writer: _right(writer).tolist() for writer in handwriting()}
    for _ in range(count):
        writer, number = chance.choice(everybody)
        gold, picked = chance.random() >= free, chance.random() < pick
        says = confirm if right[writer][number] else correct
        if picked and not gold:
            says = max(says, answer)
        yield Drawn(writer, number, gold, picked, chance.random() < says)


def played(history: Iterable[Drawn], pick: float, seed: int) -> Iterator[Event]:
    """What the three topics have of these drawings, in some order."""
    for n, one in enumerate(history):
        digit, said = int(drawings(one.writer).labels[one.number]), drawings(one.writer).shared[one.number].tolist()
        name, picked = f"{seed}/{n}", pick if one.picked else None
        yield drawing(name, player=one.writer, asked=digit if one.gold else None, gold=one.gold, picked=picked)
        yield answered([guess(name, int(np.argmax(said)), player=one.writer, probabilities=said)])
        if one.labelled:
            yield correction(name, digit, correction=name, player=one.writer)


def counted(history: Iterable[Drawn]) -> float:
    """Return what the estimate of a history comes to, in per cent, without any fold: the share among the gold picks."""
    right = [bool(_right(one.writer)[one.number]) for one in history if one.gold and one.picked]
    return round(100 * float(np.mean(right)), 2)


def truth() -> float:
    """The share of all drawings that the base guesses right."""
    return float(np.mean([one for writer in handwriting() for one in _right(writer)]))


@cache
def _right(writer: str) -> NDArray[np.bool_]:
    return np.asarray(drawings(writer).shared.argmax(axis=1) == drawings(writer).labels)


def estimated(history: Iterator[Event]) -> dict[str, float]:
    """Fold a history; return what is shown of it, in per cent."""
    board, honest = ModelBoard(ROSTER), HonestAccuracy()
    for event in folded(Scorer(), folded(Joiner(), history, step=200), step=200):
        if isinstance(event, ScoresCounted):
            board.apply(event)
        elif isinstance(event, PicksCounted):
            honest.apply(event)
    score, river = board.score("river"), honest.estimation("river").compute()
    whole = river.whole
    assert whole.share is not None
    assert whole.low is not None
    assert whole.high is not None
    told = {"as labels give it": score["correct"] / score["n"], "as it is": whole.share, "low": whole.low, "high": whole.high}
    counts = {"labelled": score["n"], "picked": whole.picked, "known": whole.known, "silent": river.silent}
    return {name: round(100 * share, 2) for name, share in told.items()} | counts


def missed(mean: Floats, runs: int, seed: int) -> dict[str, float]:
    """Look after every drawing of many runs; return the share of runs in which each interval ever missed the truth, in %.

    Args:
        mean: The probability that each drawing is guessed right, shape (drawings,).
        runs: How many.
        seed: Of the guesses.
    """
    chance, drawn = np.random.default_rng(seed), len(mean)
    right = (chance.random((runs, drawn)) < mean).cumsum(axis=1)
    so_far = mean.cumsum() / np.arange(1, drawn + 1)
    sequence, once = np.zeros(runs, bool), np.zeros(runs, bool)
    for n in range(1, drawn + 1):
        counts, which = np.unique(right[:, n - 1], return_inverse=True)
        low, high = interval(counts, np.full(len(counts), n))
        sequence |= ((low > so_far[n - 1]) | (high < so_far[n - 1]))[which]
        looks = [Accuracy.of(n, int(one)) for one in counts]
        wrong = [not (one.low or 0) <= so_far[n - 1] <= (1 if one.high is None else one.high) for one in looks]
        once |= np.array(wrong)[which]
    return {"the sequence": round(100 * float(sequence.mean()), 1), "Wilson's": round(100 * float(once.mean()), 1)}


def main(
    count: Annotated[int, typer.Option("--drawings", help="drawings of a history")] = 30_000,
    histories: Annotated[int, typer.Option(help="how many histories; the worst is printed too")] = 5,
    many: Annotated[int, typer.Option(help="of so many histories the gold picks alone are counted")] = 100,
    pick: Annotated[float, typer.Option(help="probability that a drawing is picked")] = 0.2,
    free: Annotated[float, typer.Option(help="share of the drawings that nobody asked for")] = 0.2,
    confirm: Annotated[float, typer.Option(help="probability that a right guess is confirmed")] = 0.1,
    correct: Annotated[float, typer.Option(help="probability that a wrong guess is put right")] = 0.9,
    answer: Annotated[float, typer.Option(help="probability that a player answers whether the guess was right")] = 0.7,
    runs: Annotated[int, typer.Option(help="runs of the interval")] = 1000,
    looks: Annotated[int, typer.Option(help="drawings of a run, after each of which one looks")] = 2000,
) -> None:
    """Play, estimate, and look."""
    real, began = 100 * truth(), time.process_time()
    told = []
    by_chance = pick, free, confirm, correct, answer
    for seed in range(histories):
        told.append(estimated(played(drawn(count, *by_chance, seed), pick, seed)))
        if told[-1]["as it is"] != counted(drawn(count, *by_chance, seed)):
            raise AssertionError("the estimate of a history is not the share among its gold picks")
        typer.echo(f"history {seed}: {told[-1]}", err=True)
    seconds = (time.process_time() - began) / (histories * count) if histories else 0.0
    estimates = np.array([counted(drawn(count, *by_chance, seed)) for seed in range(many)]) - real
    off = {name: [abs(one[name] - real) for one in told] for name in ("as labels give it", "as it is")}
    worlds = {
        "97 % all the time": np.full(looks, 0.97),
        "70 % all the time": np.full(looks, 0.70),
        "learning, 90 to 99 %": np.linspace(0.90, 0.99, looks),
        "breaking, 99 to 60 % after a half": np.repeat([0.99, 0.60], looks // 2),
    }
    typer.echo(
        json.dumps(
            {
                "truth, %": round(real, 2),
                "histories": told,
                "off by at most, points": {name: round(max(several), 2) for name, several in off.items() if several},
                "off by at least, points": {name: round(min(several), 2) for name, several in off.items() if several},
                f"{many} histories": {
                    "off by more than a point, %": round(100 * float((np.abs(estimates) > 1).mean()), 1),
                    "off by at most, points": round(float(np.abs(estimates).max()), 2),
                    "mean, standard deviation": [round(float(estimates.mean()), 2), round(float(estimates.std()), 2)],
                },
                "joiner and scorer, us a drawing": round(1e6 * seconds),
                "runs in which the truth was ever missed, %": {name: missed(one, runs, 7) for name, one in worlds.items()},
                "allowed, %": 100 * ALPHA,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    typer.run(main)
