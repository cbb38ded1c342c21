"""Chooses the SageMaker that the conformance cases ask: a local one, or the one of the settings (docs/sagemaker-local.md)."""

from collections.abc import Iterator

import pytest

from contracts.settings import Settings
from tests.conftest import ROOT
from tests.contract.sagemaker_cases import Cloud, conformance_suite

_LAST = "test_the_conformance_suite_was_answered_to_every_operation"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the test of which operations the conformance suite has called after the suite; leave it out if only a part runs.

    The suite is all tests that ask the cloud, whatever the document lists: a new file, or one with another name, changes
    nothing here. `make test` fails a run in which the test was left out (tests/complete.py).
    """
    last = [item for item in items if item.name == _LAST]
    if not last:
        return
    whole = conformance_suite() <= {item.path.relative_to(ROOT).as_posix() for item in items}
    items[:] = [item for item in items if item not in last] + (last if whole else [])
    if not whole:
        config.hook.pytest_deselected(items=last)


@pytest.fixture(scope="session")
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Yield clients of the SageMaker that the settings name; if they name none, of a local one that is started for it."""
    outside = Settings.load()
    here = outside.aws_endpoint_url_sagemaker is None and outside.aws_services != "cloud"
    made = Cloud(request.getfixturevalue("local_aws") if here else outside)
    yield made
    made.clean_up()
