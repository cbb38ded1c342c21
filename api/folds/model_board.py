"""Keeps the state of all models: which version answers, which rest, how often each was right, how far a rebuild is (ways 2, 3).

Pure: a fold of metrics.v1 and models.v1, and of what guesses.v1 says about resting. Counts are absolute for their slot and
entries whole, so that twice is harmless. Players are sent its changes, watchers see all of it, `api.ops.library` reads it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from api.folds.impersonal import event_for_anybody, freezer_for_anybody
from api.folds.implausible import refuse_implausible
from api.folds.model_state import ModelNews, ModelState, StateChange
from api.folds.scores import totals
from contracts.catalog import AnsweringEvent, Catalog
from contracts.events import (
    CandidateSet,
    DatasetMade,
    EndpointSeen,
    Event,
    ExperimentLearned,
    FoldAdvanced,
    GuessMade,
    GuessMissed,
    LearningSet,
    ModelEvent,
    ModelPromoted,
    ModelPublished,
    ModelRolledBack,
    Part,
    PolicySet,
    RestrictionSet,
    ScoresCounted,
    SnapshotTaken,
    TrainingAdvanced,
)
from contracts.roster import Roster, is_batch

SETTLED: Final = timedelta(seconds=1)
"""A guess means that a model is back once no miss has come for this long: several routers do not agree at once."""
UNHEARD: Final = timedelta(seconds=5)
"""A model counts as resting until this long after an event last said so."""
FOLDING: Final = timedelta(seconds=30)
"""A fold that is being rebuilt says twice a second how far it is. After this long without news, its last report no longer
counts: if the process is gone, its missing answers show that."""
LEARNERS: Final = {"learner": "learning", "personal": "learning of yours"}
"""The names of the stages that learn, as /healthz shows them, by the stage of a receipt."""
_STARTING: Final = "it is being started"
_DEPARTED: Final = "it is none of this game's models any more"

Frame = dict[str, Any]


@dataclass(slots=True)
class Rest:
    """A model that is not asked at the moment."""

    why: str
    since: datetime
    last: datetime
    """When an event last said so."""


class ModelBoard:
    """All models, and the state of each."""

    takes: ClassVar[tuple[type[Event], ...]] = (
        ModelEvent,
        PolicySet,
        RestrictionSet,
        LearningSet,
        DatasetMade,
        ScoresCounted,
        FoldAdvanced,
        GuessMade,
        GuessMissed,
    )

    def __init__(self, roster: Roster) -> None:
        """Start with the roster alone; `apply` the topics from their start."""
        self.roster = roster
        self.catalog = Catalog()
        """The state of the models by models.v1."""
        self.resting: dict[str, Rest] = {}
        self.expected: dict[str, str | None] = {}
        """The models that should answer every drawing, each with the reason why it cannot be asked; None: it can."""
        self.hidden: frozenset[str] = frozenset()
        """The models whose guesses no player is shown."""
        self._folding: dict[str, FoldAdvanced] = {}
        self._counts: dict[str, dict[str, ScoresCounted]] = {}
        self._changed: set[str] = set()
        self._news: list[Frame] = []
        self._stated: list[ModelState] | None = None  # what `states` returned last; None: something has changed since
        self._restate()

    def apply(self, event: Event) -> list[StateChange]:
        """Apply an event; return what players are told of it.

        Raises:
            Implausible: If no part of the product can have written it.
        """
        refuse_implausible(event)
        match event:
            case GuessMade():
                return self._guessed(event)
            case GuessMissed():
                return self._missed(event)
            case ScoresCounted():
                if event.model not in self._counts:
                    self._stated = None
                self._counts.setdefault(event.model, {})[event.score_key] = event
                self._changed.add(event.model)
                return []
            case FoldAdvanced():
                self._folding[event.fold_key] = event
                return []
        if event.topic != ModelPublished.topic:
            return []
        before, self._stated = self.catalog, None
        match event:
            case TrainingAdvanced():
                self.catalog = before.apply(event)
                self._news.append({"type": "training", "model": event.model, **_training(event), "log": event.log})
                return []
            case RestrictionSet() | SnapshotTaken() | ExperimentLearned() | DatasetMade():
                self.catalog = before.apply(event)
                if not isinstance(event, RestrictionSet | DatasetMade):
                    self._learned(event.model, before.answering(event.model))
                return []
        states = {model: self.state(model) for model in self.known()}
        self.catalog = before.apply(event)
        changes = self._told(self._changes(event_for_anybody(event), before))
        self._restate()
        return changes or self._told(self._differences(event_for_anybody(event), states))

    def _changes(self, event: Event, before: Catalog) -> list[StateChange]:
        match event:
            case ModelPublished():
                # A version is published again when the registry's approval or a failure has changed it.
                again = event.version in before.published.get(event.model, {})
                return [] if again else [self._change(event.model, "published", event.gate, event.version)]
            case ModelPromoted():  # one that is said again, since somebody had hidden it on the log, is no news
                news: ModelNews = "rolled-back" if isinstance(event, ModelRolledBack) else "promoted"
                return [] if self.catalog.champions == before.champions else [self._change(event.model, news, event.note)]
            case CandidateSet():
                known = before.candidates.get(event.model, {}).get(event.place)
                same = known is not None and _entry(known) == _entry(event)
                return [] if same else [self._change(event.model, *_tried(event))]
            case LearningSet():
                same = self.catalog.frozen(event.model) == before.frozen(event.model)
                return [] if same else [self._change(event.model, "frozen" if event.frozen else "thawed", event.who)]
            case EndpointSeen():
                self._remember(self.state(event.model), event="endpoint", note="")
        return []

    def _learned(self, model: str, before: AnsweringEvent | None) -> None:
        now = self.catalog.answering(model)
        if not isinstance(now, SnapshotTaken | ExperimentLearned) or (before is not None and _taken(before) == _taken(now)):
            return
        if before is None:
            self._restate()
        self._news = [news for news in self._news if news.get("event") != "learned" or news["model"] != model]
        self._remember(self.state(model), event="learned", note="")

    def _differences(self, event: Event, before: dict[str, ModelState]) -> list[StateChange]:
        changes = []
        for model in self.known():
            old, new = before.get(model), self.state(model)
            if old is None or old == new:
                continue
            if isinstance(event, PolicySet):
                changes.append(self._change(model, "policy", event.note))
            elif old.unavailable != new.unavailable:
                changes.append(self._change(model, "unavailable" if new.unavailable else "available", new.unavailable or ""))
        return changes

    def _missed(self, miss: GuessMissed) -> list[StateChange]:
        if not miss.resting:
            return []
        rest = self.resting.get(miss.model)
        if rest is None:
            self.resting[miss.model], self._stated = Rest(miss.why, miss.at, miss.at), None
            return self._told([self._change(miss.model, "resting", miss.why)])
        rest.last = max(rest.last, miss.at)
        return []

    def _guessed(self, guess: GuessMade) -> list[StateChange]:
        rest = self.resting.get(guess.model)
        if rest is None or guess.role == "shadow" or guess.at - rest.last < SETTLED:
            return []
        return self._back(guess.model)

    def tick(self, time: datetime) -> list[StateChange]:
        """Let time pass; return what players are told of it."""
        over = [key for key, event in self._folding.items() if event.fraction < 1 and time - event.at > FOLDING]
        for key in over:
            del self._folding[key]
        return [told for model, rest in list(self.resting.items()) if time - rest.last > UNHEARD for told in self._back(model)]

    def _back(self, model: str) -> list[StateChange]:
        del self.resting[model]
        self._stated = None
        return self._told([self._change(model, "back", "")])

    def _change(self, model: str, event: ModelNews, note: str, version: str | None = None) -> StateChange:
        state = self.state(model)
        told = state if version is None else state.model_copy(update={"version": version})
        return StateChange(**told.model_dump(), event=event, note=note)

    def _told(self, changes: list[StateChange]) -> list[StateChange]:
        for change in changes:
            self._remember(change)
        return changes

    def _remember(self, state: ModelState, **news: str) -> None:
        """Keep an entry of the news, which watchers read as players read a frame."""
        self._news.append({"type": "model", **state.model_dump(), **news})

    def _restate(self) -> None:
        self.expected = {model: self.absence(model) for model in self.roster.names if self.part(model) != "off"}
        self.hidden = frozenset(model for model, part in self.catalog.policy.parts.items() if part != "shown")

    # --- asking

    def known(self) -> list[str]:
        """Return all models, in the order in which they are shown; models that only events name come last."""
        catalog = self.catalog
        named = {*self.roster.names, *catalog.champions, *catalog.snapshots, *catalog.published, *self._counts}
        return self.roster.ordered(named)

    def states(self) -> list[ModelState]:
        """Return the state of every model; a correction asks for it, so it is made once for several."""
        if self._stated is None:
            self._stated = [self._state(model, order) for order, model in enumerate(self.known())]
        return self._stated

    def state(self, model: str) -> ModelState:
        """Return the state of a model."""
        return self._state(model, self.known().index(model))

    def _state(self, model: str, order: int) -> ModelState:
        answering, rest, entry = self.catalog.answering(model), self.resting.get(model), self.roster.entry(model)
        return ModelState(
            model=model,
            version=answering.version if answering else None,
            title=self.title(model),
            kind=entry.kind,
            hue=entry.hue,
            order=order,
            part=self.part(model),
            lead=self.catalog.policy.lead == model,
            resting=rest.why if rest else None,
            unavailable=self.absence(model),
            frozen=freezer_for_anybody(self.catalog.frozen(model)),
        )

    def title(self, model: str) -> str:
        """Return the title of a model: from the roster, or for a model that only the log knows, from its last event."""
        if model in self.roster:
            return self.roster[model].title
        answering, versions = self.catalog.answering(model), self.catalog.published.get(model)
        if isinstance(answering, ModelPromoted | SnapshotTaken):
            return answering.title
        return list(versions.values())[-1].title if versions else self.roster.entry(model).title

    def part(self, model: str) -> Part:
        """Return a model's part in the policy."""
        return self.catalog.part(model)

    def absence(self, model: str) -> str | None:
        """Say why a model cannot be asked; None: it can."""
        if not is_batch(model):  # before any event names the model, it answers with its base
            return None
        if model not in self.roster:
            return _DEPARTED
        answering, seen = self.catalog.answering(model), self.catalog.endpoints.get(model)
        if seen is not None and (seen.status == "Unavailable" or (seen.status == "Failed" and answering is None)):
            later = answering is not None and answering.at > seen.at
            return None if later else seen.reason or f"its endpoint is {seen.status}"
        return None if answering is not None else _STARTING

    def training(self, model: str) -> TrainingAdvanced | None:
        """Return the last step of a model's last rebuild."""
        return self.catalog.training.get(model)

    @property
    def folding(self) -> dict[str, str]:
        """Say of each learning fold that is being rebuilt how far it is, until it is up to date."""
        least: dict[str, float] = {}
        for event in self._folding.values():
            learner = LEARNERS["personal" if event.fold == "personal" else "learner"]
            least[learner] = min(event.fraction, least.get(learner, 1.0))
        return {learner: f"it folds again what it knows, {int(n * 100)} %" for learner, n in sorted(least.items()) if n < 1}

    # --- counts

    def scores(self) -> dict[str, Frame]:
        """Return the counts of every model that was scored."""
        return {model: self.score(model) for model in self.known() if model in self._counts}

    def score(self, model: str) -> Frame:
        """Return the counts of a model; its guesses as a shadow count for its versions only."""
        return totals(self._counts.get(model, {}).values())

    # --- for watchers

    def snapshot(self, online: int, drawings: int) -> Frame:
        """Return the whole state: the first frame of a watcher.

        Args:
            online: Players with a socket.
            drawings: Finished drawings since this process started.
        """
        return {
            "type": "snapshot",
            "models": [state.model_dump() for state in self.states()],
            "scores": self.scores(),
            "online": online,
            "drawings": drawings,
            "training": {model: _training(event) for model, event in self.catalog.training.items()},
        }

    def changes(self) -> list[Frame]:
        """Return what has changed since the last call; counts are absolute, of the changed models only."""
        frames, self._news = self._news, []
        if self._changed:
            changed = self.roster.ordered(self._changed)
            frames.append({"type": "scores", "scores": {model: self.score(model) for model in changed}})
            self._changed.clear()
        return frames


def _taken(answering: AnsweringEvent) -> tuple[object, ...]:
    return answering.version, getattr(answering, "title", ""), getattr(answering, "digest", "")


def _entry(candidate: CandidateSet) -> tuple[object, ...]:
    return candidate.version, candidate.role, candidate.share


def _tried(candidate: CandidateSet) -> tuple[ModelNews, str]:
    if candidate.role == "none":
        return "untried", candidate.note or f"version {candidate.version} is not tried any more"
    if candidate.role == "canary":
        return "canary", candidate.note or f"version {candidate.version} answers {candidate.share:.0%} of the players"
    return "shadow", candidate.note or f"version {candidate.version} is asked and scored, and not shown"


def _training(event: TrainingAdvanced) -> Frame:
    return event.model_dump(mode="json", include={"command_id", "version", "step", "fraction", "message", "tried"})
