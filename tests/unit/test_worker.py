"""What a process of the stream layer refuses before it connects, and the name that it joins by."""

import asyncio
import inspect
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from api.folds import implausible
from contracts.ports import Record
from contracts.settings import Settings
from deploy import audit, replay
from producers.bus import open_bus
from producers.pace import Pace
from streams.app import ROLES
from streams.delivery import Delivery, Fork
from streams.online_base import load_base
from streams.refold.folds import fold_makers
from streams.refold.kept_fold import ONLINE
from streams.worker import SecondReader, Worker, member_name
from tests.histories import example
from tests.quiet import Quiet
from trainers.forgetting_log import STAGES


def test_a_fold_of_topics_that_cannot_meet_on_one_worker_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"quiet.*drawings\.v1, metrics\.v1"):
        Worker(Settings(home=tmp_path), "test").fold(Quiet("drawings.v1", "metrics.v1"))


def test_what_a_taker_reads_no_fold_of_the_same_process_may(tmp_path: Path):
    class Nobody:
        async def take(self, gathered: Sequence[Delivery]) -> None:
            """Take nothing."""

    shared = Worker(Settings(home=tmp_path), "test")
    shared.hand(["drawings.v1"], Nobody())
    shared.fold(Quiet("examples.v1"))

    with pytest.raises(ValueError, match=r"drawings\.v1 to two"):
        shared.fold(Quiet("drawings.v1"))
    with pytest.raises(ValueError, match=r"examples\.v1 to two"):
        shared.hand(["examples.v1"], Nobody())


def test_a_topic_that_folds_read_with_different_others_is_refused(tmp_path: Path):
    worker = Worker(Settings(home=tmp_path), "test")
    worker.fold(Quiet("examples.v1"))
    worker.fold(Quiet("examples.v1"))

    with pytest.raises(ValueError, match=r"examples\.v1 to two"):
        worker.fold(Quiet("corrections.v1", "examples.v1"))


async def test_what_several_folds_read_is_acknowledged_when_all_of_them_have_it():
    acknowledged: list[int] = []
    fork, first, second = Fork(), asyncio.Queue[Delivery | None](), asyncio.Queue[Delivery | None]()
    fork.add(first)
    fork.add(second)
    records = [Record("examples.v1", 0, offset, None, b"", 0) for offset in range(2)]
    for record in records:
        await fork.put(Delivery(record, partial(acknowledged.append, record.offset)))

    here, there = ([queue.get_nowait() for _ in records] for queue in (first, second))
    assert [one.record for one in here] == [one.record for one in there] == records
    for one in (*here, *here):  # one that acknowledges twice does not acknowledge for the other
        one.ack()
    assert acknowledged == []
    for one in reversed(there):
        one.ack()
    assert acknowledged == [1, 0]


def test_processes_of_a_role_have_names_of_their_own_and_a_dead_ones_is_given_again(tmp_path: Path):
    first, second = member_name(tmp_path, "router"), member_name(tmp_path, "router")
    first.lock.close()  # as the death of a process does

    third = member_name(tmp_path, "router")

    assert first.name == third.name != second.name
    second.lock.close()
    third.lock.close()


def test_a_process_that_reads_other_topics_than_the_one_before_joins_under_another_name(tmp_path: Path):
    """Under the same name Kafka gives it the partitions of before, without asking anybody, and aiokafka never recovers."""
    marks = []
    for sources in (("corrections.v1", "examples.v1"), ("examples.v1", "corrections.v1"), ("examples.v1",)):
        worker = Worker(Settings(home=tmp_path), "test")
        worker.fold(Quiet(*sources))
        marks.append(worker.mark)

    assert marks[0] == marks[1] != marks[2]


def test_the_folds_of_the_product_are_those_that_the_api_believes_and_the_audit_makes_anew(tmp_path: Path):
    """A fold that the API does not know is taken for somebody's invention when it says how far it is."""
    settings = Settings(home=tmp_path)
    groups = {runner.fold.name: f"gamenight-{role}" for role, made in ROLES.items() for runner in made(settings)._folds}

    assert set(groups) == set(implausible.FOLDS)
    assert groups == audit.FOLDS
    assert set(groups) == set(fold_makers(load_base(), None)), "the audit and the replay make it anew"
    assert {*groups, ONLINE} == set(replay.FOLDS)
    assert {name for name, make in fold_makers(load_base(), None).items() if make().name != name} == set()


HOLDS_NO_PLAYER = {"drift"}
"""The folds whose cells have nothing of any player, so that none has to be forgotten."""


def test_a_fold_forgets_players_and_says_so_or_holds_none():
    """Whoever is forgotten is certified when each stage has said so: a fold that is not asked could hold them for ever."""
    makers = fold_makers(load_base(), None)
    says = {
        name
        for name, make in makers.items()
        if re.search(rf'StageForgot\((?:[^()]|\([^()]*\))*stage="{name}"', inspect.getsource(inspect.getmodule(type(make()))))
    }

    assert says == set(makers) - HOLDS_NO_PLAYER, "a fold handles PlayerForgotten and publishes StageForgot, or is on the list"
    assert says == STAGES, "StageForgot.stage has it, so that the certificate waits for it"


async def _handed(folder: Path, monkeypatch: pytest.MonkeyPatch, pace: Pace | None) -> list[int]:
    """How many records each call of a taker has got, when a second comes while it has the first."""
    taken: list[int] = []
    queues: list[asyncio.Queue[Delivery]] = []
    worker = Worker(Settings(home=folder), "test")
    monkeypatch.setattr(worker._transport, "forward", lambda sources, queue: queues.append(queue))

    def come() -> None:
        queues[0].put_nowait(Delivery(Record("drawings.v1", 0, len(taken), b"ada", b"", 0), lambda: None))

    class Slow:
        async def take(self, gathered: Sequence[Delivery]) -> None:
            taken.append(len(gathered))
            if len(taken) == 1:
                come()

    worker.hand(["drawings.v1"], Slow(), pace)
    come()
    running: asyncio.Future[Any] = asyncio.ensure_future(worker._alongside[-1]())
    for _ in range(100):
        await asyncio.sleep(0)
    running.cancel()
    return taken


@pytest.mark.parametrize(
    ("pace", "taken"),
    [(None, [1, 1]), (Pace(rush=1_000, rush_s=3_600), [1, 1]), (Pace(rush=1, rush_s=3_600), [1])],
    ids=["without", "calm", "rush"],
)
async def test_a_taker_is_called_again_at_once_but_in_a_rush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pace: Pace | None, taken: list[int]
):
    assert await _handed(tmp_path, monkeypatch, pace) == taken


def test_who_asks_for_many_gaps_in_order_has_one_reader_opened_and_for_an_earlier_place_another(monkeypatch):
    name = str(uuid4())
    bus = open_bus(f"memory://{name}")
    partition = bus.publish(example(player_id="ada")).result().partition
    for n in range(9):
        bus.publish(example(str(n), player_id="ada")).result()
    opened: list[str] = []

    def opens(settings, topics):
        opened.append(topics[0])
        return open_bus(f"memory://{name}")

    monkeypatch.setattr("streams.worker.open_bus", opens)
    reader = SecondReader(Settings())

    assert [reader.first("examples.v1", partition, wanted) for wanted in (0, 3, 3, 7, 9)] == [0, 3, 3, 7, 9]
    assert opened == ["examples.v1"]
    assert reader.first("examples.v1", partition, 2) == 2
    assert opened == ["examples.v1"] * 2
