"""The settings, and the promise that the README names each of them."""

from pathlib import Path

import boto3
import pytest

from contracts.settings import SECRETS, Settings, variable

ROOT = Path(__file__).parents[2]


def test_the_readme_tells_of_every_setting_its_default_and_its_description():
    table = (ROOT / "README.md").read_text().partition("| variable | default | what |\n|---|---|---|\n")[2].partition("\n\n")[0]

    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    told = {name: (default, what) for name, default, what in rows}

    assert told == {
        f"`{variable(name, field.validation_alias)}`": (
            "" if field.default in (None, "") else f"`{field.default}`",
            field.description,
        )
        for name, field in Settings.model_fields.items()
    }


def test_every_setting_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_what_goes_to_a_child_comes_back_as_the_same_settings(monkeypatch):
    settings = Settings(port=8123, kafka_bootstrap_servers="kafka.example:9092", operator_token="t")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert settings == Settings()


def test_a_secret_on_disk_completes_the_settings_and_a_given_one_wins(tmp_path, monkeypatch):
    for name in SECRETS:
        monkeypatch.delenv(variable(name), raising=False)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "operator_token").write_text("from disk\n")
    assert Settings.load(home=tmp_path).operator_token == "from disk"
    assert Settings.load(home=tmp_path, operator_token="given").operator_token == "given"


@pytest.mark.parametrize("service", ["sagemaker", "sagemaker-runtime", "logs"])
def test_an_outside_sagemaker_takes_its_runtime_and_logs_along(service):
    settings = Settings(aws_endpoint_url_sagemaker="https://api.sagemaker.eu-west-1.amazonaws.com", aws_region="eu-west-1")
    assert ".eu-west-1.amazonaws.com" in boto3.client(service, **settings.aws(service)).meta.endpoint_url
