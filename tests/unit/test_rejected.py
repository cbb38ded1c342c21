"""`gamenight rejected`, through the operators' door: what nobody could handle is listed, shown, repaired and replayed."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from contracts.events import CorrectionGiven, MessageRejected, MessageReplayed, PromoteModel, decode
from contracts.ports import Bus, Record
from contracts.records import read, rejection
from deploy.cli import main
from producers.bus import open_bus
from tests.histories import correction, drawing
from tests.serving import serving

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bus() -> Bus:
    return open_bus(f"memory://{uuid4()}")


@pytest.fixture
def address(bus: Bus) -> Iterator[str]:
    with serving(bus) as here:
        yield here


@pytest.fixture
def gamenight(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command against the API; exit status, what it said, and what it complained of."""

    def run(*arguments: str) -> tuple[int, str, str]:
        named = {"HOME": tmp_path, "PORT": address.partition(":")[2], "OPERATOR_TOKEN": "token"}
        for name, value in named.items():
            monkeypatch.setenv(f"GAMENIGHT_{name}", str(value))
        monkeypatch.setattr(sys, "argv", ["gamenight", "rejected", *arguments])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def rejected(bus: Bus, value: bytes, *, topic: str = "corrections.v1", offset: int = 7, stage: str = "joiner") -> str:
    """A message on rejected.v1, and its id."""
    told = read(Record(topic, 1, offset, b"ada", value, 0), stage)
    assert isinstance(told, MessageRejected)
    bus.publish(told).result()
    return str(told.rejection_id)


def on(bus: Bus, topic: str) -> list[Any]:
    tail = bus.follow([topic], "start")
    found = [decode(record.topic, record.value) for record in tail.poll(0)]
    tail.close()
    return found


UNLABELLED = json.dumps(json.loads(correction().record_value()) | {"label": None}).encode()


def test_they_are_listed_newest_first_once_each_and_by_topic_and_stage(bus: Bus, gamenight: Command):
    first = rejected(bus, b"[1]")
    rejected(bus, b"[1]")
    second = rejected(bus, b"[2]", topic="drawings.v1", stage="router")

    listed = json.loads(gamenight("list", "--json")[1])

    assert [(one["rejection_id"], one["times"], one["state"]) for one in listed] == [(second, 1, "open"), (first, 2, "open")]
    assert [one["stage"] for one in json.loads(gamenight("list", "--topic", "drawings.v1", "--json")[1])] == ["router"]
    assert [one["source"] for one in json.loads(gamenight("--stage", "joiner", "--json")[1])] == ["corrections.v1"]
    status, said, _ = gamenight()
    assert status == 0
    assert first[:8] in said


def test_one_is_shown_whole_and_one_that_is_not_there_is_said_not_to_be(bus: Bus, gamenight: Command):
    identity = rejected(bus, UNLABELLED)

    status, said, _ = gamenight("show", identity)

    assert status == 0
    assert "corrections.v1, partition 1, offset 7" in said
    assert "label" in said
    status, _, complaint = gamenight("show", str(uuid4()))
    assert status == 2
    assert "no rejection" in complaint


def test_a_field_is_repaired_and_the_message_replayed_to_its_topic(bus: Bus, gamenight: Command):
    identity = rejected(bus, UNLABELLED)

    assert gamenight("repair", identity, "--set", "label=3", "--reason", "it was a 3")[0] == 0
    assert json.loads(gamenight("--json")[1])[0]["state"] == "repaired"
    status, said, _ = gamenight("replay", identity, "--why", "as it was meant")

    assert status == 0, said
    [given] = on(bus, "corrections.v1")
    assert given == correction().model_copy(update={"label": 3, "at": given.at})
    assert isinstance(given, CorrectionGiven)
    assert json.loads(gamenight("--json")[1])[0]["state"] == "replayed"
    assert gamenight("replay", identity)[0] == 0, "twice is harmless"
    assert len({event.correction_id for event in on(bus, "corrections.v1")}) == 1
    assert len([event for event in on(bus, "rejected.v1") if isinstance(event, MessageReplayed)]) == 2
    audited = [(one.command, one.target, one.by, one.via, one.reason, one.message) for one in on(bus, "commands.v1")]
    where = ("corrections.v1", "house", "cli")
    assert audited == [
        ("rejected/repair", *where, "it was a 3", f"rejection_id={identity}"),
        ("rejected/replay", *where, "as it was meant", f"rejection_id={identity}"),
        ("rejected/replay", *where, "", f"rejection_id={identity}"),
    ]
    assert all(one.signature for one in on(bus, "commands.v1"))


def test_a_whole_message_is_given_in_a_file(bus: Bus, gamenight: Command, tmp_path: Path):
    identity = rejected(bus, b"\xff" * 900_000)
    status, _, complaint = gamenight("repair", identity, "--set", "label=3")
    assert status == 2
    assert "only 700000 of its 900000 bytes were kept" in " ".join(complaint.split())
    file = tmp_path / "correction.json"
    file.write_bytes(correction().record_value())

    assert gamenight("repair", identity, "--value", str(file))[0] == 0
    assert gamenight("replay", identity)[0] == 0

    assert on(bus, "corrections.v1") == [correction()]


@pytest.mark.parametrize(
    ("field", "why"), [("label=77", "less than or equal to 9"), ("player_id=", "player_id"), ("label", "FIELD=VALUE")]
)
def test_what_would_be_no_event_of_its_topic_is_refused(bus: Bus, gamenight: Command, field: str, why: str):
    identity = rejected(bus, UNLABELLED)

    status, _, complaint = gamenight("repair", identity, "--set", field)

    assert status in (1, 2)
    assert why in " ".join(complaint.split())
    assert not [event for event in on(bus, "rejected.v1") if event.type == "MessageRepaired"]


def test_what_is_no_event_is_not_replayed_and_what_was_not_kept_whole_neither(bus: Bus, gamenight: Command):
    bad, cut, empty = rejected(bus, UNLABELLED), rejected(bus, b"x" * 800_000, offset=8), rejected(bus, b"[1]", offset=9)

    for identity, why in ((bad, "repair it first"), (cut, "bytes were kept"), (empty, "repair it first")):
        status, _, complaint = gamenight("replay", identity)
        assert status == 2
        assert why in " ".join(complaint.split())
    assert on(bus, "corrections.v1") == []


def test_an_event_that_a_stage_failed_at_is_replayed_as_it_was(bus: Bus, gamenight: Command):
    event = drawing()
    told = rejection(Record("drawings.v1", 0, 3, b"ada", event.record_value(), 0), "router", RuntimeError("boom"))
    bus.publish(told).result()

    assert gamenight("replay", str(told.rejection_id))[0] == 0

    assert on(bus, "drawings.v1") == [event]


def test_a_command_of_a_stranger_is_not_signed_by_way_of_a_replay(bus: Bus, gamenight: Command):
    """Replayed by the API, it would have the API's signature."""
    forged = PromoteModel(command_id=uuid4(), target="xgboost", version="3", by="ada")
    record = Record("commands.v1", 0, 7, b"xgboost", forged.record_value(), 0)
    told = rejection(record, "trainers", ValueError("it is not signed"))
    bus.publish(told).result()

    for asked in (["replay"], ["repair", "--set", "version=4"]):
        status, _, complaint = gamenight(asked[0], str(told.rejection_id), *asked[1:])
        assert (status, "a command is neither repaired nor replayed: give it anew" in complaint) == (2, True)
    assert not any(isinstance(event, PromoteModel) for event in on(bus, "commands.v1"))


@pytest.mark.parametrize("path", ["", f"/{uuid4()}", f"/{uuid4()}/repair", f"/{uuid4()}/replay"])
def test_nobody_but_an_operator_comes_in(address: str, path: str):
    method = "POST" if path.endswith(("repair", "replay")) else "GET"

    for headers, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 403)):
        answer = httpx.request(method, f"http://{address}/api/ops/rejected{path}", headers=headers, json={}, trust_env=False)
        assert answer.status_code == status


def test_what_is_no_rejection_on_the_topic_is_passed_over(bus: Bus, gamenight: Command):
    identity = rejected(bus, b"[1]")

    class Nonsense(CorrectionGiven):
        topic = "rejected.v1"

    bus.publish(Nonsense(**correction().model_dump())).result()

    assert [one["rejection_id"] for one in json.loads(gamenight("--json")[1])] == [identity]
