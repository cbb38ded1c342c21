"""Pure modules are pure: import-linter keeps clients and clocks from them; this checks the list and what a name lets in."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.events import EVENTS

LINTER = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["importlinter"]
[PURITY] = [contract for contract in LINTER["contracts"] if contract["name"].startswith("Pure modules")]
PURE: list[str] = PURITY["source_modules"]
"""The one list of pure modules."""

IMPURE = re.compile(
    r"datetime\.(datetime|date)\.(now|utcnow|today)|uuid\.(uuid[1467]|getnode)|contracts\.events\.now"
    r"|pathlib\.(Path|PosixPath|WindowsPath)(\.\w+)*|numpy\.(load\w*|save\w*|genfromtxt|fromfile|memmap|DataSource)"
    r"|(time|os|secrets|random|threading|numpy\.random)\.\w+(\.\w+)*|(open|input|print|exec|eval|__import__)"
)
"""The full names of what gives something else each time, or tells the world something."""
FILES = re.compile(
    r"(read|write)_(text|bytes)|tofile|iterdir|r?glob|walk|mkdir|rmdir|unlink|touch|exists|is_(file|dir|symlink)|l?stat|resolve|readlink"
    r"|(symlink|hardlink)_to|chmod|expanduser|samefile"
)
"""What paths and arrays do with files: whatever has such a method, a pure module does not ask it."""
SEEDED = ("random.Random", "numpy.random.default_rng")
"""These give the same each time, as long as they are given a seed."""
KINDS = frozenset(kind.__name__ for kind in EVENTS)
STAMP = ("contracts.events", "datetime.datetime.now")
"""The one exception: an event is stamped where it is made."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """All modules but the images, which run in environments of their own."""
    for package in LINTER["root_packages"]:
        for path in Path(package).rglob("*.py"):
            if path.parts[:2] != ("trainers", "images") and path.name != "__init__.py":
                yield ".".join(path.with_suffix("").parts), ast.parse(path.read_text())


def impurities(tree: ast.Module) -> list[str]:
    """The impure things that a module uses, by their full names and lines."""
    names = dict(imported(tree))
    seeded, within = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (node.args or node.keywords) and full_name(node.func, names) in SEEDED:
            seeded.add(node.func)
        if isinstance(node, ast.Attribute):
            within.add(node.value)
    named = [
        f"{name} in line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and node not in seeded | within
        if IMPURE.fullmatch(name := full_name(node, names))
    ]
    asked = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    return named + [f".{method.attr} in line {method.lineno}" for method in asked if FILES.fullmatch(method.attr)]


def unstamped(tree: ast.Module) -> list[str]:
    """The events that a module makes without saying when, which would be stamped by the clock."""
    names, found = dict(imported(tree)), []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        package, _, name = full_name(node.func, names).rpartition(".")
        given = {word.arg for word in node.keywords}
        if name in ("model_validate", "model_construct"):
            package, _, name = package.rpartition(".")
            keys = [key for one in node.args if isinstance(one, ast.Dict) for key in one.keys]
            given |= {key.value for key in keys if isinstance(key, ast.Constant)}
        if package == "contracts.events" and name in KINDS and "at" not in given:
            found.append(f"{name} in line {node.lineno}")
    return found


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, and the full name that it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield (one.asname, one.name) if one.asname else (one.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                yield one.asname or one.name, f"{node.module}.{one.name}"


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of what an expression names; empty where it names nothing that was imported or built in."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id if node.id in ("open", "input", "print", "exec", "eval", "__import__") else "")
    if isinstance(node, ast.Attribute) and (before := full_name(node.value, names)):
        return f"{before}.{node.attr}"
    return ""


def test_the_list_has_each_module_that_calls_itself_pure_and_no_other():
    said = {name for name, tree in modules() if re.search(r"\bPure\b", ast.get_docstring(tree) or "")}

    assert said - set(PURE) == set(), "say Pure, and are not among source_modules of the contract in pyproject.toml"
    assert set(PURE) - said == set(), "are on the list in pyproject.toml, and their docstrings do not say Pure"
    assert sorted(PURE) == PURE, "the list is in order"


def test_a_pure_module_uses_no_clock_no_randomness_and_no_file():
    found = {name: impurities(tree) for name, tree in modules() if name in PURE}

    [stamp] = found.pop(STAMP[0])
    assert stamp.startswith(STAMP[1])
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_a_pure_module_says_of_each_event_that_it_makes_when_that_was():
    found = {name: unstamped(tree) for name, tree in modules() if name in PURE}

    assert {name: faults for name, faults in found.items() if faults} == {}


def test_the_fold_that_the_recipe_begins_with_is_pure_but_for_the_process_that_runs_it():
    tree = ast.parse((Path(__file__).parents[1] / "integration" / "tallying.py").read_text())
    *fold, runs = tree.body
    tree.body = fold

    assert isinstance(runs, ast.If)
    assert impurities(tree) + unstamped(tree) == []


@pytest.mark.parametrize(
    ("made", "faults"),
    [
        ("PolicySet(lead='bandit')", ["PolicySet in line 2"]),
        ("PolicySet(lead='bandit', at=at)", []),
        ("PolicySet(**told)", ["PolicySet in line 2"]),
        ("PolicySet(**told, at=at)", []),
        ("PolicySet.model_validate({'lead': 'bandit'})", ["PolicySet in line 2"]),
        ("PolicySet.model_validate({'lead': 'bandit', 'at': at})", []),
        ("PolicySet.model_validate(told)", ["PolicySet in line 2"]),
        ("VariantSeen(variant='v1')", []),
    ],
)
def test_an_event_that_is_made_without_a_time_is_found(made, faults):
    assert unstamped(ast.parse(f"from contracts.events import PolicySet, VariantSeen\n{made}")) == faults


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from datetime import UTC, datetime\nat = datetime.now(UTC)", "datetime.datetime.now"),
        ("import datetime as dt\nat = dt.date.today()", "datetime.date.today"),
        ("import uuid\nkey = uuid.uuid4()", "uuid.uuid4"),
        ("from dataclasses import field\nfrom uuid import uuid4\nkey = field(default_factory=uuid4)", "uuid.uuid4"),
        ("import time\nbegan = time.monotonic()", "time.monotonic"),
        ("def late():\n    from time import sleep as wait\n    wait(1)", "time.sleep"),
        ("import random\nrandom.shuffle([])", "random.shuffle"),
        ("from random import Random\nRandom()", "random.Random"),
        ("import numpy as np\nnp.random.rand()", "numpy.random.rand"),
        ("import numpy as np\nnp.random.default_rng()", "numpy.random.default_rng"),
        ("from contracts.events import now\nnow()", "contracts.events.now"),
        ("import os\nos.environ.get('HOME')", "os.environ.get"),
        ("print(open('x').read())", "print"),
        ("def read():\n    return open('x')", "open"),
        ("from pathlib import Path\nPath('x').open()", "pathlib.Path"),
        ("from pathlib import Path\ndef told(folder: Path) -> str:\n    return str(folder)", "pathlib.Path"),
        ("import pathlib\nhere = pathlib.Path.cwd()", "pathlib.Path.cwd"),
        ("def told(settings):\n    return (settings.home / 'x').read_text()", ".read_text"),
        ("def there(path):\n    return path.exists()", ".exists"),
        ("import numpy as np\nwith np.load('x.npz', allow_pickle=False) as kept:\n    pass", "numpy.load"),
        ("import numpy as np\nnp.savez_compressed('x')", "numpy.savez_compressed"),
        ("def keep(array):\n    array.tofile('x')", ".tofile"),
    ],
)
def test_what_is_not_pure_is_found_by_its_full_name(source, name):
    assert name in [fault.partition(" in line ")[0] for fault in impurities(ast.parse(source))]


@pytest.mark.parametrize(
    "source",
    [
        "from random import Random\nRandom('ada').random()",
        "import numpy as np\nnp.random.default_rng(seed=7)",
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)",
        "def late(now: float, time: float) -> float:\n    return now - time",
        "from uuid import UUID, uuid5\nuuid5(UUID(int=0), 'x')",
        "from pathlib import PurePosixPath\nPurePosixPath('x').name",
        "def begin(fold, cells):\n    return fold.open(cells, 0)",
        "import numpy as np\nnp.frombuffer(b'x', np.uint8)",
    ],
)
def test_what_depends_on_its_arguments_alone_is_pure(source):
    assert impurities(ast.parse(source)) == []
