"""Reads from S3 and writes to it for jobs and models. Blocking: it is called in threads."""

import gzip
import hashlib
import io
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from contracts.settings import Settings
from deploy.local.sagemaker.unpacking import ARTIFACT, ArchiveRefused, Bounds, unpack

_PATIENT: Final = Config(retries={"mode": "standard", "max_attempts": 10}, connect_timeout=5)
"""Retries calls that should wait rather than fail a job or an endpoint: S3 may be restarting."""


class ObjectsFailed(RuntimeError):
    """S3 did not return or accept an object; the message is for a FailureReason."""


class Objects:
    """The S3 that the settings name."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; nothing connects yet."""
        self._settings = settings

    @cached_property
    def _client(self) -> Any:
        return boto3.client("s3", config=_PATIENT, **self._settings.aws("s3"))

    def download_prefix(self, uri: str, folder: Path, bounds: Bounds | None = None) -> int:
        """Download all objects under a prefix into a folder; return the number of bytes.

        Raises:
            ObjectsFailed: If there are no objects, or S3 does not answer, or the objects exceed the bounds.
        """
        bucket, prefix = split(uri)
        count = total = 0
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    relative = within(prefix, entry["Key"])
                    if relative is None:
                        continue
                    count, total = count + 1, total + entry["Size"]
                    if bounds and (count > bounds.members or total > bounds.total_bytes or entry["Size"] > bounds.file_bytes):
                        raise ObjectsFailed(f"{uri} has more or larger files than a model may have: {entry['Key']}")
                    file = folder / relative
                    file.parent.mkdir(parents=True, exist_ok=True)
                    self._client.download_file(bucket, entry["Key"], str(file))
        except (BotoCoreError, ClientError, OSError) as error:
            raise ObjectsFailed(f"ClientError: Data download failed: {uri}: {error}") from error
        if not any(folder.rglob("*")):
            raise ObjectsFailed(f"ClientError: No S3 objects found under S3 URL {uri!r} given in input data source.")
        return total

    def download_model(self, uri: str, folder: Path, digest: str | None = None, bounds: Bounds = ARTIFACT) -> None:
        """Unpack a model.tar.gz into a folder, or download the objects under a prefix.

        Args:
            uri: The address of the archive, or the prefix.
            folder: Where the model goes; anything that is there is removed first.
            digest: The sha256 that the archive must have, in hexadecimal; None: any.
            bounds: How large the model may be.

        Raises:
            ObjectsFailed: If the archive is missing, is no model's, or has another digest; the folder does not exist
                afterwards.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not uri.endswith((".tar.gz", ".tgz")):
            if digest:
                raise ObjectsFailed(f"{uri} is no archive, so it cannot have the sha256 {digest} that its model names")
            folder.mkdir()
            try:
                self.download_prefix(uri, folder, bounds)
            except ObjectsFailed:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            return
        bucket, key = split(uri)
        try:
            with tempfile.TemporaryFile(dir=folder.parent) as file:
                size = self._client.head_object(Bucket=bucket, Key=key)["ContentLength"]
                if size > bounds.total_bytes:
                    raise ArchiveRefused(f"it has {size} bytes, of at most {bounds.total_bytes}")
                self._client.download_fileobj(bucket, key, file)
                file.seek(0)
                if digest and (found := hashlib.file_digest(file, "sha256").hexdigest()) != digest.lower():
                    raise ObjectsFailed(
                        f"Model data at {uri} is not what was registered: its sha256 is {found}, that of the model {digest}"
                    )
                file.seek(0)
                unpack(file, folder, bounds)
        except (BotoCoreError, ClientError) as error:
            raise ObjectsFailed(f"Could not find model data at {uri}: {error}") from error
        except (OSError, ArchiveRefused) as error:
            raise ObjectsFailed(f"Failed to extract model data archive from {uri}: {error}") from error

    def keys(self, uri: str) -> list[tuple[str, PurePosixPath]]:
        """Return the objects under a prefix: the address of each, and its path within the prefix.

        Raises:
            ObjectsFailed: If there are none, or S3 does not answer.
        """
        bucket, prefix = split(uri)
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            listed = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        except (BotoCoreError, ClientError) as error:
            raise ObjectsFailed(f"ClientError: Data download failed: {uri}: {error}") from error
        found = [(f"s3://{bucket}/{key}", path) for key in listed if (path := within(prefix, key))]
        if not found:
            raise ObjectsFailed(f"ClientError: No S3 objects found under S3 URL {uri!r} given in input data source.")
        return found

    def fetch(self, uri: str, file: Path) -> None:
        """Download an object into a file.

        Raises:
            ObjectsFailed: If there is no such object, or S3 does not answer.
        """
        bucket, key = split(uri)
        try:
            self._client.download_file(bucket, key, str(file))
        except (BotoCoreError, ClientError, OSError) as error:
            raise ObjectsFailed(f"ClientError: Data download failed: {uri}: {error}") from error

    def put(self, file: Path, uri: str) -> None:
        """Upload a file as an object.

        Raises:
            ObjectsFailed: If S3 does not accept it.
        """
        bucket, key = split(uri)
        try:
            self._client.upload_file(str(file), bucket, key)
        except (BotoCoreError, ClientError, OSError) as error:
            raise ObjectsFailed(f"ClientError: Artifact upload failed: {uri}: {error}") from error

    def put_bytes(self, data: bytes, uri: str) -> None:
        """Put an object.

        Raises:
            ObjectsFailed: If S3 does not accept it.
        """
        bucket, key = split(uri)
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=data)
        except (BotoCoreError, ClientError, OSError) as error:
            raise ObjectsFailed(f"{uri}: {error}") from error

    def etag(self, uri: str) -> str:
        """Return a tag that changes when the object, or any object under the prefix, is written again.

        Raises:
            ObjectsFailed: If there is no such object.
        """
        bucket, key = split(uri)
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            return "".join(entry["Key"] + entry["ETag"] for page in pages for entry in page.get("Contents", []))
        except (BotoCoreError, ClientError) as error:
            raise ObjectsFailed(f"Could not find model data at {uri}: {error}") from error

    def upload_archive(self, files: Sequence[Path], folder: Path, uri: str) -> None:
        """Upload files of a folder as one .tar.gz; the same files give the same bytes.

        Raises:
            ObjectsFailed: If S3 does not accept the archive.
        """
        bucket, key = split(uri)
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=packed(files, folder))
        except (BotoCoreError, ClientError, OSError) as error:
            raise ObjectsFailed(f"ClientError: Artifact upload failed: {uri}: {error}") from error

    def upload_files(self, files: Sequence[Path], folder: Path, uri: str) -> None:
        """Upload files of a folder under a prefix.

        Raises:
            ObjectsFailed: If S3 does not accept the files.
        """
        bucket, prefix = split(uri)
        try:
            for file in files:
                self._client.upload_file(str(file), bucket, f"{prefix.rstrip('/')}/{file.relative_to(folder).as_posix()}")
        except (BotoCoreError, ClientError, OSError) as error:
            raise ObjectsFailed(f"ClientError: Artifact upload failed: {uri}: {error}") from error


def split(uri: str) -> tuple[str, str]:
    """Split an s3:// address into bucket and key."""
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme != "s3" or not parts.netloc:
        raise ObjectsFailed(f"ClientError: {uri!r} is no S3 address")
    return parts.netloc, parts.path.lstrip("/")


def within(prefix: str, key: str) -> PurePosixPath | None:
    """Return the path of an object within its channel; None if the key names no file or would lead outside."""
    rest = key.removeprefix(prefix)
    if rest == "" or not (rest.startswith("/") or prefix.endswith("/") or prefix == ""):
        rest = key.rpartition("/")[2]  # the prefix is a whole key, or ends inside a name
    relative = PurePosixPath(rest.lstrip("/"))
    return None if key.endswith("/") or not relative.name or ".." in relative.parts else relative


def packed(files: Sequence[Path], folder: Path) -> bytes:
    """Pack files of a folder as .tar.gz: in the order given, without times and owners."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in files:
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            entry.mode = 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return gzip.compress(tar.getvalue(), mtime=0)
