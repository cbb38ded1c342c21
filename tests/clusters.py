"""Runs real Kafka clusters for tests: several brokers, TLS with an authority of our own, SASL by SCRAM and OAUTHBEARER, ACLs.

The product's own single broker is `deploy.local.kafka`; the clusters here are the outside Kafka that the product is pointed at.
"""

import base64
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from contracts.settings import Settings
from deploy.local import java, kafka
from deploy.local.archive import free_ports
from deploy.local.component import listens

ROOT: Final = Path(__file__).resolve().parents[1]
JARS: Final = ROOT / ".tools" / "jars" / "kafka"
SMALL: Final = ("-Xmx256m", "-XX:+ExitOnOutOfMemoryError")
PASSWORD: Final = "correct-horse"


# --- an authority of our own -----------------------------------------------------------------------------------------


_USES: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        """Make the authority's key and certificate, ``<name>.pem`` in ``folder``."""
        self._folder = folder
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._build(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), timedelta(days=1))
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, name: str, lasts: timedelta = timedelta(days=1)) -> Path:
        """Write a PEM file with a key and its certificate for 127.0.0.1; with a negative ``lasts``, it has expired."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._build(subject, key, x509.BasicConstraints(ca=False, path_length=None), lasts)
        file = self._folder / f"{name}.pem"
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return file

    def _build(
        self, subject: x509.Name, key: rsa.RSAPrivateKey, constraints: x509.BasicConstraints, lasts: timedelta
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        uses = dict.fromkeys(_USES, False) | {"key_cert_sign" if constraints.ca else "digital_signature": True}
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + lasts)
            .add_extension(constraints, critical=True)
            .add_extension(x509.KeyUsage(**uses), critical=True)  # Python 3.13 demands it
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(self._key, hashes.SHA256())
        )


# --- an OAuth server of our own ---------------------------------------------------------------------------------------


class TokenServer:
    """A real token endpoint: client_credentials in, a signed JWT out; the keys to check it are in a JWKS file."""

    def __init__(self, folder: Path, clients: Mapping[str, str], lasts_s: int = 300) -> None:
        """Answer on a free port of the loopback address until `close`.

        Args:
            folder: Where ``jwks.json`` is put.
            clients: The secret of each client, by its id.
            lasts_s: How long a token is valid, in seconds.
        """
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._clients = dict(clients)
        self._lasts_s = lasts_s
        self.given = 0
        """How many tokens were given."""
        numbers = self._key.public_key().public_numbers()
        of = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": _wide(numbers.n), "e": _wide(numbers.e)}
        self.jwks = folder / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [of]}))
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                asked = urllib.parse.parse_qs(self.rfile.read(length).decode())
                basic = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
                who, _, secret = basic.partition(":")
                allowed = asked.get("grant_type") == ["client_credentials"] and server._clients.get(who) == secret
                said = server._token(who) if allowed else {"error": "invalid_client"}
                body = json.dumps(said).encode()
                self.send_response(200 if allowed else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/token"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def _token(self, who: str) -> dict[str, Any]:
        self.given += 1
        now = int(time.time())
        claims = {"iss": "test", "aud": "kafka", "sub": who, "iat": now, "exp": now + self._lasts_s, "scope": "game"}
        head = f"{_text({'alg': 'RS256', 'kid': '1', 'typ': 'JWT'})}.{_text(claims)}"
        signature = self._key.sign(head.encode(), padding.PKCS1v15(), hashes.SHA256())
        return {"access_token": f"{head}.{_b64(signature)}", "token_type": "Bearer", "expires_in": self._lasts_s}

    def close(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()


def _b64(of: bytes) -> str:
    return base64.urlsafe_b64encode(of).decode().rstrip("=")


def _text(of: Mapping[str, Any]) -> str:
    return _b64(json.dumps(of).encode())


def _wide(number: int) -> str:
    return _b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


# --- brokers ----------------------------------------------------------------------------------------------------------


@dataclass
class Node:
    """A broker, which is also a controller."""

    number: int
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The file of its output."""
        return self.folder / "log"


@dataclass
class Cluster:
    """Brokers that know each other; a stopped broker can be started again on its data."""

    nodes: list[Node]
    options: Sequence[str] = field(default=())

    @property
    def servers(self) -> str:
        """The addresses of all brokers' listeners for clients."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self, node: Node) -> None:
        """Start a broker, without waiting for it."""
        command = java.command(
            JARS, "kafka.Kafka", str(node.folder / "server.properties"), options=(*SMALL, *kafka.LOGGING, *self.options)
        )
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait(self, node: Node, patience_s: float = 60.0) -> None:
        """Wait until a broker accepts connections."""
        deadline = time.monotonic() + patience_s
        while not listens(node.port):
            assert node.process is not None
            if node.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"broker {node.number} does not start: {node.log.read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self, node: Node) -> None:
        """Kill a broker with -9."""
        assert node.process is not None
        os.kill(node.process.pid, signal.SIGKILL)
        node.process.wait()

    def stop(self) -> None:
        """Kill all brokers: their data is thrown away with the test."""
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
        for node in self.nodes:
            if node.process is not None:
                node.process.wait()


@contextmanager
def cluster(
    folder: Path,
    brokers: int = 1,
    protocol: str = "PLAINTEXT",
    properties: Mapping[str, str] | None = None,
    users: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    data: Mapping[int, Path] | None = None,
) -> Iterator[Cluster]:
    """Run a cluster until the block ends; it is ready at the beginning.

    Args:
        folder: Where the cluster's files are made.
        brokers: How many nodes there are; each is broker and controller.
        protocol: The protocol of the listener for clients; brokers and controllers speak to each other in the clear.
        properties: Properties besides those of the product's own broker.
        users: Passwords by user, for SCRAM-SHA-512.
        options: Options of the Java machine.
        data: The folder where a node keeps its log, if not in its own.
    """
    ports = free_ports(3 * brokers)
    clients, inner, controllers = ports[:brokers], ports[brokers : 2 * brokers], ports[2 * brokers :]
    voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, 1))
    nodes, identity = [], kafka.new_cluster_id()
    for number, (port, between, controller) in enumerate(zip(clients, inner, controllers, strict=True), 1):
        node = Node(number, port, folder / f"broker-{number}")
        node.folder.mkdir(parents=True)
        place = (data or {}).get(number, node.folder / "data")
        several = {
            "node.id": str(number),
            "listeners": f"CLIENT://127.0.0.1:{port},BROKER://127.0.0.1:{between},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{port},BROKER://127.0.0.1:{between}",
            "inter.broker.listener.name": "BROKER",
            "listener.security.protocol.map": f"CLIENT:{protocol},BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": voters,
            "default.replication.factor": str(min(3, brokers)),
            "min.insync.replicas": "2" if brokers >= 3 else "1",
            "offsets.topic.replication.factor": str(min(3, brokers)),
            "transaction.state.log.replication.factor": str(min(3, brokers)),
            "share.coordinator.state.topic.replication.factor": str(min(3, brokers)),
        }
        settled = kafka.properties(place, port, controller) | several | dict(properties or {})
        file = node.folder / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settled.items()))
        kafka.format_storage(JARS, file, identity, users)
        nodes.append(node)
    running = Cluster(nodes, options)
    try:
        for node in nodes:
            running.start(node)
        for node in nodes:
            running.wait(node)
        yield running
    finally:
        running.stop()


_MODULE: Final = "org.apache.kafka.common.security"


def scram(certificate: Path) -> dict[str, str]:
    """Return the properties of a listener for clients of SASL_SSL that takes SCRAM-SHA-512."""
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate),
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.client.scram-sha-512.sasl.jaas.config": f"{_MODULE}.scram.ScramLoginModule required;",
    }


def bearer(certificate: Path, tokens: TokenServer) -> dict[str, str]:
    """Return the properties of a listener for clients of SASL_SSL that takes a server's tokens, by Kafka's own validator."""
    listener = "listener.name.client.oauthbearer.sasl"
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate),
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{listener}.jaas.config": f"{_MODULE}.oauthbearer.OAuthBearerLoginModule required;",
        f"{listener}.server.callback.handler.class": f"{_MODULE}.oauthbearer.OAuthBearerValidatorCallbackHandler",
        f"{listener}.oauthbearer.jwks.endpoint.url": tokens.jwks.as_uri(),
        f"{listener}.oauthbearer.expected.audience": "kafka",
        f"{listener}.oauthbearer.expected.issuer": "test",
    }


def outside(home: Path, **given: Any) -> Settings:
    """Return settings of a game whose Kafka is elsewhere, on free ports."""
    ports = ("port", "sagemaker_port", "s3_port", "dynamodb_port")
    free = dict(zip(ports, free_ports(len(ports)), strict=True))
    return Settings(home=home, tools=ROOT / ".tools", aws_services="local", **free, **given)  # type: ignore[arg-type]
