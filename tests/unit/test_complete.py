"""A run in which a test was left out is no run that passed."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PLUGIN: Final = """
from tests.complete import AllMustRun

def pytest_configure(config):
    config.pluginmanager.register(AllMustRun(2))
"""


def run(folder: Path, tests: str, *options: str) -> tuple[int, str]:
    """The exit status and what is said of a run of some tests in a folder's tests/unit."""
    unit = folder / "tests" / "unit"
    unit.mkdir(parents=True, exist_ok=True)
    (folder / "conftest.py").write_text(PLUGIN)
    (unit / "test_some.py").write_text(f"import pytest\n\n{tests}")
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", str(folder), *options)
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_run_in_which_all_tests_ran_passes(tmp_path: Path) -> None:
    status, said = run(tmp_path, "def test_one(): pass\n\ndef test_two(): pass\n")

    assert status == pytest.ExitCode.OK, said


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("@pytest.mark.skip(reason='no browser')\ndef test_left(): pass\n", "test_some.py::test_left: Skipped: no browser"),
        ("def test_left():\n    pytest.skip('no browser')\n", "test_some.py::test_left: Skipped: no browser"),
        ("@pytest.mark.xfail(reason='some day')\ndef test_left(): assert False\n", "test_some.py::test_left: some day"),
        ("@pytest.mark.xfail(reason='some day')\ndef test_left(): pass\n", "test_some.py::test_left: some day"),
        ("@pytest.fixture\ndef page():\n    pytest.skip('no browser')\n\ndef test_left(page): pass\n", "Skipped: no browser"),
        ("pytest.skip('not here', allow_module_level=True)\n", "test_some.py: Skipped: not here"),
        ("", "1 tests are here, and there were 2"),
    ],
    ids=["mark", "call", "xfail", "xpass", "fixture", "module", "lost"],
)
def test_a_run_fails_and_names_what_was_left_out(tmp_path: Path, code: str, named: str) -> None:
    others = "def test_one(): pass\n" + ("\ndef test_two(): pass\n" if code else "")

    status, said = run(tmp_path, f"{others}\n{code}")

    assert status == pytest.ExitCode.TESTS_FAILED, said
    assert "left out, and all must run" in said
    assert named in said


DESELECTING: Final = """
def pytest_collection_modifyitems(config, items):
    left = [item for item in items if item.name == "test_left"]
    items[:] = [item for item in items if item not in left]
    config.hook.pytest_deselected(items=left)
"""


def test_a_run_fails_and_names_what_a_conftest_or_an_option_took_out(tmp_path: Path) -> None:
    tests = "def test_one(): pass\n\ndef test_two(): pass\n\ndef test_left(): pass\n"
    unit = tmp_path / "conftest" / "tests" / "unit"
    unit.mkdir(parents=True)
    (unit / "conftest.py").write_text(DESELECTING)

    for folder, options in (("conftest", ()), ("option", ("-k", "not left"))):
        status, said = run(tmp_path / folder, tests, *options)

        assert status == pytest.ExitCode.TESTS_FAILED, said
        assert "test_some.py::test_left: deselected" in said


def test_the_test_command_runs_every_test_once_and_lets_none_be_left_out() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*/test_*.py")}
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    said = subprocess.run(["make", "-n", "test"], cwd=ROOT, env=outside, capture_output=True, text=True, check=True).stdout
    runs = [line for line in said.splitlines() if "-m pytest" in line]

    named = [name for line in runs for name in re.findall(r"tests/[\w/.]+", line)]
    run = [file for name in named for file in there if file == name or file.startswith(f"{name}/")]
    assert sorted(run) == sorted(there)
    assert all(re.search(r"--all-must-run=\d{3}", line) for line in runs), runs
