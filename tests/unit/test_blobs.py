"""Objects whose body breaks off in the middle, as when S3 is killed: they are read again, and not without end."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody

from contracts.settings import Settings
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
