"""The library, the endpoints and the routing, as a cloud console shows them: read-only views of the board (way 3, OPERATE)."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.folds.endpoint_latency import Live
from api.folds.model_board import Board
from api.ops.accuracy import Accuracy
from api.play.frames import ModelState
from contracts.events import (
    SHADOW,
    CandidateSet,
    EndpointSeen,
    ModelPromoted,
    ModelPublished,
    Part,
    Probability,
    SnapshotTaken,
    generation,
)

Standing = Literal["champion", "challenger", "shadow", "off"]
"""Of a model among the models: whom players are shown first, who is shown beside it, who answers unseen, who is not asked."""
VersionStatus = Literal["champion", "previous", "canary", "shadow", "approved", "refused", "failed"]
"""Of a version among its model's versions."""


class LibraryVersion(BaseModel):
    """A version of a model."""

    version: str
    status: VersionStatus
    created: datetime | None
    arn: str
    """Of its model package."""
    digest: str
    """sha256 of the artifact; of an online model, of its whole state."""
    artifact: str
    """Where the artifact is: an S3 URI."""
    lineage: dict[str, str]
    """What it takes to make it again."""
    metrics: dict[str, float]
    gate: str
    """Why it may, or may not, reach players."""
    failed: str
    """Why it was taken away from players; empty: it was not, or was promoted again since."""
    live: Accuracy
    """On what players were shown."""
    as_shadow: Accuracy
    """On what they were not shown."""


class Candidate(BaseModel):
    """A version beside the champion."""

    version: str
    role: Literal["canary", "shadow"]
    share: Probability
    """Of the players, whom a canary answers."""
    note: str
    at: datetime


class LibraryModel(ModelState):
    """A model with all its versions."""

    standing: Standing
    """With a bandit leading, all that are shown are challengers: it picks its champion anew for each player."""
    cost_per_hour_usd: float | None
    """Of its endpoint, by AWS's list price of its instances; None: it has no endpoint, or nobody has looked yet."""
    previous: str | None
    """The last good version, which answers when the champion fails."""
    candidate: Candidate | None
    live: Accuracy
    versions: list[LibraryVersion]
    """Oldest first."""


class EndpointVariant(BaseModel):
    """A production variant of an endpoint."""

    variant: str
    version: str
    role: Literal["champion", "previous", "canary", "shadow", "other"]
    weight: float
    """Its share of the invocations that name no variant is this over the sum."""
    players: float
    """The share of the players that it answers, 0..1."""
    instances: int
    instance_type: str
    papers: LibraryVersion | None
    """The version as the library has it: ARN, digest, lineage, live accuracy; None: it has no such version yet."""


class CallLatency(BaseModel):
    """How long the endpoint took to answer, over the last final guesses."""

    n: int
    p50_ms: float
    p95_ms: float


class EndpointState(BaseModel):
    """A batch model's endpoint."""

    model: str
    title: str
    hue: int | None
    """Of the model; this and the next as in `ModelState`."""
    order: int
    standing: Standing
    """Of the model; see `LibraryModel`."""
    endpoint: str
    arn: str
    status: str
    """SageMaker's own word; ``Unavailable``: it cannot be here; ``Unknown``: nobody has looked yet."""
    reason: str
    created: datetime | None
    modified: datetime | None
    seen: datetime | None
    resting: str | None
    """Why the router does not ask it at the moment."""
    resting_since: datetime | None
    unavailable: str | None
    cost_per_hour_usd: float | None
    """By AWS's list price of its instances."""
    variants: list[EndpointVariant]
    latency: CallLatency | None


class CandidateOf(Candidate):
    """A candidate, and whose."""

    model: str


class TableInForce(BaseModel):
    """A routing table that guesses have named of late."""

    table: str
    guesses: int
    last_at: datetime


class RoutingState(BaseModel):
    """Who guesses, and who is shown first."""

    lead: str
    """``bandit``, or the model that every player is shown first."""
    parts: dict[str, Part]
    standings: dict[str, Standing]
    """What lead and parts make of each model."""
    by: str
    note: str
    at: datetime | None
    """When that was set; None: never, it is as the product comes."""
    models: list[ModelState]
    candidates: list[CandidateOf]
    tables: Annotated[list[TableInForce], Field(max_length=16)]
    """The one heard last first."""


def standing(board: Board, model: str) -> Standing:
    """What the policy makes of a model."""
    part = board.part(model)
    if part != "shown":
        return part
    return "champion" if board.catalog.policy.lead == model else "challenger"


def library(board: Board) -> list[LibraryModel]:
    """Every model with its versions."""
    return [_model(board, model) for model in board.known()]


def _model(board: Board, model: str) -> LibraryModel:
    scores, answering, seen = board.score(model), board.catalog.answering(model), board.catalog.endpoints.get(model)
    return LibraryModel(
        **board.state(model).model_dump(),
        standing=standing(board, model),
        cost_per_hour_usd=seen.cost_per_hour_usd if seen else None,
        previous=answering.previous if isinstance(answering, ModelPromoted) else None,
        candidate=_candidate(board.catalog.candidate(model)),
        live=Accuracy.of(scores["n"], scores["correct"]),
        versions=_versions(board, model, scores["versions"]),
    )


def _versions(board: Board, model: str, counts: dict[str, dict[str, int]]) -> list[LibraryVersion]:
    answering = board.catalog.answering(model)
    versions = [
        _published(published, _status(board, published), counts)
        for published in sorted(board.catalog.published.get(model, {}).values(), key=lambda version: version.at)
    ]
    if isinstance(answering, SnapshotTaken):
        versions.append(_learned(answering, counts))
    if not versions:  # a model that is made anew for each player or drawing: what it was counted under
        names = sorted({version.removesuffix(SHADOW) for version in counts})
        versions = [_bare(version, counts) for version in names]
    return versions


def _counted(counts: dict[str, dict[str, int]], name: str) -> Accuracy:
    counted = counts.get(name, {"n": 0, "correct": 0})
    return Accuracy.of(counted["n"], counted["correct"])


def _status(board: Board, published: ModelPublished) -> VersionStatus:
    answering, candidate = board.catalog.answering(published.model), board.catalog.candidate(published.model)
    if isinstance(answering, ModelPromoted) and answering.version == published.version:
        return "champion"
    if candidate is not None and candidate.role != "none" and candidate.version == published.version:
        return candidate.role
    if isinstance(answering, ModelPromoted) and answering.previous == published.version:
        return "previous"
    if published.failed:
        return "failed"
    return "approved" if published.approved else "refused"


def _published(version: ModelPublished, status: VersionStatus, counts: dict[str, dict[str, int]]) -> LibraryVersion:
    return LibraryVersion(
        version=version.version,
        status=status,
        created=version.at,
        arn=version.arn,
        digest=version.digest,
        artifact=version.artifact,
        lineage=version.lineage,
        metrics=version.metrics,
        gate=version.gate,
        failed=version.failed,
        live=_counted(counts, version.version),
        as_shadow=_counted(counts, version.version + SHADOW),
    )


def _learned(snapshot: SnapshotTaken, counts: dict[str, dict[str, int]]) -> LibraryVersion:
    lineage = {"lessons": str(snapshot.lessons), "offset": str(snapshot.offset), "reader": snapshot.reader}
    bare = _bare(generation(snapshot.version), counts)
    changes = {"version": snapshot.version, "created": snapshot.at, "digest": snapshot.digest, "lineage": lineage}
    return bare.model_copy(update=changes)


def _bare(version: str, counts: dict[str, dict[str, int]]) -> LibraryVersion:
    return LibraryVersion(
        version=version,
        status="champion",
        created=None,
        arn="",
        digest="",
        artifact="",
        lineage={},
        metrics={},
        gate="",
        failed="",
        live=_counted(counts, version),
        as_shadow=_counted(counts, version + SHADOW),
    )


def _candidate(event: CandidateSet | None) -> Candidate | None:
    if event is None or event.role == "none":
        return None
    return Candidate(version=event.version, role=event.role, share=event.share, note=event.note, at=event.at)


def endpoints(board: Board, live: Live) -> list[EndpointState]:
    """The endpoint of every batch model."""
    return [_endpoint(board, live, model) for model in board.roster.batch]


def _endpoint(board: Board, live: Live, model: str) -> EndpointState:
    seen, rest, latency = board.catalog.endpoints.get(model), board.resting.get(model), live.latency(model)
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


def _variants(board: Board, seen: EndpointSeen) -> list[EndpointVariant]:
    champion, candidate = board.catalog.answering(seen.model), _candidate(board.catalog.candidate(seen.model))
    previous = champion.previous if isinstance(champion, ModelPromoted) else None
    tried = candidate.share if candidate and candidate.role == "canary" else 0.0
    shelf = {version.version: version for version in _versions(board, seen.model, board.score(seen.model)["versions"])}
    out = []
    for variant in seen.variants:
        role: Literal["champion", "previous", "canary", "shadow", "other"] = "other"
        if champion is not None and variant.version == champion.version:
            role = "champion"
        elif candidate is not None and variant.version == candidate.version:
            role = candidate.role
        elif variant.version == previous:
            role = "previous"
        players = {"champion": 1 - tried, "canary": tried}.get(role, 0.0)
        papers = shelf.get(variant.version)
        out.append(EndpointVariant(**variant.model_dump(), role=role, players=round(players, 6), papers=papers))
    return out


def routing(board: Board, live: Live) -> RoutingState:
    """The policy in force, the candidates, and the tables that guesses name."""
    policy = board.catalog.policy
    tried = ((model, _candidate(board.catalog.candidate(model))) for model in board.known())
    return RoutingState(
        lead=policy.lead,
        parts={model: board.part(model) for model in board.known()},
        standings={model: standing(board, model) for model in board.known()},
        by=policy.by,
        note=policy.note,
        at=policy.at if policy.at > datetime.fromtimestamp(0, UTC) else None,
        models=board.states(),
        candidates=[CandidateOf(model=model, **candidate.model_dump()) for model, candidate in tried if candidate],
        tables=[
            TableInForce(table=name, guesses=table.guesses, last_at=table.last) for name, table in live.tables().items() if name
        ],
    )
