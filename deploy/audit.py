"""Checks that the log holds all that players were told, each thing once (it stands beside all three ways, and only reads).

A message may be on the log more than once: writers send again, and readers count an id once. So repeats are counted, and are no
fault; a fault is a missing message, an effect that happened twice, or whatever a fold holds or has said that a fresh fold of
the log, each message taken once, does not come to (`streams.refold`). If the home of the workers is on this machine, their
ledgers are compared too: cells, offsets and outboxes. The audit needs a game at rest, and waits for one.
A guess that the router says was missed is no fault: it is counted apart. Each guess must have reached the learners as it was
shown, and no other guess.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from contracts.events import (
    PLAYER_PARTITIONS,
)
from contracts.ports import Bus
from contracts.settings import Settings
from deploy.auditor import Auditor, AuditReport
from producers.topics import open_admin
from streams.ledger_view import Kept, look
from streams.online_base import load_base
from streams.refold.refolding import NamedPartition, Refolding

TOPICS_READ: Final = (
    "drawings.v1", "guesses.v1", "answers.v1", "corrections.v1", "examples.v1", "lessons.v1", "evidence.v1", "drift.v1",
    "receipts.v1", "metrics.v1", "models.v1", "rejected.v1",
)  # fmt: skip
FOLDS: Final[Mapping[str, str]] = {
    "joiner": "gamenight-learning",
    "scorer": "gamenight-learning",
    "learner": "gamenight-learning",
    "personal": "gamenight-router",
    "evidence": "gamenight-learning",
    "drift": "gamenight-learning",
}
"""The folds that the audit makes anew, each with its consumer group."""
_BUSY_S = 10.0  # a log that never rests is audited after this time all the same


def committed(settings: Settings) -> dict[tuple[str, NamedPartition], int]:
    """Read the committed offset of each fold and partition from Kafka.

    Raises:
        BusError: If no broker is there, or none admits us.
    """
    admin = open_admin(settings)
    try:
        there = {group["group_id"] for group in admin.list_groups()}
        wanted = sorted(there & set(FOLDS.values()))
        offsets = admin.list_group_offsets(wanted) if wanted else {}
        return {
            (fold, (place.topic, place.partition)): at.offset
            for fold, group in FOLDS.items()
            for place, at in offsets.get(group, {}).items()
        }
    finally:
        admin.close()


def ledgers(home: Path) -> dict[NamedPartition, Kept]:
    """Read the current content of the ledgers in a home, by fold and partition."""
    files = [path for fold in FOLDS for path in (home / "state" / fold).glob("*.sqlite")]
    return {(path.parent.name, int(path.stem)): look(path) for path in files}


async def audit(
    bus: Bus,
    drawings: Collection[UUID],
    corrections: Mapping[UUID, UUID],
    *,
    models: Collection[str],
    wait_s: float = 20.0,
    home: Path | None = None,
    commits: Callable[[], Mapping[tuple[str, NamedPartition], int]] | None = None,
    log_bytes: int | None = None,
) -> AuditReport:
    """Audit the whole log: what players were told, and what the folds hold.

    Args:
        bus: Where the log is.
        drawings: Finished drawings that were acknowledged.
        corrections: Corrections that were receipted, and the drawing of each.
        models: The models that must have answered each drawing, unless the log says that they missed it.
        wait_s: How long to wait for messages that are missing.
        home: The home of all workers, whose ledgers are compared too; None: they are elsewhere.
        commits: Returns the committed offsets, as `committed` does; None: they are not checked.
        log_bytes: The size of the log, which decides when stories are forgotten; None: no story is forgotten.
    """
    auditor = Auditor(drawings, corrections, models)
    refolding = Refolding(load_base(), PLAYER_PARTITIONS, log_bytes)
    tail = bus.follow(TOPICS_READ, "start")
    deadline = time.monotonic() + wait_s

    async def drain() -> None:
        until = time.monotonic() + _BUSY_S
        while (records := await asyncio.to_thread(tail.poll, 0.2)) or not tail.caught_up():
            for record in records:
                event = auditor.apply(record)
                refolding.apply(record, event)
            if tail.caught_up() and time.monotonic() > until:
                break

    try:
        await drain()
        begun = refolding.ends
        while True:
            # This order matters: an event is in a ledger before it is published, and a ledger holds only what is on the log.
            stood = await asyncio.to_thread(commits) if commits else {}
            held = None if home is None else await asyncio.to_thread(ledgers, home)
            await drain()
            folds = await asyncio.to_thread(refolding.faults, held, stood)
            for fault in refolding.behind(held, begun) if held is not None else ():
                folds[fault.partition(":")[0]].append(fault)
            report = auditor.report(folds, refolding.taken, None if held is None else len(held))
            if report.clean or time.monotonic() > deadline:
                return report
            await drain()
    finally:
        tail.close()
