"""Defines fixtures that tests share: settings with a home and ports of their own, and the real services, started once."""

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from contracts.settings import Settings
from deploy.local.archive import free_ports
from deploy.local.keys import with_secrets
from deploy.local.supervisor import running
from tests.complete import AllMustRun

ROOT = Path(__file__).resolve().parents[1]

os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # else a client without credentials asks an address beyond this machine

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")  # no deadline: a busy machine makes no example wrong

structlog.configure(  # as it is by default, but for a traceback without every frame's variables, which takes seconds to write
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """Let no test connect to another machine: a call for a local service might go to AWS."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        try:
            here = ipaddress.ip_address(arguments[1][0]).is_loopback
        except ValueError:
            here = arguments[1][0] in ("localhost", "")
        if not here:
            raise PermissionError(f"a test speaks to {arguments[1][:2]}, which is not this machine")


sys.addaudithook(_stay_here)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--all-must-run``, which `make test` gives."""
    parser.addoption(
        "--all-must-run",
        type=int,
        metavar="N",
        help="fail if a test is skipped or expected to fail, or if there are fewer than N",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch for tests that are left out, if all must run."""
    if (fewest := config.getoption("--all-must-run")) is not None:
        config.pluginmanager.register(AllMustRun(fewest), "all-must-run")


def fresh_settings(home: Path) -> Settings:
    """Return settings with an empty home, free ports, and new secrets."""
    ports = ("port", "kafka_port", "kafka_controller_port", "sagemaker_port", "s3_port", "dynamodb_port")
    free = dict(zip(ports, free_ports(len(ports)), strict=True))
    return with_secrets(Settings(home=home, tools=ROOT / ".tools", aws_services="local", **free))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings with a fresh home and free ports, the same for the whole session."""
    return fresh_settings(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def kafka(settings: Settings) -> Iterator[str]:
    """Yield the address of a real broker on which the topics exist."""
    with running(settings, ["kafka"]):
        yield settings.bootstrap_servers


@pytest.fixture(scope="session")
def local_aws(settings: Settings) -> Iterator[Settings]:
    """Yield the settings, with S3, DynamoDB and SageMaker running at their addresses."""
    with running(settings, ["s3", "dynamodb", "sagemaker"]):
        yield settings
