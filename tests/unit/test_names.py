"""One name is one thing: no two public classes, type aliases or protocols of the packages are called the same."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("api", "contracts", "deploy", "gamenight", "producers", "streams", "trainers")
SHARED: Final = {
    "Hyperparameters": "each image is a program of its own, and says by this name what can be set of its training",
    "Model": "each image is a program of its own, and says by this name what it serves, as the images' contract does",
    "Player": "programs of others import the client's by this name; the memory of players' own models means a row of its by it",
    "Publish": "the game's session and the router's round ask for the same thing by it, and neither layer may import the other",
}
"""The names that several modules may have, and why."""


def named(tree: ast.Module) -> Iterator[str]:
    """The public classes and type aliases at the top of a module; a type variable names nothing, and is left out."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and not is_type_variable(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name) and is_name_of_a_type(target.id))


def is_type_variable(value: ast.expr) -> bool:
    """Whether an assigned value is a TypeVar."""
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "TypeVar"


def is_name_of_a_type(name: str) -> bool:
    """Whether a name is written as that of a type: in CamelCase, which no constant is."""
    return name[0].isupper() and any(letter.islower() for letter in name)


def homes(root: Path) -> dict[str, list[str]]:
    """The modules that define each public name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        for name in named(ast.parse(path.read_text())):
            if not name.startswith("_"):
                found[name].append(path.relative_to(root).as_posix())
    return found


def shared(root: Path) -> dict[str, list[str]]:
    """The names that more than one module has."""
    return {name: modules for name, modules in homes(root).items() if len(modules) > 1}


def test_one_name_is_one_thing():
    assert len(homes(ROOT)) > 300
    assert {name: modules for name, modules in shared(ROOT).items() if name not in SHARED} == {}, (
        "name different things: call one of them something else"
    )


def test_every_exception_is_still_needed():
    assert [name for name in SHARED if name not in shared(ROOT)] == [], "name one thing by now: they go off the list"


@pytest.mark.parametrize(
    "again", ["class Said:\n    pass\n", "Said = list[str]\n", "Said: type = list[str]\n", "Said = Said = dict[str, int]\n"]
)
def test_a_name_that_two_modules_have_is_found_however_it_is_made(tmp_path: Path, again: str):
    (tmp_path / "streams").mkdir()
    (tmp_path / "trainers" / "images").mkdir(parents=True)
    (tmp_path / "streams" / "pending.py").write_text("class Said:\n    class Inner:\n        pass\n")
    (tmp_path / "trainers" / "images" / "other.py").write_text(f'class Inner:\n    pass\n\n\n{again}Key = TypeVar("Key")\n')
    (tmp_path / "streams" / "routing.py").write_text('Key = TypeVar("Key")\nMOST = 1\n_Said = int\n')

    assert {name: set(modules) for name, modules in shared(tmp_path).items()} == {
        "Said": {"streams/pending.py", "trainers/images/other.py"}
    }
