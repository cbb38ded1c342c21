"""Conformance: processing jobs as boto3 sees them, an image's Python with a script of the user's own."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import Cloud

SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
place = Path("/opt/ml/processing")
told = json.loads(Path("/opt/ml/config/processingjobconfig.json").read_text())
print("processing", told["ProcessingJobName"], sys.argv[1:], os.environ["KIND"], flush=True)
Path("/opt/ml/output").mkdir(exist_ok=True)
Path("/opt/ml/output/message").write_text("as far as it came")
if sys.argv[1] == "fail":
    sys.exit(3)
if sys.argv[1] == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(0.1)
words = (place / "input" / "words" / "more" / "words.txt").read_text().split()
(place / "output" / "deep").mkdir()
(place / "output" / "deep" / "counted.json").write_text(json.dumps(len(words)))
os.symlink("/etc/hostname", place / "output" / "escaped")
"""


def request(cloud: Cloud, argument: str) -> dict[str, Any]:
    """The request for CreateProcessingJob, without a name."""
    code = cloud.object("processing/code/script.py", SCRIPT.encode())
    cloud.object("processing/words/more/words.txt", b"a game of digits")
    prefix = code.removesuffix("code/script.py")

    def given(name: str, uri: str) -> dict[str, Any]:
        place = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/input/{name}", "S3DataType": "S3Prefix", "S3InputMode": "File"}
        return {"InputName": name, "S3Input": place}

    output = {"S3Uri": f"{prefix}made", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    return {
        "RoleArn": cloud.settings.role_arn,
        "AppSpecification": {
            "ImageUri": cloud.image,
            "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/script.py"],
            "ContainerArguments": [argument],
        },
        "ProcessingInputs": [given("code", code), given("words", f"{prefix}words")],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "made", "S3Output": output}]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": cloud.settings.serving_instance, "VolumeSizeInGB": 1}
        },
        "Environment": {"KIND": "own"},
    }


def begin(cloud: Cloud, argument: str) -> str:
    name = cloud.name("processing")
    tags = [{"Key": "team", "Value": "game"}]
    cloud.sagemaker.create_processing_job(ProcessingJobName=name, Tags=tags, **request(cloud, argument))
    return name


def job(cloud: Cloud, name: str) -> dict[str, Any]:
    return dict(cloud.sagemaker.describe_processing_job(ProcessingJobName=name))


def ended(cloud: Cloud, name: str) -> dict[str, Any]:
    cloud.until(lambda: job(cloud, name)["ProcessingJobStatus"] in ("Completed", "Failed", "Stopped"))
    return job(cloud, name)


def said(cloud: Cloud, name: str, word: str) -> bool:
    """Whether the job's log has a line with a word."""
    group, prefix = "/aws/sagemaker/ProcessingJobs", f"{name}/"
    try:
        events = cloud.logs.filter_log_events(logGroupName=group, logStreamNamePrefix=prefix)["events"]
    except cloud.logs.exceptions.ResourceNotFoundException:
        return False
    return any(word in event["message"] for event in events)


def test_a_processing_job_runs_a_script_on_inputs_and_its_outputs_land_in_s3(cloud: Cloud) -> None:
    name = begin(cloud, "count")

    told = ended(cloud, name)

    assert (told["ProcessingJobStatus"], told["ExitMessage"]) == ("Completed", "as far as it came"), told
    assert told["CreationTime"] <= told["ProcessingStartTime"] <= told["ProcessingEndTime"]
    bucket, prefix = cloud.settings.bucket, f"conformance/{cloud.run}/processing/made/"
    listed = cloud.s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    assert [entry["Key"] for entry in listed] == [f"{prefix}deep/counted.json"], "no link leads out of the container"
    assert cloud.s3.get_object(Bucket=bucket, Key=f"{prefix}deep/counted.json")["Body"].read() == b"4"
    cloud.until(lambda: said(cloud, name, f"processing {name} ['count'] own"))
    assert cloud.sagemaker.list_tags(ResourceArn=told["ProcessingJobArn"])["Tags"] == [{"Key": "team", "Value": "game"}]


def test_a_processing_job_that_fails_says_so_and_one_is_stopped(cloud: Cloud) -> None:
    failing, waiting = begin(cloud, "fail"), begin(cloud, "wait")
    cloud.until(lambda: said(cloud, waiting, "processing"))

    cloud.sagemaker.stop_processing_job(ProcessingJobName=waiting)

    told = ended(cloud, failing)
    assert (told["ProcessingJobStatus"], told["ExitMessage"]) == ("Failed", "as far as it came")
    assert told["FailureReason"].startswith("AlgorithmError: ")
    assert told["FailureReason"].endswith("exit code: 3")
    fine = {"Delay": int(max(1, cloud.pause_s)), "MaxAttempts": 1800}
    cloud.sagemaker.get_waiter("processing_job_completed_or_stopped").wait(ProcessingJobName=waiting, WaiterConfig=fine)
    assert job(cloud, waiting)["ProcessingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="the processing job is in status Stopped"):
        cloud.sagemaker.stop_processing_job(ProcessingJobName=waiting)


def test_processing_jobs_are_listed_and_named_once(cloud: Cloud) -> None:
    name = begin(cloud, "count")
    pages = cloud.sagemaker.get_paginator("list_processing_jobs").paginate(
        NameContains=f"gn-{cloud.run}-processing",
        SortBy="CreationTime",
        SortOrder="Descending",
        PaginationConfig={"PageSize": 1},
    )
    names = [one["ProcessingJobName"] for page in pages for one in page["ProcessingJobSummaries"]]
    assert names[0] == name
    assert len(set(names)) == len(names)
    with pytest.raises(cloud.sagemaker.exceptions.ResourceInUse, match="Job name must be unique"):
        cloud.sagemaker.create_processing_job(ProcessingJobName=name, **request(cloud, "count"))
    with pytest.raises(ClientError, match="Could not find requested job with name: nowhere"):
        job(cloud, "nowhere")
    assert ended(cloud, name)["ProcessingJobStatus"] == "Completed"


@pytest.mark.parametrize("place", ["/etc", "/opt/ml/processing/../../../etc", "/opt/ml/processing-not"])
def test_a_place_outside_of_the_container_s_own_folder_is_refused(cloud: Cloud, place: str) -> None:
    wrong = request(cloud, "count")
    wrong["ProcessingInputs"][0]["S3Input"]["LocalPath"] = place
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.sagemaker.create_processing_job(ProcessingJobName="never", **wrong)
