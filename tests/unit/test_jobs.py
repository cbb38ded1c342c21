"""Names and progress of training jobs."""

import re
from uuid import UUID

import pytest

from contracts.settings import Settings
from trainers import sdk_jobs
from trainers.jobs import fraction_of, job_name
from trainers.sdk_environment import sdk_environment

COMMAND = UUID("6f1b2c8e-6a0d-5c57-9d0e-2f6c1a5e7b11")


@pytest.mark.parametrize("model", ["xgboost", "tensorflow", "mxnet"])
def test_a_job_has_one_name_that_leaves_no_room_for_the_time_of_day(model):
    name = job_name(model, COMMAND)
    assert len(name) == 63
    assert str(COMMAND) in name
    assert name == job_name(model, COMMAND)
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)


def test_a_line_of_the_log_tells_how_far_the_training_is():
    assert fraction_of("round=30/75 train-mlogloss=0.2") == 0.4
    assert fraction_of("epoch=3/4 train-loss=0.04321 train-accuracy=0.987") == 0.75
    assert fraction_of("background=1/4") is None
    assert fraction_of("drawings train=60000 validation=0") is None


def test_the_sdk_asks_nobody_outside_when_sagemaker_is_local():
    environment = sdk_environment(Settings(aws_services="local", sagemaker_port=1))
    local = "http://127.0.0.1:1"
    names = ("SAGEMAKER", "SAGEMAKER_RUNTIME", "SAGEMAKER_METRICS", "CLOUDWATCH_LOGS", "STS", "IAM", "APPLICATION_AUTO_SCALING")
    assert [environment[f"AWS_ENDPOINT_URL_{name}"] for name in names] == [local] * len(names)
    assert "SAGEMAKER_VALIDATE_ROLE" not in environment, "the local SageMaker answers for IAM"


def test_the_sdk_validates_its_role_on_aws():
    environment = sdk_environment(Settings(aws_endpoint_url_sagemaker="https://api.sagemaker.eu-west-1.amazonaws.com"))
    assert "SAGEMAKER_VALIDATE_ROLE" not in environment
    assert environment["AWS_ENDPOINT_URL_SAGEMAKER"] == "https://api.sagemaker.eu-west-1.amazonaws.com"
    assert "AWS_ENDPOINT_URL_STS" not in environment


def test_a_job_s_limits_and_spare_instances_come_from_the_settings() -> None:
    assert sdk_jobs._limits(Settings(training_limit_s=60)) == {"max_runtime_in_seconds": 60}
    assert "enable_managed_spot_training" not in sdk_jobs._compute(Settings())
    spare = Settings(training_spot=True, training_limit_s=9000, training_instance="ml.c5.xlarge")
    assert sdk_jobs._limits(spare) == {"max_runtime_in_seconds": 9000, "max_wait_time_in_seconds": 9000}
    assert sdk_jobs._compute(spare)["enable_managed_spot_training"]
    assert (sdk_jobs._compute(spare)["instance_type"], sdk_jobs._compute(spare)["instance_count"]) == ("ml.c5.xlarge", 1)
