"""`gamenight up` runs everything on one machine, from the check of the ports until the last process is stopped."""

import errno
import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel
from rich.console import Console
from rich.status import Status
from rich.text import Text

from contracts.settings import Settings
from deploy.local.component import Component
from deploy.local.components import components, game_url, outside, settle_outside
from deploy.local.keys import with_secrets
from deploy.local.run_state import ProcessStatus, only_one, read_state, state_file
from deploy.local.supervisor import Supervisor

HEALTHY_WITHIN_S = 60.0
"""Seconds after which the game is shown even though something is missing."""
UNCHANGED_S = 15.0
"""Seconds after which the game is shown as degraded, if the same parts stay missing: this machine may never have them."""
LOUD_FAILURES = 3
"""How many failed starts in a row are shown."""
FORMER_GONE_S = 3.0
"""How long the processes of a killed supervisor may take to end, in seconds."""


class PortsTaken(RuntimeError):
    """Ports that we need are in use; the message names each with its setting."""


class Journal:
    """The supervisor's own log, in JSON lines as all logs are."""

    def __init__(self, home: Path) -> None:
        """Append to ``up.log`` among the logs of a home."""
        (home / "logs").mkdir(parents=True, exist_ok=True)
        self._path = home / "logs" / "up.log"

    def tell(self, event: str, **facts: object) -> None:
        """Write a line."""
        line = {"event": event, **facts, "service": "up", "timestamp": datetime.now(UTC).isoformat()}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def up(settings: Settings, console: Console) -> None:
    """Run the game until Ctrl-C or SIGTERM.

    Raises:
        AlreadyRunning: If a supervisor runs on this home.
        PortsTaken: Before anything is started.
        RosterError: If an image cannot be a model of the game; also before anything is started.
        NotInstalled: If make has not been run.
    """
    os.umask(0o077)  # nobody else can read files that we and our children make from here on
    with only_one(settings.home):
        settings = with_secrets(settings)
        settings.roster()
        parts = components(settings)
        _let_go(settings.home)
        taken = taken_ports(parts)
        if taken:
            raise PortsTaken("\n".join(taken))
        _run(settings, parts, console, Journal(settings.home))


def _run(settings: Settings, parts: Sequence[Component], console: Console, log: Journal) -> None:
    began = time.monotonic()
    waiting = {part.name for part in parts}
    failures: Counter[str] = Counter()

    def told(standing: ProcessStatus) -> None:
        log.tell(standing.phase, component=standing.name, pid=standing.pid, restarts=standing.restarts, note=standing.note)
        if standing.phase == "ready":
            waiting.discard(standing.name)
            failures.pop(standing.name, None)
            again = " again" if standing.restarts else ""
            console.print(Text.assemble(("  ✓", "green"), f" {standing.name:<10} {standing.took_s:5.1f} s{again}"))
        elif standing.phase == "down":
            waiting.add(standing.name)
            failures[standing.name] += 1
            if failures[standing.name] <= LOUD_FAILURES:
                last = failures[standing.name] == LOUD_FAILURES
                again = "is tried again until it runs; no more is said of it" if last else "is started again"
                where = settings.home / "logs" / f"{standing.name}.log"
                told = f" {standing.name} is down ({standing.note}) and {again}; see {where}"
                console.print(Text.assemble(("  ✗", "red"), told), soft_wrap=True)

    supervisor = Supervisor(settings, parts, told, state_file(settings.home))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        for name, (setting, value) in outside(settings).items():
            console.print(Text.assemble("  ", (name, "cyan"), f" is {value} ({setting})"))
        supervisor.start()
        with console.status("") as status:
            settle_outside(settings)
            while waiting:
                status.update(f"waiting for {', '.join(part.name for part in parts if part.name in waiting)}")
                time.sleep(0.05)
            said = _settled(game_url(settings), status)
        seconds = time.monotonic() - began
        log.tell(said.status, seconds=round(seconds, 2), missing=said.missing)
        if said.status != "ok":
            can = "it can be played" if said.status == "degraded" else "it cannot be played"
            console.print(f"\nIt runs, and {can}. What is missing:", style="yellow")
            for part, why in said.missing.items():
                console.print(f"- {part}: {why}", style="yellow", markup=False, soft_wrap=True)
            console.print("gamenight doctor says more.", style="yellow")
        url = game_url(settings)
        rest = f"  watch at {url}/watch  ({seconds:.1f} s)  Ctrl-C stops it\n"
        console.print(Text.assemble("\n", (f"Play at {url}", "bold"), rest), soft_wrap=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the game is stopping already
        began = time.monotonic()
        supervisor.stop()
        log.tell("stopped", seconds=round(time.monotonic() - began, 2))
        console.print(f"stopped in {time.monotonic() - began:.1f} s; everything is kept in {settings.home}", soft_wrap=True)


class HealthReport(BaseModel):
    """The answer of /healthz."""

    status: Literal["ok", "degraded", "unavailable"]
    missing: dict[str, str]
    """What is missing, and the cause."""
    reason: str


def health(url: str, timeout_s: float = 4.0) -> HealthReport:
    """Ask the game for its health; the status is unavailable if it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=timeout_s) as answer:  # noqa: S310 - our own address
            return HealthReport.model_validate_json(answer.read())
    except urllib.error.HTTPError as error:
        with suppress(ValueError):
            return HealthReport.model_validate_json(error.read())
        why = f"it answers with status {error.code}"
    except (OSError, ValueError) as error:
        why = f"nothing answers at {url} ({getattr(error, 'reason', error)})"
    return HealthReport(status="unavailable", missing={"api": why}, reason=why)


def _settled(url: str, status: Status) -> HealthReport:
    """Return the game's health once nothing is missing, or nothing has changed for a while, or the time is up."""
    until = time.monotonic() + HEALTHY_WITHIN_S
    said, since = health(url), time.monotonic()
    while said.status != "ok" and time.monotonic() < until:
        if said.status == "degraded" and time.monotonic() - since > UNCHANGED_S:
            break
        status.update(f"waiting for the game: {said.reason}")
        time.sleep(0.1)
        before, said = said, health(url)
        if said.missing.keys() != before.missing.keys():
            since = time.monotonic()
    return said


def taken_ports(parts: Sequence[Component]) -> list[str]:
    """Return a line for each port that is in use: its process, if that can be seen, and the setting that changes the port."""
    wanted = [(port, setting, part) for part in parts for setting, port in part.ports.items()]
    lines = []
    for place, (port, setting, part) in enumerate(wanted):
        clash = next((other for other in wanted[:place] if other[0] == port), None)
        if clash is not None:
            lines.append(f"port {port} is given twice, to {clash[2].name} and {part.name}: set {setting} to another one")
        elif not _is_free(port, part.host):
            lines.append(f"port {port} for {part.name} is taken{_by_whom(port)}: set {setting} to another one, or stop that")
    return lines


def _is_free(port: int, host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that is being closed does not count
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise PortsTaken(f"{host}:{port} cannot be opened ({error.strerror})") from None
    return True


def _by_whom(port: int) -> str:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""


def _let_go(home: Path) -> None:
    """Wait until the processes of a killed supervisor are gone: the kernel is ending them."""
    deadline = time.monotonic() + FORMER_GONE_S
    for standing in (read_state(home) or {}).get("components", ()):
        while standing["pid"] and _is_ours(standing["pid"], standing["name"]) and time.monotonic() < deadline:
            time.sleep(0.05)


def _is_ours(pid: int, name: str) -> bool:
    try:
        return psutil.Process(pid).environ().get("GAMENIGHT_COMPONENT") == name
    except psutil.Error:
        return False
