"""`.ci/run` tries the containers as well, and says so where it cannot; all that it calls is played by others here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
CALLED: Final = ("make", "chromium", "unshare", "curl", "promtool", "apt-get")
"""What the machine brings, but for Python and the engine."""


def ci(folder: Path, docker: str | None = None, make: str = "exit 0") -> tuple[int, str]:
    """The exit status and what is said, on a machine where `make` and `docker` do this; None: there is no docker."""
    commands = folder / "bin"
    commands.mkdir()
    python = f'exec "{sys.executable}" "$@"'
    for name, does in {**dict.fromkeys(CALLED, "exit 0"), "python3": python, "make": make, "docker": docker}.items():
        if does is not None:
            (commands / name).write_text(f"#!/bin/sh\n{does}\n")
            (commands / name).chmod(0o755)
    dirname = shutil.which("dirname")
    assert dirname is not None
    (commands / "dirname").symlink_to(dirname)
    environment = {"PATH": str(commands), "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(["/bin/bash", ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "docker", [None, "echo Cannot connect to the Docker daemon >&2; exit 1"], ids=["no docker", "no engine"]
)
def test_without_an_engine_it_is_said_that_the_containers_were_not_tried_and_nothing_fails(
    tmp_path: Path, docker: str | None
) -> None:
    status, said = ci(tmp_path, docker)

    assert (status, said.count("The containers were NOT tried")) == (0, 1), said


def test_with_an_engine_the_containers_are_tried_and_fail_the_run(tmp_path: Path) -> None:
    status, said = ci(tmp_path, 'case "$*" in *build*) echo no such image >&2; exit 1;; esac; exit 0')

    assert status == 1, said
    assert "failed: docker compose --project-name gamenight-test build ended with 1" in said
    assert "NOT tried" not in said


def test_tests_that_fail_end_it_before_the_containers(tmp_path: Path) -> None:
    status, said = ci(tmp_path, make="echo tests fail; exit 2")

    assert status == 2, said
    assert "NOT tried" not in said
