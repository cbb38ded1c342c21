"""Grows an XGBoost model from the drawings of the channels `train` and, to be watched, `validation` (way 3, REBUILD).

Progress is a line a round of the form `round=3/75 train-mlogloss=0.61234 ...`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin take the cores that the game runs on
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import features
import numpy as np
import parent
import training
import xgboost
from training import Drawings

FILE = "model.ubj"


@dataclass(frozen=True)
class Hyperparameters:
    """What can be set, with the values that the base model was grown with."""

    rounds: int = training.count(75)
    """Boosting rounds; each grows one tree for each class."""
    max_depth: int = training.count(5)
    max_bin: int = training.count(16, least=2)
    colsample_bynode: float = training.share(0.15)
    """Share of the features that a split chooses from."""
    subsample: float = training.share(0.5)
    """Share of the drawings that a round sees: 1, 1/2, 1/3, ..."""
    eta: float = training.share(0.3)
    seed: int = training.count(20181103, least=0)
    copies: int = training.count(0, least=0)
    """How often each drawing of the channel `train` is learned again, as another hand would draw it."""
    nthread: int = training.count(0, least=0)
    """Threads; 0: one a core."""


def grow(
    drawings: Drawings, watched: Drawings | None, given: Hyperparameters, before: bytes | None = None
) -> tuple[xgboost.Booster, dict[str, float]]:
    """Grow a booster, or ``before``, the file of one, by some more rounds; return it with its last metrics.

    Prints a line a round.

    XGBoost's own `subsample` still walks the rows that it left out. So the drawings are dealt into 1/subsample packs and
    each round sees the next one: as good, in about half the time at 1/2.
    """
    packs = max(1, round(1 / given.subsample))
    threads = given.nthread or len(os.sched_getaffinity(0))
    order = np.random.default_rng(given.seed).permutation(len(drawings.labels))
    matrices: list[xgboost.QuantileDMatrix] = []

    def matrix(part: Drawings) -> xgboost.QuantileDMatrix:
        return xgboost.QuantileDMatrix(
            features.features(part.images),
            part.labels,
            weight=part.weights,
            max_bin=given.max_bin,
            nthread=threads,
            ref=matrices[0] if matrices else None,
        )

    for pack in range(packs):
        rows = np.sort(order[pack::packs])
        matrices.append(matrix(Drawings(drawings.images[rows], drawings.labels[rows], drawings.weights[rows])))
    validation = matrix(watched) if watched else None
    booster = xgboost.Booster(
        {
            "objective": "multi:softprob",
            "num_class": 10,
            "tree_method": "hist",
            "max_depth": given.max_depth,
            "max_bin": given.max_bin,
            "colsample_bynode": given.colsample_bynode,
            "eta": given.eta,
            "seed": given.seed,
            "nthread": threads,
            "eval_metric": ["mlogloss", "merror"],
        },
        [*matrices, *([validation] if validation else [])],
        model_file=None if before is None else bytearray(before),
    )
    first = booster.num_boosted_rounds()
    metrics: dict[str, float] = {}
    for step in range(given.rounds):
        pack_now = matrices[step % packs]
        booster.update(pack_now, first + step)
        seen = [(pack_now, "train"), *([(validation, "validation")] if validation else [])]
        metrics = _metrics(booster.eval_set(seen, first + step))
        training.tell("round", step + 1, given.rounds, metrics)
    return booster, metrics


def _metrics(line: str) -> dict[str, float]:
    """Read XGBoost's `[3]<tab>train-merror:0.02...`, with accuracy in place of the error."""
    pairs = (item.split(":") for item in line.split("\t")[1:])
    values = {name: float(value) for name, value in pairs}
    return {
        name.replace("merror", "accuracy"): 1 - value if name.endswith("merror") else value for name, value in values.items()
    }


def make(drawings: Drawings, watched: Drawings | None, given: Hyperparameters, folder: Path) -> dict[str, float]:
    """Grow the model, write it into a folder, and return its last metrics."""
    before = parent.read("xgboost", features.NAME, FILE)
    booster, metrics = grow(drawings, watched, given, before.files[FILE] if before else None)
    booster.save_model(folder / FILE)
    return metrics


def main() -> None:
    """Train as the container contract says."""
    training.carry_out("xgboost", features.NAME, Hyperparameters, make, {"xgboost": xgboost.__version__})


if __name__ == "__main__":
    training.run(main)
