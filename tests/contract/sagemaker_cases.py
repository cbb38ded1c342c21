"""Makes what the SageMaker tests share: small data, clients, and jobs and endpoints."""

import contextlib
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from contracts.settings import Settings
from deploy.local.install import HERE
from producers.blobs import ensure_bucket
from tests.roster import IMAGES

NPY = "application/x-npy"
BASE = Path(__file__).resolve().parents[2] / "trainers" / "images" / "xgboost" / "base" / "model.tar.gz"


def conformance_suite() -> set[str]:
    """Return the files with tests that ask the ``cloud``, which any SageMaker must pass, from the root of the repository."""
    folder = Path(__file__).parent
    asking = (file for file in folder.glob("test_*.py") if file.name != "test_sagemaker_docs.py")
    return {f"tests/contract/{file.name}" for file in asking if re.search(r"\bcloud: Cloud\b", file.read_text())}


def digits(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return bars, which any model can tell apart: upright ones are 1, lying ones are 7. Shapes (count, 784), (count,)."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(count) < 0.5, 1, 7).astype(np.uint8)
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        at = int(rng.integers(10, 17))
        image[(slice(4, 24), slice(at, at + 2)) if label == 1 else (slice(at, at + 2), slice(4, 24))] = 255
    return images.reshape(count, 784), labels


def npz(count: int = 400, **arrays: Any) -> bytes:
    """Return the file of a channel."""
    images, labels = digits(count)
    out = io.BytesIO()
    np.savez(out, **({"images": images, "labels": labels, "weights": np.ones(count, np.float32)} | arrays))
    return out.getvalue()


def npy(images: NDArray[Any]) -> bytes:
    """Return the body of a request to an endpoint."""
    out = io.BytesIO()
    np.save(out, images)
    return out.getvalue()


def read_npy(body: bytes) -> NDArray[Any]:
    """Read the answer of an endpoint."""
    array: NDArray[Any] = np.load(io.BytesIO(body), allow_pickle=False)
    return array


def eventually(what: Callable[[], Any], within_s: float = 90.0, every_s: float = 0.05) -> Any:
    """Call a function again and again; return its first true value.

    Raises:
        TimeoutError: If there was none in time; the message has the last value.
    """
    deadline = time.monotonic() + within_s
    while not (answer := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {answer!r} after {within_s} s")
        time.sleep(every_s)
    return answer


def python_is_here(version: str) -> bool:
    """Say whether the machine has a Python of this version; as the installer does, look first at the one that runs."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return True
    uv = Path(sys.executable).with_name("uv")
    command = (uv, "python", "find", "--system", "--no-python-downloads", version)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def must_be_here(tools: Path, algorithm: str) -> None:
    """Fail where the image of an algorithm is missing on a machine that can run it; skip on any other.

    A machine of another kind cannot, nor can a machine without the Python that the image wants. `make test` fails for what was
    skipped as well, with the reason.
    """
    unavailable = tools / "images" / f"{algorithm}.unavailable"
    if not unavailable.is_file():
        return
    told = json.loads((IMAGES[algorithm] / "image.json").read_text())
    platforms, wanted = told["platforms"], told.get("python")
    if (platforms and HERE not in platforms) or (wanted is not None and not python_is_here(wanted)):
        pytest.skip(unavailable.read_text())
    pytest.fail(f"the image of {algorithm} is not installed on this machine, which can run it: {unavailable.read_text()}")


class Cloud:
    """Genuine boto3 clients, and the resources that nearly every test makes with them.

    All resources bear the run's suffix, and `clean_up` deletes them. The SageMaker is the local one or Amazon's: where the
    settings name one that runs elsewhere, waits are as long as Amazon's machines take to come.
    """

    def __init__(self, settings: Settings) -> None:
        """Make the clients; nothing connects before the first call."""
        self.settings = settings
        outside = not settings.aws_is_here
        self.patience_s, self.pause_s = (2400.0, 2.0) if outside else (90.0, 0.05)
        self.run = uuid4().hex[:8]
        self._made: list[tuple[str, str]] = []
        once = Config(retries={"total_max_attempts": 5 if outside else 1}, read_timeout=70 if outside else 30)
        self.sagemaker: Any = boto3.client("sagemaker", config=once, **settings.aws("sagemaker"))
        self.runtime: Any = boto3.client("sagemaker-runtime", config=once, **settings.aws("sagemaker-runtime"))
        self.logs: Any = boto3.client("logs", config=once, **settings.aws("logs"))
        self.sts: Any = boto3.client("sts", config=once, **settings.aws("sts"))
        self.iam: Any = boto3.client("iam", config=once, **settings.aws("iam"))
        self.scaling: Any = boto3.client("application-autoscaling", config=once, **settings.aws("application-autoscaling"))
        self.metrics: Any = boto3.client("sagemaker-metrics", config=once, **settings.aws("sagemaker-metrics"))
        self.s3: Any = boto3.client("s3", **settings.aws("s3"))
        self.answered: set[str] = set()
        """The operations of SageMaker and its logs that were called and answered without an error."""
        for client in (self.sagemaker, self.runtime, self.logs, self.sts, self.iam, self.scaling, self.metrics):
            client.meta.events.register("after-call", self._heard)

    def _heard(self, model: Any, http_response: Any, **_: Any) -> None:
        if http_response.status_code < 300:
            self.answered.add(model.name)

    @property
    def account(self) -> str:
        """Return the number of the account."""
        return self.settings.role_arn.split(":")[4]

    @property
    def image(self) -> str:
        """Return the image that trains and serves in the cases."""
        return self.settings.image_uri("xgboost")

    @property
    def keys(self) -> Any:
        """Return the credentials that requests are signed with."""
        return boto3.Session(
            self.settings.aws_access_key_id, self.settings.aws_secret_access_key, self.settings.aws_session_token
        ).get_credentials()

    @cached_property
    def base(self) -> str:
        """Return the address of the base model in S3; the first call puts it there."""
        return self.object("base/model.tar.gz", BASE.read_bytes())

    def name(self, kind: str) -> str:
        """Return a new name, by which the resource is deleted at the end."""
        made = f"gn-{self.run}-{kind}-{len(self._made)}"
        self._made.append((kind, made))
        return made

    def object(self, key: str, data: bytes) -> str:
        """Put an object into S3; return its URI."""
        ensure_bucket(self.settings)
        key = f"conformance/{self.run}/{key}"
        self.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=data)
        return f"s3://{self.settings.bucket}/{key}"

    def put(self, data: bytes) -> str:
        """Put a channel's file into a folder of its own in S3; return the URI of that folder."""
        return self.object(f"data/{uuid4()}/data.npz", data).removesuffix("data.npz")

    @property
    def output(self) -> str:
        """Return the address under which jobs put their models."""
        return f"s3://{self.settings.bucket}/conformance/{self.run}/output"

    def until(self, what: Callable[[], Any]) -> Any:
        """Return the first true value of a function, with as much patience as this SageMaker needs."""
        return eventually(what, self.patience_s, self.pause_s)

    def job_request(self, data: str | None = None, seconds: int = 600, **given: Any) -> dict[str, Any]:
        """Return the request for CreateTrainingJob, without a name; ``given`` are hyperparameters."""
        return {
            "RoleArn": self.settings.role_arn,
            "AlgorithmSpecification": {"TrainingImage": self.image, "TrainingInputMode": "File"},
            "HyperParameters": {"rounds": "3", "nthread": "1"} | {key: str(value) for key, value in given.items()},
            "InputDataConfig": [channel("train", data or self.put(npz()))],
            "OutputDataConfig": {"S3OutputPath": self.output},
            "ResourceConfig": {"InstanceType": self.settings.training_instance, "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
        }

    def train(self, data: str | None = None, seconds: int = 600, metrics: dict[str, str] | None = None, **given: Any) -> str:
        """Begin a training job; return its name. ``given`` are hyperparameters."""
        name = self.name("job")
        request = self.job_request(data, seconds, **given)
        definitions = [{"Name": key, "Regex": regex} for key, regex in (metrics or {}).items()]
        request["AlgorithmSpecification"]["MetricDefinitions"] = definitions
        self.sagemaker.create_training_job(TrainingJobName=name, **request)
        return name

    def job(self, name: str) -> dict[str, Any]:
        """Return the description of a job."""
        return dict(self.sagemaker.describe_training_job(TrainingJobName=name))

    def ended(self, name: str) -> dict[str, Any]:
        """Wait until a job has ended; return its description."""
        self.until(lambda: self.job(name)["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"))
        return self.job(name)

    def model(self, data: str | None = None, **environment: str) -> str:
        """Make a model of the image; return its name."""
        name = self.name("model")
        container = {"Image": self.image, "ModelDataUrl": data or self.base, "Environment": environment}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=self.settings.role_arn, PrimaryContainer=container)
        return name

    def variant(self, name: str, model: str, weight: float = 1.0, count: int = 1) -> dict[str, Any]:
        """Return a production variant."""
        return {
            "VariantName": name,
            "ModelName": model,
            "InitialInstanceCount": count,
            "InstanceType": self.settings.serving_instance,
            "InitialVariantWeight": weight,
        }

    def config_of(self, *variants: dict[str, Any], **given: Any) -> str:
        """Make an endpoint config; return its name."""
        name = self.name("config")
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=list(variants), **given)
        return name

    def config(self, **weights: float) -> str:
        """Make an endpoint config with a variant of the base model for each keyword; return its name."""
        model = self.model()
        return self.config_of(*(self.variant(key, model, weight) for key, weight in weights.items()))

    def begun(self, config: str) -> str:
        """Begin to make an endpoint; return its name."""
        name = self.name("endpoint")
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return name

    def endpoint(self, **weights: float) -> str:
        """Make an endpoint, and wait until it is in service; return its name."""
        name = self.begun(self.config(**(weights or {"v1": 1})))
        self.in_service(name)
        return name

    def in_service(self, name: str) -> dict[str, Any]:
        """Wait until an endpoint no longer changes; return its description."""
        done = ("InService", "Failed")
        self.until(lambda: self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] in done)
        described = dict(self.sagemaker.describe_endpoint(EndpointName=name))
        assert described["EndpointStatus"] == "InService", described
        return described

    def delete(self, endpoint: str) -> None:
        """Begin to delete an endpoint."""
        self.sagemaker.delete_endpoint(EndpointName=endpoint)

    def ask(self, endpoint: str, images: NDArray[Any] | None = None, **given: Any) -> dict[str, Any]:
        """Ask an endpoint; return the answer as boto3 gives it, with the body read."""
        body = npy(np.zeros((1, 784), np.uint8) if images is None else images)
        arguments = {"Body": body, "ContentType": NPY, "Accept": NPY} | given
        answer = dict(self.runtime.invoke_endpoint(EndpointName=endpoint, **arguments))
        return answer | {"Body": answer["Body"].read()}

    def group(self) -> str:
        """Make a model package group; return its name."""
        name = self.name("group")
        self.sagemaker.create_model_package_group(ModelPackageGroupName=name, ModelPackageGroupDescription="conformance")
        return name

    def package(self, group: str, **given: Any) -> str:
        """Register a package of the base model; return its ARN."""
        specification = {
            "Containers": [{"Image": self.image, "ModelDataUrl": self.base}],
            "SupportedContentTypes": [NPY],
            "SupportedResponseMIMETypes": [NPY],
        }
        made = self.sagemaker.create_model_package(ModelPackageGroupName=group, InferenceSpecification=specification, **given)
        return str(made["ModelPackageArn"])

    def clean_up(self) -> None:
        """Delete all resources that were made, the last first; those that are already gone are skipped."""
        sagemaker = self.sagemaker
        packages = sagemaker.get_paginator("list_model_packages")

        def group(name: str) -> None:
            for page in packages.paginate(ModelPackageGroupName=name):
                for package in page["ModelPackageSummaryList"]:
                    sagemaker.delete_model_package(ModelPackageName=package["ModelPackageArn"])
            sagemaker.delete_model_package_group(ModelPackageGroupName=name)

        def endpoint(name: str) -> None:
            busy = ("Creating", "Updating")
            self.until(lambda: sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] not in busy)
            sagemaker.delete_endpoint(EndpointName=name)

        ways: dict[str, Callable[[str], Any]] = {
            "endpoint": endpoint,
            "config": lambda name: sagemaker.delete_endpoint_config(EndpointConfigName=name),
            "model": lambda name: sagemaker.delete_model(ModelName=name),
            "group": group,
            "job": lambda name: sagemaker.stop_training_job(TrainingJobName=name),
            "processing": lambda name: sagemaker.stop_processing_job(ProcessingJobName=name),
            "tuning": lambda name: sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
            "transform": lambda name: sagemaker.stop_transform_job(TransformJobName=name),
        }
        for kind, name in reversed(self._made):
            with contextlib.suppress(ClientError):
                ways[kind](name)
        pages = self.s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.settings.bucket, Prefix=f"conformance/{self.run}/"):
            for entry in page.get("Contents", []):
                self.s3.delete_object(Bucket=self.settings.bucket, Key=entry["Key"])


def channel(name: str, uri: str) -> dict[str, Any]:
    """Return an input channel."""
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}
