"""DynamoDB Local, Amazon's own, with its data under ``<home>/dynamodb`` and the table of observations in it."""

from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from contracts.settings import Settings
from deploy.local import java
from deploy.local.component import Component, answers


def component(settings: Settings) -> Component:
    """The server; when it is ready, the table is there."""
    data = settings.home / "dynamodb"
    return Component(
        name="dynamodb",
        argv=command(settings.tools / "jars" / "dynamodb", settings.dynamodb_port, data),
        ports={"GAMENIGHT_DYNAMODB_PORT": settings.dynamodb_port},
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
        ready=lambda: answers(f"http://127.0.0.1:{settings.dynamodb_port}/"),
        settle=lambda: create_table(settings),
    )


def command(jars: Path, port: int, data: Path) -> tuple[str, ...]:
    """The command line that runs the server; the class archive is made with the same one."""
    configuration = Path(__file__).with_suffix(".xml")
    given = (f"-Dgamenight.port={port}", f"-Dgamenight.data={data.absolute()}", f"-Djava.library.path={jars.absolute()}")
    return java.command(jars, "org.eclipse.jetty.xml.XmlConfiguration", str(configuration), options=("-Xmx256m", *given))


def create_table(settings: Settings) -> None:
    """Make the table of observations if it is not there: by player, then by drawing and model."""
    client = boto3.client("dynamodb", **settings.aws("dynamodb"))
    try:
        client.create_table(
            TableName=settings.table,
            KeySchema=[
                {"AttributeName": "player_id", "KeyType": "HASH"},
                {"AttributeName": "observation", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "player_id", "AttributeType": "S"},
                {"AttributeName": "observation", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
    client.get_waiter("table_exists").wait(TableName=settings.table, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
