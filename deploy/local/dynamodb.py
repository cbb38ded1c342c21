"""Runs Amazon's own DynamoDB Local, with its data under ``<home>/dynamodb`` and the table of observations in it."""

from pathlib import Path

from contracts.settings import Settings
from deploy.local import java
from deploy.local.component import Component, answers


def component(settings: Settings) -> Component:
    """Return the server as a component; once it is ready, the table exists."""
    data = settings.home / "dynamodb"
    return Component(
        name="dynamodb",
        argv=command(settings.tools / "jars" / "dynamodb", settings.dynamodb_port, data),
        ports={"GAMENIGHT_DYNAMODB_PORT": settings.dynamodb_port},
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
        ready=lambda: answers(settings.dynamodb_port),
        settle=lambda: create_table(settings),
        nice=10,  # no player waits for it
    )


def create_table(settings: Settings) -> None:
    """Make the table of observations if it is not there."""
    from trainers.observations import ensure_table  # boto3 takes half a second to import: meanwhile the others start

    ensure_table(settings)


def command(jars: Path, port: int, data: Path) -> tuple[str, ...]:
    """Return the command that runs the server; its own main class would bind to every address."""
    configuration = Path(__file__).with_suffix(".xml")
    given = (f"-Dgamenight.port={port}", f"-Dgamenight.data={data.absolute()}", f"-Djava.library.path={jars.absolute()}")
    return java.command(jars, "org.eclipse.jetty.xml.XmlConfiguration", str(configuration), options=("-Xmx256m", *given))
