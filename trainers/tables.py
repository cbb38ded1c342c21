"""Makes the tables of DynamoDB: drawings, guesses, and the trainer's own bookkeeping (way 3, REBUILD).

Both tables of observations are keyed by player, so that whoever is forgotten is found by a query that is consistent. Each other
question has an index of its own, and none needs a scan: docs/observations.md has them all.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import boto3
import structlog

from contracts.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TableIndex:
    """A global secondary index: all items that have both of its attributes, in the order of the second."""

    name: str
    hash: str
    range: str
    hash_type: str = "S"


@dataclass(frozen=True, slots=True)
class TableDesign:
    """A table's key, and its indexes."""

    suffix: str
    """What follows the name that the settings give."""
    hash: str
    range: str | None = None
    indexes: tuple[TableIndex, ...] = ()

    def name(self, settings: Settings) -> str:
        """Return the table's name."""
        return settings.table + self.suffix


DRAWINGS: Final = TableDesign(
    "",
    "player_id",
    "drawing_id",
    (TableIndex("by-day", "day", "drawn_at"), TableIndex("by-label", "label", "drawn_at", hash_type="N")),
)
GUESSES: Final = TableDesign("-guesses", "player_id", "guess_id", (TableIndex("by-model", "model", "drawn_at"),))
BOOKKEEPING: Final = TableDesign("-trainer", "entry")
"""What the trainer notes for itself: how far observations go, and who holds the lease."""


def ensure_tables(settings: Settings) -> None:
    """Create the tables that are not there, and wait until they can be written.

    A table of drawings as it was before it had indexes is deleted: all that was in it is on the log, and comes again.
    """
    dynamodb: Any = boto3.client("dynamodb", **settings.aws("dynamodb"))
    for design in (BOOKKEEPING, DRAWINGS, GUESSES):
        name = design.name(settings)
        if _is_there(dynamodb, design, name):
            continue
        with suppress(dynamodb.exceptions.ResourceInUseException):  # another process makes it
            dynamodb.create_table(**_described(design, name))
        dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})


def _is_there(dynamodb: Any, design: TableDesign, name: str) -> bool:
    try:
        table = dynamodb.describe_table(TableName=name)["Table"]
    except dynamodb.exceptions.ResourceNotFoundException:
        return False
    if table["TableStatus"] == "DELETING":
        dynamodb.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
        return False
    if design is DRAWINGS and [key["AttributeName"] for key in table["KeySchema"]] == ["drawing_id"]:
        log.info("the table of observations is made anew, with indexes, and fills from the log", table=name)
        dynamodb.delete_table(TableName=name)
        dynamodb.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
        return False
    return bool(table["TableStatus"] == "ACTIVE")


def _described(design: TableDesign, name: str) -> dict[str, Any]:
    """Return the arguments of CreateTable."""
    types = {design.hash: "S"} | ({design.range: "S"} if design.range else {})
    for index in design.indexes:
        types |= {index.hash: index.hash_type, index.range: "S"}
    out: dict[str, Any] = {
        "TableName": name,
        "KeySchema": _schema(design.hash, design.range),
        "AttributeDefinitions": [{"AttributeName": one, "AttributeType": kind} for one, kind in types.items()],
        "BillingMode": "PAY_PER_REQUEST",
    }
    if design.indexes:
        out["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.name,
                "KeySchema": _schema(index.hash, index.range),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in design.indexes
        ]
    return out


def _schema(first: str, second: str | None) -> list[dict[str, str]]:
    keys = [{"AttributeName": first, "KeyType": "HASH"}]
    return [*keys, {"AttributeName": second, "KeyType": "RANGE"}] if second else keys
