"""The table in docs/sagemaker-local.md names what there is, and nothing else."""

import re

import pytest

from contracts.settings import Settings
from deploy.local.sagemaker import wire
from deploy.local.sagemaker.app import Sagemaker
from tests.conftest import ROOT
from tests.contract.sagemaker_cases import Cloud, conformance_suite

TABLE = (ROOT / "docs" / "sagemaker-local.md").read_text()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Sagemaker:
    return Sagemaker(Settings(aws_services="local", home=tmp_path_factory.mktemp("home")))


def test_the_table_names_every_operation_and_no_other(service: Sagemaker) -> None:
    rows = re.findall(r"^\| (.+?) \| (?:yes|partly) \|", TABLE, re.M)
    named = {name for row in rows for name in re.sub(r" \([\w ]+\)", "", row).split(", ")}
    there = {name for operations in service.operations.values() for name in operations} | {"InvokeEndpoint"}
    assert named == there
    service.state.close()


def test_the_document_names_every_file_of_the_conformance_suite_and_no_other() -> None:
    told = TABLE[TABLE.index("## The conformance suite") :]
    command = re.search(r"test_sagemaker_\{([a-z,]+)\}\.py", told)
    assert command is not None

    assert set(re.findall(r"tests/contract/test_sagemaker_\w+\.py", told)) == conformance_suite()
    assert {f"tests/contract/test_sagemaker_{name}.py" for name in command[1].split(",")} == conformance_suite()


def test_the_conformance_suite_was_answered_to_every_operation(service: Sagemaker, cloud: Cloud) -> None:
    """Runs after the suite, and only with the whole of it: see conftest.py."""
    there = {name for operations in service.operations.values() for name in operations} | {"InvokeEndpoint"}
    assert there - cloud.answered == set()


def test_every_operation_is_one_of_aws(service: Sagemaker) -> None:
    for name, operations in service.operations.items():
        assert set(operations) <= set(wire.service(name).operation_names)
