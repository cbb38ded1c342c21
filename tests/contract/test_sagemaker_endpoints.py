"""Conformance: models, endpoint configs and endpoints as boto3 sees them, with real answers from a real process."""

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import NPY, Cloud, npy, read_npy
from tests.contract.sagemaker_data import archive, csv, wheel


@pytest.fixture(scope="module")
def endpoint(cloud: Cloud) -> Iterator[str]:
    name = cloud.endpoint(v1=1)
    yield name
    cloud.delete(name)


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


def test_csv_is_answered_in_csv(cloud: Cloud, endpoint: str) -> None:
    images = np.arange(1568, dtype=np.uint8).reshape(2, 784)

    asked = cloud.ask(endpoint, Body=csv(images), ContentType="text/csv", Accept="text/csv")

    assert asked["ContentType"] == "text/csv"
    rows = [[float(value) for value in line.split(",")] for line in asked["Body"].decode().splitlines()]
    assert np.allclose(rows, read_npy(cloud.ask(endpoint, images)["Body"]), atol=1e-6)


def test_attributes_of_the_caller_s_own_are_taken_along(cloud: Cloud, endpoint: str) -> None:
    given = {"CustomAttributes": "trace=c000b4f9-df62-4c85-a0bf-7c525f9104a4", "InferenceId": "drawing-1"}

    assert cloud.ask(endpoint, **given)["InvokedProductionVariant"] == "v1"


def test_what_the_model_refuses_comes_back_with_its_status(cloud: Cloud, endpoint: str) -> None:
    for body, kind, status in (
        (b"not an array", NPY, 400),
        (npy(np.zeros((1, 784))), NPY, 400),
        (npy(np.array([print])), NPY, 400),
        (b'{"instances": [[NaN]]}', "application/json", 400),
        (b"1,2,3", "text/csv", 400),
        (b"1,2,3", "text/plain", 415),
    ):
        with pytest.raises(cloud.runtime.exceptions.ModelError) as refused:
            cloud.ask(endpoint, Body=body, ContentType=kind)
        told = refused.value.response
        assert (told["OriginalStatusCode"], told["ResponseMetadata"]["HTTPStatusCode"]) == (status, 424)
        assert told["OriginalMessage"]
        assert told["OriginalMessage"] in told["Error"]["Message"]
        assert told["LogStreamArn"].startswith(f"arn:aws:logs:{cloud.settings.aws_region}:{cloud.account}:log-group:")
        assert f"/aws/sagemaker/Endpoints/{endpoint}" in told["LogStreamArn"]
    with pytest.raises(cloud.runtime.exceptions.ModelError, match="406"):
        cloud.ask(endpoint, Accept="image/png")


def test_an_endpoint_or_variant_that_is_not_there_is_named(cloud: Cloud, endpoint: str) -> None:
    with pytest.raises(ClientError, match=f"ValidationError.*Endpoint nowhere of account {cloud.account} not found"):
        cloud.ask("nowhere")
    with pytest.raises(ClientError, match=r"ValidationError.*v9"):
        cloud.ask(endpoint, TargetVariant="v9")
    with pytest.raises(ClientError, match=r"ValidationException.*Could not find endpoint"):
        cloud.sagemaker.describe_endpoint(EndpointName="nowhere")


def test_an_endpoint_is_described_with_its_variants_and_listed(cloud: Cloud, endpoint: str) -> None:
    described = cloud.sagemaker.describe_endpoint(EndpointName=endpoint)

    [shown] = described["ProductionVariants"]
    assert (shown["VariantName"], shown["CurrentWeight"], shown["DesiredWeight"]) == ("v1", 1.0, 1.0)
    assert (shown["CurrentInstanceCount"], shown["DesiredInstanceCount"]) == (1, 1)
    assert shown["DeployedImages"][0]["SpecifiedImage"] == cloud.image
    assert described["CreationTime"] <= described["LastModifiedTime"]
    for given in ({"StatusEquals": "InService"}, {"SortBy": "Name"}, {"CreationTimeAfter": 0}, {}):
        listed = cloud.sagemaker.list_endpoints(NameContains=endpoint, **given)["Endpoints"]
        assert [one["EndpointArn"] for one in listed] == [described["EndpointArn"]]
    assert not cloud.sagemaker.list_endpoints(NameContains=endpoint, StatusEquals="Failed")["Endpoints"]
    assert not cloud.sagemaker.list_endpoints(NameContains=endpoint, CreationTimeBefore=described["CreationTime"])["Endpoints"]


def test_its_log_is_read_through_cloudwatch(cloud: Cloud, endpoint: str) -> None:
    group = f"/aws/sagemaker/Endpoints/{endpoint}"

    assert group in [one["logGroupName"] for one in cloud.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]]
    streams = cloud.logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert all(stream["logStreamName"].startswith("v1/") for stream in streams)


def test_its_log_is_deleted_with_its_group(cloud: Cloud) -> None:
    name = cloud.endpoint(v1=1)
    group = f"/aws/sagemaker/Endpoints/{name}"
    cloud.until(lambda: cloud.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"])
    cloud.delete(name)
    cloud.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 1800})

    cloud.logs.delete_log_group(logGroupName=group)

    assert not cloud.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    with pytest.raises(cloud.logs.exceptions.ResourceNotFoundException):
        cloud.logs.delete_log_group(logGroupName=group)


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
    shown = {one["VariantName"]: one for one in described["ProductionVariants"]}
    assert {variant: one["CurrentInstanceCount"] for variant, one in shown.items()} == {"a": 1, "b": 1, "c": 2}
    assert (shown["a"]["CurrentWeight"], shown["a"]["DesiredWeight"]) == (0, 0)
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "z", "DesiredWeight": 1}]
        )
    cloud.delete(name)


def test_an_update_goes_over_to_another_config(cloud: Cloud) -> None:
    name = cloud.endpoint(v1=1)
    config = cloud.config(v2=1)
    blue_green = {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}

    cloud.sagemaker.update_endpoint(
        EndpointName=name, EndpointConfigName=config, DeploymentConfig={"BlueGreenUpdatePolicy": blue_green}
    )
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        cloud.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
    assert cloud.ask(name)["InvokedProductionVariant"] in ("v1", "v2")

    described = cloud.in_service(name)
    assert described["EndpointConfigName"] == config
    assert [one["VariantName"] for one in described["ProductionVariants"]] == ["v2"]
    assert described["LastDeploymentConfig"]["BlueGreenUpdatePolicy"] == blue_green
    assert cloud.ask(name)["InvokedProductionVariant"] == "v2"
    cloud.delete(name)


def test_an_update_keeps_weights_where_that_is_asked_for(cloud: Cloud) -> None:
    name = cloud.endpoint(a=1, b=0)
    cloud.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[{"VariantName": "a", "DesiredWeight": 0}, {"VariantName": "b", "DesiredWeight": 1}],
    )
    cloud.in_service(name)

    cloud.sagemaker.update_endpoint(
        EndpointName=name, EndpointConfigName=cloud.config(a=1, b=0), RetainAllVariantProperties=True
    )

    shown = {one["VariantName"]: one["CurrentWeight"] for one in cloud.in_service(name)["ProductionVariants"]}
    assert shown == {"a": 0, "b": 1}
    cloud.delete(name)


def test_an_update_to_a_model_that_does_not_load_leaves_the_old_one_answering(cloud: Cloud) -> None:
    name = cloud.endpoint(v1=1)
    before = cloud.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    broken = cloud.model(cloud.object("broken/model.tar.gz", b"not an archive"))

    cloud.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=cloud.config_of(cloud.variant("v2", broken)))

    described = cloud.in_service(name)
    assert described["FailureReason"]
    assert described["EndpointConfigName"] == before
    assert cloud.ask(name)["InvokedProductionVariant"] == "v1"
    cloud.delete(name)


def test_an_endpoint_whose_model_is_missing_fails_with_the_reason(cloud: Cloud) -> None:
    try:  # Amazon looks at once whether the artifact is there; here it is looked for when it is needed
        model = cloud.model(f"s3://{cloud.settings.bucket}/conformance/nowhere.tar.gz")
    except ClientError as refused:
        told = str(refused)
    else:
        name = cloud.begun(cloud.config_of(cloud.variant("v1", model)))
        cloud.until(lambda: cloud.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Failed")
        told = cloud.sagemaker.describe_endpoint(EndpointName=name)["FailureReason"]
        cloud.delete(name)

    assert "Could not find model data at s3://" in told


def test_a_shadow_variant_is_shown_apart_and_never_answers(cloud: Cloud) -> None:
    model = cloud.model()
    shadows = {"ShadowProductionVariants": [cloud.variant("shadow", model)]}
    config = cloud.config_of(cloud.variant("shown", model), **shadows)
    described = cloud.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    assert [one["VariantName"] for one in described["ShadowProductionVariants"]] == ["shadow"]

    name = cloud.begun(config)

    described = cloud.in_service(name)
    assert [one["VariantName"] for one in described["ProductionVariants"]] == ["shown"]
    assert [one["VariantName"] for one in described["ShadowProductionVariants"]] == ["shadow"]
    assert {cloud.ask(name)["InvokedProductionVariant"] for _ in range(20)} == {"shown"}
    cloud.delete(name)
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.config_of(cloud.variant("a", model), cloud.variant("b", model), **shadows)


OWN = """
import json
import halves

def model_fn(model_dir):
    with open(model_dir + "/factor.json") as file:
        return json.load(file)

def input_fn(body, content_type):
    return json.loads(body)

def predict_fn(data, model):
    return [halves.half(one) * model for one in data]

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""


def test_a_model_is_served_by_a_program_of_its_own_with_packages_of_its_own(cloud: Cloud) -> None:
    name, package = wheel("halves", "def half(number):\n    return number / 2\n")
    code = {"inference.py": OWN.encode(), "requirements.txt": f"./{name}\n".encode(), name: package}
    files = {"factor.json": b"3", **{f"code/{file}": data for file, data in code.items()}}
    data = cloud.object("own/model.tar.gz", archive(files))
    served = cloud.model(data, SAGEMAKER_PROGRAM="inference.py", SAGEMAKER_SUBMIT_DIRECTORY="/opt/ml/model/code")
    endpoint = cloud.begun(cloud.config_of(cloud.variant("v1", served)))
    cloud.in_service(endpoint)

    answer = cloud.ask(endpoint, Body=b"[1, 2]", ContentType="application/json", Accept="application/json")

    assert json.loads(answer["Body"]) == [1.5, 3.0]
    with pytest.raises(cloud.runtime.exceptions.ModelError, match="TypeError") as refused:
        cloud.ask(endpoint, Body=b'["x"]', ContentType="application/json")
    assert refused.value.response["OriginalStatusCode"] == 500
    cloud.delete(endpoint)
    assert transformed(cloud, served, b"[1, 2]") == b"[1.5, 3.0]"


def transformed(cloud: Cloud, model: str, body: bytes) -> bytes:
    """What a transform job makes of an object in JSON."""
    source, job = cloud.object("own/given/one.json", body), cloud.name("transform")
    cloud.sagemaker.create_transform_job(
        TransformJobName=job,
        ModelName=model,
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}},
            "ContentType": "application/json",
        },
        TransformOutput={"S3OutputPath": f"{cloud.output}/own/made", "Accept": "application/json"},
        TransformResources={"InstanceType": cloud.settings.serving_instance, "InstanceCount": 1},
    )
    fine = {"Delay": int(max(1, cloud.pause_s)), "MaxAttempts": 1800}
    cloud.sagemaker.get_waiter("transform_job_completed_or_stopped").wait(TransformJobName=job, WaiterConfig=fine)
    made = cloud.s3.get_object(Bucket=cloud.settings.bucket, Key=f"conformance/{cloud.run}/output/own/made/one.json.out")
    answer: bytes = made["Body"].read()
    return answer


def test_a_deleted_endpoint_is_gone_and_its_name_free(cloud: Cloud) -> None:
    name = cloud.begun(cloud.config(v1=1))
    fine = {"Delay": int(max(1, cloud.pause_s)), "MaxAttempts": 1800}
    cloud.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=fine)
    config = cloud.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        cloud.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)

    cloud.delete(name)

    cloud.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=fine)
    with pytest.raises(ClientError, match="not found"):
        cloud.ask(name)


def test_a_model_of_a_package_serves_the_package_s_artifact(cloud: Cloud) -> None:
    package = cloud.package(cloud.group(), ModelApprovalStatus="Approved")
    model = cloud.name("model")
    cloud.sagemaker.create_model(
        ModelName=model, ExecutionRoleArn=cloud.settings.role_arn, Containers=[{"ModelPackageName": package}]
    )

    name = cloud.begun(cloud.config_of(cloud.variant("p1", model)))

    cloud.in_service(name)
    assert cloud.ask(name)["InvokedProductionVariant"] == "p1"
    cloud.delete(name)


def test_models_and_configs_are_described_listed_and_deleted(cloud: Cloud) -> None:
    config = cloud.config(v1=1)
    described = cloud.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    model = described["ProductionVariants"][0]["ModelName"]
    assert cloud.sagemaker.describe_model(ModelName=model)["PrimaryContainer"]["Image"] == cloud.image
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
        cloud.config_of(cloud.variant("v1", model))
