"""``python -m tests.bench.http`` measures our HTTP server and client beside uvicorn and aiohttp, with invocation-like requests.

One process serves, another asks over four connections that stay open: a POST of 832 bytes with the headers that the router
sends, and an answer of 208 bytes. The handlers do nothing else, so what is printed is the price of HTTP alone: the CPU that the
measured side takes for each request, and the latency that the caller sees. For docs/decisions/0001.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import aiohttp
import psutil
import uvicorn
import uvloop
from aiohttp import web

from deploy.local.archive import free_ports
from deploy.local.sagemaker.http_server import HttpServer, Request, Response
from deploy.local.sagemaker.upstream import Upstream

BODY: Final = b"x" * 832
ANSWER: Final = b"y" * 208
ASKED: Final = {
    "Content-Type": "application/x-npy",
    "Accept": "application/x-npy",
    "X-Amz-Date": "20260101T000000Z",
    "X-Amzn-SageMaker-Target-Variant": "v2",
    "Authorization": "AWS4-HMAC-SHA256 Credential=K/20260101/us-east-1/sagemaker/aws4_request, "
    f"SignedHeaders=content-type;host;x-amz-date, Signature={'0' * 64}",
}
ANSWERED: Final = {"Content-Type": "application/x-npy", "x-amzn-RequestId": "1" * 36, "x-Amzn-Invoked-Production-Variant": "v2"}
CONNECTIONS: Final = 4

Message = MutableMapping[str, Any]


# --- servers -------------------------------------------------------------------------------------------------------------


async def serve_ours(port: int) -> None:
    """Serve with the local SageMaker's own server."""

    async def handle(_: Request) -> Response:
        return Response(200, ANSWERED, ANSWER)

    await HttpServer(handle, 1 << 20, lambda status, why: Response(status, {}, why.encode())).open("127.0.0.1", port)
    await asyncio.Event().wait()


async def serve_uvicorn(port: int) -> None:
    """Serve with uvicorn at its fastest: httptools and uvloop, no access log, no lifespan."""
    head = [(name.lower().encode(), value.encode()) for name, value in {**ANSWERED, "Content-Length": str(len(ANSWER))}.items()]

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": ANSWER})

    quiet = {"lifespan": "off", "access_log": False, "log_level": "warning", "server_header": False}
    await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, http="httptools", **quiet)).serve()


async def serve_aiohttp(port: int) -> None:
    """Serve with aiohttp's low-level server."""

    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=ANSWER, headers=ANSWERED)

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


SERVERS: Final = {"ours": serve_ours, "uvicorn": serve_uvicorn, "aiohttp": serve_aiohttp}


# --- clients -------------------------------------------------------------------------------------------------------------


async def ask_ours(port: int, seconds: float) -> list[float]:
    """Ask with the local SageMaker's own client; return the seconds that each request took."""
    upstream = Upstream(port)

    async def ask() -> None:
        response = await upstream.ask("POST", "/invocations", ASKED, BODY, 5.0)
        assert response.body == ANSWER

    return await asked(ask, seconds)


async def ask_aiohttp(port: int, seconds: float) -> list[float]:
    """Ask with aiohttp; return the seconds that each request took."""
    async with aiohttp.ClientSession() as session:

        async def ask() -> None:
            async with session.post(f"http://127.0.0.1:{port}/invocations", data=BODY, headers=ASKED) as response:
                assert await response.read() == ANSWER

        return await asked(ask, seconds)


CLIENTS: Final = {"ours": ask_ours, "aiohttp": ask_aiohttp}


async def asked(ask: Callable[[], Awaitable[None]], seconds: float) -> list[float]:
    """Ask over all connections until the time is up; return the seconds that each request took."""
    end, took = time.perf_counter() + seconds, []

    async def again_and_again() -> None:
        while (began := time.perf_counter()) < end:
            await ask()
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(again_and_again() for _ in range(CONNECTIONS)))
    return sorted(took)


# --- measuring -----------------------------------------------------------------------------------------------------------


def measured(server: str, client: str, of_server: bool, seconds: float) -> str:
    """Measure a server with a client; return a line with requests, the CPU of one side for each, p50 and p99."""
    [port] = free_ports(1)
    process = subprocess.Popen((sys.executable, "-m", "tests.bench.http", "--serve", server, "--port", str(port)))
    try:
        for _ in range(200):
            try:
                uvloop.run(CLIENTS[client](port, 0.3))
                break
            except OSError:
                time.sleep(0.05)
        serving = psutil.Process(process.pid)
        before = sum(serving.cpu_times()[:2]) if of_server else time.process_time()
        took = uvloop.run(CLIENTS[client](port, seconds))
        after = sum(serving.cpu_times()[:2]) if of_server else time.process_time()
    finally:
        process.kill()
        process.wait()
    p50, p99 = (1000 * took[int(share * len(took))] for share in (0.5, 0.99))
    cpu_us = 1e6 * (after - before) / len(took)
    return f"{len(took):6} requests, {cpu_us:6.1f} us CPU each, p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def main() -> None:
    """Print a line for each server and each client, in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=SERVERS)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(SERVERS[given.serve](given.port))
        return
    for _ in range(given.rounds):
        for server in SERVERS:
            print(f"server {server:8}", measured(server, "ours", True, given.seconds), flush=True)
        for client in CLIENTS:
            print(f"client {client:8}", measured("ours", client, False, given.seconds), flush=True)


if __name__ == "__main__":
    main()
