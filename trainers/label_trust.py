"""Reads from the lessons on the log how far each player's labels are trusted (way 3, REBUILD).

The learner weighs each player's lessons (`streams.trust`), and takes back those of players whom it has seen to mislead. A
rebuild leaves such players out, and of all known players it takes each label as its lesson counts. Of newcomers, and of players
without any lesson, nothing is known: all their labels together count little (`trainers.newcomers`), and judge nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from contracts.ports import Record
from trainers.dataset import Feedback

LEAST: Final = 0.4
"""The least trust of a player whose drawings are trained on. A lesson weighs 0, a half or 1: it is just below a half."""
KEPT: Final = 256
"""The most lessons of a player that count in the online model, the newest; see `streams.trust`."""


@dataclass(frozen=True, slots=True)
class LessonTrust:
    """What the lessons on the log say of players, and of each of their labels."""

    players: Mapping[str, float]
    """The trust in each known player's labels, 0..1: the weight of their lessons that are in force, of all that count."""
    lessons: Mapping[str, Mapping[str, float]]
    """The weight of the lesson of each drawing, by player and drawing; 0: it was taken back."""

    def weights(self, examples: Iterable[Feedback]) -> dict[str, float]:
        """Return how much the label of each drawing counts beside others, 0..1; a drawing that is not in it counts whole.

        The label of a known player counts as its lesson does, and one without a lesson in force counts nothing. Where the
        learner does not say, since it has not read the drawing yet or `KEPT` newer ones stand before it, the label counts as
        the player is trusted. Of newcomers nothing is said: `trainers.newcomers` bounds what all of them count together.

        Args:
            examples: Every revision of every example, in any order.
        """
        latest: dict[str, Feedback] = {}
        first: dict[str, tuple[int, int]] = {}
        for one in examples:
            if one.player_id in self.players:
                first[one.drawing_id] = min(first.get(one.drawing_id, one.place), one.place)
                if (before := latest.get(one.drawing_id)) is None or before.revision < one.revision:
                    latest[one.drawing_id] = one
        own: dict[str, list[Feedback]] = defaultdict(list)
        reached: dict[int, int] = {}
        """The last offset of each partition that the learner has surely read."""
        for one in sorted(latest.values()):
            partition, offset = first[one.drawing_id]
            if one.drawing_id in self.lessons[one.player_id]:
                reached[partition] = max(reached.get(partition, 0), offset)
            if one.label is not None:
                own[one.player_id].append(one)
        out: dict[str, float] = {}
        for player, labelled in own.items():
            for age, one in enumerate(reversed(labelled)):
                partition, offset = first[one.drawing_id]
                told = age < KEPT and offset <= reached.get(partition, -1)
                weight = self.lessons[player].get(one.drawing_id, 0.0) if told else round(self.players[player], 2)
                if weight != 1.0:
                    out[one.drawing_id] = weight
        return out


def label_trust(records: Iterable[Record]) -> LessonTrust:
    """Return what lessons say; of each player the series that began last.

    Args:
        records: All of lessons.v1. Whatever is no lesson is passed over.
    """
    by_series: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
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
        by_series[player][told["series"]][drawing] = float(told.get("weight", 1.0)) if taught else 0.0
        if taught:
            newcomers[player] = bool(told.get("newcomer", False))
    weights = {player: next(reversed(series.values())) for player, series in by_series.items()}
    trust = {player: min(1.0, sum(of.values()) / min(KEPT, len(of))) for player, of in weights.items()}
    # A newcomer's lessons count whole until the player is known. If none is in force, all are taken back: nothing counts.
    known = {player: share for player, share in trust.items() if not share or not newcomers.get(player, True)}
    return LessonTrust(known, weights)


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
