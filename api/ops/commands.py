"""Builds the HTTP routes of operators' commands, a route for each (way 3, OPERATE)."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError

from api.folds.model_board import ModelBoard
from api.ops.door import REFUSALS, Accepted, Door, wrong_field
from api.ops.known_players import KnownPlayers
from api.ops.library import unscored
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
from contracts.events import (
    ONLINE_MODELS,
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
from contracts.hyperparameters import against
from contracts.roster import Roster

Handler = Callable[..., Any]


def _examples(*bodies: dict[str, Any]) -> dict[str, Any]:
    named = {f"{number}": {"value": body} for number, body in enumerate(bodies, 1)}
    return {"requestBody": {"content": {"application/json": {"examples": named}}}}


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
        if not isinstance(request, RetrainRequest | TryRequest):
            kind, there = "model with versions", (*roster.batch, *ONLINE_MODELS)
        named = [(request.target, ("target",))]
    wrong = [
        wrong_field(f"no {kind} {model[:40]!r}: there is {', '.join(there)}", where)
        for model, where in named
        if model not in there
    ]
    if wrong:
        raise RequestValidationError(wrong)
    return request.model_dump()


def command_routes(commands: APIRouter, door: Door, board: ModelBoard, players: KnownPlayers) -> None:
    """Add a route for each command to those of operators."""
    Given = Annotated[dict[str, str], Depends(door.given)]  # noqa: N806 - a type

    def ordering(path: str, *bodies: dict[str, Any]) -> Callable[[Handler], Handler]:
        return commands.post(
            f"/api/ops/{path}", status_code=202, tags=["operators"], responses=REFUSALS, openapi_extra=_examples(*bodies)
        )

    @ordering(
        "retrain",
        {"target": "xgboost", "reason": "a week of corrections"},
        {"target": "mxnet", "base": True},
        {"target": "xgboost", "grid": {"max_depth": ["4", "6"], "eta": ["0.1", "0.3"]}},
        {"target": "tensorflow", "warm": True},
    )
    async def retrain(request: RetrainRequest, given: Given) -> Accepted:
        """Rebuild a batch model. /ws/watch and the state of the command show the progress."""
        asked = known(request, board.roster)
        entry, given_ = board.roster.entry(request.target), request.hyperparameters
        if (wrong := against(entry, given_, request.grid, base=request.base, warm=request.warm)) is not None:
            raise RequestValidationError([wrong_field(*wrong)])
        return await door.put(RetrainModel(command_id=uuid4(), **given, **asked))

    @ordering("promote", {"target": "xgboost", "version": "3"}, {"target": ONLINE_MODELS[0], "version": "softmax-1"})
    async def promote(request: PromoteRequest, given: Given) -> Accepted:
        """Let a version that the gate has approved answer the players, or an experiment of an online model that was scored."""
        if (why := unscored(board, request.target, request.version)) is not None:
            raise RequestValidationError([wrong_field(why, ("version",))])
        return await door.put(PromoteModel(command_id=uuid4(), **given, **known(request, board.roster)))

    @ordering("rollback", {"target": "xgboost"}, {"target": "xgboost", "version": "base1", "reason": "it confuses 4 and 9"})
    async def roll_back(request: RollBackRequest, given: Given) -> Accepted:
        """Let an earlier version answer again: the named one, or else the last good one."""
        return await door.put(RollBackModel(command_id=uuid4(), **given, **known(request, board.roster)))

    @ordering(
        "try",
        {"target": "xgboost", "version": "4", "role": "canary", "share": 0.1},
        {"target": "xgboost", "version": "4", "role": "shadow"},
        {"target": "xgboost", "role": "none"},
    )
    async def try_version(request: TryRequest, given: Given) -> Accepted:
        """Try a version as a canary, which answers a share of the players, or as a shadow, which is not shown; or end that."""
        return await door.put(TryVersion(command_id=uuid4(), **given, **known(request, board.roster)))

    @ordering("policy", {"lead": "bandit"}, {"lead": "xgboost", "parts": {"kmeans": "shadow", "mxnet": "off"}})
    async def set_policy(request: PolicyRequest, given: Given) -> Accepted:
        """Change which models guess, and which is shown first."""
        return await door.put(SetPolicy(command_id=uuid4(), **given, **known(request, board.roster)))

    @ordering(
        "restrict",
        {"player_id": "7f1c", "restriction": "quarantined", "reason": "fifty wrong labels"},
        {"player_id": "7f1c", "restriction": "none"},
    )
    async def restrict(request: RestrictRequest, given: Given) -> Accepted:
        """Take what a player taught out of the models, or put it back."""
        await players.check(request)
        return await door.put(RestrictPlayer(command_id=uuid4(), **given, **request.model_dump()))

    @ordering("freeze", {"target": ONLINE_MODELS[0], "reason": "somebody teaches nonsense"})
    async def freeze(request: LearningRequest, given: Given) -> Accepted:
        """Let an online model answer as it does now, whatever is taught, until it is thawed."""
        return await door.put(FreezeLearning(command_id=uuid4(), **given, **request.model_dump()))

    @ordering("thaw", {"target": ONLINE_MODELS[0]})
    async def thaw(request: LearningRequest, given: Given) -> Accepted:
        """Let an online model learn again, at once all that was taught while it was frozen."""
        return await door.put(ThawLearning(command_id=uuid4(), **given, **request.model_dump()))

    @ordering("drift-policy", {"actions": {"online-errors": "freeze", "batch-errors": "retrain"}, "cooldown_s": 3600})
    async def set_drift_policy(request: DriftPolicyRequest, given: Given) -> Accepted:
        """Change what is done about each kind of drift."""
        return await door.put(SetDriftPolicy(command_id=uuid4(), **given, **request.model_dump()))

    @ordering("forget", {"player_id": "7f1c", "reason": "asked for by mail"})
    async def forget(request: ForgetRequest, given: Given) -> Accepted:
        """Cut all that is a player's out of every store, for good. The command's outcome names the certificate of it."""
        return await door.put(ForgetPlayer(command_id=uuid4(), **given, **request.model_dump()))
