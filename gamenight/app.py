"""Asks the game for the digit of a drawing, over `POST /api/predict` (way 1); docs/predict.md is its reference."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx
import orjson

from gamenight.conversation import PenPath
from gamenight.errors import GameNightRefused, GameNightUnreachable
from gamenight.sockets import HERE

_PATH: Final = "/api/predict"
_LATER: Final = (429, 503, 504)
"""Answers after which the same question may be asked again."""
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the game says of a drawing."""

    digit: int
    confidence: float
    """The probability of `digit`."""
    model: str
    """Who answered."""
    version: str
    probabilities: list[float]
    """Of each digit, 0 to 9."""
    models: dict[str, dict[str, Any]]
    """What each model said that was asked: digit, confidence, probabilities, version; or ``error``."""
    left_out: dict[str, str] | None
    """Why a model is not in `everyone`, by model."""
    ms: float
    """How long the game took, in milliseconds."""


class _Question:
    """A request, and what its answers mean; without a connection."""

    def __init__(
        self,
        strokes: Sequence[PenPath] | None,
        image: Any,
        png: bytes | str | Path | None,
        models: str | Sequence[str] | None,
        key: str,
        patience_s: float,
    ) -> None:
        if sum(given is not None for given in (strokes, image, png)) != 1:
            raise ValueError("give one of strokes, image and png")
        if not (key.isascii() and key.isprintable()):
            raise GameNightRefused("401", "this is no key of the game: it has other characters")
        headers = {"X-API-Key": key}
        if png is not None:
            content = png if isinstance(png, bytes) else Path(png).read_bytes()
            asked = {} if models is None else {"models": models if isinstance(models, str) else ",".join(models)}
            self.request: dict[str, Any] = {
                "content": content,
                "params": asked,
                "headers": headers | {"Content-Type": "image/png"},
            }
        else:
            body: dict[str, Any] = {} if models is None else {"models": models if isinstance(models, str) else list(models)}
            if strokes is not None:
                body["strokes"] = [[[float(value) for value in point[:2]] for point in stroke] for stroke in strokes]
            else:
                body["image"] = image.tolist() if hasattr(image, "tolist") else image
            content = orjson.dumps(body)
            self.request = {"content": content, "headers": headers | {"Content-Type": "application/json"}}
        self._until = time.monotonic() + patience_s

    def read(self, response: httpx.Response) -> Answer | float:
        """Return the answer, or in how many seconds to ask again.

        Raises:
            GameNightRefused: If the question is refused, or may not be asked again in time; or if no game has answered.
        """
        if response.status_code == httpx.codes.OK:
            try:
                told = response.json()
                return Answer(**{name: told[name] for name in Answer.__dataclass_fields__})
            except (ValueError, KeyError, TypeError):
                raise GameNightRefused("200", f"what answers at {response.url} is no game") from None
        wait_s = _wait_s(response) if response.status_code in _LATER else None
        if wait_s is not None and time.monotonic() + wait_s < self._until:
            return wait_s
        raise GameNightRefused(str(response.status_code), _detail(response), wait_s)


def _wait_s(response: httpx.Response) -> float:
    """Return in how many seconds to ask again; a proxy may say it as a date, and then it is soon."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", 1.0)))
    except ValueError:
        return 1.0


def _detail(response: httpx.Response) -> str:
    try:
        told = response.json()
    except ValueError:
        return response.text[:200] or response.reason_phrase
    return str(told.get("detail", told)) if isinstance(told, Mapping) else str(told)


class App:
    """An app that asks for digits; use it in a ``with``, or `close` it."""

    def __init__(self, key: str, url: str = HERE, *, patience_s: float = 10.0) -> None:
        """Keep a connection for all questions; it is opened with the first.

        Args:
            key: The app's key.
            url: The address of the game.
            patience_s: How long a question is asked again while the game is busy, in seconds.
        """
        self._key, self._url, self._patience_s = key, url, patience_s
        self._http = httpx.Client(base_url=str(url), timeout=_TIMEOUT_S, trust_env=False)

    def predict(
        self,
        strokes: Sequence[PenPath] | None = None,
        *,
        image: Any = None,
        png: bytes | str | Path | None = None,
        models: str | Sequence[str] | None = None,
    ) -> Answer:
        """Return the digit of a drawing.

        Args:
            strokes: Pen paths, lists of (x, y); or give one of the next two.
            image: 28 x 28 numbers, nested or in a row, 0 to 255 or 0 to 1; or an array.
            png: A PNG's bytes, or the path of its file.
            models: Who is asked: a name, several, "everyone", "all"; None: who players are shown first.

        Raises:
            GameNightRefused: If the key is wrong, there is no such model, nothing is drawn, or the game is busy for long.
            GameNightUnreachable: If no game answers.
        """
        question = _Question(strokes, image, png, models, self._key, self._patience_s)
        while True:
            try:
                found = question.read(self._http.post(_PATH, **question.request))
            except httpx.TransportError as wrong:
                raise GameNightUnreachable(self._url, wrong) from wrong
            if isinstance(found, Answer):
                return found
            time.sleep(found)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return this app."""
        return self

    def __exit__(self, *ended: object) -> None:
        """Close the connection."""
        self.close()


class AsyncApp:
    """The same as `App` for asyncio: ``async with AsyncApp(key) as app: await app.predict(...)``."""

    def __init__(self, key: str, url: str = HERE, *, patience_s: float = 10.0) -> None:
        """Keep a connection for all questions, see `App`."""
        self._key, self._url, self._patience_s = key, url, patience_s
        self._http = httpx.AsyncClient(base_url=str(url), timeout=_TIMEOUT_S, trust_env=False)

    async def predict(
        self,
        strokes: Sequence[PenPath] | None = None,
        *,
        image: Any = None,
        png: bytes | str | Path | None = None,
        models: str | Sequence[str] | None = None,
    ) -> Answer:
        """Return the digit of a drawing, see `App.predict`."""
        question = _Question(strokes, image, png, models, self._key, self._patience_s)
        while True:
            try:
                found = question.read(await self._http.post(_PATH, **question.request))
            except httpx.TransportError as wrong:
                raise GameNightUnreachable(self._url, wrong) from wrong
            if isinstance(found, Answer):
                return found
            await asyncio.sleep(found)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return this app."""
        return self

    async def __aexit__(self, *ended: object) -> None:
        """Close the connection."""
        await self.aclose()
