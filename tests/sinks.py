"""What tests write to the sinks of examples without a log."""

from collections.abc import Iterable

from trainers.archive import ExampleColumns, encoded
from trainers.example_sink import ExampleSink, Placed


def keep(sink: ExampleSink, partition: int, batch: Iterable[Placed]) -> None:
    """Write a batch of a partition to a sink."""
    sink.lay(partition, batch)()


def parquet(partition: int, batch: Iterable[Placed]) -> bytes:
    """Encode examples as a Parquet file of `SCHEMA`; the same examples give the same bytes."""
    columns = ExampleColumns()
    for placed in batch:
        if placed.example:
            columns.add(placed.offset, placed.example)
    return encoded(columns.table(partition))
