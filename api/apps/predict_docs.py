"""Documents `POST /api/predict` for OpenAPI: an example of every form, of answers and of every error (way 1).

Tests send each example request, provoke each error and compare the text.
"""

from collections.abc import Iterable
from typing import Any, Final

from api.apps.predict_request import ALL, CHAMPION, MAX_BODY, PredictRequest, Problem, ProblemTold, not_understood
from contracts.drawing import SIDE

_BAR: Final = [[255 if 13 <= x < 15 and 4 <= y < 24 else 0 for x in range(SIDE)] for y in range(SIDE)]
_SEVEN: Final = [[[20, 20], [80, 20], [45, 100]]]
_PNG: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABwAAAAcAQAAAABaduI5AAAAUElEQVR42nXMMQ6CUBRFwfk3FtCxA1yKS3cplpSfDhL0WWjoaE51"
    "Mq1YA9fZ2yCbQyvLGF7CIDyF6fepmnu4iyI8xAd1VP9771PeiBCduPEFe+EVAC4w0S4AAAAASUVORK5CYII="
)
_SEVERAL: Final = {"png": _PNG, "models": ["everyone", "xgboost"]}
_EVERYONE: Final = {
    "version": "blend5+0",
    "digit": 7,
    "confidence": 0.980756,
    "probabilities": [0.001616, 0.006318, 0.001616, 0.001616, 0.001616, 0.001616, 0.001616, 0.980756, 0.001616, 0.001616],
}


def _example(summary: str, value: Any) -> dict[str, Any]:
    return {"summary": summary, "value": value}


def _answer(summary: str, **models: Any) -> dict[str, Any]:
    more: dict[str, Any] = {"left_out": {}, "ink": "dark", "ms": 14.2, "drawing_id": "0b6d2c1e-5b6f-4a53-9d0e-2f1f6c1f0a77"}
    return _example(summary, _EVERYONE | {"model": "everyone", "models": {"everyone": _EVERYONE} | models} | more)


def _problems(what: str, **examples: Problem) -> dict[str, Any]:
    told = {name: _example(str(problem.told["title"]), problem.told) for name, problem in examples.items()}
    return {"model": ProblemTold, "description": what, "content": {"application/problem+json": {"examples": told}}}


def _nobody(status: int, why: str, **missing: str) -> Problem:
    return Problem(status, "No answer", f"no answer of {why}: ask again, or ask other models", missing=missing)


WHERE: Final = (
    "one is in secrets/api_keys of the game's home (GAMENIGHT_HOME; else .gamenight), after app:,"
    " and `gamenight keys add NAME` makes another"
)
"""Tells where to find or make a key."""

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The digit, and the prediction of each model that was asked, or why it has none",
        "content": {
            "application/json": {
                "examples": {
                    "png": _answer("For a PNG"),
                    "several_models": _answer(
                        "Several models, one of which rests", xgboost={"error": "it rests: connection refused"}
                    ),
                }
            }
        },
    },
    400: _problems(
        "No JSON object", not_json=Problem(400, "Not JSON", 'the body is a JSON object with "strokes", "image" or "png"')
    ),
    401: _problems("No key", no_key=Problem(401, "No key", f"give the API key of your app: X-API-Key: <key>; {WHERE}")),
    403: _problems("A wrong key", wrong_key=Problem(403, "Wrong key", f"no app has this API key; {WHERE}")),
    408: _problems(
        "The body was not sent", too_slow=Problem(408, "Too slow", "the body did not come within 10 s: send it at once")
    ),
    413: _problems(
        "Too large a body",
        too_large=Problem(413, "Too large", f"a request has at most {MAX_BODY} bytes: send a smaller picture"),
    ),
    429: _problems(
        "The key's predictions of this minute are used up; see Retry-After and RateLimit-*",
        too_many=Problem(429, "Too many", "over 600 predictions a minute: ask again in 0.1 s"),
        too_many_tries=Problem(429, "Too many tries", "too many wrong keys from this address: try again in 1.7 s"),
    ),
    503: _problems(
        "No model can be asked now; see Retry-After",
        resting=_nobody(503, "xgboost: it rests: connection refused", xgboost="it rests: connection refused"),
        busy=Problem(503, "Busy", "64 predictions are under way: ask again in a second"),
    ),
    504: _problems(
        "No model answered in time",
        late=_nobody(504, "everyone: it did not answer in time", everyone="it did not answer in time"),
    ),
}


def unknown_model(told: str, models: Iterable[str]) -> Problem:
    """Return the problem of a request for a model that is not among ``models``."""
    return Problem(422, "Unknown model", f"no model {told}: ask one of {', '.join(models)}, or {CHAMPION}, or {ALL}")


def answers(models: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of every answer by its status, given the models that can be asked."""
    unreadable = _problems(
        "A field that is wrong, an empty drawing, or an unknown model",
        two_forms=not_understood('give exactly one of "strokes", "image" and "png", not strokes and png'),
        empty=not_understood("the image shows nothing: draw a digit, dark on light or light on dark"),
        unknown_model=unknown_model("'gpt'", models),
    )
    return dict(sorted({**_ANSWERS, 422: unreadable}.items(), key=lambda item: int(item[0])))


OPENAPI: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "models",
            "in": "query",
            "required": False,
            "description": "With image/png only: one model, several (by commas, or repeated), `champion` or `all`.",
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
                    "all_models": _example("The predictions of all models", {"strokes": _SEVEN, "models": ALL}),
                    "image": _example("28 rows of 28 numbers: a one", {"image": _BAR}),
                    "png": _example("A PNG in base64: a seven", {"png": _PNG}),
                    "several_models": _example("The predictions of several models", _SEVERAL),
                },
            },
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}
