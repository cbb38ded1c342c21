"""Cases of requests that are refused for their methods, tokens or bodies."""

import struct
import zlib
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

from tests.hostile.client import KEY, OPERATOR, Act, Case, Doors, case, game, request, sends

PAGES: Final = (
    "/", "/watch", "/library", "/endpoints", "/docs", "/asyncapi", "/asyncapi.json", "/web/lib/base.css", "/openapi.json",
    "/healthz", "/metrics", "/api/models", "/api/endpoints", "/api/routing", "/api/scores", "/web/game/main.js",
)  # fmt: skip
ORDERS: Final = ("retrain", "promote", "rollback", "try", "policy")


def methods() -> Iterator[Case]:
    """Yield requests by methods that the routes do not have."""
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
    """Yield requests with no valid operators' token, with and without a body, and with no valid key of an app."""
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
            promise = "Content-Length: 60000"  # the body is never sent: a server that waits for it waits too long
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
    """Yield requests with the operators' token that no operator would send."""
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
    """Yield requests with an app's key that no app would send."""
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
