"""What tests share: settings of their own home and ports, and the real services behind them, started once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.settings import Settings
from deploy.local.archive import free_ports
from deploy.local.keys import with_secrets
from deploy.local.supervisor import running

ROOT = Path(__file__).resolve().parents[1]

_must_run: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Where CI is set, a skipped test against the real thing counts as failed: otherwise nothing would have been tested."""
    real = report.nodeid.startswith(("tests/integration/", "tests/e2e/"))
    if report.skipped and real and os.environ.get("CI"):
        _must_run.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for what was skipped and must not be."""
    if _must_run:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nskipped, which CI takes for failed: {', '.join(_must_run)}")


def fresh_settings(home: Path) -> Settings:
    """Settings on an empty home, with ports that nobody has, and secrets made."""
    ports = ("port", "kafka_port", "kafka_controller_port", "sagemaker_port", "s3_port", "dynamodb_port")
    return with_secrets(
        Settings(home=home, tools=ROOT / ".tools", **dict(zip(ports, free_ports(len(ports)), strict=True)))  # type: ignore[arg-type]
    )


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
