"""Reads and writes log streams on disk; lines are found by their place or their time. Blocking: call it in threads.

A place counts the bytes of all lines before it, also of lines that are gone by now, so a token that names a place stays valid.
A stream is a folder of parts, each named after the place where it begins; an old stream may still be one file.
"""

import contextlib
import time
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PART_BYTES: Final = 8 * 2**20
PARTS: Final = 2
"""How many parts of a stream are kept: 8 to 16 MiB of a longer stream."""
_CHUNK: Final = 64 * 1024


class Line(NamedTuple):
    """A line that a process printed."""

    begin: int
    end: int
    """The place after the line."""
    time_ms: int
    message: str


class LogStream:
    """A log stream as it is on disk now."""

    def __init__(self, stream: Path) -> None:
        """Read which parts the stream has.

        Raises:
            FileNotFoundError: If there is no such stream.
        """
        files = [stream] if stream.is_file() else sorted(stream.iterdir())
        self._parts = [(0 if file == stream else int(file.name), file) for file in files]
        self._begins = [begin for begin, _ in self._parts]
        self.begin = self._begins[0] if files else 0
        stats = [file.stat() for file in files]
        self.end = self._begins[-1] + stats[-1].st_size if files else 0
        self.bytes = sum(stat.st_size for stat in stats)
        self.created_ms = int((stats[0] if stats else stream.stat()).st_ctime * 1000)
        self.changed_ms = int(stats[-1].st_mtime * 1000) if stats else self.created_ms

    def after(self, place: int) -> Iterator[Line]:
        """Yield the lines from a place on; a line that is still being written is left out."""
        place, rest = max(place, self.begin), b""
        while chunk := self._read(place + len(rest), _CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                end = place + len(line) + 1
                if read := _line(place, end, line):
                    yield read
                place = end

    def before(self, place: int) -> Iterator[Line]:
        """Yield the lines that end at a place or before it, the last one first."""
        at = end = min(place, self.end)
        rest = b""
        while at > self.begin:
            begin = max(at - _CHUNK, self._begins[bisect_right(self._begins, at - 1) - 1])
            chunk = self._read(begin, at - begin)
            if len(chunk) < at - begin:
                return
            rest, at = chunk + rest, begin
            if not rest.endswith(b"\n"):  # the bytes after the last newline are not a whole line yet
                rest = rest[: rest.rfind(b"\n") + 1] or rest
                end = at + len(rest)
                if not rest.endswith(b"\n"):
                    continue
            head, _, whole = rest.partition(b"\n")
            for line in reversed(whole.split(b"\n")[:-1]):
                if read := _line(end - len(line) - 1, end, line):
                    yield read
                end -= len(line) + 1
            rest = head + b"\n"
        if rest.endswith(b"\n") and (read := _line(self.begin, end, rest[:-1])):
            yield read

    def since(self, time_ms: int) -> int:
        """Find the place of the first line that was written at a time or later."""
        low, high = self.begin, self.end
        while high - low > _CHUNK:
            middle = (low + high) // 2
            lines = self.after(middle)
            next(lines, None)  # the place is inside a line, so the rest of that line does not count
            line = next(lines, None)
            if line is None or line.time_ms >= time_ms:
                high = middle
            else:
                low = line.end
        return next((line.begin for line in self.after(low) if line.time_ms >= time_ms), self.end)

    def _read(self, place: int, size: int) -> bytes:
        """Read bytes of one part from a place on; there are none at the end, or if the part was just dropped."""
        begin, file = self._parts[max(0, bisect_right(self._begins, place) - 1)] if self._parts else (0, Path())
        with contextlib.suppress(OSError), file.open("rb") as part:
            part.seek(place - begin)
            return part.read(size)
        return b""


class Writer:
    """Appends to a stream, and drops its oldest part when it gets too long."""

    def __init__(self, stream: Path) -> None:
        """Create the stream if it does not exist."""
        self._stream = stream
        self._last_ms = 0
        self._part = self._open()

    def __call__(self, line: str) -> None:
        """Append a line with the time. A line that cannot be written is lost: a full disk must not end the job that prints."""
        self._last_ms = max(self._last_ms, int(time.time() * 1000))  # a clock that is set back must not break the order
        with contextlib.suppress(OSError):
            if not self._part.is_file():  # the stream was deleted
                self._part = self._open()
            with self._part.open("a", encoding="utf-8", errors="replace") as out:
                out.write(f"{self._last_ms} {line}\n")
                size = out.tell()
            if size >= PART_BYTES:
                self._part = self._stream / f"{int(self._part.name) + size:020d}"
                self._part.touch()
                for old in sorted(self._stream.iterdir())[:-PARTS]:
                    old.unlink()

    def _open(self) -> Path:
        if self._stream.is_file():
            whole = self._stream.rename(self._stream.with_name(f"{self._stream.name}.whole"))
            self._stream.mkdir()
            whole.rename(self._stream / f"{0:020d}")
        self._stream.mkdir(parents=True, exist_ok=True)
        part = max(self._stream.iterdir(), default=self._stream / f"{0:020d}")
        part.touch()
        return part


def _line(begin: int, end: int, line: bytes) -> Line | None:
    stamp, _, message = line.decode("utf-8", errors="replace").partition(" ")
    return Line(begin, end, int(stamp), message) if stamp.isdecimal() and len(stamp) < 16 else None
