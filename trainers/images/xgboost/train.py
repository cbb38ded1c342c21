"""Grows an XGBoost model from the drawings of the channels `train` and, to be watched, `validation` (way 3, REBUILD).

A channel holds .npz files with `images` uint8 (n, 784), `labels` uint8 (n,) and, where drawings differ in worth,
`weights` float32 (n,). Progress is a line a round of the form `round=3/75 train-mlogloss=0.61234 ...`.
"""

import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin take the cores that the game runs on
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import container
import features
import numpy as np
import xgboost
from numpy.typing import NDArray


class BadInput(ValueError):
    """Hyperparameters or data that no model can be grown from."""


@dataclass(frozen=True)
class Hyperparameters:
    """What can be set, with the values that the base model was grown with."""

    rounds: int = 75
    """Boosting rounds; each grows a tree a class."""
    max_depth: int = 5
    max_bin: int = 16
    colsample_bynode: float = 0.15
    """Share of the features that a split chooses from."""
    subsample: float = 0.5
    """Share of the drawings that a round sees: 1, 1/2, 1/3, ..."""
    eta: float = 0.3
    seed: int = 20181103
    nthread: int = 0
    """Threads; 0: one a core."""

    @classmethod
    def read(cls, given: dict[str, Any]) -> "Hyperparameters":
        """The values given, each as the type it should be.

        Raises:
            BadInput: If a name is unknown or a value is no number or out of range.
        """
        known = {field.name: field.type for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name.startswith("sagemaker_"):  # put there by the SDK for its own scripts
                continue
            if name not in known:
                raise BadInput(f"unknown hyperparameter {name!r}: this image has {', '.join(known)}")
            try:
                values[name] = known[name](value)
            except (TypeError, ValueError):
                raise BadInput(f"hyperparameter {name} is {value!r}, not of type {known[name].__name__}") from None
        made = cls(**values)
        if made.rounds < 1 or made.max_depth < 1 or made.max_bin < 2 or made.nthread < 0:
            raise BadInput("rounds and max_depth are at least 1, max_bin at least 2, nthread at least 0")
        if not (0 < made.colsample_bynode <= 1 and 0 < made.subsample <= 1 and 0 < made.eta <= 1):
            raise BadInput("colsample_bynode, subsample and eta are above 0 and at most 1")
        return made


class Drawings(NamedTuple):
    """A channel's drawings."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    weights: NDArray[np.float32]


def read(folder: Path) -> Drawings:
    """All drawings of a channel, its files in the order of their names.

    Raises:
        BadInput: If there are none, or a file is not of the form that the module describes.
    """
    parts = [_drawings(file) for file in sorted(folder.rglob("*.npz"))]
    if not parts:
        raise BadInput(f"the channel {folder.name!r} has no .npz file")
    return Drawings(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _drawings(file: Path) -> Drawings:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
            weights = arrays["weights"] if "weights" in arrays else np.ones(len(labels), np.float32)
    except (KeyError, ValueError, OSError) as wrong:
        raise BadInput(f"{file.name}: {wrong}") from wrong
    count = len(labels)
    if images.dtype != np.uint8 or images.shape != (count, features.SIDE**2):
        raise BadInput(f"{file.name}: images are {images.dtype} {images.shape}, not uint8 ({count}, {features.SIDE**2})")
    if labels.dtype != np.uint8 or labels.ndim != 1 or (count and labels.max() > 9):
        raise BadInput(f"{file.name}: labels are not uint8 of one dimension, 0 to 9")
    if weights.shape != (count,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise BadInput(f"{file.name}: weights are not {count} finite numbers of at least 0")
    return Drawings(images, labels, weights.astype(np.float32))


def grow(drawings: Drawings, watched: Drawings | None, given: Hyperparameters) -> tuple[xgboost.Booster, dict[str, float]]:
    """A booster, and its last metrics; a line a round goes to standard output.

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
        matrices.append(matrix(Drawings(*(array[rows] for array in drawings))))
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
    )
    metrics: dict[str, float] = {}
    for step in range(given.rounds):
        pack_now = matrices[step % packs]
        booster.update(pack_now, step)
        seen = [(pack_now, "train"), *([(validation, "validation")] if validation else [])]
        metrics = _metrics(booster.eval_set(seen, step))
        told = " ".join(f"{name}={value:.5f}" for name, value in metrics.items())
        print(f"round={step + 1}/{given.rounds} {told}", flush=True)
    return booster, metrics


def _metrics(line: str) -> dict[str, float]:
    """XGBoost's `[3]<tab>train-merror:0.02...`, with accuracy in the place of the error."""
    pairs = (item.split(":") for item in line.split("\t")[1:])
    values = {name: float(value) for name, value in pairs}
    return {
        name.replace("merror", "accuracy"): 1 - value if name.endswith("merror") else value for name, value in values.items()
    }


def main() -> None:
    """Train as the container contract says."""
    began = time.monotonic()
    given = Hyperparameters.read(container.hyperparameters())
    drawings = read(container.channel("train"))
    watched = read(container.channel("validation")) if container.channel("validation").is_dir() else None
    print(f"drawings train={len(drawings.labels)} validation={len(watched.labels) if watched else 0}", flush=True)
    booster, metrics = grow(drawings, watched, given)
    folder = container.model_dir()
    folder.mkdir(parents=True, exist_ok=True)
    booster.save_model(folder / "model.ubj")
    about = {
        "algorithm": "xgboost",
        "features": features.NAME,
        "hyperparameters": {name: value for name, value in asdict(given).items() if name != "nthread"},
        "drawings": len(drawings.labels),
        "metrics": metrics,
        "xgboost": xgboost.__version__,
        "numpy": np.__version__,
    }
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n")
    print(f"done seconds={time.monotonic() - began:.1f}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as failure:  # noqa: BLE001 - whatever it was becomes the job's FailureReason
        traceback.print_exc()
        container.write_failure(f"{type(failure).__name__}: {failure}")
        sys.exit(1)
