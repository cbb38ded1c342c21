"""Keeps the routing table of a process up to date with models.v1, outside any consumer group (way 1, ANSWER)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from contracts.events import Event, ExperimentLearned, MessageRejected, ModelEvent, SnapshotTaken, generation, now
from contracts.ports import LoopBus, Record
from contracts.records import read, rejection
from producers.proven import ProvenModels
from producers.rejections import Rejections
from producers.signing import NotProven, Proofs
from streams.experiments import NAMES
from streams.routing import CandidateRoute, Table

_log = structlog.get_logger()
STAGE: Final = "router"
_POLL_S: Final = 0.25


class Models:
    """Holds the routing table in force, which is replaced whole and never changed."""

    def __init__(self, base: Table, reader: str, basis: str, proofs: Proofs | None = None) -> None:
        """Start from ``base``; ignore snapshots of other features than ``reader``'s in this ``basis``.

        What ``proofs`` do not prove changes nothing, and the trainer tells of it; None: all counts.
        """
        self.table = base
        self._proven = ProvenModels(proofs)
        self.began = now()
        """When this process began."""
        self.ready = asyncio.Event()
        """Set once all that models.v1 held at the start is in the table."""
        self._changed = asyncio.Event()
        self._features = (reader, basis)

    async def follow(self, connect: Callable[[], LoopBus]) -> None:
        """Read models.v1 from its start, for ever; records that cannot be read go to rejected.v1."""
        bus = await asyncio.to_thread(connect)
        rejections = Rejections(bus)
        await asyncio.to_thread(self._proven.begin, bus)
        tail = await bus.listen(["models.v1", *self._proven.topics], {})
        try:
            while True:
                rejected = self.apply(await tail.poll(_POLL_S))
                if not self.ready.is_set() and tail.caught_up():
                    self.ready.set()
                    _log.info("models known", table=self.table.digest, versions=self._versions())
                for one in rejected:
                    await asyncio.to_thread(rejections.tell, one)
        finally:
            await tail.close()
            bus.close()

    def apply(self, records: Sequence[Record]) -> list[MessageRejected]:
        """Take what came; of each key, the newest record that can be used counts. Gives what is told of the others."""
        before = table = self.table
        rejected: list[MessageRejected] = []
        of_key: dict[bytes | None, list[tuple[Record, Event]]] = {}
        self._proven.hear([record for record in records if record.topic != ModelEvent.topic])
        for record in records:
            event = read(record, STAGE) if record.topic == ModelEvent.topic else None
            if isinstance(event, MessageRejected):
                rejected.append(event)
            elif event is not None:
                self._proven.note(record, event)
                of_key.setdefault(record.key, []).append((record, event))
        for several in of_key.values():
            for record, event in self._proven.newest_first(several):
                try:
                    if self._readable(event):
                        table = table.apply(self._proven.check(record, event))
                        break
                except NotProven:
                    continue
                except Exception as wrong:  # noqa: BLE001 one bad event stops nothing
                    rejected.append(rejection(record, STAGE, wrong))
        self._put(table)
        if self.ready.is_set() and _asked(table) != _asked(before):
            _log.info("models changed", table=table.digest, versions=self._versions())
        return rejected

    def take_out(self, model: str, version: str, why: str) -> bool:
        """Let the last good version answer in the place of one that fails; whether that changed anything."""
        return self._put(self.table.without(model, version, why))

    def take_away(self, model: str, candidate: CandidateRoute) -> bool:
        """Let nobody be sent to a candidate that fails; whether that changed anything."""
        return self._put(self.table.alone(model, candidate))

    async def changed(self) -> None:
        """Wait until another table is in force."""
        await self._changed.wait()

    def _put(self, table: Table) -> bool:
        """Put a table in force, and wake who waits for one; returns whether it is another."""
        before, self.table = self.table, table
        if table is not before:
            self._changed.set()
            self._changed = asyncio.Event()
        return table is not before

    def _readable(self, snapshot: Event) -> bool:
        """Whether an event is of the features that are read here, and of an experiment that is known here."""
        if isinstance(snapshot, ExperimentLearned):
            return snapshot.ended or (snapshot.reader == self._features[0] and generation(snapshot.version) in NAMES)
        if not isinstance(snapshot, SnapshotTaken):
            return True
        features = (snapshot.reader, snapshot.basis)
        if features != self._features:
            _log.error("snapshot of other features", model=snapshot.model, features=features, ours=self._features)
        return features == self._features

    def _versions(self) -> dict[str, str]:
        batch = {model: route.version for model, route in self.table.batch.items()}
        return batch | {model: online.version for model, online in self.table.answering.items()}


def _asked(table: Table) -> tuple[object, ...]:
    """Everything in a table that changes seldom."""
    return table.batch, table.candidates, table.lead, table.parts, table.catalog.champions
