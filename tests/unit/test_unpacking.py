"""What a hostile or broken model.tar.gz can do to the machine that unpacks it: nothing."""

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.sagemaker.job_folder import own_files
from deploy.local.sagemaker.objects import packed
from deploy.local.sagemaker.unpacking import ArchiveRefused, Bounds, unpack

BOUNDS = Bounds(total_bytes=4 << 20, file_bytes=1 << 20, members=50, header_bytes=1 << 16, seconds=20)


def file(name: str, data: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member as it should be, but for the fields given."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry, data


def special(name: str, kind: bytes, linkname: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """A member that is no regular file."""
    return file(name, b"", type=kind, linkname=linkname)


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for entry, data in members:
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def raw(name: bytes, kind: bytes, data: bytes, size: bytes | None = None) -> bytes:
    """A header and its data as tarfile itself would never write them."""
    head = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    head[0:100] = name.ljust(100, b"\0")
    head[124:136] = size or b"%011o\0" % len(data)
    head[156:157] = kind
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data + bytes(-len(data) % 512)


def record(key: str, value: str) -> bytes:
    """One record of a pax header."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + len(str(len(rest)))
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


END = bytes(1024)
GOOD = file("model.ubj", b"a model")

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a symbolic link out, and a file through it": (
        lambda: tar(special("out", tarfile.SYMTYPE, ".."), file("out/escaped")),
        "'out' is neither a regular file nor a folder",
    ),
    "a symbolic link within": (
        lambda: tar(GOOD, special("again", tarfile.SYMTYPE, "model.ubj")),
        "'again' is neither a regular file nor a folder",
    ),
    "a hard link to a file of the machine": (
        lambda: tar(special("passwd", tarfile.LNKTYPE, "/etc/passwd")),
        "'passwd' is neither a regular file nor a folder",
    ),
    "a name that climbs": (lambda: tar(file("../escaped")), "'../escaped' lies outside"),
    "a name that climbs from within": (lambda: tar(file("a/../../escaped")), "lies outside"),
    "an absolute name": (lambda: tar(file("/tmp/escaped")), "'/tmp/escaped' lies outside"),
    "a name by pax that climbs": (
        lambda: raw(b"pax", b"x", record("path", "../escaped")) + raw(b"innocent", b"0", b"x") + END,
        "'../escaped' lies outside",
    ),
    "a name for all members by a global pax header": (
        lambda: raw(b"pax", b"g", record("path", "/escaped")) + raw(b"innocent", b"0", b"x") + END,
        "'/escaped' lies outside",
    ),
    "a name with a line break": (lambda: tar(file("a\nb")), "characters that no model's file name holds"),
    "a name with backslashes": (lambda: tar(file("..\\escaped")), "characters that no model's file name holds"),
    "a name that is too long": (lambda: tar(file("a" * 300)), "too long a name"),
    "a file a thousand folders deep": (lambda: tar(file("a/" * 1000 + "a")), "too long a name"),
    "a file without a name": (lambda: tar(file(".")), "no name of a file"),
    "a character device": (lambda: tar(special("zero", tarfile.CHRTYPE)), "'zero' is neither"),
    "a block device": (lambda: tar(special("disk", tarfile.BLKTYPE)), "'disk' is neither"),
    "a fifo": (lambda: tar(special("wait", tarfile.FIFOTYPE)), "'wait' is neither"),
    "an unknown kind of member": (lambda: raw(b"odd", b"Z", b"x") + END, "'odd' is neither"),
    "the same name twice": (lambda: tar(GOOD, GOOD), "'model.ubj' is there twice"),
    "the same name but for case": (lambda: tar(GOOD, file("Model.UBJ")), "'Model.UBJ' is there twice"),
    "the same name but for how an accent is written": (
        lambda: tar(file("caf\u00e9"), file("cafe\u0301")),
        "is there twice",
    ),
    "a folder where a file is": (lambda: tar(file("a"), file("A/b")), "'A/b' is there twice"),
    "zeros that unpack to a thousand times their size": (
        lambda: tar(file("zeros", bytes(5 << 20))),
        "more than 4194304 bytes when unpacked",
    ),
    "one file over its bound": (lambda: tar(file("big", bytes((1 << 20) + 1))), "'big' has 1048577 bytes"),
    "a size that only the header claims": (
        lambda: raw(b"big", b"0", b"x", size=b"77777777777\0") + END,
        "'big' has 8589934591 bytes",
    ),
    "a negative size": (
        lambda: raw(b"back", b"0", b"", size=b"\xff" * 12) + END,
        "damaged archive|has -1 bytes",
    ),
    "a size by pax that the data does not have": (
        lambda: raw(b"pax", b"x", record("size", "70000")) + raw(b"short", b"0", b"x") + END,
        "ends before its end mark",
    ),
    "a thousand members": (lambda: tar(*(file(str(number)) for number in range(1000))), "more than 50 members"),
    "a pax header that fills the memory": (
        lambda: raw(b"pax", b"x", record("comment", "z" * (1 << 20))) + tar(GOOD),
        "a header of 1049088 bytes, of at most 65536",
    ),
    "pax headers without end": (lambda: raw(b"pax", b"x", record("a", "b")) * 3000 + tar(GOOD), "damaged archive"),
    "a pax header of garbage": (lambda: raw(b"pax", b"x", b"garbage") + tar(GOOD), "damaged archive|neither"),
    "a sparse file of a terabyte": (
        lambda: (
            raw(
                b"pax",
                b"x",
                record("GNU.sparse.major", "1")
                + record("GNU.sparse.minor", "0")
                + record("GNU.sparse.name", "holes")
                + record("GNU.sparse.realsize", str(1 << 40)),
            )
            + raw(b"holes", b"0", b"0\n".ljust(512, b"\0"))
            + END
        ),
        "'holes' is neither",
    ),
    "a map of holes that never ends": (
        lambda: (
            raw(b"pax", b"x", record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0"))
            + raw(b"holes", b"0", b"99999999\n".ljust(512, b"1"))
        ),
        "damaged archive",
    ),
    "no end mark, cut between two members": (lambda: tar(GOOD)[:1024], "ends before its end mark"),
    "a header that is none, in the middle": (
        lambda: tar(GOOD)[:1024] + b"garbage".ljust(512, b"!") + tar(GOOD),
        "a header that is none",
    ),
    "no tar at all": (lambda: b"garbage" * 1000, "damaged archive"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    made, told = HOSTILE[name]
    packed = gzip.compress(made())
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)

    with pytest.raises(ArchiveRefused, match=told):
        unpack(io.BytesIO(packed), home / "model", BOUNDS)

    assert [path for path in tmp_path.rglob("*") if path not in (home, home.parent)] == []


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(tar(GOOD))[:-12],
        gzip.compress(tar(GOOD))[:-4] + b"\0\0\0\0",
        gzip.compress(tar(GOOD))[:-8] + b"\0\0\0\0" + gzip.compress(tar(GOOD))[-4:],
        gzip.compress(tar(GOOD)) + b"garbage",
        gzip.compress(tar(GOOD))[:20] + b"\xff" * 20,
        tar(GOOD),
        b"\x1f\x8b",
    ],
    ids=["cut", "wrong length", "wrong sum", "garbage behind", "no deflate", "not packed", "two bytes"],
)
def test_a_damaged_gzip_is_refused_and_leaves_nothing_behind(packed: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused, match="damaged archive"):
        unpack(io.BytesIO(packed), tmp_path / "model", BOUNDS)

    assert list(tmp_path.iterdir()) == []


class _Endless(io.RawIOBase):
    """A gzip of zeros that never ends, and how much of it was read."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = b""
        while not data:
            data = self._packer.compress(bytes(1 << 20))
        data = data[: len(buffer)]
        buffer[: len(data)] = data
        self.taken += len(data)
        return len(data)


def test_a_bomb_is_stopped_at_the_bound_and_not_read_to_its_end(tmp_path: Path) -> None:
    bomb = _Endless()

    with pytest.raises(ArchiveRefused, match="more than 4194304 bytes when unpacked"):
        unpack(io.BufferedReader(bomb), tmp_path / "model", BOUNDS)

    assert bomb.taken < 1 << 20
    assert list(tmp_path.iterdir()) == []


def test_unpacking_ends_with_its_time(tmp_path: Path) -> None:
    empty = gzip.compress(b"")

    with pytest.raises(ArchiveRefused, match="takes too long"):
        unpack(io.BytesIO(empty * 200_000), tmp_path / "model", Bounds(seconds=0.05))

    assert list(tmp_path.iterdir()) == []


def test_a_model_is_unpacked_as_it_was_packed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "code").mkdir(parents=True)
    (source / "model.ubj").write_bytes(bytes(range(256)) * 1000)
    (source / "code" / "inference.py").write_text("pass")

    unpack(io.BytesIO(packed(own_files(tmp_path, source), source)), model := tmp_path / "model")

    assert packed(own_files(tmp_path, source), source) == packed(own_files(tmp_path, model), model)
    assert {"source", "model"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_as_tar_packs_a_folder_is_unpacked_without_its_special_bits(form: int, tmp_path: Path) -> None:
    mask = os.umask(0o022)
    os.umask(mask)
    long = "/".join(["folder" * 10] * 2 + ["weights.bin"])
    archive = tar(
        special(".", tarfile.DIRTYPE),
        special("./sub", tarfile.DIRTYPE),
        file("./sub/run", b"#!", mode=0o6755),
        file("./data", mode=0o7666),
        file(long),
        form=form,
    )

    unpack(io.BytesIO(gzip.compress(archive)), tmp_path / "model", BOUNDS)

    model = tmp_path / "model"
    assert ((model / "sub" / "run").stat().st_mode & 0o7777, (model / "data").stat().st_mode & 0o7777) == (
        0o777 & ~mask,
        0o666 & ~mask,
    )
    assert (model / long).read_bytes() == b"x"


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "model.unpacking").mkdir()
    (tmp_path / "model.unpacking" / "model.ubj").write_text("half")

    unpack(io.BytesIO(gzip.compress(tar(GOOD))), tmp_path / "model")

    assert (tmp_path / "model" / "model.ubj").read_bytes() == b"a model"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
