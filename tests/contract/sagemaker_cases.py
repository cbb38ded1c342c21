"""What the SageMaker tests share: small data, clients, and jobs and endpoints made of them."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import numpy as np
from botocore.config import Config
from numpy.typing import NDArray

from contracts.settings import Settings
from producers.blobs import ensure_bucket

NPY = "application/x-npy"
BASE = Path(__file__).resolve().parents[2] / "trainers" / "images" / "xgboost" / "base" / "model.tar.gz"
ROLE = "arn:aws:iam::123456789012:role/gamenight"


def digits(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two kinds of drawings that anything can tell apart, bars: upright are 1, lying are 7. Shapes (count, 784), (count,)."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(count) < 0.5, 1, 7).astype(np.uint8)
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        at = int(rng.integers(10, 17))
        image[(slice(4, 24), slice(at, at + 2)) if label == 1 else (slice(at, at + 2), slice(4, 24))] = 255
    return images.reshape(count, 784), labels


def npz(count: int = 400, **arrays: Any) -> bytes:
    """A channel's file."""
    images, labels = digits(count)
    out = io.BytesIO()
    np.savez(out, **({"images": images, "labels": labels, "weights": np.ones(count, np.float32)} | arrays))
    return out.getvalue()


def npy(images: NDArray[Any]) -> bytes:
    """A body for an endpoint."""
    out = io.BytesIO()
    np.save(out, images)
    return out.getvalue()


def read_npy(body: bytes) -> NDArray[Any]:
    """An endpoint's answer."""
    array: NDArray[Any] = np.load(io.BytesIO(body), allow_pickle=False)
    return array


def eventually(what: Callable[[], Any], within_s: float = 90.0) -> Any:
    """The first true answer, asked for again and again.

    Raises:
        TimeoutError: If there was none in time; the message has the last answer.
    """
    deadline = time.monotonic() + within_s
    while not (answer := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {answer!r} after {within_s} s")
        time.sleep(0.05)
    return answer


class Cloud:
    """Genuine boto3 clients, and the few things that nearly every test makes with them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        once = Config(retries={"total_max_attempts": 1}, read_timeout=30)
        self.sagemaker: Any = boto3.client("sagemaker", config=once, **settings.aws("sagemaker"))
        self.runtime: Any = boto3.client("sagemaker-runtime", config=once, **settings.aws("sagemaker-runtime"))
        self.logs: Any = boto3.client("logs", config=once, **settings.aws("logs"))
        self.s3: Any = boto3.client("s3", **settings.aws("s3"))

    @property
    def base(self) -> str:
        """Where the base model is in S3; it is put there at the first call."""
        key = "tests/base/model.tar.gz"
        ensure_bucket(self.settings)
        self.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=BASE.read_bytes())
        return f"s3://{self.settings.bucket}/{key}"

    def put(self, data: bytes) -> str:
        """Put a channel's file into a folder of its own in S3; the URI of that folder."""
        ensure_bucket(self.settings)
        folder = f"tests/{uuid4()}/"
        self.s3.put_object(Bucket=self.settings.bucket, Key=f"{folder}data.npz", Body=data)
        return f"s3://{self.settings.bucket}/{folder}"

    def train(self, data: str | None = None, seconds: int = 120, metrics: dict[str, str] | None = None, **given: Any) -> str:
        """Begin a training job; its name. ``given`` are hyperparameters."""
        name = f"job-{uuid4()}"
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=ROLE,
            AlgorithmSpecification={
                "TrainingImage": self.settings.image_uri("xgboost"),
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": key, "Regex": regex} for key, regex in (metrics or {}).items()],
            },
            HyperParameters={"rounds": "3", "nthread": "1"} | {key: str(value) for key, value in given.items()},
            InputDataConfig=[channel("train", data or self.put(npz()))],
            OutputDataConfig={"S3OutputPath": f"s3://{self.settings.bucket}/tests/output"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": seconds},
        )
        return name

    def job(self, name: str) -> dict[str, Any]:
        """A job as it is."""
        return dict(self.sagemaker.describe_training_job(TrainingJobName=name))

    def ended(self, name: str) -> dict[str, Any]:
        """A job once it has ended."""
        eventually(lambda: self.job(name)["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"))
        return self.job(name)

    def model(self, data: str | None = None, **environment: str) -> str:
        """A model of the image; its name."""
        name = f"model-{uuid4()}"
        container = {"Image": self.settings.image_uri("xgboost"), "ModelDataUrl": data or self.base, "Environment": environment}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        return name

    def config(self, **weights: float) -> str:
        """An endpoint config with a variant for each keyword; its name."""
        name = f"config-{uuid4()}"
        model = self.model()
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[variant(key, model, weight) for key, weight in weights.items()],
        )
        return name

    def endpoint(self, **weights: float) -> str:
        """An endpoint in service; its name."""
        name = f"endpoint-{uuid4()}"
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=self.config(**(weights or {"v1": 1})))
        self.in_service(name)
        return name

    def in_service(self, name: str) -> dict[str, Any]:
        """An endpoint once it has ended what it was at."""
        done = ("InService", "Failed")
        eventually(lambda: self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] in done)
        described = dict(self.sagemaker.describe_endpoint(EndpointName=name))
        assert described["EndpointStatus"] == "InService", described
        return described

    def ask(self, endpoint: str, images: NDArray[Any] | None = None, **given: Any) -> dict[str, Any]:
        """An endpoint's answer as boto3 gives it, the body read."""
        body = npy(np.zeros((1, 784), np.uint8) if images is None else images)
        arguments = {"Body": body, "ContentType": NPY, "Accept": NPY} | given
        answer = dict(self.runtime.invoke_endpoint(EndpointName=endpoint, **arguments))
        return answer | {"Body": answer["Body"].read()}


def channel(name: str, uri: str) -> dict[str, Any]:
    """An input channel."""
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def variant(name: str, model: str, weight: float = 1.0, count: int = 1) -> dict[str, Any]:
    """A production variant."""
    return {
        "VariantName": name,
        "ModelName": model,
        "InitialInstanceCount": count,
        "InstanceType": "ml.m5.large",
        "InitialVariantWeight": weight,
    }
