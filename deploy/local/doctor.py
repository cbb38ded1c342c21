"""`gamenight doctor` shows what runs, since when, how far each consumer is behind, and how to fix what does not run."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import psutil
from pydantic import BaseModel

from contracts.settings import Settings
from deploy.local.components import game_url, outside
from deploy.local.keys import FOLDERS
from deploy.local.run_state import holder, read_state
from deploy.local.sagemaker import containers
from deploy.local.sagemaker.containers import Images
from deploy.local.sagemaker.errors import AwsError
from deploy.local.up import health
from producers.acls import GROUPS
from producers.group_lag import LagUnknown, group_lag

RECOVERED: Final = timedelta(minutes=10)
"""A process that has run for so long has recovered, however often it died before."""


class ProcessReport(BaseModel):
    """The state of a process, or of the outside service in its place."""

    name: str
    phase: str
    pid: int | None = None
    since: str | None = None
    restarts: int = 0
    memory_mb: int | None = None
    """Resident memory of the process and its children."""
    note: str = ""


class Findings(BaseModel):
    """The findings of `examine`; ``advice`` is empty when all is well."""

    up_pid: int | None
    parts: list[ProcessReport]
    status: Literal["ok", "degraded", "unavailable"]
    """The status that /healthz gives."""
    missing: dict[str, str]
    """What is missing, and the cause."""
    lag: dict[str, dict[str, int]]
    """How many messages are not yet committed, by consumer group and topic."""
    disk_mb: dict[str, float]
    unconfined: str
    """Why model servers and jobs can read all files that the user can read; empty: they cannot."""
    advice: list[str]
    notes: list[str]
    """What is so by a setting, and is no fault."""


def examine(settings: Settings) -> Findings:
    """Examine all processes, and change nothing."""
    pid = holder(settings.home)
    parts = _parts(settings, pid)
    said = health(game_url(settings))
    lag, broker = _lag(settings)
    advice = []
    if pid is None:
        advice.append(f"nothing runs on {settings.home}: start it with make play")
    else:
        for part in parts:
            log = settings.home / "logs" / f"{part.name}.log"
            if part.phase == "down":
                advice.append(f"{part.name} {part.note} and is started again by itself: {_last_line(log)} ({log})")
            elif part.phase == "starting" or part.phase == "waiting":
                advice.append(f"{part.name} is {part.phase}: ask again in a few seconds, or see {log}")
            elif part.restarts >= 3 and _lately(part.since):
                advice.append(f"{part.name} died {part.restarts} times: the causes are in {log}")
        if broker:
            advice.append(broker)
        if said.status != "ok" and not advice:
            advice.append(f"see the logs of {_logs(said.missing)} in {settings.home / 'logs'}")
    for group, topics in lag.items():
        behind = sum(topics.values())
        if behind > 1000:
            more = ", or set GAMENIGHT_STREAM_WORKERS higher" if group == GROUPS["router"] else ""  # which are routers
            advice.append(f"{group} is {behind} messages behind: it catches up by itself{more}")
    return Findings(
        up_pid=pid,
        parts=parts,
        status=said.status,
        missing=said.missing,
        lag=lag,
        disk_mb=_disk(settings.home),
        unconfined=_unconfined(settings),
        advice=advice,
        notes=list(_notes(settings)),
    )


def _notes(settings: Settings) -> Iterator[str]:
    if not settings.canary_shares:
        how = "GAMENIGHT_GATE_CANARY_PERCENT=5,25,50 lets it begin as a canary"
        yield f"no canary is used: a version that the gate lets through answers all players at once; {how}"


def _lately(since: str | None) -> bool:
    """Say whether a process was started so lately that its earlier ends may go on."""
    return since is None or datetime.now(UTC) - datetime.fromisoformat(since) < RECOVERED


def _parts(settings: Settings, pid: int | None) -> list[ProcessReport]:
    found = [
        ProcessReport(name=name, phase="outside", note=f"{value} ({setting})")
        for name, (setting, value) in outside(settings).items()
    ]
    state = read_state(settings.home)
    if pid is None or state is None:
        return found
    for one in state["components"]:
        memory = _memory_mb(one["pid"]) if one["pid"] else None
        found.append(
            ProcessReport(
                name=one["name"],
                phase=one["phase"],
                pid=one["pid"],
                since=one["started_at"],
                restarts=one["restarts"],
                memory_mb=memory,
                note=one["note"],
            )
        )
    return found


def _last_line(log: Path) -> str:
    try:
        lines = log.read_bytes()[-4096:].decode(errors="replace").split("\n")
    except OSError:
        return "it left no log"
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "its log is empty")


def _memory_mb(pid: int) -> int | None:
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) >> 20
    except psutil.Error:
        return None


def _logs(missing: Iterable[str]) -> str:
    """Say which logs explain what is missing."""
    writers = {"kafka": "kafka", "router": "router", "learning": "learning", "learning of yours": "router", "api": "api"}
    return ", ".join(dict.fromkeys(writers.get(part, "router, trainer and sagemaker") for part in missing))


def _lag(settings: Settings) -> tuple[dict[str, dict[str, int]], str]:
    """Return the lag by group and topic, and what is wrong with the broker."""
    try:
        return group_lag(settings), ""
    except LagUnknown as unknown:
        return {}, str(unknown)


def _unconfined(settings: Settings) -> str:
    folders, home = settings.image_folders(), (settings.home / "sagemaker").absolute()
    images = Images(settings.image_registry, settings.tools, folders)
    for name in folders:
        with suppress(AwsError, OSError):
            image = images.find(settings.image_uri(name))
            reasons = []
            for way in containers.WAYS:
                if not (why := containers.refusal(way, image, home)):
                    return ""
                reasons.append(why)
            return "; ".join(reasons)
    return ""


def _disk(home: Path) -> dict[str, float]:
    return {name: round(_size(home / name) / 1e6, 1) for name in FOLDERS if (home / name).is_dir()}


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total
