"""Measures what the folds of way 2 cost a drawing, without a bus: ``python -m tests.bench.folds``.

Drawings, the guesses of every model on each together, and a correction of each, go through joiner, learner and personal on real
ledgers, in steps of as many records of a partition as gather under load (some 30 at 300 drawings a second, 5 at 100); the
lessons go to the online model, which is solved after each step. Scorer, evidence and drift, for which nobody waits, come after
some steps. Prints CPU time of each, in microseconds a drawing, and the digests of the ledgers.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it

import gc
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from contracts.events import Event, ExampleLabelled, LessonTaught, decode, now
from contracts.ports import Record
from streams.drift import Drift
from streams.evidence import Evidence
from streams.fold import Fold, advance, begin
from streams.joiner import Joiner
from streams.learner import Learner
from streams.ledger import Ledger
from streams.online_base import Base, load_base
from streams.online_model import OnlineModel
from streams.personal_model import PersonalModels
from streams.scorer import Scorer
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


class Folding:
    """The folds of way 2 on ledgers of their own, and what each of them has cost."""

    def __init__(self, folder: Path, base: Base) -> None:
        """Begin with nothing."""
        self.learner = Learner(base, lambda: self._now)
        self.online, self._taught, self.online_s = OnlineModel(base, self.learner.series), 0, 0.0
        self._now = self.online.in_force()
        evidence = Evidence(base)
        folds = (Joiner(), Scorer(), self.learner, PersonalModels(base), evidence, Drift(evidence.series))
        self.stages = {fold.name: FoldAtWork(fold, folder / f"{fold.name}.sqlite") for fold in folds}
        self._unhurried: list[Event] = []
        self.examples = 0

    def take(self, events: Sequence[Event]) -> None:
        """Fold a step of what comes on the bus, and all that follows from it for receipts."""
        examples = [one for one in self.stages["joiner"].tell(events) if isinstance(one, ExampleLabelled)]
        self.examples += len(examples)
        self._unhurried += examples
        lessons = [one for one in self.stages["learner"].tell(examples) if isinstance(one, LessonTaught)]
        self.stages["personal"].tell(examples)
        began = time.process_time()
        for lesson in lessons:
            self._taught += 1
            self.online.apply(lesson, 0, self._taught)
        self._now = self.online.in_force()
        self.snapshot = self.online.snapshot(self._now, now())
        self.online_s += time.process_time() - began

    def look(self) -> None:
        """Fold what has gathered for those whom nobody waits for."""
        examples, self._unhurried = self._unhurried, []
        self.stages["scorer"].tell(examples)
        self.stages["drift"].tell(self.stages["evidence"].tell(examples))


class FoldAtWork:
    """A fold on partition 0, as a runner has it: its records are decoded here, and what is sent leaves with the next step."""

    def __init__(self, fold: Fold, path: Path) -> None:
        """Open it."""
        self.fold, self.ledger, self.cpu_s, self._sent = fold, Ledger(path), 0.0, 0
        begin(self.ledger, fold, 0)

    def tell(self, events: Sequence[Event]) -> list[Event]:
        """Fold a step; return the published events, as the next fold of the process has them."""
        records = [Record(one.topic, 0, self._sent + n, None, one.record_value(), 0) for n, one in enumerate(events)]
        self._sent += len(records)
        began = time.process_time()
        if records:
            advance(self.ledger, self.fold, 0, records)
            outgoing = self.ledger.outgoing()
            self.ledger.sent(outgoing, at_once=False)
        self.cpu_s += time.process_time() - began
        return [decode(one.topic, one.value) for one in outgoing] if records else []


def main(
    drawings: Annotated[int, typer.Option(help="how many are drawn")] = 3000,
    players: Annotated[int, typer.Option(help="by how many")] = 100,
    a_second: Annotated[int, typer.Option(help="how many a second on a partition, which says how they mix")] = 75,
    step: Annotated[int, typer.Option(help="records that a fold takes at a time")] = 30,
    look_every: Annotated[int, typer.Option(help="steps until scores, evidence and drift are looked at")] = 7,
    seed: Annotated[int, typer.Option(help="of times and players")] = 20181103,
) -> None:
    """Fold all events, and print what that costs."""
    base = load_base()
    events = played(drawings, players, a_second, base.reader, seed)
    gc.collect()
    gc.freeze()  # events on the bus would not be in the heap of a fold
    with tempfile.TemporaryDirectory() as folder:
        folding = Folding(Path(folder), base)
        with typer.progressbar(range(0, len(events), step), label="steps") as steps:
            for n, first in enumerate(steps, 1):
                folding.take(events[first : first + step])
                if n % look_every == 0:
                    folding.look()
        folding.look()
        stages = folding.stages.values()
        digests = {one.fold.name: one.ledger.digest()[:8] for one in stages}
    cpu_s = {one.fold.name: one.cpu_s for one in stages} | {"online model": folding.online_s}
    told = {
        "us_a_drawing": {name: round(1e6 * seconds / drawings) for name, seconds in cpu_s.items()},
        "us_a_drawing_of_the_learning_process": round(1e6 * (sum(cpu_s.values()) - cpu_s["personal"]) / drawings),
        "examples_a_drawing": folding.examples / drawings,
        "version": folding.snapshot.version,
        "digests": digests,
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)
