"""What is kept of a request to an endpoint, and where."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.settings import Settings
from deploy.local.sagemaker.captures import CapturedBody, capture_address, capture_line, capture_plan
from deploy.local.sagemaker.capturing import Capturing
from deploy.local.sagemaker.objects import Objects, ObjectsFailed

AT = datetime(2026, 11, 30, 7, 4, 5, 67_000, UTC)
SEVEN = CapturedBody("text/plain", b"7")
CONFIG = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/deep/",
    "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
}


def line(asked: CapturedBody, **config: Any) -> dict[str, Any]:
    plan = capture_plan({**CONFIG, **config})
    assert plan is not None
    return dict(json.loads(capture_line(plan, asked, SEVEN, event_id="e", at=AT)))


@pytest.mark.parametrize("config", [None, {}, {**CONFIG, "EnableCapture": False}, {**CONFIG, "InitialSamplingPercentage": 0}])
def test_nothing_is_captured_that_nobody_asked_for(config: dict[str, Any] | None) -> None:
    assert capture_plan(config) is None


@pytest.mark.parametrize(
    ("content_type", "body", "encoding", "data"),
    [
        ("text/csv; charset=utf-8", b"1,2\n", "CSV", "1,2\n"),
        ("Text/CSV", b"1,2", "CSV", "1,2"),
        ("application/json", b"{}", "JSON", "{}"),
        ("text/csv", b"\xff", "BASE64", "/w=="),  # no text, whatever its header says
        ("application/x-npy", b"abc", "BASE64", "YWJj"),
    ],
)
def test_a_body_stays_text_where_the_config_names_its_type(content_type: str, body: bytes, encoding: str, data: str) -> None:
    types = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}
    told = line(CapturedBody(content_type, body), CaptureContentTypeHeader=types)["captureData"]["endpointInput"]
    assert told == {"observedContentType": content_type, "mode": "INPUT", "data": data, "encoding": encoding}


def test_only_the_modes_that_are_asked_for_are_kept() -> None:
    told = line(CapturedBody("text/csv", b"1"), CaptureOptions=[{"CaptureMode": "Output"}])
    assert list(told["captureData"]) == ["endpointOutput"]
    assert told["eventMetadata"] == {"eventId": "e", "inferenceTime": "2026-11-30T07:04:05Z"}


def test_the_address_has_the_hour_s_folder() -> None:
    plan = capture_plan(CONFIG)
    assert plan is not None
    assert capture_address(plan, "game", "v1", AT, "x") == "s3://bucket/deep/game/v1/2026/11/30/07/04-05-067-x.jsonl"


class Bucket(Objects):
    """An S3 that takes nothing until it is open."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.open = False
        self.held: dict[str, bytes] = {}

    def put_bytes(self, data: bytes, uri: str) -> None:
        if not self.open:
            raise ObjectsFailed("closed")
        self.held[uri] = data


async def test_lines_wait_for_an_s3_that_is_away_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.sagemaker.capturing._MOST_BYTES", 3_000)
    bucket, plan = Bucket(), capture_plan(CONFIG)
    assert plan is not None
    capturing = Capturing(bucket)
    for number in range(20):
        capturing.take(plan, "e", "v", {}, str(number).encode(), SEVEN)
        await capturing.write()
    bucket.open = True
    await capturing.close()
    kept = [json.loads(one) for body in bucket.held.values() for one in body.splitlines()]
    assert 5 < len(kept) < 20, "as many as there is room for"
    assert len({one["eventMetadata"]["eventId"] for one in kept}) == len(kept), "each once"
    capturing.take(plan, "e", "v", {}, b"", SEVEN)
    await capturing.close()
    assert len(bucket.held) > 1, "there is room again"


async def test_chance_picks_the_percentage() -> None:
    bucket, plan = Bucket(), capture_plan({**CONFIG, "InitialSamplingPercentage": 25})
    assert plan is not None
    bucket.open = True
    capturing = Capturing(bucket)
    capturing._random.seed(1)
    for _ in range(2000):
        capturing.take(plan, "e", "v", {}, b"", SEVEN)
    await capturing.close()
    [body] = bucket.held.values()
    assert 420 < len(body.splitlines()) < 580
