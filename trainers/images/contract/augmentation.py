"""Turns, slants, scales and moves drawings a little, as other hands would draw them, for networks to learn from (way 3)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SIDE: Final = 28
ROTATION, SCALE, SLANT, SHIFT = 0.12, 0.08, 0.12, 1.5
"""Bounds: radians, ratio, ratio, pixels. Light: heavier makes real pen drawings worse."""
_AXIS: Final = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2


def augmented(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Move each image by an affine map of its own about its centre, sampled bilinearly.

    Args:
        images: Shape (n, 784), 0 is paper.
        rng: Where chance comes from.

    Returns:
        Shape (n, 28, 28), in 0..1.
    """
    count = len(images)
    turn, slant = rng.uniform(-ROTATION, ROTATION, (count, 1, 1)), rng.uniform(-SLANT, SLANT, (count, 1, 1))
    wide, high = rng.uniform(1 - SCALE, 1 + SCALE, (2, count, 1, 1))
    dx, dy = rng.uniform(-SHIFT, SHIFT, (2, count, 1, 1))
    x, y = _AXIS[None, None, :], _AXIS[None, :, None]
    # Where each pixel of the result is looked up, in a raster with a margin of 2 pixels of paper around it.
    margin, wider = 2, SIDE + 4
    centre = (SIDE - 1) / 2 + margin
    across = (np.cos(turn) / wide * x + (slant - np.sin(turn)) / wide * y + dx + centre).astype(np.float32)
    down = (np.sin(turn) / high * x + np.cos(turn) / high * y + dy + centre).astype(np.float32)
    np.clip(across, 0, wider - 1.001, out=across)
    np.clip(down, 0, wider - 1.001, out=down)
    left, top = across.astype(np.int32), down.astype(np.int32)
    across -= left
    down -= top
    paper = np.zeros((count, wider, wider), np.float32)
    np.multiply(images.reshape(count, SIDE, SIDE), np.float32(1 / 255), out=paper[:, margin:-margin, margin:-margin])
    flat = paper.reshape(-1)
    corner = top * wider + left + np.arange(count, dtype=np.int32)[:, None, None] * (wider * wider)
    above = flat[corner] * (1 - across) + flat[corner + 1] * across
    below = flat[corner + wider] * (1 - across) + flat[corner + wider + 1] * across
    moved: NDArray[np.float32] = above * (1 - down) + below * down
    return moved
