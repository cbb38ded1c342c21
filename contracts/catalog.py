"""Folds models.v1: versions, champions, candidates, endpoints, snapshots, rebuilds, and the policy. Pure.

It is the only fold of that topic, with three views: the router's routing table (`streams.routing.Table`), the pages' board of
all models (`api.folds.model_board.ModelBoard`), and the trainer's list of due commands (`trainers.model_log`).

A catalog is a value: `apply` returns the next one and changes nothing, so any thread may read it. Each
event is the whole entry of its slot, and the newest record of a slot counts, whatever time it gives. So twice is harmless,
and a compacted topic gives the same catalog as the whole one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeVar

from contracts.events import (
    BLEND,
    ONLINE_MODELS,
    CandidateSet,
    DatasetMade,
    DriftPolicySet,
    EndpointSeen,
    Event,
    ExperimentLearned,
    LearningSet,
    ModelPromoted,
    ModelPublished,
    Part,
    PlayersForgotten,
    PolicySet,
    Restriction,
    RestrictionSet,
    SnapshotTaken,
    TrainingAdvanced,
    generation,
)

DEFAULT_POLICY: Final = PolicySet(lead=BLEND, at=datetime.fromtimestamp(0, UTC))
"""The policy that is in force until one is set."""

DEFAULT_DRIFT_POLICY: Final = DriftPolicySet(actions={}, at=datetime.fromtimestamp(0, UTC))
"""What is done about drift until a policy is set: operators are told."""

AnsweringEvent = ModelPromoted | SnapshotTaken | ExperimentLearned
"""The event by which a model answers."""
Key = TypeVar("Key")
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Catalog:
    """All models as the log has them up to some event; a model that no event has named is not in it."""

    published: Mapping[str, Mapping[str, ModelPublished]] = field(default_factory=dict)
    """All versions that exist, by model and version, in the order in which they were published."""
    champions: Mapping[str, ModelPromoted] = field(default_factory=dict)
    """The version of each batch model that answers; of an online model, the generation that is to answer (see `promoted`)."""
    variants: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Each version that was ever promoted, by model and production variant."""
    candidates: Mapping[str, Mapping[int, CandidateSet]] = field(default_factory=dict)
    """The last CandidateSet of each model and place, also if it removed the candidate (see `beside`)."""
    endpoints: Mapping[str, EndpointSeen] = field(default_factory=dict)
    snapshots: Mapping[str, SnapshotTaken] = field(default_factory=dict)
    """The newest snapshot of each online model."""
    experiments: Mapping[str, Mapping[str, ExperimentLearned]] = field(default_factory=dict)
    """The newest state of each experiment, by online model and name."""
    training: Mapping[str, TrainingAdvanced] = field(default_factory=dict)
    """The last step of each model's last rebuild."""
    policy: PolicySet = DEFAULT_POLICY
    restrictions: Mapping[str, Restriction] = field(default_factory=dict)
    """The players who are restricted."""
    learning: Mapping[str, LearningSet] = field(default_factory=dict)
    """The last LearningSet of each online model, also if it thawed the model (see `frozen`)."""
    drift_policy: DriftPolicySet = DEFAULT_DRIFT_POLICY
    forgotten_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The marks of the players who are forgotten, by the letters with which they begin."""

    datasets: Mapping[str, DatasetMade] = field(default_factory=dict)
    """The datasets that were made, by digest, in the order in which they were told of last."""

    def apply(self, event: Event) -> "Catalog":
        """Return the catalog after an event; the same one if the event is of another kind."""
        match event:
            case ModelPublished():
                versions = _with(self.published.get(event.model, {}), event.version, event)
                return replace(self, published=_with(self.published, event.model, versions))
            case ModelPromoted():  # a rollback is the same entry
                variants = _with(self.variants.get(event.model, {}), event.variant, event.version)
                champions = _with(self.champions, event.model, event)
                return replace(self, champions=champions, variants=_with(self.variants, event.model, variants))
            case CandidateSet():
                places = _with(self.candidates.get(event.model, {}), event.place, event)
                return replace(self, candidates=_with(self.candidates, event.model, places))
            case EndpointSeen():
                return replace(self, endpoints=_with(self.endpoints, event.model, event))
            case SnapshotTaken():
                return replace(self, snapshots=_with(self.snapshots, event.model, event))
            case ExperimentLearned():
                others = {name: one for name, one in self.experiments.get(event.model, {}).items() if name != _name(event)}
                known = MappingProxyType(others if event.ended else {**others, _name(event): event})
                return replace(self, experiments=_with(self.experiments, event.model, known))
            case TrainingAdvanced():
                return replace(self, training=_with(self.training, event.model, event))
            case DatasetMade():
                return replace(self, datasets=_with(self.datasets, event.digest, event))
            case PolicySet():
                return replace(self, policy=event)
            case RestrictionSet():
                return replace(self, restrictions=MappingProxyType(event.players))
            case DriftPolicySet():
                return replace(self, drift_policy=event)
            case LearningSet():
                return replace(self, learning=_with(self.learning, event.model, event))
            case PlayersForgotten():
                return replace(self, forgotten_by=_with(self.forgotten_by, event.begin, tuple(event.marks)))
        return self

    @property
    def forgotten(self) -> Sequence[str]:
        """The marks of all players who are forgotten."""
        return [mark for marks in self.forgotten_by.values() for mark in marks]

    def answering(self, model: str) -> AnsweringEvent | None:
        """Return the champion, snapshot or experiment that a model answers with; None if no event has named one."""
        if model in ONLINE_MODELS:
            return self.promoted(model) or self.snapshots.get(model)
        return self.champions.get(model)

    def promoted(self, model: str) -> ExperimentLearned | None:
        """Return the experiment that answers in an online model's place; None: the model's own sums do."""
        return self.experiments.get(model, {}).get(self._named(model))

    def missing(self, model: str) -> str | None:
        """Return the experiment that is promoted and is not there, so that an online model's own sums answer; None: none is."""
        return self._named(model) or None if self.promoted(model) is None else None

    def _named(self, model: str) -> str:
        """Return the experiment that is promoted to answer as an online model; empty: none is."""
        champion = self.champions.get(model)
        return "" if champion is None or model not in ONLINE_MODELS else champion.variant

    def beside(self, model: str) -> Sequence[CandidateSet]:
        """Return the candidates beside a model's champion, the canary first, then by place."""
        there = sorted(self.candidates.get(model, {}).values(), key=lambda one: (one.role != "canary", one.place))
        return [one for one in there if one.role != "none"]

    def candidate(self, model: str) -> CandidateSet | None:
        """Return the first candidate beside a model's champion, the canary if there is one; None if there is none."""
        return next(iter(self.beside(model)), None)

    def frozen(self, model: str) -> LearningSet | None:
        """Return who froze a model's learning, when and why; None: it is not frozen."""
        found = self.learning.get(model)
        return found if found is not None and found.frozen else None

    def frozen_by(self, model: str) -> str | None:
        """Return who froze a model's learning and why, for people; None: it is not frozen."""
        found = self.frozen(model)
        return None if found is None else found.who

    def part(self, model: str) -> Part:
        """Return a model's part in the policy."""
        return self.policy.parts.get(model, "shown")


def _name(event: ExperimentLearned) -> str:
    return generation(event.version)


def _with(entries: Mapping[Key, Entry], key: Key, entry: Entry) -> Mapping[Key, Entry]:
    return MappingProxyType({**entries, key: entry})
