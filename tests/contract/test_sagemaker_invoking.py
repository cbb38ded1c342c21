"""The proxy between callers and serving processes, on serving processes that misbehave."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts.settings import Settings
from deploy.local.sagemaker import invoking, servers
from deploy.local.sagemaker.capturing import Capturing
from deploy.local.sagemaker.containers import Image
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.invoking import Invoking, Variant
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.objects import Objects
from deploy.local.sagemaker.servers import Server
from deploy.local.sagemaker.upstream import Upstream

SERVE = '''
"""A server that does what it is told, one request at a time, as many frameworks do."""
import os, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        told = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print(told)
        match told.split():
            case ["sleep"]:
                time.sleep(600)
            case ["work", seconds]:
                end = time.monotonic() + float(seconds)
                while time.monotonic() < end:
                    pass
            case ["garbage"]:
                self.wfile.write(b"SMTP ready")
                self.close_connection = True
                return
            case ["die"]:
                os._exit(1)
            case ["huge"]:
                self.send_response(200)
                self.send_header("Content-Length", str(2**40))
                self.end_headers()
                while True:
                    self.wfile.write(bytes(2**20))
        self.answer(told.encode())

    def log_message(self, *_):
        pass

try:
    server = HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler)
except OSError:
    time.sleep(float(os.environ["STAY_S"]))
    raise
server.serve_forever()
'''


class Stage:
    """Endpoints of one variant each, and what their servers printed."""

    def __init__(self, folder: Path) -> None:
        self.invoking = Invoking(Names("us-east-1", "123456789012"), Capturing(Objects(Settings())))
        self.printed: list[str] = []
        self._folder = folder
        (folder / "serve.py").write_text(SERVE)

    async def server(self, stay_s: float = 0) -> Server:
        """One that runs; it stays so long where it cannot listen."""
        image = Image("any:1", self._folder, Path(sys.executable))
        made = Server(image, self._folder, {"STAY_S": str(stay_s)}, self.printed.append, home=self._folder, patience_s=30)
        await made.start()
        return made

    async def serve(self, endpoint: str, shadow: float = 0.0) -> list[Server]:
        """An endpoint, with a shadow variant if that has a weight; its servers."""
        variants = [Variant("v1", 1.0, self._folder, [await self.server()])]
        if shadow:
            variants.append(Variant("s1", shadow, self._folder, [await self.server()], shadow=True))
        self.invoking.serving[endpoint] = tuple(variants)
        return [server for variant in variants for server in variant.servers]

    async def ask(self, endpoint: str, what: str, **headers: str) -> str:
        """What the endpoint answers."""
        answered = await self.invoking.invoke(endpoint, headers, what.encode())
        return f"{answered.headers['x-Amzn-Invoked-Production-Variant']} {answered.body.decode()}"

    async def close(self) -> None:
        """End all servers."""
        for variants in self.invoking.serving.values():
            for variant in variants:
                for server in variant.servers:
                    await server.end()


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(servers, "PULSE_S", 0.1)
    made = Stage(tmp_path)
    try:
        yield made
    finally:
        await made.close()


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def under_way(asking: Any) -> AsyncIterator["asyncio.Task[Any]"]:
    """A request that is given up at the end."""
    task = asyncio.create_task(asking)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_server_that_does_nothing_is_replaced_and_one_that_works_is_not(stage: Stage) -> None:
    [working] = await stage.serve("working")
    [hung] = await stage.serve("hung")
    pids = working.pid, hung.pid

    async with under_way(stage.ask("hung", "sleep")), under_way(stage.ask("working", "work 3")) as work:
        await until(lambda: hung.pid != pids[1] and hung.ready.is_set())
        assert working.missed or work.done(), "the one at work did not answer its pings either"
        assert await work == "v1 work 3"

    assert working.pid == pids[0]
    assert await stage.ask("hung", "hello") == "v1 hello"


async def test_a_stopped_server_is_replaced_while_others_go_on(stage: Stage) -> None:
    [stopped] = await stage.serve("stopped")
    await stage.serve("other")
    pid = stopped.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)

    while stopped.pid == pid or not stopped.ready.is_set():
        assert await asyncio.wait_for(stage.ask("other", "hello"), 5) == "v1 hello"
        await asyncio.sleep(0.02)

    assert await stage.ask("stopped", "hello") == "v1 hello"


async def test_who_gives_up_leaves_nothing_behind(stage: Stage) -> None:
    [server] = await stage.serve("slow")

    async with under_way(stage.ask("slow", "work 0.5")):
        await until(lambda: server.under_way == 1)

    assert server.under_way == 0
    assert await stage.ask("slow", "hello") == "v1 hello", "the answer to another's request was not taken for this one's"


@pytest.mark.parametrize("what", ["garbage", "die", "huge"])
async def test_what_no_server_can_answer_is_a_model_error_and_the_next_request_is_answered(stage: Stage, what: str) -> None:
    await stage.serve("bad")

    with pytest.raises(AwsError) as failed:
        await stage.ask("bad", what)

    assert (failed.value.code, failed.value.status, failed.value.details["OriginalStatusCode"]) == ("ModelError", 424, 0)
    assert await stage.ask("bad", "hello") == "v1 hello"


async def test_a_request_outlives_the_moment_in_which_a_killed_server_still_takes_connections(stage: Stage) -> None:
    [server] = await stage.serve("killed")
    alive, lost = server.upstream, 0

    def lose(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal lost
        lost += 1
        writer.transport.abort()
        if lost == 3:
            server.upstream = alive

    dying = await asyncio.start_server(lose, "127.0.0.1", 0)
    async with dying:
        server.upstream = Upstream(dying.sockets[0].getsockname()[1])
        assert await stage.ask("killed", "hello") == "v1 hello"

    assert lost >= 3


async def test_an_endpoint_takes_so_many_at_once_and_the_others_do_not_feel_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invoking, "_MOST_UNDER_WAY", 2)
    [server] = await stage.serve("full")
    await stage.serve("other")

    async with under_way(stage.ask("full", "work 1")), under_way(stage.ask("full", "work 1")):
        await until(lambda: server.under_way == 2)
        with pytest.raises(AwsError) as refused:
            await stage.ask("full", "hello")
        assert (refused.value.code, refused.value.status) == ("ServiceUnavailable", 503)
        assert await stage.ask("other", "hello") == "v1 hello"

    assert await stage.ask("full", "hello") == "v1 hello"


async def test_a_shadow_variant_hears_its_share_and_its_answers_are_thrown_away(stage: Stage) -> None:
    _, shadow = await stage.serve("shadowed", shadow=0.5)

    answered = {await stage.ask("shadowed", "hello") for _ in range(100)}
    await until(lambda: not shadow.under_way)

    assert answered == {"v1 hello"}
    assert 100 + 20 < stage.printed.count("hello") < 100 + 80
    with pytest.raises(AwsError, match="Variant s1 not found"):
        await stage.ask("shadowed", "hello", **{"x-amzn-sagemaker-target-variant": "s1"})


async def test_a_shadow_variant_that_hangs_is_felt_by_nobody(stage: Stage) -> None:
    _, shadow = await stage.serve("shadowed", shadow=1.0)
    assert shadow.pid
    os.kill(shadow.pid, signal.SIGSTOP)

    answered = [await asyncio.wait_for(stage.ask("shadowed", "hello"), 5) for _ in range(50)]

    assert set(answered) == {"v1 hello"}
    assert shadow.under_way <= invoking._MOST_MIRRORED


@pytest.mark.parametrize("stay_s", [0, 600])
async def test_a_port_that_another_took_meanwhile_is_given_up_for_another(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, stay_s: float
) -> None:
    async def somebody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    taken = await asyncio.start_server(somebody, "127.0.0.1", 0)
    ports, free = [taken.sockets[0].getsockname()[1]], servers._free_port
    monkeypatch.setattr(servers, "_free_port", lambda: ports.pop() if ports else free())

    server = await stage.server(stay_s)
    stage.invoking.serving["game"] = (Variant("v1", 1.0, Path(), [server]),)

    assert not ports
    assert await stage.ask("game", "hello") == "v1 hello"
    taken.close()
