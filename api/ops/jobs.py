"""Builds the routes of rebuilds: the queue, what is at work and how others ended; and cancelling one (way 3, OPERATE)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from api.ops.door import REFUSALS, Accepted, Door, wrong_field
from api.ops.requests import CommandRequest
from contracts.events import CancelTraining, Tried
from contracts.hyperparameters import combinations
from contracts.rebuilds import Rebuild, RebuildQueue

SHOWN = 100
"""How many rebuilds are shown unless more are asked for."""


class JobState(BaseModel):
    """A rebuild: it waits, is at work or has ended."""

    id: UUID
    """The id of the command that asked for it."""
    model: str
    version: str | None
    """The version that is made; None: it was not begun."""
    state: str
    """queued, running, done, refused, failed, cancelled."""
    position: int | None
    """Its place in the queue, from 1; None: it does not wait."""
    trigger: str
    """Why it was begun: hand, count, time, drift."""
    by: str
    """Who asked for it; of what an operator asked for only an operator is told who and why."""
    reason: str
    asked_at: datetime | None
    began: datetime | None
    ended: datetime | None
    step: str | None
    fraction: float
    message: str
    tried: list[Tried]
    """The settings of hyperparameters that it tries; empty: it tries none."""
    cancelling: bool
    """Whether somebody has cancelled it, and it has not ended yet."""


class CancelRequest(CommandRequest):
    """Cancel a rebuild."""

    training_id: UUID
    """The id of the command that asked for it."""


def job_state(one: Rebuild) -> JobState:
    """Return a rebuild as it is shown."""
    last, ended = one.last, one.state not in ("queued", "running")
    return JobState(
        id=one.command_id,
        model=one.model,
        version=last.version if last and last.version != "none" else None,
        state=one.state,
        position=one.position,
        trigger=one.trigger,
        by=one.by,
        reason=one.command.reason if one.command else "",
        asked_at=one.asked_at,
        began=last.began if last else None,
        ended=last.at if last and ended else None,
        step=last.step if last else None,
        fraction=last.fraction if last else 0.0,
        message=last.message if last else "",
        tried=list(_tried(one)),
        cancelling=one.cancel is not None and not ended,
    )


def _tried(one: Rebuild) -> Iterator[Tried]:
    if one.last and one.last.tried:
        yield from one.last.tried
    elif one.command and one.state in ("queued", "running"):
        yield from (Tried(hyperparameters=each, status="waiting") for each in combinations(one.command.grid) if each)


def for_anybody(job: JobState) -> JobState:
    """Return a rebuild as it is shown to who is no operator: nothing that operators are called, or have written."""
    hidden = {"by": "", "reason": ""} if job.trigger == "hand" else {}
    if job.step in ("queued", "cancelled"):  # these say who asked for it, or who cancelled it and why
        hidden["message"] = ""
    return job.model_copy(update=hidden)


def job_routes(door: Door, queue: RebuildQueue) -> APIRouter:
    """Build the routes."""
    routes, commands = APIRouter(), door.router()
    Given = Annotated[dict[str, str], Depends(door.given)]  # noqa: N806 - a type

    @routes.get("/api/jobs", tags=["queries"])
    async def list_jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = SHOWN) -> list[JobState]:
        """Return the rebuilds: those that are due in their order, then those that have ended, the newest first."""
        listed = [job_state(one) for one in queue.all()[:limit]]
        return listed if door.knows(request) else [for_anybody(one) for one in listed]

    @routes.get("/api/jobs/{job_id}", tags=["queries"], responses={404: {"description": "No such rebuild, or several"}})
    async def show_job(request: Request, job_id: str) -> JobState:
        """Return a rebuild by its id, or by the first letters of it."""
        found = [one for one in queue.all() if str(one.command_id).startswith(job_id.lower())]
        if len(found) != 1:
            what = "no rebuild" if not found else f"{len(found)} rebuilds"
            raise HTTPException(404, f"{what} with an id that begins with {job_id!r}: see `gamenight jobs`")
        job = job_state(found[0])
        return job if door.knows(request) else for_anybody(job)

    examples: dict[str, Any] = {"1": {"value": {"training_id": str(UUID(int=7)), "reason": "it has the wrong seed"}}}
    shown: dict[str, Any] = {"requestBody": {"content": {"application/json": {"examples": examples}}}}

    @commands.post("/api/ops/cancel", status_code=202, tags=["operators"], responses=REFUSALS, openapi_extra=shown)
    async def cancel(request: CancelRequest, given: Given) -> Accepted:
        """Cancel a rebuild that waits or is at work; its training job is stopped."""
        found = queue.get(request.training_id)
        if found is None:
            why = f"no rebuild {request.training_id}: GET /api/jobs has them"
            raise RequestValidationError([wrong_field(why, ("training_id",))])
        return await door.put(CancelTraining(command_id=uuid4(), target=found.model, **given, **request.model_dump()))

    routes.include_router(commands)
    return routes
