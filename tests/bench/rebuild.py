"""Measures how long a whole rebuild takes, step by step: ``python -m tests.bench.rebuild``.

Kafka, S3, DynamoDB, the local SageMaker and the trainer run as real processes, in a home of their own. The feedback is the
handwriting of data/pen as labelled examples; nobody plays meanwhile.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from uuid import uuid5

import numpy as np

from contracts.drawing import rasterize
from contracts.events import (
    NAMESPACE,
    TRAINING_ENDS,
    ExampleLabelled,
    Features,
    RetrainModel,
    ShownGuess,
    TrainingAdvanced,
    decode,
    now,
)
from contracts.settings import Settings
from deploy.local.archive import free_ports
from deploy.local.keys import with_secrets
from deploy.local.supervisor import running
from producers.blobs import S3Blobs
from producers.bus import open_bus
from producers.signing import Signer, SigningBus
from trainers.archive import Archive

ROOT = Path(__file__).parents[2]
PORTS = ("kafka_port", "kafka_controller_port", "sagemaker_port", "s3_port", "dynamodb_port")


def feedback(count: int) -> list[ExampleLabelled]:
    """Return the first ``count`` drawings of data/pen, labelled by their writers."""
    with gzip.open(ROOT / "data" / "pen" / "pendigits-30-writers.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line, _ in zip(file, range(count), strict=False)]
    out = []
    embedding = np.zeros(64, "<f4").tobytes()
    for n, line in enumerate(lines):
        strokes = [[[float(x), float(y)] for x, y in zip(flat[::2], flat[1::2], strict=True)] for flat in line["strokes"]]
        out.append(
            ExampleLabelled(
                drawing_id=uuid5(NAMESPACE, f"bench/{n}"),
                player_id=f"writer-{line['writer']}",
                revision=1,
                correction_id=uuid5(NAMESPACE, f"bench/{n}/1"),
                label=line["label"],
                drawn_at=now() - timedelta(seconds=5),
                strokes=strokes,
                width=1000,
                height=1000,
                features=Features(raster=rasterize(strokes).tobytes(), embedding=embedding, reader="raster-1/bench"),
                guesses=[ShownGuess(model="xgboost", version="base1", label=0, probabilities=[0.1] * 10, latency_ms=10)],
            )
        )
    return out


def main() -> None:
    """Measure a rebuild, and print a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feedback", type=int, default=3000, help="labelled drawings of players")
    parser.add_argument("--rounds", type=int, help="of boosting; not given: as the image says")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gamenight-", ignore_cleanup_errors=True) as home:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        settings = with_secrets(
            Settings(home=Path(home), aws_services="local", tools=ROOT / ".tools", training_rounds=given.rounds, **ports)  # type: ignore[arg-type]
        )
        with running(settings, ["kafka", "s3", "dynamodb", "sagemaker"]):
            measure(settings, given.feedback)


def measure(settings: Settings, count: int) -> None:
    """Measure a rebuild with ``count`` labelled drawings."""
    bus = SigningBus(open_bus(f"kafka://{settings.bootstrap_servers}"), Signer("api", settings.api_signing_key))
    for example in feedback(count):
        bus.publish(example)
    bus.flush(60)
    log = (settings.home / "trainer.log").open("wb")
    trainer = subprocess.Popen(
        [sys.executable, "-m", "trainers"], cwd=ROOT, env={**os.environ, **settings.environment()}, stdout=log, stderr=log
    )
    command = RetrainModel(command_id=uuid5(NAMESPACE, "bench"), target="xgboost", by="bench")
    tail = bus.follow(["models.v1"], "start")
    try:
        base = time.monotonic()
        while not (first := tail.poll(1)):
            if trainer.poll() is not None:
                sys.exit((settings.home / "trainer.log").read_text()[-3000:])
        print(f"{'base published after':24} {time.monotonic() - base:7.1f} s  ({len(first)} events)", flush=True)
        archived = time.monotonic()
        while sum(Archive(S3Blobs(settings)).places().values()) < count:
            time.sleep(0.2)
        print(f"{'examples archived after':24} {time.monotonic() - archived:7.1f} s", flush=True)
        bus.publish(command).result(30)
        began = last = time.monotonic()
        step, message = "command", ""
        while step not in TRAINING_ENDS:
            for record in tail.poll(1):
                event = decode(record.topic, record.value)
                if not isinstance(event, TrainingAdvanced) or event.command_id != command.command_id:
                    continue
                for line in event.log:
                    print(f"    {line}", flush=True)
                key = f"{event.step}: {event.message.rpartition(': ')[2]}" if event.step == "training" else event.step
                if key != step and (event.message or event.step == "training"):
                    print(f"{step[:24]:24} {time.monotonic() - last:7.1f} s  {message}", flush=True)
                    step, message, last = key, event.message, time.monotonic()
        print(f"{'all':24} {last - began:7.1f} s  {message}", flush=True)
    finally:
        trainer.terminate()
        trainer.wait()
        tail.close()
        bus.close()


if __name__ == "__main__":
    main()
