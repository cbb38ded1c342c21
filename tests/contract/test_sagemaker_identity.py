"""Conformance: who is calling and what the role may do, as the SageMaker SDK asks STS and IAM before it trains."""

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import Cloud


def test_the_caller_s_account_is_that_of_the_role(cloud: Cloud) -> None:
    told = cloud.sts.get_caller_identity()

    assert told["Account"] == cloud.account
    assert told["Arn"].split(":")[4] == cloud.account


def test_the_role_is_there_and_sagemaker_may_take_it(cloud: Cloud) -> None:
    name = cloud.settings.role_arn.rpartition("/")[2]

    role = cloud.iam.get_role(RoleName=name)["Role"]

    [trusted] = [one for one in role["AssumeRolePolicyDocument"]["Statement"] if one["Action"] == "sts:AssumeRole"]
    assert (role["Arn"], trusted["Principal"]["Service"]) == (cloud.settings.role_arn, "sagemaker.amazonaws.com")
    pages = cloud.iam.get_paginator("list_roles").paginate(PathPrefix=role["Path"])
    assert name in [one["RoleName"] for page in pages for one in page["Roles"]]
    with pytest.raises(cloud.iam.exceptions.NoSuchEntityException, match="gn-nobody"):
        cloud.iam.get_role(RoleName="gn-nobody")


def test_the_role_may_do_what_a_training_needs(cloud: Cloud) -> None:
    asked = {"ActionNames": ["s3:PutObject", "s3:GetObject"], "ResourceArns": [f"arn:aws:s3:::{cloud.settings.bucket}/*"]}
    pages = cloud.iam.get_paginator("simulate_principal_policy").paginate(PolicySourceArn=cloud.settings.role_arn, **asked)

    found = [one for page in pages for one in page["EvaluationResults"]]

    assert {one["EvalActionName"]: one["EvalDecision"] for one in found} == dict.fromkeys(asked["ActionNames"], "allowed")


@pytest.mark.parametrize("service", ["sts", "iam"])
def test_another_s_signature_is_refused(cloud: Cloud, service: str) -> None:
    wrong: dict[str, Any] = {**cloud.settings.aws(service), "aws_secret_access_key": "wrong"}  # type: ignore[arg-type]
    client: Any = boto3.client(service, config=Config(retries={"total_max_attempts": 1}), **wrong)  # type: ignore[call-overload]
    with pytest.raises(ClientError, match=r"signature|SignatureDoesNotMatch"):
        client.get_caller_identity() if service == "sts" else client.list_roles()
