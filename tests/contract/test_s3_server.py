"""The local S3 lets in its owner and nobody else: through the genuine boto3, and through what a stranger would send."""

import asyncio
import http.client
import io
import os
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from contracts.settings import Settings
from deploy.local.s3_server import LONGEST_PRESIGNED_S, MAX_SKEW, SignatureGuard

KEY, SECRET, PORT, REGION = "AKIAOURS", "of ours", 9095, "us-east-1"


@pytest.fixture
def s3(local_aws: Settings) -> Any:
    return boto3.client("s3", config=Config(signature_version="s3v4"), **local_aws.aws("s3"))


def sent(settings: Settings, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, str, str]:
    """Status, the error's text, and the names of the headers that came back."""
    connection = http.client.HTTPConnection("127.0.0.1", settings.s3_port, timeout=10)
    try:
        connection.request(method, path, body, {"host": f"127.0.0.1:{settings.s3_port}", **headers})
        response = connection.getresponse()
        return response.status, response.read().decode(), " ".join(response.headers).lower()
    finally:
        connection.close()


def signed(settings: Settings, method: str, path: str, body: bytes = b"", **other: str) -> dict[str, str]:
    """The headers by which botocore signs a request."""
    keys = Credentials(
        other.get("key") or settings.aws_access_key_id or "", other.get("secret") or settings.aws_secret_access_key or ""
    )
    request = AWSRequest(method, f"http://127.0.0.1:{settings.s3_port}{path}", data=body)
    S3SigV4Auth(keys, other.get("service", "s3"), other.get("region", settings.aws_region)).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def flipped(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def test_boto3_does_all_that_the_product_does(s3: Any, local_aws: Settings) -> None:
    bucket, key = local_aws.bucket, "models/a b/ü+c=d&e~f'(1)*.bin"
    large = os.urandom(20 << 20)

    s3.put_object(Bucket=bucket, Key=key, Body=b"0123456789", Metadata={"name": "a  b"}, IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"again", IfNoneMatch="*")
    s3.upload_fileobj(io.BytesIO(large), bucket, "large")  # in parts
    back = io.BytesIO()
    s3.download_fileobj(bucket, "large", back)  # by ranges
    s3.put_object(Bucket=bucket, Key="empty", Body=b"", ChecksumAlgorithm="SHA256")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket, Prefix="models/a b/")["Contents"]]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "large"}, {"Key": "empty"}]})

    assert s3.get_object(Bucket=bucket, Key=key, Range="bytes=2-4")["Body"].read() == b"234"
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"0123456789"
    assert large == back.getvalue()
    assert [key] == keys
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=bucket, Key="large")


def test_a_presigned_address_serves_what_it_was_signed_for(s3: Any, local_aws: Settings) -> None:
    place = {"Bucket": local_aws.bucket, "Key": "a b/presigned"}
    s3.put_object(**place, Body=b"given")
    address = s3.generate_presigned_url("get_object", Params=place, ExpiresIn=60)

    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.read() == b"given"
    for wrong in (
        address.replace("presigned?", "another?"),
        address.replace("X-Amz-Expires=60", "X-Amz-Expires=600"),
        flipped(address),
        address + "&versionId=1",
        address.replace("X-Amz-Expires=60&", ""),
    ):
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(wrong, timeout=10)
        with refused.value:
            assert refused.value.code in (400, 403), wrong


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/gamenight"),
        ("GET", "/gamenight/kept"),
        ("HEAD", "/gamenight/kept"),
        ("PUT", "/gamenight/kept"),
        ("DELETE", "/gamenight/kept"),
        ("POST", "/gamenight?delete"),
        ("OPTIONS", "/gamenight/kept"),
        ("POST", "/_ministack/reset"),
        ("POST", "/_ministack/config"),
        ("GET", "/_ministack/health"),
        ("GET", "/_localstack/health"),
        ("GET", "/health"),
        ("POST", "/_aws/execute-api/x/y"),
        ("POST", "/"),
    ],
)
def test_nothing_unsigned_comes_in(method: str, path: str, s3: Any, local_aws: Settings) -> None:
    s3.put_object(Bucket=local_aws.bucket, Key="kept", Body=b"kept")

    status, told, headers = sent(local_aws, method, path.replace("gamenight", local_aws.bucket), {}, b"x")

    assert (403, "AccessDenied" in told or method == "HEAD") == (status, True)
    assert "access-control" not in headers
    assert s3.get_object(Bucket=local_aws.bucket, Key="kept")["Body"].read() == b"kept"


@pytest.mark.parametrize("path", ["/_ministack/reset", "/_ministack/config", "/_ministack/rds/iam-auth", "/%5Fministack/reset"])
def test_the_doors_of_the_server_s_own_are_shut_for_its_owner_too(path: str, s3: Any, local_aws: Settings) -> None:
    s3.put_object(Bucket=local_aws.bucket, Key="kept", Body=b"kept")

    status, told, _ = sent(local_aws, "POST", path, signed(local_aws, "POST", path, b"{}"), b"{}")

    assert (status, "This is S3 alone" in told) == (403, True)
    assert s3.get_object(Bucket=local_aws.bucket, Key="kept")["Body"].read() == b"kept"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": "AKIAANOTHER"}, "InvalidAccessKeyId"),
        ({"secret": "another"}, "SignatureDoesNotMatch"),
        ({"service": "iam"}, "AuthorizationHeaderMalformed"),
        ({"region": "eu-west-1"}, "AuthorizationHeaderMalformed"),
    ],
)
def test_a_wrong_signer_is_refused(change: dict[str, str], code: str, local_aws: Settings) -> None:
    path = f"/{local_aws.bucket}/intruder"

    status, told, _ = sent(local_aws, "PUT", path, signed(local_aws, "PUT", path, b"x", **change), b"x")

    assert (status in (400, 403), f"<Code>{code}</Code>" in told) == (True, True)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"body": b"tampered"}, "XAmzContentSHA256Mismatch"),
        ({"path": "/another"}, "SignatureDoesNotMatch"),
        ({"path": "?acl"}, "SignatureDoesNotMatch"),
        ({"method": "DELETE"}, "SignatureDoesNotMatch"),
        ({"x-amz-copy-source": "/gamenight/other"}, "AccessDenied"),
        ({"x-amz-date": "20000101T000000Z"}, "RequestTimeTooSkewed"),
        ({"x-amz-date": "now"}, "AccessDenied"),
        ({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, "SignatureDoesNotMatch"),
        ({"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, "NotImplemented"),
        ({"authorization": "Basic eDp5"}, "AuthorizationHeaderMalformed"),
        ({"host": "rebound.example:9095"}, "AccessDenied"),
        ({"origin": "https://rebound.example"}, "AccessDenied"),
        ({"origin": "null"}, "AccessDenied"),
        ({"x-amz-target": "DynamoDB_20120810.ListTables"}, "AccessDenied"),
    ],
)
def test_what_was_changed_after_it_was_signed_is_refused(
    change: dict[str, Any], code: str, s3: Any, local_aws: Settings
) -> None:
    path = f"/{local_aws.bucket}/intruder"
    headers = signed(local_aws, "PUT", path, b"x")
    method, more, body = (change.pop(name, kept) for name, kept in (("method", "PUT"), ("path", ""), ("body", b"x")))

    status, told, back = sent(local_aws, method, path + more, {**headers, **change}, body)

    assert (status in (400, 403, 501), f"<Code>{code}</Code>" in told) == (True, True), (status, told)
    assert "access-control" not in back
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=local_aws.bucket, Key="intruder")


def test_a_request_that_was_not_changed_comes_in(local_aws: Settings) -> None:
    path = f"/{local_aws.bucket}/signed"

    status, told, headers = sent(local_aws, "PUT", path, signed(local_aws, "PUT", path, b"x"), b"x")

    assert (status, told) == (200, "")
    assert "access-control" not in headers


def test_it_listens_on_this_machine_only_and_says_that_it_is_there(local_aws: Settings) -> None:
    assert sent(local_aws, "GET", "/ping", {})[:2] == (200, "healthy\n")
    assert sent(local_aws, "GET", "/ping", {"host": "rebound.example"})[0] == 403


async def inside(scope: Any, receive: Any, send: Any) -> None:
    """What stands behind a guard: says that it was reached."""
    assert scope["type"] == "http"
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Access-Control-Allow-Origin", b"*")]})
    await send({"type": "http.response.body", "body": body})


SIGNER: Final[dict[str, Any]] = {
    "aws_services": "local",
    "s3_port": PORT,
    "aws_access_key_id": KEY,
    "aws_secret_access_key": SECRET,
    "aws_region": REGION,
}


async def asked(method: str, url: str, headers: Mapping[str, str], body: bytes, late: timedelta) -> tuple[int, Any]:
    """What a guard whose clock is late says: the status and the headers."""
    guard = SignatureGuard(inside, key=KEY, secret=SECRET, region=REGION, port=PORT, clock=lambda: datetime.now(UTC) + late)
    parts, out = urlsplit(url), []
    given = [{"type": "http.request", "body": body[:3], "more_body": True}, {"type": "http.request", "body": body[3:]}]

    async def receive() -> Any:
        return given.pop(0)

    async def send(message: Any) -> None:
        out.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": parts.path,
        "raw_path": quote(parts.path).encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in {"host": parts.netloc, **headers}.items()],
    }
    await guard(scope, receive, send)
    return out[0]["status"], out[0]["headers"]


@pytest.mark.parametrize(
    ("late", "status"),
    [(timedelta(0), 200), (MAX_SKEW * 0.9, 200), (-MAX_SKEW * 0.9, 200), (MAX_SKEW * 1.1, 403), (-MAX_SKEW * 1.1, 403)],
)
def test_a_signature_is_good_for_a_quarter_of_an_hour(late: timedelta, status: int) -> None:
    settings = Settings(**SIGNER)
    headers = signed(settings, "PUT", "/bucket/key", b"a body")

    answered = asyncio.run(asked("PUT", f"http://127.0.0.1:{PORT}/bucket/key", headers, b"a body", late))

    assert (status, []) == (answered[0], [name for name, _ in answered[1] if b"control" in name.lower()])


@pytest.mark.parametrize(
    ("late_s", "expires_s", "status"), [(500, 600, 200), (700, 600, 403), (0, LONGEST_PRESIGNED_S + 1, 403)]
)
def test_a_presigned_address_is_good_for_as_long_as_it_says(late_s: int, expires_s: int, status: int) -> None:
    settings = Settings(**SIGNER)
    client = boto3.client("s3", config=Config(signature_version="s3v4"), **settings.aws("s3"))
    address = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"}, ExpiresIn=expires_s)

    assert status == asyncio.run(asked("GET", address, {}, b"", timedelta(seconds=late_s)))[0]
