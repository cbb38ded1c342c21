"""The examples in docstrings run, wherever they teach."""

import doctest
import importlib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("contracts", "gamenight", "producers", "streams", "api", "trainers", "deploy")
TEACHING: Final = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text()
)


def test_there_are_examples():
    assert {"contracts.events", "contracts.roster", "streams.additive", "trainers.gate"} <= set(TEACHING)


@pytest.mark.parametrize("name", TEACHING)
def test_the_examples_of_a_module_give_what_they_say(name: str, capsys: pytest.CaptureFixture[str]):
    result = doctest.testmod(importlib.import_module(name))

    assert result.attempted
    assert not result.failed, capsys.readouterr().out
