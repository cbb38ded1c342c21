"""``python -m deploy.local.s3_server``, in the environment of the S3 server: ministack behind a guard.

ministack by itself asks nobody for a signature, lets pages of any origin in, and has addresses that delete everything. Here it
runs inside the guard's process, so that there is no other way to it: a request reaches it when it is signed with our key (AWS
Signature Version 4, in headers or in a presigned address), its body is the one that was signed, it is for S3, and neither a
page nor a foreign name for this address has sent it.
"""

import asyncio
import hashlib
import hmac
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.signature import expected

MAX_SKEW: Final = timedelta(minutes=15)
"""The largest difference between a request's date and ours; it is S3's own."""
LONGEST_PRESIGNED_S: Final = 7 * 24 * 3600
MAX_BYTES: Final = 1 << 30
"""The most bytes of a request's body: larger objects come in parts."""
_UNSIGNED: Final = ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
"""The values in place of a digest that S3 accepts for a body that is not signed; the second has a trailing checksum."""
_HEADER: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*"
    r"SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)

_ENCRYPTED: Final = (b"x-amz-server-side-encryption", b"aws:kms")
_KEY: Final = "x-amz-server-side-encryption-aws-kms-key-id"
_PARAMETERS: Final = ("Algorithm", "Credential", "SignedHeaders", "Signature", "Date", "Expires")
"""The parameters of a presigned address."""
_PRESIGNED: Final = tuple(f"X-Amz-{name}=".encode() for name in _PARAMETERS)

AsgiMessage = MutableMapping[str, Any]
AsgiReceive = Callable[[], Awaitable[AsgiMessage]]
AsgiSend = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[AsgiMessage, AsgiReceive, AsgiSend], Awaitable[None]]


class SignatureGuard:
    """An ASGI app that checks requests before it hands them to another one; anybody may ``GET /ping``."""

    def __init__(
        self, app: AsgiApp, *, key: str, secret: str, region: str, port: int, clock: Callable[[], datetime] | None = None
    ) -> None:
        """Admit requests that are signed with this key, for this region, at this port of this machine."""
        self._app = app
        self._key = key
        self._secret = secret
        self._region = region
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._clock = clock or (lambda: datetime.now(UTC))

    async def __call__(self, scope: AsgiMessage, receive: AsgiReceive, send: AsgiSend) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: AsgiMessage, receive: AsgiReceive, send: AsgiSend) -> None:
        try:
            headers = self._headers(scope)
            if (scope["method"], scope["path"]) == ("GET", "/ping"):
                await _answer(send, 200, "text/plain", b"healthy\n")
                return
            digest = self._signed(scope, headers)
            body = await _body(receive, digest)
        except AwsError as error:
            told = f"<Error><Code>{error.code}</Code><Message>{escape(str(error))}</Message></Error>"
            await _answer(send, error.status, "application/xml", f'<?xml version="1.0" encoding="UTF-8"?>\n{told}'.encode())
            return
        given: list[AsgiMessage] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> AsgiMessage:
            return given.pop() if given else await receive()

        async def without_origins(message: AsgiMessage) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if not pair[0].lower().startswith(b"access-control-")]
                message = {**message, "headers": kept}
            await send(message)

        # ministack checks a presigned address with its own keys, not ours: it must see an unsigned request.
        query = b"&".join(part for part in scope["query_string"].split(b"&") if not part.startswith(_PRESIGNED))
        asked = list(scope["headers"])
        if _KEY not in headers:  # SageMaker's SDK asks for encryption with the key that AWS keeps for everybody; here is none
            asked = [pair for pair in asked if (pair[0].lower(), pair[1]) != _ENCRYPTED]
        await self._app({**scope, "query_string": query, "headers": asked}, again, without_origins)

    def _headers(self, scope: AsgiMessage) -> dict[str, str]:
        """Return a request's headers by lower-case name; refuse it if a page or a foreign name has sent it."""
        headers: dict[str, str] = {}
        for raw, value in scope["headers"]:
            name, told = raw.decode("latin-1").lower(), value.decode("latin-1")
            headers[name] = f"{headers[name]},{told}" if name in headers else told
        if headers.get("host") not in self._hosts:
            raise _denied("This server has no such name")  # a page may have bound its own name to this address
        if "origin" in headers:
            raise _denied("This server answers no pages")
        return headers

    def _signed(self, scope: AsgiMessage, headers: dict[str, str]) -> str:
        """Check the signature of a request; return the digest that it names for its body.

        Raises:
            AwsError: If it is not signed, or wrongly, or too long ago, or for something else than S3.
        """
        query = scope["query_string"].decode("latin-1")
        asked = parse_qs(query, keep_blank_values=True)
        presigned = "X-Amz-Signature" in asked
        if presigned == ("authorization" in headers):
            raise _denied("Sign the request, in one way: Signature Version 4 in its headers or in its address")
        who, day, region, service, names, signature, stamp = _claimed(headers, asked if presigned else None)
        if not hmac.compare_digest(who.encode(), self._key.encode()):
            raise AwsError("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", 403)
        if (region, service) != (self._region, "s3"):
            raise AwsError("AuthorizationHeaderMalformed", f"This is S3 in {self._region}, not {service} in {region}", 400)
        self._check_time(day, stamp, asked["X-Amz-Expires"][0] if presigned else None)
        signed = names.split(";")
        unsigned = [name for name in headers if name.startswith("x-amz-") and name not in signed]
        if "host" not in signed or unsigned or "x-amz-target" in headers:
            raise _denied(f"There were headers present in the request which were not signed: {', '.join(unsigned) or 'host'}")
        digest = "UNSIGNED-PAYLOAD" if presigned else headers.get("x-amz-content-sha256", "")
        if digest not in _UNSIGNED and not re.fullmatch("[0-9a-f]{64}", digest):
            raise AwsError("NotImplemented", "Sign the whole body, or none of it: x-amz-content-sha256", 501)
        rest = "&".join(part for part in query.split("&") if not part.startswith("X-Amz-Signature="))
        right = expected(
            scope["method"],
            scope["raw_path"].decode("latin-1").partition("?")[0],
            rest,
            headers,
            signed=names,
            digest=digest,
            stamp=stamp,
            secret=self._secret,
            region=region,
            service=service,
        )
        if not hmac.compare_digest(right.encode(), signature.encode()):
            raise AwsError(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided."
                " Check your key and signing method.",
                403,
            )
        if scope["path"].startswith("/_"):
            raise _denied("This is S3 alone")
        return digest

    def _check_time(self, day: str, stamp: str, expires: str | None) -> None:
        try:
            when = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            lasts = timedelta(seconds=int(expires)) if expires is not None else MAX_SKEW
        except (ValueError, OverflowError):
            raise _denied("X-Amz-Date or X-Amz-Expires is missing or none") from None
        now = self._clock()
        if not stamp.startswith(day) or when - now > MAX_SKEW or (expires is None and now - when > MAX_SKEW):
            raise AwsError("RequestTimeTooSkewed", "The difference between the request time and ours is too large.", 403)
        if not timedelta(0) < lasts <= timedelta(seconds=LONGEST_PRESIGNED_S) or now - when > lasts:
            raise _denied("Request has expired")


def _claimed(headers: dict[str, str], asked: dict[str, list[str]] | None) -> tuple[str, ...]:
    """Return key, day, region, service, signed headers' names, signature and date, from the address if it is presigned."""
    if asked is None:
        match = _HEADER.fullmatch(headers["authorization"])
        if match is None:
            raise AwsError("AuthorizationHeaderMalformed", "Authorization is not of AWS Signature Version 4", 400)
        return *match.groups(), headers.get("x-amz-date", "")
    found = [asked.get(f"X-Amz-{name}", []) for name in _PARAMETERS]
    if any(len(values) != 1 for values in found):
        raise AwsError("AuthorizationQueryParametersError", f"Give each once: {', '.join(_PARAMETERS)}", 400)
    algorithm, credential, names, signature, stamp, _ = (values[0] for values in found)
    scope = credential.split("/")
    if algorithm != "AWS4-HMAC-SHA256" or len(scope) != 5 or scope[4] != "aws4_request":
        raise AwsError("AuthorizationQueryParametersError", "The address is not signed by Signature Version 4", 400)
    return *scope[:4], names, signature, stamp


async def _body(receive: AsgiReceive, digest: str) -> bytes:
    """Read the body of a signed request, and check that it is the one that was signed."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise AwsError("IncompleteBody", "The request was broken off", 400)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BYTES:
            raise AwsError("EntityTooLarge", f"A body has at most {MAX_BYTES} bytes: send parts", 413)
        more = message.get("more_body", False)
    body = b"".join(parts)
    if digest not in _UNSIGNED and not hmac.compare_digest(hashlib.sha256(body).hexdigest(), digest):
        raise AwsError(
            "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.", 400
        )
    return body


def _denied(why: str) -> AwsError:
    return AwsError("AccessDenied", why, 403)


async def _answer(send: AsgiSend, status: int, kind: str, body: bytes) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _serve(guard: SignatureGuard, config: Any) -> None:
    from hypercorn.asyncio import serve

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await serve(guard, config, shutdown_trigger=ended.wait)  # type: ignore[arg-type, unused-ignore]


def main() -> None:
    """Serve on this machine only, until SIGTERM or Ctrl-C."""
    port = int(os.environ["GATEWAY_PORT"])
    key, secret = (os.environ.pop(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    if not key or not secret:
        sys.exit("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set: `gamenight up` makes them")
    from hypercorn.config import Config
    from ministack.app import app

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 0.5
    config.loglevel = os.environ.get("LOG_LEVEL", "WARNING")
    config.include_server_header = False
    asyncio.run(_serve(SignatureGuard(app, key=key, secret=secret, region=os.environ["MINISTACK_REGION"], port=port), config))


if __name__ == "__main__":
    main()
