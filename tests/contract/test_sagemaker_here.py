"""What is only so of the local SageMaker: what it refuses because this machine has it not, and who is kept out."""

import hashlib
import http.client
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from contracts.settings import Settings
from deploy.local.sagemaker.training import _AT_ONCE
from producers.blobs import DIGEST_VARIABLE, MemoryBlobs
from tests.contract.sagemaker_cases import BASE, Cloud, channel
from tests.contract.sagemaker_data import archive
from tests.histories import published
from trainers.registry import Registry


@pytest.fixture(scope="module")
def here(local_aws: Settings) -> Cloud:
    return Cloud(local_aws)


def test_an_operation_that_is_absent_is_named(here: Cloud) -> None:
    with pytest.raises(ClientError, match=r"UnknownOperationException.*ListApps is not on this machine"):
        here.sagemaker.list_apps()
    with pytest.raises(ClientError, match=r"UnknownOperationException.*InvokeEndpointAsync is not on this machine"):
        here.runtime.invoke_endpoint_async(EndpointName="x", InputLocation="s3://bucket/key")


def test_an_unsigned_request_is_refused_and_so_is_nonsense(here: Cloud) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", here.settings.sagemaker_port)
    for path in ("/", "/endpoints/any/invocations", "/anything"):
        connection.request("POST", path, b"{}", {"X-Amz-Target": "SageMaker.ListModels"})
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["__type"]) == (403, "MissingAuthenticationTokenException")
    connection.request("POST", "/", b"{}", {"X-Amz-Target": "SageMaker.ListModels", "Authorization": "Basic abc"})
    assert json.loads(connection.getresponse().read())["__type"] == "IncompleteSignatureException"
    connection.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"AlgorithmSpecification": {"TrainingImage": "elsewhere/image:1", "TrainingInputMode": "File"}}, "find image"),
        ({"InputDataConfig": [channel("train", "s3://b/data/") | {"InputMode": "Pipe"}]}, "mode File"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}}, "one instance"),
    ],
)
def test_a_job_that_this_machine_cannot_do_is_refused_at_once(here: Cloud, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ClientError, match=told):
        here.sagemaker.create_training_job(TrainingJobName="never", **(here.job_request(data="s3://b/data/") | change))


def test_an_endpoint_that_this_machine_cannot_serve_is_refused_at_once(here: Cloud) -> None:
    serverless = {
        "VariantName": "v1",
        "ModelName": here.model(),
        "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
    }
    with pytest.raises(ClientError, match="only instances"):
        here.config_of(serverless)
    with pytest.raises(ClientError, match="Asynchronous inference"):
        here.config_of(
            here.variant("v1", here.model()), AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://bucket/output"}}
        )
    with pytest.raises(ClientError, match="several containers"):
        here.sagemaker.create_model(
            ModelName="pipeline",
            ExecutionRoleArn=here.settings.role_arn,
            Containers=[{"Image": here.image}, {"Image": here.image}],
        )


def test_an_endpoint_says_what_it_goes_over_to(here: Cloud) -> None:
    name = here.endpoint(v1=1)
    config = here.config(v2=1)

    here.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)

    described = here.sagemaker.describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Updating"
    assert described["PendingDeploymentSummary"]["EndpointConfigName"] == config
    assert described["ProductionVariants"][0]["VariantStatus"][0]["Status"] == "Updating"
    described = here.in_service(name)
    assert "PendingDeploymentSummary" not in described
    assert "VariantStatus" not in described["ProductionVariants"][0]
    here.delete(name)


def test_more_jobs_than_the_machine_has_cores_for_wait_for_their_turn(here: Cloud) -> None:
    running = [here.train(rounds=100_000) for _ in range(_AT_ONCE)]
    pending, stopped = here.train(), here.train()
    here.until(lambda: here.job(stopped)["SecondaryStatus"] == here.job(pending)["SecondaryStatus"] == "Pending")

    here.sagemaker.stop_training_job(TrainingJobName=stopped)
    assert here.job(stopped)["TrainingJobStatus"] == "Stopped"
    for name in running:
        here.sagemaker.stop_training_job(TrainingJobName=name)

    assert here.ended(pending)["TrainingJobStatus"] == "Completed"
    assert {here.ended(name)["TrainingJobStatus"] for name in running} == {"Stopped"}


def failure(here: Cloud, model: str) -> str:
    """Why an endpoint of a model did not come into service."""
    name = here.begun(here.config_of(here.variant("v1", model)))
    here.until(lambda: here.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] in ("InService", "Failed"))
    described = here.sagemaker.describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Failed", described
    return str(described["FailureReason"])


def test_an_artifact_that_was_swapped_after_it_was_registered_is_not_served(here: Cloud) -> None:
    genuine = hashlib.sha256(BASE.read_bytes()).hexdigest()
    swapped = archive({"model.ubj": b"another"})
    model = here.model(here.object("swapped/model.tar.gz", BASE.read_bytes()), **{DIGEST_VARIABLE: genuine})
    served = here.begun(here.config_of(here.variant("v1", model)))
    here.in_service(served)

    here.object("swapped/model.tar.gz", swapped)
    why = failure(here, model)

    assert f"its sha256 is {hashlib.sha256(swapped).hexdigest()}, that of the model {genuine}" in why
    here.sagemaker.update_endpoint(EndpointName=served, EndpointConfigName=here.config_of(here.variant("v2", model)))
    here.until(lambda: here.sagemaker.describe_endpoint(EndpointName=served)["EndpointStatus"] == "InService")
    after = here.sagemaker.describe_endpoint(EndpointName=served)
    assert [variant["VariantName"] for variant in after["ProductionVariants"]] == ["v1"]
    assert "is not what was registered" in after["FailureReason"]


def test_a_hostile_artifact_is_the_reason_of_the_failure(here: Cloud) -> None:
    assert "'../escaped' lies outside" in failure(
        here, here.model(here.object("hostile/model.tar.gz", archive({"../escaped": b""})))
    )
    assert list((here.settings.home / "sagemaker").rglob("escaped")) == []


def test_the_registry_s_word_on_a_digest_counts_and_not_the_card_s(here: Cloud) -> None:
    blobs = MemoryBlobs()
    registry = Registry(here.settings, blobs)
    given = published(version="9", model=f"swap{here.run}", digest="a" * 64)
    arn = registry.register(given).arn
    [card] = blobs.keys("models/")

    blobs.put(card, given.model_copy(update={"digest": "b" * 64}).record_value())
    found = registry.read(arn)

    assert found is not None
    assert found.published.digest == "a" * 64
    [container] = here.sagemaker.describe_model_package(ModelPackageName=arn)["InferenceSpecification"]["Containers"]
    assert container["Environment"] == {DIGEST_VARIABLE: "a" * 64}


def test_packages_that_cannot_be_installed_are_the_reason_of_the_failure(here: Cloud) -> None:
    source = archive({"nothing/setup.py": b"raise SystemExit('it was executed')"})
    code = {"inference.py": b"", "requirements.txt": b"./nothing.tar.gz\n", "nothing.tar.gz": source}
    data = here.object("unwanted/model.tar.gz", archive({f"code/{name}": body for name, body in code.items()}))

    told = failure(here, here.model(data, SAGEMAKER_PROGRAM="inference.py"))

    assert told.startswith("ClientError: requirements.txt could not be installed: ")
    assert "it was executed" not in told
