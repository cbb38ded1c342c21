"""Batch versions behind SageMaker endpoints, through the genuine sagemaker-runtime client (way 1, ANSWER)."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import boto3
import numpy as np
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from numpy.typing import NDArray

from contracts.events import DIGITS
from contracts.ports import Answer, EndpointDown
from contracts.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

NPY: Final = "application/x-npy"


class SageMakerEndpoint:
    """One endpoint: see contracts.ports.Endpoint. For any thread."""

    def __init__(self, runtime: "SageMakerRuntimeClient", name: str) -> None:
        self._runtime = runtime
        self._name = name

    def predict(self, rasters: NDArray[np.uint8]) -> Answer:
        """Ask about ``rasters``, shape (n, 784).

        Raises:
            EndpointDown: If it did not answer in time, or with an error, or with something that is no set of probabilities.
        """
        body = io.BytesIO()
        np.save(body, rasters, allow_pickle=False)
        try:
            response = self._runtime.invoke_endpoint(EndpointName=self._name, ContentType=NPY, Accept=NPY, Body=body.getvalue())
            said = response["Body"].read()
        except (BotoCoreError, ClientError) as error:
            raise EndpointDown(f"{self._name}: {error}") from error
        return Answer(_probabilities(self._name, said, len(rasters)), response["InvokedProductionVariant"])


def sagemaker_endpoints(settings: Settings) -> Callable[[str], SageMakerEndpoint]:
    """What opens endpoints by name, over one client that keeps its connections; nothing connects before the first call."""
    timeout_s = settings.endpoint_timeout_ms / 1000
    runtime: SageMakerRuntimeClient = boto3.client(
        "sagemaker-runtime",
        config=Config(
            connect_timeout=min(timeout_s, 1.0),
            read_timeout=timeout_s,
            retries={"total_max_attempts": 1},  # the router retries, and only what is worth it
            tcp_keepalive=True,
        ),
        **settings.aws("sagemaker-runtime"),
    )
    return lambda name: SageMakerEndpoint(runtime, name)


def _probabilities(endpoint: str, said: bytes, n: int) -> NDArray[np.float64]:
    """What was said, if it is ``n`` rows of probabilities.

    Raises:
        EndpointDown: If it is not.
    """
    try:
        shares = np.asarray(np.load(io.BytesIO(said), allow_pickle=False), dtype=np.float64)
    except (ValueError, EOFError, OSError, TypeError) as error:
        raise EndpointDown(f"{endpoint}: its answer is no array: {error}") from error
    if shares.shape != (n, DIGITS):
        raise EndpointDown(f"{endpoint}: an answer of shape {shares.shape} to {n} drawings")
    if not (np.isfinite(shares).all() and (shares >= 0).all() and np.abs(shares.sum(axis=1) - 1).max(initial=0) < 1e-3):
        raise EndpointDown(f"{endpoint}: an answer that is no set of probabilities")
    scaled: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return scaled
