"""The whole on one screen: who may come in, what is asked, and which module answers."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from aiohttp import web

from contracts.settings import Settings
from deploy.local.sagemaker import signature, wire
from deploy.local.sagemaker.configs import Configs
from deploy.local.sagemaker.containers import Images, reap
from deploy.local.sagemaker.endpoints import Endpoints
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.invoking import MAX_BYTES, Invoking
from deploy.local.sagemaker.logs import Logs
from deploy.local.sagemaker.models import Models
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.objects import Objects
from deploy.local.sagemaker.packages import Packages
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags
from deploy.local.sagemaker.training import TrainingJobs

DOCUMENTED: Final = "docs/sagemaker-local.md lists the operations that this machine has"
_AMZ_JSON: Final = "application/x-amz-json-1.1"

log = structlog.get_logger()


class Sagemaker:
    """The service behind the door."""

    def __init__(self, settings: Settings) -> None:
        """Build all parts, with their state under ``<home>/sagemaker``; nothing runs yet."""
        home = (settings.home / "sagemaker").absolute()
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        names = Names(settings.aws_region, settings.role_arn.split(":")[4])
        images = Images(settings.image_registry, settings.tools)
        objects = Objects(settings)
        self.state = State(home / "state.sqlite")
        logs = Logs(home / "logs", names)
        tags = Tags(self.state)
        packages = Packages(self.state, names, tags)
        models = Models(self.state, names, images, packages, tags)
        configs = Configs(self.state, names, models, tags)
        self.invoking = Invoking(names)
        self.jobs = TrainingJobs(self.state, names, images, objects, logs, tags, home)
        self.endpoints = Endpoints(self.state, names, images, objects, logs, tags, models, configs, self.invoking, home)
        parts = (self.jobs, models, configs, self.endpoints, packages, tags)
        self.operations = {
            "sagemaker": {name: operation for part in parts for name, operation in part.operations().items()},
            "logs": logs.operations(),
        }

    async def answer(self, target: str, request: bytes) -> wire.Document:
        """What an operation of the control plane or of CloudWatch Logs answers.

        Raises:
            AwsError: As AWS would give it.
        """
        model = wire.operation(target)
        operation = self.operations[model.service_model.service_name].get(model.name)
        if operation is None:
            raise AwsError("UnknownOperationException", f"{model.name} is not on this machine: {DOCUMENTED}")
        try:
            given = json.loads(request or b"{}")
        except (ValueError, RecursionError) as wrong:
            raise AwsError("SerializationException", f"the body is no JSON: {wrong}") from wrong
        return dict(wire.shaped(model.output_shape, await operation(wire.checked(model, given))))


def create_app(settings: Settings) -> web.Application:
    """The server's application.

    Args:
        settings: Must have the access key and the secret: what is not signed with them is refused.
    """
    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    if not key or not secret:
        raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set: `gamenight up` makes them")
    built: list[Sagemaker] = []

    async def life(app: web.Application) -> AsyncIterator[None]:
        async with sagemaker(settings) as service:
            built.append(service)
            yield

    async def handle(request: web.Request) -> web.Response:
        if request.method == "GET" and request.path == "/ping":
            return web.Response(text="healthy\n")
        identity = str(uuid.uuid4())
        try:
            body = await request.read()
            signature.verify(request.method, request.raw_path, request.headers, body, key=key, secret=secret)
            if request.method == "POST" and request.path == "/":
                answer = await built[0].answer(request.headers.get("X-Amz-Target", ""), body)
                headers = {"x-amzn-RequestId": identity, "Content-Type": _AMZ_JSON}
                return web.Response(body=json.dumps(answer).encode(), headers=headers)
            match request.path.split("/"):
                case ["", "endpoints", endpoint, "invocations"] if request.method == "POST":
                    answered = await built[0].invoking.invoke(endpoint, request.headers, body)
                    return web.Response(body=answered.body, headers={"x-amzn-RequestId": identity, **answered.headers})
                case _:
                    raise AwsError(
                        "UnknownOperationException",
                        f"{request.method} {request.path} is not on this machine: {DOCUMENTED}",
                        404,
                    )
        except AwsError as error:
            return _told(error, identity)
        except web.HTTPRequestEntityTooLarge:
            return _told(AwsError("ValidationError", f"The body is over {MAX_BYTES} bytes", 413), identity)
        except Exception:
            log.exception("request failed", target=request.headers.get("X-Amz-Target"), path=request.path)
            return _told(AwsError("InternalFailure", "The local SageMaker failed: its log says why", 500), identity)

    app = web.Application(client_max_size=MAX_BYTES)
    app.router.add_route("*", "/{anything:.*}", handle)
    app.cleanup_ctx.append(life)
    return app


@asynccontextmanager
async def sagemaker(settings: Settings) -> AsyncIterator[Sagemaker]:
    """The service, with what a killed one has left taken up again; all its processes end with it."""
    service = Sagemaker(settings)
    orphans = reap(service.home)
    service.endpoints.recover()
    service.jobs.recover()
    log.info("ready", operations=sum(map(len, service.operations.values())), orphans=orphans)
    try:
        yield service
    finally:
        await service.jobs.close()
        await service.endpoints.close()
        service.state.close()


def _told(error: AwsError, identity: str) -> web.Response:
    """An error as both of boto3's parsers read it: JSON 1.1 from the body, REST from the header."""
    told: dict[str, Any] = {"__type": error.code, "Message": str(error), "message": str(error), **error.details}
    headers = {"x-amzn-RequestId": identity, "x-amzn-ErrorType": error.code, "Content-Type": _AMZ_JSON}
    return web.Response(status=error.status, body=json.dumps(told).encode(), headers=headers)
