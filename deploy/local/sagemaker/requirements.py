"""Installs the packages that a user's own code names in a requirements.txt: a folder per digest, before the image's packages.

uv does it, in a process that is confined as jobs are and knows no secret, with wheels alone: nothing of a package is executed
meanwhile. In a job that has such a folder, `pip install -r` of the same file, which the SDK's own drivers do, finds it done.
"""

import asyncio
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from deploy.local.sagemaker import containers
from deploy.local.sagemaker.containers import Image, NotConfined, TakeLine
from deploy.local.sagemaker.requirement_lines import FILES, LineRefused, named
from deploy.local.sagemaker.threads import in_thread

FILE: Final = "requirements.txt"
PROGRAM: Final = "SAGEMAKER_PROGRAM"
"""The variable by which a model's container names a program of the user's own; see trainers/images/contract/own_code.py."""
MOST_BYTES: Final = 10 << 30
"""The most bytes that the folders of packages have together."""
_ALSO: Final = (*FILES, ".whl")
"""Files beside a requirements file that it may name: they go into the digest."""
_PLACES: Final = ("UV_CACHE_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY")
"""The variables of this service that uv is given."""
_ADDRESSES: Final = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""The variables that it is given without the user and password in them: a requirements file is somebody else's."""
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_PATIENCE_S: Final = 600.0
_REASON: Final = 600
_PIP: Final = '''"""Stands in for pip: the packages of this job were installed before it began."""
import hashlib, sys
DONE = {done!r}
asked = sys.argv[1:]
files = [asked[at + 1] for at, word in enumerate(asked[:-1]) if word in ("-r", "--requirement")]
def known(file):
    with open(file, "rb") as text:
        return hashlib.sha256(text.read()).hexdigest() == DONE
if asked[:1] == ["install"] and files and all(map(known, files)):
    print("Requirements already satisfied:", *files)
elif asked[:1] != ["uninstall"]:
    sys.exit("pip installs nothing in a job on this machine, but what requirements.txt named when the job began")
'''


class RequirementsFailed(Exception):
    """Packages could not be installed; the message says why, for a FailureReason."""


class Requirements:
    """The folders of packages, below the home of the local SageMaker: one keeper for all jobs and endpoints."""

    def __init__(self, home: Path, most_bytes: int = MOST_BYTES) -> None:
        """Keep them under ``home/packages``; what another service left half done there is removed.

        Args:
            home: The folder of the local SageMaker.
            most_bytes: The most bytes that all folders have together. Those that were used least recently go, but none that
                is in use.
        """
        self._home = home
        self._folder = home / "packages"
        self._most_bytes = most_bytes
        self._making: dict[str, asyncio.Lock] = {}
        self._placing = asyncio.Lock()
        self._users: dict[Path, str] = {}
        """The folders of code that use packages, with the digest of these; for as long as the folder is there."""
        for left in (*self._folder.glob("*.part"), *self._folder.glob("*.old")):
            shutil.rmtree(left, ignore_errors=True)

    def found(self, image: Image, code: Path, name: str = FILE) -> Image:
        """Return the image with the packages that ``code`` requires; as it is, if it requires none, or they are not there.

        They stay there for as long as the folder of the code does.
        """
        if not (code / name).is_file():
            return image
        return self._used(image, code, _digest(image, code, name))

    async def made(self, image: Image, code: Path, say: TakeLine, name: str = FILE) -> Image:
        """Return the image with the packages that ``code`` requires; the first call for them installs them.

        They stay there for as long as the folder of the code does.

        Args:
            image: The image whose Python will run the code.
            code: The folder of the code, with the requirements file in it.
            say: Called with the progress.
            name: The requirements file.

        Raises:
            RequirementsFailed: If they could not be installed.
        """
        if not (code / name).is_file():
            return image
        digest = _digest(image, code, name)
        async with self._making.setdefault(digest, asyncio.Lock()):
            ready = self._used(image, code, digest)
            if ready.packages:
                return ready
            say(f"installing {name}: once for these packages")
            part = self._folder / f"{digest}.part"
            try:
                await self._install(image, code, name, part, say)
                await self._place(part / "packages", digest)
                return self._used(image, code, digest)
            finally:
                await in_thread(shutil.rmtree, part, ignore_errors=True)

    def _used(self, image: Image, code: Path, digest: str) -> Image:
        folder = self._folder / digest
        if not folder.is_dir():
            return image
        self._users[code] = digest
        os.utime(folder)
        return replace(image, packages=folder)

    async def _place(self, made: Path, digest: str) -> None:
        """Put packages that were installed among the others, and remove others to make room for them.

        Raises:
            RequirementsFailed: If all that are in use leave no room.
        """
        async with self._placing:  # else two would count on the same room
            size = await in_thread(_bytes, made)
            others = [one for one in self._folder.iterdir() if not one.suffix]
            sizes = await in_thread(lambda: {one: _bytes(one) for one in others})
            self._users = {code: used for code, used in self._users.items() if code.is_dir()}
            in_use = set(self._users.values())
            total = size + sum(sizes.values())
            old = []
            for one in sorted((one for one in others if one.name not in in_use), key=lambda one: one.stat().st_mtime_ns):
                if total > self._most_bytes:
                    total -= sizes[one]
                    old.append(one.rename(one.with_suffix(".old")))  # at once: from now on nobody finds it
            for one in old:
                await in_thread(shutil.rmtree, one, ignore_errors=True)
            if total > self._most_bytes:
                kept = f"this machine keeps {self._most_bytes} of all packages, and {total - size} are in use"
                raise RequirementsFailed(f"ClientError: the packages have {size} bytes: {kept}")
            made.rename(self._folder / digest)

    async def _install(self, image: Image, code: Path, name: str, part: Path, say: TakeLine) -> None:
        uv = Path(sys.executable).with_name("uv").resolve()  # a link on the way may lead through a folder that is covered
        try:
            await in_thread(_lay_out, code, name, part)
        except LineRefused as refused:
            raise RequirementsFailed(f"ClientError: {name} could not be installed: {refused}") from refused
        told: list[str] = []
        for offline in ("--offline", ""):  # what lies beside the file, or in a cache that UV_CACHE_DIR names, needs no network
            told.clear()
            command = [
                str(uv),
                "pip",
                "install",
                "--quiet",
                "--only-binary",
                ":all:",
                "--no-config",
                "--python",
                str(image.python),
            ]
            command += [*([offline] if offline else []), "--target", "../packages", "-r", name]
            code_of = await self._run(["sh", "-c", 'cd code && exec "$@"', "sh", *command], image, part, uv, told)
            if code_of == 0:
                break
        plain = [_ADDRESS.sub("(an address)", line) for line in told]
        for line in plain:
            say(line)
        if code_of != 0:
            reason = " ".join(re.sub(r"[^ -~]", " ", " ".join(plain)).split())[-_REASON:] or f"uv ended with {code_of}"
            raise RequirementsFailed(f"ClientError: {name} could not be installed: {reason}")
        _put_pip(part / "packages", (code / name).read_bytes(), image.python)

    async def _run(self, command: list[str], image: Image, part: Path, uv: Path, told: list[str]) -> int:
        passed = passed_on(os.environ)
        installing = replace(image, packages=None, also=(uv.parent,))
        try:
            process = await containers.start(
                command,
                installing,
                part,
                {"UV_NO_PROGRESS": "1", "NETRC": os.devnull, **passed},
                told.append,
                home=self._home,
                nice=10,
            )
        except NotConfined as refused:
            raise RequirementsFailed(str(refused)) from refused
        try:
            return await asyncio.wait_for(asyncio.shield(process.wait()), _PATIENCE_S)
        except TimeoutError:
            told.append(f"it took longer than {_PATIENCE_S:.0f} s")
            return 1
        finally:
            if process.exit_code is None:
                await process.stop(0)


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that uv is given: where packages are, without anything by which one would be let in there."""
    passed = {}
    for name, value in environment.items():
        if name.upper() in _PLACES:
            passed[name] = value
        elif name.upper() in _ADDRESSES:
            scheme, mark, rest = value.rpartition("://")
            host, slash, path = rest.partition("/")
            address = f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
            if not set("@?#") & set(address):  # else it may still have a secret in it
                passed[name] = address
    return passed


def _lay_out(code: Path, name: str, part: Path) -> None:
    """Put a requirements file and all that it names into ``part/code``.

    Raises:
        LineRefused: If it has what it may not have.
    """
    shutil.rmtree(part, ignore_errors=True)
    files, wheels = named(code, name)
    for path in (*files, *wheels):
        (part / "code" / path).parent.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (part / "code" / path).write_text(text)
    for path in wheels:
        shutil.copyfile(code / path, part / "code" / path)


def _bytes(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_symlink() or file.is_file())


def _put_pip(packages: Path, text: bytes, python: Path) -> None:
    """Put a `pip` among packages that says that they are installed, where they bring no pip of their own."""
    (packages / "bin").mkdir(parents=True, exist_ok=True)
    if (packages / "pip").exists():
        return
    (packages / "pip.py").write_text(_PIP.format(done=hashlib.sha256(text).hexdigest()))
    for name in ("pip", "pip3"):
        script = packages / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{python}" -m pip "$@"\n')
        script.chmod(0o755)


def _beside(code: Path) -> list[Path]:
    return sorted(file for file in code.rglob("*") if file.suffix in _ALSO and file.is_file() and not file.is_symlink())


def _digest(image: Image, code: Path, name: str) -> str:
    """Return the digest of all that an installation depends on, but for what the registry has at the time."""
    whole = hashlib.sha256(f"{image.python}\n{name}\n".encode())
    for file in (code / name, *_beside(code)):
        whole.update(f"{file.relative_to(code)}\n".encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
