"""Which version answers which drawing, and what its answer is (way 1, ANSWER). Pure: values in, values out.

The table is immutable and swapped whole: a drawing is answered by one table, and the guess names it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS, DrawingSubmitted, Event, ModelPromoted, SnapshotTaken


@dataclass(frozen=True, slots=True)
class Route:
    """Where a batch model answers."""

    version: str
    endpoint: str
    versions: Mapping[str, str] = field(default_factory=dict)
    """The version behind each production variant that was ever promoted on it."""

    def version_of(self, variant: str) -> str:
        """The version that answers as a production variant.

        One that is not promoted yet is on its way to it: its endpoint is updated first, then it is promoted. Its variant's name
        says its version: ``v3`` is version 3, ``base1`` is version base1.
        """
        known = self.versions.get(variant)
        return known or (variant[1:] if variant[:1] == "v" and variant[1:].isdigit() else variant)


@dataclass(frozen=True)
class Online:
    """An online model as it is after some lessons."""

    version: str
    reader: str
    offset: int
    weights: NDArray[np.float32]
    """Shape (10, d + 1): a row per digit, the bias last."""

    def answer(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities, shape (n, 10), of embeddings, shape (n, d)."""
        scores = embeddings.astype(np.float64) @ self.weights[:, :-1].T.astype(np.float64) + self.weights[:, -1]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
        return shares


@dataclass(frozen=True)
class Table:
    """Who answers: a fold over models.v1."""

    batch: Mapping[str, Route] = field(default_factory=dict)
    online: Mapping[str, Online] = field(default_factory=dict)

    def after(self, event: Event) -> "Table":
        """The table once an event is known. Twice is harmless, and events that do not concern it leave it as it is.

        Raises:
            ValueError: If a snapshot's weights have no shape that could answer.
        """
        if isinstance(event, ModelPromoted):  # or rolled back, which is the same entry
            before = self.batch.get(event.model)
            versions = {**(before.versions if before else {}), event.variant: event.version}
            route = Route(event.version, event.endpoint, MappingProxyType(versions))
            return replace(self, batch={**self.batch, event.model: route})
        if isinstance(event, SnapshotTaken):
            known = self.online.get(event.model)
            if known is not None and known.offset > event.offset:
                return self
            return replace(self, online={**self.online, event.model: online(event)})
        return self

    @cached_property
    def digest(self) -> str:
        """A short name of it: the same versions have the same."""
        lines = [f"{m}={r.version}" for m, r in self.batch.items()] + [f"{m}={o.version}" for m, o in self.online.items()]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:8]


def online(snapshot: SnapshotTaken) -> Online:
    """The model in a snapshot.

    Raises:
        ValueError: If its weights are no finite matrix of a row per digit.
    """
    weights = np.frombuffer(snapshot.weights, dtype="<f4").reshape(DIGITS, -1)
    if weights.shape[1] < 2 or not np.isfinite(weights).all():
        raise ValueError(f"the weights of {snapshot.model} {snapshot.version} are no finite matrix of {DIGITS} rows")
    return Online(snapshot.version, snapshot.reader, snapshot.offset, weights)


# --- which drawings are answered


def superseded(drawings: Sequence[DrawingSubmitted], now: datetime, stale: timedelta) -> set[int]:
    """Places of the previews that nobody waits for any more: too old, or followed by newer strokes of the same player.

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


class Lately:
    """The last things that were seen, up to a number of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, what: Hashable) -> bool:
        return what in self._seen

    def add(self, what: Hashable) -> None:
        """See it."""
        self._seen[what] = None
        self._seen.move_to_end(what)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)


def rounded(probabilities: Iterable[float]) -> list[float]:
    """Probabilities as they are published: six digits, which is what a guess is good for."""
    return [round(float(p), 6) for p in probabilities]
