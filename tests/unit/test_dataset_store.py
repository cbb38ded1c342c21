"""Datasets on S3: the manifest that makes the same bytes again, and what is deleted."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import numpy as np
import pytest

from contracts.events import now
from contracts.ports import Origin
from contracts.settings import Settings
from deploy.datasets import verified
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from producers.whole_log import all_records
from streams.learner import Learner
from streams.online_base import load_base
from tests.histories import MemoryCells, lesson, named, taken_back
from tests.sinks import keep
from tests.unit.test_archive import example
from tests.writers import drawings
from trainers import dataset, dataset_store
from trainers.archive import Archive
from trainers.compaction import tidy
from trainers.dataset import Feedback, LabelledImages, assemble, from_npz, holdout_from_npz
from trainers.dataset_store import Making, announced, code_version, store, stored, verify
from trainers.example_sink import Placed
from trainers.label_trust import LessonTrust, label_trust, mean_trust
from trainers.split import fingerprint, is_held_back

BASE = LabelledImages(np.zeros((3, 784), np.uint8), np.array([1, 2, 3], np.uint8), np.ones(3, np.float32))
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def blobs() -> MemoryBlobs:
    """An archive of fifty drawings by nine people, of which one is withdrawn, and a dataset of it."""
    made = MemoryBlobs()
    several = [example(n, player=f"player-{n % 9}", at=AT + timedelta(seconds=n), label=n % 10) for n in range(50)]
    keep(Archive(made), 1, [Placed(n, one) for n, one in enumerate(several)])
    withdrawn = several[0].model_copy(update={"revision": 2, "label": None})
    keep(Archive(made), 1, [Placed(50, withdrawn)])
    return made


def made_of(blobs: MemoryBlobs, **making) -> dict:
    examples, keys = dataset.read_archive(blobs)
    return store(blobs, assemble(BASE, examples, 0.2, 3.0, 5.0), Making(keys=keys, seed=1, weight=3.0, **making))


def test_what_is_stored_reads_back_and_is_found_by_its_digest(blobs):
    there = stored(told := made_of(blobs))
    assert (there.offsets, there.feedback + told["holdout"]["n"]) == ("1:51", 49)
    base, own = from_npz(blobs.get(there.base + "images.npz")), from_npz(blobs.get(there.train + "train.npz"))
    held = holdout_from_npz(blobs.get(there.holdout))
    assert (base.labels.tolist(), set(own.weights.tolist())) == ([1, 2, 3], {3.0})
    assert not {image.tobytes() for image in own.images} & {image.tobytes() for image in held.images}
    trained = [AT + timedelta(seconds=n - 2) for n in range(1, 45) if not is_held_back(f"player-{n % 9}", 0.2)]
    assert there.split == {"held_back": "0.2 of people", "trained_until": max(trained).isoformat()}


def test_the_base_is_stored_once_and_a_manifest_does_not_change(blobs):
    first = made_of(blobs)
    keep(Archive(blobs), 1, [Placed(51, example(90, player="new", at=AT))])
    second = made_of(blobs, known=frozenset(first["players"]), by="ada")
    assert first["digest"] != second["digest"]
    assert list(blobs.keys("bases/")) == [first["base"]["key"]] == [second["base"]["key"]]
    assert (first["new_people"], second["new_people"], second["by"]) == (9, 1, "ada")
    assert second["excluded"] == {"replaced": 1, "withdrawn": 1}
    assert made_of(blobs, by="somebody else") == second


def test_a_manifest_makes_the_same_bytes_also_when_the_archive_was_merged_and_went_on(blobs):
    told = made_of(blobs)
    keep(
        Archive(blobs),
        1,
        [Placed(51, example(91, player="later", at=AT)), Placed(52, example(1, player="player-1", revision=2))],
    )
    tidy(blobs, AT + timedelta(hours=9), None, lambda: None)
    found = verify(blobs, told["digest"])
    assert [(one.what, one.holds) for one in found] == [
        ("base", True), ("train/train.npz", True), ("holdout/holdout.npz", True), ("rows/rows.npz", True), ("made again", True),
    ]  # fmt: skip


def test_a_dataset_is_made_again_by_who_has_the_home_s_key_and_who_has_not_is_told_which(blobs):
    examples, keys = dataset.read_archive(blobs)
    of_before = made_of(blobs)
    told = store(blobs, assemble(BASE, examples, 0.2, 3.0, 5.0, "of this home"), Making(keys=keys, seed=1, weight=3.0))
    assert (told["split"]["held_back_by"], announced(told).held_back_by) == (by := fingerprint("of this home"), by)
    assert told["digest"] != of_before["digest"]
    assert all(one.holds for one in verify(blobs, told["digest"], "of this home"))
    for other, here in (("", "here is none"), ("another", f"here is key {fingerprint('another')}")):
        *files, last = verify(blobs, told["digest"], other)
        assert all(one.holds for one in files), "they are what the manifest says, whoever looks"
        assert (last.what, last.holds) == ("made again", False)
        assert last.told.startswith(f"its people are held back by key {by}, and {here}: set GAMENIGHT_HOLDOUT_KEY")
    for key in ("", "of this home"):
        assert all(one.holds for one in verify(blobs, of_before["digest"], key)), "it was made before the home had a key"


def test_the_command_line_verifies_with_the_key_of_the_home(blobs, monkeypatch, tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "holdout_key").write_text("of this home\n")
    monkeypatch.setenv("GAMENIGHT_HOME", str(tmp_path))
    monkeypatch.setattr("producers.blobs.S3Blobs", lambda settings: blobs)
    examples, keys = dataset.read_archive(blobs)
    told = store(blobs, assemble(BASE, examples, 0.2, 3.0, 5.0, "of this home"), Making(keys=keys, seed=1, weight=3.0))
    assert all(one["holds"] for one in verified(Settings.load(), told["digest"]))


def test_a_file_that_was_changed_and_an_example_that_is_missing_are_named(blobs):
    digest = made_of(blobs)["digest"]
    [key, *_] = list(blobs.keys("examples/"))
    kept = blobs.get(key)
    blobs.drop(key)
    assert verify(blobs, digest)[-1].told.startswith("49 of 49 examples are not in the archive")
    blobs.put(key, kept)
    blobs.put(f"datasets/{digest}/train/train.npz", b"something else")
    assert [one.what for one in verify(blobs, digest) if not one.holds] == ["train/train.npz"]


def test_old_data_are_deleted_unless_they_are_in_use_and_come_again_when_they_are_made_again(blobs):
    told = made_of(blobs)
    later = now() + timedelta(days=9)
    assert dataset_store.drop_old(blobs, 9, now(), set()) == []
    assert dataset_store.drop_old(blobs, 8, later, {told["digest"]}) == []
    [gone] = dataset_store.drop_old(blobs, 8, later, set())
    assert dataset_store.is_gone(blobs, told["digest"])
    assert dataset_store.drop_old(blobs, 8, later, set()) == []
    assert announced(gone).gone == "it was older than 8 days"
    assert not verify(blobs, told["digest"])[0].holds
    assert made_of(blobs) == told
    assert all(one.holds for one in verify(blobs, told["digest"]))


def test_a_dataset_is_told_of_without_the_names_of_players(blobs):
    event = announced(made_of(blobs, trust=0.9, images={"xgboost": "0123"}))
    assert (event.people, event.feedback + event.held_back, event.trust, sum(event.labels)) == (9, 49, 0.9, 49)
    assert b"player-" not in event.record_value()
    old = {"digest": "ab" * 32, "offsets": {"0": 7}, "train": {"feedback": 2}, "holdout": {"n": 1}, "seed": 1, "code": "0"}
    assert (announced(old).offsets, stored(old).base) == ([7, 0, 0, 0], "")
    blobs.put(f"datasets/{old['digest']}/manifest.json", json.dumps(old).encode())
    assert not verify(blobs, old["digest"])[0].holds


def test_trust_is_the_weight_of_the_lessons_in_force_and_nothing_is_known_of_newcomers():
    bus = open_bus("memory://label-trust")
    numbers = iter(range(1, 1000))

    def taught(player: str, n: int, weight: float = 1.0, newcomer: bool = False):
        told = lesson(f"{player}/{n}", number=next(numbers), player_id=player, weight=weight, newcomer=newcomer)
        bus.publish(told).result()
        return told

    for n in range(8):
        taught("honest", n)
        taught("half", n, 0.5)
        taught("new", n % 2, newcomer=True)
        one = taught("shifting", n, newcomer=True)
        bus.publish(taken_back(one, number=next(numbers))).result()
        bus.publish(taken_back(one, number=one.number)).result()
    for one in [taught("liar from the first", n, newcomer=True) for n in range(5)]:
        bus.publish(taken_back(one, number=next(numbers))).result()  # the sixth is never taught
    records = list(all_records(bus, ["lessons.v1"]))
    trust = label_trust([*records, *records]).players
    assert trust == {"honest": 1.0, "half": 0.5, "shifting": 0.0, "liar from the first": 0.0}
    assert mean_trust(trust, {"honest": 3, "half": 1, "new": 100}) == 0.875
    assert mean_trust(trust, {"new": 100}) is None


def said(player: str, n: int, revision: int = 1, label: int | None = 3) -> Feedback:
    """A player's n-th drawing, which is the n-th example of its partition."""
    return Feedback(n, str(named(f"drawing of {player}/{n}")), player, revision, label, bytes(784), place=(0, n * 9 + revision))


def test_a_label_of_a_known_player_counts_as_its_lesson_and_others_whole(monkeypatch):
    monkeypatch.setattr("trainers.label_trust.KEPT", 6)
    lessons = {str(named(f"drawing of ada/{n}")): weight for n, weight in {1: 1.0, 2: 0.5, 3: 0.0, 5: 1.0, 6: 1.0}.items()}
    told = LessonTrust({"ada": 0.75}, {"ada": lessons, "new": {}})
    examples = [said("ada", n) for n in range(9)] + [said("new", 1), said("ada", 1, 2, None), said("ada", 1, 3, 4)]

    weights = {(player, n): told.weights(examples).get(str(named(f"drawing of {player}/{n}")), 1.0) for player, n in CASES}

    assert weights == CASES


CASES = {
    ("ada", 1): 0.75,  # six newer ones stand before it
    ("ada", 2): 0.75,
    ("ada", 3): 0.0,  # it was taken back
    ("ada", 4): 0.0,  # it was never taught
    ("ada", 5): 1.0,
    ("ada", 6): 1.0,
    ("ada", 7): 0.75,  # the learner has not come so far
    ("ada", 8): 0.75,
    ("new", 1): 1.0,  # nobody knows
}


def test_a_player_s_lessons_of_an_older_series_do_not_count_beside_newer_ones():
    bus = open_bus("memory://label-trust-series")
    for number, (series, n) in enumerate([("old", 1), ("old", 2), ("new", 1)], 1):
        bus.publish(lesson(f"ada/{n}", number=number, player_id="ada", series=series, newcomer=False)).result()
    assert label_trust(all_records(bus, ["lessons.v1"])).lessons == {"ada": {str(named("drawing of ada/1")): 1.0}}


def test_labels_that_count_half_are_made_again_as_they_counted_whoever_is_trusted_since(blobs):
    examples, keys = dataset.read_archive(blobs)
    halves = [replace(one, trust=0.5) if one.label == 7 else one for one in examples]
    whole = assemble(BASE, examples, 0.2, 3.0, 5.0)
    told = store(blobs, assemble(BASE, halves, 0.2, 3.0, 5.0), Making(keys=keys, weight=3.0))
    own = from_npz(blobs.get(stored(told).train + "train.npz"))
    assert set(zip(own.labels.tolist(), own.weights.tolist(), strict=True)) == {(n, 1.5 if n == 7 else 3.0) for n in range(10)}
    assert told["label_weights"] == {"1.5": (own.labels == 7).sum(), "3": (own.labels != 7).sum()}
    assert told["digest"] != whole.digest
    assert all(one.holds for one in verify(blobs, told["digest"]))


def test_files_are_the_same_bytes_by_every_python_and_read_as_numpy_reads_them(blobs):
    """Python 3.11.2 and 3.12.1 write the zip of `numpy.savez` in different bytes."""
    files = dataset.to_npz(BASE), dataset.rows_npz([], [])
    assert [sha256(file).hexdigest()[:16] for file in files] == ["792ea18ee3172810", "41c68fad4a2b262c"]
    with np.load(io.BytesIO(files[0]), allow_pickle=False) as found:
        assert (sorted(found), found["labels"].tolist()) == (["images", "labels", "weights"], [1, 2, 3])


def test_a_dataset_whose_files_have_an_older_form_is_made_again_by_its_arrays(blobs, monkeypatch):
    def savez(**arrays) -> bytes:
        out = io.BytesIO()
        np.savez(out, **arrays)
        return out.getvalue() + b" of another Python"

    with monkeypatch.context() as before:
        before.setattr(dataset, "_npz", savez)
        told = made_of(blobs)
    assert verify(blobs, told["digest"])[-1].told == "from 49 examples: the same arrays, in files of an older form"
    assert all(one.holds for one in verify(blobs, told["digest"]))
    monkeypatch.setattr(dataset_store, "read_archive", lambda blobs: (changed(dataset.read_archive(blobs)[0]), []))
    assert not verify(blobs, told["digest"])[-1].holds


def changed(examples: list[Feedback]) -> list[Feedback]:
    """The same with another label somewhere."""
    return [replace(one, label=1 if n == 20 else one.label) for n, one in enumerate(examples)]


def test_the_code_version_is_stable():
    assert code_version() == code_version()


@pytest.mark.parametrize(("lie", "kept"), [(0, 20), (1, 0)])
def test_who_lies_from_the_first_drawing_on_is_trusted_by_no_dataset(lie, kept):
    """The learner's own lessons on real handwriting: the sixth clear drawing makes a liar known, so only five are taught."""
    learner, cells, bus = Learner(load_base()), MemoryCells(), open_bus(f"memory://liars-{lie}")
    list(learner.open(cells, 0))
    hand, examples = drawings("22"), []
    for n in range(20):
        one = hand.example("ada", n, (int(hand.labels[n]) + lie) % 10)
        examples.append(Feedback(n, str(one.drawing_id), "ada", 1, one.label, bytes(784), place=(0, n)))
        for event in learner.apply(cells, one, Origin(0, n, 0)):
            bus.publish(event).result()

    told = label_trust(all_records(bus, ["lessons.v1"]))

    assert told.players == {"ada": float(not lie)}
    assert 20 - sum(weight == 0 for weight in told.weights(examples).values()) == kept
