"""Stores objects by key, on S3 or in memory: datasets, examples and artifacts (way 3, REBUILD)."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import boto3
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from contracts.ports import BlobExists, NoSuchBlob
from contracts.settings import Settings

DIGEST_VARIABLE: Final = "MODEL_ARTIFACT_SHA256"
"""The variable of a model's container with the sha256 of its artifact, which is checked when the artifact is loaded there."""

_READS: Final = 3
_BROKEN_OFF: Final = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)

T = TypeVar("T")


def read_whole(read: Callable[[], T], tries: int = _READS) -> T:
    """Return what ``read`` returns; begin anew if the body of an answer breaks off, as when a service is killed.

    botocore sends a request again that was not answered, and does not do so once the body has begun.
    """
    try:
        return read()
    except _BROKEN_OFF:
        if tries == 1:
            raise
        return read_whole(read, tries - 1)


class S3Blobs:
    """The objects of one bucket."""

    def __init__(self, settings: Settings, bucket: str | None = None, *, tries: int = 5) -> None:
        """Keep the bucket's name; nothing connects before the first call.

        Args:
            settings: Where S3 is, and the credentials.
            bucket: Another bucket than ``settings.bucket``.
            tries: How often a request is sent that S3 does not answer, with pauses that double: 5 may be over within a second
                or two, 10 take most of a minute.
        """
        self.bucket = bucket or settings.bucket
        retrying = Config(retries={"mode": "standard", "max_attempts": tries}, connect_timeout=5, read_timeout=30)
        self._s3: Any = boto3.client("s3", config=retrying, **settings.aws("s3"))
        self._s3.meta.events.register("before-sign.s3.PutObject", _sent_at_once)

    def put(self, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
        """Store an object.

        Raises:
            BlobExists: If the object must not exist yet, and does.
        """
        condition = {"IfNoneMatch": "*"} if only_if_absent else {}
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, **condition)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                raise BlobExists(f"s3://{self.bucket}/{key} is there already") from error
            raise

    def get(self, key: str) -> bytes:
        """Return an object's bytes.

        Raises:
            NoSuchBlob: If there is no object under the key.
        """
        try:
            return read_whole(lambda: bytes(self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()))
        except self._s3.exceptions.NoSuchKey as error:
            raise NoSuchBlob(f"s3://{self.bucket}/{key}") from error

    def keys(self, prefix: str) -> Iterator[str]:
        """Return all keys under a prefix, in the order of their UTF-8 bytes."""
        yield from (key for key, _ in self.written(prefix))

    def written(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Return all keys under a prefix, in that order, and when each was written last."""
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                yield item["Key"], item["LastModified"]

    def drop(self, key: str) -> None:
        """Delete an object, with all versions that the bucket keeps of it; nothing happens if there is none."""
        self._s3.delete_object(Bucket=self.bucket, Key=key)
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=key)
        for page in pages:
            for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                if one["Key"] == key and one["VersionId"] != "null":
                    self._s3.delete_object(Bucket=self.bucket, Key=key, VersionId=one["VersionId"])


def _sent_at_once(request: AWSRequest, **_: object) -> None:
    """Send a body with its head. botocore would first ask whether S3 wants it, and read the answer byte by byte: one more way
    there and back for each object, and 25 times that another thread may take its turn before the body goes."""
    del request.headers["Expect"]


def ensure_bucket(settings: Settings) -> None:
    """Create the bucket if it does not exist."""
    s3: Any = boto3.client("s3", **settings.aws("s3"))
    try:
        s3.head_bucket(Bucket=settings.bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        region = s3.meta.region_name
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=settings.bucket, **where)  # us-east-1 is the one region that must not be named


class MemoryBlobs:
    """Objects in a dictionary, for tests of what uses a bucket."""

    def __init__(self) -> None:
        """Start empty."""
        self._objects: dict[str, bytes] = {}
        self._written: dict[str, datetime] = {}

    def put(self, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
        """Store an object. Raises `BlobExists` if it must not exist yet, and does."""
        if only_if_absent and key in self._objects:
            raise BlobExists(f"{key} is there already")
        self._objects[key] = bytes(data)
        self._written[key] = datetime.now(UTC)

    def get(self, key: str) -> bytes:
        """Return an object's bytes. Raises `NoSuchBlob`."""
        if key not in self._objects:
            raise NoSuchBlob(key)
        return self._objects[key]

    def keys(self, prefix: str) -> Iterator[str]:
        """Return all keys under a prefix, in the order of their UTF-8 bytes."""
        yield from sorted((key for key in self._objects if key.startswith(prefix)), key=str.encode)

    def written(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Return all keys under a prefix, in that order, and when each was written last."""
        yield from ((key, self._written[key]) for key in self.keys(prefix))

    def drop(self, key: str) -> None:
        """Delete an object; nothing happens if there is none."""
        self._objects.pop(key, None)
