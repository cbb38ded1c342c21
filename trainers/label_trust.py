"""Reads from the lessons on the log how far each player's labels are trusted (way 3, REBUILD).

The learner weighs each player's lessons (`streams.trust`), and takes back those of players whom it has seen to mislead. A
rebuild leaves such players out. Of newcomers, and of players without any lesson, nothing is known: their labels count.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from contracts.ports import Record

LEAST: Final = 0.4
"""The least trust of a player whose drawings are trained on. A lesson weighs 0, a half or 1: it is just below a half."""
FIRST: Final = 6
"""How many drawings it takes until a player is known, at the least; see `streams.trust`."""
KEPT: Final = 256
"""The most lessons of a player that count in the online model, the newest; see `streams.trust`."""


def trust_of(records: Iterable[Record]) -> dict[str, float]:
    """Return the trust in each known player's labels, 0..1: the weight of their lessons that are in force, of all that count.

    Args:
        records: All of lessons.v1. Whatever is no lesson is passed over.
    """
    weights: dict[str, dict[str, float]] = defaultdict(dict)
    """By player and drawing; a lesson that was taken back weighs nothing."""
    newcomers: dict[str, bool] = {}
    numbers: dict[tuple[str, int], int] = defaultdict(int)
    for record in records:
        told = _lesson(record)
        if told is None:
            continue
        player, drawing, place = told["player_id"], told["drawing_id"], (told["series"], record.partition)
        if told["number"] <= numbers[place]:
            continue  # it came before
        numbers[place] = told["number"]
        taught = told["type"] == "LessonTaught"
        weights[player][drawing] = float(told.get("weight", 1.0)) if taught else 0.0
        if taught:
            newcomers[player] = bool(told.get("newcomer", False))
    trust = {player: min(1.0, sum(of.values()) / min(KEPT, len(of))) for player, of in weights.items()}
    return {
        player: share
        for player, share in trust.items()
        if not newcomers.get(player, True) or (not share and len(weights[player]) >= FIRST)
    }


def mean_trust(trust: Mapping[str, float], drawings: Mapping[str, int]) -> float | None:
    """Return the trust in the labels of a dataset, on average over the drawings of known players; None: nobody is known."""
    known = {player: n for player, n in drawings.items() if player in trust}
    n = sum(known.values())
    return sum(trust[player] * of for player, of in known.items()) / n if n else None


def _lesson(record: Record) -> Any:
    if record.value is None:
        return None
    try:
        told = orjson.loads(record.value)
        wanted = told["type"] in ("LessonTaught", "LessonTakenBack") and told.get("series")
        return told if wanted and isinstance(told["player_id"], str) and isinstance(told["number"], int) else None
    except (ValueError, KeyError, TypeError):
        return None
