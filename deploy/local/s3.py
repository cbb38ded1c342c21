"""Runs an S3 server (ministack, in an environment of its own) with its objects under ``<home>/s3`` and the bucket in it.

``python -m deploy.local.s3`` becomes that server, with the secrets in its home: for containers.
"""

import os

from contracts.settings import AWS_SECRETS, Settings
from deploy.local.component import Component, answers
from deploy.local.install import ROOT
from deploy.local.java import NotInstalled


def component(settings: Settings) -> Component:
    """Return the server as a component; once it is ready, the bucket exists."""
    program, data = settings.tools / "s3" / "bin" / "python", settings.home / "s3"
    if not program.exists():
        raise NotInstalled(f"no {program}: run make setup")
    return Component(
        name="s3",
        argv=(str(program.absolute()), "-m", "deploy.local.s3_server"),
        env={
            "PYTHONPATH": str(ROOT),
            "SERVICES": "s3",
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(data.absolute()),
            "MINISTACK_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(settings.s3_port),
            "MINISTACK_REGION": settings.aws_region,
            "TMPDIR": str(data.absolute()),
            "LOG_LEVEL": "WARNING",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
        },
        secrets=AWS_SECRETS,
        ports={"GAMENIGHT_S3_PORT": settings.s3_port},
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
        ready=lambda: answers(settings.s3_port, "/ping"),
        settle=lambda: create_bucket(settings),
    )


def create_bucket(settings: Settings) -> None:
    """Make the bucket if it is not there."""
    from producers.blobs import ensure_bucket  # boto3 takes half a second to import: meanwhile the others start

    ensure_bucket(settings)


def main() -> None:
    """Turn this process into the server."""
    os.umask(0o077)
    settings = Settings.load(secrets=AWS_SECRETS)
    part = component(settings)
    part.prepare()
    os.execve(part.argv[0], part.argv, {**os.environ, **settings.environment(part.secrets), **part.env})  # noqa: S606


if __name__ == "__main__":
    main()
