"""One more model is one more folder: on a home that people have played on, with nothing else changed; and so is one fewer.

The folder is tests/images/nearest-mean. It is installed as every image is, trains and serves, is drawn, blended and scored, is
listed, and is rebuilt from what players said. What was learned before is still there, with it and without it. The notebooks run
on that game: one of them tries the model in its shadow.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.settings import Settings
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from tests.notebooks import RunningNotebook
from tests.product import ROOT, Product, product
from tests.roster import MODELS, ROSTER
from tests.serving import Player, eventually, get, playing

pytestmark = pytest.mark.timeout(900)
NEW = "nearest-mean"
IMAGES = "trainers/images:tests/images"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all three games have, one after the other."""
    return tmp_path_factory.mktemp("home")


def command(game: Product, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of an operator."""
    gamenight = str(Path(sys.executable).with_name("gamenight"))
    environment = {**os.environ, **game.settings.environment(), "COLUMNS": "200"}
    return subprocess.run([gamenight, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def answers(player: Player, name: str, models: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """What these models say of a drawing, and the whole frames."""
    player.draw(name)
    said: dict[str, dict[str, Any]] = {}
    while not set(models) <= said.keys():
        frame = player.hear()
        assert frame["type"] in ("guess", "saved", "room", "model"), frame
        if frame["type"] == "guess":
            said[frame["model"]] = frame
    return said


def teach(player: Player, drawing_id: str, label: int) -> None:
    """Say what a drawing was, and wait until both who learn have."""
    player.say({"type": "correct", "drawing_id": drawing_id, "correction_id": drawing_id, "label": label})
    stages: set[str] = set()
    while not {"learner", "personal"} <= stages:
        frame = player.hear()
        if frame["type"] == "receipt" and frame["correction_id"] == drawing_id:
            stages.add(frame["stage"])


async def played(game: Product, drawings: int) -> None:
    """Let people play, and say what each drawing was."""
    options = SimulationOptions(
        url=game.url,
        players=2,
        drawings=drawings,
        speed=0,
        correct_probability=1,
        confirm_probability=1,
        previews=0,
        duplicates=0,
    )
    report = await simulate(options)
    assert report.whole
    assert not report.missed


def lessons(said: dict[str, dict[str, Any]]) -> tuple[int, int]:
    """How much the online model and the player's own have learned."""
    return tuple(int(said[model]["version"].split("+")[1]) for model in ("river", "yours"))  # type: ignore[return-value]


async def test_a_folder_is_a_model_on_a_home_that_was_there_and_leaves_it_again(home: Path, tmp_path: Path) -> None:
    with product(home) as game:
        game.start()
        assert [one["model"] for one in get(address(game), "/api/models").json()] == list(MODELS)
        await played(game, 30)
        with playing(address(game)) as ada:
            seat = ada.seat
            before = answers(ada, "d1", MODELS)
            teach(ada, before["river"]["drawing_id"], 4)

    more = Settings(images=IMAGES).roster()
    installed = subprocess.run(
        [sys.executable, "-m", "deploy.local.install", "--images", "--tools", str(ROOT / ".tools")],
        cwd=ROOT, env={**os.environ, "GAMENIGHT_IMAGES": IMAGES}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    assert (ROOT / ".tools" / "images" / NEW / "bin" / "python").exists()

    with product(home, images=IMAGES, archive_every_s=1.0) as game:
        game.start(whole=False)
        trained = command(game, "train", NEW, "--base")
        assert trained.returncode == 0, trained.stdout + trained.stderr
        eventually(game.healthy)

        with playing(address(game), seat) as ada:
            states = {state["model"]: state for state in ada.models}
            assert tuple(states) == more.names
            assert [states[model]["order"] for model in more.names] == list(range(len(more.names)))
            assert (states[NEW]["title"], states[NEW]["hue"], states[NEW]["kind"]) == ("Nearest mean", more[NEW].hue, "batch")
            assert {states[model]["hue"] for model in MODELS} == {ROSTER[model].hue for model in MODELS}
            said = answers(ada, "d2", more.names)
        assert said[NEW]["version"] == "1"
        assert said["everyone"].get("left_out", {}) == {}, "it was waited for, and is in the blend"
        river, yours = lessons(said)
        assert river >= lessons(before)[0] + 1, "the lessons of before"
        assert yours == 1, "what ada taught before"
        assert not list((home / "state").rglob("*.aside")), "no ledger was put aside"

        await played(game, 30)
        eventually(lambda: get(address(game), "/api/scores").json().get(NEW, {}).get("n", 0) >= 30)
        scores = get(address(game), "/api/scores").json()
        assert scores["river"]["n"] >= 60 > scores[NEW]["n"] >= 30
        assert scores[NEW]["correct"] > 15

        listed = command(game, "models")
        assert listed.returncode == 0, listed.stderr
        assert NEW in listed.stdout
        shelf = {one["model"]: one for one in json.loads(command(game, "models", "--json").stdout)}[NEW]
        assert [(version["version"], version["status"]) for version in shelf["versions"]] == [("1", "champion")]
        assert shelf["live"]["n"] >= 30

        again = command(game, "retrain", NEW, "--reason", "what players said")
        assert again.returncode == 2, again.stdout + again.stderr
        forced = command(game, "promote", NEW, "2", "--force")
        assert forced.returncode == 0, forced.stdout + forced.stderr
        shelf = {one["model"]: one for one in json.loads(command(game, "models", "--json").stdout)}[NEW]
        assert [version["status"] for version in shelf["versions"]] == ["previous", "champion"]
        assert int(shelf["versions"][1]["lineage"]["feedback"]) > 0
        the_notebooks_run_on(game, tmp_path)

    with product(home) as game:
        game.start()
        with playing(address(game), seat) as ada:
            gone = {state["model"]: state for state in ada.models}[NEW]
            assert gone["unavailable"] == "it is none of this game's models any more"
            last = answers(ada, "d3", MODELS)
        assert lessons(last) >= (river + 30, 1)
        assert not list((home / "state").rglob("*.aside"))


def the_notebooks_run_on(game: Product, folder: Path) -> None:
    """Run all notebooks, each to its end; what they tell is of this game."""
    with (
        RunningNotebook("observations", game, folder / "observations") as observations,
        RunningNotebook("charts", game, folder / "charts") as charts,
    ):
        told, drawn = charts.said()
        assert re.search(r"The \d is guessed right most often, best by \w", told)
        assert drawn == 7
        told, drawn = observations.said()
    assert re.search(r"\d\d labelled drawings of \d players", told)
    assert "Completed after" in told
    assert float(re.search(r"our model is right on ([\d.]+)%", told)[1]) > 60  # type: ignore[index]
    assert drawn == 2
    with RunningNotebook("own_model", game, folder / "own_model") as own_model:
        told, drawn = own_model.said()
    assert f"and not {NEW}" in told
    assert "better than:" in told
    assert told.endswith("'off'")
    assert drawn == 3


def address(game: Product) -> str:
    """Of the game, host and port."""
    return game.url.removeprefix("http://")
