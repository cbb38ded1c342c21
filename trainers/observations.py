"""Keeps an item for each drawing in DynamoDB, for queries about a single drawing (way 3, REBUILD).

An item is written only over a lower revision, so events that come twice, late or out of order give the same table. The table
itself records its progress in each partition, as the items ``examples.v1/<partition>``: a table that was thrown away fills
again from the log.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import boto3
import structlog
from botocore.config import Config

from contracts.events import PLAYER_PARTITIONS, ExampleLabelled, guess_part
from contracts.settings import Settings
from trainers.example_sink import TOPIC, Placed

MAX_WRITES: Final = 100
"""The most items that DynamoDB takes in one transaction."""
_BATCH: Final = 25
"""The most items that DynamoDB deletes in one request."""
_FAILED = "ConditionalCheckFailed"

log = structlog.get_logger()


def ensure_table(settings: Settings) -> None:
    """Create the table of observations if it is not there, and wait until it can be written."""
    dynamodb = boto3.client("dynamodb", **settings.aws("dynamodb"))
    try:
        dynamodb.create_table(
            TableName=settings.table,
            KeySchema=[{"AttributeName": "drawing_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "drawing_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    except dynamodb.exceptions.ResourceInUseException:
        return
    dynamodb.get_waiter("table_exists").wait(TableName=settings.table, WaiterConfig={"Delay": 1})


class Observations:
    """The table, as a sink of examples."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        """Keep the table's name; nothing connects before the first call.

        Args:
            settings: Where DynamoDB is, and the table's name.
            stop: Ends a wait while the table throttles.
        """
        self._table = settings.table
        self._stop = stop
        patient = Config(retries={"mode": "adaptive", "max_attempts": 8}, connect_timeout=5, read_timeout=15)
        self._dynamodb: Any = boto3.client("dynamodb", config=patient, **settings.aws("dynamodb"))

    def places(self) -> dict[int, int]:
        """Return the first offset that is not in the table, by partition."""
        keys = [{"drawing_id": {"S": _place_key(partition)}} for partition in range(PLAYER_PARTITIONS)]
        answer = self._dynamodb.batch_get_item(RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}})
        items = answer["Responses"][self._table]
        return {int(item["drawing_id"]["S"].rpartition("/")[2]): int(item["next_offset"]["N"]) for item in items}

    def keep(self, partition: int, batch: Sequence[Placed]) -> None:
        """Write the newest revision of each drawing of a batch, then how far the partition is kept."""
        newest = newest_of([placed.example for placed in batch if placed.example])
        for start in range(0, len(newest), MAX_WRITES):
            self._write(newest[start : start + MAX_WRITES])
        self._dynamodb.put_item(
            TableName=self._table,
            Item={"drawing_id": {"S": _place_key(partition)}, "next_offset": {"N": str(batch[-1].offset + 1)}},
        )

    def without(self, player_id: str, tell: Callable[[list[str]], None]) -> None:
        """Delete the items of a player; ``tell`` their keys beforehand."""
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._table,
            FilterExpression="player_id = :player",
            ExpressionAttributeValues={":player": {"S": player_id}},
            ProjectionExpression="drawing_id",
            ConsistentRead=True,
        )
        keys = [item["drawing_id"] for page in pages for item in page["Items"]]
        tell([key["S"] for key in keys])
        for first in range(0, len(keys), _BATCH):
            waiting = [{"DeleteRequest": {"Key": {"drawing_id": key}}} for key in keys[first : first + _BATCH]]
            while waiting:
                left = self._dynamodb.batch_write_item(RequestItems={self._table: waiting}).get("UnprocessedItems", {})
                if waiting := left.get(self._table, []):  # throttled
                    log.warning("observations wait", table=self._table, why=["Throttled"])
                    if self._stop.wait(0.5):
                        raise TimeoutError(f"{len(waiting)} observations of a forgotten player are left: the trainer stops")

    def _write(self, examples: list[ExampleLabelled]) -> None:
        """Write one transaction; items that the table has in a higher revision are left out, and the rest is tried again."""
        while examples:
            try:
                self._dynamodb.transact_write_items(TransactItems=[self._put(example) for example in examples])
            except self._dynamodb.exceptions.TransactionCanceledException as error:
                reasons = [reason.get("Code", "None") for reason in error.response["CancellationReasons"]]
                kept = [example for example, reason in zip(examples, reasons, strict=True) if reason != _FAILED]
                if len(kept) == len(examples):  # throttled, or in conflict with another writer
                    log.warning("observations wait", table=self._table, why=sorted(set(reasons) - {"None"}))
                    if self._stop.wait(0.5):
                        raise
                examples = kept
            else:
                return

    def _put(self, example: ExampleLabelled) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._table,
                "Item": item(example),
                "ConditionExpression": "attribute_not_exists(drawing_id) OR revision < :revision",
                "ExpressionAttributeValues": {":revision": {"N": str(example.revision)}},
            }
        }


def newest_of(examples: Sequence[ExampleLabelled]) -> list[ExampleLabelled]:
    """Return the highest revision of each drawing, in the order in which the drawings first came."""
    newest: dict[object, ExampleLabelled] = {}
    for example in examples:
        if example.drawing_id not in newest or newest[example.drawing_id].revision < example.revision:
            newest[example.drawing_id] = example
    return list(newest.values())


def item(example: ExampleLabelled) -> dict[str, Any]:
    """Encode an observation for DynamoDB: no label means that the player withdrew their correction."""
    out: dict[str, Any] = {
        "drawing_id": {"S": str(example.drawing_id)},
        "player_id": {"S": example.player_id},
        "correction_id": {"S": str(example.correction_id)},
        "revision": {"N": str(example.revision)},
        "drawn_at": {"S": example.drawn_at.isoformat()},
        "guesses": {
            "M": {
                guess_part(guess.model, guess.version, guess.shadow): {
                    "M": {
                        "version": {"S": guess.version},
                        "label": {"N": str(guess.label)},
                        "confidence": {"N": f"{guess.probabilities[guess.label]:.6f}"},
                        "latency_ms": {"N": f"{guess.latency_ms:.3f}"},
                    }
                }
                for guess in example.guesses
            }
        },
    }
    digits = {"label": example.label, "asked": example.asked}
    return out | {name: {"N": str(digit)} for name, digit in digits.items() if digit is not None}


def _place_key(partition: int) -> str:
    return f"{TOPIC}/{partition}"
