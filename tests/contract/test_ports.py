"""What a store of objects promises, run by every one there is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import boto3
import pytest

from contracts.ports import BlobExists, Blobs, NoSuchBlob
from contracts.settings import Settings
from deploy.local.supervisor import running
from producers.blobs import MemoryBlobs, S3Blobs
from tests.conftest import fresh_settings


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings on an S3 server of its own."""
    settings = fresh_settings(tmp_path_factory.mktemp("s3"))
    with running(settings, ["s3"]):
        yield settings


@pytest.fixture(params=["memory", "s3"])
def blobs(request: pytest.FixtureRequest) -> Blobs:
    """An empty store."""
    if request.param == "memory":
        return MemoryBlobs()
    settings = request.getfixturevalue("s3")
    bucket = f"test-{uuid4()}"
    boto3.client("s3", **settings.aws("s3")).create_bucket(Bucket=bucket)
    return S3Blobs(settings, bucket)


def test_what_was_put_can_be_got(blobs):
    blobs.put("a/b", b"\x00\xff")
    assert blobs.get("a/b") == b"\x00\xff"


def test_a_later_put_replaces(blobs):
    blobs.put("a", b"1")
    blobs.put("a", b"")
    assert blobs.get("a") == b""


def test_a_put_that_must_be_the_first_is_refused_where_something_is(blobs):
    blobs.put("a", b"1", only_if_absent=True)

    with pytest.raises(BlobExists, match="a is there already"):
        blobs.put("a", b"2", only_if_absent=True)

    assert blobs.get("a") == b"1"


def test_what_is_not_there_cannot_be_got(blobs):
    with pytest.raises(NoSuchBlob):
        blobs.get("nothing/here")


def test_keys_come_in_the_order_of_their_bytes_and_only_those_under_the_prefix(blobs):
    for key in ("p/b", "p/a/1", "p/ä", "p/B", "q/a", "p"):
        blobs.put(key, b"")

    assert list(blobs.keys("p/")) == ["p/B", "p/a/1", "p/b", "p/ä"]
    assert list(blobs.keys("nothing")) == []


def test_it_is_known_when_each_object_was_written_last(blobs):
    before = datetime.now(UTC) - timedelta(seconds=2)  # S3 tells whole seconds
    for key in ("p/b", "p/a", "q"):
        blobs.put(key, b"")

    written = dict(blobs.written("p/"))

    assert list(written) == ["p/a", "p/b"]
    assert all(before < at <= datetime.now(UTC) + timedelta(seconds=1) for at in written.values())


def test_more_keys_than_a_page_are_all_listed(blobs):
    for i in range(1005):
        blobs.put(f"many/{i:04}", b"")

    assert len(list(blobs.keys("many/"))) == 1005
