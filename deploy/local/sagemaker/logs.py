"""Answers CloudWatch Logs, as far as the SDK, boto3 and `aws logs tail` read from it: a line is an event.

Streams are read in threads, and each call reads a bounded amount: reading a long log must not slow an endpoint's answers.
"""

import asyncio
import heapq
import json
import re
import shutil
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.log_stream import Line, LogStream, Writer
from deploy.local.sagemaker.names import Names

TRAINING: Final = "/aws/sagemaker/TrainingJobs"
TRANSFORM: Final = "/aws/sagemaker/TransformJobs"
PROCESSING: Final = "/aws/sagemaker/ProcessingJobs"
ENDPOINTS: Final = "/aws/sagemaker/Endpoints"
_PAGE: Final = 10_000
"""The most events that a call returns; it is CloudWatch's own limit."""
_PAGE_BYTES: Final = 2**20
_OVERHEAD_BYTES: Final = 26
"""The bytes that each event counts besides its message, as CloudWatch counts."""
_READ_BYTES: Final = 8 * 2**20
"""The most bytes that a call reads; if they do not fill a page, the next token continues there, as CloudWatch's does."""

_COARSE_MS: Final = 1000  # a file's modification time comes from a coarser clock than the times of its lines


class Logs:
    """Keeps log streams by group and name."""

    def __init__(self, folder: Path, names: Names) -> None:
        """Keep log streams in a folder."""
        self._folder = folder
        self._names = names

    def operations(self) -> dict[str, Any]:
        """Return the operations of CloudWatch Logs that this class answers, by name."""
        operations = {
            "DescribeLogGroups": self.describe_groups,
            "DescribeLogStreams": self.describe_streams,
            "GetLogEvents": self.get_events,
            "FilterLogEvents": self.filter_events,
            "DeleteLogStream": self.delete_stream,
            "DeleteLogGroup": self.delete_group,
        }
        return {name: _in_a_thread(operation) for name, operation in operations.items()}

    def writer(self, group: str, stream: str) -> Writer:
        """Return a function that appends a line with the time to a stream; the stream is created at once."""
        return Writer(self._folder / _file_name(group) / _file_name(stream))

    def describe_groups(self, request: Document) -> Document:
        """Return a page of groups, by prefix or pattern."""
        found = []
        for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            name = unquote(folder.name)
            if name.startswith(request.get("logGroupNamePrefix", "")) and request.get("logGroupNamePattern", "") in name:
                arn = self._names.log_group(name)
                created = int(folder.stat().st_ctime * 1000)
                found.append({"logGroupName": name, "arn": f"{arn}:*", "logGroupArn": arn, "creationTime": created})
        page, token = _page(found, request, 50)
        return {"logGroups": page, "nextToken": token}

    def describe_streams(self, request: Document) -> Document:
        """Return a page of a group's streams, by prefix."""
        group = _group(request)
        prefix = request.get("logStreamNamePrefix", "")
        streams = [self._described(group, name, lines) for name, lines in self._streams(group) if name.startswith(prefix)]
        if request.get("orderBy") == "LastEventTime":
            streams.sort(key=lambda stream: stream.get("lastEventTimestamp", 0))
        if request.get("descending"):
            streams.reverse()
        page, token = _page(streams, request, 50)
        return {"logStreams": page, "nextToken": token}

    def get_events(self, request: Document) -> Document:
        """Return a stream's events after a token, from its head, or its last ones; a token is a place in the stream."""
        lines = LogStream(self._stream(request))
        token = request.get("nextToken", "")
        direction, _, place = token.partition("/")
        if token and (direction not in ("f", "b") or not place.isdecimal()):
            raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
        earliest = request.get("startTime", 0)
        if direction == "b" or not (token or request.get("startFromHead")):
            end = int(place) if token else lines.end
            kept, last = _taken(lines.before(end), request)
            return _answer(kept[::-1], last.begin if last else end, end)
        start = int(place) if token else lines.since(earliest) if earliest else 0
        kept, last = _taken(lines.after(start), request)
        return _answer(kept, start, last.end if last else start)

    def filter_events(self, request: Document) -> Document:
        """Return the events of a group's streams that contain all words of the pattern, in the order of time."""
        wanted = set(request.get("logStreamNames", []))
        prefix = request.get("logStreamNamePrefix", "")
        words = [one or two for one, two in re.findall(r'"([^"]*)"|(\S+)', request.get("filterPattern", ""))]
        latest, limit = request.get("endTime", float("inf")), request.get("limit", _PAGE)
        before = _place(request["nextToken"]) if "nextToken" in request else (request.get("startTime", 0), "", 0)
        sources = [
            _named(name, lines, before[0])
            for name, lines in self._streams(_group(request))
            if (not wanted or name in wanted) and name.startswith(prefix) and lines.changed_ms + _COARSE_MS >= before[0]
        ]
        events: list[Document] = []
        token, read, size = None, 0, 0
        for place, line in heapq.merge(*sources, key=lambda source: source[0]):
            if place <= before:
                continue
            if line.time_ms >= latest:
                break
            read += line.end - line.begin
            if all(word in line.message for word in words):
                stream = place[1]
                identity = f"{line.time_ms:020d}{line.begin:020d}{zlib.crc32(stream.encode()):016d}"
                events.append({"logStreamName": stream, "eventId": identity, **_event(line)})
                size += len(line.message) + _OVERHEAD_BYTES
            if len(events) == limit or size >= _PAGE_BYTES or read >= _READ_BYTES:
                token = json.dumps(place)
                break
        return {"events": events, "nextToken": token, "searchedLogStreams": []}

    def delete_stream(self, request: Document) -> Document:
        """Delete a stream; a process that still writes to it starts it again."""
        _remove(self._stream(request))
        return {}

    def delete_group(self, request: Document) -> Document:
        """Delete a group with all its streams."""
        self._streams(_group(request))
        _remove(self._folder / _file_name(_group(request)))
        return {}

    def _stream(self, request: Document) -> Path:
        stream = self._folder / _file_name(_group(request)) / _file_name(request["logStreamName"])
        if not stream.exists():
            raise _missing("stream")
        return stream

    def _streams(self, group: str) -> list[tuple[str, LogStream]]:
        """Return a group's streams by name, in the order of their names."""
        folder = self._folder / _file_name(group)
        if not folder.is_dir():
            raise _missing("group")
        return sorted((unquote(stream.name), LogStream(stream)) for stream in folder.iterdir())

    def _described(self, group: str, name: str, lines: LogStream) -> Document:
        arn = f"{self._names.log_group(group)}:log-stream:{name}"
        first = next((line.time_ms for line in lines.after(0)), None)
        times = {} if first is None else {"firstEventTimestamp": first, "lastEventTimestamp": lines.changed_ms}
        created = lines.created_ms if first is None else first
        return {"logStreamName": name, "arn": arn, "creationTime": created, "storedBytes": lines.bytes, **times}


def _in_a_thread(operation: Callable[[Document], Document]) -> Callable[[Document], Awaitable[Document]]:
    async def answer(request: Document) -> Document:
        try:
            return await asyncio.to_thread(operation, request)
        except FileNotFoundError as gone:  # the stream was deleted while it was read
            raise _missing("stream") from gone

    return answer


def _missing(what: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"The specified log {what} does not exist.")


def _file_name(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")  # else `..` would lead to another folder of the service


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _group(request: Document) -> str:
    group = request.get("logGroupName") or request.get("logGroupIdentifier")
    if not group:
        raise AwsError("InvalidParameterException", "logGroupName or logGroupIdentifier is missing")
    return str(group).rpartition(":log-group:")[2].removesuffix(":*")


def _event(line: Line) -> Document:
    return {"timestamp": line.time_ms, "message": line.message, "ingestionTime": line.time_ms}


def _answer(lines: list[Line], start: int, end: int) -> Document:
    events = [_event(line) for line in lines]
    return {"events": events, "nextForwardToken": f"f/{end:056d}", "nextBackwardToken": f"b/{start:056d}"}


def _taken(lines: Iterable[Line], request: Document) -> tuple[list[Line], Line | None]:
    """Take as many lines within the requested times as make a page; return them and the last line that was read."""
    earliest, latest = request.get("startTime", 0), request.get("endTime", float("inf"))
    kept: list[Line] = []
    last = None
    read = size = 0
    for line in lines:
        if earliest <= line.time_ms < latest:
            size += len(line.message) + _OVERHEAD_BYTES
            if kept and size > _PAGE_BYTES:
                break
            kept.append(line)
        last = line
        read += line.end - line.begin
        if len(kept) == request.get("limit", _PAGE) or read >= _READ_BYTES:
            break
    return kept, last


def _named(stream: str, lines: LogStream, since_ms: int) -> Iterator[tuple[tuple[int, str, int], Line]]:
    """Yield a stream's lines since a time, each with its sort key among the lines of all streams."""
    for line in lines.after(lines.since(since_ms) if since_ms else 0):
        yield (line.time_ms, stream, line.end), line


def _place(token: str) -> tuple[int, str, int]:
    """Return from a token the sort key of the last line that was read."""
    try:
        time_ms, stream, end = json.loads(token)
        if isinstance(time_ms, int) and isinstance(stream, str) and isinstance(end, int):
            return time_ms, stream, end
    except (ValueError, TypeError, RecursionError):
        pass
    raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")


def _page(items: list[Document], request: Document, size: int) -> tuple[list[Document], str | None]:
    token = request.get("nextToken", "0")
    if not token.isdecimal():
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
    start, limit = int(token), request.get("limit", size)
    return items[start : start + limit], json.dumps(start + limit) if len(items) > start + limit else None
