"""Answers InvokeEndpoint: chooses a variant by weight and a server of it, hands the request over and the answer back."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from deploy.local.sagemaker import logs
from deploy.local.sagemaker.captures import CapturedBody, CapturePlan
from deploy.local.sagemaker.capturing import Capturing
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.servers import Server
from deploy.local.sagemaker.upstream import Upstream, UpstreamLost, UpstreamRefused

TIMEOUT_S: Final = 60.0
"""How long a model may take to answer, in seconds; it is SageMaker's own limit."""
_WAIT_S: Final = 10.0  # how long a request waits for a server that restarts: a late answer is better than none
_DYING_S: Final = 0.25  # a process that was killed still takes connections for a moment, and loses them
_LOOK_S: Final = 0.25  # how often a waiting request looks at the table again, which an update may have changed
_MOST_UNDER_WAY: Final = 256
"""The most requests to one endpoint at a time: an endpoint that hangs must not fill the proxy."""
_MOST_MIRRORED: Final = 8
"""The most requests to one shadow variant at a time; more are not mirrored."""
_ATTRIBUTES: Final = "x-amzn-sagemaker-custom-attributes"
_HANDED_ON: Final = ("content-type", "accept", _ATTRIBUTES, "x-amzn-sagemaker-inference-id", "x-amzn-sagemaker-session-id")
_ABSENT: Final = {
    f"x-amzn-sagemaker-{name}": name for name in ("target-model", "target-container-hostname", "inference-component")
}

log = structlog.get_logger()


@dataclass(slots=True)
class Variant:
    """One variant of an endpoint, with its servers."""

    name: str
    weight: float
    folder: Path
    """The folder of its model."""
    servers: list[Server] = field(default_factory=list)
    shadow: bool = False
    """Whether this is a shadow variant, which is asked beside the others and whose answers are dropped."""
    capture: CapturePlan | None = None
    """What is captured of its requests; None: nothing."""

    def server(self) -> Server | None:
        """Return the least busy server that is ready, else a server that has not answered /ping yet, else None."""
        if len(self.servers) == 1:
            return self.servers[0] if self.servers[0].ready.is_set() else None
        ready = [server for server in self.servers if server.ready.is_set()]
        return min(ready, key=lambda server: (server.missed, server.under_way), default=None)

    async def stir(self, within_s: float) -> None:
        """Wait until the first server is ready again, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.servers[0].ready.wait()


@dataclass(frozen=True, slots=True)
class Answered:
    """A model's answer."""

    body: bytes
    headers: dict[str, str]


class Invoking:
    """Knows which servers answer for each endpoint, and sends requests to them."""

    def __init__(self, names: Names, capturing: Capturing) -> None:
        """Begin without an endpoint."""
        self.serving: dict[str, tuple[Variant, ...]] = {}
        self.counted: Counter[tuple[str, str]] = Counter()
        """How many requests each variant of each endpoint has had, by their names, since the last look at it."""
        self._names = names
        self._capturing = capturing
        self._random = random.Random()
        self._under_way: Counter[str] = Counter()
        self._mirrored: set[asyncio.Task[None]] = set()

    async def invoke(self, endpoint: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """Ask an endpoint.

        Args:
            endpoint: The name of the endpoint.
            headers: The request's headers, by lower-case name.
            body: The request's body.

        Raises:
            AwsError: ValidationError for an endpoint or variant that does not exist, ModelError for a request that the model
                refused or failed at, ModelNotReadyException when no server is up, ServiceUnavailable when too many wait
                already.
        """
        handed = {name: headers[name] for name in _HANDED_ON if name in headers}
        target = headers.get("x-amzn-sagemaker-target-variant")
        for header, absent in _ABSENT.items():
            if header in headers:
                raise _refused(f"{absent} is not on this machine: endpoints have one model a variant")
        self._choose(endpoint, target)  # a missing endpoint or variant is reported at once
        if self._under_way[endpoint] >= _MOST_UNDER_WAY:
            raise AwsError("ServiceUnavailable", f"Endpoint {endpoint} has {_MOST_UNDER_WAY} requests under way already.", 503)
        self._under_way[endpoint] += 1
        try:
            if target is None:
                self._mirror(endpoint, handed, body)
            return await self._answer(endpoint, target, handed, body)
        finally:
            self._under_way[endpoint] -= 1

    async def _answer(self, endpoint: str, target: str | None, handed: Mapping[str, str], body: bytes) -> Answered:
        lost: tuple[Upstream, float] | None = None
        """The server that died under the request, and when."""
        counted = ""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _WAIT_S
        while True:
            variant = self._choose(endpoint, target)
            server = variant.server()
            if server is None:
                if clock() > deadline:
                    raise AwsError("ModelNotReadyException", f"No server of variant {variant.name} is ready.", 429)
                await variant.stir(_LOOK_S)
                continue
            upstream = server.upstream
            if counted != variant.name:  # once, though it may be asked again
                counted = variant.name
                self.counted[endpoint, counted] += 1
            server.enter()  # there was no await since the server was found ready, so an update cannot have ended it
            try:
                response = await upstream.ask("POST", "/invocations", handed, body, TIMEOUT_S)
            except TimeoutError as error:
                told = "Your invocation timed out while waiting for a response from container primary."
                raise self._model_error(endpoint, 0, told) from error
            except UpstreamRefused as error:  # the server has died and nobody has noticed yet: another server will answer
                if clock() > deadline:
                    raise AwsError("ModelNotReadyException", f"No server of variant {variant.name} is ready.", 429) from error
                await asyncio.sleep(0.02)
            except UpstreamLost as error:  # the server died during the request: ask again, unless it kills every server
                if lost is None:
                    lost = upstream, clock()
                elif upstream is not lost[0] or clock() > lost[1] + _DYING_S:
                    raise self._model_error(endpoint, 0, f"The container did not answer: {error}") from error
                await asyncio.sleep(_DYING_S / 5)
            else:
                if response.status >= 300:
                    raise self._model_error(endpoint, response.status, response.body.decode(errors="replace"))
                given = {"Content-Type": response.headers.get("content-type", "application/octet-stream")}
                if attributes := response.headers.get(_ATTRIBUTES):
                    given[_ATTRIBUTES] = attributes
                if variant.capture:
                    answered = CapturedBody(given["Content-Type"], response.body)
                    self._capturing.take(variant.capture, endpoint, variant.name, handed, body, answered)
                return Answered(response.body, {"x-Amzn-Invoked-Production-Variant": variant.name, **given})
            finally:
                server.leave()

    def _choose(self, endpoint: str, target: str | None) -> Variant:
        try:
            variants = self.serving[endpoint]
        except KeyError:
            raise _refused(f"Endpoint {endpoint} of account {self._names.account} not found.") from None
        if target is not None:
            for variant in variants:
                if variant.name == target and not variant.shadow:
                    return variant
            raise _refused(f"Variant {target} not found for Endpoint {endpoint} of account {self._names.account}.")
        if len(variants) == 1:
            return variants[0]
        shown = [variant for variant in variants if not variant.shadow]
        return self._random.choices(shown, [variant.weight for variant in shown])[0]

    def _mirror(self, endpoint: str, handed: Mapping[str, str], body: bytes) -> None:
        """Ask the shadow variant too, for its share of the requests; its answer or failure is ignored."""
        first, *others = self.serving[endpoint]
        for shadow in others:
            server = shadow.server() if shadow.shadow else None
            if server is None or server.under_way >= _MOST_MIRRORED:
                continue
            if self._random.random() * first.weight < shadow.weight:
                task = asyncio.create_task(_ask_and_forget(server, handed, body))
                self._mirrored.add(task)
                task.add_done_callback(self._mirrored.discard)

    def _model_error(self, endpoint: str, status: int, message: str) -> AwsError:
        side = "client" if 400 <= status < 500 else "server"
        group = f"{logs.ENDPOINTS}/{endpoint}"
        return AwsError(
            "ModelError",
            f'Received {side} error ({status}) from primary with message "{message}".'
            f" See {group} in account {self._names.account} for more information.",
            424,
            OriginalStatusCode=status,
            OriginalMessage=message,
            LogStreamArn=self._names.log_group(group),
        )


async def _ask_and_forget(server: Server, handed: Mapping[str, str], body: bytes) -> None:
    server.enter()
    try:
        await server.upstream.ask("POST", "/invocations", handed, body, TIMEOUT_S)
    except (UpstreamLost, TimeoutError) as error:
        log.debug("shadow variant did not answer", error=str(error))
    finally:
        server.leave()


def _refused(message: str) -> AwsError:
    return AwsError("ValidationError", message)
