"""docker-compose.yml stands for the same product as `gamenight up`: the parts, the settings and the commands are the same."""

import importlib.util
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from contracts.settings import Settings, variable
from deploy.local.components import components
from deploy.local.install import IMAGES, training_step

ROOT: Final = Path(__file__).resolve().parents[2]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS: Final = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service["image"] == "gamenight" and service["command"][0] == "python"
}
SETTINGS: Final = {variable(name, field.validation_alias) for name, field in Settings.model_fields.items()}


def test_every_part_of_up_is_a_service() -> None:
    parts = {part.name for part in components(Settings(home=Path("unused"), tools=ROOT / ".tools"))}

    assert parts <= COMPOSE["services"].keys()


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_given_settings_that_exist_and_a_module_that_exists(name: str) -> None:
    service = OURS[name]

    assert service["environment"].keys() <= SETTINGS
    assert service["command"][1] == "-m"
    assert importlib.util.find_spec(service["command"][2]) is not None


def test_services_meet_at_the_addresses_that_they_open() -> None:
    services, defaults = COMPOSE["services"], Settings()
    given = OURS["api"]["environment"]

    assert {service["network_mode"] for name, service in services.items() if name != "pod"} == {"service:pod"}
    assert given["KAFKA_BOOTSTRAP_SERVERS"] in services["kafka"]["environment"]["KAFKA_LISTENERS"]
    assert given["AWS_ENDPOINT_URL_S3"].endswith(f":{services['s3']['environment']['GAMENIGHT_S3_PORT']}")
    assert f"-port {given['AWS_ENDPOINT_URL_DYNAMODB'].rsplit(':', 1)[1]} " in services["dynamodb"]["command"]
    assert services["pod"]["ports"] == [f"127.0.0.1:{defaults.port}:{defaults.port}"]


def test_the_containers_user_may_make_every_environment_that_training_needs() -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    [folder], [user] = re.findall(r"^WORKDIR (\S+)", dockerfile, re.M), re.findall(r"^USER (\S+)", dockerfile, re.M)
    [tools] = re.findall(r"GAMENIGHT_TOOLS=(\S+)", dockerfile)
    owned = {Path(folder) / path for paths in re.findall(rf"chown {user} (.+)", dockerfile) for path in paths.split()}
    trained = [step for image in IMAGES.iterdir() if (step := training_step(Path(tools), image.name)) is not None]

    assert [step.name for step in trained] == ["tensorflow training"]
    assert {step.made.parent for step in trained} <= owned
