"""Measures the archive of examples, and kills its writer: ``python -m tests.bench.archive``.

Kafka and S3 run as real processes, in a home of their own. The examples are of a day, by forty players, with strokes, pixels
and the guesses of seven models. A writer, which archives and merges as the trainer does, is killed again and again while they
come, and a reader counts meanwhile: it must see each example once at any moment, and none that it saw before must be gone.
"""

import argparse
import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4, uuid5

import numpy as np

from contracts.events import NAMESPACE, ExampleLabelled, Features, ShownGuess, decode, now
from contracts.ports import Blobs, Bus
from contracts.settings import Settings
from deploy.local.archive import free_ports
from deploy.local.keys import with_secrets
from deploy.local.supervisor import running
from producers import heap
from producers.blobs import MemoryBlobs, S3Blobs, ensure_bucket
from producers.bus import open_bus
from tests.sinks import parquet
from trainers.archive import Archive, read_rows
from trainers.archive_names import PREFIX
from trainers.compaction import tidy
from trainers.dataset import read_archive
from trainers.example_sink import TURN_S, Placed, catch_up

ROOT = Path(__file__).parents[2]
PORTS = ("kafka_port", "kafka_controller_port", "s3_port")
MODELS = ("xgboost", "tensorflow", "mxnet", "kmeans", "river", "yours", "everyone")
SEED = 11


DAY_S, HOUR_S = 86_400, 3_600


def examples(n: int, begin: datetime, span_s: float = DAY_S, seed: int = SEED) -> list[ExampleLabelled]:
    """Return examples that are spread over some time, as large as those that are played."""
    rng = np.random.default_rng(seed)
    guesses = [ShownGuess(model=one, version="base1", label=1, probabilities=[0.1] * 10, latency_ms=8.5) for one in MODELS]
    out = []
    for k in range(n):
        at = begin + timedelta(seconds=span_s * k / n)
        ink = rng.integers(0, 255, 784, dtype=np.uint8) * (rng.random(784) < 0.2)
        embedding = rng.random(64).astype("<f4").tobytes()
        out.append(
            ExampleLabelled(
                at=at,
                drawing_id=uuid5(NAMESPACE, f"bench/{seed}/{k}"),
                player_id=f"player-{k % 40}",
                revision=1,
                correction_id=uuid5(NAMESPACE, f"bench/{seed}/{k}/1"),
                label=int(rng.integers(10)),
                drawn_at=at - timedelta(seconds=3),
                strokes=[[[float(x), float(y)] for x, y in rng.integers(0, 300, (30, 2))] for _ in range(2)],
                width=300,
                height=300,
                features=Features(raster=ink.astype(np.uint8).tobytes(), embedding=embedding, reader="raster-1/bench"),
                guesses=guesses,
            )
        )
    return out


def yesterday() -> datetime:
    """Return when yesterday began, UTC."""
    return now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def timed(what: str, n: int, run: Callable[[], object]) -> None:
    """Print how many of n examples a second something takes, in wall time and in CPU time of this process."""
    began, cpu = time.perf_counter(), time.process_time()
    run()
    took, busy = time.perf_counter() - began, time.process_time() - cpu
    print(f"{what:44} {n / took:9,.0f} a second, {n / busy:9,.0f} a CPU second", flush=True)


def speed(n: int) -> None:
    """Print how many examples a second are decoded, written and read, in memory."""
    told = examples(n, yesterday())
    raw = [event.record_value() for event in told]
    blobs, bus = MemoryBlobs(), open_bus(f"memory://{uuid4()}")
    batches = [[Placed(k, event) for k, event in enumerate(told[first : first + 1000], first)] for first in range(0, n, 1000)]

    def decoded() -> None:
        for value in raw:
            decode("examples.v1", value)

    timed("decoded and validated", n, decoded)
    timed("encoded as Parquet", n, lambda: [parquet(0, batch) for batch in batches])
    for event in told:
        bus.publish(event)
    told.clear()
    batches.clear()
    gc.collect()  # what the bench has held is no part of what is measured
    timed("from a log to an archive, both in memory", n, lambda: catch_up(bus, Archive(blobs)))
    timed("read, from parts", n, lambda: read_archive(blobs))
    timed("merged into hours", n, lambda: tidy(blobs, now(), None, lambda: None))
    timed("read, from hours", n, lambda: read_archive(blobs))
    size = sum(len(blobs.get(key)) for key in blobs.keys(PREFIX)) / n
    print(f"{size:.0f} bytes an example in the archive, {sum(map(len, raw)) / n:.0f} on the log", flush=True)


def write(settings: Settings) -> None:
    """Archive and merge without end: the writer that is killed."""
    bus, blobs = open_bus(f"kafka://{settings.bootstrap_servers}"), S3Blobs(settings)
    while True:
        catch_up(bus, Archive(blobs))
        tidy(blobs, now(), None, lambda: None)


def kills(settings: Settings, n: int, times: int) -> None:
    """Kill the writer while examples come, and count them meanwhile and at the end."""
    chance = random.Random(SEED)
    ensure_bucket(settings)
    bus, blobs = open_bus(f"kafka://{settings.bootstrap_servers}"), S3Blobs(settings)
    environment = {**os.environ, **settings.environment()}
    done, faults, looks = threading.Event(), list[str](), [0]

    def publish() -> None:
        for k, event in enumerate(examples(n, yesterday())):
            bus.publish(event)
            if k % 200 == 199:
                time.sleep(0.2)
        bus.flush(60)

    def seen() -> list[tuple[int, int]]:
        tables, _ = read_rows(blobs, ["player_id"])
        rows = [zip(one["partition"].to_pylist(), one["offset"].to_pylist(), strict=True) for one in tables]
        return [place for several in rows for place in several]  # type: ignore[misc]

    def look() -> None:
        before: set[tuple[int, int]] = set()
        while not done.is_set():
            places = seen()
            if len(set(places)) < len(places):
                faults.append(f"{len(places) - len(set(places))} seen twice")
            if lost := before - set(places):
                faults.append(f"{len(lost)} are gone")
            before, looks[0] = set(places), looks[0] + 1

    threads = [threading.Thread(target=one, daemon=True) for one in (publish, look)]
    for thread in threads:
        thread.start()
    for _ in range(times):
        child = subprocess.Popen([sys.executable, "-m", "tests.bench.archive", "--write"], cwd=ROOT, env=environment)
        time.sleep(chance.uniform(1.5, 5.0))
        child.send_signal(signal.SIGKILL)
        child.wait()
    threads[0].join()
    most = max(sum(1 for _ in blobs.keys(PREFIX)), 1)
    catch_up(bus, Archive(blobs))
    tidy(blobs, now(), None, lambda: None)
    done.set()
    threads[1].join()
    places, files = seen(), list(blobs.keys(PREFIX))
    for key in files:
        blobs.drop(key)
    throughput(bus, blobs, n)
    bus.close()
    print(f"{times} kills: {len(places)} of {n} examples, {len(set(places))} different; {len(files)} objects, {most} before")
    print(f"a reader looked {looks[0]} times meanwhile: {faults or 'each example once, and none gone'}", flush=True)
    if sorted(set(places)) != sorted(places) or len(places) != n or len(files) > 24 or faults:
        sys.exit(1)


def throughput(bus: Bus, blobs: Blobs, n: int) -> None:
    """Print how many examples a second go from Kafka to S3: first those of a day that are on the log, then as many of one hour,
    as they come where so many come: an object holds no more than an hour of a partition."""
    for what in ("a day", "one hour"):
        if what == "one hour":
            catch_up(bus, Archive(blobs))
            for event in examples(n, yesterday() - timedelta(days=1), HOUR_S, SEED + 1):
                bus.publish(event)
            bus.flush(60)
            gc.collect()
        before = set(blobs.keys(PREFIX))
        for _ in range(3):
            timed(f"from Kafka to S3, examples of {what}", n, lambda: catch_up(bus, Archive(blobs)))
            for key in set(blobs.keys(PREFIX)) - before:
                blobs.drop(key)


def main() -> None:
    """Measure, and exit with 1 if an example was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="be the writer that is killed")
    given = parser.parse_args()
    heap.freeze()  # as the trainer does, and this
    sys.setswitchinterval(TURN_S)
    if given.write:
        write(Settings.load())
        return
    speed(given.examples)
    with tempfile.TemporaryDirectory(prefix="gamenight-", ignore_cleanup_errors=True) as home:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        settings = with_secrets(Settings(home=Path(home), aws_services="local", tools=ROOT / ".tools", **ports))  # type: ignore[arg-type]
        with running(settings, ["kafka", "s3"]):
            kills(settings, given.examples, given.kills)


if __name__ == "__main__":
    main()
