"""Measures one rebuild from the command to the version that answers, stage by stage, for `tests.bench.training`.

MNIST's 60,000 images and 3,600 labels of players are made a dataset, uploaded, trained on by the SDK's job, judged on MNIST's
10,000 test images and on held-back people beside the champion, registered, and promoted. Kafka, S3, DynamoDB, the local
SageMaker and the trainer are real processes that run already, as in a home where people play; nobody plays meanwhile.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from uuid import uuid5

import boto3
import psutil

from contracts.events import NAMESPACE, ModelPromoted, ModelPublished, RetrainModel, decode
from contracts.ports import Bus
from contracts.settings import Settings
from producers.blobs import S3Blobs
from producers.price_file import read_prices
from producers.whole_log import all_records
from tests.bench.training_labels import judged_lessons, labelled
from tests.bench.training_people import followed, home, trainer
from trainers.archive import Archive
from trainers.jobs import job_name
from trainers.registry import Registry

INSTANCE: Final = "ml.c5.xlarge"
SEEDS: Final = "six minutes and four cents, on two c4.xlarge"
"""What the founders' slides say of a training."""


@dataclass
class Staged:
    """A rebuild that has ended."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Of wall time, by stage."""
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """Of all processes together, by stage."""
    published: ModelPublished | None = None
    registered: bool = False


def end_to_end(models: Sequence[str]) -> Iterator[str]:
    """Rebuild the first model; yield a line a stage, and the row of the table."""
    model = models[0]
    load = os.getloadavg()[0]
    with home(training_instance=INSTANCE) as (settings, bus):
        examples = labelled(0, (), 3600)
        for event in [*examples, *judged_lessons(0, examples)]:
            bus.publish(event)
        bus.flush(120)
        with trainer(settings) as check:
            archive = Archive(S3Blobs(settings))
            while sum(archive.places().values()) < len(examples):
                check()
                time.sleep(0.5)
                archive = Archive(S3Blobs(settings))
            while not _answers(bus, model):
                check()
            time.sleep(2)  # what the start has left
            done = _measured(settings, bus, RetrainModel(command_id=uuid5(NAMESPACE, "bench"), target=model, by="bench"))
    told = done.published
    assert told is not None
    for stage, seconds in done.seconds.items():
        cpu = f", {done.cpu_seconds[stage]:5.1f} s of CPU" if stage in done.cpu_seconds else ""
        yield f"  {stage:24} {seconds:6.1f} s{cpu}"
    prices = read_prices(settings)
    cents = 100 * told.metrics["training_cost_usd"]
    wall, cpu_all = (sum(of[stage] for stage in done.cpu_seconds) for of in (done.seconds, done.cpu_seconds))
    yield f"  load before {load:.1f}, after {os.getloadavg()[0]:.1f}; {told.gate}"
    yield (
        f"| {model}: 70,000 images and 3,600 labels, from the command to the version that answers | <= 90 s, >= 99.0 % |"
        f" **{wall:.1f} s** ({cpu_all:.0f} s of CPU), **{100 * told.metrics['mnist_accuracy']:.2f} %** on MNIST test,"
        f" {'registered' if done.registered else 'NOT registered'}, {told.verdict}; {told.metrics['training_seconds']:.0f} s of"
        f" {INSTANCE}: {cents:.2f} cents by the prices of {prices.as_of} | {SEEDS} |"
    )


def _answers(bus: Bus, model: str) -> bool:
    """Say whether there is a champion, after a second at most."""
    events = (decode(record.topic, record.value) for record in all_records(bus, ["models.v1"]) if record.value is not None)
    return any(isinstance(event, ModelPromoted) and event.model == model for event in events)


def _measured(settings: Settings, bus: Bus, command: RetrainModel) -> Staged:
    """Give the command, and follow it."""
    done, times = Staged(), list[tuple[str, float, float]]()
    bus.publish(command).result(30)
    times.append(("command", time.monotonic(), _cpu()))
    for at, event in followed(bus, [command], lambda: None):
        if isinstance(event, ModelPublished):
            done.published = event
        elif event.step != times[-1][0]:
            times.append((event.step, at, _cpu()))
    for (step, began, cpu), (_, ended, cpu_then) in pairwise(times):
        done.seconds[step], done.cpu_seconds[step] = ended - began, cpu_then - cpu
    job = boto3.client("sagemaker", **settings.aws("sagemaker")).describe_training_job(
        TrainingJobName=job_name(command.target, command.command_id)
    )
    for one in job["SecondaryStatusTransitions"]:
        if "EndTime" in one:
            done.seconds[f"  of the job: {one['Status']}"] = (one["EndTime"] - one["StartTime"]).total_seconds()
    registered = Registry(settings, S3Blobs(settings)).versions(command.target)
    done.registered = any(one.command_id == str(command.command_id) for one in registered)
    return done


def _cpu() -> float:
    """Return the processor seconds of all processes that this one has started, and of theirs that have ended."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system + used.children_user + used.children_system
    return total
