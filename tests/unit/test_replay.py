"""A replay says what a state at work is, when it is another than the log's, or none that can be read."""

from pathlib import Path

import pytest

from contracts.events import ExampleLabelled, LessonTaught
from contracts.ports import Record
from deploy.replay import TOPICS_READ
from deploy.replay_part import Task, online_replayed, part_replayed
from deploy.replay_report import PartReplayed, ReplayReport
from producers.memory_bus import MemoryBus, MemoryLog
from streams.learner import Learner
from streams.ledger import Identity, Ledger
from streams.online_base import load_base
from streams.refold.kept_fold import ONLINE, KeptFold
from tests.histories import example, lesson

BASE = load_base()
SERIES = Learner(BASE).series
pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def bus() -> MemoryBus:
    """Three examples and three lessons, all in the first partition."""
    log = MemoryLog()
    for offset in range(3):
        one = lesson(f"l{offset}", offset, number=offset + 1, reader=BASE.reader, series=SERIES)
        for event in (example(f"d{offset}", offset), one):
            key, value = event.record_key(), event.record_value()
            log.logs.setdefault((event.topic, 0), []).append(Record(event.topic, 0, offset, key, value, offset))
    return MemoryBus(log, TOPICS_READ)


def made(bus: MemoryBus, home: Path, stage: str, until: int | None = None) -> PartReplayed:
    kept = KeptFold(home / "replay", stage, 0, BASE, SERIES, None)
    return part_replayed(bus, kept, Task(stage, 0, "", until), home, lambda *_: None)


def at_work(home: Path, offset: int) -> Path:
    """The ledger of a scorer that has taken the examples up to an offset."""
    path = home / "state" / "scorer" / "0.sqlite"
    kept, ledger = KeptFold(home / "unused", "scorer", 0, BASE, SERIES, None), Ledger(path)
    ledger.name(Identity(kept.fold.schema, ""), {})
    with ledger.step():
        ledger.move(ExampleLabelled.topic, offset)
    ledger.close()
    return path


def test_a_ledger_that_is_ahead_of_the_log_differs(bus, tmp_path):
    """As after a broker lost the end of its log."""
    at_work(tmp_path, 5)

    part = made(bus, tmp_path, "scorer")

    assert (part.verdict, part.records) == ("differs", 3)
    told = "the ledger stands at offset 5 of examples.v1, which ends at 2: it is ahead of the log, or of another log"
    assert part.why == told
    report = ReplayReport(parts=[part], resumed=[], seconds=0.0)
    assert (report.status, report.faults()) == (1, [f"scorer, partition 0: differs: {told}"])


def test_a_snapshot_that_is_ahead_of_the_log_differs(bus, tmp_path):
    part = made(bus, tmp_path, ONLINE, until=5)

    whole = online_replayed(tmp_path / "replay", [part], None)

    assert (whole.verdict, whole.partition) == ("differs", None)
    assert whole.why.startswith(f"partition 0: the snapshot stands at offset 5 of {LessonTaught.topic}, which ends at 2")


def test_a_ledger_up_to_the_end_of_the_log_is_not_ahead(bus, tmp_path):
    at_work(tmp_path, 2)

    part = made(bus, tmp_path, "scorer")

    assert (part.why, part.offsets) == ("", {ExampleLabelled.topic: 2})


def test_a_damaged_ledger_is_not_compared_and_named(bus, tmp_path):
    path = at_work(tmp_path, 2)
    path.write_bytes(b"no database" * 1000)

    part = made(bus, tmp_path, "scorer")

    assert part.verdict == "not compared"
    assert part.why.startswith(f"damaged ledger {path} or ")
    assert ReplayReport(parts=[part], resumed=[], seconds=0.0).status == 2


def test_a_damaged_state_of_an_earlier_replay_of_the_online_model_is_not_compared(bus, tmp_path):
    path = tmp_path / "replay" / ONLINE / "0.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database" * 1000)

    whole = online_replayed(tmp_path / "replay", [made(bus, tmp_path, ONLINE)], None)

    assert (whole.verdict, whole.partition) == ("not compared", None)
    assert whole.why.startswith(f"partition 0: damaged ledger {path}: ")
