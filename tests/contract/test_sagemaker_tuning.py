"""Conformance: hyperparameter tuning jobs as boto3 sees them, with the image's own training jobs."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import Cloud, npz

METRIC = "train:accuracy"


def request(cloud: Cloud, data: str, strategy: str, most: int, ranges: dict[str, Any], **fixed: str) -> dict[str, Any]:
    """The request for CreateHyperParameterTuningJob, without a name."""
    job = cloud.job_request(data, **fixed)
    job["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": METRIC, "Regex": r"train-accuracy=([0-9.]+)"}]
    static = {name: value for name, value in job.pop("HyperParameters").items() if name not in str(ranges)}
    return {
        "HyperParameterTuningJobConfig": {
            "Strategy": strategy,
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": METRIC},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": most, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": ranges,
            "RandomSeed": 5,
        },
        "TrainingJobDefinition": {"StaticHyperParameters": static, **job},
    }


def described(cloud: Cloud, name: str) -> dict[str, Any]:
    return dict(cloud.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name))


def ended(cloud: Cloud, name: str) -> dict[str, Any]:
    cloud.until(lambda: described(cloud, name)["HyperParameterTuningJobStatus"] in ("Completed", "Failed", "Stopped"))
    return described(cloud, name)


def create(cloud: Cloud, **given: Any) -> str:
    name = cloud.name("tuning")
    cloud.sagemaker.create_hyper_parameter_tuning_job(HyperParameterTuningJobName=name, **given)
    return name


def test_a_tuning_job_tries_hyperparameters_and_keeps_the_best(cloud: Cloud, channel_of_bars: str) -> None:
    ranges = {
        "IntegerParameterRanges": [{"Name": "max_depth", "MinValue": "1", "MaxValue": "4"}],
        "ContinuousParameterRanges": [{"Name": "eta", "MinValue": "0.1", "MaxValue": "0.9"}],
    }
    name = create(cloud, **request(cloud, channel_of_bars, "Bayesian", 3, ranges, rounds="2"))

    job = ended(cloud, name)

    assert job["HyperParameterTuningJobStatus"] == "Completed", job
    assert job["TrainingJobStatusCounters"]["Completed"] == job["ObjectiveStatusCounters"]["Succeeded"] == 3
    listed = cloud.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, SortBy="FinalObjectiveMetricValue", SortOrder="Descending"
    )["TrainingJobSummaries"]
    values = [one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for one in listed]
    assert values == sorted(values, reverse=True)
    best = job["BestTrainingJob"]
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == values[0]
    assert len({str(one["TunedHyperParameters"]) for one in listed}) == 3
    trained = cloud.job(best["TrainingJobName"])
    assert trained["TuningJobArn"] == job["HyperParameterTuningJobArn"]
    assert trained["HyperParameters"].items() >= best["TunedHyperParameters"].items()
    assert trained["HyperParameters"]["rounds"] == "2"
    pages = cloud.sagemaker.get_paginator("list_hyper_parameter_tuning_jobs").paginate(NameContains=name)
    [summary] = [one for page in pages for one in page["HyperParameterTuningJobSummaries"]]
    assert (summary["Strategy"], summary["HyperParameterTuningJobStatus"]) == ("Bayesian", "Completed")
    with pytest.raises(cloud.sagemaker.exceptions.ResourceInUse):
        cloud.sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, **request(cloud, channel_of_bars, "Random", 1, ranges)
        )
    cloud.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    with pytest.raises(ClientError, match="Could not find requested job"):
        described(cloud, name)


def test_a_grid_that_is_stopped_stops_its_training_jobs(cloud: Cloud, channel_of_bars: str) -> None:
    grid = {
        "CategoricalParameterRanges": [{"Name": "eta", "Values": ["0.1", "0.3"]}, {"Name": "max_depth", "Values": ["2", "3"]}]
    }
    name = create(cloud, **request(cloud, channel_of_bars, "Grid", 4, grid, rounds="100000"))
    cloud.until(lambda: described(cloud, name)["TrainingJobStatusCounters"]["InProgress"] == 2)

    cloud.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)

    job = ended(cloud, name)
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert (job["TrainingJobStatusCounters"]["InProgress"], job["TrainingJobStatusCounters"]["Stopped"]) == (0, 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"Strategy": "Hyperband"}, "Hyperband"),
        ({"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "other"}}, "other"),
        ({"ParameterRanges": {}}, "nothing can be tuned"),
    ],
)
def test_a_tuning_job_from_which_nothing_can_come_is_refused(cloud: Cloud, change: dict[str, Any], told: str) -> None:
    ranges = {"IntegerParameterRanges": [{"Name": "max_depth", "MinValue": "1", "MaxValue": "4"}]}
    asked = request(cloud, "s3://bucket/data", "Random", 1, ranges)
    asked["HyperParameterTuningJobConfig"] |= change
    with pytest.raises(ClientError, match=f"ValidationException.*{told}"):
        create(cloud, **asked)


@pytest.fixture(scope="module")
def channel_of_bars(cloud: Cloud) -> str:
    return cloud.put(npz(200))
