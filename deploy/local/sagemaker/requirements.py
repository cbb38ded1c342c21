"""Installs the packages that a user's own code names in a requirements.txt: a folder per digest, before the image's packages.

uv does it, in a process that is confined as jobs are, with wheels alone, so nothing of a package is executed meanwhile. In a
job that has such a folder, `pip install -r` of the same file, which the SDK's own drivers do, finds it done.
"""

import asyncio
import hashlib
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from deploy.local.sagemaker import containers
from deploy.local.sagemaker.containers import Image, NotConfined, TakeLine

FILE: Final = "requirements.txt"
_ALSO: Final = (".txt", ".whl", ".in")
"""Files beside a requirements file that it may name: they go into the digest."""
_PASSED: Final = ("UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
"""Beginnings of the variables that tell uv where packages are."""
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
    """The folders of packages, below the home of the local SageMaker."""

    def __init__(self, home: Path) -> None:
        """Keep them under ``home/packages``."""
        self._home = home
        self._folder = home / "packages"
        self._making: dict[str, asyncio.Lock] = {}

    def found(self, image: Image, code: Path, name: str = FILE) -> Image:
        """Return the image with the packages that ``code`` requires; as it is, if it requires none, or they are not there."""
        if not (code / name).is_file():
            return image
        made = self._folder / _digest(image, code, name)
        return replace(image, packages=made) if made.is_dir() else image

    async def made(self, image: Image, code: Path, say: TakeLine, name: str = FILE) -> Image:
        """Return the image with the packages that ``code`` requires; the first call for them installs them.

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
            ready = self.found(image, code, name)
            if ready.packages:
                return ready
            say(f"installing {name}: once for these packages")
            part = self._folder / f"{digest}.part"
            try:
                await self._install(image, code, name, part, say)
                (part / "packages").rename(self._folder / digest)
            finally:
                await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
        return self.found(image, code, name)

    async def _install(self, image: Image, code: Path, name: str, part: Path, say: TakeLine) -> None:
        await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
        for file in (code / name, *_beside(code)):
            copy = part / "code" / file.relative_to(code)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        uv = Path(sys.executable).with_name("uv")
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
        for line in told:
            say(line)
        if code_of != 0:
            reason = " ".join(" ".join(told).split())[-_REASON:] or f"uv ended with {code_of}"
            raise RequirementsFailed(f"ClientError: {name} could not be installed: {reason}")
        _put_pip(part / "packages", (part / "code" / name).read_bytes(), image.python)

    async def _run(self, command: list[str], image: Image, part: Path, uv: Path, told: list[str]) -> int:
        passed = {name: value for name, value in os.environ.items() if name.upper().startswith(_PASSED)}
        installing = replace(image, packages=None, also=(uv.parent,))
        try:
            process = await containers.start(
                command, installing, part, {"UV_NO_PROGRESS": "1", **passed}, told.append, home=self._home, nice=10
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
