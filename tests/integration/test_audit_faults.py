"""An audit that can fail: each fault that is put into the running folds is named, and without one all is clean."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from contracts.events import (
    TOPICS,
    CorrectionReceipt,
    Event,
    EvidenceGathered,
    ExampleLabelled,
    LessonTaught,
    SnapshotTaken,
    decode,
)
from contracts.ports import Record
from contracts.settings import Settings
from deploy.audit import audit, committed, ledgers
from deploy.auditor import AuditReport
from deploy.local.supervisor import running
from producers.bus import open_bus
from producers.topics import create_topics, open_admin
from streams.joiner import Joiner
from streams.online_base import load_base
from tests.conftest import ROOT, fresh_settings
from tests.histories import answered, correction, drawing, features, guess, named, probabilities, reset, withdrawal
from tests.integration.faulty import stops_at

DEADLINE_S = 120.0
pytestmark = pytest.mark.timeout(400)  # processes that start and are killed, several times
MODELS = ("river", "xgboost", "yours")
READER = load_base().reader
DRAWINGS = 3

NAMED = {
    "no deduplication in the joiner": r"joiner: the example of drawing \S+ stands on \d+ events, .* by a fresh fold .* on \d+",
    "no deduplication in the scorer": r"scorer: the count \S+ is n \d+, correct \d+; by a fresh fold of the examples n \d+",
    "no deduplication in the learner": r"learner: lesson \d+ of player \S+ is LessonTaught .*; by a .*the examples not there",
    "no lesson taken back": r"learner: lesson \d+ of player \S+ is not there; by a fresh fold of the examples LessonTakenBack",
    "lessons summed twice": r"learner: the snapshot \S+ of river has \d+ lessons; the log up to there has \d+ in force",
    "no deduplication in the evidence": r"evidence: number \d+ of the evidence of partition \d is mark=.* examples not there",
    "no deduplication in drift": r"drift: the ledger of partition \d is not what a fresh fold .* gives: (source|subject)/",
    "no deduplication in personal": r"personal: the ledger of partition \d is not what a fresh fold of the log .* gives",
    "acknowledged before the transaction": r"joiner: the ledger .* and Kafka's commit at \d+: acknowledged before the trans",
    "published before the transaction": r"joiner: revision \d+ of the example .*: published before the transaction",
    "lessons published before the transaction": r"learner: lesson \d+ of player \S+ is on the .*: published before the trans",
    "offset not kept": r"scorer: the ledger of partition \d holds more than its offsets say: the offset is not kept",
    "outbox not emptied": r"joiner: the ledger of partition \d has \d+ events in its outbox: not published, or not emptied",
    "outbox not published": r"scorer: the count \S+ is nothing; by a fresh fold of the examples n \d+",
    "lessons not published": r"learner: lesson \d+ of player \S+ is not there; by a fresh fold of the examples LessonTaught",
}
AT_DEATH = (
    "acknowledged before the transaction",
    "published before the transaction",
    "lessons published before the transaction",
)


def eventually(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A broker of its own: an audit wants a log that no other test has written to."""
    settings = fresh_settings(tmp_path_factory.mktemp("broker"))
    with running(settings, ["kafka"]):
        yield settings


class Game:
    """Players, the log, and the processes that learn, with or without a fault."""

    def __init__(self, broker: Settings, home: Path) -> None:
        self.settings = broker.model_copy(update={"kafka_bootstrap_servers": broker.bootstrap_servers, "home": home})
        self._anew()
        self.bus = open_bus(self.settings)
        self._tail = self.bus.follow(["examples.v1", "lessons.v1", "evidence.v1", "receipts.v1", "models.v1"], "start")
        self.log: list[tuple[Record, Event]] = []
        self.drawn: set[UUID] = set()
        self.said: dict[UUID, UUID] = {}
        self.stand: set[UUID] = set()
        """The corrections that are in force in the end."""
        self._processes: list[subprocess.Popen[bytes]] = []

    def _anew(self) -> None:
        """Empty topics."""
        admin = open_admin(self.settings)
        try:
            there = {topic["name"] for topic in admin.describe_topics()} & TOPICS.keys()
            if there:
                admin.delete_topics(sorted(there))
            eventually(
                lambda: not {topic["name"] for topic in admin.describe_topics()} & TOPICS.keys(), "topics are still there"
            )
        finally:
            admin.close()
        create_topics(self.settings)

    def start(self, fault: str) -> None:
        environment = os.environ | self.settings.environment() | {"PYTHONPATH": str(ROOT)}
        for role in ("learning", "router"):
            with (self.settings.home / f"{role}.log").open("ab") as log:
                command = [sys.executable, "-m", "tests.integration.faulty", role, fault]
                self._processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))

    def kill(self) -> None:
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.wait()

    def play(self, part: str) -> None:
        """Three players draw and correct, change a correction and take one back; each message is on the log twice."""
        for player in (f"{part}-ada", f"{part}-bob", f"{part}-eve"):
            events: list[Event] = []
            for n in range(DRAWINGS):
                name, given = f"{player} {n}", f"{player} correction {n}"
                read = features(seed=len(self.drawn), reader=READER)
                self.drawn.add(named(name))
                self.said[named(given)] = named(name)
                own = {"version": "own3+0", "probabilities": probabilities(7)}
                guesses = [
                    guess(name, 7, player=player, features=None, at=n),
                    guess(name, 3, model="xgboost", player=player, at=n),
                    guess(name, 7, model="yours", player=player, at=n, **own),
                ]
                events += [drawing(name, player=player, at=n), *guesses, answered(guesses, features=read, at=n)]
                events.append(correction(name, n, correction=given, player=player, at=n))
            self.stand |= {named(f"{player} correction 0"), named(f"{player} other")}
            events.append(correction(f"{player} 1", 5, correction=f"{player} other", player=player))
            events.append(withdrawal(f"{player} 2", correction=f"{player} correction 2", player=player))
            for event in (event for event in events for _ in range(2)):
                self.bus.publish(event)
        self.bus.flush(DEADLINE_S)

    def change(self, part: str) -> None:
        """Each player changes a correction that was learned long ago, so that its lesson has to be taken back."""
        for player in (f"{part}-ada", f"{part}-bob", f"{part}-eve"):
            name, given = f"{player} 0", f"{player} third"
            self.said[named(given)] = named(name)
            self.stand = (self.stand - {named(f"{player} correction 0")}) | {named(given)}
            self.bus.publish(correction(name, 8, correction=given, player=player))
        self.bus.flush(DEADLINE_S)

    def read(self) -> list[Event]:
        for record in self._tail.poll(0.1):
            self.log.append((record, decode(record.topic, record.value)))
        return [event for _, event in self.log]

    def learned(self) -> bool:
        """Whether each correction that stands has become a lesson that the model has, and each has a receipt of the learner.

        One that was replaced before it became an example has a receipt of the joiner alone.
        """
        taught = {event.correction_id for event in self.read() if isinstance(event, LessonTaught)}
        told = {(e.correction_id, e.stage) for e in self.read() if isinstance(e, CorrectionReceipt)}
        receipts = {one for one, _ in told} >= self.said.keys() and all((one, "learner") in told for one in taught | self.stand)
        return taught >= self.stand and receipts and any(isinstance(event, SnapshotTaken) for event in self.read())

    def counted(self) -> bool:
        """Whether each correction is in the ledgers of scorer and learner, said to others or not."""
        known = Counter[str]()
        for (fold, _), kept in ledgers(self.settings.home).items():
            known[fold] += sum(key.startswith("example/") for key in kept.cells)
            if fold == "learner":
                known[fold] += sum(int(cell) for key, cell in kept.cells.items() if key.startswith("player/"))
        return known["scorer"] == known["learner"] == len(self.drawn)

    def reset(self, part: str) -> None:
        """Each player's own model forgets all that they drew but for the last drawing; each reset is on the log twice."""
        for player in (f"{part}-ada", f"{part}-bob", f"{part}-eve"):
            for _ in range(2):
                self.bus.publish(reset(f"{player} reset", until=DRAWINGS - 1.5, player=player))
        self.bus.flush(DEADLINE_S)

    def repeat(self) -> None:
        """Say again what the folds have said, as a worker does that was killed before it knew that it was heard."""
        for event in [event for event in self.read() if isinstance(event, ExampleLabelled | LessonTaught | EvidenceGathered)]:
            self.bus.publish(event)
        self.bus.flush(DEADLINE_S)

    async def audit(self, wait_s: float) -> AuditReport:
        """What the audit says of the log and of the ledgers."""
        return await audit(
            self.bus,
            self.drawn,
            self.said,
            models=MODELS,
            wait_s=wait_s,
            home=self.settings.home,
            commits=lambda: committed(self.settings),
        )

    def acknowledged(self) -> bool:
        """Whether Kafka would go on behind what the joiner's ledgers hold."""
        stood, held = committed(self.settings), ledgers(self.settings.home)
        return any(
            at > held[fold, place[1]].offsets.get(place[0], -1) + 1
            for (fold, place), at in stood.items()
            if fold == "joiner" and place[0] in Joiner.sources and (fold, place[1]) in held
        )

    def stop_in_a_step(self) -> None:
        stops_at(self.settings.home).touch()

    def go_on(self) -> None:
        stops_at(self.settings.home).unlink()

    def close(self) -> None:
        self.kill()
        self._tail.close()
        self.bus.close()


@pytest.fixture
def game(broker: Settings, tmp_path: Path) -> Iterator[Game]:
    made = Game(broker, tmp_path)
    try:
        yield made
    finally:
        made.close()


async def test_without_a_fault_all_is_clean_through_repeats_and_kill_9(game: Game) -> None:
    game.start("none")
    game.play("first")
    eventually(game.learned, "not learned")
    game.repeat()
    game.kill()
    game.play("second")
    game.start("none")
    eventually(game.learned, "not learned after kill -9")
    game.repeat()

    report = await game.audit(wait_s=30)

    assert report.clean, report.model_dump_json(indent=2)
    assert report.refolded["drift"], "a record of evidence has several drawings"
    assert all(n >= 2 * 3 * DRAWINGS for fold, n in report.refolded.items() if fold != "drift")
    assert report.answered == dict.fromkeys(MODELS, 2 * 3 * DRAWINGS)


@pytest.mark.parametrize("fault", [fault for fault in NAMED if fault not in AT_DEATH])
async def test_the_audit_names_the_fault(game: Game, fault: str) -> None:
    game.start(fault)
    game.play("first")
    if fault in ("outbox not published", "lessons not published"):
        eventually(game.counted, "not counted")
    else:
        eventually(game.learned, "not learned")
        if fault == "no lesson taken back":
            game.change("first")
            eventually(game.learned, "not changed")
        game.repeat()

    report = await game.audit(wait_s=5)

    assert not report.clean
    assert [told for told in report.faults if re.match(NAMED[fault], told)], report.model_dump_json(indent=2)


@pytest.mark.parametrize("fault", AT_DEATH)
async def test_the_audit_of_what_a_crash_has_left_names_the_fault_and_a_sound_process_mends_it(game: Game, fault: str) -> None:
    game.start(fault)
    game.play("first")
    eventually(game.learned, "not learned")
    game.stop_in_a_step()
    kind = LessonTaught if fault.startswith("lessons") else ExampleLabelled
    before = len([event for event in game.read() if isinstance(event, kind)])
    game.play("second")
    if fault == "acknowledged before the transaction":
        eventually(game.acknowledged, "not acknowledged")
    else:
        eventually(lambda: len([event for event in game.read() if isinstance(event, kind)]) > before, "not published")
    game.kill()

    report = await game.audit(wait_s=0)

    assert not report.clean
    assert [told for told in report.faults if re.match(NAMED[fault], told)], report.model_dump_json(indent=2)
    game.go_on()
    game.start("none")
    mended = await game.audit(wait_s=60)
    assert mended.clean, mended.model_dump_json(indent=2)
