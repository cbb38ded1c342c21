"""The examples of the docs in Python and for apps, run as they stand: on an API with a router that says seven, or on all."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import sync_playwright

from contracts.events import SnapshotTaken
from contracts.settings import Settings, variable
from deploy.local.browser import find
from gamenight.client import GameNightError, Player, fetch_examples
from producers.bus import open_bus
from tests.answering import answering
from tests.conftest import ROOT
from tests.product import product
from tests.roster import BATCH_MODELS, MODELS
from tests.serving import DEADLINE_S, eventually, get, serving

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "predict.md").read_text()
CLIENT = (DOCS / "client.md").read_text()
OBSERVATIONS = (DOCS / "observations.md").read_text()
SAGEMAKER = (DOCS / "sagemaker-local.md").read_text()


def snippet(language: str, address: str, key: str = "secret-1", page: str = PAGE) -> str:
    """A page's example in a language, with the address and the key filled in."""
    [code] = re.findall(rf"^```{language}\n(.*?)^```", page, re.M | re.S)
    assert isinstance(code, str)
    return code.replace("http://127.0.0.1:8000", f"http://{address}").replace("YOUR-KEY", key)


def told(*command: str, timeout_s: float = DEADLINE_S, **environment: str) -> list[str]:
    """The lines that a program prints, which finds no fault."""
    given = {**os.environ, **environment}
    run = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=given)
    assert (run.stderr, run.returncode) == ("", 0)
    return run.stdout.splitlines()


@pytest.fixture
def address() -> Iterator[str]:
    bus = open_bus(f"memory://{uuid4()}")
    known = {"version": "1", "offset": 0, "lessons": 1, "digest": "d", "reader": "r", "weights": b"\0" * 80}
    bus.publish(SnapshotTaken(model="river", title="River", **known))
    with serving(bus, api_keys="shop:secret-1") as here, answering(bus):
        yield here
    bus.close()


def test_the_example_in_python_prints_the_digit(address):
    assert told(sys.executable, "-c", snippet("python", address)) == ["7 0.91", "everyone 7", "river 7"]


@pytest.mark.timeout(180)
def test_the_examples_in_python_do_what_they_say_on_the_running_product_with_the_key_of_its_home():
    with product(archive_every_s=0.2) as game:
        game.start()
        address, here = game.url.removeprefix("http://"), game.settings.environment()
        here.pop("GAMENIGHT_AWS", None)  # who reads the docs has not set it
        name, _, key = (game.settings.home / "secrets" / "api_keys").read_text().strip().partition(":")
        lines = told(sys.executable, "-c", snippet("python", address, key))
        with Player(game.url) as ada:
            ada.correct(ada.draw([[(50, 10), (50, 100)]]), 1)
        eventually(lambda: archived(game.settings))
        played = told(sys.executable, "-c", snippet("python", address, page=CLIENT), **here)
        eventually(lambda: raster_of_a_seven(here) == ["784"])
        endpoints = told(sys.executable, "-c", endpoints_listed(), **here)
        listed = json.loads("".join(told("bash", "-c", endpoints_by_the_command_line(), **here)))["Endpoints"]
        gathered = told(sys.executable, "-c", snippet("python async", address, page=CLIENT), **here)

    assert name == "app"
    assert [line.split()[0] for line in lines] == ["7", "everyone", "river"]
    assert [line.partition(":")[0] for line in played] == [
        "shown first", *(line.partition(":")[0] for line in played[1:8]), "outcome", "predicted", "watching", "examples"
    ]  # fmt: skip
    assert played[0] == "shown first: everyone 7"
    assert {line.split()[0] for line in played[1:8]} == set(MODELS)
    assert re.fullmatch(r"outcome: (learned|weighted) mnist\d\+\d+ -> mnist\d\+\d+", played[8])
    assert re.fullmatch(r"predicted: 7 0\.\d\d \['everyone', 'river'\]", played[9])
    assert played[11].startswith("examples: {1: 1")
    assert set(endpoints) == {one["EndpointName"] for one in listed} == {f"gamenight-{name}" for name in BATCH_MODELS}
    assert gathered == ["three at once: [1, 1, 1]"]


def raster_of_a_seven(here: dict[str, str]) -> list[str]:
    """What the example of observations.md finds, as soon as a labelled seven is there."""
    code = snippet("python", "", page=OBSERVATIONS) + "\nprint(len(raster))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env={**os.environ, **here},
    )
    assert run.returncode == 0 or "found[0]" in run.stderr, run.stderr
    return run.stdout.splitlines()


def endpoints_listed() -> str:
    """A program that prints the endpoints as sagemaker-local.md says boto3 reaches them."""
    [(client, imported)] = re.findall(r"^\| boto3 \| `(.+?)`, with `(.+?)`", SAGEMAKER, re.M)
    return f"import boto3\n{imported}\nfor one in {client}.list_endpoints()['Endpoints']: print(one['EndpointName'])"


def endpoints_by_the_command_line() -> str:
    """A script that lists the endpoints as sagemaker-local.md says the AWS command line reaches them."""
    [exported] = re.findall(r"^\| SDK \| `(eval .+?)`", SAGEMAKER, re.M)
    [asked] = re.findall(r"^\| `aws` \| after the `eval` .*?: `aws (.+?)`", SAGEMAKER, re.M)
    return f"cd {ROOT} && {exported} && .tools/awscli/bin/aws --output json {asked}"


def archived(settings: Settings) -> bool:
    """Whether an example has come to the archive."""
    try:
        return len(fetch_examples(Settings.load(**settings.model_dump(exclude_unset=True)), columns=[])) > 0
    except GameNightError:
        return False


def test_the_example_in_javascript_prints_the_digit_in_node(address):
    node = Path(sys.executable).with_name("node")  # requirements/dev.in

    assert told(str(node), "--input-type=module", "--eval", snippet("js", address)) == ["7 0.91"]


def test_the_example_in_javascript_prints_the_digit_in_a_page(address):
    assert in_a_page(address, snippet("js", address)) == ["7 0.91"]


def in_a_page(address: str, code: str) -> list[str]:
    """What some code says to the console of a page of the game."""
    path = find()
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one by GAMENIGHT_CHROMIUM")
    said: list[str] = []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = running.new_page()
        page.goto(f"http://{address}/docs")
        page.on("console", lambda message: said.append(message.text) if message.type == "log" else None)
        page.evaluate(f"(async () => {{ {code} }})()")
        running.close()
    return said


def test_the_example_for_the_shell_is_answered(address):
    command = shlex.split(snippet("sh", address).replace("\\\n", " "))
    url, options = command[1], list(zip(command[2::2], command[3::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in options if option == "-H")
    [body] = [value for option, value in options if option == "-d"]

    assert httpx.post(url, headers=headers, content=body, timeout=DEADLINE_S, trust_env=False).json()["digit"] == 7


def test_the_example_for_the_shell_prints_the_digit_in_curl(address):
    if shutil.which("curl") is None:
        pytest.skip("no curl: apt-get install curl")
    command = shlex.split(snippet("sh", address).replace("\\\n", " "))

    run = subprocess.run(["curl", "--silent", *command[1:]], capture_output=True, timeout=DEADLINE_S, check=False)

    assert json.loads(run.stdout)["digit"] == 7


def test_the_page_names_all_models_and_settings_and_every_field_of_an_answer(address):
    schemas = get(address, "/openapi.json").json()["components"]["schemas"]
    settings = {variable(name) for name in Settings.model_fields}

    assert all(f'"{model}"' in PAGE or f"`{model}`" in PAGE for model in MODELS)
    assert all(f'"{name}"' in PAGE for name in schemas["Prediction"]["properties"])
    assert set(re.findall(r"`(GAMENIGHT_[A-Z_]+)`", PAGE)) <= settings
