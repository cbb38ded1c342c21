"""A player is forgotten: what of the log is theirs, what the API lets go, and what is signed."""

import json
import sqlite3
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from api.folds.recent_drawings import RecentDrawings
from api.folds.teachers import Teachers
from api.play.forgetting import Forgetting
from api.play.frames import frame_of
from contracts.events import (
    CommandSettled,
    Event,
    ForgetPlayer,
    LessonsCut,
    MessageRejected,
    PlayersForgotten,
    RestrictionSet,
    RestrictPlayer,
    StageForgot,
    mark_of,
)
from contracts.ports import Record
from contracts.records import key_of, rejection
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from producers.certificate import BadCertificate, checked, signed, signing_key
from producers.cutting import scan
from producers.placement import marked, partition_of
from streams.ledger import Identity, Ledger
from tests.histories import correction, drawing, example, features, lesson, named, taken_back
from trainers import archive, dataset, home_files
from trainers.example_sink import Placed
from trainers.forgetting_log import drawings_of, is_of, lesson_numbers

EVE = "7f1c6a0e-0000-4000-8000-00000000eee1"


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
    rejection(record(drawing(player=EVE)), "joiner", ValueError("no")),
    rejection(Record("corrections.v1", 0, 7, EVE.encode(), b"{", 0), "joiner", ValueError("no")),
]
OTHERS = [
    drawing(player="bob"),
    drawing(player=EVE + "x"),
    example(player_id="bob", strokes=[[[1, 2]]]),
    RestrictPlayer(command_id=uuid4(), by="x", player_id=EVE + "2", restriction="banned"),
    RestrictionSet(players={"bob": "banned"}),
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
    assert (before.highest[series], before.last, before.series) == (10, 4, series)
    assert after.missing == {series: [(5, 5), (9, 10)]}
    assert after.highest[series] == 100


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
    archive.Archive(blobs).keep(0, several)
    archive.Archive(blobs).keep(1, [Placed(0, example("alone", player_id=EVE))])
    examples, keys = dataset.read_archive(blobs)
    nothing = dataset.LabelledImages(np.zeros((0, 784), np.uint8), np.zeros(0, np.uint8), np.zeros(0, np.float32))
    made = dataset.assemble(nothing, examples, 0.5, 1.0)
    dataset.store(blobs, made, keys, 1)

    objects = archive.without(blobs, EVE)
    gone, again = dataset.without(blobs, EVE), dataset.without(blobs, EVE)

    assert objects == (2, 4)
    assert archive.without(blobs, EVE) == (0, 0)
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


# --- the API


class Doors:
    """The game, as far as it is told who is forgotten."""

    def __init__(self) -> None:
        self.shut: list[set[str]] = []

    def forget(self, marks: set[str]) -> None:
        self.shut.append(marks)


def test_the_api_forgets_whose_mark_is_new_and_again_when_the_last_stage_has():
    doors, recent = Doors(), RecentDrawings(frame_of)
    forgetting = Forgetting(doors, recent, Teachers())  # type: ignore[arg-type]
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
