"""What is so of experiments on the local SageMaker alone: jobs that belong to one, what is refused, what does not fit."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deploy.local.sagemaker.errors import AwsError
from tests.contract.sagemaker_stage import Played, Stage


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


async def experiment(ask: Played) -> None:
    await ask("CreateExperiment", ExperimentName="e")
    await ask("CreateTrial", TrialName="t", ExperimentName="e")
    await ask("CreateTrialComponent", TrialComponentName="e-run")


def job(name: str, config: dict[str, str]) -> dict[str, Any]:
    metrics = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": "any:1", "TrainingInputMode": "File", "MetricDefinitions": metrics},
        "HyperParameters": {"eta": "0.3"},
        "RoleArn": "arn:aws:iam::123456789012:role/r",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "Environment": {"SCRIPT": "print('loss=0.5', flush=True)"},
        "ExperimentConfig": config,
    }


async def test_a_job_of_a_trial_is_its_component_with_its_metrics_and_one_of_a_run_is_a_source_of_it(stage: Stage) -> None:
    async with stage.service() as ask:
        await experiment(ask)
        made = [
            await ask("CreateTrainingJob", **job("Mine", {"ExperimentName": "e", "TrialName": "t"})),
            await ask("CreateTrainingJob", **job("other", {"ExperimentName": "e", "RunName": "e-run"})),
        ]
        await asyncio.gather(ask.secondary("Mine", "Completed"), ask.secondary("other", "Completed"))

        [listed] = (await ask("ListTrialComponents", TrialName="t"))["TrialComponentSummaries"]
        assert listed["TrialComponentName"] == "Mine-aws-training-job"
        told = await ask("DescribeTrialComponent", TrialComponentName="Mine-aws-training-job")
        assert told["Source"] == {"SourceArn": made[0]["TrainingJobArn"], "SourceType": "SageMakerTrainingJob"}
        assert told["Status"]["PrimaryStatus"] == "Completed"
        assert told["Parameters"] == {"eta": {"StringValue": "0.3"}}
        assert [(metric["MetricName"], metric["Last"]) for metric in told["Metrics"]] == [("loss", 0.5)]
        found = (await ask("ListTrialComponents", SourceArn=made[1]["TrainingJobArn"]))["TrialComponentSummaries"]
        assert [one["TrialComponentName"] for one in found] == ["e-run"]


async def test_a_job_of_what_is_not_there_is_refused_and_leaves_nothing(stage: Stage) -> None:
    async with stage.service() as ask:
        await experiment(ask)
        for config in ({"ExperimentName": "x", "TrialName": "t"}, {"TrialName": "x"}, {"RunName": "x"}):
            with pytest.raises(AwsError, match="'x' does not exist"):
                await ask("CreateTrainingJob", **job("never", config))
        assert (await ask("ListTrainingJobs"))["TrainingJobSummaries"] == []
        assert (await ask("ListTrialComponents", TrialName="t"))["TrialComponentSummaries"] == []


@pytest.mark.parametrize(
    "asked",
    [
        {"Resource": "TrainingJob"},
        {"Resource": "ExperimentTrialComponent", "SortBy": "Metrics.loss.Min"},
        {
            "Resource": "ExperimentTrialComponent",
            "SearchExpression": {"Filters": [{"Name": "Parameters.eta", "Operator": "GreaterThan", "Value": "0.1"}]},
        },
        {"Resource": "ExperimentTrialComponent", "SearchExpression": {"Operator": "Or"}},
    ],
)
async def test_a_search_that_this_machine_cannot_do_is_refused(stage: Stage, asked: dict[str, Any]) -> None:
    async with stage.service() as ask:
        with pytest.raises(AwsError, match="on this machine"):
            await ask("Search", **asked)


async def test_values_that_cannot_be_kept_are_told_by_their_index(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.sagemaker.trial_metrics._MOST_VALUES", 2)
    async with stage.service() as ask:
        await experiment(ask)
        put = ask.service.operations["sagemaker-metrics"]["BatchPutMetrics"]

        def value(number: float, step: int, at: int = 1) -> dict[str, Any]:
            return {"MetricName": "loss", "Timestamp": at, "Step": step, "Value": number}

        values = [value(1, 1), value(float("nan"), 2), value(2, 1), value(3, 2), value(4, 3), value(1, 1)]
        told = await put({"TrialComponentName": "e-run", "MetricData": values})

        assert [(one["MetricIndex"], one["Code"]) for one in told["Errors"]] == [
            (1, "VALIDATION_ERROR"),
            (2, "CONFLICT_ERROR"),
            (4, "METRIC_LIMIT_EXCEEDED"),
        ]
        [metric] = (await ask("DescribeTrialComponent", TrialComponentName="e-run"))["Metrics"]
        assert (metric["Count"], metric["Last"]) == (2, 3)
