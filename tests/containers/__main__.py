"""``make compose-test`` builds the containers, plays in them, kills each in turn, plays again, and takes them down.

It uses the standard library alone, and the engine that `docker` reaches: it ends with 3 if there is no engine, with 1 if
something is not as it should be, and says what is wrong. COMPOSE_FILE is Compose's own: standins.py says when it is needed.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = "gamenight-test"
LASTING: Final = ("pod", "kafka", "dynamodb", "s3", "sagemaker", "api", "router", "learning", "trainer")
OWN: Final = ("gamenight", "gamenight-trainer", "gamenight-sagemaker", "gamenight-s3")
UP_S: Final = 180.0
BACK_S: Final = 90.0
"""The seconds within which a killed container must run again, all must be healthy, and the game must say ok."""
DRAWINGS: Final = 200
AGAIN: Final = 20
MODELS: Final = {"everyone", "xgboost", "tensorflow", "mxnet", "kmeans", "river", "yours"}
WRITING: Final = ("kafka", "dynamodb", "sagemaker")
"""Services with a writable root: the vendors' images write anywhere, and an image's training environment is made later."""
SPY: Final = Path(__file__).with_name("spy.py")
_CONTENT: Final = """
import importlib.metadata, json, pathlib, re
names = [re.sub("[-_.]+", "-", one.metadata["Name"]).lower() for one in importlib.metadata.distributions()]
trainers = [str(path) for path in pathlib.Path("trainers").rglob("*") if path.is_file() and path.name != "image.json"]
images = [str(path) for path in pathlib.Path("data").rglob("*") if path.is_file() and "pen" not in path.parts]
print(json.dumps({"packages": names, "trainers": trainers, "images": images}))
"""
_KILL: Final = "import os, sys; os.kill(int(sys.argv[1]), 9)"


class Failed(Exception):
    """Something in the containers is not as it should be."""


def docker(*arguments: str, check: bool = True, quiet: bool = True) -> str:
    """Run a docker command; return its output."""
    done = subprocess.run(("docker", *arguments), cwd=ROOT, text=True, stdout=subprocess.PIPE if quiet else None, check=False)
    if check and done.returncode:
        raise Failed(f"docker {' '.join(arguments)} ended with {done.returncode}")
    return done.stdout or ""


def compose(*arguments: str, check: bool = True, quiet: bool = True) -> str:
    """Run a Compose command; return its output."""
    return docker("compose", "--project-name", PROJECT, *arguments, check=check, quiet=quiet)


def absent() -> str:
    """Return why containers cannot be tried on this machine; empty: they can."""
    try:
        for command in (("docker", "info"), ("docker", "compose", "version")):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode or "Cannot connect" in done.stderr:
                return f"`{' '.join(command)}` says: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}"
    except FileNotFoundError:
        return "there is no docker command"
    return ""


def said(text: str) -> None:
    """Print a line now."""
    print(f"  {text}", flush=True)


def until(what: Callable[[], str], patience_s: float, wanted: str) -> float:
    """Wait until nothing is missing; return the seconds that it took."""
    began = time.monotonic()
    while missing := what():
        if time.monotonic() - began > patience_s:
            raise Failed(f"{wanted}: not after {patience_s:.0f} s: {missing}")
        time.sleep(0.2)
    return time.monotonic() - began


def container(service: str) -> dict[str, Any]:
    """Return the engine's description of a service's container."""
    name = compose("ps", "--all", "--quiet", service).strip()
    if not name:
        raise Failed(f"{service} has no container")
    found: dict[str, Any] = json.loads(docker("inspect", name))[0]
    return found


def unwell(url: str) -> str:
    """Return what is not healthy; empty: all containers are healthy, and the game says ok."""
    for service in LASTING:
        state = container(service)["State"]
        if state["Status"] != "running" or state["Health"]["Status"] != "healthy":
            return f"{service} is {state['Status']}, {state['Health']['Status']}"
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
            told = json.loads(answer.read())
    except (OSError, ValueError) as error:
        return f"{url}/healthz: {error}"
    return "" if told["status"] == "ok" else f"the game says {told}"


def play(drawings: int, players: int = 10) -> None:
    """Let people play, then read the log: every drawing was saved and answered by every model, each correction learned once.

    The workers' ledgers are in volumes of their own, which nobody else mounts: the audit makes the folds anew and compares what
    is on the log with them, and not the ledgers.
    """
    options = ("--players", str(players), "--drawings", str(drawings), "--speed", "4", "--json")
    command = (
        "docker",
        "compose",
        "--project-name",
        PROJECT,
        "run",
        "--rm",
        "--no-TTY",
        "--no-deps",
        "gamenight",
        "simulate",
        *options,
    )
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"simulate printed no report: {done.stdout[-1000:]}{done.stderr[-1000:]}") from None
    answering = {model for model in report["last_tenth"] if model != "shown first"}
    if absent := MODELS - answering:
        raise Failed(f"no answer from {', '.join(sorted(absent))}")
    if done.returncode or report["missed"] or report["seen"].get("answered by every model") != drawings:
        told = {name: report[name] for name in ("seen", "missed", "errors", "audit")}
        raise Failed(f"{drawings} drawings: simulate ended with {done.returncode}: {json.dumps(told)}")
    said(f"{drawings} drawings saved, answered by all of {len(MODELS)} models, learned; {audited(report['audit'])}")


def audited(found: dict[str, Any]) -> str:
    """Describe what a clean audit has compared, and what it has not."""
    ledgers = found["ledgers"]
    beside = "the workers' ledgers were not compared" if ledgers is None else f"{ledgers} ledgers are as the log says"
    return f"what is on the log is as its folds made anew say; {beside}"


def kill(service: str) -> None:
    """End a container's first process as the kernel does when memory is short: its restart policy must bring it back."""
    pid = str(container(service)["State"]["Pid"])
    docker("run", "--rm", "--pid=host", "--user=0", "--network=none", "gamenight", "python", "-c", _KILL, pid)


def inside(service: str, *command: str) -> str:
    """Run a command in a service's container; return its output."""
    return docker("exec", container(service)["Id"], *command)


def guarded() -> None:
    """Check that each running container has a health check, that no process is root, and that the roots are read-only."""
    read_only = []
    for service in LASTING:
        found = container(service)
        looked_after = found["Config"].get("Healthcheck", {}).get("Test", ["NONE"])
        if looked_after[0] == "NONE" or not found["State"]["Health"]["Log"]:
            raise Failed(f"{service} has no health check, or none that was made")
        for status in inside(service, "sh", "-c", "cat /proc/[0-9]*/status").split("\nName:"):
            told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            if "0" in told["Uid"].split():
                raise Failed(f"{service} has a process of root: {status}")
            if any(int(told[kind], 16) for kind in ("CapPrm", "CapEff", "CapBnd")) or told["NoNewPrivs"] != "1":
                raise Failed(f"{service} has a process that has capabilities or may gain them: {status}")
        tried = docker(
            "exec", "--user=0", found["Id"], "sh", "-c", "touch /planted 2>&1 && rm /planted && echo written", check=False
        )
        if "Read-only file system" in tried:
            read_only.append(service)
        elif service not in WRITING or "written" not in tried:
            raise Failed(f"{service} can write to its root: {tried}")
    said(f"each of {len(LASTING)} has a health check; no process is root, has a capability or may gain one")
    said(f"read-only roots: {', '.join(read_only)}; {', '.join(WRITING)} write to theirs")


def dealt() -> None:
    """Check that each container has the secrets that it needs, and no others."""
    aws = {"aws_access_key_id", "aws_secret_access_key"}
    wanted: dict[str, set[str]] = {
        "pod": set(),
        "api": {"api_keys", "operator_token", "seat_secret", "api_signing_key", "command_keys"},
        "learning": {"learning_signing_key", "command_keys"},
        "router": aws | {"router_signing_key", "command_keys"},
        "trainer": aws | {"trainer_signing_key", "command_keys", "holdout_key"},
    }
    for service in ("pod", "s3", "sagemaker", "api", "router", "learning", "trainer"):
        found = set(docker("exec", container(service)["Id"], "ls", "/data/secrets").split()) - {"keys", "operators"}
        if found != wanted.get(service, aws):
            raise Failed(f"{service} has the secrets {sorted(found)}")
    said("each has its own secrets")


def shut_in() -> None:
    """Check that code in a training job or a model's server can neither read secrets nor look into other processes."""
    with SPY.open() as script:
        command = ("docker", "exec", "--interactive", container("trainer")["Id"], "python", "-")
        done = subprocess.run(command, stdin=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"no job or no model's server could be made to spy: {done.stderr[-1000:]}")
    for who, told in json.loads(done.stdout).items():
        if told != ["its own folder"]:
            raise Failed(f"a {who} in the container of the local SageMaker reaches {told}")
        said(f"a {who} that spies reaches its own folder: no secrets, no other process, no place to write to")


def spared() -> None:
    """Check that the image of the API and the streams has no package that only the trainer needs."""
    served, trained = (locked(ROOT / "requirements" / f"{name}.txt") for name in ("serving", "trainer"))
    told = json.loads(docker("run", "--rm", "--network=none", "gamenight", "python", "-c", _CONTENT))
    if "fastapi" not in told["packages"]:
        raise Failed(f"what the image has could not be seen: {told}")
    if found := [*sorted((trained - served) & set(told["packages"])), *told["trainers"], *told["images"]]:
        raise Failed(f"the image of the API and the streams has what the trainer alone needs: {found}")
    alone = len(trained - served)
    said(
        f"gamenight has {len(told['packages'])} packages, none of the {alone} of the trainer alone, no training code, no MNIST"
    )


def locked(file: Path) -> set[str]:
    """Return the names of a lock's packages."""
    return {
        re.sub("[-_.]+", "-", line.partition("==")[0]).lower()
        for line in file.read_text().splitlines()
        if re.match(r"[\w.-]+==", line)
    }


def weigh() -> None:
    """Print the size of each image."""
    for image in OWN:
        size = int(docker("image", "inspect", "--format", "{{.Size}}", image))
        said(f"{image:<20} {size / 1e6:7.0f} MB")


def run(url: str) -> None:
    """Run the whole test."""
    began = time.monotonic()
    compose("build", quiet=False)
    said(f"built in {time.monotonic() - began:.0f} s")
    weigh()
    began = time.monotonic()
    compose("up", "--detach", "--wait", "--wait-timeout", str(int(UP_S)))
    until(lambda: unwell(url), UP_S, "all healthy")
    said(f"up, and the game ok, in {time.monotonic() - began:.1f} s")
    guarded()
    spared()
    dealt()
    shut_in()
    play(DRAWINGS)
    for service in LASTING:
        before = container(service)["State"]
        kill(service)

        def back(service: str = service, before: dict[str, Any] = before) -> str:
            state = container(service)["State"]
            if not state["Running"] or state["StartedAt"] == before["StartedAt"]:
                return f"{service} is {state['Status']}"
            return unwell(url)

        took = until(back, BACK_S, f"back after kill -9 of {service}")
        said(f"{service} was killed: all healthy again after {took:.1f} s")
        play(AGAIN, players=5)


def main() -> int:
    """Run the test; return the exit status: 0: all is well, 1: something is wrong, 3: there is no engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", action="store_true", help="leave the containers as they are")
    arguments = parser.parse_args()
    if why := absent():
        print(f"no container engine, so nothing was tried: {why}")
        return 3
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ["GAMENIGHT_PORT"] = str(port)
    compose("down", "--volumes", "--timeout", "5")
    try:
        run(f"http://127.0.0.1:{port}")
    except Failed as failed:
        print(f"failed: {failed}")
        compose("logs", "--tail", "30", quiet=False, check=False)
        return 1
    finally:
        if not arguments.keep:
            compose("down", "--volumes", "--timeout", "10")
    print("the containers do")
    return 0


if __name__ == "__main__":
    sys.exit(main())
