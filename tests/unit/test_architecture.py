"""ARCHITECTURE.md tells the truth: its map is the tree, its invariants have tests, its glossary has the words of the events."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from contracts import events
from contracts.events import EVENTS, TOPICS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGES = ("contracts", "gamenight", "producers", "streams", "api", "web", "trainers", "deploy", "tests")
LINES: Final = 340
"""Lines that a newcomer reads at once."""


def section(title: str) -> str:
    """The text below a heading of the second level."""
    _, found, rest = DOCUMENT.partition(f"\n## {title}\n")
    assert found, f"ARCHITECTURE.md has no section {title!r}"
    return rest.partition("\n## ")[0]


def quoted(text: str) -> list[str]:
    """What stands in backticks, outside blocks of code."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


# --- the code map


def modules() -> set[str]:
    """All modules of the tree: what runs, and was not written by others."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in (".py", ".js"))
    return {
        name
        for path in found
        if path.name != "__init__.py" and not path.name.endswith(".test.js")
        for name in [path.relative_to(ROOT).as_posix()]
        if not name.startswith("web/vendor/") and "__pycache__" not in name
    }


def mapped() -> Iterator[str]:
    """The modules of the code map: in the head of each item, the names below the folder of its heading."""
    folder = ""
    for line in section("Code map").splitlines():
        if heading := re.fullmatch(r"### `([\w./-]+/)`.*", line):
            folder = heading[1]
        elif item := re.match(r"- (`[^:]*`): \S", line):
            yield from (f"{folder}{name}" for name in quoted(item[1]))


def test_every_module_is_on_the_map_and_every_one_on_the_map_is_in_the_tree():
    tree, names = modules(), list(mapped())
    patterns = {name for name in names if "*" in name}

    assert {name for name in patterns if not name.startswith("tests/")} == set(), "only tests are mapped by a pattern"
    assert {name for name in patterns if not any(fnmatch(module, name) for module in tree)} == set(), "match nothing"
    by_pattern = {module for module in tree for pattern in patterns if fnmatch(module, pattern)}
    assert tree - set(names) - by_pattern == set(), "are in the tree, and not on the map of ARCHITECTURE.md"
    assert set(names) - patterns - tree == set(), "are on the map of ARCHITECTURE.md, and not in the tree"
    assert [name for name, times in Counter(names).items() if times > 1] == [], "are on the map twice"


def test_the_map_has_a_heading_for_every_package():
    headings = re.findall(r"^### `([\w-]+)/", section("Code map"), flags=re.MULTILINE)

    assert list(dict.fromkeys(headings)) == list(PACKAGES)


# --- what the document names


def test_every_file_that_the_document_names_is_there():
    """NAME stands for any name: what a recipe has you make is like what is there."""
    named = {name.partition("::")[0] for name in quoted(DOCUMENT.replace(section("Code map"), "")) if "/" in name}
    files = {name for name in named if re.fullmatch(r"[\w.-]+(/[\w.*-]+)*/?", name) and "." in name.rpartition("/")[2] + "./"}

    missing = {name for name in files if not any(ROOT.glob(name.replace("NAME", "*")))}
    assert len(files) > 50
    assert missing == set(), "are named in ARCHITECTURE.md, and not there"


def test_every_topic_is_on_the_way_of_the_data():
    way = section("The way of the data")

    assert {topic for topic in TOPICS if topic not in way} == set()
    assert set(re.findall(r"\b[a-z]+\.v\d\b", DOCUMENT)) <= set(TOPICS)


def slugs(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "trainers/**/*.md", "data/*.md") for path in ROOT.glob(pattern))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_between_documents_leads_somewhere(page: Path):
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), f"{link} leads to no file"
        assert not anchor or anchor in slugs(target), (
            f"{link} leads to no heading; there are {', '.join(sorted(slugs(target)))}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_whoever_names_a_section_of_the_architecture_names_one_that_is_there(page: Path):
    named = re.findall(r"ARCHITECTURE(?:\.md)?,? \"([^\"]+)\"", page.read_text())

    assert [title for title in named if f"\n## {title}\n" not in DOCUMENT and f"\n### {title}\n" not in DOCUMENT] == []


def test_a_newcomer_reads_it_at_once():
    assert len(DOCUMENT.splitlines()) <= LINES


# --- invariants, each with the tests that keep it


@cache
def parsed(path: str) -> ast.Module:
    """A module of ours."""
    return ast.parse((ROOT / path).read_text())


@cache
def named_in(path: str) -> frozenset[str]:
    """The tests of a file, by name."""
    tree = parsed(path)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_"))


def test_every_test_that_is_named_is_there():
    named = [name for name in quoted(DOCUMENT) if "::" in name]
    lost = [name for name in named if not (ROOT / name.partition("::")[0]).is_file()]

    assert lost == [], "are in files that are not there"
    assert [name for name in named if name.partition("::")[2] not in named_in(name.partition("::")[0])] == []


def test_every_invariant_names_a_test_that_keeps_it():
    invariants = re.split(r"^(?=\d+\. )", section("Invariants"), flags=re.MULTILINE)[1:]
    numbers = [int(one.partition(".")[0]) for one in invariants]

    assert numbers == list(range(1, len(invariants) + 1))
    assert len(invariants) >= 15
    assert [one.splitlines()[0] for one in invariants if not any("::test_" in name for name in quoted(one))] == []


UNSAFE_MODULES: Final = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
UNSAFE_CALLS: Final = {"eval", "exec"}


def unsafe(tree: ast.Module) -> Iterator[str]:
    """What in a module could execute what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.partition(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNSAFE_MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            yield node.func.id
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield "allow_pickle"


def test_no_module_unpickles_or_evaluates_what_it_reads():
    found = {name: list(unsafe(parsed(name))) for name in modules() if name.endswith(".py") and not name.startswith("tests/")}

    assert {name: what for name, what in found.items() if what} == {}


IMPORTING: Final = """
import importlib, sys
connections = []
sys.addaudithook(lambda name, args: connections.append(str(args[1])) if name in ("socket.connect", "socket.sendto") else None)
for module in sys.argv[1:]:
    before = len(connections)
    importlib.import_module(module)
    for address in connections[before:]:
        print(module, "connects to", address)
"""


def test_no_module_connects_at_import():
    ours = [name for name in sorted(modules()) if name.endswith(".py") and not name.startswith(("tests/", "trainers/images/"))]
    names = [name.removesuffix(".py").replace("/", ".") for name in ours]

    imported = subprocess.run([sys.executable, "-c", IMPORTING, *names], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (imported.returncode, imported.stdout) == (0, ""), imported.stderr


# --- the glossary has the words of the events


class Entry(NamedTuple):
    """A row of the glossary."""

    term: str
    meaning: str
    events: frozenset[str]
    """Classes of contracts/events.py."""
    values: frozenset[str]
    """Of its enumerations."""
    fields: frozenset[str]


def glossary() -> list[Entry]:
    """The rows of the glossary: term, meaning, and what of it is in the events."""
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \| (.*?) ?\|$", section("Glossary"), flags=re.MULTILINE)
    return [
        Entry(
            term,
            meaning,
            frozenset(name for name in quoted(told) if name[0].isupper()),
            frozenset(name.strip('"') for name in quoted(told) if name[0] == '"'),
            frozenset(name for name in quoted(told) if name[0].islower()),
        )
        for term, meaning, told in rows
    ]


GLOSSARY = glossary()
TERMS = {entry.term for entry in GLOSSARY}


def parts() -> dict[str, type[BaseModel]]:
    """The events, and the models that they are made of, by name."""
    found: dict[str, type[BaseModel]] = {}
    left: list[type[BaseModel]] = list(EVENTS)
    while left:
        kind = left.pop()
        found[kind.__name__] = kind
        inner = (one for field in kind.model_fields.values() for one in flat(field.annotation))
        left += [one for one in inner if isinstance(one, type) and issubclass(one, BaseModel) and one.__name__ not in found]
    return found


def flat(annotation: Any) -> Iterator[Any]:
    """An annotation, and all that it is made of."""
    yield annotation
    if get_origin(annotation) is not Literal:
        for inner in get_args(annotation):
            yield from flat(inner)


PARTS = parts()
FIELDS = {
    name: [part for part in PARTS.values() if name in part.model_fields] for one in PARTS.values() for name in one.model_fields
}


def values() -> set[str]:
    """All values of enumerations: of the fields of events, of the module's own aliases, and the steps of a rebuild."""
    annotated = [field.annotation for part in PARTS.values() for name, field in part.model_fields.items() if name != "type"]
    aliases = [value for name, value in vars(events).items() if name[0].isupper() and get_origin(value) is Literal]
    found = {*events.TRAINING_STEPS, *events.TRAINING_ENDS}
    for one in (inner for annotation in (*annotated, *aliases) for inner in flat(annotation)):
        if get_origin(one) is Literal:
            found.update(get_args(one))
        elif isinstance(one, type) and issubclass(one, Enum):
            found.update(member.value for member in one)
    return found


def words(name: str) -> list[str]:
    """The words of a class or a field, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def of_the_glossary(word: str) -> bool:
    """Whether a word is a term, or a form of one: its plural or its past."""
    return any(word in (term, f"{term}s", f"{term}es", f"{term}d", f"{term}ed") for term in TERMS)


def test_every_event_has_its_place_in_the_glossary_and_no_other_claims_to_be_one():
    told = Counter(name for entry in GLOSSARY for name in entry.events)
    known = {kind.__name__ for kind in EVENTS}

    assert known - set(told) == set(), "are events, and not in the glossary of ARCHITECTURE.md"
    assert set(told) - known == set(), "are in the glossary, and no events"
    assert [name for name, times in told.items() if times > 1] == [], "are in two rows"


def test_every_event_is_called_by_a_term():
    assert [kind.__name__ for kind in EVENTS if not any(map(of_the_glossary, words(kind.__name__)))] == []


def test_every_value_of_an_enumeration_is_told_and_no_other():
    told = {value for entry in GLOSSARY for value in entry.values}

    assert values() - told == set(), "are values of events, and not in the glossary"
    assert told - values() == set(), "are in the glossary, and no values of events"


def test_every_field_of_an_event_is_made_of_terms_and_plain_words():
    plain = set(quoted(section("Glossary").partition("Plain words")[2].partition("\n\n")[0]))
    listed = {name for entry in GLOSSARY for name in entry.fields}
    private = {
        name: [word for word in words(name) if word not in plain and not of_the_glossary(word)]
        for name in FIELDS
        if name not in listed
    }

    assert {name: rest for name, rest in private.items() if rest} == {}, "have words that are neither terms nor plain"
    assert listed - set(FIELDS) == set(), "are in the glossary, and no fields"
    used = {word for name in FIELDS for word in words(name)}
    assert {word for word in plain if word not in used or of_the_glossary(word)} == set(), "are no plain words of any field"


def kind_of(annotation: Any) -> set[str]:
    """What a value of an annotation is, as JSON has it: without its limits, and whether it may be missing."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kind_of(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {kind for inner in get_args(annotation) if inner is not type(None) for kind in kind_of(inner)}
    if origin is Literal:
        return {type(value).__name__ for value in get_args(annotation)}
    if isinstance(annotation, type) and issubclass(annotation, str):
        return {"str"}
    return {(origin or annotation).__name__}


def test_a_field_is_of_one_kind_in_all_events_but_those_that_the_glossary_names():
    kinds = {name: {kind for part in of for kind in kind_of(part.model_fields[name].annotation)} for name, of in FIELDS.items()}
    told = set(quoted(section("Glossary").partition("Two kinds")[2].partition("\n\n")[0]))

    assert {name: sorted(several) for name, several in kinds.items() if len(several) > 1 and name not in told} == {}
    assert {name for name in told if len(kinds.get(name, ())) < 2} == set(), "are of one kind by now"


def declined() -> dict[str, str]:
    """The words that the glossary declines, and the term for each."""
    return {word: entry.term for entry in GLOSSARY for word in re.findall(r"\*not ([a-z ]+)\*", entry.meaning)}


def classes() -> Iterator[str]:
    """The classes of the packages, by name."""
    for name in modules():
        if name.endswith(".py") and not name.startswith("tests/"):
            yield from (node.name for node in ast.walk(parsed(name)) if isinstance(node, ast.ClassDef))


def test_nothing_is_called_by_a_word_that_the_glossary_declines():
    files = {Path(name).stem for name in modules() if not name.startswith("tests/")}
    names = {*FIELDS, *PARTS, *values(), *TOPICS, *files, *classes()}
    used = {name: declined()[word] for name in names for word in words(name) if word in declined()}

    assert len(declined()) >= 7
    assert used == {}, "are called by a word in whose place the glossary has another"
    assert set(declined()) & TERMS == set()


def test_a_term_stands_once():
    assert len(GLOSSARY) >= 40
    assert [term for term, times in Counter(entry.term for entry in GLOSSARY).items() if times > 1] == []
