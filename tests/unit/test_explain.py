"""Which lessons made the difference of two versions, whose, and what they do: exactly, or saying what is not known."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from rich.console import Console

from contracts.events import Event, LessonsForgotten, LessonTaught, PlayersForgotten, SnapshotTaken, decode
from contracts.ports import Record
from deploy import explain as explaining
from deploy.explain import DRAWN, MNIST, CannotExplain, DataChange, Explanation, explain
from deploy.past_tables import data_changed
from producers.memory_bus import MemoryBus, log_of
from producers.placement import marked
from streams.additive import EIGHTHS
from streams.learner import Learner
from streams.online_base import load_base
from streams.online_model import OnlineModel
from streams.refold.effects import DigitRows, PartedSums, both_solved
from streams.refold.lesson_history import Cut, NoSuchVersion, PlacedLesson, cut_at, pair_of
from tests.histories import example, features, lesson, named, published, seconds, taken_back

BASE = load_base()
SERIES = Learner(BASE).series
FEW = DigitRows(np.zeros((1, BASE.basis.width)), np.zeros(1, int))


@pytest.fixture(autouse=True)
def _few_questions(monkeypatch):
    """MNIST's 10,000 images take seconds: one question stands for them, but in the test that asks them."""
    monkeypatch.setattr(explaining, "_mnist", lambda _: FEW)


class Log:
    """A log whose records the test times, and the model that follows it."""

    def __init__(self) -> None:
        self.memory = log_of(uuid4().hex)
        self.bus = MemoryBus(self.memory, explaining.TOPICS_READ)
        self.model = OnlineModel(BASE, SERIES)
        self.taught: dict[str, tuple[LessonTaught, int]] = {}

    def put(self, event: Event, partition: int, at_ms: int) -> int:
        log = self.memory.logs.setdefault((event.topic, partition), [])
        log.append(
            Record(
                event.topic,
                partition,
                len(log),
                event.record_key(),
                event.record_value(),
                at_ms,
            )
        )
        return len(log) - 1

    def teach(self, name: str, label: int, player: str, partition: int, at_ms: int, **fields) -> LessonTaught:
        seed = sum(name.encode())
        given = {"series": SERIES, "drawing_id": named(name), "embedding": features(seed).embedding, **fields}
        number = self.model.numbers.get(partition, 0) + 1
        one = lesson(name, label, number=number, reader=BASE.reader, player_id=player, **given)
        self._say(one, partition, at_ms)
        self.taught[name] = one, partition
        return one

    def take_back(self, name: str, at_ms: int) -> None:
        one, partition = self.taught.pop(name)
        self._say(taken_back(one, self.model.numbers[partition] + 1), partition, at_ms)

    def _say(self, one: LessonTaught, partition: int, at_ms: int) -> None:
        self.model.apply(one, partition, self.put(one, partition, at_ms))

    def forget(self, player: str, at_ms: int) -> None:
        """Take back all that a player of one partition has taught, and cut it out."""
        for name in [name for name, (one, _) in self.taught.items() if one.player_id == player]:
            partition = self.taught[name][1]
            self.take_back(name, at_ms)
        place = "lessons.v1", partition
        theirs = [decode("lessons.v1", record.value) for record in self.memory.logs[place]]
        numbers = [one.number for one in theirs if isinstance(one, LessonTaught) and one.player_id == player]
        last = self.model.numbers[partition]
        fields = {"source": partition, "series": SERIES, "numbers": [(n, n) for n in numbers], "offset": last}
        event = LessonsForgotten.model_validate({**fields, "number": last + 1000})
        self.model.forget(event, partition, self.put(event, partition, at_ms))
        self.put(PlayersForgotten(marks=["m"]), 0, at_ms)
        self.memory.logs[place] = [
            replace(record, key=marked("lessons.v1", b"nobody"), value=None)
            if getattr(one, "player_id", "") == player
            else record
            for record, one in zip(self.memory.logs[place], [*theirs, event], strict=True)
        ]

    def snapshot(self, at_ms: int = 0) -> str:
        event = self.model.snapshot(self.model.in_force(), seconds(0))
        self.put(event, 0, at_ms)
        return event.version

    def version(self) -> str:
        return self.model.known.version(BASE)

    def explained(self, first: str, second: str) -> Explanation:
        found = explain(self.bus, "river", first, second)
        assert isinstance(found, Explanation)
        return found


@pytest.fixture
def log() -> Log:
    return Log()


def counts(found: Explanation) -> tuple[int, int, int, int]:
    return found.came, found.went, found.relabelled, found.reweighed


def test_the_lessons_between_two_snapshots_are_named_by_player_and_digit_whatever_their_times(log):
    log.teach("a", 1, "ada", 0, 9000)
    first = log.snapshot()
    log.teach("b", 2, "bob", 1, 1)  # by the clock it came before the first snapshot, which does not have it
    log.take_back("a", 9001)
    log.teach("a", 7, "ada", 0, 9001)
    log.teach("c", 3, "ada", 0, 9002, newcomer=True)
    second = log.snapshot()
    log.teach("d", 4, "eve", 2, 2)

    found = log.explained(first, second)

    assert counts(found) == (3, 1, 1, 0)
    assert found.doubtful == {}
    assert found.verified == [first, second]
    assert {player.player_id: (sum(player.came), sum(player.went)) for player in found.players} == {
        "ada": (2, 1),
        "bob": (1, 0),
    }
    assert [(one.came, one.went) for one in found.digits if one.came or one.went] == [(0, 1), (1, 0), (1, 0), (1, 0)]
    back = log.explained(second, first)
    assert counts(back) == (1, 3, 1, 0)


def test_a_lesson_that_counts_more_is_no_other_label(log):
    log.teach("a", 1, "ada", 0, 1, weight=0.5)
    first = log.snapshot()
    log.take_back("a", 2)
    log.teach("a", 1, "ada", 0, 2, weight=1.0)

    assert counts(log.explained(first, log.snapshot())) == (1, 1, 0, 1)


def test_what_is_taken_back_and_taught_again_as_it_was_is_no_difference(log):
    log.teach("a", 1, "ada", 0, 1)
    first = log.snapshot()
    log.take_back("a", 2)
    log.teach("a", 1, "ada", 0, 2)

    assert counts(log.explained(first, log.snapshot())) == (0, 0, 0, 0)


def pair(log: Log, first: str, second: str):
    snapshots = [SnapshotTaken.model_validate_json(r.value) for r in log.memory.logs.get(("models.v1", 0), [])]
    cuts = [cut_at(version, BASE, SERIES, snapshots, log.model.known.changes) for version in (first, second)]
    return pair_of(explaining.lessons_of(log.bus), BASE, SERIES, *cuts), cuts


def test_without_a_player_the_sums_are_those_of_the_log_without_them_bit_for_bit(log):
    alone = Log()
    for n in range(30):
        player = ("ada", "bob", "eve")[n % 3]
        for one in (log, alone) if player != "eve" else (log,):
            one.teach(f"{player} {n}", n % 10, player, n % 2, n, newcomer=n % 5 == 0, weight=0.5 + 0.5 * (n % 2))
    found, _ = pair(log, f"{BASE.generation}+0", log.version())
    mine = [change for change in found.came if change.player_id == "eve"]

    second = both_solved(BASE, found)[1]
    without = second.with_changes(BASE, mine, -1)

    assert second.own.digest() == log.model.sums().digest()
    assert without.own.digest() == alone.model.sums().digest() != second.own.digest()
    assert without.newcomers.digest() == alone.model.sums(newcomers=True).digest()
    assert without.count == alone.model.known.newcomers
    assert np.array_equal(without.solved().weights, alone.model.in_force().solved.weights)


@pytest.mark.parametrize(
    ("partitions", "apart_ms", "doubtful"),
    [((0, 0, 0, 0), 0, 0), ((0, 1, 0, 1), 0, 4), ((0, 1, 0, 1), 400, 4), ((0, 1, 0, 1), 5000, 0)],
    ids=["of one partition", "at one moment", "within a second", "far apart"],
)
def test_a_version_whose_snapshot_is_gone_is_found_by_the_clock_and_says_what_is_in_doubt(log, partitions, apart_ms, doubtful):
    for n, partition in enumerate(partitions):
        log.teach(f"l{n}", n, "ada", partition, 10_000 + n * apart_ms)
    newest = log.snapshot()

    found = log.explained(f"{BASE.generation}+2", newest)

    assert found.came == 2
    assert found.doubtful == ({f"{BASE.generation}+2": doubtful} if doubtful else {})
    assert found.verified == [newest]


def test_what_a_snapshot_before_or_after_says_is_not_in_doubt(log):
    log.teach("a", 1, "ada", 0, 5000)
    log.snapshot()
    log.teach("b", 2, "bob", 1, 4000)
    log.teach("c", 3, "ada", 0, 5000)
    last = log.snapshot()

    found = log.explained(f"{BASE.generation}+2", last)

    assert [sum(player.came) for player in found.players] == [1]
    assert found.players[0].player_id == "ada"
    assert found.doubtful == {f"{BASE.generation}+2": 2}


@pytest.mark.parametrize("series", ["", "of older rules"])
def test_a_snapshot_of_another_series_says_nothing_of_the_versions_of_this_one(log, series):
    old = log.model.snapshot(log.model.in_force(), seconds(0))
    for number, digest in ((3, "old"), (5, "old")):
        told = {"series": series, "version": f"{BASE.generation}+{number}", "offsets": [90, 90, 90, 90], "digest": digest}
        log.put(old.model_copy(update=told), 0, 0)
    for n in range(6):
        log.teach(f"l{n}", n, "ada", 0, 10_000 + n)

    found = log.explained(f"{BASE.generation}+3", f"{BASE.generation}+5")

    assert counts(found) == (2, 0, 0, 0)
    assert found.verified == []


def test_the_newest_version_of_all_lessons_is_exact_without_a_snapshot(log):
    for n in range(4):
        log.teach(f"l{n}", n, "ada", n, 10_000)

    assert log.explained(f"{BASE.generation}+0", log.version()).doubtful == {}


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("mnist3+9", "there is no mnist3+9 yet: there are mnist3+0 to mnist3+1"),
        ("mnist1+3", "from before river was a sum"),
        ("softmax-1+3", "of the experiment softmax-1, which is no sum, .*: of the sums there are mnist3\\+0 to mnist3\\+1"),
        ("7", "no version of river: there are mnist3\\+0 to mnist3\\+1"),
        ("mnist3+", "no version of river"),
        ("mnist3+-1", "no version of river"),
    ],
)
def test_a_version_that_there_is_not_is_said_with_those_that_there_are(log, version, why):
    log.teach("a", 1, "ada", 0, 1)

    with pytest.raises(NoSuchVersion, match=why.replace("+9", r"\+9").replace("+0 to mnist3+1", r"\+0 to mnist3\+1")):
        log.explained("mnist3+0", version)


def test_a_log_that_is_not_what_the_snapshot_says_is_not_explained(log):
    log.teach("a", 1, "ada", 0, 1)
    version = log.snapshot()
    records = log.memory.logs["lessons.v1", 0]
    records[0] = replace(records[0], value=log.taught["a"][0].model_copy(update={"label": 2}).record_value())

    with pytest.raises(CannotExplain, match="not those of its snapshot: gamenight replay"):
        log.explained("mnist3+0", version)


def test_somebody_who_teaches_wrong_sevens_is_first_and_their_effect_is_on_sevens(log, monkeypatch):
    rng = np.random.default_rng(1)
    shapes = {digit: features(1000 + digit).embedding for digit in range(10)}
    rows = BASE.basis.rows(np.stack([np.frombuffer(shapes[digit], "<f4") for digit in range(10)]))
    monkeypatch.setattr(explaining, "_mnist", lambda _: DigitRows(rows, np.arange(10)))
    for n in range(600):
        digit = int(rng.integers(10))
        log.teach(f"right {n}", digit, "ada", 0, n, embedding=shapes[digit])
    first = log.snapshot()
    for n in range(100):
        log.teach(f"kind {n}", n % 10, "bob", 1, 1000 + n, embedding=shapes[n % 10])
        log.teach(f"wrong {n}", 3, "mallory", 2, 1000 + n, embedding=shapes[7])

    found = log.explained(first, log.snapshot())

    worst = found.players[0]
    assert worst.player_id == "mallory"
    assert min(range(10), key=lambda digit: worst.points[MNIST][digit]) == 7
    assert worst.points[MNIST][7] < -10
    [bob] = [player for player in found.players if player.player_id == "bob"]
    assert bob.points[MNIST][7] > 0
    before, after = found.digits[7].p[MNIST]
    assert after < before
    assert found.asked[DRAWN] > 0


def test_models_without_versions_to_explain_say_so(log):
    with pytest.raises(CannotExplain, match="yours has no versions of its own"):
        explain(log.bus, "yours", "own1+0", "own1+3")
    with pytest.raises(NoSuchVersion, match="no model 'nobody': gamenight models lists them"):
        explain(log.bus, "nobody", "1", "2")


def test_a_batch_model_says_which_drawings_came_in_between(log):
    for n, version in enumerate(("base1", "2", "3")):
        lineage = {"offsets": ("", "0:1,1:0", "0:3,1:1")[n], "seed": str(n // 2)}
        log.put(published(version, lineage=lineage, metrics={"mnist": 0.9 + n / 100}), 0, n)
    log.put(example("d0", 9), 0, 1)
    log.put(example("d1", 4, player_id="ada", revision=2), 0, 2)
    log.put(example("d1", 5, player_id="ada", revision=3), 0, 3)
    log.put(example("d2", None, player_id="bob"), 1, 3)
    log.put(example("d3", 6, player_id="eve"), 1, 4)

    found = explain(log.bus, "xgboost", "2", "3")

    assert isinstance(found, DataChange)
    assert found.players == {"ada": 1, "bob": 1}
    assert [digit for digit, n in enumerate(found.labelled) if n] == [5]
    assert (found.withdrawn, found.examples) == (1, 3)
    assert found.lineage == {"offsets": ("0:1,1:0", "0:3,1:1"), "seed": ("0", "1")}
    assert found.metrics == {"mnist": (0.91, 0.92)}
    with pytest.raises(NoSuchVersion, match="no version 4 of xgboost: there are base1, 2, 3"):
        explain(log.bus, "xgboost", "3", "4")
    log.put(published("10"), 0, 4)
    log.put(published("base2"), 0, 5)
    with pytest.raises(NoSuchVersion, match="there are base1, base2, 2, 3, 10"):
        explain(log.bus, "xgboost", "3", "4")


def test_a_base_is_said_to_have_read_nothing(log):
    for version, offsets in (("base1", ""), ("2", "0:1,1:0")):
        log.put(published(version, lineage={"offsets": offsets}), 0, 1)
    console = Console(width=200)

    with console.capture() as told:
        console.print(data_changed(explain(log.bus, "xgboost", "base1", "2")))

    assert "base1 has read nothing of examples.v1 and 2 has read examples.v1 up to 0:1,1:0" in told.get()


def taken(cut: Cut, lessons: Iterable[PlacedLesson]) -> list[bool]:
    return [cut.takes(one) for one in lessons]


def test_weights_are_counted_in_eighths(log):
    log.teach("a", 1, "ada", 0, 1, weight=0.375)

    found, _ = pair(log, "mnist3+0", "mnist3+1")

    assert [change.eighths for change in found.came] == [0.375 * EIGHTHS]
    assert PartedSums.of(found.first).count == 0


def test_what_comes_and_goes_between_two_versions_is_not_kept(log):
    """Whoever draws, corrects and withdraws for years would fill the memory of whoever asks."""
    for n in range(400):
        log.teach(f"l{n}", 1, "ada", 0, 2 * n)
        log.take_back(f"l{n}", 2 * n + 1)
    kept: list[int] = []

    def watched():
        yield from explaining.lessons_of(log.bus)
        kept.append(len(sys._getframe(1).f_locals["net"]))

    none, all_of_them = Cut("none", 0, {}, {}, 0, None), Cut("all", 900, {0: 900}, None, 0, None)
    found = pair_of(watched(), BASE, SERIES, none, all_of_them)

    assert (kept, found.came, found.went) == ([0], [], [])


def test_many_lessons_are_added_some_thousand_at_a_time_and_bit_for_bit_the_same(log, monkeypatch):
    for n in range(30):
        log.teach(f"l{n}", n % 10, "ada", 0, n, newcomer=n % 3 == 0)
    found, _ = pair(log, f"{BASE.generation}+0", log.version())
    at_once = both_solved(BASE, found)[1]
    sizes: list[int] = []
    made = type(BASE.basis).rows
    monkeypatch.setattr(type(BASE.basis), "rows", lambda basis, several: sizes.append(len(several)) or made(basis, several))
    monkeypatch.setattr("streams.refold.effects._AT_ONCE", 7)

    in_parts = both_solved(BASE, found)[1]

    assert max(sizes) == 7
    assert (in_parts.own.digest(), in_parts.newcomers.digest()) == (at_once.own.digest(), at_once.newcomers.digest())
    assert in_parts.count == at_once.count == 10


# --- a player was forgotten


def played(log: Log) -> list[str]:
    """Two players teach by turns; versions from before, in the middle of and after the lessons of the one who goes."""
    versions = [log.version()]
    for n in range(4):
        log.teach(f"eve {n}", n, "eve", 1, 1000 * n)
        log.teach(f"bob {n}", n + 1, "bob", n % 2, 1000 * n + 500)
        versions.append(log.snapshot(1000 * n + 600))
    log.forget("eve", 9000)
    versions.append(log.snapshot(9001))
    log.teach("bob 9", 9, "bob", 1, 10_000)
    return [*versions, log.snapshot(10_001)]


def test_versions_from_after_a_player_was_forgotten_are_explained_exactly(log):
    versions = played(log)

    found = log.explained(versions[-2], versions[-1])
    whole = log.explained(versions[0], versions[-1])

    assert (counts(found), found.forgotten, found.verified) == ((1, 0, 0, 0), {}, versions[-2:])
    assert (counts(whole), whole.forgotten) == ((5, 0, 0, 0), {})
    assert [player.player_id for player in whole.players] == ["bob"]
    assert versions[-1] in whole.verified


def test_a_version_in_which_a_forgotten_player_still_counted_is_told_without_them_and_says_so(log):
    versions = played(log)

    found = log.explained(versions[2], versions[-1])

    assert counts(found) == (3, 0, 0, 0)
    assert found.forgotten == {versions[2]: 2}
    assert found.verified == []


def test_a_missing_lesson_that_nobody_explains_is_still_a_fault(log):
    for n in range(3):
        log.teach(f"l{n}", n, "ada", 0, n)
    newest = log.snapshot()
    several = log.memory.logs["lessons.v1", 0]
    several[1] = replace(several[1], key=marked("lessons.v1", b"nobody"), value=None)

    with pytest.raises(CannotExplain, match="gamenight replay says more"):
        log.explained("mnist3+0", newest)
