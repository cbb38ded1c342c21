"""Measures how many lessons a second a replay takes on one core, from a real broker: ``python -m tests.bench.replay``.

Lessons as the learner writes them are put on lessons.v1, with a snapshot of the model that they make; then `gamenight replay`
folds them anew, with one process and with two, and must come to the digest of the snapshot. Then a history of drawings, answers
and corrections is learned by the folds at work and folded anew: how many records of each fold a second, and whether all states
are the same. Exit status 1 if one is not, or if lessons are slower than the target.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import track

from contracts.events import PLAYER_PARTITIONS, Event, LessonTakenBack, LessonTaught, now
from contracts.ports import Bus
from contracts.settings import Settings
from deploy.local.supervisor import running
from deploy.replay import FOLDS, replay
from producers.bus import open_bus
from producers.placement import partition_of
from streams.learner import Learner
from streams.online_base import load_base
from streams.online_model import OnlineModel
from tests.bench.folds import played
from tests.conftest import fresh_settings
from tests.histories import features
from tests.product import ROOT

TARGET: Final = 20_000
"""Lessons a second on one core."""
console = Console()


def taught(count: int, seed: int) -> list[tuple[int, LessonTaught]]:
    """Return lessons with their partitions: most of a whole weight, a fifth of newcomers, a tenth taken back again."""
    base, chance = load_base(), random.Random(seed)
    series, read = Learner(base).series, [features(n, base.reader).embedding for n in range(512)]
    numbers = dict.fromkeys(range(PLAYER_PARTITIONS), 0)
    told: list[tuple[int, LessonTaught]] = []

    def say(kind: type[LessonTaught], fields: dict[str, Any]) -> None:
        partition = partition_of(fields["player_id"].encode(), PLAYER_PARTITIONS)
        numbers[partition] += 1
        told.append((partition, kind(**fields, number=numbers[partition], series=series, reader=base.reader, model="river")))

    while len(told) < count:
        given = {
            **{name: UUID(int=chance.getrandbits(128)) for name in ("lesson_id", "drawing_id", "correction_id")},
            "player_id": f"player-{chance.randrange(500)}",
            "label": chance.randrange(10),
            "weight": chance.choice((1.0, 1.0, 1.0, 0.5)),
            "embedding": chance.choice(read),
            "newcomer": chance.random() < 0.2,
            "at": now(),
        }
        say(LessonTaught, given)
        if chance.random() < 0.1:
            say(LessonTakenBack, given)
    return told


def publish(bus: Bus, events: list[Event]) -> None:
    """Put events on the log, and wait until all are there."""
    for first in track(range(0, len(events), 2000), "publishing", console=console, transient=True):
        for sent in [bus.publish(event) for event in events[first : first + 2000]]:
            sent.result(60)


def lessons_replayed(settings: Settings, count: int, seed: int) -> dict[str, Any]:
    """Put lessons and their snapshot on an empty log, and replay them."""
    base = load_base()
    model, told = OnlineModel(base, Learner(base).series), taught(count, seed)
    offsets = dict.fromkeys(range(PLAYER_PARTITIONS), -1)
    for partition, lesson in told:
        offsets[partition] += 1
        model.apply(lesson, partition, offsets[partition])
    bus = open_bus(settings)
    publish(bus, [lesson for _, lesson in told])
    publish(bus, [model.snapshot(model.in_force(), now())])
    bus.close()
    out: dict[str, Any] = {"lessons": len(told)}
    for processes in (1, 2):
        report = replay(settings, ["online"], False, lambda *_: None, processes)
        [part] = report.parts
        out[f"{processes} process" + "es" * (processes > 1)] = {
            "lessons a second of one core": round(part.records / part.cpu_s),
            "lessons a second, start and end included": round(part.records / report.seconds),
            "same": part.verdict == "same" and part.records == len(told),
        }
    return out


def folds_replayed(settings: Settings, drawings: int, seed: int) -> dict[str, Any]:
    """Let the folds at work learn a history, and replay it."""
    bus = open_bus(settings)
    publish(bus, played(drawings, 100, 75, load_base().reader, seed))
    bus.close()
    environment = os.environ | settings.environment() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.integration.faulty"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    workers = [
        subprocess.Popen([*command, role, "none"], env=environment, cwd=ROOT, **quiet) for role in ("learning", "router")
    ]
    try:
        deadline = time.monotonic() + 600
        while True:  # the folds are still at work: a replay compares at the offsets that each has by then
            time.sleep(5)
            report = replay(settings, FOLDS, False, lambda *_: None)
            scorer = sum(part.records for part in report.parts if part.fold == "scorer")
            if report.status != 2 and scorer >= drawings:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"the folds do not come to an end: {report.faults()}")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    report = replay(settings, FOLDS, False, lambda *_: None)
    console.print(report.to_table(), *report.faults())
    parts = {fold: [part for part in report.parts if part.fold == fold] for fold in FOLDS}
    return {
        "drawings": drawings,
        "records a second of one core": {
            fold: round(sum(part.records for part in several) / sum(part.cpu_s for part in several))
            for fold, several in parts.items()
        },
        "seconds": round(report.seconds, 1),
        "same": report.status == 0,
    }


def main(
    lessons: Annotated[int, typer.Option(help="how many lessons are on the log")] = 100_000,
    drawings: Annotated[int, typer.Option(help="how many drawings the folds learn")] = 3_000,
    seed: Annotated[int, typer.Option(help="of lessons and history")] = 20181103,
) -> None:
    """Measure, and print."""
    told: dict[str, Any] = {}
    for name, measure, count in (("lessons", lessons_replayed, lessons), ("folds", folds_replayed, drawings)):
        with tempfile.TemporaryDirectory() as folder:
            settings = fresh_settings(Path(folder))
            with running(settings, ["kafka"]):
                here = settings.model_copy(update={"kafka_bootstrap_servers": settings.bootstrap_servers})
                told[name] = measure(here, count, seed)
    console.print(json.dumps(told, indent=2))
    slow = told["lessons"]["1 process"]["lessons a second of one core"] < TARGET
    same = told["folds"]["same"] and all(told["lessons"][name]["same"] for name in ("1 process", "2 processes"))
    raise typer.Exit(1 if slow or not same else 0)


if __name__ == "__main__":
    typer.run(main)
