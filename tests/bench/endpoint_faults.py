"""Makes and ends faults of an endpoint: it hangs, crashes, or answers garbage."""

import asyncio
import io
import tarfile
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import boto3
import numpy as np
import psutil

from contracts.settings import Settings
from tests.product import Product

Act = Callable[[], Coroutine[Any, Any, None]]


def faults(game: Product, model: str) -> dict[str, tuple[Act, Act]]:
    """Return the functions that make each fault and end it."""
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
    """Let an endpoint answer garbage: serve a model whose numbers are all NaN, under the name of the model before."""
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
"""The configuration that each endpoint had before it was spoilt."""


def restore(settings: Any, model: str) -> None:
    """Let the endpoint serve the model that it served before."""
    update(boto3.client("sagemaker", **settings.aws("sagemaker")), model, restored.pop(model))


def update(sagemaker: Any, model: str, config: str) -> None:
    """Update an endpoint to another configuration, and wait until the update is done."""
    sagemaker.update_endpoint(EndpointName=f"gamenight-{model}", EndpointConfigName=config)
    while sagemaker.describe_endpoint(EndpointName=f"gamenight-{model}")["EndpointStatus"] != "InService":
        time.sleep(0.05)


def spoilt(artifact: bytes) -> bytes:
    """Return a model artifact with NaN in the place of every number in its arrays."""
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
