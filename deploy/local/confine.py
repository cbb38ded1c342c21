"""Confines the process that calls it, before it becomes a model's server or a training job.

In namespaces of its own (user and mount) it sees its folder as /opt/ml and may write there and in /tmp alone; the rest of the
machine is read-only, and what is none of its business is not there: the home of the game with its secrets, data and logs, the
user's own, and /run. It has no capabilities, gains none, and cannot look into other processes of the user. Network, processor,
memory and disk are not limited beyond what `LIMITS` says, and it can send signals to processes of its user.
"""

import ctypes
import errno
import os
import resource
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

ML: Final = "/opt/ml"
SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - those of the process, and empty
LIMITS: Final = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 8 << 30,  # bytes of one file
    resource.RLIMIT_NPROC: 1024,  # counted within its namespace; the kernel does not hold root to it
}
_NEWNS, _NEWUSER = 0x20000, 0x10000000
_RDONLY, _NOSUID, _NODEV, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_SETATTR, _HERE, _RECURSIVE = 442, -100, 0x8000
_DROP_BOUND, _NO_NEW_PRIVILEGES, _CAPABILITIES = 24, 38, 0x20080522
_SIZE: Final = "size=256m,mode=755"


@dataclass(frozen=True, slots=True)
class Bars:
    """The paths that a confined process sees, without links."""

    folder: str
    """What it sees as /opt/ml."""
    covered: tuple[str, ...]
    """Folders that it sees empty."""
    kept: tuple[str, ...]
    """Folders that it needs, also where they lie in a covered one; read-only."""


def confine(bars: Bars) -> None:
    """Confine this process and change to /opt/ml; it should become another program at once.

    Raises:
        OSError: If the kernel does not allow it; it may be half shut in then, and must end.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    _must(libc.unshare(_NEWUSER | _NEWNS))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)

    def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        given = [None if one is None else os.fsencode(one) for one in (source, target, kind, data)]
        _must(libc.mount(given[0], given[1], given[2], ctypes.c_ulong(flags), given[3]), target)

    def change(target: str, put: int, take: int, flags: int) -> None:
        attributes = (ctypes.c_uint64 * 4)(put, take, 0, 0)
        done = libc.syscall(_SETATTR, _HERE, os.fsencode(target), flags, ctypes.byref(attributes), ctypes.sizeof(attributes))
        if done and ctypes.get_errno() != errno.ENOSYS:  # before Linux 5.12 what is left is less, and not nothing
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)

    mount("none", "/", None, _REC | _PRIVATE)
    change("/", _RDONLY | _NOSUID, 0, _RECURSIVE)
    covered = list(dict.fromkeys((*bars.covered, *SCRATCH)))
    kept = list(bars.kept)
    if not os.path.isdir(ML):  # a user who may not make it
        kept += [entry.path for entry in os.scandir("/opt") if entry.is_dir()]
        covered.append("/opt")
    covered = [one for one in covered if os.path.isdir(one) and not os.path.islink(one)]
    covered = [one for one in covered if one != "/" and not any(_within(one, other) for other in covered if other != one)]
    kept = [one for one in kept if any(_within(one, other) for other in covered)]
    held = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (bars.folder, *kept)}
    for path in covered:
        mount("none", path, "tmpfs", _NOSUID | _NODEV, "size=256m,mode=1777" if path in SCRATCH else _SIZE)
    os.makedirs(ML, exist_ok=True)
    for path in kept:
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{held[path]}", path, None, _BIND | _REC)
    mount(f"/proc/self/fd/{held[bars.folder]}", ML, None, _BIND)
    change(ML, 0, _RDONLY, 0)
    for path in covered:
        if path not in SCRATCH:
            mount("none", path, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    for descriptor in held.values():
        os.close(descriptor)
    os.chdir(ML)
    for limit, most in LIMITS.items():
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    number = 0
    while libc.prctl(_DROP_BOUND, number, 0, 0, 0) == 0:
        number += 1
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    _must(libc.capset(ctypes.byref(header), ctypes.byref(none)))
    _must(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def needed(python: str) -> tuple[str, ...]:
    """Return the folders of an interpreter: the environment's first, then those that it links to."""
    found = []
    for _ in range(40):
        found.append(os.path.dirname(os.path.dirname(python)))
        try:
            is_link = stat.S_ISLNK(os.lstat(python).st_mode)
        except OSError:
            break
        if not is_link:
            break
        python = os.path.normpath(os.path.join(os.path.dirname(python), os.readlink(python)))
    found += [os.path.realpath(one) for one in found]
    return tuple(dict.fromkeys(one for one in found if one != "/"))


def real(paths: Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Resolve the links in paths."""
    return tuple(os.path.realpath(path) for path in paths)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _must(result: int, what: str = "") -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
