"""What strangers do to connections: every refusal is heard, and nothing that they send is kept without bound."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
import structlog
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api import connections
from api.limits import MAX_ADDRESSES, RateLimiter, address_of
from api.ops.operators import Operators
from contracts.ports import Bus
from producers.bus import open_bus
from tests.serving import DEADLINE_S, SERVERS, eventually, get, opened, playing, serving
from tests.serving import closing as ended
from tests.strangers import handshake, said, wire


@pytest.fixture(scope="module")
def bus() -> Iterator[Bus]:
    opened_bus = open_bus("memory://strangers")
    yield opened_bus
    opened_bus.close()


@pytest.fixture(scope="module")
def address(bus: Bus) -> Iterator[str]:
    with serving(bus, allowed_hosts="game.example,*.wild.example") as here:
        yield here


# --- pure ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "counts_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_an_address_is_a_host_or_an_ipv6_customer(host, counts_as):
    assert address_of(host) == counts_as


def test_a_rate_fills_evenly_and_zero_is_no_limit():
    rate = RateLimiter(10, 30)
    assert [rate.take("a", 0) for _ in range(31)] == [0.0] * 30 + [pytest.approx(0.1)]
    assert rate.take("a", 0, cost=5) == pytest.approx(0.5)
    assert rate.take("b", 0) == 0
    assert rate.take("a", 0.1) == 0
    assert [RateLimiter(0, 0).take("a", 0) for _ in range(1000)] == [0.0] * 1000


def test_addresses_are_not_remembered_without_bound():
    rate = RateLimiter(1, 1)
    for i in range(3 * MAX_ADDRESSES):
        rate.take(str(i), 0)
    assert len(rate._buckets) == MAX_ADDRESSES


def test_wrong_tokens_of_an_address_are_throttled_and_an_operators_is_let_in_elsewhere():
    operators = Operators("secret")
    statuses = [refusal.status for _ in range(31) if (refusal := operators.refusal("Bearer wrong", "192.0.2.1", 0.0))]
    assert statuses == [403] * 30 + [429]
    right = operators.refusal("Bearer secret", "192.0.2.1", 0.0)
    assert right is not None
    assert (right.status, right.headers) == (429, {"Retry-After": "2"})
    assert operators.refusal("bearer secret", "192.0.2.2", 0.0) is None
    assert [operators.refusal(given, "192.0.2.3", 0.0).status for given in (None, "", "Bearer ", "Basic secret")] == [401] * 4
    assert Operators(None).refusal("Bearer secret", "192.0.2.2", 0.0).status == 503


# --- HTTP ----------------------------------------------------------------------------------------------------------------


def test_the_token_comes_before_the_body(address):
    head = f"POST /api/ops/retrain HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    for token, status in (("", 401), ("Authorization: Bearer wrong\r\n", 403)):
        with wire(address) as raw:
            raw.sendall(f"{head}{token}Content-Length: 60000\r\n\r\n".encode())
            assert said(raw).startswith(f"HTTP/1.1 {status} "), "it waits for the body"


def test_an_answer_is_heard_though_its_request_is_still_being_sent(address):
    with wire(address) as raw:
        raw.sendall(
            f"POST /api/ops/retrain HTTP/1.1\r\nHost: {address}\r\nContent-Length: {15 << 20}\r\n\r\n".encode()
            + b"x" * (15 << 20)
        )
        answer = said(raw)
    assert answer.startswith("HTTP/1.1 413 ")
    assert "connection: close" in answer.lower()


def test_an_operators_body_has_a_limit(address):
    for size, status in ((65_537, 413), (65_000, 422)):
        body = b'{"target":"xgboost","reason":"' + b"x" * (size - 32) + b'"}'
        with wire(address) as raw:
            raw.sendall(
                f"POST /api/ops/retrain HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer token\r\n"
                "Content-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                f"{len(body):x}\r\n".encode()
                + body
                + b"\r\n0\r\n\r\n"
            )
            assert said(raw).startswith(f"HTTP/1.1 {status} ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 8_100 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (1 << 20), 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 65 + b"\r\n", 431),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"x" * (1 << 20), 414),
        (b"POST /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * (1 << 20), 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: localhost\r\n\r\n", 505),
        (handshake("/ws/play", "localhost").replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
    ],
    ids=[
        "one header",
        "a header without an end",
        "many headers",
        "a target",
        "a target without an end",
        "trailers",
        "TLS",
        "HTTP/2.0",
        "HTTP/0.9",
        "a socket by HTTP/1.0",
    ],
)
def test_heads_have_limits(address, head, status):
    with wire(address) as raw:
        with suppress(ConnectionError):
            raw.sendall(head)
        assert said(raw).startswith(f"HTTP/1.1 {status} ")


def test_a_flood_of_headers_is_not_read_to_its_end(address):
    sent = 0
    with wire(address) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n")
        with suppress(ConnectionError):
            while sent < 1 << 28:
                sent += raw.send(b"A: b\r\n" * 10_000)
    assert sent < 1 << 28, "it is still being read"


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /", b"GET / HTTP/1.1\r\nX: y\r\n", b"\r\n"],
    ids=["nothing", "half a line", "half a head", "an empty line"],
)
def test_a_request_that_does_not_come_is_not_waited_for(address, monkeypatch, begun):
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    with wire(address) as raw:
        raw.sendall(begun)
        assert said(raw).startswith("HTTP/1.1 408 ")


def test_a_body_that_does_not_come_is_not_waited_for(address, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    with wire(address) as raw:
        raw.sendall(
            f"POST /api/ops/retrain HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer token\r\n"
            "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{".encode()
        )
        assert said(raw).startswith("HTTP/1.1 408 ")


def test_empty_lines_keep_no_connection_open(address, monkeypatch):
    with wire(address) as raw:
        raw.sendall(f"GET /web/lib/base.css HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        said(raw, until=b"{")
        monkeypatch.setattr(connections, "HEAD_S", 0.2)
        raw.sendall(b"\r\n")
        assert "HTTP/1.1 408 " in said(raw)


def test_an_answer_that_nobody_reads_is_not_kept(bus, monkeypatch):
    monkeypatch.setattr(connections, "READ_S", 0.5)
    with serving(bus) as here, wire(here, receive=4096) as raw:

        def served() -> list[connections.HttpProtocol]:
            return [one for one in SERVERS[here].server_state.connections if isinstance(one, connections.HttpProtocol)]

        eventually(served)
        [protocol] = served()

        def full() -> bool:
            if not served():
                return True  # on a busy machine it was full and is cut between two looks
            if protocol._stalled is None and not protocol.pipeline:
                with suppress(ConnectionError):
                    raw.sendall(f"GET /openapi.json HTTP/1.1\r\nHost: {here}\r\n\r\n".encode())
            return protocol._stalled is not None

        eventually(full)
        eventually(lambda: not served())


def test_requests_that_come_together_are_no_large_head(address):
    asked = f"GET /web/lib/base.css HTTP/1.1\r\nHost: {address}\r\nX: {'x' * 3000}\r\n\r\n".encode()
    with wire(address) as raw:
        raw.sendall(asked * 10 + asked[:100])
        first = said(raw, until=b"HTTP/1.1 ")  # so the rest comes in another read
        raw.sendall(asked[100:-2] + b"Connection: close\r\n\r\n")
        assert (first + said(raw)).count("HTTP/1.1 200 ") == 11


def test_only_so_many_requests_come_at_once(address):
    with wire(address) as raw, suppress(ConnectionError):
        raw.sendall(f"GET /web/lib/base.css HTTP/1.1\r\nHost: {address}\r\n\r\n".encode() * 5000)
        assert said(raw).count("HTTP/1.1") <= 2 * connections.MAX_PIPELINED


def test_a_connection_is_used_again_after_requests_with_and_without_a_body(address):
    with wire(address) as raw:
        for _ in range(3):
            raw.sendall(f"GET /web/lib/base.css HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            assert said(raw, until=b"{").startswith("HTTP/1.1 200 ")
            raw.sendall(f"POST /web/lib/base.css HTTP/1.1\r\nHost: {address}\r\nContent-Length: 2\r\n\r\nhi".encode())
            assert said(raw, until=b"Allowed").startswith("HTTP/1.1 405 ")


def test_an_address_holds_only_so_many_connections_and_sockets_are_none(bus):
    with serving(bus, connections_per_address=2) as here, closing(wire(here)) as first, closing(wire(here)) as second:
        eventually(lambda: "429" in said(wire(here)))
        for raw in (first, second):
            raw.close()
        with opened(here), opened(here), opened(here):
            eventually(lambda: get(here, "/web/lib/base.css").status_code == 200)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("10.0.0.1", 400),
        ("0.0.0.0", 400),
        ("", 400),
        ("localhost:x", 400),
        ("localhost:99999", 400),
        ("user@localhost", 400),
        ("localhost/x", 400),
        ("[::1", 400),
        ("wild.example", 400),
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("[::1]:8000", 200),
        ("game.example", 200),
        ("a.wild.example:443", 200),
    ],
)
def test_only_the_games_own_names_are_served(address, host, status):
    answer = get(address, "/web/lib/base.css", headers={"Host": host})
    assert answer.status_code == status
    if status == 400:
        assert "GAMENIGHT_ALLOWED_HOSTS" in answer.text
        with wire(address) as raw:
            raw.sendall(handshake("/ws/play", host))
            assert said(raw).startswith("HTTP/1.1 400 ")


def test_two_hosts_or_none_are_no_host(address):
    for hosts in (b"", f"Host: {address}\r\nHost: {address}\r\n".encode()):
        with wire(address) as raw:
            raw.sendall(b"GET /web/lib/base.css HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
            assert said(raw).startswith("HTTP/1.1 400 ")


def test_an_address_that_asks_too_often_is_told_when_to_ask_again(bus):
    with serving(bus, requests_per_second=0.01) as here:
        first, second = get(here, "/web/lib/base.css"), get(here, "/web/lib/base.css")
    assert (first.status_code, second.status_code) == (200, 429)
    assert 50 < int(second.headers["retry-after"]) <= 100
    assert "try again in" in second.text


@pytest.mark.parametrize(
    ("proxies", "limited"), [("", True), ("192.0.2.1", True), ("127.0.0.1", False), ("127.0.0.0/8", False)]
)
def test_only_a_trusted_proxy_says_for_whom_it_asks(bus, proxies, limited):
    with serving(bus, requests_per_second=0.01, trusted_proxies=proxies) as here:
        asked = [get(here, "/web/lib/base.css", headers={"X-Forwarded-For": f"198.51.100.{i}"}).status_code for i in range(3)]
    assert asked == ([200, 429, 429] if limited else [200] * 3)


# --- sockets -------------------------------------------------------------------------------------------------------------


def test_an_address_holds_only_so_many_sockets_unless_an_operator_opens_them(bus):
    with serving(bus, sockets_per_address=2) as here:
        with opened(here), opened(here, "/ws/watch"):
            with pytest.raises(InvalidStatus) as refused, opened(here):
                pass
            assert refused.value.response.status_code == 429
            with opened(here, additional_headers={"Authorization": "Bearer token"}):
                pass
            with pytest.raises(InvalidStatus) as refused, opened(here, additional_headers={"Authorization": "Bearer wrong"}):
                pass
            assert refused.value.response.status_code == 403
        eventually(lambda: _opens(here))


def _opens(address: str) -> bool:
    try:
        with opened(address):
            return True
    except InvalidStatus:
        return False


@pytest.mark.parametrize("kind", [b"\x89\x80", b"\x8a\x80"], ids=["pings", "pongs"])
def test_a_flood_of_pings_ends_the_socket_though_nobody_reads_the_answers(address, kind):
    with playing(address) as player:
        with suppress(ConnectionError):
            player.socket.socket.sendall((kind + b"\x00\x00\x00\x00") * 1000)
        assert ended(player.socket)[0] == 1008


def test_the_answers_to_our_pings_are_none(address):
    with playing(address) as player:
        for _ in range(20):
            player.socket.pong()
        player.saved("pinged")


def test_a_message_in_endless_fragments_ends_the_socket(address):
    with playing(address) as player:
        with suppress(ConnectionError):
            player.socket.socket.sendall(b"\x01\x80\x00\x00\x00\x00" + b"\x00\x80\x00\x00\x00\x00" * 1000)
        assert ended(player.socket)[0] == 1008


def test_a_flood_of_tiny_messages_ends_the_socket(address):
    with playing(address) as player:
        with suppress(ConnectionError):
            player.socket.socket.sendall(b"\x81\x80\x00\x00\x00\x00" * 40_000)
        assert ended(player.socket)[0] == 1008


def test_frames_that_nobody_reads_are_bounded_by_their_size_too(address, monkeypatch):
    monkeypatch.setattr("api.sockets.MAX_WAITING_CHARACTERS", 2000)
    monkeypatch.setattr("api.play.session.MISTAKES", 10**9)
    with structlog.testing.capture_logs() as lines, wire(address, receive=4096) as raw:
        raw.sendall(handshake("/ws/play", address))
        deadline = time.monotonic() + DEADLINE_S
        with suppress(ConnectionError):
            while True:
                raw.sendall(b"\x81\x84\x00\x00\x00\x00oops")
                assert time.monotonic() < deadline, "it is still served"
        eventually(lambda: [line for line in lines if line["event"] == "socket ended"])
        [end] = [line for line in lines if line["event"] == "socket ended"]
        assert int(end["reason"].removesuffix(" frames were not read")) < 50


@pytest.mark.parametrize(
    "broken",
    [
        "Sec-WebSocket-Key: short",
        "Sec-WebSocket-Version: 12",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX: " + "y" * 8_100,
    ],
)
def test_a_broken_handshake_is_refused(address, broken):
    with wire(address) as raw:
        raw.sendall(
            f"GET /ws/play HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"{broken}\r\n\r\n".encode()
        )
        assert said(raw)[:12] in {"HTTP/1.1 400", "HTTP/1.1 426", "HTTP/1.1 431"}


def test_refused_sockets_are_heard(address):
    with pytest.raises((InvalidStatus, ConnectionClosed)), opened(address, "/ws/nothing"):
        pass
    assert socket.create_connection(("127.0.0.1", int(address.split(":")[1]))).close() is None
