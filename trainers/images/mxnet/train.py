"""Trains a small convolutional network with MXNet (way 3, REBUILD).

Progress is a line an epoch of the form `epoch=2/3 train-loss=0.04321 ...`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin take the cores that the game runs on
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import augmentation
import mxnet
import network
import numpy as np
import parent
import training
from mxnet import autograd, gluon
from training import Drawings

BATCH = 128
WEIGHTS = "model.params"


@dataclass(frozen=True)
class Hyperparameters:
    """What can be set, with the values that the base model was trained with."""

    epochs: int = training.count(3)
    learning_rate: float = training.share(0.003)
    """The rate at the start; it falls to zero along a cosine."""
    seed: int = training.count(20181103, least=0)


def fit(
    drawings: Drawings, watched: Drawings | None, given: Hyperparameters, before: bytes | None = None
) -> tuple[gluon.SymbolBlock, dict[str, float]]:
    """Train a network, or go on from the weights ``before``, in MXNet's own format; return it with its last metrics.

    Prints a line an epoch.
    """
    mxnet.random.seed(given.seed % 2**31)
    rng = np.random.default_rng(given.seed)
    logits = mxnet.sym.load_json(network.symbol()).get_internals()[network.LOGITS]
    block = gluon.SymbolBlock(logits, mxnet.sym.var("data", dtype="float32"))
    for which, start in ((".*(gamma|moving_var)", mxnet.init.One()), (".*(beta|bias|moving_mean)", mxnet.init.Zero())):
        block.collect_params(which).initialize(start)
    block.collect_params(".*weight").initialize(mxnet.init.Xavier(magnitude=2))
    if before is not None:
        numbers = {name.partition(":")[2]: value for name, value in mxnet.nd.load_frombuffer(before).items()}
        for name, parameter in block.collect_params().items():
            parameter.set_data(numbers[name])
    block.hybridize(static_alloc=True)
    count = len(drawings.labels)
    steps = -(-count // BATCH)
    trainer = gluon.Trainer(
        block.collect_params(),
        "adam",
        {"learning_rate": None, "lr_scheduler": mxnet.lr_scheduler.CosineScheduler(given.epochs * steps, given.learning_rate)},
    )
    cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
    worth = drawings.weights / drawings.weights.mean()
    metrics: dict[str, float] = {}
    for epoch in range(given.epochs):
        order = rng.permutation(count)
        losses = []
        for first in range(0, count, BATCH):
            rows = order[first : first + BATCH]
            images = mxnet.nd.array(augmentation.augmented(drawings.images[rows], rng)[:, None])
            labels, weights = mxnet.nd.array(drawings.labels[rows]), mxnet.nd.array(worth[rows, None])
            with autograd.record():
                loss = cross_entropy(block(images), labels, weights)
            loss.backward()
            trainer.step(len(rows))
            losses.append(loss.mean())
        metrics = {"train-loss": float(np.mean([loss.asscalar() for loss in losses]))}
        if watched:
            metrics["validation-accuracy"] = accuracy(block, watched)
        training.tell("epoch", epoch + 1, given.epochs, metrics)
    return block, metrics


def accuracy(block: gluon.SymbolBlock, drawings: Drawings) -> float:
    """Return the share of the drawings that the network gets right."""
    right = []
    for first in range(0, len(drawings.labels), BATCH):
        images = (drawings.images[first : first + BATCH].reshape(-1, 1, network.SIDE, network.SIDE) / 255).astype(np.float32)
        answers = block(mxnet.nd.array(images)).asnumpy().argmax(axis=1)
        right.append(answers == drawings.labels[first : first + BATCH])
    return training.share_right(np.concatenate(right), drawings.weights)


def make(drawings: Drawings, watched: Drawings | None, given: Hyperparameters, folder: Path) -> dict[str, float]:
    """Train the network, write it into a folder, and return its last metrics."""
    before = parent.read("mxnet", "raster-1", WEIGHTS)
    block, metrics = fit(drawings, watched, given, before.files[WEIGHTS] if before else None)
    kinds = {True: "aux", False: "arg"}
    numbers = {f"{kinds['moving' in name]}:{name}": number.data() for name, number in block.collect_params().items()}
    mxnet.nd.save(str(folder / WEIGHTS), dict(sorted(numbers.items())))
    return metrics


def main() -> None:
    """Train as the container contract says."""
    training.carry_out("mxnet", "raster-1", Hyperparameters, make, {"mxnet": mxnet.__version__})


if __name__ == "__main__":
    training.run(main)
