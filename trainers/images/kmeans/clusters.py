"""Clusters of drawings with the labels near each: training makes them, and serving answers from them."""

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import features
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Clusters:
    """Clusters in the space of the principal components, everything in units of the data's own spread."""

    mean: NDArray[np.floating]
    """The mean of the features, shape (392,)."""
    axes: NDArray[np.floating]
    """Features to components, shape (392, components)."""
    centroids: NDArray[np.floating]
    """Shape (clusters, components)."""
    labels: NDArray[np.float32]
    """How often each digit was meant near each centroid, as shares above 0; shape (clusters, 10)."""
    softness: NDArray[np.float32] | np.float32
    """Squared distance over which a centroid's weight falls by a factor of e; shape ()."""

    @cached_property
    def _half_lengths(self) -> NDArray[np.floating]:
        return np.asarray((self.centroids**2).sum(axis=1) / 2)

    def save(self, file: Path) -> None:
        """Write an .npz."""
        np.savez(file, **asdict(self))

    @classmethod
    def load(cls, file: Path | BinaryIO) -> "Clusters":
        """Read an .npz."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name].astype(np.float32) for field in fields(cls)})

    def answer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the label shares of all centroids, weighted by how near each is.

        Args:
            images: Shape (n, 784), 0 is paper.

        Returns:
            Probabilities, shape (n, 10).
        """
        points = (features.features(images) - self.mean) @ self.axes
        say = points @ self.centroids.T
        say -= self._half_lengths
        say *= 2 / self.softness
        say -= say.max(axis=1, keepdims=True)
        found: NDArray[np.float32] = np.exp(say, out=say) @ self.labels
        found /= found.sum(axis=1, keepdims=True)
        return found
