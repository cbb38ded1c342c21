"""For app developers: a drawing in, a digit out, over HTTP (way 1). No machine learning to be known.

A prediction takes the players' road: it goes over the bus as a probe, which is answered like any drawing and never scored nor
learned from, and its answers come back through `api.relay`. Nothing is kept: asking twice is asking two times.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID, uuid4

import numpy as np
import orjson
import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from fastapi.security import APIKeyHeader, HTTPBearer
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from api.apps.keyring import Keyring
from api.apps.keys import Tries, app_of, named
from api.apps.pictures import BadPicture, read_png
from api.apps.predict_docs import OPENAPI, WHERE, answers, unknown_model
from api.apps.predict_request import ALL, CHAMPION, MAX_BODY, MAX_NAMES, Problem, decoded, not_understood, pixels, question
from api.folds.model_board import Board
from api.limits import Bucket, Buckets, address_of
from api.metrics import Meters
from contracts.drawing import SIDE, DrawingError, framed, ink
from contracts.events import BLEND, DrawingSubmitted, GuessMade, GuessMissed
from contracts.ports import Bus
from contracts.settings import Settings

MAX_OPEN: Final = 64
"""Predictions that may be under way at once, from before a body is read; one more is refused with 503."""
BODY_S: Final = 10.0
"""How long an app may take to send its body, in seconds."""
SLACK_S: Final = 0.5
"""How much longer than a drawing's budget a prediction waits."""
PATH: Final = "/api/predict"

log = structlog.get_logger(__name__)


# --- the answer --------------------------------------------------------------------------------------------------------


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
        self._places = 0
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

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the predictions under way: taken before the body is read, so that no bodies queue.

        Raises:
            Problem: If there is none.
        """
        if self._places >= MAX_OPEN:
            headers = {"Retry-After": "1"}
            raise Problem(503, "Busy", f"{MAX_OPEN} predictions are under way: ask again in a second", headers)
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    async def read(self, png: bytes) -> tuple[NDArray[np.uint8], bool]:
        """See `read_png`; not on the event loop, and two at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, read_png, png)

    async def ask(self, probe: DrawingSubmitted, models: Collection[str]) -> Asked:
        """The answers of ``models``, as far as they come in time.

        Raises:
            Problem: If the log does not take the question.
        """
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
        wish = [BLEND if board.catalog.policy.lead == "bandit" else board.catalog.policy.lead]
    elif wish == ALL:
        wish = [model for model in board.known() if board.part(model) == "shown"]
    names = list(dict.fromkeys([wish] if isinstance(wish, str) else wish))
    if len(names) > MAX_NAMES:
        raise not_understood(f"models: {len(names)} names, at most {MAX_NAMES} go together")
    unknown = [name for name in names if name not in board.known()]
    if unknown:
        told = ", ".join(repr(name[:40]) for name in unknown)
        raise unknown_model(told, board.roster.names)
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
        Problem: If it is over `MAX_BODY`, and then it is not read to its end, or does not come in time.
    """
    too_large = Problem(413, "Too large", f"a request has at most {MAX_BODY} bytes: send a smaller picture")
    given = request.headers.get("content-length", "")
    if given.isdigit() and int(given) > MAX_BODY:
        raise too_large
    body = bytearray()
    stream: AsyncIterator[bytes] = request.stream()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in stream:
                body += part
                if len(body) > MAX_BODY:
                    raise too_large
    except TimeoutError:
        late = f"the body did not come within {BODY_S:.0f} s: send it at once"
        raise Problem(408, "Too slow", late, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "Gone", "the app went away in the middle of its body: ask again") from None
    return bytes(body)


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
    fixed, given = named(settings.api_keys), Keyring(settings.home)
    limit, tries = settings.predictions_per_minute, Tries()
    buckets = Buckets(max(1, limit))

    def let_in(request: Request) -> tuple[str, Bucket]:
        """The app that asks, and its bucket. Raises 401, 403, 503 and 429."""
        now, known = time.monotonic(), given.known() | fixed
        if limit < 1:
            raise Problem(503, "Switched off", f"GAMENIGHT_PREDICTIONS_PER_MINUTE is {limit}: apps get no predictions here")
        if not known:
            raise Problem(503, "No keys", "no API key is set: `gamenight keys add NAME` makes one, or set GAMENIGHT_API_KEYS")
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        key = request.headers.get("x-api-key") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if not key:
            say = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "No key", f"say who asks: X-API-Key: <key>; {WHERE}", say)
        app = app_of(key, known)
        if wait_s := tries.wait(address_of(request.client.host) if request.client else "", app, now):
            detail = f"too many wrong keys from this address: try again in {wait_s:.1f} s"
            raise Problem(429, "Too many tries", detail, {"Retry-After": str(math.ceil(wait_s))})
        if app is None:
            raise Problem(403, "Wrong key", f"nobody has this API key; {WHERE}")
        bucket = buckets.of(app, now)
        if wait_s := bucket.take(now):
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
                asks = question(body)
                wish = asks.models
                if asks.strokes is not None:
                    drawing["strokes"] = asks.strokes
                    drawing |= {"width": asks.width or drawing["width"], "height": asks.height or drawing["height"]}
                elif asks.image is not None:
                    drawn, dark = ink(pixels(asks.image))
                    raster = framed(drawn)
                else:
                    raster, dark = await predictor.read(decoded(asks.png or ""))
        except (BadPicture, DrawingError) as wrong:
            raise not_understood(str(wrong)) from wrong
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
        responses=answers(board.roster.names),
        openapi_extra=OPENAPI,
        max_body_size=1 << 40,  # `_body` has a limit of its own, and says so as all refusals here are said
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
            with predictor.place():
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
