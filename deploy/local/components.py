"""Lists the processes that Game Night runs on one machine."""

import sys
from collections.abc import Callable
from dataclasses import replace

from contracts.settings import (
    AWS_SECRETS,
    GAME_SECRETS,
    KAFKA_SECRETS,
    LEARNING_SECRETS,
    ROUTER_SECRETS,
    TRAINER_SECRETS,
    Settings,
)
from deploy.local import dynamodb, kafka, s3
from deploy.local.component import Component, answers

_BASES: dict[str, Callable[[Settings], Component]] = {
    "kafka": kafka.component,
    "s3": s3.component,
    "dynamodb": dynamodb.component,
}


def outside(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return the parts that run elsewhere because a setting names them: by part, the setting and its value.

    A process that is started by itself uses AWS where no setting says otherwise; one that is started here uses what runs here.
    """
    cloud = "cloud" if settings.aws_services == "cloud" else None
    given = {
        "kafka": ("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers),
        "s3": ("AWS_ENDPOINT_URL_S3", settings.aws_endpoint_url_s3),
        "dynamodb": ("AWS_ENDPOINT_URL_DYNAMODB", settings.aws_endpoint_url_dynamodb),
        "sagemaker": ("AWS_ENDPOINT_URL_SAGEMAKER", settings.aws_endpoint_url_sagemaker),
    }
    found = {name: (setting, value) for name, (setting, value) in given.items() if value}
    if cloud:
        found = {name: ("GAMENIGHT_AWS", cloud) for name in given if name != "kafka"} | found
    return {name: found[name] for name in given if name in found}


def settle_outside(settings: Settings) -> None:
    """Create topics, bucket and table in the parts that run elsewhere, if they do not exist."""
    made: dict[str, Callable[[], None]] = {
        "kafka": lambda: kafka.make_topics(settings),
        "s3": lambda: s3.create_bucket(settings),
        "dynamodb": lambda: dynamodb.create_tables(settings),
    }
    for name in outside(settings):
        if name in made:
            made[name]()


def components(settings: Settings) -> list[Component]:
    """Return the processes that these settings start here; each comes after all that it needs.

    Raises:
        NotInstalled: If something that `make` installs is not there.
    """
    replaced = outside(settings)
    bases = [make(settings) for name, make in _BASES.items() if name not in replaced]
    if "sagemaker" not in replaced:
        bases.append(
            Component(
                name="sagemaker",
                argv=_python("deploy.local.sagemaker"),
                secrets=AWS_SECRETS,
                ports={"GAMENIGHT_SAGEMAKER_PORT": settings.sagemaker_port},
                tier=1,
                ready=lambda: answers(settings.sagemaker_port, "/ping"),
            )
        )
    bus, trainer = KAFKA_SECRETS, (*KAFKA_SECRETS, *TRAINER_SECRETS)
    routers = ["router", *(f"router-{number}" for number in range(2, settings.stream_workers + 1))]
    services = [
        Component(
            name="api",
            argv=_python("api"),
            secrets=(*bus, *GAME_SECRETS),
            host=settings.host,
            ports={"GAMENIGHT_PORT": settings.port},
            needs=("kafka",),
            ready=lambda: answers(settings.port, "/api/models", local_host(settings)),
        ),
        *(
            Component(name=name, argv=_python("streams", "router"), secrets=(*bus, *ROUTER_SECRETS), needs=("kafka",))
            for name in routers
        ),
        Component(
            name="learning",
            argv=_python("streams", "learning"),
            secrets=(*bus, *LEARNING_SECRETS),
            needs=("kafka",),
            nice=2,  # in a rush it has two thirds of the share of who answers
        ),
        Component(name="trainer", argv=_python("trainers"), secrets=trainer, needs=("kafka", "s3", "sagemaker")),
    ]
    here = {part.name for part in [*bases, *services]}
    return [*bases, *(replace(part, tier=2, needs=tuple(need for need in part.needs if need in here)) for part in services)]


def local_host(settings: Settings) -> str:
    """Return the address at which this machine reaches the game."""
    return "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host


def game_url(settings: Settings) -> str:
    """Return the address of the game for a browser on this machine."""
    return f"http://{local_host(settings)}:{settings.port}"


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
