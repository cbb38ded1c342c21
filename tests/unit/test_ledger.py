"""The ledger keeps cells, offsets and outbox together; a step of a fold takes records to it exactly once."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import records
from contracts.events import DrawingSubmitted, Event, GuessMade, MessageRejected, PlayerForgotten, ScoresCounted, decode, now
from contracts.ports import Cells, Origin, Record
from streams.fold import Fold, LogBounds, advance, begin, take_up
from streams.joiner import Joiner
from streams.ledger import Ledger, LedgerTaken, Outgoing
from streams.ledger_view import look, viewing
from streams.scorer import Scorer
from tests.histories import answered, correction, drawing, example, forgotten, guess, scores
from tests.quiet import Quiet


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "0.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path)
    yield ledger
    ledger.close()


def counts(outgoing: Iterable[Outgoing]) -> list[int | None]:
    """The count of each ScoresCounted; None for any other event."""
    events = [decode(out.topic, out.value) for out in outgoing]
    return [event.n if isinstance(event, ScoresCounted) else None for event in events]


class Echo:
    """Guesses every drawing, and counts; a drawing by mallory is too much for it."""

    name = "echo"
    schema = "echo 1"
    sources = ("drawings.v1",)

    def __init__(self) -> None:
        self.settled = 0

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        return [guess("hello")] if cells.get("count") else []

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        assert isinstance(event, DrawingSubmitted)
        cells.put("count", b"%d" % (int(cells.get("count") or b"0") + 1))
        yield guess().model_copy(update={"drawing_id": event.drawing_id})
        if event.player_id == "mallory":
            raise RuntimeError("mallory")

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        self.settled += 1
        cells.put("settled", b"yes")
        return ()

    def close(self, partition: int) -> None:
        """Nothing to let go of."""


def record(offset: int, event: Event | None = None, value: bytes | None = None) -> Record:
    return Record("drawings.v1", 0, offset, b"ada", value or (event or drawing()).record_value(), 0)


def test_what_a_step_writes_is_there_after_it(ledger: Ledger, path: Path):
    with ledger.step():
        ledger.put("a", b"1")
        ledger.put("b", b"2")
        ledger.drop("b")
        ledger.move("drawings.v1", 7)
        ledger.post([drawing()])
        assert (ledger.get("a"), ledger.get("b")) == (b"1", None), "and within it"

    again = Ledger(path)
    assert (again.get("a"), again.get("b"), again.offset("drawings.v1"), again.offset("guesses.v1")) == (b"1", None, 7, -1)
    [outgoing] = again.outgoing()
    assert decode(outgoing.topic, outgoing.value) == drawing()
    assert outgoing.key == b"ada"
    again.close()


def test_a_step_has_one_time_that_it_began_at_and_what_a_fold_says_in_it_has_that(ledger: Ledger):
    told, fold = example(), Scorer()
    begin(ledger, fold, 0)
    before = now()
    advance(ledger, fold, 0, [Record(told.topic, 0, 0, told.record_key(), told.record_value(), 0)])

    said = ledger.outgoing()
    first = ledger.at
    assert before <= first <= now()
    assert {decode(outgoing.topic, outgoing.value).at for outgoing in said} == {first}
    ledger.sent(said)
    begin(ledger, fold, 0)
    assert ledger.at > first
    assert {decode(outgoing.topic, outgoing.value).at for outgoing in ledger.outgoing()} == {ledger.at}, "as it opens, too"


def test_a_step_that_fails_leaves_nothing(ledger: Ledger):
    with ledger.step():
        ledger.put("a", b"1")
        ledger.move("drawings.v1", 1)
    with pytest.raises(OSError, match="disk"), ledger.step():  # noqa: PT012
        ledger.put("a", b"2")
        ledger.move("drawings.v1", 2)
        ledger.post([drawing()])
        raise OSError("disk")

    assert (ledger.get("a"), ledger.offset("drawings.v1"), ledger.outgoing()) == (b"1", 1, [])


def test_a_step_reads_one_moment_and_whoever_is_taken_over_in_it_writes_nothing(ledger: Ledger, path: Path):
    with ledger.step():
        ledger.put("a", b"1" * 4096)
        ledger.put("b", b"1" * 4096)  # too large to be remembered, so that both are looked for in the file

    with pytest.raises(LedgerTaken), ledger.step():  # noqa: PT012
        assert ledger.get("a") == b"1" * 4096
        new = Ledger(path)
        with new.step():
            new.put("b", b"2")
        assert ledger.get("b") == b"1" * 4096
        ledger.put("a", b"old")

    assert (ledger.get("a"), ledger.get("b")) == (b"1" * 4096, b"2")
    new.close()


def test_a_ledger_of_before_with_its_cells_in_the_key_s_tree_goes_on_and_is_read_as_any_other(tmp_path: Path):
    ledgers = [Ledger(tmp_path / f"{n}.sqlite") for n in range(2)]
    ledgers[0].close()
    with closing(sqlite3.connect(ledgers[0].path)) as before:
        before.execute("DROP TABLE cells")
        before.execute("CREATE TABLE cells (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        before.commit()
    ledgers[0] = Ledger(ledgers[0].path)

    for size in (3000, 5000, 20):
        for ledger in ledgers:
            with ledger.step():
                for key in ("b", "c", "a", f"only {size}"):
                    ledger.put(key, key.encode() * size)
                ledger.drop("only 3000")

    assert ledgers[0].get("a") == b"a" * 20
    assert list(ledgers[0].cells()) == list(ledgers[1].cells())
    assert ledgers[0].digest() == ledgers[1].digest()
    for ledger in ledgers:
        ledger.close()


def test_an_attempt_that_fails_takes_its_own_cells_back(ledger: Ledger):
    with ledger.step():
        ledger.put("a", b"1")
        with pytest.raises(ValueError, match="no"), ledger.attempt():  # noqa: PT012
            ledger.put("a", b"2")
            ledger.drop("b")
            assert ledger.get("a") == b"2"
            raise ValueError("no")
        with ledger.attempt():
            ledger.put("c", b"3")

    assert (ledger.get("a"), ledger.get("c")) == (b"1", b"3")


def test_who_was_overtaken_can_no_longer_write(path: Path):
    old, new = Ledger(path), Ledger(path)
    with new.step():
        new.put("a", b"new")

    with pytest.raises(LedgerTaken), old.step():
        old.put("a", b"old")

    assert new.get("a") == b"new"
    old.close()
    new.close()


def test_the_outbox_is_sent_again_until_it_is_known_to_be_sent(ledger: Ledger, path: Path):
    with ledger.step():
        ledger.post([drawing("d1"), drawing("d2")])
    first = ledger.outgoing()
    again = Ledger(path)
    assert again.outgoing() == first, "a process that died did not say so"

    again.sent(first)

    assert again.outgoing() == []
    again.close()
    third = Ledger(path)
    assert third.outgoing() == []
    third.close()


def test_what_need_not_leave_the_outbox_at_once_leaves_it_with_the_next_step_or_when_the_file_is_closed(path: Path):
    ledger = Ledger(path)
    with ledger.step():
        ledger.post([drawing("d1")])
    ledger.sent(ledger.outgoing(), at_once=False)
    assert (ledger.outgoing(), ledger.tidied, len(look(path).outbox)) == ([], False, 1), "a process that dies now says it twice"
    with ledger.step():
        ledger.post([drawing("d2")])
    assert (ledger.tidied, len(look(path).outbox)) == (True, 1)

    ledger.sent(ledger.outgoing(), at_once=False)
    ledger.close()

    assert look(path).outbox == frozenset()


def test_who_was_overtaken_takes_nothing_out_of_the_outbox(path: Path):
    old = Ledger(path)
    with old.step():
        old.post([drawing("d1")])
    old.sent(old.outgoing(), at_once=False)
    new = Ledger(path)

    old.close()

    assert len(look(path).outbox) == 1
    assert len(new.outgoing()) == 1
    new.close()


def test_cells_that_are_remembered_are_those_of_the_file(ledger: Ledger, path: Path):
    history = [(f"c{n % 700}", None if n % 5 == 0 else bytes([n % 251]) * (3 if n % 3 else 5000)) for n in range(3000)]
    for first in range(0, len(history), 50):
        with suppress(OSError), ledger.step():
            for key, value in history[first : first + 50]:
                ledger.get(key)
                if value is None:
                    ledger.drop(key)
                else:
                    ledger.put(key, value)
            if first % 500 == 0:
                raise OSError("disk")
    cells = look(path).cells

    assert {key: ledger.get(key) for key, _ in history} == {key: cells.get(key) for key, _ in history}


def test_what_a_fold_of_this_process_has_written_is_what_another_reads(ledger: Ledger, path: Path, monkeypatch):
    joined, joiner, scorer = Ledger(path.with_name("joiner.sqlite")), Joiner(), Scorer()
    begin(joined, joiner, 0)
    begin(ledger, scorer, 0)
    history = [drawing(), answered([guess(), guess(model="xgboost")]), correction()]
    advance(joined, joiner, 0, [Record(e.topic, 0, n, None, e.record_value(), 0) for n, e in enumerate(history)])
    [out] = [out for out in joined.outgoing() if out.topic == "examples.v1"]
    heard: list[Event] = []
    monkeypatch.setattr(scorer, "apply", lambda _, event, __: heard.append(event) or ())
    decoded: list[str] = []
    monkeypatch.setattr(records, "decode", lambda topic, value: decoded.append(topic) or decode(topic, value))

    for offset in range(2):
        advance(ledger, scorer, 0, [Record(out.topic, 0, offset, out.key, out.value, 1)])

    assert decoded == ["examples.v1"], "the second time it is somebody else's"
    assert heard[0] == heard[1]
    assert heard[0].at == datetime.fromtimestamp(0.001, UTC), "no event is later than its record"
    joined.close()


def test_counts_that_newer_ones_replace_leave_the_outbox_and_nothing_else_does(ledger: Ledger, path: Path):
    with ledger.step():
        ledger.post([drawing("d1"), scores("river", n=1), scores("kmeans", n=1)])
    with ledger.step():
        ledger.post([drawing("d1"), scores("river", n=2)])
    again = Ledger(path)

    for one in (ledger, again):
        assert counts(one.outgoing()) == [None, 1, None, 2]
    again.close()


def test_what_waits_for_newer_counts_stays_while_the_rest_is_sent(ledger: Ledger, path: Path):
    with ledger.step():
        ledger.post([scores("river", n=1), drawing("d1")])
    with ledger.step():
        ledger.post([scores("kmeans", n=1), drawing("d2")])
    at_once = ledger.outgoing(replaced=False)
    assert [out.topic for out in at_once] == ["drawings.v1", "drawings.v1"]

    ledger.sent(at_once)

    again = Ledger(path)
    assert [out.topic for out in again.outgoing()] == [out.topic for out in ledger.outgoing()] == ["metrics.v1", "metrics.v1"]
    again.close()


def test_a_step_that_fails_takes_no_counts_out_of_the_outbox(ledger: Ledger, path: Path):
    with ledger.step():
        ledger.post([scores("river", n=1)])
    Ledger(path).close()  # it has taken the partition over

    with pytest.raises(LedgerTaken), ledger.step():
        ledger.post([scores("river", n=2)])

    again = Ledger(path)
    assert counts(again.outgoing()) == [1]
    again.close()


def test_the_digest_is_of_the_cells_and_not_of_their_history(tmp_path: Path):
    one, two = Ledger(tmp_path / "1"), Ledger(tmp_path / "2")
    with one.step():
        one.put("a", b"1")
        one.put("b", b"2")
    with two.step():
        two.put("b", b"2")
        two.put("x", b"9")
    with two.step():
        two.put("a", b"1")
        two.drop("x")

    assert one.digest() == two.digest()
    with two.step():
        two.put("a", b"2")
    assert one.digest() != two.digest()
    one.close()
    two.close()


def test_a_record_that_comes_twice_is_folded_once(ledger: Ledger):
    fold = Echo()
    advance(ledger, fold, 0, [record(0), record(1)])
    advance(ledger, fold, 0, [record(0), record(1), record(2), record(2)])

    assert ledger.get("count") == b"3"
    assert len(ledger.outgoing()) == 3


def test_nothing_new_settles_nothing(ledger: Ledger):
    fold = Echo()
    advance(ledger, fold, 0, [record(0)])
    advance(ledger, fold, 0, [record(0)])

    assert fold.settled == 1


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_however_it_gathers_it_comes_to_the_same(tmp_path_factory: pytest.TempPathFactory, batches: list[int]):
    folder = tmp_path_factory.mktemp("ledgers")
    together, apart = Ledger(folder / "together"), Ledger(folder / "apart")
    records = [record(i, drawing(f"d{i}")) for i in range(sum(batches))]

    advance(together, Echo(), 0, records)
    done = 0
    for n in batches:
        advance(apart, Echo(), 0, records[: done + n])  # all before once more
        done += n

    assert together.digest() == apart.digest()
    ids = [decode(out.topic, out.value).drawing_id for out in together.outgoing()]  # type: ignore[attr-defined]
    assert ids == [decode(out.topic, out.value).drawing_id for out in apart.outgoing()]  # type: ignore[attr-defined]
    together.close()
    apart.close()


def test_a_fold_is_told_where_an_event_lay_and_what_its_record_was(ledger: Ledger):
    class Told(Echo):
        origins: ClassVar[list[Origin]] = []

        def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
            self.origins.append(origin)
            return ()

    several = [record(0), record(1, drawing(player="a player of a longer name"))]
    advance(ledger, Told(), 3, several)

    assert Told.origins == [Origin(3, n, len(one.value or b""), one.value or b"") for n, one in enumerate(several)]


def test_one_bad_message_is_rejected_and_stops_nothing(ledger: Ledger):
    advance(ledger, Echo(), 0, [record(0, value=b'{"type":"?"}'), record(1, drawing(player="mallory")), record(2)])

    said = [decode(out.topic, out.value) for out in ledger.outgoing()]
    assert [type(event) for event in said] == [MessageRejected, MessageRejected, GuessMade]
    assert ledger.get("count") == b"1", "what mallory's drawing wrote and said is taken back"
    assert ledger.offset("drawings.v1") == 2
    unread, failed = said[:2]
    assert isinstance(unread, MessageRejected)
    assert isinstance(failed, MessageRejected)
    assert (unread.value, unread.source_offset, unread.stage) == (b'{"type":"?"}', 0, "echo")
    assert failed.error == "RuntimeError: mallory"


def test_a_partition_that_is_taken_up_says_what_is_worth_saying_again(ledger: Ledger):
    begin(ledger, Echo(), 0)
    assert ledger.outgoing() == []
    advance(ledger, Echo(), 0, [record(0)])
    ledger.sent(ledger.outgoing())

    begin(ledger, Echo(), 0)

    assert len(ledger.outgoing()) == 1


class Brittle(Echo):
    """Cannot settle a step in which mallory drew, and remembers in memory what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        self.seen = []
        return ()

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        assert isinstance(event, DrawingSubmitted)
        self.seen.append(event.player_id)
        return [guess().model_copy(update={"drawing_id": event.drawing_id})]

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        if "mallory" in self.seen:
            raise RuntimeError("cannot be settled")
        cells.put("seen", f"{(cells.get('seen') or b'').decode()}{''.join(self.seen)}".encode())
        self.seen = []
        return ()


def test_a_record_that_only_fails_when_the_step_is_settled_is_rejected_and_the_others_are_folded(ledger: Ledger):
    players = ["ada", "bob", "mallory", "eve"]

    advance(ledger, Brittle(), 0, [record(n, drawing(player=player)) for n, player in enumerate(players)])

    said = [decode(out.topic, out.value) for out in ledger.outgoing()]
    assert ledger.get("seen") == b"adabobeve"
    assert ledger.offset("drawings.v1") == 3
    [told] = [event for event in said if isinstance(event, MessageRejected)]
    assert (told.source_offset, told.error) == (2, "RuntimeError: cannot be settled")
    assert len(said) == 4


class Flood(Echo):
    """Has more to say of mallory's drawing than any topic takes."""

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        assert isinstance(event, DrawingSubmitted)
        return [event.model_copy(update={"room": "x" * 1_000_000})] if event.player_id == "mallory" else []


def test_what_would_be_too_large_to_be_sent_is_rejected_and_never_waits_in_the_outbox(ledger: Ledger):
    advance(ledger, Flood(), 0, [record(0), record(1, drawing(player="mallory")), record(2)])

    [told] = [decode(out.topic, out.value) for out in ledger.outgoing()]
    assert isinstance(told, MessageRejected)
    assert (told.source_offset, ledger.offset("drawings.v1")) == (1, 2)
    assert told.error.startswith("TooLarge")


def test_a_full_disk_is_no_bad_message(ledger: Ledger):
    class Full(Echo):
        def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        advance(ledger, Full(), 0, [record(0)])

    assert (ledger.offset("drawings.v1"), ledger.outgoing()) == (-1, [])


# --- a ledger knows what it holds


def log(first: int = 0, end: int = 100, cluster: str = "here") -> LogBounds:
    return LogBounds(cluster, {"drawings.v1": first}, {"drawings.v1": end})


def counted(path: Path, n: int = 3, fold: Fold | None = None, **where: int) -> None:
    """A ledger in which ``n`` drawings were folded."""
    ledger = take_up(path, fold or Echo(), 0, log(**where))
    advance(ledger, fold or Echo(), 0, [record(i) for i in range(n)])
    ledger.close()


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.aside"))


def test_a_state_of_the_same_fold_and_log_is_gone_on_with(path: Path):
    counted(path)

    ledger = take_up(path, Echo(), 0, log())

    assert (ledger.get("count"), ledger.offset("drawings.v1"), aside(path)) == (b"3", 2, [])
    ledger.close()


class Another(Echo):
    """As one more model in the list would make it."""

    schema = "echo 2"


class Unreadable(Echo):
    """Cannot read what an earlier version has kept."""

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        if cells.get("count") == b"3":
            raise ValueError("cannot reshape array")
        return []


@pytest.mark.parametrize(
    ("fold", "now"),
    [(Another(), log()), (Echo(), log(cluster="elsewhere", end=10_000)), (Echo(), log(end=2)), (Unreadable(), log())],
    ids=["another schema", "another cluster's longer log", "a log that ends before", "cells that nobody can read"],
)
def test_a_state_of_something_else_is_put_aside_and_folded_again_from_the_first_record(path: Path, fold: Fold, now: LogBounds):
    counted(path)

    ledger = take_up(path, fold, 0, now)

    assert (ledger.get("count"), ledger.offset("drawings.v1")) == (None, -1)
    advance(ledger, fold, 0, [record(0)])
    assert ledger.get("count") == b"1", "the first records count again"
    ledger.close()
    [kept] = aside(path)
    old = Ledger(kept)
    assert (old.get("count"), old.offset("drawings.v1")) == (b"3", 2), "what it held can be looked at"
    old.close()
    again = take_up(path, fold, 0, now)
    assert again.get("count") == b"1", "once is enough"
    again.close()


def test_a_state_that_does_not_say_what_it_is_is_folded_again(path: Path):
    old = Ledger(path)
    advance(old, Echo(), 0, [record(0)])
    old.close()

    ledger = take_up(path, Echo(), 0, log())

    assert ledger.offset("drawings.v1") == -1
    ledger.close()


def test_a_file_that_is_damaged_is_put_aside(path: Path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 1000)

    ledger = take_up(path, Echo(), 0, log())

    assert ledger.offset("drawings.v1") == -1
    ledger.close()
    assert aside(path)


def test_a_cluster_that_does_not_say_its_id_is_taken_for_the_same(path: Path):
    counted(path)

    ledger = take_up(path, Echo(), 0, log(cluster=""))

    assert ledger.get("count") == b"3"
    ledger.close()


def test_what_retention_has_taken_costs_no_state(path: Path):
    counted(path)

    ledger = take_up(path, Echo(), 0, log(first=50))

    assert (ledger.get("count"), ledger.offset("drawings.v1"), aside(path)) == (b"3", 2, [])
    ledger.close()


def test_who_had_the_old_state_open_can_write_no_more(path: Path):
    counted(path)
    old = Ledger(path)

    new = take_up(path, Another(), 0, log())

    with pytest.raises(LedgerTaken), old.step():
        old.put("a", b"old")
    old.close()
    new.close()


def test_it_says_how_much_is_folded_again_also_after_a_restart(path: Path):
    counted(path)
    fold = Another()
    ledger = take_up(path, fold, 0, log(first=10, end=30))
    assert ledger.folded == 0.0
    advance(ledger, fold, 0, [record(i) for i in range(10, 20)])
    assert ledger.folded == 0.5
    ledger.close()

    ledger = take_up(path, fold, 0, log(first=10, end=60))
    assert ledger.folded == 0.5, "what came since is no part of it"
    advance(ledger, fold, 0, [record(i) for i in range(20, 30)])

    assert ledger.folded == 1.0
    ledger.close()


def test_only_the_last_states_are_kept_aside(path: Path):
    for n in range(6):
        fold = Echo()
        fold.schema = f"echo {n + 2}"
        counted(path, fold=fold)

    assert len(aside(path)) == 3


STROKES = b"the strokes of eve" * 500


def bytes_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_a_ledger_that_somebody_reads_is_scrubbed_once_they_are_done_and_nobody_waits_for_them(ledger: Ledger, path: Path):
    with ledger.step():
        ledger.put("story", STROKES)
    with viewing(path) as view:
        list(view.cells())
        with ledger.step():
            ledger.drop("story")
            ledger.unscrubbed = True
        began = monotonic()
        assert (ledger.scrub(), ledger.unscrubbed) == (False, True)
        assert monotonic() - began < 2.5, "writers wait for 5 s"
    assert STROKES[:18] in bytes_of(path)

    assert (ledger.scrub(), ledger.unscrubbed) == (True, False)

    assert STROKES[:18] not in bytes_of(path)


def test_what_was_to_be_scrubbed_when_the_process_died_is_told_at_the_next_start(ledger: Ledger, path: Path):
    fold, word = Joiner(), forgotten("eve", (), PlayerForgotten)
    begin(ledger, fold, 0)
    advance(ledger, fold, 0, [Record(word.topic, 0, 0, b"k", word.record_value(), 0)])

    again = Ledger(path)
    assert again.unscrubbed
    assert again.scrub()
    again.close()
    after = Ledger(path)
    assert not after.unscrubbed
    after.close()


def test_whose_ledger_was_taken_over_does_not_say_for_its_next_owner_that_it_is_scrubbed(ledger: Ledger, path: Path):
    with ledger.step():
        ledger.unscrubbed = True
    owner = Ledger(path)
    assert ledger.scrub()
    owner.close()

    last = Ledger(path)
    assert last.unscrubbed
    last.close()


def test_a_record_that_several_folds_are_handed_is_decoded_once_and_rejected_by_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    decoded: list[str] = []

    def read(record: Record, stage: str) -> Event | MessageRejected | None:
        decoded.append(stage)
        return records.read(record, stage)

    monkeypatch.setattr("streams.fold.read", read)
    good, bad = record(0), Record("drawings.v1", 0, 1, b"k", b"no JSON", 0)
    told = []
    for name in ("first", "second"):
        fold = Quiet("drawings.v1")
        fold.name = name
        ledger = Ledger(tmp_path / f"{name}.sqlite")
        advance(ledger, fold, 0, [good, bad])
        told += [decode(out.topic, out.value) for out in ledger.outgoing()]
        ledger.close()

    assert decoded == ["first", "first", "second"], "what is well-formed once, what is not by each"
    assert [event.stage for event in told if isinstance(event, MessageRejected)] == ["first", "second"]
