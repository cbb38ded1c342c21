"""The SageMaker endpoints that batch versions answer at: made, changed without a gap, asked (way 3, REBUILD).

Models and endpoint configurations are immutable and named after what they hold, so each step can be taken again: what is
there is left as it is. A production variant is named after its version, and so every answer says which version gave it.
"""

import io
from collections.abc import Sequence
from typing import Any, Final

import boto3
import numpy as np
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from contracts.events import ModelPublished
from contracts.settings import Settings
from trainers.jobs import PATIENT, Pause
from trainers.standing import variant_of

NPY: Final = "application/x-npy"
MAX_WAIT_S: Final = 1800.0
"""How long an endpoint may take to come into service: on AWS it is minutes, here a second or two."""


class ServingFailed(RuntimeError):
    """An endpoint that did not come to serve what it should; the message says why."""


def endpoint_of(model: str) -> str:
    """The endpoint that answers players."""
    return f"gamenight-{model}"


class Serving:
    """The endpoints of one SageMaker."""

    def __init__(self, settings: Settings, pause: Pause) -> None:
        """Name it; nothing connects before the first call."""
        self._settings = settings
        self._pause = pause
        self._sagemaker: Any = boto3.client("sagemaker", config=PATIENT, **settings.aws("sagemaker"))
        self._runtime: Any = boto3.client("sagemaker-runtime", config=PATIENT, **settings.aws("sagemaker-runtime"))

    def serve(self, endpoint: str, versions: Sequence[ModelPublished]) -> None:
        """Begin to make an endpoint serve these versions, the traffic shared evenly; nothing is done where it does already.

        `ready` waits for it. Twice is harmless.
        """
        config = self._config(endpoint, versions)
        there = self._describe(endpoint)
        if there and there["EndpointStatus"] in ("Failed", "Deleting"):
            self._delete(endpoint)
            there = None
        if there is None:
            self._sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)
        elif there["EndpointConfigName"] != config:
            if there["EndpointStatus"] != "InService":
                self._settled(endpoint)
            self._sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)

    def ready(self, endpoint: str, versions: Sequence[ModelPublished]) -> None:
        """Wait until an endpoint serves these versions, and has answered as each of them.

        Raises:
            ServingFailed: If it does not come to that.
        """
        there = self._settled(endpoint)
        if there["EndpointStatus"] != "InService" or there["EndpointConfigName"] != self._config_name(endpoint, versions):
            raise ServingFailed(
                f"endpoint {endpoint} is {there['EndpointStatus']}: {there.get('FailureReason', 'no reason given')}"
            )
        blank = np.zeros((1, 784), np.uint8)
        for version in versions:
            self.ask(endpoint, blank, variant_of(version.version) if len(versions) > 1 else None, variant_of(version.version))

    def ask(self, endpoint: str, rasters: NDArray[np.uint8], variant: str | None, expected: str) -> NDArray[np.float32]:
        """Probabilities of some rasters, shape (n, 10).

        Args:
            endpoint: Who is asked.
            rasters: Shape (n, 784).
            variant: The production variant that shall answer; None leaves it to the endpoint.
            expected: The variant that must have answered.

        Raises:
            ServingFailed: If another variant answered, or not with probabilities.
        """
        self._pause(0)
        body = io.BytesIO()
        np.save(body, rasters)
        target = {"TargetVariant": variant} if variant else {}
        answer = self._runtime.invoke_endpoint(
            EndpointName=endpoint, Body=body.getvalue(), ContentType=NPY, Accept=NPY, **target
        )
        if answer["InvokedProductionVariant"] != expected:
            raise ServingFailed(f"endpoint {endpoint} answered as {answer['InvokedProductionVariant']}, not as {expected}")
        found: NDArray[np.float32] = np.load(io.BytesIO(answer["Body"].read()), allow_pickle=False)
        if found.shape != (len(rasters), 10):
            raise ServingFailed(f"endpoint {endpoint} answered {found.shape} to {len(rasters)} drawings")
        return found

    def variants(self, endpoint: str) -> list[str]:
        """The production variants of an endpoint, as its configuration has them; none if it is not there."""
        there = self._describe(endpoint)
        if there is None:
            return []
        config = self._sagemaker.describe_endpoint_config(EndpointConfigName=there["EndpointConfigName"])
        return [variant["VariantName"] for variant in config["ProductionVariants"]]

    def retire(self, endpoint: str, versions: Sequence[ModelPublished]) -> None:
        """Delete an endpoint and its configuration; the models stay."""
        if self._describe(endpoint):
            self._delete(endpoint)
        self._sagemaker.delete_endpoint_config(EndpointConfigName=self._config_name(endpoint, versions))

    def _delete(self, endpoint: str) -> None:
        if (self._describe(endpoint) or {}).get("EndpointStatus") != "Deleting":
            self._sagemaker.delete_endpoint(EndpointName=endpoint)
        for _ in self._patiently():
            if self._describe(endpoint) is None:
                return
        raise ServingFailed(f"endpoint {endpoint} is still being deleted after {MAX_WAIT_S:.0f} s")

    def _settled(self, endpoint: str) -> dict[str, Any]:
        """An endpoint, once it is no longer changing."""
        for _ in self._patiently():
            there = self._describe(endpoint)
            if there is None:
                raise ServingFailed(f"endpoint {endpoint} was deleted meanwhile")
            if there["EndpointStatus"] not in ("Creating", "Updating", "SystemUpdating", "RollingBack"):
                return there
        raise ServingFailed(f"endpoint {endpoint} is not in service after {MAX_WAIT_S:.0f} s")

    def _patiently(self) -> Any:
        """Looks at longer and longer distances, from 50 ms to 5 s, for `MAX_WAIT_S`."""
        waited, step = 0.0, 0.05
        while waited < MAX_WAIT_S:
            yield
            self._pause(step)
            waited, step = waited + step, min(5.0, step * 1.2)

    def _describe(self, endpoint: str) -> dict[str, Any] | None:
        return self._there(self._sagemaker.describe_endpoint, EndpointName=endpoint)

    def _there(self, describe: Any, **names: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = describe(**names)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
                return None
            raise
        return found

    def _config(self, endpoint: str, versions: Sequence[ModelPublished]) -> str:
        """The name of the configuration that serves these versions; made, with its models, where it is not there."""
        name = self._config_name(endpoint, versions)
        if self._there(self._sagemaker.describe_endpoint_config, EndpointConfigName=name):
            return name
        for version in versions:
            if not self._there(self._sagemaker.describe_model, ModelName=_model_name(version)):
                self._sagemaker.create_model(
                    ModelName=_model_name(version),
                    PrimaryContainer={"Image": self._settings.image_uri(version.model), "ModelDataUrl": version.artifact},
                    ExecutionRoleArn=self._settings.role_arn,
                )
        self._sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": variant_of(version.version),
                    "ModelName": _model_name(version),
                    "InitialInstanceCount": 1,
                    "InstanceType": self._settings.serving_instance,
                    "InitialVariantWeight": 1.0,
                }
                for version in versions
            ],
        )
        return name

    @staticmethod
    def _config_name(endpoint: str, versions: Sequence[ModelPublished]) -> str:
        names = [f"{variant_of(version.version)}-{version.digest[:8]}" for version in versions]
        return "-".join([endpoint, *names])[:63]


def _model_name(version: ModelPublished) -> str:
    return f"gamenight-{version.model}-{variant_of(version.version)}-{version.digest[:8]}"
