"""Measures what each image costs: its environment on disk, its installation, its server: ``python -m tests.bench.images``.

An environment is made as `make setup` makes it, twice in a folder of its own: with an empty cache of packages, which is what a
first set-up does (the network is in that time), and with a full one. Then its server answers with the base model.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from deploy.local.install import ROOT, Step, steps, training_step
from deploy.local.sagemaker.unpacking import unpack
from tests.bench.loop import known, machine
from tests.roster import BATCH_MODELS, IMAGES
from tests.unit.test_images import Server, mnist, npy, serving

ROWS_ASKED = (1, 32, 64)
TIMES = 200


def megabytes(folder: Path) -> int:
    """Return the size of all files under a folder, in millions of bytes; each counts once, however many names it has."""
    files = {(found.st_dev, found.st_ino): found.st_size for path in folder.rglob("*") for found in [path.lstat()]}
    return round(sum(files.values()) / 10**6)


def installation(step: Callable[[Path], Step]) -> dict[str, Any]:
    """Return how long it takes to make an environment, and how big it is."""
    with tempfile.TemporaryDirectory(prefix="gamenight-") as place:
        os.environ["UV_CACHE_DIR"] = str(Path(place) / "cache")
        took = []
        for attempt in ("first", "second"):
            one = step(Path(place) / attempt)
            began = time.monotonic()
            one.run(lambda text: None)
            took.append(round(time.monotonic() - began, 1))
        del os.environ["UV_CACHE_DIR"]
        return {"environment, MB": megabytes(one.made), "empty cache, s": took[0], "full cache, s": took[1]}


def serving_environment(model: str) -> Callable[[Path], Step]:
    """Return the function that gives the step of an image's own environment, in a folder of tools."""
    return lambda tools: next(step for step in steps(tools, IMAGES.values()) if step.made == tools / "images" / model)


def training_environment(model: str) -> Callable[[Path], Step] | None:
    """Return the function that gives the step of its training environment; None: it trains with its serving environment."""
    if training_step(ROOT / ".tools", IMAGES[model]) is None:
        return None

    def made(tools: Path) -> Step:
        step = training_step(tools, IMAGES[model])
        assert step
        return step

    return made


def served(model: str) -> dict[str, Any]:
    """Measure the installed image's server: the time to start, its memory, and the time of an answer."""
    with tempfile.TemporaryDirectory() as folder:
        with (IMAGES[model] / "base" / "model.tar.gz").open("rb") as packed:
            unpack(packed, Path(folder) / "model")
        [told] = [_served(server) for server in serving(model, Path(folder) / "model")]
    return told


def _served(server: Server) -> dict[str, Any]:
    [process] = [
        one
        for one in psutil.Process().children()
        if any(server.algorithm in part for part in one.cmdline()) and one.is_running()
    ]
    told: dict[str, Any] = {
        "start to /ping, CPU s": round(sum(process.cpu_times()[:2]), 2),
        "RSS idle, MB": round(process.memory_info().rss / 2**20),
    }
    images, _ = mnist("t10k", max(ROWS_ASKED))
    for rows in ROWS_ASKED:
        body = npy(np.ascontiguousarray(images[:rows]))
        took = []
        for _ in range(TIMES):
            began = time.perf_counter()
            assert server.ask("POST", "/invocations", body, content_type="application/x-npy")[0] == 200
            took.append(1000 * (time.perf_counter() - began))
        told[f"{rows} rows over HTTP, ms, median of {TIMES}"] = round(statistics.median(took), 2)
    return told


def main(
    models: Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(BATCH_MODELS)}; none: all")] = None,
    install: Annotated[bool, typer.Option(help="make the environments anew, from the package index")] = True,
    training: Annotated[bool, typer.Option(help="and those for training alone, which can have gigabytes")] = False,
) -> None:
    """Measure the images, and print them as JSON (standard output)."""
    result: dict[str, Any] = {"machine": machine()}
    for model in known(models, BATCH_MODELS):
        told = result[model] = served(model)
        if install:
            told |= installation(serving_environment(model))
        if training and (made := training_environment(model)):
            told["for training"] = installation(made)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
