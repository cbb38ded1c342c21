"""Conformance: experiments, their trials and components, and the metrics that users put."""

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import Cloud


def made(cloud: Cloud, name: str) -> str:
    """Make an experiment with a trial and a component in it, all of one name."""
    cloud.sagemaker.create_experiment(ExperimentName=name, Description="conformance")
    cloud.sagemaker.create_trial(TrialName=name, ExperimentName=name)
    cloud.sagemaker.create_trial_component(TrialComponentName=name, Tags=[{"Key": "kind", "Value": "run"}])
    cloud.sagemaker.associate_trial_component(TrialName=name, TrialComponentName=name)
    return name


def gone(cloud: Cloud, name: str) -> None:
    """Delete what `made` has made."""
    cloud.sagemaker.disassociate_trial_component(TrialName=name, TrialComponentName=name)
    cloud.sagemaker.delete_trial_component(TrialComponentName=name)
    cloud.sagemaker.delete_trial(TrialName=name)
    cloud.sagemaker.delete_experiment(ExperimentName=name)


def equals(**names: str) -> dict[str, Any]:
    filters = [{"Name": name.replace("__", "."), "Operator": "Equals", "Value": value} for name, value in names.items()]
    return {"Resource": "ExperimentTrialComponent", "SearchExpression": {"Filters": filters}}


def test_a_component_is_found_by_its_experiment_and_trial(cloud: Cloud) -> None:
    sagemaker = cloud.sagemaker
    name = made(cloud, f"gn-{cloud.run}-found")
    other = f"gn-{cloud.run}-alone"
    sagemaker.create_trial_component(TrialComponentName=other)

    cloud.until(lambda: sagemaker.search(**equals(TrialComponentName=name, Parents__TrialName=name))["Results"])

    [found] = sagemaker.search(**equals(TrialComponentName=name))["Results"]
    told = found["TrialComponent"]
    assert told["Parents"] == [{"TrialName": name, "ExperimentName": name}]
    assert told["Tags"] == [{"Key": "kind", "Value": "run"}]
    assert sagemaker.search(**equals(TrialComponentName=other, Parents__TrialName=name))["Results"] == []
    listed = sagemaker.list_trial_components(ExperimentName=name)["TrialComponentSummaries"]
    assert [one["TrialComponentName"] for one in listed] == [name]
    assert [one["TrialName"] for one in sagemaker.list_trials(TrialComponentName=name)["TrialSummaries"]] == [name]
    assert sagemaker.describe_trial(TrialName=name)["ExperimentName"] == name
    pages = sagemaker.get_paginator("list_experiments").paginate(PaginationConfig={"PageSize": 1})
    assert name in [one["ExperimentName"] for page in pages for one in page["ExperimentSummaries"]]
    with pytest.raises(ClientError, match="already exists"):
        sagemaker.create_experiment(ExperimentName=name)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        sagemaker.create_trial(TrialName=other, ExperimentName=other)
    with pytest.raises(ClientError):
        sagemaker.delete_experiment(ExperimentName=name)
    sagemaker.delete_trial_component(TrialComponentName=other)
    gone(cloud, name)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        sagemaker.describe_experiment(ExperimentName=name)


def test_what_is_changed_of_a_component_is_there_and_its_metrics_are_summed_up(cloud: Cloud) -> None:
    sagemaker = cloud.sagemaker
    name = made(cloud, f"gn-{cloud.run}-measured")
    sagemaker.update_experiment(ExperimentName=name, DisplayName="shown")
    sagemaker.update_trial(TrialName=name, DisplayName="tried")
    sagemaker.update_trial_component(
        TrialComponentName=name, Parameters={"eta": {"NumberValue": 0.3}, "kind": {"StringValue": "a"}}
    )
    sagemaker.update_trial_component(
        TrialComponentName=name, Status={"PrimaryStatus": "Completed"}, ParametersToRemove=["kind"]
    )
    now = int(time.time())
    loss = [{"MetricName": "loss", "Timestamp": now + step, "Step": step, "Value": 4.0 - step} for step in range(4)]

    assert cloud.metrics.batch_put_metrics(TrialComponentName=name, MetricData=loss).get("Errors", []) == []
    assert cloud.metrics.batch_put_metrics(TrialComponentName=name, MetricData=loss).get("Errors", []) == [], "again"

    assert sagemaker.describe_experiment(ExperimentName=name)["DisplayName"] == "shown"
    assert sagemaker.describe_trial(TrialName=name)["DisplayName"] == "tried"
    cloud.until(lambda: sagemaker.describe_trial_component(TrialComponentName=name).get("Metrics"))
    told = sagemaker.describe_trial_component(TrialComponentName=name)
    assert told["Parameters"] == {"eta": {"NumberValue": 0.3}}
    assert told["Status"]["PrimaryStatus"] == "Completed"
    [metric] = told["Metrics"]
    assert [metric[key] for key in ("MetricName", "Min", "Max", "Last", "Count", "Avg")] == ["loss", 1.0, 4.0, 1.0, 4, 2.5]
    with pytest.raises(ClientError, match="ResourceNotFound"):
        cloud.metrics.batch_put_metrics(TrialComponentName="gn-nowhere", MetricData=loss)
    gone(cloud, name)
