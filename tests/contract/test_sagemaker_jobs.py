"""Conformance: training jobs as boto3 sees them, the image's own `train` on data in S3."""

import tarfile
from io import BytesIO

import numpy as np
import pytest
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import Cloud, digits, npz
from tests.contract.sagemaker_data import csv

GROUP = "/aws/sagemaker/TrainingJobs"


def test_a_job_trains_and_its_model_lands_in_s3(cloud: Cloud) -> None:
    name = cloud.train(rounds=4, metrics={"train:mlogloss": r"train-mlogloss=([0-9.]+)"})

    job = cloud.ended(name)

    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed"), job
    bucket, _, key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    packed = cloud.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        assert {"about.json", "model.ubj"} <= {name.removeprefix("./") for name in archive.getnames()}
    [metric] = job["FinalMetricDataList"]
    assert metric["MetricName"] == "train:mlogloss"
    assert 0 < metric["Value"] < 2
    told = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert [one for one in told if one != "Pending"] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert 0 < job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]
    assert (job["HyperParameters"]["rounds"], job["RoleArn"]) == ("4", cloud.settings.role_arn)
    assert not job["EnableManagedSpotTraining"]


def test_a_job_trains_on_csv_without_a_header_the_label_first(cloud: Cloud) -> None:
    name, request = (
        cloud.name("job"),
        cloud.job_request(data=cloud.object("csv/train/part-0", csv(*digits(200)[::-1])), rounds=2),
    )
    request["InputDataConfig"][0]["ContentType"] = "text/csv"

    cloud.sagemaker.create_training_job(TrainingJobName=name, **request)

    assert cloud.ended(name)["TrainingJobStatus"] == "Completed", cloud.job(name)


def test_its_log_is_read_page_by_page_through_cloudwatch(cloud: Cloud) -> None:
    name = cloud.train(rounds=4)
    cloud.ended(name)
    [stream] = cloud.until(
        lambda: cloud.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
    )
    where = {"logGroupName": GROUP, "logStreamName": stream["logStreamName"]}

    def read() -> list[str]:
        lines: list[str] = []
        page = cloud.logs.get_log_events(**where, startFromHead=True, limit=2)
        while page["events"]:
            assert len(page["events"]) <= 2
            lines += [event["message"] for event in page["events"]]
            page = cloud.logs.get_log_events(**where, nextToken=page["nextForwardToken"], limit=2)
        return lines

    cloud.until(lambda: any("round=4/4" in line for line in read()))  # CloudWatch has a line some seconds later
    lines = read()
    assert [line.split()[0] for line in lines if line.startswith("round=")] == [f"round={n}/4" for n in (1, 2, 3, 4)]
    assert cloud.logs.get_log_events(**where, limit=1)["events"][0]["message"] == lines[-1]
    found = cloud.logs.filter_log_events(
        logGroupName=GROUP, logStreamNames=[stream["logStreamName"]], filterPattern='"round=4/4"'
    )
    assert len(found["events"]) == 1
    with pytest.raises(cloud.logs.exceptions.ResourceNotFoundException):
        cloud.logs.get_log_events(logGroupName=GROUP, logStreamName="nowhere")


def test_its_log_is_there_until_it_is_deleted(cloud: Cloud) -> None:
    name = cloud.train()
    cloud.ended(name)
    cloud.sagemaker.delete_training_job(TrainingJobName=name)
    where = {"logGroupName": GROUP, "logStreamNamePrefix": f"{name}/"}
    [stream] = cloud.until(lambda: cloud.logs.describe_log_streams(**where)["logStreams"])

    cloud.logs.delete_log_stream(logGroupName=GROUP, logStreamName=stream["logStreamName"])

    assert not cloud.logs.describe_log_streams(**where)["logStreams"]
    with pytest.raises(cloud.logs.exceptions.ResourceNotFoundException):
        cloud.logs.delete_log_stream(logGroupName=GROUP, logStreamName=stream["logStreamName"])


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
    job = cloud.ended(cloud.train(data=f"s3://{cloud.settings.bucket}/conformance/nothing/"))

    assert job["TrainingJobStatus"] == "Failed"
    assert "No S3 objects found" in job["FailureReason"]


def test_a_job_is_stopped(cloud: Cloud) -> None:
    name = cloud.train(rounds=100_000)
    cloud.until(lambda: cloud.job(name)["SecondaryStatus"] == "Training")

    cloud.sagemaker.stop_training_job(TrainingJobName=name)

    fine = {"Delay": int(max(1, cloud.pause_s)), "MaxAttempts": 1800}
    cloud.sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name, WaiterConfig=fine)
    assert cloud.job(name)["TrainingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="the training job is in status Stopped"):
        cloud.sagemaker.stop_training_job(TrainingJobName=name)


def test_a_job_ends_at_its_time_limit(cloud: Cloud) -> None:
    job = cloud.ended(cloud.train(rounds=100_000, seconds=1))

    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_channel_may_be_read_as_a_fast_file_and_variables_reach_the_job(cloud: Cloud) -> None:
    name = cloud.name("job")
    request = cloud.job_request()
    request["InputDataConfig"][0]["InputMode"] = "FastFile"

    cloud.sagemaker.create_training_job(TrainingJobName=name, Environment={"OMP_NUM_THREADS": "1"}, **request)

    job = cloud.ended(name)
    assert job["TrainingJobStatus"] == "Completed", job
    assert job["Environment"] == {"OMP_NUM_THREADS": "1"}
    assert job["InputDataConfig"][0]["InputMode"] == "FastFile"


def test_jobs_run_side_by_side_and_are_listed_newest_first_in_pages(cloud: Cloud) -> None:
    names = [cloud.train() for _ in range(3)]
    assert all(cloud.ended(name)["TrainingJobStatus"] == "Completed" for name in names)

    def listed(**given: object) -> list[str]:
        pages = cloud.sagemaker.get_paginator("list_training_jobs").paginate(
            NameContains=f"gn-{cloud.run}-job", PaginationConfig={"PageSize": 2}, **given
        )
        return [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]

    completed = listed(StatusEquals="Completed")
    assert [name for name in completed if name in names] == names[::-1]
    assert len(set(completed)) == len(completed)
    assert listed(SortBy="Name", SortOrder="Ascending") == sorted(listed())
    first = cloud.job(names[0])
    assert names[0] not in listed(CreationTimeAfter=first["CreationTime"])
    assert set(names[1:]) <= set(listed(CreationTimeAfter=first["CreationTime"]))


def test_a_name_is_given_once_and_again_when_the_job_is_deleted(cloud: Cloud) -> None:
    request = cloud.job_request()
    name = cloud.name("job")
    cloud.sagemaker.create_training_job(TrainingJobName=name, **request)

    with pytest.raises(cloud.sagemaker.exceptions.ResourceInUse):
        cloud.sagemaker.create_training_job(TrainingJobName=name, **request)

    cloud.ended(name)
    cloud.sagemaker.delete_training_job(TrainingJobName=name)
    with pytest.raises(ClientError, match="Requested resource not found"):
        cloud.job(name)
