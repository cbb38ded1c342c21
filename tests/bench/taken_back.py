"""Measures how fast a player who taught much is taken back: ``python -m tests.bench.taken_back`` (some five minutes).

One player teaches a thousand drawings, others a few. The player is banned, pardoned, and forgotten; each time the seconds are
taken from the operator's command to the first guess of `river` that has all of it, while somebody draws without a label, and
for the forgetting to its certificate. Then every file of the home is looked through for the player's id.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import httpx
import typer
import uvloop

from contracts.events import GuessMade, LessonTaught, decode
from contracts.ports import Bus
from contracts.settings import Settings
from producers.bus import open_bus
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from streams.online_model import SHARED
from tests.product import Product, product
from trainers.home_files import holding

_PATIENCE_S: Final = 120.0
_SILENT: Final = {"correct_probability": 0.0, "confirm_probability": 0.0, "answer_probability": 0.0, "duplicates": 0.0}
_HONEST: Final = {"correct_probability": 1.0, "confirm_probability": 1.0, "answer_probability": 1.0, "error_rate": 0.0}


def play(url: str, players: int, drawings: int, **odds: float) -> Any:
    """Let simulated people play."""
    options = {"url": url, "players": players, "drawings": drawings, "speed": 0.0, "previews": 0, "patience_s": 60.0, **odds}
    return uvloop.run(simulate(SimulationOptions.model_validate(options)))


def taught(bus: Bus) -> tuple[int, dict[str, int]]:
    """Return how many lessons are on the log, and how many are in force of each player."""
    changes, lessons = 0, dict[str, int]()
    tail = bus.follow([LessonTaught.topic], "start")
    try:
        while not tail.caught_up():
            for record in tail.poll(0.5):
                if record.value and isinstance(event := decode(record.topic, record.value), LessonTaught):
                    changes += 1
                    lessons[event.player_id] = lessons.get(event.player_id, 0) + event.sign
        return changes, lessons
    finally:
        tail.close()


@contextmanager
def drawing(url: str) -> Iterator[None]:
    """Somebody draws all the time, and says nothing."""
    done = threading.Event()

    def draw() -> None:
        while not done.is_set():
            play(url, 1, 20, **_SILENT)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def until_used(bus: Bus, changes: int, began: float) -> float:
    """Return the seconds until a guess of the online model was made with so many changes."""
    tail = bus.follow([GuessMade.topic], "end")
    try:
        while time.perf_counter() - began < _PATIENCE_S:
            for record in tail.poll(0.05):
                event = decode(record.topic, record.value) if record.value else None
                if isinstance(event, GuessMade) and event.model == SHARED and int(event.version.partition("+")[2]) >= changes:
                    return time.perf_counter() - began
    finally:
        tail.close()
    raise TimeoutError(f"no guess with {changes} changes in {_PATIENCE_S:.0f} s")


def settled(client: httpx.Client, command_id: str, began: float) -> float:
    """Return the seconds until a command is done."""
    while (state := client.get(f"/api/ops/commands/{command_id}").json())["outcome"] == "pending":
        if time.perf_counter() - began > _PATIENCE_S:
            raise TimeoutError(str(state))
        time.sleep(0.05)
    if state["outcome"] != "done":
        raise RuntimeError(str(state))
    return time.perf_counter() - began


def measure(game: Product, drawings: int) -> dict[str, Any]:
    """Teach, take back, and return what was measured."""
    play(game.url, 1, drawings, **_HONEST)
    play(game.url, 4, 100, **_HONEST)
    bus = open_bus(game.settings)
    out: dict[str, Any] = {}
    try:
        changes, lessons = taught(bus)
        player, theirs = max(lessons.items(), key=lambda one: one[1])
        out["lessons of the player, of all"] = (theirs, sum(lessons.values()))
        token = Settings.load(**game.settings.model_dump(exclude_none=True)).operator_token
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=game.url, headers=headers, trust_env=False, timeout=30) as client, drawing(game.url):
            for name in ("quarantined", "none", "banned", "none"):
                changes += theirs
                began = time.perf_counter()
                asked = client.post("/api/ops/restrict", json={"player_id": player, "restriction": name}).raise_for_status()
                used = until_used(bus, changes, began)
                out.setdefault(f"restriction {name}, s to the next guess", []).append(round(used, 2))
                settled(client, asked.json()["command_id"], began)
            began = time.perf_counter()
            asked = client.post("/api/ops/forget", json={"player_id": player, "reason": "bench"}).raise_for_status()
            out["forget, s to the next guess"] = round(until_used(bus, changes + theirs, began), 2)
            out["forget, s to the certificate"] = round(settled(client, asked.json()["command_id"], began), 1)
        out["files that name the player"] = list(holding(game.settings.home, [player.encode()]))
        return out
    finally:
        bus.close()


def main(drawings: Annotated[int, typer.Option(help="How many drawings the player teaches.")] = 1000) -> None:
    """Measure, and print it."""
    with product() as game:
        game.start()
        for what, value in measure(game, drawings).items():
            print(f"{what}: {value}")


if __name__ == "__main__":
    typer.run(main)
