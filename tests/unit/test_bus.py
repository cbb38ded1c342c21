"""Where a bus puts an event, and what it says when there is none."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import DrawingSubmitted
from contracts.records import key_of
from producers.bus import BrokerAbsent, open_bus
from producers.placement import marked, partition_of


@settings(deadline=None)
@given(key=st.binary(max_size=200), partitions=st.integers(1, 64))
def test_a_key_goes_to_the_partition_that_faust_would_choose(key, partitions):
    chosen = DefaultPartitioner()(key, list(range(partitions)), list(range(partitions)))

    assert partition_of(key, partitions) == chosen


def test_a_url_of_no_known_kind_is_refused():
    for url in ("redis://here", "kafka://", "memory://", "localhost:9092"):
        with pytest.raises(ValueError, match="kafka://host:port or memory://name"):
            open_bus(url)


def test_without_a_broker_the_error_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # closed below, so nobody listens there

    with pytest.raises(BrokerAbsent, match="gamenight up"):
        open_bus(f"kafka://127.0.0.1:{port}", deadline_s=0.2)


def test_buses_of_one_name_share_a_log_and_others_do_not():
    drawing = DrawingSubmitted(drawing_id=uuid4(), player_id="p", strokes=[[[1, 1]]], width=9, height=9, final=True)
    open_bus("memory://one").publish(drawing)

    assert [record.value for record in open_bus("memory://one").follow(["drawings.v1"], "start").poll(0)] == [
        drawing.record_value()
    ]
    assert open_bus("memory://two").follow(["drawings.v1"], "start").poll(0) == []


def test_no_two_records_have_one_mark_whatever_threads_and_processes_write_them():
    def several(_: int) -> list[bytes]:
        return [marked("drawings.v1", b"ada") for _ in range(500)]

    with ThreadPoolExecutor(4) as threads:
        here = [key for keys in threads.map(several, range(8)) for key in keys]
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, b" ".join(several(0)))
        os._exit(0)
    os.close(writing)
    here += several(0)
    with os.fdopen(reading, "rb") as pipe:
        there = pipe.read().split()
    os.waitpid(child, 0)

    assert len(there) == 500
    assert len({*here, *there}) == len(here) + len(there)
    assert {key_of(key) for key in (*here, *there)} == {b"ada"}
