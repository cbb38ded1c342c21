"""The supervisor, with small processes in the place of the real ones."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from contracts.settings import ALL_SECRETS, AWS_SECRETS, KAFKA_SECRETS, SECRETS, Settings, variable
from deploy.local import keys
from deploy.local.archive import free_ports
from deploy.local.component import Component
from deploy.local.components import components
from deploy.local.install import ROOT
from deploy.local.keys import with_secrets
from deploy.local.run_state import AlreadyRunning, ProcessStatus, holder, only_one, read_state, state_file
from deploy.local.supervisor import StartFailed, Supervisor, environment, stopping_order
from deploy.local.up import taken_ports

SLEEPS = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)")
DEAF = (
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('x', flush=True); time.sleep(60)",
)
DIES = (sys.executable, "-I", "-S", "-c", "raise SystemExit('no')")


def yes() -> bool:
    return True


def wait_for(what: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@contextmanager
def supervised(home: Path, *parts: Component) -> Iterator[tuple[Supervisor, list[ProcessStatus]]]:
    told: list[ProcessStatus] = []
    supervisor = Supervisor(Settings(home=home), parts, told.append, state_file(home))
    supervisor.start()
    try:
        yield supervisor, told
    finally:
        supervisor.stop()


def test_what_needs_another_is_started_only_when_that_is_ready_and_settled(tmp_path: Path) -> None:
    done: list[str] = []
    first = Component("first", SLEEPS, ready=yes, settle=lambda: done.append("settled"))
    second = Component("second", SLEEPS, ready=yes, needs=("first",), prepare=lambda: done.append("second is prepared"))

    with supervised(tmp_path, first, second) as (supervisor, _):
        supervisor.wait_until_ready()

    assert done == ["settled", "second is prepared"]


def test_a_process_that_dies_is_started_again_and_it_is_said(tmp_path: Path) -> None:
    with supervised(tmp_path, Component("part", SLEEPS, ready=yes)) as (supervisor, told):
        supervisor.wait_until_ready()
        killed = supervisor.pid("part")
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: supervisor.standings[0].phase == "ready" and supervisor.standings[0].restarts == 1)

        assert supervisor.pid("part") != killed
        assert [(one.phase, one.note) for one in told if one.phase == "down"] == [("down", "ended with SIGKILL")]


def test_what_is_settled_once_is_not_settled_again_after_a_restart(tmp_path: Path) -> None:
    settled: list[None] = []
    with supervised(tmp_path, Component("part", SLEEPS, ready=yes, settle=lambda: settled.append(None))) as (supervisor, _):
        supervisor.wait_until_ready()
        os.kill(supervisor.pid("part"), signal.SIGKILL)
        wait_for(lambda: supervisor.standings[0].phase == "ready" and supervisor.standings[0].restarts == 1)

    assert len(settled) == 1


def test_what_cannot_start_is_named_with_its_log(tmp_path: Path) -> None:
    with (
        supervised(tmp_path, Component("broken", DIES, ready=lambda: False)) as (supervisor, _),
        pytest.raises(StartFailed, match=r"broken does not start: ended with exit code 1; see .*broken\.log"),
    ):
        supervisor.wait_until_ready()
    assert "no" in (tmp_path / "logs" / "broken.log").read_text()


def test_what_is_never_ready_is_started_again(tmp_path: Path) -> None:
    with supervised(tmp_path, Component("mute", SLEEPS, ready=lambda: False, patience_s=0.1)) as (supervisor, told):
        wait_for(lambda: supervisor.standings[0].restarts >= 2)

    assert told[-1].phase == "stopped"
    assert any("not ready in" in one.note for one in told)


def test_a_failure_to_prepare_is_told_and_tried_again(tmp_path: Path) -> None:
    tries = iter([OSError("disk full"), None])

    def prepare() -> None:
        if (error := next(tries)) is not None:
            raise error

    with supervised(tmp_path, Component("part", SLEEPS, ready=yes, prepare=prepare)) as (supervisor, told):
        supervisor.wait_until_ready()

    assert "OSError: disk full" in [one.note for one in told]


def test_what_does_not_listen_to_a_request_to_stop_is_killed_in_time(tmp_path: Path) -> None:
    heard = tmp_path / "logs" / "deaf.log"
    with supervised(tmp_path, Component("deaf", DEAF, ready=lambda: bool(heard.read_text()))) as (supervisor, _):
        supervisor.wait_until_ready()
        process = psutil.Process(supervisor.pid("deaf"))

    assert not process.is_running()


def test_nothing_is_left_in_the_process_group_of_what_ended(tmp_path: Path) -> None:
    note = tmp_path / "child"
    code = f"""
import subprocess, time
from pathlib import Path
Path({str(note)!r}).write_text(str(subprocess.Popen({list(SLEEPS)}).pid))
time.sleep(60)
"""
    with supervised(tmp_path, Component("parent", (sys.executable, "-I", "-c", code), ready=note.is_file)) as (supervisor, _):
        supervisor.wait_until_ready()
        wait_for(lambda: note.read_text())
        child = psutil.Process(int(note.read_text()))

    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from contracts.settings import Settings
from deploy.local.component import Component
from deploy.local.supervisor import Supervisor
home = Path({str(tmp_path)!r})
supervisor = Supervisor(Settings(home=home), [Component("part", {SLEEPS!r}, ready=lambda: True)])
supervisor.start()
supervisor.wait_until_ready()
(home / "pid.new").write_text(str(supervisor.pid("part")))
(home / "pid.new").replace(home / "pid")
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for((tmp_path / "pid").is_file)
        child = psutil.Process(int((tmp_path / "pid").read_text()))
    finally:
        process.kill()
        process.wait()

    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_how_it_stands_is_left_for_the_doctor_until_all_is_stopped(tmp_path: Path) -> None:
    with supervised(tmp_path, Component("part", SLEEPS, ready=yes)) as (supervisor, _):
        supervisor.wait_until_ready()
        state = read_state(tmp_path)
        assert state is not None
        assert state["pid"] == os.getpid()
        assert [(one["name"], one["phase"], one["pid"]) for one in state["components"]] == [
            ("part", "ready", supervisor.pid("part"))
        ]

    assert read_state(tmp_path) is None


def test_a_state_that_was_cut_short_is_no_state(tmp_path: Path) -> None:
    state_file(tmp_path).parent.mkdir()
    state_file(tmp_path).write_text('{"pid": 1, "compo')

    assert read_state(tmp_path) is None


def test_a_large_log_is_put_aside_when_its_process_starts(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with (tmp_path / "logs" / "part.log").open("wb") as log:
        log.truncate(9 << 20)

    with supervised(tmp_path, Component("part", SLEEPS, ready=yes)) as (supervisor, _):
        supervisor.wait_until_ready()

    assert (tmp_path / "logs" / "part.log").stat().st_size == 0
    assert (tmp_path / "logs" / "part.log.1").stat().st_size == 9 << 20


def test_a_home_has_one_supervisor_and_the_second_is_told_its_pid(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from deploy.local.run_state import only_one
with only_one(Path({str(tmp_path)!r})):
    print("x", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(AlreadyRunning, match=f"process {other.pid}"), only_one(tmp_path):
            pass
        assert holder(tmp_path) == other.pid
        other.kill()

    assert holder(tmp_path) is None
    with only_one(tmp_path):
        pass


def test_who_looks_whether_it_runs_leaves_nothing_behind(tmp_path: Path) -> None:
    assert holder(tmp_path / "home") is None
    assert not (tmp_path / "home").exists()


def test_a_log_that_grows_while_its_process_runs_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.supervisor.LOOK_AT_LOGS_S", 0.01)
    monkeypatch.setattr("deploy.local.supervisor.LARGEST_LOG", 100_000)
    talks = "import time\nwhile True: print('x' * 999, flush=True); time.sleep(0.0005)"
    with supervised(tmp_path, Component(name="part", argv=(sys.executable, "-I", "-S", "-c", talks), ready=yes)):
        log, aside = tmp_path / "logs" / "part.log", tmp_path / "logs" / "part.log.1"
        wait_for(aside.is_file)
        first = aside.stat().st_mtime_ns
        wait_for(lambda: aside.stat().st_mtime_ns > first)
        assert not log.read_bytes()[:100].startswith(b"\0"), "the process does not append"


def test_services_are_stopped_before_what_they_stand_on_and_kafka_last() -> None:
    parts = [Component("kafka", ()), Component("s3", ()), Component("sagemaker", (), tier=1), Component("api", (), tier=2)]

    assert stopping_order(parts) == [["api"], ["sagemaker"], ["s3"], ["kafka"]]


def test_a_taken_port_is_named_with_its_setting_and_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        [line] = taken_ports([Component("api", (), ports={"GAMENIGHT_PORT": port})])

    assert line.startswith(f"port {port} for api is taken")
    assert f"process {os.getpid()}" in line
    assert "GAMENIGHT_PORT" in line


def test_a_free_port_is_one_that_no_client_is_given_meanwhile() -> None:
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    found: list[int] = []
    while not found:
        with suppress(OSError), socket.create_server(("127.0.0.1", free_ports(1)[0] + 1)) as held:  # the next to be looked at
            found = free_ports(2)
            assert held.getsockname()[1] not in found

    assert not any(lowest <= port <= highest for port in found)


def test_one_port_for_two_parts_is_named() -> None:
    [port] = free_ports(1)
    parts = [Component("s3", (), ports={"GAMENIGHT_S3_PORT": port}), Component("api", (), ports={"GAMENIGHT_PORT": port})]

    assert taken_ports(parts) == [f"port {port} is given twice, to s3 and api: set GAMENIGHT_PORT to another one"]


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    first = with_secrets(Settings(home=tmp_path, seat_secret="given"))
    second = with_secrets(Settings(home=tmp_path))

    assert first.operator_token == second.operator_token
    assert (first.seat_secret, (tmp_path / "secrets" / "seat_secret").read_text()) == ("given", second.seat_secret)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o600}
    assert Settings.load(home=tmp_path).operator_token == first.operator_token


def test_a_secret_that_two_make_at_once_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faster = []

    def made_meanwhile() -> str:
        monkeypatch.setitem(keys._MADE, "operator_token", lambda: "of the faster one")
        faster.append(with_secrets(Settings(home=tmp_path)))
        return "too late"

    monkeypatch.setitem(keys._MADE, "operator_token", made_meanwhile)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "seat_secret").write_text("\n")  # an empty one counts for none

    slower = with_secrets(Settings(home=tmp_path))

    assert [one.operator_token for one in (*faster, slower)] == ["of the faster one"] * 2
    assert slower.seat_secret == faster[0].seat_secret != ""
    assert {path.name for path in (tmp_path / "secrets").iterdir()} <= set(SECRETS)


def test_a_home_old_or_new_is_its_owners_alone(tmp_path: Path) -> None:
    old = tmp_path / "old"
    (old / "secrets" / "keys").mkdir(parents=True)
    (old / "secrets" / "seat_secret").write_text("old")
    for name in ("logs", "kafka", "not ours"):
        (old / name).mkdir()
    for path in old.rglob("*"):
        path.chmod(0o755)

    for home in (old, tmp_path / "new"):
        with_secrets(Settings(home=home))

    for home in (old, tmp_path / "new"):
        folders = [home / name for name in keys.FOLDERS if (home / name).exists()]
        assert {0o700} == {folder.stat().st_mode & 0o777 for folder in folders}
        files = {path.name: path.stat().st_mode & 0o777 for path in (home / "secrets").iterdir() if path.is_file()}
        assert dict.fromkeys(SECRETS, 0o600) == files
    assert (old / "not ours").stat().st_mode & 0o777 == 0o755
    assert (old / "secrets" / "seat_secret").read_text() == "old"


def test_what_a_process_writes_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "state" / "deep" / "written"
    code = "import pathlib, sys, time; f = pathlib.Path(sys.argv[1]); f.parent.mkdir(parents=True); f.touch(); time.sleep(60)"

    with supervised(tmp_path, Component("part", (sys.executable, "-I", "-S", "-c", code, str(file)))):
        wait_for(file.exists)

    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert (tmp_path / "logs" / "part.log").stat().st_mode & 0o077 == 0


def test_each_part_is_given_the_secrets_that_it_needs_and_no_others(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, tools=ROOT / ".tools", stream_workers=2, **{name: f"of {name}" for name in ALL_SECRETS})  # type: ignore[arg-type]
    ambient = {
        "AWS_PROFILE": "of a person",
        "GITHUB_TOKEN": "of another tool",
        "SSH_AUTH_SOCK": "of an agent",
        "PATH": "/bin",
        **settings.environment(),
    }
    known = {variable(name, Settings.model_fields[name].validation_alias): name for name in ALL_SECRETS}
    cloud, bus = set(AWS_SECRETS), set(KAFKA_SECRETS)
    expected: dict[str, set[str]] = {
        "kafka": set(),
        "dynamodb": set(),
        "s3": cloud,
        "sagemaker": cloud,
        "api": {"operator_token", "seat_secret", "api_keys", "api_signing_key", "command_keys"} | bus,
        "router": cloud | bus | {"router_signing_key", "command_keys"},
        "router-2": cloud | bus | {"router_signing_key", "command_keys"},
        "learning": bus | {"learning_signing_key", "command_keys"},
        "trainer": cloud | bus | {"trainer_signing_key", "command_keys", "holdout_key"},
    }

    given = {part.name: environment(part, settings, ambient) for part in components(settings)}

    assert expected == {name: {known[one] for one in found if one in known} for name, found in given.items()}
    for name, found in given.items():
        others = {one for one, value in found.items() if value.startswith("of ") and one not in known}
        assert (name, others) == (name, {"AWS_PROFILE"} if cloud <= expected[name] else set())
        assert found["PATH"] == "/bin"
        assert found["GAMENIGHT_S3_PORT"] == str(settings.s3_port)


def test_a_process_reads_no_other_secrets_than_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL_SECRETS:
        monkeypatch.delenv(variable(name, Settings.model_fields[name].validation_alias), raising=False)
    with_secrets(Settings(home=tmp_path))

    asked = Settings.load(home=tmp_path, aws_services="local", secrets=AWS_SECRETS)

    assert set(AWS_SECRETS[:2]) == {name for name in ALL_SECRETS if getattr(asked, name) is not None}
    assert [name for name in ALL_SECRETS if getattr(Settings.load(home=tmp_path, secrets=()), name) is not None] == []


def test_each_process_gets_the_settings_in_its_environment(tmp_path: Path) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)), flush=True); import time; time.sleep(60)"
    log = tmp_path / "logs" / "part.log"
    part = Component(
        "part", (sys.executable, "-I", "-c", code), env={"EXTRA": "1"}, ready=lambda: log.read_text().endswith("\n")
    )
    with supervised(tmp_path, part) as (supervisor, _):
        supervisor.wait_until_ready()

    environment = json.loads(log.read_text())
    assert (environment["GAMENIGHT_HOME"], environment["EXTRA"]) == (str(tmp_path), "1")


def test_no_process_but_learning_stands_back_and_it_only_a_little():
    """Linux weighs a nice session by its niceness: learning at 10 had a tenth of the others' share, and receipts were late.

    At 2 it has two thirds, and answers are in time in a rush. DynamoDB at 10 did not come up within minutes on a busy machine:
    the trainer's lease lapsed, and no rebuild went on.
    """
    parts = components(Settings(home=Path("unused"), tools=ROOT / ".tools", routers=2))

    assert {part.name: part.nice for part in parts if part.nice} == {"learning": 2}
