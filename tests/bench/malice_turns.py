"""What malicious players do in `tests.bench.malice`, and what all others draw meanwhile."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it

import random
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import cycle, islice
from typing import Any, Final, NamedTuple

from producers.handwriting import handwriting
from streams.online_base import Base
from streams.trust import judged
from tests.bench.blending import batch_answers, table
from tests.roster import BATCH_MODELS
from tests.writers import drawings

LIARS: Final = 4
"""How many of the fourteen lie, where players do: 29 %."""
HONEST: Final = 60
TRIES: Final = 3
"""How many drawings a guest tries for a lie."""
BEFORE: Final = 1600
"""After how many labels a guest comes: some 400 on each partition."""
MALICIOUS: Final = 1
"""The partition of the learner where the malicious teach: so those of the honest have the same numbers in all games."""


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


class Table(NamedTuple):
    """Who plays what, without any lie."""

    base: Base
    order: list[tuple[str, int]]
    truths: list[tuple[str, int]]
    """All drawings that the judge is sure of, and sees as they are."""
    unclear: list[tuple[str, int]]
    """All that it is not sure of, and that the worst model takes for something else than the base of `river`."""
    chance: tuple[Any, ...]
    """The state of chance after the order was drawn."""


@lru_cache(1)
def laid(split: int) -> Table:
    """Lay the table of a split."""
    base, order, chance = table(split)
    truths, unclear = list[tuple[str, int]](), list[tuple[str, int]]()
    for writer in sorted(handwriting()):
        labels = drawings(writer).labels.tolist()
        for number, features in enumerate(base.basis.rows(drawings(writer).embeddings)):
            seen, sure = judged(base.judge, features)
            if sure and seen == labels[number]:
                truths.append((writer, number))
            elif not sure and worst_says(writer, number) != int(drawings(writer).shared[number].argmax()):
                unclear.append((writer, number))
    return Table(base, order, truths, unclear, chance.getstate())


def guests(attack: Attack, laid: Table, chance: random.Random) -> list[Turn]:
    """Return what guests do, who take turns."""
    lies = list(laid.unclear if attack.unclear else alone(tuple(sorted(handwriting()))))
    truths = list(laid.truths)
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


def turns(attack: Attack, split: int) -> list[Turn]:
    """Return all that is drawn, in order; the same for all attacks but for what the malicious do."""
    several, chance = laid(split), random.Random()
    chance.setstate(several.chance)
    people = tuple(sorted({writer for writer, _ in several.order}))
    liars, given, out = set(chance.sample(people, LIARS)) if attack.liars else set[str](), Counter[str](), list[Turn]()
    coming = iter(guests(attack, several, chance))
    for at, (writer, number) in enumerate(several.order):
        given[writer] += 1
        lies = writer in liars and given[writer] > attack.honest
        label = worst_says(writer, number) if lies else int(drawings(writer).labels[number])
        out.append(Turn(f"{writer} of {split}", writer, number, label, writer in liars))
        if at >= BEFORE or attack.guests > 1:
            out += islice(coming, TRIES)
    return out
