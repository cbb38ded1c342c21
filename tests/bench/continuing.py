"""Measures training that goes on from a version beside training anew: ``python -m tests.bench.continuing [MODEL ...]``.

Of the 30 writers of data/pen, the first eight have taught the version before, eight more have come since, and 14 are never
seen. Each image's own `train` makes three models: the one before, one anew from everything, and one that goes on from the
first.
"""

import gzip
import hashlib
import io
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from contracts.drawing import rasterize
from deploy.local.install import ROOT, training_step
from tests.bench.loop import machine
from tests.roster import BATCH_MODELS, IMAGES, ROSTER
from tests.unit.test_images import TOOLS, environment, mnist, script, serving
from trainers.images.make_base import pack

BEFORE, SINCE = 8, 16
WEIGHT: Final = 3.0
"""What a person's drawing counts beside one of MNIST, as the settings have it."""
SEED: Final = 20181103


def pen() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    """Return the drawings of data/pen, their labels, and the place of each one's writer among all."""
    with gzip.open(ROOT / "data" / "pen" / "pendigits-30-writers.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in file]
    strokes = ([list(zip(flat[::2], flat[1::2], strict=True)) for flat in line["strokes"]] for line in lines)
    images = np.stack([rasterize([[list(point) for point in one] for one in each]).reshape(-1) for each in strokes])
    writers = sorted({line["writer"] for line in lines})
    return (
        images,
        np.array([line["label"] for line in lines], np.uint8),
        np.array([writers.index(line["writer"]) for line in lines]),
    )


def npz(images: NDArray[np.uint8], labels: NDArray[np.uint8], weight: float) -> bytes:
    """Return a channel's file."""
    out = io.BytesIO()
    np.savez(out, images=images, labels=labels, weights=np.full(len(labels), weight, np.float32))
    return out.getvalue()


def trained(model: str, place: Path, channels: dict[str, bytes], given: dict[str, str]) -> tuple[bytes, float, float]:
    """Return the artifact that an image's `train` makes, the seconds that it takes, and those of all its processors."""
    for name, data in channels.items():
        folder = place / "input" / "data" / name
        folder.mkdir(parents=True)
        (folder / ("model.tar.gz" if name == "model" else "drawings.npz")).write_bytes(data)
    command = script(model, "train")
    if training_step(TOOLS, IMAGES[model]) is not None:
        command[0] = str(TOOLS / "images" / f"{model}-train" / "bin" / "python")
    made = environment(SAGEMAKER_BASE_DIR=place, SM_HPS=json.dumps(given))
    del made["OMP_NUM_THREADS"]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=made, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout[-500:] + done.stderr[-1500:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return pack(place / "model"), time.monotonic() - began, worked


def right(model: str, place: Path, *tests: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> list[float]:
    """Return the share of each test's drawings that a model answers right, as its server does."""
    out = []
    for server in serving(model, place / "model"):
        for images, labels in tests:
            answers = [server.probabilities(images[first : first + 500]) for first in range(0, len(images), 500)]
            out.append(float((np.concatenate(answers).argmax(axis=1) == labels).mean()))
    return out


def measured(model: str) -> dict[str, Any]:
    """Return seconds, accuracy and size of the three models."""
    images, labels, writers = pen()
    base = npz(*mnist("train", 60_000), 1.0)
    unseen, test = writers >= SINCE, mnist("t10k", 10_000)
    first, everything = (npz(images[writers < n], labels[writers < n], WEIGHT) for n in (BEFORE, SINCE))
    own = {**ROSTER[model].hyperparameters, "seed": str(SEED)}
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="gamenight-") as home:
        before = b""
        for name, channels, given in (
            ("before", {"base": base, "train": first}, own),
            ("in full", {"base": base, "train": everything}, own),
            ("continued", {"base": base, "train": everything}, {**own, **ROSTER[model].continues}),
            ("continued again", {"base": base, "train": everything}, {**own, **ROSTER[model].continues}),
        ):
            if name.startswith("continued"):
                channels, given = channels | {"model": before}, given | {"parent": hashlib.sha256(before).hexdigest()}
            place = Path(home) / name.replace(" ", "-")
            artifact, seconds, worked = trained(model, place, channels, given)
            before = before or artifact
            people, of_mnist = right(model, place, (images[unseen], labels[unseen]), test)
            out[name] = {
                "s": round(seconds, 1),
                "processor s": round(worked, 1),
                "people never seen": f"{people:.2%}",
                "MNIST": f"{of_mnist:.2%}",
                "KB": round(len(artifact) / 1024),
                "sha256": hashlib.sha256(artifact).hexdigest()[:12],
            }
            print(f"{model:11} {name:16} {out[name]}", flush=True)
    return out


def main(models: Annotated[list[str] | None, typer.Argument(help="Batch models; not given: all.")] = None) -> None:
    """Measure each model, and print the figures as they come, then as JSON."""
    print(json.dumps({"machine": machine(), **{model: measured(model) for model in models or BATCH_MODELS}}, indent=1))


if __name__ == "__main__":
    typer.run(main)
