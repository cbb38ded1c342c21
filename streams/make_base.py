"""Makes the base of the online models: ``python -m streams.make_base`` writes streams/base/ anew (way 2, LEARN).

Run it after trainers/images/embedding has made a new network. The same network gives the same files.
"""

import argparse
import gzip
import json
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.drawing import SIDE, rasterize_all
from contracts.events import DIGITS
from producers.handwriting import handwriting
from streams.additive import BASIS, EIGHTHS, Solved, Sums
from streams.embedding import BASE, EmbeddingNetwork
from streams.online_base import folded
from streams.outline import ink_of
from streams.trust import JUDGE_SCALE

GENERATION: Final = "mnist3"
"""The generation of the online models that start here. A new base needs a new name, and so does another rule by which lessons
make a model (`streams.online_model`): versions and scores go by it."""
WORTH: Final = 1000
"""How many lessons MNIST is worth, whatever comes: with more, the model learns players' hands more slowly; with fewer, it
forgets MNIST."""
SEED: Final = 20181103
"""The seed with which the network was made, and by which the experiments' drawings are drawn."""
EXPERIMENTS_ROWS: Final = 2000
"""How many drawings of MNIST the experiments learn before any lesson: half a second each, to 99.6 % of MNIST test."""
OPPOSED: Final = 20
"""How many drawings of each digit players' own models have against them: see `streams.kernel_memory`."""

_FILES: Final = ("embedding.tflite", "river.npz", "experiments.npz", "drawings.npz")


MNIST: Final = Path(__file__).parents[1] / "data" / "mnist"


def idx(path: Path) -> NDArray[np.uint8]:
    """Read the array in a gzipped IDX file of bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def mnist(part: str, folder: Path = MNIST) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read MNIST's ``train`` (60,000) or ``t10k`` (10,000) images, shape (n, 784), and their labels, shape (n,)."""
    rasters = idx(folder / f"{part}-images-idx3-ubyte.gz").reshape(-1, SIDE * SIDE)
    return rasters, idx(folder / f"{part}-labels-idx1-ubyte.gz")


def judge(base: Sums, network: EmbeddingNetwork, people: Collection[str] | None = None) -> NDArray[np.int64]:
    """Make the judge of `streams.trust`: the base, taught by drawings of ``people`` of data/pen/; None: of all of them."""
    written = [one for name, several in handwriting().items() if people is None or name in people for one in several]
    rasters = rasterize_all([[[list(point) for point in stroke] for stroke in one.strokes] for one in written])
    rows = BASIS.rows(network.embed(rasters.reshape(len(written), -1)))
    sums = base.plus(rows, np.array([one.label for one in written]), np.full(len(written), EIGHTHS))
    return np.rint(Solved(sums).weights * JUDGE_SCALE).astype(np.int64)


def main() -> None:
    """Embed MNIST, train the head on it, and write the base."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--mnist", type=Path, default=MNIST, help="folder of the IDX files")
    arguments.add_argument("--out", type=Path, default=BASE, help="folder of embedding.tflite, where the base goes")
    given = arguments.parse_args()
    network = EmbeddingNetwork(given.out / "embedding.tflite")

    rasters, labels = mnist("train", given.mnist)
    embeddings = network.embed(rasters)
    rows = BASIS.rows(embeddings)
    whole = Sums.nothing(BASIS.width).plus(rows, labels, np.ones(len(rows), np.int64))
    share = EIGHTHS * WORTH / len(rows)
    sums = Sums(np.rint(whole.products * share), np.rint(whole.labelled * share))
    np.savez_compressed(
        given.out / "river.npz",
        products=folded(sums.products),
        labelled=sums.labelled.astype(np.int64),
        judge=judge(sums, network),
    )
    drawn = np.random.default_rng(SEED).choice(len(labels), EXPERIMENTS_ROWS, replace=False)
    np.savez_compressed(given.out / "experiments.npz", embeddings=embeddings[drawn].astype("<f2"), labels=labels[drawn])
    opposed = np.concatenate([drawn[labels[drawn] == digit][:OPPOSED] for digit in range(DIGITS)])
    np.savez_compressed(given.out / "drawings.npz", ink=ink_of(rasters[opposed]))
    digests = {name: sha256((given.out / name).read_bytes()).hexdigest() for name in _FILES}
    asked, digits = mnist("t10k", given.mnist)
    asked_rows = BASIS.rows(network.embed(asked))
    told = {
        "generation": GENERATION,
        "reader": network.reader,
        "basis": BASIS.name,
        "commands": {
            "embedding.tflite": f"trainers/images/embedding/train.py --seed {SEED}",
            "river.npz": "python -m streams.make_base",
            "experiments.npz": "python -m streams.make_base",
            "drawings.npz": "python -m streams.make_base",
        },
        "mnist_test": round(float((Solved(sums).probabilities(asked_rows).argmax(axis=1) == digits).mean()), 4),
        "sha256": digests,
    }
    (given.out / "base.json").write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
