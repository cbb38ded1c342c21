"""Reads an endpoint's answer from NumPy's .npy format: a few bytes that are checked, then numbers (ways 1 and 3). Pure.

It does not use `numpy.load`, which accepts a zip or a pickle, reads the head as a Python literal, and allocates whatever
size that claims. An endpoint is another's process, and if it answers nonsense, that must cost only its own guess.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS

_MAGIC: Final = b"\x93NUMPY"
_HEAD: Final = re.compile(
    rb"\{\s*'descr'\s*:\s*'(<f[48])'\s*,\s*'fortran_order'\s*:\s*False\s*,\s*'shape'\s*:\s*\(\s*(\d{1,9})\s*,\s*(\d{1,9})\s*,?\s*\)"
    rb"\s*,?\s*\}\s*"
)
_SUM: Final = 1e-3
"""How much the sum of a row may differ from 1: the error of a softmax in single precision."""


def probabilities_of(body: bytes, rows: int) -> NDArray[np.float64]:
    """Read the probabilities in a .npy body.

    Args:
        body: The whole body.
        rows: How many drawings were asked about.

    Returns:
        Shape ``(rows, 10)``; each row is at least 0 and adds up to 1.

    Raises:
        ValueError: If the body is anything else; the message says what.

    Source:
        NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays".
    """
    if len(body) < 12 or body[:6] != _MAGIC or body[6] not in (1, 2, 3):
        raise ValueError("no .npy array: it does not begin as one")
    start, size = (10, body[8:10]) if body[6] == 1 else (12, body[8:12])
    end = start + int.from_bytes(size, "little")
    head = _HEAD.fullmatch(body, start, end) if end <= len(body) else None
    if head is None:
        raise ValueError("no .npy array of little-endian floats in C order with two dimensions")
    kind, shape = np.dtype(head[1].decode()), (int(head[2]), int(head[3]))
    if shape != (rows, DIGITS):
        raise ValueError(f"of shape {shape} to {rows} drawings")
    if len(body) - end != rows * DIGITS * kind.itemsize:
        raise ValueError(f"of {len(body) - end} bytes, where {rows} rows have {rows * DIGITS * kind.itemsize}")
    shares = np.frombuffer(body, kind, offset=end).reshape(shape).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = shares.sum(axis=1)
    if not (np.isfinite(sums).all() and (shares >= 0).all() and np.abs(sums - 1).max(initial=0) < _SUM):
        raise ValueError("that is no set of probabilities")
    scaled: NDArray[np.float64] = shares / sums[:, None]
    return scaled
