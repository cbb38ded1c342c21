"""The promise of the whole: draw, be guessed, correct, see it learned and counted, rebuild, be answered by the new version."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import ONE, SEVEN, Visit
from tests.product import ROOT, Product, product

REBUILD_S = 600
"""A rebuild of xgboost takes 60 to 120 s of two cores that do nothing else."""


@pytest.fixture(scope="module")
def game() -> Iterator[Product]:
    with product() as running:
        running.start()
        yield running


@pytest.mark.timeout(REBUILD_S + 180)
def test_a_player_corrects_sees_it_learned_and_counted_and_is_answered_by_the_rebuilt_version(
    game: Product, visit: Callable[..., Visit]
) -> None:
    play, watch = visit(game.url), visit(f"{game.url}/watch")
    river, xgboost = (play.page.locator(f'article[data-model="{model}"]') for model in ("river", "xgboost"))
    tile = watch.page.locator('.tile[data-model="river"]')
    expect(tile).to_contain_text("0 of 0")

    play.draw(SEVEN)
    expect(play.guess("river")).to_have_text("7")
    expect(play.guess("xgboost")).to_have_text("7")
    expect(xgboost.locator(".version")).to_have_text("base1")
    generation, lessons = river.locator(".version").inner_text().split("+")

    play.page.keyboard.press("1")  # said to be a one: so both were wrong
    shared, own = (play.page.locator(f'#receipt .line[data-model="{model}"]') for model in ("river", "yours"))
    expect(shared).to_contain_text(f"{generation}+{lessons} → +{int(lessons) + 1}")
    expect(play.page.locator("#receipt")).to_contain_text("your first answers count little for everybody's model")
    expect(own).to_contain_text("learned it")
    expect(river).to_contain_text("0 of 1 right")
    expect(tile).to_contain_text("0 of 1")

    play.draw(SEVEN)
    expect(play.guess("river")).to_have_text("7")
    play.page.keyboard.press("7")
    expect(tile).to_contain_text("1 of 2")
    expect(tile).to_contain_text("50.0")
    expect(watch.page.locator('#versions tr[data-model="xgboost"][data-version="base1"]')).to_contain_text("50.0")

    rebuilt = command(game, "retrain", "xgboost", "--json")
    assert rebuilt.returncode == 2, rebuilt.stdout[-3000:] + rebuilt.stderr[-3000:]
    # Chance holds the player back or does not: then there are two drawings of one person, or none of anybody.
    assert "undecided: " in rebuilt.stdout, "one player can be no judge of a version"
    again = command(game, "retrain", "xgboost", "--json")
    assert (again.returncode, "nothing is new since xgboost 1" in again.stdout) == (2, True), "without training it once more"
    forced = command(game, "promote", "xgboost", "1", "--force", "--reason", "the host's word")
    assert forced.returncode == 0, forced.stdout + forced.stderr
    assert "forced, house: the host's word; the gate had said: undecided" in command(game, "models", "xgboost", "--json").stdout

    expect(watch.page.locator('.job[data-model="xgboost"] [data-state="bad"]')).to_have_text("refused")
    expect(watch.page.locator("#changes")).to_contain_text("now answers")
    version = watch.page.locator('.tile[data-model="xgboost"] .version').inner_text()
    assert version != "base1"
    play.draw(ONE)
    expect(play.guess("xgboost")).to_have_text("1")
    expect(xgboost.locator(".version")).to_have_text(version)
    play.page.keyboard.press("1")
    expect(watch.page.locator(f'#versions tr[data-model="xgboost"][data-version="{version}"]')).to_contain_text("answers")


def command(game: Product, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a command of the product printed, and its exit status."""
    whole = [str(Path(sys.executable).with_name("gamenight")), *arguments]
    environment = {**os.environ, **game.settings.environment()}
    return subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=REBUILD_S, check=False)
