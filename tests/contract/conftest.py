"""Where the conformance cases of SageMaker are asked: here, or wherever the settings say (docs/sagemaker-local.md)."""

from collections.abc import Iterator

import pytest

from contracts.settings import Settings
from tests.contract.sagemaker_cases import Cloud


@pytest.fixture(scope="session")
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Clients of the SageMaker that the settings name; where they name none, of a local one that is started for it."""
    outside = Settings.load()
    here = outside.aws_endpoint_url_sagemaker is None
    made = Cloud(request.getfixturevalue("local_aws") if here else outside)
    yield made
    made.clean_up()
