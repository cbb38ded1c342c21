"""What would have been answered at a time: by the lessons and versions of then; what is not known is said."""

import base64
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from contracts.drawing import rasterize
from contracts.events import CommandSettled, LearningSet, PromoteModel
from deploy import as_of as past
from deploy.as_of import BatchThen, CannotTell, as_of, batch_at, drawing_in, drawing_on_the_log
from deploy.lesson_reader import events_on
from deploy.past_tables import told_as_of
from producers.memory_bus import MemoryBus
from streams.embedding import EmbeddingNetwork
from tests.histories import BEGAN, drawing, example, features, named, promoted, published, seconds, shown
from tests.unit.test_explain import BASE, Log, played

NOW = BEGAN + timedelta(days=1)
STROKES = [[[10, 10, 0], [10, 90, 160]]]
RASTER = rasterize(STROKES)


def batch(log: Log, at: float) -> list[BatchThen]:
    return batch_at(log.bus, list(events_on(log.bus, ["models.v1", "commands.v1"])), seconds(at))


def ms(at: float) -> int:
    return int(seconds(at).timestamp() * 1000)


@pytest.fixture
def log() -> Log:
    made = Log()
    made.bus = MemoryBus(made.memory, past.TOPICS_READ)
    return made


def test_the_model_is_made_of_the_lessons_of_then_and_no_others(log):
    versions = []
    for n in range(6):
        log.teach(f"l{n}", n, "ada", n % 3, ms(n))
        versions.append((log.version(), log.model.known.digest(BASE), log.model.in_force().solved))
    rows = BASE.basis.rows(EmbeddingNetwork().embed(RASTER.reshape(1, -1)))

    for n, (version, digest, solved) in enumerate(versions):
        found = as_of(log.bus, seconds(n + 0.5), NOW, RASTER)
        assert (found.version, found.digest, found.lessons) == (version, digest, n + 1)
        assert found.probabilities == solved.probabilities(rows)[0].tolist()
        assert found.label == int(np.argmax(found.probabilities))
        assert found.right == []


def test_lessons_of_other_rules_are_counted_and_not_learned(log):
    log.teach("a", 1, "ada", 0, ms(0))
    other = log.taught["a"][0].model_copy(update={"series": "sums-0"})
    log.put(other, 1, ms(0))

    found = as_of(log.bus, seconds(1), NOW, RASTER)

    assert (found.version, found.other_series) == (f"{BASE.generation}+1", 1)


def test_without_a_drawing_mnists_test_images_are_asked(log):
    log.put(published("base1"), 0, ms(0))

    found = as_of(log.bus, seconds(1), NOW, None)

    assert found.version == f"{BASE.generation}+0"
    assert found.label is None
    assert found.accuracy is not None
    assert found.accuracy > 0.99
    assert len(found.right) == 10


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (BEGAN - timedelta(seconds=1), "the log begins at 2026-11-22T12:00:00"),
        (NOW + timedelta(seconds=1), "is after now"),
    ],
)
def test_a_time_that_the_log_does_not_have_is_refused(log, at, why):
    log.teach("a", 1, "ada", 2, ms(0))

    with pytest.raises(CannotTell, match=why):
        as_of(log.bus, at, NOW, RASTER)


def test_an_empty_log_says_so(log):
    with pytest.raises(CannotTell, match="the log is empty"):
        as_of(log.bus, BEGAN, NOW, RASTER)


def test_a_champion_of_then_is_known_by_its_promotion_while_that_is_there(log):
    for n, version in enumerate(("base1", "2", "3")):
        log.put(promoted(version).model_copy(update={"at": seconds(10 * n)}), 0, ms(10 * n))

    then = [[(one.model, one.version) for one in batch(log, at)] for at in (5, 15, 25)]

    assert then == [[("xgboost", "base1")], [("xgboost", "2")], [("xgboost", "3")]]


def test_after_compaction_it_is_known_by_guesses_that_were_shown_before_and_after(log):
    log.put(promoted("3").model_copy(update={"at": seconds(1000)}), 0, ms(1000))
    for name, at, version in (("d1", 10, "2"), ("d2", 30, "2"), ("d3", 50, "9")):
        guesses = [shown(model="xgboost", version="8", shadow=True), shown(model="xgboost", version=version)]
        log.put(example(name, at=at, guesses=guesses), 0, ms(at + 60))

    [known], [unknown] = batch(log, 20), batch(log, 40)

    assert known.version == "2"
    assert known.how.startswith("players were shown its guesses at 2026-11-22T12:00:10")
    assert unknown.version is None
    assert "a guess of 2 at 2026-11-22T12:00:30" in unknown.how
    assert "a guess of 9 at 2026-11-22T12:00:50" in unknown.how


def test_what_nobody_was_shown_is_not_known_and_the_hints_are_said(log):
    log.put(promoted("3").model_copy(update={"at": seconds(1000)}), 0, ms(1000))
    for n, version in enumerate(("base1", "2")):
        log.put(published(version, at=n), 0, ms(n))
    command = PromoteModel(command_id=named("c"), target="xgboost", by="op", version="2", at=seconds(5))
    done = CommandSettled(command_id=named("c"), target="xgboost", outcome="done", message="", at=seconds(6))
    for event in (command, done):
        log.put(event, 0, ms(6))

    [found] = batch(log, 20)

    assert found.version is None
    assert found.how.startswith("not known: models.v1 is compacted")
    assert "by command promoted 2" in found.how
    assert "there were by then base1, 2" in found.how


def test_a_model_that_was_frozen_answers_as_it_stood_and_a_thaw_alone_leaves_it_open(log):
    for n in range(3):
        log.teach(f"l{n}", n, "ada", 0, ms(10 * n))
    log.put(LearningSet(model="river", frozen=True, by="op", at=seconds(15)), 0, ms(15))

    frozen, before = as_of(log.bus, seconds(25), NOW, RASTER), as_of(log.bus, seconds(12), NOW, RASTER)
    log.memory.logs["models.v1", 0].clear()
    log.put(LearningSet(model="river", frozen=False, by="op", at=seconds(30)), 0, ms(30))
    thawed, unknown = as_of(log.bus, seconds(35), NOW, RASTER), as_of(log.bus, seconds(25), NOW, RASTER)

    assert (frozen.version, frozen.learning) == ("mnist3+2", "its learning was frozen at 2026-11-22T12:00:15+00:00 by op")
    assert (before.version, before.learning) == ("mnist3+2", "")
    assert (thawed.version, thawed.learning) == ("mnist3+3", "")
    assert unknown.version == "mnist3+3"
    assert "may have been frozen" in unknown.learning


def test_a_freeze_that_compaction_may_have_taken_away_is_said_to_be_unknown(log):
    """Frozen, thawed and frozen again: models.v1 keeps the last alone."""
    log.teach("a", 1, "ada", 0, ms(0))
    log.put(promoted("3"), 0, ms(5))
    log.put(LearningSet(model="river", frozen=True, by="op", at=seconds(30)), 0, ms(30))

    whole = as_of(log.bus, seconds(20), NOW, RASTER)
    kept = log.memory.logs["models.v1", 0]
    kept[:] = [replace(record, offset=record.offset + 2) if record.key == kept[-1].key else record for record in kept]
    compacted = as_of(log.bus, seconds(20), NOW, RASTER)

    assert whole.learning == ""
    assert "may have been frozen" in compacted.learning


class CountedPolls(MemoryBus):
    """A bus whose tails give one record of each partition at a time, and count them."""

    read = 0

    def follow(self, topics, since, only=None):
        tail = super().follow(topics, since, only)

        def poll(_):
            out = []
            for place, at in tail.positions().items():
                out += self._memory.logs.get(place, [])[at : at + 1]
                tail._next[place] += at < tail.ends()[place]
            self.read += len(out)
            return out

        tail.poll = poll
        return tail


def test_the_beginning_of_the_log_is_known_without_reading_all_of_it_though_a_partition_is_empty(log):
    for n in range(50):
        log.teach(f"l{n}", 1, "ada", n % 2, 1000 * n + 1000)
    bus = CountedPolls(log.memory, past.TOPICS_READ)

    assert past.log_begins(bus) == datetime.fromtimestamp(1, UTC)
    assert bus.read == 2


def test_guesses_that_were_shown_are_not_looked_for_beyond_a_day_after_the_time(log):
    for n in range(50):
        log.put(example(f"d{n}", guesses=[], player_id="ada"), 1, ms(100_000 + n))
    bus = CountedPolls(log.memory, past.TOPICS_READ)

    past._shown(bus, seconds(20))

    assert bus.read == 1


def test_an_experiment_that_answered_in_place_of_the_sums_is_named_and_a_later_promotion_leaves_it_open(log):
    log.teach("a", 1, "ada", 0, ms(0))
    one = promoted("softmax-1", model="river").model_copy(update={"endpoint": "", "variant": "softmax-1", "at": seconds(10)})
    back = one.model_copy(update={"version": BASE.generation, "variant": "", "at": seconds(20)})
    log.put(one, 0, ms(10))
    early, then = as_of(log.bus, seconds(5), NOW, RASTER), as_of(log.bus, seconds(15), NOW, RASTER)
    kept = log.memory.logs["models.v1", 0]
    kept.clear()
    log.put(back, 0, ms(20))
    kept[:] = [replace(record, offset=1) for record in kept]
    unknown, after = as_of(log.bus, seconds(15), NOW, RASTER), as_of(log.bus, seconds(25), NOW, RASTER)

    assert early.promoted == ""
    assert then.promoted.startswith("the experiment softmax-1 answered players then, promoted at 2026-11-22T12:00:10+00:00")
    assert "an experiment may have answered players then" in unknown.promoted
    assert after.promoted == ""
    console = Console(file=io.StringIO(), width=200)
    console.print(told_as_of(then))
    assert then.promoted in console.file.getvalue()
    assert then.batch == [], "a promotion of river is none of a batch model"


def test_a_drawing_of_the_log_is_found_labelled_or_not(log):
    log.put(drawing("d1", strokes=STROKES), 3, ms(0))
    read = features(5)
    log.put(example("d2", features=read), 1, ms(1))
    log.put(example("d3", features=None, strokes=STROKES), 1, ms(1))

    assert np.array_equal(drawing_on_the_log(log.bus, named("d1")), RASTER)
    assert drawing_on_the_log(log.bus, named("d2")).tobytes() == read.raster
    assert np.array_equal(drawing_on_the_log(log.bus, named("d3")), RASTER)
    with pytest.raises(CannotTell, match="the log has no drawing"):
        drawing_on_the_log(log.bus, named("d4"))


def test_a_file_is_a_png_or_what_apps_send(tmp_path):
    picture = io.BytesIO()
    Image.fromarray(np.kron(RASTER.reshape(28, 28), np.ones((4, 4), np.uint8))).save(picture, "PNG")
    (tmp_path / "a.png").write_bytes(picture.getvalue())
    forms = {
        "strokes": [[[10, 10], [10, 90]]],
        "image": RASTER.reshape(28, 28).tolist(),
        "png": base64.b64encode(picture.getvalue()).decode(),
    }
    for name, form in forms.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({name: form}))

    for file in sorted(tmp_path.iterdir()):
        raster = drawing_in(file).reshape(28, 28)
        assert raster.shape == (28, 28)
        assert raster.max() > 200

    assert np.array_equal(drawing_in(tmp_path / "strokes.json").reshape(784), RASTER.reshape(784))


@pytest.mark.parametrize("content", [b"", b"{}", b"{", b"\x89PNG", b'{"image": [1]}', None])
def test_a_file_that_is_no_drawing_is_said_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "x").write_bytes(content)

    with pytest.raises(CannotTell, match="x cannot be asked: ") as told:
        drawing_in(tmp_path / "x")

    assert "\n" not in str(told.value)


def test_the_log_begins_with_its_oldest_record(log):
    assert past.log_begins(log.bus) is None
    log.put(promoted("3"), 0, 5000)
    log.teach("a", 1, "ada", 3, 2000)
    log.put(drawing("d1"), 2, 3000)

    assert past.log_begins(log.bus) == datetime.fromtimestamp(2, UTC)


def test_of_a_time_before_a_player_was_forgotten_it_is_told_that_their_lessons_are_missing(log):
    versions = played(log)
    now = seconds(10**9)

    def at(ms: int) -> past.AsOf:
        return as_of(log.bus, datetime.fromtimestamp(ms / 1000, UTC), now, RASTER)

    before, after = at(1700), at(20_000)

    assert (before.lessons, before.forgotten) == (2, 2)
    assert (after.version, after.lessons, after.forgotten) == (versions[-1], 5, 0)
    assert after.digest == log.model.known.digest(BASE)
