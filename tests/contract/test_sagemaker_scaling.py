"""Conformance: scaling policies of endpoints' variants, through boto3's client of Application Auto Scaling."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import Cloud

TRACKED = {
    "TargetValue": 500.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    "ScaleInCooldown": 600,
}


@pytest.fixture(scope="module")
def endpoint(cloud: Cloud) -> str:
    return cloud.endpoint(v1=1, v2=1)


def of(endpoint: str, variant: str = "v1") -> dict[str, Any]:
    """The members by which every operation names a variant."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def test_targets_and_policies_are_kept_changed_listed_and_deleted(cloud: Cloud, endpoint: str) -> None:
    scaling, one, other = cloud.scaling, of(endpoint), of(endpoint, "v2")
    arn = scaling.register_scalable_target(**one, MinCapacity=1, MaxCapacity=2)["ScalableTargetARN"]
    scaling.register_scalable_target(**other, MinCapacity=1, MaxCapacity=3)
    suspended = {"DynamicScalingOutSuspended": True}
    assert scaling.register_scalable_target(**one, MaxCapacity=4, SuspendedState=suspended)["ScalableTargetARN"] == arn

    made = scaling.put_scaling_policy(
        **one, PolicyName="track", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=TRACKED
    )
    slower = TRACKED | {"TargetValue": 900.0}
    again = scaling.put_scaling_policy(
        **one, PolicyName="track", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=slower
    )

    assert made["PolicyARN"] == again["PolicyARN"]
    pages = scaling.get_paginator("describe_scalable_targets").paginate(
        ServiceNamespace="sagemaker",
        ResourceIds=[one["ResourceId"], other["ResourceId"]],
        PaginationConfig={"PageSize": 1},
    )
    targets = {target["ResourceId"]: target for page in pages for target in page["ScalableTargets"]}
    assert {name: (target["MinCapacity"], target["MaxCapacity"]) for name, target in targets.items()} == {
        one["ResourceId"]: (1, 4),
        other["ResourceId"]: (1, 3),
    }
    assert targets[one["ResourceId"]]["SuspendedState"]["DynamicScalingOutSuspended"]
    [policy] = scaling.describe_scaling_policies(**one)["ScalingPolicies"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 900.0
    assert scaling.describe_scaling_policies(**other)["ScalingPolicies"] == []
    assert scaling.describe_scaling_activities(**other)["ScalingActivities"] == []

    scaling.delete_scaling_policy(**one, PolicyName="track")
    assert scaling.describe_scaling_policies(**one)["ScalingPolicies"] == []
    for each in (one, other):
        scaling.deregister_scalable_target(**each)
        with pytest.raises(scaling.exceptions.ObjectNotFoundException):
            scaling.deregister_scalable_target(**each)
        with pytest.raises(scaling.exceptions.ObjectNotFoundException):
            scaling.put_scaling_policy(
                **each, PolicyName="late", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=TRACKED
            )


@pytest.mark.parametrize(
    "wrong",
    [
        {"MinCapacity": 3, "MaxCapacity": 2},
        {"MinCapacity": 1},
        {"MinCapacity": 1, "MaxCapacity": 2, "ResourceId": "endpoint/x"},
    ],
)
def test_a_target_that_cannot_be_is_refused(cloud: Cloud, endpoint: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.scaling.register_scalable_target(**(of(endpoint, "v2") | wrong))


def test_an_endpoint_or_variant_that_is_not_there_has_no_target(cloud: Cloud, endpoint: str) -> None:
    for nowhere in (of("gn-nowhere"), of(endpoint, "v9")):
        with pytest.raises(ClientError, match="ValidationException"):
            cloud.scaling.register_scalable_target(**nowhere, MinCapacity=1, MaxCapacity=2)
