"""The local SageMaker's own HTTP: what callers may send, and what becomes of those who leave."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import ANY

import pytest

from deploy.local.archive import free_ports
from deploy.local.sagemaker.app import refused
from deploy.local.sagemaker.http_server import MAX_HEAD_BYTES, Handle, HttpServer, Request, Response

MAX_BYTES = 1000


async def echo(request: Request) -> Response:
    """What was understood, as JSON."""
    told = {"method": request.method, "target": request.target, "headers": request.headers, "body": request.body.decode()}
    return Response(200, {"Content-Type": "application/json"}, json.dumps(told).encode())


@asynccontextmanager
async def opened(handle: Handle = echo, max_bytes: int = MAX_BYTES, **given: Any) -> AsyncIterator[tuple[int, HttpServer]]:
    """A door on a port of its own."""
    [port] = free_ports(1)
    door = HttpServer(handle, max_bytes, refused, **given)
    await door.open("127.0.0.1", port)
    try:
        yield port, door
    finally:
        await door.close(patience_s=1)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_requests_of_one_connection_are_answered_in_their_order_even_when_sent_together() -> None:
    async with opened() as (port, _), connected(port) as (reader, writer):
        for number in range(20):
            writer.write(b"POST /%d?a=b HTTP/1.1\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 2\r\n\r\nhi" % number)
        for number in range(20):
            status, headers, body = await answer(reader)
            told = json.loads(body)
            assert (status, told["target"], told["body"], told["headers"]["x-one"]) == (200, f"/{number}?a=b", "hi", "1,2")
            assert "date" in headers


async def test_a_body_in_chunks_is_put_together() -> None:
    def ask(port: int) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/", iter([b"one ", b"two"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        body = connection.getresponse().read()
        connection.close()
        return body

    async with opened() as (port, _):
        assert json.loads(await asyncio.to_thread(ask, port))["body"] == "one two"


async def test_the_end_of_a_large_body_is_not_taken_for_a_head() -> None:
    async def size(request: Request) -> Response:
        return Response(200, {}, str(len(request.body)).encode())

    async with opened(size, 20 * MAX_HEAD_BYTES) as (port, _), connected(port) as (reader, writer):
        body = b"x" * 10 * MAX_HEAD_BYTES
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert await answer(reader) == (200, ANY, str(len(body)).encode())


async def test_who_asks_before_sending_a_body_is_told_to_go_on() -> None:
    async with opened() as (port, _), connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await answer(reader))[0] == 100
        writer.write(b"hi")
        assert json.loads((await answer(reader))[2])["body"] == "hi"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 this is no HTTP\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000, 413),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEAD_BYTES, 431),
        (b"GET / HTTP/1.1\r\n\xff\xfe: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000 + b"\x16\x03 no HTTP\r\n\r\n", 413),
    ],
)
async def test_what_cannot_be_handled_is_refused_and_the_connection_closed(sent: bytes, status: int) -> None:
    async with opened() as (port, _), connected(port) as (reader, writer):
        writer.write(sent)
        assert (await answer(reader))[0] == status
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_who_may_not_come_in_is_told_before_the_body_is_read() -> None:
    def admit(target: str, headers: Mapping[str, str]) -> Response | None:
        return None if "x-key" in headers else refused(403, f"{target} is locked")

    async with opened(admit=admit) as (port, door), connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nX-Key: 1\r\nContent-Length: 2\r\n\r\nhi")
        assert (await answer(reader))[0] == 200
        writer.write(b"POST /all HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 900\r\n\r\n")
        status, _, body = await answer(reader)
        assert (status, json.loads(body)["message"]) == (403, "/all is locked")
        writer.write(b"x" * 900)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert not door.held


async def test_so_many_bytes_of_bodies_are_held_at_a_time_and_let_go_with_their_requests() -> None:
    go_on = asyncio.Event()

    async def slow(request: Request) -> Response:
        await go_on.wait()
        return await echo(request)

    asked = b"POST / HTTP/1.1\r\nContent-Length: 400\r\n\r\n" + b"x" * 400
    async with opened(slow, max_held=1000) as (port, door), connected(port) as (reader, writer):
        writer.write(2 * asked)
        await until(lambda: door.held == 800)
        async with connected(port) as (other, writer_of_another):
            writer_of_another.write(asked)
            assert (await answer(other))[0] == 503
        async with connected(port) as (_, leaving):
            leaving.write(asked[:-300])
            await until(lambda: door.held == 900)
        await until(lambda: door.held == 800)
        go_on.set()
        for _ in range(2):
            assert (await answer(reader))[0] == 200
        await until(lambda: not door.held)
        writer.write(asked)
        assert (await answer(reader))[0] == 200


async def test_a_connection_is_closed_where_its_caller_wishes_so() -> None:
    async with opened() as (port, _), connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert (await answer(reader))[1]["connection"] == "close"
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_who_leaves_is_no_longer_answered() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def forever(_: Request) -> Response:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("never")

    async with opened(forever) as (port, door):
        async with connected(port) as (_, writer):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await asyncio.wait_for(began.wait(), 10)
        await asyncio.wait_for(ended.wait(), 10)
        await until(lambda: not door.connections)


async def test_a_door_that_closes_lets_those_within_finish() -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        inside.set()
        await go_on.wait()
        return await echo(request)

    async with opened(slow) as (port, door), connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(inside.wait(), 10)
        closing = asyncio.create_task(door.close(patience_s=10))
        go_on.set()
        assert (await answer(reader))[0] == 200
        await closing
