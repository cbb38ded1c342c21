"""What an endpoint says is checked before anyone sees it, whatever goes wrong is one error, and every request is signed."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from botocore.exceptions import ClientError

from contracts.ports import EndpointDown, EndpointSilent
from contracts.settings import Settings
from deploy.local.archive import free_ports
from deploy.local.sagemaker import signature
from streams.app import ROLES
from streams.endpoints import MOST_BYTES, NPY, Runtime, SageMakerEndpoint
from streams.models import Models
from streams.router import Router
from streams.worker import Worker

RASTERS = np.arange(2 * 784).reshape(2, 784).astype(np.uint8)
KEY, SECRET = "AKIATEST", "not so secret"


def npy(array: Any) -> bytes:
    body = io.BytesIO()
    np.save(body, np.asarray(array), allow_pickle=True)
    return body.getvalue()


class Service:
    """A sagemaker-runtime that says what the test wants, to requests that are signed."""

    def __init__(self) -> None:
        self.said = npy(np.full((2, 10), 0.1, np.float32))
        self.status = 200
        self.held = False
        self.asked: list[tuple[web.Request, bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        place = {"region": "us-east-1", "service": "sagemaker"}
        signature.verify(request.method, request.raw_path, request.headers, body, key=KEY, secret=SECRET, **place)
        self.asked.append((request, body))
        while self.held:
            await asyncio.sleep(0.01)
        return web.Response(status=self.status, body=self.said, headers={"x-Amzn-Invoked-Production-Variant": "v7"})


@asynccontextmanager
async def serving(**given: Any) -> AsyncIterator[tuple[Service, SageMakerEndpoint]]:
    service = Service()
    app = web.Application()
    app.router.add_post("/endpoints/{name}/invocations", service.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    [port] = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    runtime = Runtime(
        Settings(aws_services="local", sagemaker_port=port, aws_access_key_id=KEY, aws_secret_access_key=SECRET, **given)
    )
    try:
        yield service, SageMakerEndpoint(runtime, "gamenight-xgboost")
    finally:
        service.held = False
        await runtime.close()
        await runner.cleanup()


async def test_an_endpoint_is_asked_in_numpys_format_and_tells_its_variant():
    async with serving() as (service, endpoint):
        answer = await endpoint.predict(RASTERS)

    [(request, body)] = service.asked
    assert answer.variant == "v7"
    assert answer.probabilities.sum(axis=1) == pytest.approx([1, 1])
    assert (request.path, request.headers["Content-Type"], request.headers["Accept"]) == (
        "/endpoints/gamenight-xgboost/invocations",
        NPY,
        NPY,
    )
    assert "X-Amzn-SageMaker-Target-Variant" not in request.headers
    assert (np.load(io.BytesIO(body)) == RASTERS).all()


async def test_a_variant_can_be_asked_for_by_name():
    async with serving() as (service, endpoint):
        await endpoint.predict(RASTERS, "v2")

    assert service.asked[0][0].headers["X-Amzn-SageMaker-Target-Variant"] == "v2"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"<html>",
        npy(np.full((1, 10), 0.1)),
        npy(np.full((2, 9), 1 / 9)),
        npy(np.full((2, 10), 0.2)),
        npy(np.full((2, 10), np.nan)),
        npy([[1.5, -0.5, *[0.0] * 8]] * 2),
        npy([["a"] * 10] * 2),
        npy(np.array([[None] * 10] * 2, dtype=object)),
        npy(np.full((2, 10), 0.1))[:-8],
        b"PK\x03\x04garbage",
        b"\x93NUMPY\x01\x00\x0d\x00{'descr': ((\n",
        bytes(MOST_BYTES + 1),
    ],
)
async def test_what_is_no_set_of_probabilities_is_no_answer(said: bytes):
    async with serving() as (service, endpoint):
        service.said = said
        with pytest.raises(EndpointDown, match="gamenight-xgboost: an answer"):
            await endpoint.predict(RASTERS)


async def test_an_endpoint_that_fails_says_why_in_awss_words():
    async with serving() as (service, endpoint):
        service.status, service.said = 424, b'{"Code":"ModelError","OriginalMessage":"the trees fell"}'
        with pytest.raises(EndpointDown, match="424 the trees fell"):
            await endpoint.predict(RASTERS)


async def test_why_an_endpoint_fails_can_be_put_into_an_event_whatever_it_says():
    async with serving() as (service, endpoint):
        service.status, service.said = 424, b'{"Code":"ModelError","OriginalMessage":"half of a letter: \\ud800"}'
        with pytest.raises(EndpointDown) as down:
            await endpoint.predict(RASTERS)

    assert str(down.value).encode().endswith(b"424 half of a letter: \\ud800")


async def test_an_endpoint_that_hangs_is_silent():
    async with serving(endpoint_timeout_ms=50) as (service, endpoint):
        service.held = True
        with pytest.raises(EndpointSilent, match="said nothing"):
            await endpoint.predict(RASTERS)


async def test_without_credentials_an_endpoint_is_down_and_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: None)
    runtime = Runtime(Settings(aws_services="local", sagemaker_port=9))

    with pytest.raises(EndpointDown, match="gamenight-xgboost cannot be asked: Unable to locate credentials"):
        await SageMakerEndpoint(runtime, "gamenight-xgboost").predict(RASTERS)


async def test_when_the_router_ends_its_connections_are_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    running, closed = asyncio.Event(), asyncio.Event()

    async def run(*_: object) -> None:
        running.set()
        await asyncio.Event().wait()

    async def close(_: Runtime) -> None:
        closed.set()

    works: list[Callable[[], Coroutine[Any, Any, None]]] = []
    monkeypatch.setattr(Worker, "alongside", lambda _, work: works.append(work))
    monkeypatch.setattr(Router, "run", run)
    monkeypatch.setattr(Models, "follow", run)
    monkeypatch.setattr(Runtime, "close", close)
    ROLES["router"](Settings(home=tmp_path))
    working = [asyncio.ensure_future(work()) for work in works]
    async with asyncio.timeout(20):
        await running.wait()
        assert not closed.is_set()
        for work in working:
            work.cancel()
        await asyncio.gather(*working, return_exceptions=True)
    assert closed.is_set()


async def test_nobody_at_the_door_is_down_and_not_silent():
    runtime = Runtime(Settings(aws_services="local", sagemaker_port=9, aws_access_key_id="a", aws_secret_access_key="b"))

    with pytest.raises(EndpointDown) as down:
        await SageMakerEndpoint(runtime, "gamenight-xgboost").predict(RASTERS)
    await runtime.close()

    assert not isinstance(down.value, EndpointSilent)


@pytest.mark.parametrize(
    "wrong",
    [
        ClientError({"Error": {"Code": "AccessDenied", "Message": "not this role"}}, "AssumeRole"),
        RuntimeError("credential_process failed"),
    ],
)
async def test_credentials_that_cannot_be_had_are_a_call_that_failed_and_no_end_of_the_router(
    monkeypatch: pytest.MonkeyPatch, wrong: Exception
):
    def refused(_: object) -> None:
        raise wrong

    monkeypatch.setattr("botocore.session.Session.get_credentials", refused)
    endpoint = SageMakerEndpoint(Runtime(Settings(aws_services="local", sagemaker_port=9)), "gamenight-xgboost")

    with pytest.raises(EndpointDown, match=f"gamenight-xgboost cannot be asked: .*{str(wrong)[-10:]}"):
        await endpoint.predict(RASTERS)
