"""Describes where the edges of a drawing's ink run, and in which direction (ways 1 and 2). Pure.

The network that makes embeddings has seen MNIST alone, and takes what MNIST has not, such as the flag of a European 1, for
noise. An outline has it: nobody has taught the arithmetic that makes it of the raster.

All of it is whole numbers below 2^24 up to the last division, so it does not depend, bit for bit, on the drawings beside it.
"""

from typing import Final

import numpy as np
from cachetools import FIFOCache
from numpy.typing import NDArray

from contracts.drawing import SIDE

INK_BYTES: Final = SIDE * SIDE // 8
"""The bytes of a raster with one bit a pixel."""
_INK: Final = 96  # of 255: from here on a pixel is ink
_PLACES: Final = 6  # along each side the edges are counted in so many places, each with those around it
OUTLINE: Final = 4 * _PLACES**2
"""How many numbers an outline has."""
_AROUND: Final = 3.0  # pixels: at this distance from a place an edge counts 0.6
_SLANTED: Final = 1.5  # a slanted edge changes less from pixel to pixel

_Floats = NDArray[np.float32]


def _lines() -> tuple[_Floats, _Floats, _Floats]:
    """Return the matrices that smooth a line of pixels, take differences of it smoothed, and count what is in each place."""
    places = np.arange(SIDE)
    apart = places - places[:, None]
    smoothed = np.where(apart == 0, 2, np.abs(apart) == 1)
    differences = np.where(np.abs(apart) == 1, apart, 0) @ smoothed
    centres = np.linspace(2.5, SIDE - 3.5, _PLACES)
    counted = np.rint(64 * np.exp(-(((places - centres[:, None]) / _AROUND) ** 2) / 2))
    return smoothed.astype(np.float32), differences.astype(np.float32), counted.astype(np.float32)


_SMOOTHED, _DIFFERENCES, _COUNTED = _lines()


def ink_of(rasters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return which pixels are ink, one bit each: of rasters of shape (n, 784) shape (n, 98)."""
    return np.packbits(rasters >= _INK, axis=1)


_lately: Final[FIFOCache[bytes, _Floats]] = FIFOCache(2048)
"""The latest outlines, by ink: half a KB each."""


def look_at(rasters: NDArray[np.uint8]) -> None:
    """Make the outlines of rasters of shape (n, 784) at once, and keep them for `outlines_of_ink`."""
    _remember(ink_of(rasters))


def outlines_of_ink(ink: NDArray[np.uint8]) -> _Floats:
    """Return the outlines of drawings; that of one alone is kept, since it is labelled soon after its guesses.

    Args:
        ink: Of `ink_of`, shape (n, 98).

    Returns:
        Shape (n, `OUTLINE`), not to be changed in place, each of length 1, or 0 if it has no edge.
    """
    if len(ink) != 1:
        return _outlines(ink)
    key = ink.tobytes()
    if key not in _lately:
        _remember(ink)
    return _lately[key]


def _remember(ink: NDArray[np.uint8]) -> None:
    made = _outlines(ink)
    made.setflags(write=False)
    _lately.update((one.tobytes(), made[place : place + 1]) for place, one in enumerate(ink))


def _outlines(ink: NDArray[np.uint8]) -> _Floats:
    lines = np.unpackbits(ink, axis=1).astype(np.float32).reshape(-1, SIDE)
    down = _DIFFERENCES @ (lines @ _SMOOTHED.T).reshape(-1, SIDE, SIDE)
    across = _SMOOTHED @ (lines @ _DIFFERENCES.T).reshape(-1, SIDE, SIDE)
    upright, level = np.abs(across), np.abs(down)
    slanted = np.minimum(upright, level)
    edges = np.empty((len(down), 4, SIDE, SIDE), np.float32)
    np.subtract(upright, slanted, out=edges[:, 0])
    np.subtract(level, slanted, out=edges[:, 1])
    slanted *= _SLANTED
    np.multiply(slanted, across * down > 0, out=edges[:, 2])
    np.subtract(slanted, edges[:, 2], out=edges[:, 3])
    counted = (edges.reshape(-1, SIDE) @ _COUNTED.T).reshape(-1, SIDE, _PLACES)
    counted = np.floor((_COUNTED @ counted).reshape(-1, OUTLINE) / 1024.0)
    squared = np.einsum("nd,nd->n", counted, counted, dtype=np.float64)
    made: _Floats = (counted / np.sqrt(np.maximum(squared, 1.0))[:, None]).astype(np.float32)
    return made
