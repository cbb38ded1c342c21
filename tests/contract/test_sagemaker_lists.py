"""Conformance: what the List operations leave out, in what order they give the rest, and page by page."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.sagemaker_cases import Cloud


@dataclass(frozen=True)
class Kind:
    """How resources of one kind are made, listed and named."""

    operation: str
    member: str
    name: str
    make: Callable[[Cloud], str]
    contains: str


KINDS = {
    "models": Kind("list_models", "Models", "ModelName", lambda cloud: cloud.model(), "model"),
    "configs": Kind(
        "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", lambda cloud: cloud.config(v1=1), "config"
    ),
    "endpoints": Kind("list_endpoints", "Endpoints", "EndpointName", lambda cloud: cloud.begun(cloud.config(v1=1)), "endpoint"),
    "jobs": Kind("list_training_jobs", "TrainingJobSummaries", "TrainingJobName", lambda cloud: cloud.train(), "job"),
    "groups": Kind(
        "list_model_package_groups",
        "ModelPackageGroupSummaryList",
        "ModelPackageGroupName",
        lambda cloud: cloud.group(),
        "group",
    ),
}


class Listed:
    """The resources of one kind that this run has made."""

    def __init__(self, cloud: Cloud, kind: Kind) -> None:
        self._cloud, self._kind = cloud, kind
        self.made = [kind.make(cloud) for _ in range(3)]

    def documents(self, **given: object) -> list[dict[str, Any]]:
        """Those that the list has, in its order, two a page."""
        pages = self._cloud.sagemaker.get_paginator(self._kind.operation).paginate(
            **{"NameContains": f"gn-{self._cloud.run}-{self._kind.contains}", "PaginationConfig": {"PageSize": 2}, **given}
        )
        return [document for page in pages for document in page[self._kind.member]]

    def names(self, **given: object) -> list[str]:
        """Their names."""
        return [document[self._kind.name] for document in self.documents(**given)]


@pytest.fixture(scope="module", params=KINDS)
def listed(cloud: Cloud, request: pytest.FixtureRequest) -> Listed:
    return Listed(cloud, KINDS[request.param])


def test_a_list_is_in_the_order_that_is_asked_for(listed: Listed) -> None:
    by_time = [name for name in listed.names(SortBy="CreationTime", SortOrder="Ascending") if name in listed.made]
    assert by_time == listed.made
    names = listed.names(SortBy="Name", SortOrder="Ascending")
    assert set(listed.made) <= set(names)
    assert names == sorted(set(names))
    assert listed.names(SortBy="Name", SortOrder="Descending") == names[::-1]
    newest_first = listed.documents(SortBy="CreationTime", SortOrder="Descending")
    times = [document["CreationTime"] for document in newest_first]
    assert times == sorted(times, reverse=True)
    assert listed.names(SortOrder="Descending") == listed.names(SortBy="CreationTime", SortOrder="Descending")


def test_a_list_has_only_what_fits_name_and_times(listed: Listed) -> None:
    first, _, last = (next(one for one in listed.documents() if name in one.values()) for name in listed.made)
    step = timedelta(seconds=1)
    assert set(listed.made) <= set(listed.names(CreationTimeAfter=first["CreationTime"] - step))
    assert set(listed.made) <= set(listed.names(CreationTimeBefore=last["CreationTime"] + step))
    assert not listed.names(CreationTimeAfter=last["CreationTime"] + timedelta(days=1))
    assert not set(listed.made) & set(listed.names(CreationTimeBefore=first["CreationTime"]))
    assert listed.names(NameContains=listed.made[1]) == [listed.made[1]]
    assert not listed.names(NameContains="us-east-1")


@pytest.mark.parametrize("kind", ["endpoints", "jobs"])
def test_what_has_a_status_is_listed_by_it_and_by_the_time_of_its_last_change(cloud: Cloud, kind: str) -> None:
    listed = Listed(cloud, KINDS[kind])
    status = {"endpoints": "EndpointStatus", "jobs": "TrainingJobStatus"}[kind]
    ready = {"endpoints": "InService", "jobs": "Completed"}[kind]
    cloud.until(lambda: set(listed.made) <= set(listed.names(StatusEquals=ready)))

    documents = listed.documents(SortBy="Status", SortOrder="Ascending")

    assert [one[status] for one in documents] == sorted(one[status] for one in documents)
    changed = max(one["LastModifiedTime"] for one in documents)
    assert not listed.names(LastModifiedTimeAfter=changed)
    assert set(listed.made) <= set(listed.names(LastModifiedTimeBefore=changed + timedelta(seconds=1)))


def test_packages_are_found_by_the_name_of_their_group_and_sorted_by_number(cloud: Cloud) -> None:
    group = cloud.group()
    made = [cloud.package(group) for _ in range(11)]

    def listed(**given: object) -> list[str]:
        pages = cloud.sagemaker.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=group, PaginationConfig={"PageSize": 4}, **given
        )
        return [package["ModelPackageArn"] for page in pages for package in page["ModelPackageSummaryList"]]

    for order, expected in (("Ascending", made), ("Descending", made[::-1])):
        assert listed(SortBy="Name", SortOrder=order) == expected
        assert listed(SortBy="CreationTime", SortOrder=order) == expected
    assert set(listed(NameContains=group[3:])) == set(made)
    for nobody in ("sagemaker", "us-east", "model-package", "arn"):
        assert not listed(NameContains=nobody)
    assert set(listed(ModelPackageType="Both")) == set(made)


@pytest.mark.parametrize("token", ["bnVsbA==", "MQ==", "WzEsMl0=", "W1tdLCJhIiwwXQ==", "W" * 4000, "ü"])
def test_a_token_of_nobody_is_refused(cloud: Cloud, token: str) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.sagemaker.list_models(NextToken=token)
