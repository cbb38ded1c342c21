"""The lease: of several trainers one does the work, and another takes over when it is gone (way 3, REBUILD).

It is an entry of the trainer's bookkeeping, changed by conditional writes alone. The holder renews it every few seconds.
Whoever sees it unchanged for `TTL_S` by a clock of its own takes it, with a fence that is one higher; clocks need not agree.
A holder that could not renew it in time stops where it is, until it could. A write of observations is refused under an old
fence by DynamoDB.

A holder that is known to be dead, as a process of this machine that is not there any more, is not waited for.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from contracts.settings import Settings
from trainers.tables import BOOKKEEPING, ensure_tables

ENTRY: Final = "lease"
TTL_S: Final = 12.0
"""How long a lease holds that is not renewed, in seconds."""
RENEW_S: Final = 3.0
LOOK_S: Final = 1.0
_TRIES: Final = 6
"""How often a write is tried that meets a transaction of observations: it checks the entry, and DynamoDB refuses the second."""
_CONFLICT_S: Final = 0.05
"""The most that is waited between two of them, in seconds."""
_QUICK: Final = Config(retries={"mode": "standard", "max_attempts": 2}, connect_timeout=2, read_timeout=4)

log = structlog.get_logger()


class LeaseLost(RuntimeError):
    """Another trainer does the work now."""


class Lease:
    """The lease of one trainer. Every method may be called by any thread."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        taken: Callable[[], None] = lambda: None,
        dynamodb: Any = None,
        clock: Callable[[], float] | None = None,
        me: str | None = None,
    ) -> None:
        """Keep the table's name; nothing connects before `keep`.

        Args:
            settings: Where DynamoDB is, and the tables' names.
            stop: Ends every wait.
            taken: Is called when the lease is taken, before anybody may work under it.
            dynamodb: A client; None: one is made.
            clock: Monotonic, in seconds; None: one that goes on while the machine sleeps, where there is one.
            me: Names this process; None: by machine, process and its start.
        """
        self._settings = settings
        self._stop = stop
        self._taken = taken
        self._clock = clock or awake_or_not
        self._me = me or identity(os.getpid())
        self._dynamodb: Any = dynamodb or boto3.client("dynamodb", config=_QUICK, **settings.aws("dynamodb"))
        self._table = BOOKKEEPING.name(settings)
        self._fence: int | None = None
        self._until = 0.0
        self._seen: tuple[tuple[str, int, int], float] | None = None
        """Whose lease was seen at which fence and beat, and since when it is that."""
        self._changed = threading.Condition()
        self._holder = ""

    @property
    def fence(self) -> int | None:
        """The number of this lease; None: this trainer does not hold it now."""
        with self._changed:
            return self._fence if self._clock() < self._until else None

    @property
    def has_it(self) -> bool:
        """Whether this trainer has it, as far as it knows, though it could not renew it in time."""
        return self._fence is not None

    @property
    def is_ours(self) -> bool:
        """Whether nobody else is known to have it, so that what is quick, and must not wait for DynamoDB, is done here."""
        with self._changed:
            return self._fence is not None or not self._holder or is_dead(self._holder)

    def keep(self) -> None:
        """Take the lease and renew it until the trainer stops; then give it back."""
        while not self._stop.is_set():
            try:
                self.step()
            except (BotoCoreError, ClientError) as error:
                log.warning("the lease waits", error=str(error))
            self._stop.wait(RENEW_S if self._fence is not None else LOOK_S)
        self.release()

    def step(self) -> None:
        """Renew the lease, or take it if it is free."""
        began = self._clock()
        if self._fence is not None:
            try:
                self._update("beat = beat + :one", "holder = :me AND fence = :fence", {":one": 1, ":fence": self._fence})
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                log.warning("the lease is lost", fence=self._fence)
                self._set(None, 0.0)
            else:
                self._set(self._fence, began + TTL_S)
            return
        try:
            found = self._dynamodb.get_item(TableName=self._table, Key={"entry": {"S": ENTRY}}, ConsistentRead=True).get("Item")
        except self._dynamodb.exceptions.ResourceNotFoundException:
            ensure_tables(self._settings)
            return
        self._take(found, began)

    def _take(self, found: Mapping[str, Any] | None, began: float) -> None:
        holder, fence, beat = ("", 0, 0) if found is None else _read(found)
        self._holder = holder
        if self._seen is None or self._seen[0] != (holder, fence, beat):
            self._seen = (holder, fence, beat), began
        if holder and not is_dead(holder) and began - self._seen[1] < TTL_S:
            return  # it is renewed, or was not looked at for long enough
        condition = "attribute_not_exists(entry)" if found is None else "fence = :fence AND beat = :beat"
        values = {} if found is None else {":fence": fence, ":beat": beat}
        try:
            self._update("holder = :me, fence = :next, beat = :zero", condition, {**values, ":next": fence + 1, ":zero": 0})
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return  # another one was quicker
        log.info("the lease is taken", fence=fence + 1, before=holder or "nobody")
        self._taken()
        self._holder = self._me
        self._set(fence + 1, began + TTL_S)

    def _update(self, change: str, condition: str, values: Mapping[str, int]) -> None:
        given = {name: {"N": str(value)} for name, value in values.items()}
        if ":me" in change + condition:
            given[":me"] = {"S": self._me}
        self._write(f"SET {change}", condition, given)

    def _write(self, change: str, condition: str, values: Mapping[str, Any]) -> None:
        for left in range(_TRIES - 1, -1, -1):
            try:
                self._dynamodb.update_item(
                    TableName=self._table,
                    Key={"entry": {"S": ENTRY}},
                    UpdateExpression=change,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                )
            except ClientError as error:
                if not left or error.response["Error"]["Code"] != "TransactionConflictException":
                    raise
                time.sleep(random.uniform(0, _CONFLICT_S))
            else:
                return

    def _set(self, fence: int | None, until: float) -> None:
        with self._changed:
            self._fence, self._until = fence, until
            self._changed.notify_all()

    def release(self) -> None:
        """Give the lease back, so that another takes it at once."""
        if self._fence is None:
            return
        fence, self._fence = self._fence, None
        try:
            values = {":nobody": {"S": ""}, ":me": {"S": self._me}, ":fence": {"N": str(fence)}}
            self._write("SET holder = :nobody", "holder = :me AND fence = :fence", values)
        except (BotoCoreError, ClientError) as error:
            log.warning("the lease is not given back", error=str(error))

    def check(self) -> None:
        """Wait until this trainer certainly holds the lease that it has.

        Raises:
            LeaseLost: If it has none any more, or the trainer stops.
        """
        with self._changed:
            while self._fence is not None and self._clock() >= self._until:
                if self._stop.is_set():
                    break
                self._changed.wait(0.2)
            if self._fence is None or self._clock() >= self._until:
                raise LeaseLost(f"another trainer does the work: {self._holder}")

    def wait(self) -> None:
        """Wait until this trainer holds the lease, or stops."""
        with self._changed:
            while not self._stop.is_set() and (self._fence is None or self._clock() >= self._until):
                self._changed.wait(0.5)

    def condition(self) -> dict[str, Any]:
        """Return what a transaction must hold to be written: that nobody has taken the lease since.

        Raises:
            LeaseLost: If another trainer has it.
        """
        self.check()
        return {
            "ConditionCheck": {
                "TableName": self._table,
                "Key": {"entry": {"S": ENTRY}},
                "ConditionExpression": "fence = :fence",
                "ExpressionAttributeValues": {":fence": {"N": str(self._fence)}},
            }
        }


def awake_or_not() -> float:
    """Return seconds of a monotonic clock that goes on while the machine sleeps, as the others' clocks do."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)  # Linux has it
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def _read(item: Mapping[str, Any]) -> tuple[str, int, int]:
    return item["holder"]["S"], int(item["fence"]["N"]), int(item["beat"]["N"])


def identity(pid: int) -> str:
    """Return a name of a process that no other ever has: the machine's boot, its namespace of processes, number and start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}/{pid}/{_start(pid)}"
    except OSError:  # no Linux: nobody can tell that it is dead
        return f"{uuid4()}///"


def is_dead(holder: str) -> bool:
    """Say whether a process certainly is no more: one of this machine, as this process sees it, that is not there."""
    boot, namespace, pid, start = [*holder.split("/"), "", "", ""][:4]
    here, mine, *_ = identity(os.getpid()).split("/")
    return (boot, namespace) == (here, mine) and pid.isdigit() and _start(int(pid)) != start


def _start(pid: int) -> str:
    """Return when a process was started, in ticks since the boot; empty: there is none."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = told.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
