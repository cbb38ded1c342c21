"""Every image trains through the local SageMaker with genuine calls, in the environment that it needs for it (way 3)."""

from collections.abc import Iterator

import pytest

from contracts.settings import Settings
from deploy.local.install import training_step
from tests.contract.sagemaker_cases import Cloud, must_be_here, read_npy
from tests.roster import IMAGES
from tests.unit.test_images import SMALL, drawings, mnist

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
HYPERPARAMETERS = SMALL | {"tensorflow": {"epochs": 4}}
PATIENCE_S = 570.0
"""For a job: the first of tensorflow's downloads its training environment."""


@pytest.fixture
def cloud(local_aws: Settings) -> Iterator[Cloud]:
    """Clients of the local SageMaker."""
    made = Cloud(local_aws)
    made.patience_s = PATIENCE_S
    yield made
    made.clean_up()


@pytest.mark.timeout(PATIENCE_S + 30)
@pytest.mark.parametrize("algorithm", sorted(HYPERPARAMETERS))
def test_what_a_training_job_makes_answers_at_an_endpoint(cloud: Cloud, algorithm: str) -> None:
    must_be_here(cloud.settings.tools, algorithm)
    image = cloud.settings.image_uri(algorithm)
    step = training_step(cloud.settings.tools, IMAGES[algorithm])
    made_before = step is None or step.is_done()
    request = cloud.job_request(cloud.put(drawings(2000)))
    request["AlgorithmSpecification"]["TrainingImage"] = image
    request["HyperParameters"] = {name: str(value) for name, value in HYPERPARAMETERS[algorithm].items()}
    job = cloud.name("job")

    cloud.sagemaker.create_training_job(TrainingJobName=job, **request)

    ended = cloud.ended(job)
    assert ended["TrainingJobStatus"] == "Completed", ended
    found = cloud.logs.filter_log_events(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job}/")["events"]
    lines = [event["message"] for event in found]
    assert made_before or any(line.startswith(f"making the training environment of {algorithm}") for line in lines)
    assert any(line.startswith(("epoch=", "round=")) for line in lines)
    model = cloud.name("model")
    container = {"Image": image, "ModelDataUrl": ended["ModelArtifacts"]["S3ModelArtifacts"]}
    cloud.sagemaker.create_model(ModelName=model, ExecutionRoleArn=cloud.settings.role_arn, PrimaryContainer=container)
    endpoint = cloud.begun(cloud.config_of(cloud.variant("v1", model)))
    cloud.in_service(endpoint)
    images, labels = mnist("t10k", 500)
    answered = read_npy(cloud.ask(endpoint, images)["Body"])
    assert (answered.argmax(axis=1) == labels).mean() >= 0.85
