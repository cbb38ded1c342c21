"""MXNet's C interface for prediction: the library without its Python, whose import alone takes 3 s."""

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CPU: Final = 1
_FLOATS: Final = ctypes.POINTER(ctypes.c_float)


class MXNetFailed(RuntimeError):
    """MXNet reported an error."""


def _library() -> ctypes.CDLL:
    found = find_spec("mxnet")
    if found is None or found.origin is None:
        raise ImportError("mxnet is not installed")
    library = ctypes.CDLL(str(Path(found.origin).with_name("libmxnet.so")))
    library.MXGetLastError.restype = ctypes.c_char_p
    return library


class BoundNetwork:
    """A network that answers a fixed number of rows at a time."""

    def __init__(self, symbol: str, numbers: bytes, shape: tuple[int, ...], outputs: int) -> None:
        """Bind the network to a fixed number of rows.

        Args:
            symbol: The network, JSON.
            numbers: Its learned weights, in MXNet's own binary format: arrays with names.
            shape: The shape of its input `data`, rows first.
            outputs: How many numbers it answers for each row.

        Raises:
            MXNetFailed: If they do not fit each other.
        """
        self._mxnet = _library()
        self._given = np.zeros(shape, np.float32)
        self._made = np.zeros((shape[0], outputs), np.float32)
        self._handle = ctypes.c_void_p()
        self._call(
            "MXPredCreate",
            symbol.encode(),
            numbers,
            ctypes.c_int(len(numbers)),
            ctypes.c_int(_CPU),
            ctypes.c_int(0),
            ctypes.c_uint(1),
            (ctypes.c_char_p * 1)(b"data"),
            (ctypes.c_uint * 2)(0, len(shape)),
            (ctypes.c_uint * len(shape))(*shape),
            ctypes.byref(self._handle),
        )

    def answer(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's answer to as many rows as it is bound to."""
        self._given.reshape(rows.shape)[:] = rows
        self._call(
            "MXPredSetInput", self._handle, b"data", self._given.ctypes.data_as(_FLOATS), ctypes.c_uint(self._given.size)
        )
        self._call("MXPredForward", self._handle)
        made = self._made
        self._call("MXPredGetOutput", self._handle, ctypes.c_uint(0), made.ctypes.data_as(_FLOATS), ctypes.c_uint(made.size))
        return made.copy()

    def _call(self, function: str, *arguments: object) -> None:
        if getattr(self._mxnet, function)(*arguments):
            raise MXNetFailed(self._mxnet.MXGetLastError().decode().splitlines()[0])
