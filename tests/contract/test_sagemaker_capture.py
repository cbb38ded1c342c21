"""Conformance: what is asked and answered is captured into S3, where the endpoint's config says so."""

import base64
import json
from typing import Any

import numpy as np

from tests.contract.sagemaker_cases import NPY, Cloud, digits, npy
from tests.contract.sagemaker_data import csv

CAPTURED = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}


def lines(cloud: Cloud, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """Every line under a prefix, with the key of its object."""
    listed = cloud.s3.list_objects_v2(Bucket=cloud.settings.bucket, Prefix=prefix).get("Contents", [])
    bodies = [(one["Key"], cloud.s3.get_object(Bucket=cloud.settings.bucket, Key=one["Key"])["Body"].read()) for one in listed]
    return [(key, json.loads(line)) for key, body in bodies for line in body.splitlines()]


def test_requests_and_answers_are_captured_by_the_hour(cloud: Cloud) -> None:
    place = f"conformance/{cloud.run}/captured"
    uri = f"s3://{cloud.settings.bucket}/{place}"
    config = cloud.config_of(cloud.variant("v1", cloud.model()), DataCaptureConfig={**CAPTURED, "DestinationS3Uri": uri})
    endpoint = cloud.begun(config)
    assert cloud.in_service(endpoint)["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": uri,
        "KmsKeyId": "",
    }
    image = digits(1)[0]
    row, packed = csv(image), npy(np.zeros((1, 784), np.uint8))

    table = cloud.ask(endpoint, Body=row, ContentType="text/csv", Accept="text/csv", InferenceId="gn-1")
    cloud.ask(endpoint, Body=packed, ContentType=NPY, CustomAttributes="c000b4f9")

    cloud.until(lambda: len(lines(cloud, f"{place}/{endpoint}/v1/")) == 2)
    found = [line for _, line in lines(cloud, place)]
    by_type = {line["captureData"]["endpointInput"]["observedContentType"]: line for line in found}
    captured, about = by_type["text/csv"]["captureData"], by_type["text/csv"]["eventMetadata"]
    assert captured["endpointInput"] == {
        "observedContentType": "text/csv",
        "mode": "INPUT",
        "data": row.decode(),
        "encoding": "CSV",
    }
    assert (captured["endpointOutput"]["data"], captured["endpointOutput"]["encoding"]) == (table["Body"].decode(), "CSV")
    assert about["inferenceId"] == "gn-1"
    other = by_type[NPY]
    assert base64.b64decode(other["captureData"]["endpointInput"]["data"]) == packed
    assert (other["captureData"]["endpointInput"]["encoding"], other["eventVersion"]) == ("BASE64", "0")
    assert other["eventMetadata"]["customAttributes"] == ["c000b4f9"]
    folders = {key.removeprefix(f"{place}/{endpoint}/v1/").rpartition("/")[0] for key, _ in lines(cloud, place)}
    hours = {
        about["inferenceTime"][:13].replace("-", "/").replace("T", "/") for about in (one["eventMetadata"] for one in found)
    }
    assert folders == hours
