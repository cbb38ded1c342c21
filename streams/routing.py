"""Which version answers which drawing, and what its answer is (way 1, ANSWER). Pure: values in, values out.

The table is immutable and swapped whole: a drawing is answered by one table, and the guess names it.
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
    ModelPromoted,
    Part,
    Role,
    SnapshotTaken,
    variant_of,
    version_of,
)

_ANSWER_HERE: Final = frozenset({BLEND, PERSONAL_MODEL, *ONLINE_MODELS})
"""Models that the router answers by itself, at no endpoint."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Route:
    """The endpoint and versions by which a batch model answers."""

    version: str
    endpoint: str
    versions: Mapping[str, str] = field(default_factory=dict)
    """The version behind each production variant that was ever promoted on it."""
    previous: str | None = None
    """The last good version, which answers on the same endpoint when it is asked by name."""
    since: datetime = _EPOCH
    """When `version` was promoted: one that is promoted again is another try."""
    failed: str | None = None
    """Why `version` is taken out and `previous` answers; None: it is not."""

    def version_of(self, variant: str) -> str:
        """Return the version that answers as a production variant.

        One that is not promoted yet is on its way to it: its endpoint is updated first, then it is promoted. Its variant's name
        says its version.
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
    """The share of the players that it answers; a shadow answers nobody."""
    since: datetime = _EPOCH
    """When it was put there: one that is put there again is another try."""

    def answers(self, model: str, player_id: str) -> bool:
        """Whether it answers this player: always the same for the same player, model and version."""
        return not self.shadow and share_of(f"{model}/{self.version}/{player_id}") < self.share


def share_of(text: str) -> float:
    """A number in 0..1 that looks random and is the same for the same text, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


@dataclass(frozen=True)
class Online:
    """An online model as it is after some lessons."""

    version: str
    reader: str
    offset: int
    weights: NDArray[np.float32]
    """Shape (10, d + 1): a row per digit, the bias last."""

    def answer(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Compute probabilities, shape (n, 10), of embeddings, shape (n, d)."""
        scores = embeddings.astype(np.float64) @ self.weights[:, :-1].T.astype(np.float64) + self.weights[:, -1]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
        return shares


@dataclass(frozen=True)
class Table:
    """Which version answers whom, by the catalog. A table in force is never changed; the next one takes its place whole.

    What the process itself found broken is in it too, until the log says something else of that model.
    """

    catalog: Catalog = field(default_factory=Catalog)
    batch: Mapping[str, Route] = field(default_factory=dict)
    online: Mapping[str, Online] = field(default_factory=dict)
    """The online models as their snapshots say; what is given here answers until there is one."""
    candidates: Mapping[str, CandidateRoute] = field(default_factory=dict)
    broken: Mapping[str, CandidateRoute] = field(default_factory=dict)
    """Candidates that failed here: nobody is sent to them."""

    @property
    def lead(self) -> str:
        """The model that players are shown first; ``bandit``: it is picked for each."""
        return self.catalog.policy.lead

    @property
    def parts(self) -> Mapping[str, Part]:
        """The part of each model that is not simply shown."""
        return self.catalog.policy.parts

    def apply(self, event: Event) -> "Table":
        """Return the table once an event is known. Twice is harmless, and events that do not concern it leave it as it is.

        Of a slot the newest record counts, whatever it says of itself: so it is after compaction too.

        Raises:
            ValueError: If it names a model that does not answer so, or no place, or weights of no shape that could answer.
        """
        if isinstance(event, ModelPromoted) and (event.model in _ANSWER_HERE or not event.endpoint):
            raise ValueError(f"{event.model} {event.version} at {event.endpoint!r}: no batch model at an endpoint")
        here = self.online
        if isinstance(event, SnapshotTaken):
            known, taken = here.get(event.model), online(event)
            if known is not None and known.weights.shape != taken.weights.shape:
                raise ValueError(f"the weights of {event.model} {event.version} have shape {taken.weights.shape}")
            here = {**here, event.model: taken}
        catalog = self.catalog.apply(event)
        if catalog is self.catalog:
            return self
        candidates = {model: _candidate(entry) for model, entry in catalog.candidates.items() if entry.role != "none"}
        return replace(
            self,
            catalog=catalog,
            batch={model: self._route(champion, catalog.variants[model]) for model, champion in catalog.champions.items()},
            online=here,
            candidates={model: one for model, one in candidates.items() if self.broken.get(model) != one},
        )

    def _route(self, champion: ModelPromoted, variants: Mapping[str, str]) -> Route:
        before = self.batch.get(champion.model)
        same = before is not None and (before.version, before.since) == (champion.version, champion.at)
        failed = before.failed if before is not None and same else None
        return Route(champion.version, champion.endpoint, variants, champion.previous, champion.at, failed)

    def without(self, model: str, version: str, why: str) -> "Table":
        """Return the table once a version has failed: the last good one answers. It is the same if that is not the champion."""
        route = self.batch.get(model)
        if route is None or route.version != version or route.previous is None or route.failed is not None:
            return self
        return replace(self, batch={**self.batch, model: replace(route, failed=why)})

    def alone(self, model: str, candidate: CandidateRoute) -> "Table":
        """Return the table once a candidate has failed: none is beside the champion. It is the same if another is there."""
        if self.candidates.get(model) != candidate:
            return self
        others = {name: other for name, other in self.candidates.items() if name != model}
        return replace(self, candidates=others, broken={**self.broken, model: candidate})

    def part(self, model: str) -> Part:
        """A model's part in the policy."""
        return self.catalog.part(model)

    def role(self, model: str) -> Role:
        """Return the part that a model's own version has in the answers."""
        return "champion" if self.part(model) == "shown" else "shadow"

    def candidate(self, model: str) -> CandidateRoute | None:
        """The candidate beside a model's champion; None beside one that is itself not shown."""
        candidate, route = self.candidates.get(model), self.batch.get(model)
        if candidate is None or route is None or route.version == candidate.version or self.part(model) != "shown":
            return None
        return candidate

    @cached_property
    def digest(self) -> str:
        """A short name of the table: the same versions, candidates and policy have the same."""
        lines = [f"{m}={r.version}{'-' if r.failed is not None else ''}" for m, r in self.batch.items()]
        lines += [f"{m}={o.version}" for m, o in self.online.items()]
        lines += [f"{m}+{c.version}*{0 if c.shadow else c.share}" for m, c in self.candidates.items()]
        lines += [f"{m}:{part}" for m, part in self.parts.items() if part != "shown"]
        return hashlib.sha256("\n".join([self.lead, *sorted(lines)]).encode()).hexdigest()[:8]


def _candidate(entry: CandidateSet) -> CandidateRoute:
    return CandidateRoute(entry.version, entry.variant, entry.endpoint, entry.role == "shadow", entry.share, entry.at)


def online(snapshot: SnapshotTaken) -> Online:
    """Read the model in a snapshot.

    Raises:
        ValueError: If it is of no online model, or its weights are no finite matrix of a row per digit.
    """
    if snapshot.model not in ONLINE_MODELS:
        raise ValueError(f"{snapshot.model} is no online model")
    weights = np.frombuffer(snapshot.weights, dtype="<f4").reshape(DIGITS, -1)
    if weights.shape[1] < 2 or not np.isfinite(weights).all():
        raise ValueError(f"the weights of {snapshot.model} {snapshot.version} are no finite matrix of {DIGITS} rows")
    return Online(snapshot.version, snapshot.reader, snapshot.offset, weights)


# --- which drawings are answered


def superseded(drawings: Sequence[DrawingSubmitted], now: datetime, stale: timedelta) -> set[int]:
    """Find the previews that nobody waits for any more: too old, or followed by newer strokes of the same player.

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
