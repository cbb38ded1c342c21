"""The server's half of AWS Signature Version 4, held against botocore's signer; and what runs where nothing can be mounted."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.sagemaker import containers, signature
from deploy.local.sagemaker.containers import Image
from deploy.local.sagemaker.errors import AwsError

KEY, SECRET = "AKIAEXAMPLE", "s3cr3t/with+signs"


def signed(method: str, url: str, body: bytes, **headers: str) -> AWSRequest:
    request = AWSRequest(method=method, url=url, data=body, headers={"Host": urlsplit(url).netloc, **headers})
    SigV4Auth(Credentials(KEY, SECRET), "sagemaker", "us-east-1").add_auth(request)
    return request


def verify(request: AWSRequest, body: bytes, now: datetime | None = None) -> None:
    url = urlsplit(request.url)
    target = f"{url.path}?{url.query}" if url.query else url.path
    signature.verify(
        request.method,
        target,
        {name.lower(): value for name, value in request.headers.items()},
        body,
        key=KEY,
        secret=SECRET,
        region="us-east-1",
        service="sagemaker",
        now=now,
    )


@given(
    body=st.binary(max_size=100),
    path=st.sampled_from(["/", "/endpoints/a-b/invocations", "/with%20space/%2Fslash~"]),
    query=st.sampled_from(["", "?b=2&a=1", "?a=%20x&empty="]),
    header=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
)
def test_what_botocore_signs_passes(body: bytes, path: str, query: str, header: str) -> None:
    verify(signed("POST", f"http://127.0.0.1:9094{path}{query}", body, **{"X-Amz-Target": f"a  {header}"}), body)


@pytest.mark.parametrize(
    "change",
    ["body", "path", "header", "late", "secret", "region", "service", "another header", "unsigned date", "unsigned host"],
)
def test_what_was_changed_under_way_or_is_too_old_is_refused(change: str) -> None:
    request, body, now = signed("POST", "http://127.0.0.1:9094/a", b"x", **{"X-Amz-Target": "a"}), b"x", datetime.now(UTC)
    match change:
        case "body":
            body = b"y"
        case "path":
            request.url += "b"
        case "header":
            request.headers.replace_header("X-Amz-Target", "b")
        case "late":
            now += timedelta(minutes=6)
        case "secret":
            SigV4Auth(Credentials(KEY, "another"), "sagemaker", "us-east-1").add_auth(request)
        case "region":
            SigV4Auth(Credentials(KEY, SECRET), "sagemaker", "eu-west-1").add_auth(request)
        case "service":
            SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
        case "another header":
            request.headers["X-Amzn-SageMaker-Target-Variant"] = "v2"
        case "unsigned date" | "unsigned host":
            left_out = {"unsigned date": "x-amz-date", "unsigned host": "host"}[change]

            class Careless(SigV4Auth):
                def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
                    headers = super().headers_to_sign(request)
                    del headers[left_out]
                    return headers

            Careless(Credentials(KEY, SECRET), "sagemaker", "us-east-1").add_auth(request)
    with pytest.raises(AwsError) as refused:
        verify(request, body, now)
    assert (refused.value.code, refused.value.status) == ("InvalidSignatureException", 403)


def test_a_body_is_held_against_the_signature_whatever_digest_its_request_claims() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    request = signed("POST", "http://127.0.0.1:9094/a", b"x", **{"X-Amz-Content-SHA256": digest})

    verify(request, b"x")
    with pytest.raises(AwsError):
        verify(request, b"y")


@pytest.mark.parametrize("more", ["#b", "%23b", "?b", "/", "/../a", "\t"])
def test_nothing_can_be_hung_on_a_signed_target(more: str) -> None:
    request = signed("POST", "http://127.0.0.1:9094/a", b"x")
    headers = {name.lower(): value for name, value in request.headers.items()}
    place = {"key": KEY, "secret": SECRET, "region": "us-east-1", "service": "sagemaker"}

    signature.verify("POST", "/a", headers, b"x", **place)
    with pytest.raises(AwsError):
        signature.verify("POST", f"/a{more}", headers, b"x", **place)


async def test_where_nothing_can_be_mounted_a_variable_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "confinement", lambda *_: ("", "neither"))
    lines: list[str] = []
    image = Image("any:1", tmp_path, Path("/usr/bin/python3"))

    process = await containers.start(
        ["sh", "-c", 'echo "$SAGEMAKER_BASE_DIR $GIVEN"; pwd; exit 3'],
        image,
        tmp_path,
        {"GIVEN": "yes"},
        lines.append,
        home=tmp_path,
    )

    assert await asyncio.wait_for(process.wait(), 20) == 3
    assert lines == [f"{tmp_path} yes", str(tmp_path)]
