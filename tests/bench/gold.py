"""Measures what gold drawings would add to trust: ``python -m tests.bench.gold`` (part of `make bench`).

A gold drawing is of a digit that the server asked for, so its digit is known without a label. Should trust hear of it? The
attacks of `tests.bench.trust` are played with rules that do, in the manners in which a liar may answer a question: draw what is
asked and say something else; say what is asked and draw something else; or draw freely, so that nothing of theirs is gold.
All honest drawings are gold here, which is the most that gold can do. The weights are those of `streams.trust`, on all that
each player has labelled up to each look; the model is their sum.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from streams.additive import EIGHTHS, Solved
from streams.embedding import EmbeddingNetwork
from streams.make_base import judge
from streams.online_base import Base, load_base
from streams.online_model import newcomers_share
from streams.taught import ROW
from streams.trust import FIRST, JUDGE_SCALE, SURE, weigh
from tests.bench.trust import LIES, NEWCOMERS, PLAYERS, Given, newcomers, people, stream, unclear
from tests.writers import drawings

LOOKS = 4
Flags = NDArray[np.bool_]
Digits = NDArray[np.int64]
Rule = Callable[[Digits, Digits, Digits, Flags], tuple[Digits, Flags]]
"""Of what was asked (-1: nothing), the labels, what the judge sees and whether it is sure: what counts as seen, and as sure."""

RULES: dict[str, Rule] = {
    "today": lambda asked, label, said, sure: (said, sure),
    "against: a label that is not what was asked": lambda asked, label, said, sure: (
        np.where((asked >= 0) & (label != asked), asked, said),
        sure | ((asked >= 0) & (label != asked)),
    ),
    "for: label and judge are what was asked, though it is not sure": lambda asked, label, said, sure: (
        said,
        sure | ((asked == label) & (label == said)),
    ),
}
MANNERS: dict[str, Callable[[int, int], int]] = {
    "draws what is asked": lambda digit, label: digit,
    "says what is asked": lambda digit, label: label,
    "draws freely": lambda digit, label: -1,
}


@cache
def _rows(writer: str) -> NDArray[np.float64]:
    return load_base().basis.rows(drawings(writer).embeddings)


class Labels:
    """A stream of labels with all that trust reads, each an array in the order of the stream."""

    def __init__(self, base: Base, given: list[Given], manner: Callable[[int, int], int], slips: float, seed: int) -> None:
        """Judge each drawing, and say what was asked; ``slips``: how often who is honest draws something else than that."""
        chance, self.base = random.Random(seed), base
        self.players = np.array([one.player for one in given])
        self.honest = np.array([one.honest for one in given])
        self.label = np.array([one.label for one in given])
        self.digit = np.array([int(drawings(one.writer).labels[one.number]) for one in given])
        shared = np.array([int(drawings(one.writer).shared[one.number].argmax()) for one in given])
        self.odd = self.honest & (shared != self.digit)
        self.rows = base.basis.rows(np.stack([drawings(one.writer).embeddings[one.number] for one in given]))
        scores = self.rows.astype(np.int64) @ base.judge.T
        two = np.partition(scores, -2, axis=1)[:, -2:]
        self.said, self.sure = scores.argmax(axis=1), two[:, 1] - two[:, 0] >= SURE * JUDGE_SCALE
        asked = [digit if honest else manner(digit, label) for digit, label, honest in self._each()]
        self.asked = np.array(
            [(one + 1) % 10 if self.honest[n] and chance.random() < slips else one for n, one in enumerate(asked)]
        )

    def _each(self) -> list[tuple[int, int, bool]]:
        return list(zip(self.digit.tolist(), self.label.tolist(), self.honest.tolist(), strict=True))

    def weights(self, rule: Rule, until: int) -> tuple[NDArray[np.float64], list[int]]:
        """Return what each lesson counts, as a share of a whole one, and after how many labels each player was known."""
        said, sure = rule(self.asked, self.label, self.said, self.sure)
        eighths, newcomer, known_after = np.zeros(until), np.zeros(until, bool), list[int]()
        places = defaultdict[str, list[int]](list)
        for n, player in enumerate(self.players[:until].tolist()):
            places[player].append(n)
        for several in places.values():
            rows = np.zeros(len(several), ROW)
            rows["at"], rows["low"] = several, several
            rows["label"], rows["said"], rows["sure"] = (of[several] for of in (self.label, said, sure))
            eighths[several], known = weigh(rows)
            newcomer[several] = not known
            known_after += [int(np.flatnonzero(sure[several])[FIRST - 1]) + 1] if known else []
        return np.where(newcomer, newcomers_share(int(newcomer.sum())), eighths / EIGHTHS), known_after

    def accuracy(self, weights: NDArray[np.float64], asked_of: list[str]) -> float:
        """Return how often the model is right that these lessons make, in per cent."""
        counts = np.flatnonzero(weights)
        sums = self.base.sums.plus(self.rows[counts], self.label[counts], np.rint(weights[counts] * EIGHTHS).astype(np.int64))
        solved = Solved(sums)
        right = [solved.probabilities(_rows(writer)).argmax(axis=1) == drawings(writer).labels for writer in asked_of]
        return 100 * float(np.concatenate(right).mean())

    def row(self, rule: Rule, asked_of: list[str]) -> dict[str, float]:
        """Return what is printed of a rule."""
        found, n = [], len(self.label)
        for until in [n * look // LOOKS for look in range(LOOKS + 1)]:
            weights, known_after = self.weights(rule, until)
            found.append(self.accuracy(weights, asked_of))
        wrong = ~self.honest & (self.label != self.digit)
        told = {"lowest": min(found), "end": found[-1]}
        if self.honest.any():
            told |= {
                "honest lost, %": 100 * (1 - weights[self.honest].mean()),
                "of odd ones, %": 100 * (1 - weights[self.odd].mean()),
            }
        if wrong.any():
            told["wrong that count, %"] = 100 * weights[wrong].mean()
        return told | ({"known after, labels": float(np.mean(known_after))} if known_after else {})


def main(
    lessons: Annotated[int, typer.Option(help="how many labels the sixteen give")] = 3600,
    share: Annotated[float, typer.Option(help="share of the players who lie")] = 0.3,
    splits: Annotated[int, typer.Option(help="how many splits of the people; the mean is printed")] = 4,
    slips: Annotated[float, typer.Option(help="how often an honest player draws something else than what is asked")] = 0.01,
) -> None:
    """Play each attack in each manner, under each rule."""
    network, rows = EmbeddingNetwork(), defaultdict[str, list[dict[str, float]]](list)
    for seed in range(splits):
        judges, players, others = people(seed)
        bare = load_base()
        base = replace(bare, judge=judge(bare.sums, network, judges))
        streams = {
            name: stream(players, lie, 0 if name == "nobody lies" else round(share * PLAYERS), lessons, seed)
            for name, lie in LIES.items()
        }
        streams |= {name: newcomers(players, *several, seed) for name, several in NEWCOMERS.items()}
        streams["all lie where the judge is not sure"] = unclear(base, players, seed)
        for name, given in streams.items():
            for manner, answers in MANNERS.items():
                labels = Labels(base, given, answers, slips, seed)
                for rule, hears in RULES.items():
                    if rule == "today" and manner != "draws what is asked":
                        continue  # it is the same in every manner
                    told = rule if rule == "today" else f"{rule}; who lies {manner}"
                    rows[f"{name} | {told}"].append(labels.row(hears, others))
            typer.echo(f"{seed} {name}", err=True)
    mean = {
        name: {key: round(float(np.mean([one[key] for one in several if key in one])), 2) for key in several[0]}
        for name, several in rows.items()
    }
    typer.echo(json.dumps(mean, indent=2))


if __name__ == "__main__":
    typer.run(main)
