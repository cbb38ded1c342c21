"""What players of `tests.bench.training` have labelled, truly or not, and the lessons that the real learner makes of it."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Final

from contracts.events import (
    PLAYER_PARTITIONS,
    ExampleLabelled,
    LessonTaught,
)
from contracts.ports import Origin
from contracts.settings import Settings
from producers.placement import partition_of
from streams.embedding import EmbeddingNetwork
from streams.learner import Learner
from streams.make_base import judge
from streams.online_base import Base, load_base
from tests.bench.trust import PLAYERS, Lie, people
from tests.histories import MemoryCells
from tests.writers import drawings
from trainers.split import is_held_back

LABELS: Final = 3600
"""How many labels the sixteen players give together."""
HOLDOUT_KEY: Final = "of tests.bench.training"
"""The key by which its homes hold people back."""
GUESTS, EACH = 300, 5
"""How many guests give how many wrong labels each."""


@cache
def base_of(judges: tuple[str, ...]) -> Base:
    """Return the online model's base with a judge that knows MNIST and these people's hands alone."""
    bare = load_base()
    return replace(bare, judge=judge(bare.sums, EmbeddingNetwork(), judges))


def player_of(writer: str, held_back: bool) -> str:
    """Return a player's id for a person that the product's own split holds back, or does not."""
    share = Settings(aws_services="local").held_back
    return _id(f"writer-{writer}", share, held_back)


def guests(split: int) -> list[ExampleLabelled]:
    """Return what three hundred guests say wrongly of five drawings each, by the hands of who is asked; no guest is held back.

    Each is of another id, as whoever takes seats is; no two say the same of one drawing.
    """
    share, (_, _, asked) = Settings(aws_services="local").held_back, people(split)
    written = [(writer, number) for writer in asked for number in range(len(drawings(writer).labels))]
    out = []
    for guest in range(GUESTS):
        name = _id(f"guest-{guest}", share, held_back=False)
        for writer, number in written[guest * EACH : (guest + 1) * EACH]:
            out.append(drawings(writer).example(name, number, (int(drawings(writer).labels[number]) + 1) % 10))
    return out


def _id(name: str, share: float, held_back: bool) -> str:
    return next(found for n in count() if is_held_back(found := f"{name}-{n}", share, HOLDOUT_KEY) is held_back)


def labelled(split: int, lies: Sequence[Lie], labels: int) -> list[ExampleLabelled]:
    """Return what sixteen people have labelled, in random order, and then what those who are asked have, all of it.

    Args:
        split: Which people play.
        lies: How the first of the players lie, a lie each; the others are honest.
        labels: How many labels the sixteen give.
    """
    _, players, asked = people(split)
    chance, given, out = random.Random(split), dict.fromkeys(players, 0), []
    all_of_them = [(writer, number) for writer in players for number in range(len(drawings(writer).labels))]
    for writer, number in chance.sample(all_of_them, labels):
        digit, place = int(drawings(writer).labels[number]), players.index(writer)
        label = lies[place](digit, given[writer], chance) if place < len(lies) else digit
        given[writer] += 1
        out.append(drawings(writer).example(player_of(writer, held_back=False), number, label))
    for writer in asked:
        known = player_of(writer, held_back=True)
        out += [drawings(writer).example(known, number) for number in range(len(drawings(writer).labels))]
    return out


def lessons(base: Base, examples: Sequence[ExampleLabelled]) -> Iterator[LessonTaught]:
    """Yield the lessons that the real learner makes of examples, a partition after another."""
    learner = Learner(base)
    cells = [MemoryCells() for _ in range(PLAYER_PARTITIONS)]
    for partition in range(PLAYER_PARTITIONS):
        list(learner.open(cells[partition], partition))
    for offset, example in enumerate(examples):
        partition = partition_of(example.player_id.encode(), PLAYER_PARTITIONS)
        for event in learner.apply(cells[partition], example, Origin(partition, offset, 0)):
            if isinstance(event, LessonTaught):
                yield event


def judged_lessons(split: int, examples: Sequence[ExampleLabelled]) -> Iterator[LessonTaught]:
    """Yield the lessons of a split, whose judge knows the hands of six people who neither play nor are asked."""
    return lessons(base_of(tuple(people(split)[0])), examples)


def liars(share: float) -> tuple[Lie, ...]:
    """Return the lies of so large a share of the players: by turns any digit, and the next one to that drawn."""
    return tuple((_anything, _next)[place % 2] for place in range(round(share * PLAYERS)))


def _anything(digit: int, given: int, chance: random.Random) -> int:
    return chance.randrange(10)


def _next(digit: int, given: int, chance: random.Random) -> int:
    return (digit + 1) % 10
