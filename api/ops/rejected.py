"""Lists, shows, repairs and replays rejected messages for operators (OPERATE).

Each request reads rejected.v1 from its end back, as far as the request says: nothing is kept in memory, since each record may
be a megabyte. Repairs and replays are events of the same topic, so later requests see them. Twice is harmless: a
replayed event keeps its ids.
"""

import asyncio
import base64
import json
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.metrics import Metrics
from api.ops.door import Door
from contracts.events import (
    SIGNED,
    CommandsEvent,
    Event,
    MessageRejected,
    MessageRepaired,
    MessageReplayed,
    UnknownEvent,
    decode,
)
from contracts.ports import Bus, Record
from contracts.records import read

WITHIN_S: Final = 5.0
"""How long to wait for the broker's acknowledgement, in seconds."""
READ_S: Final = 8.0
"""How long reading rejected.v1 may take, in seconds; records beyond that are not listed."""
SHOWN: Final = 1000
"""How many characters of a value or an error the list shows."""

log = structlog.get_logger(__name__)


class RepairRefused(ValueError):
    """A message cannot be repaired or replayed as requested; the text says why, and what to do."""


@dataclass(slots=True)
class Case:
    """A rejected message, with its repairs and replays."""

    rejected: MessageRejected
    """The rejection; in the list it has only the beginning of its value."""
    whole: bool
    """Whether the whole message was kept."""
    times: int
    """How often it was rejected: a stage that reads it again rejects it again."""
    repaired: bytes | None = None
    replayed: datetime | None = None

    @property
    def state(self) -> Literal["open", "repaired", "replayed"]:
        """The state of the case."""
        return "replayed" if self.replayed else "repaired" if self.repaired is not None else "open"

    def event(self) -> Event:
        """Return the event of the message as it is now, repaired or not.

        Raises:
            RepairRefused: If the message cannot be read as an event, was not kept whole, or must be signed.
        """
        self._is_not_signed()
        if self.repaired is None and not self.whole:
            raise RepairRefused(f"{_cut(self.rejected)}: give the whole message with --value")
        value = self.rejected.value if self.repaired is None else self.repaired
        try:
            return decode(self.rejected.source, None if self.rejected.null and self.repaired is None else value)
        except UnknownEvent as wrong:
            raise RepairRefused(f"{_line(wrong)}; repair it first") from wrong

    def _is_not_signed(self) -> None:
        """Refuse what has to be signed: with the API's signature, whatever a stranger has written would lead."""
        if self.rejected.source == CommandsEvent.topic:
            raise RepairRefused("a command is neither repaired nor replayed: give it anew, it may be a stranger's")
        if self.rejected.source in SIGNED:
            raise RepairRefused(
                f"what is on {self.rejected.source} is signed by who wrote it, and nobody writes it anew for them"
            )

    def mended(self, value: str | None, fields: Mapping[str, Any]) -> bytes:
        """Return the repaired message.

        Args:
            value: The whole new message; None: the kept one.
            fields: Values for the top-level fields of the same name.

        Raises:
            RepairRefused: If the result is no event of its topic, or the message was not kept whole or must be signed.
        """
        self._is_not_signed()
        whole = value.encode() if value is not None else self.repaired
        if whole is None:
            if not self.whole:
                raise RepairRefused(
                    f"{_cut(self.rejected)}: a field of the rest cannot be set, give the whole message with --value"
                )
            whole = self.rejected.value
        if fields:
            try:
                message = json.loads(whole)
            except ValueError as wrong:
                raise RepairRefused(f"what is kept is no JSON ({wrong}): give the whole message with --value") from wrong
            if not isinstance(message, dict):
                raise RepairRefused("what is kept is no JSON object: give the whole message with --value")
            whole = json.dumps(message | dict(fields), allow_nan=False).encode()
        try:
            decode(self.rejected.source, whole)
        except UnknownEvent as wrong:
            raise RepairRefused(f"so it would be no event either: {_line(wrong)}") from wrong
        return whole


def _cut(rejected: MessageRejected) -> str:
    return f"only {len(rejected.value)} of its {rejected.size or 'unknown'} bytes were kept"


def _line(wrong: Exception) -> str:
    return " ".join(str(wrong).split())[:500]


class Rejected(BaseModel):
    """A rejected message."""

    rejection_id: UUID
    at: datetime
    source: str
    partition: int
    offset: int
    key: str | None
    size: int
    null: bool
    whole: bool
    """Whether the whole message was kept, so that it can be replayed."""
    stage: str
    error: str
    times: int
    state: Literal["open", "repaired", "replayed"]
    text: str
    """The beginning of the message, as far as it is text."""


class RejectedWhole(Rejected):
    """A rejected message in full."""

    digest: str
    value: str
    """The message in base64."""
    repaired: str | None


class Mend(BaseModel):
    """A repair of a message."""

    model_config = ConfigDict(extra="forbid")

    value: str | None = Field(None, max_length=60_000)
    """The whole new message; not given: the kept one."""
    fields: dict[str, Any] = {}
    """Top-level fields that replace those of the same name."""
    reason: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _something(self) -> "Mend":
        if self.value is None and not self.fields:
            raise ValueError("give a value, or fields to set")
        return self


class Replayed(BaseModel):
    """The place of the replayed message on the log."""

    rejection_id: UUID
    topic: str
    partition: int
    offset: int


def cases(bus: Bus, last: int, wanted: Collection[UUID] = ()) -> dict[UUID, Case]:
    """Read the last records of rejected.v1 into cases, the newest rejection last; only wanted rejections keep their values."""
    found: dict[UUID, Case] = {}
    tail = bus.follow([MessageRejected.topic], {(MessageRejected.topic, 0): -last})
    try:
        deadline = time.monotonic() + READ_S
        while time.monotonic() < deadline:
            done = tail.caught_up()
            for record in tail.poll(0.0 if done else 0.2):
                _fold(found, read(record, "api"), wanted)
            if done:
                break
    finally:
        tail.close()
    return found


def _fold(found: dict[UUID, Case], event: object, wanted: Collection[UUID]) -> None:
    match event:
        case MessageRejected():
            identity, before = event.rejection_id, found.pop(event.rejection_id, None)
            light = event if identity in wanted else event.model_copy(update={"value": event.value[:SHOWN]})
            case = before or Case(light, event.whole, 0)
            case.rejected, case.times = light, case.times + 1
            found[identity] = case
        case MessageRepaired() if event.rejection_id in found:
            found[event.rejection_id].repaired = event.value
            found[event.rejection_id].replayed = None
        case MessageReplayed() if event.rejection_id in found:
            found[event.rejection_id].replayed = event.at


def told(case: Case, size: int) -> Rejected:
    """Return a case as the list shows it."""
    rejected = case.rejected
    return Rejected(
        rejection_id=rejected.rejection_id,
        at=rejected.at,
        source=rejected.source,
        partition=rejected.source_partition,
        offset=rejected.source_offset,
        key=None if rejected.source_key is None else rejected.source_key[:200].decode("utf-8", "replace"),
        size=len(rejected.value) if rejected.size is None else rejected.size,
        null=rejected.null,
        whole=case.whole,
        stage=rejected.stage,
        error=rejected.error[:size],
        times=case.times,
        state=case.state,
        text=rejected.value[:size].decode("utf-8", "replace"),
    )


def rejected_router(
    commands: APIRouter, bus: Bus, metrics: Metrics, door: Door, refusals: dict[int | str, dict[str, Any]]
) -> None:
    """Add the routes for rejected messages to those of operators."""
    Operator = Annotated[str, Depends(door.operator)]  # noqa: N806 - a type
    Last = Annotated[int, Query(ge=1, le=20_000, description="how many of the newest records of rejected.v1 to search")]  # noqa: N806
    Why = Annotated[str, Query(max_length=500, description="why; kept with the entry of the audit")]  # noqa: N806
    responses = refusals | {
        404: {"description": "No such message among the searched records"},
        409: {"description": "The message cannot be repaired or replayed like this"},
    }
    reading = asyncio.Semaphore(2)  # a reader may hold up to 50 MB

    async def look(last: int, *wanted: UUID) -> dict[UUID, Case]:
        async with reading:
            try:
                return await asyncio.to_thread(cases, bus, last, wanted)
            except RuntimeError as failure:
                raise HTTPException(503, f"rejected.v1 cannot be read: {failure}") from failure

    async def one(rejection_id: UUID, last: int) -> Case:
        case = (await look(last, rejection_id)).get(rejection_id)
        if case is None:
            raise HTTPException(404, f"no rejection {rejection_id} among the last {last} records of rejected.v1")
        return case

    async def kept(event: Event) -> Record:
        future: Future[Record] = bus.publish(event)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), WITHIN_S)
        except (TimeoutError, RuntimeError) as failure:
            raise HTTPException(503, f"the log did not acknowledge it ({failure or 'in time'}): it may still come") from failure

    def audited(what: str, status: int, rejection_id: UUID, by: str, **more: str) -> None:
        metrics.audited.labels(str(status)).inc()
        log.info(f"audit: {what}", rejection_id=str(rejection_id), by=by, status=status, **more)

    @commands.get("/api/ops/rejected", tags=["operators"], responses=refusals)
    async def rejected(
        _: Operator, topic: str | None = None, stage: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        last: Last = 1000,
    ) -> list[Rejected]:  # fmt: skip
        """List the rejected messages, the newest first."""
        found = [
            case
            for case in (await look(last)).values()
            if topic in (None, case.rejected.source) and stage in (None, case.rejected.stage)
        ]
        return [told(case, SHOWN) for case in reversed(found[-limit:])]

    @commands.get("/api/ops/rejected/{rejection_id}", tags=["operators"], responses=responses)
    async def show(rejection_id: UUID, _: Operator, last: Last = 20_000) -> RejectedWhole:
        """Return a rejected message in full."""
        case = await one(rejection_id, last)
        repaired = None if case.repaired is None else case.repaired.decode("utf-8", "replace")
        value = base64.b64encode(case.rejected.value).decode()
        return RejectedWhole(**told(case, 1 << 20).model_dump(), digest=case.rejected.digest, value=value, repaired=repaired)

    @commands.post("/api/ops/rejected/{rejection_id}/repair", tags=["operators"], responses=responses)
    async def repair(request: Request, rejection_id: UUID, mend: Mend, by: Operator, last: Last = 20_000) -> RejectedWhole:
        """Repair a message: keep what it should have been, which must be an event of its topic."""
        case = await one(rejection_id, last)
        try:
            value = case.mended(mend.value, mend.fields)
        except (RepairRefused, ValueError) as refused:
            audited("MessageRepaired", 409, rejection_id, by, reason=mend.reason)
            raise HTTPException(409, str(refused)) from refused
        source = case.rejected.source
        await door.note(request, source, mend.reason, f"rejection_id={rejection_id}")
        await kept(MessageRepaired(rejection_id=rejection_id, source=source, value=value, by=by, reason=mend.reason))
        audited("MessageRepaired", 200, rejection_id, by, reason=mend.reason)
        case.repaired, case.replayed = value, None
        raw = base64.b64encode(case.rejected.value).decode()
        return RejectedWhole(
            **told(case, 1 << 20).model_dump(), digest=case.rejected.digest, value=raw, repaired=value.decode()
        )

    @commands.post("/api/ops/rejected/{rejection_id}/replay", tags=["operators"], responses=responses)
    async def replay(request: Request, rejection_id: UUID, by: Operator, last: Last = 20_000, reason: Why = "") -> Replayed:
        """Publish the message, repaired or not, on its topic again."""
        case = await one(rejection_id, last)
        try:
            event = case.event()
        except RepairRefused as refused:
            audited("MessageReplayed", 409, rejection_id, by)
            raise HTTPException(409, str(refused)) from refused
        await door.note(request, case.rejected.source, reason, f"rejection_id={rejection_id}")
        at = await kept(event)
        await kept(MessageReplayed(rejection_id=rejection_id, source=case.rejected.source, by=by))
        audited("MessageReplayed", 200, rejection_id, by, topic=at.topic)
        return Replayed(rejection_id=rejection_id, topic=at.topic, partition=at.partition, offset=at.offset)
