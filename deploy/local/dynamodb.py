"""Runs Amazon's own DynamoDB Local, with its data under ``<home>/dynamodb`` and our tables in it."""

from pathlib import Path

from contracts.settings import Settings
from deploy.local import java
from deploy.local.component import Component, answers


def component(settings: Settings) -> Component:
    """Return the server as a component; once it is ready, the tables exist."""
    data = settings.home / "dynamodb"
    return Component(
        name="dynamodb",
        argv=command(settings.tools / "jars" / "dynamodb", settings.dynamodb_port, data),
        ports={"GAMENIGHT_DYNAMODB_PORT": settings.dynamodb_port},
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
        ready=lambda: answers(settings.dynamodb_port),
        settle=lambda: create_tables(settings),
    )


def create_tables(settings: Settings) -> None:
    """Make the tables that are not there."""
    from trainers.tables import ensure_tables  # boto3 takes half a second to import: meanwhile the others start

    ensure_tables(settings)


def command(jars: Path, port: int, data: Path) -> tuple[str, ...]:
    """Return the command that runs the server; its own main class would bind to every address."""
    configuration = Path(__file__).with_suffix(".xml")
    given = (f"-Dgamenight.port={port}", f"-Dgamenight.data={data.absolute()}", f"-Djava.library.path={jars.absolute()}")
    return java.command(jars, "org.eclipse.jetty.xml.XmlConfiguration", str(configuration), options=("-Xmx256m", *given))
