"""The router on a real broker: every final drawing is answered by every model, whatever happens to models and processes."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from contracts.events import (
    DrawingAnswered,
    DrawingSubmitted,
    Event,
    GuessMade,
    MessageRejected,
    ModelPromoted,
    ModelsEvent,
    SnapshotTaken,
    decode,
)
from contracts.ports import Bus, Tail
from contracts.settings import Settings
from producers.bus import open_bus
from producers.signing import Signer
from streams.online_base import load_base
from streams.online_model import of_base

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
ALL = ("everyone", "river", "xgboost", "yours")
"""Who answers here: of the batch models only one has an endpoint."""


@dataclass
class Runtime:
    """What an endpoint looks like from outside; the test says how it is."""

    port: int = 0
    variant: str = "base1"
    status: int = 200
    nonsense: bytes | None = None
    """What it says in the place of probabilities."""
    rows: list[int] = field(default_factory=list)
    """How many drawings each call asked about."""


@contextmanager
def runtime_serving() -> Iterator[Runtime]:
    told = Runtime()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: apart, the second waits 40 ms for the acknowledgement of the first

        def do_POST(self) -> None:
            asked = np.load(io.BytesIO(self.rfile.read(int(self.headers["content-length"]))), allow_pickle=False)
            body = io.BytesIO()
            if told.status == 200:
                told.rows.append(len(asked))
                np.save(body, np.tile(np.eye(10, dtype=np.float32)[3], (len(asked), 1)))
                if told.nonsense is not None:
                    body = io.BytesIO(told.nonsense)
            self.send_response(told.status)
            self.send_header("x-Amzn-Invoked-Production-Variant", told.variant)
            self.send_header("Content-Length", str(len(body.getvalue())))
            self.end_headers()
            self.wfile.write(body.getvalue())
            self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def eventually(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Log:
    """Everything that comes on some topics from now on."""

    def __init__(self, bus: Bus, *topics: str) -> None:
        self._tail: Tail = bus.follow(topics, "end")
        self.events: list[Event] = []

    def read(self) -> list[Event]:
        self.events += [decode(record.topic, record.value) for record in self._tail.poll(0.05)]
        return self.events

    def guesses(self) -> dict[UUID, dict[str, GuessMade]]:
        out: dict[UUID, dict[str, GuessMade]] = {}
        for event in self.read():
            if isinstance(event, GuessMade):
                out.setdefault(event.drawing_id, {})[event.model] = event
        return out

    def close(self) -> None:
        self._tail.close()


def drawing(player: str = "ada", final: bool = True, **more: Any) -> DrawingSubmitted:
    strokes = [[[50.0, 20.0], [60.0, 80.0], [55.0, 150.0]]]
    given = {"drawing_id": uuid4(), "strokes": strokes, "width": 200, "height": 200} | more
    return DrawingSubmitted(player_id=player, final=final, **given)


def promoted(version: str) -> ModelPromoted:
    variant = f"v{version}" if version.isdigit() else version
    return ModelPromoted(model="xgboost", version=version, title="XGBoost", endpoint="gamenight-xgboost", variant=variant)


class Stage:
    """Routers, an endpoint, and the bus between."""

    def __init__(self, settings: Settings, bus: Bus, runtime: Runtime, folder: Path) -> None:
        self.bus, self.runtime = bus, runtime
        self._signers = {
            "trainer": Signer("trainer", settings.trainer_signing_key),
            "learning": Signer("learning", settings.learning_signing_key),
        }
        self.log = Log(bus, "guesses.v1", "answers.v1", "previews.v1", "rejected.v1")
        self._environment = os.environ | settings.environment() | {"PYTHONPATH": str(ROOT), "GAMENIGHT_HOME": str(folder)}
        self._environment["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = f"http://127.0.0.1:{runtime.port}"
        self._environment["GAMENIGHT_ENDPOINT_TIMEOUT_MS"] = "1000"
        self._environment["GAMENIGHT_GUESS_BUDGET_MS"] = "60000"  # a test says itself how long an endpoint is down
        self._environment["GAMENIGHT_PREVIEW_STALE_MS"] = "60000"  # nor is it late for a preview while the router starts
        self._folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "router.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", "streams", "router"], env=self._environment, stderr=log)
        self.processes.append(process)
        return process

    def publish(self, *events: Event) -> None:
        for sent in [self.bus.publish(self._signed(event)) for event in events]:
            sent.result(DEADLINE_S)

    def _signed(self, event: Event) -> Event:
        """As trainer and learning say it: the topic may be signed already, by tests before these."""
        if not isinstance(event, ModelsEvent):
            return event
        return self._signers["learning" if isinstance(event, SnapshotTaken) else "trainer"].signed(event)

    def answered(self, *drawings: DrawingSubmitted, by: tuple[str, ...] = ALL) -> None:
        """Wait until each model has answered each drawing."""
        wanted = {drawing.drawing_id for drawing in drawings}

        def all_of_them() -> bool:
            guesses = self.log.guesses()
            return all(set(by) <= guesses.get(drawing_id, {}).keys() for drawing_id in wanted)

        eventually(all_of_them, f"not all of {len(wanted)} answered by {by}; see {self._folder}/router.log")

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(DEADLINE_S)
        self.log.close()


@pytest.fixture(scope="module")
def stage(kafka: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One router, started once: a test that ends it starts another."""
    bus = open_bus(f"kafka://{kafka}")
    with runtime_serving() as runtime:
        stage = Stage(settings, bus, runtime, tmp_path_factory.mktemp("home"))
        try:
            stage.publish(promoted("base1"))
            stage.start()
            yield stage
        finally:
            stage.close()
            bus.close()


def test_every_model_answers_a_final_drawing(stage: Stage):
    shown = drawing()
    stage.publish(shown)

    stage.answered(shown)
    guesses = stage.log.guesses()[shown.drawing_id]
    assert (guesses["xgboost"].label, guesses["xgboost"].version) == (3, "base1")
    assert list(guesses["xgboost"].hops) == ["bus_in", "read", "wait", "model"]
    assert {guess.features for guess in guesses.values()} == {None}


def test_all_guesses_on_a_drawing_and_how_it_was_read_are_one_record_for_those_who_learn(stage: Stage):
    shown, preview = drawing(), drawing("bob", final=False)
    stage.publish(preview, shown)
    stage.answered(preview, shown)

    def answered() -> list[DrawingAnswered]:
        there = [event for event in stage.log.read() if isinstance(event, DrawingAnswered)]
        assert preview.drawing_id not in {event.drawing_id for event in there}
        parts, known = [], set[str]()
        for part in there:
            new = {guess.model for guess in part.guesses} - known
            if part.drawing_id == shown.drawing_id and new:  # a router that lost its partition says it again
                parts.append(part)
                known |= new
        return parts

    def by() -> set[str]:
        return {guess.model for part in answered() for guess in part.guesses}

    eventually(lambda: by() >= set(ALL), "not all guesses together")
    parts, guesses = answered(), stage.log.guesses()[shown.drawing_id]
    together = {guess.model: guess.label for part in parts for guess in part.guesses}
    assert {model: together[model] for model in ALL} == {model: guesses[model].label for model in ALL}
    features = parts[0].features
    assert features is not None
    assert len(features.raster) == 784
    assert features.reader == load_base().reader
    assert len(features.embedding) == 4 * load_base().basis.size
    assert [part.features for part in parts[1:]] == [None] * (len(parts) - 1)


def test_what_is_no_drawing_is_rejected_and_the_next_one_is_answered(stage: Stage):

    class Scribble(Event):
        topic = "drawings.v1"
        key = "player_id"
        type: str = "Scribble"
        player_id: str = "ada"

    good = drawing()
    stage.publish(Scribble(), good)

    stage.answered(good)

    def told() -> list[MessageRejected]:
        return [event for event in stage.log.read() if isinstance(event, MessageRejected) and b"Scribble" in event.value]

    eventually(told, "nothing rejected")
    assert {(rejected.source, rejected.stage) for rejected in told()} == {("drawings.v1", "router")}


def test_a_drawing_that_comes_twice_is_answered_once(stage: Stage):
    shown, last = drawing(), drawing()
    stage.publish(shown, shown, shown, last)

    stage.answered(shown, last)
    answers = Counter(e.model for e in stage.log.events if isinstance(e, GuessMade) and e.drawing_id == shown.drawing_id)
    assert answers.keys() >= set(ALL), "and by those that tests before this one have left on models.v1"
    assert set(answers.values()) == {1}


def test_drawings_wait_for_an_endpoint_that_is_down_while_the_others_answer(stage: Stage):
    stage.runtime.status = 503
    waiting = [drawing(f"p{i}") for i in range(20)]
    stage.publish(*waiting)
    stage.answered(*waiting, by=("everyone", "river", "yours"))
    assert not any("xgboost" in stage.log.guesses()[one.drawing_id] for one in waiting)

    stage.runtime.status = 200

    stage.answered(*waiting)
    assert max(stage.runtime.rows) > 1, "what has gathered goes out together"


@pytest.mark.parametrize("nonsense", [b"PK\x03\x04garbage", b"\x93NUMPY\x01\x00\x0d\x00{'descr': ((\n", b""])
def test_an_endpoint_that_answers_nonsense_costs_its_own_guess_only(stage: Stage, nonsense: bytes):
    [process] = [process for process in stage.processes if process.poll() is None]
    stage.runtime.nonsense = nonsense
    waiting = drawing()
    stage.publish(waiting)
    stage.answered(waiting, by=("everyone", "river", "yours"))

    stage.runtime.nonsense = None

    stage.answered(waiting)
    assert process.poll() is None


def test_a_router_that_is_killed_leaves_no_drawing_unanswered(stage: Stage):
    stage.runtime.status = 503  # so that some are on their way at every moment
    before = [drawing(f"p{i}") for i in range(10)]
    stage.publish(*before)
    stage.answered(*before, by=("everyone", "river", "yours"))
    stage.processes[-1].kill()
    during = [drawing(f"p{i}") for i in range(10)]
    stage.publish(*during)
    stage.runtime.status = 200

    stage.start()

    stage.answered(*before, *during)


def test_a_promotion_changes_the_version_without_a_gap(stage: Stage):
    drawings: list[DrawingSubmitted] = []

    def play(n: int) -> None:
        for i in range(n):
            drawings.append(drawing(f"p{i}"))
            stage.publish(drawings[-1])

    play(20)
    stage.answered(*drawings)
    stage.runtime.variant = "v7"  # the endpoint is updated first ...
    play(20)
    stage.publish(promoted("7"))  # ... then it is promoted
    play(20)

    stage.answered(*drawings)
    guesses = stage.log.guesses()
    versions = [guesses[d.drawing_id]["xgboost"].version for d in drawings]
    assert set(versions) == {"base1", "7"}
    assert versions[-1] == "7"
    tables = {guesses[d.drawing_id]["xgboost"].table for d in drawings}
    assert len(tables) == 2, "and the guess names the table"


def test_a_snapshot_answers_the_next_drawing(stage: Stage):
    first = drawing()
    stage.publish(first)
    stage.answered(first)
    base = load_base()
    weights = np.zeros((10, base.basis.width), "<f4")
    weights[8, -1] = 50.0
    taken = SnapshotTaken(
        model="river",
        version=f"{base.generation}+9000001",
        title="River",
        offset=9_000_001,
        lessons=9_000_001,
        digest="",
        reader=base.reader,
        basis=base.basis.name,
        weights=weights.tobytes(),
    )
    stage.publish(taken)

    def answers_eight() -> bool:
        again = drawing()
        stage.publish(again)
        stage.answered(again)
        guess = stage.log.guesses()[again.drawing_id]["river"]
        return guess.label == 8 and guess.version == taken.version

    eventually(answers_eight, "the snapshot is not used")
    own = of_base(base).solved.weights.astype("<f4").tobytes()
    stage.publish(taken.model_copy(update={"weights": own}))  # for the tests after


def test_two_routers_share_the_work_and_one_takes_over(stage: Stage):
    warm = [drawing(f"p{i}") for i in range(8)]
    stage.publish(*warm)
    stage.answered(*warm)
    second = stage.start()
    drawings = [drawing(f"p{i % 40}") for i in range(200)]
    stage.publish(*drawings)
    stage.answered(*drawings)

    second.kill()
    after = [drawing(f"p{i % 40}") for i in range(200)]
    stage.publish(*after)

    stage.answered(*after)


def test_a_router_stops_within_three_seconds_of_sigterm(stage: Stage):
    shown = drawing()
    stage.publish(shown)
    stage.answered(shown)
    [process] = [process for process in stage.processes if process.poll() is None]

    process.send_signal(signal.SIGTERM)

    assert process.wait(3) == 0
