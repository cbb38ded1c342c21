"""The whole loop on real parts, played from outside: what the players saw is what is on the log."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect

from contracts.events import PLAYER_PARTITIONS, ExampleLabelled, LessonTaught, decode
from contracts.ports import Origin
from producers.bus import open_bus
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from streams.ledger_view import look
from streams.online_base import load_base
from streams.online_model import LessonSet
from streams.personal_model import PersonalModels
from streams.story import UNKNOWN
from tests.audited import audited
from tests.histories import MemoryCells, named
from tests.product import ROOT, Product, product
from tests.roster import MODELS as ALL
from tests.serving import Player, eventually, get, playing, serving

MODELS = set(ALL)


@pytest.fixture(scope="module")
def game() -> Iterator[Product]:
    with product() as running:
        running.start()
        yield running


async def watched(url: str, drawings: int, corrected: int) -> dict[str, dict]:
    """The scores on the dashboard's socket, once they count this many labelled drawings of every model."""
    scores: dict[str, dict] = {}
    async with asyncio.timeout(20), connect(url.replace("http", "ws", 1) + "/ws/watch", proxy=None) as socket:
        while {model for model, score in scores.items() if score["n"] >= corrected} < MODELS:
            frame = orjson.loads(await socket.recv())
            if frame["type"] in ("snapshot", "scores"):
                scores |= frame["scores"]
    return scores


@pytest.mark.timeout(150)
async def test_every_drawing_is_answered_learned_and_counted_once_although_many_messages_come_twice(game):
    options = SimulationOptions(url=game.url, players=5, drawings=150, speed=12, duplicates=0.2, patience_s=20)

    report = await simulate(options)

    assert report.whole, report.to_json()
    assert report.errors == {}
    assert set(report.last_tenth) == MODELS | {"shown first"}
    assert report.seen["answered by every model"] == 150
    assert sum(report.receipts.values()) == report.seen.get("corrected", 0) + report.seen.get("confirmed", 0)

    found = await audited(game.settings, report, home=game.settings.home)
    assert found.clean, found.model_dump_json(indent=2)
    assert found.rejected == 0

    labelled = len(report.receipted)
    scores = await watched(game.url, 150, labelled)
    assert {model: score["n"] for model, score in scores.items() if model in MODELS} == dict.fromkeys(MODELS, labelled)
    assert all(sum(score["confusion"]) == labelled for model, score in scores.items() if model in MODELS)


def until(player: Player, kind: str, **fields: object) -> dict[str, Any]:
    """The next frame of this type with these fields."""
    while True:
        frame = player.hear()
        if frame["type"] == kind and fields.items() <= frame.items():
            return frame


@pytest.mark.timeout(120)
def test_a_process_that_never_saw_a_drawing_tells_its_first_answers_again_and_takes_corrections_of_it(game, monkeypatch):
    monkeypatch.setattr("api.relay.NEWEST", 1)  # it has read of the drawing next to nothing
    secret = (game.settings.home / "secrets" / "seat_secret").read_text().strip()
    with playing(game.url.removeprefix("http://")) as ada:
        ada.draw("d1")
        first = answers(ada, "d1")
    bus = open_bus(f"kafka://{game.settings.bootstrap_servers}")
    with serving(bus, seat_secret=secret) as another, playing(another, ada.seat) as back:
        back.draw("d1")
        again = answers(back, "d1")
        given = {"type": "correct", "drawing_id": str(named("d1")), "correction_id": str(named("c1")), "label": 4}
        back.say(given)
        learned = heard(back, "receipt", stage="learner", correction_id=str(named("c1")))
        back.say(given | {"drawing_id": str(named("never drawn")), "correction_id": str(named("c2"))})
        refused = heard(back, "receipt", correction_id=str(named("c2")))
    bus.close()

    assert again == first
    assert learned["outcome"] == "weighted", "she is a newcomer"
    assert (refused["outcome"], refused["why"]) == ("refused", UNKNOWN)


@pytest.mark.timeout(120)
def test_yesterdays_producer_and_consumer_play_with_todays_models(game):
    """Programs of 2026-11-23, with the shapes of then: docs/evolution.md."""

    def ran(program: str, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, str(ROOT / "tests" / "yesterday" / program), game.settings.bootstrap_servers, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, done.stderr
        return orjson.loads(done.stdout)

    sent = ran("producer.py", "somebody of yesterday")
    told = ran("consumer.py", sent["drawing_id"], str(len(MODELS)))

    assert set(told["guesses"]) == MODELS
    assert set(told["guesses"].values()) <= set(range(10))
    assert told["receipts"].items() <= {"learner": "weighted", "personal": "learned"}.items()
    assert told["receipts"]


def heard(player: Player, kind: str, **fields: object) -> dict[str, Any]:
    """The next frame of this type with these fields."""
    while True:
        frame = player.hear()
        if frame["type"] == kind and fields.items() <= frame.items():
            return frame


def answers(player: Player, name: str) -> dict[str, tuple[int, str]]:
    """Label and version of every model's answer to a drawing."""
    said: dict[str, tuple[int, str]] = {}
    while set(said) < MODELS:
        frame = heard(player, "guess", drawing_id=str(named(name)))
        said[frame["model"]] = (frame["label"], frame["version"])
    return said


def lessons_on_the_log(game: Product) -> list[LessonTaught]:
    """All lessons so far, each once."""
    bus = open_bus(f"kafka://{game.settings.bootstrap_servers}")
    tail, read = bus.follow([LessonTaught.topic], "start"), {}
    while not tail.caught_up():
        for record in tail.poll(0.5):
            event = decode(record.topic, record.value)
            if isinstance(event, LessonTaught):
                read.setdefault((record.partition, event.number), event)
    tail.close()
    bus.close()
    return list(read.values())


def digest_of(lessons: Iterable[LessonTaught]) -> str:
    """The digest of the model that these lessons make."""
    known = LessonSet()
    for lesson in lessons:
        known = known.apply(lesson)
    return known.digest(load_base())


def said_of_models(game: Product) -> list[dict[str, bytes]]:
    """What the running router has of all players together, of each partition."""
    ledgers = [game.settings.home / "state" / "personal" / f"{partition}.sqlite" for partition in range(PLAYER_PARTITIONS)]
    return [{key: cell for key, cell in look(path).cells.items() if key.startswith("hour")} for path in ledgers]


def said_without(game: Product, player: str) -> list[dict[str, bytes]]:
    """What it would have, by the log, if this player had never been there."""
    bus = open_bus(f"kafka://{game.settings.bootstrap_servers}")
    tail, own = bus.follow([ExampleLabelled.topic], "start"), PersonalModels(load_base())
    cells = [MemoryCells() for _ in range(PLAYER_PARTITIONS)]
    for partition, kept in enumerate(cells):
        list(own.open(kept, partition))
    while not tail.caught_up():
        for record in tail.poll(0.5):
            event = decode(record.topic, record.value)
            if getattr(event, "player_id", None) != player:
                list(own.apply(cells[record.partition], event, Origin(record.partition, record.offset, 0)))
    for partition, kept in enumerate(cells):
        list(own.settle(kept, partition))
    tail.close()
    bus.close()
    return [{key: cell for key, cell in kept.items() if key.startswith("hour")} for kept in cells]


@pytest.mark.timeout(120)
def test_a_ban_takes_out_what_a_player_taught_exactly_and_a_pardon_puts_it_back(game):
    address = game.url.removeprefix("http://")
    token = (game.settings.home / "secrets" / "operator_token").read_text().strip()

    def answers_with() -> str:
        [river] = [model for model in get(address, "/api/models").json() if model["model"] == "river"]
        [own] = [one for one in river["versions"] if one["version"].startswith(load_base().generation)]  # no experiment
        return str(own["digest"])

    def restrict(player: str, restriction: str) -> None:
        body, head = {"player_id": player, "restriction": restriction}, {"Authorization": f"Bearer {token}"}
        ordered = httpx.post(f"{game.url}/api/ops/restrict", json=body, headers=head, trust_env=False)
        state = f"/api/ops/commands/{ordered.json()['command_id']}"
        eventually(lambda: get(address, state, headers=head).json()["outcome"] == "done")

    before = lessons_on_the_log(game)
    eve = Counter(lesson.player_id for lesson in before if not lesson.newcomer).most_common(1)[0][0]
    others = digest_of(lesson for lesson in before if lesson.player_id != eve)
    assert answers_with() == digest_of(before) != others
    said, without = said_of_models(game), said_without(game, eve)
    assert said == said_without(game, "nobody") != without

    restrict(eve, "banned")
    eventually(lambda: answers_with() == others)
    eventually(lambda: said_of_models(game) == without)
    restrict(eve, "none")
    eventually(lambda: answers_with() == digest_of(before))
    eventually(lambda: said_of_models(game) == said)

    since = [lesson for lesson in lessons_on_the_log(game) if lesson not in before]
    assert {lesson.player_id for lesson in since} == {eve}
    assert sum(lesson.sign for lesson in since) == 0


@pytest.mark.timeout(120)
def test_health_says_within_its_answer_that_nothing_is_learned_and_that_it_is_again(game):
    address = game.url.removeprefix("http://")
    eventually(lambda: get(address, "/healthz").json()["status"] == "ok")
    os.kill(game.pid("learning"), signal.SIGKILL)
    seconds = time.monotonic()
    told = get(address, "/healthz").json()
    while told["status"] == "ok" and time.monotonic() - seconds < 1.0:  # of what it knew when it was killed
        told = get(address, "/healthz").json()

    assert (told["status"], set(told["missing"])) == ("degraded", {"learning", "learning of yours"})
    eventually(lambda: get(address, "/healthz").json()["status"] == "ok")
