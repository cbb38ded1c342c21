"""Unpacks a model.tar.gz that anybody may have made: within bounds, regular files only, the whole archive or nothing.

``tarfile``'s own ``filter="data"`` is not in every Python that we run on (Debian 12 has 3.11.2), stops no bomb,
and leaves what it had written before it refused. Nothing here depends on it.
"""

import gzip
import os
import shutil
import tarfile
import tempfile
import time
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

_CHUNK = 1 << 16
_DEPTH = 32
_NAME_CHARACTERS = 255


class ArchiveRefused(RuntimeError):
    """The archive is broken, or holds something that no model holds; the message is for a FailureReason."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of what one artifact may use of this machine."""

    total_bytes: int = 1 << 30
    """The most bytes of the archive, packed as well as unpacked."""
    file_bytes: int = 512 << 20
    members: int = 4096
    header_bytes: int = 1 << 20
    """The most bytes of an extended header: tarfile holds each in memory."""
    seconds: float = 60.0


ARTIFACT = Bounds()
"""The bounds of a model; the game's own models have half a megabyte, packed."""


def unpack(packed: BinaryIO, folder: Path, bounds: Bounds = ARTIFACT) -> None:
    """Unpack a .tar.gz into a folder that does not exist yet; if unpacking fails, the folder still does not exist.

    Raises:
        ArchiveRefused: If the archive is damaged, over a bound, or holds anything but regular files and folders
            with names of their own within the folder.
        OSError: If the disk has no room for the files.
    """
    deadline = time.monotonic() + bounds.seconds
    unfinished = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(unfinished, ignore_errors=True)  # a killed process may have left it
    unfinished.mkdir(parents=True)
    try:
        with tempfile.TemporaryFile(dir=folder.parent) as plain:
            _gunzip(_Watched(packed, deadline), plain, bounds)
            plain.seek(0)
            _extract(_Watched(plain, deadline, most=max(bounds.header_bytes, _CHUNK)), unfinished, bounds)
        unfinished.rename(folder)
    except ArchiveRefused:
        raise
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError, ValueError, RecursionError) as error:
        raise ArchiveRefused(f"damaged archive: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _Watched:
    """A file whose reads fail when the time is up and, with a bound, when fewer bytes are left than were asked for."""

    def __init__(self, file: BinaryIO, deadline: float, most: int | None = None) -> None:
        self._file = file
        self._deadline = deadline
        self._most = most
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() > self._deadline:
            raise ArchiveRefused("unpacking takes too long")
        if self._most is None:
            return self._file.read(size)
        if not 0 <= size <= self._most:  # tarfile reads an extended header as a whole
            raise ArchiveRefused(f"a header of {size} bytes, of at most {self._most}")
        data = self._file.read(size)
        if len(data) < size:  # tarfile takes a cut between two members for the end of the archive, and loops at some other cuts
            raise EOFError("the archive ends before its end mark")
        return data


def _gunzip(packed: _Watched, plain: BinaryIO, bounds: Bounds) -> None:
    """Decompress the archive, but no further than the bound."""
    total = 0
    with gzip.GzipFile(fileobj=cast(BinaryIO, packed), mode="rb") as unzipped:
        while chunk := unzipped.read(_CHUNK):
            total += len(chunk)
            if total > bounds.total_bytes:
                raise ArchiveRefused(f"more than {bounds.total_bytes} bytes when unpacked")
            plain.write(chunk)


def _extract(plain: _Watched, folder: Path, bounds: Bounds) -> None:
    """Write the members, after all of them have been checked."""
    with closing(tarfile.TarFile(fileobj=cast(BinaryIO, plain), mode="r")) as archive:
        members = list(_judged(archive, plain, bounds))
        plain.seek(archive.offset)
        if any(plain.read(tarfile.BLOCKSIZE)):  # tarfile takes a damaged header for the end of the archive
            raise ArchiveRefused("damaged archive: a header that is none")
        for member, name in members:
            path = folder / name
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            data = archive.extractfile(member)
            assert data is not None  # a regular file has data
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if member.mode & 0o100 else 0o666)
            with data, open(number, "wb") as file:
                while chunk := data.read(_CHUNK):
                    file.write(chunk)


def _judged(archive: tarfile.TarFile, plain: _Watched, bounds: Bounds) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Yield the members and where each goes.

    Raises:
        ArchiveRefused: At the first that must not be written.
    """
    kinds: dict[PurePosixPath, bytes] = {}
    for count, member in enumerate(archive, 1):
        if count > bounds.members:
            raise ArchiveRefused(f"more than {bounds.members} members")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.issparse():
            raise ArchiveRefused(f"{member.name!r} is neither a regular file nor a folder")
        _see_headers(plain, member)
        if not 0 <= member.size <= bounds.file_bytes:
            raise ArchiveRefused(f"{member.name!r} has {member.size} bytes, of at most {bounds.file_bytes}")
        name = _within(member.name)
        if not name.parts:
            if not member.isdir():
                raise ArchiveRefused(f"{member.name!r} is no name of a file")
            continue
        # Two names may be the same on some file systems: some fold case, some compose accents.
        folded = PurePosixPath(unicodedata.normalize("NFC", str(name)).casefold())
        if folded in kinds or any(kinds.get(parent, tarfile.DIRTYPE) != tarfile.DIRTYPE for parent in folded.parents):
            raise ArchiveRefused(f"{member.name!r} is there twice")
        kinds[folded] = member.type
        yield member, name


def _see_headers(plain: _Watched, member: tarfile.TarInfo) -> None:
    """Refuse a member whose pax headers are malformed: Python 3.12's tarfile ignores malformed ones.

    Raises:
        ArchiveRefused: If a header is not made of records.
    """
    at = member.offset
    while at < member.offset_data - tarfile.BLOCKSIZE:
        plain.seek(at)
        block = plain.read(tarfile.BLOCKSIZE)
        size = int(block[124:136].strip(b" \0") or b"0", 8)
        if block[156:157] in (tarfile.XHDTYPE, tarfile.XGLTYPE) and not _are_records(plain.read(size)):
            raise ArchiveRefused("damaged archive: a pax header that is none")
        at += tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE))


def _are_records(data: bytes) -> bool:
    """Say whether the data is a sequence of pax records: each is its length in bytes, a blank, key=value and a newline."""
    while data:
        digits, _, _ = data.partition(b" ")
        if not digits.isdigit() or not len(digits) < (length := int(digits)) <= len(data):
            return False
        if b"=" not in data[:length] or data[length - 1 : length] != b"\n":
            return False
        data = data[length:]
    return True


def _within(name: str) -> PurePosixPath:
    """Return a member's path within the folder.

    Raises:
        ArchiveRefused: If the path leads outside, or holds no sensible name.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ArchiveRefused(f"{name!r} lies outside of the archive's folder")
    if len(path.parts) > _DEPTH or any(len(part) > _NAME_CHARACTERS for part in path.parts):
        raise ArchiveRefused(f"{name[:80]!r}... is too long a name")
    if "\\" in name or not name.isprintable():
        raise ArchiveRefused(f"{name!r} holds characters that no model's file name holds")
    return path
