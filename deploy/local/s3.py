"""An S3 server (ministack, in an environment of its own) with its objects under ``<home>/s3`` and the bucket in it."""

from contracts.settings import Settings
from deploy.local.component import Component, answers
from deploy.local.java import NotInstalled


def component(settings: Settings) -> Component:
    """The server; when it is ready, the bucket is there."""
    program, data = settings.tools / "s3" / "bin" / "ministack", settings.home / "s3"
    if not program.is_file():
        raise NotInstalled(f"no {program}: run make setup")
    return Component(
        name="s3",
        argv=(str(program.absolute()),),
        env={
            "SERVICES": "s3",
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(data.absolute()),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(settings.s3_port),
            "MINISTACK_REGION": settings.aws_region,
            "TMPDIR": str(data.absolute()),
            "LOG_LEVEL": "WARNING",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
        },
        ports={"GAMENIGHT_S3_PORT": settings.s3_port},
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
        ready=lambda: answers(settings.s3_port, "/_ministack/health"),
        settle=lambda: create_bucket(settings),
    )


def create_bucket(settings: Settings) -> None:
    """Make the bucket if it is not there."""
    from producers.blobs import ensure_bucket  # boto3 takes half a second to import: meanwhile the others start

    ensure_bucket(settings)
