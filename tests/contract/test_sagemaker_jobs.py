"""Training jobs as boto3 sees them: the image's own `train` on data in S3."""

import tarfile
from io import BytesIO

import numpy as np
import pytest
from botocore.exceptions import ClientError

from contracts.settings import Settings
from tests.contract.sagemaker_cases import ROLE, Cloud, channel, eventually, npz


@pytest.fixture(scope="module")
def cloud(local_aws: Settings) -> Cloud:
    return Cloud(local_aws)


def test_a_job_trains_and_its_model_lands_in_s3(cloud: Cloud) -> None:
    name = cloud.train(rounds=4, metrics={"train:mlogloss": r"train-mlogloss=([0-9.]+)"})

    job = cloud.ended(name)

    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed"), job
    bucket, _, key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    packed = cloud.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        assert sorted(archive.getnames()) == ["about.json", "model.ubj"]
    [metric] = job["FinalMetricDataList"]
    assert metric["MetricName"] == "train:mlogloss"
    assert 0 < metric["Value"] < 2
    told = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert told == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["TrainingStartTime"] <= job["TrainingEndTime"]


def test_its_log_is_read_page_by_page_through_cloudwatch(cloud: Cloud) -> None:
    name = cloud.train(rounds=4)
    cloud.ended(name)
    group = "/aws/sagemaker/TrainingJobs"
    [stream] = cloud.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
    where = {"logGroupName": group, "logStreamName": stream["logStreamName"]}

    lines: list[str] = []
    page = cloud.logs.get_log_events(**where, startFromHead=True, limit=2)
    while page["events"]:
        assert len(page["events"]) <= 2
        lines += [event["message"] for event in page["events"]]
        page = cloud.logs.get_log_events(**where, nextToken=page["nextForwardToken"], limit=2)

    assert [line.split()[0] for line in lines if line.startswith("round=")] == [f"round={n}/4" for n in (1, 2, 3, 4)]
    last = cloud.logs.get_log_events(**where, limit=1)["events"]
    assert last[0]["message"] == lines[-1]
    found = cloud.logs.filter_log_events(
        logGroupName=group, logStreamNames=[stream["logStreamName"]], filterPattern='"round=4/4"'
    )
    assert len(found["events"]) == 1


def test_a_job_that_fails_says_why(cloud: Cloud) -> None:
    job = cloud.ended(cloud.train(data=cloud.put(npz(labels=np.full(400, 11, np.uint8)))))

    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: BadInput: data.npz: labels are not uint8 of one dimension, 0 to 9")
    assert job["FailureReason"].endswith(", exit code: 1")


def test_a_pickle_in_a_channel_is_not_opened(cloud: Cloud) -> None:
    job = cloud.ended(cloud.train(data=cloud.put(npz(images=np.array([print], dtype=object)))))

    assert "Object arrays cannot be loaded when allow_pickle=False" in job["FailureReason"]


def test_an_unknown_hyperparameter_is_named(cloud: Cloud) -> None:
    assert "unknown hyperparameter 'depht'" in cloud.ended(cloud.train(depht=3))["FailureReason"]


def test_a_channel_without_objects_fails_the_job(cloud: Cloud) -> None:
    job = cloud.ended(cloud.train(data=f"s3://{cloud.settings.bucket}/tests/nothing/"))

    assert job["TrainingJobStatus"] == "Failed"
    assert "No S3 objects found" in job["FailureReason"]


def test_a_job_is_stopped(cloud: Cloud) -> None:
    name = cloud.train(rounds=100_000)
    eventually(lambda: cloud.job(name)["SecondaryStatus"] == "Training")

    cloud.sagemaker.stop_training_job(TrainingJobName=name)

    assert cloud.ended(name)["TrainingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="the training job is in status Stopped"):
        cloud.sagemaker.stop_training_job(TrainingJobName=name)


def test_a_job_ends_at_its_time_limit(cloud: Cloud) -> None:
    job = cloud.ended(cloud.train(rounds=100_000, seconds=1))

    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_jobs_run_side_by_side_and_are_listed_newest_first_in_pages(cloud: Cloud) -> None:
    names = [cloud.train() for _ in range(3)]
    assert all(cloud.ended(name)["TrainingJobStatus"] == "Completed" for name in names)

    pages = cloud.sagemaker.get_paginator("list_training_jobs").paginate(
        StatusEquals="Completed", NameContains="job-", PaginationConfig={"PageSize": 2}
    )
    listed = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]

    assert [name for name in listed if name in names] == names[::-1]
    assert len(set(listed)) == len(listed)
    by_name = cloud.sagemaker.list_training_jobs(SortBy="Name", SortOrder="Ascending", MaxResults=100)["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in by_name] == sorted(job["TrainingJobName"] for job in by_name)


def test_a_name_is_given_once(cloud: Cloud) -> None:
    name = cloud.train()
    job = cloud.job(name)
    again = {key: job[key] for key in ("RoleArn", "AlgorithmSpecification", "OutputDataConfig", "ResourceConfig")}

    with pytest.raises(cloud.sagemaker.exceptions.ResourceInUse, match="must be unique"):
        cloud.sagemaker.create_training_job(TrainingJobName=name, StoppingCondition={"MaxRuntimeInSeconds": 1}, **again)

    cloud.ended(name)


def test_what_this_machine_cannot_do_is_refused_at_once(cloud: Cloud) -> None:
    def create(image: str, channels: list[dict[str, object]], instances: int = 1) -> None:
        cloud.sagemaker.create_training_job(
            TrainingJobName="never",
            RoleArn=ROLE,
            AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
            InputDataConfig=channels,
            OutputDataConfig={"S3OutputPath": "s3://bucket/output"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": instances, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )

    image = cloud.settings.image_uri("xgboost")
    with pytest.raises(ClientError, match="Unable to find image"):
        create("elsewhere/image:1", [channel("train", "s3://bucket/data/")])
    with pytest.raises(ClientError, match="mode File"):
        create(image, [channel("train", "s3://bucket/data/") | {"InputMode": "Pipe"}])
    with pytest.raises(ClientError, match="one instance"):
        create(image, [channel("train", "s3://bucket/data/")], instances=2)
