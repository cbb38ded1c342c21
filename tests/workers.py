"""Runs several learning processes on a real broker, and does them harm while players play."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contracts.events import Event
from contracts.settings import Settings
from producers.bus import open_bus
from producers.topics import create_topics
from streams.online_base import load_base
from tests.clusters import ROOT, Cluster, cluster, outside
from tests.histories import answered, correction, drawing, features, guess, probabilities, withdrawal
from tests.settled import Digests, at_rest, digests

COPIES = 3
"""How often each message is on the log."""


def game(players: int, drawings: int, seed: int) -> list[list[Event]]:
    """Return what is said of each player: drawings, answers, and corrections, changed and withdrawn ones too."""
    chance, reader, out = random.Random(seed), load_base().reader, []
    for player in (f"worker-{number}" for number in range(players)):
        events: list[Event] = []
        for n in range(drawings):
            name, at = f"{player} {n}", float(n)
            own = {"version": "own1+0", "probabilities": probabilities(7)}
            guesses = [
                guess(name, chance.randrange(10), player=player, features=None, at=at),
                guess(name, 3, model="xgboost", player=player, at=at),
                guess(name, 7, model="yours", player=player, at=at, **own),
            ]
            read = features(chance.randrange(1 << 30), reader)
            events += [drawing(name, player=player, at=at), answered(guesses, features=read, at=at)]
            for number in range(chance.choice((1, 1, 1, 2, 3))):
                given = f"{name} correction {number}"
                events.append(correction(name, chance.randrange(10), correction=given, player=player, at=at))
                if chance.random() < 0.15:
                    events.append(withdrawal(name, correction=given, player=player, at=at))
        out.append(events)
    return out


def shuffled(players: Sequence[Sequence[Event]], seed: int) -> list[Event]:
    """Mix the players, each message three times: each player's own order is kept, repeats come at any time later.

    A correction comes after its drawing, as it does from players; the answer to it may come before or after.
    """
    chance = random.Random(seed)
    timed: list[tuple[float, Event]] = []
    for events in players:
        at = 0.0
        for event in events:
            at += chance.random()
            late = chance.uniform(0, 3) if event.topic == "answers.v1" else 0.0
            timed.append((at + late, event))
            timed += [(at + late + chance.expovariate(0.2), event) for _ in range(COPIES - 1)]
    return [event for _, event in sorted(timed, key=lambda one: one[0])]


class Workers:
    """Learning processes in one home, and one that has the players' own models."""

    def __init__(self, settings: Settings, count: int) -> None:
        """Start so many processes of the learning role, and one of the other."""
        self.settings, self._learning, self._others = settings, list[subprocess.Popen[bytes]](), list[subprocess.Popen[bytes]]()
        for _ in range(count):
            self.start()
        self._others.append(self._run("-m", "tests.integration.faulty", "router", "none"))

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = os.environ | self.settings.environment() | {"PYTHONPATH": str(ROOT)}
        with (self.settings.home / "workers.log").open("ab") as log:
            return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log)

    def start(self) -> None:
        """Start one more learning process."""
        self._learning.append(self._run("-m", "streams", "learning"))

    def kill(self, which: int) -> None:
        """Kill one with -9, and start another in its place; the oldest are those that work."""
        process = self._learning.pop(which % len(self._learning))
        process.kill()
        process.wait()
        self.start()

    def leave(self) -> None:
        """Let one leave in order, and another come: two rebalances."""
        process = self._learning.pop(0)
        process.terminate()
        process.wait(20)
        self.start()

    def mend(self) -> int:
        """Start again those that ended by themselves, as a supervisor does; return how many there were."""
        ended = [process for process in self._learning if process.poll() is not None]
        for process in ended:
            self._learning.remove(process)
            self.start()
        for process in [process for process in self._others if process.poll() is not None]:
            self._others.remove(process)
            self._others.append(self._run("-m", "tests.integration.faulty", "router", "none"))
        return len(ended)

    def owners(self) -> int:
        """Return how many of the learning processes have partitions: each holds the ledgers of its own open."""
        found = 0
        for process in self._learning:
            try:
                held = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")]
            except OSError:
                continue
            found += any("/state/learner/" in path for path in held)
        return found

    def settle(self, within_s: float) -> None:
        """Wait until all is learned."""
        deadline = time.monotonic() + within_s
        while not at_rest(self.settings):
            self.mend()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not at rest within {within_s:.0f} s: see {self.settings.home}/workers.log")
            time.sleep(0.5)

    def close(self) -> None:
        """Kill all."""
        for process in (*self._learning, *self._others):
            process.kill()
            process.wait()


@contextmanager
def played(
    folder: Path,
    count: int,
    events: Sequence[Event],
    *,
    kills: int = 0,
    leaves: int = 0,
    restarts: int = 0,
    seed: int = 0,
    within_s: float = 120.0,
) -> Iterator[tuple[Settings, Digests, int]]:
    """Put events on an empty log while so many workers learn them and come to harm; yield what they have come to.

    Args:
        folder: Where the broker and the home are.
        count: How many learning processes there are.
        events: The events, in their order.
        kills: How many of the processes are killed with -9 meanwhile.
        leaves: How often one leaves in order and another comes.
        restarts: How often the broker is killed with -9 and started again.
        seed: Of the moments.
        within_s: How long to wait for the end after the last event.

    Yields:
        The settings, the digests, and the largest number of processes that had partitions at once.
    """
    chance = random.Random(seed)
    harm = ["kill"] * kills + ["leave"] * leaves + ["restart"] * restarts
    chance.shuffle(harm)
    moments = {(n + 1) * len(events) // (len(harm) + 1): what for n, what in enumerate(harm)}
    with cluster(folder / "kafka") as kafka:
        home = folder / "home"
        home.mkdir()
        settings = outside(home, kafka_bootstrap_servers=kafka.servers)
        create_topics(settings)
        workers, bus, owners = Workers(settings, count), open_bus(settings), 0
        try:
            for n, event in enumerate(events):
                if n in moments:
                    bus.flush(60)
                    owners = max(owners, workers.owners())
                    _harm(moments[n], workers, kafka, chance)
                bus.publish(event).add_done_callback(lambda sent: sent.result())
            bus.flush(60)
            workers.settle(within_s)
            yield settings, digests(home, bus), max(owners, workers.owners())
        finally:
            workers.close()
            bus.close()


def _harm(what: str, workers: Workers, kafka: Cluster, chance: random.Random) -> None:
    time.sleep(chance.uniform(0.5, 4.0))  # chance says in which moment of its work it is met
    workers.mend()
    if what == "kill":
        workers.kill(chance.randrange(4))
    elif what == "leave":
        workers.leave()
    else:
        [node] = kafka.nodes
        kafka.kill(node)
        kafka.start(node)
        kafka.wait(node)
