"""Names and progress of training jobs."""

import importlib.util
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import pytest
from botocore.exceptions import EndpointConnectionError

from contracts.prices import dollars
from contracts.settings import Settings
from trainers import sdk_jobs
from trainers.jobs import JobRequest, fraction_of, job_name
from trainers.sdk_environment import TRIES, sdk_environment
from trainers.standing import JobStanding

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


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (
            "round=10/40 train-mlogloss=0.61 train-accuracy=0.95",
            "round=20/40 train-accuracy=0.97",
            "round 20/40, train-accuracy 0.97",
        ),
        ("epoch=1/4 train-loss=0.20932", "epoch=2/4 train-loss=0.1", "epoch 2/4, train-loss 0.1"),
        ("round=3/15 train-distance=0.17321", "round=5/15 train-distance=0.17", "round 5/15, train-distance 0.17"),
    ],
)
def test_rounds_metric_time_left_and_cost_are_told_of_every_algorithm(first: str, second: str, told: str) -> None:
    standing = JobStanding(lambda seconds: dollars(seconds / 1000))
    standing.told("Training", [first], 100.0)
    said = standing.told("Training", [second], 110.0)
    assert said.startswith(f"Training, {told}, about ")
    assert said.endswith(" s left, $0.0100 so far")


def test_a_trainer_that_comes_to_a_job_of_another_tells_its_cost_from_the_beginning_and_no_time_left_by_old_lines() -> None:
    standing = JobStanding(lambda seconds: dollars(seconds / 1000))
    before = [f"round={n}/40 train-accuracy=0.9" for n in range(1, 11)]
    assert standing.told("Training", before, 500.0, 60.0) == "Training, round 10/40, train-accuracy 0.9, $0.0600 so far"
    told = standing.told("Training", ["round=11/40 train-accuracy=0.9"], 505.0, 65.0)
    assert told == "Training, round 11/40, train-accuracy 0.9, about 145 s left, $0.0650 so far"


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
    assert "enable_managed_spot_training" not in sdk_jobs._compute(Settings(), 1)
    spare = Settings(training_spot=True, training_limit_s=9000, training_instance="ml.c5.xlarge")
    assert sdk_jobs._limits(spare) == {"max_runtime_in_seconds": 9000, "max_wait_time_in_seconds": 9000}
    assert sdk_jobs._compute(spare, 3)["enable_managed_spot_training"]
    assert (sdk_jobs._compute(spare, 3)["instance_type"], sdk_jobs._compute(spare, 3)["instance_count"]) == ("ml.c5.xlarge", 3)


def test_the_sdk_waits_for_a_sagemaker_that_is_started_again_and_says_in_a_sentence_that_it_is_not_there(monkeypatch) -> None:
    settings = Settings(aws_services="local", sagemaker_port=1)
    assert (environment := sdk_environment(settings))["AWS_RETRY_MODE"] == "standard"
    assert int(environment["AWS_MAX_ATTEMPTS"]) == TRIES

    def train(*_: Any, **__: Any) -> None:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    modules = ("", ".core", ".core.helper", ".core.parameter", ".core.shapes", ".core.training", ".train", ".train.tuner")
    modules += (".core.helper.session_helper", ".core.training.configs", ".train.model_trainer")
    for name in modules:  # as little of the SDK as is asked for: it takes seconds to import
        monkeypatch.setitem(sys.modules, f"sagemaker{name}", MagicMock())
    trainer = MagicMock(ModelTrainer=lambda **_: SimpleNamespace(train=train))
    monkeypatch.setitem(sys.modules, "sagemaker.train.model_trainer", trainer)
    monkeypatch.setattr(sys.modules["sagemaker"].train, "model_trainer", trainer)
    monkeypatch.setattr(sdk_jobs.signal, "signal", lambda *_: None)
    request = JobRequest("job", "image", "s3://b/train/", "s3://b/models", {})

    told = sdk_jobs.submit_with_sdk(settings, lambda: json.dumps(asdict(request)))

    assert told == 'Could not connect to the endpoint URL: "http://127.0.0.1:1"'


def test_the_sdk_is_imported_without_what_only_its_validator_of_formats_would_build_a_parser_for(monkeypatch) -> None:
    formats = importlib.util.find_spec("jsonschema._format")
    assert formats
    assert formats.origin
    for name in sdk_jobs._SLOW:
        monkeypatch.delitem(sys.modules, name, raising=False)
        assert name in Path(formats.origin).read_text(), f"jsonschema does not ask for {name} any more"

    sdk_jobs.leave_out_slow()

    for name in sdk_jobs._SLOW:
        assert sys.modules[name] is None, f"{name} would be imported"
        monkeypatch.delitem(sys.modules, name)
