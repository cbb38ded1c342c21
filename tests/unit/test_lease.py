"""The lease: one trainer works at a time, and nobody who has lost it goes on."""

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from contracts.settings import Settings
from trainers.lease import TTL_S, Lease, LeaseLost, identity, is_dead


class Refused(Exception):
    """A condition that does not hold."""


class Missing(Exception):
    """A table that is not there."""


class Entry:
    """The bookkeeping's one entry, with DynamoDB's conditions."""

    def __init__(self) -> None:
        self.exceptions = SimpleNamespace(ConditionalCheckFailedException=Refused, ResourceNotFoundException=Missing)
        self.item: dict[str, Any] | None = None
        self.down = False

    def _answer(self) -> None:
        if self.down:
            from botocore.exceptions import EndpointConnectionError

            raise EndpointConnectionError(endpoint_url="http://nowhere")

    def get_item(self, **given: Any) -> dict[str, Any]:
        self._answer()
        return {"Item": dict(self.item)} if self.item else {}

    def update_item(self, **given: Any) -> None:
        self._answer()
        values = given["ExpressionAttributeValues"]
        for part in given["ConditionExpression"].split(" AND "):
            if part.startswith("attribute_not_exists"):
                holds = self.item is None
            else:
                name, value = part.split(" = ")
                holds = self.item is not None and self.item[name] == values[value]
            if not holds:
                raise Refused
        self.item = self.item or {"entry": {"S": "lease"}}
        for part in given["UpdateExpression"].removeprefix("SET ").split(", "):
            name, value = part.split(" = ")
            if "+" in value:
                self.item[name] = {"N": str(int(self.item[name]["N"]) + 1)}
            else:
                self.item[name] = values[value]


class Stage:
    """Trainers of other machines, with a clock that a test turns."""

    def __init__(self) -> None:
        self.now, self.entry, self.stop = 100.0, Entry(), threading.Event()
        self.told: list[str] = []

    def trainer(self, me: str) -> Lease:
        return Lease(Settings(aws_services="local"), self.stop, lambda: self.told.append(me), self.entry, lambda: self.now, me)


def test_one_of_two_has_the_lease_and_the_other_takes_it_when_it_is_not_renewed_any_more():
    stage = Stage()
    first, second = stage.trainer("m1/a/1/1"), stage.trainer("m2/b/1/1")
    first.step()
    second.step()
    assert (first.fence, second.fence) == (1, None)
    assert (first.is_ours, second.is_ours) == (True, False)
    for _ in range(20):  # it is renewed, for long after its first end
        stage.now += 3
        first.step()
        second.step()
    assert (first.fence, second.fence) == (1, None)
    stage.now += TTL_S - 0.1  # the first is killed
    second.step()
    assert second.fence is None
    stage.now += 0.2
    second.step()
    assert (first.fence, second.fence) == (None, 2)
    assert stage.told == ["m1/a/1/1", "m2/b/1/1"], "who takes it reads what was done, first of all"
    first.step()
    with pytest.raises(LeaseLost):
        first.check()
    second.check()
    assert second.condition()["ConditionCheck"]["ExpressionAttributeValues"] == {":fence": {"N": "2"}}


def test_a_lease_that_is_given_back_is_taken_at_once():
    stage = Stage()
    first, second = stage.trainer("m1/a/1/1"), stage.trainer("m2/b/1/1")
    first.step()
    second.step()
    first.release()
    second.step()
    assert second.fence == 2
    second.release()
    second.release()


def test_of_two_who_take_it_at_once_one_has_it():
    stage = Stage()
    several = [stage.trainer(f"m{n}/a/1/1") for n in range(3)]
    seen = stage.entry.get_item()
    for one in several:
        one._take(seen.get("Item"), stage.now)
    assert sorted(one.fence or 0 for one in several) == [0, 0, 1]


def test_while_dynamodb_is_down_the_holder_waits_and_goes_on_when_it_is_back():
    stage = Stage()
    holder = stage.trainer("m1/a/1/1")
    holder.step()
    stage.entry.down = True
    stage.now += TTL_S + 1
    assert (holder.fence, holder.is_ours) == (None, True)
    done = threading.Event()
    waiting = threading.Thread(target=lambda: (holder.check(), done.set()))
    waiting.start()
    assert not done.wait(0.05)
    stage.entry.down = False
    holder.step()
    assert done.wait(5)
    waiting.join()


def test_a_holder_that_stops_waits_no_more():
    stage = Stage()
    holder = stage.trainer("m1/a/1/1")
    holder.step()
    stage.now += TTL_S + 1
    stage.stop.set()
    with pytest.raises(LeaseLost):
        holder.check()
    holder.wait()


def test_a_holder_of_this_machine_that_is_dead_is_not_waited_for():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    theirs = identity(child.pid)
    assert not is_dead(theirs)
    stage = Stage()
    stage.trainer(theirs).step()
    mine = stage.trainer(identity(os.getpid()))
    mine.step()
    assert mine.fence is None
    child.kill()
    child.communicate()
    assert is_dead(theirs)
    assert not is_dead("another-boot/" + theirs.partition("/")[2]), "nothing is known of other machines"
    assert not is_dead("")
    mine.step()
    assert mine.fence == 2


def test_a_lease_runs_out_while_the_machine_sleeps(monkeypatch):
    monkeypatch.setattr("time.clock_gettime", lambda clock: {time.CLOCK_BOOTTIME: 4711.0}[clock])
    assert Lease(Settings(aws_services="local"), threading.Event(), dynamodb=Entry(), me="a///")._clock() == 4711.0


def test_a_renewal_that_meets_a_transaction_is_tried_again_and_an_outage_is_not():
    stage, calls = Stage(), list[str]()
    lease = stage.trainer("m1/a/1/1")
    lease.step()
    write = stage.entry.update_item

    def refused(code: str, times: int) -> None:
        left = [code] * times

        def update_item(**given: Any) -> None:
            calls.append(code)
            if left:
                raise ClientError({"Error": {"Code": left.pop(), "Message": "?"}}, "UpdateItem")
            write(**given)

        stage.entry.update_item = update_item  # type: ignore[method-assign]

    refused("TransactionConflictException", 3)
    stage.now += TTL_S + 1
    lease.step()
    assert (lease.fence, len(calls)) == (1, 4)
    for code, tried in (("InternalServerError", 1), ("TransactionConflictException", 6)):
        calls.clear()
        refused(code, 99)
        with pytest.raises(ClientError):
            lease.step()
        assert len(calls) == tried
    refused("TransactionConflictException", 2)
    lease.release()
    assert stage.entry.item
    assert stage.entry.item["holder"] == {"S": ""}
