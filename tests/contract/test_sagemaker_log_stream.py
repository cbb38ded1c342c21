"""Log streams on disk: what is kept, and what is read of it."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.local.sagemaker import log_stream, logs
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.log_stream import LogStream, Writer
from deploy.local.sagemaker.logs import Logs
from deploy.local.sagemaker.names import Names


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logs:
    monkeypatch.setattr(log_stream, "PART_BYTES", 2000)
    monkeypatch.setattr(log_stream, "_CHUNK", 64)
    return Logs(tmp_path / "logs", Names("us-east-1", "123456789012"))


async def ask(kept: Logs, operation: str, **request: Any) -> dict[str, Any]:
    return dict(await kept.operations()[operation]({"logGroupName": "group", **request}))


def printed(stream: Path, count: int) -> list[str]:
    """Lines of many lengths, a millisecond between them."""
    rng = random.Random(0)
    write = Writer(stream)
    told = [f"{number} {'x' * rng.choice((0, 3, 60, 63, 64, 65, 200))}" for number in range(count)]
    for line in told:
        write._last_ms += 1
        write(line)
    return told


@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_a_stream_reads_the_same_forwards_and_backwards_from_everywhere(tmp_path: Path, kept: Logs, count: int) -> None:
    told = printed(tmp_path / "stream", count)
    stream = LogStream(tmp_path / "stream")

    forwards = list(stream.after(0))

    assert [line.message for line in forwards] == told[-len(forwards) :] if forwards else not told
    assert list(stream.before(stream.end))[::-1] == forwards
    for number, line in enumerate(forwards):
        assert list(stream.after(line.begin)) == forwards[number:]
        assert list(stream.before(line.end + 1))[::-1][-1] in forwards[number : number + 2]
        assert list(stream.before(line.end))[::-1] == forwards[: number + 1]
        first = next(number for number, other in enumerate(forwards) if other.time_ms >= line.time_ms)
        assert stream.since(line.time_ms) == forwards[first].begin
    assert stream.since(int(time.time() * 1000) + 10**9) == stream.end


def test_of_a_long_stream_the_newest_is_kept_and_its_places_stay_good(tmp_path: Path, kept: Logs) -> None:
    first = printed(tmp_path / "stream", 10)
    place = LogStream(tmp_path / "stream").end
    second = printed(tmp_path / "stream", 5)
    assert [line.message for line in LogStream(tmp_path / "stream").after(place)] == second

    third = printed(tmp_path / "stream", 500)

    stream = LogStream(tmp_path / "stream")
    found = [line.message for line in stream.after(place)]
    assert first[0] not in found
    assert found == third[-len(found) :]
    assert stream.bytes < 2 * 2000 + 300
    assert stream.bytes > 2000
    assert stream.end > 10_000


def test_a_line_that_is_still_written_and_a_stream_of_one_file_are_read(tmp_path: Path, kept: Logs) -> None:
    (tmp_path / "stream").write_text("1000 one\n2000 two\n3000 thr")
    for _ in range(2):
        stream = LogStream(tmp_path / "stream")
        assert [line.message for line in stream.after(0)][:2] == ["one", "two"]
        assert [line.message for line in stream.before(18)] == ["two", "one"]
        Writer(tmp_path / "stream")("ee")


async def test_a_long_log_is_read_a_piece_a_call(kept: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_READ_BYTES", 300)
    monkeypatch.setattr(log_stream, "PART_BYTES", 10**6)
    monkeypatch.setattr(log_stream, "_CHUNK", 64)
    for number in range(60):
        for stream in ("a", "b"):
            kept.writer("group", stream)(f"line {stream}{number}")
    expected = {f"line {stream}{number}" for number in range(60) for stream in ("a", "b")}

    found, token, calls = [], {}, 0
    while True:
        page = await ask(kept, "FilterLogEvents", filterPattern="line", **token)
        found += page["events"]
        calls += 1
        if not page["nextToken"]:
            break
        token = {"nextToken": page["nextToken"]}
    assert {event["message"] for event in found} == expected
    assert len(found) == len({event["eventId"] for event in found}) == len(expected)
    assert [event["timestamp"] for event in found] == sorted(event["timestamp"] for event in found)
    assert calls > 5
    late = found[100]["timestamp"]
    [rest] = [await ask(kept, "FilterLogEvents", startTime=late, endTime=late + 1)]
    assert {event["timestamp"] for event in rest["events"]} == {late}

    for way, start, turn in (("nextForwardToken", {"startFromHead": True}, 1), ("nextBackwardToken", {}, -1)):
        read: list[str] = []
        page = await ask(kept, "GetLogEvents", logStreamName="a", **start)
        while page["events"]:
            assert sum(len(event["message"]) for event in page["events"]) < 400
            read += [event["message"] for event in page["events"]][::turn]
            page = await ask(kept, "GetLogEvents", logStreamName="a", nextToken=page[way])
        assert read[::turn] == [f"line a{number}" for number in range(60)]


@pytest.mark.parametrize("token", ["", "null", "[1]", '["x", "y", "z"]', "[" * 9000])
async def test_a_token_of_nobody_is_refused(kept: Logs, token: str) -> None:
    kept.writer("group", "a")("line")
    with pytest.raises(AwsError) as refused:
        await ask(kept, "FilterLogEvents", nextToken=token)
    assert refused.value.code == "InvalidParameterException"


async def test_a_group_named_after_the_folder_above_is_only_a_name(kept: Logs, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    kept.writer("..", "a")("line")
    await ask(kept, "DeleteLogGroup", logGroupName="..")
    with pytest.raises(AwsError):
        await ask(kept, "DeleteLogGroup", logGroupName=".")
    assert (tmp_path / "precious").exists()


async def test_who_writes_to_a_deleted_stream_begins_it_anew(kept: Logs) -> None:
    write = kept.writer("group", "a")
    write("before")
    await ask(kept, "DeleteLogStream", logStreamName="a")
    with pytest.raises(AwsError, match="log stream does not exist"):
        await ask(kept, "GetLogEvents", logStreamName="a")

    write("after")

    page = await ask(kept, "GetLogEvents", logStreamName="a")
    assert [event["message"] for event in page["events"]] == ["after"]
