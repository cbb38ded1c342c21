"""Confines the process that calls it, before it becomes a model's server or a training job.

`confine` does it by namespaces (user and mount). The process sees its folder as /opt/ml and may write there and in /tmp alone;
the rest of the machine is read-only, and folders that do not concern it are hidden: the home of the game with its secrets, data
and logs, the user's home, and /run. It has no capabilities, gains none, and cannot look into other processes of the user.
Network, processor, memory and disk are not limited beyond what `LIMITS` says, and it can send signals to processes of its user.

`restrict` does it by Landlock, where the kernel gives us no namespaces, as in most containers. The process cannot open the same
folders, nor /tmp, writes into its own folder alone, which is its working folder, and cannot look into other processes or, since
Linux 6.12, send them signals. The names, owners and modes of files outside are not hidden, and modes can be changed.
"""

import ctypes
import errno
import os
import resource
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

ML: Final = "/opt/ml"
SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - the process gets empty ones of its own
LIMITS: Final = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 8 << 30,  # bytes of one file
    resource.RLIMIT_NPROC: 1024,  # counted within its namespace; the kernel does not hold root to it
}
_NEWNS, _NEWUSER = 0x20000, 0x10000000
_RDONLY, _NOSUID, _NODEV, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_SETATTR, _HERE, _RECURSIVE = 442, -100, 0x8000
_DROP_BOUND, _NO_NEW_PRIVILEGES, _CAPABILITIES = 24, 38, 0x20080522
_SIZE, _OPEN = "size=256m,mode=755", "size=256m,mode=1777"

DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
"""The only devices that stay in /dev: a disk's device would give root, at least, every secret."""
_DEVICE_LINKS: Final = {"/dev/fd": "/proc/self/fd"} | {
    f"/dev/{name}": f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))
}
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_SINCE: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""The rights that Landlock restricts, by its version: open, run, make, remove; rename (2), truncate (3), device control (5)."""
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15
_SCOPES: Final = 3
"""Bars abstract sockets of, and signals to, processes outside; since version 6."""


@dataclass(frozen=True, slots=True)
class Bars:
    """The paths that a confined process may or may not see; links in them are resolved."""

    folder: str
    """The folder that the process sees as /opt/ml."""
    covered: tuple[str, ...]
    """Folders that the process sees empty."""
    kept: tuple[str, ...]
    """Folders that the process needs, even inside a covered folder; it can only read them."""


def confine(bars: Bars) -> None:
    """Confine this process and change to /opt/ml; it should become another program at once.

    Raises:
        OSError: If the kernel does not allow it; it may be half shut in then, and must end.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    _must(libc.unshare(_NEWUSER | _NEWNS), "namespaces")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)

    def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        given = [None if one is None else os.fsencode(one) for one in (source, target, kind, data)]
        _must(libc.mount(given[0], given[1], given[2], ctypes.c_ulong(flags), given[3]), target)

    def change(target: str, put: int, take: int, flags: int) -> None:
        attributes = (ctypes.c_uint64 * 4)(put, take, 0, 0)
        done = libc.syscall(_SETATTR, _HERE, os.fsencode(target), flags, ctypes.byref(attributes), ctypes.sizeof(attributes))
        if done and ctypes.get_errno() != errno.ENOSYS:  # before Linux 5.12 this protects less, but not nothing
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)

    mount("none", "/", None, _REC | _PRIVATE)
    change("/", _RDONLY | _NOSUID, 0, _RECURSIVE)
    covered = list(dict.fromkeys((*bars.covered, *SCRATCH, "/dev")))
    kept = [*bars.kept, *(device for device in DEVICES if os.path.exists(device))]
    if not os.path.isdir(ML):  # this user may not make it
        kept += [entry.path for entry in os.scandir("/opt") if entry.is_dir()]
        covered.append("/opt")
    covered = [one for one in covered if os.path.isdir(one) and not os.path.islink(one)]
    covered = [one for one in covered if one != "/" and not any(_within(one, other) for other in covered if other != one)]
    kept = [one for one in kept if any(_within(one, other) for other in covered)]
    held = {path: os.open(path, os.O_PATH) for path in (bars.folder, *kept)}
    for path in covered:
        mount("none", path, "tmpfs", _NOSUID | _NODEV, _OPEN if path in SCRATCH else _SIZE)
    if "/dev" in covered:
        os.mkdir("/dev/shm")  # noqa: S108
        mount("none", "/dev/shm", "tmpfs", _NOSUID | _NODEV, _OPEN)  # noqa: S108
        for link, target in _DEVICE_LINKS.items():
            os.symlink(target, link)
    os.makedirs(ML, exist_ok=True)
    for path in kept:
        if path in DEVICES:
            os.close(os.open(path, os.O_CREAT))
        else:
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
    _limit(LIMITS)
    _renounce(libc)


def restrict(bars: Bars) -> None:
    """Keep this process, by Landlock, from files that do not concern it; it should become another program at once.

    Raises:
        OSError: If the kernel does not allow it; it may be half shut in then, and must end.
    """
    libc, version = ctypes.CDLL(None, use_errno=True), landlock()
    handled = _SINCE[max(one for one in _SINCE if one <= version)]
    attributes = (ctypes.c_uint64 * 3)(handled, 0, _SCOPES if version >= 6 else 0)
    size = ctypes.c_size_t(24 if version >= 6 else 8)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    _must(min(ruleset, 0), "Landlock")

    def allow(path: str, rights: int) -> None:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # a path that this user cannot open needs no rule
            return
        rights &= handled if stat.S_ISDIR(os.fstat(descriptor).st_mode) else handled & _OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        _must(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), path)
        os.close(descriptor)

    closed = {one for one in (*bars.covered, *SCRATCH, "/dev") if one != "/"}
    for path in (*spared(closed), *bars.kept):
        allow(path, _EXECUTE | _READ_FILE | _READ_DIR)
    for path in (bars.folder, *DEVICES, "/dev/shm"):  # noqa: S108 - named semaphores lie there
        allow(path, handled)
    _limit({limit: most for limit, most in LIMITS.items() if limit != resource.RLIMIT_NPROC})  # counts all the user's here
    _renounce(libc)
    _must(libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)
    os.chdir(bars.folder)


def landlock() -> int:
    """Return the version of Landlock that this kernel has.

    Raises:
        OSError: If the kernel has no Landlock, or does not let us use it.
    """
    version = int(ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))
    _must(min(version, 0), "Landlock")
    return version


def spared(closed: Iterable[str], root: str = "/") -> Iterator[str]:
    """Yield the fewest paths, without links, that cover everything except the closed folders and the way to them."""
    closed = tuple(closed)
    waiting = [root]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # a folder that this user may not list is left out
            continue
        for entry in entries:
            if entry.is_symlink() or entry.path in closed:
                continue
            if any(_within(one, entry.path) for one in closed):
                waiting.append(entry.path)
            else:
                yield entry.path


def needed(python: str) -> tuple[str, ...]:
    """Return the folders of an interpreter: the environment's first, then the folders that it links to."""
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


def _limit(limits: Mapping[int, int]) -> None:
    for limit, most in limits.items():
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def _renounce(libc: ctypes.CDLL) -> None:
    """Give up all capabilities, and the right to gain any."""
    number = 0
    while libc.prctl(_DROP_BOUND, number, 0, 0, 0) == 0:
        number += 1
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    _must(libc.capset(ctypes.byref(header), ctypes.byref(none)))
    _must(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _must(result: int, what: str = "") -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
