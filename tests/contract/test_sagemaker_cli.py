"""Conformance: the genuine AWS command line, as `make setup-dev` installs it, told where SageMaker is by --endpoint-url."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contracts.settings import Settings
from tests.conftest import ROOT
from tests.contract.sagemaker_cases import NPY, Cloud, npy, read_npy

AWS = ROOT / Settings().tools / "awscli" / "bin" / "aws"


class Failed(Exception):
    """What the command line printed when it failed."""


class Cli:
    """`aws` with the keys and the address of a SageMaker."""

    def __init__(self, cloud: Cloud, home: Path) -> None:
        self.urls = cloud.settings.endpoint_urls
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),  # nobody's own profile
            "AWS_ACCESS_KEY_ID": cloud.keys.access_key,
            "AWS_SECRET_ACCESS_KEY": cloud.keys.secret_key,
            "AWS_DEFAULT_REGION": cloud.settings.aws_region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }
        if cloud.keys.token:
            self.environment["AWS_SESSION_TOKEN"] = cloud.keys.token

    def __call__(self, service: str, *words: str, **environment: str) -> dict[str, object]:
        """What a command prints, as JSON.

        Raises:
            Failed: If it did not end with 0.
        """
        url = self.urls[service]  # type: ignore[index]
        done = subprocess.run(
            [str(AWS), "--endpoint-url", url, "--output", "json", service, *words],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise Failed(done.stderr)
        return dict(json.loads(done.stdout or "{}"))


@pytest.fixture(scope="module")
def aws(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    assert AWS.is_file(), "the AWS command line is not there: run `make setup-dev`"
    return Cli(cloud, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def endpoint(cloud: Cloud) -> Iterator[str]:
    name = cloud.endpoint(v1=1)
    yield name
    cloud.delete(name)


def test_endpoints_are_listed_described_and_asked(cloud: Cloud, aws: Cli, endpoint: str, tmp_path: Path) -> None:
    listed = aws("sagemaker", "list-endpoints", "--name-contains", endpoint)
    assert [one["EndpointName"] for one in listed["Endpoints"]] == [endpoint]  # type: ignore[attr-defined]
    described = aws("sagemaker", "describe-endpoint", "--endpoint-name", endpoint)
    assert (described["EndpointName"], described["EndpointStatus"]) == (endpoint, "InService")
    asked, answered = tmp_path / "asked.npy", tmp_path / "answered.npy"
    asked.write_bytes(npy(np.zeros((2, 784), np.uint8)))

    told = aws(
        *("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", endpoint, "--body", f"fileb://{asked}"),
        *("--content-type", NPY, "--accept", NPY, str(answered)),
    )

    assert told["InvokedProductionVariant"] == "v1"
    assert read_npy(answered.read_bytes()).shape == (2, 10)


def test_the_log_of_a_job_is_shown(cloud: Cloud, aws: Cli) -> None:
    name = cloud.train(rounds=2)
    assert cloud.ended(name)["TrainingJobStatus"] == "Completed"
    group = "/aws/sagemaker/TrainingJobs"

    streams = cloud.until(
        lambda: aws("logs", "describe-log-streams", "--log-group-name", group, "--log-stream-name-prefix", name)["logStreams"]
    )

    [stream] = [one["logStreamName"] for one in streams]
    shown = aws("logs", "get-log-events", "--log-group-name", group, "--log-stream-name", stream, "--start-from-head")
    assert any("round=2/2" in event["message"] for event in shown["events"])  # type: ignore[attr-defined]
    found = aws("logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", '"round=2/2"')
    assert stream in [event["logStreamName"] for event in found["events"]]  # type: ignore[attr-defined]


def test_what_is_refused_is_said_in_aws_s_words(cloud: Cloud, aws: Cli, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"\(ValidationException\) when calling the DescribeEndpoint operation: Could not find"):
        aws("sagemaker", "describe-endpoint", "--endpoint-name", "nowhere")
    body = tmp_path / "body"
    body.write_bytes(b"x")
    with pytest.raises(Failed, match=r"\(ValidationError\) when calling the InvokeEndpoint operation: Endpoint nowhere of"):
        aws("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "nowhere", "--body", f"fileb://{body}", str(body))
    with pytest.raises(Failed, match=r"\(InvalidSignatureException\) when calling the ListEndpoints operation"):
        aws("sagemaker", "list-endpoints", AWS_SECRET_ACCESS_KEY="another")
    with pytest.raises(Failed, match=r"\(UnrecognizedClientException\) when calling the ListEndpoints operation"):
        aws("sagemaker", "list-endpoints", AWS_ACCESS_KEY_ID="AKIAANOTHER")
    if cloud.settings.aws_endpoint_url_sagemaker is None:  # Amazon has notebooks
        with pytest.raises(Failed, match=r"\(UnknownOperationException\).*ListNotebookInstances is not on this machine"):
            aws("sagemaker", "list-notebook-instances")
