"""Conformance: transform jobs as boto3 sees them, a model's own server on objects in S3."""

from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import NPY, Cloud, digits, npy, read_npy
from tests.contract.sagemaker_data import csv

IMAGES = digits(40)[0]
ROWS = csv(IMAGES).splitlines(keepends=True)


class Batch:
    """Transform jobs of the base model, begun side by side."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.model = cloud.model()
        first = cloud.object("batch/csv/part.csv", b"".join(ROWS[:30]))
        cloud.object("batch/csv/more/part.csv", b"\n".join(row.strip() for row in ROWS[30:]))
        whole, wrong = cloud.object("batch/npy/all.npy", npy(IMAGES)), cloud.object("batch/wrong.csv", ROWS[0] + b"1,2,3\n")
        strategy = {"BatchStrategy": "MultiRecord", "MaxPayloadInMB": 1, "MaxConcurrentTransforms": 2}
        self.lines = self.begin(first.removesuffix("part.csv"), "text/csv", "Line", **strategy)
        self.whole = self.begin(whole, NPY, "None", Tags=[{"Key": "team", "Value": "game"}])
        self.wrong = self.begin(wrong, "text/csv", "Line", BatchStrategy="SingleRecord")

    def request(self, data: str, content: str, split: str, **given: Any) -> dict[str, Any]:
        """The request for CreateTransformJob, without a name."""
        return {
            "ModelName": self.model,
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": data}},
                "ContentType": content,
                "SplitType": split,
            },
            "TransformOutput": {"S3OutputPath": self.cloud.output, "Accept": content, "AssembleWith": split},
            "TransformResources": {"InstanceType": self.cloud.settings.serving_instance, "InstanceCount": 1},
            "Environment": {"OMP_NUM_THREADS": "1"},
            **given,
        }

    def begin(self, *given: Any, **more: Any) -> str:
        """Begin a job; return its name."""
        name = self.cloud.name("transform")
        self.cloud.sagemaker.create_transform_job(TransformJobName=name, **self.request(*given, **more))
        return name

    def ended(self, name: str) -> dict[str, Any]:
        """Wait until a job has ended; return its description."""
        fine = {"Delay": int(max(1, self.cloud.pause_s)), "MaxAttempts": 1800}
        waiter = self.cloud.sagemaker.get_waiter("transform_job_completed_or_stopped")
        if name != self.wrong:
            waiter.wait(TransformJobName=name, WaiterConfig=fine)
        self.cloud.until(lambda: self.job(name)["TransformJobStatus"] in ("Completed", "Failed", "Stopped"))
        return self.job(name)

    def job(self, name: str) -> dict[str, Any]:
        """The description of a job."""
        return dict(self.cloud.sagemaker.describe_transform_job(TransformJobName=name))

    def made(self, name: str) -> bytes:
        """An object under the output's prefix."""
        bucket, _, prefix = self.cloud.output.removeprefix("s3://").partition("/")
        return bytes(self.cloud.s3.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read())


@pytest.fixture(scope="module")
def batch(cloud: Cloud) -> Batch:
    return Batch(cloud)


def test_every_object_of_a_transform_job_is_answered_as_a_whole_or_line_by_line(cloud: Cloud, batch: Batch) -> None:
    job = batch.ended(batch.lines)
    assert (job["TransformJobStatus"], job["ModelName"]) == ("Completed", batch.model), job
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"]
    assert batch.ended(batch.whole)["TransformJobStatus"] == "Completed", batch.job(batch.whole)

    whole = read_npy(batch.made("all.npy.out"))

    assert whole.shape == (40, 10)
    for name, rows in (("part.csv.out", whole[:30]), ("more/part.csv.out", whole[30:])):
        lines = batch.made(name).decode().splitlines()
        np.testing.assert_allclose([[float(one) for one in line.split(",")] for line in lines], rows, atol=1e-6)


def test_a_transform_job_that_a_line_fails_says_which_object_and_why_and_writes_nothing(cloud: Cloud, batch: Batch) -> None:
    job = batch.ended(batch.wrong)

    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: See job logs for more information")
    with pytest.raises(cloud.s3.exceptions.NoSuchKey):
        batch.made("wrong.csv.out")
    group, prefix = "/aws/sagemaker/TransformJobs", f"{batch.wrong}/"
    cloud.until(
        lambda: any(
            "wrong.csv: ClientError: 400" in event["message"]
            for event in cloud.logs.filter_log_events(logGroupName=group, logStreamNamePrefix=prefix)["events"]
        )
    )


def test_a_transform_job_is_stopped(cloud: Cloud, batch: Batch) -> None:
    name = batch.begin(cloud.object("batch/again.npy", npy(IMAGES)), NPY, "None")

    cloud.sagemaker.stop_transform_job(TransformJobName=name)

    assert batch.ended(name)["TransformJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="the transform job is in status Stopped"):
        cloud.sagemaker.stop_transform_job(TransformJobName=name)


def test_transform_jobs_are_listed_tagged_and_named_once(cloud: Cloud, batch: Batch) -> None:
    batch.ended(batch.whole)
    pages = cloud.sagemaker.get_paginator("list_transform_jobs").paginate(
        NameContains=f"gn-{cloud.run}-transform", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 1}
    )
    names = [job["TransformJobName"] for page in pages for job in page["TransformJobSummaries"]]
    assert names == sorted(names)
    assert {batch.lines, batch.whole, batch.wrong} <= set(names)
    listed = cloud.sagemaker.list_transform_jobs(StatusEquals="Completed", NameContains=batch.whole)
    [job] = listed["TransformJobSummaries"]
    tags = cloud.sagemaker.list_tags(ResourceArn=job["TransformJobArn"])["Tags"]
    assert (job["TransformJobName"], tags) == (batch.whole, [{"Key": "team", "Value": "game"}])
    request = batch.request("s3://bucket/any", NPY, "None")
    with pytest.raises(cloud.sagemaker.exceptions.ResourceInUse, match="Job name must be unique"):
        cloud.sagemaker.create_transform_job(TransformJobName=batch.whole, **request)
    with pytest.raises(ClientError, match="Could not find model"):
        cloud.sagemaker.create_transform_job(TransformJobName="never", **request | {"ModelName": "nobody"})
    with pytest.raises(ClientError, match="Could not find requested job with name: nowhere"):
        batch.job("nowhere")
