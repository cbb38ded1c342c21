"""What the pages are made of keeps the strict policy that they are served under, and needs nothing from elsewhere."""

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from api.asyncapi import document
from api.pages import add_pages
from contracts.settings import Settings

WEB = Path(__file__).parents[2] / "web"
PAGES = sorted(WEB.glob("*/*.html"))
VENDOR = WEB / "vendor"
SCRIPTS = sorted(path for path in WEB.rglob("*.js") if not path.name.endswith(".test.js") and VENDOR not in path.parents)
STYLES = sorted(path for path in WEB.rglob("*.css") if VENDOR not in path.parents)
EVERYTHING = [*PAGES, *SCRIPTS, *STYLES, *sorted(WEB.rglob("*.svg"))]
SVG = "http://www.w3.org/2000/svg"
ROUTES = {"/", "/watch", "/library", "/endpoints", "/costs", "/docs", "/asyncapi", "data:,"}
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
        file = WEB.parent / address[1:]
        packed = file.with_name(f"{file.name}.gz") if VENDOR in file.parents else file
        assert address in ROUTES or (address.startswith("/web/") and (file.is_file() or packed.is_file())), address


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


def test_what_is_vendored_is_what_its_package_holds_and_says_its_licence() -> None:
    packages = json.loads((VENDOR / "vendor.json").read_text())
    for package in packages:
        folder = VENDOR / package["folder"]
        digests = {path.name: hashlib.sha256(unpacked(path)).hexdigest() for path in folder.iterdir()}
        assert digests == package["files"], package["package"]
        assert "LICENSE" in digests
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
    assert {path.name for path in VENDOR.iterdir()} == {package["folder"] for package in packages} | {"vendor.json"}


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


async def test_every_page_has_its_route_and_every_route_is_known_here() -> None:
    app = Starlette()
    add_pages(app, WEB, document("1", Settings()))
    paths = {route.path for route in app.routes if isinstance(route, Route)} - {"/asyncapi.json"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://game") as browser:
        served = {(await browser.get(path)).content for path in paths}

    assert {name(page) for page in PAGES if page.read_bytes() not in served} == set(), "have no route in api/pages.py"
    assert paths | {"data:,"} == ROUTES


def test_every_place_leads_to_all_others() -> None:
    places = {name(page): re.search(r"<nav aria-label=\"Places\">(.*?)</nav>", page.read_text()) for page in PAGES}
    led = {page: set(re.findall(r"href=\"([^\"]+)\"", nav[1])) for page, nav in places.items() if nav}

    assert len(led) >= 4
    assert {page: sorted(links) for page, links in led.items() if links != set().union(*led.values())} == {}
    assert all(nav[1].count("aria-current") == 1 for nav in places.values() if nav), "a page says where one is"
