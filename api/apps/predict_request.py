"""Reads an app's request from its bytes (way 1). Pure; it is quick whatever the bytes are.

The event loop waits while a body is read, so the cost of the worst body is bounded before its values are looked at one by one:
a JSON text has at most as many values as commas and brackets, and a wrong one is refused at the first mistake.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from api.apps.pictures import MAX_PNG
from api.play.messages import Drawable, Side
from contracts.drawing import MAX_POINTS, MAX_STROKES, SIDE

MAX_BODY: Final = 3 * MAX_PNG // 2
"""The size of the largest request in bytes: the largest PNG in base64, and the JSON around it."""
MAX_COMMAS: Final = 4 * MAX_POINTS
"""The most commas in a JSON text: the largest drawing has three for each point, everything else far fewer."""
MAX_NAMES: Final = 16
"""How many models one request may name."""
CHAMPION: Final = "champion"
ALL: Final = "all"
FORMS: Final = ("strokes", "image", "png")


class Problem(Exception):
    """A request gets no prediction; it gets a problem of RFC 9457, whose `detail` is one line that says what to do."""

    def __init__(self, status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        """Keep status, title and detail; the fields of ``more`` go into the answer too."""
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.told = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}


class ProblemTold(BaseModel):
    """Why there is no prediction (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    """One line that says what to do."""
    missing: dict[str, str] | None = None
    """The models that were asked, and why each has no answer; absent from other problems."""


def not_understood(detail: str) -> Problem:
    """Make the problem of a request that cannot be read."""
    return Problem(422, "Not understood", detail)


def _flat(image: Any) -> Any:
    """Return the numbers of an image row by row, if their count is right; their values are checked afterwards."""
    if isinstance(image, list):
        if len(image) == SIDE * SIDE and not isinstance(image[0], list):
            return image
        if len(image) == SIDE and all(isinstance(row, list) and len(row) == SIDE for row in image):
            return [number for row in image for number in row]
    raise ValueError(f'{SIDE} rows of {SIDE} numbers, or {SIDE * SIDE} numbers; for other sizes send "png"')


Pixel = Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)]
PixelRow = Annotated[list[Pixel], Field(min_length=SIDE, max_length=SIDE)]
PixelRows = Annotated[list[PixelRow], Field(min_length=SIDE, max_length=SIDE)]
FlatPixels = Annotated[list[Pixel], Field(min_length=SIDE * SIDE, max_length=SIDE * SIDE, fail_fast=True)]
ImagePixels = Annotated[FlatPixels, BeforeValidator(_flat, json_schema_input_type=PixelRows | FlatPixels)]
ModelNames = Annotated[list[str], Field(min_length=1, max_length=MAX_NAMES, fail_fast=True)]


class PredictRequest(BaseModel):
    """A digit, in exactly one of three forms: `strokes`, `image` or `png`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    strokes: Drawable | None = None
    """Pen paths: each a list of [x, y] in pixels, y downwards, of any scale; at most 64 strokes and 4,096 points."""
    width: Side | None = None
    """The width of the canvas; optional, since the digit is found anyway."""
    height: Side | None = None
    image: ImagePixels | None = None
    """28 rows of 28 numbers, or 784 numbers row by row; 0 to 255, or 0 to 1. Light on dark or dark on light."""
    png: str | None = None
    """A PNG in base64, or as a data URL: at most 1 MiB and 2,048 x 2,048 pixels."""
    models: str | ModelNames = CHAMPION
    """One model, a list of models, ``champion`` (the one that players are shown first) or ``all``."""

    @model_validator(mode="after")
    def _one_form(self) -> "PredictRequest":
        given = [name for name in FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f'give exactly one of "strokes", "image" and "png", not {" and ".join(given) or "none"}')
        return self


def read_request(body: bytes) -> PredictRequest:
    """Read a request; it takes a few milliseconds at most, whatever the bytes are.

    Args:
        body: At most `MAX_BODY` bytes.

    Raises:
        Problem: If the bytes are not a valid request.
    """
    if body.count(b",") > MAX_COMMAS:
        most = f"a drawing has at most {MAX_STROKES} strokes and {MAX_POINTS} points, an image {SIDE * SIDE} numbers"
        raise not_understood(f"over {MAX_COMMAS} values: {most}")
    try:
        value = orjson.loads(body)  # refuses NaN and over 1,024 brackets inside each other
    except ValueError as wrong:
        raise Problem(400, "Not JSON", f"the body is no JSON ({str(wrong)[:80]}): send one of the forms of /docs") from None
    if not isinstance(value, dict):
        raise Problem(400, "Not JSON", 'the body is a JSON object with "strokes", "image" or "png"')
    if unknown := next((name for name in value if name not in PredictRequest.model_fields), None):
        raise not_understood(f"{unknown[:30]}: there is no such field; the fields are {', '.join(PredictRequest.model_fields)}")
    try:
        return PredictRequest.model_validate(value)
    except ValidationError as wrong:
        errors = wrong.errors(include_url=False, include_input=False, include_context=False)
        told = "; ".join(f"{'.'.join(str(part)[:30] for part in e['loc'])}: {e['msg'][:160]}".lstrip(": ") for e in errors[:2])
        raise not_understood(told.replace("Value error, ", "")) from None


def models_of_address(given: Sequence[tuple[str, str]], in_address: bool) -> str | list[str]:
    """Return the models that the parameters of the address name.

    Args:
        given: The parameters, as name and value.
        in_address: Whether they may name models, which a request in JSON does in its body.

    Raises:
        Problem: If there is a parameter that would be passed by.
    """
    for name, _ in given:
        if name != "models":
            raise not_understood(f"{name[:30]}: the address has no such parameter; it has models, for a body that is a PNG")
        if not in_address:
            raise not_understood('models: a request in JSON names them in its body, as "models", not in the address')
    names = ",".join(value for _, value in given).split(",")
    return CHAMPION if names == [""] else names


def is_png(content_type: str, content_encoding: str) -> bool:
    """Say whether a body is a PNG by its headers; else it is read as JSON, whatever its type is called.

    Raises:
        Problem: If it is neither, so that nobody is told that a picture is no JSON.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if content_encoding.strip().lower() not in ("", "identity"):
        raise not_understood(f"Content-Encoding: {content_encoding[:30]} is not read: send the body as it is")
    if kind.startswith(("image/", "multipart/", "audio/", "video/")) and kind != "image/png":
        raise not_understood(f"{kind[:60]}: send a PNG with Content-Type: image/png, or JSON")
    return kind == "image/png"


def pixels(image: list[float]) -> NDArray[np.uint8]:
    """Return the pixels of a checked image, shape ``(SIDE, SIDE)``; if no number is over 1, the numbers are shares of 255."""
    numbers = np.array(image, np.float64).reshape(SIDE, SIDE)
    return np.rint(numbers * (255 if numbers.max() <= 1 else 1)).astype(np.uint8)


def decoded(png: str) -> bytes:
    """Decode the bytes of a PNG in base64, or in a data URL.

    Raises:
        Problem: If the text is neither.
    """
    head, comma, tail = png.partition(",")
    if comma and not head.lower().startswith("data:image/png"):
        raise not_understood("png: a PNG in base64, or a data URL that begins with data:image/png;base64,")
    try:
        return base64.b64decode((tail if comma else png).encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError):
        raise not_understood("png: not base64; encode the file's bytes, with padding") from None
