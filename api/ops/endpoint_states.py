"""Shows the batch models' endpoints, as a cloud console does: a read-only view of the board (way 3, OPERATE)."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.folds.endpoint_latency import EndpointLatency
from api.folds.model_board import ModelBoard
from api.ops.library import LibraryVersion, Standing, candidates_of, standing, versions_of
from contracts.events import EndpointSeen, ModelPromoted


class EndpointVariant(BaseModel):
    """A production variant of an endpoint."""

    variant: str
    version: str
    role: Literal["champion", "previous", "canary", "shadow", "other"]
    weight: float
    """Its share of the invocations that name no variant is this over the sum of all weights."""
    players: float
    """The share of the players that the variant answers, 0..1."""
    instances: int
    instance_type: str
    provenance: LibraryVersion | None = Field(serialization_alias="papers")
    """The version as the library shows it: ARN, digest, lineage, live accuracy; None: the library has no such version yet."""


class CallLatency(BaseModel):
    """The latency of the endpoint, over the last final guesses."""

    n: int
    p50_ms: float
    p95_ms: float


class EndpointState(BaseModel):
    """A batch model's endpoint."""

    model: str
    title: str
    hue: int | None
    """The model's colour; this and the next are as in `ModelState`."""
    order: int
    standing: Standing
    """The standing of the model; see `LibraryModel`."""
    endpoint: str
    arn: str
    status: str
    """SageMaker's own status; ``Unavailable``: the model cannot be served here; ``Unknown``: it was not seen yet."""
    reason: str
    created: datetime | None
    modified: datetime | None
    seen: datetime | None
    resting: str | None
    """Why the router does not ask the model at the moment."""
    resting_since: datetime | None
    unavailable: str | None
    cost_per_hour_usd: float | None
    """What the endpoint costs, by AWS's list price of its instances."""
    variants: list[EndpointVariant]
    latency: CallLatency | None


def endpoints(board: ModelBoard, latencies: EndpointLatency) -> list[EndpointState]:
    """Return the endpoint of every batch model."""
    return [_endpoint(board, latencies, model) for model in board.roster.batch]


def _endpoint(board: ModelBoard, latencies: EndpointLatency, model: str) -> EndpointState:
    seen, rest, latency = board.catalog.endpoints.get(model), board.resting.get(model), latencies.latency(model)
    promoted, state = board.catalog.answering(model), board.state(model)
    return EndpointState(
        model=model,
        title=state.title,
        hue=state.hue,
        order=state.order,
        standing=standing(board, model),
        endpoint=seen.endpoint if seen else promoted.endpoint if isinstance(promoted, ModelPromoted) else "",
        arn=seen.arn if seen else "",
        status=seen.status if seen else "Unknown",
        reason=seen.reason if seen else "",
        created=seen.created if seen else None,
        modified=seen.modified if seen else None,
        seen=seen.at if seen else None,
        resting=rest.why if rest else None,
        resting_since=rest.since if rest else None,
        unavailable=board.absence(model),
        cost_per_hour_usd=seen.cost_per_hour_usd if seen else None,
        variants=_variants(board, seen) if seen else [],
        latency=CallLatency(n=latency[0], p50_ms=round(latency[1], 2), p95_ms=round(latency[2], 2)) if latency else None,
    )


def _variants(board: ModelBoard, seen: EndpointSeen) -> list[EndpointVariant]:
    champion, beside = board.catalog.answering(seen.model), {one.version: one for one in candidates_of(board, seen.model)}
    previous = champion.previous if isinstance(champion, ModelPromoted) else None
    tried = sum(one.share for one in beside.values())
    known = {version.version: version for version in versions_of(board, seen.model, board.score(seen.model)["versions"])}
    out = []
    for variant in seen.variants:
        role: Literal["champion", "previous", "canary", "shadow", "other"] = "other"
        if champion is not None and variant.version == champion.version:
            role = "champion"
        elif variant.version in beside:
            role = beside[variant.version].role
        elif variant.version == previous:
            role = "previous"
        players = {"champion": 1 - tried, "canary": tried}.get(role, 0.0)
        provenance = known.get(variant.version)
        out.append(EndpointVariant(**variant.model_dump(), role=role, players=round(players, 6), provenance=provenance))
    return out
