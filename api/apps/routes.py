"""Serves `POST /api/predict`: checks the key, reads the request, and sends the prediction or a problem (way 1)."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api.apps.access import Access
from api.apps.predict_docs import OPENAPI, answers
from api.apps.predict_request import MAX_BODY, Problem, is_png, models_of_address, read_request
from api.apps.predict_response import Prediction
from api.apps.predictor import Predictor
from api.metrics import Metrics

BODY_S: Final = 10.0
"""How long an app may take to send its body, in seconds."""
PATH: Final = "/api/predict"
EXPOSED: Final = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After")
"""The headers that a page of another origin may read."""


def predict_router(
    access: Access, predictor: Predictor, metrics: Metrics, origins: Collection[str], models: Collection[str]
) -> APIRouter:
    """Build the route for apps.

    Args:
        access: Decides which app may ask.
        predictor: Asks the models.
        metrics: Counts answers by status.
        origins: The pages, besides the game's own, that may ask from a browser.
        models: The models that can be asked, for the documentation.
    """

    class CorsRoute(APIRoute):
        """The route with Starlette's CORS middleware around it, so that pages of other origins may ask."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            allowed = ("Authorization", "Content-Type", "X-API-Key")
            self._cors = CORSMiddleware(self._answer, origins, ("POST",), allowed, expose_headers=EXPOSED)

        async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["method"] == "POST":
                await super().handle(scope, receive, send)
                return
            problem = Problem(405, "Method not allowed", f"{PATH} is asked by POST: see /docs")
            await Response(orjson.dumps(problem.told), problem.status, {"Allow": "POST"}, "application/problem+json")(
                scope, receive, send
            )

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self._cors(scope, receive, send)

    routes = APIRouter(route_class=CorsRoute)

    @routes.post(
        PATH,
        tags=["apps"],
        response_model=Prediction,
        responses=answers(models),
        openapi_extra=OPENAPI,
        max_body_size=1 << 40,  # `_body` has a limit of its own, and refuses in the form of this route
        dependencies=[
            Depends(APIKeyHeader(name="X-API-Key", auto_error=False)),
            Depends(HTTPBearer(auto_error=False, description="the operators' token; for apps, the API key")),
        ],
    )
    async def predict_route(request: Request) -> Response:
        """Predict the digit of a drawing, given as strokes, as 28 x 28 numbers or as a PNG, with the models that you name."""
        began, headers = time.perf_counter(), {}
        try:
            caller = access.let_in(request)
            headers = caller.bucket.headers()
            with predictor.place():
                prediction = await _predict(predictor, caller.app, request)
        except Problem as problem:
            metrics.predictions.labels(str(problem.status)).inc()
            body = orjson.dumps(problem.told)
            return Response(body, problem.status, headers | problem.headers, "application/problem+json")
        metrics.predictions.labels("200").inc()
        told = prediction.model_dump() | {"ms": round((time.perf_counter() - began) * 1000, 2)}
        return Response(orjson.dumps(told), 200, headers, "application/json")

    return routes


async def _predict(predictor: Predictor, app: str, request: Request) -> Prediction:
    body = await _body(request)
    png = is_png(request.headers.get("content-type", ""), request.headers.get("content-encoding", ""))
    models = models_of_address(request.query_params.multi_items(), png)
    if png:
        return await predictor.predict_png(app, body, models)
    return await predictor.predict(app, read_request(body))


async def _body(request: Request) -> bytes:
    """Read the request's body.

    Raises:
        Problem: If the body is over `MAX_BODY`, when the rest is not read, or does not come in time.
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
        raise Problem(400, "Gone", "the connection was closed in the middle of the body: ask again") from None
    return bytes(body)
