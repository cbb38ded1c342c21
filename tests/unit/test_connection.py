"""Every Kafka client of the product is made with what producers.connection says, and secrets stay where they are."""

import ast
import base64
import urllib.parse
from pathlib import Path

import pytest
from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials

from contracts.settings import Settings
from producers.connection import ClientCredentials, MskToken, NotAdmitted, kafka_of
from streams.transport import credentials
from tests.http_fake import Answers, HttpFake

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("contracts", "producers", "streams", "api", "trainers", "deploy")
CLIENTS = {"KafkaProducer", "KafkaConsumer", "KafkaAdminClient", "KafkaClient", "KafkaConnectionManager", "App", "_App"}
ASYNC_CLIENTS = {"AIOKafkaProducer", "AIOKafkaConsumer", "AIOKafkaClient", "AIOKafkaAdminClient"}
SECURED = {
    "**self._client",
    "**client",
    "**place.security",
    "broker_credentials=credentials(place)",
    "**security(place)",
    "**security(self._kafka)",
    "**security(address)",
    "**security(self._address)",
}
"""How a call may say TLS and SASL: all are made of `kafka_of`."""


def calls() -> list[tuple[str, str, ast.Call]]:
    found = []
    for package in PRODUCT:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call):
                    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    found.append((str(file.relative_to(ROOT)), str(name), node))
    return found


def test_every_kafka_client_is_given_the_tls_and_sasl_of_the_settings() -> None:
    made = [(file, name, call) for file, name, call in calls() if name in CLIENTS | ASYNC_CLIENTS]
    assert {(file, name) for file, name, _ in made} == {
        ("producers/kafka_bus.py", "KafkaProducer"),
        ("producers/kafka_bus.py", "KafkaConsumer"),
        ("producers/cutting.py", "KafkaProducer"),
        ("producers/connection.py", "KafkaConnectionManager"),
        ("producers/topics.py", "KafkaAdminClient"),
        ("producers/loop_client.py", "AIOKafkaProducer"),
        ("producers/loop_client.py", "AIOKafkaConsumer"),
        ("producers/loop_client.py", "AIOKafkaAdminClient"),
        ("streams/transport.py", "AIOKafkaProducer"),
        ("streams/transport.py", "_App"),
    }
    for file, name, call in made:
        said = {f"**{ast.unparse(k.value)}" if k.arg is None else f"{k.arg}={ast.unparse(k.value)}" for k in call.keywords}
        assert said & SECURED, f"{name} in {file}:{call.lineno} is made without TLS and SASL"


def test_the_product_opens_its_bus_by_the_settings_never_by_an_address() -> None:
    by_address = [
        f"{file}:{call.lineno}"
        for file, name, call in calls()
        if name == "open_bus" and call.args and isinstance(call.args[0], ast.JoinedStr | ast.Constant)
    ]
    assert by_address == []


def test_without_settings_neither_tls_nor_sasl_is_spoken() -> None:
    place = kafka_of(Settings(kafka_port=9))
    assert (place.servers, place.security, credentials(place)) == (("127.0.0.1:9",), {}, None)


def test_faust_is_told_the_same_as_kafka_python() -> None:
    scram = kafka_of(Settings(kafka_security_protocol="SASL_SSL", kafka_sasl_username="u", kafka_sasl_password="p"))
    told = credentials(scram)
    assert isinstance(told, SASLCredentials)
    assert (told.username, told.password, told.mechanism.value) == ("u", "p", scram.security["sasl_mechanism"])
    assert (told.protocol.value, told.ssl_context) == ("SASL_SSL", scram.security["ssl_context"])
    tls = kafka_of(Settings(kafka_security_protocol="SSL"))
    assert isinstance(credentials(tls), SSLCredentials)
    bearer = Settings(
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="OAUTHBEARER",
        kafka_oauth_token_url="https://tokens.example/token",
        kafka_oauth_client_id="c",
        kafka_oauth_client_secret="s",
    )
    assert isinstance(credentials(kafka_of(bearer)), OAuthCredentials)


def test_secrets_are_in_no_text_of_settings_or_place() -> None:
    settings = Settings(
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_username="u",
        kafka_sasl_password="hidden-1",
        kafka_oauth_client_secret="hidden-2",
    )
    assert "hidden" not in f"{settings!r} {settings} {kafka_of(settings)!r}"


class _Server(HttpFake):
    """A token endpoint whose tokens last as long as it is told."""

    def __init__(self, lasts_s: int) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Tokens(Answers):
            def do_POST(self) -> None:
                asked.append(self.body().decode())
                self.answer(f'{{"access_token": "token-{len(asked)}", "expires_in": {lasts_s}}}'.encode())

        super().__init__(Tokens)


@pytest.mark.parametrize(("lasts_s", "second"), [(300, "token-1"), (0, "token-2")])
def test_a_token_is_kept_while_it_lasts_and_then_replaced(lasts_s: int, second: str) -> None:
    server = _Server(lasts_s)
    try:
        tokens = ClientCredentials(
            Settings(
                kafka_oauth_token_url=server.url,
                kafka_oauth_client_id="c",
                kafka_oauth_client_secret="s",
                kafka_oauth_scope="game",
            )
        )
        assert (tokens.token(), tokens.token()) == ("token-1", second)
        assert urllib.parse.parse_qs(server.asked[0]) == {"grant_type": ["client_credentials"], "scope": ["game"]}
    finally:
        server.close()


def test_a_token_server_that_is_away_is_named() -> None:
    settings = Settings(
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="OAUTHBEARER",
        kafka_oauth_token_url="http://127.0.0.1:9/token",
        kafka_oauth_client_id="c",
        kafka_oauth_client_secret="s",
    )
    with pytest.raises(NotAdmitted, match=r"http://127\.0\.0\.1:9/token gives no token .*: check KAFKA_OAUTH_TOKEN_URL"):
        kafka_of(settings).security["sasl_oauth_token_provider"].token()


def test_a_token_for_msk_is_a_signed_request_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "AKIDEXAMPLE", "SECRET_ACCESS_KEY": "secret", "SESSION_TOKEN": "session"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)

    token = MskToken("eu-west-1").token()

    signed = urllib.parse.urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    query = urllib.parse.parse_qs(signed.query)
    assert (signed.scheme, signed.netloc) == ("https", "kafka.eu-west-1.amazonaws.com")
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert query["X-Amz-Credential"][0].startswith("AKIDEXAMPLE/")
    assert query["X-Amz-Credential"][0].endswith("/eu-west-1/kafka-cluster/aws4_request")
    assert (query["X-Amz-Security-Token"], query["X-Amz-Expires"]) == (["session"], ["900"])
