"""Checks that a request was signed with our own key, by AWS Signature Version 4: botocore signs it again, and we compare.

Source: AWS, "Signature Version 4 signing process".
"""

import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from deploy.local.sagemaker.errors import AwsError

MAX_SKEW_S: Final = 300
_TRACE: Final = "x-amzn-trace-id"
"""The only AWS header that proxies may change, so clients do not sign it."""
_AS_IT_STANDS: Final = "".join(map(chr, range(33, 127))).translate({ord(mark): None for mark in "?#"})
"""The characters of a path that are not quoted: all that a path can hold."""
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*"
    r"SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)


class Claim(NamedTuple):
    """The claims of an Authorization header: key, scope, signed headers and signature."""

    day: str
    region: str
    service: str
    signed: str
    """The names of the signed headers, in lower case, with semicolons between."""
    signature: str


def claim(headers: Mapping[str, str], key: str) -> Claim:
    """Return what the headers of a request claim, which is enough to refuse strangers before their body is read.

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
    """Check the signature of a request, and return if it is right.

    Args:
        method: HTTP method.
        target: Path and query, as the caller sent them.
        headers: By lower-case name.
        body: The whole body.
        key: Our access key id.
        secret: Our secret access key.
        region: Our region.
        service: The service that the request is for, as signatures name it.
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
    path, _, query = target.partition("?")
    right = expected(
        method,
        path,
        query,
        headers,
        signed=claimed.signed,
        digest=digest,
        stamp=stamp,
        secret=secret,
        region=region,
        service=service,
    )
    if not hmac.compare_digest(right, claimed.signature):
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


class _Received(S3SigV4Auth):  # type: ignore[misc, unused-ignore]
    """Botocore's signer for a received request: it signs the headers that the request names, and the path as it stands."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        signed: HTTPHeaders = request.context["signed"]
        return signed


def expected(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    signed: str,
    digest: str,
    stamp: str,
    secret: str,
    region: str,
    service: str,
) -> str:
    """Compute the signature that a request has if our key signed it and nobody changed it: botocore signs it again.

    Args:
        method: HTTP method.
        path: The path that the caller sent; S3 signs it as it stands, all other services quote it once more.
        query: The query that the caller sent, without the signature itself.
        headers: By lower-case name.
        signed: Names of the headers that are signed, semicolons between.
        digest: The sha256 of the body in hexadecimal, or the value by which S3 says that it is not signed.
        stamp: The value of X-Amz-Date.
        secret: Our secret access key.
        region: Where we are.
        service: What the request is for, as it is named in signatures.
    """
    quoted = quote(path or "/", safe=_AS_IT_STANDS if service == "s3" else "/~", encoding="latin-1")
    request = AWSRequest(
        method=method,
        url=f"http://signed{quoted}",
        params=parse_qsl(query, keep_blank_values=True),  # type: ignore[arg-type, unused-ignore]  # a name may come twice
        headers={"X-Amz-Content-SHA256": digest},  # else botocore would take the one that the request claims
    )
    request.context["timestamp"] = stamp
    request.context["signed"] = HTTPHeaders()
    for name in signed.split(";"):
        request.context["signed"][name] = headers.get(name, "")
    signer = _Received(Credentials("", secret), service, region)
    return str(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))
