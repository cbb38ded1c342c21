"""Folds what the log has about batch models: versions, champions, candidates, policy, and due commands (way 3, REBUILD).

It is a fold over models.v1, which is a `contracts.catalog.Catalog`, and over commands.v1, in whatever order the two come;
several threads read it. It needs no offsets of its own and no consumer group. Which rebuilds are due `contracts.rebuilds`
says; every other command is due until its CommandSettled has come. So a trainer that was killed in the middle finds its
command still due.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from contracts.catalog import Catalog
from contracts.events import (
    CancelTraining,
    CandidateSet,
    CommandSettled,
    DatasetMade,
    DriftAction,
    DriftDetected,
    DriftHandled,
    DriftPolicySet,
    EndpointSeen,
    Event,
    ExperimentLearned,
    ForgetPlayer,
    FreezeLearning,
    LearningSet,
    ModelPromoted,
    ModelPublished,
    PolicySet,
    PromoteModel,
    Restriction,
    RestrictPlayer,
    RetrainModel,
    RollBackModel,
    SetDriftPolicy,
    SetPolicy,
    SnapshotTaken,
    ThawLearning,
    TrainingAdvanced,
    TryVersion,
)
from contracts.rebuilds import Rebuild, RebuildQueue
from contracts.roster import Roster

QuickCommand = (
    PromoteModel
    | RollBackModel
    | TryVersion
    | SetPolicy
    | RestrictPlayer
    | FreezeLearning
    | ThawLearning
    | SetDriftPolicy
    | CancelTraining
)
"""The commands that do not wait for a rebuild to end."""


class ModelLog:
    """The fold of what the log has about batch models. Every event may come twice."""

    def __init__(self, roster: Roster, history: Iterable[Event] = ()) -> None:
        """Start with a history, or with nothing.

        Args:
            roster: The models that there are.
            history: Events of either topic.
        """
        self.roster = roster
        self._lock = threading.Lock()
        self._catalog = Catalog()
        self._queue = RebuildQueue()
        self._commands: dict[UUID, QuickCommand] = {}
        self._forgettings: dict[UUID, ForgetPlayer] = {}
        self._settled: dict[UUID, CommandSettled] = {}
        self._detections: dict[UUID, DriftDetected] = {}
        self._handled: dict[UUID, DriftHandled] = {}
        for event in history:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Apply an event; an event of another kind changes nothing."""
        with self._lock:
            self._catalog = self._catalog.apply(event)
            self._queue.apply(event)
            if isinstance(event, QuickCommand):
                self._commands.setdefault(event.command_id, event)
            elif isinstance(event, ForgetPlayer):
                self._forgettings.setdefault(event.command_id, event)
            elif isinstance(event, CommandSettled):
                self._settled.setdefault(event.command_id, event)
            elif isinstance(event, DriftDetected):
                self._detections.setdefault(event.detection_id, event)
            elif isinstance(event, DriftHandled):
                self._handled.setdefault(event.detection_id, event)

    def published(self, model: str) -> Mapping[str, ModelPublished]:
        """Return all versions of a model that exist, by version."""
        return self._catalog.published.get(model, {})

    def champion(self, model: str) -> ModelPromoted | None:
        """Return the champion; None if no version was ever promoted."""
        return self._catalog.champions.get(model)

    def snapshot(self, model: str) -> SnapshotTaken | None:
        """Return the newest snapshot of an online model's own sums; None: there is none."""
        return self._catalog.snapshots.get(model)

    def experiments(self, model: str) -> Mapping[str, ExperimentLearned]:
        """Return the experiments beside an online model, by name."""
        return self._catalog.experiments.get(model, {})

    def candidate(self, model: str) -> CandidateSet | None:
        """Return the version beside the champion, a canary or a shadow; None if there is none."""
        return self._catalog.candidate(model)

    def beside(self, model: str) -> Sequence[CandidateSet]:
        """Return the versions beside the champion, the canary first."""
        return self._catalog.beside(model)

    def left(self, model: str) -> Mapping[int, CandidateSet]:
        """Return the candidates that were removed last, by the place that they have left."""
        return {place: one for place, one in self._catalog.candidates.get(model, {}).items() if one.role == "none"}

    def was_tried(self, model: str, version: str) -> bool:
        """Return whether a version is or was a place's last candidate beside this champion: whoever removed it meant it."""
        champion, last = self.champion(model), self._catalog.candidates.get(model, {}).values()
        return any(one.version == version and (champion is None or one.at > champion.at) for one in last)

    def endpoint(self, model: str) -> EndpointSeen | None:
        """Return a model's endpoint as it was last seen."""
        return self._catalog.endpoints.get(model)

    def policy(self) -> PolicySet:
        """Return the policy: which models guess, and which is shown first."""
        return self._catalog.policy

    def datasets(self) -> Mapping[str, DatasetMade]:
        """Return the datasets that were made, by digest."""
        return self._catalog.datasets

    def restrictions(self) -> Mapping[str, Restriction]:
        """Return the players who are restricted."""
        return self._catalog.restrictions

    def frozen(self, model: str) -> LearningSet | None:
        """Return who froze an online model's learning; None: it learns."""
        return self._catalog.frozen(model)

    def training(self, model: str) -> TrainingAdvanced | None:
        """Return the progress of a model's last rebuild; None if there was none."""
        return self._catalog.training.get(model)

    def failed(self, model: str) -> set[str]:
        """Return the versions that were reported as broken or rolled back by policy, unless they were promoted since."""
        return {
            version
            for version, one in self.published(model).items()
            if one.failed or (one.rollout and one.rollout[-1].step == "rolled-back")
        }

    def last_good(self, model: str) -> ModelPublished | None:
        """Return the version that answers if the champion must not; None if there is none.

        It is the version that the champion names, else the newest approved one from before the champion; never one that failed.
        """
        champion = self.champion(model)
        if champion is None:
            return None
        return self.before(model, champion.version, champion.previous)

    def before(self, model: str, version: str, named: str | None = None) -> ModelPublished | None:
        """Return the last good version before ``version``: the one that is ``named``, if that is good."""
        published, failed = self.published(model), self.failed(model)
        good = {name: one for name, one in published.items() if one.approved and name not in failed and name != version}
        if named in good:
            return good[named]
        older = [one for one in good.values() if version in published and one.at < published[version].at]
        return max(older, key=lambda one: one.at, default=None)

    def due(self) -> list[RetrainModel]:
        """Return the rebuilds that are not done, in the order given; the first may have begun."""
        with self._lock:
            return self._queue.due()

    def rebuilds(self) -> Sequence[Rebuild]:
        """Return all rebuilds: those that are due in their order, then those that have ended, the newest first."""
        with self._lock:
            return self._queue.all()

    def cancelled(self, command_id: UUID) -> CancelTraining | None:
        """Return who wants a rebuild to end; None: nobody."""
        with self._lock:
            return self._queue.cancelled(command_id)

    def unsettled(self) -> list[QuickCommand]:
        """Return the other commands that are not settled, in the order given."""
        with self._lock:
            return [command for command in self._commands.values() if command.command_id not in self._settled]

    def knows(self, command_id: UUID) -> bool:
        """Return whether a command has been given."""
        with self._lock:
            return command_id in self._commands or self._queue.knows(command_id)

    def drift_policy(self) -> DriftPolicySet:
        """Return what is done about drift."""
        return self._catalog.drift_policy

    def detections(self) -> list[DriftDetected]:
        """Return the drift of which nothing says what was done about it, in the order in which it was detected."""
        with self._lock:
            return [one for one in self._detections.values() if one.detection_id not in self._handled]

    def drift_actions(self, action: DriftAction) -> list[DriftHandled]:
        """Return all times that an action was carried out, in their order."""
        with self._lock:
            done = [one for one in self._handled.values() if one.action == action and one.outcome == "done"]
        return sorted(done, key=lambda one: one.at)

    def forgettings(self) -> list[ForgetPlayer]:
        """Return the players to forget, in the order given; one that is settled is still on the log, and is to be cut out."""
        with self._lock:
            return list(self._forgettings.values())

    def outcome(self, command_id: UUID) -> str | None:
        """Return the outcome of a command; None: it is not settled."""
        with self._lock:
            settled = self._settled.get(command_id)
            return None if settled is None else settled.outcome

    def forget(self, command_id: UUID) -> None:
        """Drop a command that is cut out of the log, and whoever it names."""
        with self._lock:
            gone = self._forgettings.pop(command_id, None)
            if gone is not None:
                kept = {one: command for one, command in self._commands.items() if _player(command) != gone.player_id}
                self._commands = kept

    @property
    def marks(self) -> Sequence[str]:
        """The marks of the players who are forgotten."""
        return self._catalog.forgotten


def _player(command: QuickCommand) -> str | None:
    return command.player_id if isinstance(command, RestrictPlayer) else None


def next_version(taken: Iterable[str]) -> str:
    """Return the number after the highest that is taken; names of bases do not count.

    >>> next_version(["base1", "2", "1"])
    '3'
    """
    return str(max((int(version) for version in taken if version.isdigit()), default=0) + 1)


def next_base(taken: Iterable[str]) -> str:
    """Return a name for a base that is not taken.

    >>> next_base(["base1", "7"]), next_base([])
    ('base2', 'base1')
    """
    numbers = [int(version[4:]) for version in taken if is_base(version)]
    return f"base{max(numbers, default=0) + 1}"


def is_base(version: str) -> bool:
    """Say whether a version came with the repository.

    >>> is_base("base2"), is_base("2")
    (True, False)
    """
    return version[:4] == "base" and version[4:].isdigit()
