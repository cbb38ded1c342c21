"""The archive: every example kept once, whatever happens between two objects."""

import io
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4, uuid5

import numpy as np
import pyarrow.parquet as pq
import pytest

from contracts.events import NAMESPACE, Event, ExampleLabelled, ExampleProbed, Features, MessageRejected, ShownGuess, decode
from contracts.ports import Record
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from trainers import archive, example_sink
from trainers.archive import SCHEMA, Archive, Span, parquet, span_of
from trainers.dataset import read_archive
from trainers.example_sink import Placed, batches, catch_up
from trainers.observations import item, newest_of

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
        rows += [(span_of(key).partition, UUID(row["drawing_id"]), row["offset"]) for row in table.to_pylist()]
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


def test_an_object_holds_one_day_and_its_name_says_what():
    late = [example(1, at=NOON), example(2, at=NOON + timedelta(hours=13)), example(3, at=NOON + timedelta(hours=14))]
    blobs = MemoryBlobs()
    Archive(blobs).keep(2, [Placed(7 + i, event) for i, event in enumerate(late)])
    assert list(blobs.keys("")) == [
        "examples/dt=2026-11-22/p2-000000000007-000000000007.parquet",
        "examples/dt=2026-11-23/p2-000000000008-000000000009.parquet",
    ]
    assert Span(2, 8, 9) == span_of("examples/dt=2026-11-23/p2-000000000008-000000000009.parquet")
    assert span_of("examples/dt=2026-11-23/notes.txt") is None


def test_the_same_examples_give_the_same_bytes():
    batch = [Placed(n, example(n)) for n in range(3)]
    assert parquet(batch) == parquet(list(batch))


def test_a_row_has_all_that_the_event_had():
    event = example(3)
    [row] = pq.read_table(io.BytesIO(parquet([Placed(11, event)]))).to_pylist()
    assert (event.drawn_at, event.at) == (row["drawn_at"], row["at"])
    assert event.features.raster == row["raster"]
    assert row["embedding"] == [3.0] * 4
    assert row["strokes"] == "[[[0.0,0.0],[10.0,3.0]]]"
    assert tuple(row["guesses"][0][name] for name in ("model", "label", "latency_ms")) == ("xgboost", 1, 8.5)


def test_what_a_shadow_said_is_kept_beside_what_the_champion_said_and_known_as_its():
    [seen] = example().guesses
    event = example().model_copy(update={"guesses": [seen, seen.model_copy(update={"version": "2", "shadow": True})]})
    [row] = pq.read_table(io.BytesIO(parquet([Placed(0, event)]))).to_pylist()
    assert [(guess["version"], guess["shadow"]) for guess in row["guesses"]] == [("base1", False), ("2", True)]
    kept = item(event)["guesses"]["M"]
    assert {model: guess["M"]["version"]["S"] for model, guess in kept.items()} == {"xgboost": "base1", "xgboost/shadow": "2"}


def test_a_batch_is_bounded_in_examples_and_in_bytes(monkeypatch):
    monkeypatch.setattr(example_sink, "MAX_EXAMPLES", 3)
    monkeypatch.setattr(example_sink, "MAX_BYTES", 100)
    sizes = [10, 10, 10, 10, 95, 200, 1]
    waiting = [Record("examples.v1", 0, i, None, bytes(size), 0) for i, size in enumerate(sizes)]
    assert [[r.offset for r in batch] for batch in batches(waiting, whole=True)] == [[0, 1, 2], [3], [4], [5]]
    assert [[r.offset for r in batch] for batch in batches(waiting, whole=False)] == [[6]]
    assert waiting == []


def test_an_observation_is_the_newest_revision_and_says_what_each_model_said():
    [kept] = newest_of([example(1, revision=2, label=None), example(1, revision=1)])
    assert kept.revision == 2
    assert "label" not in item(kept)
    assert (item(kept)["guesses"]["M"]["xgboost"]["M"]) == {
        "version": {"S": "base1"},
        "label": {"N": "1"},
        "confidence": {"N": "0.100000"},
        "latency_ms": {"N": "8.500"},
    }


def test_the_archive_gives_back_what_was_put_in():
    blobs = MemoryBlobs()
    events = [example(n, label=n) for n in range(3)]
    Archive(blobs).keep(0, [Placed(n, event) for n, event in enumerate(events)])
    found, keys = read_archive(blobs)
    assert len(keys) == 1
    assert [(str(e.drawing_id), e.label, e.features.raster, int(e.drawn_at.timestamp() * 1e6)) for e in events] == [
        (f.drawing_id, f.label, f.raster, f.drawn_at_us) for f in found
    ]


def test_the_archive_says_which_labels_came_over_the_quota_and_of_older_objects_none_did():
    blobs = MemoryBlobs()
    late = example(1).model_copy(update={"over_quota": True})
    Archive(blobs).keep(0, [Placed(0, example(0)), Placed(1, late)])
    [key] = blobs.keys(archive.PREFIX)
    older = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(blobs.get(key))).drop_columns(["over_quota"]), older)
    blobs.put(Span(1, 0, 1).key(NOON.date()), older.getvalue())

    found, _ = read_archive(blobs)

    assert sorted((one.drawing_id == str(late.drawing_id), one.over_quota) for one in found) == [
        (False, False), (False, False), (True, False), (True, True),
    ]  # fmt: skip
