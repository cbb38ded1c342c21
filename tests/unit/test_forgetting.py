"""A player is forgotten: what of the log is theirs, what the API lets go, and what is signed."""

import fcntl
import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from api.folds.audit_log import AuditLog
from api.folds.command_status import CommandStatus
from api.folds.recent_drawings import RecentDrawings
from api.folds.seat_codes import SeatCodes
from api.folds.teachers import Teachers
from api.play.forgetting import Forgetting
from api.play.frames import frame_of
from contracts.events import (
    CancelTraining,
    CommandCut,
    CommandRefused,
    CommandSettled,
    Event,
    ForgetPlayer,
    FreezeLearning,
    LessonsCut,
    LessonsForgotten,
    MemoryAsked,
    MemoryReset,
    MessageRejected,
    PlayerForgotten,
    PlayersForgotten,
    ResetAsked,
    RestrictionSet,
    RestrictPlayer,
    RetrainModel,
    SeatClaimed,
    SeatOffered,
    StageForgot,
    mark_of,
)
from contracts.ports import Record
from contracts.rebuilds import RebuildQueue
from contracts.records import key_of, rejection
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from producers.certificate import BadCertificate, checked, signed, signing_key
from producers.cutting import scan
from producers.placement import marked, partition_of
from producers.signing import Proofs, Signer, public_key
from streams.ledger import Identity, Ledger
from tests.experiments import learned
from tests.histories import correction, drawing, example, features, lesson, named, seconds, taken_back
from tests.roster import ROSTER
from tests.sinks import keep
from trainers import archive, dataset, dataset_store, home_files
from trainers.certificate_draft import CertificateDraft, certificate_key, certified
from trainers.example_sink import Placed
from trainers.forgetting_log import drawings_of, experiments_anew, is_of, lesson_numbers
from trainers.model_log import ModelLog
from trainers.named_commands import remnants

EVE = "7f1c6a0e-0000-4000-8000-00000000eee1"
CODE = "ab" * 32


def record(event: Event, offset: int = 0) -> Record:
    return Record(event.topic, 0, offset, marked(event.topic, event.record_key()), event.record_value(), 0)


THEIRS = [
    drawing(player=EVE),
    correction(player=EVE),
    example(player_id=EVE),
    lesson(player_id=EVE),
    RestrictPlayer(command_id=uuid4(), by="x", player_id=EVE, restriction="banned"),
    CommandSettled(command_id=uuid4(), target="players", outcome="done", message=f"what {EVE} teaches counts"),
    RestrictionSet(players={EVE: "banned", "bob": "banned"}),
    FreezeLearning(command_id=uuid4(), target="river", by="ada", reason=f"{EVE} teaches nonsense"),
    SeatOffered(code_id=CODE, player_id=EVE, room="KQZF", valid_s=600),
    ResetAsked(reset_id=named("r"), player_id=EVE),
    MemoryReset(reset_id=named("r"), player_id=EVE, until=seconds(9)),
    MemoryAsked(request_id=named("q"), player_id=EVE),
    rejection(record(drawing(player=EVE)), "joiner", ValueError("no")),
    rejection(Record("corrections.v1", 0, 7, EVE.encode(), b"{", 0), "joiner", ValueError("no")),
]
OTHERS = [
    drawing(player="bob"),
    drawing(player=EVE + "x"),
    example(player_id="bob", strokes=[[[1, 2]]]),
    RestrictPlayer(command_id=uuid4(), by="x", player_id=EVE + "2", restriction="banned"),
    RestrictionSet(players={"bob": "banned"}),
    FreezeLearning(command_id=UUID(EVE), target="river", by="ada"),
    FreezeLearning(command_id=uuid4(), target="river", by="ada", token=EVE, address=EVE),
    FreezeLearning(command_id=uuid4(), target="river", by=EVE),
    CommandSettled(command_id=UUID(EVE), target="river", outcome="done", message=""),
    CommandCut(command_id=UUID(EVE), command="FreezeLearning", target="river", by="ada"),
    SeatOffered(code_id=CODE, player_id=EVE + "2", room="KQZF", valid_s=600),
    SeatClaimed(code_id=CODE, claim_id=named("k")),
    MemoryReset(reset_id=named("r"), player_id="bob", until=seconds(9)),
    rejection(record(drawing(player="bob")), "joiner", ValueError("no")),
]


@pytest.mark.parametrize("event", THEIRS, ids=lambda event: event.type)
def test_what_is_a_players_or_names_them_is_found(event):
    assert is_of(EVE)(record(event))


@pytest.mark.parametrize("event", OTHERS, ids=lambda event: event.type)
def test_what_is_anybody_elses_is_never_taken_for_theirs(event):
    assert not is_of(EVE)(record(event))


def test_a_short_id_takes_no_record_in_which_it_happens_to_stand():
    assert not is_of("1")(record(drawing(player="bob")))
    assert not is_of("a")(record(example(player_id="b")))


def test_the_command_itself_stays_for_now():
    asked = ForgetPlayer(command_id=named("c"), by="x", player_id=EVE)

    assert is_of(EVE)(record(asked))
    assert not is_of(EVE, named("c"))(record(asked))


def test_of_a_command_that_is_cut_stays_who_gave_it_and_how_it_ended_and_of_a_strangers_nothing():
    signer, key = Signer("api", "01" * 32), uuid4()
    who: dict[str, Any] = {"by": "ada", "via": "cli", "address": "127.0.0.1", "token": "ada/3f9c21"}
    ban = signer.signed(RestrictPlayer(command_id=key, player_id=EVE, restriction="banned", reason=f"{EVE} again", **who))
    no = signer.signed(CommandRefused(command_id=uuid4(), command="retrain", target=EVE, message=f"no {EVE}", **who))
    end = Signer("trainer", "02" * 32).signed(
        CommandSettled(command_id=key, target="players", outcome="done", message=f"{EVE} is banned")
    )
    forged = RestrictPlayer(command_id=uuid4(), player_id=EVE, restriction="banned", by="bob")
    keys = f"api:{public_key('01' * 32)},trainer:{public_key('02' * 32)}"
    log = [replace(record(one), timestamp_ms=int(ban.at.timestamp() * 1000)) for one in (ban, no, end, forged)]
    assert all(is_of(EVE)(one) for one in log)

    stay = list(remnants([*log, record(drawing(player=EVE))], Proofs(keys, seconds(0)).against))

    audit, restarted = AuditLog(), AuditLog()
    for event in (ban, no, end, *stay):
        audit.apply(event)  # type: ignore[arg-type]
    audit.forget(EVE)
    for event in stay:
        restarted.apply(event)  # type: ignore[arg-type]
    told = list(restarted.entries())
    assert {(one.command, one.who, one.token, one.outcome) for one in told} == {
        ("RestrictPlayer", "ada", "ada/3f9c21", "done"),
        ("retrain", "ada", "ada/3f9c21", "refused at the door"),
    }
    assert EVE not in "".join(one.model_dump_json() for one in (*told, *audit.entries()))
    assert {one.command_id: one.at for one in told} == {ban.command_id: ban.at, no.command_id: no.at}


def test_a_tombstone_of_a_players_record_is_theirs_too_since_its_key_names_them():
    kept = record(drawing(player=EVE))

    assert is_of(EVE)(Record(kept.topic, 0, 1, kept.key, None, 0))
    assert key_of(kept.key) == EVE.encode()


def test_the_drawings_of_a_player_are_told_and_those_of_which_they_have_an_example():
    said = [record(drawing("d1", player=EVE)), record(correction("d2", player=EVE)), record(example("d3", player_id=EVE))]

    assert drawings_of(said, EVE) == ([named("d1"), named("d2"), named("d3")], {named("d3")})
    assert drawings_of([record(example("d4", player_id="bob"))], EVE) == ([], set())


def test_the_numbers_of_a_players_lessons_are_told_in_runs_without_those_that_are_told_already():
    bus = open_bus(f"memory://{uuid4()}")
    partition = partition_of(EVE.encode(), 4)
    theirs = [lesson(f"l{n}", number=n, player_id=EVE) for n in (2, 3, 5, 9)]
    series = theirs[0].series
    for event in (*theirs, taken_back(theirs[0], 10)):
        bus.publish(event).result()
    before = lesson_numbers(bus, partition, EVE)
    bus.publish(LessonsCut(source=partition, series=series, number=100, numbers=[(2, 3)])).result()

    after = lesson_numbers(bus, partition, EVE)

    assert before.missing == {series: [(2, 3), (5, 5), (9, 10)]}
    assert (before.highest, before.last, before.series) == (10, 4, series)
    assert after.missing == {series: [(5, 5), (9, 10)]}
    assert after.highest == 100


@pytest.mark.parametrize(
    ("weight", "newcomer", "counted"), [(1.0, False, True), (0.5, False, True), (0.375, False, False), (1.0, True, False)]
)
def test_lessons_count_only_if_they_are_such_as_experiments_learn(weight: float, newcomer: bool, counted: bool):
    bus = open_bus(f"memory://{uuid4()}")
    bus.publish(lesson(player_id=EVE, weight=weight, newcomer=newcomer)).result()

    assert lesson_numbers(bus, partition_of(EVE.encode(), 4), EVE).counted is counted


def test_a_scan_sums_all_other_records_and_sees_keys_of_before():
    bus = open_bus(f"memory://{uuid4()}")
    for player in ("bob", EVE):
        bus.publish(example(player_id=player)).result()

    both, bob = scan(bus, ["examples.v1"], lambda _: False), scan(bus, ["examples.v1"], is_of(EVE))
    bus.publish(example("later", player_id="bob")).result()
    again = scan(bus, ["examples.v1"], is_of(EVE), bob.bounds)

    assert both.digests() != bob.digests() == again.digests()
    assert [one.topic for one in bob.records] == ["examples.v1"]
    assert dict(bob.unmarked) == {}


# --- stores


def test_archive_and_datasets_are_without_the_player_and_all_else_stays():
    blobs = MemoryBlobs()
    several = [Placed(n, example(f"d{n}", player_id=("bob", EVE)[n % 2], features=features(n))) for n in range(6)]
    keep(archive.Archive(blobs), 0, several)
    keep(archive.Archive(blobs), 1, [Placed(0, example("alone", player_id=EVE))])
    examples, keys = dataset.read_archive(blobs)
    nothing = dataset.LabelledImages(np.zeros((0, 784), np.uint8), np.zeros(0, np.uint8), np.zeros(0, np.float32))
    made = dataset.assemble(nothing, examples, 0.5, 1.0)
    dataset_store.store(blobs, made, dataset_store.Making(keys, 1))

    objects: dict[str, int] = {}
    archive.without(blobs, EVE, objects.__setitem__)
    gone, again = dataset_store.without(blobs, EVE), dataset_store.without(blobs, EVE)

    assert sorted(objects.values()) == [1, 3]
    archive.without(blobs, EVE, lambda key, n: pytest.fail(f"{key} has {n} still"))
    assert {one.player_id for one in dataset.read_archive(blobs)[0]} == {"bob"}
    assert dataset.read_archive(blobs)[1] == keys, "the names say how far the log is archived"
    assert gone == again == {made.digest: made.players[EVE]}
    assert [key for key in blobs.keys("datasets/") if key.endswith(".npz")] == []
    assert EVE.encode() not in b"".join(blobs.get(key) for key in blobs.keys(""))


def test_a_ledger_leaves_no_byte_of_what_it_dropped(tmp_path: Path):
    path = tmp_path / "0.sqlite"
    ledger = Ledger(path)
    ledger.name(Identity("s", "c"), {})
    with ledger.step():
        ledger.put(f"player/{EVE}", b"the strokes of eve" * 500)
    with ledger.step():
        ledger.drop(f"player/{EVE}")
    ledger.scrub()

    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    ledger.close()

    assert EVE.encode() not in files
    assert b"the strokes of eve" not in files


def test_a_ledger_leaves_no_byte_of_a_cell_that_another_took_the_place_of(tmp_path: Path):
    ledger = Ledger(tmp_path / "0.sqlite")
    for value in (b"the strokes of eve" * 500, b"the guess of eve" * 100, b"bob's"):
        with ledger.step():
            ledger.put("story/1", value)
    ledger.scrub()

    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    ledger.close()

    assert b"of eve" not in files
    assert b"bob's" in files


def test_a_ledger_of_before_is_made_anew_once(tmp_path: Path):
    path = tmp_path / "0.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as old:
        old.execute("PRAGMA user_version=0")
        old.execute("PRAGMA secure_delete=OFF")
        old.execute("INSERT INTO cells VALUES (?, ?)", (EVE, b"x"))
        old.execute("DELETE FROM cells")
    old.close()

    ledger = Ledger(path)
    ledger.scrub()
    ledger.close()

    assert EVE.encode() not in path.read_bytes()


def test_logs_keep_their_length_and_lose_the_id(tmp_path: Path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "empty.log").touch()
    line = f'{{"player_id": "{EVE}", "again": "{EVE}"}}\nbob\n'.encode()
    (tmp_path / "logs" / "api.log").write_bytes(line)

    assert list(home_files.holding(tmp_path, [EVE.encode()])) == ["logs/api.log"]
    assert home_files.blot_logs(tmp_path, EVE) == 2
    assert list(home_files.holding(tmp_path, [EVE.encode()])) == []
    blotted = (tmp_path / "logs" / "api.log").read_bytes()
    assert len(blotted) == len(line)
    assert blotted.endswith(b"\nbob\n")


LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_replays_have_left_goes_and_one_at_work_is_waited_for(tmp_path: Path):
    assert home_files.drop_replays(tmp_path, LONG_AGO)
    kept = tmp_path / "replay" / "learner" / "0.sqlite"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(EVE.encode())

    with (tmp_path / "replay" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not home_files.drop_replays(tmp_path, LONG_AGO)
        assert kept.exists()

    assert home_files.drop_replays(tmp_path, LONG_AGO)
    assert not kept.parent.exists()


def test_a_draft_counts_each_thing_once_however_often_it_is_tried():
    blobs, several = MemoryBlobs(), [record(drawing(player=EVE), offset) for offset in (3, 7)]
    first = CertificateDraft(blobs, mark_of(EVE))
    first.add_records(several)
    first.add_object("examples/a", 4)
    first.add_items(["i1", "i2"])
    first.add_lines(5)

    again = CertificateDraft(blobs, mark_of(EVE))  # the trainer was killed before it had cut them all out
    again.add_records([*several[1:], record(drawing(player=EVE), 9), record(lesson(player_id=EVE), 2)])
    again.add_object("examples/a", 1)
    again.add_items(["i2", "i3"])
    again.add_lines(1)

    own = [
        PlayerForgotten(forget_id=uuid4(), player_id=EVE, drawings=[], examples=[]),
        StageForgot(forget_id=uuid4(), player_id=EVE, stage="joiner"),
        RestrictionSet(players={EVE: "banned"}),
    ]
    again.add_records([record(one, 20 + number) for number, one in enumerate(own)])  # the forgetting's own words
    assert again.topics == {"drawings.v1": 3, "lessons.v1": 1}
    again.add_copies(["notebooks/n1/train.csv", "notebooks/n2/train.csv"])
    again.add_copies(["notebooks/n2/train.csv"])
    assert CertificateDraft(blobs, mark_of(EVE)).stores() == {
        "archive": {"objects": 1, "examples": 4},
        "observations": 3,
        "notebook_objects": 2,
    }
    assert (again.log_lines, again.begun_at) == (6, first.begun_at)
    assert EVE.encode() not in b"".join(blobs.get(key) for key in blobs.keys(""))
    again.drop()
    assert list(blobs.keys("")) == []
    assert CertificateDraft(blobs, mark_of(EVE)).topics == {}


def test_a_certificate_that_is_written_is_told_and_not_made_anew(tmp_path: Path):
    blobs, command_id = MemoryBlobs(), uuid4()
    CertificateDraft(blobs, mark_of(EVE)).add_lines(1)
    assert certified(blobs, tmp_path, command_id) is None
    told = {"player": mark_of(EVE), "versions": [{"model": "xgboost", "version": "3", "drawings": 2}]}
    blobs.put(certificate_key(command_id), json.dumps(told).encode())

    said = certified(blobs, tmp_path, command_id)

    assert said is not None
    assert "xgboost 3" in said
    assert json.loads((tmp_path / certificate_key(command_id)).read_text()) == told
    assert list(blobs.keys("")) == [certificate_key(command_id)], "the draft is gone"


def test_experiments_that_know_a_forgotten_players_lessons_are_told_from_those_that_began_anew():
    bus = open_bus(f"memory://{uuid4()}")
    partition = partition_of(EVE.encode(), 4)
    for event in (lesson(player_id=EVE, number=1), lesson(player_id=EVE, number=2)):
        bus.publish(event).result()
    bus.publish(LessonsForgotten(source=partition, series="s", number=9, numbers=[(1, 2)], offset=2)).result()
    for name, offset in (("softmax-1", 1), ("pa-1", 2)):
        offsets = [-1] * 4
        offsets[partition] = offset
        bus.publish(learned(name, 2, offsets=offsets)).result()

    told = experiments_anew(bus, partition, lambda _: None, 0.0)

    assert told == {"partition": partition, "offset": 2, "begun_anew": {"pa-1": True, "softmax-1": False}}


# --- the API


def test_a_code_of_a_forgotten_player_gives_nobody_their_seat():
    codes = SeatCodes()
    for code_id, player in ((CODE, EVE), ("cd" * 32, "bob")):
        codes.apply(SeatOffered(code_id=code_id, player_id=player, room="KQZF", valid_s=600, at=seconds(0)))

    codes.forget(lambda player: player == EVE)

    assert "no seat waits" in codes.refusal(CODE, seconds(1))
    assert codes.refusal("cd" * 32, seconds(1)) == ""


class Doors:
    """The game, as far as it is told who is forgotten."""

    def __init__(self) -> None:
        self.shut: list[set[str]] = []
        self.kept: list[UUID] = []

    def forget(self, marks: set[str]) -> None:
        self.shut.append(marks)

    def keep(self, command_id: UUID) -> None:
        self.kept.append(command_id)


def test_the_api_forgets_whose_mark_is_new_and_again_when_the_last_stage_has():
    doors, recent = Doors(), RecentDrawings(frame_of)
    forgetting = Forgetting(doors, recent, Teachers(), CommandStatus(), AuditLog(), RebuildQueue())  # type: ignore[arg-type]
    for player in ("bob", EVE):
        recent.add_drawing(named(player), player)
        recent.add_correction(named(f"{player}'s"), player)

    forgetting.apply(PlayersForgotten(marks=[mark_of(EVE)]))
    forgetting.apply(PlayersForgotten(marks=[mark_of(EVE)]))
    assert recent.players == {"bob"}
    recent.add_drawing(named("late"), EVE)
    forgetting.apply(StageForgot(forget_id=uuid4(), player_id=EVE, stage="joiner"))
    assert recent.players == {"bob", EVE}
    forgetting.apply(StageForgot(forget_id=uuid4(), player_id=EVE, stage="personal"))

    assert recent.players == {"bob"}
    assert doors.shut == [{mark_of(EVE)}]


@pytest.mark.parametrize(
    ("outcome", "target"), [("done", "players"), ("refused", "xgboost"), ("refused", "players"), ("failed", "players")]
)
def test_who_asked_to_be_forgotten_hears_that_it_is_not_done_and_of_no_other_command(outcome: Any, target: str):
    doors, command_id = Doors(), uuid4()
    forgetting = Forgetting(doors, RecentDrawings(frame_of), Teachers(), CommandStatus(), AuditLog(), RebuildQueue())  # type: ignore[arg-type]

    forgetting.apply(CommandSettled(command_id=command_id, target=target, outcome=outcome, message="river is frozen"))

    told = [command_id] if target == "players" and outcome != "done" else []
    assert doors.kept == told


def test_the_queue_of_rebuilds_keeps_no_text_about_a_player_who_is_forgotten():
    queue, asked = RebuildQueue(), RetrainModel(command_id=uuid4(), target="xgboost", by="ada", reason=f"without {EVE}")
    queue.apply(asked)
    cancel = CancelTraining(command_id=uuid4(), training_id=asked.command_id, target="xgboost", by="ada", reason=EVE)
    queue.apply(cancel)

    queue.forget(EVE)

    queue.apply(CommandSettled(command_id=cancel.command_id, target="xgboost", outcome="done", message=""))
    assert queue.cancelled(asked.command_id) is not None

    assert EVE not in repr(queue.all())
    assert len(queue.due()) == 1


def test_a_command_status_keeps_nobody_who_is_forgotten():
    commands, ban = CommandStatus(), uuid4()
    commands.apply(RestrictPlayer(command_id=ban, player_id=EVE, restriction="banned", by="op"))
    commands.apply(CommandSettled(command_id=ban, target="players", outcome="done", message=f"{EVE} is banned"))

    commands.forget(EVE)

    state = commands.state(ban)
    assert state is not None
    assert (state.outcome, state.message) == ("done", "")
    assert EVE not in repr(vars(commands))


def test_the_marks_of_many_players_are_in_several_records_and_all_are_known():
    marks = [mark_of(f"player {n}") for n in range(600)]
    log = ModelLog(ROSTER, [])
    for mark in marks:
        alike = [one for one in log.marks if one[:2] == mark[:2]]
        log.apply(PlayersForgotten(begin=mark[:2], marks=[*alike, mark]))

    assert sorted(log.marks) == sorted(marks)
    assert len({PlayersForgotten(begin=mark[:2], marks=[]).slot for mark in marks}) > 200


# --- the certificate


def test_a_certificate_is_as_it_was_signed_or_none(tmp_path: Path):
    whole = signed({"player": mark_of(EVE), "topics": {"drawings.v1": 3}}, signing_key(tmp_path))
    raw = json.dumps(whole, indent=2)

    assert checked(raw)["topics"] == {"drawings.v1": 3}
    with pytest.raises(BadCertificate, match="changed since"):
        checked(raw.replace('"drawings.v1": 3', '"drawings.v1": 4'))
    for wrong in ("", "[]", "{}", '{"certificate": "gamenight forget 1"}', raw.replace(whole["public_key"], "00" * 32)):
        with pytest.raises(BadCertificate):
            checked(wrong)


def test_a_home_has_one_key_and_nobody_else_can_read_it(tmp_path: Path):
    first, second = signing_key(tmp_path), signing_key(tmp_path)

    assert first.private_bytes_raw() == second.private_bytes_raw()
    assert (tmp_path / "secrets" / "certificate_key").stat().st_mode & 0o777 == 0o600


def test_a_rejected_message_says_whose_it_was_also_where_nothing_else_does():
    told = rejection(Record("drawings.v1", 0, 3, marked("drawings.v1", EVE.encode()), b"\xff", 0), "joiner", ValueError("x"))

    assert isinstance(told, MessageRejected)
    assert is_of(EVE)(record(told))
