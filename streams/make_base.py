"""Makes the base of the online models: ``python -m streams.make_base`` writes streams/base/ anew (way 2, LEARN).

Run it after trainers/images/embedding has made a new network. The same network gives the same files.
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
from streams.additive import EIGHTHS, Basis, Solved, Sums
from streams.embedding import BASE, EmbeddingNetwork
from streams.online_base import folded

GENERATION: Final = "mnist2"
"""The generation of the online models that start here: give a new base a new name, since scores are counted by it."""
WORTH: Final = 1000
"""How many lessons MNIST is worth, whatever comes: with more, the model learns players' hands more slowly; with fewer, it
forgets MNIST."""
SEED: Final = 20181103
"""The seed with which the network was made."""


def idx(path: Path) -> NDArray[np.uint8]:
    """Read the array in a gzipped IDX file of bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def main() -> None:
    """Embed MNIST, train the head on it, and write the base."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--mnist", type=Path, default=Path("data/mnist"), help="folder of the IDX files")
    arguments.add_argument("--out", type=Path, default=BASE, help="folder of embedding.tflite, where the base goes")
    given = arguments.parse_args()
    network = EmbeddingNetwork(given.out / "embedding.tflite")
    basis = Basis()

    def read(name: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        rasters = idx(given.mnist / f"{name}-images-idx3-ubyte.gz").reshape(-1, SIDE * SIDE)
        return basis.rows(network.embed(rasters)), idx(given.mnist / f"{name}-labels-idx1-ubyte.gz")

    rows, labels = read("train")
    whole = Sums.nothing(basis.width).plus(rows, labels, np.ones(len(rows), np.int64))
    share = EIGHTHS * WORTH / len(rows)
    sums = Sums(np.rint(whole.products * share), np.rint(whole.labelled * share))
    np.savez_compressed(given.out / "river.npz", products=folded(sums.products), labelled=sums.labelled.astype(np.int64))
    digests = {name: sha256((given.out / name).read_bytes()).hexdigest() for name in ("embedding.tflite", "river.npz")}
    asked, digits = read("t10k")
    told = {
        "generation": GENERATION,
        "reader": network.reader,
        "basis": basis.name,
        "commands": {
            "embedding.tflite": f"trainers/images/embedding/train.py --seed {SEED}",
            "river.npz": "python -m streams.make_base",
        },
        "mnist_test": round(float((Solved(sums).probabilities(asked).argmax(axis=1) == digits).mean()), 4),
        "sha256": digests,
    }
    (given.out / "base.json").write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
