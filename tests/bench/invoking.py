"""Measures InvokeEndpoint on the local SageMaker: ``python -m tests.bench.invoking``.

It asks one endpoint with bodies of 1 and 32 drawings: by the genuine boto3 client one at a time, by a lean client (aiohttp,
signed by botocore's own signer) one at a time and sixteen at once, and past the proxy, straight at the serving process. Prints
latency and the CPU time a request that the proxy, the server behind it and the client took. All share the machine's cores:
compare rows of one run, not runs.
"""

import asyncio
import io
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import boto3
import numpy as np
import psutil
import typer
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from rich.console import Console
from rich.table import Table

from contracts.settings import Settings
from deploy.local.supervisor import running
from tests.conftest import fresh_settings
from tests.contract.sagemaker_cases import NPY, Cloud

console: Final = Console(width=120)

Ask = Callable[[bytes], Awaitable[bytes]]


class Signed:
    """A lean client of an endpoint: it keeps connections open, and signs each request as botocore does."""

    def __init__(self, settings: Settings, endpoint: str, http: aiohttp.ClientSession) -> None:
        """Keep the endpoint and the HTTP client; nothing connects yet."""
        self._url = f"{settings.endpoint_urls['sagemaker-runtime']}/endpoints/{endpoint}/invocations"
        keys = Credentials(settings.aws_access_key_id or "", settings.aws_secret_access_key or "")
        self._auth = SigV4Auth(keys, "sagemaker", settings.aws_region)
        self._http = http

    async def __call__(self, body: bytes) -> bytes:
        """Return the endpoint's answer."""
        headers = {"Content-Type": NPY, "Accept": NPY}
        request = AWSRequest(method="POST", url=self._url, data=body, headers=headers)
        self._auth.add_auth(request)
        async with self._http.post(self._url, data=body, headers=dict(request.headers.items())) as answer:
            answer.raise_for_status()
            return await answer.read()


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of a row of the table."""

    latencies_ms: list[float]
    seconds: float
    proxy_s: float
    server_s: float
    client_s: float

    def cells(self) -> Iterator[str]:
        """Yield the row's numbers as text."""
        n = len(self.latencies_ms)
        yield f"{n / self.seconds:.0f}"
        yield from (f"{np.percentile(self.latencies_ms, q):.2f}" for q in (50, 99))
        yield from (f"{1000 * cpu / n:.3f}" for cpu in (self.proxy_s, self.server_s, self.client_s))


class Bench:
    """The processes whose CPU time is read."""

    def __init__(self, proxy: psutil.Process, server: psutil.Process) -> None:
        self._watched = (proxy, server, psutil.Process(os.getpid()))

    async def measure(self, ask: Ask, body: bytes, seconds: float, together: int) -> Measured:
        """Ask for ``seconds``, with ``together`` requests under way at any time."""
        await asyncio.gather(*(ask(body) for _ in range(together) for _ in range(20)))
        latencies: list[float] = []
        before = self._cpu()
        began = time.perf_counter()

        async def one() -> None:
            while (start := time.perf_counter()) - began < seconds:
                await ask(body)
                latencies.append(1000 * (time.perf_counter() - start))

        await asyncio.gather(*(one() for _ in range(together)))
        took = time.perf_counter() - began
        return Measured(latencies, took, *(after - was for after, was in zip(self._cpu(), before, strict=True)))

    def _cpu(self) -> list[float]:
        return [times.user + times.system for times in (process.cpu_times() for process in self._watched)]


@contextmanager
def endpoint() -> Iterator[tuple[Cloud, str, Bench, str]]:
    """Yield an endpoint in service, on services of its own: its name, its processes, and the address of its server."""
    with tempfile.TemporaryDirectory(prefix="gamenight-") as home:
        settings = fresh_settings(Path(home)).model_copy(update={"log_level": "WARNING"})
        with running(settings, ["s3", "sagemaker"]) as supervisor:
            proxy = psutil.Process(supervisor.pid("sagemaker"))
            console.print(f"local SageMaker idle, no endpoint: {proxy.memory_info().rss / 2**20:.0f} MB resident")
            cloud = Cloud(settings)
            name = cloud.endpoint()
            [server] = [child for child in proxy.children(recursive=True) if "serve.py" in " ".join(child.cmdline())]
            console.print(f"with one endpoint: {proxy.memory_info().rss / 2**20:.0f} MB resident")
            port = server.environ()["SAGEMAKER_BIND_TO_PORT"]
            yield cloud, name, Bench(proxy, server), f"http://127.0.0.1:{port}/invocations"
            console.print(f"after all that: {proxy.memory_info().rss / 2**20:.0f} MB resident")


def body_of(rows: int) -> bytes:
    """Return a body with this many drawings."""
    out = io.BytesIO()
    np.save(out, np.random.default_rng(0).integers(0, 255, (rows, 784), np.uint8))
    return out.getvalue()


async def measure(cloud: Cloud, name: str, bench: Bench, direct: str, seconds: float) -> None:
    """Measure and print all rows of the table."""
    table = Table("client", "rows", "at once", "a second", "p50 ms", "p99 ms", "proxy CPU ms", "server CPU ms", "client CPU ms")
    runtime = boto3.client("sagemaker-runtime", **cloud.settings.aws("sagemaker-runtime"))

    async def with_boto3(body: bytes) -> bytes:
        return runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType=NPY, Accept=NPY)["Body"].read()

    async with aiohttp.ClientSession() as http:
        signed = Signed(cloud.settings, name, http)

        async def past_the_proxy(body: bytes) -> bytes:
            async with http.post(direct, data=body, headers={"Content-Type": NPY, "Accept": NPY}) as answer:
                return await answer.read()

        cases: list[tuple[str, Ask, int]] = [
            ("boto3", with_boto3, 1),
            ("lean, signed", signed, 1),
            ("lean, signed", signed, 16),
            ("past the proxy", past_the_proxy, 1),
            ("past the proxy", past_the_proxy, 16),
        ]
        for rows in (1, 32):
            for title, ask, together in cases:
                measured = await bench.measure(ask, body_of(rows), seconds, together)
                table.add_row(title, str(rows), str(together), *measured.cells())
    console.print(table)


def main(seconds: Annotated[float, typer.Option(help="how long each row is measured")] = 4.0) -> None:
    """Print the table."""
    with endpoint() as (cloud, name, bench, direct):
        asyncio.run(measure(cloud, name, bench, direct, seconds))


if __name__ == "__main__":
    typer.run(main)
