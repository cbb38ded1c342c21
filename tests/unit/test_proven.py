"""Nobody but the trainer and learning leads on models.v1: what they have not signed, or said long ago, changes nothing."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from api.folds.model_board import ModelBoard
from contracts.events import (
    CandidateSet,
    Event,
    ExperimentLearned,
    LearningSet,
    MessageRejected,
    ModelsEvent,
    PlayersForgotten,
    PolicySet,
    RestrictionSet,
    RetrainModel,
    SignaturesBegan,
    SnapshotTaken,
    TrainingAdvanced,
    decode,
    now,
)
from contracts.ports import Listener, Partition, Record
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from producers.memory_bus import MemoryBus, MemoryLog
from producers.proven import ProvenModels
from producers.rejections import Rejections
from producers.signing import NotProven, Proofs, Signer, SigningBus, public_key
from streams.additive import BASIS
from streams.delivery import UnsentRecord
from streams.experimenter import Experimenter
from streams.lessons import Lessons
from streams.models import Models
from streams.online_base import load_base
from streams.online_model import OnlineModel, of_base
from streams.routing import Online, Table
from tests.experiments import learned
from tests.histories import READER, SERIES, promoted, published, snapshot
from tests.roster import ROSTER
from tests.serving import eventually, serving
from trainers.log_reader import LogReader
from trainers.model_log import ModelLog
from trainers.signed_since import KEYS as NOTE
from trainers.signed_since import past_keys, proving

SEEDS: dict[Any, str] = {"api": "01" * 32, "router": "02" * 32, "trainer": "03" * 32, "learning": "04" * 32}


BASE = replace(load_base(), reader=READER)
REBUILD = RetrainModel(command_id=uuid4(), target="xgboost", by="ada")
DONE: dict[str, Any] = {"model": "xgboost", "version": "3", "command_id": REBUILD.command_id, "fraction": 1, "step": "done"}
EVIL = promoted("evil").model_copy(update={"endpoint": "elsewhere"})


def since() -> datetime:
    """When signatures began: a minute ago, whenever a test runs."""
    return now() - timedelta(minutes=1)


def public(seeds: dict[Any, str] = SEEDS) -> str:
    return ",".join(f"{process}:{public_key(seed)}" for process, seed in seeds.items())


def proofs() -> Proofs:
    return Proofs(public(), since())


class Log:
    """Records of models.v1 as they come, and who signs them."""

    def __init__(self) -> None:
        self.signers = {process: Signer(process, seed) for process, seed in SEEDS.items()}
        self.end = 0

    def put(self, event: Event, by: Any = None, *, late_s: float = 0, key: bytes | None = None) -> Record:
        """The next record: of an event as it is, or signed by a process."""
        if by is not None:
            assert isinstance(event, ModelsEvent)
            event = self.signers[by].signed(event)
        return self.copy(Record(event.topic, 0, 0, key or event.record_key(), event.record_value(), 0), late_s)

    def copy(self, record: Record, late_s: float = 0) -> Record:
        """The same bytes once more."""
        at = int((now().timestamp() + late_s) * 1000)
        self.end += 1
        return replace(record, offset=self.end, timestamp_ms=at)


@pytest.fixture
def log() -> Log:
    return Log()


# --- what counts


def events(records: Iterable[Record]) -> list[tuple[Record, Event]]:
    return [(record, decode(record.topic, record.value)) for record in records]


@pytest.mark.parametrize("whole", [True, False], ids=["at a start", "as they come"])
def test_an_old_event_that_is_put_on_the_log_again_brings_no_old_state_back(log: Log, whole: bool):
    old, new = log.put(promoted("1"), "trainer"), log.put(promoted("2"), "trainer")
    records = [old, new, log.copy(old)]
    proven = ProvenModels(proofs())

    counting, unproven = (proven.newest if whole else proven.all)(events(records))

    assert counting[-1] == (new, promoted("2").model_copy(update={"at": counting[-1][1].at}))
    [(record, why)] = unproven
    assert record.offset == 3
    assert "it is a copy of what was said before" in str(why)


def test_the_newest_event_may_come_twice(log: Log):
    one = log.put(promoted("1"), "trainer")

    counting, unproven = ProvenModels(proofs()).all(events([one, log.copy(one)]))

    assert (len(counting), unproven) == (2, [])


def test_what_is_read_again_from_the_start_is_judged_as_it_was_in_the_end(log: Log):
    records = [log.put(promoted(version), "trainer") for version in "123"]
    proven = ProvenModels(proofs())

    first, again = proven.all(events(records)), proven.all(events(records))

    assert first == again
    assert len(again[0]) == 3


def test_an_event_under_a_key_that_is_not_its_own_would_hide_another_and_does_not_count(log: Log):
    with pytest.raises(NotProven, match="its key is not policy"):
        ProvenModels(proofs()).check(*events([log.put(PolicySet(lead="river"), "trainer", key=b"xgboost")])[0])


@pytest.mark.parametrize(
    ("event", "signer", "why"),
    [
        (EVIL, None, "it is not signed: models.v1 is written by the game itself"),
        (EVIL, "learning", "the learning gives no ModelPromoted"),
        (EVIL, "api", "the api gives no ModelPromoted"),
        (snapshot(9), "trainer", "the trainer gives no SnapshotTaken"),
        (snapshot(9), "router", "the router gives no SnapshotTaken"),
    ],
)
def test_each_process_says_what_is_its_own_to_say(log: Log, event: ModelsEvent, signer: Any, why: str):
    if signer is not None:  # as whoever has the key of a process can
        named = event.model_copy(update={"signer": signer, "number": 7})
        signature = log.signers[signer]._key.sign(b"gamenight models.v1\n" + named.to_sign()).hex()  # type: ignore[union-attr]
        event = named.model_copy(update={"signature": signature})

    with pytest.raises(NotProven, match=why):
        ProvenModels(proofs()).check(*events([log.put(event)])[0])


def test_of_many_old_records_only_the_newest_of_each_key_is_proven(log: Log, monkeypatch: pytest.MonkeyPatch):
    records = [log.put(snapshot(n), "learning") for n in range(50)] + [log.put(promoted("1"), "trainer")]
    proven, asked, against = ProvenModels(proofs()), [], Proofs.against
    monkeypatch.setattr(Proofs, "against", lambda self, record, event: asked.append(record) or against(self, record, event))

    counting, unproven = proven.newest(events(records))

    assert [record.offset for record, _ in counting] == [50, 51]
    assert (len(asked), unproven) == (2, [])


def test_without_the_keys_of_all_who_write_it_nothing_on_models_v1_is_proven(log: Log):
    few = Proofs(f"trainer:{public_key(SEEDS['trainer'])},api:{public_key(SEEDS['api'])}", since())

    for one in (None, Proofs(None, since()), few):
        assert ProvenModels(one).all(events([log.put(EVIL)]))[1] == []
        assert not ProvenModels(one).proves


def test_who_signs_goes_on_from_the_numbers_that_it_has_heard_whatever_its_clock_says(log: Log):
    ahead = replace(log.put(promoted("1"), "trainer"))
    far = Signer("trainer", SEEDS["trainer"]).again(promoted("1").model_copy(update={"number": 1 << 52}))
    signer = log.signers["trainer"]

    ProvenModels(proofs(), signer).all(events([ahead, log.put(far)]))

    assert signer.signed(promoted("2")).number == (1 << 52) + 1


# --- the trainer


class Trainer:
    """What reads the log in the trainer, and what it says."""

    def __init__(self, keys: str | None = None, blobs: MemoryBlobs | None = None, seed: str = SEEDS["trainer"]) -> None:
        self.bus = open_bus(f"memory://{uuid4()}")
        self.signing = SigningBus(self.bus, Signer("trainer", seed))
        self.model_log = ModelLog(ROSTER)
        self.model_log.apply(REBUILD)
        found = proofs() if blobs is None else proving(self.signing, blobs, keys, tells=True)
        self.reader = LogReader(self.model_log, Rejections(self.bus), found, self.signing)

    @property
    def rejected(self) -> list[str]:
        with closing(self.bus.follow(["rejected.v1"], "start")) as tail:
            told = [decode(record.topic, record.value) for record in tail.poll(0)]
        return [one.error for one in told if isinstance(one, MessageRejected)]

    @property
    def said(self) -> list[Record]:
        """What is on models.v1."""
        with closing(self.bus.follow(["models.v1"], "start")) as tail:
            return tail.poll(0)


@pytest.mark.parametrize("leads", [True, False])
def test_the_trainer_rejects_what_is_forged_and_acts_on_none_of_it(log: Log, leads: bool):
    it = Trainer()
    forged = (
        TrainingAdvanced(**DONE),
        EVIL,
        published("evil"),
        RestrictionSet(players={"ada": "banned"}),
        PolicySet(lead="evil"),
        CandidateSet(model="xgboost", version="evil", role="canary", share=1),
        LearningSet(model="river", frozen=True),
        snapshot(99),
        learned(),
    )

    it.reader.take([log.put(one) for one in forged], leads=leads)

    assert it.model_log.due() == [REBUILD], "the rebuild is still queued"
    assert it.model_log.champion("xgboost") is it.model_log.snapshot("river") is it.model_log.frozen("river") is None
    assert not it.model_log.restrictions()
    assert not it.model_log.published("xgboost")
    assert not it.model_log.beside("xgboost")
    assert not it.model_log.experiments("river")
    assert it.model_log.policy().lead != "evil"
    assert len(it.rejected) == len(forged)
    assert {one.split(":")[1] for one in it.rejected} == {" it is not signed"}


def test_the_trainer_acts_on_what_is_signed_and_on_what_is_older_than_signatures(log: Log):
    it = Trainer()

    it.reader.take([log.put(published("1"), late_s=-120), log.put(promoted("1"), late_s=-120)])
    it.reader.take([log.put(published("3"), "trainer"), log.put(TrainingAdvanced(**DONE), "trainer")])
    it.reader.take([log.put(snapshot(4), "learning"), log.put(snapshot(5), "learning")])

    assert [*it.model_log.published("xgboost")] == ["1", "3"]
    assert it.model_log.champion("xgboost") is not None
    assert it.model_log.due() == []
    assert it.model_log.snapshot("river").version == "mnist1+5"  # type: ignore[union-attr]
    assert it.model_log.published("xgboost")["3"] == published("3"), "it is folded as it is said, without its signature"
    assert it.rejected == []


def test_a_trainer_without_keys_takes_models_v1_as_it_is(log: Log):
    it = Trainer(None, MemoryBlobs())

    it.reader.take([log.put(promoted("1"))])
    it.reader.restore()

    assert it.model_log.champion("xgboost") is not None
    assert it.said == []


@pytest.mark.parametrize("how", ["forged", "a copy", "removed", "unreadable"])
def test_the_trainer_that_works_says_again_what_somebody_has_hidden_and_nothing_newer_gives_way(log: Log, how: str):
    it = Trainer()
    old, stands = log.put(promoted("1"), "trainer"), log.put(promoted("2"), "trainer")
    given = {
        "forged": log.put(EVIL),
        "a copy": old,
        "removed": replace(stands, value=None),
        "unreadable": replace(old, value=b"{"),
    }

    it.reader.take([old, stands, log.copy(given[how])], leads=True)
    it.reader.restore()
    it.reader.restore()

    [again] = it.said
    assert (again.key, again.value) == (stands.key, stands.value), "once, and as it was"
    newer = log.put(promoted("3"), "trainer")
    counting, unproven = ProvenModels(proofs()).all(events([newer, log.copy(again)]))
    assert [record for record, _ in counting] == [newer]
    assert len(unproven) == 1


def test_what_is_older_than_signatures_is_said_again_once_signed(log: Log):
    it = Trainer()

    it.reader.take([log.put(promoted("1"), late_s=-120), log.put(PolicySet(lead="river"), "trainer")])
    it.reader.restore()
    it.reader.restore()

    [again] = it.said
    assert again.key == b"xgboost"
    assert ProvenModels(proofs()).all(events([log.copy(again)]))[1] == []


def test_a_trainer_whose_signatures_are_not_proven_says_nothing_again_and_again(log: Log):
    it = Trainer()
    it.signing._signer = Signer("trainer", "0b" * 32)
    it.reader = LogReader(it.model_log, Rejections(it.bus), proofs(), it.signing)

    it.reader.take([log.put(promoted("1"), late_s=-120), log.put(EVIL)])
    it.reader.restore()

    assert it.said == []


def test_a_home_whose_keys_are_made_anew_goes_on_with_the_models_that_it_has(log: Log):
    blobs, new = MemoryBlobs(), {process: "1" + seed[1:] for process, seed in SEEDS.items()}
    Trainer(public(), blobs)
    records = [log.put(promoted("1"), "trainer", late_s=-60), log.put(published("1"), "trainer", late_s=-60)]

    it = Trainer(public(new), blobs, new["trainer"])
    it.reader.take(records)
    it.reader.restore()
    it.reader.take([log.put(EVIL, "trainer", late_s=60)])

    assert it.model_log.champion("xgboost").version == "1"  # type: ignore[union-attr]
    assert ["its signature is not of these bytes" in one for one in it.rejected] == [True], "the old key proves nothing new"
    told = ProvenModels(Proofs(public(new), since())).all(events(it.said))
    assert (len(told[0]), told[1]) == (2, []), "and others, who know the new keys alone, are told by these"


@pytest.mark.parametrize("note", [b"", b"[]", b"\xff", b'{"trainer:00": null}', b'{"trainer:00": 7}'])
def test_a_note_of_keys_that_is_none_is_made_anew(note: bytes):
    blobs = MemoryBlobs()
    blobs.put(NOTE, note)

    assert past_keys(blobs, public()) == {}
    noted = blobs.get(NOTE)
    assert past_keys(blobs, public()) == {}
    assert blobs.get(NOTE) == noted != note


# --- the router


def router_models(given: Proofs | None = None) -> Models:
    weights = np.zeros((10, BASIS.width), np.float32)
    return Models(Table(online={"river": Online("mnist1+0", READER, -1, weights)}), READER, BASIS.name, given or proofs())


def test_the_router_sends_nobody_to_what_is_forged_nor_back_to_what_was(log: Log):
    models = router_models()
    weights = np.ones((10, BASIS.width), "<f4").tobytes()
    models.apply([log.put(promoted("1"), late_s=-120), log.put(snapshot(3, weights=weights), "learning")])
    good = log.put(promoted("2"), "trainer")
    newer = log.put(promoted("3"), "trainer")
    models.apply([good, newer])
    before = models.table

    told = models.apply([log.put(EVIL), log.put(snapshot(9, weights=weights)), log.put(PolicySet(lead="evil"))])
    told += models.apply([log.copy(good)])

    assert models.table is before
    assert models.table.batch["xgboost"].version == "3"
    assert models.table.online["river"].version == "mnist1+3"
    assert told == [], "the trainer tells of it"


def test_a_forged_record_hides_no_honest_one_of_its_key_that_came_with_it(log: Log):
    models = router_models()

    models.apply([log.put(promoted("1"), "trainer"), log.put(EVIL)])

    assert models.table.batch["xgboost"].version == "1"


def test_a_copy_of_what_was_does_not_count_at_the_routers_start_although_it_is_the_last_of_its_key(log: Log):
    models = router_models()
    first, second = log.put(promoted("1"), "trainer"), log.put(promoted("2"), "trainer")

    models.apply([first, second, log.copy(first)])

    assert models.table.batch["xgboost"].version == "2"


class Listened(MemoryBus):
    """A bus that keeps what was known of signatures when it was listened to."""

    known: Mapping[str, float] = MappingProxyType({})

    def __init__(self, log: MemoryLog, proofs: Proofs) -> None:
        super().__init__(log, ("models.v1", "commands.v1", "rejected.v1"))
        self._proofs = proofs

    async def listen(self, topics: Sequence[str], since: Mapping[Partition, int]) -> Listener:
        self.known = dict(self._proofs._since_ms)
        return await super().listen(topics, since)


async def test_the_router_knows_from_commands_v1_from_when_on_it_needs_signatures_before_it_reads_models(log: Log):
    given, began, proofs = MemoryLog(), SignaturesBegan(source="models.v1", since=since()), Proofs(public())
    bus = Listened(given, proofs)
    SigningBus(bus, Signer("trainer", SEEDS["trainer"])).publish(began)
    given.logs["models.v1", 0] = [replace(log.put(EVIL), offset=0)]
    models = router_models(proofs)

    task = asyncio.ensure_future(models.follow(lambda: bus))
    await asyncio.wait_for(models.ready.wait(), 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert bus.known["models.v1"] == began.since.timestamp() * 1000
    assert "xgboost" not in models.table.batch


def test_the_router_hears_later_from_when_on_it_needs_signatures(log: Log):
    models = router_models(Proofs(public()))
    began = Signer("trainer", SEEDS["trainer"]).signed(SignaturesBegan(source="models.v1", since=since()))

    models.apply([log.put(promoted("1"), late_s=-120)])
    models.apply([log.put(began)])
    models.apply([log.put(EVIL)])

    assert models.table.batch["xgboost"].version == "1"


# --- learning


async def _publish(records: Iterable[UnsentRecord]) -> None:
    raise AssertionError(list(records))


def test_nobody_but_the_trainer_freezes_the_online_model_and_nobody_but_learning_says_what_it_was(log: Log):
    signer = Signer("learning", SEEDS["learning"])
    lessons = Lessons(BASE, SERIES, _publish, lambda: True, ProvenModels(proofs(), signer))
    model = OnlineModel(BASE, SERIES).snapshot(of_base(BASE), now())
    lessons._published = lessons.in_force()
    honest = log.put(model, "learning")

    lessons.apply([honest, log.put(LearningSet(model="river", frozen=True))])
    assert not lessons.in_force().frozen
    assert lessons._published is not None
    lessons.apply([log.put(model.model_copy(update={"version": "mnist1+9"}))])

    assert lessons._last == honest, "what answers while it is frozen"
    assert lessons._published is None, "it is published once more, since somebody has hidden it"
    lessons._published = lessons.in_force()
    lessons.apply([log.copy(replace(honest, value=b"{"))])
    assert lessons._published is None, "so it is if that cannot be read at all"
    lessons.apply([log.put(LearningSet(model="river", frozen=True), "trainer")])
    assert lessons.in_force().frozen


def test_no_forged_experiment_answers_and_the_honest_one_is_said_once_more(log: Log):
    honest = learned()
    name = honest.slot.rpartition("/")[2]
    signer = Signer("learning", SEEDS["learning"])
    it = Experimenter(
        BASE, SERIES, lambda: of_base(BASE), lambda: True, settled_s=0, proven=lambda: ProvenModels(proofs(), signer)
    )
    it._said[name] = honest.version, 0.0

    it._hear([log.put(honest, "learning")])
    assert it._said
    it._hear([log.put(honest.model_copy(update={"taught": 999})), log.put(PlayersForgotten(marks=["0" * 32]))])

    assert it._catalog.experiments["river"][name] == honest
    assert not it._catalog.forgotten
    assert not it._said
    it._said[name] = honest.version, 0.0
    it._hear([log.put(honest, "learning"), log.copy(replace(log.put(honest), value=b"{"))])
    assert not it._said, "so it is if that cannot be read at all"


# --- the API


def test_the_api_shows_no_forged_champion_version_or_end_before_or_after_its_start_nor_an_old_one():
    bus = open_bus(f"memory://{uuid4()}")
    trainer = SigningBus(bus, Signer("trainer", SEEDS["trainer"]))
    trainer.publish(SignaturesBegan(source="models.v1", since=since()))
    for version in ("1", "2"):
        trainer.publish(published(version))
        trainer.publish(promoted(version))
    old = next(record for record in bus.follow(["models.v1"], "start").poll(0) if record.key == b"xgboost")
    forged = (EVIL, published("evil"), TrainingAdvanced(**DONE))

    def forge() -> None:
        for one in forged:
            bus.publish(one)
        bus.publish(decode(old.topic, old.value))

    forge()
    with serving(bus, command_keys=public()) as address:

        def shown() -> dict[str, Any]:
            models = httpx.get(f"http://{address}/api/models").json()
            [model] = [one for one in models if one["model"] == "xgboost"]
            return {"champion": model["version"], "versions": {one["version"] for one in model["versions"]}}

        assert shown() == {"champion": "2", "versions": {"1", "2"}}
        forge()
        trainer.publish(published("3"))
        eventually(lambda: "3" in shown()["versions"])
        assert shown() == {"champion": "2", "versions": {"1", "2", "3"}}


def test_players_are_told_of_a_promotion_once_although_it_is_said_again():
    board, event = ModelBoard(ROSTER), promoted("2")

    assert [one.event for one in board.apply(event)] == ["promoted"]
    assert board.apply(event) == []
    assert [one.event for one in board.apply(promoted("3"))] == ["promoted"]


# --- what learning signs


def test_how_learning_signs_is_read_as_it_was(log: Log):
    signer, event = Signer("learning", SEEDS["learning"]), snapshot(7)

    value = signer.sealed("models.v1", event.record_value())

    read = decode("models.v1", value)
    assert isinstance(read, SnapshotTaken)
    assert read.bare() == event
    assert abs(time.time() * 1e6 - (read.number or 0)) < 60e6
    assert ProvenModels(proofs()).all(events([log.put(read)]))[1] == []
    assert isinstance(signer.signed(learned()), ExperimentLearned)


def test_the_trainer_does_not_say_again_what_it_has_replaced_meanwhile(log: Log):
    """At the first start with signatures the watch over endpoints may have said more before the old is said again."""
    it = Trainer()
    it.reader.take([log.put(promoted("1"), late_s=-120)])
    it.signing.publish(promoted("2")).result()

    it.reader.restore()

    [only] = it.said
    assert decode("models.v1", only.value).version == "2"  # type: ignore[union-attr]
