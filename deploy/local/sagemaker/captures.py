"""Decides what is captured of a request to an endpoint, and where it goes: lines of JSON, in a folder for each hour. Pure.

Source: Amazon, "Capture data from real-time endpoint", "View captured data".
"""

import base64
import json
from dataclasses import dataclass
from datetime import datetime

from deploy.local.sagemaker.document import Document


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """The DataCaptureConfig of a variant, if it is enabled."""

    uri: str
    """The address in S3 under which the lines go."""
    percent: int
    """Of how many requests in a hundred a line is kept."""
    modes: frozenset[str]
    """INPUT, OUTPUT, or both."""
    csv: frozenset[str]
    """Content types that are kept as text, and named CSV."""
    json: frozenset[str]


@dataclass(frozen=True, slots=True)
class CapturedBody:
    """What was sent one way."""

    content_type: str
    body: bytes


def capture_plan(config: Document | None) -> CapturePlan | None:
    """Return the plan of a DataCaptureConfig; None: nothing is captured."""
    if not config or not config.get("EnableCapture", False) or not config["InitialSamplingPercentage"]:
        return None
    asked = {one["CaptureMode"] for one in config["CaptureOptions"]}
    both = {"INPUT", "OUTPUT"} if "InputAndOutput" in asked else set()
    types = config.get("CaptureContentTypeHeader", {})
    return CapturePlan(
        config["DestinationS3Uri"].rstrip("/"),
        config["InitialSamplingPercentage"],
        frozenset(both | {mode.upper() for mode in asked & {"Input", "Output"}}),
        frozenset(map(str.lower, types.get("CsvContentTypes", ()))),
        frozenset(map(str.lower, types.get("JsonContentTypes", ()))),
    )


def capture_summary(config: Document | None) -> Document | None:
    """Return what DescribeEndpoint shows of a DataCaptureConfig; None: there is none."""
    if not config:
        return None
    return {
        "EnableCapture": config.get("EnableCapture", False),
        "CaptureStatus": "Started" if config.get("EnableCapture", False) else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }


def capture_line(
    plan: CapturePlan,
    asked: CapturedBody,
    answered: CapturedBody,
    *,
    event_id: str,
    at: datetime,
    inference_id: str | None = None,
    attributes: str | None = None,
) -> bytes:
    """Return the line that is kept of a request.

    Args:
        plan: What is kept.
        asked: The body of the request.
        answered: The body of the answer.
        event_id: A name for the line.
        at: When the answer came; in UTC.
        inference_id: X-Amzn-SageMaker-Inference-Id of the request.
        attributes: X-Amzn-SageMaker-Custom-Attributes of the request.
    """
    data = {}
    for mode, name, one in (("INPUT", "endpointInput", asked), ("OUTPUT", "endpointOutput", answered)):
        if mode in plan.modes:
            text, encoding = _encoded(plan, one)
            data[name] = {"observedContentType": one.content_type, "mode": mode, "data": text, "encoding": encoding}
    about: Document = {"eventId": event_id}
    if attributes is not None:
        about["customAttributes"] = [attributes]
    if inference_id is not None:
        about["inferenceId"] = inference_id
    about["inferenceTime"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"captureData": data, "eventMetadata": about, "eventVersion": "0"}).encode() + b"\n"


def capture_address(plan: CapturePlan, endpoint: str, variant: str, at: datetime, name: str) -> str:
    """Return the address of a file of lines whose first came at a time; ``name`` makes it the only one."""
    stamp = at.strftime("%Y/%m/%d/%H/%M-%S-") + f"{at.microsecond // 1000:03d}"
    return f"{plan.uri}/{endpoint}/{variant}/{stamp}-{name}.jsonl"


def _encoded(plan: CapturePlan, one: CapturedBody) -> tuple[str, str]:
    """Return a body as text, and how it was made so: CSV and JSON stay as they are, where the plan names them."""
    kind = one.content_type.partition(";")[0].strip().lower()
    encoding = "CSV" if kind in plan.csv else "JSON" if kind in plan.json else ""
    if encoding:
        try:
            return one.body.decode(), encoding
        except UnicodeDecodeError:
            pass
    return base64.b64encode(one.body).decode(), "BASE64"
