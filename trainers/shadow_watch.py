"""Watches shadows on live drawings, keeps what they show with the version, and acts on it by policy (way 3, OPERATE).

What it does is on the log with its reason: in the version's entry, and in the note of its promotion. Twice is harmless: it
looks at what is, and does what is not done yet.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from contracts.events import (
    ExampleLabelled,
    LiveBeside,
    MessageRejected,
    ModelPublished,
    ModelRolledBack,
)
from contracts.ports import Bus, Tail
from contracts.records import read
from contracts.training_settings import TrainingSettings
from producers.connection import BusError
from trainers import gate
from trainers.approval import Approvals
from trainers.jobs import Pause
from trainers.judging import tries
from trainers.model_log import ModelLog
from trainers.promote import Promoter
from trainers.registry import by_hand
from trainers.serving import ServingFailed
from trainers.shadow_pairs import ShadowPairs

BY: Final = "by policy"
ENOUGH: Final = 3000
"""After so many drawings a version that answered before is watched no longer."""
WATCH_S: Final = 5.0
"""The seconds between looks."""
_MOST_POLLS: Final = 50
"""How many batches of records are read at a look."""

log = structlog.get_logger()


class _Watched(NamedTuple):
    """A shadow that is watched."""

    of: tuple[str, str]
    """The champion and the shadow."""
    tail: Tail
    pairs: ShadowPairs
    tries: int
    since: datetime


class ShadowWatch:
    """Looks at the shadows of all batch models."""

    def __init__(
        self, settings: TrainingSettings, bus: Bus, model_log: ModelLog, promoter: Promoter, approvals: Approvals
    ) -> None:
        """Keep what it needs; it reads nothing while there is no shadow."""
        self._settings = settings
        self._bus = bus
        self._model_log = model_log
        self._promoter = promoter
        self._approvals = approvals
        self._watched: dict[str, _Watched] = {}

    def follow(self, pause: Pause) -> None:
        """Look again and again; an outage delays it. Ends when ``pause`` raises."""
        while True:
            try:
                self.look()
            except BusError as error:
                log.warning("shadows wait", error=str(error))
            pause(WATCH_S)

    def look(self) -> None:
        """Read what came, keep what it shows with each shadow, and do what the policy says."""
        for model in self._model_log.roster.batch:
            try:
                self._look(model)
            except (ServingFailed, BotoCoreError, ClientError) as error:  # the other models are looked at all the same
                log.warning("a shadow waits", model=model, error=str(error))

    def _look(self, model: str) -> None:
        """Look at the shadow of a model."""
        self._begin(model)
        candidate, champion = self._model_log.candidate(model), self._model_log.champion(model)
        if candidate is None or champion is None or candidate.role != "shadow":
            self._leave(model)
            return
        of = (champion.version, candidate.version)
        if model not in self._watched or self._watched[model].of != of:
            self._leave(model)
            tried, since = self._begun(model, *of)
            since = since or max(candidate.at, champion.at)
            tail = self._bus.follow([ExampleLabelled.topic], since)
            self._watched[model] = _Watched(of, tail, ShadowPairs(model, *of), tried, since)
        self._read(model)
        self._tell(model)

    def close(self) -> None:
        """Stop reading."""
        for model in list(self._watched):
            self._leave(model)

    def _leave(self, model: str) -> None:
        if (watched := self._watched.pop(model, None)) is not None:
            watched.tail.close()

    def _begun(self, model: str, champion: str, shadow: str) -> tuple[int, datetime | None]:
        """Return the how-many-th look it is, and since when these two are watched.

        A shadow that is set again goes on, and has no chance of error anew.
        """
        published = self._model_log.published(model)
        before = published[shadow].live
        if before is not None and before.champion == champion:
            return before.tries, before.since
        return tries(published.values(), champion), None

    def _read(self, model: str) -> None:
        tail, pairs = self._watched[model].tail, self._watched[model].pairs
        for _ in range(_MOST_POLLS):
            if not (records := tail.poll(0.2)):
                return
            for record in records:
                event = read(record, "trainer")
                if event is not None and not isinstance(event, MessageRejected):  # the joiner's readers tell of what is broken
                    pairs.apply(event)

    def _tell(self, model: str) -> None:
        watched = self._watched[model]
        (_, shadow), tried = watched.of, watched.tries
        alpha = gate.spent(self._settings.gate_false_promotions, tried)
        live = watched.pairs.live(tried, alpha, self._model_log.restrictions(), watched.since)
        version = self._model_log.published(model)[shadow]
        if live.judged and live != version.live:
            version = self._promoter.amend(model, shadow, live=live)
        if self._settings.gate_watches == "acts":
            self._act(version, live)

    def _act(self, version: ModelPublished, live: LiveBeside) -> None:
        model, name, champion = version.model, version.version, self._model_log.champion(version.model)
        if champion is not None and champion.previous == name:
            if live.chance <= gate.LIKELY:
                told = f"{BY}: {name} is better on live drawings than {champion.version}, {gate.on_live(live)}"
                self._promoter.promote(version, told, back=True)
            elif live.chance_worse <= gate.LIKELY or live.judged >= ENOUGH:
                self._promoter.untry(model, f"{BY}: {champion.version} stays, {gate.on_live(live)}")
        elif live.chance_worse <= gate.LIKELY:
            self._promoter.untry(model, f"{BY}: worse on live drawings, {gate.on_live(live)}")
        elif gate.proven(version, champion) and not self._is_overruled(model, name):
            self._approvals.force(model, name, f"{BY}: better on live drawings, {gate.on_live(live)}")
            published = self._model_log.published(model)[name]
            self._promoter.promote(published, published.gate)

    def _is_overruled(self, model: str, version: str) -> bool:
        """Say whether somebody has rejected a version in the registry: what people say there stands above the policy."""
        self._approvals.ask(model, version)
        return by_hand(self._model_log.published(model)[version])

    def _begin(self, model: str) -> None:
        """Make a version the shadow that is to be watched, if the policy says so and there is no candidate."""
        if self._settings.gate_watches == "no" or self._model_log.candidate(model) is not None:
            return
        for version, why in self._worth_watching(model):
            if not version.failed and not self._model_log.was_tried(model, version.version):
                self._promoter.try_beside(version, "shadow", 0.0, f"{BY}: {why}, so watched on live drawings")
                return

    def _worth_watching(self, model: str) -> Iterator[tuple[ModelPublished, str]]:
        """Yield the newest version, if it is undecided beside the champion; then the one before a champion of the gate."""
        champion, published = self._model_log.champion(model), self._model_log.published(model)
        if champion is None:
            return
        newest = max(published.values(), key=lambda one: one.at)
        judged = newest.beside is not None and newest.beside.champion == champion.version
        if judged and newest.verdict == "undecided" and not newest.approved:
            yield newest, "undecided"
        answers, before = published.get(champion.version), published.get(champion.previous or "")
        if answers is None or answers.beside is None or before is None or isinstance(champion, ModelRolledBack):
            return
        if before.live is None or before.live.champion != champion.version:
            yield before, f"it answered before {champion.version}"
