"""Reads a requirements file that somebody else wrote: it may name packages, wheels and files beside it, and nothing else.

pip and uv take much more: options for other indexes, addresses, paths, and ``${NAME}`` for what is in their environment.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Final

FILES: Final = (".txt", ".in")
"""How the names of files end that ``-r`` and ``-c`` may name."""
_MOST_BYTES: Final = 1 << 20
_MOST_FILES: Final = 50
_VERSION: Final = r"(?:===?|[<>!~]=|[<>]) ?[A-Za-z0-9._*+!-]+"
_PACKAGE: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])? ?(?:\[[A-Za-z0-9._, -]*\])? ?"
    rf"(?:\({_VERSION}(?: ?, ?{_VERSION})*\)|{_VERSION}(?: ?, ?{_VERSION})*)?"
    r"(?: ?;(?:(?! -)[A-Za-z0-9_.'\"<>=!~() ,*+-])+)?"  # a marker, such as ; python_version < "3.12"
    r"(?: --hash[= ][a-z0-9]+:[0-9a-f]+)*"
)
_ARCHIVE: Final = re.compile(r"\.(?:zip|egg|t[abglx]z2?|tar(?:\.\w+)?)$")
_WHEEL: Final = re.compile(r"((?:\./)?[A-Za-z0-9_.+!/-]+\.whl)(?: --hash[= ][a-z0-9]+:[0-9a-f]+)*")
_FILE: Final = re.compile(r"(?:-r|-c|--requirement|--constraint)[ =]?([A-Za-z0-9_./][A-Za-z0-9_./-]*)")


class LineRefused(ValueError):
    """A requirements file has what it may not have; the message says where, without its words, and what it may have."""


def named(code: Path, name: str) -> tuple[dict[PurePosixPath, str], list[PurePosixPath]]:
    """Read a requirements file and all that it names.

    Args:
        code: The folder that everything must be in.
        name: The requirements file, as a path within the folder.

    Returns:
        The text of each requirements file by its path, without comments, one requirement a line; and the paths of the wheels.

    Raises:
        LineRefused: If a file has another line, or a file or wheel that it names is not there.
    """
    files: dict[PurePosixPath, str] = {}
    wheels: list[PurePosixPath] = []
    waiting = [_beside(code, PurePosixPath(), name, name)]
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        if len(files) == _MOST_FILES:
            raise LineRefused(f"{name} leads to more than {_MOST_FILES} files")
        found = []
        for number, line in _lines(code, path):
            where = f"line {number} of {path}"
            if wheel := _WHEEL.fullmatch(line):
                wheels.append(_beside(code, PurePosixPath(), wheel[1], where))  # pip and uv start where they run, for these
            elif file := _FILE.fullmatch(line):
                if not file[1].endswith(FILES):
                    raise LineRefused(f"{where}: a requirements file ends with {' or '.join(FILES)}")
                waiting.append(_beside(code, path.parent, file[1], where))
            elif not _PACKAGE.fullmatch(line) or _ARCHIVE.search(line):
                raise LineRefused(
                    f"{where}: it may name a package (numpy==2.1), a wheel beside the file (./mine-1.0-py3-none-any.whl),"
                    " or a file beside it (-r, -c); other options, addresses, paths and variables are not taken"
                )
            found.append(line)
        files[path] = "".join(f"{line}\n" for line in found)
    return files, wheels


def _lines(code: Path, path: PurePosixPath) -> list[tuple[int, str]]:
    """Return the requirements in a file, with the number of the line that each begins in."""
    with (code / path).open("rb") as file:
        whole = file.read(_MOST_BYTES + 1)
    if len(whole) > _MOST_BYTES:
        raise LineRefused(f"{path} has more than {_MOST_BYTES} bytes")
    try:
        text = whole.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise LineRefused(f"{path} is no text in UTF-8") from wrong
    found: list[tuple[int, str]] = []
    going_on = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(?:^|[ \t])#.*", "", raw).rstrip()
        goes_on = line.endswith("\\")
        words = " ".join(line.removesuffix("\\").split())
        if going_on and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {words}".strip())
        elif words or goes_on:
            found.append((number, words))
        going_on = goes_on
    return [(number, line) for number, line in found if line]


def _beside(code: Path, folder: PurePosixPath, name: str, where: str) -> PurePosixPath:
    """Return the path, within the code, of a file that a requirements file names."""
    path = folder / name
    if path.is_absolute() or ".." in path.parts or not (code / path).is_file():
        raise LineRefused(f"{where}: the file that it names is not beside it")
    if not (code / path).resolve().is_relative_to(code.resolve()):
        raise LineRefused(f"{where}: it names a link that leads elsewhere")
    return path
