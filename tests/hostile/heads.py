"""Cases of requests that are malformed, ambiguous, endless or slow."""

import random
from collections.abc import Iterator
from contextlib import suppress

from tests.hostile.client import KEY, OPERATOR, PATIENCE_S, Case, Doors, case, game, request, sends
from tests.hostile.frames import opens
from tests.strangers import wire


def heads() -> Iterator[Case]:
    """Yield requests that are malformed, that could be read as two, or that have no end."""
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
    """Yield requests that do not come, and connections that are only half closed."""
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
        """Send a header each second: each byte comes in time, but the request does not."""
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
        """Send requests without end, and read no answer."""
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
