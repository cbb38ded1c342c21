"""The common part of every image's `serve`: HTTP in front of a model (way 1, ANSWER).

`GET /ping` is 200 once the model is there. `POST /invocations` takes uint8 rasters of shape (n, 784) as
application/x-npy, {"instances": [[784 integers] ...]} as application/json, or 784 integers a line as text/csv, and answers
probabilities (n, 10) in the form that Accept names: application/x-npy (float32), application/json ({"predictions": ...}) or
text/csv (ten numbers a line).
"""

import asyncio
import functools
import io
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

import container
import csv_rows
import numpy as np
import prompt
import uvicorn
from numpy.typing import NDArray

NPY: Final = "application/x-npy"
JSON: Final = "application/json"
CSV: Final = csv_rows.TYPE
MAX_BYTES: Final = 25 * 2**20
"""Largest body, as SageMaker has it."""
SLICE: Final = 64
"""Rows that a model is asked about at a time, so that small batches can pass between the slices of a big one."""
_SMALL: Final = SLICE * container.PIXELS + 128
"""The most bytes of a body that is answered at once: it has `SLICE` rows at most, as .npy has the fewest bytes a row."""

Raster = NDArray[np.uint8]
Message = dict[str, Any]
Model = Callable[[Raster], NDArray[np.float32]]
"""A model answers 1 to `SLICE` rasters with their probabilities, shape (n, 10)."""


class Refused(Exception):
    """A request that cannot be answered.

    Attributes:
        status: HTTP status, 4xx; 500 if a program of the user's own failed.
    """

    def __init__(self, status: int, message: str) -> None:
        """Say why."""
        super().__init__(message)
        self.status = status


@functools.lru_cache(maxsize=256)
def _rows(head: bytes) -> int:
    """Return how many rasters follow a .npy head; the head is a literal, and nothing in it is executed."""
    file = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(file)
    except ValueError as wrong:
        raise Refused(400, f"the body is no .npy array: {wrong}") from wrong
    if dtype != np.uint8 or fortran or len(shape) != 2 or shape[1] != container.PIXELS or not shape[0]:
        raise Refused(400, f"the array is {dtype} {shape}: send uint8 of shape (n, 784), n at least 1, in C order")
    return int(shape[0])


def read_npy(body: bytes) -> Raster:
    """Read the rasters of a .npy body, shape (n, 784), without a copy.

    Raises:
        Refused: If it is anything else.
    """
    if len(body) < 12 or body[:6] != b"\x93NUMPY":
        raise Refused(400, "the body is no .npy array: it does not begin with its magic string")
    start = 10 + int.from_bytes(body[8:10], "little") if body[6] == 1 else 12 + int.from_bytes(body[8:12], "little")
    rows = _rows(body[:start])
    if len(body) - start != rows * container.PIXELS:
        raise Refused(400, f"the array of {rows} rows has {len(body) - start} bytes, not {rows * container.PIXELS}")
    return np.frombuffer(body, np.uint8, offset=start).reshape(rows, -1)


def read_json(body: bytes) -> Raster:
    """Read the rasters of a JSON body, shape (n, 784).

    Raises:
        Refused: If it is anything else.
    """
    try:
        instances = json.loads(body)["instances"]
        array = np.asarray(instances)
    except (ValueError, KeyError, TypeError, RecursionError) as wrong:
        raise Refused(400, 'the body is not of the form {"instances": [[784 integers] ...]}') from wrong
    if array.ndim != 2 or array.shape[1] != container.PIXELS or array.dtype.kind not in "iu":
        raise Refused(400, f"instances are {array.dtype} {array.shape}: send integers of shape (n, 784), n at least 1")
    if array.min() < 0 or array.max() > 255:
        raise Refused(400, "a pixel is out of range: 0 (paper) to 255 (ink)")
    return array.astype(np.uint8)


def read_csv(body: bytes) -> Raster:
    """Read the rasters of a CSV body, shape (n, 784).

    Raises:
        Refused: If it is anything else.
    """
    try:
        return csv_rows.images_of(body)
    except csv_rows.BadCsv as wrong:
        raise Refused(400, f"the body is no CSV of drawings: {wrong}") from wrong


def write_npy(probabilities: NDArray[np.float32]) -> bytes:
    """Encode probabilities as a .npy body."""
    return _head(probabilities.shape, probabilities.dtype) + probabilities.tobytes()


@functools.lru_cache(maxsize=256)
def _head(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return the head of a .npy body in C order; numpy takes as long to write it as some models take to answer."""
    out = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, described)
    return out.getvalue()


def write_json(probabilities: NDArray[np.float32]) -> bytes:
    """Encode probabilities as a JSON body."""
    return json.dumps({"predictions": probabilities.tolist()}).encode()


READERS: Final[dict[str, Callable[[bytes], Raster]]] = {NPY: read_npy, JSON: read_json, CSV: read_csv}
WRITERS: Final[dict[str, Callable[[NDArray[np.float32]], bytes]]] = {
    NPY: write_npy,
    JSON: write_json,
    CSV: csv_rows.written,
}


async def answer(model: Model, images: Raster) -> NDArray[np.float32]:
    """Answer any number of rasters: probabilities of shape (n, 10)."""
    if len(images) <= SLICE:
        return model(images)
    parts = []
    for start in range(0, len(images), SLICE):
        parts.append(model(images[start : start + SLICE]))
        await asyncio.sleep(0)
    return np.concatenate(parts)


def _chosen(headers: dict[bytes, bytes]) -> tuple[str, str]:
    """Return the content type of the request and that of the answer."""
    content = headers.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
    if content not in READERS:
        raise Refused(415, f"content type {content or 'missing'}: send {' or '.join(READERS)}")
    accept = headers.get(b"accept", b"*/*").decode("latin-1").lower()
    for item in accept.split(","):
        name = item.split(";")[0].strip()
        if name in WRITERS:
            return content, name
        if name in ("", "*/*", f"{content.partition('/')[0]}/*"):
            return content, content
    raise Refused(406, f"accept {accept}: this image answers {' or '.join(WRITERS)}")


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BYTES:
            raise Refused(413, f"the body is over {MAX_BYTES} bytes")
        if not message.get("more_body"):
            return bytes(body)


Invoke = Callable[[dict[bytes, bytes], bytes], Awaitable[tuple[str, bytes]]]
"""A function that answers the headers and the body of an invocation with a content type and a body, or raises `Refused`."""


def create_app(model: Model) -> Callable[..., Awaitable[None]]:
    """Make the ASGI application of a model."""

    async def invoke(headers: dict[bytes, bytes], body: bytes) -> tuple[str, bytes]:
        content, accept = _chosen(headers)
        return accept, WRITERS[accept](await answer(model, READERS[content](body)))

    return application(invoke)


def at_once(model: Model) -> prompt.Prompt:
    """Make the function that answers an invocation of up to `SLICE` rasters as the application does."""

    def invoke(headers: dict[bytes, bytes], body: bytes) -> tuple[str, bytes]:
        content, accept = _chosen(headers)
        return accept, WRITERS[accept](model(READERS[content](body)))

    return invoke


def application(invoke: Invoke) -> Callable[..., Awaitable[None]]:
    """Make the ASGI application of whatever answers invocations."""

    async def respond(scope: Message, receive: Callable[[], Awaitable[Message]]) -> tuple[int, str, bytes]:
        match scope["method"], scope["path"]:
            case "GET", "/ping":
                return 200, JSON, b"{}"
            case "POST", "/invocations":
                return 200, *await invoke(dict(scope["headers"]), await _body(receive))
            case method, path:
                raise Refused(404, f"no {method} {path}: this image has GET /ping and POST /invocations")

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        try:
            status, content, body = await respond(scope, receive)
        except Refused as refused:
            status, content, body = refused.status, JSON, json.dumps({"error": str(refused)}).encode()
        headers = [(b"content-type", content.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def run(model: Model) -> None:
    """Serve a model until the process ends. A first call is made here, since it sets up what later calls use."""
    for rows in (1, 2, SLICE):
        model(np.zeros((rows, container.PIXELS), np.uint8))
    listen(create_app(model), at_once(model))


def listen(app: Callable[..., Awaitable[None]], answer: prompt.Prompt | None = None) -> None:
    """Serve an application until the process ends; ``answer`` answers small invocations in its place."""
    uvicorn.run(
        app,
        http="auto" if answer is None else prompt.protocol(answer, _SMALL),
        host=os.environ.get("SERVE_HOST", "127.0.0.1"),  # the Dockerfile opens it to the container's network
        port=int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")),
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=600,
        server_header=False,
        date_header=False,
    )
