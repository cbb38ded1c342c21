"""Keeps a drawing that the router has taken from the bus, and makes its raster (way 1, ANSWER)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.drawing import SIDE, rasterize_all
from contracts.events import DrawingSubmitted
from contracts.ports import Record
from streams.local_models import RasterizedDrawing


@dataclass(eq=False, slots=True)
class Taken:
    """A drawing that the router has taken, until its round ends."""

    drawing: DrawingSubmitted
    record: Record
    acks: list[Callable[[], object]]
    """The acknowledgements, one for each time that the drawing came."""
    bus_in_ms: float
    raster: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    read_ms: float = 0.0
    read_at: float = 0.0

    @property
    def rasterized(self) -> RasterizedDrawing:
        """The drawing as the models in this process need it."""
        return RasterizedDrawing(self.drawing, self.record.partition, self.raster, self.read_at)


def draw(taken: Sequence[Taken], clock: Callable[[], float]) -> dict[Taken, Exception]:
    """Make the rasters of all drawings at once; return those that fail, and why. ``clock`` is monotonic, in seconds."""
    start = clock()
    bad: dict[Taken, Exception] = {}
    drawn = [one for one in taken if one.drawing.raster is None]
    try:
        rasters = rasterize_all([one.drawing.strokes for one in drawn])
    except Exception:  # noqa: BLE001 one bad drawing stops no other: find it
        rasters = np.zeros((len(drawn), SIDE, SIDE), np.uint8)
        for place, one in enumerate(drawn):
            try:
                rasters[place] = rasterize_all([one.drawing.strokes])[0]
            except Exception as wrong:  # noqa: BLE001 it is the one
                bad[one] = wrong
    for one, raster in zip(drawn, rasters.reshape(-1, SIDE * SIDE), strict=True):
        one.raster = raster
    done = clock()
    for one in taken:
        if one.drawing.raster is not None:
            one.raster = np.frombuffer(one.drawing.raster, np.uint8)
        one.read_ms, one.read_at = (done - start) * 1000, done
    return bad
