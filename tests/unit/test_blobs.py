"""Objects whose body breaks off in the middle, as when S3 is killed, are read again, and not without end; what is written is
sent at once."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody
from urllib3 import HTTPResponse

from contracts.settings import Settings
from deploy.local.keys import with_secrets
from producers.blobs import S3Blobs

WHOLE = b"a dataset"


class Missing(Exception):
    """An object that is not there."""


class BreaksOff:
    """An S3 that dies in the middle of the first bodies."""

    exceptions = SimpleNamespace(NoSuchKey=Missing)

    def __init__(self, times: int) -> None:
        self.left = times

    def get_object(self, **asked: Any) -> dict[str, Any]:
        self.left -= 1
        return {"Body": StreamingBody(io.BytesIO(WHOLE[:4] if self.left >= 0 else WHOLE), len(WHOLE))}


def blobs(times: int) -> S3Blobs:
    made = S3Blobs(Settings(aws_services="local"))
    made._s3 = BreaksOff(times)
    return made


def test_an_object_whose_body_breaks_off_is_read_again() -> None:
    assert blobs(2).get("dataset") == WHOLE


def test_an_s3_that_only_breaks_off_is_not_asked_without_end() -> None:
    with pytest.raises(IncompleteReadError):
        blobs(3).get("dataset")


def test_an_object_is_sent_without_asking_first_whether_it_is_wanted(tmp_path: Path) -> None:
    made, sent = S3Blobs(with_secrets(Settings(home=tmp_path, aws_services="local"))), list[AWSPreparedRequest]()

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, HTTPResponse(io.BytesIO(), preload_content=False))

    made._s3.meta.events.register("before-send.s3.PutObject", answer)
    made.put("dataset", WHOLE)
    assert [(one.method, one.headers.get("Expect"), one.body.read()) for one in sent] == [("PUT", None, WHOLE)]
