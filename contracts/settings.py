"""Every setting of Game Night, read in this one place.

A field's name in capitals with ``GAMENIGHT_`` before it is its environment variable, but for Kafka's and AWS's own names.
Secrets that are not given are made by `gamenight up` and kept as files in ``<home>/secrets``.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from contracts.roster import Roster, RosterError, roster
from contracts.training_settings import TrainingSettings

REPOSITORY: Final = Path(__file__).resolve().parents[1]
AwsService = Literal["sagemaker", "sagemaker-runtime", "s3", "dynamodb", "logs"]
BesideSagemaker = Literal["sts", "iam", "application-autoscaling", "sagemaker-metrics"]
"""Services that users of SageMaker ask as well: the local SageMaker answers for them; elsewhere they are AWS's own."""


def _named(name: str, default: Any, description: str) -> Any:
    return Field(default, validation_alias=AliasChoices(name), description=description)


def _secret(name: str, description: str) -> Any:
    return Field(None, validation_alias=AliasChoices(name), description=description, repr=False)


def _made(description: str) -> Any:
    return Field(None, description=f"{description}; not given: made by up", repr=False)


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


class Settings(TrainingSettings):
    """What can be set; each default works on one machine."""

    model_config = SettingsConfigDict(env_prefix="GAMENIGHT_", extra="ignore", frozen=True, populate_by_name=True)

    host: str = Field("127.0.0.1", description="address that the game is served at")
    port: int = Field(8000, ge=1, le=65_535, description="port of the game")
    allowed_origins: str = Field("", description="origins besides the game's own that may open sockets, comma between")
    allowed_hosts: str = Field("", description="names besides its address that the game is asked for by, comma between")
    trusted_proxies: str = Field(
        "", description="addresses or networks of proxies whose X-Forwarded-For is believed, comma between"
    )
    home: Path = Field(Path(".gamenight"), description="folder of all data, logs and secrets")
    tools: Path = Field(Path(".tools"), description="folder of what make installs besides .venv: jars, images, S3 server")
    images: str = Field(
        "trainers/images",
        description="folders with a folder for each batch model, `:` between; relative ones are looked for in the repository",
    )

    kafka_bootstrap_servers: str | None = _named(
        "KAFKA_BOOTSTRAP_SERVERS", None, "an outside Kafka; not given: one is started here"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = _named(
        "KAFKA_SECURITY_PROTOCOL",
        "PLAINTEXT",
        "how an outside Kafka is spoken to: SSL is TLS, SASL_ names who we are",
    )
    kafka_ssl_cafile: Path | None = _named(
        "KAFKA_SSL_CAFILE", None, "PEM file of the authority that signed the brokers' certificates; not given: the system's"
    )
    kafka_ssl_certfile: Path | None = _named("KAFKA_SSL_CERTFILE", None, "PEM file of our own certificate, where brokers ask")
    kafka_ssl_keyfile: Path | None = _named("KAFKA_SSL_KEYFILE", None, "PEM file of its key, without a passphrase")
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER", "AWS_MSK_IAM"] = _named(
        "KAFKA_SASL_MECHANISM", "SCRAM-SHA-512", "how SASL proves it: also SCRAM-SHA-256, PLAIN, OAUTHBEARER, AWS_MSK_IAM"
    )
    kafka_sasl_username: str | None = _named("KAFKA_SASL_USERNAME", None, "who we are, for SCRAM and PLAIN")
    kafka_sasl_password: str | None = _secret("KAFKA_SASL_PASSWORD", "goes with the one before")
    kafka_oauth_token_url: str | None = _named(
        "KAFKA_OAUTH_TOKEN_URL", None, "where OAUTHBEARER fetches its tokens (client_credentials)"
    )
    kafka_oauth_client_id: str | None = _named("KAFKA_OAUTH_CLIENT_ID", None, "who we are there")
    kafka_oauth_client_secret: str | None = _secret("KAFKA_OAUTH_CLIENT_SECRET", "goes with the one before")
    kafka_oauth_scope: str | None = _named("KAFKA_OAUTH_SCOPE", None, "scope that is asked for there, if any")
    kafka_port: int = Field(9092, description="port of the broker that is started here")
    kafka_controller_port: int = Field(9093, description="port of its controller")

    log_gb: Annotated[float, Field(gt=0)] = Field(
        20.0,
        description=(
            "what the topics that players fill may take of the broker's disk, in GB, and a fifth as much the joiner's state;"
            " the oldest is forgotten first"
        ),
    )

    aws_services: Literal["local", "cloud"] | None = _named(
        "GAMENIGHT_AWS",
        None,
        "what no URL is given for: local, on this machine; cloud, AWS's own; not given: up takes local",
    )
    aws_endpoint_url_sagemaker: str | None = _named(
        "AWS_ENDPOINT_URL_SAGEMAKER", None, "an outside SageMaker; not given: as GAMENIGHT_AWS says"
    )
    aws_endpoint_url_sagemaker_runtime: str | None = _named(
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", None, "where its endpoints answer; goes with the one before"
    )
    aws_endpoint_url_logs: str | None = _named(
        "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", None, "where its training jobs' logs are; goes with the one before"
    )
    aws_endpoint_url_s3: str | None = _named("AWS_ENDPOINT_URL_S3", None, "an outside S3; not given: as GAMENIGHT_AWS says")
    aws_endpoint_url_dynamodb: str | None = _named(
        "AWS_ENDPOINT_URL_DYNAMODB", None, "an outside DynamoDB; not given: as GAMENIGHT_AWS says"
    )
    aws_region: str = _named("AWS_REGION", "us-east-1", "region of all AWS services; AWS's own: as your profile says")
    aws_access_key_id: str | None = _named(
        "AWS_ACCESS_KEY_ID", None, "credentials; not given: made for local services, and AWS's default chain for its own"
    )
    aws_secret_access_key: str | None = _secret("AWS_SECRET_ACCESS_KEY", "goes with the one before")
    aws_session_token: str | None = _secret("AWS_SESSION_TOKEN", "goes with the two before, where they are for a session")
    sagemaker_port: int = Field(9094, description="port of the local SageMaker")
    s3_port: int = Field(9095, description="port of the local S3 server")
    dynamodb_port: int = Field(9096, description="port of DynamoDB Local")
    bucket: str = Field("gamenight", description="S3 bucket of datasets, examples and model artifacts")
    table: str = Field("ml-game-observations", description="DynamoDB table of observations")
    role_arn: str = Field("arn:aws:iam::123456789012:role/gamenight", description="role that SageMaker jobs run under")
    image_registry: str = Field("local/gamenight-", description="what stands before an algorithm's name in its image's URI")
    training_instance: str = Field("ml.m5.large", description="instance type of training jobs")
    serving_instance: str = Field("ml.m5.large", description="instance type of endpoints")
    prices: Path | None = Field(None, description="file with AWS's prices; not given: `contracts/prices.json`")
    allow_unconfined: bool = Field(
        True, description="whether model servers and jobs run here where the kernel cannot keep them from the secrets"
    )

    operator_token: str | None = _made("bearer token of operators")
    why_required: bool = Field(False, description="whether a command of an operator without a reason (`--why`) is refused")
    seat_secret: str | None = _made("secret that signs players' seats")
    api_signing_key: str | None = _made("key by which the API signs commands")
    router_signing_key: str | None = _made("key by which the router signs that a version failed")
    learning_signing_key: str | None = _made("key by which learning signs drift, and its models")
    trainer_signing_key: str | None = _made("key by which the trainer signs outcomes, commands by policy, and models")
    command_keys: str | None = Field(
        None, description="public keys that prove what is signed, as process:key, comma between; not given: of the signing keys"
    )
    api_keys: str | None = Field(
        None, description="keys of apps for /api/predict, as name:key, comma between; not given: one is made by up"
    )
    predictions_per_minute: int = Field(600, description="how many predictions an app may ask for in a minute; 0: none")

    connections_per_address: Annotated[int, Field(ge=0)] = Field(
        128, description="HTTP connections that an address may hold; 0, here and below: no limit"
    )
    requests_per_second: Annotated[float, Field(ge=0)] = Field(
        100, description="requests over HTTP that an address may make in a second, new sockets among them"
    )
    sockets_per_address: Annotated[int, Field(ge=0)] = Field(64, description="sockets that an address may hold")
    sockets_per_player: Annotated[int, Field(ge=0)] = Field(8, description="sockets that a player may hold")
    joins_per_minute: Annotated[float, Field(ge=0)] = Field(120, description="seats that an address may take in a minute")
    room_tries_per_minute: Annotated[float, Field(ge=0)] = Field(
        10, description="rooms with nobody in them that an address may name in a minute"
    )
    code_tries_per_minute: Annotated[float, Field(ge=0)] = Field(
        10, description="codes for a player's seat that an address may try in a minute"
    )
    drawings_per_second: Annotated[float, Field(ge=0)] = Field(
        20,
        description="drawings, finished or not, that an address may send in a second: a tenth of a small router's",
    )
    player_drawings_per_second: Annotated[float, Field(ge=0)] = Field(
        20, description="drawings, finished or not, that a player may send in a second"
    )
    corrections_per_minute: Annotated[float, Field(ge=0)] = Field(
        60, description="corrections that an address may give in a minute, on average over an hour; a player over a minute"
    )
    player_lessons_per_minute: Annotated[float, Field(ge=0)] = Field(
        30, description="labels of a player that everybody's models learn in a minute; only their own model learns more"
    )
    lessons_per_minute: Annotated[float, Field(ge=0)] = Field(
        300, description="labels from an address that everybody's models learn in a minute: some thirty people play"
    )
    player_picks_per_hour: Annotated[float, Field(ge=0)] = Field(60, description="drawings of a player picked in an hour")
    picks_per_hour: Annotated[float, Field(ge=0)] = Field(600, description="drawings from an address picked in an hour")
    kept_mb_per_day: Annotated[float, Field(ge=0)] = Field(
        1000, description="MB of examples and lessons, which are kept for good, that an address may make in a day"
    )

    picked_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2, description="share of finished drawings that chance picks, to estimate accuracy by them; 0: none"
    )
    stream_workers: Annotated[int, Field(ge=1, le=16)] = Field(1, description="router processes that up starts")
    endpoint_timeout_ms: int = Field(1000, description="how long an endpoint may take to answer one call, in ms")
    guess_budget_ms: int = Field(2000, description="how long a drawing waits for a model, all tries together, in ms")
    blend_deadline_ms: int = Field(250, description="how long `everyone` waits for the models that it blends, in ms")
    preview_stale_ms: int = Field(1000, description="age above which a preview is no longer answered, in ms")
    archive_every_s: float = Field(60.0, description="longest time an example waits for the archive, in seconds")
    chromium: str | None = Field(None, description="path of the Chromium for the browser tests; not given: looked for")
    alive_file: Path | None = Field(
        None, description="file that router, learning and trainer touch every few seconds while they work; not given: none"
    )
    log_level: str = Field("INFO", description="least level that is logged")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment; secrets on disk are read by `load`, which knows the home."""
        return init_settings, env_settings

    @classmethod
    def load(cls, *, secrets: Collection[str] | None = None, **given: Any) -> Self:
        """Read the settings of the environment, completed by the secrets that `gamenight up` has made, if it has.

        Args:
            secrets: The secrets to read, by their fields; a service names its own. None: all, for operators.
            given: Settings that are known already.
        """
        settings = cls(**given)
        folder = settings.home / "secrets"
        kept = {
            name: (folder / name).read_text().strip()
            for name in (ALL_SECRETS if secrets is None else secrets)
            if getattr(settings, name) is None
            and (folder / name).is_file()
            and (settings.aws_is_here or not name.startswith("aws_"))
        }
        return settings.model_copy(update=kept) if kept else settings

    @property
    def log_bytes(self) -> int:
        """`log_gb` in bytes."""
        return int(self.log_gb * 1e9)

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of Kafka's brokers."""
        return self.kafka_bootstrap_servers or f"127.0.0.1:{self.kafka_port}"

    @property
    def endpoint_urls(self) -> dict[AwsService, str | None]:
        """The address of each AWS service; None: AWS's own."""
        here, beside = self.aws_services == "local", self.sagemaker_here
        return {
            "sagemaker": self.aws_endpoint_url_sagemaker or beside,
            "sagemaker-runtime": self.aws_endpoint_url_sagemaker_runtime or beside,
            "logs": self.aws_endpoint_url_logs or beside,
            "s3": self.aws_endpoint_url_s3 or (f"http://127.0.0.1:{self.s3_port}" if here else None),
            "dynamodb": self.aws_endpoint_url_dynamodb or (f"http://127.0.0.1:{self.dynamodb_port}" if here else None),
        }

    @property
    def sagemaker_here(self) -> str | None:
        """The address of the local SageMaker; None: another one, or AWS's own, is used."""
        local = self.aws_services == "local" and not self.aws_endpoint_url_sagemaker
        return f"http://127.0.0.1:{self.sagemaker_port}" if local else None

    @property
    def aws_is_here(self) -> bool:
        """Whether every AWS service is on this machine: only then are credentials made, since no other would accept them."""
        return all(url is not None and _is_here(url) for url in self.endpoint_urls.values())

    def aws(self, service: AwsService | BesideSagemaker) -> dict[str, Any]:
        """Return the arguments of ``boto3.client`` for a service; what is None is found by AWS's default chain."""
        places: dict[str, str | None] = {str(name): url for name, url in self.endpoint_urls.items()}
        return {
            "endpoint_url": places.get(service, self.sagemaker_here),
            "region_name": self.aws_region if self.aws_is_here or "aws_region" in self.model_fields_set else None,
            "aws_access_key_id": self.aws_access_key_id,
            "aws_secret_access_key": self.aws_secret_access_key,
            "aws_session_token": self.aws_session_token if self.aws_access_key_id else None,
        }

    def undecided(self) -> list[str]:
        """Return the variables that AWS's own services need and that are not set: their defaults are for this machine."""
        urls = self.endpoint_urls
        needed: dict[str, AwsService] = {"role_arn": "sagemaker", "image_registry": "sagemaker", "bucket": "s3"}
        return [
            variable(name)
            for name, service in needed.items()
            if urls[service] is None and getattr(self, name) == type(self).model_fields[name].default
        ]

    def image_folders(self) -> dict[str, Path]:
        """Return the folder of each batch model's image, by its name.

        Raises:
            RosterError: If a folder of `images` is not there, or two images have one name.
        """
        found: dict[str, Path] = {}
        for place in filter(None, self.images.split(":")):
            folder = REPOSITORY / place
            if not folder.is_dir():
                raise RosterError(f"no folder {folder}: set GAMENIGHT_IMAGES to where the batch models' images are")
            for told in sorted(folder.glob("*/image.json")):
                name = told.parent.name
                if name in found:
                    raise RosterError(f"two images are called {name}: {found[name]} and {told.parent}")
                found[name] = told.parent
        return found

    def roster(self) -> Roster:
        """Return all models of the game.

        Raises:
            RosterError: If an image cannot be one of them.
        """
        return roster({name: (folder / "image.json").read_bytes() for name, folder in self.image_folders().items()})

    def image_uri(self, algorithm: str) -> str:
        """Return the URI of the image that trains and serves an algorithm."""
        return f"{self.image_registry}{algorithm}:1"

    def environment(self, secrets: Collection[str] | None = None) -> dict[str, str]:
        """Return the settings as environment variables, for a child process.

        Args:
            secrets: The secrets that it gets, by their fields. None: all.
        """
        out = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name == "aws_region" and not self.aws_is_here and name not in self.model_fields_set:
                continue  # a profile may name another region
            if value is not None and (secrets is None or name not in ALL_SECRETS or name in secrets):
                out[variable(name, field.validation_alias)] = str(value)
        return out


AWS_SECRETS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
GAME_SECRETS = ("operator_token", "seat_secret", "api_keys", "api_signing_key", "command_keys")
"""The API's: what admits players, operators and apps, and what signs and proves commands."""
ROUTER_SECRETS = (*AWS_SECRETS, "router_signing_key", "command_keys")
LEARNING_SECRETS = ("learning_signing_key", "command_keys")
TRAINER_SECRETS = (*AWS_SECRETS, "trainer_signing_key", "command_keys", "holdout_key")
_SIGNING = ("router_signing_key", "learning_signing_key", "trainer_signing_key")
SECRETS = (*AWS_SECRETS[:2], *GAME_SECRETS[:-1], *_SIGNING, "holdout_key")
"""Settings that `gamenight up` makes when they are not given."""
KAFKA_SECRETS = ("kafka_sasl_password", "kafka_oauth_client_secret")
"""Secrets that the product does not make, and that may be kept in ``<home>/secrets`` as well."""
ALL_SECRETS = (*AWS_SECRETS, *SECRETS[2:], "command_keys", *KAFKA_SECRETS)
_FIELDS = list(Settings.model_fields)
LIMITS = tuple(_FIELDS[_FIELDS.index("connections_per_address") : _FIELDS.index("kept_mb_per_day") + 1])
"""Settings of what strangers may do; 0 is no limit."""


def variable(name: str, alias: Any = None) -> str:
    """Return the environment variable of a field."""
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"GAMENIGHT_{name.upper()}"
