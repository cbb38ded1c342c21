"""For app developers: a drawing in, a digit out, over HTTP (way 1). No machine learning to be known.

A prediction takes the players' road: it goes over the bus as a probe, which is answered like any drawing and never scored nor
learned from, and its answers come back through `api.relay`. Nothing is kept: asking twice is asking two times.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid4

import numpy as np
import orjson
import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from fastapi.security import APIKeyHeader, HTTPBearer
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from api.board import Board
from api.frames import drawable
from api.keys import Bucket, Keys
from api.meters import Meters
from api.pictures import MAX_PNG, BadPicture, read_png
from contracts.drawing import MAX_SIDE, SIDE, DrawingError, Strokes, framed, ink
from contracts.events import BLEND, MODELS, DrawingSubmitted, GuessMade, GuessMissed
from contracts.ports import Bus
from contracts.settings import Settings

MAX_BODY: Final = 3 * MAX_PNG // 2
"""Bytes of a request: the largest PNG in base64, and what stands around it."""
MAX_OPEN: Final = 64
"""Predictions that may be under way at once; one more is refused with 503."""
SLACK_S: Final = 0.5
"""How much longer than a drawing's budget a prediction waits."""
PATH: Final = "/api/predict"
CHAMPION: Final = "champion"
ALL: Final = "all"

log = structlog.get_logger(__name__)


class Problem(Exception):
    """A prediction that is not made, as RFC 9457 tells it: `detail` is one line that says what to do."""

    def __init__(self, status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        """Say it; ``more`` goes into the answer."""
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.told = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}


# --- the question ------------------------------------------------------------------------------------------------------

Pixel = Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)]
Names = Annotated[list[str], Field(min_length=1, max_length=16)]


class PredictRequest(BaseModel):
    """A digit, in exactly one of three forms: `strokes`, `image` or `png`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    strokes: Annotated[Strokes, AfterValidator(drawable)] | None = None
    """Pen paths: each a list of [x, y] in pixels, y downwards, of any scale; at most 64 strokes and 4,096 points."""
    width: Annotated[float, Field(gt=0, le=MAX_SIDE, allow_inf_nan=False)] | None = None
    """Of the canvas that was drawn on; need not be given: the digit is found."""
    height: Annotated[float, Field(gt=0, le=MAX_SIDE, allow_inf_nan=False)] | None = None
    image: list[list[Pixel]] | list[Pixel] | None = None
    """28 rows of 28 numbers, or 784 numbers row by row; 0 to 255, or 0 to 1. Light on dark or dark on light."""
    png: str | None = None
    """A PNG in base64, or as a data URL: at most 1 MiB and 2,048 x 2,048 pixels."""
    models: str | Names = CHAMPION
    """A model, several, ``champion`` (the one that players are shown first) or ``all``."""

    @model_validator(mode="after")
    def _one_form(self) -> "PredictRequest":
        given = [name for name in ("strokes", "image", "png") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f'give exactly one of "strokes", "image" and "png", not {" and ".join(given) or "none"}')
        return self


class ModelPrediction(BaseModel):
    """What one model says."""

    version: str
    digit: int
    confidence: float
    """The probability of `digit`, 0..1."""
    probabilities: list[float]
    """Of the digits 0 to 9."""


class NoPrediction(BaseModel):
    """Why a model that was asked says nothing."""

    error: str


class Prediction(BaseModel):
    """The digit, as the first of the models that were asked and answered sees it; and what each of them says."""

    digit: int
    confidence: float
    """The probability of `digit`, 0..1."""
    model: str
    version: str
    probabilities: list[float]
    """Of the digits 0 to 9."""
    models: dict[str, ModelPrediction | NoPrediction]
    left_out: dict[str, str]
    """On `everyone`: who is not in it, and why."""
    ink: Literal["dark", "light"] | None
    """What was taken for ink on an image or PNG; null for strokes."""
    ms: float
    """From the whole request to the answer."""
    drawing_id: UUID
    """Names the question in logs."""


class ProblemTold(BaseModel):
    """Why there is no prediction (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    """One line that says what to do."""


# --- asking over the bus -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Asked:
    """A question that is under way."""

    waiting: set[str]
    answers: dict[str, GuessMade] = field(default_factory=dict)
    misses: dict[str, str] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, event: GuessMade | GuessMissed) -> None:
        """Take an answer, or that there will be none."""
        if event.model not in self.waiting:
            return
        if isinstance(event, GuessMissed):
            self.misses[event.model] = f"it rests: {event.why}" if event.resting else event.why
        elif event.role != "shadow":
            self.answers[event.model] = event
        else:
            return
        self.waiting.discard(event.model)
        if not self.waiting:
            self.done.set()


class Predictor:
    """Puts probes on the bus and gathers what comes back. Lives on one event loop."""

    def __init__(self, bus: Bus, patience_s: float) -> None:
        """Ask over ``bus``, and wait for ``patience_s`` at most."""
        self._bus = bus
        self._patience_s = patience_s
        self._open: dict[UUID, Asked] = {}
        self._thread = ThreadPoolExecutor(2, thread_name_prefix="png")

    def close(self) -> None:
        """Let go of the threads."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def heard(self, event: GuessMade | GuessMissed) -> bool:
        """Take an event off the bus; returns whether it was an answer to a question of this process."""
        asked = self._open.get(event.drawing_id)
        if asked is not None:
            asked.heard(event)
        return asked is not None

    async def read(self, png: bytes) -> tuple[NDArray[np.uint8], bool]:
        """See `read_png`; not on the event loop, and two at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, read_png, png)

    async def ask(self, probe: DrawingSubmitted, models: Collection[str]) -> Asked:
        """The answers of ``models``, as far as they come in time.

        Raises:
            Problem: If too much is under way, or the log does not take the question.
        """
        if len(self._open) >= MAX_OPEN:
            headers = {"Retry-After": "1"}
            raise Problem(503, "Busy", f"{MAX_OPEN} predictions are under way: ask again in a second", headers)
        asked = self._open[probe.drawing_id] = Asked(set(models))
        kept = asyncio.wrap_future(self._bus.publish(probe))
        kept.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, so asyncio is not worried
        try:
            async with asyncio.timeout(self._patience_s):
                await asyncio.shield(kept)
                await asked.done.wait()
        except TimeoutError:
            if not kept.done():
                raise Problem(503, "Unavailable", "the log did not take the question: ask again in some seconds") from None
        except RuntimeError as failure:
            raise Problem(503, "Unavailable", f"the log refuses questions ({failure}): ask again in some seconds") from failure
        finally:
            del self._open[probe.drawing_id]
        return asked


def chosen(wish: str | Sequence[str], board: Board) -> tuple[list[str], dict[str, str]]:
    """The models that are wished for, in order, and of those the ones that cannot be asked, with why.

    Raises:
        Problem: If one of them is not there.
    """
    if wish == CHAMPION:  # a bandit knows players, and an app is none
        wish = [BLEND if board.policy.lead == "bandit" else board.policy.lead]
    elif wish == ALL:
        wish = [model for model in board.known() if board.part(model) == "shown"]
    names = list(dict.fromkeys([wish] if isinstance(wish, str) else wish))
    unknown = [name for name in names if name not in board.known()]
    if unknown:
        told = ", ".join(repr(name[:40]) for name in unknown)
        raise Problem(422, "Unknown model", f"no model {told}: ask one of {', '.join(MODELS)}, or {CHAMPION}, or {ALL}")
    absent = {}
    for name in names:
        if board.part(name) != "shown":
            absent[name] = f"the policy does not show it (its part is {board.part(name)})"
        elif (why := board.absence(name)) is not None:
            absent[name] = why
    return names, absent


# --- the route ---------------------------------------------------------------------------------------------------------


async def _body(request: Request) -> bytes:
    """The request's body.

    Raises:
        Problem: If it is over `MAX_BODY`; it is not read to its end then.
    """
    too_large = Problem(413, "Too large", f"a request has at most {MAX_BODY} bytes: send a smaller picture")
    given = request.headers.get("content-length", "")
    if given.isdigit() and int(given) > MAX_BODY:
        raise too_large
    body = bytearray()
    stream: AsyncIterator[bytes] = request.stream()
    async for part in stream:
        body += part
        if len(body) > MAX_BODY:
            raise too_large
    return bytes(body)


def _question(body: bytes) -> PredictRequest:
    try:
        value = orjson.loads(body)
    except ValueError as wrong:
        raise Problem(400, "Not JSON", f"the body is no JSON ({str(wrong)[:80]}): send one of the forms of /docs") from None
    if not isinstance(value, dict):
        raise Problem(400, "Not JSON", 'the body is a JSON object with "strokes", "image" or "png"')
    try:
        return PredictRequest.model_validate(value)
    except ValidationError as wrong:
        errors = wrong.errors(include_url=False, include_input=False, include_context=False)
        told = "; ".join(f"{'.'.join(str(part)[:30] for part in e['loc'])}: {e['msg'][:160]}".lstrip(": ") for e in errors[:2])
        raise Problem(422, "Not understood", told.replace("Value error, ", "")) from None


def _pixels(image: list[list[float]] | list[float]) -> NDArray[np.uint8]:
    sizes = {len(row) for row in image if isinstance(row, list)}
    if (sizes or {SIDE}) != {SIDE} or len(image) != (SIDE if sizes else SIDE * SIDE):
        raise Problem(422, "Not understood", 'image: 28 rows of 28 numbers, or 784 numbers; for other sizes send "png"')
    pixels = np.array(image, np.float64).reshape(SIDE, SIDE)
    return np.rint(pixels * (255 if pixels.max() <= 1 else 1)).astype(np.uint8)


def _decoded(png: str) -> bytes:
    head, comma, tail = png.partition(",")
    if comma and not head.lower().startswith("data:image/png"):
        raise Problem(422, "Not understood", "png: a PNG in base64, or a data URL that begins with data:image/png;base64,")
    try:
        return base64.b64decode("".join((tail if comma else png).split()), validate=True)
    except (binascii.Error, ValueError):
        raise Problem(422, "Not understood", "png: not base64; encode the file's bytes, with padding") from None


def predict_router(
    settings: Settings, board: Board, predictor: Predictor, meters: Meters, origins: Collection[str]
) -> APIRouter:
    """The route for apps.

    Args:
        settings: With the keys.
        board: Knows the models.
        predictor: Asks them.
        meters: Counts answers by status.
        origins: The pages, besides the game's own, that may ask from a browser.

    Raises:
        ValueError: If the setting of the keys is not as it should be.
    """
    routes = APIRouter()
    keys = Keys(settings.api_keys, settings.predictions_per_minute, time.monotonic())

    def let_in(request: Request) -> tuple[str, Bucket]:
        """The app that asks, and its bucket. Raises 401, 403, 503 and 429."""
        if not keys:
            raise Problem(503, "No keys", "no API key is set: `gamenight up` makes one, or set GAMENIGHT_API_KEYS to name:key")
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        key = request.headers.get("x-api-key") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if not key:
            say = {"WWW-Authenticate": "Bearer"}
            raise Problem(
                401, "No key", "say who asks: X-API-Key: <key>; it is in .gamenight/secrets/api_keys, after app:", say
            )
        app = keys.app(key)
        if app is None:
            raise Problem(403, "Wrong key", "nobody has this API key: it is in .gamenight/secrets/api_keys, after app:")
        bucket = keys.bucket(app)
        wait_s = bucket.take(time.monotonic())
        if wait_s:
            detail = f"over {bucket.limit} predictions a minute: ask again in {wait_s:.1f} s"
            raise Problem(429, "Too many", detail, bucket.headers(wait_s))
        return app, bucket

    async def predict(request: Request, app: str, began: float) -> Prediction:
        body = await _body(request)
        drawing: dict[str, Any] = {"strokes": [], "width": float(SIDE), "height": float(SIDE)}
        raster, dark = None, None
        try:
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "image/png":
                wish: str | list[str] = (request.query_params.get("models") or CHAMPION).split(",")
                wish = wish[0] if len(wish) == 1 else wish
                raster, dark = await predictor.read(body)
            else:
                question = _question(body)
                wish = question.models
                if question.strokes is not None:
                    drawing["strokes"] = question.strokes
                    drawing |= {"width": question.width or drawing["width"], "height": question.height or drawing["height"]}
                elif question.image is not None:
                    drawn, dark = ink(_pixels(question.image))
                    raster = framed(drawn)
                else:
                    raster, dark = await predictor.read(_decoded(question.png or ""))
        except (BadPicture, DrawingError) as wrong:
            raise Problem(422, "Not understood", str(wrong)) from wrong
        names, absent = chosen(wish, board)
        asked = [name for name in names if name not in absent]
        heard = Asked(set())
        drawing_id = uuid4()
        if asked:
            probe = DrawingSubmitted(
                drawing_id=drawing_id,
                player_id=f"app-{app}",
                final=False,
                probe=True,
                raster=None if raster is None else raster.tobytes(),
                models=None if BLEND in asked else asked,  # everyone is made of everybody
                **drawing,
            )
            heard = await predictor.ask(probe, asked)
        silent = dict.fromkeys(heard.waiting, "it did not answer in time") | heard.misses | absent
        if not heard.answers:
            why = "; ".join(f"{name}: {silent[name]}" for name in names)
            late = bool(heard.waiting)
            detail = f"no answer of {why}: ask again, or ask other models"
            raise Problem(504 if late else 503, "No answer", detail, {"Retry-After": "1"}, missing=silent)
        first = heard.answers[next(name for name in names if name in heard.answers)]
        said: dict[str, ModelPrediction | NoPrediction] = {
            name: _said(heard.answers[name]) if name in heard.answers else NoPrediction(error=silent[name]) for name in names
        }
        return Prediction(
            **_said(first).model_dump(),
            model=first.model,
            models=said,
            left_out=dict(heard.answers[BLEND].left_out) if BLEND in heard.answers else {},
            ink=None if dark is None else "dark" if dark else "light",
            ms=round((time.perf_counter() - began) * 1000, 2),
            drawing_id=drawing_id,
        )

    def cors(request: Request) -> dict[str, str]:
        origin = request.headers.get("origin")
        if origin is None or origin not in origins:
            return {"Vary": "Origin"}
        exposed = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After"
        return {"Vary": "Origin", "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": exposed}

    @routes.post(
        PATH,
        tags=["apps"],
        response_model=Prediction,
        responses=_ANSWERS,
        openapi_extra=_OPENAPI,
        dependencies=[
            Depends(APIKeyHeader(name="X-API-Key", auto_error=False)),
            Depends(HTTPBearer(auto_error=False, description="the operators' token; of an app, its key")),
        ],
    )
    async def predict_route(request: Request) -> Response:
        """What digit is it? Give a drawing as strokes, as 28 x 28 numbers or as a PNG; the models that you name answer."""
        began = time.perf_counter()
        headers = cors(request)
        try:
            app, bucket = let_in(request)
            headers |= bucket.headers()
            prediction = await predict(request, app, began)
        except Problem as problem:
            meters.predictions.labels(str(problem.status)).inc()
            body = orjson.dumps(problem.told)
            return Response(body, problem.status, headers | problem.headers, "application/problem+json")
        meters.predictions.labels("200").inc()
        return Response(orjson.dumps(prediction.model_dump()), 200, headers, "application/json")

    @routes.options(PATH, include_in_schema=False)
    async def preflight(request: Request) -> Response:
        headers = cors(request)
        if "Access-Control-Allow-Origin" not in headers:
            return Response("add this page's origin to GAMENIGHT_ALLOWED_ORIGINS", 403, headers, "text/plain")
        allowed = {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "authorization, content-type, x-api-key",
            "Access-Control-Max-Age": "600",
        }
        return Response(status_code=204, headers=headers | allowed)

    return routes


def _said(guess: GuessMade) -> ModelPrediction:
    return ModelPrediction(
        version=guess.version,
        digit=guess.label,
        confidence=guess.probabilities[guess.label],
        probabilities=guess.probabilities,
    )


# --- OpenAPI: an example of every form and every error -----------------------------------------------------------------

_BAR: Final = [[255 if 13 <= x < 15 and 4 <= y < 24 else 0 for x in range(SIDE)] for y in range(SIDE)]
_SEVEN: Final = [[[20, 20], [80, 20], [45, 100]]]


def _example(summary: str, value: Any) -> dict[str, Any]:
    return {"summary": summary, "value": value}


def _problem(what: str, *examples: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "model": ProblemTold,
        "description": what,
        "content": {
            "application/problem+json": {
                "examples": {
                    name: _example(title, {"type": "about:blank", "title": title, "detail": detail})
                    for name, title, detail in examples
                }
            }
        },
    }


_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The digit; and what each model that was asked says, or why it says nothing"},
    400: _problem("No JSON object", ("not_json", "Not JSON", 'the body is a JSON object with "strokes", "image" or "png"')),
    401: _problem("No key", ("no_key", "No key", "say who asks: X-API-Key: <key>")),
    403: _problem("A wrong key", ("wrong_key", "Wrong key", "nobody has this API key")),
    413: _problem("Too large a body", ("too_large", "Too large", f"a request has at most {MAX_BODY} bytes")),
    422: _problem(
        "A field that is wrong, an empty drawing, or an unknown model",
        ("two_forms", "Not understood", 'give exactly one of "strokes", "image" and "png", not strokes and png'),
        ("empty", "Not understood", "the image shows nothing: draw a digit, dark on light or light on dark"),
        ("unknown_model", "Unknown model", f"no model 'gpt': ask one of {', '.join(MODELS)}, or champion, or all"),
    ),
    429: _problem(
        "Over the key's predictions a minute; see Retry-After and RateLimit-*",
        ("too_many", "Too many", "over 600 predictions a minute: ask again in 0.1 s"),
    ),
    503: _problem(
        "Nobody can be asked now; see Retry-After",
        ("resting", "No answer", "no answer of xgboost: it rests: connection refused: ask again, or ask other models"),
        ("busy", "Busy", f"{MAX_OPEN} predictions are under way: ask again in a second"),
    ),
    504: _problem(
        "Nobody answered in time",
        ("late", "No answer", "no answer of everyone: it did not answer in time: ask again, or ask other models"),
    ),
}
_OPENAPI: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "models",
            "in": "query",
            "required": False,
            "description": "With image/png alone: a model, several with commas between, `champion` or `all`.",
            "schema": {"type": "string", "default": CHAMPION},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": PredictRequest.model_json_schema(ref_template="#/components/schemas/{model}"),
                "examples": {
                    "strokes": _example("A seven, drawn with a pen", {"strokes": _SEVEN}),
                    "several_models": _example("What several models say", {"strokes": _SEVEN, "models": ["everyone", "river"]}),
                    "all_models": _example("What all of them say", {"strokes": _SEVEN, "models": ALL}),
                    "image": _example("28 rows of 28 numbers: a one", {"image": _BAR}),
                    "png": _example("A PNG in base64", {"png": "data:image/png;base64,iVBORw0KGgo..."}),
                },
            },
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}
