"""Reads the base of the online models from streams/base/, where `streams.make_base` has put it (way 2, LEARN)."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streams.additive import BASIS, Basis, Floats, Sums
from streams.embedding import BASE


@dataclass(frozen=True, slots=True)
class Base:
    """The start of an online model: the sums of MNIST, which stay in it whatever it learns."""

    generation: str
    """The generation, which stands before the ``+`` of every version."""
    reader: str
    """The reader whose features the model understands."""
    basis: Basis
    sums: Sums
    digest: str
    """The digest of the sums."""
    judge: NDArray[np.int64]
    """The weights of the judge of `streams.trust`, shape (10, width)."""
    ink: NDArray[np.uint8]
    """Drawings of MNIST, twenty of each digit, with one bit a pixel, shape (200, 98): see `streams.kernel_memory`."""


@dataclass(frozen=True, slots=True)
class BaseRows:
    """Drawings of MNIST, in the order in which the experiments of `streams.experiments` learn them before any lesson."""

    embeddings: NDArray[np.float32]
    """Shape (n, size)."""
    labels: NDArray[np.uint8]
    """Shape (n,)."""
    digest: str


def load_rows(folder: Path = BASE) -> BaseRows:
    """Load the drawings that are in a folder, by default those of the repository.

    Raises:
        OSError: If the file cannot be read.
    """
    with np.load(folder / "experiments.npz", allow_pickle=False) as kept:
        embeddings, labels = kept["embeddings"], kept["labels"]
    return BaseRows(embeddings.astype("<f4"), labels, sha256(embeddings.tobytes() + labels.tobytes()).hexdigest()[:16])


def load_base(folder: Path = BASE) -> Base:
    """Load the base that is in a folder, by default that of the repository.

    Raises:
        OSError: If one of its files cannot be read.
    """
    told = json.loads((folder / "base.json").read_text())
    with np.load(folder / "river.npz", allow_pickle=False) as kept:
        sums, judge = Sums(unfolded(kept["products"]), kept["labelled"].astype(np.float64)), kept["judge"]
    with np.load(folder / "drawings.npz", allow_pickle=False) as kept:
        ink = kept["ink"]
    if told["basis"] != BASIS.name:
        raise OSError(f"the base in {folder} is of {told['basis']}, and the models are of {BASIS.name}: make it again")
    return Base(told["generation"], told["reader"], BASIS, sums, sums.digest(), judge, ink)


def folded(products: Floats) -> NDArray[np.int64]:
    """Return the upper triangle of a symmetric matrix, as whole numbers."""
    return products[np.triu_indices(len(products))].astype(np.int64)


def unfolded(triangle: NDArray[np.int64]) -> Floats:
    """Return the symmetric matrix of an upper triangle."""
    width = int((2 * len(triangle) + 0.25) ** 0.5)
    out = np.zeros((width, width))
    out[np.triu_indices(width)] = triangle
    return out + np.triu(out, 1).T
