"""The archive's columns: the same rows as one gets by writing each example down field by field."""

import gc
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import DIGITS, ExampleLabelled, MessageRejected, decode
from contracts.records import read
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from tests.unit.test_archive import example
from trainers import example_sink
from trainers.archive import Archive, read_rows
from trainers.example_columns import SCHEMA, ExampleColumns
from trainers.example_sink import catch_up

BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = st.timedeltas(timedelta(0), timedelta(days=80_000)).map(lambda since: BEGIN + since)
POINTS = st.lists(st.floats(-8192, 16384), min_size=2, max_size=3)
GUESSES = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["river", "trees"]),
        "version": st.sampled_from(["1", "softmax-1+7"]),
        "label": st.integers(0, 9),
        "probabilities": st.lists(st.floats(0, 1), min_size=DIGITS, max_size=DIGITS),
        "latency_ms": st.floats(-1e12, 1e12),
        "shadow": st.booleans(),
    }
)
FEATURES = st.fixed_dictionaries(
    {
        "raster": st.binary(min_size=784, max_size=784),
        "embedding": st.integers(0, 4).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)),
        "reader": st.text(max_size=9),
    }
)
EXAMPLES = st.builds(
    ExampleLabelled,
    at=TIMES,
    drawn_at=TIMES,
    drawing_id=st.uuids(),
    correction_id=st.uuids(),
    player_id=st.text(min_size=1, max_size=9),
    revision=st.integers(1, 60),
    label=st.none() | st.integers(0, 9),
    over_quota=st.booleans(),
    asked=st.none() | st.integers(0, 9),
    device=st.sampled_from([None, "mouse", "pen", "touch"]),
    strokes=st.lists(st.lists(POINTS, min_size=1, max_size=3), min_size=1, max_size=3),
    width=st.floats(1, 8192),
    height=st.integers(1, 8192),
    features=st.none() | FEATURES,
    guesses=st.lists(GUESSES, max_size=3),
)


def written_down(offset: int, event: ExampleLabelled) -> dict[str, object]:
    """An example as a row, field by field."""
    features = event.features.model_dump() if event.features else {"raster": None, "embedding": None, "reader": None}
    embedding = features["embedding"]
    floats = None if embedding is None else memoryview(embedding).cast("f").tolist()
    ids = {"drawing_id": str(event.drawing_id), "correction_id": str(event.correction_id)}
    row = event.model_dump() | features | ids | {"embedding": floats, "offset": offset, "partition": 3}
    return {name: row[name] for name in SCHEMA.names} | {"strokes": json.dumps(event.model_dump()["strokes"])}


def without_text(table: pa.Table) -> pa.Table:
    return table.drop_columns(["strokes", "embedding"])


@settings(max_examples=60, deadline=None)
@given(events=st.lists(EXAMPLES, max_size=4))
def test_the_columns_are_the_rows_that_one_gets_field_by_field(events):
    columns = ExampleColumns()
    read = [decode("examples.v1", event.record_value()) for event in events]
    for offset, event in enumerate(read):
        columns.add(offset, event)

    table = columns.table(3)

    rows = [written_down(offset, event) for offset, event in enumerate(events)]
    expected = pa.Table.from_pylist(rows, SCHEMA)
    table.validate(full=True)
    assert table.schema.equals(SCHEMA)
    assert without_text(expected).equals(without_text(table))
    assert repr(expected["embedding"].to_pylist()) == repr(table["embedding"].to_pylist())  # a NaN is equal to none
    assert [orjson.loads(text) for text in table["strokes"].to_pylist()] == [json.loads(str(row["strokes"])) for row in rows]


def test_a_hostile_example_is_rejected_by_its_field_and_the_rest_of_its_batch_is_kept():
    bus, blobs = open_bus(f"memory://{uuid4()}"), MemoryBlobs()
    good = [example(n) for n in range(6)]
    for event in good[:3]:
        bus.publish(event)
    [guess] = example(9).guesses
    bus.publish(example(9).model_copy(update={"guesses": [guess.model_copy(update={"probabilities": [0.1] * 9 + [7.5]})]}))
    for event in good[3:]:
        bus.publish(event)

    assert catch_up(bus, Archive(blobs)) == 7

    [table], _ = read_rows(blobs, ["drawing_id"])
    assert [str(event.drawing_id) for event in good] == table["drawing_id"].to_pylist()
    [rejected] = [decode(record.topic, record.value) for record in bus.follow(["rejected.v1"], "start").poll(1)]
    assert isinstance(rejected, MessageRejected)
    assert (rejected.source_offset, rejected.stage) == (3, "trainers.archive")
    assert "guesses.0.probabilities.9" in rejected.error


def test_an_example_is_taken_apart_as_it_is_read_and_no_batch_of_events_is_held(monkeypatch):
    """Python's collections go through all that is held: a batch of events cost four times what decoding it does."""
    held = []

    def reading(record, stage):
        if record.offset == 29:
            held.append(events())
        return read(record, stage)

    def events() -> int:
        return sum(isinstance(one, ExampleLabelled) for one in gc.get_objects())

    bus = open_bus(f"memory://{uuid4()}")
    for n in range(30):
        bus.publish(example(n))
    before = events()
    monkeypatch.setattr(example_sink, "read", reading)

    catch_up(bus, Archive(MemoryBlobs()))

    assert [count - before <= 2 for count in held] == [True], f"{held} events are held, {before} before"
