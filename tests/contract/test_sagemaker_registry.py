"""Conformance: model packages, tags, and the door: what boto3 gets from the model registry, and who is let in at all."""

import urllib.error
import urllib.request
from uuid import uuid4

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import Cloud


def test_packages_of_a_group_are_numbered_approved_and_listed_newest_first(cloud: Cloud) -> None:
    group = cloud.group()
    first = cloud.package(group, ModelApprovalStatus="PendingManualApproval")
    arn = cloud.sagemaker.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"]
    second = cloud.package(arn, ModelPackageDescription="by the group's ARN")
    assert first.endswith(f"/{group}/1")
    assert second.endswith(f"/{group}/2")

    cloud.sagemaker.update_model_package(
        ModelPackageArn=first, ModelApprovalStatus="Approved", CustomerMetadataProperties={"accuracy": "0.99"}
    )

    described = cloud.sagemaker.describe_model_package(ModelPackageName=first)
    assert (described["ModelApprovalStatus"], described["ModelPackageVersion"]) == ("Approved", 1)
    assert described["ModelPackageStatus"] == "Completed"
    assert described["CustomerMetadataProperties"] == {"accuracy": "0.99"}
    listed = cloud.sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    assert [one["ModelPackageArn"] for one in listed] == [second, first]
    approved = cloud.sagemaker.list_model_packages(ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    assert [one["ModelPackageArn"] for one in approved["ModelPackageSummaryList"]] == [first]
    several = cloud.sagemaker.batch_describe_model_package(ModelPackageArnList=[first, f"{first}9"])
    assert list(several["ModelPackageSummaries"]) == [first]
    assert list(several["BatchDescribeModelPackageErrorMap"]) == [f"{first}9"]


def test_a_request_that_is_sent_again_makes_no_second_package(cloud: Cloud) -> None:
    """botocore sends it again, with the same token, when the service is killed before it has answered."""
    group, token = cloud.group(), str(uuid4())
    first = cloud.package(group, ClientToken=token)

    assert cloud.package(group, ClientToken=token) == first
    assert cloud.package(group).endswith(f"/{group}/2")


def test_a_number_is_not_given_again_and_a_full_group_is_kept(cloud: Cloud) -> None:
    group = cloud.group()
    package = cloud.package(group)
    with pytest.raises(cloud.sagemaker.exceptions.ConflictException, match="contains model packages"):
        cloud.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    cloud.sagemaker.delete_model_package(ModelPackageName=package)
    with pytest.raises(ClientError, match="does not exist"):
        cloud.sagemaker.describe_model_package(ModelPackageName=package)

    again = cloud.package(group)

    assert again.endswith(f"/{group}/2")
    cloud.sagemaker.delete_model_package(ModelPackageName=again)
    cloud.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="does not exist"):
        cloud.sagemaker.describe_model_package_group(ModelPackageGroupName=group)


def test_tags_are_added_changed_listed_and_taken_off(cloud: Cloud) -> None:
    arn = cloud.sagemaker.create_model_package_group(
        ModelPackageGroupName=cloud.name("group"), Tags=[{"Key": "team", "Value": "game"}]
    )["ModelPackageGroupArn"]

    def tags() -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"]}

    cloud.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "night"}, {"Key": "stage", "Value": "test"}])
    cloud.until(lambda: tags() == {"stage": "test", "team": "night"})

    cloud.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["stage"])
    cloud.until(lambda: tags() == {"team": "night"})


def test_tags_are_of_resources_that_are_there_and_go_with_them(cloud: Cloud) -> None:
    name, tags = cloud.name("group"), [{"Key": "team", "Value": "game"}]
    made = cloud.sagemaker.create_model_package_group(ModelPackageGroupName=name, Tags=tags)
    cloud.sagemaker.delete_model_package_group(ModelPackageGroupName=name)

    for arn in (made["ModelPackageGroupArn"], made["ModelPackageGroupArn"].replace("model-package-group", "app")):
        with pytest.raises(ClientError, match="ValidationException"):
            cloud.sagemaker.list_tags(ResourceArn=arn)
        with pytest.raises(ClientError, match="ValidationException"):
            cloud.sagemaker.add_tags(ResourceArn=arn, Tags=tags)
        with pytest.raises(ClientError, match="ValidationException"):
            cloud.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team"])

    again = cloud.sagemaker.create_model_package_group(ModelPackageGroupName=name)
    assert cloud.sagemaker.list_tags(ResourceArn=again["ModelPackageGroupArn"])["Tags"] == []


def test_a_version_takes_no_tags_beside_those_of_its_group(cloud: Cloud) -> None:
    group = cloud.group()

    with pytest.raises(ClientError, match="ValidationException"):
        cloud.package(group, Tags=[{"Key": "team", "Value": "game"}])

    assert cloud.package(group).endswith("/1")


def test_groups_are_listed_in_pages_that_miss_and_repeat_nothing(cloud: Cloud) -> None:
    made = sorted(cloud.group() for _ in range(5))

    pages = cloud.sagemaker.get_paginator("list_model_package_groups").paginate(
        NameContains=f"gn-{cloud.run}", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    listed = [[group["ModelPackageGroupName"] for group in page["ModelPackageGroupSummaryList"]] for page in pages]

    assert all(len(page) <= 2 for page in listed)
    names = [name for page in listed for name in page]
    assert (names, set(made) - set(names)) == (sorted(set(names)), set())
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.sagemaker.list_model_package_groups(NextToken="nonsense")


def test_an_operation_that_nobody_has_is_unknown(cloud: Cloud) -> None:
    url = cloud.settings.endpoint_urls["sagemaker"]
    headers = {"X-Amz-Target": "SageMaker.MakeTea", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest(method="POST", url=f"{url}/", data=b"{}", headers=headers)
    SigV4Auth(cloud.keys, "sagemaker", cloud.settings.aws_region).add_auth(request)

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{url}/", b"{}", dict(request.headers.items()), method="POST"))

    with refused.value as answer:
        assert (answer.status, b"UnknownOperationException" in answer.read()) == (400, True)


def test_input_is_checked_as_aws_checks_it(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as refused:
        cloud.sagemaker.create_model_package_group(
            ModelPackageGroupName="no_underscores", Tags=[{"Key": "k" * 200, "Value": ""}]
        )

    told = refused.value.response["Error"]
    assert told["Code"] == "ValidationException"
    assert told["Message"].startswith("2 validation errors detected: ")
    assert "Value 'no_underscores' at 'modelPackageGroupName' failed to satisfy constraint" in told["Message"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"aws_secret_access_key": "another"}, "InvalidSignatureException"),
        ({"aws_access_key_id": "AKIAANOTHER"}, "UnrecognizedClientException"),
    ],
)
def test_keys_of_others_are_refused(cloud: Cloud, wrong: dict[str, str], code: str) -> None:
    for service, call in (("sagemaker", "list_models"), ("logs", "describe_log_groups")):
        given = {"aws_access_key_id": cloud.keys.access_key, "aws_secret_access_key": cloud.keys.secret_key} | wrong
        stranger = boto3.client(service, **(cloud.settings.aws(service) | given))  # type: ignore[arg-type, call-overload]
        with pytest.raises(ClientError) as refused:
            getattr(stranger, call)()
        assert refused.value.response["Error"]["Code"] == code
