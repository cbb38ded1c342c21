"""Reads what live drawings say of the versions beside a champion, and keeps it with each version (way 3, OPERATE).

A look beside a champion has a number, by which less of the chance of error is left to the next. It is on the log with the
version before anything is read for it, so no two candidates ever have the same, whoever is killed, and one that is set again
goes on with its own. Twice is harmless: what is read again is counted once, and what is published already is not published.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from contracts.events import CandidateSet, Event, ExampleLabelled, LiveBeside, MessageRejected
from contracts.ports import Bus, Tail
from contracts.records import read
from trainers import gate
from trainers.judging import tries
from trainers.model_log import ModelLog
from trainers.promote import Promoter
from trainers.shadow_pairs import ShadowPairs

_MOST_POLLS: Final = 50
"""How many batches of records are read at a look."""
WAIT_S: Final = 0.2
"""How long a look waits for more, in seconds."""


class Counting(Protocol):
    """A fold of what was drawn."""

    def apply(self, event: Event) -> None:
        """Take in an event; one of another kind changes nothing."""


def read_on(tail: Tail, counting: Counting) -> None:
    """Take in what has come since."""
    for _ in range(_MOST_POLLS):
        if not (records := tail.poll(WAIT_S)):
            return
        for record in records:
            event = read(record, "trainer")
            if event is not None and not isinstance(event, MessageRejected):  # the joiner's readers tell of what is broken
                counting.apply(event)


class _Watched(NamedTuple):
    """A candidate that is watched."""

    champion: str
    tail: Tail
    pairs: ShadowPairs
    tries: int
    since: datetime


class LiveEvidence:
    """What live drawings say of candidates; it reads nothing while there is none."""

    def __init__(self, bus: Bus, model_log: ModelLog, promoter: Promoter, false_promotions: float) -> None:
        """Keep what it needs.

        Args:
            bus: Has examples.v1.
            model_log: The log, folded.
            promoter: Publishes what is found.
            false_promotions: The chance of error of all looks beside one champion.
        """
        self._bus = bus
        self._model_log = model_log
        self._promoter = promoter
        self._false_promotions = false_promotions
        self._watched: dict[tuple[str, str], _Watched] = {}

    def look(self, candidate: CandidateSet) -> LiveBeside | None:
        """Return what is known of a candidate beside its champion by now; None: it has no champion."""
        model, version = candidate.model, candidate.version
        champion = self._model_log.champion(model)
        if champion is None or champion.version == version:
            return None
        watched = self._watched.get((model, version))
        if watched is None or watched.champion != champion.version:
            self.leave(model, version)
            known = self._begun(candidate, champion.version, max(candidate.at, champion.at))
            assert known.since
            tail = self._bus.follow([ExampleLabelled.topic], known.since)
            pairs = ShadowPairs(model, champion.version, version)
            watched = _Watched(champion.version, tail, pairs, known.tries, known.since)
            self._watched[model, version] = watched
        read_on(watched.tail, watched.pairs)
        alpha = gate.spent(self._false_promotions, watched.tries)
        live = watched.pairs.live(watched.tries, alpha, self._model_log.restrictions(), watched.since)
        before = self._model_log.published(model)[version].live
        if live != before:
            self._promoter.amend(model, version, live=live)
        return live

    def _begun(self, candidate: CandidateSet, champion: str, now: datetime) -> LiveBeside:
        """Return what is known already of two versions; if that is nothing, publish that they are looked at from now on."""
        published = self._model_log.published(candidate.model)
        before = published[candidate.version].live
        if before is not None and before.champion == champion and before.since is not None:
            return before
        number = tries(published.values(), champion)
        began = ShadowPairs(candidate.model, champion, candidate.version).live(
            number, gate.spent(self._false_promotions, number), (), now
        )
        self._promoter.amend(candidate.model, candidate.version, live=began)
        return began

    def keep(self, model: str, versions: Sequence[str]) -> None:
        """Read no more of a model's versions but these."""
        for name, version in list(self._watched):
            if name == model and version not in versions:
                self.leave(name, version)

    def leave(self, model: str, version: str) -> None:
        """Read no more of a version."""
        if (watched := self._watched.pop((model, version), None)) is not None:
            watched.tail.close()
