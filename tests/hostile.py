"""What strangers send, case by case, and what each must hear: a refusal that is told, or a close.

tests/integration/test_hostile.py runs them while people play; tests/bench/hostile.py measures what the players notice. Every
case comes from an address of its own: Linux has sixteen million of them on its loopback.
"""

import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, NamedTuple
from uuid import uuid4

import orjson

from contracts.settings import Settings
from tests.strangers import handshake, wire

PATIENCE_S: Final = 25.0
"""So long may a refusal take: the longest wait here is for a request that does not come."""
KEY: Final = "a-key-of-the-battery"


class Doors(NamedTuple):
    """Where the doors are, as ``host:port``."""

    game: str
    sagemaker: str
    s3: str
    dynamodb: str
    kafka: str
    token: str

    @classmethod
    def of(cls, settings: Settings) -> "Doors":
        """Of a game that runs."""
        ports = (settings.port, settings.sagemaker_port, settings.s3_port, settings.dynamodb_port, settings.kafka_port)
        return cls(*(f"127.0.0.1:{port}" for port in ports), Settings.load(home=settings.home).operator_token or "")


Act = Callable[[Doors, str], str]
"""Does it, from an address; gives what was heard: a status, ``error:code``, ``close 1008``, ``closed``, or ``open``."""


class Case(NamedTuple):
    """One thing that a stranger does."""

    name: str
    expected: frozenset[str]
    act: Act


def case(name: str, expected: str, act: Act) -> Case:
    """``expected`` is what may be heard, ``|`` between."""
    return Case(name, frozenset(expected.split("|")), act)


# --- bytes over HTTP -----------------------------------------------------------------------------------------------------


def heard(raw: socket.socket) -> str:
    """The status of the first answer, or how the connection ended without one."""
    raw.settimeout(PATIENCE_S)
    got = b""
    try:
        while b"\r\n" not in got:
            part = raw.recv(4096)
            if not part:
                return "closed"
            got += part
            if not (got.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(got[:7])):
                return f"said {got[:20]!r}"
    except TimeoutError:
        return "open"
    except OSError:
        return "closed"
    return got.split(b" ", 2)[1].decode("latin-1")


def sends(door: Callable[[Doors], str], *parts: bytes | Callable[[Doors], bytes], half_close: bool = False) -> Act:
    """Send bytes and listen."""

    def act(doors: Doors, source: str) -> str:
        with wire(door(doors), source=source) as raw:
            with suppress(OSError):
                for part in parts:
                    raw.sendall(part(doors) if callable(part) else part)
                if half_close:
                    raw.shutdown(socket.SHUT_WR)
            return heard(raw)

    return act


def game(doors: Doors) -> str:
    return doors.game


def request(method: str, path: str, *headers: str, body: bytes = b"", host: str | None = "", version: str = "1.1") -> Act:
    """A request to the game; ``host`` is the game's own unless told otherwise, None: no header. ``TOKEN`` is the operators'."""

    def act(doors: Doors, source: str) -> str:
        named = [f"{method} {path} HTTP/{version}"]
        if host is not None:
            named.append(f"Host: {host or doors.game}")
        named += [header.replace("TOKEN", doors.token) for header in headers]
        if body and not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
            named.append(f"Content-Length: {len(body)}")
        return sends(game, "\r\n".join([*named, "", ""]).encode("latin-1") + body)(doors, source)

    return act


PAGES: Final = (
    "/", "/watch", "/library", "/endpoints", "/docs", "/asyncapi", "/asyncapi.json", "/web/lib/base.css", "/openapi.json",
    "/healthz", "/metrics", "/api/models", "/api/endpoints", "/api/routing", "/api/scores", "/web/game/main.js",
)  # fmt: skip
ORDERS: Final = ("retrain", "promote", "rollback", "try", "policy")
OPERATOR: Final = ("Authorization: Bearer TOKEN", "Content-Type: application/json")


def methods() -> Iterator[Case]:
    """What a route is not asked by."""
    for path in PAGES:
        for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE"):
            yield case(f"{method} {path}", "405", request(method, path, "Content-Length: 0"))
    for order in ORDERS:
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            yield case(f"{method} order {order}", "405", request(method, f"/api/ops/{order}", *OPERATOR, "Content-Length: 0"))
    for method in ("GET", "PUT", "DELETE"):
        yield case(f"{method} predict", "405", request(method, "/api/predict", "Content-Length: 0"))
    for method in ("get", "G\x00T", "FOO", "GE T", "", "G" * 10_000, "\xe9", "PRI", "SOURCE"):
        yield case(f"method {method[:10]!r}", "400|405", request(method, "/"))
    yield case("CONNECT", "400", sends(game, b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n"))


def tokens() -> Iterator[Case]:
    """Who is no operator, with and without a body; who is no app."""
    big = b'{"target":"' + b"x" * (15 << 20) + b'"}'
    wrong = {
        "none": ("", "401"),
        "basic": ("Authorization: Basic dG9rZW4=", "401"),
        "empty": ("Authorization: Bearer ", "401"),
        "wrong": ("Authorization: Bearer wrong", "403"),
        "long": ("Authorization: Bearer " + "x" * 7000, "403"),
        "not ASCII": ("Authorization: Bearer t\xf6ken", "403"),
        "null": ("Authorization: Bearer null", "403"),
        "twice": ("Authorization: Bearer a\r\nAuthorization: Bearer TOKEN", "403"),
    }
    for order in ORDERS:
        for name, (header, status) in wrong.items():
            headers = [header] if header else []
            promise = "Content-Length: 60000"  # the body is never sent: who waits for it, waits too long
            yield case(f"{order}, token {name}", status, request("POST", f"/api/ops/{order}", *headers, promise))
        yield case(f"{order}, 15 MB without a token", "413", request("POST", f"/api/ops/{order}", body=big))
        yield case(f"{order}, 15 MB, a wrong token", "413", request("POST", f"/api/ops/{order}", wrong["wrong"][0], body=big))
    yield case("a command without a token", "401", request("GET", f"/api/ops/commands/{uuid4()}"))
    yield case("a command that is none", "422", request("GET", "/api/ops/commands/none", *OPERATOR))
    yield case("a command that nobody gave", "404", request("GET", f"/api/ops/commands/{uuid4()}", *OPERATOR))
    yield case("predict without a key", "401", request("POST", "/api/predict", "Content-Length: 1500000"))
    for name in ("X-API-Key: wrong", "Authorization: Bearer wrong", "X-API-Key: " + "k" * 7000, "X-API-Key: \xff"):
        yield case(f"predict, {name[:24]!r}", "403", request("POST", "/api/predict", name, "Content-Length: 1500000"))

    def guessed(path: str, header: str) -> Act:
        def act(doors: Doors, source: str) -> str:
            return [request("POST", path, header.format(i), "Content-Length: 0")(doors, source) for i in range(32)][-1]

        return act

    yield case("32 tokens are guessed", "429", guessed("/api/ops/retrain", "Authorization: Bearer guess-{}"))
    yield case("32 keys are guessed", "429", guessed("/api/predict", "X-API-Key: guess-{}"))


BODIES: Final[dict[str, tuple[bytes, str]]] = {
    "empty": (b"", "422"),
    "NaN": (b'{"target":NaN}', "422"),
    "infinity": (b'{"target":"xgboost","share":1e999}', "422"),
    "20,000 open brackets": (b"[" * 20_000, "400|422"),
    "10,000 open braces": (b'{"a":' * 10_000, "400|422"),
    "an integer of 5,000 digits": (b'{"target":' + b"9" * 5000 + b"}", "400|422"),
    "a lone surrogate": (rb'{"target":"\ud800"}', "400|422"),
    "not UTF-8": (b'{"target":"\xff\xfe"}', "400|422"),
    "null bytes": (b"\x00" * 1000, "400|422"),
    "a list": (b"[1,2,3]", "422"),
    "null": (b"null", "422"),
    "a string": (b'"retrain"', "422"),
    "a number": (b"7", "422"),
    "half an object": (b'{"target":"xgb', "422"),
    "an unknown field": (b'{"target":"xgboost","__proto__":{},"sudo":true}', "422"),
    "a template": (b'{"target":"{{7*7}}${7*7}<%= 7*7 %>"}', "422"),
    "a shell": (b'{"target":"xgboost; rm -rf / #"}', "422"),
    "a pickle": (b"\x80\x04\x95cposix\nsystem\n(S'true'\ntR.", "400|422"),
    "65,537 bytes": (b'{"target":"' + b"x" * 65_526, "413"),
}


def bodies() -> Iterator[Case]:
    """What operators would not send, with their token."""
    for order in ("retrain", "promote", "policy"):
        for name, (body, status) in BODIES.items():
            yield case(f"{order}, body: {name}", status, request("POST", f"/api/ops/{order}", *OPERATOR, body=body))
    for kind in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""):
        headers = (OPERATOR[0], f"Content-Type: {kind}")
        yield case(f"an order as {kind!r}", "422", request("POST", "/api/ops/retrain", *headers, body=b'{"target":"xgboost"}'))
    squeezed = zlib.compress(b"0" * (64 << 20))
    for encoding in ("gzip", "deflate", "br", "zstd"):
        headers = (*OPERATOR, f"Content-Encoding: {encoding}")
        yield case(f"a bomb by {encoding}", "400|413|422", request("POST", "/api/ops/retrain", *headers, body=squeezed))


def predictions() -> Iterator[Case]:
    """What an app would not send, with its key."""
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60_000, 60_000, 8, 0, 0, 0, 0) + b"\x00" * 100
    sent: dict[str, tuple[bytes, str, str]] = {
        "empty": (b"", "json", "400"),
        "NaN": (b'{"image":[NaN]}', "json", "400|422"),
        "20,000 open brackets": (b"[" * 20_000, "json", "400|422"),
        "a lone surrogate": (rb'{"png":"\ud800"}', "json", "400|422"),
        "strokes without an end": (b'{"strokes":[[[' + b"1," * 20_000, "json", "400|413|422"),
        "a huge number": (b'{"strokes":[[[1e308,1e308]]]}', "json", "422"),
        "an unknown model": (b'{"strokes":[[[1,1],[9,9]]],"models":"../../etc/passwd"}', "json", "422"),
        "a PNG of 60,000 x 60,000": (png, "png", "422|400"),
        "a PNG that is none": (b"GIF89a" + b"\x00" * 100, "png", "422|400"),
        "2 MB": (b"x" * (2 << 20), "json", "413"),
    }
    for name, (body, kind, status) in sent.items():
        content = "Content-Type: " + ("image/png" if kind == "png" else "application/json")
        yield case(f"predict: {name}", status, request("POST", "/api/predict", f"X-API-Key: {KEY}", content, body=body))


def heads() -> Iterator[Case]:
    """Requests that are none, or two, or without an end."""
    names = (
        "evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0", "localhost:x", "localhost:99999", "a@localhost",
        "localhost/..", "[::1", "::1", "localhost, evil.example", "lo calhost", "\xe9", "127.1", "2130706433", "0x7f000001",
        "localhost.", "[::ffff:10.0.0.1]", "*", "-",
    )  # fmt: skip
    for host in names:
        yield case(f"Host: {host!r}", "400", request("GET", "/web/lib/base.css", host=host))
        yield case(f"a socket at {host!r}", "400", opens("/ws/play", host=host))
    yield case("no Host", "400", request("GET", "/web/lib/base.css", host=None))
    yield case("an empty Host", "400", sends(game, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"))
    yield case("two Hosts", "400", request("GET", "/web/lib/base.css", "Host: evil.example"))
    for value in ("-1", "+5", "0x10", "5, 6", "1 2", "abc", "9" * 30, "18446744073709551616", "1.5", "\xb2"):
        status = "400|413"
        yield case(f"Content-Length: {value[:24]!r}", status, request("POST", "/api/ops/retrain", f"Content-Length: {value}"))
    yield case(
        "two Content-Lengths",
        "400",
        request("POST", "/api/ops/retrain", "Content-Length: 5", "Content-Length: 6", body=b"123456"),
    )
    smuggled = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    for name, headers in {
        "CL.TE": ("Content-Length: 60", "Transfer-Encoding: chunked"),
        "TE.CL": ("Transfer-Encoding: chunked", "Content-Length: 3"),
        "TE.TE": ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        "an unknown coding": ("Transfer-Encoding: xchunked",),
        "chunked, then gzip": ("Transfer-Encoding: chunked, gzip",),
        "a space before the colon": ("Transfer-Encoding : chunked",),
        "a folded header": ("X: a\r\n b", "Transfer-Encoding: xchunked"),
        "a name with a null": ("X\x00: a",),
        "a value with a null": ("X: a\x00b",),
        "a bare CR": ("X: a\rY: b",),
        "no name": (": a",),
        "no colon": ("Transfer-Encoding",),
    }.items():
        yield case(f"smuggling: {name}", "400", request("POST", "/web/lib/base.css", *headers, body=smuggled))
    chunked = ("Authorization: Bearer TOKEN", "Content-Type: application/json", "Transfer-Encoding: chunked")
    for name, chunks in {
        "no size": b"\r\nabc",
        "a negative size": b"-1\r\nabc",
        "a size of 2^64": b"10000000000000000\r\nabc",
        "no hex": b"xyz\r\nabc",
        "no end of a chunk": b"3\r\nabcdef\r\n0\r\n\r\n",
    }.items():
        yield case(f"chunks: {name}", "400", request("POST", "/api/ops/retrain", *chunked, body=chunks))
    endless = (b"400\r\n" + b"x" * 1024 + b"\r\n") * 20_000
    yield case("chunks without an end", "413", request("POST", "/api/ops/retrain", *chunked, body=endless))
    yield case(
        "an extension without an end", "413|400", request("POST", "/api/ops/retrain", *chunked, body=b"3;" + b"x" * (8 << 20))
    )
    yield case(
        "trailers without an end", "400|413|422|431",
        request("POST", "/api/ops/retrain", *chunked, body=b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 100_000),
    )  # fmt: skip
    for name, head, status in (
        ("65 headers", b"A: b\r\n" * 65, "431"),
        ("100,000 headers", b"A: b\r\n" * 100_000, "431"),
        ("a header of 8,100 bytes", b"A: " + b"b" * 8100 + b"\r\n", "431"),
        ("a header of 60 MB", b"A: " + b"b" * (60 << 20), "431"),
        ("a name of 1 MB", b"A" * (1 << 20) + b": b\r\n", "431"),
        ("18 KB of cookies", (b"Cookie: " + b"c=d; " * 1200 + b"\r\n") * 3, "431"),
    ):
        yield case(name, status, sends(game, b"GET / HTTP/1.1\r\n" + head + b"\r\n"))
    yield case("a target of 9,000 bytes", "414", sends(game, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n"))
    yield case("a target of 1 MB", "414", sends(game, b"GET /" + b"x" * (1 << 20)))
    for version in ("0.9", "1.2", "2.0", "3", "9.9", "x", "11"):
        yield case(f"HTTP/{version}", "400|505", request("GET", "/web/lib/base.css", version=version))
    chance = random.Random(8)
    for name, sent in {
        "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "SOCKS 5": b"\x05\x01\x00",
        "RTSP": b"OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        "SMTP": b"EHLO evil.example\r\n",
        "Redis": b"*1\r\n$4\r\nINFO\r\n",
        "memcached": b"stats\r\n",
        "a line of HTTP/0.9": b"GET /\r\n",
        "a response": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "nulls": bytes(10_000),
        **{f"noise {i}": b"\xff" + chance.randbytes(300) for i in range(8)},
    }.items():
        yield case(name, "408" if name == "a line of HTTP/0.9" else "400", sends(game, sent))
    paths = (
        "/web/../api/app.py", "/web/%2e%2e/api/app.py", "/web/..%2fapi/app.py", "/web//etc/passwd", "/web/%00",
        "/web/game%00.js", "/web/" + "../" * 50 + "etc/passwd", "/web/....//....//etc/passwd", "/web/%252e%252e/etc/passwd",
        "/web/..\\..\\etc", "/.env", "/.git/config", "/secrets/operator_token", "/web/%ff%fe", "/web/" + "a/" * 2000,
        "/web/" + "a" * 4000, "/wp-login.php", "/api/ops/", "/api/nothing", "/healthz/x", "/web/game/",
    )  # fmt: skip
    for path in paths:
        yield case(f"GET {path[:40]}", "404", request("GET", path))
    for target in ("*", "healthz", "?", "//", "/\x7f", "/\xe9", "http://", "http://[", "/ /"):
        yield case(f"target {target!r}", "400|404|405", request("GET", target))
    for name, header in {
        "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "an unknown protocol": "Connection: Upgrade\r\nUpgrade: irc",
    }.items():
        yield case(f"upgrade to {name}", "404", request("GET", "/nothing", header))


def slow() -> Iterator[Case]:
    """Requests that do not come, and ends that are only half ones."""
    for name, begun in {
        "nothing": b"",
        "one byte": b"G",
        "half a line": b"GET /healthz",
        "half a head": b"GET / HTTP/1.1\r\nHost: ",
        "an empty line": b"\r\n",
        "headers without an end": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n",
    }.items():
        yield case(f"waits after {name}", "408", sends(game, begun))
        ended = "closed|400"
        yield case(f"half-closes after {name}", ended, sends(game, begun, half_close=True))
    for name, headers in {"a length": ("Content-Length: 100",), "chunks": ("Transfer-Encoding: chunked",)}.items():
        promised = request("POST", "/api/ops/retrain", *OPERATOR, *headers, body=b"1" if name == "a length" else b"5\r\nab")
        yield case(f"waits in a body of {name}", "408", promised)
        key = (f"X-API-Key: {KEY}", "Content-Type: application/json")
        yield case(f"waits in a picture of {name}", "408", request("POST", "/api/predict", *key, *headers, body=b"5\r\nab"))

    def drips(doors: Doors, source: str) -> str:
        """A header a second: each byte comes in time, the request does not."""
        with wire(doors.game, source=source) as raw:
            raw.settimeout(1.0)
            with suppress(OSError):
                raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
                for _ in range(int(PATIENCE_S)):
                    try:
                        return raw.recv(12)[9:].decode() or "closed"
                    except TimeoutError:
                        raw.sendall(b"X: y\r\n")
        return "open"

    yield case("a header a second", "408", drips)

    def unread(doors: Doors, source: str) -> str:
        """Asks on and on, and reads no answer."""
        with wire(doors.game, receive=4096, source=source) as raw:
            raw.settimeout(PATIENCE_S)
            asked = f"GET /openapi.json HTTP/1.1\r\nHost: {doors.game}\r\n\r\n".encode()
            try:
                while True:
                    raw.sendall(asked)
            except TimeoutError:
                return "open"
            except OSError:
                return "closed"

    yield case("answers that nobody reads", "closed", unread)

    def pipelines(doors: Doors, source: str) -> str:
        with wire(doors.game, source=source) as raw:
            with suppress(OSError):
                raw.sendall(f"GET /healthz HTTP/1.1\r\nHost: {doors.game}\r\n\r\n".encode() * 10_000)
            raw.settimeout(PATIENCE_S)
            n = 0
            try:
                while part := raw.recv(1 << 16):
                    n += part.count(b"HTTP/1.1 200")
            except TimeoutError:
                return "open"
            except OSError:
                pass
            return "closed" if n < 500 else f"{n} answers"

    yield case("10,000 requests in one breath", "closed", pipelines)


# --- sockets -------------------------------------------------------------------------------------------------------------


def opens(path: str, *headers: str, host: str = "", without: str = "") -> Act:
    """A handshake; what is answered to it. ``without`` is a header that is left out."""

    def act(doors: Doors, source: str) -> str:
        sent = handshake(path, host or doors.game, *headers)
        if without:
            lines = [line for line in sent.split(b"\r\n") if not line.startswith(without.encode())]
            sent = b"\r\n".join(lines)
        return sends(game, sent)(doors, source)

    return act


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A frame of a client; its mask is of zeros."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask, size = 0x80 if masked else 0, len(payload)
    length = (
        struct.pack("!B", mask | size)
        if size < 126
        else struct.pack("!BH", mask | 126, size)
        if size < 1 << 16
        else struct.pack("!BQ", mask | 127, size)
    )
    return bytes([first]) + length + (b"\x00" * 4 if masked else b"") + payload


class Talk:
    """A socket that was accepted."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._got = b""

    def _take(self, n: int) -> bytes:
        while len(self._got) < n:
            part = self._raw.recv(1 << 16)
            if not part:
                raise ConnectionResetError
            self._got += part
        taken, self._got = self._got[:n], self._got[n:]
        return taken

    def accepted(self) -> bool:
        """Read the answer to the handshake."""
        while b"\r\n\r\n" not in self._got:
            self._got += self._raw.recv(1 << 16) or b"\r\n\r\n"
        head, _, self._got = self._got.partition(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 101")

    def next(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, second = self._take(2)
        size = second & 127
        if size > 125:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        return first & 15, self._take(size)

    def outcome(self, until_close: bool) -> str:
        """The error or the close that comes; what else is told is passed over."""
        self._raw.settimeout(PATIENCE_S)
        try:
            while True:
                opcode, payload = self.next()
                if opcode == 8:
                    return f"close {int.from_bytes(payload[:2], 'big')}"
                if opcode == 1 and not until_close:
                    message = orjson.loads(payload)
                    if message["type"] == "error":
                        return f"error:{message['code']}"
                    if message["type"] == "receipt":
                        return f"receipt:{message['outcome']}"
        except TimeoutError:
            return "open"
        except OSError:
            return "dropped"


def talks(path: str, *frames: bytes, joined: bool = False, until_close: bool = False) -> Act:
    """Open a socket, perhaps join, send, and listen."""

    def act(doors: Doors, source: str) -> str:
        with wire(doors.game, source=source) as raw:
            talk = Talk(raw)
            raw.sendall(handshake(path, doors.game))
            if not talk.accepted():
                return "refused"
            with suppress(OSError):
                if joined:
                    raw.sendall(frame(1, b'{"type":"join","name":"Eve","room":null,"seat":null}'))
                for one in frames:
                    raw.sendall(one)
            return talk.outcome(until_close)

    return act


def sockets() -> Iterator[Case]:
    """Handshakes that are none, and frames that break the protocol, on both sockets."""
    for path in ("/ws/play", "/ws/watch"):
        for name, status, act in (
            ("no key", "400", opens(path, without="Sec-WebSocket-Key")),
            ("a short key", "400", opens(path, "Sec-WebSocket-Key: c2hvcnQ=", without="Sec-WebSocket-Key: dGhl")),
            ("two keys", "400", opens(path, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
            ("no version", "400|426", opens(path, without="Sec-WebSocket-Version")),
            ("version 12", "400|426", opens(path, "Sec-WebSocket-Version: 12", without="Sec-WebSocket-Version: 13")),
            ("no Upgrade", "404|426", opens(path, without="Upgrade")),
            ("no Connection", "404|426", opens(path, without="Connection")),
            ("a wrong token", "403", opens(path, "Authorization: Bearer wrong")),
            ("no token after Bearer", "401", opens(path, "Authorization: Bearer")),
            ("a cookie of 9,000 bytes", "431", opens(path, "Cookie: " + "c" * 9000)),
            ("100 headers", "431", opens(path, *[f"X-{i}: y" for i in range(100)])),
            ("a foreign origin", "403", opens(path, "Origin: http://evil.example")),
            ("no page's origin", "403", opens(path, "Origin: null")),
            ("another port's origin", "403", opens(path, "Origin: http://127.0.0.1:1")),
            ("a file's origin", "403", opens(path, "Origin: file://")),
            ("an origin that is none", "403", opens(path, "Origin: http://[::1")),
            ("a longer name's origin", "403", opens(path, "Origin: http://127.0.0.1.evil.example")),
            (
                "by POST",
                "400|404|405|426",
                lambda doors, source, path=path: sends(game, handshake(path, doors.game).replace(b"GET", b"POST"))(
                    doors, source
                ),
            ),
            (
                "by HTTP/1.0",
                "505",
                lambda doors, source, path=path: sends(game, handshake(path, doors.game).replace(b"1.1", b"1.0"))(
                    doors, source
                ),
            ),
        ):
            yield case(f"{path}: {name}", status, act)
        broken: dict[str, tuple[bytes, str]] = {
            **{f"reserved bits {bits}": (frame(1, b"x", reserved=bits), "close 1002") for bits in (1, 2, 4)},
            **{f"opcode {opcode}": (frame(opcode, b""), "close 1002") for opcode in (3, 7, 11, 15)},
            "not masked": (frame(1, b"x", masked=False), "close 1002"),
            "a ping in parts": (frame(9, b"", fin=False), "close 1002"),
            "a ping of 126 bytes": (frame(9, b"x" * 126), "close 1002"),
            "a part of nothing": (frame(0, b"x"), "close 1002"),
            "a text in a text": (frame(1, b"x", fin=False) + frame(1, b"x"), "close 1002"),
            "a length of 2^63": (b"\x81\xff" + b"\x80" + bytes(7) + bytes(4), "close 1002|close 1009"),
            "a length of 2^40": (b"\x81\xff" + (1 << 40).to_bytes(8, "big") + bytes(4), "close 1009"),
            "65,537 bytes": (frame(1, b"x" * 65_537), "close 1009"),
            "8 MB": (frame(2, b"x" * (8 << 20)), "close 1009"),
            "66 KB in parts": (frame(1, b"x", fin=False) + frame(0, b"x" * 1000, fin=False) * 66, "close 1009"),
            "not UTF-8": (frame(1, b"\xff"), "close 1007"),
            "half a UTF-8 letter": (frame(1, b"\xc3"), "close 1007"),
            "a close of one byte": (frame(8, b"\x03"), "close 1002"),
            "a close with 999": (frame(8, struct.pack("!H", 999)), "close 1002"),
            "a close with 1005": (frame(8, struct.pack("!H", 1005)), "close 1002"),
            "a close with no UTF-8": (frame(8, struct.pack("!H", 1000) + b"\xff"), "close 1002|close 1007"),
            "500 pings": (frame(9, b"") * 500, "close 1008"),
            "20,000 pings of 125 bytes": (frame(9, b"x" * 125) * 20_000, "close 1008"),
            "500 pongs": (frame(10, b"") * 500, "close 1008"),
            "5,000 empty parts": (frame(1, b"", fin=False) + frame(0, b"", fin=False) * 5000, "close 1008"),
            "50,000 empty texts": (frame(1, b"") * 50_000, "close 1008"),
            "50,000 binaries": (frame(2, b"x") * 50_000, "close 1008"),
            "noise": (random.Random(9).randbytes(5000), "close 1002|close 1007|close 1009"),
        }  # fmt: skip
        for name, (sent, expected) in broken.items():
            yield case(f"{path}: {name}", expected, talks(path, sent, until_close=True))
    yield case("a socket that there is not", "403|404", opens("/ws/nothing"))
    for sent in (b"hello", b"{}", b'{"type":"join","name":"Eve","room":null,"seat":null}'):
        yield case(f"/ws/watch: {sent[:20]!r}", "error:read_only", talks("/ws/watch", frame(1, sent)))
    yield case("/ws/watch: 20 words", "close 1008", talks("/ws/watch", frame(1, b"hello") * 20, until_close=True))


def mistakes() -> Iterator[Case]:
    """Messages that are none, before a join and after it."""
    some = str(uuid4())

    def draw(**fields: object) -> bytes:
        whole = {
            "type": "draw",
            "drawing_id": str(uuid4()),
            "strokes": [[[1, 1], [9, 9]]],
            "width": 9,
            "height": 9,
            "final": True,
        }
        return orjson.dumps(whole | fields)

    said: dict[str, tuple[bytes, str]] = {
        "NaN": (b"NaN", "not_json"),
        "empty": (b"", "not_json"),
        "20,000 open brackets": (b"[" * 20_000, "not_json"),
        "10,000 open braces": (b'{"a":' * 10_000, "not_json"),
        "a lone surrogate": (rb'{"type":"join","name":"\ud800"}', "not_json"),
        "a list": (b"[1,2]", "not_json"),
        "nulls": (bytes(100), "not_json"),
        "the largest frame": (b"x" * 65_536, "not_json"),
        "an unknown type": (b'{"type":"shutdown"}', "unknown_type"),
        "a type that is no text": (b'{"type":{"$ne":null}}', "unknown_type"),
        "a server's message": (f'{{"type":"saved","drawing_id":"{some}"}}'.encode(), "unknown_type"),
        "a name of nothing": (b'{"type":"join","name":"  ","room":null,"seat":null}', "invalid"),
        "a name of 33 letters": (b'{"type":"join","name":"' + b"a" * 33 + b'","room":null,"seat":null}', "invalid"),
        "a name that turns others around": (rb'{"type":"join","name":"\u202eEve","room":null,"seat":null}', "invalid"),
        "a room of vowels": (b'{"type":"join","name":"Eve","room":"AEIO","seat":null}', "invalid"),
        "a player_id of one's own": (b'{"type":"join","name":"Eve","player_id":"me","room":null,"seat":null}', "unknown_field"),
        "a label of 10": (
            f'{{"type":"correct","drawing_id":"{some}","correction_id":"{some}","label":10}}'.encode(), "invalid",
        ),
        "a label of 300 digits": (
            f'{{"type":"correct","drawing_id":"{some}","correction_id":"{some}","label":{"9" * 300}}}'.encode(), "invalid",
        ),
        "no strokes": (draw(strokes=[]), "invalid"),
        "65 strokes": (draw(strokes=[[[1, 1]]] * 65), "invalid"),
        "4,097 points": (draw(strokes=[[[1, 1]] * 4097]), "invalid"),
        "a point of one number": (draw(strokes=[[[1]]]), "invalid"),
        "a point far away": (draw(strokes=[[[1e12, 1]]]), "invalid"),
        "4,096 words for points": (draw(strokes=[[["", ""]] * 4096]), "invalid"),
        "a canvas of nothing": (draw(width=0), "invalid"),
        "a canvas of a mile": (draw(width=1e9), "invalid"),
        "an id that is none": (draw(drawing_id="1"), "invalid"),
        "a probe": (draw(probe=True), "unknown_field"),
        "a raster": (draw(raster="AAAA", models=["xgboost"]), "unknown_field"),
    }  # fmt: skip
    for name, (sent, code) in said.items():
        yield case(f"before a join: {name}", f"error:{code}", talks("/ws/play", frame(1, sent)))
        yield case(f"after a join: {name}", f"error:{code}", talks("/ws/play", frame(1, sent), joined=True))
    yield case("a drawing before a join", "error:not_joined", talks("/ws/play", frame(1, draw())))
    yield case("a binary frame", "error:not_text", talks("/ws/play", frame(2, b"x"), joined=True))
    join = frame(1, b'{"type":"join","name":"Eve","room":null,"seat":null}')
    yield case("a second join", "error:already_joined", talks("/ws/play", join, joined=True))
    for seat in ("x", "", "WyJhIiwiYiJd.YQ.YQ", "a" * 512):
        sent = orjson.dumps({"type": "join", "name": "Eve", "room": None, "seat": seat})
        yield case(f"a seat {seat[:20]!r}", "error:bad_seat", talks("/ws/play", frame(1, sent)))
    word = f'{{"type":"correct","drawing_id":"{uuid4()}","correction_id":"{some}","label":1}}'.encode()
    yield case("a word on nobody's drawing", "receipt:refused", talks("/ws/play", frame(1, word), joined=True))
    yield case("20 mistakes", "close 1008", talks("/ws/play", frame(1, b"oops") * 20, joined=True, until_close=True))
    previews = b"".join(frame(1, draw(final=False)) for _ in range(200))
    yield case("200 previews at once", "close 1008", talks("/ws/play", previews, joined=True, until_close=True))
    yield case("a socket that does not join", "close 1008", _unjoined)


def _unjoined(doors: Doors, source: str) -> str:
    with wire(doors.game, source=source) as raw:
        talk = Talk(raw)
        raw.sendall(handshake("/ws/play", doors.game))
        talk.accepted()
        raw.settimeout(40)
        try:
            while True:
                opcode, payload = talk.next()
                if opcode == 8:
                    return f"close {int.from_bytes(payload[:2], 'big')}"
                if opcode == 9:
                    raw.sendall(frame(10, payload))
        except OSError:
            return "dropped"


# --- addresses -----------------------------------------------------------------------------------------------------------


def addresses() -> Iterator[Case]:
    """One script on one address."""

    def rooms(doors: Doors, source: str) -> str:
        """Rooms are guessed, a socket each."""
        names = [f"{a}{b}ZZ" for a in "BCDF" for b in "GHJKL"]
        said = []
        for name in names:
            sent = orjson.dumps({"type": "join", "name": "Eve", "room": name, "seat": None})
            with wire(doors.game, source=source) as raw:
                talk = Talk(raw)
                raw.sendall(handshake("/ws/play", doors.game))
                if not talk.accepted():
                    return "refused"
                raw.sendall(frame(1, sent))
                said.append(orjson.loads(talk.next()[1]))
        told = [message.get("code", message["type"]) for message in said]
        return "error:busy" if told == ["joined"] * 10 + ["busy"] * 10 else str(told)

    yield case("20 rooms are guessed", "error:busy", rooms)

    def many(path: str) -> Act:
        def act(doors: Doors, source: str) -> str:
            held, statuses = [], []
            try:
                for _ in range(80):
                    raw = wire(doors.game, source=source)
                    held.append(raw)
                    raw.sendall(handshake(path, doors.game))
                    statuses.append(heard(raw))
            finally:
                for raw in held:
                    raw.close()
            return "429" if statuses == ["101"] * 64 + ["429"] * 16 else str(statuses)

        return act

    yield case("80 sockets that play", "429", many("/ws/play"))
    yield case("80 sockets that watch", "429", many("/ws/watch"))

    def connections(doors: Doors, source: str) -> str:
        held = [wire(doors.game, source=source) for _ in range(128)]
        try:
            with wire(doors.game, source=source) as raw:
                return heard(raw)
        finally:
            for raw in held:
                raw.close()

    yield case("129 connections that say nothing", "429", connections)

    def asks(doors: Doors, source: str) -> str:
        asked = f"GET /web/lib/base.css HTTP/1.1\r\nHost: {doors.game}\r\n\r\n".encode()
        with wire(doors.game, source=source) as raw:
            raw.settimeout(PATIENCE_S)
            for _ in range(200):
                raw.sendall(asked * 10)
                got = b""
                while (n := got.count(b"HTTP/1.1 ")) < 10 and b"HTTP/1.1 429" not in got:
                    got += raw.recv(1 << 16)
                if b"HTTP/1.1 429" in got:
                    return "429"
        return f"{n} more"

    yield case("2,000 requests, ten at once", "429", asks)

    def draws(doors: Doors, source: str) -> str:
        """Twelve players of one address who each draw as much as a player may: the address has a limit of its own."""
        held = [wire(doors.game, source=source) for _ in range(12)]
        try:
            talkers = [Talk(raw) for raw in held]
            for raw, talk in zip(held, talkers, strict=True):
                raw.sendall(handshake("/ws/play", doors.game))
                if not talk.accepted():
                    return "refused"
                raw.sendall(frame(1, b'{"type":"join","name":"Eve","room":null,"seat":null}'))
                strokes = {"strokes": [[[1, 1], [9, 9]]], "width": 9, "height": 9, "final": False}
                for _ in range(18):
                    raw.sendall(frame(1, orjson.dumps({"type": "draw", "drawing_id": str(uuid4()), **strokes})))
            return talkers[-1].outcome(until_close=False)
        finally:
            for raw in held:
                raw.close()

    yield case("216 drawings of twelve players", "error:busy", draws)


# --- what stands beside --------------------------------------------------------------------------------------------------


def services() -> Iterator[Case]:
    """The doors of what one machine has besides the game: they refuse or close, and live on."""
    noise = {
        "noise": b"\xff" + random.Random(10).randbytes(300) + b"\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
        "a negative length": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "100,000 headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        "a header of 1 MB": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"b" * (1 << 20) + b"\r\n\r\n",
        "HTTP/9.9": b"GET / HTTP/9.9\r\n\r\n",
    }
    refused = "400|403|404|405|411|413|414|431|500|501|505|closed"
    doors: dict[str, Callable[[Doors], str]] = {
        "sagemaker": lambda doors: doors.sagemaker,
        "s3": lambda doors: doors.s3,
        "dynamodb": lambda doors: doors.dynamodb,
    }
    for name, door in doors.items():
        for what, sent in noise.items():
            yield case(f"{name}: {what}", refused, sends(door, sent))
    for operation in ("CreateTrainingJob", "DeleteEndpoint", "ListModels"):
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: SageMaker.{operation}\r\n"
        head += "Content-Type: application/x-amz-json-1.1\r\n"
        yield case(
            f"sagemaker: {operation} without a signature", "400|403",
            sends(doors["sagemaker"], f"{head}Content-Length: 2\r\n\r\n{{}}".encode()),
        )  # fmt: skip
    invoked = b"POST /endpoints/x/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    yield case("sagemaker: an invocation without a signature", "400|403", sends(doors["sagemaker"], invoked))
    for method, path in (
        ("GET", "/"), ("GET", "/gamenight"), ("DELETE", "/gamenight"), ("POST", "/gamenight?delete"),
        ("GET", "/gamenight/../../secrets/operator_token"), ("POST", "/_ministack/reset"),
    ):  # fmt: skip
        sent = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
        yield case(f"s3: {method} {path} without a signature", "400|403|404|405|501", sends(doors["s3"], sent))
    kafka = {
        "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "a size of 2 GB": struct.pack("!i", 2**31 - 1) + bytes(100),
        "a negative size": struct.pack("!i", -1) + bytes(100),
        "an unknown request": struct.pack("!ihhih", 10, 999, 0, 1, 0) + bytes(100),
        "an unknown version": struct.pack("!ihhih", 10, 3, 999, 1, 0) + bytes(100),
        "half a request": struct.pack("!ihhi", 8, 0, 9, 1) + bytes(100),
        "noise": b"\x00\x00\x01\x00" + b"\xff" * 256,
    }
    for what, sent in kafka.items():
        yield case(f"kafka: {what}", "closed", sends(lambda doors: doors.kafka, sent, half_close=what == "a size of 2 GB"))


def cases() -> list[Case]:
    """All of them, those first that take longest."""
    parts = (slow, mistakes, methods, tokens, bodies, predictions, heads, sockets, addresses, services)
    every = [one for part in parts for one in part()]
    names = [one.name for one in every]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    return sorted(every, key=lambda one: not patient(one))


def patient(one: Case) -> bool:
    """Whether it waits for something that does not come, for seconds."""
    return any(word in one.name for word in ("waits", "does not join", "a header a second", "nobody reads"))


def battery(doors: Doors, told: Callable[[Case, str], None], turn: int = 0, at_once: int = 4) -> None:
    """Do all of it.

    Args:
        doors: Of the game and of what stands beside it.
        told: Called with what each case heard, from several threads.
        turn: Another one has other addresses.
        at_once: So many, besides those who wait.
    """
    every = cases()

    def run(number: int, one: Case) -> None:
        try:
            outcome = one.act(doors, f"127.{8 + turn}.{number // 250}.{number % 250 + 1}")
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is told as this case's outcome
            outcome = f"{type(failure).__name__}: {failure}"
        told(one, outcome)

    with ThreadPoolExecutor(sum(map(patient, every))) as waiting, ThreadPoolExecutor(at_once) as others:
        futures = [(waiting if patient(one) else others).submit(run, number, one) for number, one in enumerate(every)]
        for future in futures:
            future.result()
