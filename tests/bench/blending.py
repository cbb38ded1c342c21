"""Measures how far `everyone` stays behind its best voice: ``python -m tests.bench.blending`` (part of `make bench`).

Fourteen people of data/pen, whom no base model has seen, play on four partitions, in random order; each split has other people.
The images answer with their base models, the real learner and personal folds learn from those drawings that are labelled. Of
every 500 drawings in a row after the first 200, the right ones of `everyone` are compared with those of the model that had the
most right among these 500. Prints the worst difference, the mean, and the accuracies, for each share of labelled drawings.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from contracts.drawing import rasterize
from contracts.events import BLEND, PERSONAL_MODEL, ExampleLabelled, LessonTaught, ShownGuess
from contracts.ports import Origin
from producers.handwriting import handwriting
from producers.placement import partition_of
from streams.blend import Blend, BlendWeights, opinions
from streams.embedding import EmbeddingNetwork
from streams.learner import Learner
from streams.make_base import judge
from streams.online_base import Base, load_base
from streams.online_model import SHARED, InForce, OnlineModel
from streams.personal_model import PersonalModels
from tests.histories import MemoryCells, shown
from tests.roster import BATCH_MODELS
from tests.unit.test_images import serving_base
from tests.writers import drawings

PEOPLE, PARTITIONS = 14, 4
FIRST, WINDOW = 200, 500
BATCH = 500
LEARNERS = 2
"""How many partitions the learner has."""
Guesses = dict[str, NDArray[np.float64]]
"""What each model says of a drawing, shape (10,)."""


@cache
def batch_answers() -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return what the images' base models answer to each writer's drawings, by model and writer."""
    people = handwriting()
    rasters = np.stack(
        [
            rasterize([[list(p) for p in stroke] for stroke in one.strokes]).reshape(784)
            for them in people.values()
            for one in them
        ]
    )
    ends = np.cumsum([len(them) for them in people.values()])[:-1]
    told = {}
    for model in BATCH_MODELS:
        for server in serving_base(model):
            parts = [server.probabilities(rasters[at : at + BATCH]) for at in range(0, len(rasters), BATCH)]
        told[model] = dict(zip(people, np.split(np.concatenate(parts).astype(np.float64), ends), strict=True))
    return told


def guess(model: str, said: NDArray[np.float64]) -> ShownGuess:
    """Return a model's guess as it stands in an example."""
    return shown(int(said.argmax()), model=model).model_copy(update={"probabilities": said.tolist()})


class Play:
    """Players on some partitions: they draw, all models guess, and what is labelled is learned by the real folds."""

    def __init__(self, base: Base) -> None:
        """Begin with nothing learned."""
        self._base = base
        self._learner, self._lessons = Learner(base), [MemoryCells() for _ in range(LEARNERS)]
        for source, cells in enumerate(self._lessons):
            list(self._learner.open(cells, source))
        self._online, self._taught = OnlineModel(base, self._learner.series), 0
        self._now: InForce | None = None
        self.own, self._memory = PersonalModels(base), [MemoryCells() for _ in range(PARTITIONS)]
        for partition, cells in enumerate(self._memory):
            list(self.own.open(cells, partition))
        self._labels = 0

    def copied(self) -> "Play":
        """Return another that goes on from here: its folds read the cells, as those of a worker that starts again do."""
        play = Play(self._base)
        play._online.add(self._online.part())
        play._taught, play._labels = self._taught, self._labels
        play._lessons, play._memory = [cells.copy() for cells in self._lessons], self.memory()
        for source, cells in enumerate(play._lessons):
            list(play._learner.open(cells, source))
        for partition, cells in enumerate(play._memory):
            list(play.own.open(cells, partition))
        return play

    def memory(self) -> list[MemoryCells]:
        """Return a copy of the cells of `own`, by partition."""
        for partition, cells in enumerate(self._memory):
            list(self.own.settle(cells, partition))
        return [cells.copy() for cells in self._memory]

    def shared(self, writer: str, number: int) -> NDArray[np.float64]:
        """Return what the shared model says of a writer's drawing, shape (1, 10)."""
        if self._now is None:
            self._now = self._online.in_force()
        rows = self._base.basis.rows(drawings(writer).embeddings[number : number + 1])
        return self._now.solved.probabilities(rows)

    def guesses(self, player: str, writer: str, number: int) -> Guesses:
        """Return what each model says of a writer's drawing, if this player draws it."""
        partition, one = partition_of(player.encode(), PARTITIONS), drawings(writer)
        embedding, raster = one.embeddings[number : number + 1], one.rasters[number : number + 1]
        said = {model: batch_answers()[model][writer][number] for model in BATCH_MODELS}
        shared = self.shared(writer, number)
        said |= {SHARED: shared[0], PERSONAL_MODEL: self.own.answer(partition, player, embedding, raster, shared)[0][0]}
        return said | {BLEND: blended(self.own.blend_weights(partition), said)}

    def label(
        self, player: str, writer: str, number: int, label: int, said: Guesses, at: float | None = None
    ) -> list[LessonTaught]:
        """Let the player label the drawing, of which the models said this; return the lessons that the shared model learns."""
        self._labels += 1
        given = labelled(player, writer, number, label, said, self._labels if at is None else at)
        lessons = self.lessons(given)
        self.learn(lessons)
        self.remember(given)
        return lessons

    def lessons(self, given: ExampleLabelled, source: int = 0) -> list[LessonTaught]:
        """Return the lessons of an example, by the learner of a partition ``source``, which has players of its own."""
        made = self._learner.apply(self._lessons[source], given, Origin(source, 0, 0))
        return [event for event in made if isinstance(event, LessonTaught)]

    def learn(self, lessons: Iterable[LessonTaught], source: int = 0) -> None:
        """Add lessons of the learner of a partition ``source`` to the shared model."""
        for event in lessons:
            self._online.apply(event, source, self._taught)
            self._taught, self._now = self._taught + 1, None

    def remember(self, given: ExampleLabelled) -> None:
        """Let the player's own model, and the weights of the blend, learn an example."""
        partition = partition_of(given.player_id.encode(), PARTITIONS)
        list(self.own.apply(self._memory[partition], given, Origin(partition, 0, 0)))


def labelled(player: str, writer: str, number: int, label: int, said: Guesses, at: float) -> ExampleLabelled:
    """Return a writer's drawing, which the player has drawn, as an example with these guesses."""
    guesses = [guess(*pair) for pair in said.items()]
    return drawings(writer).example(f"{player} {writer}", number, label, player_id=player, at=at, guesses=guesses)


def blended(weights: BlendWeights, said: Guesses) -> NDArray[np.float64]:
    """Return what `everyone` says where all models have come in time, shape (10,)."""
    blend = Blend(weights, (), {})
    for model in (*BATCH_MODELS, PERSONAL_MODEL):
        blend.hear(model, opinions(said[model]))
    return blend.probabilities(np.zeros(10))


def table(split: int) -> tuple[Base, list[tuple[str, int]], random.Random]:
    """Return the base, with a judge that is made of those who do not play, who draws what in which order, and more chance."""
    chance, everybody = random.Random(f"{split}"), sorted(handwriting())
    writers = chance.sample(everybody, PEOPLE)
    order = [(writer, number) for writer in writers for number in range(len(drawings(writer).labels))]
    chance.shuffle(order)
    base = load_base()
    others = [writer for writer in everybody if writer not in writers]
    return replace(base, judge=judge(base.sums, EmbeddingNetwork(), others)), order, chance


def played(says: float, split: int) -> dict[str, NDArray[np.bool_]]:
    """Play, and label this share of the drawings; return by model which guesses were right, in order."""
    base, order, chance = table(split)
    play = Play(base)
    right: dict[str, list[bool]] = {model: [] for model in (*BATCH_MODELS, SHARED, PERSONAL_MODEL, BLEND)}
    for at, (writer, number) in enumerate(order):
        player, label = f"{writer} of {split}", int(drawings(writer).labels[number])
        said = play.guesses(player, writer, number)
        for model, probabilities in said.items():
            right[model].append(int(probabilities.argmax()) == label)
        if chance.random() < says:
            play.label(player, writer, number, label, said, at)
    return {model: np.array(them) for model, them in right.items()}


def behind(right: dict[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Return for every window how many points more than its best voice `everyone` had right."""
    sums = {model: np.concatenate([[0], np.cumsum(them[FIRST:])]) for model, them in right.items()}
    shares = {model: 100 * (them[WINDOW:] - them[:-WINDOW]) / WINDOW for model, them in sums.items()}
    return np.asarray(shares[BLEND] - np.max([share for model, share in shares.items() if model != BLEND], axis=0))


def main(splits: Annotated[int, typer.Option(help="how many times other people play")] = 8) -> None:
    """Play all splits, with all and with two fifths of the drawings labelled."""
    told: dict[str, object] = {}
    for says in (1.0, 0.4):
        plays = [played(says, split) for split in range(splits)]
        gaps = [behind(right) for right in plays]
        told[f"{100 * says:.0f} % labelled"] = {
            "worst window by split": [round(float(gap.min()), 1) for gap in gaps],
            "mean": round(float(np.mean([gap.mean() for gap in gaps])), 3),
            "windows over 0.2 behind, %": round(100 * float(np.mean([(gap < -0.2001).mean() for gap in gaps])), 2),
            "right after the first": {
                model: round(100 * float(np.mean([right[model][FIRST:].mean() for right in plays])), 2) for model in plays[0]
            },
        }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)
