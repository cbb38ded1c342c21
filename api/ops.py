"""The operators' door: commands over HTTP with a bearer token, each audited; read-only queries for everybody (way 3, OPERATE).

`gamenight retrain` comes through here too: there is one door and one audit log.
"""

import asyncio
import secrets
from typing import Annotated, Any
from uuid import uuid4

import structlog
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.board import Board
from api.health import Health
from api.library import EndpointState, LibraryModel, RoutingState, endpoints, library, routing
from api.live import Live
from api.meters import Meters
from contracts.events import BATCH_MODELS, RetrainModel
from contracts.ports import Bus
from contracts.settings import Settings

WITHIN_S = 5.0
"""How long an operator waits for the log's acknowledgement, in seconds."""

log = structlog.get_logger(__name__)


def _trainable(target: str) -> str:
    if target not in BATCH_MODELS:
        raise ValueError(f"no batch model {target[:40]!r}: there is {', '.join(BATCH_MODELS)}")
    return target


class RetrainOrder(BaseModel):
    """Rebuild a batch model from its base and all feedback so far."""

    model_config = ConfigDict(extra="forbid")

    target: Annotated[str, AfterValidator(_trainable)] = Field(examples=list(BATCH_MODELS))
    reason: str = Field("", max_length=500)
    """Why; it is kept with the command."""


class Accepted(BaseModel):
    """The command is on the log."""

    command_id: str


class Healthy(BaseModel):
    """Whether a drawing would be answered by every model that ought to run."""

    status: str
    missing: list[str]
    reason: str


def router(settings: Settings, bus: Bus, board: Board, live: Live, health: Health, meters: Meters) -> APIRouter:
    """The HTTP routes that are not pages."""
    routes = APIRouter()
    bearer = HTTPBearer(auto_error=False, description="settings.operator_token")

    def operator(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> str:
        """Who commands. Raises 401 without a token, 403 with a wrong one."""
        who = request.client.host if request.client else "unknown"
        if settings.operator_token is None:
            raise _refused(503, "no operator token is set: `gamenight up` makes one, or set GAMENIGHT_OPERATOR_TOKEN", who)
        if given is None:
            raise _refused(401, "say who you are: Authorization: Bearer <operator token>", who, {"WWW-Authenticate": "Bearer"})
        if not secrets.compare_digest(given.credentials.encode(), settings.operator_token.encode()):
            raise _refused(403, "this token is not the operators'", who)
        return f"operator@{who}"

    def _refused(status: int, why: str, who: str, headers: dict[str, str] | None = None) -> HTTPException:
        meters.audited.labels(str(status)).inc()
        log.warning("audit: refused", status=status, why=why, by=who)
        return HTTPException(status, why, headers)

    @routes.post("/api/ops/retrain", status_code=202, tags=["operators"])
    async def retrain(order: RetrainOrder, by: Annotated[str, Depends(operator)]) -> Accepted:
        """Rebuild a batch model. Returns when the command is kept; watch /ws/watch for how far it is."""
        command = RetrainModel(command_id=uuid4(), target=order.target, by=by, reason=order.reason)
        status = 202
        try:
            await asyncio.wait_for(asyncio.wrap_future(bus.publish(command)), WITHIN_S)
        except (TimeoutError, RuntimeError) as failure:
            status = 503
            why = f"the log did not acknowledge command {command.command_id} ({failure or 'in time'}): it may still come"
            raise HTTPException(503, why) from failure
        finally:
            meters.audited.labels(str(status)).inc()
            log.info(
                "audit: retrain",
                model=command.target,
                command_id=str(command.command_id),
                by=by,
                reason=command.reason,
                status=status,
            )
        return Accepted(command_id=str(command.command_id))

    @routes.get("/api/models", tags=["queries"])
    async def models() -> list[LibraryModel]:
        """The model library: every model with all its versions, what they are made of, and how often each was right."""
        return library(board)

    @routes.get("/api/endpoints", tags=["queries"])
    async def endpoint_states() -> list[EndpointState]:
        """The endpoint of every batch model, as it was last seen: variants, cost, latency, and whether it rests."""
        return endpoints(board, live)

    @routes.get("/api/routing", tags=["queries"])
    async def routing_state() -> RoutingState:
        """Who guesses, who is shown first, which versions are tried, and the routing tables that guesses name."""
        return routing(board, live)

    @routes.get("/api/scores", tags=["queries"])
    async def scores() -> dict[str, Any]:
        """How often each model was right, as counts, by model."""
        return board.scores()

    @routes.get("/healthz", tags=["queries"], responses={503: {"model": Healthy}})
    async def healthz(response: Response) -> Healthy:
        """200 when a drawing would be answered by every model that ought to run; found out by asking."""
        verdict = await health.check()
        response.status_code = 200 if verdict.healthy else 503
        return Healthy(status="ok" if verdict.healthy else "unavailable", missing=verdict.missing, reason=verdict.reason)

    @routes.get("/metrics", tags=["queries"], response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(generate_latest(meters.registry), media_type=CONTENT_TYPE_LATEST)

    return routes
