"""Turns the settings into the arguments with which every client of the product reaches Kafka (all ways).

Faust gets the same ones (streams.transport), so only this module knows TLS, SASL and tokens. `knock` reports in one line
why a cluster refuses us: the clients themselves try again and again, and report nothing.
"""

import base64
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from kafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError
from kafka.net.inet import KafkaNetSocket
from kafka.net.manager import KafkaConnectionManager
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.net.selector import NetworkSelector

from contracts.settings import Settings

MAX_TOKEN: Final = 1 << 20
"""The most bytes of a token endpoint's answer."""
_EARLY_S: Final = 30.0
"""How long before its end a token is replaced."""
_MSK_S: Final = 900
"""How long a token for MSK is valid; it is the value of Amazon's own signer."""
_PAUSE_S: Final = 0.05
_CONNECT_MS: Final = 5_000


class BusError(RuntimeError):
    """The bus did not do what was asked of it."""


class BrokerAbsent(BusError):
    """No broker answered in time."""


class NotAdmitted(BusError):
    """A broker answers, but refuses us or must not be trusted; the message says what to do."""


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """The brokers of a Kafka cluster, and how to connect to them."""

    servers: tuple[str, ...]
    """Some of the brokers, as host:port."""
    security: dict[str, Any] = field(default_factory=dict, repr=False)
    """Arguments of every kafka-python client besides the servers; empty: neither TLS nor SASL."""


def kafka_of(settings: Settings) -> KafkaAddress:
    """Return the Kafka cluster that settings name.

    Raises:
        NotAdmitted: If their TLS and SASL settings do not fit together; the message names the setting.
    """
    servers = tuple(server.strip() for server in settings.bootstrap_servers.split(","))
    protocol = settings.kafka_security_protocol
    if protocol == "PLAINTEXT":
        return KafkaAddress(servers)
    security: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        security["ssl_context"] = _context(settings)
    if protocol.startswith("SASL"):
        security |= _sasl(settings)
    return KafkaAddress(servers, security)


def _context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    except (OSError, ssl.SSLError) as error:
        raise NotAdmitted(f"KAFKA_SSL_CAFILE={settings.kafka_ssl_cafile}: no certificates in PEM there ({error})") from error
    if settings.kafka_ssl_certfile:
        try:
            context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile, password="")
        except (OSError, ssl.SSLError) as error:
            raise NotAdmitted(
                f"KAFKA_SSL_CERTFILE={settings.kafka_ssl_certfile} with KAFKA_SSL_KEYFILE={settings.kafka_ssl_keyfile}: "
                f"no certificate and key in PEM that fit together ({error})"
            ) from error
    return context


def _sasl(settings: Settings) -> dict[str, Any]:
    mechanism = settings.kafka_sasl_mechanism
    if mechanism == "OAUTHBEARER":
        _demand(settings, mechanism, "kafka_oauth_token_url", "kafka_oauth_client_id", "kafka_oauth_client_secret")
        return {"sasl_mechanism": mechanism, "sasl_oauth_token_provider": ClientCredentials(settings)}
    if mechanism == "AWS_MSK_IAM":  # Amazon's brokers take it as OAUTHBEARER, which both clients speak
        return {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": MskToken(settings.aws_region)}
    _demand(settings, mechanism, "kafka_sasl_username", "kafka_sasl_password")
    return {
        "sasl_mechanism": mechanism,
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": settings.kafka_sasl_password,
    }


def _demand(settings: Settings, mechanism: str, *names: str) -> None:
    if missing := [name.upper() for name in names if not getattr(settings, name)]:
        raise NotAdmitted(f"KAFKA_SASL_MECHANISM={mechanism} needs {' and '.join(missing)}")


# --- tokens ----------------------------------------------------------------------------------------------------------


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """Bearer tokens, kept until shortly before their end. Any thread may use it."""

    def __init__(self) -> None:
        """Begin without a token; the first is fetched when it is needed."""
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """Return a token that is valid for a while.

        Raises:
            NotAdmitted: If there is none to get.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                self._token, lasts_s = self._fetch()
                self._until = time.monotonic() + max(lasts_s - _EARLY_S, lasts_s / 2)
            return self._token

    def _fetch(self) -> tuple[str, float]:
        """Fetch a new token, and for how many seconds it is valid."""
        raise NotImplementedError


class ClientCredentials(Tokens):
    """Tokens of an OAuth 2 server, by the grant client_credentials (RFC 6749, 4.4)."""

    def __init__(self, settings: Settings) -> None:
        """Take the server's address and our credentials from the settings."""
        super().__init__()
        self._url = settings.kafka_oauth_token_url or ""
        who = f"{settings.kafka_oauth_client_id}:{settings.kafka_oauth_client_secret}"
        self._authorization = f"Basic {base64.b64encode(who.encode()).decode()}"
        self._form = {"grant_type": "client_credentials"}
        if settings.kafka_oauth_scope:
            self._form["scope"] = settings.kafka_oauth_scope
        if urllib.parse.urlsplit(self._url).scheme not in ("http", "https"):
            raise NotAdmitted(f"KAFKA_OAUTH_TOKEN_URL={self._url}: it is no http(s) address")
        context = ssl.create_default_context()
        if settings.kafka_ssl_cafile:  # a private authority has often signed both
            with suppress(OSError, ssl.SSLError):
                context.load_verify_locations(settings.kafka_ssl_cafile)
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def _fetch(self) -> tuple[str, float]:
        request = urllib.request.Request(  # noqa: S310 - http or https, checked above
            self._url, urllib.parse.urlencode(self._form).encode(), {"Authorization": self._authorization}
        )
        try:
            with self._opener.open(request, timeout=10) as answer:
                said = json.loads(answer.read(MAX_TOKEN))
            return str(said["access_token"]), float(said.get("expires_in", 300))
        except urllib.error.HTTPError as refused:
            refused.close()
            raise NotAdmitted(
                f"{self._url} gives no token ({refused.code}): check KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET"
            ) from refused
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotAdmitted(f"{self._url} gives no token ({error}): check KAFKA_OAUTH_TOKEN_URL") from error


class MskToken(Tokens):
    """Tokens for Amazon MSK: a signed request to connect, made here from the credentials that botocore finds."""

    def __init__(self, region: str) -> None:
        """Keep the cluster's region."""
        super().__init__()
        self._region = region

    def _fetch(self) -> tuple[str, float]:
        import botocore.session  # this import takes half a second
        from botocore.auth import SigV4QueryAuth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            credentials = botocore.session.get_session().get_credentials()
            if credentials is None:
                raise NotAdmitted("AWS_MSK_IAM finds no AWS credentials: set AWS_PROFILE, or run under a role")
            url = f"https://kafka.{self._region}.amazonaws.com/"
            request = AWSRequest("GET", url, params={"Action": "kafka-cluster:Connect"})
            SigV4QueryAuth(credentials.get_frozen_credentials(), "kafka-cluster", self._region, _MSK_S).add_auth(request)
        except (BotoCoreError, ClientError) as error:
            raise NotAdmitted(f"AWS_MSK_IAM cannot sign: {error}") from error
        signed = f"{request.url}&User-Agent=gamenight"
        return base64.urlsafe_b64encode(signed.encode()).decode().rstrip("="), float(_MSK_S)


# --- knocking --------------------------------------------------------------------------------------------------------


class _Direct(KafkaNetSocket):  # type: ignore[misc]
    """Connects as kafka-python does, but closes the socket of a connection that failed.

    kafka-python 3.0.12 leaves it to the garbage collector: a broker that is away for long would use up the file descriptors.
    Chosen by the scheme of ``proxy_url``.
    """

    SCHEMES = ("direct",)

    async def connect(self, net: Any, addrinfo: Any, socket_options: Any = (), timeout_at: float | None = None) -> Any:
        family, kind, protocol, _, address = addrinfo
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.setblocking(False)
            for option in socket_options:
                connecting.setsockopt(*option)
            return await self.sock_connect(net, connecting, address, timeout_at=timeout_at)
        except BaseException:
            connecting.close()
            raise


DIRECT: Final = "direct://"
"""The ``proxy_url`` of all kafka-python clients here: no proxy, and no socket left behind."""


def knock(place: KafkaAddress, deadline_s: float) -> None:
    """Wait until one broker admits us: connected, its certificate trusted, our credentials accepted.

    Raises:
        BrokerAbsent: If none answered in time.
        NotAdmitted: At once, if a broker refuses us or is not to be trusted: waiting would not help.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        for server in place.servers:
            try:
                _enter(server, place)
                return
            except (OSError, ValueError, KafkaError) as error:
                if time.monotonic() > deadline:
                    raise BrokerAbsent(
                        f"no Kafka at {server} ({error}): start it with `gamenight up`, or set KAFKA_BOOTSTRAP_SERVERS"
                    ) from error
        time.sleep(_PAUSE_S)


def _enter(server: str, place: KafkaAddress) -> None:
    """Connect to one broker as the clients will, and disconnect."""
    host, _, port = server.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0) as connected:  # kafka-python would wait for long
        if context := place.security.get("ssl_context"):
            _trust(server, connected, host.strip("[]"), context)
    if not place.security:
        return
    if tokens := place.security.get("sasl_oauth_token_provider"):
        tokens.token()  # here, so that its own error is reported
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, bootstrap_servers=[server], proxy_url=DIRECT, **place.security)
    try:
        broker = manager.cluster.bootstrap_brokers()[0].node_id

        async def enter() -> None:
            await manager.get_connection(broker, timeout_ms=_CONNECT_MS, refresh_metadata_on_err=False)

        manager.run(enter)
    except (SaslAuthenticationFailedError, UnsupportedSaslMechanismError) as refused:
        raise NotAdmitted(_refusal(server, place.security, refused)) from refused
    except KafkaConnectionError as broken:
        if "ALERT" in str(broken):  # in TLS 1.3 a server asks for a certificate only after the handshake
            raise NotAdmitted(
                f"Kafka at {server} wants a certificate of ours ({broken}): set KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE"
            ) from broken
        raise
    finally:
        manager.close()
        net.close()


def _trust(server: str, connected: socket.socket, host: str, context: ssl.SSLContext) -> None:
    connected.settimeout(_CONNECT_MS / 1000)
    try:
        with context.wrap_socket(connected, server_hostname=host):
            pass
    except ssl.SSLCertVerificationError as doubt:
        raise NotAdmitted(
            f"the certificate of Kafka at {server} is not to be trusted ({doubt.verify_message}): "
            + (
                "have the broker's certificate renewed"
                if "expired" in doubt.verify_message
                else "set KAFKA_SSL_CAFILE to the authority that signed it, KAFKA_BOOTSTRAP_SERVERS to a name that it is for"
            )
        ) from doubt
    except ssl.SSLError as other:
        raise NotAdmitted(
            f"Kafka at {server} speaks no TLS that we know ({other.reason or other}): check KAFKA_SECURITY_PROTOCOL and port"
        ) from other


def _refusal(server: str, security: dict[str, Any], refused: KafkaError) -> str:
    mechanism = security["sasl_mechanism"]
    if isinstance(refused, UnsupportedSaslMechanismError):
        return f"Kafka at {server} does not take {mechanism}: set KAFKA_SASL_MECHANISM to what it takes ({refused})"
    check = "what it takes of KAFKA_OAUTH_CLIENT_ID" if mechanism == "OAUTHBEARER" else "KAFKA_SASL_USERNAME and _PASSWORD"
    return f"Kafka at {server} does not admit us by {mechanism}: check {check} ({refused})"
