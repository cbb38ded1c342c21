"""Makes, changes and asks the SageMaker endpoints of batch models, without a gap in their answers (way 3, REBUILD).

Models and endpoint configurations are immutable and named after their content, so each step can be repeated: what exists is
left as it is. A production variant is named after its version, and so every answer says which version gave it.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import boto3
import numpy as np
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from contracts.events import DIGITS, EndpointSeen, ModelPublished, VariantSeen, variant_of, version_of
from contracts.npy import probabilities_of
from contracts.prices import PricesUnreadable, UnknownInstance
from contracts.settings import Settings
from producers.blobs import DIGEST_VARIABLE, read_whole
from producers.price_file import read_prices
from trainers.jobs import PATIENT, Pause, is_absent

NPY: Final = "application/x-npy"
MAX_WAIT_S: Final = 1800.0
"""How long an endpoint may take to come into service: on AWS it takes minutes, here a second or two."""
BLANK: Final = np.zeros((1, 784), np.uint8)
MAX_HEAD: Final = 4096
"""The most bytes of an answer to read besides its rows: the head of a .npy body is shorter."""
MAX_ROW: Final = DIGITS * 8
_NO_ANSWER: Final = ("ModelError", "ModelNotReadyException", "ValidationError")
"""Errors that mean that a variant is broken or missing, while SageMaker itself is well."""
_CHANGING: Final = ("Creating", "Updating", "SystemUpdating", "RollingBack")


class ServingFailed(RuntimeError):
    """An endpoint does not serve the versions that it should; the message says why."""


def endpoint_of(model: str) -> str:
    """Return the name of the endpoint that answers players."""
    return f"gamenight-{model}"


class Serving:
    """Manages the endpoints of one SageMaker."""

    def __init__(self, settings: Settings, pause: Pause) -> None:
        """Keep the settings; nothing connects before the first call."""
        self._settings = settings
        self._pause = pause
        self._sagemaker: Any = boto3.client("sagemaker", config=PATIENT, **settings.aws("sagemaker"))
        self._runtime: Any = boto3.client("sagemaker-runtime", config=PATIENT, **settings.aws("sagemaker-runtime"))

    def serve(self, endpoint: str, first: ModelPublished, others: Sequence[ModelPublished] = (), *, only: bool = False) -> None:
        """Start to make an endpoint serve some versions, all traffic to the first; do nothing if it does already.

        If all of them are on the endpoint, only weights change, at once; else all of its servers are started anew beside the
        old ones. `ready` waits for it. Twice is harmless.

        Args:
            endpoint: Its name.
            first: The version that answers requests that name no variant.
            others: The versions that answer only requests that name them.
            only: Whether to take off all other versions now; else they stay until the servers are started anew.
        """
        wanted = {variant_of(version.version): float(version is first) for version in (first, *others)}
        there = self._steady(endpoint)
        if there is None:
            self._sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=self._config(endpoint, first, others))
            return
        has = _weights(there)
        if not wanted.keys() <= has.keys() or (only and wanted.keys() != has.keys()):
            config = self._config(endpoint, first, others)
            self._sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)
        elif any(weight != wanted.get(variant, 0.0) for variant, weight in has.items()):
            shifted = [{"VariantName": variant, "DesiredWeight": wanted.get(variant, 0.0)} for variant in has]
            self._sagemaker.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=shifted)

    def ready(
        self,
        endpoint: str,
        first: ModelPublished,
        others: Sequence[ModelPublished] = (),
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait until an endpoint serves these versions, all traffic to the first, and each of them has answered.

        Args:
            endpoint: Its name.
            first: The version that answers requests that name no variant.
            others: The versions that answer only requests that name them.
            look: Is called now and then meanwhile; what it raises ends the wait, which takes minutes on AWS.

        Raises:
            ServingFailed: If that does not happen.
        """
        there = self._settled(endpoint, look)
        has = _weights(there)
        wanted = [variant_of(version.version) for version in (first, *others)]
        missing = [one for one in wanted if has.get(one) != float(one == wanted[0])]
        if there["EndpointStatus"] != "InService" or missing:
            why = there.get("FailureReason", "no reason given")
            lacks = f"does not serve {', '.join(missing)}" if missing else "serves nobody"
            raise ServingFailed(f"endpoint {endpoint} is {there['EndpointStatus']} and {lacks}: {why}")
        for version in (first, *others):
            self.ask_blank(endpoint, version)

    def ask(self, endpoint: str, rasters: NDArray[np.uint8], variant: str) -> NDArray[np.float64]:
        """Ask an endpoint for the probabilities of rasters, shape (n, 10); each row is at least 0 and adds up to 1.

        Args:
            endpoint: The endpoint that is asked.
            rasters: Shape (n, 784).
            variant: The production variant that shall answer.

        Raises:
            ServingFailed: If it did not answer, or another variant did, or not with probabilities.
        """
        self._pause(0)
        body = io.BytesIO()
        np.save(body, rasters)

        def answered() -> tuple[str, bytes]:
            answer = self._runtime.invoke_endpoint(
                EndpointName=endpoint, Body=body.getvalue(), ContentType=NPY, Accept=NPY, TargetVariant=variant
            )
            told = answer["Body"].read(MAX_HEAD + len(rasters) * MAX_ROW + 1)
            answer["Body"].read(1)  # raises if that was not all that was announced
            return answer["InvokedProductionVariant"], told

        try:
            by, told = read_whole(answered)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NO_ANSWER:
                raise ServingFailed(f"{variant} on endpoint {endpoint}: {error.response['Error']['Message']}") from error
            raise
        if by != variant:
            raise ServingFailed(f"endpoint {endpoint} answered as {by}, not as {variant}")
        try:
            return probabilities_of(told, len(rasters))
        except ValueError as wrong:
            raise ServingFailed(f"{variant} on endpoint {endpoint} gave an answer {wrong}") from wrong

    def ask_blank(self, endpoint: str, version: ModelPublished) -> None:
        """Check that a version answers. Raises `ServingFailed`."""
        self.ask(endpoint, BLANK, variant_of(version.version))

    def weights(self, endpoint: str) -> dict[str, float]:
        """Return the production variants of an endpoint with their weights; none if it is not in service."""
        there = self._describe(endpoint)
        if there and there["EndpointStatus"] in _CHANGING:
            there = self._settled(endpoint)
        return _weights(there) if there and there["EndpointStatus"] == "InService" else {}

    def stamps(self) -> dict[str, tuple[str, datetime]]:
        """Return the status and the last change of every endpoint of this game, in one call."""
        pages = self._sagemaker.get_paginator("list_endpoints").paginate(
            NameContains=endpoint_of(""), PaginationConfig={"PageSize": 100}
        )
        return {
            one["EndpointName"]: (one["EndpointStatus"], one["LastModifiedTime"]) for page in pages for one in page["Endpoints"]
        }

    def seen(self, model: str) -> EndpointSeen | None:
        """Return a model's endpoint as it is now; None if it does not exist."""
        endpoint = endpoint_of(model)
        there = self._describe(endpoint)
        if there is None:
            return None
        config = self._there(self._sagemaker.describe_endpoint_config, EndpointConfigName=there["EndpointConfigName"]) or {}
        kinds = {one["VariantName"]: one.get("InstanceType", "") for one in config.get("ProductionVariants", ())}
        variants = [
            VariantSeen(
                variant=one["VariantName"],
                version=version_of(one["VariantName"]),
                weight=one.get("CurrentWeight", 0.0),
                instances=one.get("CurrentInstanceCount", 0),
                instance_type=kinds.get(one["VariantName"], ""),
            )
            for one in there.get("ProductionVariants", ())
        ]
        return EndpointSeen(
            model=model,
            version=next((one.version for one in variants if one.weight > 0), "none"),
            endpoint=endpoint,
            arn=there["EndpointArn"],
            status=there["EndpointStatus"],
            reason=there.get("FailureReason", ""),
            created=there["CreationTime"],
            modified=there["LastModifiedTime"],
            variants=variants,
            cost_per_hour_usd=self._dollars_per_hour(variants),
        )

    def _dollars_per_hour(self, variants: Sequence[VariantSeen]) -> float | None:
        """Return what an endpoint costs; None: the price is not known, and `gamenight costs` says why."""
        try:
            return float(read_prices(self._settings).endpoint((one.instance_type, one.instances) for one in variants))
        except (UnknownInstance, PricesUnreadable):
            return None

    def retire(self, endpoint: str, first: ModelPublished, others: Sequence[ModelPublished] = ()) -> None:
        """Delete an endpoint and its config; the models stay."""
        if self._describe(endpoint):
            self._delete(endpoint)
        self._sagemaker.delete_endpoint_config(EndpointConfigName=_config_name(endpoint, first, others))

    def discard(self, endpoint: str) -> None:
        """Delete an endpoint and its config, whatever it serves; if there is none, nothing happens."""
        there = self._describe(endpoint)
        if there is not None:
            self._delete(endpoint)
            self._sagemaker.delete_endpoint_config(EndpointConfigName=there["EndpointConfigName"])

    def _delete(self, endpoint: str) -> None:
        if (self._describe(endpoint) or {}).get("EndpointStatus") != "Deleting":
            self._sagemaker.delete_endpoint(EndpointName=endpoint)
        for _ in self._patiently():
            if self._describe(endpoint) is None:
                return
        raise ServingFailed(f"endpoint {endpoint} is still being deleted after {MAX_WAIT_S:.0f} s")

    def _steady(self, endpoint: str) -> dict[str, Any] | None:
        """Return an endpoint that can be changed; None if there is none. One that had failed is deleted first."""
        there = self._describe(endpoint)
        if there and there["EndpointStatus"] in _CHANGING:
            there = self._settled(endpoint)
        if there and there["EndpointStatus"] != "InService":
            self._delete(endpoint)
            return None
        return there

    def _settled(self, endpoint: str, look: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Wait until an endpoint is no longer changing, and return it."""
        for _ in self._patiently():
            look()
            there = self._describe(endpoint)
            if there is None:
                raise ServingFailed(f"endpoint {endpoint} was deleted meanwhile")
            if there["EndpointStatus"] not in _CHANGING:
                return there
        raise ServingFailed(f"endpoint {endpoint} is not in service after {MAX_WAIT_S:.0f} s")

    def _patiently(self) -> Any:
        """Yield at growing intervals, from 50 ms to 5 s, for `MAX_WAIT_S`."""
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
            if is_absent(error):
                return None
            raise
        return found

    def _config(self, endpoint: str, first: ModelPublished, others: Sequence[ModelPublished]) -> str:
        """Return the name of the endpoint config that serves these versions; make it and its models if they do not exist."""
        name = _config_name(endpoint, first, others)
        if self._there(self._sagemaker.describe_endpoint_config, EndpointConfigName=name):
            return name
        for version in (first, *others):
            if not self._there(self._sagemaker.describe_model, ModelName=_model_name(version)):
                self._sagemaker.create_model(
                    ModelName=_model_name(version),
                    PrimaryContainer={
                        "Image": self._settings.image_uri(version.model),
                        "ModelDataUrl": version.artifact,
                        "Environment": {DIGEST_VARIABLE: version.digest},
                    },
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
                    "InitialVariantWeight": float(version is first),
                }
                for version in (first, *others)
            ],
        )
        return name


def _weights(there: dict[str, Any]) -> dict[str, float]:
    return {one["VariantName"]: float(one["CurrentWeight"]) for one in there.get("ProductionVariants", ())}


def _config_name(endpoint: str, first: ModelPublished, others: Sequence[ModelPublished]) -> str:
    """Return a name of at most 63 characters, which differs for every different content."""
    names = [_model_name(first), *sorted(_model_name(version) for version in others)]
    return f"{endpoint}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}"


def _model_name(version: ModelPublished) -> str:
    return f"gamenight-{version.model}-{variant_of(version.version)}-{version.digest[:8]}"
