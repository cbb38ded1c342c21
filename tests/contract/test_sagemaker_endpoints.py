"""Models, endpoint configs and endpoints as boto3 sees them: real answers from a real process."""

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from botocore.exceptions import ClientError

from contracts.settings import Settings
from tests.contract.sagemaker_cases import NPY, ROLE, Cloud, eventually, npy, read_npy, variant


@pytest.fixture(scope="module")
def cloud(local_aws: Settings) -> Cloud:
    return Cloud(local_aws)


@pytest.fixture(scope="module")
def endpoint(cloud: Cloud) -> Iterator[str]:
    name = cloud.endpoint(v1=1)
    yield name
    cloud.sagemaker.delete_endpoint(EndpointName=name)


def test_an_endpoint_answers_probabilities_and_names_its_variant(cloud: Cloud, endpoint: str) -> None:
    answer = cloud.ask(endpoint, np.zeros((3, 784), np.uint8))

    probabilities = read_npy(answer["Body"])
    assert (answer["InvokedProductionVariant"], answer["ContentType"]) == ("v1", NPY)
    assert (probabilities.shape, probabilities.dtype) == ((3, 10), np.float32)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_json_and_npy_are_answered_alike(cloud: Cloud, endpoint: str) -> None:
    image = np.arange(784, dtype=np.uint8).reshape(1, 784)

    asked = cloud.ask(
        endpoint,
        Body=json.dumps({"instances": image.tolist()}).encode(),
        ContentType="application/json",
        Accept="application/json",
    )

    assert np.allclose(json.loads(asked["Body"])["predictions"], read_npy(cloud.ask(endpoint, image)["Body"]))


def test_what_the_model_refuses_comes_back_with_its_status(cloud: Cloud, endpoint: str) -> None:
    for body, kind, status in (
        (b"not an array", NPY, 400),
        (npy(np.zeros((1, 784))), NPY, 400),
        (npy(np.array([print])), NPY, 400),
        (b'{"instances": [[NaN]]}', "application/json", 400),
        (b"1,2,3", "text/csv", 415),
    ):
        with pytest.raises(cloud.runtime.exceptions.ModelError) as refused:
            cloud.ask(endpoint, Body=body, ContentType=kind)
        assert refused.value.response["OriginalStatusCode"] == status
        assert refused.value.response["OriginalMessage"]
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    with pytest.raises(cloud.runtime.exceptions.ModelError, match="406"):
        cloud.ask(endpoint, Accept="image/png")


def test_an_endpoint_or_variant_that_is_not_there_is_named(cloud: Cloud, endpoint: str) -> None:
    with pytest.raises(ClientError, match=r"ValidationError.*Endpoint nowhere of account 123456789012 not found"):
        cloud.ask("nowhere")
    with pytest.raises(ClientError, match="Variant v9 not found"):
        cloud.ask(endpoint, TargetVariant="v9")
    with pytest.raises(ClientError, match=r"ValidationException.*Could not find endpoint"):
        cloud.sagemaker.describe_endpoint(EndpointName="nowhere")


def test_variants_are_asked_by_their_weights_or_by_name(cloud: Cloud) -> None:
    name = cloud.endpoint(a=9, b=1, c=0)

    asked = Counter(cloud.ask(name)["InvokedProductionVariant"] for _ in range(200))
    assert asked["a"] > asked["b"] > 0
    assert asked["c"] == 0
    assert cloud.ask(name, TargetVariant="c")["InvokedProductionVariant"] == "c"

    cloud.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[{"VariantName": "a", "DesiredWeight": 0}, {"VariantName": "c", "DesiredInstanceCount": 2}],
    )
    described = cloud.in_service(name)
    assert {cloud.ask(name)["InvokedProductionVariant"] for _ in range(50)} == {"b"}
    counts = {one["VariantName"]: one["CurrentInstanceCount"] for one in described["ProductionVariants"]}
    assert counts == {"a": 1, "b": 1, "c": 2}

    cloud.sagemaker.delete_endpoint(EndpointName=name)


def test_an_update_goes_over_to_another_config(cloud: Cloud) -> None:
    name = cloud.endpoint(v1=1)
    config = cloud.config(v2=1)

    cloud.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        cloud.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)

    described = cloud.in_service(name)
    assert described["EndpointConfigName"] == config
    assert [one["VariantName"] for one in described["ProductionVariants"]] == ["v2"]
    assert cloud.ask(name)["InvokedProductionVariant"] == "v2"
    cloud.sagemaker.delete_endpoint(EndpointName=name)


def test_an_update_to_a_model_that_does_not_load_leaves_the_old_one_answering(cloud: Cloud) -> None:
    name = cloud.endpoint(v1=1)
    cloud.s3.put_object(Bucket=cloud.settings.bucket, Key="tests/broken.tar.gz", Body=b"not an archive")
    broken = cloud.model(f"s3://{cloud.settings.bucket}/tests/broken.tar.gz")
    config = f"{name}-broken"[:63]
    cloud.sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant("v2", broken)])

    cloud.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)

    described = cloud.in_service(name)
    assert "Failed to extract model data archive" in described["FailureReason"]
    assert cloud.ask(name)["InvokedProductionVariant"] == "v1"
    cloud.sagemaker.delete_endpoint(EndpointName=name)


def test_an_endpoint_whose_model_is_missing_fails_with_the_reason(cloud: Cloud) -> None:
    model = cloud.model(f"s3://{cloud.settings.bucket}/tests/nowhere.tar.gz")
    cloud.sagemaker.create_endpoint_config(EndpointConfigName="missing", ProductionVariants=[variant("v1", model)])
    cloud.sagemaker.create_endpoint(EndpointName="missing", EndpointConfigName="missing")

    def status() -> str:
        return str(cloud.sagemaker.describe_endpoint(EndpointName="missing")["EndpointStatus"])

    eventually(lambda: status() == "Failed")
    reason = cloud.sagemaker.describe_endpoint(EndpointName="missing")["FailureReason"]
    assert "Could not find model data at s3://" in reason
    cloud.sagemaker.delete_endpoint(EndpointName="missing")


def test_a_deleted_endpoint_is_gone_and_its_name_free(cloud: Cloud) -> None:
    name = cloud.endpoint(v1=1)
    config = cloud.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        cloud.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)

    cloud.sagemaker.delete_endpoint(EndpointName=name)

    cloud.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    with pytest.raises(ClientError, match="not found"):
        cloud.ask(name)


def test_a_model_of_a_package_serves_the_package_s_artifact(cloud: Cloud) -> None:
    cloud.sagemaker.create_model_package_group(ModelPackageGroupName="served")
    container = {"Image": cloud.settings.image_uri("xgboost"), "ModelDataUrl": cloud.base}
    package = cloud.sagemaker.create_model_package(
        ModelPackageGroupName="served",
        InferenceSpecification={"Containers": [container], "SupportedContentTypes": [NPY], "SupportedResponseMIMETypes": [NPY]},
    )["ModelPackageArn"]
    cloud.sagemaker.create_model(ModelName="of-package", ExecutionRoleArn=ROLE, Containers=[{"ModelPackageName": package}])
    cloud.sagemaker.create_endpoint_config(EndpointConfigName="of-package", ProductionVariants=[variant("p1", "of-package")])
    cloud.sagemaker.create_endpoint(EndpointName="of-package", EndpointConfigName="of-package")

    cloud.in_service("of-package")

    assert cloud.ask("of-package")["InvokedProductionVariant"] == "p1"
    cloud.sagemaker.delete_endpoint(EndpointName="of-package")


def test_models_and_configs_are_described_listed_and_deleted(cloud: Cloud) -> None:
    config = cloud.config(v1=1)
    described = cloud.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    model = described["ProductionVariants"][0]["ModelName"]
    assert cloud.sagemaker.describe_model(ModelName=model)["PrimaryContainer"]["Image"] == cloud.settings.image_uri("xgboost")
    assert [one["ModelName"] for one in cloud.sagemaker.list_models(NameContains=model)["Models"]] == [model]
    found = cloud.sagemaker.list_endpoint_configs(NameContains=config)["EndpointConfigs"]
    assert [one["EndpointConfigArn"] for one in found] == [described["EndpointConfigArn"]]

    cloud.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    cloud.sagemaker.delete_model(ModelName=model)

    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        cloud.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    with pytest.raises(ClientError, match="Could not find model"):
        cloud.sagemaker.describe_model(ModelName=model)
    with pytest.raises(ClientError, match="Could not find model"):
        cloud.sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant("v1", model)])
