"""Examples come from the archive as a DataFrame: the newest label of each drawing, also while objects are being merged."""

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from contracts.settings import Settings
from gamenight.client import GameNightError, GameNightUnreachable, fetch_examples, pixels
from tests.histories import example, named, seconds, shown
from tests.sinks import parquet
from trainers.example_sink import Placed

SETTINGS = Settings(aws_services="local")


class NoSuchKey(ClientError):
    """What boto3 raises where an object is gone."""


class Bucket:
    """As much of boto3's S3 as is asked for; of ``gone`` a listing tells that they are there."""

    exceptions = SimpleNamespace(NoSuchKey=NoSuchKey)

    def __init__(self, objects: dict[str, bytes], gone: dict[str, bytes] | None = None) -> None:
        self.objects, self.gone, self.listed = objects, gone or {}, 0

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, **asked: str) -> Iterator[dict[str, Any]]:
        assert asked == {"Bucket": "gamenight", "Prefix": "examples/"}
        self.listed += 1
        names = sorted({*self.objects, *(self.gone if self.listed == 1 else ())})
        yield from ({"Contents": [{"Key": name}]} for name in names) if names else [{}]

    def get_object(self, **asked: str) -> dict[str, Any]:
        if asked["Key"] not in self.objects:
            raise NoSuchKey({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[asked["Key"]])}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Two objects, whose drawings have several revisions."""
    early = [example("d2", 3, at=2), example("d1", 1, at=1, guesses=[shown(7)]), example("d3", 5, at=3)]
    late = [example("d1", 7, revision=5, at=1), example("d2", None, revision=4, at=2), example("d1", 1, at=1)]
    found = Bucket(
        {
            "examples/a.parquet": parquet(0, [Placed(n, one) for n, one in enumerate(early)]),
            "examples/b.parquet": parquet(1, [Placed(n, one) for n, one in enumerate(late)]),
            "examples/readme": b"no object of the archive",
        }
    )
    monkeypatch.setattr(boto3, "client", lambda *_, **__: found)
    return found


def test_the_newest_label_of_each_drawing_counts_and_one_that_was_withdrawn_is_left_out(bucket: Bucket):
    examples = fetch_examples(SETTINGS)

    assert list(zip(examples["drawing_id"], examples["label"], strict=True)) == [(str(named("d1")), 7), (str(named("d3")), 5)]
    assert pixels(examples).shape == (2, 784)
    assert set(fetch_examples(SETTINGS, columns=[]).columns) == {"drawing_id", "revision", "label", "drawn_at"}
    assert list(fetch_examples(SETTINGS, since=seconds(2), until=seconds(4))["label"]) == [5]
    assert list(fetch_examples(SETTINGS, since=seconds(2).replace(tzinfo=None))["label"]) == [5], "without a zone it is UTC"
    assert list(fetch_examples(SETTINGS, until=seconds(2))["label"]) == [7]


def test_without_settings_the_archive_of_the_game_here_is_asked_unless_the_environment_names_another(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(boto3, "client", lambda *_, **where: asked.append(where) or bucket)
    monkeypatch.setenv("GAMENIGHT_HOME", str(tmp_path))
    monkeypatch.delenv("GAMENIGHT_AWS", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "aws_access_key_id").write_text("made here")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)

    fetch_examples()
    monkeypatch.setenv("GAMENIGHT_AWS", "cloud")
    monkeypatch.setattr(bucket, "paginate", refused)
    with pytest.raises(GameNightUnreachable, match=r"no game at Amazon S3, which is asked where GAMENIGHT_AWS is not local"):
        fetch_examples()

    assert [(one["endpoint_url"], one["aws_access_key_id"]) for one in asked] == [
        (f"http://127.0.0.1:{SETTINGS.s3_port}", "made here"),
        (None, None),
    ]


def refused(**_: str) -> None:
    """Ask without credentials."""
    raise NoCredentialsError


def test_when_an_object_is_merged_meanwhile_all_are_listed_anew(bucket: Bucket):
    bucket.gone["examples/0.parquet"] = b""

    assert len(fetch_examples(SETTINGS)) == 2
    assert bucket.listed == 2


def test_what_is_not_there_is_told_in_one_line(bucket: Bucket, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(GameNightError, match="no column colour: there is offset, partition, drawing_id"):
        fetch_examples(SETTINGS, columns=["colour"])
    with pytest.raises(GameNightError, match=r"no column colour: there is .*drawing_id, .*raster, .*guesses$"):
        fetch_examples(SETTINGS, columns=["label", "colour"])
    assert "raster" in fetch_examples(SETTINGS, columns="raster")
    with pytest.raises(GameNightError, match=r"since: a datetime, .* not '2026-11-30'"):
        fetch_examples(SETTINGS, since="2026-11-30")  # type: ignore[arg-type]
    with pytest.raises(GameNightError, match='have no rasters: fetch them with "raster"'):
        pixels(fetch_examples(SETTINGS, columns=[]))
    bucket.objects.clear()
    with pytest.raises(GameNightError, match="s3://gamenight/examples/ is empty"):
        fetch_examples(SETTINGS)

    def away(**_: str) -> None:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    monkeypatch.setattr(bucket, "paginate", away)
    with pytest.raises(GameNightUnreachable, match=r"no game at .*127.0.0.1:9"):
        fetch_examples(SETTINGS)
