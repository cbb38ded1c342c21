"""Makes the base of the online models: ``python -m streams.make_base`` writes streams/base/ anew (way 2, LEARN).

Run it after trainers/images/embedding has made a new network. The same network and seed give the same files.
"""

import argparse
import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.drawing import SIDE
from streams.embedding import BASE, EmbeddingNetwork
from streams.learner import Softmax

GENERATION: Final = "mnist1"
"""The generation of the online models that start here: give a new base a new name, since scores are counted by it."""
PASSES: Final = (0.05, 0.02, 0.01)
"""The learning rate of each pass over MNIST."""
REHEARSAL: Final = 2000
"""Samples kept to be learned again between lessons."""
SEED: Final = 20181103


def idx(path: Path) -> NDArray[np.uint8]:
    """Read the array in a gzipped IDX file of bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def accuracy(model: Softmax, rows: NDArray[np.float64], labels: NDArray[np.uint8]) -> float:
    """Compute the share of rows that the model gets right."""
    return float(((rows @ model.weights.T).argmax(axis=1) == labels).mean())


def main() -> None:
    """Embed MNIST, train the head on it, and write the base."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--mnist", type=Path, default=Path("data/mnist"), help="folder of the IDX files")
    arguments.add_argument("--out", type=Path, default=BASE, help="folder of embedding.tflite, where the base goes")
    arguments.add_argument("--seed", type=int, default=SEED)
    given = arguments.parse_args()
    network = EmbeddingNetwork(given.out / "embedding.tflite")
    rng = np.random.default_rng(given.seed)

    def read(name: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        rasters = idx(given.mnist / f"{name}-images-idx3-ubyte.gz").reshape(-1, SIDE * SIDE)
        rows = np.ones((len(rasters), network.size + 1))
        rows[:, :-1] = network.embed(rasters)
        return rows, idx(given.mnist / f"{name}-labels-idx1-ubyte.gz")

    rows, labels = read("train")
    model = Softmax(network.size)
    for rate in PASSES:
        model.rate = rate
        for i in rng.permutation(len(rows)):
            model.learn(rows[i], int(labels[i]))
    kept = rng.permutation(len(rows))[:REHEARSAL]
    np.savez(
        given.out / "river.npz",
        weights=model.weights,
        rehearsal=rows[kept, :-1].astype(np.float16),
        labels=labels[kept],
    )
    digests = {name: sha256((given.out / name).read_bytes()).hexdigest() for name in ("embedding.tflite", "river.npz")}
    told = {
        "generation": GENERATION,
        "reader": network.reader,
        "seed": given.seed,
        "commands": {
            "embedding.tflite": f"trainers/images/embedding/train.py --seed {SEED}",
            "river.npz": f"python -m streams.make_base --seed {given.seed}",
        },
        "mnist_test": round(accuracy(model, *read("t10k")), 4),
        "sha256": digests,
    }
    (given.out / "base.json").write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
