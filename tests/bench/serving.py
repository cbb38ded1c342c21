"""Measures serving on one machine: ``python -m tests.bench.serving [row ...]``, the rows of docs/benchmarks.md.

It starts the product in a fresh home, as `gamenight up` does. Drawings are put on drawings.v1 at a constant rate whether
answered or not (an open loop), and answers are read from guesses.v1 and previews.v1, so that what is measured is the bus, the
router, the local SageMaker and the endpoints; the rows of tests.bench.loop measure the game from the player's side. All runs on
one machine.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Annotated, Any, Final

import orjson
import psutil
import typer
import uvloop

from streams.make_base import idx
from tests.bench.endpoint_faults import faults
from tests.bench.loop import known, machine
from tests.bench.open_load import AskedDrawing, Load, Row, console, summary
from tests.bench.operator_client import Operator
from tests.product import ROOT, Product, product
from tests.roster import BATCH_MODELS, MODELS

RATES: Final = (100, 200, 300, 400, 500, 600, 800, 1000)
LEAST_SHARE: Final = 0.999
"""The share of drawings that all models must answer within `GRACE_S` of the last; with less, the rate is too high."""


# --- rows --------------------------------------------------------------------------------------------------------------


def cpu_seconds(game: Product) -> dict[str, float]:
    """Return the CPU seconds that each process of the product has used so far, with its children's."""
    out = {}
    for name in ("kafka", "api", "router", "router-2", "learning", "trainer", "sagemaker", "s3", "dynamodb"):
        pid = game.pid(name)
        if pid is not None:
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                out[name] = sum(
                    one.cpu_times().user + one.cpu_times().system for one in [process, *process.children(recursive=True)]
                )
    return out


async def caught_up(game: Product, patience_s: float = 30) -> float:
    """Wait until learning, which yields to answering, has caught up; return the seconds that it took."""
    began, last = time.monotonic(), cpu_seconds(game)["learning"]
    while True:
        await asyncio.sleep(0.5)
        used = cpu_seconds(game)["learning"] - last
        last += used
        if used < 0.05 or time.monotonic() - began > patience_s:
            return time.monotonic() - began - 0.5


async def row_sustained(seed: int) -> Row:
    """Measure how many drawings a second all models answer, with one router and with two; rates rise until one is too high."""
    measured: Row = {}
    for workers in (1, 2):
        with product(stream_workers=workers) as game:
            game.start()
            load = Load(game, seed)
            async with load.open():
                await load.run(50, 5)
                for rate in RATES:
                    load.asked.clear()
                    before = cpu_seconds(game)
                    began = time.monotonic()
                    put = await load.run(rate, 12)
                    took = time.monotonic() - began
                    told = summary(put, load.models)
                    after = cpu_seconds(game)
                    told["cores"] = {name: round((after[name] - before.get(name, 0)) / took, 2) for name in after}
                    told["put a second"] = round(len(put) / 12, 1)
                    told["learning behind, s"] = round(await caught_up(game), 1)
                    measured[f"{workers} router{'s' * (workers > 1)}, {rate} a second"] = told
                    console.print(workers, rate, told)
                    p99 = told.get("all ms", {}).get("p99", float("inf"))
                    if told["unanswered by one or more"] > (1 - LEAST_SHARE) * len(put) or p99 > 1500:
                        break
    return measured


async def row_steering(seed: int) -> Row:
    """Put 100 drawings a second while versions are trained, tried, promoted, shifted, rolled back, and routers restarted."""
    with product(stream_workers=2) as game:
        game.start()
        load = Load(game, seed)
        done: list[str] = []

        async def steer() -> None:
            async with Operator(game) as operator:
                versions = await operator.versions("kmeans")
                newest, base = versions[-1], versions[0]
                await operator.command("rollback", {"target": "kmeans", "reason": "bench"})
                done.append("rolled back")
                await operator.command("try", {"target": "kmeans", "version": newest, "role": "canary", "share": 0.3})
                done.append("canary 30 %")
                await asyncio.sleep(2)
                await operator.command("try", {"target": "kmeans", "version": newest, "role": "canary", "share": 0.7})
                done.append("canary 70 %")
                await asyncio.sleep(2)
                await operator.command("try", {"target": "kmeans", "version": newest, "role": "shadow"})
                done.append("shadow")
                await asyncio.sleep(2)
                await operator.command("try", {"target": "kmeans", "role": "none"})
                done.append("taken away, its endpoint updated")
                await asyncio.sleep(1)
                await operator.command("try", {"target": "kmeans", "version": newest, "role": "shadow"})
                done.append("shadow again, its endpoint updated")
                await operator.command("promote", {"target": "kmeans", "version": newest})
                done.append("promoted")
                await operator.shift("gamenight-kmeans", [newest, base])
                done.append("weights shifted, half and half, and back")
                await operator.command("policy", {"lead": "bandit"})
                done.append("bandit leads")
                await operator.command("rollback", {"target": "kmeans", "reason": "bench"})
                done.append("rolled back")
                for number, name in ((signal.SIGTERM, "router"), (signal.SIGKILL, "router-2")):
                    pid = game.pid(name)
                    assert pid is not None
                    os.kill(pid, number)
                    while game.pid(name) in (pid, None):
                        await asyncio.sleep(0.05)
                    await asyncio.sleep(8)
                    done.append(f"{name} ended by {number.name} and started again")

        async with Operator(game) as operator:  # trained before: a job yields to answers, and would take minutes now
            await operator.command("retrain", {"target": "kmeans", "base": True, "reason": "bench"}, patience_s=120)
        async with load.open():
            await load.run(50, 5)
            load.asked.clear()
            put = await load.run(100, 10, steer())
            await asyncio.sleep(8)
            async with Operator(game) as operator:
                published = {model: set(await operator.versions(model)) for model in BATCH_MODELS}
        stranger = sum(
            version not in published[model.removesuffix("/shadow")]
            for asked in put
            for model, (_, version, _) in asked.guesses.items()
            if model.removesuffix("/shadow") in published
        )
        by_version: dict[str, int] = {}
        for asked in put:
            for model in ("kmeans", "kmeans/shadow"):
                if model in asked.guesses:
                    name = f"{model} {asked.guesses[model][1]}"
                    by_version[name] = by_version.get(name, 0) + 1
        missed: dict[str, int] = {}
        for asked in put:
            for model, why in asked.missed.items():
                if model not in asked.guesses:
                    missed[f"{model}: {why[:80]}"] = missed.get(f"{model}: {why[:80]}", 0) + 1
        return {
            "done": done,
            **summary(put, load.models),
            "answered by nobody": sum(not asked.guesses for asked in put),
            "guesses by a version that was not published": stranger,
            "kmeans' guesses by version": by_version,
            "missed": missed,
        }


async def row_faults(seed: int) -> Row:
    """Let an endpoint hang, crash and answer garbage in turn, under 25 drawings a second; measure others and recovery."""
    ill = "kmeans"
    measured: Row = {}
    with product() as game:
        game.start()
        load = Load(game, seed)
        others = [model for model in load.models if model != ill]
        async with load.open():
            await load.run(50, 5)
            for fault, (break_it, mend_it) in faults(game, ill).items():
                load.asked.clear()
                before = summary(await load.run(25, 30), others)
                load.asked.clear()
                await break_it()
                during = summary(await load.run(25, 30), others)
                load.asked.clear()
                mended = time.monotonic()
                back: list[float] = []

                async def watch(since: float = mended, mend: Any = mend_it, back: list[float] = back) -> None:
                    await mend()
                    able = time.monotonic()
                    while not back and time.monotonic() - able < 30:
                        await asyncio.sleep(0.02)
                        if any(ill in asked.guesses and asked.at > able for asked in list(load.asked.values())):
                            back.append(time.monotonic() - able)

                after = await load.run(25, 8, watch())
                measured[fault] = {
                    "the others before": before,
                    "the others meanwhile": during,
                    "p99 ratio": round(during["all ms"]["p99"] / before["all ms"]["p99"], 2),
                    "back after s": round(back[0], 2) if back else None,
                    "the others afterwards": summary(after, others),
                }
                console.print(fault, measured[fault])
    return measured


async def row_blend(seed: int) -> Row:
    """Measure all models on MNIST's 10,000 test images, asked as probes over the bus."""
    rasters = idx(ROOT / "data" / "mnist" / "t10k-images-idx3-ubyte.gz").reshape(-1, 784)
    labels = idx(ROOT / "data" / "mnist" / "t10k-labels-idx1-ubyte.gz")
    with product() as game:
        game.start()
        load = Load(game, seed)
        async with load.open():
            put: list[AskedDrawing] = []
            for raster in rasters:
                put.append(await load.put(final=False, probe=True, strokes=[], raster=raster.tobytes()))
                while len(put) > 200 and not set(MODELS) <= put[-200].guesses.keys() | put[-200].missed.keys():
                    await asyncio.sleep(0.01)
            waited = time.monotonic() + 30
            while time.monotonic() < waited and any(not set(MODELS) <= asked.guesses.keys() for asked in put):
                await asyncio.sleep(0.2)
    right = {
        model: sum(model in a.guesses and a.guesses[model][2] == y for a, y in zip(put, labels, strict=True))
        for model in MODELS
    }
    unanswered = {model: sum(model not in asked.guesses for asked in put) for model in MODELS}
    return {
        "accuracy": {model: round(n / len(labels), 4) for model, n in right.items()},
        "unanswered": unanswered,
        "blends with somebody left out": sum(bool(asked.left_out) for asked in put),
    }


async def row_memory(seed: int) -> Row:
    """Measure the memory of the whole system, idle for half a minute after some play; shared pages count once (PSS)."""
    with product() as game:
        game.start()
        load = Load(game, seed)
        async with load.open():
            await load.run(25, 10)
        await asyncio.sleep(30)
        parts: dict[str, float] = {}
        for process in game.processes():
            with suppress(psutil.Error):
                command = process.cmdline()
                name = next(
                    (part for part in (*BATCH_MODELS, "dynamodb", "kafka", "s3_server") if part in " ".join(command).lower()),
                    "",
                )
                parts[name or " ".join(command[1:4])[-40:]] = parts.get(name, 0) + process.memory_full_info().pss / 2**20
        return {"MB": {name: round(mb) for name, mb in parts.items()}, "together, MB": round(sum(parts.values()))}


ROWS: dict[str, Callable[[int], Coroutine[Any, Any, Row]]] = {
    "sustained": row_sustained,
    "steering": row_steering,
    "faults": row_faults,
    "blend": row_blend,
    "memory": row_memory,
}


def main(
    rows: Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(ROWS)}; none: all")] = None,
    seed: Annotated[int, typer.Option(help="of all chances")] = 20181103,
) -> None:
    """Measure the rows, and print them as JSON (standard output)."""
    chosen = known(rows, ROWS)
    result: Row = {"machine": machine(), "seed": seed}
    for row in chosen:
        began = time.monotonic()
        result[row] = uvloop.run(ROWS[row](seed))
        result[row]["took, s"] = round(time.monotonic() - began, 1)
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode())


if __name__ == "__main__":
    typer.run(main)
