"""Turns a PNG that an app sent into a raster for the models (way 1); the PNG is not trusted, and is bounded before decoding."""

import io
import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from contracts.drawing import framed, ink

MAX_PNG: Final = 1024 * 1024
"""The size of the largest PNG in bytes."""
MAX_PNG_SIDE: Final = 2048
"""The largest width and the largest height, in pixels."""
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


class BadPicture(ValueError):
    """The bytes are not a PNG, or the PNG is too large; the message says what to do."""


def read_png(data: bytes) -> tuple[NDArray[np.uint8], bool]:
    """Read the raster of a PNG, and whether its ink was dark on light; it takes some milliseconds, so not on the event loop.

    Colours become brightness; on a transparent picture the opaque pixels are the ink.

    Raises:
        BadPicture: If the bytes are not a PNG, or the PNG is broken, or over 1 MiB or 2,048 pixels a side.
        EmptyDrawing: If the picture shows nothing.
    """
    if len(data) > MAX_PNG:
        raise BadPicture(f"{len(data)} bytes: a PNG has at most {MAX_PNG}; make it smaller, 280 x 280 pixels are plenty")
    if data[:8] != _SIGNATURE or len(data) < 33 or data[12:16] != b"IHDR":
        raise BadPicture('not a PNG: send image/png, or its base64 in "png"')
    width, height = struct.unpack(">II", data[16:24])
    if not (0 < width <= MAX_PNG_SIDE and 0 < height <= MAX_PNG_SIDE):
        raise BadPicture(f"{width} x {height} pixels: a PNG has at most {MAX_PNG_SIDE} a side; make it smaller")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.size != (width, height):
                raise BadPicture("this PNG contradicts itself: write it again with another program")
            gray = _gray(picture)
    except BadPicture:
        raise
    except (
        UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
        struct.error, zlib.error, MemoryError, Image.DecompressionBombError,
    ) as wrong:  # fmt: skip
        raise BadPicture(f"this PNG cannot be read ({str(wrong)[:80]}): write it again with another program") from wrong
    drawn, dark = ink(gray)
    return framed(drawn), dark


def _gray(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I"):  # 16 bits a pixel
        wide = np.asarray(picture).astype(np.int64)
        return (np.clip(wide, 0, 65535) >> 8).astype(np.uint8)
    if picture.mode == "P" or "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        alpha = np.asarray(picture.getchannel("A"))
        edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        if np.median(edge) < 128:
            return np.asarray(255 - alpha, np.uint8)  # as dark ink on white
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("L"), np.uint8)
