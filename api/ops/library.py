"""Shows the model library, as a cloud console does: a read-only view of the board (way 3, OPERATE)."""

from datetime import datetime
from hashlib import sha256
from typing import Final, Literal

from pydantic import BaseModel

from api.folds.impersonal import gate_for_anybody, note_for_anybody, step_for_anybody
from api.folds.model_board import ModelBoard
from api.folds.model_state import ModelState
from api.folds.scores import counted
from api.ops.accuracy import Accuracy
from contracts.events import (
    SHADOW,
    BesideChampion,
    EndpointSeen,
    ExperimentLearned,
    LiveBeside,
    ModelPromoted,
    ModelPublished,
    Probability,
    RolloutStep,
    SnapshotTaken,
    generation,
)

Standing = Literal["champion", "challenger", "shadow", "off"]
"""A model's standing: shown first; shown beside the first; asked and scored but not shown; not asked."""
VersionStatus = Literal["champion", "previous", "canary", "shadow", "approved", "undecided", "refused", "failed"]
"""The status of a version among its model's versions."""


LEAST_SCORED: Final = 30
"""How many guesses of a version are scored before it is compared."""


class LibraryVersion(BaseModel):
    """A version of a model."""

    version: str
    status: VersionStatus
    created: datetime | None
    arn: str
    """The ARN of its model package."""
    digest: str
    """sha256 of the artifact; of an online model, of its whole state."""
    artifact: str
    """Where the artifact is: an S3 URI."""
    lineage: dict[str, str]
    """All it takes to make the version again."""
    metrics: dict[str, float]
    gate: str
    """Why the version may, or may not, reach players."""
    beside: BesideChampion | None = None
    """What the gate has judged by; None: the version was not compared."""
    on_live: LiveBeside | None = None
    """How it did beside the champion as a shadow; None: it was none, or nothing was drawn meanwhile."""
    rollout: list[RolloutStep] = []
    """Its way to the players by policy, and back, with what each step was decided by; the oldest step first."""
    failed: str
    """Why the version was withdrawn from players; empty: it was not, or was promoted again since."""
    live: Accuracy
    """Its accuracy on guesses that players were shown."""
    as_shadow: Accuracy
    """Its accuracy as a shadow, on guesses that nobody was shown."""
    best: bool = False
    """Whether it was right most often of the versions of an online model that have experiments beside them."""


class Candidate(BaseModel):
    """A version beside the champion."""

    version: str
    role: Literal["canary", "shadow"]
    share: Probability
    """The share of the players that a canary answers."""
    watched: bool = False
    """Whether the policy moves the canary on, or back."""
    note: str
    at: datetime
    on_live: LiveBeside | None = None
    """How it does beside the champion; None: nobody has looked yet."""
    cost_per_hour_usd: float | None = None
    """What it costs to have it there, by AWS's list price; None: it was not seen on the endpoint yet."""


class LibraryModel(ModelState):
    """A model with all its versions."""

    standing: Standing
    """While a bandit leads, all shown models are challengers: it picks a champion for each player."""
    cost_per_hour_usd: float | None
    """What the endpoint costs, by AWS's list price of its instances; None: there is none, or none was seen yet."""
    previous: str | None
    """The last good version, which answers when the champion fails."""
    candidate: Candidate | None
    """The canary, or else the first shadow."""
    candidates: list[Candidate]
    """All versions beside the champion, the canary first."""
    live: Accuracy
    """Its accuracy on guesses that players were shown, of all its versions together."""
    counted: list[str]
    """The versions whose guesses these were, the one of the most guesses first; that which answers may be none of them yet."""
    versions: list[LibraryVersion]
    """Oldest first."""


def standing(board: ModelBoard, model: str) -> Standing:
    """Return the standing of a model by the policy."""
    part = board.part(model)
    if part != "shown":
        return part
    return "champion" if board.catalog.policy.lead == model else "challenger"


def library(board: ModelBoard, operator: bool = False) -> list[LibraryModel]:
    """Return every model with its versions; to operators also who has overruled the gate or tried a version, and why."""
    models = [_model(board, model) for model in board.known()]
    if operator:
        return [one.model_copy(update={"frozen": board.catalog.frozen_by(one.model)}) for one in models]
    return [_for_anybody(one) for one in models]


def _for_anybody(model: LibraryModel) -> LibraryModel:
    versions = [
        one.model_copy(
            update={
                "gate": gate_for_anybody(one.gate),
                "failed": note_for_anybody(one.failed),
                "rollout": [step_for_anybody(step) for step in one.rollout],
            }
        )
        for one in model.versions
    ]
    beside = [candidate_for_anybody(one) for one in model.candidates]
    told = {"versions": versions, "candidates": beside, "candidate": next(iter(beside), None)}
    return model.model_copy(update=told)


def candidate_for_anybody(candidate: Candidate) -> Candidate:
    """Return a candidate without who put it there and why."""
    return candidate.model_copy(update={"note": note_for_anybody(candidate.note)})


def _model(board: ModelBoard, model: str) -> LibraryModel:
    scores, answering, seen = board.score(model), board.catalog.answering(model), board.catalog.endpoints.get(model)
    return LibraryModel(
        **board.state(model).model_dump(),
        standing=standing(board, model),
        cost_per_hour_usd=seen.cost_per_hour_usd if seen else None,
        previous=answering.previous if isinstance(answering, ModelPromoted) else None,
        candidate=next(iter(beside := candidates_of(board, model)), None),
        candidates=beside,
        live=Accuracy.of(scores["n"], scores["correct"]),
        counted=counted(scores),
        versions=versions_of(board, model, scores["versions"]),
    )


def versions_of(board: ModelBoard, model: str, counts: dict[str, dict[str, int]]) -> list[LibraryVersion]:
    """Return the versions of a model, oldest first; ``counts`` are those of each."""
    versions = [
        _published(published, _status(board, published), counts)
        for published in sorted(board.catalog.published.get(model, {}).values(), key=lambda version: version.at)
    ]
    if (own := board.catalog.snapshots.get(model)) is not None:
        experiments = sorted(board.catalog.experiments.get(model, {}).values(), key=lambda one: one.version)
        versions += [_learned(board, own, own, counts), *(_learned(board, one, own, counts) for one in experiments)]
    if not versions:  # a model that is made anew for each player or drawing: what it was counted under
        names = sorted({version.removesuffix(SHADOW) for version in counts}, key=lambda name: (len(name), name))  # own9, own10
        versions = [_bare(name, counts, "champion" if name == names[-1] else "previous") for name in names]
    return versions


def _counted(counts: dict[str, dict[str, int]], name: str) -> Accuracy:
    counted = counts.get(name, {"n": 0, "correct": 0})
    return Accuracy.of(counted["n"], counted["correct"])


def _status(board: ModelBoard, published: ModelPublished) -> VersionStatus:
    answering, beside = board.catalog.answering(published.model), board.catalog.beside(published.model)
    if isinstance(answering, ModelPromoted) and answering.version == published.version:
        return "champion"
    for candidate in beside:
        if candidate.role != "none" and candidate.version == published.version:
            return candidate.role
    if isinstance(answering, ModelPromoted) and answering.previous == published.version:
        return "previous"
    if published.failed:
        return "failed"
    if published.approved:
        return "approved"
    return "undecided" if published.verdict == "undecided" else "refused"


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
        beside=version.beside,
        on_live=version.live,
        rollout=version.rollout,
        failed=version.failed,
        live=_counted(counts, version.version),
        as_shadow=_counted(counts, version.version + SHADOW),
    )


def _learned(
    board: ModelBoard, one: SnapshotTaken | ExperimentLearned, own: SnapshotTaken, counts: dict[str, dict[str, int]]
) -> LibraryVersion:
    """Return a version of an online model: its ``own`` sums, or an experiment beside them."""
    catalog, name = board.catalog, generation(one.version)
    champion = catalog.champions.get(one.model)
    lineage = {"reader": one.reader}
    if isinstance(one, SnapshotTaken):
        digest, lineage = one.digest, {"lessons": str(one.lessons), "offset": str(one.offset), **lineage}
    else:
        digest, lineage = sha256(one.weights).hexdigest(), {"lessons": str(one.taught), "made_of": one.made_of, **lineage}
        lineage["behind"] = str(max(0, _changes(own.version) - _changes(one.version)))
    standby = champion is not None and champion.previous == name
    status: VersionStatus = "champion" if catalog.answering(one.model) is one else "previous" if standby else "shadow"
    missing = catalog.missing(one.model) if status == "champion" else None
    changes = {
        "version": one.version,
        "status": status,
        "created": one.at,
        "digest": digest,
        "lineage": lineage,
        "gate": f"it answers since {missing} is promoted, and there is no snapshot of that" if missing else "",
        "best": name == best(board, one.model, counts),
    }
    return _bare(name, counts).model_copy(update=changes)


def _changes(version: str) -> int:
    """Return how many lessons a version of an online model has read."""
    number = version.rpartition("+")[2]
    return int(number) if number.isdigit() else 0


def best(board: ModelBoard, model: str, counts: dict[str, dict[str, int]]) -> str | None:
    """Return the version of an online model that was right most often, if it has experiments; None: too few were scored."""
    catalog = board.catalog
    own, experiments = catalog.snapshots.get(model), catalog.experiments.get(model)
    if own is None or not experiments:
        return None
    scored = {name: _in_all(counts, name) for name in (generation(own.version), *experiments)}
    shares = {name: one.share for name, one in scored.items() if one.share is not None and one.n >= LEAST_SCORED}
    return max(shares, key=lambda name: shares[name]) if len(shares) > 1 else None


def unscored(board: ModelBoard, model: str, version: str) -> str | None:
    """Return why an experiment cannot be promoted yet: no guess of it was scored; None: one was, or there is no such one."""
    name = generation(version)
    if name not in board.catalog.experiments.get(model, {}) or _in_all(board.score(model)["versions"], name).n:
        return None
    return f"{model} {name} has no score yet: it is scored when a drawing that it has guessed gets its label"


def _in_all(counts: dict[str, dict[str, int]], name: str) -> Accuracy:
    """Return the accuracy of a version on what players were shown and on what nobody was."""
    both = [counts[part] for part in (name, name + SHADOW) if part in counts]
    return Accuracy.of(sum(one["n"] for one in both), sum(one["correct"] for one in both))


def _bare(version: str, counts: dict[str, dict[str, int]], status: VersionStatus = "champion") -> LibraryVersion:
    return LibraryVersion(
        version=version,
        status=status,
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


def candidates_of(board: ModelBoard, model: str) -> list[Candidate]:
    """Return the versions beside a model's champion, the canary first."""
    versions, champion = board.catalog.published.get(model, {}), board.catalog.answering(model)
    return [
        Candidate(
            version=event.version,
            role=event.role,
            share=event.share,
            watched=event.watched,
            note=event.note,
            at=event.at,
            on_live=_beside(versions.get(event.version), champion.version if champion else ""),
            cost_per_hour_usd=_cost(board.catalog.endpoints.get(model), event.variant),
        )
        for event in board.catalog.beside(model)
        if event.role != "none"
    ]


def _beside(published: ModelPublished | None, champion: str) -> LiveBeside | None:
    live = published.live if published else None
    return live if live is not None and live.champion == champion else None


def _cost(seen: EndpointSeen | None, variant: str) -> float | None:
    """Return a variant's part of what an endpoint costs, by its instances: all are of one kind."""
    instances = {one.variant: one.instances for one in seen.variants} if seen else {}
    if seen is None or seen.cost_per_hour_usd is None or not instances.get(variant):
        return None
    return round(seen.cost_per_hour_usd * instances[variant] / sum(instances.values()), 6)
