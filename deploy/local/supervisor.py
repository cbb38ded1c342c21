"""Starts processes, watches them, restarts those that die, and stops them all.

Each process has a thread, which waits for what the process needs, starts it so that it dies with us (whatever kills us), and
sleeps until it ends. Tests start processes with `running`.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from contracts.settings import ALL_SECRETS, AWS_SECRETS, KAFKA_SECRETS, Settings, variable
from deploy.local.component import Component
from deploy.local.components import components
from deploy.local.keys import with_secrets
from deploy.local.run_state import ProcessStatus, write_state

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
SETTLED_AFTER_S = 30.0
"""A process that has run for this long is started again at once when it dies."""
UNASKED_READY_S = 1.0
"""A process that cannot be asked counts as ready when it has run for this long."""
LARGEST_LOG = 8 << 20
"""The size of the largest log file, in bytes; a larger file is set aside, and replaces the one that was set aside before."""
LOOK_AT_LOGS_S = 5.0
STOP_S = 4.2
"""The time within which everything is stopped, in seconds."""

FIRST_WAVE = 0.5
"""The share of `STOP_S` for the processes that are stopped first: they have most to finish."""

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|AUTH_SOCK", re.IGNORECASE)
_OURS = frozenset(variable(name, Settings.model_fields[name].validation_alias) for name in ALL_SECRETS)
"""Names of environment variables that no process inherits."""
DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")


class StartFailed(RuntimeError):
    """A process did not become ready."""


class Supervisor:
    """Keeps processes running from `start` until `stop`."""

    def __init__(
        self,
        settings: Settings,
        parts: Sequence[Component],
        told: Callable[[ProcessStatus], None] = lambda _: None,
        state: Path | None = None,
    ) -> None:
        """Begin with nothing started.

        Args:
            settings: Given to every process by its environment, with only those secrets that it names.
            parts: What to start, each after all that it needs.
            told: Called with every change; the calls come from several threads, one at a time.
            state: The file that the status is written to; None: nowhere.
        """
        self._settings = settings
        self._parts = list(parts)
        self._told = told
        self._state = state
        self._standings = {part.name: ProcessStatus(part.name) for part in parts}
        self._ready = {part.name: threading.Event() for part in parts}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._changing = threading.RLock()
        self._keepers = [threading.Thread(target=self._keep, args=(part,), name=part.name, daemon=True) for part in parts]

    @property
    def standings(self) -> list[ProcessStatus]:
        """Return the status of each process."""
        with self._changing:
            return list(self._standings.values())

    def pid(self, name: str) -> int:
        """Return the process id of a process that runs."""
        return self._processes[name].pid

    def start(self) -> None:
        """Begin to start all processes, as many at a time as their needs allow; return at once."""
        self.log("").parent.mkdir(parents=True, exist_ok=True)
        for keeper in self._keepers:
            keeper.start()
        threading.Thread(target=self._trim_logs, name="logs", daemon=True).start()

    def wait_until_ready(self, timeout_s: float = 90.0) -> None:
        """Wait until all processes are ready.

        Raises:
            StartFailed: If a process is not ready in time, or died three times before it was ready.
        """
        deadline = time.monotonic() + timeout_s
        for part in self._parts:
            while not self._ready[part.name].wait(0.05):
                standing = self._standings[part.name]
                if standing.restarts >= 3 or time.monotonic() > deadline:
                    raise StartFailed(
                        f"{part.name} does not start: {standing.note or 'not ready in time'}; see {self.log(part.name)}"
                    )

    def stop(self) -> None:
        """Stop all processes within `STOP_S`, each before those that it needs; kill those that do not end by themselves."""
        self._stopping.set()
        began = time.monotonic()
        waves = stopping_order(self._parts)
        for number, wave in enumerate(waves, 1):
            for name in wave:
                self._signal(name, signal.SIGTERM)
            deadline = began + STOP_S * (FIRST_WAVE + (1 - FIRST_WAVE) * number / len(waves))
            for name in wave:
                process = self._processes.get(name)
                if process is not None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(max(0.0, deadline - time.monotonic()))
                self._kill_group(name)
                self._note(name, phase="stopped", pid=None)
        for keeper in self._keepers:
            if keeper.ident is not None:
                keeper.join(2)
        if self._state is not None:
            self._state.unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self._settings.home / "logs" / f"{name}.log"

    def _trim_logs(self) -> None:
        while not self._stopping.wait(LOOK_AT_LOGS_S):
            for part in self._parts:
                trim(self.log(part.name))

    def _keep(self, part: Component) -> None:
        pause = FIRST_PAUSE_S
        for need in part.needs:
            while not self._ready[need].wait(0.5):
                if self._stopping.is_set():
                    return
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                why = self._live(part)
            except Exception as error:  # noqa: BLE001 - whatever failed, the next try may succeed, and the failure is reported
                self._kill_group(part.name)
                why = f"{type(error).__name__}: {error}"
            if self._stopping.is_set():
                return
            pause = FIRST_PAUSE_S if time.monotonic() - began > SETTLED_AFTER_S else pause
            restarts = self._standings[part.name].restarts + 1
            self._note(part.name, phase="down", pid=None, restarts=restarts, note=why)
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _live(self, part: Component) -> str:
        """Run a process from its start to its end; return how it ended."""
        began = time.monotonic()
        self._note(part.name, phase="starting", took_s=None)
        part.prepare()
        process = self._spawn(part)
        if process is None:
            return ""
        self._note(part.name, pid=process.pid, started_at=datetime.now(UTC).isoformat(timespec="milliseconds"))
        while process.poll() is None and not (part.ready() if part.ready else time.monotonic() - began > UNASKED_READY_S):
            if time.monotonic() - began > part.patience_s:
                self._kill_group(part.name)
                process.wait()
                return f"not ready in {part.patience_s:.0f} s"
            time.sleep(0.05)
        if process.poll() is None:
            if not self._ready[part.name].is_set():
                part.settle()
            self._note(part.name, phase="ready", took_s=round(time.monotonic() - began, 2), note="")
            self._ready[part.name].set()
        code = process.wait()
        self._kill_group(part.name)
        return f"ended with {_exit_name(code)}"

    def _spawn(self, part: Component) -> subprocess.Popen[bytes] | None:
        log = self.log(part.name)
        trim(log)
        wrapper = (sys.executable, "-I", "-S", str(DIE_WITH_PARENT), str(os.getpid()), str(part.nice))
        with self._changing, open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as output:
            if self._stopping.is_set():
                return None
            process = subprocess.Popen(
                [*wrapper, *part.argv],
                env=environment(part, self._settings, os.environ),
                umask=0o077,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must reach us alone: we stop them in order
            )
            self._processes[part.name] = process
        return process

    def _signal(self, name: str, number: signal.Signals) -> None:
        with self._changing:
            process = self._processes.get(name)
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def _kill_group(self, name: str) -> None:
        process = self._processes.get(name)
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def _note(self, name: str, **changes: object) -> None:
        with self._changing:
            standing = replace(self._standings[name], **changes)  # type: ignore[arg-type]
            self._standings[name] = standing
            if self._state is not None:
                write_state(self._state, list(self._standings.values()))
            if not self._stopping.is_set() or standing.phase == "stopped":
                self._told(standing)


def environment(part: Component, settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a process's environment variables, with only those secrets of the settings that it needs."""
    by_iam = settings.kafka_sasl_mechanism == "AWS_MSK_IAM" and KAFKA_SECRETS[0] in part.secrets
    cloud = AWS_SECRETS[0] in part.secrets or by_iam  # a process without AWS keys gets no AWS profile or session either
    kept = {
        name: value
        for name, value in inherited.items()
        if not (_SECRET.search(name) or name in _OURS or name.startswith("AWS_")) or (cloud and name.startswith("AWS_"))
    }
    return {**kept, **settings.environment(part.secrets), "GAMENIGHT_COMPONENT": part.name, **part.env}


def trim(log: Path) -> None:
    """Rotate a log file that has become too large; the process goes on writing to an empty one."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LARGEST_LOG:
            shutil.copy(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def stopping_order(parts: Sequence[Component]) -> list[list[str]]:
    """Return the names in the order of stopping: the highest tier first, and Kafka after all others."""
    waves = [[part.name for part in parts if part.tier == tier] for tier in sorted({part.tier for part in parts}, reverse=True)]
    return [wave for wave in [[name for name in wave if name != "kafka"] for wave in waves] if wave] + (
        [["kafka"]] if any("kafka" in wave for wave in waves) else []
    )


def _exit_name(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


@contextlib.contextmanager
def running(settings: Settings, names: Sequence[str], timeout_s: float = 90.0) -> Iterator[Supervisor]:
    """Run some of the processes until the block ends; for tests.

    Args:
        settings: Their home and ports; secrets that are missing are made.
        names: The processes to run; other processes that they need are assumed to be there.
        timeout_s: How long they may take to become ready, in seconds.

    Raises:
        StartFailed: If a process does not become ready.
    """
    settings = with_secrets(settings)
    chosen = [part for part in components(settings) if part.name in names]
    if missing := set(names) - {part.name for part in chosen}:
        raise ValueError(f"nothing here is called {', '.join(sorted(missing))}")
    parts = [replace(part, needs=tuple(need for need in part.needs if need in names)) for part in chosen]
    supervisor = Supervisor(settings, parts)
    supervisor.start()
    try:
        supervisor.wait_until_ready(timeout_s)
        yield supervisor
    finally:
        supervisor.stop()
