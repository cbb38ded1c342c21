"""A player of the running game is forgotten: no byte of theirs is left on the disk, and everybody else's game goes on."""

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from deploy.audit import audit, committed
from producers.bus import open_bus
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from tests.product import ROOT, Product, product

NAME = "Adalbert who goes"
X = 31.515625
"""A coordinate that nobody else draws."""
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def game() -> Iterator[Product]:
    with product() as running:
        running.start()
        deadline = time.monotonic() + 2 * WITHIN_S
        while running.pid("dynamodb") is None:  # it starts last, and nobody who plays waits for it
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield running


class Ada:
    """The player who goes."""

    def __init__(self, game: Product) -> None:
        self.socket: ClientConnection = connect(
            f"{game.url.replace('http', 'ws', 1)}/ws/play", proxy=None, max_size=None
        ).__enter__()
        self._heard: queue.Queue[dict[str, Any] | ConnectionClosed] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()  # a peer that does not read is cut off without a farewell
        joined = self.ask({"type": "join", "name": NAME, "room": None, "seat": None}, "joined")
        self.player_id, self.seat = joined["player_id"], joined["seat"]

    def ask(self, message: dict[str, Any], *types: str) -> dict[str, Any]:
        self.socket.send(json.dumps(message))
        return self.hear(*types)

    def hear(self, *types: str) -> dict[str, Any]:
        while True:
            frame = self._heard.get(timeout=30)
            if isinstance(frame, ConnectionClosed):
                raise frame
            if frame["type"] in types:
                return frame

    def _read(self) -> None:
        try:
            while True:
                self._heard.put(json.loads(self.socket.recv()))
        except ConnectionClosed as end:
            self._heard.put(end)

    def teach(self, n: int) -> None:
        for _ in range(n):
            drawing_id, correction_id = str(uuid4()), str(uuid4())
            strokes = [[[X, 80, 0], [190, 80, 30], [130, 220, 60]]]
            drawn = {"type": "draw", "drawing_id": drawing_id, "strokes": strokes, "width": 280, "height": 280}
            self.ask(drawn | {"final": True, "asked": None}, "guess")
            self.ask({"type": "correct", "drawing_id": drawing_id, "correction_id": correction_id, "label": 7}, "receipt")


def play(game: Product, drawings: int, seed: int) -> Any:
    return asyncio.run(
        simulate(SimulationOptions(url=game.url, players=2, drawings=drawings, speed=0, patience_s=60, seed=seed))
    )


def operator(game: Product) -> httpx.Client:
    token = (game.settings.home / "secrets" / "operator_token").read_text().strip()
    return httpx.Client(base_url=game.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30)


def holding(home: Path, *texts: bytes) -> list[str]:
    found = []
    for path in home.rglob("*"):
        with suppress(FileNotFoundError):  # what is gone by now holds nothing
            if path.is_file() and not path.is_symlink() and any(text in path.read_bytes() for text in texts):
                found.append(str(path.relative_to(home)))
    return sorted(found)


def settled(client: httpx.Client, command_id: str, within_s: float = WITHIN_S) -> dict[str, Any]:
    deadline = time.monotonic() + within_s
    while (state := client.get(f"/api/ops/commands/{command_id}").json())["outcome"] == "pending":
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    return dict(state)


def gamenight(game: Product, *words: str) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).parent / "gamenight"
    env = {**os.environ, **game.settings.environment()}
    return subprocess.run([str(program), *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def is_clean(game: Product, played: Any) -> bool:
    bus = open_bus(game.settings)
    try:
        home, models = game.settings.home, game.settings.roster().names
        commits = partial(committed, game.settings)
        asked = audit(bus, played.saved, played.receipted, models=models, home=home, commits=commits, wait_s=60)
        report = asyncio.run(asked)
        assert report.clean, report
        return True
    finally:
        bus.close()


def test_no_byte_of_a_forgotten_player_is_left_and_the_game_goes_on(game: Product):
    home = game.settings.home
    ada = Ada(game)
    ada.teach(12)
    play(game, 40, 1)
    theirs = (ada.player_id.encode(), str(X).encode())
    assert len(holding(home, *theirs)) > 5

    with operator(game) as client:
        began = time.monotonic()
        command_id = client.post("/api/ops/forget", json={"player_id": ada.player_id, "reason": "asked"}).json()["command_id"]
        state = settled(client, command_id)
        seconds = time.monotonic() - began
    deadline = time.monotonic() + WITHIN_S
    while holding(home, *theirs) and time.monotonic() < deadline:
        time.sleep(0.5)

    assert state["outcome"] == "done", state
    assert seconds < WITHIN_S
    assert holding(home, *theirs, NAME.encode()) == []
    ada.hear("forgotten")
    with pytest.raises(ConnectionClosed):
        ada.hear("joined")
    with connect(f"{game.url.replace('http', 'ws', 1)}/ws/play", proxy=None) as socket:
        socket.send(json.dumps({"type": "join", "name": NAME, "room": None, "seat": ada.seat}))
        assert json.loads(socket.recv(10))["code"] == "bad_seat"
    assert is_clean(game, play(game, 30, 2))
    verified = gamenight(game, "forget", "--verify", command_id)
    assert (verified.returncode, verified.stdout.count("✓")) == (0, 8), verified


def test_a_certificate_does_not_hold_once_it_was_changed_or_is_of_somebody_who_is_still_there(game: Product):
    certificate = next((game.settings.home / "certificates").glob("*.json"))
    changed = certificate.with_suffix(".changed")
    changed.write_text(certificate.read_text().replace('"log_lines": ', '"log_lines": 1'))

    done = gamenight(game, "forget", "--verify", str(changed))

    assert done.returncode == 1
    assert "changed since it was signed" in done.stderr


def test_a_player_forgets_themselves_and_a_trainer_that_is_killed_in_the_middle_goes_on(game: Product):
    home = game.settings.home
    ada = Ada(game)
    ada.teach(8)
    before = set((home / "certificates").glob("*.json"))

    ada.ask({"type": "forget"}, "forgotten")
    time.sleep(1.5)  # it is in the middle of it
    trainer = game.pid("trainer")
    assert trainer is not None
    os.kill(trainer, signal.SIGKILL)

    deadline = time.monotonic() + 2 * WITHIN_S
    while holding(home, ada.player_id.encode()) or not set((home / "certificates").glob("*.json")) - before:
        assert time.monotonic() < deadline, holding(home, ada.player_id.encode())
        time.sleep(0.5)
    [certificate] = set((home / "certificates").glob("*.json")) - before
    told = json.loads(certificate.read_text())

    assert told["by"] == "the player"
    assert min(told["topics"][topic] for topic in ("drawings.v1", "corrections.v1", "examples.v1")) >= 8, "over both tries"
    assert set(told["experiments"]["begun_anew"].values()) == {True}
    assert not list((home / "s3").rglob("*.draft.json*"))
    assert told["log"]["others_before"] == told["log"]["others_after"]
    assert gamenight(game, "forget", "--verify", str(certificate)).returncode == 0
    assert is_clean(game, play(game, 20, 3))
