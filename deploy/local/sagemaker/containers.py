"""Runs images as processes: an image is a folder, as in trainers/images, with a Python of its own.

Each process sees its own folder as /opt/ml where the kernel lets us (namespaces), so that the SDK's own scripts run
unmodified, and of the rest of the machine only what it needs: see `deploy.local.confine`. Elsewhere SAGEMAKER_BASE_DIR names
the folder, and Landlock closes the folders that do not concern it. Where there is neither, nothing is hidden, or nothing runs,
as the settings say. All processes die with this service, even when it is killed with -9.
"""

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

import psutil
import structlog

from deploy.local import die_with_parent, install
from deploy.local.confine import ML, Bars, needed, real
from deploy.local.install import CONTRACT
from deploy.local.sagemaker.errors import invalid

MARK: Final = "LOCAL_SAGEMAKER_HOME"
"""The environment variable that marks a process as one of ours."""
_AUTOGROUP_TRIES: Final = 20
_LONGEST_LINE: Final = 256 * 1024
"""Bytes of the longest line, CloudWatch's own bound; a longer line is cut into several."""

log = structlog.get_logger()

TakeLine = Callable[[str], None]
"""A function that is called with each line that a process prints."""

Way = Literal["confine", "restrict", ""]
"""The function of `deploy.local.confine` that confines a process; empty: the process is not confined."""
WAYS: Final[tuple[Way, ...]] = ("confine", "restrict")
"""The ways to confine a process, the best first."""


@dataclass(frozen=True, slots=True)
class Image:
    """An algorithm: its folder, and the Python that runs it."""

    uri: str
    folder: Path
    python: Path
    unconfined: bool = True
    """Whether the image may run where nothing can confine it."""
    packages: Path | None = None
    """A folder with packages of the user's own, which come before the image's; see `requirements`."""
    also: tuple[Path, ...] = ()
    """Further folders that its processes may read."""

    def script(self, name: str) -> tuple[str, ...]:
        """Return the command that `docker run IMAGE train` or `serve` would run."""
        return str(self.python), "-u", str(self.folder / f"{name}.py")


class ImageNotInstalled(Exception):
    """The training environment of an image could not be made; the message says why and what to do."""


class NotConfined(OSError):
    """A process could not be confined, though the settings demand it; the message says why."""


class Images:
    """The images that this machine can run."""

    def __init__(self, registry: str, tools: Path, folders: Mapping[str, Path], *, unconfined: bool = True) -> None:
        """Keep the images of a registry, with their environments under ``tools/images``.

        Args:
            registry: The part of a URI before an image's name.
            tools: The folder that `make` installs into.
            folders: The folder of each image, by its name.
            unconfined: Whether they may run where nothing can confine them.
        """
        self._folders = folders
        self._registry = registry
        self._unconfined = unconfined
        self._tools = tools.absolute()
        self._making: dict[str, asyncio.Task[None]] = {}

    def name(self, uri: str) -> str:
        """Return the name of the image of a URI, whether or not it is installed.

        Raises:
            AwsError: ValidationException, if there is no such image.
        """
        name, _, tag = uri.removeprefix(self._registry).rpartition(":")
        if not uri.startswith(self._registry) or "/" in name or not tag or name not in self._folders:
            known = ", ".join(f"{self._registry}{known}:1" for known in sorted(self._folders))
            raise invalid(f"Unable to find image {uri}: this machine has {known}")
        return name

    def find(self, uri: str) -> Image:
        """Return the installed image of a URI.

        Raises:
            AwsError: ValidationException, if there is no such image, or its environment is not installed.
        """
        name = self.name(uri)
        folder = self._tools / "images" / name
        unavailable, python = folder.with_name(f"{name}.unavailable"), folder / "bin" / "python"
        if unavailable.is_file():
            raise invalid(f"Image {uri} is not installed: {unavailable.read_text().strip()}")
        if not python.exists():
            raise invalid(f"Image {uri} is not installed: run `python -m deploy.local.install`")
        return Image(uri, self._folders[name], python, self._unconfined)

    async def for_training(self, image: Image, say: TakeLine) -> Image:
        """Return the image with the environment that its `train` needs; the first call installs it, as an image is pulled.

        A cancelled call does not stop the installation while others wait for it.

        Args:
            image: The image with its serving environment.
            say: Called with what takes so long.

        Raises:
            ImageNotInstalled: If the environment could not be made.
        """
        name = image.folder.name
        step = install.training_step(self._tools, image.folder)
        if step is None:
            return image
        if not step.is_done():
            say(f"making the training environment of {name}: once, and it can take minutes")
            if name not in self._making:
                self._making[name] = asyncio.create_task(self._make(name))
                self._making[name].add_done_callback(lambda _: self._making.pop(name))
            await asyncio.shield(self._making[name])
            say(f"the training environment of {name} is made")
        return replace(image, python=step.made / "bin" / "python")

    async def _make(self, name: str) -> None:
        command = (sys.executable, "-m", "deploy.local.install", "--tools", str(self._tools), "--training", name)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), "0", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=install.ROOT,
        )
        _, told = await process.communicate()
        if process.returncode:
            reason = told.decode(errors="replace").strip() or f"the installation ended with {process.returncode}"
            again = f"`python -m deploy.local.install --training {name}` tries by itself"
            raise ImageNotInstalled(f"The training environment of {name} could not be made ({again}): {reason}")


class ContainerProcess:
    """A running process with its folder, and the processes that it has started in turn."""

    def __init__(self, process: asyncio.subprocess.Process, say: TakeLine) -> None:
        """Take over a process that was started; its output goes to ``say``."""
        self._process = process
        self._pump = asyncio.create_task(_pump(process, say))

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the process and its output to end; return the exit code."""
        code = await self._process.wait()
        self._signal(signal.SIGKILL)  # processes that the ended one left running would keep the output open
        await self._pump
        return code

    async def stop(self, patience_s: float) -> int:
        """Send SIGTERM, and SIGKILL after ``patience_s`` seconds."""
        self._signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(asyncio.shield(self.wait()), patience_s)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            return await self.wait()

    async def come_forward(self) -> None:
        """Give the process and its children the priority that they would have without ``nice``; see `can_come_forward`."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self.pid, os.getpriority(os.PRIO_PROCESS, 0))  # the group: else it is one thread alone
        group = Path(f"/proc/{self.pid}/autogroup")
        for _ in range(_AUTOGROUP_TRIES):
            try:
                group.write_text("0")
            except BlockingIOError:  # the kernel allows this ten times a second
                await asyncio.sleep(0.1)
            except OSError:
                return
            else:
                return

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


async def start(
    command: Sequence[str],
    image: Image,
    folder: Path,
    environment: Mapping[str, str],
    say: TakeLine,
    *,
    home: Path,
    nice: int = 0,
) -> ContainerProcess:
    """Start an image's command with its folder as /opt/ml.

    Args:
        command: The command to run.
        image: The image whose Python is first on the PATH.
        folder: The folder that the process sees as /opt/ml.
        environment: Variables besides the few that every process gets; it has them when it is confined, not before.
        say: Called with each line that the process prints.
        home: The folder of this service, by which `reap` knows the process.
        nice: The niceness of the process: training must not slow the game.

    Raises:
        NotConfined: If nothing can confine it here, and the image may not run unconfined.
    """
    folder = folder.absolute()
    base = {name: os.environ[name] for name in ("HOME", "LANG", "TZ", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ}
    own = [image.packages] if image.packages else []
    base |= {
        "PATH": ":".join((*(f"{one}/bin" for one in own), str(image.python.parent), os.environ.get("PATH", os.defpath))),
        "PYTHONPATH": ":".join(map(str, (*own, CONTRACT))),  # CONTRACT as the Dockerfiles set it
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    mark = {MARK: str(home.absolute())}
    bare = replace(image, packages=None, also=())  # how a process can be confined does not depend on them
    way, why = await asyncio.to_thread(confinement, bare, home.absolute())
    if not way and not image.unconfined:
        raise NotConfined(f"{image.uri} is not run: it cannot be kept from the secrets here: {why}")
    if way != "confine":
        base["SAGEMAKER_BASE_DIR"] = str(folder)
    if way:
        (folder / "scratch").mkdir(exist_ok=True)  # on disk: the other folders that the process may write to are in memory
        base |= dict.fromkeys(("HOME", "TMPDIR"), f"{ML if way == 'confine' else folder}/scratch")
    shut_in = (f"--{way}", json.dumps(asdict(bars(folder, image, home)))) if way else ()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), str(nice), "--environment"),
        *(*shut_in, *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=mark,  # nothing of the user's: what confines the process is not confined yet
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(base | dict(environment) | mark).encode())
    process.stdin.close()
    return ContainerProcess(process, say)


async def _pump(process: asyncio.subprocess.Process, say: TakeLine) -> None:
    assert process.stdout is not None
    rest = b""
    while chunk := await process.stdout.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            say(line.decode(errors="replace").rstrip("\r"))
    if rest:
        say(rest.decode(errors="replace"))


def bars(folder: Path, image: Image, home: Path) -> Bars:
    """Return the paths that a confined process may see.

    Args:
        folder: The folder that the process sees as /opt/ml.
        image: The image, whose scripts and interpreter stay visible, wherever they lie.
        home: The folder of this service: all that is beside it is hidden as well.
    """
    [place] = real([folder])
    covered = real([home.absolute().parent, os.environ.get("HOME", "/root"), "/run"])
    own = [image.packages] if image.packages else []
    return Bars(place, covered, (*needed(str(image.python)), *real([CONTRACT, image.folder, *own, *image.also])))


@functools.cache
def confinement(image: Image, home: Path) -> tuple[Way, str]:
    """Return how a process of an image is confined here, and why not better; each way is tried and logged once."""
    refused: list[str] = []
    for way in WAYS:
        why = refusal(way, image, home)
        if not why:
            if refused:
                log.info("model servers and jobs are restricted by Landlock", image=image.uri, reason=refused[0])
            return way, "; ".join(refused)
        refused.append(why)
    why = "; ".join(refused)
    log.warning("model servers and jobs are not confined", image=image.uri, reason=why)
    return "", why


def refusal(way: Way, image: Image, home: Path) -> str:
    """Say why a process of an image cannot be confined in this way here; empty: it can."""
    command = (str(image.python), "-I", "-S", "-c", "pass")
    with tempfile.TemporaryDirectory(dir=home) as folder:
        shut_in = (f"--{way}", json.dumps(asdict(bars(Path(folder), image, home))))
        trial = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), "0", *shut_in, *command]
        done = subprocess.run(trial, capture_output=True, text=True, check=False)
    return (done.stderr.strip()[-500:] or f"exit code {done.returncode}") if done.returncode else ""


@functools.cache
def can_come_forward() -> bool:
    """Say whether a process may raise its priority again: root may, others mostly not."""
    trial = [sys.executable, "-I", "-S", "-c", "import os; os.nice(1); os.nice(-1)"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def reap(home: Path) -> int:
    """Kill the processes that an earlier service of this home left running; return their number.

    The kernel ends our processes when we die; those that they had started in turn are found by the mark in their environment.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(home.absolute()):
                found.append(process)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=5)
    return len(found)
