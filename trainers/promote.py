"""Changes which version answers the players and which candidate is beside it, then publishes the change (way 3, REBUILD).

A model's endpoint has the champion with all the traffic, and the last good version and the candidate with none, so that a
rollback only shifts weights. The order matters: a version is on the endpoint, and has answered, before an event names it,
and it stays until another event has replaced that one. A version that no event names any more is removed later (`tidy`), since
its removal restarts the others. A model's endpoint has one change at a time, and each change can be repeated.
"""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal

import structlog

from contracts.events import (
    MAX_CANDIDATES,
    MAX_ROLLOUT,
    CandidateSet,
    Event,
    ModelPromoted,
    ModelPublished,
    ModelRolledBack,
    Restriction,
    RestrictionSet,
    RolloutStep,
    now,
    variant_of,
)
from contracts.ports import Bus
from trainers.example_sink import ACKNOWLEDGED_S
from trainers.model_log import ModelLog
from trainers.policy_audit import done_by_policy
from trainers.serving import Serving, ServingFailed, endpoint_of

TIDY_AFTER: Final = timedelta(minutes=10)
"""How long a version that no event names stays on its endpoint: until then a rollback to it takes less than a second."""

log = structlog.get_logger()


def say(bus: Bus, model_log: ModelLog, event: Event) -> None:
    """Publish an event, wait for the broker to acknowledge it, and apply it."""
    bus.publish(event).result(ACKNOWLEDGED_S)
    model_log.apply(event)


class Promoter:
    """Changes which version answers, and publishes it."""

    def __init__(self, bus: Bus, model_log: ModelLog, serving: Serving) -> None:
        """Keep the bus, the folded log and the endpoints."""
        self._bus = bus
        self._model_log = model_log
        self._serving = serving
        self._locks = {model: threading.RLock() for model in model_log.roster.batch}
        self._amending = threading.Lock()
        self.too_late = threading.Lock()
        """Held by who decides whether a rebuild can still be cancelled, until that is on the log."""

    def say(self, event: Event) -> None:
        """Publish an event and apply it."""
        say(self._bus, self._model_log, event)

    def _change(self, event: ModelPromoted | CandidateSet) -> None:
        """Publish who answers, or stands beside; before that, what of it is for the audit."""
        done = done_by_policy(event, self._model_log.champion(event.model))
        if done is not None:
            self.say(done)
        self.say(event)

    def amend(self, model: str, version: str, **changed: object) -> ModelPublished:
        """Publish a version with some fields changed, if they differ; return the version after that."""
        with self._amending:  # both steering and the monitor read an entry and then write it; the lock is never held for long
            before = self._model_log.published(model)[version]
            after = before.model_copy(update=changed)
            if after != before:
                self.say(after)
            return after

    def note_step(self, model: str, version: str, step: RolloutStep, **changed: object) -> ModelPublished:
        """Publish a version with one more step of its way to the players, and other fields changed; return it after that."""
        with self._amending:
            before = self._model_log.published(model)[version]
            after = before.model_copy(update={**changed, "rollout": [*before.rollout, step][-MAX_ROLLOUT:]})
            self.say(after)
            return after

    def note_share(self, published: ModelPublished, share: float, note: str) -> None:
        """Note that somebody lets a version answer a share of the players, from where the policy moves it on."""
        champion = self._model_log.champion(published.model)
        assert champion, f"no version of {published.model} was ever promoted"
        step = RolloutStep(step="share", at=now(), champion=champion.version, share=share, why=note, live=published.live)
        self.note_step(published.model, published.version, step)

    def restrict(self, player_id: str, restriction: Restriction) -> None:
        """Publish who is restricted, with one player changed or taken off the list."""
        with self._amending:  # both steering and a forgetting read the list and then write all of it
            players = {name: one for name, one in self._model_log.restrictions().items() if name != player_id}
            self.say(RestrictionSet(players=players if restriction == "none" else {**players, player_id: restriction}))

    def promote(
        self,
        published: ModelPublished,
        note: str,
        *,
        back: bool = False,
        look: Callable[[], None] = lambda: None,
        approve: Callable[[], None] = lambda: None,
    ) -> ModelPromoted:
        """Let a version answer the players; return the event that says so.

        Twice is harmless: if the version answers already, nothing is changed or published.

        Args:
            published: The version.
            note: Why, for people.
            back: Whether this is a rollback to an earlier version.
            look: Is called now and then meanwhile.
            approve: Is called once the version has answered on the endpoint, before an event names it.

        Raises:
            ServingFailed: If the endpoint does not come to serve it; then all is as before.
        """
        model, version = published.model, published.version
        with self._locks[model]:
            champion = self._model_log.champion(model)
            if champion and champion.version == version:
                self._stand(published, self._named(model))
                approve()
                return champion
            good = self._model_log.before(model, version, None if back or not champion else champion.version)
            self._go_over(published, self._named(model), good, look)
            approve()
            stands = self._serving.weights(endpoint_of(model))
            kind = ModelRolledBack if back else ModelPromoted
            event = kind(
                model=model,
                version=version,
                title=published.title,
                endpoint=endpoint_of(model),
                variant=variant_of(version),
                previous=good.version if good and variant_of(good.version) in stands else None,
                note=note,
            )
            self._change(event)
            for candidate in self._model_log.beside(model):
                if candidate.version == version:
                    self._untry(candidate, "it answers everybody now")
                elif candidate.variant not in stands:
                    self._untry(candidate, "it cannot be served any more")
                elif candidate.watched:
                    self._untry(candidate, f"{version} answers now, and it was watched beside another")
            log.info("rolled back" if back else "promoted", model=model, version=version, previous=event.previous)
            return event

    def stand(self, model: str) -> None:
        """Make a model's endpoint serve all versions that the log names; publish it if the last good one cannot be served.

        Raises:
            ServingFailed: If the champion does not come to answer.
        """
        with self._locks[model]:
            champion = self._model_log.champion(model)
            assert champion, f"no version of {model} was ever promoted"
            self._stand(self._model_log.published(model)[champion.version], self._named(model))
            stands = self._serving.weights(endpoint_of(model))
            if champion.previous and variant_of(champion.previous) not in stands:
                self.say(champion.model_copy(update={"previous": None, "at": now()}))
            for candidate in self._model_log.beside(model):
                if candidate.variant not in stands:
                    self._untry(candidate, "it cannot be served any more")

    def has_room(self, published: ModelPublished, limit: int = MAX_CANDIDATES) -> bool:
        """Return whether a version may stand beside its champion, or does so already."""
        beside = self._model_log.beside(published.model)
        return len(beside) < limit or any(one.version == published.version for one in beside)

    def try_beside(
        self,
        published: ModelPublished,
        role: Literal["canary", "shadow"],
        share: float,
        note: str,
        *,
        watched: bool = False,
    ) -> None:
        """Put a version beside its champion, or change its role there. A canary takes the place of another one.

        Raises:
            ServingFailed: If there is no place, or the endpoint does not come to serve it; then all is as before.
        """
        model = published.model
        with self._locks[model]:
            champion = self._model_log.champion(model)
            assert champion, f"no version of {model} was ever promoted"
            endpoint = endpoint_of(model)
            if variant_of(published.version) in self._serving.weights(endpoint):
                self._serving.ask_blank(endpoint, published)
            else:
                first = self._model_log.published(model)[champion.version]
                beside = _without(first, [published, *self._named(model)])
                self._serving.serve(endpoint, first, beside)
                self._serving.ready(endpoint, first, beside)
            place = self._place(published, role)
            for other in self._model_log.beside(model):
                if other.version == published.version and not watched:
                    self._end_rollout(other, note)
                elif other.version != published.version and other.place == place:
                    self._untry(other, f"{published.version} takes its place: {note}")
            told = {"endpoint": endpoint, "variant": variant_of(published.version), "note": note, "watched": watched}
            self._change(CandidateSet(model=model, version=published.version, role=role, share=share, place=place, **told))
            log.info("candidate", model=model, version=published.version, role=role, share=share)

    def _place(self, published: ModelPublished, role: str) -> int:
        """Return the place for a version: its own, the other canary's if it is to be one, or a free one.

        Of the free ones one that nobody has left since the champion answers: who was there is remembered by that.
        """
        beside, champion = self._model_log.beside(published.model), self._model_log.champion(published.model)
        for one in beside:
            if one.version == published.version:
                for other in beside:
                    if role == other.role == "canary" and other is not one:
                        self._untry(other, f"{published.version} takes its place")
                return one.place
        for one in beside:
            if role == one.role == "canary":
                return one.place
        free = set(range(MAX_CANDIDATES)) - {one.place for one in beside}
        if not free:
            raise ServingFailed(f"{published.model} has no place for another version beside its champion")
        left, since = self._model_log.left(published.model), champion.at if champion else now()
        times = {place: left[place].at if place in left else since for place in free}
        return min(free, key=lambda place: (times[place] > since, times[place], place))

    def untry(self, model: str, note: str, version: str | None = None) -> list[CandidateSet]:
        """Remove candidates; return the events that had set them.

        Args:
            model: The model.
            note: Why, for people.
            version: The candidate; None: all of them.
        """
        with self._locks[model]:
            gone = [one for one in self._model_log.beside(model) if version in (None, one.version)]
            for candidate in gone:
                self._untry(candidate, note)
            return gone

    def stop(self, model: str, version: str, note: str) -> None:
        """End a version's way to the players, whether it is a candidate already or not."""
        with self._locks[model]:
            if not self.untry(model, note, version):
                self._note_end(model, version, note)

    def tidy(self, model: str) -> None:
        """Remove versions that no event names any more, if the last change is long enough ago and none is under way."""
        champion, seen = self._model_log.champion(model), self._model_log.endpoint(model)
        said = [event for event in (champion, *self._model_log.beside(model)) if event]
        named = self._named(model)
        extra = {one.version for one in seen.variants} - {one.version for one in named} if seen else set()
        if not named or not extra or any(now() - event.at < TIDY_AFTER for event in said):
            return
        if not self._locks[model].acquire(blocking=False):
            return
        try:
            first, *beside = self._named(model)
            self._serving.serve(endpoint_of(model), first, beside, only=True)
            self._serving.ready(endpoint_of(model), first, beside)
            log.info("tidied", model=model, gone=sorted(extra))
        finally:
            self._locks[model].release()

    def _named(self, model: str) -> list[ModelPublished]:
        """Return the versions that the log names, the champion first: they must be on the endpoint."""
        champion, published = self._model_log.champion(model), self._model_log.published(model)
        if champion is None or champion.version not in published:
            return []
        names = (champion.version, champion.previous, *(one.version for one in self._model_log.beside(model)))
        return [published[name] for name in dict.fromkeys(names) if name is not None and name in published]

    def _end_rollout(self, candidate: CandidateSet, note: str) -> None:
        """Note that a version's way to the players, by policy, has ended here, unless that is noted already."""
        if candidate.watched:
            self._note_end(candidate.model, candidate.version, note)

    def _note_end(self, model: str, version: str, note: str) -> None:
        published, champion = self._model_log.published(model).get(version), self._model_log.champion(model)
        if champion is None or published is None or not published.rollout or published.rollout[-1].step != "share":
            return
        answers = champion.version == version
        step: Literal["promoted", "stopped"] = "promoted" if answers else "stopped"
        beside, share = published.rollout[-1].champion, 1.0 if answers else 0.0
        ended = RolloutStep(step=step, at=now(), champion=beside, share=share, why=note, live=published.live)
        self.note_step(model, version, ended)

    def _untry(self, candidate: CandidateSet, note: str) -> None:
        self._end_rollout(candidate, note)
        gone = {"role": "none", "share": 0.0, "watched": False, "endpoint": "", "variant": "", "note": note, "at": now()}
        self._change(candidate.model_copy(update=gone))

    def _stand(self, first: ModelPublished, named: list[ModelPublished]) -> None:
        """Make the endpoint serve a version and the others beside it, or as many of them as it can."""
        endpoint, beside, every = endpoint_of(first.model), _without(first, named), True
        while True:
            try:
                self._serving.serve(endpoint, first, beside, only=not every)
                self._serving.ready(endpoint, first, beside)
                return
            except ServingFailed as failed:
                if not beside:
                    raise
                log.error("left out", model=first.model, version=beside[-1].version, error=str(failed))
                beside, every = beside[:-1], False

    def _go_over(
        self, target: ModelPublished, named: list[ModelPublished], good: ModelPublished | None, look: Callable[[], None]
    ) -> None:
        """Switch to another version: start it beside the one that answers, ask it, then give it the traffic."""
        endpoint, variant = endpoint_of(target.model), variant_of(target.version)
        has = self._serving.weights(endpoint)
        if variant not in has and named and variant_of(named[0].version) in has:
            first, beside = named[0], _without(named[0], [target, *named, *([good] if good else [])])
            try:
                self._serving.serve(endpoint, first, beside)
                self._serving.ready(endpoint, first, beside, look)
            except ServingFailed as failed:  # if the version that answers now does not start, the new one must not need it
                log.error("not side by side", model=target.model, version=target.version, error=str(failed))
                named = []
            has = self._serving.weights(endpoint)
        if variant in has:
            self._serving.ask_blank(endpoint, target)
            self._serving.serve(endpoint, target)
            self._serving.ready(endpoint, target)
        else:
            self._stand(target, named)


def _without(first: ModelPublished, others: list[ModelPublished]) -> list[ModelPublished]:
    """Return each of the other versions once, without the first."""
    by_version = {other.version: other for other in others if other.version != first.version}
    return list(by_version.values())
