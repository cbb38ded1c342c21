"""Shows which models guess and which is shown first: a read-only view of the board (way 3, OPERATE)."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.folds.endpoint_latency import EndpointLatency
from api.folds.impersonal import AN_OPERATOR
from api.folds.model_board import ModelBoard
from api.folds.model_state import ModelState
from api.ops.library import Candidate, Standing, candidate_for_anybody, candidates_of, standing
from contracts.events import Part


class ModelCandidate(Candidate):
    """A candidate, and the model that it belongs to."""

    model: str


class TableInForce(BaseModel):
    """A routing table that recent guesses name."""

    table: str
    guesses: int
    last_at: datetime


class RoutingState(BaseModel):
    """Which models guess, and which is shown first."""

    lead: str
    """``bandit``, or the model that every player is shown first."""
    parts: dict[str, Part]
    standings: dict[str, Standing]
    """The standing of each model, by lead and parts."""
    by: str
    note: str
    at: datetime | None
    """When the policy was set; None: it is the default."""
    models: list[ModelState]
    candidates: list[ModelCandidate]
    tables: Annotated[list[TableInForce], Field(max_length=16)]
    """The routing tables; the one that was named last comes first."""


def routing(board: ModelBoard, latencies: EndpointLatency, operator: bool = False) -> RoutingState:
    """Return the policy in force, the candidates, and the tables that guesses name; to operators who set these, and why."""
    policy = board.catalog.policy
    tried = ((model, one) for model in board.known() for one in candidates_of(board, model))
    if not operator:
        tried = ((model, candidate_for_anybody(candidate)) for model, candidate in tried)
    return RoutingState(
        lead=policy.lead,
        parts={model: board.part(model) for model in board.known()},
        standings={model: standing(board, model) for model in board.known()},
        by=policy.by if operator or not policy.by else AN_OPERATOR.removeprefix("by "),
        note=policy.note if operator else "",
        at=policy.at if policy.at > datetime.fromtimestamp(0, UTC) else None,
        models=board.states(),
        candidates=[ModelCandidate(model=model, **candidate.model_dump()) for model, candidate in tried],
        tables=[
            TableInForce(table=name, guesses=use.guesses, last_at=use.last) for name, use in latencies.tables().items() if name
        ],
    )
