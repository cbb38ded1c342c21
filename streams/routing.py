"""Decides which version answers which drawing, by a routing table (way 1, ANSWER). Pure: values in, values out.

The table is immutable and replaced whole: a drawing is answered by one table, and each guess names it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalog import Catalog
from contracts.events import (
    BLEND,
    DIGITS,
    ONLINE_MODELS,
    PERSONAL_MODEL,
    CandidateSet,
    DrawingSubmitted,
    Event,
    ExperimentLearned,
    Link,
    ModelPromoted,
    Part,
    Role,
    SnapshotTaken,
    generation,
    variant_of,
    version_of,
)
from streams.additive import BASIS, probabilities, rows_of

_ANSWER_HERE: Final = frozenset({BLEND, PERSONAL_MODEL})
"""The models that answer in the router's process, and have no versions to promote."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Route:
    """The endpoint and versions by which a batch model answers."""

    version: str
    endpoint: str
    versions: Mapping[str, str] = field(default_factory=dict)
    """The version behind each production variant that was ever promoted on the endpoint."""
    previous: str | None = None
    """The last good version, which answers on the same endpoint when it is asked by name."""
    since: datetime = _EPOCH
    """When `version` was promoted: a version that is promoted again has another trial."""
    failed: str | None = None
    """Why `version` is out and `previous` answers; None: it is not out."""

    def version_of(self, variant: str) -> str:
        """Return the version that answers as a production variant.

        A version is promoted after its endpoint is updated: until then the name of the variant gives the version.
        """
        return self.versions.get(variant) or version_of(variant)

    @property
    def target(self) -> str | None:
        """Return the variant to ask for; None: the one that has the traffic."""
        return variant_of(self.previous) if self.failed is not None and self.previous is not None else None


@dataclass(frozen=True, slots=True)
class CandidateRoute:
    """A version beside its model's champion."""

    version: str
    variant: str
    endpoint: str
    shadow: bool
    share: float
    """The share of the players that the version answers; a shadow answers nobody."""
    since: datetime = _EPOCH
    """When the candidate was set: a version that is set again has another trial."""
    place: int = 0
    watched: bool = False
    """Whether a canary is asked about every finished drawing, and its champion too, to compare them."""

    def answers(self, model: str, player_id: str) -> bool:
        """Return whether the version answers this player: always the same for the same player, model and version."""
        return not self.shadow and share_of(f"{model}/{self.version}/{player_id}") < self.share


def share_of(text: str) -> float:
    """Return a number in 0..1 that looks random and is the same for the same text, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


@dataclass(frozen=True)
class Online:
    """An online model after some lessons."""

    version: str
    reader: str
    offset: int
    weights: NDArray[np.float32]
    """A row per digit; a column per feature of `BASIS`, or of an experiment: per number of the embedding, and for a one."""
    link: Link | None = None
    """How an experiment's scores become probabilities; None: it is no experiment."""

    def answer(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Compute probabilities, shape (n, 10), of embeddings, shape (n, d)."""
        weights = self.weights.astype(np.float64)
        if self.link is None:
            return probabilities(rows_of(BASIS, embeddings) @ weights.T)
        return linked(embeddings.astype(np.float64) @ weights[:, :-1].T + weights[:, -1], self.link)


def linked(scores: NDArray[np.float64], link: Link) -> NDArray[np.float64]:
    """Return the probabilities of an experiment's scores, shape (n, 10), as its estimator gives them."""
    if link == "softmax":
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    else:  # scores that no sigmoid tells from 0 all ten give no digit any vote
        raised = np.maximum(1 / (1 + np.exp(-np.clip(scores, -500, 500))), 1e-300)
    shares: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return shares


@dataclass(frozen=True)
class Table:
    """The routing table: which version answers whom, by the catalog. A table is never changed, but replaced whole.

    It also has the versions that this process found broken, until the log has news of that model.
    """

    catalog: Catalog = field(default_factory=Catalog)
    batch: Mapping[str, Route] = field(default_factory=dict)
    online: Mapping[str, Online] = field(default_factory=dict)
    """The online models' own sums, by their snapshots; the given ones answer until there is one."""
    experiments: Mapping[str, Mapping[str, Online]] = field(default_factory=dict)
    """The experiments beside each online model, by name."""
    candidates: Mapping[str, Sequence[CandidateRoute]] = field(default_factory=dict)
    """The versions beside each champion, the canary first."""
    broken: frozenset[tuple[str, CandidateRoute]] = frozenset()
    """The candidates that failed here, which are not asked."""

    @property
    def lead(self) -> str:
        """The model that players are shown first; ``bandit``: it is picked for each."""
        return self.catalog.policy.lead

    @property
    def parts(self) -> Mapping[str, Part]:
        """The part of each model that is not ``shown``."""
        return self.catalog.policy.parts

    def apply(self, event: Event) -> "Table":
        """Return the table after an event. Twice is harmless, and events that do not concern the table leave it as it is.

        The newest record of a slot counts, whatever its content: so it is after compaction too.

        Raises:
            ValueError: If the event names a wrong kind of model, no endpoint, or weights of a wrong shape.
        """
        if isinstance(event, ModelPromoted) and (
            event.model in _ANSWER_HERE or (event.model in ONLINE_MODELS) == bool(event.endpoint)
        ):
            raise ValueError(f"{event.model} {event.version} at {event.endpoint!r}: no batch model at an endpoint")
        here, experiments = self.online, self.experiments
        if isinstance(event, SnapshotTaken):
            known, taken = here.get(event.model), online(event)
            if known is not None and known.weights.shape != taken.weights.shape:
                raise ValueError(f"the weights of {event.model} {event.version} have shape {taken.weights.shape}")
            here = {**here, event.model: taken}
        if isinstance(event, ExperimentLearned):
            beside = {name: one for name, one in experiments.get(event.model, {}).items() if name != generation(event.version)}
            beside |= {} if event.ended else {generation(event.version): experiment(event)}
            experiments = {**experiments, event.model: beside}
        catalog = self.catalog.apply(event)
        if catalog is self.catalog:
            return self
        candidates = {model: [_candidate(entry) for entry in catalog.beside(model)] for model in catalog.candidates}
        return replace(
            self,
            catalog=catalog,
            batch={
                model: self._route(champion, catalog.variants[model])
                for model, champion in catalog.champions.items()
                if model not in ONLINE_MODELS
            },
            online=here,
            experiments=experiments,
            candidates={
                model: well
                for model, several in candidates.items()
                if (well := [one for one in several if (model, one) not in self.broken])
            },
        )

    def _route(self, champion: ModelPromoted, variants: Mapping[str, str]) -> Route:
        before = self.batch.get(champion.model)
        same = before is not None and (before.version, before.since) == (champion.version, champion.at)
        failed = before.failed if before is not None and same else None
        return Route(champion.version, champion.endpoint, variants, champion.previous, champion.at, failed)

    @cached_property
    def answering(self) -> Mapping[str, Online]:
        """What answers as each online model: the experiment that is promoted, or the model's own sums."""
        return {model: self._promoted(model) or own for model, own in self.online.items()}

    @cached_property
    def beside(self) -> Mapping[str, Sequence[Online]]:
        """What is asked as the shadows of each online model that is shown: all that could answer in its place."""
        return {
            model: [one for one in (own, *self._experiments(model)) if one is not self.answering[model]]
            for model, own in self.online.items()
            if self.part(model) == "shown"
        }

    def _experiments(self, model: str) -> list[Online]:
        """Return the experiments beside an online model, by name."""
        return [one for _, one in sorted(self.experiments.get(model, {}).items())]

    def stand_in(self, model: str) -> str | None:
        """Return why an online model's own sums answer in the place of an experiment; None: they do not."""
        missing = self.catalog.missing(model)
        if missing is None:
            return None
        return f"{missing} is promoted, and there is no snapshot of it: {self.online[model].version} answers"

    def _promoted(self, model: str) -> Online | None:
        promoted = self.catalog.promoted(model)
        return None if promoted is None else self.experiments.get(model, {}).get(generation(promoted.version))

    def without(self, model: str, version: str, why: str) -> "Table":
        """Return the table after a version has failed: the last good one answers. Nothing changes unless it is the champion."""
        route = self.batch.get(model)
        if route is None or route.version != version or route.previous is None or route.failed is not None:
            return self
        return replace(self, batch={**self.batch, model: replace(route, failed=why)})

    def alone(self, model: str, candidate: CandidateRoute) -> "Table":
        """Return the table after a candidate has failed, without it. Nothing changes unless it is the candidate."""
        before = self.candidates.get(model, ())
        if candidate not in before:
            return self
        others = {name: several for name, several in self.candidates.items() if name != model}
        if rest := [one for one in before if one != candidate]:
            others[model] = rest
        return replace(self, candidates=others, broken=self.broken | {(model, candidate)})

    def part(self, model: str) -> Part:
        """Return a model's part in the policy."""
        return self.catalog.part(model)

    def role(self, model: str) -> Role:
        """Return the role of a model's own version."""
        return "champion" if self.part(model) == "shown" else "shadow"

    def stands_beside(self, model: str) -> Sequence[CandidateRoute]:
        """Return the candidates beside a model's champion, the canary first; none if the model itself is not shown."""
        candidates, route = self.candidates.get(model), self.batch.get(model)
        if not candidates or route is None or self.part(model) != "shown":
            return ()
        return [one for one in candidates if one.version != route.version]

    def candidate(self, model: str, place: int = 0) -> CandidateRoute | None:
        """Return the candidate in a place beside a model's champion; None: there is none."""
        return next((one for one in self.stands_beside(model) if one.place == place), None)

    @cached_property
    def digest(self) -> str:
        """A short name of the table, the same for the same versions, candidates and policy."""
        lines = [f"{m}={r.version}{'-' if r.failed is not None else ''}" for m, r in self.batch.items()]
        lines += [f"{m}={o.version}" for m, o in self.answering.items()]
        lines += [f"{m}~{o.version}" for m, several in self.beside.items() for o in several]
        lines += [
            f"{m}+{c.version}*{0 if c.shadow else c.share}{'w' * c.watched}"
            for m, several in self.candidates.items()
            for c in several
        ]
        lines += [f"{m}:{part}" for m, part in self.parts.items() if part != "shown"]
        return hashlib.sha256("\n".join([self.lead, *sorted(lines)]).encode()).hexdigest()[:8]


def _check_promotion(event: ModelPromoted) -> None:
    """Raise ValueError if what is promoted is neither a batch model at an endpoint nor an online one without."""
    if event.model in _ANSWER_HERE or (event.model in ONLINE_MODELS) is bool(event.endpoint):
        raise ValueError(f"{event.model} {event.version} at {event.endpoint!r}: no batch model at an endpoint")


def _candidate(entry: CandidateSet) -> CandidateRoute:
    shadow = entry.role == "shadow"
    return CandidateRoute(
        entry.version, entry.variant, entry.endpoint, shadow, entry.share, entry.at, entry.place, entry.watched
    )


def online(snapshot: SnapshotTaken) -> Online:
    """Read the model in a snapshot.

    Raises:
        ValueError: If the model is no online model, or the weights are no finite matrix with a row per digit.
    """
    if snapshot.model not in ONLINE_MODELS:
        raise ValueError(f"{snapshot.model} is no online model")
    weights = np.frombuffer(snapshot.weights, dtype="<f4").reshape(DIGITS, -1)
    if weights.shape[1] < 2 or not np.isfinite(weights).all():
        raise ValueError(f"the weights of {snapshot.model} {snapshot.version} are no finite matrix of {DIGITS} rows")
    return Online(snapshot.version, snapshot.reader, snapshot.offset, weights)


def experiment(learned: ExperimentLearned) -> Online:
    """Read the model in an experiment's state.

    Raises:
        ValueError: If the model is no online model, or the weights are no finite matrix of the right shape.
    """
    if learned.model not in ONLINE_MODELS:
        raise ValueError(f"{learned.model} is no online model")
    weights = np.frombuffer(learned.weights, dtype="<f4")
    if len(weights) != DIGITS * (BASIS.size + 1) or not np.isfinite(weights).all():
        raise ValueError(f"the weights of {learned.model} {learned.version} are no finite {DIGITS} x {BASIS.size + 1} matrix")
    return Online(learned.version, learned.reader, learned.changes, weights.reshape(DIGITS, -1), learned.link)


# --- which drawings are answered


def superseded(drawings: Sequence[DrawingSubmitted], now: datetime, stale: timedelta) -> set[int]:
    """Find the previews that need no answer any more: too old, or followed by newer strokes of the same player.

    Final drawings and the system's own probes are always answered.
    """
    out, later = set(), set[str]()
    for place in range(len(drawings) - 1, -1, -1):
        drawing = drawings[place]
        if drawing.probe:
            continue
        if not drawing.final and (drawing.player_id in later or now - drawing.at > stale):
            out.add(place)
        later.add(drawing.player_id)
    return out
