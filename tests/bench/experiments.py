"""Measures the experiments beside the online model, without a bus: ``python -m tests.bench.experiments``.

Some people of data/pen teach the sums and each experiment the same lessons, in random order; each drawing is guessed before
it is taught. Then the people who taught nothing are asked, and MNIST test. Prints accuracies, CPU time of a lesson, and how
much longer the router takes for a finished drawing with the experiments beside.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it

import json
import random
import time
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import numpy as np
import typer
from numpy.typing import NDArray

from contracts.drawing import rasterize_all
from contracts.events import PERSONAL_MODEL, LessonTaught, now
from producers.handwriting import handwriting
from streams.embedding import EmbeddingNetwork
from streams.experiments import EXPERIMENTS, Apprentice, package
from streams.lineup import Lineup
from streams.local_models import LocalModels, RasterizedDrawing
from streams.make_base import idx
from streams.online_base import load_base, load_rows
from streams.online_model import OnlineModel
from streams.personal_model import PersonalModels
from streams.routing import Online, Table, experiment, online
from tests.histories import drawing

SERIES = "bench"


def written(people: list[str], network: EmbeddingNetwork) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    """Return embeddings, labels and writers of all that these people wrote."""
    several = [(name, one) for name in people for one in handwriting()[name]]
    rasters = rasterize_all([[[list(point) for point in stroke] for stroke in one.strokes] for _, one in several])
    return (
        network.embed(rasters.reshape(len(several), -1)),
        np.array([one.label for _, one in several]),
        [name for name, _ in several],
    )


def lesson(embedding: NDArray[np.float32], label: int, writer: str, reader: str, number: int) -> LessonTaught:
    """Return the lesson that a drawing is."""
    return LessonTaught(
        lesson_id=uuid4(), model="river", drawing_id=uuid4(), correction_id=uuid4(), player_id=writer, label=label,
        embedding=embedding.tobytes(), reader=reader, series=SERIES, number=number,
    )  # fmt: skip


def router_ms(network: EmbeddingNetwork, own: Online, beside: dict[str, Online]) -> float:
    """Return the CPU milliseconds in which the router's own models answer a finished drawing, one at a time."""
    personal = PersonalModels(load_base())
    table = Table(online={"river": own}, experiments={"river": beside})
    local, lineup = LocalModels(network, personal, time.perf_counter), Lineup.of(table, ())
    asked = RasterizedDrawing(drawing("bench"), 0, np.zeros(784, np.uint8), time.perf_counter())
    began = time.process_time()
    for _ in range(1000):
        [said] = local.answers([asked], lineup)
        assert PERSONAL_MODEL in said.guesses
        assert len(said.beside) == len(beside)
    return time.process_time() - began  # seconds for a thousand are milliseconds for one


def main(
    taught: Annotated[int, typer.Option(help="how many lessons")] = 3600,
    people: Annotated[int, typer.Option(help="how many people teach")] = 16,
    seed: Annotated[int, typer.Option(help="of the split and the order")] = 20181103,
) -> None:
    """Teach, ask, and print what came of it."""
    network, base, river, rng = EmbeddingNetwork(), load_base(), package(), random.Random(seed)
    names = sorted(handwriting())
    rng.shuffle(names)
    embeddings, labels, writers = written(names[:people], network)
    unseen, unseen_labels, _ = written(names[people:], network)
    mnist = network.embed(idx(Path("data/mnist/t10k-images-idx3-ubyte.gz")).reshape(-1, 784))
    digits = idx(Path("data/mnist/t10k-labels-idx1-ubyte.gz"))
    order = rng.sample(range(len(labels)), min(taught, len(labels)))
    apprentices = [Apprentice(one, river, base, load_rows(), SERIES, None) for one in EXPERIMENTS]
    for one in apprentices:
        for place in range(len(load_rows().labels)):
            one.begin(place)
    sums = OnlineModel(base, SERIES)
    right: dict[str, list[bool]] = {base.generation: [], **{one.experiment.name: [] for one in apprentices}}
    cpu_s = dict.fromkeys(right, 0.0)

    def answers(name: str) -> Online:
        found: Any = next((one for one in apprentices if one.experiment.name == name), None)
        return online(sums.snapshot(sums.in_force(), now())) if found is None else experiment(found.state(now()))

    begin = {name: (answers(name).answer(unseen).argmax(axis=1) == unseen_labels).mean() for name in right}
    for number, place in enumerate(order, 1):
        told = lesson(embeddings[place], int(labels[place]), writers[place], base.reader, number)
        asked = embeddings[place : place + 1]
        for name in right:
            right[name].append(int(answers(name).answer(asked).argmax()) == labels[place])
        began = time.process_time()
        sums.apply(told, 0, number)
        sums.in_force()
        cpu_s[base.generation] += time.process_time() - began
        for one in apprentices:
            began = time.process_time()
            one.apply(told, 0, number)
            cpu_s[one.experiment.name] += time.process_time() - began
    now_answers = {name: answers(name) for name in right}
    beside = {name: one for name, one in now_answers.items() if name != base.generation}
    told_of = {
        name: {
            "unseen_before": round(float(begin[name]), 4),
            "last_1000": round(float(np.mean(right[name][-1000:])), 4),
            "unseen": round(float((now_answers[name].answer(unseen).argmax(axis=1) == unseen_labels).mean()), 4),
            "mnist_test": round(float((now_answers[name].answer(mnist).argmax(axis=1) == digits).mean()), 4),
            "cpu_ms_a_lesson": round(1000 * cpu_s[name] / len(order), 3),
        }
        for name in right
    }
    own = now_answers[base.generation]
    alone, several = router_ms(network, own, {}), router_ms(network, own, beside)
    told_of["router_cpu_ms_a_drawing"] = {"alone": round(alone, 3), "with_experiments": round(several, 3)}
    print(json.dumps(told_of, indent=2))


if __name__ == "__main__":
    typer.run(main)
