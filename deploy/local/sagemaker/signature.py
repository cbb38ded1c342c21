"""Whether a request was signed with our own key: AWS Signature Version 4, the server's half.

Source: AWS, "Signature Version 4 signing process"; the unit test holds it against botocore's signer.
"""

import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from deploy.local.sagemaker.errors import AwsError

MAX_SKEW_S: Final = 300
_TRACE: Final = "x-amzn-trace-id"
"""The one header of AWS's own that proxies may change, so that nobody signs it."""
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*"
    r"SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)


class Claim(NamedTuple):
    """What an Authorization header claims."""

    day: str
    region: str
    service: str
    signed: str
    """Names of the headers that are signed, in lower case, semicolons between."""
    signature: str


def claim(headers: Mapping[str, str], key: str) -> Claim:
    """What a request claims by its headers: enough to refuse a stranger before their body is read.

    Args:
        headers: By lower-case name.
        key: Our access key id.

    Raises:
        AwsError: If it is not signed, or with another key.
    """
    given = headers.get("authorization")
    if given is None:
        raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
    match = _AUTHORIZATION.fullmatch(given)
    if match is None:
        raise AwsError("IncompleteSignatureException", "Authorization is not of AWS Signature Version 4", 403)
    who, *claimed = match.groups()
    if not hmac.compare_digest(who, key):
        raise AwsError("UnrecognizedClientException", "The security token included in the request is invalid.", 403)
    return Claim(*claimed)


def verify(
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    key: str,
    secret: str,
    region: str,
    service: str,
    now: datetime | None = None,
) -> None:
    """Let a request pass.

    Args:
        method: HTTP method.
        target: Path and query, as they came over the wire.
        headers: By lower-case name.
        body: The whole body.
        key: Our access key id.
        secret: Our secret access key.
        region: Where we are.
        service: What the request is for, as it is named in signatures.
        now: The time; None is the clock's.

    Raises:
        AwsError: If it is not signed, or with another key, or for somewhere else, or too long ago, or was changed under way.
    """
    claimed = claim(headers, key)
    if claimed.region != region:
        raise _invalid(f"Credential should be scoped to a valid region, not '{claimed.region}': this is {region}.")
    if claimed.service != service:
        raise _invalid(f"Credential should be scoped to correct service: '{service}'.")
    stamp = headers.get("x-amz-date", "")
    _check_time(stamp, claimed.day, now or datetime.now(UTC))
    names = claimed.signed.split(";")
    for name in headers:
        if name.startswith("x-amz") and name not in names and name != _TRACE:
            raise _invalid(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
    if "host" not in names:
        raise _invalid("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    digest = hashlib.sha256(body).hexdigest()
    given_headers = [f"{name}:{' '.join(headers.get(name, '').split())}" for name in names]
    canonical = "\n".join((method, _canonical(target), *given_headers, "", claimed.signed, digest))
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{claimed.day}/{region}/{service}/aws4_request\n{hashed}"
    expected = hmac.digest(signing_key(secret, claimed.day, region, service), text.encode(), "sha256").hex()
    if not hmac.compare_digest(expected, claimed.signature):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided."
            " Check your AWS Secret Access Key and signing method."
        )


def _invalid(why: str) -> AwsError:
    return AwsError("InvalidSignatureException", why, 403)


@functools.lru_cache(maxsize=256)
def _when(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _check_time(stamp: str, day: str, now: datetime) -> None:
    try:
        when = _when(stamp)
    except ValueError:
        raise AwsError("IncompleteSignatureException", "X-Amz-Date is missing or no date", 403) from None
    if not stamp.startswith(day) or abs((now - when).total_seconds()) > MAX_SKEW_S:
        raise _invalid(f"Signature expired: {stamp} is not within 5 min of the clock here")


@functools.lru_cache(maxsize=256)
def _canonical(target: str) -> str:
    """Path and query as they are signed, a line each."""
    url = urlsplit(target)
    return f"{quote(url.path or '/', safe='/~')}\n{canonical_query(url.query)}"


def canonical_query(query: str) -> str:
    """A query as it is signed."""
    pairs = (
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in parse_qsl(query, keep_blank_values=True)
    )
    return "&".join(sorted(pairs))


@functools.lru_cache(maxsize=16)
def signing_key(secret: str, *parts: str) -> bytes:
    """The key for a day, region and service."""
    made = f"AWS4{secret}".encode()
    for part in (*parts, "aws4_request"):
        made = hmac.digest(made, part.encode(), "sha256")
    return made
