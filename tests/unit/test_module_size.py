"""No module is longer than a reader takes in at one sitting."""

from pathlib import Path

import pytest

MOST = 350
"""Lines."""
LONGER = ("contracts/events.py", "deploy/cli.py")
"""The exceptions: every event stands in one file, and so does every command."""
CODE = ("contracts", "gamenight", "producers", "streams", "api", "trainers", "deploy", "web", "tests")
NOT_OURS = ("vendor", "node_modules", "__pycache__")


def is_test(path: Path) -> bool:
    """Whether a file holds test cases, which are read one by one."""
    return path.name.startswith("test_") or path.name.endswith(".test.js")


def modules(folder: Path) -> dict[str, int]:
    """The lines of each module of ours, by its path below ``folder``."""
    found = [path for part in CODE for kind in ("py", "js", "css") for path in (folder / part).rglob(f"*.{kind}")]
    mine = [path for path in found if not is_test(path) and not set(path.parts) & set(NOT_OURS)]
    return {str(path.relative_to(folder)): len(path.read_text().splitlines()) for path in mine}


def too_long(lines: dict[str, int]) -> dict[str, int]:
    """Those above the bound that are no exceptions."""
    return {path: n for path, n in lines.items() if n > MOST and path not in LONGER}


def test_no_module_is_longer_than_the_bound_but_the_named_ones():
    lines = modules(Path())

    assert len(lines) > 200
    assert too_long(lines) == {}
    assert all(lines[path] > MOST for path in LONGER), "an exception that is none any more goes off the list"


@pytest.mark.parametrize("path", ["streams/long.py", "web/game/long.js", "web/lib/long.css", "tests/long.py"])
def test_a_module_that_is_too_long_is_found_wherever_it_is(tmp_path, path):
    for name, n in ((path, MOST + 1), ("web/vendor/long.js", 999), ("tests/unit/test_long.py", 999), ("api/short.py", MOST)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n" * n)

    assert too_long(modules(tmp_path)) == {path: MOST + 1}
