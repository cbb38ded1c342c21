"""Keeps an item for each drawing and each guess in DynamoDB, to be asked by player, day, label and model (way 3, REBUILD).

A drawing and its guesses are written in one transaction, and only over a lower revision, so events that come twice, late or out
of order give the same tables. How far each partition is kept is an entry of the trainer's bookkeeping: tables that are thrown
away together fill again from the log.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import ClientError

from contracts.events import PLAYER_PARTITIONS, ExampleLabelled, guess_part
from contracts.settings import Settings
from trainers.archive_names import pixels_of
from trainers.example_sink import TOPIC, Placed
from trainers.lease import LeaseLost
from trainers.tables import BOOKKEEPING, DRAWINGS, GUESSES

MAX_WRITES: Final = 100
"""The most items that DynamoDB takes in one transaction; a drawing has fewer."""
_BATCH: Final = 25
"""The most items that DynamoDB deletes in one request."""
_WAIT_S: Final = 0.5
_FAILED = "ConditionalCheckFailed"
_NEVER: Final = ("ValidationError", "ItemCollectionSizeLimitExceeded")
"""Why DynamoDB never takes an item, however often it is asked; of the whole request it says ``ValidationException``."""
_PATIENT: Final = Config(retries={"mode": "adaptive", "max_attempts": 8}, connect_timeout=5, read_timeout=15)

log = structlog.get_logger()


class Observations:
    """The tables of drawings and guesses, as a sink of examples."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        guard: Callable[[], dict[str, Any]] | None = None,
        dynamodb: Any = None,
    ) -> None:
        """Keep the tables' names; nothing connects before the first call.

        Args:
            settings: Where DynamoDB is, and the tables' names.
            stop: Ends a wait while a table throttles.
            guard: Returns a condition that each transaction must hold, or raises `LeaseLost`; None: there is no other writer.
            dynamodb: A client; None: one is made.
        """
        self._guard = guard
        self._drawings, self._guesses = DRAWINGS.name(settings), GUESSES.name(settings)
        self._bookkeeping = BOOKKEEPING.name(settings)
        self._stop = stop
        self._dynamodb: Any = dynamodb or boto3.client("dynamodb", config=_PATIENT, **settings.aws("dynamodb"))

    def places(self) -> dict[int, int]:
        """Return the first offset that is not in the tables, by partition."""
        asked = [{"entry": {"S": _place_key(partition)}} for partition in range(PLAYER_PARTITIONS)]
        items: list[dict[str, Any]] = []
        while asked:
            answer = self._dynamodb.batch_get_item(RequestItems={self._bookkeeping: {"Keys": asked, "ConsistentRead": True}})
            items += answer["Responses"].get(self._bookkeeping, [])
            asked = answer.get("UnprocessedKeys", {}).get(self._bookkeeping, {}).get("Keys", [])
            if asked:
                self._wait("Throttled", len(asked))
        return {int(item["entry"]["S"].rpartition("/")[2]): int(item["next_offset"]["N"]) for item in items}

    def lay(self, partition: int, batch: Iterable[Placed]) -> Callable[[], None]:
        """Return what writes the newest revision of each drawing of a batch, then how far the partition is kept."""
        several = list(batch)
        return lambda: self._keep(partition, several)

    def _keep(self, partition: int, batch: list[Placed]) -> None:
        waiting: list[list[dict[str, Any]]] = []
        for placed in newest_of(batch):
            puts = self._puts(partition, placed)
            if sum(map(len, waiting)) + len(puts) > MAX_WRITES - 1:  # and the guard
                self._write(waiting)
                waiting = []
            waiting.append(puts)
        self._write(waiting)
        place = {"entry": {"S": _place_key(partition)}, "next_offset": {"N": str(batch[-1].offset + 1)}}
        self._write([[{"Put": {"TableName": self._bookkeeping, "Item": place}}]])

    def without(self, player_id: str, tell: Callable[[list[str]], None]) -> None:
        """Delete the items of a player, the drawings last; ``tell`` the drawings' ids beforehand."""
        drawings = list(self._of(self._drawings, "drawing_id", player_id))
        tell(drawings)
        self._delete(self._guesses, "guess_id", player_id, list(self._of(self._guesses, "guess_id", player_id)))
        self._delete(self._drawings, "drawing_id", player_id, drawings)

    def _of(self, table: str, key: str, player_id: str) -> Iterator[str]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=table,
            KeyConditionExpression="player_id = :player",
            ExpressionAttributeValues={":player": {"S": player_id}},
            ProjectionExpression=key,
            ConsistentRead=True,
        )
        for page in pages:
            yield from (item[key]["S"] for item in page["Items"])

    def _delete(self, table: str, key: str, player_id: str, ids: Sequence[str]) -> None:
        for first in range(0, len(ids), _BATCH):
            keys = [{"player_id": {"S": player_id}, key: {"S": one}} for one in ids[first : first + _BATCH]]
            waiting: list[dict[str, Any]] = [{"DeleteRequest": {"Key": one}} for one in keys]
            while waiting:
                left = self._dynamodb.batch_write_item(RequestItems={table: waiting}).get("UnprocessedItems", {})
                if waiting := left.get(table, []):
                    self._wait("Throttled", len(waiting))

    def _write(self, drawings: list[list[dict[str, Any]]]) -> None:
        """Write drawings, each with its guesses, in one transaction.

        A drawing that the tables have in a higher revision is left out, and the rest is tried again; what is throttled too.

        Raises:
            ValueError: If it takes one of them never.
        """
        while drawings:
            guard = [self._guard()] if self._guard else []
            try:
                self._dynamodb.transact_write_items(TransactItems=[*guard, *(put for puts in drawings for put in puts)])
            except self._dynamodb.exceptions.TransactionCanceledException as error:
                told_of = [reason.get("Code", "None") for reason in error.response["CancellationReasons"]]
                if guard and told_of[0] == _FAILED:
                    raise LeaseLost("another trainer writes observations now") from error
                reasons = iter(told_of[len(guard) :])
                told = [[next(reasons) for _ in puts] for puts in drawings]
                if never := sorted({one for why in told for one in why} & set(_NEVER)):
                    raise ValueError(f"DynamoDB does not take it: {', '.join(never)}, {error}") from error
                kept = [puts for puts, why in zip(drawings, told, strict=True) if _FAILED not in why]
                if len(kept) == len(drawings):  # throttled, or in conflict with another writer
                    self._wait(", ".join(sorted({one for why in told for one in why} - {"None"})), len(drawings))
                drawings = kept
            except ClientError as error:
                if error.response["Error"]["Code"] == "ValidationException":
                    raise ValueError(f"DynamoDB does not take it: {error}") from error
                raise
            else:
                return

    def _wait(self, why: str, n: int) -> None:
        log.warning("observations wait", table=self._drawings, why=why, n=n)
        if self._stop.wait(_WAIT_S):
            raise TimeoutError(f"{n} observations are left: the trainer stops")

    def _puts(self, partition: int, placed: Placed) -> list[dict[str, Any]]:
        """Return what writes a drawing and its guesses."""
        assert placed.example
        condition = {
            "ConditionExpression": "attribute_not_exists(player_id) OR revision < :revision",
            "ExpressionAttributeValues": {":revision": {"N": str(placed.example.revision)}},
        }
        drawing, *guesses = items(partition, placed.offset, placed.example)
        put = [{"TableName": self._drawings, "Item": drawing, **condition}]
        put += [{"TableName": self._guesses, "Item": guess, **condition} for guess in guesses]
        return [{"Put": one} for one in put]


def newest_of(batch: Sequence[Placed]) -> list[Placed]:
    """Return the highest revision of each drawing, in the order in which the drawings first came."""
    newest: dict[object, Placed] = {}
    for placed in batch:
        if placed.example:
            before = newest.get(placed.example.drawing_id)
            if before is None or (before.example and before.example.revision < placed.example.revision):
                newest[placed.example.drawing_id] = placed
    return list(newest.values())


def items(partition: int, offset: int, example: ExampleLabelled) -> list[dict[str, Any]]:
    """Encode an example for DynamoDB: the drawing, then each guess on it. No label: the player withdrew their correction."""
    drawn_at = example.drawn_at.astimezone(UTC)
    both: dict[str, Any] = {
        "player_id": {"S": example.player_id},
        "drawing_id": {"S": str(example.drawing_id)},
        "revision": {"N": str(example.revision)},
        "drawn_at": {"S": time_key(drawn_at)},
        "pixels": {"S": pixels_of(partition, offset, example.at)},
    }
    digits = {"label": example.label, "asked": example.asked}
    both |= {name: {"N": str(digit)} for name, digit in digits.items() if digit is not None}
    if example.device:
        both["device"] = {"S": example.device}
    if example.gold:
        both["gold"] = {"BOOL": True}
    shown: dict[str, dict[str, Any]] = {}
    for guess in example.guesses:
        told = {
            "version": {"S": guess.version},
            "label": {"N": str(guess.label)},
            "confidence": {"N": f"{guess.probabilities[guess.label]:.6f}"},
            "latency_ms": {"N": f"{guess.latency_ms:.3f}"},
        }
        shown.setdefault(guess_part(guess.model, guess.version, guess.shadow, guess.place), {"M": told})
    drawing = {
        **both,
        "day": {"S": drawn_at.date().isoformat()},
        "correction_id": {"S": str(example.correction_id)},
        "guesses": {"M": shown},
    }
    return [drawing, *_guess_items(both, example)]


def _guess_items(both: dict[str, Any], example: ExampleLabelled) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for guess in example.guesses:
        part = guess_part(guess.model, guess.version, guess.shadow, guess.place)
        if part in seen:  # the first guess of each part counts
            continue
        seen.add(part)
        correct = {} if example.label is None else {"correct": {"BOOL": guess.label == example.label}}
        yield {
            **both,
            **correct,
            "guess_id": {"S": f"{example.drawing_id}/{part}"},
            "model": {"S": guess.model},
            "version": {"S": guess.version},
            "shadow": {"BOOL": guess.shadow},
            "guess": {"N": str(guess.label)},
            "confidence": {"N": f"{guess.probabilities[guess.label]:.6f}"},
            "latency_ms": {"N": f"{guess.latency_ms:.3f}"},
        }


def time_key(at: datetime) -> str:
    """Return a time as text that sorts as times do.

    >>> time_key(datetime(2026, 11, 22, 12, tzinfo=UTC))
    '2026-11-22T12:00:00.000000Z'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _place_key(partition: int) -> str:
    return f"{TOPIC}/{partition}"
