"""Asks batch models at SageMaker endpoints: InvokeEndpoint on the event loop (way 1, ANSWER).

botocore signs the requests with its own credentials (Signature Version 4), so they are the same here and on AWS; aiohttp sends
them instead of boto3's client, which costs a thread and six times the processor (docs/decisions/0008-invoking.md).
"""

import asyncio
import functools
import io
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp
import botocore.session
import numpy as np
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from contracts.npy import probabilities_of
from contracts.ports import EndpointAnswer, EndpointDown, EndpointSilent
from contracts.settings import Settings
from streams.stage_metrics import EndpointCalls

NPY: Final = "application/x-npy"
MOST_BYTES: Final = 1 << 20
"""The most bytes of an answer: some hundred times what the largest batch needs."""
LOOK_S: Final = 20.0
"""How often to check whether the credentials are still valid; botocore replaces them 10 minutes before their end."""
_VARIANT: Final = "x-Amzn-Invoked-Production-Variant"


class SageMakerEndpoint:
    """One endpoint: see contracts.ports.Endpoint."""

    def __init__(self, runtime: "Runtime", name: str) -> None:
        self._runtime = runtime
        self._name = name

    async def predict(self, rasters: NDArray[np.uint8], variant: str | None = None) -> EndpointAnswer:
        """Ask about ``rasters``, shape (n, 784).

        Raises:
            EndpointDown: If the endpoint did not answer in time, or with an error, or with no set of probabilities.
        """
        body = _head(rasters.shape, rasters.dtype) + rasters.tobytes()
        with self._runtime.calls.call(self._name):
            said, answered = await self._runtime.invoke(self._name, body, variant)
            try:
                return EndpointAnswer(probabilities_of(said, len(rasters)), answered)
            except ValueError as wrong:
                raise EndpointDown(f"{self._name}: an answer {wrong}") from wrong


class Runtime:
    """The connection to the sagemaker-runtime of some settings, for one event loop; nothing connects before the first call."""

    def __init__(self, settings: Settings, calls: EndpointCalls | None = None) -> None:
        """Take address, region and credentials from the settings, else from botocore's default chain.

        Args:
            settings: Where the service is.
            calls: Counts the calls; None: they are counted for nobody.
        """
        self.calls = calls or EndpointCalls(CollectorRegistry())
        place = settings.aws("sagemaker-runtime")
        key, secret, token = (place[f"aws_{name}"] for name in ("access_key_id", "secret_access_key", "session_token"))
        self._url, self._region = place["endpoint_url"], place["region_name"]
        self._found: Any = Credentials(key, secret, token) if key and secret else None
        self._credentials: Any = None
        """The credentials that sign calls; None: the next call looks for some."""
        self._until = 0.0
        self._looking = asyncio.Lock()
        self._timeout = aiohttp.ClientTimeout(total=settings.endpoint_timeout_ms / 1000)
        self._session: aiohttp.ClientSession | None = None

    async def invoke(self, name: str, body: bytes, variant: str | None) -> tuple[bytes, str]:
        """Send a body to an endpoint; returns its answer, and the production variant that gave it.

        Raises:
            EndpointSilent: If the endpoint does not answer in time.
            EndpointDown: If it answers with an error, or does not exist, or there are no credentials to ask it with.
        """
        try:
            request = await self._signed(name, body, variant)
        except Exception as wrong:  # each of the places where botocore looks for credentials fails in its own way
            raise EndpointDown(f"{name} cannot be asked: {wrong}") from wrong
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, auto_decompress=False)
        said = bytearray()
        try:
            async with self._session.post(str(request.url), data=body, headers=dict(request.headers.items())) as response:
                async for part in response.content.iter_any():
                    said += part
                    if len(said) > MOST_BYTES:
                        raise EndpointDown(f"{name}: an answer of over {MOST_BYTES} bytes")
        except TimeoutError as late:
            raise EndpointSilent(f"{name} said nothing in {self._timeout.total:g} s") from late
        except aiohttp.ClientError as error:
            raise EndpointDown(f"{name}: {error}") from error
        if response.status != 200:
            raise EndpointDown(f"{name}: {response.status} {_reason(bytes(said))}")
        return bytes(said), response.headers.get(_VARIANT, "")

    async def _signed(self, name: str, body: bytes, variant: str | None) -> AWSRequest:
        await self._look()
        request = AWSRequest("POST", f"{self._url.rstrip('/')}/endpoints/{name}/invocations", data=body)
        request.headers["Content-Type"] = request.headers["Accept"] = NPY
        if variant is not None:
            request.headers["X-Amzn-SageMaker-Target-Variant"] = variant
        SigV4Auth(self._credentials, "sagemaker", self._region).add_auth(request)
        return request

    async def _look(self) -> None:
        """Look for credentials that are valid for a while.

        Those of a role or a session expire, and botocore fetches new ones over the network some minutes before: not on the
        loop.
        """
        if time.monotonic() < self._until:
            return
        async with self._looking:
            if time.monotonic() >= self._until:
                self._credentials = await asyncio.to_thread(self._found_now)
                self._until = time.monotonic() + LOOK_S

    def _found_now(self) -> Any:
        if self._found is None or not self._url or not self._region:
            session = botocore.session.get_session()
            self._found = self._found or session.get_credentials()
            if not self._url or not self._region:
                runtime = session.create_client("sagemaker-runtime", region_name=self._region, endpoint_url=self._url)
                self._url, self._region = runtime.meta.endpoint_url, runtime.meta.region_name
        if self._found is None:
            raise NoCredentialsError
        return self._found.get_frozen_credentials()

    async def close_after(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run work that uses these connections, and close all of them when it ends, however it ends."""
        try:
            await work()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)


@functools.lru_cache(maxsize=256)
def _head(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return the head of a .npy body in C order; it is kept, since numpy takes a while to write it."""
    out = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, described)
    return out.getvalue()


def _reason(said: bytes) -> str:
    """Return AWS's own text of an error."""
    try:
        told = json.loads(said)
        return str(told.get("OriginalMessage") or told.get("Message") or told.get("message"))[:300]
    except (ValueError, AttributeError):
        return said[:300].decode(errors="replace")
