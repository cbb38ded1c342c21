"""What a model's server or a training job that means harm finds on this machine: nothing but its own folder."""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.confine import LIMITS, SCRATCH, landlock, needed, spared
from deploy.local.install import CONTRACT, ROOT
from deploy.local.sagemaker import containers
from deploy.local.sagemaker.containers import Image, NotConfined

SECRET = "the operators' token"
PLANTED = CONTRACT / ".planted"
SPY = """
import json, os, resource, sys
home, user, pid, outside = sys.argv[1:]
told = {}

def attempt(name, what):
    try:
        told[name] = what()
    except OSError as error:
        told[name] = type(error).__name__

def written(path):
    with open(path, "w") as file:
        return file.write("x")

attempt("a secret", lambda: open(f"{home}/secrets/operator_token").read())
attempt("a secret through another process", lambda: open(f"/proc/{pid}/root{home}/secrets/operator_token").read())
attempt("another's environment", lambda: "SPIED" in open(f"/proc/{pid}/environ").read())
attempt("another's memory", lambda: bool(open(f"/proc/{pid}/mem", "rb")))
attempt("another's descriptors", lambda: bool(open(f"/proc/{pid}/fd/0", "rb")))
attempt("a log", lambda: open(f"{home}/logs/api.log").read())
attempt("another job", lambda: open(f"{home}/sagemaker/jobs/other/model").read())
attempt("the user's keys", lambda: open(f"{user}/.ssh/id").read())
attempt("the home's list", lambda: sorted(os.listdir(home)))
attempt("the services' sockets", lambda: os.listdir("/run"))
attempt("writing outside", lambda: written(outside))
attempt("writing into the home", lambda: written(f"{home}/planted"))
attempt("a mount taken away", lambda: os.system(f"umount {home} 2>/dev/null || umount -l {home} 2>/dev/null") and "refused")
attempt("a mount of its own", lambda: os.system("mount -t tmpfs none /mnt 2>/dev/null") and "refused")
attempt("its own folder", lambda: written("/opt/ml/model/made"))
attempt("a scratch file", lambda: written("/tmp/made"))
attempt("a device", lambda: written("/dev/null"))
attempt("the devices", lambda: sorted(os.listdir("/dev")))
attempt("another's end", lambda: os.kill(int(pid), 0))
attempt("where it is", os.getcwd)
status = dict(line.split(":") for line in open("/proc/self/status"))
attempt("its privileges", lambda: [status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "NoNewPrivs")])
attempt("its limits", lambda: [resource.getrlimit(limit) for limit in map(int, os.environ["LIMITS"].split())])
attempt("secrets in its environment", lambda: [name for name in os.environ if "AWS" in name or "TOKEN" in name])
print(json.dumps(told))
"""


@pytest.fixture(params=["where make play has it", "in /tmp"])
def home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the game, and one of the user, both with what others should not see; a Python in the latter."""
    place = ROOT if request.param.startswith("where") else None
    with tempfile.TemporaryDirectory(prefix=".confined-", dir=place) as folder:
        yield provisioned(Path(folder) / "home", Path(folder) / "user", monkeypatch)
    PLANTED.unlink(missing_ok=True)


def provisioned(home: Path, user: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put all that into them; the home again."""
    for file in (
        home / "secrets" / "operator_token",
        home / "logs" / "api.log",
        home / "sagemaker" / "jobs" / "other" / "model",
        user / ".ssh" / "id",
    ):
        file.parent.mkdir(parents=True)
        file.write_text(SECRET)
    (home / "sagemaker" / "jobs" / "mine" / "model").mkdir(parents=True)
    (home / "sagemaker" / "jobs" / "mine" / "spy.py").write_text(SPY)
    (user / "tools" / "bin").mkdir(parents=True)
    (user / "tools" / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv("OPERATOR_TOKEN", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return home


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of the same user, with something in its environment."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "input()"], stdin=-1, env={**os.environ, "SPIED": SECRET}
    ) as process:
        yield process
        process.kill()


async def spied(home: Path, bystander: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """What the spy tells."""
    folder, user = home / "sagemaker" / "jobs" / "mine", home.parent / "user"
    image = Image("any:1", user / "tools", user / "tools" / "bin" / "python")
    lines: list[str] = []
    given = (str(home), str(user), str(bystander.pid), str(PLANTED))
    process = await containers.start(
        [str(image.python), "-I", "-S", "spy.py", *given],
        image,
        folder,
        {"LIMITS": " ".join(str(limit) for limit in LIMITS)},
        lines.append,
        home=home / "sagemaker",
    )
    assert await asyncio.wait_for(process.wait(), 30) == 0, lines
    told: dict[str, Any] = json.loads(lines[-1])
    return told


async def test_a_job_that_spies_finds_its_own_folder_and_nothing_else(home: Path, bystander: "subprocess.Popen[bytes]") -> None:
    told = await spied(home, bystander)

    nothing, in_scratch = "0" * 16, any(home.is_relative_to(folder) for folder in SCRATCH)
    assert told == {
        "a secret": "FileNotFoundError",
        "a secret through another process": "PermissionError",
        "another's environment": "PermissionError",
        "another's memory": "PermissionError",
        "another's descriptors": "PermissionError",
        "a log": "FileNotFoundError",
        "another job": "FileNotFoundError",
        "the user's keys": "FileNotFoundError",
        "the home's list": "FileNotFoundError" if in_scratch else [],
        "the services' sockets": [],
        "writing outside": "OSError",
        "writing into the home": "FileNotFoundError" if in_scratch else "OSError",
        "a mount taken away": "refused",
        "a mount of its own": "refused",
        "its own folder": 1,
        "a scratch file": 1,
        "a device": 1,
        "the devices": ["fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"],
        "another's end": None,
        "where it is": "/opt/ml",
        "its privileges": [nothing, nothing, nothing, "1"],
        "its limits": [[most, most] for most in LIMITS.values()],
        "secrets in its environment": [],
    }
    assert (home / "sagemaker" / "jobs" / "mine" / "model" / "made").read_text() == "x"
    assert not Path("/tmp/made").exists()
    assert (home / "secrets" / "operator_token").read_text() == SECRET


async def test_where_there_are_no_namespaces_a_job_that_spies_finds_closed_doors(
    home: Path, bystander: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "confinement", lambda *_: ("restrict", "no namespaces"))
    mine = home / "sagemaker" / "jobs" / "mine"
    (mine / "spy.py").write_text(SPY.replace("/opt/ml/", f"{mine}/"))

    told = await spied(home, bystander)

    nothing, closed = "0" * 16, "PermissionError"
    assert told == {
        "a secret": closed,
        "a secret through another process": closed,
        "another's environment": closed,
        "another's memory": closed,
        "another's descriptors": closed,
        "a log": closed,
        "another job": closed,
        "the user's keys": closed,
        "the home's list": closed,
        "the services' sockets": closed,
        "writing outside": closed,
        "writing into the home": closed,
        "a mount taken away": "refused",
        "a mount of its own": "refused",
        "its own folder": 1,
        "a scratch file": closed,
        "a device": 1,
        "the devices": closed,
        "another's end": closed if landlock() >= 6 else None,
        "where it is": str(mine),
        "its privileges": [nothing, nothing, nothing, "1"],
        "its limits": [
            list(resource.getrlimit(limit)) if limit == resource.RLIMIT_NPROC else [most, most]
            for limit, most in LIMITS.items()
        ],
        "secrets in its environment": [],
    }
    assert (mine / "model" / "made").read_text() == "x"
    assert (mine / "scratch").is_dir()
    assert (home / "secrets" / "operator_token").read_text() == SECRET


@pytest.mark.parametrize("way", ["confine", "restrict"])
async def test_no_variable_of_a_job_works_before_the_job_is_confined(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = provisioned(tmp_path / "home", tmp_path / "user", monkeypatch)
    monkeypatch.setattr(containers, "confinement", lambda *_: (way, ""))
    loader = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(home / "secrets" / "planted")}  # as LD_PRELOAD, the loader obeys it
    given = loader | {"PATH": str(home), "A_LONG_ONE": "\u20ac" * 30_000, containers.MARK: "none of ours"}
    image = Image("any:1", home, Path(sys.executable))
    told: list[str] = []
    job = "import json, os, sys; print(json.dumps([dict(os.environ), sys.stdin.read()]))"
    command = [sys.executable, "-I", "-S", "-c", job]

    process = await containers.start(
        command, image, home / "sagemaker" / "jobs" / "mine", given, told.append, home=home / "sagemaker"
    )

    assert await asyncio.wait_for(process.wait(), 30) == 0, told
    assert [file.name for file in (home / "secrets").iterdir()] == ["operator_token"]
    [seen, read] = json.loads(next(line for line in told if line.startswith("[")))
    assert seen | given | {containers.MARK: str(home / "sagemaker")} == seen
    assert read == ""


async def test_a_variable_that_no_process_can_have_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "confinement", lambda *_: ("", "neither"))
    told: list[str] = []

    image = Image("any:1", tmp_path, Path(sys.executable))
    process = await containers.start(["true"], image, tmp_path, {"A": "a\0b"}, told.append, home=tmp_path)

    assert await asyncio.wait_for(process.wait(), 30) == 1
    assert told == ["true: embedded null byte"]


async def test_where_there_is_neither_nothing_runs_if_the_settings_say_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "confinement", lambda *_: ("", "the kernel is of 2019"))
    mine = home / "sagemaker" / "jobs" / "mine"
    image = Image("any:1", home, Path(sys.executable), unconfined=False)

    with pytest.raises(NotConfined, match="any:1 is not run: it cannot be kept from the secrets here: the kernel is of 2019"):
        await containers.start([sys.executable, "-c", ""], image, mine, {}, print, home=home / "sagemaker")


def test_what_is_spared_is_neither_closed_nor_on_the_way_there(tmp_path: Path) -> None:
    for name in ("home/secrets", "home/free", "usr/lib", "home2", "tmp"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "home" / "link").symlink_to(tmp_path / "home" / "secrets")

    left = spared({str(tmp_path / "home" / "secrets"), str(tmp_path / "tmp"), "/elsewhere"}, str(tmp_path))

    assert sorted(Path(one).relative_to(tmp_path).as_posix() for one in left) == ["file", "home/free", "home2", "usr"]


async def test_what_confines_it_is_what_keeps_the_secrets(
    home: Path, bystander: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "confinement", lambda *_: ("", "neither"))

    mine = home / "sagemaker" / "jobs" / "mine"
    (mine / "spy.py").write_text(SPY.replace("/opt/ml/", f"{mine}/").replace("/tmp/made", f"{mine}/made"))
    told = await spied(home, bystander)

    assert (told["a secret"], told["another's environment"], told["writing outside"]) == (SECRET, True, 1)
    assert told["secrets in its environment"] == []


def test_an_interpreter_is_kept_with_all_that_it_is_a_link_to(tmp_path: Path) -> None:
    for name in ("real", "versions", "env"):
        (tmp_path / name / "bin").mkdir(parents=True)
    (tmp_path / "real" / "bin" / "python3").touch()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    (tmp_path / "versions" / "bin" / "python3").symlink_to(tmp_path / "alias" / "bin" / "python3")
    (tmp_path / "env" / "bin" / "python").symlink_to("../../versions/bin/python3")

    kept = needed(str(tmp_path / "env" / "bin" / "python"))

    assert {str(tmp_path / name) for name in ("env", "versions", "alias", "real")} == set(kept)


def test_where_the_kernel_refuses_it_is_said_once(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    missing = Image("any:1", home, home / "no" / "python")

    for _ in range(2):
        way, why = containers.confinement(missing, home / "sagemaker")
        assert (way, "; " in why) == ("", True), "why neither of the two"
    assert capfd.readouterr().out.count("not confined") == 1


def test_landlock_is_taken_where_there_are_no_namespaces_and_the_service_says_why(
    home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = containers.refusal
    monkeypatch.setattr(containers, "refusal", lambda way, *of: "no namespaces" if way == "confine" else really(way, *of))

    assert containers.confinement(Image("some:1", home, Path(sys.executable)), home / "sagemaker") == (
        "restrict",
        "no namespaces",
    )
    assert "no namespaces" in capfd.readouterr().out
