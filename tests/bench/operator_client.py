"""Acts as an operator of the product under measurement: commands over its API, traffic over the local SageMaker."""

import asyncio
from collections.abc import Sequence
from typing import Any

import boto3
import httpx

from contracts.events import variant_of
from contracts.settings import Settings
from tests.product import Product

Row = dict[str, Any]


class Operator:
    """An operator who steers over the operators' API and the local SageMaker."""

    def __init__(self, game: Product) -> None:
        settings = Settings.load(**game.settings.model_dump(exclude_none=True))
        self._settings = settings
        headers = {"Authorization": f"Bearer {settings.operator_token}"}
        self._http = httpx.AsyncClient(base_url=game.url, headers=headers, timeout=10, trust_env=False)

    async def __aenter__(self) -> "Operator":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def command(self, name: str, body: Row, patience_s: float = 30) -> str:
        """Give a command and wait until it is carried out; return the trainer's message."""
        answer = await self._http.post(f"/api/ops/{name}", json=body)
        answer.raise_for_status()
        command_id = answer.json()["command_id"]
        async with asyncio.timeout(patience_s):
            while True:
                told = (await self._http.get(f"/api/ops/commands/{command_id}")).json()
                if told["outcome"] in ("failed", "refused"):
                    raise RuntimeError(f"{name} {body}: {told}")
                if told["outcome"] == "done":
                    return str(told["message"])
                await asyncio.sleep(0.1)

    async def versions(self, model: str) -> list[str]:
        """Return all versions of a model, the oldest first."""
        listed = (await self._http.get("/api/models")).json()
        return [version["version"] for one in listed if one["model"] == model for version in one["versions"]]

    async def shift(self, endpoint: str, versions: Sequence[str]) -> None:
        """Share an endpoint's traffic half and half between two versions for two seconds, through boto3."""
        sagemaker: Any = boto3.client("sagemaker", **self._settings.aws("sagemaker"))

        async def weigh(weights: Sequence[float]) -> None:
            wishes = [{"VariantName": variant_of(v), "DesiredWeight": w} for v, w in zip(versions, weights, strict=True)]
            await asyncio.to_thread(
                sagemaker.update_endpoint_weights_and_capacities, EndpointName=endpoint, DesiredWeightsAndCapacities=wishes
            )
            await asyncio.to_thread(sagemaker.get_waiter("endpoint_in_service").wait, EndpointName=endpoint)

        await weigh([1, 1])
        await asyncio.sleep(2)
        await weigh([1, 0])
