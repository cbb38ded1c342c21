"""Reads drawings from CSV and writes probabilities as CSV, as XGBoost's own container on SageMaker takes and gives them.

No header, a drawing a line, its 784 pixels 0 (paper) to 255 (ink) as whole numbers. In a channel the label 0-9 comes first and
may be followed by the drawing's weight; a request has the pixels alone.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

import container
import numpy as np
from numpy.typing import NDArray

TYPE: Final = "text/csv"
_BLOCK: Final = 4096
"""Lines that are read at a time: as numbers they take twenty times the memory of the pixels."""


class BadCsv(ValueError):
    """The text is no CSV of drawings; the message says in which line and why."""


def images_of(text: bytes) -> NDArray[np.uint8]:
    """Read the drawings of a request, shape (n, 784).

    Raises:
        BadCsv: If it is anything else.
    """
    blocks = [_pixels(table, "784 pixels, without a label") for table in _tables(_decoded(text).splitlines(keepends=True))]
    if not blocks:
        raise BadCsv("there is no line: send 784 pixels a line")
    return np.concatenate(blocks)


def labelled(lines: Iterable[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """Read a channel's drawings: images (n, 784), labels (n,) and weights (n,), 1 where the lines have none.

    Raises:
        BadCsv: If it is anything else.
    """
    expected = "a label and 784 pixels, or a label, a weight and 784 pixels"
    images, labels, weights = [], [], []
    for table in _tables(lines):
        first = table.shape[1] - container.PIXELS
        if first not in (1, 2):
            raise BadCsv(f"a line has {table.shape[1]} columns, not {expected}")
        if not np.isin(table[:, 0], np.arange(10)).all():
            raise BadCsv("the first column is no label, 0 to 9")
        labels.append(table[:, 0].astype(np.uint8))
        weights.append(table[:, 1] if first == 2 else np.ones(len(table), np.float32))
        images.append(_pixels(table[:, first:], expected))
    if not images:
        raise BadCsv(f"there is no line: a line has {expected}")
    return np.concatenate(images), np.concatenate(labels), np.concatenate(weights)


def written(probabilities: NDArray[np.float32]) -> bytes:
    """Write a line for each drawing: its ten probabilities, that of 0 first."""
    return "".join(",".join(map(repr, row)) + "\n" for row in probabilities.astype(np.float64).round(9).tolist()).encode()


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise BadCsv(f"it is no text: {wrong}") from wrong


def _tables(lines: Iterable[str]) -> Iterator[NDArray[np.float32]]:
    """Read blocks of lines as numbers; blank lines do not count."""
    full, before = (line for line in lines if not line.isspace()), 0
    while block := list(itertools.islice(full, _BLOCK)):
        try:
            yield np.loadtxt(block, np.float32, delimiter=",", comments=None, ndmin=2)
        except (ValueError, UnicodeError) as wrong:
            where = f"after {before} lines: " if before else ""
            raise BadCsv(f"{where}{wrong}: each line has numbers alone, as many as the others; there is no header") from wrong
        before += len(block)


def _pixels(table: NDArray[np.float32], expected: str) -> NDArray[np.uint8]:
    if table.shape[1] != container.PIXELS:
        raise BadCsv(f"a line has {table.shape[1]} columns, not {expected}")
    with np.errstate(invalid="ignore"):
        pixels = table.astype(np.uint8)
    if not (pixels == table).all():
        raise BadCsv("a pixel is no whole number from 0 (paper) to 255 (ink)")
    return pixels
