"""Starts the whole game as its users do, for the bench and for tests that kill, or look at, the running product."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import psutil

from contracts.settings import LIMITS, Settings
from deploy.local.archive import free_ports
from gamenight.errors import GameNightUnreachable
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from tests.roster import BATCH_MODELS

ROOT: Final = Path(__file__).parent.parent
PROCESSES: Final = ("api", "router", "learning", "trainer", "sagemaker", *BATCH_MODELS, "kafka", "s3", "dynamodb")
"""The processes that may be killed; a batch model stands for its endpoint's own process."""
_PORTS = ("port", "kafka_port", "kafka_controller_port", "sagemaker_port", "s3_port", "dynamodb_port")


class Recovery(NamedTuple):
    """The seconds from a kill until people can play and teach again."""

    playable: float
    """Until a new drawing was answered by every model."""
    learning: float
    """Until a new drawing was labelled, and the label receipted."""
    back: float
    """Until each killed process ran again, whether or not players need it."""


class Product:
    """`gamenight up` in a home of its own."""

    def __init__(self, settings: Settings, root: Path = ROOT) -> None:
        self.settings = settings
        self._root = root
        self.url = f"http://127.0.0.1:{settings.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = settings.home / "up.log"

    def start(self, patience_s: float = 120.0, *, whole: bool = True) -> float:
        """Start the game; return the seconds until a drawing is answered by every model, and a correction learned.

        Args:
            patience_s: How long the start may take.
            whole: Whether to wait for all parts; if not, only until the game can be played, whatever is missing.
        """
        self.settings.home.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._command), "up"],
                cwd=self._root,
                env={**os.environ, **self.settings.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while not (self.healthy() if whole else self.playable()):
            if self._process.poll() is not None or time.monotonic() - began > patience_s:
                raise RuntimeError(f"not healthy after {time.monotonic() - began:.0f} s:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.02)
        return time.monotonic() - began

    @property
    def _command(self) -> Path:
        """Return the path of the checkout's own command line."""
        return (Path(sys.executable).parent if self._root == ROOT else self._root / ".venv" / "bin") / "gamenight"

    def healthy(self) -> bool:
        """Say whether /healthz says ok: nothing is missing."""
        return self._status() == "ok"

    def playable(self) -> bool:
        """Say whether /healthz says that the game can be played, whatever is missing."""
        return self._status() in ("ok", "degraded")

    def _status(self) -> str:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer:
                return str(orjson.loads(answer.read())["status"])
        except (urllib.error.URLError, OSError):
            return "unavailable"

    def processes(self) -> list[psutil.Process]:
        """Return all running processes, the supervisor first."""
        if self._process is None:
            return []
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def pid(self, process: str) -> int | None:
        """Return a process's id by the supervisor; an endpoint is a child of the local SageMaker. None: it does not run."""
        standings = orjson.loads((self.settings.home / "run" / "state.json").read_bytes())["components"]
        pids: dict[str, int | None] = {one["name"]: one["pid"] for one in standings if one["phase"] == "ready"}
        if process not in BATCH_MODELS or pids.get("sagemaker") is None:
            return pids.get(process)
        try:
            below = psutil.Process(pids["sagemaker"]).children(recursive=True)
            served = (child for child in below if f"images/{process}/serve" in " ".join(child.cmdline()))
            return next((child.pid for child in served), None)
        except psutil.NoSuchProcess:
            return None

    async def kill(self, *processes: str, patience_s: float = 60.0) -> "Recovery":
        """Kill all of these with -9 at once; wait until each runs again, and people can play and teach again."""
        before = {process: self.pid(process) for process in processes}
        for process, pid in before.items():
            assert pid is not None, f"{process} does not run"
        for pid in before.values():
            os.kill(pid or 0, signal.SIGKILL)
        return await self._recovery(f"kill -9 of {', '.join(processes)}", before, patience_s)

    async def hang(self, process: str, seconds: float, patience_s: float = 60.0) -> "Recovery":
        """Stop a process for ``seconds``, as a machine that hangs; wait as after `kill`, from the moment that it goes on."""
        pid = self.pid(process)
        assert pid is not None, f"{process} does not run"
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            with suppress(ProcessLookupError):  # its supervisor has ended it meanwhile
                os.kill(pid, signal.SIGCONT)
        return await self._recovery(f"{seconds:.0f} s without {process}", {}, patience_s)

    async def _recovery(self, what: str, before: Mapping[str, int | None], patience_s: float) -> "Recovery":
        began = time.monotonic()
        try:
            async with asyncio.timeout(patience_s):
                ends = await asyncio.gather(self._through(False), self._through(True), self._back(before))
        except TimeoutError as late:
            standings = (self.settings.home / "run" / "state.json").read_text()
            raise TimeoutError(f"not playable {patience_s:.0f} s after {what}: {standings}") from late
        return Recovery(*(round(end - began, 2) for end in ends))

    async def _back(self, before: Mapping[str, int | None]) -> float:
        """Wait until each of these processes runs under another id than before; return the time."""
        while any(self.pid(process) in (pid, None) for process, pid in before.items()):
            await asyncio.sleep(0.05)
        return time.monotonic()

    async def _through(self, teaching: bool) -> float:
        """Wait until a new drawing is answered by every model and, with ``teaching``, its label receipted; return the time."""
        odds = {"correct_probability": teaching, "confirm_probability": teaching, "previews": 0, "duplicates": 0}
        options = SimulationOptions(url=self.url, players=1, drawings=1, speed=0, patience_s=30, **odds)
        while True:
            with suppress(GameNightUnreachable):
                report = await simulate(options)
                if report.whole and not report.missed and await asyncio.to_thread(self.playable):
                    return time.monotonic()
            await asyncio.sleep(0.05)

    def stop(self) -> float:
        """Stop the game as Ctrl-C does; return the seconds that it took."""
        if self._process is None:
            return 0.0
        began = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        return time.monotonic() - began


@contextmanager
def product(home: Path | None = None, root: Path = ROOT, **given: Any) -> Iterator[Product]:
    """Yield the game of a checkout, not yet started, on free ports, in ``home`` or a fresh one; stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="gamenight-", ignore_cleanup_errors=True) as fresh:
        folder = (home or Path(fresh)).resolve()
        settings = Settings(
            home=folder,
            tools=root / ".tools",
            aws_services="local",
            **{
                "log_level": "WARNING",
                **dict.fromkeys(LIMITS, 0),
                **dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True)),
                **given,
            },
        )
        running = Product(settings, root)
        try:
            yield running
        finally:
            running.stop()
