"""What the local SageMaker does about scaling policies: servers come and go, through boto3 and requests to real servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from contracts.settings import Settings
from deploy.local.archive import free_ports
from deploy.local.keys import with_secrets
from deploy.local.sagemaker.app import http_server
from deploy.local.sagemaker.scaling import IN_MINUTES, OUT_MINUTES
from tests.contract.sagemaker_stage import Played, Stage, until

VARIANT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/e/variant/v",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def tracking(target: float, **more: Any) -> dict[str, Any]:
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    told = {"TargetValue": target, "PredefinedMetricSpecification": metric, **more}
    return {"PolicyName": "p", "PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": told}


class Asked:
    """boto3's client of Application Auto Scaling, in a thread, against a service that runs in the test."""

    def __init__(self, settings: Settings) -> None:
        self._client: Any = boto3.client("application-autoscaling", **settings.aws("application-autoscaling"))

    async def __call__(self, operation: str, **given: Any) -> dict[str, Any]:
        named = {} if operation == "describe_scalable_targets" else VARIANT  # this one names several
        return dict(await asyncio.to_thread(getattr(self._client, operation), **(named | given)))


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(tmp_path, monkeypatch)
    [port] = free_ports(1)
    made.settings = with_secrets(Settings(home=tmp_path, aws_services="local", sagemaker_port=port))  # type: ignore[arg-type]
    return made


@asynccontextmanager
async def asked(stage: Stage, played: Played) -> AsyncIterator[Asked]:
    server = http_server(played.service, stage.settings)
    await server.open("127.0.0.1", stage.settings.sagemaker_port)
    try:
        yield Asked(stage.settings)
    finally:
        await server.close(patience_s=0.5)


async def minute(played: Played, requests: int) -> None:
    """Let a minute with some requests pass."""
    for _ in range(requests):
        assert await played.ask("e") == "v"
    played.service.scaling.look()


async def counts(played: Played) -> tuple[int, int]:
    """How many servers the variant has and should have."""
    [variant] = (await played("DescribeEndpoint", EndpointName="e"))["ProductionVariants"]
    return variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]


async def test_traffic_above_the_target_adds_servers_and_traffic_below_removes_them(stage: Stage) -> None:
    async with stage.service() as played, asked(stage, played) as scaling:
        await played.model("v")
        await played.config("c", v=1)
        await played.endpoint("e", "c")
        await scaling("register_scalable_target", MinCapacity=1, MaxCapacity=2)
        await scaling("put_scaling_policy", **tracking(3, ScaleOutCooldown=0, ScaleInCooldown=0))

        for _ in range(OUT_MINUTES):
            assert await counts(played) == (1, 1)
            await minute(played, 7)

        await asyncio.sleep(0)
        assert await counts(played) == (1, 2), "the second server starts"
        await played.settled("e")
        assert await counts(played) == (2, 2)
        assert len(played.service.invoking.serving["e"][0].servers) == 2

        async def done() -> list[dict[str, Any]]:
            told = (await scaling("describe_scaling_activities"))["ScalingActivities"]
            return [one for one in told if one["StatusCode"] != "InProgress"]

        async with asyncio.timeout(90):
            while not (activities := await done()):
                await asyncio.sleep(0.01)
        assert (activities[0]["StatusCode"], activities[0]["Description"]) == (
            "Successful",
            "Setting desired instance count to 2.",
        )
        assert "triggered policy p" in activities[0]["Cause"]

        for _ in range(IN_MINUTES):
            await minute(played, 1)
        await asyncio.sleep(0)
        await played.settled("e")
        assert await counts(played) == (1, 1)


async def test_what_was_registered_is_there_after_a_kill_and_goes_with_its_endpoint(stage: Stage) -> None:
    async with stage.service(killed=True) as played, asked(stage, played) as scaling:
        await played.model("v")
        await played.config("c", v=1)
        await played.endpoint("e", "c")
        await scaling("register_scalable_target", MinCapacity=1, MaxCapacity=2)
        await scaling("put_scaling_policy", **tracking(0.5))

    async with stage.service() as played, asked(stage, played) as scaling:
        await played.settled("e")
        played.service.scaling.minute_s = 0.1
        played.service.scaling.begin()
        async with asyncio.timeout(90):
            while await counts(played) != (2, 2):
                await played.ask("e")
        await played("DeleteEndpoint", EndpointName="e")
        await until(lambda: not played.service.state.all("scalable-target"))
        assert (await scaling("describe_scaling_policies"))["ScalingPolicies"] == []
        await played.service.scaling.close()


@pytest.mark.parametrize(
    ("operation", "given", "told"),
    [
        ("put_scaling_policy", {"PolicyName": "p", "PolicyType": "StepScaling"}, "StepScaling is not on this machine"),
        (
            "put_scaling_policy",
            tracking(1, PredefinedMetricSpecification={"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}),
            "ECSServiceAverageCPUUtilization is not on this machine",
        ),
        ("put_scaling_policy", tracking(1, CustomizedMetricSpecification={}), "CustomizedMetricSpecification is not on"),
        ("put_scaling_policy", tracking(0), "above 0"),
        ("put_scaling_policy", tracking(float("nan")), "argetValue"),
        ("put_scaling_policy", tracking(1, ScaleInCooldown=-1), "ScaleInCooldown"),
        ("describe_scalable_targets", {"ServiceNamespace": "ecs"}, "ServiceNamespace ecs is not on this machine"),
        ("describe_scalable_targets", {"ServiceNamespace": "sagemaker", "NextToken": "???"}, "InvalidNextToken"),
    ],
)
async def test_what_is_not_on_this_machine_is_refused_by_name(
    stage: Stage, operation: str, given: dict[str, Any], told: str
) -> None:
    async with stage.service() as played, asked(stage, played) as scaling:
        target = {**VARIANT, "MinCapacity": 1, "MaxCapacity": 2, "SuspendedState": {}}
        played.service.state.put("scalable-target", VARIANT["ResourceId"], target)
        with pytest.raises(ClientError, match=told):
            await scaling(operation, **given)
