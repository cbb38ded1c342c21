"""Whether a request was signed with our own key: AWS Signature Version 4, the server's half.

Source: AWS, "Signature Version 4 signing process"; the unit test holds it against botocore's signer.
"""

import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from deploy.local.sagemaker.errors import AwsError

MAX_SKEW_S: Final = 300
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*"
    r"SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)


def verify(
    method: str, target: str, headers: Mapping[str, str], body: bytes, *, key: str, secret: str, now: datetime | None = None
) -> None:
    """Let a request pass.

    Args:
        method: HTTP method.
        target: Path and query, as they came over the wire.
        headers: By lower-case name.
        body: The whole body.
        key: Our access key id.
        secret: Our secret access key.
        now: The time; None is the clock's.

    Raises:
        AwsError: If it is not signed, or with another key, or too long ago, or was changed under way.
    """
    given = headers.get("authorization")
    if given is None:
        raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
    match = _AUTHORIZATION.fullmatch(given)
    if match is None:
        raise AwsError("IncompleteSignatureException", "Authorization is not of AWS Signature Version 4", 403)
    who, day, region, service, signed, signature = match.groups()
    if not hmac.compare_digest(who, key):
        raise AwsError("UnrecognizedClientException", "The security token included in the request is invalid.", 403)
    stamp = headers.get("x-amz-date", "")
    _check_time(stamp, day, now or datetime.now(UTC))
    digest = hashlib.sha256(body).hexdigest()
    names = signed.split(";")
    given_headers = [f"{name}:{' '.join(headers.get(name, '').split())}" for name in names]
    canonical = "\n".join((method, _canonical(target), *given_headers, "", signed, digest))
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{day}/{region}/{service}/aws4_request\n{hashed}"
    expected = hmac.digest(_signing_key(secret, day, region, service), text.encode(), "sha256").hex()
    if "host" not in names or not hmac.compare_digest(expected, signature):
        raise AwsError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided."
            " Check your AWS Secret Access Key and signing method.",
            403,
        )


@functools.lru_cache(maxsize=256)
def _when(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _check_time(stamp: str, day: str, now: datetime) -> None:
    try:
        when = _when(stamp)
    except ValueError:
        raise AwsError("IncompleteSignatureException", "X-Amz-Date is missing or no date", 403) from None
    if not stamp.startswith(day) or abs((now - when).total_seconds()) > MAX_SKEW_S:
        raise AwsError("InvalidSignatureException", f"Signature expired: {stamp} is not within 5 min of the clock here", 403)


@functools.lru_cache(maxsize=256)
def _canonical(target: str) -> str:
    """Path and query as they are signed, a line each."""
    url = urlsplit(target)
    return f"{quote(url.path or '/', safe='/~')}\n{_query(url.query)}"


def _query(query: str) -> str:
    pairs = (
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in parse_qsl(query, keep_blank_values=True)
    )
    return "&".join(sorted(pairs))


@functools.lru_cache(maxsize=16)
def _signing_key(secret: str, *parts: str) -> bytes:
    made = f"AWS4{secret}".encode()
    for part in (*parts, "aws4_request"):
        made = hmac.digest(made, part.encode(), "sha256")
    return made
