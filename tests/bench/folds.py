"""Measures what the folds of way 2 cost a drawing, without a bus: ``python -m tests.bench.folds``.

Drawings, the guesses of every model on each together, and a correction of each, go through joiner, scorer, learner and personal
on real ledgers, in steps of as many records as gather under load; the lessons go to the online model, which is solved after
each step. Prints CPU time of each, in microseconds a drawing, and the drawings a second that one process could take.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it

import gc
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from contracts.events import Event, ExampleLabelled, LessonTaught, now
from streams.joiner import Joiner
from streams.learner import Learner
from streams.online_base import load_base
from streams.online_model import OnlineModel
from streams.personal_model import PersonalModels
from streams.scorer import Scorer
from tests.bench.learning import Stage
from tests.histories import answered, correction, drawing, features, guess
from tests.roster import MODELS

STROKE = [[20 + 3 * n, 40 + 2 * (n % 40), 12 * n] for n in range(60)]


def played(drawings: int, players: int, a_second: int, reader: str, seed: int) -> list[Event]:
    """Return drawings, guesses and corrections as they come on the bus, by time."""
    chance = random.Random(seed)
    timed: list[tuple[float, Event]] = []
    for n in range(drawings):
        name, at, player = f"fold {n}", n / a_second, f"player {chance.randrange(players)}"
        timed.append((at, drawing(name, player=player, at=at, strokes=[STROKE, STROKE[:40]])))
        then, read = at + chance.uniform(0.03, 0.06), features(n, reader)
        guesses = [guess(name, n % 10, model=model, player=player, at=then, features=None) for model in MODELS]
        timed.append((then, answered(guesses, at=then, features=read)))
        then = at + chance.uniform(1, 3)
        timed.append((then, correction(name, n % 10, correction=f"correction {n}", player=player, at=then)))
    return [event for _, event in sorted(timed, key=lambda one: one[0])]


def main(
    drawings: Annotated[int, typer.Option(help="how many are drawn")] = 3000,
    players: Annotated[int, typer.Option(help="by how many")] = 100,
    a_second: Annotated[int, typer.Option(help="how many a second on a partition, which says how they mix")] = 75,
    step: Annotated[int, typer.Option(help="records that a fold takes at a time")] = 100,
    seed: Annotated[int, typer.Option(help="of times and players")] = 20181103,
) -> None:
    """Fold all events, and print what that costs."""
    base = load_base()
    events = played(drawings, players, a_second, base.reader, seed)
    gc.collect()
    gc.freeze()  # events on the bus would not be in the heap of a fold
    with tempfile.TemporaryDirectory() as folder:
        folds = (Joiner(), Scorer(), Learner(base), PersonalModels(base))
        joiner, scorer, learner, personal = stages = [Stage(fold, Path(folder) / f"{fold.name}.sqlite") for fold in folds]
        online, online_s, published, taught = OnlineModel(base, folds[2].series), 0.0, 0, 0
        with typer.progressbar(range(0, len(events), step), label="steps") as steps:
            for first in steps:
                examples = [e for e in joiner.tell(events[first : first + step]) if isinstance(e, ExampleLabelled)]
                published += len(examples)
                scorer.tell(list(examples))
                lessons = [event for event in learner.tell(list(examples)) if isinstance(event, LessonTaught)]
                personal.tell(list(examples))
                began = time.process_time()
                for lesson in lessons:
                    taught += 1
                    online.apply(lesson, 0, taught)
                snapshot = online.snapshot(online.in_force(), now())
                online_s += time.process_time() - began
    cpu_s = {stage.fold.name: stage.cpu_s for stage in stages} | {"online model": online_s}
    told = {
        "us_a_drawing": {name: round(1e6 * seconds / drawings) for name, seconds in cpu_s.items()},
        "drawings_a_second_of_the_learning_process": round(drawings / (sum(cpu_s.values()) - personal.cpu_s)),
        "examples_a_drawing": published / drawings,
        "version": snapshot.version,
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)
