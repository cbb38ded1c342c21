"""Builds the operators' HTTP routes: audited commands with a bearer token, read-only queries for everybody (way 3, OPERATE).

The command line uses these routes too, so there is one audit log. A command is on the log before its request is answered;
the trainer publishes its outcome, which `GET /api/ops/commands/{id}` returns.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import structlog
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from api.folds.command_status import CommandState, CommandStatus
from api.folds.drift_board import DriftBoard, DriftState
from api.folds.endpoint_latency import EndpointLatency
from api.folds.honest import HonestAccuracy
from api.folds.model_board import ModelBoard
from api.folds.teachers import PlayerTeaching, Teachers
from api.health import PAGES_S, Health
from api.metrics import Metrics
from api.ops.accuracy_report import ModelAccuracy, accuracy_report
from api.ops.endpoint_states import EndpointState, endpoints
from api.ops.library import LibraryModel, library, unscored
from api.ops.operators import Operators
from api.ops.rejected import rejected_router
from api.ops.requests import (
    DriftPolicyRequest,
    ForgetRequest,
    LearningRequest,
    ModelRequest,
    PolicyRequest,
    PromoteRequest,
    RestrictRequest,
    RetrainRequest,
    RollBackRequest,
    TryRequest,
)
from api.ops.routing_state import RoutingState, routing
from api.verdict import Status, Verdict
from contracts.events import (
    ONLINE_MODELS,
    Command,
    ForgetPlayer,
    FreezeLearning,
    PromoteModel,
    RestrictPlayer,
    RetrainModel,
    RollBackModel,
    SetDriftPolicy,
    SetPolicy,
    ThawLearning,
    TryVersion,
)
from contracts.ports import Bus
from contracts.roster import Roster

WITHIN_S = 5.0
"""How long an operator waits for the log's acknowledgement, in seconds."""

Handler = Callable[..., Any]

log = structlog.get_logger(__name__)


class Accepted(BaseModel):
    """A command was put on the log."""

    command_id: str


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


def _examples(*bodies: dict[str, Any]) -> dict[str, Any]:
    named = {f"{number}": {"value": body} for number, body in enumerate(bodies, 1)}
    return {"requestBody": {"content": {"application/json": {"examples": named}}}}


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "No token"},
    403: {"description": "A wrong token"},
    429: {"description": "Too many wrong tokens"},
    503: {"description": "The log did not acknowledge the command, or no token is set"},
}


def known(request: ModelRequest | PolicyRequest, roster: Roster) -> dict[str, Any]:
    """Return a request if every model that it names exists.

    Raises:
        RequestValidationError: If one does not; the answer is the same as for any other invalid field.
    """
    named: list[tuple[str, tuple[str, ...]]]
    if isinstance(request, PolicyRequest):
        kind, there = "model", roster.names
        named = [(model, ("parts", model, "[key]")) for model in request.parts]
        named += [(request.lead, ("lead",))] if request.lead not in (None, "bandit") else []
    else:
        kind, there = "batch model", roster.batch
        if not isinstance(request, RetrainRequest):
            kind, there = "model with versions", (*roster.batch, *ONLINE_MODELS)
        named = [(request.target, ("target",))]
    wrong = [
        _wrong(f"no {kind} {model[:40]!r}: there is {', '.join(there)}", where) for model, where in named if model not in there
    ]
    if wrong:
        raise RequestValidationError(wrong)
    return request.model_dump()


def _wrong(why: str, where: tuple[str, ...]) -> dict[str, Any]:
    """Return what is wrong with a field, as pydantic says it."""
    return {"type": "value_error", "loc": ("body", *where), "msg": f"Value error, {why}"}


def _unlogged(command: Command) -> set[str]:
    """Return the fields of a command that are not in the log line of it: of who is forgotten no line may stay."""
    return {"type", "at", "target", *(("player_id",) if isinstance(command, ForgetPlayer) else ())}


async def not_valid(_: Request, wrong: Exception) -> Response:
    """Return what is wrong with a request, without quoting it: NaN and lone surrogates cannot be sent back."""
    assert isinstance(wrong, RequestValidationError)
    told = [{"type": one["type"], "loc": one["loc"], "msg": one["msg"]} for one in wrong.errors()]
    return Response(json.dumps({"detail": told}), 422, media_type="application/json")


def router(
    operators: Operators,
    bus: Bus,
    board: ModelBoard,
    latency: EndpointLatency,
    command_status: CommandStatus,
    teachers: Teachers,
    drift_board: DriftBoard,
    honest: HonestAccuracy,
    health: Health,
    metrics: Metrics,
) -> APIRouter:
    """Build the HTTP routes that are not pages."""
    routes = APIRouter()
    bearer = HTTPBearer(auto_error=False, description="settings.operator_token")

    class OperatorsRoute(APIRoute):
        """Admits operators only, before anything of the body is read."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                who = request.client.host if request.client else "unknown"
                refusal = operators.refusal(request.headers.get("authorization"), who, time.monotonic())
                if refusal is None:
                    return await handle(request)
                metrics.audited.labels(str(refusal.status)).inc()
                log.warning("audit: refused", status=refusal.status, why=refusal.why, by=who)
                raise HTTPException(refusal.status, refusal.why, refusal.headers)

            return guarded

    def operator(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> str:
        """Return the name of the operator who gives the command."""
        return f"operator@{request.client.host if request.client else 'unknown'}"

    commands = APIRouter(route_class=OperatorsRoute)

    async def put(command: Command) -> Accepted:
        """Publish a command; return once the broker has acknowledged it."""
        status = 202
        try:
            await asyncio.wait_for(asyncio.wrap_future(bus.publish(command)), WITHIN_S)
        except (TimeoutError, RuntimeError) as failure:
            status = 503
            why = f"the log did not acknowledge command {command.command_id} ({failure or 'in time'}): it may still come"
            raise HTTPException(503, why) from failure
        finally:
            metrics.audited.labels(str(status)).inc()
            log.info(
                f"audit: {command.type}",
                **command.model_dump(mode="json", exclude=_unlogged(command), exclude_defaults=True),
                model=command.target,
                status=status,
            )
        command_status.apply(command)
        return Accepted(command_id=str(command.command_id))

    def ordering(path: str, *bodies: dict[str, Any]) -> Callable[[Handler], Handler]:
        return commands.post(
            f"/api/ops/{path}", status_code=202, tags=["operators"], responses=_REFUSALS, openapi_extra=_examples(*bodies)
        )

    Operator = Annotated[str, Depends(operator)]  # noqa: N806 - a type

    @ordering("retrain", {"target": "xgboost", "reason": "a week of corrections"}, {"target": "mxnet", "base": True})
    async def retrain(request: RetrainRequest, by: Operator) -> Accepted:
        """Rebuild a batch model. /ws/watch and the state of the command show the progress."""
        return await put(RetrainModel(command_id=uuid4(), by=by, **known(request, board.roster)))

    @ordering("promote", {"target": "xgboost", "version": "3"}, {"target": ONLINE_MODELS[0], "version": "softmax-1"})
    async def promote(request: PromoteRequest, by: Operator) -> Accepted:
        """Let a version that the gate has approved answer the players, or an experiment of an online model that was scored."""
        if (why := unscored(board, request.target, request.version)) is not None:
            raise RequestValidationError([_wrong(why, ("version",))])
        return await put(PromoteModel(command_id=uuid4(), by=by, **known(request, board.roster)))

    @ordering("rollback", {"target": "xgboost"}, {"target": "xgboost", "version": "base1", "reason": "it confuses 4 and 9"})
    async def roll_back(request: RollBackRequest, by: Operator) -> Accepted:
        """Let an earlier version answer again: the named one, or else the last good one."""
        return await put(RollBackModel(command_id=uuid4(), by=by, **known(request, board.roster)))

    @ordering(
        "try",
        {"target": "xgboost", "version": "4", "role": "canary", "share": 0.1},
        {"target": "xgboost", "version": "4", "role": "shadow"},
        {"target": "xgboost", "role": "none"},
    )
    async def try_version(request: TryRequest, by: Operator) -> Accepted:
        """Try a version as a canary, which answers a share of the players, or as a shadow, which is not shown; or end that."""
        return await put(TryVersion(command_id=uuid4(), by=by, **known(request, board.roster)))

    @ordering("policy", {"lead": "bandit"}, {"lead": "xgboost", "parts": {"kmeans": "shadow", "mxnet": "off"}})
    async def set_policy(request: PolicyRequest, by: Operator) -> Accepted:
        """Change which models guess, and which is shown first."""
        return await put(SetPolicy(command_id=uuid4(), by=by, **known(request, board.roster)))

    @ordering(
        "restrict",
        {"player_id": "7f1c", "restriction": "quarantined", "reason": "fifty wrong labels"},
        {"player_id": "7f1c", "restriction": "none"},
    )
    async def restrict(request: RestrictRequest, by: Operator) -> Accepted:
        """Take what a player taught out of the models, or put it back."""
        return await put(RestrictPlayer(command_id=uuid4(), by=by, **request.model_dump()))

    @ordering("freeze", {"target": ONLINE_MODELS[0], "reason": "somebody teaches nonsense"})
    async def freeze(request: LearningRequest, by: Operator) -> Accepted:
        """Let an online model answer as it does now, whatever is taught, until it is thawed."""
        return await put(FreezeLearning(command_id=uuid4(), by=by, **request.model_dump()))

    @ordering("thaw", {"target": ONLINE_MODELS[0]})
    async def thaw(request: LearningRequest, by: Operator) -> Accepted:
        """Let an online model learn again, at once all that was taught while it was frozen."""
        return await put(ThawLearning(command_id=uuid4(), by=by, **request.model_dump()))

    @ordering("drift-policy", {"actions": {"online-errors": "freeze", "batch-errors": "retrain"}, "cooldown_s": 3600})
    async def set_drift_policy(request: DriftPolicyRequest, by: Operator) -> Accepted:
        """Change what is done about each kind of drift."""
        return await put(SetDriftPolicy(command_id=uuid4(), by=by, **request.model_dump()))

    @ordering("forget", {"player_id": "7f1c", "reason": "asked for by mail"})
    async def forget(request: ForgetRequest, by: Operator) -> Accepted:
        """Cut all that is a player's out of every store, for good. The command's outcome names the certificate of it."""
        return await put(ForgetPlayer(command_id=uuid4(), by=by, **request.model_dump()))

    @commands.get("/api/ops/players", tags=["operators"], responses=_REFUSALS)
    async def players(_: Operator) -> list[PlayerTeaching]:
        """Return what became of the newest corrections of the players who taught lately, and who is restricted."""
        return teachers.players(board.catalog.restrictions)

    @commands.get(
        "/api/ops/commands/{command_id}", tags=["operators"], responses=_REFUSALS | {404: {"description": "None such"}}
    )
    async def command(command_id: UUID, _: Operator) -> CommandState:
        """Return the state of a command."""
        state = command_status.state(command_id)
        if state is None:
            raise HTTPException(404, f"no command {command_id} in the last week")
        return state

    @routes.get("/api/models", tags=["queries"])
    async def models() -> list[LibraryModel]:
        """Return the model library: every model with all its versions, what they are made of, and how often each was right."""
        return library(board)

    @routes.get("/api/endpoints", tags=["queries"])
    async def endpoint_states() -> list[EndpointState]:
        """Return the endpoint of every batch model, as last seen: variants, cost, latency, and whether it rests."""
        return endpoints(board, latency)

    @routes.get("/api/routing", tags=["queries"])
    async def routing_state() -> RoutingState:
        """Return which models guess, which is shown first, which versions are tried, and the routing tables in use."""
        return routing(board, latency)

    @routes.get("/api/drift", tags=["queries"])
    async def drift() -> DriftState:
        """Return what is done about drift, and the drift of the last weeks, the newest first, each with what was done."""
        return drift_board.state()

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

    @routes.get("/metrics", tags=["queries"], response_class=Response)
    async def prometheus() -> Response:
        """For Prometheus."""
        metrics.judged(await health.check())
        metrics.estimated({model: one.whole for model, one in honest.models().items()})
        metrics.drifted(drift_board.counts)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    rejected_router(commands, bus, metrics, operator, _REFUSALS)
    routes.include_router(commands)
    return routes
