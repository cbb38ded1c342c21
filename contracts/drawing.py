"""Strokes, and how they become the raster that every model reads (way 1, ANSWER).

Strokes are data, pixels are derived: the same strokes give the same raster on every machine. `READER` names this
derivation; it is bumped when a pixel may come out differently, because features are kept as they were read.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray
from pydantic import Field

MAX_STROKES: Final = 64
MAX_POINTS: Final = 4096
"""Over all strokes of one drawing."""
MAX_SIDE: Final = 8192
"""Largest canvas side, in CSS pixels."""
SIDE: Final = 28
"""Side of the raster, in pixels."""
READER: Final = "raster-1"

_INK_BOX = 20.0  # MNIST scales a digit into a box of 20 x 20 pixels ...
_CENTRE = 14.5  # ... and its mean centre of mass is 14.50 where a pixel's centre is at +0.5
_PEN_WIDTH = 2.2
_MIN_STEP = 0.15  # points nearer than this, in raster pixels, cannot be told apart
_CHUNK = 128  # segments a pass: keeps the worst legal drawing inside the second-level cache

Coordinate = Annotated[float, Field(ge=-MAX_SIDE, le=2 * MAX_SIDE, allow_inf_nan=False)]
Point = Annotated[list[Annotated[float, Field(ge=-MAX_SIDE, le=1e14, allow_inf_nan=False)]], Len(2, 3)]
"""``[x, y]`` or ``[x, y, t]``: CSS pixels from the canvas's top left corner, y downwards; t in ms of any clock."""
Stroke = Annotated[list[Point], Len(1, MAX_POINTS)]
Strokes = Annotated[list[Stroke], Len(1, MAX_STROKES)]


class DrawingError(ValueError):
    """A drawing that cannot be read."""


class EmptyDrawing(DrawingError):
    """No stroke has a point."""


class OversizedDrawing(DrawingError):
    """More strokes or points than a drawing may have."""


def check_limits(strokes: Sequence[Sequence[Sequence[float]]]) -> None:
    """Refuse a drawing that no model should be asked about.

    Raises:
        EmptyDrawing: If no stroke has a point.
        OversizedDrawing: If there are over 64 strokes or over 4,096 points.
    """
    points = sum(len(stroke) for stroke in strokes)
    if points == 0:
        raise EmptyDrawing("the drawing has no points: send at least one stroke with one point")
    if len(strokes) > MAX_STROKES:
        raise OversizedDrawing(f"{len(strokes)} strokes: a drawing has at most {MAX_STROKES}")
    if points > MAX_POINTS:
        raise OversizedDrawing(f"{points} points: a drawing has at most {MAX_POINTS}")


def rasterize(strokes: Sequence[Sequence[Sequence[float]]], side: int = SIDE) -> NDArray[np.uint8]:
    """Draw strokes on a square raster, as MNIST frames a digit.

    The ink's longest side is scaled to 20 pixels of 28 and its centre of mass moved to the centre; coverage comes from the
    exact distance to the pen's path, so nothing depends on the canvas's size or its pixel ratio.

    Args:
        strokes: Pen paths in CSS pixels, y downwards; at least one point. A stroke of one point is a dot.
        side: Width and height of the raster, in pixels.

    Returns:
        Shape ``(side, side)``; 0 is paper, 255 is ink.

    Raises:
        EmptyDrawing: If no stroke has a point.

    Source:
        LeCun et al., The MNIST database, "Details of the data".
    """
    paths = [np.array([point[:2] for point in stroke], dtype=np.float64) for stroke in strokes if len(stroke)]
    if not paths:
        raise EmptyDrawing("the drawing has no points: send at least one stroke with one point")
    every = np.concatenate(paths)
    low = every.min(axis=0)
    extent = float((every.max(axis=0) - low).max())
    unit = side / SIDE
    scale = _INK_BOX * unit / extent if extent > 0 else 1.0
    starts, ends = _segments([(path - low) * scale for path in paths])
    middle = (every.max(axis=0) - low) * scale / 2
    to_centre = _CENTRE * unit - middle
    coverage = _coverage(starts + to_centre, ends + to_centre, side, _PEN_WIDTH * unit)
    total = coverage.sum()
    grid = np.arange(side) + 0.5
    mass = np.array([(coverage.sum(axis=0) * grid).sum(), (coverage.sum(axis=1) * grid).sum()]) / total
    shift = to_centre + (_CENTRE * unit - mass)
    coverage = _coverage(starts + shift, ends + shift, side, _PEN_WIDTH * unit)
    return np.rint(coverage * 255).astype(np.uint8)


def _segments(paths: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends of every segment, points that lie together merged; a dot is a segment of no length."""
    starts, ends = [], []
    for path in paths:
        kept = path[_apart(path)]
        starts.append(kept if len(kept) == 1 else kept[:-1])
        ends.append(kept if len(kept) == 1 else kept[1:])
    return np.concatenate(starts), np.concatenate(ends)


def _apart(path: NDArray[np.float64]) -> list[int]:
    """Indices of the first, the last, and every point at least a step from the one kept before it."""
    kept = [0]
    xs, ys = path[:, 0].tolist(), path[:, 1].tolist()
    x, y = xs[0], ys[0]
    for i in range(1, len(xs)):
        if (xs[i] - x) ** 2 + (ys[i] - y) ** 2 >= _MIN_STEP**2:
            kept.append(i)
            x, y = xs[i], ys[i]
    if kept[-1] != len(xs) - 1 and len(xs) > 1:
        kept.append(len(xs) - 1)
    return kept


def _coverage(starts: NDArray[np.float64], ends: NDArray[np.float64], side: int, width: float) -> NDArray[np.float64]:
    """Ink in 0..1 of each pixel: clip(width / 2 + 0.5 - distance to the nearest segment, 0, 1)."""
    axis = (np.arange(side) + 0.5).astype(np.float32)
    nearest = np.full((side, side), np.inf, dtype=np.float32)
    for first in range(0, len(starts), _CHUNK):
        a = starts[first : first + _CHUNK].astype(np.float32)
        d = ends[first : first + _CHUNK].astype(np.float32) - a
        length = np.maximum((d * d).sum(axis=1), 1e-12)
        rel_x = axis[None, None, :] - a[:, 0, None, None]
        rel_y = axis[None, :, None] - a[:, 1, None, None]
        along = (rel_x * d[:, 0, None, None] + rel_y * d[:, 1, None, None]) / length[:, None, None]
        np.clip(along, 0, 1, out=along)
        gap_x = rel_x - along * d[:, 0, None, None]
        gap_y = rel_y - along * d[:, 1, None, None]
        np.minimum(nearest, (gap_x * gap_x + gap_y * gap_y).min(axis=0), out=nearest)
    return np.clip(width / 2 + 0.5 - np.sqrt(nearest), 0, 1).astype(np.float64)
