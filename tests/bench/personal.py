"""Measures how much a player's own model improves guesses, without a bus: ``python -m tests.bench.personal``.

The people of data/pen are players, each with a memory, over the base that `river` starts from and that learns nothing here. It
asks four questions: how a digit that is read wrong is read after some corrections of this digit alone; how much better than the
shared model a player's own one reads the other drawings after so many labels; how well symbols of their own are read, each
digit standing for another; and how a whole sitting with labels goes. It also measures the cost of an answer and of a label.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import typer

from contracts.ports import Origin
from producers.handwriting import handwriting
from streams.online_base import load_base
from streams.personal_model import KEPT, PersonalModels
from tests.histories import MemoryCells, example, features, folded
from tests.judged import BASE
from tests.writers import Drawings, drawings

EUROPEAN = ("28", "19", "16")
"""Writers of whose 1s at most half are read right."""
DRAWS = 10
"""How many random choices of labelled drawings are averaged."""


def right(own: PersonalModels, one: Drawings, labels: np.ndarray, asked: Sequence[int]) -> float:
    """Return the share of drawings that a player's own model reads as these labels."""
    at = list(asked)
    return float(
        (own.answer(0, "p", one.embeddings[at], one.rasters[at], one.shared[at])[0].argmax(axis=1) == labels[at]).mean()
    )


def taught(one: Drawings, labels: np.ndarray, at: Sequence[int]) -> PersonalModels:
    """Return a player's own model after these drawings were labelled."""
    own = PersonalModels(load_base())
    folded(own, [one.example("p", n, int(labels[n])) for n in at], MemoryCells())
    return own


def misread(digit: int, corrections: int, others_each: int, chance: np.random.Generator) -> tuple[float, float]:
    """Return the accuracy on a digit and on the others, on drawings without a label.

    After so many corrections of the digit, and for each of them labels of so many drawings of other digits.
    """
    here, others = [], []
    for writer in EUROPEAN:
        one = drawings(writer)
        such = np.flatnonzero(one.labels == digit)
        rest = np.flatnonzero(one.labels != digit)
        wrong = [n for n in such if one.shared[n].argmax() != digit]
        for _ in range(DRAWS):
            told = chance.choice(wrong, min(corrections, len(wrong)), replace=False)
            besides = chance.choice(rest, others_each * len(told), replace=False)
            own = taught(one, one.labels, chance.permutation(np.concatenate([told, besides]).astype(int)))
            here.append(right(own, one, one.labels, sorted(set(such) - set(told))))
            others.append(right(own, one, one.labels, sorted(set(rest) - set(besides))))
    return float(np.mean(here)), float(np.mean(others))


def gains(count: int, chance: np.random.Generator) -> dict[str, float]:
    """Return by writer how many points better than the shared model the own one reads the others after ``count`` labels."""
    gained = {}
    for writer in sorted(handwriting()):
        one = drawings(writer)
        told = []
        for _ in range(DRAWS):
            order = chance.permutation(len(one.labels))
            own = right(taught(one, one.labels, order[:count]), one, one.labels, order[count:])
            rest = order[count:]
            told.append(100 * (own - float((one.shared[rest].argmax(axis=1) == one.labels[rest]).mean())))
        gained[writer] = float(np.mean(told))
    return gained


def own_symbols(count: int, chance: np.random.Generator) -> float:
    """Return the accuracy on the other drawings after ``count`` labels, for people whose digits each stand for another."""
    scores = []
    for writer in sorted(handwriting()):
        one = drawings(writer)
        labels = np.roll(chance.permutation(10), 1)[one.labels]
        order = chance.permutation(len(labels))
        scores.append(right(taught(one, labels, order[:count]), one, labels, order[count:]))
    return float(np.mean(scores))


def sitting(writer: str, chance: np.random.Generator, says: float) -> tuple[float, float]:
    """Return the shared and the own model's accuracy over a writer's drawings, each guessed, then labelled with this chance."""
    one, own, cells = drawings(writer), PersonalModels(load_base()), MemoryCells()
    list(own.open(cells, 0))
    order = chance.permutation(len(one.labels))
    hits = 0.0
    for offset, n in enumerate(order.tolist()):
        hits += right(own, one, one.labels, [n])
        if chance.random() < says:
            list(own.apply(cells, one.example("p", n, at=offset), Origin(0, offset, 0)))
    return float((one.shared.argmax(axis=1) == one.labels).mean()), hits / len(order)


def microseconds(what: Callable[[], object], times: int = 1000) -> float:
    """Return the median time of a call."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        what()
        took.append(time.perf_counter() - began)
    return round(1e6 * float(np.median(took)), 1)


def costs() -> dict[str, float]:
    """Return the microseconds of a call, with a full memory and with none."""
    own, cells = PersonalModels(BASE), MemoryCells()
    many = [example(f"d{n}", n % 10, correction=f"w{n}", at=n, features=features(n)) for n in range(KEPT + 400)]
    folded(own, many[:KEPT], cells)
    chance = np.random.default_rng(1)
    embeddings = chance.normal(size=(8, 64)).astype("f4")
    eight = embeddings, chance.integers(0, 256, (8, 784), np.uint8), np.full((8, 10), 0.1)
    one = tuple(part[:1] for part in eight)
    newer = iter(many[KEPT:])
    return {
        "answer, nothing taught": microseconds(lambda: own.answer(0, "nobody", *one)),
        "answer, 256 drawings": microseconds(lambda: own.answer(0, "ada", *one)),
        "answer, 256 drawings, 8 at once": microseconds(lambda: own.answer(0, "ada", *eight)),
        "pick": microseconds(lambda: own.pick(0, "ada", ("everyone", "river", "yours"))),
        "label, 256 drawings": microseconds(lambda: list(own.apply(cells, next(newer), Origin(0, 0, 0))), 400),
    }


def main(seed: Annotated[int, typer.Option(help="of which drawings are labelled, and in what order")] = 20181103) -> None:
    """Answer all questions, and print percentages."""
    chance = np.random.default_rng(seed)
    told: dict[str, object] = {"us": costs()}
    for besides in (0, 9):
        told[f"european 1, after n corrections and {besides} other labels each: it, other digits"] = {
            n: [round(100 * share, 1) for share in misread(1, n, besides, chance)] for n in (0, 1, 3, 5)
        }
    for count in (20, 50):
        gained = list(gains(count, np.random.default_rng([seed, count])).values())
        told[f"after {count} labels, points over the shared model: mean, the worst player's, players who lost"] = [
            round(float(np.mean(gained)), 2),
            round(min(gained), 2),
            sum(gain < 0 for gain in gained),
        ]
    told["symbols of their own, after n labels"] = {n: round(100 * own_symbols(n, chance), 1) for n in (0, 10, 30, 60)}
    for says in (1.0, 0.5):
        sat = {writer: sitting(writer, chance, says) for writer in sorted(handwriting())}
        shared, own = np.array(list(sat.values())).T * 100
        told[f"a sitting of 250, {100 * says:.0f} % labelled: shared, own, the worst player's change, players who lost"] = [
            round(float(shared.mean()), 2),
            round(float(own.mean()), 2),
            round(float((own - shared).min()), 1),
            int((own < shared).sum()),
        ]
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)
