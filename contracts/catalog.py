"""What models.v1 says: versions, champions, candidates, endpoints, snapshots, rebuilds, and the policy. Pure.

The one fold of that topic. The router has a view of it that says whom to ask (`streams.routing.Table`), the pages one that says
how all models stand (`api.folds.model_board.ModelBoard`), the trainer one that says what is to be done (`trainers.model_log`).

A catalog is a value: `apply` gives the next one and changes nothing, so whoever holds one may read it from any thread. Each
event is the whole entry of its slot, and the newest record of a slot counts, whatever it says of itself. So twice is harmless,
and a compacted topic gives the same catalog as the whole one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeVar
from uuid import UUID

from contracts.events import (
    BLEND,
    CandidateSet,
    EndpointSeen,
    Event,
    ModelPromoted,
    ModelPublished,
    Part,
    PolicySet,
    SnapshotTaken,
    TrainingAdvanced,
)

DEFAULT_POLICY: Final = PolicySet(lead=BLEND, at=datetime.fromtimestamp(0, UTC))
"""In force until somebody sets one."""

Key = TypeVar("Key")
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Catalog:
    """All models as the log has them up to some event; a model that no event has named is in none of it."""

    published: Mapping[str, Mapping[str, ModelPublished]] = field(default_factory=dict)
    """By model and version: all versions that exist, in the order in which they were published."""
    champions: Mapping[str, ModelPromoted] = field(default_factory=dict)
    """Which version of each batch model answers."""
    variants: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By model and production variant: the version behind each that was ever promoted."""
    candidates: Mapping[str, CandidateSet] = field(default_factory=dict)
    """What was said last of who stands beside a champion: also that nobody does any more (see `candidate`)."""
    endpoints: Mapping[str, EndpointSeen] = field(default_factory=dict)
    snapshots: Mapping[str, SnapshotTaken] = field(default_factory=dict)
    """How each online model is."""
    training: Mapping[str, TrainingAdvanced] = field(default_factory=dict)
    """The last step of each model's last rebuild."""
    advanced: Mapping[UUID, TrainingAdvanced] = field(default_factory=dict)
    """The last step of each rebuild, by the command that asked for it."""
    policy: PolicySet = DEFAULT_POLICY

    def apply(self, event: Event) -> "Catalog":
        """The catalog once an event is known; the same where the event is of no concern."""
        match event:
            case ModelPublished():
                versions = _with(self.published.get(event.model, {}), event.version, event)
                return replace(self, published=_with(self.published, event.model, versions))
            case ModelPromoted():  # or rolled back, which is the same entry
                variants = _with(self.variants.get(event.model, {}), event.variant, event.version)
                champions = _with(self.champions, event.model, event)
                return replace(self, champions=champions, variants=_with(self.variants, event.model, variants))
            case CandidateSet():
                return replace(self, candidates=_with(self.candidates, event.model, event))
            case EndpointSeen():
                return replace(self, endpoints=_with(self.endpoints, event.model, event))
            case SnapshotTaken():
                return replace(self, snapshots=_with(self.snapshots, event.model, event))
            case TrainingAdvanced():
                advanced = _with(self.advanced, event.command_id, event)
                return replace(self, training=_with(self.training, event.model, event), advanced=advanced)
            case PolicySet():
                return replace(self, policy=event)
        return self

    def answering(self, model: str) -> ModelPromoted | SnapshotTaken | None:
        """What a model answers with; None: no event says."""
        return self.champions.get(model) or self.snapshots.get(model)

    def candidate(self, model: str) -> CandidateSet | None:
        """Who stands beside a model's champion, as a canary or a shadow; None: nobody."""
        found = self.candidates.get(model)
        return found if found is not None and found.role != "none" else None

    def part(self, model: str) -> Part:
        """A model's part in the policy."""
        return self.policy.parts.get(model, "shown")


def _with(entries: Mapping[Key, Entry], key: Key, entry: Entry) -> Mapping[Key, Entry]:
    return MappingProxyType({**entries, key: entry})
