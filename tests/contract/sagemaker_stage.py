"""Runs the local SageMaker within the test's own process; its images run a small server that can be held back."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from contracts.settings import Settings
from deploy.local.sagemaker.app import Sagemaker
from deploy.local.sagemaker.containers import MARK, Image, Images

SERVE = '''
"""Serves once the file that GATE names is there."""
import os, sys, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass

threading.Thread(target=threading.Event().wait, daemon=True).start()
if "BROKEN" in os.environ:
    sys.exit("broken")
while "GATE" in os.environ and not os.path.exists(os.environ["GATE"]):
    time.sleep(0.01)
HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
'''

TRAIN = """
import os

exec(os.environ["SCRIPT"])
"""


class Stage:
    """A home on which services run one after the other, as after kill -9."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Prepare the home; nothing runs yet."""
        self.settings = Settings(home=folder, aws_services="local")
        self.home = folder / "sagemaker"
        self.gate = folder / "gate"
        (folder / "serve.py").write_text(SERVE)
        (folder / "train.py").write_text(TRAIN)
        monkeypatch.setattr(Images, "name", lambda *_: "any")
        monkeypatch.setattr(Images, "find", lambda *_: Image("any:1", folder, Path(sys.executable)))

    @asynccontextmanager
    async def service(self, *, killed: bool = False) -> AsyncIterator["Played"]:
        """Run a service that takes up what the service before has left; a killed service writes nothing at its end."""
        service = Sagemaker(self.settings)
        service.endpoints.recover()
        service.jobs.recover()
        for runs in service.runs:
            runs.recover()
        try:
            yield Played(service)
        finally:
            jobs = service.state.all("training-job") if killed else []
            for runs in service.runs:
                await runs.close()
            await service.jobs.close()
            await service.endpoints.close()
            for job in jobs:
                service.state.put("training-job", job["TrainingJobName"], job)
            service.state.close()

    def processes(self) -> set[int]:
        """Return the process ids of all servers and jobs of this home."""
        found = set()
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.home.absolute()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.pid)
            except (psutil.Error, OSError):
                continue
        return found


class Played:
    """A running service, with the calls that tests make."""

    def __init__(self, service: Sagemaker) -> None:
        """Call the service directly, without its HTTP server."""
        self.service = service

    async def __call__(self, operation: str, **request: Any) -> dict[str, Any]:
        """Call an operation of the control plane, or of the logs as ``logs:Name``; return the answer."""
        target = f"Logs_20140328.{operation[5:]}" if operation.startswith("logs:") else f"SageMaker.{operation}"
        return await self.service.answer(target, json.dumps(request).encode())

    async def model(self, name: str, **environment: str) -> None:
        """Make a model without an artifact."""
        container = {"Image": "any:1", "Environment": environment}
        await self(
            "CreateModel", ModelName=name, PrimaryContainer=container, ExecutionRoleArn="arn:aws:iam::123456789012:role/r"
        )

    async def config(self, name: str, **weights: float) -> None:
        """Make a config whose variants bear the names of their models."""
        variants = [
            {"VariantName": model, "ModelName": model, "InitialInstanceCount": 1, "InitialVariantWeight": weight}
            for model, weight in weights.items()
        ]
        await self("CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=variants)

    async def job(self, name: str, script: str, **algorithm: Any) -> None:
        """Begin a training job that runs some Python."""
        await self(
            "CreateTrainingJob",
            TrainingJobName=name,
            AlgorithmSpecification={"TrainingImage": "any:1", "TrainingInputMode": "File", **algorithm},
            RoleArn="arn:aws:iam::123456789012:role/r",
            OutputDataConfig={"S3OutputPath": "s3://bucket/output"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 600},
            Environment={"SCRIPT": script},
        )

    async def secondary(self, name: str, *wanted: str) -> dict[str, Any]:
        """Wait until a job has one of these secondary statuses; return its description."""
        async with asyncio.timeout(30):
            while (job := await self("DescribeTrainingJob", TrainingJobName=name))["SecondaryStatus"] not in wanted:
                await asyncio.sleep(0.01)
        return job

    async def endpoint(self, name: str, config: str) -> None:
        """Make an endpoint, and wait until it is in service."""
        await self("CreateEndpoint", EndpointName=name, EndpointConfigName=config)
        await self.settled(name)

    async def status(self, name: str) -> str:
        """Return the status of an endpoint."""
        return str((await self("DescribeEndpoint", EndpointName=name))["EndpointStatus"])

    async def settled(self, name: str) -> dict[str, Any]:
        """Wait until an endpoint is in service again; return its description."""
        async with asyncio.timeout(30):
            while (status := await self.status(name)) != "InService":
                assert status != "Failed", await self("DescribeEndpoint", EndpointName=name)
                await asyncio.sleep(0.01)
        return await self("DescribeEndpoint", EndpointName=name)

    async def ask(self, name: str) -> str:
        """Ask an endpoint; return the name of the variant that answers."""
        return (await self.service.invoking.invoke(name, {}, b"")).headers["x-Amzn-Invoked-Production-Variant"]


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)
