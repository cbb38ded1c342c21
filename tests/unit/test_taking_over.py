"""A trainer takes over from one that was killed: nothing is done before all that the other has written is heard."""

import threading
from pathlib import Path
from uuid import uuid4

from contracts.events import ModelEvent
from contracts.ports import Partition, Record, Tail
from contracts.settings import Settings
from producers.bus import open_bus
from producers.rejections import Rejections
from producers.signing import Proofs
from tests.histories import published
from trainers.__main__ import Trainer
from trainers.lease import TTL_S, Lease
from trainers.log_reader import LogReader

WRITTEN = 40


class Slow:
    """A log that gives one record at a time, and none before it is let."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._waiting: list[Record] = []
        self._positions: dict[Partition, int] = {}
        self.flows = threading.Event()

    def poll(self, timeout_s: float) -> list[Record]:
        if not self.flows.wait(0.02):
            return []
        self._waiting += self._tail.poll(0.02)
        given, self._waiting = self._waiting[:1], self._waiting[1:]
        self._positions |= {(one.topic, one.partition): one.offset + 1 for one in given}
        return given

    def positions(self) -> dict[Partition, int]:
        return dict(self._positions)


def test_who_takes_over_a_slow_log_does_nothing_before_all_that_was_written_is_heard(tmp_path: Path) -> None:
    stop, bus = threading.Event(), open_bus(f"memory://{uuid4()}")
    trainer = Trainer(Settings(aws_services="local", home=tmp_path), stop)
    trainer._bus, slow = bus, Slow(bus.follow([ModelEvent.topic], "start"))
    reader = LogReader(trainer._model_log, Rejections(bus), Proofs(None, None))
    hearing = threading.Thread(target=trainer._hear, args=(reader, slow), daemon=True)
    hearing.start()
    for number in range(WRITTEN):  # by the trainer before, which is killed now
        bus.publish(published(str(number))).result(5)

    taking = threading.Thread(target=trainer._take_over, daemon=True)
    taking.start()
    taking.join(0.3)
    assert taking.is_alive(), "it works already, and has heard nothing"
    slow.flows.set()
    taking.join(5)

    assert not taking.is_alive()
    assert len(trainer._model_log.published("xgboost")) == WRITTEN
    stop.set()
    hearing.join(5)


def test_a_trainer_that_stops_in_the_middle_of_a_slow_log_waits_for_it_no_longer(tmp_path: Path) -> None:
    stop = threading.Event()
    taking = threading.Thread(target=Trainer(Settings(aws_services="local", home=tmp_path), stop)._take_over, daemon=True)
    taking.start()
    stop.set()
    taking.join(5)
    assert not taking.is_alive()


def test_who_is_longer_over_the_log_than_the_lease_holds_works_only_if_nobody_else_took_it_meanwhile() -> None:
    from tests.unit.test_lease import Stage

    for other_takes in (False, True):
        stage = Stage()

        def long(stage: Stage = stage) -> None:
            stage.now += TTL_S + 1

        slow = Lease(Settings(aws_services="local"), stage.stop, long, stage.entry, lambda stage=stage: stage.now, "m1/a/1/1")
        other = stage.trainer("m2/b/1/1")
        slow.step()
        assert (slow.fence, slow.has_it) == (None, True), "it has to renew it before it works"
        other.step()
        stage.now += TTL_S + 1
        if other_takes:
            other.step()
        slow.step()
        assert (slow.fence, slow.has_it, other.fence) == ((None, False, 2) if other_takes else (1, True, None))
