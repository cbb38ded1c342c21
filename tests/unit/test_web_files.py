"""What the pages are made of keeps the strict policy that they are served under, and needs nothing from elsewhere."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
PAGES = sorted(WEB.glob("*/*.html"))
SCRIPTS = sorted(path for path in WEB.rglob("*.js") if not path.name.endswith(".test.js"))
STYLES = sorted(WEB.rglob("*.css"))
EVERYTHING = [*PAGES, *SCRIPTS, *STYLES, *sorted(WEB.rglob("*.svg"))]
SVG = "http://www.w3.org/2000/svg"
ROUTES = {"/", "/watch", "/library", "/endpoints"}
"""Of the API: addresses of pages, not of files."""


def name(path: Path) -> str:
    return path.relative_to(WEB).as_posix()


class Tags(HTMLParser):
    """All tags of a page with their attributes, and the text inside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._inside = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"}:
            self.inline += data.strip()


def imports(script: Path) -> Iterator[Path]:
    for found in re.finditer(r"""(?:from|import)\s*\(?\s*"([^"]+)";?""", script.read_text()):
        if found[1].startswith("."):
            yield (script.parent / found[1]).resolve()
        else:
            pytest.fail(f"{name(script)} imports {found[1]!r}: only files beside it can be had without a build step")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_has_no_inline_script_or_style(page: Path) -> None:
    seen = Tags(page)
    assert seen.inline == ""
    assert [(tag, key) for tag, given in seen.tags for key in given if key == "style" or key.startswith("on")] == []
    assert [tag for tag, _ in seen.tags if tag == "style"] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_page_names_is_here(page: Path) -> None:
    named = [given[key] for _, given in Tags(page).tags for key in ("src", "href") if key in given]
    assert named
    for address in named:
        assert address is not None
        assert address in ROUTES or (address.startswith("/web/") and (WEB.parent / address[1:]).is_file()), address


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_a_script_imports_only_what_is_here_and_is_checked_for_types(script: Path) -> None:
    assert script.read_text().startswith("// @ts-check\n")
    assert [name(path) for path in imports(script) if not path.is_file()] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_no_script_turns_text_into_markup_or_code(script: Path) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|setAttribute\(\"style"
    assert re.findall(forbidden, script.read_text()) == []


@pytest.mark.parametrize("file", EVERYTHING, ids=name)
def test_nothing_is_loaded_from_elsewhere(file: Path) -> None:
    text = file.read_text().replace(SVG, "")
    assert re.findall(r"(?:https?:)?//[\w-]+\.[\w.-]+|@import|url\(", text) == []
