"""InvokeEndpoint: chooses a variant by weight and a server of it, hands the request over and the answer back."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.local.sagemaker import logs
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.servers import Server
from deploy.local.sagemaker.upstream import UpstreamLost, UpstreamRefused

MAX_BYTES: Final = 25 * 2**20
"""Largest body of a request, as SageMaker has it."""
TIMEOUT_S: Final = 60.0
"""How long a model may take, as SageMaker has it."""
_WAIT_S: Final = 10.0  # for a server that is starting again: better late than lost
_ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"
_HANDED_ON: Final = ("Content-Type", "Accept", _ATTRIBUTES, "X-Amzn-SageMaker-Inference-Id", "X-Amzn-SageMaker-Session-Id")


@dataclass(slots=True)
class Variant:
    """What answers under one name of an endpoint."""

    name: str
    weight: float
    folder: Path
    """Where its model is."""
    servers: list[Server] = field(default_factory=list)

    def server(self) -> Server | None:
        """The least busy of those that are ready, or None."""
        ready = [server for server in self.servers if server.ready.is_set()]
        return min(ready, key=lambda server: server.under_way, default=None)


@dataclass(frozen=True, slots=True)
class Answered:
    """A model's answer."""

    body: bytes
    headers: Mapping[str, str]


class Invoking:
    """The endpoints that answer now: one complete table, changed an endpoint at a time."""

    def __init__(self, names: Names) -> None:
        """No endpoint yet."""
        self.serving: dict[str, tuple[Variant, ...]] = {}
        self._names = names
        self._random = random.Random()

    async def invoke(self, endpoint: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """Ask an endpoint.

        Raises:
            AwsError: ValidationError for an endpoint or variant that is not there, ModelError for what the model refused
                or failed at, ModelNotReadyException when no server is up.
        """
        handed = {name: headers[name] for name in _HANDED_ON if name in headers}
        target = headers.get("X-Amzn-SageMaker-Target-Variant")
        for unsupported in ("Target-Model", "Target-Container-Hostname", "Inference-Component"):
            if f"X-Amzn-SageMaker-{unsupported}" in headers:
                raise _refused(f"{unsupported} is not on this machine: endpoints have one model a variant")
        lost = 0
        deadline = asyncio.get_running_loop().time() + _WAIT_S
        while True:
            variant, server = await self._ready(endpoint, target, deadline)
            server.enter()  # no await since it was found ready: an update cannot have ended it
            try:
                response = await server.upstream.ask("POST", "/invocations", handed, body, TIMEOUT_S)
            except TimeoutError as error:
                told = "Your invocation timed out while waiting for a response from container primary."
                raise self._model_error(endpoint, variant, 0, told) from error
            except UpstreamRefused:  # it has died, and that is not known yet: `_ready` waits for the next one
                await asyncio.sleep(0.01)
            except UpstreamLost as error:  # it died under the request: that is asked again, but not what kills every server
                lost += 1
                if lost > 1:
                    raise self._model_error(endpoint, variant, 0, f"The container did not answer: {error}") from error
            else:
                if response.status >= 300:
                    raise self._model_error(endpoint, variant, response.status, response.body.decode(errors="replace"))
                given = {"Content-Type": response.headers.get("content-type", "application/octet-stream")}
                if attributes := response.headers.get(_ATTRIBUTES.lower()):
                    given[_ATTRIBUTES] = attributes
                return Answered(response.body, {"x-Amzn-Invoked-Production-Variant": variant.name, **given})
            finally:
                server.leave()

    async def _ready(self, endpoint: str, target: str | None, deadline: float) -> tuple[Variant, Server]:
        while True:
            variant = self._choose(endpoint, target)
            server = variant.server()
            if asyncio.get_running_loop().time() > deadline:
                raise AwsError("ModelNotReadyException", f"No server of variant {variant.name} is ready.", 429)
            if server:
                return variant, server
            await asyncio.sleep(0.01)

    def _choose(self, endpoint: str, target: str | None) -> Variant:
        variants = self.serving.get(endpoint)
        if variants is None:
            raise _refused(f"Endpoint {endpoint} of account {self._names.account} not found.")
        if target is not None:
            for variant in variants:
                if variant.name == target:
                    return variant
            raise _refused(f"Variant {target} not found for Endpoint {endpoint}")
        if len(variants) == 1:
            return variants[0]
        return self._random.choices(variants, [variant.weight for variant in variants])[0]

    def _model_error(self, endpoint: str, variant: Variant, status: int, message: str) -> AwsError:
        side = "client" if 400 <= status < 500 else "server"
        group = self._names.log_group(f"{logs.ENDPOINTS}/{endpoint}")
        return AwsError(
            "ModelError",
            f'Received {side} error ({status}) from {variant.name} with message "{message}".',
            424,
            OriginalStatusCode=status,
            OriginalMessage=message,
            LogStreamArn=group,
        )


def _refused(message: str) -> AwsError:
    return AwsError("ValidationError", message)
