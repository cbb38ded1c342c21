"""The common part of every image's `train`: reads channels and hyperparameters, describes the model, says why it failed.

A channel holds .npz files with `images` uint8 (n, 784), `labels` uint8 (n,) and, where drawings differ in worth,
`weights` float32 (n,); or .csv files, or files of any name in a channel of ContentType text/csv, as `csv_rows` describes them.
An image adds a dataclass of its hyperparameters and a function that makes the model's files.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import augmentation
import container
import csv_rows
import numpy as np
import parent
from numpy.typing import NDArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MACHINES = ("nthread",)
"""Hyperparameters that change how the machine is used, and not the model."""

MOST_COPIES = 40_000
"""How many copies of drawings there are at most: with many hands' drawings, fewer copies of each are needed."""


class BadInput(ValueError):
    """No model can be made from these hyperparameters or data."""


# --- hyperparameters -------------------------------------------------------------------------------------------------


def count(default: int, least: int = 1) -> Any:
    """Define a hyperparameter that is a whole number of at least ``least``."""
    return field(default=default, metadata={"holds": lambda value: value >= least, "told": f"at least {least}"})


def share(default: float) -> Any:
    """Define a hyperparameter above 0 and at most 1."""
    return field(default=default, metadata={"holds": lambda value: 0 < value <= 1, "told": "above 0 and at most 1"})


Given = TypeVar("Given", bound="DataclassInstance")


def hyperparameters(kind: type[Given], given: Mapping[str, Any]) -> Given:
    """Convert the values given to their types; ``kind`` is a dataclass of `count` and `share`.

    Raises:
        BadInput: If a name is unknown or a value is no number or out of range.
    """
    known = {known.name: known for known in fields(kind)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name.startswith(("sagemaker_", "_")) or name == parent.DIGEST:  # the SDK's for its scripts, and SageMaker's tuning's
            continue
        if name not in known:
            raise BadInput(f"unknown hyperparameter {name!r}: this image has {', '.join(known)}")
        expected: Any = known[name].type
        try:
            values[name] = expected(value)
        except (TypeError, ValueError):
            raise BadInput(f"hyperparameter {name} is {value!r}, not of type {expected.__name__}") from None
        if not known[name].metadata["holds"](values[name]):
            raise BadInput(f"hyperparameter {name} is {value!r}: it should be {known[name].metadata['told']}")
    return kind(**values)


# --- channels --------------------------------------------------------------------------------------------------------


class Drawings(NamedTuple):
    """A channel's drawings."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    weights: NDArray[np.float32]


def read(*names: str) -> Drawings:
    """Read all drawings of a channel, or of several one after another, the files of each in the order of their names.

    Raises:
        BadInput: If there are none, or a file is not of the form that the module describes.
    """
    drawings = _joined([part for name in names for part in _parts(name)])
    _check_weights(drawings, names[-1])
    return drawings


def _check_weights(drawings: Drawings, name: str) -> None:
    if not drawings.weights.any():
        raise BadInput(f"the channel {name!r} has no drawing of a weight above 0")


def with_copies(drawings: Drawings, copies: int, seed: int) -> Drawings:
    """Return drawings, and behind them copies of each as other hands would draw it (`augmentation`).

    A drawing and its copies weigh together what it weighed alone. There are fewer copies of each if there would be more than
    `MOST_COPIES` in all.
    """
    copies = min(copies, MOST_COPIES // max(1, len(drawings.labels)))
    if not copies:
        return drawings
    rng = np.random.default_rng(seed)
    images, labels, weights = drawings
    moved = (augmentation.augmented(images, rng).reshape(images.shape) for _ in range(copies))
    copied = [np.rint(one * 255).astype(np.uint8) for one in moved]
    return Drawings(
        np.concatenate([images, *copied]), np.tile(labels, copies + 1), np.tile(weights / np.float32(copies + 1), copies + 1)
    )


def _joined(parts: list[Drawings]) -> Drawings:
    return Drawings(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _parts(name: str) -> list[Drawings]:
    files = sorted(file for file in container.channel(name).rglob("*") if file.is_file())
    if container.content_type(name) != csv_rows.TYPE:
        files = [file for file in files if file.suffix in (".npz", ".csv")]
    if not files:
        raise BadInput(f"the channel {name!r} has no .npz or .csv file")
    return [_arrays(file) if file.suffix == ".npz" else _lines(file) for file in files]


def _lines(file: Path) -> Drawings:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            return _checked(file, *csv_rows.labelled(lines))
    except (csv_rows.BadCsv, UnicodeError) as wrong:
        raise BadInput(f"{file.name}: {wrong}") from wrong


def _arrays(file: Path) -> Drawings:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
            weights = arrays["weights"] if "weights" in arrays else np.ones(len(labels), np.float32)
    except (KeyError, ValueError, OSError) as wrong:
        raise BadInput(f"{file.name}: {wrong}") from wrong
    return _checked(file, images, labels, weights)


def _checked(file: Path, images: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> Drawings:
    rows = len(labels)
    if images.dtype != np.uint8 or images.shape != (rows, container.PIXELS):
        raise BadInput(f"{file.name}: images are {images.dtype} {images.shape}, not uint8 ({rows}, {container.PIXELS})")
    if labels.dtype != np.uint8 or labels.ndim != 1 or (rows and labels.max() > 9):
        raise BadInput(f"{file.name}: labels are not uint8 of one dimension, 0 to 9")
    if weights.shape != (rows,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise BadInput(f"{file.name}: weights are not {rows} finite numbers of at least 0")
    return Drawings(images, labels, weights.astype(np.float32))


# --- the job ---------------------------------------------------------------------------------------------------------


def tell(step: str, done: int, of: int, metrics: Mapping[str, float]) -> None:
    """Print the progress as a line that the trainer reads: `epoch=3/5 train-loss=0.04321 ...`."""
    print(f"{step}={done}/{of} {' '.join(f'{name}={value:.5f}' for name, value in metrics.items())}", flush=True)


def carry_out(
    algorithm: str,
    reads: str,
    kind: type[Given],
    make: Callable[[Drawings, Drawings | None, Given, Path], dict[str, float]],
    packages: Mapping[str, str],
) -> None:
    """Train as the container contract says: write the image's files, and about.json, which says what they are.

    Args:
        algorithm: The image's name.
        reads: The name of what the model is shown of a drawing; serving refuses a model that reads anything else.
        kind: Dataclass of the hyperparameters. If it has ``copies``, so many copies of each drawing of the channel `train` are
            learned too, made with its ``seed``: see `with_copies`.
        make: Gets the drawings of the channel `train`, behind those of `base` if there is one, the drawings of `validation`
            (None: no such channel), the hyperparameters and the folder of the model; makes its files, and returns its last
            metrics.
        packages: Versions that the model depends on.

    Raises:
        BadInput: If there is nothing to make a model from.
    """
    began = time.monotonic()
    given = hyperparameters(kind, container.hyperparameters())
    channels = [_joined(_parts(name)) for name in ("base", "train") if name == "train" or container.channel(name).is_dir()]
    count = sum(len(channel.labels) for channel in channels)
    copies, seed = int(getattr(given, "copies", 0)), int(getattr(given, "seed", 0))
    drawings = _joined([*channels[:-1], with_copies(channels[-1], copies, seed)])
    _check_weights(drawings, "train")
    watched = read("validation") if container.channel("validation").is_dir() else None
    copied, looked_at = len(drawings.labels) - count, len(watched.labels) if watched else 0
    print(f"drawings train={count} copies={copied} validation={looked_at}", flush=True)
    folder = container.model_dir()
    folder.mkdir(parents=True, exist_ok=True)
    metrics = make(drawings, watched, given, folder)
    about = {
        "algorithm": algorithm,
        "features": reads,
        "hyperparameters": {name: value for name, value in asdict(given).items() if name not in MACHINES},
        "drawings": count,
        "metrics": metrics,
        **({"parent": before} if (before := parent.digest()) else {}),
        **packages,
        "numpy": np.__version__,
    }
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n")
    print(f"done seconds={time.monotonic() - began:.1f}", flush=True)


def share_right(right: NDArray[Any], weights: NDArray[np.float32]) -> float:
    """Return the share of drawings that were right, each by its weight; ``right`` is boolean, shape (n,)."""
    return float(np.average(right, weights=weights))


def run(main: Callable[[], None]) -> None:
    """Run ``main``; an error becomes the job's FailureReason."""
    try:
        main()
    except Exception as failure:  # noqa: BLE001 - whatever it was
        traceback.print_exc()
        container.write_failure(f"{type(failure).__name__}: {failure}")
        sys.exit(1)
