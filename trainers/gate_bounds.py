"""Finds what a version loses though it may be better over all: a digit, a device, calibration, speed, size (REBUILD). Pure.

A mean gain hides who pays for it: sevens may be guessed worse for all that is won on ones. So each digit and each device with
enough drawings is compared by itself, on drawings of people whom neither version has seen, person by person as everything
here; and so is the calibration error. A loss is a reason to refuse if it is more than the operator bears, beyond chance. What
chance may give is only told. A single person is no such slice: a test by people says nothing of one, and for how many people
a version is worse is told by the gate.

The more one compares, the more is worse by luck. The chance that is allowed the k-th version beside one champion
(`trainers.gate.spent`) is therefore divided by the number of comparisons: so however often one rebuilds, the chance that a
version that loses nothing of this is ever refused for any of it is at most `trainers.gate.LIKELY`.

How long an answer takes and how large an artifact is are measured, and no sample of anything: they are compared as they are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np

from contracts.events import DIGITS
from contracts.paired import People, needed, rounded
from trainers.marks import Marks, Pictures
from trainers.split import DEVICES, UNKNOWN

LEAST_DRAWINGS: Final = 30
"""Of fewer drawings nothing is said."""
TOLD: Final = 3
"""So many slices are named at most, the worst first."""
LEAST_PLAN: Final = 0.01
"""A plan of how many more drawings it takes is for an excess of a point at least."""
LEAST_KB: Final = 1.0
"""A smaller artifact counts as so large."""


@dataclass(frozen=True, slots=True)
class LossBounds:
    """What a version may lose against the champion; infinity: anything, and nothing is compared."""

    slice_loss: float = 0.03
    """On any digit and any device, in shares: three points."""
    calibration_loss: float = 0.03
    """By so much the expected calibration error may be greater."""
    slower_times: float = 3.0
    """So many times as long as the champion's may an answer take, and ..."""
    slower_ms: float = 5.0
    """... by so many milliseconds longer in any case."""
    larger_times: float = 10.0
    """So many times as large as the champion's may an artifact be."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What a version loses, in sentences."""

    beyond: tuple[str, ...]
    """More than is borne, beyond chance: each a reason to refuse."""
    by_chance: tuple[str, ...]
    """More than is borne, and chance may give it."""


@dataclass(frozen=True, slots=True)
class _Slice:
    name: str
    people: People
    won: int
    lost: int

    @property
    def drawings(self) -> int:
        return int(self.people.drawings.sum())


def losses_of(
    bounds: LossBounds, candidate: Marks, champion: Marks, pictures: Pictures, numbers: Mapping[str, float], chance: float
) -> Lost:
    """Return what a candidate loses beside the champion.

    Args:
        bounds: What may be lost.
        candidate: What the candidate got right.
        champion: What the champion did.
        pictures: The held-back drawings; those that are held back for their time say nothing here.
        numbers: How long an answer takes and how large the artifact is, of both, as ModelPublished has them; what is missing
            is not compared.
        chance: With which probability a version that loses nothing may be refused for any of its drawings.
    """
    slices = list(_slices(candidate, champion, pictures)) if np.isfinite(bounds.slice_loss) else []
    people, errors = _calibration(candidate, champion, pictures) if np.isfinite(bounds.calibration_loss) else (None, (0.0, 0.0))
    each = chance / max(1, len(slices) + (people is not None))
    beyond, by_chance = _worse_slices(slices, bounds.slice_loss, each)
    if people is not None and people.difference > bounds.calibration_loss:
        told = f"calibration error {errors[0]:.1%} against {errors[1]:.1%} on {int(people.drawings.sum())} drawings"
        if people.chance(bounds.calibration_loss) <= each:
            more = people.interval(2 * each)[0] - bounds.calibration_loss
            beyond.append(
                f"{told} of {len(people)} people, worse by more than the {_points(bounds.calibration_loss)} that are borne,"
                f" beyond chance; about {max(0.0, errors[0] - more):.1%} would be borne"
            )
        else:
            by_chance.append(f"{told}, which chance may give")
    return Lost((*beyond, *_costs(bounds, numbers)), tuple(by_chance))


def _slices(candidate: Marks, champion: Marks, pictures: Pictures) -> Iterator[_Slice]:
    """Yield each digit and each device with enough drawings, but none that all drawings are of."""
    old = ~pictures.newest
    masks = [(f"{digit}s", pictures.labels == digit) for digit in range(DIGITS)]
    if pictures.devices is not None:
        masks += [(_drawn_by(device), pictures.devices == place) for place, device in enumerate(DEVICES)]
    for name, mask in masks:
        where = mask & old
        if LEAST_DRAWINGS <= where.sum() < old.sum():
            now, before = candidate.held_back[where], champion.held_back[where]
            people = People.of(pictures.people[where], before, now)
            yield _Slice(name, people, int((now & ~before).sum()), int((before & ~now).sum()))


def _drawn_by(device: str) -> str:
    return "drawings by keyboard or an unknown device" if device == UNKNOWN else f"drawings by {device}"


def _worse_slices(slices: list[_Slice], borne: float, each: float) -> tuple[list[str], list[str]]:
    beyond, by_chance = list[str](), list[str]()
    worse = sorted((one for one in slices if one.people.difference < -borne), key=lambda one: one.people.difference)
    for one in worse:
        told = (
            f"{one.name} {one.people.difference * 100:+.1f} points on {one.drawings} drawings of {len(one.people)} people"
            f" ({one.won} won, {one.lost} lost)"
        )
        if one.people.chance(-borne, sign=-1) <= each:
            more = ceil((-borne - one.people.interval(2 * each)[1]) * one.drawings)
            beyond.append(
                f"{told}, worse by more than the {_points(borne)} that are borne, beyond chance; with about {max(1, more)} more"
                " of them right it would be borne"
            )
        else:
            size = needed(one.people, max(LEAST_PLAN, -one.people.difference - borne), each)
            more = rounded(max(1, size.drawings - one.drawings))
            by_chance.append(f"{told}, which chance may give: about {more:,} more of them would tell")
    return _first(beyond), _first(by_chance)


def _first(told: list[str]) -> list[str]:
    left = len(told) - TOLD
    return [*told[:TOLD], f"and so for {left} other slice{'s' * (left > 1)}"] if left > 0 else told


def _calibration(candidate: Marks, champion: Marks, pictures: Pictures) -> tuple[People | None, tuple[float, float]]:
    """Return by how much more each person's drawings add to the calibration error, and both errors; None: nobody can tell."""
    old = ~pictures.newest
    now, before = candidate.miscalibration(old), champion.miscalibration(old)
    if now is None or before is None or old.sum() < LEAST_DRAWINGS:
        return None, (0.0, 0.0)
    return People.measured(pictures.people[old], before, now), (max(0.0, float(now.mean())), max(0.0, float(before.mean())))


def _costs(bounds: LossBounds, numbers: Mapping[str, float]) -> Iterator[str]:
    took, before = numbers.get("answer_ms"), numbers.get("champion_answer_ms")
    if took is not None and before is not None:
        most = max(before * bounds.slower_times, before + bounds.slower_ms)
        if took > most:
            yield f"an answer takes {took:.3g} ms, the champion's {before:.3g}: at most {most:.3g} are borne"
    large, champions = numbers.get("artifact_kb"), numbers.get("champion_artifact_kb")
    if large is not None and champions is not None:
        most = max(LEAST_KB, champions) * bounds.larger_times
        if large > most:
            yield f"its artifact has {large:,.0f} KB, the champion's {champions:,.0f}: at most {most:,.0f} are borne"


def _points(share: float) -> str:
    return f"{share * 100:g} point{'s' * (share != 0.01)}"
