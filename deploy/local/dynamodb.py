"""DynamoDB Local, Amazon's own, with its data under ``<home>/dynamodb`` and the table of observations in it."""

from pathlib import Path

from contracts.settings import Settings
from deploy.local import java
from deploy.local.component import Component, answers
from trainers.observations import ensure_table


def component(settings: Settings) -> Component:
    """The server; when it is ready, the table is there."""
    data = settings.home / "dynamodb"
    return Component(
        name="dynamodb",
        argv=command(settings.tools / "jars" / "dynamodb", settings.dynamodb_port, data),
        ports={"GAMENIGHT_DYNAMODB_PORT": settings.dynamodb_port},
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
        ready=lambda: answers(f"http://127.0.0.1:{settings.dynamodb_port}/"),
        settle=lambda: ensure_table(settings),
    )


def command(jars: Path, port: int, data: Path) -> tuple[str, ...]:
    """The command line that runs the server; its own main class would bind to every address."""
    configuration = Path(__file__).with_suffix(".xml")
    given = (f"-Dgamenight.port={port}", f"-Dgamenight.data={data.absolute()}", f"-Djava.library.path={jars.absolute()}")
    return java.command(jars, "org.eclipse.jetty.xml.XmlConfiguration", str(configuration), options=("-Xmx256m", *given))
