"""Measures what `everyone` loses for others by malicious players: ``python -m tests.bench.malice`` (part of `make bench`).

As in `tests.bench.blending` fourteen people of data/pen play on four partitions, and label all that they draw; beside or among
them are players who side with the worst model. The same is played without the labels of these, and of every 500 drawings in a
row that the honest drew, on the partitions where anybody lies, those that `everyone` had right are compared. Prints for each
attack the most that was lost in any of these windows, in points, the mean, and how many labels the malicious gave; and the
same where the shared model did not learn these, so that they move the weights alone, with what the worst model's weight grew by
at most.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from typing import Annotated, Final, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from contracts.events import BLEND, PERSONAL_MODEL
from producers.handwriting import handwriting
from producers.placement import partition_of
from streams.online_base import Base
from streams.trust import judged
from tests.bench.blending import PARTITIONS, WINDOW, Play, batch_answers, table
from tests.roster import BATCH_MODELS
from tests.writers import drawings

LIARS: Final = 4
"""How many of the fourteen lie, where players do: 29 %."""
HONEST: Final = 60
TRIES: Final = 3
"""How many drawings a guest tries for a lie."""
BEFORE: Final = 1600
"""After how many labels a guest comes: some 400 on each partition."""


class Turn(NamedTuple):
    """A drawing, and the label that it is given."""

    player: str
    writer: str
    number: int
    label: int
    lie: bool
    """Whether it comes of somebody who lies; they never count among those who lose."""
    guest: bool = False
    """Whether it is what a guest draws to lie: who sees that their own model agrees with the worst one draws another first."""


@dataclass(frozen=True, slots=True)
class Attack:
    """Who lies, and how."""

    guests: int = 0
    """How many players come from nowhere."""
    labels: int = 0
    """How many labels each of these gives."""
    honest: int = 0
    """How many true labels of clear drawings each gives before."""
    unclear: bool = False
    """Whether guests lie about drawings of which the judge is not sure, and tell the truth of one clear one for each."""
    liars: int = 0
    """How many of the people lie about what they draw."""


ATTACKS: Final = {
    "one guest, 75 labels": Attack(guests=1, labels=75),
    "one guest, 200 labels": Attack(guests=1, labels=200),
    "20 newcomers, 50 labels each": Attack(guests=20, labels=50),
    "4 of 14 players from the first label": Attack(liars=LIARS),
    "4 of 14 players after 60 honest labels": Attack(liars=LIARS, honest=HONEST),
    "one guest, 60 true labels, then 200": Attack(guests=1, labels=200, honest=HONEST),
    "one guest who knows the rules, 60 true labels, then 200": Attack(guests=1, labels=200, honest=HONEST, unclear=True),
    "5 guests who know the rules, 60 true labels each, then 100": Attack(guests=5, labels=100, honest=HONEST, unclear=True),
}


def worst_says(writer: str, number: int) -> int:
    """Return what the worst model sees in a drawing."""
    return int(batch_answers()["kmeans"][writer][number].argmax())


@cache
def alone(people: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return the drawings of these people that the worst model alone takes for another digit."""
    out = []
    for writer in people:
        for number, label in enumerate(drawings(writer).labels.tolist()):
            said = {model: int(batch_answers()[model][writer][number].argmax()) for model in BATCH_MODELS}
            if said.pop("kmeans") != label and set(said.values()) == {label}:
                out.append((writer, number))
    return out


def guests(attack: Attack, base: Base, people: tuple[str, ...], chance: random.Random) -> list[Turn]:
    """Return what guests do, who take turns."""
    lies, truths, unclear = list[tuple[str, int]](), list[tuple[str, int]](), list[tuple[str, int]]()
    for writer in people:
        labels = drawings(writer).labels.tolist()
        for number, features in enumerate(base.basis.rows(drawings(writer).embeddings)):
            seen, sure = judged(base.judge, features)
            if sure and seen == labels[number]:
                truths.append((writer, number))
            elif not sure and worst_says(writer, number) != int(drawings(writer).shared[number].argmax()):
                unclear.append((writer, number))
    lies = unclear if attack.unclear else alone(people)
    chance.shuffle(lies)
    chance.shuffle(truths)
    drawn, out = {True: iter(truths), False: cycle(lies)}, []
    for turn in range(attack.honest + attack.labels):
        for guest in range(attack.guests):
            honest = turn < attack.honest or (attack.unclear and turn % 2 == 0)
            for writer, number in islice(drawn[honest], 1 if honest else TRIES):
                label = int(drawings(writer).labels[number]) if honest else worst_says(writer, number)
                out.append(Turn(f"guest {guest}", writer, number, label, lie=True, guest=not honest))
    return out


def turns(attack: Attack, split: int) -> tuple[Base, list[Turn]]:
    """Return the base, and all that is drawn, in order; the same for all attacks but for the labels of the malicious."""
    base, order, chance = table(split)
    people = tuple(sorted({writer for writer, _ in order}))
    liars, given, out = set(chance.sample(people, LIARS)) if attack.liars else set[str](), Counter[str](), list[Turn]()
    coming = iter(guests(attack, base, tuple(sorted(handwriting())), chance))
    for at, (writer, number) in enumerate(order):
        given[writer] += 1
        lies = writer in liars and given[writer] > attack.honest
        label = worst_says(writer, number) if lies else int(drawings(writer).labels[number])
        out.append(Turn(f"{writer} of {split}", writer, number, label, writer in liars))
        if at >= BEFORE or attack.guests > 1:
            out += islice(coming, TRIES)
    return base, out


class Heard(NamedTuple):
    """What the honest heard, drawing by drawing."""

    partitions: NDArray[np.int64]
    right: NDArray[np.bool_]
    """Whether `everyone` was right."""
    share: NDArray[np.float64]
    """The worst model's share of the weights."""
    lies: int
    """How many labels the malicious gave, true ones too."""


def played(base: Base, several: Sequence[Turn], *, lies: bool, taught: bool = True) -> Heard:
    """Play.

    Args:
        base: Of the online model.
        several: All that is drawn, and the labels.
        lies: Whether the labels of the malicious are there.
        taught: Whether the shared model learns them.
    """
    play, partitions, right, share, given = Play(base), list[int](), list[bool](), list[float](), 0
    for turn in several:
        if turn.lie and not lies:
            continue
        said = play.guesses(turn.player, turn.writer, turn.number)
        if turn.guest and int(said[PERSONAL_MODEL].argmax()) == turn.label:
            continue
        if not turn.lie:
            partitions.append(partition_of(turn.player.encode(), PARTITIONS))
            right.append(int(said[BLEND].argmax()) == drawings(turn.writer).labels[turn.number])
            weights = play.own.blend_weights(partitions[-1])
            share.append(weights.of("kmeans") / sum(weights.of(model) for model in (*BATCH_MODELS, PERSONAL_MODEL)))
        play.label(turn.player, turn.writer, turn.number, turn.label, said, taught=taught or not turn.lie)
        given += turn.lie
    return Heard(np.array(partitions), np.array(right), np.array(share), given)


def lost(clean: NDArray[np.bool_], attacked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how many points less were right under the attack, for every window."""
    sums = np.concatenate([[0], np.cumsum(clean.astype(int) - attacked)])
    window = min(WINDOW, len(clean))
    return np.asarray(100 * (sums[window:] - sums[:-window]) / window)


def main(
    splits: Annotated[int, typer.Option(help="how many times other people play")] = 4,
    only: Annotated[str, typer.Option(help="only attacks with this in their names")] = "",
) -> None:
    """Play each attack."""
    told, honest = {}, dict[tuple[int, int], Heard]()
    for name, attack in ATTACKS.items():
        if only not in name:
            continue
        gaps, turned, shares, labels, drawn = list[NDArray[np.float64]](), list[NDArray[np.float64]](), list[float](), 0, 0
        for split in range(splits):
            base, several = turns(attack, split)
            if (split, attack.liars) not in honest:  # the honest draw the same, whoever comes beside them
                honest[split, attack.liars] = played(base, several, lies=False)
            clean = honest[split, attack.liars]
            attacked = played(base, several, lies=True)
            weighed = played(base, several, lies=True, taught=False)
            lied = [partition_of(turn.player.encode(), PARTITIONS) for turn in several if turn.lie]
            there = np.isin(clean.partitions, lied)
            gaps.append(lost(clean.right[there], attacked.right[there]))
            turned.append(lost(clean.right[there], weighed.right[there]))
            shares.append(float((weighed.share - clean.share).max()))
            labels, drawn = labels + attacked.lies, drawn + int(there.sum())
            typer.echo(f"{split} {name}", err=True)
        told[name] = {
            "lost at most, by split": [round(float(gap.max()), 1) for gap in gaps],
            "mean": round(float(np.mean([gap.mean() for gap in gaps])), 3),
            "by the weights alone": [round(float(gap.max()), 1) for gap in turned],
            "weight of the worst model, % more at most": round(100 * max(shares), 2),
            "labels of the malicious": labels // splits,
            "drawings of others": drawn // splits,
        }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)
