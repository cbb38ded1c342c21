"""Measures what `everyone` loses for others by malicious players: ``python -m tests.bench.malice`` (part of `make bench`).

As in `tests.bench.blending` fourteen people of data/pen play on four partitions, and label all that they draw; beside or among
them are players who side with the worst model. The same is played without the labels of these, and of every 500 drawings in a
row that the honest drew, on the partitions where anybody lies, those that `everyone` had right are compared. Prints for each
attack the most that was lost in any of these windows, in points, the mean, and how many labels the malicious gave; and the
same where the shared model did not learn these, so that they move the weights alone, with what the worst model's weight grew by
at most. The game without malicious players is computed once for all attacks of a split, and of each attack only what differs.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from contracts.events import BLEND, PERSONAL_MODEL, LessonTaught
from producers.placement import partition_of
from streams.all_players import AllPlayers
from streams.blend import BlendWeights, blend_weights
from streams.online_base import Base
from tests.bench.blending import PARTITIONS, WINDOW, Guesses, Play, blended, labelled
from tests.bench.malice_turns import (
    ATTACKS,
    BEFORE,
    MALICIOUS,
    Turn,
    laid,
    turns,
)
from tests.roster import BATCH_MODELS
from tests.writers import drawings


class Heard(NamedTuple):
    """What the honest heard, drawing by drawing, on the partitions that count."""

    right: NDArray[np.bool_]
    """Whether `everyone` was right."""
    share: NDArray[np.float64]
    """The worst model's share of the weights."""
    lies: int = 0
    """How many labels the malicious gave, true ones too."""


class _Hearing:
    """Takes down what the honest hear."""

    def __init__(self) -> None:
        self._right, self._share = list[bool](), list[float]()

    def take(self, turn: Turn, said: Guesses, weights: BlendWeights) -> None:
        """Take down what is said of an honest drawing, and the weights by which `everyone` says it."""
        self._right.append(int(said[BLEND].argmax()) == drawings(turn.writer).labels[turn.number])
        self._share.append(weights.of("kmeans") / sum(weights.of(model) for model in (*BATCH_MODELS, PERSONAL_MODEL)))

    def heard(self, lies: int = 0) -> Heard:
        """Return all that was taken down."""
        return Heard(np.array(self._right), np.array(self._share), lies)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawing of somebody honest, in the game that has no malicious players."""

    partition: int
    said: Guesses
    weights: BlendWeights
    lessons: list[LessonTaught]
    """What the shared model learns of its label, which follows from the player's own drawings alone: the same in all games."""


@dataclass(frozen=True, slots=True)
class Clean:
    """The game without the labels of the malicious."""

    drawn: list[Drawn]
    """By honest turn."""
    heard: Heard
    """On all partitions."""
    later: Play | None
    """The game as it stands before the turn `BEFORE`, when guests come one by one; None: everybody was there from the start."""


def clean(base: Base, several: Sequence[Turn]) -> Clean:
    """Play without the labels of the malicious."""
    play, hearing, drawn, later = Play(base), _Hearing(), list[Drawn](), None
    for here, turn in enumerate(turn for turn in several if not turn.lie):
        if here == BEFORE:
            later = play.copied()
        partition = partition_of(turn.player.encode(), PARTITIONS)
        said = play.guesses(turn.player, turn.writer, turn.number)
        weights = play.own.blend_weights(partition)
        hearing.take(turn, said, weights)
        lessons = play.label(turn.player, turn.writer, turn.number, turn.label, said, here + 1)
        drawn.append(Drawn(partition, said, weights, lessons))
    return Clean(drawn, hearing.heard(), later)


def attacked(base: Base, several: Sequence[Turn], before: Clean, there: set[int]) -> Heard:
    """Play with the labels of the malicious.

    Computed again is what can differ from the game without them: guesses and own models of those who are on the partitions
    ``there``, where anybody lies, and the shared model.
    """
    play, hearing, begun = _begun(base, several, before, there)
    here, lies = begun, 0
    for place, turn in _rest(several, begun):
        if turn.lie:
            said = play.guesses(turn.player, turn.writer, turn.number)
            if not _gives(turn, said):
                continue
            given = labelled(turn.player, turn.writer, turn.number, turn.label, said, _time(here, place))
            play.learn(play.lessons(given, MALICIOUS), MALICIOUS)
            play.remember(given)
            lies += 1
            continue
        drawn = before.drawn[here]
        if drawn.partition in there:
            said = play.guesses(turn.player, turn.writer, turn.number)
            hearing.take(turn, said, play.own.blend_weights(drawn.partition))
            play.remember(labelled(turn.player, turn.writer, turn.number, turn.label, said, here + 1))
        play.learn(drawn.lessons)
        here += 1
    return hearing.heard(lies)


def weighed(base: Base, several: Sequence[Turn], before: Clean, there: set[int]) -> Heard:
    """Play with the labels of the malicious, which the shared model does not learn.

    So all guesses on honest drawings but those of `everyone` are the ones of the game without them; computed again are the
    weights, and the own models of the malicious.
    """
    play, hearing, begun = _begun(base, several, before, there)
    everybody = {partition: AllPlayers.take_up(cells, base) for partition, cells in enumerate(play.memory())}
    here = begun
    for place, turn in _rest(several, begun):
        if turn.lie:
            all_players = everybody[partition_of(turn.player.encode(), PARTITIONS)]
            said = play.guesses(turn.player, turn.writer, turn.number)
            if not _gives(turn, said):
                continue
            said |= {BLEND: blended(blend_weights(all_players.means), said)}
            given = labelled(turn.player, turn.writer, turn.number, turn.label, said, _time(here, place))
            play.remember(given)
            all_players.keep(given.player_id, all_players.heard(given))
            continue
        drawn = before.drawn[here]
        if drawn.partition in there:
            all_players = everybody[drawn.partition]
            weights = blend_weights(all_players.means)
            said = drawn.said | {BLEND: blended(weights, drawn.said)}
            hearing.take(turn, said, weights)
            given = labelled(turn.player, turn.writer, turn.number, turn.label, said, here + 1)
            all_players.keep(given.player_id, all_players.heard(given))
        play.learn(drawn.lessons)
        here += 1
    return hearing.heard()


def _begun(base: Base, several: Sequence[Turn], before: Clean, there: set[int]) -> tuple[Play, _Hearing, int]:
    """Return the game as it stands before anybody lies, what the honest heard until then, and how many drawings they made."""
    hearing, first = _Hearing(), next(place for place, turn in enumerate(several) if turn.lie)
    if before.later is None or first < BEFORE:
        return Play(base), hearing, 0
    for turn, drawn in zip(several[:BEFORE], before.drawn, strict=False):
        if drawn.partition in there:
            hearing.take(turn, drawn.said, drawn.weights)
    return before.later.copied(), hearing, BEFORE


def _rest(several: Sequence[Turn], begun: int) -> Iterator[tuple[int, Turn]]:
    return islice(enumerate(several), begun, None)


def _gives(turn: Turn, said: Guesses) -> bool:
    """Whether a label is given: who sees that their own model agrees with the worst one draws another drawing first."""
    return not turn.guest or int(said[PERSONAL_MODEL].argmax()) != turn.label


def _time(here: int, place: int) -> float:
    """Return when a lie is told, in seconds: after the honest drawing before, and in the order of the turns."""
    return here + (1 + place) / 10_000


def lost(clean: NDArray[np.bool_], attacked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how many points less were right under the attack, for every window."""
    sums = np.concatenate([[0], np.cumsum(clean.astype(int) - attacked)])
    window = min(WINDOW, len(clean))
    return np.asarray(100 * (sums[window:] - sums[:-window]) / window)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attack came to in one game."""

    lost: float
    """The most points that were lost in any window."""
    gained: float
    """The most that were gained in any: what another model does to some drawings that stand on the border."""
    mean: float
    alone: float
    """The most that was lost by the weights alone."""
    share: float
    """By how much the worst model's share of the weights grew at most."""
    labels: int
    others: int
    """How many drawings of others there were on the same partitions."""


def outcome(base: Base, several: Sequence[Turn], before: Clean) -> Outcome:
    """Play an attack, and compare what the honest heard with what they heard in the game without it."""
    there = {partition_of(turn.player.encode(), PARTITIONS) for turn in several if turn.lie}
    those = np.array([drawn.partition in there for drawn in before.drawn])
    right, share = before.heard.right[those], before.heard.share[those]
    with_lies, by_weights = attacked(base, several, before, there), weighed(base, several, before, there)
    gap, turned = lost(right, with_lies.right), lost(right, by_weights.right)
    grew = float((by_weights.share - share).max())
    return Outcome(
        float(gap.max()), float(-gap.min()), float(gap.mean()), float(turned.max()), grew, with_lies.lies, int(those.sum())
    )


def row(several: Sequence[Outcome]) -> dict[str, object]:
    """Return what is printed of an attack."""
    return {
        "lost at most, by split": [round(one.lost, 1) for one in several],
        "gained at most": [round(one.gained, 1) for one in several],
        "mean": round(float(np.mean([one.mean for one in several])), 3),
        "by the weights alone": [round(one.alone, 1) for one in several],
        "weight of the worst model, % more at most": round(100 * max(one.share for one in several), 2),
        "labels of the malicious": sum(one.labels for one in several) // len(several),
        "drawings of others": sum(one.others for one in several) // len(several),
    }


def main(
    splits: Annotated[int, typer.Option(help="how many times other people play")] = 4,
    first: Annotated[int, typer.Option(help="the first split")] = 0,
    only: Annotated[str, typer.Option(help="only attacks with this in their names")] = "",
) -> None:
    """Play each attack."""
    told = dict[str, list[Outcome]]()
    for split in range(first, first + splits):
        base, games = laid(split).base, dict[int, Clean]()
        for name, attack in ATTACKS.items():
            if only not in name:
                continue
            several = turns(attack, split)
            if attack.liars not in games:  # the honest draw the same, whoever comes beside them
                games[attack.liars] = clean(base, several)
            told.setdefault(name, []).append(outcome(base, several, games[attack.liars]))
            typer.echo(f"{split} {name}: {told[name][-1]}", err=True)
    print(json.dumps({name: row(several) for name, several in told.items()}, indent=2))


if __name__ == "__main__":
    typer.run(main)
