"""CloudWatch Logs, as far as the SDK, boto3 and `aws logs tail` read from it: a file a stream, a line an event."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.wire import Document

TRAINING: Final = "/aws/sagemaker/TrainingJobs"
ENDPOINTS: Final = "/aws/sagemaker/Endpoints"
_PAGE: Final = 10_000
"""Events a call, as CloudWatch has it."""
_PAGE_BYTES: Final = 2**20


class Logs:
    """Streams of lines, by group and name."""

    def __init__(self, folder: Path, names: Names) -> None:
        """Keep them in a folder."""
        self._folder = folder
        self._names = names

    def operations(self) -> dict[str, Any]:
        """What is answered here."""
        return {
            "DescribeLogGroups": self.describe_groups,
            "DescribeLogStreams": self.describe_streams,
            "GetLogEvents": self.get_events,
            "FilterLogEvents": self.filter_events,
        }

    def writer(self, group: str, stream: str) -> Callable[[str], None]:
        """What appends a line to a stream, with the time; the stream is there at once."""
        file = self._file(group, stream)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

        def say(line: str) -> None:
            with file.open("a", encoding="utf-8", errors="replace") as out:
                out.write(f"{int(time.time() * 1000)} {line}\n")

        return say

    def tail(self, group: str, stream: str, lines: int) -> list[str]:
        """A stream's last lines."""
        with contextlib.suppress(OSError):
            text = self._file(group, stream).read_text(encoding="utf-8").splitlines()[-lines:]
            return [line.partition(" ")[2] for line in text]
        return []

    async def describe_groups(self, request: Document) -> Document:
        """Groups, by prefix or pattern."""
        found = []
        for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            name = unquote(folder.name)
            if name.startswith(request.get("logGroupNamePrefix", "")) and request.get("logGroupNamePattern", "") in name:
                arn = self._names.log_group(name)
                created = int(folder.stat().st_ctime * 1000)
                found.append({"logGroupName": name, "arn": f"{arn}:*", "logGroupArn": arn, "creationTime": created})
        page, token = _page(found, request, 50)
        return {"logGroups": page, "nextToken": token}

    async def describe_streams(self, request: Document) -> Document:
        """A group's streams, by prefix."""
        group = _group(request)
        prefix = request.get("logStreamNamePrefix", "")
        streams = [self._described(group, file) for file in self._streams(group) if unquote(file.name).startswith(prefix)]
        if request.get("orderBy") == "LastEventTime":
            streams.sort(key=lambda stream: stream.get("lastEventTimestamp", 0))
        if request.get("descending"):
            streams.reverse()
        page, token = _page(streams, request, 50)
        return {"logStreams": page, "nextToken": token}

    async def get_events(self, request: Document) -> Document:
        """A stream's events after a token, or from its head, or its last ones; a token is a place in the file."""
        file = self._file(_group(request), request["logStreamName"])
        if not file.is_file():
            raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")
        limit = request.get("limit", _PAGE)
        token = request.get("nextToken", "")
        direction, _, place = token.partition("/")
        if token and (direction not in ("f", "b") or not place.isdigit()):
            raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
        if direction == "b" or not (token or request.get("startFromHead")):
            events, start, end = _before(file, int(place) if token else file.stat().st_size, request, limit)
        else:
            events, start, end = _after(file, int(place or 0), request, limit)
        return {"events": events, "nextForwardToken": f"f/{end:056d}", "nextBackwardToken": f"b/{start:056d}"}

    async def filter_events(self, request: Document) -> Document:
        """Events of a group's streams in the order of time, those that hold all words of the pattern."""
        group = _group(request)
        wanted = set(request.get("logStreamNames", []))
        prefix = request.get("logStreamNamePrefix", "")
        words = [one or two for one, two in re.findall(r'"([^"]*)"|(\S+)', request.get("filterPattern", ""))]
        events: list[Document] = []
        for file in self._streams(group):
            stream = unquote(file.name)
            if (wanted and stream not in wanted) or not stream.startswith(prefix):
                continue
            for _, event in _events(file, 0, request):
                if all(word in event["message"] for word in words):
                    identity = f"{event['timestamp']:020d}{len(events):036d}"
                    events.append({"logStreamName": stream, "eventId": identity, **event})
        events.sort(key=lambda event: event["timestamp"])
        page, token = _page(events, request, _PAGE)
        return {"events": page, "nextToken": token, "searchedLogStreams": []}

    def _file(self, group: str, stream: str) -> Path:
        return self._folder / quote(group, safe="") / quote(stream, safe="")

    def _streams(self, group: str) -> list[Path]:
        folder = self._folder / quote(group, safe="")
        if not folder.is_dir():
            raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
        return sorted(folder.iterdir(), key=lambda file: unquote(file.name))

    def _described(self, group: str, file: Path) -> Document:
        stat = file.stat()
        name = unquote(file.name)
        arn = f"{self._names.log_group(group)}:log-stream:{name}"
        first = next((event["timestamp"] for _, event in _events(file, 0, {})), None)
        times = {} if first is None else {"firstEventTimestamp": first, "lastEventTimestamp": int(stat.st_mtime * 1000)}
        created = first if first is not None else int(stat.st_ctime * 1000)
        return {"logStreamName": name, "arn": arn, "creationTime": created, "storedBytes": stat.st_size, **times}


def _group(request: Document) -> str:
    group = request.get("logGroupName") or request.get("logGroupIdentifier")
    if not group:
        raise AwsError("InvalidParameterException", "logGroupName or logGroupIdentifier is missing")
    return str(group).rpartition(":log-group:")[2].removesuffix(":*")


def _events(file: Path, start: int, request: Document) -> Iterator[tuple[int, Document]]:
    """Each event from a place on with the place after it; a line that is still being written is left for later."""
    earliest, latest = request.get("startTime", 0), request.get("endTime", float("inf"))
    with file.open("rb") as lines:
        lines.seek(start)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            start += len(line)
            stamp, _, message = line.decode("utf-8", errors="replace").rstrip("\n").partition(" ")
            time_ms = int(stamp)
            if earliest <= time_ms < latest:
                yield start, {"timestamp": time_ms, "message": message, "ingestionTime": time_ms}


def _after(file: Path, start: int, request: Document, limit: int) -> tuple[list[Document], int, int]:
    events: list[Document] = []
    end = start
    size = 0
    for place, event in _events(file, start, request):
        size += len(event["message"]) + 26
        if size > _PAGE_BYTES and events:
            break
        events.append(event)
        end = place
        if len(events) == limit:
            break
    return events, start, end


def _before(file: Path, end: int, request: Document, limit: int) -> tuple[list[Document], int, int]:
    """The last events that end at a place. Reads from the head: logs of one machine are small."""
    found = [(place, event) for place, event in _events(file, 0, request) if place <= end]
    kept = found[-limit:]
    start = found[-limit - 1][0] if len(found) > limit else 0
    return [event for _, event in kept], start, end


def _page(items: list[Document], request: Document, size: int) -> tuple[list[Document], str | None]:
    token = request.get("nextToken", "0")
    if not token.isdigit():
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
    start, limit = int(token), request.get("limit", size)
    return items[start : start + limit], json.dumps(start + limit) if len(items) > start + limit else None
