"""Puts the local SageMaker together: checks the caller's signature, and hands each operation to the module that answers it."""

import itertools
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from botocore.model import OperationModel

from contracts.settings import Settings
from deploy.local.sagemaker import query, signature, wire
from deploy.local.sagemaker.autoscaling import AutoScaling
from deploy.local.sagemaker.capturing import Capturing
from deploy.local.sagemaker.configs import Configs
from deploy.local.sagemaker.containers import Images, reap
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.endpoints import Endpoints
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.experiments import Experiments
from deploy.local.sagemaker.http_server import Handle, HttpServer, Request, Response
from deploy.local.sagemaker.identity import CallerIdentity
from deploy.local.sagemaker.invoking import Invoking
from deploy.local.sagemaker.job_runs import JobParts
from deploy.local.sagemaker.logs import Logs
from deploy.local.sagemaker.models import SageMakerModels
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.objects import Objects
from deploy.local.sagemaker.packages import Packages
from deploy.local.sagemaker.processing import ProcessingJobs
from deploy.local.sagemaker.requirements import Requirements
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags
from deploy.local.sagemaker.training import TrainingJobs
from deploy.local.sagemaker.transform import TransformJobs
from deploy.local.sagemaker.tuning import TuningJobs
from deploy.local.sagemaker.upstream import MAX_BYTES

DOCUMENTED: Final = "docs/sagemaker-local.md lists the operations that this machine has"
_MAX_HELD: Final = 8 * MAX_BYTES
"""The most bytes of all bodies together that are held at a time."""
_AMZ_JSON: Final = "application/x-amz-json-1.1"
_FORM: Final = "application/x-www-form-urlencoded"
_XML: Final = "text/xml"
_IAM_REGION: Final = "us-east-1"
"""The one region that IAM has on AWS: requests to it may be signed for it, or for ours."""

log = structlog.get_logger()


class Sagemaker:
    """The service that the HTTP server calls."""

    def __init__(self, settings: Settings) -> None:
        """Build all parts, with their state under ``<home>/sagemaker``; nothing runs yet."""
        home = (settings.home / "sagemaker").absolute()
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        names = Names(settings.aws_region, settings.role_arn.split(":")[4])
        folders = settings.image_folders()
        images = Images(settings.image_registry, settings.tools, folders, unconfined=settings.allow_unconfined)
        objects = Objects(settings)
        self.state = State(home / "state.sqlite")
        logs = Logs(home / "logs", names)
        tags = Tags(self.state)
        packages = Packages(self.state, names, tags)
        models = SageMakerModels(self.state, names, images, packages, tags)
        configs = Configs(self.state, names, models, tags)
        self.capturing = Capturing(objects)
        self.invoking = Invoking(names, self.capturing)
        requirements = Requirements(home)
        experiments = Experiments(self.state, names, tags)
        shared = JobParts(self.state, names, tags, home, images, objects, logs, experiments)
        self.jobs = TrainingJobs(shared, requirements)
        self.endpoints = Endpoints(
            *(self.state, names, images, objects, logs, tags, models, configs, self.invoking, requirements, home)
        )
        self.scaling = AutoScaling(self.state, names, self.endpoints, self.invoking)
        transforms = TransformJobs(shared, self.jobs.turns, models, requirements)
        processing = ProcessingJobs(shared, self.jobs.turns, requirements)
        tuning = TuningJobs(shared, self.jobs)
        self.runs = (transforms, processing, tuning)
        parts = (self.jobs, models, configs, self.endpoints, packages, tags, experiments, *self.runs)
        self.operations = {
            "sagemaker": {name: operation for part in parts for name, operation in part.operations().items()},
            "logs": logs.operations(),
            "application-autoscaling": self.scaling.operations(),
            "sagemaker-metrics": experiments.metrics.operations(),
            **CallerIdentity(settings.role_arn, self.state).operations(),
        }

    async def answer(self, target: str, request: bytes) -> Document:
        """Answer an operation that X-Amz-Target names: of the control plane, CloudWatch Logs or Application Auto Scaling.

        Raises:
            AwsError: If the operation is refused, as AWS would refuse it.
        """
        return await self.answer_to(wire.operation(target), request)

    async def answer_to(self, model: OperationModel, request: bytes) -> Document:
        """Answer an operation with JSON.

        Raises:
            AwsError: If the operation is refused, as AWS would refuse it.
        """
        operation = self._operation(model)
        try:
            given = json.loads(request or b"{}")
        except (ValueError, RecursionError) as wrong:
            raise AwsError("SerializationException", f"the body is no JSON: {wrong}") from wrong
        return dict(wire.shaped(model.output_shape, await operation(wire.checked(model, given))))

    async def answer_form(self, called: str, body: bytes, request_id: str) -> bytes:
        """Answer an operation of IAM or STS with XML.

        Raises:
            AwsError: If the operation is refused, as AWS would refuse it.
        """
        given = query.fields(body)
        name = given.get("Action", "")
        if name not in wire.service(called).operation_names:
            raise AwsError("InvalidAction", f"Could not find operation {name}")
        model = wire.service(called).operation_model(name)
        operation = self._operation(model)
        answered = await operation(wire.checked(model, query.request(model, given)))
        return query.answer(model, wire.shaped(model.output_shape, answered), request_id)

    def _operation(self, model: OperationModel) -> Any:
        operation = self.operations[model.service_model.service_name].get(model.name)
        if operation is None:
            raise AwsError("UnknownOperationException", f"{model.name} is not on this machine: {DOCUMENTED}")
        return operation


def http_server(service: Sagemaker, settings: Settings) -> HttpServer:
    """Make the HTTP server of a service.

    Args:
        service: The service that answers.
        settings: Must have the access key and the secret: a request that is not signed with them is refused.

    Raises:
        ValueError: If the settings lack them.
    """
    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    if not key or not secret:
        raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set: `gamenight up` makes them")
    ours = f"Credential={key}/"

    def admit(target: str, headers: Mapping[str, str]) -> Response | None:
        if ours in headers.get("authorization", "") or target == "/ping":
            return None  # the signature itself is checked when the whole request is there
        try:
            signature.claim(headers, key)
        except AwsError as error:
            return _told(error, {})
        return None

    return HttpServer(_answering(service, key, secret, settings.aws_region), MAX_BYTES, refused, admit, _MAX_HELD)


def _answering(service: Sagemaker, key: str, secret: str, region: str) -> Handle:
    """Return the function that answers every request."""
    run, number = str(uuid.uuid4())[:24], itertools.count()  # it looks like a UUID, at a tenth of the cost

    async def handle(request: Request) -> Response:
        if request.target == "/ping" and request.method == "GET":
            return Response(200, {"Content-Type": "text/plain"}, b"healthy\n")
        headers = {"x-amzn-RequestId": f"{run}{next(number):012x}"}
        path = request.target.partition("?")[0]
        target = request.headers.get("x-amz-target", "")
        called = wire.TARGETS.get(target.partition(".")[0], "sagemaker")
        form = not target and request.headers.get("content-type", "").startswith(_FORM)
        tell = _told_in_xml if form else _told
        try:
            at = region
            if form and (claimed := signature.claim(request.headers, key)).service in query.SERVICES:
                called = claimed.service
                at = claimed.region if (called, claimed.region) == ("iam", _IAM_REGION) else region
            signature.verify(
                *(request.method, request.target, request.headers, request.body),
                key=key,
                secret=secret,
                region=at,
                service=called,
            )
            if called in query.SERVICES and path == "/" and request.method == "POST":
                answered_form = await service.answer_form(called, request.body, headers["x-amzn-RequestId"])
                return Response(200, headers | {"Content-Type": _XML}, answered_form)
            match path.split("/"):
                case ["", "endpoints", endpoint, "invocations"] if request.method == "POST":
                    answered = await service.invoking.invoke(endpoint, request.headers, request.body)
                    return Response(200, headers | answered.headers, answered.body)
                case ["", ""] if request.method == "POST":
                    answer = await service.answer(target, request.body)
                    return Response(200, headers | {"Content-Type": _AMZ_JSON}, json.dumps(answer).encode())
                case ["", "BatchPutMetrics"] if request.method == "PUT":
                    model = wire.service("sagemaker-metrics").operation_model("BatchPutMetrics")
                    answer = await service.answer_to(model, request.body)
                    return Response(200, headers | {"Content-Type": _AMZ_JSON}, json.dumps(answer).encode())
            name = wire.runtime_operation(request.method, path) or f"{request.method} {path}"
            raise AwsError("UnknownOperationException", f"{name} is not on this machine: {DOCUMENTED}", 404)
        except AwsError as error:
            return tell(error, headers)
        except Exception:
            log.exception("request failed", target=target, path=path)
            return tell(AwsError("InternalFailure", "The local SageMaker failed: its log says why", 500), headers)

    return handle


def refused(status: int, why: str) -> Response:
    """Return the answer to a request that is not HTTP, or is too large."""
    return _told(AwsError("ServiceUnavailable" if status == 503 else "ValidationError", why, status), {})


@asynccontextmanager
async def sagemaker(settings: Settings) -> AsyncIterator[Sagemaker]:
    """Run the service: it takes up the jobs and endpoints of a killed service, and ends all its processes at the end."""
    service = Sagemaker(settings)
    orphans = reap(service.home)
    service.endpoints.recover()
    service.jobs.recover()
    for runs in service.runs:
        runs.recover()
    service.scaling.begin()
    service.capturing.begin()
    log.info("ready", operations=sum(map(len, service.operations.values())), orphans=orphans)
    try:
        yield service
    finally:
        await service.scaling.close()
        for runs in service.runs:
            await runs.close()
        await service.jobs.close()
        await service.endpoints.close()
        await service.capturing.close()
        service.state.close()


def _told(error: AwsError, headers: dict[str, str]) -> Response:
    """Return an error that both of boto3's parsers can read: JSON 1.1 from the body, REST from the header."""
    told: dict[str, Any] = {"__type": error.code, "Message": str(error), "message": str(error), **error.details}
    given = {**headers, "x-amzn-ErrorType": error.code, "Content-Type": _AMZ_JSON}
    return Response(error.status, given, json.dumps(told).encode())


def _told_in_xml(error: AwsError, headers: dict[str, str]) -> Response:
    """Return an error as IAM and STS give it."""
    return Response(error.status, headers | {"Content-Type": _XML}, query.error(error, headers["x-amzn-RequestId"]))
