"""Model packages, tags, and the door: what boto3 gets from the model registry, and who is let in at all."""

import http.client
import json

import boto3
import pytest
from botocore.exceptions import ClientError

from contracts.settings import Settings
from tests.contract.sagemaker_cases import NPY, Cloud


@pytest.fixture(scope="module")
def cloud(local_aws: Settings) -> Cloud:
    return Cloud(local_aws)


def register(cloud: Cloud, group: str, **given: str) -> str:
    container = {"Image": cloud.settings.image_uri("xgboost"), "ModelDataUrl": f"s3://{cloud.settings.bucket}/model.tar.gz"}
    specification = {"Containers": [container], "SupportedContentTypes": [NPY], "SupportedResponseMIMETypes": [NPY]}
    made = cloud.sagemaker.create_model_package(ModelPackageGroupName=group, InferenceSpecification=specification, **given)
    return str(made["ModelPackageArn"])


def test_packages_of_a_group_are_numbered_approved_and_listed_newest_first(cloud: Cloud) -> None:
    group = cloud.sagemaker.create_model_package_group(ModelPackageGroupName="digits")["ModelPackageGroupArn"]
    first = register(cloud, "digits", ModelApprovalStatus="PendingManualApproval")
    second = register(cloud, group, ModelPackageDescription="by the group's ARN")
    assert (first[-9:], second[-9:]) == ("/digits/1", "/digits/2")

    cloud.sagemaker.update_model_package(
        ModelPackageArn=first, ModelApprovalStatus="Approved", CustomerMetadataProperties={"accuracy": "0.99"}
    )

    described = cloud.sagemaker.describe_model_package(ModelPackageName=first)
    assert (described["ModelApprovalStatus"], described["ModelPackageVersion"]) == ("Approved", 1)
    assert described["CustomerMetadataProperties"] == {"accuracy": "0.99"}
    listed = cloud.sagemaker.list_model_packages(ModelPackageGroupName="digits")["ModelPackageSummaryList"]
    assert [one["ModelPackageArn"] for one in listed] == [second, first]
    approved = cloud.sagemaker.list_model_packages(ModelPackageGroupName="digits", ModelApprovalStatus="Approved")
    assert [one["ModelPackageArn"] for one in approved["ModelPackageSummaryList"]] == [first]
    several = cloud.sagemaker.batch_describe_model_package(ModelPackageArnList=[first, f"{first}9"])
    assert list(several["ModelPackageSummaries"]) == [first]
    assert list(several["BatchDescribeModelPackageErrorMap"]) == [f"{first}9"]


def test_a_number_is_not_given_again_and_a_full_group_is_kept(cloud: Cloud) -> None:
    cloud.sagemaker.create_model_package_group(ModelPackageGroupName="numbers", ModelPackageGroupDescription="a group")
    package = register(cloud, "numbers")
    with pytest.raises(cloud.sagemaker.exceptions.ConflictException, match="contains model packages"):
        cloud.sagemaker.delete_model_package_group(ModelPackageGroupName="numbers")
    cloud.sagemaker.delete_model_package(ModelPackageName=package)
    with pytest.raises(ClientError, match="does not exist"):
        cloud.sagemaker.describe_model_package(ModelPackageName=package)

    again = register(cloud, "numbers")

    assert again.endswith("/numbers/2")
    cloud.sagemaker.delete_model_package(ModelPackageName=again)
    cloud.sagemaker.delete_model_package_group(ModelPackageGroupName="numbers")
    with pytest.raises(ClientError, match="does not exist"):
        cloud.sagemaker.describe_model_package_group(ModelPackageGroupName="numbers")


def test_tags_are_added_changed_listed_and_taken_off(cloud: Cloud) -> None:
    given = [{"Key": "team", "Value": "game"}]
    arn = cloud.sagemaker.create_model_package_group(ModelPackageGroupName="tagged", Tags=given)["ModelPackageGroupArn"]

    cloud.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "night"}, {"Key": "stage", "Value": "test"}])
    assert cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [
        {"Key": "stage", "Value": "test"},
        {"Key": "team", "Value": "night"},
    ]

    cloud.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["stage"])
    assert cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "night"}]


def test_groups_are_listed_in_pages_that_miss_and_repeat_nothing(cloud: Cloud) -> None:
    for number in range(5):
        cloud.sagemaker.create_model_package_group(ModelPackageGroupName=f"page-{number}")

    pages = cloud.sagemaker.get_paginator("list_model_package_groups").paginate(
        NameContains="PAGE-", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    names = [[group["ModelPackageGroupName"] for group in page["ModelPackageGroupSummaryList"]] for page in pages]

    assert names == [["page-0", "page-1"], ["page-2", "page-3"], ["page-4"]]
    with pytest.raises(ClientError, match="Invalid NextToken"):
        cloud.sagemaker.list_model_package_groups(NextToken="nonsense")


def test_an_operation_that_is_absent_is_named(cloud: Cloud) -> None:
    with pytest.raises(ClientError, match=r"UnknownOperationException.*ListApps is not on this machine"):
        cloud.sagemaker.list_apps()
    with pytest.raises(ClientError, match="UnknownOperationException"):
        cloud.runtime.invoke_endpoint_async(EndpointName="x", InputLocation="s3://bucket/key")


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
        stranger = boto3.client(service, **(cloud.settings.aws(service) | wrong))  # type: ignore[arg-type, call-overload]
        with pytest.raises(ClientError) as refused:
            getattr(stranger, call)()
        assert refused.value.response["Error"]["Code"] == code


def test_an_unsigned_request_is_refused_and_so_is_nonsense(cloud: Cloud) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.settings.sagemaker_port)
    for path in ("/", "/endpoints/any/invocations", "/anything"):
        connection.request("POST", path, b"{}", {"X-Amz-Target": "SageMaker.ListModels"})
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["__type"]) == (403, "MissingAuthenticationTokenException")
    connection.request("POST", "/", b"{}", {"X-Amz-Target": "SageMaker.ListModels", "Authorization": "Basic abc"})
    assert json.loads(connection.getresponse().read())["__type"] == "IncompleteSignatureException"
    connection.close()
