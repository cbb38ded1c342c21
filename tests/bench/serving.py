"""Measures serving on one machine: ``python -m tests.bench.serving [row ...]``, the rows of docs/benchmarks.md.

It starts the product in a fresh home, as `gamenight up` does. Drawings are put on drawings.v1 at a constant rate whether
answered or not (an open loop), and answers are read from guesses.v1 and previews.v1, so that what is measured is the bus, the
router, the local SageMaker and the endpoints; the rows of tests.bench.loop measure the game from the player's side. All runs on
one machine.
"""

import asyncio
import io
import os
import random
import signal
import tarfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import boto3
import httpx
import numpy as np
import orjson
import psutil
import typer
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console

from contracts.events import DrawingSubmitted, now, variant_of
from contracts.settings import Settings
from producers.handwriting import handwriting, ink
from producers.tally import Spread
from streams.make_base import idx
from tests.bench.loop import known, machine
from tests.product import ROOT, Product, product
from tests.roster import BATCH_MODELS, MODELS

console = Console(stderr=True)
Row = dict[str, Any]
RATES: Final = (100, 200, 300, 400, 500, 600, 800, 1000)
LEAST_SHARE: Final = 0.999
"""Of the drawings at a rate, that must be answered by all within `GRACE_S` of the last; below it the rate is too much."""
GRACE_S: Final = 5.0


class Asked:
    """A drawing that was put on the bus, and what came of it."""

    __slots__ = ("at", "guesses", "left_out", "missed")

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.guesses: dict[str, tuple[float, str, int]] = {}
        """By model: ms after it was put, version, label. A shadow's is under ``<model>/shadow``."""
        self.missed: dict[str, str] = {}
        self.left_out: dict[str, str] = {}

    def all_ms(self, models: Sequence[str]) -> float | None:
        """When the last of these models had answered; None: one has not."""
        times = [self.guesses[model][0] for model in models if model in self.guesses]
        return max(times) if len(times) == len(models) else None


class Load:
    """Drawings at a constant rate, and their answers."""

    def __init__(self, game: Product, seed: int) -> None:
        self._bootstrap = game.settings.bootstrap_servers
        chance = random.Random(seed)
        pen = [written for someone in handwriting().values() for written in someone]
        self._inks = [ink(chance.choice(pen), chance) for _ in range(500)]
        self._next = 0
        listed = httpx.get(f"{game.url}/api/models", timeout=10, trust_env=False).json()
        self.models = [one["model"] for one in listed if one["unavailable"] is None]
        """Who can answer on this machine."""
        if set(self.models) != set(MODELS):
            console.print(f"not here, so not waited for: {', '.join(set(MODELS) - set(self.models))}", style="red")
        self.asked: dict[UUID, Asked] = {}

    @asynccontextmanager
    async def open(self) -> Any:
        """Connect, and read answers meanwhile."""
        self._producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all", linger_ms=2)
        self._consumer = AIOKafkaConsumer(
            "guesses.v1", "previews.v1", bootstrap_servers=self._bootstrap, auto_offset_reset="latest"
        )
        await self._producer.start()
        await self._consumer.start()
        await self._consumer.seek_to_end()
        for partition in self._consumer.assignment():
            await self._consumer.position(partition)
        reading = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await self._producer.stop()
            await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                heard = time.monotonic()
                for record in records:
                    event = orjson.loads(record.value)
                    asked = self.asked.get(UUID(event["drawing_id"]))
                    if asked is None:
                        continue
                    if event["type"] == "GuessMissed":
                        asked.missed[event["model"]] = event["why"]
                        continue
                    name = event["model"] + ("/shadow" if event["role"] == "shadow" else "")
                    asked.guesses.setdefault(name, ((heard - asked.at) * 1000, event["version"], event["label"]))
                    if event["left_out"]:
                        asked.left_out = event["left_out"]

    async def put(self, **given: Any) -> Asked:
        """One drawing; by default one of people's, finished."""
        inked = self._inks[self._next % len(self._inks)]
        drawn = {"strokes": inked.strokes, "width": inked.width, "height": inked.height, "final": True} | given
        player = given.pop("player_id", f"bench-{self._next % 100}")
        self._next += 1
        event = DrawingSubmitted(drawing_id=uuid4(), player_id=player, at=now(), **drawn)
        asked = self.asked[event.drawing_id] = Asked()
        await self._producer.send(event.topic, event.record_value(), event.record_key())
        return asked

    async def run(self, rate: float, seconds: float, until: Awaitable[Any] | None = None) -> list[Asked]:
        """Drawings at ``rate`` a second, for ``seconds``, and on until something is done; then wait for the answers."""
        began, put = time.monotonic(), []
        doing = asyncio.ensure_future(until) if until is not None else None
        while (passed := time.monotonic() - began) < seconds or (doing is not None and not doing.done()):
            while len(put) < passed * rate:
                put.append(await self.put())
            await asyncio.sleep(0.004)
        if doing is not None:
            await doing
        waited = time.monotonic() + GRACE_S
        while time.monotonic() < waited and any(
            asked.guesses.keys() | asked.missed.keys() < set(MODELS) for asked in put[-400:]
        ):
            await asyncio.sleep(0.05)
        return put


def summary(put: Sequence[Asked], models: Sequence[str]) -> Row:
    """Latencies of these models' answers, and how many drawings were not answered by all of them."""
    spread, first = Spread(), Spread()
    unanswered = 0
    for asked in put:
        ms = asked.all_ms(models)
        if ms is None:
            unanswered += 1
        else:
            spread.add(ms)
            first.add(min(asked.guesses[model][0] for model in models))
    told: Row = {"drawings": len(put), "unanswered by one or more": unanswered}
    told["left out of everyone"] = sum(bool(asked.left_out) for asked in put)
    if spread.n:
        told |= {"all ms": {f"p{q}": round(spread.quantile(q / 100), 1) for q in (50, 95, 99)}}
        told |= {"first ms": {f"p{q}": round(first.quantile(q / 100), 1) for q in (50, 99)}}
    return told


# --- rows --------------------------------------------------------------------------------------------------------------


def cpu_seconds(game: Product) -> dict[str, float]:
    """CPU that each of the product's processes has used so far, its children's included."""
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
    """Wait until learning, which stands back for answering, has nothing left to do; gives the seconds that it took."""
    began, last = time.monotonic(), cpu_seconds(game)["learning"]
    while True:
        await asyncio.sleep(0.5)
        used = cpu_seconds(game)["learning"] - last
        last += used
        if used < 0.05 or time.monotonic() - began > patience_s:
            return time.monotonic() - began - 0.5


async def row_sustained(seed: int) -> Row:
    """How many drawings a second all models answer, with one router and with two; the rates go up until it breaks."""
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
    """100 drawings a second while versions are trained, tried, promoted, shifted, rolled back, and routers restarted."""
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

        async with Operator(game) as operator:  # trained before: a job stands back, and would take minutes under this load
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


class Operator:
    """Who steers, over the operators' API and the local SageMaker."""

    def __init__(self, game: Product) -> None:
        settings = Settings.load(**game.settings.model_dump(exclude_none=True))
        self._settings = settings
        headers = {"Authorization": f"Bearer {settings.operator_token}"}
        self._http = httpx.AsyncClient(base_url=game.url, headers=headers, timeout=10, trust_env=False)

    async def __aenter__(self) -> "Operator":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def command(self, name: str, body: Row, patience_s: float = 30) -> str:
        """Give a command and wait until it is carried out; gives what the trainer says to it."""
        answer = await self._http.post(f"/api/ops/{name}", json=body)
        answer.raise_for_status()
        command_id = answer.json()["command_id"]
        async with asyncio.timeout(patience_s):
            while True:
                told = (await self._http.get(f"/api/ops/commands/{command_id}")).json()
                if told["outcome"] in ("failed", "refused"):
                    raise RuntimeError(f"{name} {body}: {told}")
                if told["outcome"] == "done":
                    return str(told["message"])
                await asyncio.sleep(0.1)

    async def versions(self, model: str) -> list[str]:
        """All versions of a model, the oldest first."""
        listed = (await self._http.get("/api/models")).json()
        return [version["version"] for one in listed if one["model"] == model for version in one["versions"]]

    async def shift(self, endpoint: str, versions: Sequence[str]) -> None:
        """Share an endpoint's traffic half and half between two versions for two seconds, through boto3."""
        sagemaker: Any = boto3.client("sagemaker", **self._settings.aws("sagemaker"))

        async def weigh(weights: Sequence[float]) -> None:
            wishes = [{"VariantName": variant_of(v), "DesiredWeight": w} for v, w in zip(versions, weights, strict=True)]
            await asyncio.to_thread(
                sagemaker.update_endpoint_weights_and_capacities, EndpointName=endpoint, DesiredWeightsAndCapacities=wishes
            )
            await asyncio.to_thread(sagemaker.get_waiter("endpoint_in_service").wait, EndpointName=endpoint)

        await weigh([1, 1])
        await asyncio.sleep(2)
        await weigh([1, 0])


async def row_faults(seed: int) -> Row:
    """One endpoint hung, crashed and answering garbage, in turn, under 25 drawings a second: the others, and its way back."""
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


Act = Callable[[], Coroutine[Any, Any, None]]


def faults(game: Product, model: str) -> dict[str, tuple[Act, Act]]:
    """How each fault is made, and how it ends."""
    settings = Settings.load(**game.settings.model_dump(exclude_none=True))

    def serving() -> list[psutil.Process]:
        root = psutil.Process(game.pid("sagemaker"))
        found = []
        for process in root.children(recursive=True):
            with suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if f"images/{model}/" in command and "serve" in command:
                    found.append(process)
        return found

    async def hang() -> None:
        for process in serving():
            process.suspend()

    async def wake() -> None:
        for process in serving():
            with suppress(psutil.Error):
                process.resume()

    stop = asyncio.Event()
    killing: list[asyncio.Task[None]] = []

    async def crash() -> None:
        async def keep_killing() -> None:
            while not stop.is_set():
                for process in serving():
                    with suppress(psutil.Error):
                        process.kill()
                await asyncio.sleep(0.1)

        stop.clear()
        killing.append(asyncio.create_task(keep_killing()))

    async def let_live() -> None:
        stop.set()
        await asyncio.gather(*killing)

    async def garbage() -> None:
        await asyncio.to_thread(spoil, settings, model)

    async def unspoil() -> None:
        await asyncio.to_thread(restore, settings, model)

    return {"hung": (hang, wake), "crashed": (crash, let_live), "garbage": (garbage, unspoil)}


def spoil(settings: Any, model: str) -> None:
    """Let an endpoint serve a model whose numbers are all NaN, under the name of the one before: what it answers is garbage."""
    sagemaker = boto3.client("sagemaker", **settings.aws("sagemaker"))
    config = sagemaker.describe_endpoint(EndpointName=f"gamenight-{model}")["EndpointConfigName"]
    [variant] = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    container = sagemaker.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]
    bucket, key = container["ModelDataUrl"].removeprefix("s3://").split("/", 1)
    s3 = boto3.client("s3", **settings.aws("s3"))
    artifact = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=f"bench/{model}/model.tar.gz", Body=spoilt(artifact))
    sagemaker.create_model(
        ModelName=f"bench-{model}",
        PrimaryContainer={**container, "ModelDataUrl": f"s3://{bucket}/bench/{model}/model.tar.gz"},
        ExecutionRoleArn=settings.role_arn,
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName=f"bench-{model}", ProductionVariants=[{**variant, "ModelName": f"bench-{model}"}]
    )
    update(sagemaker, model, f"bench-{model}")
    restored[model] = config


restored: dict[str, str] = {}
"""The configuration of each endpoint before it was spoilt."""


def restore(settings: Any, model: str) -> None:
    """Let the endpoint serve what it served before."""
    update(boto3.client("sagemaker", **settings.aws("sagemaker")), model, restored.pop(model))


def update(sagemaker: Any, model: str, config: str) -> None:
    """Let an endpoint go over to another configuration, and wait until it has."""
    sagemaker.update_endpoint(EndpointName=f"gamenight-{model}", EndpointConfigName=config)
    while sagemaker.describe_endpoint(EndpointName=f"gamenight-{model}")["EndpointStatus"] != "InService":
        time.sleep(0.05)


def spoilt(artifact: bytes) -> bytes:
    """A model artifact with NaN in the place of every number in its arrays."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(artifact)) as given, tarfile.open(fileobj=out, mode="w:gz") as made:
        for entry in given.getmembers():
            file = given.extractfile(entry)
            assert file is not None
            content = file.read()
            if entry.name.endswith(".npz"):
                with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                    kept = {name: np.full_like(a, np.nan) if a.dtype.kind == "f" else a for name, a in arrays.items()}
                spoiled = io.BytesIO()
                np.savez(spoiled, **kept)
                content = spoiled.getvalue()
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return out.getvalue()


async def row_blend(seed: int) -> Row:
    """All models on MNIST's 10,000 test images, asked as probes over the bus."""
    rasters = idx(ROOT / "data" / "mnist" / "t10k-images-idx3-ubyte.gz").reshape(-1, 784)
    labels = idx(ROOT / "data" / "mnist" / "t10k-labels-idx1-ubyte.gz")
    with product() as game:
        game.start()
        load = Load(game, seed)
        async with load.open():
            put: list[Asked] = []
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
    """Memory of the whole system, idle for half a minute after playing a little; shared pages are counted once (PSS)."""
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
