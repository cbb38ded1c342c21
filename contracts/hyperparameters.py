"""Decides which hyperparameters a rebuild may be given, and lists the settings that a grid of them has. Pure."""

import itertools
from collections.abc import Mapping, Sequence

from contracts.events import MOST_TRIED
from contracts.roster import RosterEntry


def combinations(grid: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return all settings of a grid.

    >>> combinations({"eta": ["0.1", "0.3"], "rounds": ["40"]})
    [{'eta': '0.1', 'rounds': '40'}, {'eta': '0.3', 'rounds': '40'}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def words(settings: Mapping[str, str]) -> str:
    """Write settings as `gamenight retrain --set` takes them.

    >>> words({"max_depth": "6", "eta": "0.1"})
    'eta=0.1 max_depth=6'
    """
    return " ".join(f"{name}={value}" for name, value in sorted(settings.items()))


def against(
    entry: RosterEntry,
    given: Mapping[str, str],
    grid: Mapping[str, Sequence[str]],
    *,
    base: bool,
    warm: bool,
) -> tuple[str, tuple[str, ...]] | None:
    """Return what is wrong with a rebuild's hyperparameters, and where it is; None: nothing.

    Args:
        entry: The model.
        given: Hyperparameters in place of its image's own.
        grid: What is tried first.
        base: Whether it is trained on MNIST alone.
        warm: Whether training goes on from the version that answers.
    """
    for where, name, value in [
        *(("hyperparameters", name, value) for name, value in given.items()),
        *(("grid", name, value) for name, values in grid.items() for value in values),
    ]:
        if (why := _against_value(entry, name, value)) is not None:
            return why, (where, name)
    if twice := [name for name, values in grid.items() if name in given or len(set(values)) < len(values)]:
        return f"{twice[0]} has a value twice: give each value once, to be set or to be tried", ("grid", twice[0])
    if grid and not 2 <= (n := len(combinations(grid))) <= MOST_TRIED:
        return f"{n} setting{'s' * (n != 1)} to be tried: at least 2 and at most {MOST_TRIED} can be", ("grid",)
    if grid and warm:
        return "the version that answers knows the drawings that settings are compared by: try them without going on", ("warm",)
    if base and warm:
        return "what goes on from a version is not trained on MNIST alone: leave one of the two out", ("warm",)
    if warm and not entry.continues:
        return f"the image of {entry.model} cannot go on from a version: rebuild it in full", ("warm",)
    return None


def _against_value(entry: RosterEntry, name: str, value: str) -> str | None:
    if entry.takes and name not in entry.takes:
        return f"{entry.model} has no hyperparameter {name!r}: there is {', '.join(entry.takes)}"
    if name not in entry.ranges:
        return None
    least, most = entry.ranges[name]
    whole = isinstance(least, int) and isinstance(most, int)
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        return f"{name}={value}: {entry.model} takes a {'whole ' * whole}number from {least:g} to {most:g}"
    return None
