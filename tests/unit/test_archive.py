"""The archive: every example kept once, whatever happens between two objects."""

import io
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import Mock
from uuid import UUID, uuid4, uuid5

import numpy as np
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from contracts.events import NAMESPACE, Event, ExampleLabelled, ExampleProbed, Features, MessageRejected, ShownGuess, decode
from contracts.ports import Record
from contracts.settings import Settings
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from tests.sinks import keep, parquet
from trainers import archive, example_sink, observations
from trainers.archive import Archive, raster_at
from trainers.archive_names import Span, pixels_of, read_name
from trainers.dataset import read_archive
from trainers.example_columns import SCHEMA
from trainers.example_sink import Placed, Sinks, batches, catch_up
from trainers.lease import LeaseLost
from trainers.observations import Observations, items, newest_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def example(
    n: int = 0, *, revision: int = 1, player: str = "ada", at: datetime = NOON, label: int | None = 7
) -> ExampleLabelled:
    return ExampleLabelled(
        at=at,
        drawing_id=uuid5(NAMESPACE, f"{player}/{n}"),
        player_id=player,
        revision=revision,
        correction_id=uuid5(NAMESPACE, f"{player}/{n}/{revision}"),
        label=label,
        drawn_at=at - timedelta(seconds=2),
        strokes=[[[0.0, 0.0], [10.0, n]]],
        width=300,
        height=300,
        features=Features(raster=bytes([n % 256] * 784), embedding=np.full(4, n, "<f4").tobytes(), reader="raster-1/00000000"),
        guesses=[ShownGuess(model="xgboost", version="base1", label=1, probabilities=[0.1] * 10, latency_ms=8.5)],
    )


class Broken(Event):
    """What no reader of examples.v1 knows."""

    topic = "examples.v1"
    key = "player_id"
    type: str = "Broken"
    player_id: str = "ada"


@pytest.fixture
def bus():
    return open_bus(f"memory://{uuid4()}")


def archived(blobs: MemoryBlobs) -> list[tuple[int, UUID, int]]:
    """Partition, drawing and offset of every row, object by object."""
    rows = []
    for key in blobs.keys(archive.PREFIX):
        table = pq.read_table(io.BytesIO(blobs.get(key)))
        assert table.schema.equals(SCHEMA)
        rows += [(read_name(key).span.partition, UUID(row["drawing_id"]), row["offset"]) for row in table.to_pylist()]
    return rows


def test_every_example_of_every_partition_is_archived_once_in_the_order_of_the_log(bus):
    blobs = MemoryBlobs()
    told = [example(n, player=f"p{n % 7}") for n in range(40)]
    for event in told:
        bus.publish(event)

    taken = catch_up(bus, Archive(blobs))

    rows = archived(blobs)
    assert 40 == taken == len(rows)
    assert {event.drawing_id for event in told} == {drawing for _, drawing, _ in rows}
    assert rows == sorted(rows, key=lambda row: (row[0], row[2]))


class Kept:
    """A sink that remembers the offsets that it was given, of each partition."""

    def __init__(self) -> None:
        self.next: dict[int, int] = {}

    def places(self) -> dict[int, int]:
        return self.next

    def lay(self, partition, batch):
        offsets = [placed.offset for placed in batch]
        return lambda: self.next.update({partition: offsets[-1] + 1})


def test_observations_wait_for_a_rush_to_end_but_not_for_ever_and_the_archive_does_not(bus, monkeypatch):
    kept, seen = Kept(), Kept()
    sinks = Sinks(bus, kept, seen, lambda: None, lambda: None, threading.Event())
    monkeypatch.setattr(example_sink, "RUSH", 10.0)
    monkeypatch.setattr(example_sink, "_LATELY_S", 10.0)  # 100 examples, however busy the machine is
    for n in range(60):
        bus.publish(example(n, player=f"p{n % 7}"))
    assert sinks.observe_in_calm() == 60, "so few are no rush"
    for n in range(60):
        bus.publish(example(60 + n, player=f"p{n % 7}"))
    before = dict(seen.next)

    assert (sinks.observe_in_calm(), seen.next) == (0, before)
    assert sinks.archive() == 120
    with sinks.held():
        assert sum(seen.next.values()) == 120, "who is forgotten waits for no rush"
    bus.publish(example(120))
    assert sinks.observe_in_calm() == 0
    monkeypatch.setattr(example_sink, "LONGEST_S", 0.0)
    assert sinks.observe_in_calm() == 1


def test_a_rush_that_begins_while_observations_are_written_is_waited_for_between_two_batches(bus, monkeypatch):
    hurried = iter([False, True])
    monkeypatch.setattr(example_sink, "rushing", lambda _: next(hurried))
    monkeypatch.setattr(example_sink, "FEW", 4)
    monkeypatch.setattr(example_sink, "_LOOK_S", 0.0)
    seen = Kept()
    sinks = Sinks(bus, Kept(), seen, lambda: None, lambda: None, threading.Event())
    for n in range(20):
        bus.publish(example(n))
    assert sinks.observe_in_calm() == 0
    assert list(seen.next.values()) == [4]


class Slow(Kept):
    """A sink that takes 50 ms to write a batch."""

    def lay(self, partition, batch):
        write = super().lay(partition, batch)
        return lambda: (time.sleep(0.05), write())


def test_observations_rest_after_each_batch_for_as_long_as_it_took(bus, monkeypatch):
    monkeypatch.setattr(example_sink, "rushing", lambda _: False)
    monkeypatch.setattr(example_sink, "FEW", 4)
    published(bus, 20)
    began = time.monotonic()

    assert Sinks(bus, Kept(), Slow(), lambda: None, lambda: None, threading.Event()).observe_in_calm() == 20
    assert time.monotonic() - began >= 5 * (0.05 + 0.05)


def test_observations_end_when_both_sinks_are_to_be_held_and_are_brought_up_to_the_end_then(bus, monkeypatch):
    class Wanting(Slow):
        def lay(self, partition, batch):
            write = super().lay(partition, batch)
            return lambda: (begun.set(), write())

    begun = threading.Event()
    monkeypatch.setattr(example_sink, "rushing", lambda _: False)
    monkeypatch.setattr(example_sink, "FEW", 1)
    seen = Wanting()
    sinks = Sinks(bus, Kept(), seen, lambda: None, lambda: None, threading.Event())
    published(bus, 200)  # twenty seconds, if they were not to end
    told: list[int] = []
    observing = threading.Thread(target=lambda: told.append(sinks.observe_in_calm()))
    observing.start()
    begun.wait()
    with sinks.held():
        observing.join()
        assert (told, sum(seen.next.values())) == ([0], 200)


def test_an_archive_that_lost_its_memory_goes_on_after_the_last_object(bus):
    blobs = MemoryBlobs()
    for n in range(5):
        bus.publish(example(n))
    catch_up(bus, Archive(blobs))
    for n in range(5, 8):
        bus.publish(example(n))

    assert catch_up(bus, Archive(blobs)) == 3
    assert catch_up(bus, Archive(blobs)) == 0
    assert len(archived(blobs)) == 8


def test_a_writer_that_dies_between_two_objects_loses_and_doubles_nothing(bus, monkeypatch):
    class Dying(MemoryBlobs):
        puts = 0

        def put(self, key, data, *, only_if_absent=False):
            self.puts += 1
            if self.puts == 3:
                raise ConnectionError("S3 went away")
            super().put(key, data, only_if_absent=only_if_absent)

    monkeypatch.setattr(example_sink, "MAX_EXAMPLES", 4)
    blobs = Dying()
    for n in range(20):
        bus.publish(example(n))
    sink = Archive(blobs)
    with pytest.raises(ConnectionError):
        catch_up(bus, sink)

    assert len(archived(blobs)) == 8
    assert catch_up(bus, sink) == 12
    assert list(range(20)) == [offset for _, _, offset in archived(blobs)]


class Watched(MemoryBlobs):
    """A bucket that takes each object only when ``enough`` says so or a while is over, and notes how far the log was read."""

    def __init__(self, monkeypatch, enough, wait_s: float = 5.0) -> None:
        super().__init__()
        self.highest, self.changed = -1, threading.Condition()
        self.seen: list[int] = []
        self._enough, self._wait_s = enough, wait_s
        reading = example_sink.read

        def noted(record, stage):
            with self.changed:
                self.highest = max(self.highest, record.offset)
                self.changed.notify_all()
            return reading(record, stage)

        monkeypatch.setattr(example_sink, "read", noted)
        monkeypatch.setattr(example_sink, "MAX_EXAMPLES", 4)

    def put(self, key, data, *, only_if_absent=False):
        with self.changed:
            self.changed.wait_for(lambda: self._enough(self.highest, len(self.seen)), self._wait_s)
            self.seen.append(self.highest)
        super().put(key, data, only_if_absent=only_if_absent)


def published(bus, n: int) -> None:
    for k in range(n):
        bus.publish(example(k))


def test_the_next_batch_is_laid_out_while_one_is_written(bus, monkeypatch):
    blobs = Watched(monkeypatch, lambda highest, written: highest >= min(11, 4 * written + 7))
    published(bus, 12)

    assert catch_up(bus, Archive(blobs)) == 12

    assert blobs.seen == [7, 11, 11]
    assert list(range(12)) == [offset for _, _, offset in archived(blobs)]


def test_no_more_than_one_batch_is_laid_out_before_one_is_written(bus, monkeypatch):
    blobs = Watched(monkeypatch, lambda highest, written: written > 0 or highest > 7, wait_s=2.0)
    published(bus, 40)

    catch_up(bus, Archive(blobs))

    assert blobs.seen[0] == 7, f"offset {blobs.seen[0]} was read before the first 4 were written"


def test_nothing_is_being_written_any_more_when_the_archive_is_told_to_end(bus, monkeypatch):
    def cancelled() -> None:
        raise LeaseLost("another trainer does the work")

    blobs = Watched(monkeypatch, lambda highest, written: False, wait_s=0.2)
    published(bus, 8)
    with pytest.raises(LeaseLost):
        catch_up(bus, Archive(blobs), look=cancelled)

    assert [offset for _, _, offset in archived(blobs)] == [0, 1, 2, 3]


def test_a_last_batch_that_cannot_be_written_is_no_success(bus):
    class Full(MemoryBlobs):
        def put(self, key, data, *, only_if_absent=False):
            raise ConnectionError("S3 is full")

    published(bus, 1)
    with pytest.raises(ConnectionError):
        catch_up(bus, Archive(Full()))


def test_an_example_that_cannot_be_written_is_rejected_and_the_others_are_kept_in_order(bus, monkeypatch):
    encoded = archive.encoded

    def picky(table):
        if 5 in table["offset"].to_pylist():
            raise ValueError("Parquet does not take it")
        return encoded(table)

    monkeypatch.setattr(archive, "encoded", picky)
    monkeypatch.setattr(example_sink, "MAX_EXAMPLES", 4)
    blobs = MemoryBlobs()
    published(bus, 12)

    assert catch_up(bus, Archive(blobs)) == 12

    assert [offset for _, _, offset in archived(blobs)] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    [rejected] = [decode(record.topic, record.value) for record in bus.follow(["rejected.v1"], "start").poll(1)]
    assert isinstance(rejected, MessageRejected)
    assert (rejected.source_offset, rejected.error) == (5, "ValueError: Parquet does not take it")


def test_a_trainer_that_must_not_work_any_more_writes_no_object():
    def superseded() -> None:
        raise LeaseLost("another trainer does the work")

    blobs = MemoryBlobs()
    with pytest.raises(LeaseLost):
        keep(Archive(blobs, superseded), 0, [Placed(0, example())])
    assert list(blobs.keys("")) == []


def test_a_message_that_is_no_example_is_rejected_once_and_stops_nothing(bus):
    blobs = MemoryBlobs()
    bus.publish(example(1))
    bus.publish(Broken())
    bus.publish(Broken())

    assert catch_up(bus, Archive(blobs)) == 3
    assert catch_up(bus, Archive(blobs)) == 0

    tail = bus.follow(["rejected.v1"], "start")
    rejected = [decode(record.topic, record.value) for record in tail.poll(1)]
    assert [event.source_offset for event in rejected if isinstance(event, MessageRejected)] == [1, 2]
    assert len(archived(blobs)) == 1


def test_probes_are_passed_over_and_leave_no_object(bus):
    blobs = MemoryBlobs()
    probe = ExampleProbed(probe_id=uuid4(), player_id="ada")
    bus.publish(probe).result()
    assert catch_up(bus, Archive(blobs)) == 1
    assert list(blobs.keys("")) == []

    bus.publish(example(1)).result()
    bus.publish(probe).result()
    catch_up(bus, Archive(blobs))

    assert [offset for _, _, offset in archived(blobs)] == [1]


def test_a_stopped_catch_up_writes_no_more(bus):
    blobs, stop = MemoryBlobs(), threading.Event()
    bus.publish(example(1))
    stop.set()
    assert catch_up(bus, Archive(blobs), stop) == 0
    assert archived(blobs) == []


def test_a_part_holds_one_hour_and_its_name_says_what():
    late = [
        example(1, at=NOON),
        example(2, at=NOON + timedelta(hours=13)),
        example(3, at=NOON + timedelta(hours=13, minutes=9)),
    ]
    blobs = MemoryBlobs()
    keep(Archive(blobs), 2, [Placed(7 + i, event) for i, event in enumerate(late)])
    assert list(blobs.keys("")) == [
        "examples/dt=2026-11-22/p2-000000000007-000000000007.h12.parquet",
        "examples/dt=2026-11-23/p2-000000000008-000000000009.h01.parquet",
    ]
    assert Span(2, 8, 9) == read_name("examples/dt=2026-11-23/p2-000000000008-000000000009.h01.parquet").span
    assert Span(2, 8, 9) == read_name("examples/dt=2026-11-23/p2-000000000008-000000000009.parquet").span, "an older part"
    assert read_name("examples/dt=2026-11-23/notes.txt") is None


def test_the_same_examples_give_the_same_bytes():
    batch = [Placed(n, example(n)) for n in range(3)]
    assert parquet(1, batch) == parquet(1, list(batch))


def test_a_row_has_all_that_the_event_had():
    event = example(3)
    [row] = pq.read_table(io.BytesIO(parquet(1, [Placed(11, event)]))).to_pylist()
    assert (event.drawn_at, event.at) == (row["drawn_at"], row["at"])
    assert event.features.raster == row["raster"]
    assert row["embedding"] == [3.0] * 4
    assert row["strokes"] == "[[[0.0,0.0],[10.0,3.0]]]"
    assert tuple(row["guesses"][0][name] for name in ("model", "label", "latency_ms")) == ("xgboost", 1, 8.5)


def test_what_a_shadow_said_is_kept_beside_what_the_champion_said_and_known_as_its():
    [seen] = example().guesses
    event = example().model_copy(update={"guesses": [seen, seen.model_copy(update={"version": "2", "shadow": True})]})
    [row] = pq.read_table(io.BytesIO(parquet(1, [Placed(0, event)]))).to_pylist()
    assert [(guess["version"], guess["shadow"]) for guess in row["guesses"]] == [("base1", False), ("2", True)]
    drawing, *guesses = items(1, 5, event)
    kept = drawing["guesses"]["M"]
    assert {model: guess["M"]["version"]["S"] for model, guess in kept.items()} == {"xgboost": "base1", "xgboost/shadow": "2"}
    assert [(one["version"]["S"], one["shadow"]["BOOL"]) for one in guesses] == [("base1", False), ("2", True)]


def test_a_batch_is_bounded_in_examples_and_in_bytes(monkeypatch):
    monkeypatch.setattr(example_sink, "MAX_BYTES", 100)
    sizes = [10, 10, 10, 10, 95, 200, 1]
    waiting = [Record("examples.v1", 0, i, None, bytes(size), 0) for i, size in enumerate(sizes)]
    assert [[r.offset for r in batch] for batch in batches(waiting, 3, whole=True)] == [[0, 1, 2], [3], [4], [5]]
    assert [[r.offset for r in batch] for batch in batches(waiting, 3, whole=False)] == [[6]]
    assert waiting == []


def test_an_observation_is_the_newest_revision_and_says_what_each_model_said():
    [kept] = newest_of([Placed(4, example(1, revision=2, label=None)), Placed(5, example(1, revision=1)), Placed(6, None)])
    assert kept.example.revision == 2
    drawing, guess = items(3, kept.offset, kept.example)
    assert "label" not in drawing
    assert "correct" not in guess
    assert drawing["guesses"]["M"]["xgboost"]["M"] == {
        "version": {"S": "base1"},
        "label": {"N": "1"},
        "confidence": {"N": "0.100000"},
        "latency_ms": {"N": "8.500"},
    }
    _, wrong = items(3, 4, example(1))
    assert (wrong["correct"], wrong["guess"], wrong["label"]) == ({"BOOL": False}, {"N": "1"}, {"N": "7"})


def test_an_observation_points_to_its_pixels():
    blobs, event = MemoryBlobs(), example(3)
    keep(Archive(blobs), 2, [Placed(n, example(n)) for n in range(3)] + [Placed(3, event)])
    [drawing, _] = items(2, 3, event)
    assert raster_at(blobs, drawing["pixels"]["S"]) == event.features.raster
    assert raster_at(blobs, pixels_of(2, 9, event.at)) is None
    with pytest.raises(ValueError, match="names no place"):
        raster_at(blobs, "examples/../secrets")


class Throttling:
    """DynamoDB, which takes a part of what it is asked to write, and says so."""

    class TransactionCanceled(Exception):
        """A transaction that was not carried out."""

        def __init__(self, reasons: list[str]) -> None:
            self.response = {"CancellationReasons": [{"Code": reason} for reason in reasons]}

    def __init__(self) -> None:
        self.exceptions = SimpleNamespace(TransactionCanceledException=self.TransactionCanceled)
        self.busy, self.rows, self.largest = 3, dict[str, int](), 0

    def transact_write_items(self, **given):
        puts = [one["Put"] for one in given["TransactItems"]]
        self.largest = max(self.largest, len(puts))
        if "next_offset" in puts[0]["Item"]:
            self.place = puts[0]["Item"]["next_offset"]["N"]
            return
        ids = [put["Item"].get("guess_id", put["Item"]["drawing_id"])["S"] for put in puts]
        new = [int(put["Item"]["revision"]["N"]) for put in puts]
        older = [
            "None" if self.rows.get(one, 0) < revision else "ConditionalCheckFailed"
            for one, revision in zip(ids, new, strict=True)
        ]
        if self.busy:
            self.busy -= 1
            raise self.TransactionCanceled(["ThrottlingError", *["None"] * (len(ids) - 1)])
        if set(older) != {"None"}:
            raise self.TransactionCanceled(older)
        self.rows |= dict(zip(ids, new, strict=True))

    def batch_get_item(self, **given):
        [(table, asked)] = given["RequestItems"].items()
        first, *left = asked["Keys"]
        items = [{**first, "next_offset": {"N": "7"}}]
        return {"Responses": {table: items}, "UnprocessedKeys": {table: {"Keys": left}} if left else {}}

    def get_paginator(self, name):
        assert name == "query", "a player is found without a scan"

        def pages(**given):
            guesses = given["TableName"].endswith("-guesses")
            key = "guess_id" if guesses else "drawing_id"
            return [{"Items": [{key: {"S": one}} for one in self.rows if ("/" in one) == guesses]}]

        return SimpleNamespace(paginate=pages)

    def batch_write_item(self, **given):
        [(table, asked)] = given["RequestItems"].items()
        taken, left = asked[:2], asked[2:]
        for one in taken:
            self.rows.pop(one["DeleteRequest"]["Key"].get("guess_id", one["DeleteRequest"]["Key"].get("drawing_id"))["S"])
        return {"UnprocessedItems": {table: left} if left else {}}


def test_what_dynamodb_throttles_is_written_and_deleted_in_the_end(monkeypatch):
    monkeypatch.setattr(observations, "_WAIT_S", 0.001)
    dynamodb = Throttling()
    sink = Observations(Settings(aws_services="local"), threading.Event(), None, dynamodb)
    keep(sink, 0, [Placed(n, example(n)) for n in range(70)])
    assert (len(dynamodb.rows), dynamodb.largest, dynamodb.place) == (140, 98, "70")
    keep(sink, 0, [Placed(n, example(n % 71, revision=1 + n % 2)) for n in range(70, 72)])
    assert (len(dynamodb.rows), sorted(dynamodb.rows.values())[-2:]) == (142, [2, 2])
    assert sink.places() == dict.fromkeys(range(4), 7)

    told: list[list[str]] = []
    sink.without("ada", told.append)
    assert (len(told[0]), dynamodb.rows) == (71, {})


class Choosy(Throttling):
    """DynamoDB, which throttles, and never takes one of the drawings."""

    def __init__(self, never: UUID, why: str) -> None:
        super().__init__()
        self.never, self.why = str(never), why

    def transact_write_items(self, **given):
        puts = [one["Put"]["Item"] for one in given["TransactItems"]]
        told = [self.why if one.get("drawing_id") == {"S": self.never} else "None" for one in puts]
        if self.busy or set(told) == {"None"}:
            super().transact_write_items(**given)
        elif self.why == "ValidationException":
            raise ClientError({"Error": {"Code": self.why, "Message": "Item size has exceeded"}}, "TransactWriteItems")
        else:
            raise self.TransactionCanceled(told)

    def batch_get_item(self, **given):
        return {"Responses": {}}


@pytest.mark.parametrize("why", ["ValidationError", "ItemCollectionSizeLimitExceeded", "ValidationException"])
def test_a_drawing_that_dynamodb_never_takes_is_rejected_and_the_others_go_on(bus, why, monkeypatch):
    monkeypatch.setattr(observations, "_WAIT_S", 0.001)
    published(bus, 12)
    dynamodb = Choosy(example(5).drawing_id, why)
    patience = Mock(wait=Mock(side_effect=[False] * 9 + [True]))

    assert catch_up(bus, Observations(Settings(aws_services="local"), patience, None, dynamodb)) == 12

    kept = {str(example(n).drawing_id) for n in range(12)} - {dynamodb.never}
    assert ({one for one in dynamodb.rows if "/" not in one}, dynamodb.place, dynamodb.busy) == (kept, "12", 0)
    [rejected] = [decode(record.topic, record.value) for record in bus.follow(["rejected.v1"], "start").poll(1)]
    assert isinstance(rejected, MessageRejected)
    assert (rejected.stage, rejected.source_offset) == ("trainers.observations", 5)
    assert rejected.error.startswith("ValueError: DynamoDB does not take it: ")
    assert why in rejected.error


def test_what_is_wrong_with_the_lease_or_with_dynamodb_rejects_no_drawing(bus):
    published(bus, 1)
    dynamodb = Throttling()
    dynamodb.batch_get_item = Choosy(uuid4(), "").batch_get_item
    guarded = Observations(Settings(aws_services="local"), threading.Event(), lambda: {"ConditionCheck": {}}, dynamodb)
    for error, raised in [
        (Throttling.TransactionCanceled(["ConditionalCheckFailed", "ValidationError", "None"]), LeaseLost),
        (ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "TransactWriteItems"), ClientError),
    ]:
        dynamodb.transact_write_items = Mock(side_effect=error)
        with pytest.raises(raised):
            catch_up(bus, guarded)
    assert not bus.follow(["rejected.v1"], "start").poll(0)


def test_the_archive_gives_back_what_was_put_in():
    blobs = MemoryBlobs()
    events = [example(n, label=n) for n in range(3)]
    keep(Archive(blobs), 0, [Placed(n, event) for n, event in enumerate(events)])
    found, keys = read_archive(blobs)
    assert len(keys) == 1
    assert [(str(e.drawing_id), e.label, e.features.raster, int(e.drawn_at.timestamp() * 1e6)) for e in events] == [
        (f.drawing_id, f.label, f.raster, f.drawn_at_us) for f in found
    ]


def test_the_archive_says_which_labels_came_over_the_quota_and_of_older_objects_none_did():
    blobs = MemoryBlobs()
    late = example(1).model_copy(update={"over_quota": True})
    keep(Archive(blobs), 0, [Placed(0, example(0)), Placed(1, late)])
    [key] = blobs.keys(archive.PREFIX)
    older = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(blobs.get(key))).drop_columns(["over_quota", "partition"]), older)
    blobs.put("examples/dt=2026-11-22/p1-000000000000-000000000001.parquet", older.getvalue())

    found, _ = read_archive(blobs)

    assert sorted((one.drawing_id == str(late.drawing_id), one.over_quota) for one in found) == [
        (False, False), (False, False), (True, False), (True, True),
    ]  # fmt: skip


def test_what_was_drawn_with_is_archived_and_of_older_objects_nobody_knows_it():
    blobs = MemoryBlobs()
    keep(Archive(blobs), 0, [Placed(0, example(0).model_copy(update={"device": "touch"})), Placed(1, example(1))])
    [key] = blobs.keys(archive.PREFIX)
    older = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(blobs.get(key))).drop_columns(["device", "partition"]), older)
    blobs.put("examples/dt=2026-11-22/p1-000000000000-000000000001.parquet", older.getvalue())

    found, _ = read_archive(blobs)

    assert Counter(one.device for one in found) == {"touch": 1, "unknown": 3}
    assert [items(0, 0, example(0).model_copy(update=told))[0].get("device") for told in ({"device": "touch"}, {})] == [
        {"S": "touch"},
        None,
    ]


def test_a_listing_of_before_a_write_does_not_count_after_it():
    class Slow(MemoryBlobs):
        def keys(self, prefix):
            found = list(super().keys(prefix))
            if threading.current_thread() is not threading.main_thread():
                listed.set()
                threading.Event().wait(0.2)
            return iter(found)

    blobs, listed = Slow(), threading.Event()
    sink = Archive(blobs)
    other = threading.Thread(target=sink.places)
    other.start()
    assert listed.wait(5)
    keep(sink, 0, [Placed(n, example(n)) for n in range(3)])
    other.join()
    assert sink.places() == {0: 3}


def test_archiving_ends_in_the_middle_for_who_wants_something_else(bus):
    def cancelled() -> None:
        raise InterruptedError

    blobs = MemoryBlobs()
    bus.publish(example(1))
    with pytest.raises(InterruptedError):
        catch_up(bus, Archive(blobs), None, cancelled)
    assert catch_up(bus, Archive(blobs)) == 0, "what was written counts"
