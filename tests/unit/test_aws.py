"""Who signs for AWS: nothing is made up for Amazon's own services, and credentials that end are replaced."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.awsrequest import AWSResponse

from contracts.settings import Settings
from deploy.local.components import outside
from deploy.local.keys import with_secrets
from streams import endpoints
from streams.endpoints import Runtime, SageMakerEndpoint
from tests.http_fake import Answers, HttpFake

SERVICES = ("sagemaker", "sagemaker-runtime", "logs", "s3", "dynamodb")
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "sagemaker": ("list_endpoints", {}),
    "sagemaker-runtime": ("invoke_endpoint", {"EndpointName": "e", "Body": b""}),
    "logs": ("describe_log_groups", {}),
    "s3": ("head_bucket", {"Bucket": "b"}),
    "dynamodb": ("list_tables", {}),
}


@pytest.fixture(autouse=True)
def chain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without any credentials or region."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.delenv("GAMENIGHT_AWS", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return monkeypatch


def signed(settings: Settings, service: str) -> tuple[str, str, str | None]:
    """Host, access key and session token of a request to a service; it is caught before it leaves the process."""
    client = boto3.client(service, **settings.aws(service))  # type: ignore[call-overload, arg-type]
    sent: list[Any] = []

    def caught(request: Any, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(
            request.url, 200, {"content-type": "application/x-amz-json-1.1"}, _Raw(b"" if service == "s3" else b"{}")
        )

    client.meta.events.register("before-send", caught)
    operation, given = CALLS[service]
    getattr(client, operation)(**given)
    headers = {name.lower(): _text(value) for name, value in sent[0].headers.items()}
    key = headers["authorization"].partition("Credential=")[2].partition("/")[0]
    return sent[0].url.split("/")[2], key, headers.get("x-amz-security-token")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class _Raw:
    """An answer."""

    def __init__(self, said: bytes) -> None:
        self._said = [said]

    def stream(self, **_: Any) -> Iterator[bytes]:
        while self._said:
            yield self._said.pop()

    def read(self, *_: Any, **__: Any) -> bytes:
        return b"".join(self.stream())


@pytest.mark.parametrize("service", SERVICES)
def test_a_session_of_the_environment_signs_for_amazons_own(service: str, chain: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "ASIASESSION", "SECRET_ACCESS_KEY": "s", "SESSION_TOKEN": "tok"}.items():
        chain.setenv(f"AWS_{name}", value)
    chain.setenv("AWS_REGION", "eu-west-1")

    host, key, token = signed(Settings.load(), service)

    assert (host.endswith(".eu-west-1.amazonaws.com"), key, token) == (True, "ASIASESSION", "tok"), host


@pytest.mark.parametrize("service", SERVICES)
def test_a_profile_signs_and_names_the_region(service: str, chain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[game]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n")
    (tmp_path / "config").write_text("[profile game]\nregion = ap-south-1\n")
    chain.setenv("AWS_PROFILE", "game")
    made = with_secrets(Settings(home=tmp_path, aws_services="local"))  # this home has played on one machine before
    assert made.aws_access_key_id is not None

    host, key, token = signed(Settings.load(home=tmp_path), service)

    assert (host.endswith(".ap-south-1.amazonaws.com"), key, token) == (True, "AKIAPROFILE", None), host


def test_what_up_hands_to_a_child_of_the_cloud_makes_nothing_up(chain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = with_secrets(Settings(home=tmp_path, aws_services="cloud"))

    given = {name for name in settings.environment() if name.startswith("AWS_")}

    assert given == set()
    assert {"s3", "dynamodb", "sagemaker"} == outside(settings).keys()
    assert not (tmp_path / "secrets" / "aws_access_key_id").exists()


def test_on_one_machine_keys_are_made_and_used_for_what_is_here_alone(chain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = with_secrets(Settings(home=tmp_path))

    assert settings.aws_is_here
    for service in SERVICES:
        host, key, _ = signed(settings, service)
        assert (host.split(":")[0], key) == ("127.0.0.1", settings.aws_access_key_id)
    mixed = with_secrets(Settings(home=tmp_path, aws_endpoint_url_s3="https://s3.eu-west-1.amazonaws.com"))
    assert mixed.aws_access_key_id is None


def test_amazons_own_services_need_what_nobody_can_guess() -> None:
    assert Settings(aws_services="local").undecided() == []
    assert Settings().undecided() == ["GAMENIGHT_ROLE_ARN", "GAMENIGHT_IMAGE_REGISTRY", "GAMENIGHT_BUCKET"]
    given = {"role_arn": "arn:aws:iam::1:role/r", "image_registry": "1.dkr.ecr.eu-west-1.amazonaws.com/g-", "bucket": "mine"}
    assert Settings(**given).undecided() == []  # type: ignore[arg-type]


class Container(HttpFake):
    """The credentials endpoint of a container with a role, and an endpoint that notes who asked it."""

    def __init__(self) -> None:
        self.given = 0
        self.lasts = timedelta(minutes=5)  # less than botocore's 10 minutes: each look brings others
        self.asked: list[tuple[str, str | None]] = []
        of = self

        class Credentials(Answers):
            def do_GET(self) -> None:
                of.given += 1
                until = (datetime.now(UTC) + of.lasts).strftime("%Y-%m-%dT%H:%M:%SZ")
                said = {"AccessKeyId": f"ASIAROLE{of.given}", "SecretAccessKey": "s", "Token": f"t{of.given}"}
                self.answer(json.dumps(said | {"Expiration": until}).encode())

            def do_POST(self) -> None:
                self.body()
                key = self.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
                of.asked.append((key, self.headers.get("X-Amz-Security-Token")))
                self.answer(b"nothing")

        super().__init__(Credentials)


@pytest.fixture
def container() -> Iterator[Container]:
    made = Container()
    yield made
    made.close()


async def test_the_router_signs_with_a_containers_role_and_with_the_next_when_it_ends(
    chain: pytest.MonkeyPatch, container: Container
) -> None:
    chain.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.url}/role")
    chain.setenv("AWS_REGION", "eu-west-1")
    chain.setattr(endpoints, "LOOK_S", 0.0)
    runtime = Runtime(Settings(aws_endpoint_url_sagemaker_runtime=container.url))
    for _ in range(2):
        with pytest.raises(endpoints.EndpointDown, match="an answer"):
            await SageMakerEndpoint(runtime, "gamenight-xgboost").predict(np.zeros((1, 784), np.uint8))
    await runtime.close()

    (first, token), (second, other) = container.asked
    assert first.startswith("ASIAROLE")
    assert token == f"t{first.removeprefix('ASIAROLE')}"
    assert second != first, "the role's credentials have ended, and nobody has asked for others"
    assert other == f"t{second.removeprefix('ASIAROLE')}"


def test_the_router_finds_amazons_endpoint_by_the_region_of_the_profile(chain: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n")
    (tmp_path / "config").write_text("[default]\nregion = ap-south-1\n")
    runtime = Runtime(Settings())

    assert runtime._found_now().access_key == "AKIAPROFILE"

    assert (runtime._url, runtime._region) == ("https://runtime.sagemaker.ap-south-1.amazonaws.com", "ap-south-1")
