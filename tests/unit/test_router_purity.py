"""What decides in the router reads no clock, draws no chances, waits for nobody and knows no client: all is given to it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

STREAMS = Path(__file__).resolve().parents[2] / "streams"
PURE = ("batch_queue", "blend", "circuit_breaker", "lineup", "pending", "round", "trial")
KNOWN = {"collections", "contracts", "dataclasses", "datetime", "numpy", "streams", "types", "typing"}
"""What they may import; of datetime and contracts.events not what tells the time."""
CLOCKS = {"now", "today", "utcnow", "uuid4", "perf_counter", "monotonic", "time"}


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("module", PURE)
def test_what_decides_in_the_router_is_given_the_time_and_knows_no_client(module: str):
    tree = ast.parse((STREAMS / f"{module}.py").read_text())
    imported = set(_imported(tree))

    assert {name.partition(".")[0] for name in imported} <= KNOWN
    assert not {name.rpartition(".")[2] for name in imported} & CLOCKS
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} - {"at"}
    assert not {name for name in called if name in CLOCKS}, "it is told what time it is"


@pytest.mark.parametrize("module", PURE)
def test_what_decides_knows_nobody_who_does(module: str):
    imported = {name for name in _imported(ast.parse((STREAMS / f"{module}.py").read_text())) if name.startswith("streams.")}

    allowed = {f"streams.{name}" for name in (*PURE, "bandit", "personal_model", "routing")}
    assert {name.rpartition(".")[0] for name in imported} <= allowed
