"""The steps of forgetting a player: what others do meanwhile is not lost, and nothing is certified that is not so."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from contracts.events import (
    Event,
    ForgetPlayer,
    LearningSet,
    LessonsCut,
    PlayersForgotten,
    RestrictionSet,
    RestrictPlayer,
    decode,
    mark_of,
    now,
)
from contracts.ports import Bus, Record
from contracts.settings import Settings
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from producers.cutting import Found
from producers.placement import partition_of
from producers.signing import Proofs
from producers.whole_log import all_records
from streams.evidence import Evidence
from streams.online_base import load_base
from tests.endpoints import MemoryServing
from tests.histories import READER, MemoryCells, drawing, example, features, folded, lesson, published
from tests.roster import ROSTER
from tests.sinks import keep
from trainers import archive, dataset, dataset_store
from trainers.certificate_draft import CertificateDraft
from trainers.example_sink import Placed
from trainers.forgetting import Forgetter
from trainers.forgetting_log import LessonNumbers, Unheard, lesson_numbers
from trainers.model_log import ModelLog
from trainers.promote import Promoter
from trainers.steering import Steering

EVE = "7f1c6a0e-0000-4000-8000-00000000eee1"
PARTITION = partition_of(EVE.encode(), 4)


class Shop:
    """A trainer that forgets, with all that it needs in memory."""

    def __init__(self, home: Path, *log: Any, bus: Bus | None = None) -> None:
        self.bus = bus or open_bus(f"memory://{uuid4()}")
        self.blobs = MemoryBlobs()
        self.model_log = ModelLog(ROSTER, log)
        self.promoter = Promoter(self.bus, self.model_log, MemoryServing())  # type: ignore[arg-type]
        self.at_work: Callable[[], None] = lambda: None
        """A rebuild that is at work, and ends when it is waited for."""
        self.holds = False
        """Whether rebuilds are kept from beginning."""
        kept = SimpleNamespace(without=lambda player, tell: None)
        parts: tuple[Any, ...] = (
            kept,
            nullcontext,
            self.held,
            self.model_log,
            self.promoter,
            lambda seconds: None,
            Proofs(None),
        )
        self.forgetter = Forgetter(Settings(home=home), self.bus, self.blobs, *parts)

    @contextmanager
    def held(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Wait for the rebuild, and let none begin."""
        tell("waits for a rebuild of xgboost")
        self.at_work()
        self.holds = True
        yield
        self.holds = False

    def cuts(self) -> list[LessonsCut]:
        """What is told of missing lessons."""
        tail = self.bus.follow(["examples.v1"], "start")
        records = []
        while not tail.caught_up():
            records += tail.poll(0.0)
        tail.close()
        return [LessonsCut.model_validate_json(record.value) for record in records if b'"LessonsCut"' in (record.value or b"")]


class Heard:
    """Who hears of every cut at once."""

    def wait_lessons(self, cut: LessonsCut) -> None:
        """Do not wait."""


def test_each_cut_gives_a_number_above_all_before_it_whatever_their_series(tmp_path: Path):
    shop = Shop(tmp_path)
    old, new = "sums-1 old", "sums-2 new"
    shop.bus.publish(LessonsCut(source=PARTITION, series=old, number=1 << 25, numbers=[])).result()
    for series, number in ((old, 3), (new, 2)):
        shop.bus.publish(lesson(f"{series} {number}", number=number, series=series, player_id=EVE)).result()

    shop.forgetter._number_on(PARTITION, EVE, Heard(), any_example=True)  # type: ignore[arg-type]

    cuts = shop.cuts()
    assert [(cut.series, cut.numbers) for cut in cuts[1:]] == [(old, [(3, 3)]), (new, [(2, 2)])]
    numbers = [cut.number for cut in cuts]
    assert numbers == sorted(set(numbers))
    assert lesson_numbers(shop.bus, PARTITION, EVE).highest == numbers[-1]
    evidence = Evidence(replace(load_base(), reader=READER))
    running, fresh = MemoryCells(), MemoryCells()
    theirs, others = ([example(f"{name} {n}", player_id=name) for n in range(3)] for name in (EVE, "bob"))
    folded(evidence, [cuts[0], *theirs, *others, *cuts[1:]], running)
    folded(evidence, [cuts[0], *others, *cuts[1:]], fresh)
    assert running["number"] == fresh["number"], "an audit is to find the same"


class SlowBus:
    """A bus that acknowledges who is restricted only when another has said so too, or has had the time."""

    def __init__(self) -> None:
        self._both = threading.Barrier(2)

    def publish(self, event: Event) -> "Future[None]":
        """Acknowledge an event."""
        if isinstance(event, RestrictionSet):
            with suppress(threading.BrokenBarrierError):
                self._both.wait(0.5)
        done: Future[None] = Future()
        done.set_result(None)
        return done


def test_a_ban_that_comes_while_another_player_is_forgotten_is_kept(tmp_path: Path):
    shop = Shop(tmp_path, RestrictionSet(players={EVE: "quarantined"}), bus=SlowBus())  # type: ignore[arg-type]
    steering = Steering(shop.model_log, shop.promoter, None)  # type: ignore[arg-type]
    ban = RestrictPlayer(command_id=uuid4(), by="op", player_id="mallory", restriction="banned")

    with ThreadPoolExecutor(2) as both:
        for done in (both.submit(steering.settle, ban), both.submit(shop.forgetter._shut, EVE)):
            done.result(10)

    assert shop.model_log.restrictions() == {"mallory": "banned"}


def test_a_version_that_a_rebuild_at_work_makes_of_the_drawings_is_in_the_certificate(tmp_path: Path, monkeypatch):
    shop, command = Shop(tmp_path), ForgetPlayer(command_id=uuid4(), by="the player", via="player", player_id=EVE)
    several = [Placed(n, example(f"d{n}", player_id=("bob", EVE)[n % 2], features=features(n))) for n in range(6)]
    keep(archive.Archive(shop.blobs), 0, several)
    examples, keys = dataset.read_archive(shop.blobs)
    nothing = dataset.LabelledImages(np.zeros((0, 784), np.uint8), np.zeros(0, np.uint8), np.zeros(0, np.float32))
    made = dataset.assemble(nothing, examples, 0.5, 1.0)

    def rebuild() -> None:
        dataset_store.store(shop.blobs, made, dataset_store.Making(keys, 1))
        assert not dataset_store.is_gone(shop.blobs, made.digest)
        shop.model_log.apply(published("7", lineage={"dataset_digest": made.digest}))

    shop.at_work = rebuild
    shop.blobs.put("notebooks/notebook-1/train/train.csv", b"7,3,0,255")
    CertificateDraft(shop.blobs, mark_of(EVE)).add_records([record_of(example("d1", player_id=EVE), now())])
    certified: dict[str, Any] = {}

    def certify(command: ForgetPlayer, draft: CertificateDraft, facts: dict[str, Any]) -> str:
        certified.update(facts, held=shop.holds)
        return "done"

    monkeypatch.setattr(shop.forgetter, "_certify", certify)
    for step in ("_release", "_cut"):
        monkeypatch.setattr(shop.forgetter, step, lambda *_: LessonNumbers())

    shop.forgetter.carry_out(command)

    assert certified["versions"] == [{"model": "xgboost", "version": "7", "drawings": made.players[EVE]}]
    assert dataset_store.is_gone(shop.blobs, made.digest)
    assert (certified["held"], shop.holds) == (True, False), "from the wait to the certificate no rebuild begins"
    assert list(shop.blobs.keys("notebooks/")) == [], "a copy has no names in it"
    assert certified["notebook_objects"] == 1
    assert EVE.encode() not in b"".join(shop.blobs.get(key) for key in shop.blobs.keys(""))


JOINED = ForgetPlayer(command_id=uuid4(), by="the player", via="player", player_id=EVE)


def left_by_others(shop: Shop, home: Path) -> tuple[set[str], Path]:
    """Put what others have made into the bucket and the home; return the keys, and what a replay has left."""
    for key in ("notebooks/alice/model.tar.gz", "tuning/try/output/model.tar.gz"):
        shop.blobs.put(key, b"days of work")
        shop.blobs._written[key] = now() - timedelta(days=3)
    kept = home / "replay" / "learner" / "0.sqlite"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"a state")
    for path in (kept, kept.parent):
        os.utime(path, (1e9, 1e9))
    return set(shop.blobs.keys("")), kept


def test_who_has_only_joined_deletes_nothing_of_anybody_and_the_log_is_read_once(tmp_path: Path, monkeypatch):
    shop = Shop(tmp_path)
    shop.bus.publish(example("d1", player_id="bob", features=features(1))).result()
    keys, kept = left_by_others(shop, tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "api.log").write_text(f"joined {EVE}")
    shop.at_work = lambda: pytest.fail("no rebuild is held up")
    read: Counter[str] = Counter()
    monkeypatch.setattr(shop.forgetter, "_cut", lambda *_: None)
    follow = shop.bus.follow

    def counting(topics: Any, since: Any) -> Any:
        tail = follow(topics, since)
        if "examples.v1" in topics:
            read.update(one.topic for one in all_records(SimpleNamespace(follow=follow), topics, since))  # type: ignore[arg-type]
        return tail

    monkeypatch.setattr(shop.bus, "follow", counting)
    shop.forgetter.carry_out(JOINED)

    assert shop.model_log.outcome(JOINED.command_id) == "done"
    assert set(shop.model_log.marks) == {mark_of(EVE)}
    assert (set(shop.blobs.keys("")), kept.exists()) == (keys, True)
    assert read["examples.v1"] == 1
    assert EVE not in (tmp_path / "logs" / "api.log").read_text()


def test_a_drawing_that_came_while_the_door_was_being_shut_is_found(tmp_path: Path, monkeypatch):
    shop = Shop(tmp_path)
    monkeypatch.setattr(shop.forgetter, "_pause", lambda seconds: shop.bus.publish(drawing("late", player=EVE)).result())
    released: list[int] = []

    def release(command: ForgetPlayer, found: Found) -> None:
        released.append(len(found.records))
        raise Unheard("that is enough")

    monkeypatch.setattr(shop.forgetter, "_release", release)

    with pytest.raises(Unheard, match="enough"):
        shop.forgetter.carry_out(JOINED)

    assert released == [1]


def test_what_an_earlier_try_has_begun_is_finished_though_the_log_has_nothing_any_more(tmp_path: Path, monkeypatch):
    shop = Shop(tmp_path)
    CertificateDraft(shop.blobs, mark_of(EVE)).add_records([record_of(example("d1", player_id=EVE), now())])
    certified = []
    monkeypatch.setattr(shop.forgetter, "_certify", lambda *told: certified.append(told) or "done")
    for step in ("_release", "_cut"):
        monkeypatch.setattr(shop.forgetter, step, lambda *_: LessonNumbers())

    shop.forgetter.carry_out(JOINED)

    assert len(certified) == 1


def record_of(event: Event, at: datetime) -> Record:
    """A record of a time."""
    return Record(event.topic, 0, 0, event.record_key(), event.record_value(), int(at.timestamp() * 1000))


@pytest.mark.parametrize(
    ("event", "at", "gone"),
    [
        (drawing("d1", player=EVE), -10, {"replay"}),
        (drawing("d1", player=EVE), -1, set()),
        (example("d1", player_id=EVE), -10, {"replay", "notebooks/alice/model.tar.gz", "tuning/try/output/model.tar.gz"}),
        (example("d1", player_id=EVE), -1, set()),
    ],
    ids=["drew before the replay", "drew after it", "taught before the copies", "taught after them"],
)
def test_copies_and_replays_go_only_if_they_may_hold_something_of_the_player(
    tmp_path: Path, monkeypatch, event: Event, at: int, gone: set[str]
):
    shop = Shop(tmp_path)
    keys, kept = left_by_others(shop, tmp_path)
    day = now() - timedelta(days=3)
    for path in (kept, kept.parent):
        os.utime(path, (day.timestamp(), day.timestamp()))
    draft = CertificateDraft(shop.blobs, mark_of(EVE))
    draft.add_records([record_of(event, now() + timedelta(days=at))])

    shop.forgetter._clean_stores(JOINED, CertificateDraft(shop.blobs, mark_of(EVE)))

    there = {key for key in keys if key in set(shop.blobs.keys(""))} | ({"replay"} if kept.exists() else set())
    assert {*keys, "replay"} - there == gone


FROZEN = LearningSet(model="river", frozen=True, by="op")


def settled(shop: Shop, command: ForgetPlayer) -> tuple[str | None, bool]:
    """The outcome of a command, and whether it is still to be carried out."""
    return shop.model_log.outcome(command.command_id), command in shop.model_log.forgettings()


def test_what_is_not_begun_is_refused_for_good_and_what_is_begun_is_tried_again(tmp_path: Path):
    command = ForgetPlayer(command_id=uuid4(), by="the player", player_id=EVE)
    fresh = Shop(tmp_path, FROZEN, command)
    begun = Shop(tmp_path, FROZEN, command, PlayersForgotten(begin=mark_of(EVE)[:2], marks=[mark_of(EVE)]))

    fresh.forgetter.carry_out(command)
    with pytest.raises(Unheard, match="gamenight thaw river"):
        begun.forgetter.carry_out(command)

    assert settled(fresh, command) == ("refused", False)
    assert settled(begun, command) == (None, True)
    assert (fresh.forgetter.is_begun(command), begun.forgetter.is_begun(command)) == (False, True)


def test_an_id_that_is_no_players_is_refused_before_anything_is_looked_for(tmp_path: Path):
    command = ForgetPlayer(command_id=uuid4(), by="op", player_id="done")
    shop = Shop(tmp_path, command)

    shop.forgetter.carry_out(command)

    assert settled(shop, command) == ("refused", False)
    assert not shop.model_log.marks


def test_an_id_that_is_on_no_topic_of_players_is_refused_and_cuts_nothing_of_the_audit(tmp_path: Path):
    given = RestrictPlayer(command_id=UUID(EVE), by="ada", player_id="bob", restriction="banned", reason=f"see {EVE}")
    command = ForgetPlayer(command_id=uuid4(), by="ada", via="cli", player_id=EVE)
    shop = Shop(tmp_path, command)
    shop.bus.publish(given).result()

    shop.forgetter.carry_out(command)

    assert settled(shop, command) == ("refused", False)
    assert not shop.model_log.marks
    [kept, told] = [decode(one.topic, one.value) for one in all_records(shop.bus, ["commands.v1"])]
    assert kept == given
    assert "no player of this id" in getattr(told, "message", "")


def test_a_lesson_that_came_after_the_words_is_seen_among_the_records_that_would_be_cut():
    bus = open_bus(f"memory://{uuid4()}")
    early, late = (lesson(f"l{n}", number=n, player_id=EVE) for n in (1, 2))
    bus.publish(early).result()
    taught, before = lesson_numbers(bus, PARTITION, EVE), list(all_records(bus, [early.topic]))
    bus.publish(late).result()

    assert taught.has(before)
    assert not taught.has(all_records(bus, [late.topic]))
