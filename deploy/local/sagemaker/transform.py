"""Runs transform jobs: starts a model's own server for the length of the job, asks it about every object under a prefix of S3,
and writes each object's answers as an object with the same name and ``.out``.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from deploy.local.sagemaker import logs
from deploy.local.sagemaker.containers import TakeLine
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, invalid
from deploy.local.sagemaker.job_runs import JobParts, JobRun, JobRuns, RunFailed
from deploy.local.sagemaker.models import SageMakerModels
from deploy.local.sagemaker.payloads import PayloadTooLarge, payloads
from deploy.local.sagemaker.requirements import PROGRAM, Requirements, RequirementsFailed
from deploy.local.sagemaker.servers import PATIENCE_S, Server, ServerFailed
from deploy.local.sagemaker.threads import in_thread
from deploy.local.sagemaker.upstream import UpstreamLost
from producers.blobs import DIGEST_VARIABLE

_MIB: Final = 2**20
_NICE: Final = 10
_MOST_HELD_MIB: Final = 100
"""The most that MaxConcurrentTransforms times MaxPayloadInMB may be; it is SageMaker's own limit."""
_DEFAULTS: Final = {"MaxConcurrentTransforms": 1, "MaxPayloadInMB": 6, "BatchStrategy": "MultiRecord"}
"""What SageMaker takes where neither the request nor the image's /execution-parameters say anything."""
_TIMEOUT_S, _RETRIES = 600, 3  # SageMaker's own, where ModelClientConfig says nothing
_PAUSE_S: Final = 0.5
_WORDS: Final = "AlgorithmError: See job logs for more information"


class TransformJobs(JobRuns):
    """Keeps and runs transform jobs."""

    kind = "transform-job"
    prefix = "Transform"

    def __init__(self, parts: JobParts, turns: asyncio.Semaphore, models: SageMakerModels, requirements: Requirements) -> None:
        """Keep the parts."""
        super().__init__(parts, turns)
        self._models = models
        self._requirements = requirements

    def refuse(self, request: Document) -> None:
        """Refuse a model that does not exist, and what this machine does not do."""
        container = self._models.container(self._models.get(request["ModelName"]))
        self.images.find(container["Image"])
        if request["TransformResources"]["InstanceCount"] != 1:
            raise AwsError("ResourceLimitExceeded", "This machine is one instance: set InstanceCount to 1")
        given = request["TransformInput"]
        if given["DataSource"]["S3DataSource"]["S3DataType"] != "S3Prefix":
            raise invalid("TransformInput: only S3DataType S3Prefix is on this machine")
        if given.get("SplitType", "None") not in ("None", "Line") or given.get("CompressionType", "None") != "None":
            raise invalid("TransformInput: only SplitType None or Line and CompressionType None are on this machine")
        if {"InputFilter", "OutputFilter", "JoinSource"} & {
            name for name, value in request.get("DataProcessing", {}).items() if value not in ("$", "None")
        }:
            raise invalid("DataProcessing is not on this machine: leave filters and JoinSource out")
        if request.get("DataCaptureConfig"):
            raise invalid("DataCaptureConfig of transform jobs is not on this machine")
        payload, at_once = request.get("MaxPayloadInMB"), request.get("MaxConcurrentTransforms") or 1
        if payload == 0:
            raise invalid("MaxPayloadInMB 0, for bodies of any size, is not on this machine: give 1 to 100")
        if (payload or 1) * at_once > _MOST_HELD_MIB:
            raise invalid(f"MaxConcurrentTransforms times MaxPayloadInMB must be at most {_MOST_HELD_MIB} MB")

    async def work(self, run: JobRun, folder: Path) -> str:
        """Start the server, transform every object, end the server."""
        working = asyncio.create_task(self._transform(run.document, folder))
        asked = asyncio.create_task(run.stopping.wait())
        try:
            await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                return "Stopped"
            await working
            return "Completed"
        finally:
            asked.cancel()
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _transform(self, document: Document, folder: Path) -> None:
        name = document["TransformJobName"]
        container = self._models.container(self._models.get(document["ModelName"]))
        place = folder / "instance"
        if container["ModelDataUrl"]:
            digest = container["Environment"].get(DIGEST_VARIABLE)
            await in_thread(self.objects.download_model, container["ModelDataUrl"], place / "model", digest)
        else:
            (place / "model").mkdir(parents=True)
        found = await in_thread(self.objects.keys, document["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
        stream = f"{name}/i-{document['TransformStartTime']:.0f}"
        say = self.logs.writer(logs.TRANSFORM, stream)
        tell = self.logs.writer(logs.TRANSFORM, f"{stream}/data-log")
        environment = {"AWS_REGION": self.names.region, **container["Environment"], **_variables(document)}
        image = self.images.find(container["Image"])
        if PROGRAM in environment:
            try:
                image = await self._requirements.made(image, place / "model" / "code", say)
            except RequirementsFailed as failed:
                raise RunFailed(str(failed)) from failed
        server = Server(image, place, environment, say, home=self.home, patience_s=PATIENCE_S, nice=_NICE)
        async with _serving(server):
            asked = _DEFAULTS | await _told_by(server) | {name: document[name] for name in _DEFAULTS if document.get(name)}
            tell(f"[sagemaker logs]: {', '.join(f'{key}={value}' for key, value in asked.items())}")
            for uri, path in found:
                await self._one(document | asked, server, folder, uri, path, tell)

    async def _one(
        self, document: Document, server: Server, folder: Path, uri: str, path: PurePosixPath, tell: TakeLine
    ) -> None:
        """Transform an object; nothing of it is written unless all of it was answered."""
        given, made = folder / "given", folder / "made"
        await in_thread(self.objects.fetch, uri, given)
        try:
            await _answered(document, server, given, made)
        except (PayloadTooLarge, UpstreamLost, TimeoutError, RunFailed) as failed:
            tell(f"[sagemaker logs]: {uri.removeprefix('s3://')}: ClientError: {failed}")
            raise RunFailed(f"{_WORDS}: {uri.removeprefix('s3://')}: {failed}") from failed
        output = document["TransformOutput"]["S3OutputPath"].rstrip("/")
        await in_thread(self.objects.put, made, f"{output}/{path.as_posix()}.out")


@asynccontextmanager
async def _serving(server: Server) -> AsyncIterator[None]:
    try:
        await server.start()
        yield
    except ServerFailed as failed:
        raise RunFailed(f"{_WORDS}: the server of the model does not answer /ping: {failed}") from failed
    finally:
        await server.end()


async def _told_by(server: Server) -> Document:
    """Return what the image says of itself at /execution-parameters, where it knows them."""
    with contextlib.suppress(UpstreamLost, TimeoutError, ValueError, TypeError):
        response = await server.upstream.ask("GET", "/execution-parameters", {}, b"", timeout_s=10)
        if response.status == 200:
            told = json.loads(response.body)
            names = {"MAX_CONCURRENT_TRANSFORMS": "MaxConcurrentTransforms", "MAX_PAYLOAD_IN_MB": "MaxPayloadInMB"}
            whole = {names.get(name.upper(), name): value for name, value in dict(told).items()}
            return {name: whole[name] for name in names.values() if isinstance(whole.get(name), int) and whole[name] > 0}
    return {}


async def _answered(document: Document, server: Server, given: Path, made: Path) -> None:
    """Ask a server about a file, some bodies at a time, and write the answers in the order of the bodies."""
    split = document["TransformInput"].get("SplitType", "None")
    by_line = document["TransformOutput"].get("AssembleWith", "None") == "Line"
    with given.open("rb") as file, made.open("wb") as out:
        bodies: Iterator[bytes] = payloads(file, split, document["BatchStrategy"], document["MaxPayloadInMB"] * _MIB)
        under_way: list[asyncio.Task[bytes]] = []
        try:
            while True:
                while len(under_way) < document["MaxConcurrentTransforms"]:
                    body = next(bodies, None)
                    if body is None:
                        break
                    under_way.append(asyncio.create_task(_ask(document, server, body)))
                if not under_way:
                    return
                answer = await under_way[0]
                under_way.pop(0)
                out.write(answer + b"\n" if by_line and not answer.endswith(b"\n") else answer)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)


async def _ask(document: Document, server: Server, body: bytes) -> bytes:
    """Ask a server; what it could not answer for a reason of its own is asked again."""
    client = document.get("ModelClientConfig", {})
    timeout, tries = client.get("InvocationsTimeoutInSeconds", _TIMEOUT_S), 1 + client.get("InvocationsMaxRetries", _RETRIES)
    headers = {"Content-Type": document["TransformInput"].get("ContentType", "application/octet-stream")}
    if accept := document["TransformOutput"].get("Accept"):
        headers["Accept"] = accept
    while True:
        tries -= 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                await server.ready.wait()
            server.enter()
            try:
                response = await server.upstream.ask("POST", "/invocations", headers, body, timeout)
            finally:
                server.leave()
        except (UpstreamLost, TimeoutError):
            if not tries:
                raise
        else:
            if response.status == 200:
                return response.body
            if response.status < 500 or not tries:
                raise RunFailed(f"{response.status}: {response.body.decode(errors='replace')[:500]}")
        await asyncio.sleep(_PAUSE_S)


def _variables(document: Document) -> dict[str, str]:
    """Return what SageMaker tells the container of a transform job, and the job's own variables."""
    told = {"SAGEMAKER_BATCH": "true"}
    for member, variable in (
        ("MaxConcurrentTransforms", "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"),
        ("MaxPayloadInMB", "SAGEMAKER_MAX_PAYLOAD_IN_MB"),
        ("BatchStrategy", "SAGEMAKER_BATCH_STRATEGY"),
    ):
        if member in document:
            told[variable] = str(document[member])
    return {**told, **document.get("Environment", {})}
