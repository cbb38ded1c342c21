"""What XGBoost reads of a drawing: its gradients, after the slant is taken out (way 1 and way 3).

The same code runs in training and in serving, so that a tree meets the numbers it was grown on.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SIDE: Final = 28
CELLS: Final = 7
"""Cells along a side, each a triangular window of 8 pixels, 4 apart."""
DIRECTIONS: Final = 8
FEATURES: Final = CELLS * CELLS * DIRECTIONS
NAME: Final = "deskew-hog-392-1"
"""Bumped whenever a feature may come out differently."""

_CHUNK: Final = 256  # images a pass: keeps a pass inside the second-level cache
_PAD: Final = 8
_CENTRE: Final = np.float32((SIDE - 1) / 2)
_AXIS: Final = np.arange(SIDE, dtype=np.float32)
_EPSILON: Final = np.float32(1e-6)


def _windows() -> NDArray[np.float32]:
    """Weight of each pixel in each cell, shape (7, 28): neighbouring cells overlap by half."""
    centres = (np.arange(CELLS) + 0.5) * (SIDE / CELLS)
    distance = np.abs(np.arange(SIDE)[None, :] + 0.5 - centres[:, None])
    return np.clip(1 - distance / (SIDE / CELLS), 0, None).astype(np.float32)


def _compass() -> NDArray[np.float32]:
    """Unit vectors of the directions, shape (8, 2)."""
    angle = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


_WINDOWS: Final = _windows()
_COMPASS: Final = _compass()


def deskew(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Digits made upright and moved so that their mass is centred.

    Args:
        images: Shape (n, 784), 0 is paper.

    Returns:
        Shape (n, 28, 28), in 0..1. An empty image stays empty.
    """
    ink = images.reshape(-1, SIDE, SIDE).astype(np.float32)
    ink *= np.float32(1 / 255)
    count = len(ink)
    rows = ink.sum(axis=2)  # mass of each row
    along = ink @ _AXIS  # and its first moment in x
    mass = rows.sum(axis=1) + _EPSILON
    x = along.sum(axis=1) / mass
    y = rows @ _AXIS / mass
    y_squared = rows @ (_AXIS * _AXIS) / mass - y * y
    xy = along @ _AXIS / mass - x * y
    slant = np.clip(xy / (y_squared + _EPSILON), -1.5, 1.5)

    # Move whole rows up or down, between two rows by linear interpolation ...
    source = _AXIS[None, :] + (y - _CENTRE)[:, None]
    low = np.floor(source)
    part = (source - low)[:, :, None]
    index = low.astype(np.intp) + _PAD
    np.clip(index, 0, SIDE + 2 * _PAD - 2, out=index)
    padded = np.zeros((count, SIDE + 2 * _PAD, SIDE), np.float32)
    padded[:, _PAD:-_PAD] = ink
    image = np.arange(count)[:, None]
    upright = padded[image, index]
    upright += (padded[image, index + 1] - upright) * part

    # ... then each row left or right, by what the slant has moved it.
    shift = (x - _CENTRE)[:, None] + slant[:, None] * (_AXIS - _CENTRE)[None, :]
    low = np.floor(shift)
    part = (shift - low)[:, :, None]
    wide = SIDE + 1 + 2 * SIDE
    lines = np.zeros((count, SIDE, wide), np.float32)
    lines[:, :, SIDE : 2 * SIDE] = upright
    start = np.clip(low.astype(np.intp) + SIDE, 0, 2 * SIDE)
    start += np.arange(count * SIDE, dtype=np.intp).reshape(count, SIDE) * wide
    taken = np.lib.stride_tricks.sliding_window_view(lines.reshape(-1), SIDE + 1)[start]
    return taken[:, :, :-1] + (taken[:, :, 1:] - taken[:, :, :-1]) * part


def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Gradients in 8 directions over 7 x 7 cells, of digits made upright.

    Args:
        images: Shape (n, 784), 0 is paper.

    Returns:
        Shape (n, 392), each row of length 1 (0 for an empty image); cell by cell, row by row, directions together.
    """
    images = np.ascontiguousarray(images, np.uint8).reshape(-1, SIDE * SIDE)
    out = np.empty((len(images), FEATURES), np.float32)
    for start in range(0, len(images), _CHUNK):
        out[start : start + _CHUNK] = _gradients(deskew(images[start : start + _CHUNK]))
    return out


def _gradients(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    count = len(ink)
    slope = np.zeros((count, 2, SIDE, SIDE), np.float32)
    np.subtract(ink[:, :, 2:], ink[:, :, :-2], out=slope[:, 0, :, 1:-1])
    np.subtract(ink[:, 2:, :], ink[:, :-2, :], out=slope[:, 1, 1:-1, :])
    lean = _COMPASS @ slope.reshape(count, 2, SIDE * SIDE)  # (n, 8, 784): how far each pixel's slope goes in each direction
    np.maximum(lean, 0, out=lean)
    lean *= lean
    lean *= lean
    strength = lean.sum(axis=1, keepdims=True)
    size = np.sqrt((slope * slope).sum(axis=1)).reshape(count, 1, -1)
    lean *= size / (strength + _EPSILON)
    cells = _WINDOWS @ lean.reshape(count, DIRECTIONS, SIDE, SIDE) @ _WINDOWS.T  # (n, 8, 7, 7)
    flat = cells.reshape(count, DIRECTIONS, -1).transpose(0, 2, 1).reshape(count, FEATURES)
    flat /= np.sqrt((flat * flat).sum(axis=1, keepdims=True)) + _EPSILON
    return np.sqrt(flat)
