"""Turns strokes into the raster that every model reads (way 1, ANSWER). Pure.

Strokes are data, pixels are derived: the same strokes give the same raster on every machine. `READER` names this
derivation and changes when a pixel may change, since features are kept as they were read.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray
from pydantic import Field

MAX_STROKES: Final = 64
MAX_POINTS: Final = 4096
"""The most points in all strokes of one drawing together."""
MAX_SIDE: Final = 8192
"""The largest canvas side, in CSS pixels."""
SIDE: Final = 28
"""Side of the raster, in pixels."""
READER: Final = "raster-1"

_INK_BOX = 20.0  # MNIST scales a digit into a box of 20 x 20 pixels ...
_CENTRE = 14.5  # ... and its mean centre of mass is 14.50 where a pixel's centre is at +0.5
_PEN_WIDTH = 2.2
_MIN_STEP = 0.15  # points nearer than this, in raster pixels, cannot be told apart
_FAINT = 32  # of 255: less ink than this is the paper's grain, or the soft edge of a stroke
_CHUNK = 2048  # pieces of the path in a pass, so that the worst legal drawing stays in the second-level cache

Coordinate = Annotated[float, Field(ge=-MAX_SIDE, le=2 * MAX_SIDE, allow_inf_nan=False)]
Point = Annotated[list[Annotated[float, Field(ge=-MAX_SIDE, le=1e14, allow_inf_nan=False)]], Len(2, 3)]
"""``[x, y]`` or ``[x, y, t]``: CSS pixels from the canvas's top left corner, y downwards; t in ms of any clock."""
Stroke = Annotated[list[Point], Len(1, MAX_POINTS)]
Strokes = Annotated[list[Stroke], Len(1, MAX_STROKES)]


class DrawingError(ValueError):
    """A drawing cannot be read."""


class EmptyDrawing(DrawingError):
    """No stroke has a point."""


class OversizedDrawing(DrawingError):
    """A drawing has too many strokes or points."""


def check_limits(strokes: Sequence[Sequence[Sequence[float]]]) -> None:
    """Refuse a drawing that is empty or too large.

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
    raster: NDArray[np.uint8] = rasterize_all([strokes], side)[0]
    return raster


def rasterize_all(drawings: Sequence[Sequence[Sequence[Sequence[float]]]], side: int = SIDE) -> NDArray[np.uint8]:
    """Draw several drawings at once, which costs each a fraction of `rasterize`.

    Returns:
        Shape ``(len(drawings), side, side)``.

    Raises:
        EmptyDrawing: If one of them has no point.
    """
    points = [sum(map(len, strokes)) for strokes in drawings]
    if not all(points):
        raise EmptyDrawing("the drawing has no points: send at least one stroke with one point")
    if not drawings:
        return np.zeros((0, side, side), dtype=np.uint8)
    paths = [len(stroke) for strokes in drawings for stroke in strokes if len(stroke)]
    flat = [point for strokes in drawings for stroke in strokes for point in stroke]
    at = np.array([[point[0] for point in flat], [point[1] for point in flat]], dtype=np.float64).T
    of = np.repeat(np.arange(len(drawings)), points)
    first = (np.cumsum(points) - points).astype(np.intp)
    low, high = np.minimum.reduceat(at, first), np.maximum.reduceat(at, first)
    unit = side / SIDE
    extent = (high - low).max(axis=1)
    scale = np.where(extent > 0, _INK_BOX * unit / np.where(extent > 0, extent, 1), 1)[:, None]
    at = ((at - (low + high)[of] / 2) * scale[of]) + _CENTRE * unit
    starts, ends, of = _segments(at, paths, of)
    pieces = _Pieces(starts, ends, of, len(drawings), side, _PEN_WIDTH * unit)
    coverage = pieces.coverage(np.zeros((len(drawings), 2)))
    grid = np.arange(side) + 0.5
    mass = np.stack([coverage.sum(axis=1) @ grid, coverage.sum(axis=2) @ grid], axis=1) / coverage.sum(axis=(1, 2))[:, None]
    coverage = pieces.coverage(_CENTRE * unit - mass)
    return np.rint(coverage * 255).astype(np.uint8)


# --- images, of apps that have no strokes


def ink(gray: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bool]:
    """Find the ink on an image, dark on light or light on dark: the paper is the brightness of most of its edge.

    Args:
        gray: Shape (height, width); any brightness.

    Returns:
        The same shape, 0 is paper and 255 the strongest ink, and whether it was dark ink on light paper.

    Raises:
        EmptyDrawing: If nothing stands out from the paper.
    """
    edge = np.concatenate([gray[0], gray[-1], gray[1:-1, 0], gray[1:-1, -1]])
    above = gray.astype(np.float32) - float(np.median(edge))
    lighter, darker = np.clip(above, 0, None), np.clip(-above, 0, None)
    dark = bool(np.square(darker).sum() > np.square(lighter).sum())
    drawn = darker if dark else lighter
    if drawn.max() < _FAINT:
        raise EmptyDrawing("the image shows nothing: draw a digit, dark on light or light on dark")
    strongest = float(drawn.max())
    return np.rint(drawn * (255 / strongest) if strongest < 255 - _FAINT else drawn).astype(np.uint8), dark


def framed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frame an image of a digit as MNIST does: its longest side becomes 20 pixels, its centre of mass goes to the middle.

    An image that is framed so already is left as it is.

    Args:
        image: Shape (height, width), any size; 0 is paper, 255 is ink.

    Returns:
        Shape ``(SIDE, SIDE)``.

    Raises:
        EmptyDrawing: If there is no ink.

    Source:
        LeCun et al., The MNIST database, "Details of the data".
    """
    drawn = np.where(image >= _FAINT, image, 0).astype(np.float32)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not len(rows):
        raise EmptyDrawing("the image shows nothing: draw a digit, dark on light or light on dark")
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    mass = drawn.sum(dtype=np.float64)
    y = float(drawn.sum(axis=1) @ (np.arange(len(drawn)) + 0.5) / mass)
    x = float(drawn.sum(axis=0) @ (np.arange(drawn.shape[1]) + 0.5) / mass)
    if image.shape == (SIDE, SIDE) and abs(longest - _INK_BOX) <= 1 and max(abs(x - _CENTRE), abs(y - _CENTRE)) <= 1:
        return image
    step = longest / _INK_BOX
    small = _resampler(drawn.shape[0], y, step) @ drawn @ _resampler(drawn.shape[1], x, step).T
    inked = small[small >= _FAINT]
    strongest = float(np.percentile(inked, 80)) if len(inked) else float(small.max())
    return np.rint(np.clip(small * (255 / strongest) if strongest < 255 else small, 0, 255)).astype(np.uint8)


def _resampler(pixels: int, middle: float, step: float) -> NDArray[np.float32]:
    """Return shape (SIDE, pixels): each new pixel is a mean of old ones by their nearness; ``middle`` goes to the centre."""
    at = middle + (np.arange(SIDE) + 0.5 - _CENTRE) * step
    reach = max(1.0, step)
    shares = np.clip(1 - np.abs(at[:, None] - (np.arange(pixels) + 0.5)) / reach, 0, 1) / reach
    return shares.astype(np.float32)


def _segments(
    at: NDArray[np.float64], paths: Sequence[int], of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return both ends of every segment and its drawing, with close points merged; a dot is a segment of length 0."""
    path = np.repeat(np.arange(len(paths)), paths)
    step = at[1:] - at[:-1]
    close = ((step * step).sum(axis=1) < _MIN_STEP**2) & (path[1:] == path[:-1])
    if close.any():
        kept = np.ones(len(at), dtype=bool)
        first = np.cumsum(paths) - paths
        for which in np.unique(path[1:][close]).tolist():
            begin, end = first[which], first[which] + paths[which]
            kept[begin:end] = False
            kept[[begin + i for i in _apart(at[begin:end])]] = True
        at, path, of = at[kept], path[kept], of[kept]
    follows = path[1:] == path[:-1]
    starts, ends = np.flatnonzero(follows), np.flatnonzero(follows) + 1
    alone = np.flatnonzero(~(np.append(follows, False) | np.insert(follows, 0, False)))
    if len(alone):
        starts, ends = np.concatenate([starts, alone]), np.concatenate([ends, alone])
    return at[starts], at[ends], of[starts]


def _apart(path: NDArray[np.float64]) -> list[int]:
    """Return the indices of the first, the last, and every point at least a step from the one kept before it."""
    kept = [0]
    xs, ys = path[:, 0].tolist(), path[:, 1].tolist()
    x, y = xs[0], ys[0]
    for i in range(1, len(xs)):
        if (xs[i] - x) ** 2 + (ys[i] - y) ** 2 >= _MIN_STEP**2:
            kept.append(i)
            x, y = xs[i], ys[i]
    if kept[-1] != len(xs) - 1:
        kept.append(len(xs) - 1)
    return kept


class _Pieces:
    """Pen paths cut so short that a patch of a few pixels a side holds all that a piece can ink."""

    def __init__(
        self, starts: NDArray[np.float64], ends: NDArray[np.float64], of: NDArray[np.int64], n: int, side: int, width: float
    ) -> None:
        self._n, self._side = n, side
        self._reach = width / 2 + 0.5
        self._patch = math.ceil(2 * self._reach + 1)
        along = ends - starts
        pieces = np.ceil(np.sqrt((along * along).sum(axis=1)) / (self._patch - 2 * self._reach - 1e-6)).astype(np.int64)
        np.maximum(pieces, 1, out=pieces)
        total = int(pieces.sum())
        if total > len(starts):
            nth = np.arange(total) - np.repeat(np.cumsum(pieces) - pieces, pieces)
            along = np.repeat(along / pieces[:, None], pieces, axis=0)
            starts, of = np.repeat(starts, pieces, axis=0) + along * nth[:, None], np.repeat(of, pieces)
        self._starts, self._of = starts, of
        self._low = starts + np.minimum(along, 0)
        self._along = along.astype(np.float32)
        self._per_length = self._along / np.maximum((along * along).sum(axis=1, keepdims=True), 1e-12).astype(np.float32)

    def coverage(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the ink of each pixel, each drawing moved by its ``shift``: clip(width / 2 + 0.5 - distance to path, 0, 1)."""
        side = self._side
        nearest = np.full(self._n * side * side + 1, np.inf, dtype=np.float32)  # the last cell takes ink outside the raster
        steps = np.arange(self._patch)
        for first in range(0, len(self._starts), _CHUNK):
            part = slice(first, first + _CHUNK)
            of = self._of[part]
            moved = shift[of]
            corner = np.ceil(self._low[part] + (moved - (self._reach + 0.5)))
            gap = (corner + 0.5 - self._starts[part] - moved).astype(np.float32)[:, :, None] + steps.astype(np.float32)
            share = gap * self._per_length[part, :, None]
            share = share[:, 1, :, None] + share[:, 0, None, :]
            np.clip(share, 0, 1, out=share)
            along = self._along[part]
            gap_x = gap[:, 0, None, :] - share * along[:, 0, None, None]
            share *= along[:, 1, None, None]
            gap_y = np.subtract(gap[:, 1, :, None], share, out=share)
            gap_x *= gap_x
            gap_y *= gap_y
            gap_x += gap_y
            pixel = corner.astype(np.int64)
            place = ((of * side + pixel[:, 1]) * side + pixel[:, 0])[:, None, None] + (steps[:, None] * side + steps)
            if pixel.min() < 0 or pixel.max() > side - self._patch:
                inside = (pixel[:, :, None] + steps >= 0) & (pixel[:, :, None] + steps < side)
                place[~(inside[:, 1, :, None] & inside[:, 0, None, :])] = -1
            np.minimum.at(nearest, place.ravel(), gap_x.ravel())
        coverage = np.clip(self._reach - np.sqrt(nearest[:-1]), 0, 1)
        return coverage.astype(np.float64).reshape(self._n, side, side)
