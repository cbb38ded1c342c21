"""Measures the learning path alone, without a bus: ``python -m tests.bench.learning``.

People's handwriting goes through joiner, scorer and learner on real ledgers, in random order, with a few labels wrong, and the
lessons to the online model. Each drawing is guessed from the newest snapshot first, as the router does. Prints accuracy, how
much of MNIST is still known, and CPU time.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it

import json
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from contracts.drawing import rasterize
from contracts.events import (
    AnswerGuess,
    CorrectionGiven,
    DrawingAnswered,
    DrawingSubmitted,
    Event,
    Features,
    LessonTaught,
    SnapshotTaken,
    decode,
    now,
)
from contracts.ports import Record
from producers.handwriting import PEN_DATA, handwriting
from streams.embedding import EmbeddingNetwork
from streams.fold import Fold, advance, begin
from streams.joiner import Joiner
from streams.learner import Learner
from streams.ledger import Ledger
from streams.make_base import idx
from streams.online_base import Base, load_base
from streams.online_model import InForce, OnlineModel, of_base
from streams.routing import online
from streams.scorer import Scorer
from tests.histories import named


class Stage:
    """A fold on a ledger of its own, and the CPU time that it has taken."""

    def __init__(self, fold: Fold, path: Path) -> None:
        """Open the fold on partition 0."""
        self.fold, self.ledger, self.cpu_s, self._sent = fold, Ledger(path), 0.0, 0
        begin(self.ledger, fold, 0)

    def tell(self, events: list[Event]) -> list[Event]:
        """Fold in a batch; return the published events, as another process would read them."""
        records = [Record(e.topic, 0, self._sent + i, None, e.record_value(), 0) for i, e in enumerate(events)]
        self._sent += len(records)
        began = time.process_time()
        advance(self.ledger, self.fold, 0, records)
        outgoing = self.ledger.outgoing()
        self.ledger.sent(outgoing)
        self.cpu_s += time.process_time() - began
        return [decode(record.topic, record.value) for record in outgoing]


class Following:
    """The online model, as `streams.lessons` follows its lessons, and the CPU time that it has taken."""

    def __init__(self, base: Base, series: str) -> None:
        """Begin with the base."""
        self._model, self._now, self._read, self.cpu_s = OnlineModel(base, series), of_base(base), 0, 0.0

    def in_force(self) -> InForce:
        """Return the model as it answers now."""
        return self._now

    def take(self, lessons: Sequence[LessonTaught]) -> SnapshotTaken:
        """Add the lessons of a step; return the snapshot that is then published."""
        began = time.process_time()
        for lesson in lessons:
            self._model.apply(lesson, 0, self._read)
            self._read += 1
        self._now = self._model.in_force()
        snapshot = self._model.snapshot(self._now, now())
        self.cpu_s += time.process_time() - began
        return snapshot


def guessed(probabilities: NDArray[np.float64], model: str, version: str) -> AnswerGuess:
    """Return a model's guess, as the router would make it."""
    return AnswerGuess(
        model=model,
        version=version,
        label=int(probabilities.argmax()),
        probabilities=probabilities.tolist(),
        hops={"bus_in": 4.0, "read": 1.0, "wait": 0.5, "model": 0.5},
    )


def played(
    drawings: int, batch: int, error_rate: float, seed: int, folder: Path, tick: Callable[[], None]
) -> tuple[list[bool], SnapshotTaken, dict[str, float], EmbeddingNetwork]:
    """Play; return whether each guess was right, the last snapshot, CPU seconds of each stage, and the embedding."""
    rng = random.Random(seed)
    written = [one for person in handwriting(PEN_DATA).values() for one in person]
    rng.shuffle(written)
    network, base = EmbeddingNetwork(), load_base()
    model = Following(base, Learner(base).series)
    folds = (Joiner(), Scorer(), Learner(base, model.in_force))
    joiner, scorer, learner = stages = [Stage(fold, folder / f"{fold.name}.sqlite") for fold in folds]
    snapshot = model.take([])
    right: list[bool] = []
    waiting = deque(written[:drawings])
    while waiting:
        told: list[Event] = []
        river = online(snapshot)
        for one in [waiting.popleft() for _ in range(min(batch, len(waiting)))]:
            name = f"bench {len(right)}"
            strokes = [[list(point) for point in stroke] for stroke in one.strokes]
            drawing = DrawingSubmitted(
                drawing_id=named(name), player_id=one.writer, strokes=strokes, width=1000, height=1000, final=True, at=now()
            )
            raster = rasterize(drawing.strokes)
            [embedding] = network.embed(raster.reshape(1, -1))
            [answer] = river.answer(embedding[None])
            right.append(int(answer.argmax()) == one.label)
            read = Features(raster=raster.tobytes(), embedding=embedding.tobytes(), reader=network.reader)
            label = rng.randrange(10) if rng.random() < error_rate else one.label
            told += [
                drawing,
                DrawingAnswered(
                    drawing_id=drawing.drawing_id,
                    player_id=drawing.player_id,
                    guesses=[guessed(answer, "river", snapshot.version), guessed(answer, "xgboost", "base1")],
                    features=read,
                ),
                CorrectionGiven(
                    correction_id=named(f"correction of {name}"), drawing_id=named(name), player_id=one.writer, label=label
                ),
            ]
            tick()
        examples = joiner.tell(told)
        scorer.tell(examples)
        snapshot = model.take([event for event in learner.tell(examples) if isinstance(event, LessonTaught)])
    return right, snapshot, {stage.fold.name: stage.cpu_s for stage in stages} | {"online model": model.cpu_s}, network


def main(
    drawings: Annotated[int, typer.Option(help="how many are drawn")] = 6000,
    batch: Annotated[int, typer.Option(help="how many gather in each step of the folds")] = 4,
    error_rate: Annotated[float, typer.Option(help="share of labels that are some digit or other")] = 0.015,
    seed: Annotated[int, typer.Option(help="of order and errors")] = 20181103,
) -> None:
    """Play, then ask the last snapshot about MNIST test."""
    with tempfile.TemporaryDirectory() as folder, typer.progressbar(length=drawings, label="drawings") as bar:
        right, snapshot, cpu_s, network = played(drawings, batch, error_rate, seed, Path(folder), lambda: bar.update(1))
    mnist = network.embed(idx(Path("data/mnist/t10k-images-idx3-ubyte.gz")).reshape(-1, 784))
    kept = online(snapshot).answer(mnist).argmax(axis=1) == idx(Path("data/mnist/t10k-labels-idx1-ubyte.gz"))
    tenth = max(1, len(right) // 10)
    told = {
        "accuracy": {"first_tenth": np.mean(right[:tenth]), "last_tenth": np.mean(right[-tenth:]), "all": np.mean(right)},
        "mnist_test": kept.mean(),
        "cpu_ms_a_drawing": {name: 1000 * seconds / len(right) for name, seconds in cpu_s.items()},
        "version": snapshot.version,
        "digest": snapshot.digest,
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)
