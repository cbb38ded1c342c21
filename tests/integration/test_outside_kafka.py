"""A Kafka that is somebody else's: TLS with an authority of one's own, SCRAM-SHA-512, OAUTHBEARER, as every part meets it."""

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from contracts.events import CorrectionGiven, decode
from contracts.settings import Settings
from producers.bus import open_bus
from producers.connection import NotAdmitted, kafka_of, knock
from producers.topics import check_topics, create_topics, open_admin
from tests.clusters import PASSWORD, Authority, Cluster, TokenServer, bearer, cluster, outside, scram

PARTS = {
    "api": ("api",),
    "router": ("streams", "router"),
    "learning": ("streams", "learning"),
    "trainer": ("trainers",),
    "provision": ("deploy.local.provision",),
    "gamenight": ("deploy.cli", "topics"),
}
MOST_S = 90.0
"""Within which all parts, started at once on a slow machine, have said what is wrong and ended."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def by_scram(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Cluster]:
    """A broker that takes SCRAM-SHA-512 over TLS, and nothing else from clients."""
    folder = tmp_path_factory.mktemp("scram")
    given = scram(authority.sign("broker"))
    with cluster(folder, protocol="SASL_SSL", properties=given, users={"gamenight": PASSWORD}) as made:
        yield made


def settings_of(made: Cluster, authority: Authority, home: Path, **given: Any) -> Settings:
    said = {
        "kafka_bootstrap_servers": made.servers,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_ssl_cafile": authority.file,
        "kafka_sasl_username": "gamenight",
        "kafka_sasl_password": PASSWORD,
    }
    return outside(home, **(said | given))


def spoken(settings: Settings) -> None:
    """Publish and read by kafka-python, and by Faust's own clients."""
    create_topics(settings)
    bus = open_bus(settings)
    try:
        said = CorrectionGiven(correction_id=uuid4(), drawing_id=uuid4(), player_id="p", label=3)
        kept = bus.publish(said).result(10)
        tail = bus.follow(["corrections.v1"], "start")
        deadline, heard = time.monotonic() + 10, set()
        while (kept.partition, kept.offset) not in heard and time.monotonic() < deadline:
            heard |= {(record.partition, record.offset) for record in tail.poll(0.5)}
        tail.close()
        assert (kept.partition, kept.offset) in heard
    finally:
        bus.close()


@contextmanager
def started(settings: Settings, *names: str) -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """Parts as processes, until the block ends."""
    environment = {**os.environ, **settings.environment()}
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-m", *PARTS[name]], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name in names
    }
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def refused(settings: Settings, *names: str) -> dict[str, str]:
    """What each part (or each that is named) says that does not start; each must have ended with 1."""
    deadline = time.monotonic() + MOST_S
    with started(settings, *(names or PARTS)) as processes:
        said = {}
        for name, process in processes.items():
            said[name], _ = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
            assert process.returncode == 1, f"{name} ended with {process.returncode}: {said[name]}"
        return said


def snapshot_from_faust(settings: Settings) -> None:
    """The learner, in a process of its own, says by Faust what it begins with."""
    bus = open_bus(settings)
    try:
        with started(settings, "learning") as processes:
            tail, deadline = bus.follow(["models.v1"], "start"), time.monotonic() + MOST_S
            kinds: set[str] = set()
            while "SnapshotTaken" not in kinds:
                assert processes["learning"].poll() is None, processes["learning"].communicate()[0]
                assert time.monotonic() < deadline, "the learner says nothing"
                kinds |= {decode(record.topic, record.value).type for record in tail.poll(0.5)}
            tail.close()
    finally:
        bus.close()


def test_every_client_speaks_by_scram_over_tls(by_scram: Cluster, authority: Authority, tmp_path: Path) -> None:
    settings = settings_of(by_scram, authority, tmp_path)
    spoken(settings)
    snapshot_from_faust(settings)


def test_no_part_starts_where_a_writer_stamps_commands_and_topics_sets_that_right(
    by_scram: Cluster, authority: Authority, tmp_path: Path
) -> None:
    settings = settings_of(by_scram, authority, tmp_path)
    create_topics(settings)
    admin = open_admin(settings)
    try:
        claims = {"message.timestamp.type": "CreateTime"}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "commands.v1", claims)])
    finally:
        admin.close()
    for name, said in refused(settings, "api", "router", "learning", "trainer").items():
        assert "commands.v1 (message.timestamp.type=CreateTime); the broker must stamp these records" in said, name
        assert "Traceback" not in said, name
    create_topics(settings)
    check_topics(settings)


def test_tokens_of_an_oauth_server_admit_every_client(authority: Authority, tmp_path: Path) -> None:
    tokens = TokenServer(tmp_path, {"gamenight": PASSWORD})
    jwks = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={tokens.jwks.as_uri()}"
    oauth = {
        "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_oauth_token_url": tokens.url,
        "kafka_oauth_client_id": "gamenight",
        "kafka_oauth_client_secret": PASSWORD,
    }
    try:
        given = bearer(authority.sign("bearer"), tokens)
        with cluster(tmp_path, protocol="SASL_SSL", properties=given, options=(jwks,)) as made:
            settings = settings_of(made, authority, tmp_path / "home", **oauth)
            spoken(settings)
            snapshot_from_faust(settings)

            stranger = settings.model_copy(update={"kafka_oauth_client_secret": "wrong"})
            with pytest.raises(NotAdmitted, match=r"gives no token \(401\): check KAFKA_OAUTH_CLIENT_ID"):
                knock(kafka_of(stranger), 20)
            forger = TokenServer(tmp_path / "home", {"gamenight": PASSWORD})  # its keys are not those that the broker trusts
            try:
                forged = settings.model_copy(update={"kafka_oauth_token_url": forger.url})
                with pytest.raises(NotAdmitted, match="does not admit us by OAUTHBEARER"):
                    knock(kafka_of(forged), 20)
            finally:
                forger.close()
    finally:
        tokens.close()


def test_a_wrong_password_is_told_by_every_part_in_one_line(by_scram: Cluster, authority: Authority, tmp_path: Path) -> None:
    said = refused(settings_of(by_scram, authority, tmp_path, kafka_sasl_password="wrong-horse"))

    for name, told in said.items():
        lines = [line for line in told.splitlines() if "does not admit us" in line]
        assert len(lines) == 1, f"{name}: {told}"
        assert "by SCRAM-SHA-512: check KAFKA_SASL_USERNAME and _PASSWORD" in lines[0], name
        assert "Traceback" not in told, f"{name}: {told}"
        assert "wrong-horse" not in told, name


def test_a_certificate_of_an_unknown_authority_is_told_by_every_part(
    by_scram: Cluster, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "another authority")

    said = refused(settings_of(by_scram, authority, tmp_path, kafka_ssl_cafile=other.file))

    for name, told in said.items():
        lines = [line for line in told.splitlines() if "is not to be trusted" in line]
        assert len(lines) == 1, f"{name}: {told}"
        assert "set KAFKA_SSL_CAFILE" in lines[0], name
        assert "Traceback" not in told, f"{name}: {told}"


def test_what_does_not_fit_is_told_at_once(by_scram: Cluster, authority: Authority, tmp_path: Path) -> None:
    def told(**given: Any) -> str:
        with pytest.raises(NotAdmitted) as wrong:
            knock(kafka_of(settings_of(by_scram, authority, tmp_path, **given)), 20)
        assert "\n" not in str(wrong.value)
        return str(wrong.value)

    assert "set KAFKA_SASL_MECHANISM to what it takes" in told(kafka_sasl_mechanism="PLAIN")
    assert "KAFKA_SASL_MECHANISM=SCRAM-SHA-512 needs KAFKA_SASL_PASSWORD" in told(kafka_sasl_password=None)
    assert "KAFKA_SSL_CAFILE=" in told(kafka_ssl_cafile=tmp_path / "absent.pem")
    assert "needs KAFKA_OAUTH_TOKEN_URL" in told(kafka_sasl_mechanism="OAUTHBEARER")


def test_an_expired_certificate_is_told_for_what_it_is(authority: Authority, tmp_path: Path) -> None:
    expired = authority.sign("expired", lasts=-timedelta(days=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(expired)
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]

        def show() -> None:
            with door.accept()[0] as visitor, suppress(ssl.SSLError, OSError):
                context.wrap_socket(visitor, server_side=True).close()

        threading.Thread(target=show, daemon=True).start()
        settings = outside(
            tmp_path,
            kafka_bootstrap_servers=f"127.0.0.1:{port}",
            kafka_security_protocol="SSL",
            kafka_ssl_cafile=authority.file,
        )
        with pytest.raises(NotAdmitted, match=r"certificate has expired.*have the broker's certificate renewed"):
            knock(kafka_of(settings), 20)
