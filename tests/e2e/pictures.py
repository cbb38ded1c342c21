"""Makes the pictures of the README from a running game: ``python -m tests.e2e.pictures http://127.0.0.1:8000``."""

import gzip
import json
import math
import random
import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import FloatRect, Page, sync_playwright

from deploy.local.browser import find
from tests.e2e.conftest import FLAGS

ROOT: Final = Path(__file__).resolve().parents[2]
DRAWINGS: Final = 9
"""How many drawings come before the one in the picture."""
WATCH: Final[FloatRect] = {"x": 0, "y": 0, "width": 1280, "height": 1385}
"""The part of the dashboard that fits a README, in CSS pixels."""
TILTED: Final = math.radians(38)
"""The angle by which the last drawing is turned, so that few models know it."""

Strokes = list[list[tuple[float, float]]]


def written(rng: random.Random) -> list[tuple[int, Strokes]]:
    """Return people's digits with their labels, each in the middle of a square of side 1."""
    with gzip.open(ROOT / "data" / "pen" / "pendigits-30-writers.jsonl.gz", "rt") as lines:
        rows = rng.sample([json.loads(line) for line in lines], DRAWINGS + 20)
    return [(row["label"], centred([list(zip(s[::2], s[1::2], strict=True)) for s in row["strokes"]])) for row in rows]


def centred(strokes: Strokes, angle: float = 0.0) -> Strokes:
    """Return strokes turned, scaled to two thirds of the square, and moved to its middle."""
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [[(x * cos - y * sin, x * sin + y * cos) for x, y in stroke] for stroke in strokes]
    xs, ys = ([point[axis] for stroke in turned for point in stroke] for axis in (0, 1))
    unit = 0.66 / max(max(xs) - min(xs), max(ys) - min(ys))
    middle = ((max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2)
    return [[(0.5 + (x - middle[0]) * unit, 0.5 + (y - middle[1]) * unit) for x, y in stroke] for stroke in turned]


def play(page: Page, label: int, strokes: Strokes) -> bool:
    """Draw, wait for the guesses, and give the label; return whether river was wrong."""
    box = page.locator("#pad").bounding_box()
    assert box is not None
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()
    page.keyboard.press("Enter")
    guess = page.locator('article[data-model="river"][data-state="final"] .digit').inner_text()
    page.locator("article.guess:is([data-state=waiting], [data-state=preview])").first.wait_for(state="detached")
    page.keyboard.press(str(label))
    page.locator("#receipt .line").first.wait_for()
    return guess != str(label)


def main(url: str) -> None:
    """Write game.png, watch.png, library.png and endpoints.png into docs/images."""
    images = ROOT / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 940})
        page.goto(url)
        page.locator("#name").fill("Ada")
        page.keyboard.press("Tab")
        page.get_by_text("Draw freely").click()
        page.locator('#connection[data-state="live"]').wait_for()
        for number, (label, strokes) in enumerate(written(random.Random(4))):
            if play(page, label, strokes if number < DRAWINGS else centred(strokes, TILTED)) and number >= DRAWINGS:
                break
        page.mouse.move(2, 2)
        page.wait_for_timeout(1500)  # until nothing moves any more
        page.screenshot(path=images / "game.png")
        page.goto(f"{url}/watch")
        page.locator("#chart .line").first.wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=images / "watch.png", full_page=True, clip=WATCH)
        for name, shown in (("library", ".versions"), ("endpoints", ".endpoint")):
            page.goto(f"{url}/{name}")
            page.locator(shown).first.wait_for()
            page.screenshot(path=images / f"{name}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
