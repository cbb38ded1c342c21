"""What the transport decides by itself, and what it takes from inside Faust and aiokafka; the rest is tested on a broker."""

import ast
import asyncio
import inspect
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.partitioner import DefaultPartitioner
from faust.transport.consumer import ThreadDelegateConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

from contracts.settings import Settings
from producers.connection import kafka_of
from producers.pace import Pace
from producers.placement import partition_of
from streams import transport

PRIVATE: dict[str, tuple[type, str]] = {
    "_thread": (ThreadDelegateConsumer, "where Faust's consumer keeps aiokafka's, in a thread of its own"),
    "_ensure_consumer": (AIOKafkaConsumerThread, "gives that aiokafka consumer"),
    "_fetcher": (AIOKafkaConsumer, "what asks the broker for records"),
    "_fetch_min_bytes": (Fetcher, "how much the broker may gather"),
    "_fetch_max_wait_ms": (Fetcher, "how long it may"),
}
"""All of Faust and aiokafka that the transport uses though its name begins with an underscore."""


def members(owner: type) -> Iterator[tuple[str, bool]]:
    """Names that a class and its bases define or use on ``self``, and whether they are read outside of ``__init__``."""
    for base in owner.__mro__[:-1]:
        yield from ((name, True) for name, value in vars(base).items() if callable(value))
        try:
            tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(base)))
        except (OSError, TypeError):
            continue
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                    yield node.attr, isinstance(node.ctx, ast.Load) and function.name != "__init__"


@pytest.mark.parametrize("name", PRIVATE)
def test_what_is_private_in_faust_and_aiokafka_and_used_is_still_there(name: str):
    owner, what = PRIVATE[name]

    assert (name, True) in set(members(owner)), f"{owner.__module__}.{owner.__qualname__}.{name} is gone: {what}"


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Consumer, "getmany"),
        (Consumer, "force_commit"),
        (Consumer, "seek_to_committed"),
        (Transport, "Consumer"),
        (Consumer, "_new_consumer_thread"),
        *((AIOKafkaConsumerThread, name) for name in ("maybe_start", "start", "stop", "call_thread")),
        (transport._App, "BootStrategy"),
        *((transport.SamePlace, name) for name in ("name", "version", "metadata", "on_assignment", "assign")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_is_overridden_is_still_there(owner: type, name: str):
    assert any(name in vars(base) for base in owner.__mro__ if base.__module__.startswith(("faust", "aiokafka", "mode"))), (
        f"Faust calls no {name} any more"
    )


def test_nothing_else_that_is_private_in_a_library_is_used():
    tree = ast.parse(Path(transport.__file__).read_text())
    ours = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}
    ours |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")}

    assert used - ours - {"__init__"} == set(PRIVATE)
    consumer = {name for base in Consumer.__mro__ for name in vars(base)}
    overridden = {
        function.name
        for cls in ast.walk(tree)
        if isinstance(cls, ast.ClassDef) and cls.bases
        for function in cls.body
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name in consumer
    }
    assert {name for name in overridden if name.startswith("_")} == {"__init__", "_new_consumer_thread"}


def test_a_key_goes_where_kafkas_own_partitioner_sends_it():
    partitioner = DefaultPartitioner()
    keys = [f"player-{n}".encode() for n in range(200)]

    assert [partition_of(key, 4) for key in keys] == [partitioner(key, [0, 1, 2, 3], [0, 1, 2, 3]) for key in keys]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5])
def test_a_partition_of_every_topic_is_with_the_same_worker_and_none_is_with_nobody(workers: int, tmp_path: Path):
    class Cluster:
        def partitions_for_topic(self, topic: str) -> set[int]:
            return {0, 1, 2, 3}

    settings = Settings(home=tmp_path)
    same_place: Any = transport._app(settings, kafka_of(settings), "router").assignor
    members = {f"router-{n}": same_place.metadata(["drawings.v1", "examples.v1"]) for n in range(workers)}

    given = {name: dict(one.assignment) for name, one in same_place.assign(Cluster(), members).items()}

    assert all(one["drawings.v1"] == one["examples.v1"] for one in given.values())
    assert sorted(n for one in given.values() for n in one["drawings.v1"]) == [0, 1, 2, 3]


async def test_the_broker_gathers_by_the_pace_of_all_that_was_fetched(monkeypatch: pytest.MonkeyPatch):
    class Answers(Pace):
        def wait_s(self, n: int, now: float, topics: Collection[str] = ()) -> float:
            return 0.01 * n + 0.1 * ("corrections.v1" in topics)

        def hold_s(self, topics: Collection[str]) -> float:
            return 0.0 if "corrections.v1" in topics else 0.01 * len(topics)

    fetcher = SimpleNamespace(_fetch_min_bytes=1, _fetch_max_wait_ms=500)
    consumer: Any = object.__new__(transport._Consumer)
    vars(consumer).update(
        transport=SimpleNamespace(pace=Answers(rush=1, rush_s=1)),
        _thread=SimpleNamespace(_ensure_consumer=lambda: SimpleNamespace(_fetcher=fetcher)),
        flow_active=False,
    )
    come = [TP("examples.v1", 0), TP("lessons.v1", 1), TP("lessons.v1", 1)]

    async def fetched(self: object, timeout: float) -> AsyncIterator[tuple[TP, object]]:
        for place in come:
            yield place, SimpleNamespace(generation_id=1)

    held: list[float] = []

    async def hold(seconds: float) -> None:
        held.append(seconds)

    monkeypatch.setattr(Consumer, "getmany", fetched)
    monkeypatch.setattr(asyncio, "sleep", hold)

    assert [one async for one in consumer.getmany(1.0)] == []
    assert (fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms) == (transport._GATHER_BYTES, 30)
    come.append(TP("corrections.v1", 0))
    assert [one async for one in consumer.getmany(1.0)] == []
    assert fetcher._fetch_max_wait_ms == 140
    come.clear()
    assert [one async for one in consumer.getmany(1.0)] == []
    assert (fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms) == (1, 500)
    assert held == [0.02], "what was fetched first, with two topics and no correction"


def test_a_member_is_given_partitions_of_its_own_topics_alone_and_those_that_belong_together():
    """Before an upgrade a member may have read other topics, and stays in the group until it is missed."""
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: {0, 1, 2, 3})
    assignor = transport.SamePlace(SimpleNamespace(tables=SimpleNamespace()))
    members = {
        name: assignor.metadata(topics)
        for name, topics in {"a": ["corrections.v1", "examples.v1"], "b": ["corrections.v1", "lessons.v1"]}.items()
    }

    given = {member: dict(one.assignment) for member, one in assignor.assign(cluster, members).items()}

    assert given == {
        "a": {"corrections.v1": [0, 2], "examples.v1": [0, 2]},
        "b": {"corrections.v1": [1, 3], "lessons.v1": [1, 3]},
    }
