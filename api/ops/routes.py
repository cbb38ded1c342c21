"""Builds the HTTP routes that are not pages: operators' commands, and read-only queries for everybody (way 3, OPERATE)."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response
from pydantic import AwareDatetime, BaseModel

from api.folds.audit_log import MAX_AUDITED, Audited, AuditLog
from api.folds.command_status import MAX_COMMANDS, CommandState, CommandStatus
from api.folds.drift_board import DriftBoard, DriftState
from api.folds.endpoint_latency import EndpointLatency
from api.folds.honest import HonestAccuracy
from api.folds.model_board import ModelBoard
from api.folds.teachers import PlayerTeaching
from api.health import PAGES_S, Health
from api.metrics import Metrics
from api.ops.accuracy_report import ModelAccuracy, accuracy_report
from api.ops.commands import command_routes
from api.ops.door import REFUSALS, Door
from api.ops.endpoint_states import EndpointState, endpoints
from api.ops.known_players import KnownPlayers
from api.ops.library import LibraryModel, library
from api.ops.rejected import rejected_router
from api.ops.routing_state import RoutingState, routing
from api.verdict import Status, Verdict
from contracts.events import CommandsEvent, SignedEvent
from contracts.ports import Bus
from contracts.records import read
from producers.signing import Proofs
from producers.whole_log import all_records


class Healthy(BaseModel):
    """The health of the game: whether every model that is shown answers a drawing, and a correction is learned."""

    status: Status
    """``degraded``: the game can be played, but something is missing; ``unavailable``: it cannot be played."""
    missing: dict[str, str]
    """What is missing, and the cause: models by name, ``learning``, ``router``, ``kafka``."""
    titles: dict[str, str] = {}
    """The titles of the missing models, in the order in which they are shown."""
    reason: str
    """What is missing and why, in one line."""
    age_s: float
    """The age of the oldest answer that this is based on, in seconds."""


def _proven(bus: Bus, proofs: Proofs | None) -> Iterator[SignedEvent]:
    """Yield all of commands.v1 that is by whom it says."""
    for record in all_records(bus, [CommandsEvent.topic]):
        event = read(record, "api")
        if isinstance(event, SignedEvent) and (proofs is None or proofs.against(record, event) is None):
            yield event


def router(
    door: Door,
    bus: Bus,
    board: ModelBoard,
    latency: EndpointLatency,
    command_status: CommandStatus,
    audit: AuditLog,
    known: KnownPlayers,
    drift_board: DriftBoard,
    honest: HonestAccuracy,
    health: Health,
    metrics: Metrics,
    proofs: Proofs | None,
) -> APIRouter:
    """Build the HTTP routes that are not pages."""
    routes, commands = APIRouter(), door.router()
    Operator = Annotated[str, Depends(door.operator)]  # noqa: N806 - a type
    paging = asyncio.Semaphore(1)  # the whole topic is read, and each signature proven

    async def page(until: datetime) -> AuditLog:
        async with paging:
            try:
                return await asyncio.to_thread(lambda: audit.page(_proven(bus, proofs), until))
            except RuntimeError as failure:
                raise HTTPException(503, f"commands.v1 cannot be read: {failure}") from failure

    command_routes(commands, door, board, known)

    @commands.get("/api/ops/players", tags=["operators"], responses=REFUSALS)
    async def players(_: Operator) -> list[PlayerTeaching]:
        """Return what became of the newest corrections of the players who taught lately, and who is restricted."""
        return known.listed()

    @commands.get("/api/ops/audit", tags=["operators"], responses=REFUSALS)
    async def audited(
        _: Operator,
        response: Response,
        since: AwareDatetime | None = None,
        until: AwareDatetime | None = None,
        who: str | None = None,
        target: str | None = None,
        command: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_AUDITED)] = 100,
    ) -> list[Audited]:
        """Return commands, the newest first: who gave each, from where, why, and what became of it.

        Here are the newest 20,000; what was given before a time `until` is read off the log, which has all. If there may be
        older ones than are told, the header `X-Older-Until` has the `until` that tells them.
        """
        found = audit if until is None else await page(until)
        if command is not None and (why := found.against(command)) is not None:
            raise HTTPException(422, why)
        wanted = list(islice(found.entries(since=since, who=who, target=target, command=command), limit + 1))
        if len(wanted) > limit:
            response.headers["X-Older-Until"] = wanted[limit - 1].at.isoformat()
        elif found.oldest is not None and (since is None or since < found.oldest):
            response.headers["X-Older-Until"] = found.oldest.isoformat()
        return wanted[:limit]

    @commands.get(
        "/api/ops/commands/{command_id}", tags=["operators"], responses=REFUSALS | {404: {"description": "None such"}}
    )
    async def command(command_id: UUID, _: Operator) -> CommandState:
        """Return the state of a command."""
        state = command_status.state(command_id)
        if state is None:
            raise HTTPException(404, f"no command {command_id} among the newest {MAX_COMMANDS}")
        return state

    @routes.get("/api/models", tags=["queries"])
    async def models(request: Request) -> list[LibraryModel]:
        """Return the model library: every model with all its versions, what they are made of, and how often each was right.

        Who has overruled the gate, tried a version or frozen a model, and why, is told to operators alone.
        """
        return library(board, door.knows(request))

    @routes.get("/api/endpoints", tags=["queries"])
    async def endpoint_states() -> list[EndpointState]:
        """Return the endpoint of every batch model, as last seen: variants, cost, latency, and whether it rests."""
        return endpoints(board, latency)

    @routes.get("/api/routing", tags=["queries"])
    async def routing_state(request: Request) -> RoutingState:
        """Return which models guess, which is shown first, which versions are tried, and the routing tables in use."""
        return routing(board, latency, door.knows(request))

    @routes.get("/api/drift", tags=["queries"])
    async def drift(request: Request) -> DriftState:
        """Return what is done about drift, and the drift of the last weeks, the newest first, each with what was done."""
        return drift_board.state() if door.knows(request) else drift_board.for_anybody()

    @routes.get("/api/scores", tags=["queries"])
    async def scores() -> dict[str, Any]:
        """Return how often each model was right, as counts by model."""
        return board.scores()

    @routes.get("/api/accuracy", tags=["queries"])
    async def accuracy() -> list[ModelAccuracy]:
        """Return how often each model is right: as players' labels give it, and estimated from drawings that chance picked."""
        return accuracy_report(board, honest)

    def told(verdict: Verdict) -> Healthy:
        metrics.judged(verdict)
        age_s = round(health.age_s(verdict), 3)
        titles = {model: board.title(model) for model in board.known() if model in verdict.missing}
        return Healthy(status=verdict.status, missing=verdict.missing, titles=titles, reason=verdict.reason, age_s=age_s)

    @routes.get("/api/health", tags=["queries"])
    async def told_health() -> Healthy:
        """Return what /healthz returns, but always with status 200: a browser reports any other as a fault of the page."""
        return told(await health.check(PAGES_S))

    @routes.get("/healthz", tags=["queries"], responses={503: {"model": Healthy}})
    async def healthz(response: Response) -> Healthy:
        """Check the health of the game now: 200 when it can be played, 503 when not."""
        verdict = await health.check()
        response.status_code = 503 if verdict.status is Status.UNAVAILABLE else 200
        return told(verdict)

    rejected_router(commands, bus, metrics, door, REFUSALS)
    routes.include_router(commands)
    return routes
