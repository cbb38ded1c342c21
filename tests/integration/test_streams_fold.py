"""Folds on a real broker: exact through kill -9, restarts, rebalancing, bad messages and lost state. See tallying.py."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from contracts.events import CorrectionGiven, DrawingSubmitted, Event, FoldAdvanced, GuessMade, MessageRejected, decode
from contracts.ports import Bus, Record
from contracts.records import key_of
from contracts.settings import Settings
from producers.bus import open_bus
from streams.ledger import Ledger
from tests.integration import tallying

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 90.0


def eventually(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Scribble(Event):
    """On the topic of drawings, and none."""

    topic = "drawings.v1"
    key = "player_id"
    type: str = "Scribble"
    player_id: str


class Stage:
    """Tally processes, and what they must come to."""

    def __init__(self, kafka: str, settings: Settings, home: Path) -> None:
        self.home = home
        self.name = uuid4().hex[:8]
        self.players = [f"{self.name}-{i}" for i in range(24)]
        self.bus: Bus = open_bus(f"kafka://{kafka}")
        self._log = self.bus.follow(["guesses.v1", "rejected.v1"], "end")
        self.said: list[Record] = []
        self.environment = os.environ | settings.environment() | {"PYTHONPATH": str(ROOT), "GAMENIGHT_HOME": str(home)}
        self.running: list[subprocess.Popen[bytes]] = []
        self.drawn: dict[str, list[UUID]] = defaultdict(list)
        self._last: dict[tuple[str, int], int] = {}

    def start(self) -> None:
        self.home.mkdir(exist_ok=True)
        with (self.home / "tally.log").open("ab") as log:
            command = [sys.executable, str(Path(tallying.__file__))]
            self.running.append(subprocess.Popen(command, env=self.environment, stderr=log))

    def kill(self) -> None:
        process = self.running.pop(0)
        process.kill()
        process.wait()

    def stop(self) -> int:
        process = self.running.pop(0)
        process.terminate()
        return process.wait(20)

    def publish(self, *events: Event) -> None:
        for sent in [self.bus.publish(event) for event in events]:
            record = sent.result(DEADLINE_S)
            place = (record.topic, record.partition)
            self._last[place] = max(record.offset, self._last.get(place, -1))

    def play(self, n: int) -> None:
        """Have each player draw and correct, in turn."""
        events: list[Event] = []
        for i in range(n):
            player, drawing_id = self.players[i % len(self.players)], uuid4()
            self.drawn[player].append(drawing_id)
            events.append(drawing(player, drawing_id))
            events.append(CorrectionGiven(correction_id=uuid4(), drawing_id=drawing_id, player_id=player, label=1))
        self.publish(*events)

    def ledgers(self) -> Iterator[sqlite3.Connection]:
        for path in sorted((self.home / "state" / "tally").glob("*.sqlite")):
            database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            try:
                yield database
            finally:
                database.close()

    def caught_up(self) -> None:
        """Wait until everything published is folded in and all that it caused is said."""
        wanted = {place: last for place, last in self._last.items() if place[0] in tallying.TallyFold.sources}

        def done() -> bool:
            have = {}
            try:
                for partition, database in enumerate(self.ledgers()):
                    have |= {(topic, partition): last for topic, last in database.execute("SELECT * FROM offsets")}
            except sqlite3.OperationalError:
                return False
            return all(have.get(place, -1) >= last for place, last in wanted.items())

        eventually(done, f"not folded; see {self.home}/tally.log")
        drawn = {drawing_id for ids in self.drawn.values() for drawing_id in ids}
        eventually(lambda: drawn <= {guess.drawing_id for guess in self.guesses()}, "not all said")

    def guesses(self) -> list[GuessMade]:
        self.said += self._log.poll(0.05)
        return [
            e for record in self.said if isinstance(e := decode(record.topic, record.value), GuessMade) and e.model == "tally"
        ]

    def rejected(self) -> list[MessageRejected]:
        self.said += self._log.poll(0.05)
        return [e for record in self.said if isinstance(e := decode(record.topic, record.value), MessageRejected)]

    def orders(self) -> dict[str, list[str]]:
        """What the state says that each did, in order."""
        out: dict[str, list[str]] = {}
        for database in self.ledgers():
            out |= {k: json.loads(v) for k, v in database.execute("SELECT key, value FROM cells WHERE key != 'total'")}
        return out

    def total(self) -> int:
        return sum(
            int(value) for db in self.ledgers() for (value,) in db.execute("SELECT value FROM cells WHERE key = 'total'")
        )

    def is_exact(self) -> None:
        wanted = {player: [str(drawing_id) for drawing_id in ids] for player, ids in self.drawn.items()}
        for topic in tallying.TallyFold.sources:
            assert {player: self.orders()[f"{topic}/{player}"] for player in wanted} == wanted
        assert self.total() == sum(map(len, self.orders().values())), "what memory held is as exact as the cells"
        said = {(guess.drawing_id, guess.version) for guess in self.guesses() if guess.player_id in wanted}
        assert said == {(ids[n], str(n + 1)) for ids in self.drawn.values() for n in range(len(ids))}

    def digests(self) -> list[str]:
        """Of each partition's state; no process may be running."""
        out = []
        for path in sorted((self.home / "state" / "tally").glob("*.sqlite")):
            ledger = Ledger(path)
            out.append(ledger.digest())
            ledger.close()
        return out

    def close(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(10)
        self._log.close()
        self.bus.close()


def drawing(player: str, drawing_id: UUID, width: float = 200.0) -> DrawingSubmitted:
    return DrawingSubmitted(
        drawing_id=drawing_id, player_id=player, strokes=[[[1.0, 1.0]]], width=width, height=200, final=True
    )


@pytest.fixture(scope="module")
def stage(kafka: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One state that must stay exact through all that the tests do to its processes."""
    stage = Stage(kafka, settings, tmp_path_factory.mktemp("home"))
    try:
        stage.start()
        yield stage
    finally:
        stage.close()


def test_what_is_played_is_folded_once_and_in_order(stage: Stage):
    stage.play(100)

    stage.caught_up()
    stage.is_exact()


def test_kill_9_under_load_loses_nothing_and_doubles_nothing(stage: Stage):
    for _ in range(2):
        stage.play(300)
        stage.kill()
        stage.play(100)
        stage.start()
    stage.caught_up()

    stage.is_exact()


def test_a_clean_restart_repeats_nothing(stage: Stage):
    stage.play(100)
    stage.caught_up()
    assert stage.stop() == 0
    stage.start()
    stage.play(100)

    stage.caught_up()

    stage.is_exact()
    said = Counter(guess.drawing_id for guess in stage.guesses())
    newest = {ids[-1] for ids in stage.drawn.values()}
    assert {said[drawing_id] for drawing_id in newest} == {1}


def test_a_bad_message_is_rejected_whole_and_the_next_one_is_folded(stage: Stage):
    player, bad = f"{stage.name}-poison", drawing(f"{stage.name}-poison", uuid4(), tallying.POISON_WIDTH)
    good = drawing(player, uuid4())
    stage.publish(Scribble(player_id=player), bad, good)
    stage.caught_up()

    assert stage.orders()[f"drawings.v1/{player}"] == [str(good.drawing_id)], "what the bad one wrote is taken back"
    eventually(lambda: len([e for e in stage.rejected() if key_of(e.source_key) == player.encode()]) == 2, "not rejected")
    scribble, thirteen = (e for e in stage.rejected() if key_of(e.source_key) == player.encode())
    assert (scribble.stage, scribble.source) == ("tally", "drawings.v1")
    assert decode("drawings.v1", thirteen.value) == bad
    assert "thirteen" in thirteen.error


def test_a_thrown_away_state_is_folded_again_to_the_same(stage: Stage):
    stage.caught_up()
    assert stage.stop() == 0
    before = stage.digests()
    shutil.rmtree(stage.home / "state" / "tally")

    stage.start()

    stage.caught_up()
    assert stage.stop() == 0
    assert stage.digests() == before
    stage.start()


def test_a_home_whose_fold_has_another_schema_by_now_is_folded_again_and_says_how_far(stage: Stage):
    stage.play(50)
    stage.caught_up()
    assert stage.stop() == 0
    before = stage.digests()
    told = stage.bus.follow(["metrics.v1"], "end")
    stage.environment["TALLY_SCHEMA"] = "tally 2, of one model more"

    stage.start()

    stage.caught_up()
    folded: list[FoldAdvanced] = []

    def done() -> bool:
        folded.extend(e for r in told.poll(0.05) if isinstance(e := decode(r.topic, r.value), FoldAdvanced))
        return {e.source_partition for e in folded if e.fraction == 1} == {0, 1, 2, 3}

    eventually(done, "not said to be folded")
    told.close()
    assert stage.stop() == 0
    assert stage.digests() == before
    assert len(list((stage.home / "state" / "tally").glob("*.aside"))) == 4
    stage.start()
    stage.is_exact()


def test_a_home_that_comes_to_another_and_longer_cluster_loses_none_of_its_first_records(stage: Stage):
    stage.play(50)
    stage.caught_up()
    assert stage.stop() == 0
    before = stage.digests()
    clusters = set()
    for path in sorted((stage.home / "state" / "tally").glob("*.sqlite")):
        with sqlite3.connect(path) as database:  # as it would be, had it been folded from another cluster's shorter log
            clusters |= {name for (name,) in database.execute("SELECT cluster FROM identity")}
            database.execute("UPDATE identity SET cluster = 'another'")
            database.execute("UPDATE offsets SET last = last / 2")
            database.execute("DELETE FROM cells")
        database.close()
    assert len(clusters) == 1
    assert "" not in clusters

    stage.start()

    stage.caught_up()
    assert stage.stop() == 0
    assert stage.digests() == before
    stage.start()


def test_two_workers_have_the_same_partitions_of_all_topics_and_hand_them_over(stage: Stage):
    stage.start()
    for _ in range(3):
        stage.play(100)
        stage.caught_up()
    stage.kill()
    stage.play(200)

    stage.caught_up()

    stage.is_exact()
