"""Batch versions behind SageMaker endpoints: InvokeEndpoint on the event loop (way 1, ANSWER).

Signed by botocore's own Signature Version 4 with botocore's own credentials, so the same here and on AWS; sent by aiohttp
instead of boto3's client, which costs a thread and six times the processor (docs/decisions/0008-invoking.md).
"""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import botocore.session
import numpy as np
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from numpy.typing import NDArray

from contracts.events import DIGITS
from contracts.ports import Answer, EndpointDown, EndpointSilent
from contracts.settings import Settings

NPY: Final = "application/x-npy"
_VARIANT: Final = "x-Amzn-Invoked-Production-Variant"


class SageMakerEndpoint:
    """One endpoint: see contracts.ports.Endpoint."""

    def __init__(self, runtime: "Runtime", name: str) -> None:
        self._runtime = runtime
        self._name = name

    async def predict(self, rasters: NDArray[np.uint8], variant: str | None = None) -> Answer:
        """Ask about ``rasters``, shape (n, 784).

        Raises:
            EndpointDown: If it did not answer in time, or with an error, or with something that is no set of probabilities.
        """
        body = io.BytesIO()
        np.lib.format.write_array(body, np.ascontiguousarray(rasters), allow_pickle=False)
        said, answered = await self._runtime.invoke(self._name, body.getvalue(), variant)
        return Answer(_probabilities(self._name, said, len(rasters)), answered)


class Runtime:
    """The sagemaker-runtime of some settings. For one event loop; nothing connects before the first call."""

    def __init__(self, settings: Settings) -> None:
        """Credentials are those of the settings, else those that botocore finds."""
        place = settings.aws("sagemaker-runtime")
        self._url = place["endpoint_url"].rstrip("/")
        self._region = place["region_name"]
        key, secret = place["aws_access_key_id"], place["aws_secret_access_key"]
        self._credentials: Any = (
            Credentials(key, secret) if key and secret else botocore.session.get_session().get_credentials()
        )
        self._timeout = aiohttp.ClientTimeout(total=settings.endpoint_timeout_ms / 1000)
        self._session: aiohttp.ClientSession | None = None

    async def invoke(self, name: str, body: bytes, variant: str | None) -> tuple[bytes, str]:
        """What an endpoint says to a body, and the production variant that said it.

        Raises:
            EndpointSilent: If it does not answer in time.
            EndpointDown: If it answers with an error, or is not there.
        """
        request = AWSRequest("POST", f"{self._url}/endpoints/{name}/invocations", data=body)
        request.headers["Content-Type"] = request.headers["Accept"] = NPY
        if variant is not None:
            request.headers["X-Amzn-SageMaker-Target-Variant"] = variant
        SigV4Auth(self._credentials.get_frozen_credentials(), "sagemaker", self._region).add_auth(request)
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, auto_decompress=False)
        try:
            async with self._session.post(str(request.url), data=body, headers=dict(request.headers.items())) as response:
                said = await response.read()
        except TimeoutError as late:
            raise EndpointSilent(f"{name} said nothing in {self._timeout.total:g} s") from late
        except aiohttp.ClientError as error:
            raise EndpointDown(f"{name}: {error}") from error
        if response.status != 200:
            raise EndpointDown(f"{name}: {response.status} {_reason(said)}")
        return said, response.headers.get(_VARIANT, "")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)


def sagemaker_endpoints(settings: Settings) -> Callable[[str], SageMakerEndpoint]:
    """What opens endpoints by name, over one session that keeps its connections; nothing connects before the first call."""
    runtime = Runtime(settings)
    return lambda name: SageMakerEndpoint(runtime, name)


def _reason(said: bytes) -> str:
    """AWS's own words for an error."""
    try:
        told = json.loads(said)
        return str(told.get("OriginalMessage") or told.get("Message") or told.get("message"))[:300]
    except (ValueError, AttributeError):
        return said[:300].decode(errors="replace")


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
