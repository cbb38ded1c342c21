"""Computes what XGBoost and K-Means read of a drawing: its gradients, after deskewing (ways 1 and 3).

The same code runs in training and in serving, so that a model meets the numbers that it was made from.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SIDE: Final = 28
CELLS: Final = 7
"""Cells along a side, each a triangular window of 8 pixels, 4 apart."""
DIRECTIONS: Final = 8
FEATURES: Final = CELLS * CELLS * DIRECTIONS
NAME: Final = "deskew-hog-392-2"
"""Bumped whenever a feature may come out differently."""

_CHUNK: Final = 64  # images a pass: keeps a pass inside the second-level cache
_REACH: Final = 14  # pixels that a row may be moved
_WIDE: Final = SIDE + 2 * _REACH + 1
_CENTRE: Final = (SIDE - 1) / 2
_AXIS: Final = np.arange(SIDE, dtype=np.float32)
_TAKEN: Final = np.arange(SIDE + 1)
_EPSILON: Final = np.float32(1e-6)


def _moments() -> NDArray[np.float32]:
    """Return what each pixel adds to mass, x, y, xy and y squared about the raster's centre; shape (784, 5), ink in 0..255."""
    y, x = (axis.ravel() - _CENTRE for axis in np.mgrid[:SIDE, :SIDE])
    return (np.stack([np.ones_like(x), x, y, x * y, y * y], axis=1) / 255).astype(np.float32)


def _windows() -> NDArray[np.float32]:
    """Return the weight of each pixel in each cell, shape (7, 28): neighbouring cells overlap by half."""
    centres = (np.arange(CELLS) + 0.5) * (SIDE / CELLS)
    distance = np.abs(np.arange(SIDE)[None, :] + 0.5 - centres[:, None])
    return np.clip(1 - distance / (SIDE / CELLS), 0, None).astype(np.float32)


def _axes() -> NDArray[np.float32]:
    """Return unit vectors of half the directions, shape (4, 2); the others are their opposites."""
    angle = np.arange(DIRECTIONS // 2) * (2 * np.pi / DIRECTIONS)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


_MOMENTS: Final = _moments()
_WINDOWS: Final = _windows()
_AXES: Final = _axes()


def deskew(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Make digits upright: each row is moved left or right, and the mass is centred between the sides.

    Args:
        images: Shape (n, 784), 0 is paper.

    Returns:
        Shape (n, 28, 28), in 0..1. An empty image stays empty.
    """
    count = len(images)
    ink = images.astype(np.float32)
    mass, x, y, xy, yy = (ink @ _MOMENTS).T
    mass = mass + _EPSILON
    x, y = x / mass, y / mass
    slant = (xy / mass - x * y) / (yy / mass - y * y + _EPSILON)
    # A row moves by what the slant has moved it; the row where the mass is stays, but for the centring.
    shift = np.clip(x[:, None] + slant[:, None] * (_AXIS - np.float32(_CENTRE) - y[:, None]), -_REACH, _REACH)
    low = np.floor(shift)
    part = (shift - low).astype(np.float32)[:, :, None]
    lines = np.zeros((count, SIDE, _WIDE), np.float32)
    np.multiply(ink.reshape(count, SIDE, SIDE), np.float32(1 / 255), out=lines[:, :, _REACH : _REACH + SIDE])
    start = low.astype(np.intp) + np.arange(_REACH, count * SIDE * _WIDE, _WIDE).reshape(count, SIDE)
    taken = lines.reshape(-1).take(start[:, :, None] + _TAKEN)
    upright: NDArray[np.float32] = taken[:, :, 1:] - taken[:, :, :-1]
    upright *= part
    upright += taken[:, :, :-1]
    return upright


def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute gradients in 8 directions over 7 x 7 cells, of digits made upright.

    Args:
        images: Shape (n, 784), 0 is paper.

    Returns:
        Shape (n, 392), in 0..1; 0 for an empty image. The fourth powers of a row sum up to 1.
    """
    images = images.reshape(-1, SIDE * SIDE)
    if len(images) <= _CHUNK:
        return _gradients(deskew(images))
    out = np.empty((len(images), FEATURES), np.float32)
    for start in range(0, len(images), _CHUNK):
        out[start : start + _CHUNK] = _gradients(deskew(images[start : start + _CHUNK]))
    return out


def _gradients(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    count = len(ink)
    slopes = np.zeros((count, 2, SIDE, SIDE), np.float32)
    np.subtract(ink[:, :, 2:], ink[:, :, :-2], out=slopes[:, 0, :, 1:-1])
    np.subtract(ink[:, 2:, :], ink[:, :-2, :], out=slopes[:, 1, 1:-1, :])
    slope = slopes.reshape(count, 2, SIDE * SIDE)
    size = np.sqrt(np.einsum("nik,nik->nk", slope, slope))
    lean = _AXES @ slope  # (n, 4, 784): how far each pixel's slope goes along each axis, forwards or backwards
    strength = lean * lean
    strength *= strength
    strength *= (size / (strength.sum(axis=1) + _EPSILON))[:, None, :]  # each pixel's size, shared out sharply
    both = np.empty((2, count, DIRECTIONS // 2, SIDE * SIDE), np.float32)
    both[0] = strength
    np.copysign(strength, lean, out=both[1])
    cells = _WINDOWS @ (both.reshape(-1, SIDE) @ _WINDOWS.T).reshape(-1, SIDE, CELLS)  # (2 * n * 4, 7, 7)
    total, signed = cells.reshape(2, count, DIRECTIONS // 2, CELLS * CELLS)
    flat: NDArray[np.float32] = (
        np.concatenate([total + signed, total - signed], axis=1).transpose(0, 2, 1).reshape(count, FEATURES)
    )
    np.maximum(flat, 0, out=flat)  # rounding may leave a little less than zero
    flat /= np.sqrt(np.einsum("nk,nk->n", flat, flat))[:, None] + _EPSILON
    np.sqrt(flat, out=flat)
    return flat
