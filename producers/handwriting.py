"""Reads the handwriting of the 30 people of data/pen, and puts it on canvases (ways 1 and 2)."""

import gzip
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

PEN_DATA: Final = Path(__file__).parent.parent / "data" / "pen" / "pendigits-30-writers.jsonl.gz"

_MS_A_POINT = 12.0

_PEN_LIFT_MS = 180.0


@dataclass(frozen=True, slots=True)
class Written:
    """A digit that somebody once wrote: strokes of x, y pairs in 0..1000, y downwards."""

    writer: str
    label: int
    strokes: tuple[tuple[tuple[float, float], ...], ...]


def handwriting(path: Path = PEN_DATA) -> dict[str, list[Written]]:
    """Read what each writer wrote, in the order of the file."""
    writers: dict[str, list[Written]] = {}
    with gzip.open(path) as lines:
        for line in lines:
            entry = orjson.loads(line)
            strokes = tuple(tuple(zip(flat[0::2], flat[1::2], strict=True)) for flat in entry["strokes"])
            writers.setdefault(entry["writer"], []).append(Written(entry["writer"], entry["label"], strokes))
    return writers


@dataclass(frozen=True, slots=True)
class Inked:
    """A digit on a canvas, as the browser would send it."""

    strokes: list[list[list[float]]]
    """Points of x, y in CSS pixels and t in ms since the pen came down."""
    width: int
    height: int

    @property
    def duration_ms(self) -> float:
        """Return the milliseconds from pen down to pen up."""
        return self.strokes[-1][-1][2]

    def until(self, fraction: float) -> list[list[list[float]]]:
        """Return the strokes as they were when this share of the points was drawn; they have at least one point."""
        left = max(1, round(fraction * sum(map(len, self.strokes))))
        begun = []
        for stroke in self.strokes:
            begun.append(stroke[:left])
            left -= len(begun[-1])
            if left <= 0:
                break
        return begun


def ink(written: Written, chance: random.Random) -> Inked:
    """Write a digit once more: on a canvas of another size, elsewhere, a little slanted and shaky, and with times."""
    width, height = chance.randint(280, 960), chance.randint(280, 720)
    size = min(width, height) * chance.uniform(0.35, 0.8)
    angle, slant = chance.gauss(0, 0.03), chance.gauss(0, 0.03)
    wide, high = size * chance.uniform(0.95, 1.05) / 1000, size * chance.uniform(0.95, 1.05) / 1000
    left, top = chance.uniform(0, width - size), chance.uniform(0, height - size)
    shake = size * 0.003
    sin, cos = math.sin(angle), math.cos(angle)
    tempo = chance.uniform(0.7, 1.4)
    clock = 0.0
    strokes = []
    for stroke in written.strokes:
        points = []
        for raw_x, raw_y in stroke:
            x, y = (raw_x - 500 + slant * (raw_y - 500)) * wide, (raw_y - 500) * high
            points.append(
                [
                    round(min(max(left + size / 2 + cos * x - sin * y + chance.gauss(0, shake), 0.0), width), 1),
                    round(min(max(top + size / 2 + sin * x + cos * y + chance.gauss(0, shake), 0.0), height), 1),
                    round(clock, 1),
                ]
            )
            clock += _MS_A_POINT * tempo
        clock += _PEN_LIFT_MS * tempo
        strokes.append(points)
    return Inked(strokes, width, height)
