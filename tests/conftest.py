"""What tests share: settings of their own home and ports, and the real services behind them, started once."""

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest

from contracts.settings import Settings
from deploy.local.archive import free_ports
from deploy.local.keys import with_secrets
from deploy.local.supervisor import running
from tests.complete import AllMustRun

ROOT = Path(__file__).resolve().parents[1]

FEWEST: Final = {"unit": 1150, "contract": 500, "integration": 160, "e2e": 39}
"""Tests that each folder has at least. Raise them as tests are added: a folder that lost most of its own passes otherwise."""

os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # else whoever finds no credentials asks an address beyond this machine

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")  # tests time nothing: a busy machine makes no example wrong


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """Let no test speak to another machine: what is meant for a local service would go to AWS's own."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        try:
            here = ipaddress.ip_address(arguments[1][0]).is_loopback
        except ValueError:
            here = arguments[1][0] in ("localhost", "")
        if not here:
            raise PermissionError(f"a test speaks to {arguments[1][:2]}, which is not this machine")


sys.addaudithook(_stay_here)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--all-must-run``, which `make test` gives."""
    parser.addoption(
        "--all-must-run", action="store_true", help="fail if a test is skipped or expected to fail, or if tests are missing"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch for what is left out, where nothing may be."""
    if config.getoption("--all-must-run"):
        config.pluginmanager.register(AllMustRun(FEWEST), "all-must-run")


def fresh_settings(home: Path) -> Settings:
    """Settings on an empty home, with ports that nobody has, and secrets made."""
    ports = ("port", "kafka_port", "kafka_controller_port", "sagemaker_port", "s3_port", "dynamodb_port")
    free = dict(zip(ports, free_ports(len(ports)), strict=True))
    return with_secrets(Settings(home=home, tools=ROOT / ".tools", aws_services="local", **free))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings on a fresh home and free ports, the same for the whole session."""
    return fresh_settings(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def kafka(settings: Settings) -> Iterator[str]:
    """The address of a real broker with the topics made."""
    with running(settings, ["kafka"]):
        yield settings.bootstrap_servers


@pytest.fixture(scope="session")
def local_aws(settings: Settings) -> Iterator[Settings]:
    """The settings, with S3, DynamoDB and SageMaker running where they say."""
    with running(settings, ["s3", "dynamodb", "sagemaker"]):
        yield settings
