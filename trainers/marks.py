"""Says what the gate judges by: which pictures a version got right and how sure it was, and what the pictures are. Pure.

Source:
    Guo, Pleiss, Sun, Weinberger 2017, "On calibration of modern neural networks", for the expected calibration error.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CERTAINTY_BINS: Final = 10
"""The bins of the expected calibration error."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The pictures that a version got right."""

    mnist: NDArray[np.bool_]
    """One for each of MNIST's 10,000 test images."""
    held_back: NDArray[np.bool_]
    """One for each held-back drawing."""
    certainty: NDArray[np.float64] | None = None
    """How sure it was of what it said of each held-back drawing, and of what was drawn, shape (n, 2)."""

    @property
    def mnist_accuracy(self) -> float:
        """The share of MNIST's test images that it got right."""
        return _mean(self.mnist)

    def metrics(self) -> dict[str, float]:
        """Return counts and shares, as ModelPublished has them, and how well it knows what it knows."""
        out = {
            "mnist_n": float(self.mnist.size),
            "mnist_correct": float(self.mnist.sum()),
            "mnist_accuracy": self.mnist_accuracy,
        }
        out |= {"held_back_n": float(self.held_back.size), "held_back_correct": float(self.held_back.sum())}
        return out | ({"held_back_accuracy": _mean(self.held_back)} | self._calibration() if self.held_back.size else {})

    def miscalibration(self, where: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Return what each of some held-back drawings adds to the expected calibration error on them, which is their mean.

        Args:
            where: Which drawings, shape (n,); of the others nothing is returned.

        Returns:
            -1..1 each: negative where it was less sure than the others of its bin call for. None: nobody knows how sure it was.
        """
        if self.certainty is None:
            return None
        said, right = self.certainty[where, 0], self.held_back[where]
        bins = np.minimum((said * CERTAINTY_BINS).astype(int), CERTAINTY_BINS - 1)
        too_sure = said - right
        return np.asarray(np.sign(np.bincount(bins, too_sure, CERTAINTY_BINS))[bins] * too_sure, np.float64)

    def _calibration(self) -> dict[str, float]:
        """Return the expected calibration error, the Brier score of what it said, and the log loss."""
        off = self.miscalibration(np.ones(self.held_back.size, np.bool_))
        if self.certainty is None or off is None:
            return {}
        said, drawn = self.certainty[:, 0], self.certainty[:, 1]
        return {
            "calibration_error": max(0.0, float(off.mean())),
            "brier_score": float(((said - self.held_back) ** 2).mean()),
            "log_loss": float(-np.log(np.maximum(drawn, 1e-6)).mean()),
        }


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the gate knows of the held-back drawings, one entry for each."""

    labels: NDArray[np.uint8]
    people: NDArray[np.int32]
    """Whose it is, an index."""
    newest: NDArray[np.bool_]
    """Whether it was held back for its time, and others of the person were trained on."""
    devices: NDArray[np.uint8] | None = None
    """What it was drawn with, as the place in `trainers.split.DEVICES`; None: nothing is known of that."""


def _mean(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if hits.size else 0.0
