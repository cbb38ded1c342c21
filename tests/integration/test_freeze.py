"""Learning is frozen and thawed on the real game, by an operator and by the policy on drift."""

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from contracts.events import now
from producers.bus import open_bus
from producers.signing import Signer, SigningBus
from tests.histories import drift, named
from tests.product import Product, product
from tests.serving import Player, eventually, get, playing


@pytest.fixture(scope="module")
def game() -> Iterator[Product]:
    with product() as running:
        running.start()
        yield running


class Operator:
    """Gives commands as the command line does, and waits for their outcome."""

    def __init__(self, game: Product) -> None:
        self._address = game.url.removeprefix("http://")
        token = (game.settings.home / "secrets" / "operator_token").read_text().strip()
        self._head = {"Authorization": f"Bearer {token}"}

    def order(self, path: str, **body: Any) -> str:
        """Give a command; return what is said of it once it is done."""
        ordered = httpx.post(f"http://{self._address}/api/ops/{path}", json=body, headers=self._head, trust_env=False)
        state = f"/api/ops/commands/{ordered.json()['command_id']}"
        eventually(lambda: get(self._address, state, headers=self._head).json()["outcome"] != "pending")
        told = get(self._address, state, headers=self._head).json()
        assert told["outcome"] == "done", told
        return str(told["message"])

    def river(self) -> dict[str, Any]:
        """What the library says of river."""
        [river] = [model for model in get(self._address, "/api/models", headers=self._head).json() if model["model"] == "river"]
        return dict(river)

    def drift(self) -> list[dict[str, Any]]:
        """The drift that is told to everybody."""
        return list(get(self._address, "/api/drift").json()["detections"])


def guessed(player: Player, name: str) -> tuple[str, list[float]]:
    """Draw; return river's version and probabilities."""
    player.draw(name)
    while True:
        frame = player.hear()
        if (frame["type"], frame.get("model"), frame.get("final")) == ("guess", "river", True):
            return frame["version"], frame["probabilities"]


def corrected(player: Player, name: str, label: int = 4) -> dict[str, Any]:
    """Correct a drawing; return the learner's receipt."""
    correction = str(named(f"correction of {name}"))
    player.say({"type": "correct", "drawing_id": str(named(name)), "correction_id": correction, "label": label})
    while True:
        frame = player.hear()
        if (frame["type"], frame.get("stage"), frame.get("correction_id")) == ("receipt", "learner", correction):
            return frame


@pytest.mark.timeout(150)
def test_a_frozen_model_answers_as_it_did_through_corrections_and_restarts_and_learns_all_of_them_when_it_is_thawed(game):
    operator = Operator(game)
    with playing(game.url.removeprefix("http://")) as ada:
        guessed(ada, "e1")
        version = corrected(ada, "e1")["models"]["river"]["version_after"]
        eventually(lambda: operator.river()["version"] == version)

        operator.order("freeze", target="river", reason="a test")
        eventually(lambda: operator.river()["frozen"] is not None)
        before = guessed(ada, "e2")
        receipt = corrected(ada, "e2")

        assert before[0] == version
        assert (receipt["frozen"], "as soon as it does again" in receipt["why"]) == (True, True)
        change = receipt["models"]["river"]
        assert (change["version_before"], change["version_after"]) == (version, version)
        assert change["p_before"] == change["p_after"]
        assert guessed(ada, "e3") == before, "the next correction changes no guess"

        pid = game.pid("learning")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: game.pid("learning") not in (pid, None))
        receipt = corrected(ada, "e3", 7)  # not the same again: what all newcomers say is weighed as one lesson
        assert receipt["frozen"]
        assert guessed(ada, "e4") == before, "a restart of the learning process changes no guess"
        assert "a test" in operator.river()["frozen"]

        operator.order("thaw", target="river")
        generation, changes = version.split("+")
        eventually(lambda: operator.river()["version"] == f"{generation}+{int(changes) + 2}")
        assert guessed(ada, "e5")[1] != before[1]
        assert operator.river()["frozen"] is None


@pytest.mark.timeout(90)
def test_drift_freezes_learning_by_policy_once_and_says_so_but_not_that_of_a_stranger(game):
    operator = Operator(game)
    operator.order("drift-policy", actions={"online-errors": "freeze"}, reason="the night")
    at = now()
    forged, found = (
        drift(name, began_at=at - timedelta(seconds=9), drawn_at=at).model_copy(update={"at": at})
        for name in ("forged", "found")
    )
    bus = open_bus(f"kafka://{game.settings.bootstrap_servers}")
    learning = Signer("learning", (game.settings.home / "secrets" / "learning_signing_key").read_text())
    bus.publish(forged).result(10)
    for _ in range(2):
        SigningBus(bus, learning).publish(found).result(10)
    bus.close()

    eventually(lambda: operator.drift() and operator.drift()[0]["deed"] is not None)
    [told] = operator.drift()
    assert told["detection_id"] == str(found.detection_id)
    assert (told["subject"], told["deed"]["action"], told["deed"]["outcome"]) == ("river", "freeze", "done")
    eventually(lambda: operator.river()["frozen"] is not None)
    assert "by drift policy: river: wrong guesses 5.0% before, 40.0% now" in operator.river()["frozen"]
    operator.order("thaw", target="river")
