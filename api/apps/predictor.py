"""Makes predictions for apps: a drawing in, a digit out (way 1). App developers need no machine learning for this.

A request goes the way of a player's drawing: over the bus, as a probe, which is answered like a drawing and never scored or
learned from; its answers come back through `api.relay`. Nothing is kept: a request that is sent twice is answered twice.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from api.apps.pictures import BadPicture, read_png
from api.apps.predict_docs import unknown_model
from api.apps.predict_request import ALL, CHAMPION, MAX_NAMES, PredictRequest, Problem, decoded, not_understood, pixels
from api.apps.predict_response import Prediction
from api.folds.model_board import ModelBoard
from api.probes import ProbeAnswers, Probes
from contracts.drawing import SIDE, DrawingError, framed, ink
from contracts.events import BLEND, DrawingSubmitted

MAX_OPEN: Final = 64
"""How many predictions may be under way at once, counted from before the body is read; a further one is refused with 503."""
SLACK_S: Final = 0.5
"""How much longer than a drawing's budget a prediction waits, in seconds."""


class Predictor:
    """Makes predictions by asking the models; it lives on one event loop."""

    def __init__(self, probes: Probes, board: ModelBoard, patience_s: float) -> None:
        """Keep the parts: ``probes`` asks the models that ``board`` knows, and answers have ``patience_s`` seconds to come."""
        self._probes = probes
        self._board = board
        self._patience_s = patience_s
        self._places = 0
        self._thread = ThreadPoolExecutor(2, thread_name_prefix="png")

    def close(self) -> None:
        """Stop the threads."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place among the predictions under way, before the body is read, so that no bodies queue.

        Raises:
            Problem: If there is no free place.
        """
        if self._places >= MAX_OPEN:
            headers = {"Retry-After": "1"}
            raise Problem(503, "Busy", f"{MAX_OPEN} predictions are under way: ask again in a second", headers)
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    async def predict_png(self, app: str, png: bytes, models: str | list[str]) -> Prediction:
        """Ask ``models`` about a PNG.

        Raises:
            Problem: If the PNG cannot be read, or no model answered.
        """
        raster, dark = await self._read(png)
        return await self._predict(app, models, dark, raster=raster)

    async def predict(self, app: str, request: PredictRequest) -> Prediction:
        """Ask the models that a request names about its drawing.

        Args:
            app: The name of the app that asks.
            request: The request, as `predict_request.read_request` returned it.

        Raises:
            Problem: If the drawing cannot be read, or no model answered.
        """
        if request.png is not None:
            return await self.predict_png(app, decoded(request.png), request.models)
        if request.strokes is not None:
            width, height = request.width or float(SIDE), request.height or float(SIDE)
            return await self._predict(app, request.models, None, strokes=request.strokes, width=width, height=height)
        assert request.image is not None  # the request has exactly one of the three forms
        try:
            drawn, dark = ink(pixels(request.image))
            raster = framed(drawn)
        except DrawingError as wrong:
            raise not_understood(str(wrong)) from wrong
        return await self._predict(app, request.models, dark, raster=raster)

    async def _read(self, png: bytes) -> tuple[NDArray[np.uint8], bool]:
        """Read a PNG as `read_png` does, off the event loop, and two at a time."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read_png, png)
        except (BadPicture, DrawingError) as wrong:
            raise not_understood(str(wrong)) from wrong

    async def _predict(
        self, app: str, models: str | list[str], dark: bool | None, raster: NDArray[np.uint8] | None = None, **drawing: Any
    ) -> Prediction:
        names, absent = chosen(models, self._board)
        asked = [name for name in names if name not in absent]
        probe = DrawingSubmitted(
            drawing_id=uuid4(),
            player_id=f"app-{app}",
            final=False,
            probe=True,
            raster=None if raster is None else raster.tobytes(),
            models=None if BLEND in asked else asked,  # the blend needs every model's guess
            **{"strokes": [], "width": float(SIDE), "height": float(SIDE)} | drawing,
        )
        heard = await self._ask(probe, asked) if asked else ProbeAnswers(frozenset())
        silent = dict.fromkeys(heard.silent, "it did not answer in time") | heard.misses | absent
        if not any(name in heard.guesses for name in names):
            why = "; ".join(f"{name}: {silent[name]}" for name in names)
            detail = f"no answer of {why}: ask again, or ask other models"
            missing = {name: silent[name] for name in names}
            raise Problem(504 if heard.silent else 503, "No answer", detail, {"Retry-After": "1"}, missing=missing)
        return Prediction.of(names, heard.guesses, silent, probe.drawing_id, dark)

    async def _ask(self, probe: DrawingSubmitted, models: Collection[str]) -> ProbeAnswers:
        """Gather the answers of ``models`` that come in time.

        Raises:
            Problem: If the log does not take the drawing.
        """
        with self._probes.ask(probe, models) as published:
            try:
                async with asyncio.timeout(self._patience_s):
                    await asyncio.shield(published.kept)
                    await published.complete()
            except TimeoutError:
                if not published.kept.done():
                    late = "the log did not take the drawing: ask again in some seconds"
                    raise Problem(503, "Unavailable", late) from None
            except RuntimeError as failure:
                refused = f"the log refuses drawings ({failure}): ask again in some seconds"
                raise Problem(503, "Unavailable", refused) from failure
            return published.answers


def chosen(wish: str | Sequence[str], board: ModelBoard) -> tuple[list[str], dict[str, str]]:
    """Return the models that the request names, in order, and why some of them cannot be asked.

    Raises:
        Problem: If one of them does not exist.
    """
    if not isinstance(wish, str) and len(wish) == 1:
        wish = wish[0]
    if not isinstance(wish, str) and {CHAMPION, ALL} & set(wish):
        raise not_understood(f'models: "{CHAMPION}" and "{ALL}" stand alone, not in a list with others')
    if wish == CHAMPION:  # a bandit chooses for players, and an app is no player
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
            absent[name] = f"the policy does not show this model (its part is {board.part(name)})"
        elif (why := board.absence(name)) is not None:
            absent[name] = why
    return names, absent
