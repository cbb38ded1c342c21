"""Puts bad records of every kind for every topic on the log of the running product while somebody plays.

For the test and for the bench: `spoil` puts the records there, `Spoilt` says which rejections must follow, `Player` checks that
the next record is handled, and how soon.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
from kafka import KafkaProducer
from websockets.sync.client import connect

from contracts.events import EVENTS, TOPICS, MessageRejected
from contracts.ports import Bus, Record, Tail
from contracts.records import read, rejection
from producers.placement import partition_of
from tests.bad_values import HOSTILE, READERS, kinds
from tests.product import Product
from tests.roster import BATCH_MODELS, MODELS

UNSIGNED = frozenset({"trainers"})
"""Who rejects an event of models.v1 that nobody has signed, whatever it says: the others pass it over."""


@dataclass(frozen=True)
class Spoilt:
    """The records that were put on the log, and the rejections that must follow."""

    records: int
    expected: dict[UUID, str]
    """By rejection_id: the record, and the stage that must reject it."""
    digests: dict[UUID, str]


def spoil(servers: str, player_id: str, drawing_id: str) -> Spoilt:
    """Put every kind of bad record on every topic, where the player's next record comes after it; and hostile ones of a player
    and a drawing that are there.
    """
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", max_request_size=2_000_000)
    expected: dict[UUID, str] = {}
    digests: dict[UUID, str] = {}
    sent = []
    try:
        for topic, spec in TOPICS.items():
            players = any(event.topic == topic and event.key == "player_id" for event in EVENTS)
            partition = partition_of(player_id.encode(), spec.partitions) if players else 0
            hostile = {what: bad.value(player_id, drawing_id) for what, bad in HOSTILE.items() if bad.topic == topic}
            for what, value in (kinds(topic) | hostile).items():
                key = f"bad {what}".encode()
                sent.append((topic, what, key, value, producer.send(topic, value, key, partition=partition)))
        for topic, what, key, value, future in sent:
            at = future.get(30)
            record = Record(topic, at.partition, at.offset, key, value, 0)
            if value is None and TOPICS[topic].compacted:
                continue  # a record without a value removes an entry, so it is not bad
            event = read(record, "test")
            unread = isinstance(event, MessageRejected) and (event.source, event.source_offset) == (topic, at.offset)
            assert what not in HOSTILE or not unread, f"{what} on {topic} is no event"
            for stage in READERS[topic]:
                told = read(record, stage)
                if not isinstance(told, MessageRejected):
                    assert what in HOSTILE, f"{what} on {topic} is an event"
                    by = UNSIGNED if topic == "models.v1" else HOSTILE[what].rejected_by
                    if stage not in by:
                        continue
                    told = rejection(record, stage, ValueError())  # the stage can read it, but can do nothing with it
                expected[told.rejection_id] = f"{what} on {topic}, by {stage}"
                digests[told.rejection_id] = sha256(value or b"").hexdigest()
    finally:
        producer.close()
    return Spoilt(len(sent), expected, digests)


class Told:
    """The rejections on rejected.v1 from here on."""

    def __init__(self, bus: Bus) -> None:
        self._tail: Tail = bus.follow(["rejected.v1"], "end")
        self.times: Counter[UUID] = Counter()
        self.of: dict[UUID, MessageRejected] = {}

    def look(self) -> None:
        """Read the rejections that have come."""
        for record in self._tail.poll(0.1):
            told = read(record, "test")
            if isinstance(told, MessageRejected):
                self.times[told.rejection_id] += 1
                self.of[told.rejection_id] = told

    def missing(self, spoilt: Spoilt) -> list[str]:
        """Return the expected rejections that have not come yet."""
        self.look()
        return sorted(what for identity, what in spoilt.expected.items() if identity not in self.times)

    def close(self) -> None:
        self._tail.close()


class Player:
    """A player who measures how soon the next record of each kind is handled."""

    def __init__(self, game: Product, wait_s: float) -> None:
        self._game = game
        self._wait_s = wait_s
        self._seen: list[str] = []
        self.drawing_id = ""
        """The id of the last drawing."""
        self.versions: dict[str, str] = {}
        """By model, the version of its last guess."""
        self.taught: dict[str, str] = {}
        """By model, the version that has learned the last correction."""
        self._token = (game.settings.home / "secrets" / "operator_token").read_text().strip()
        self._opening = connect(game.url.replace("http", "ws", 1) + "/ws/play", proxy=None, max_size=None)

    def __enter__(self) -> Self:
        self._socket = self._opening.__enter__()
        self._socket.send(json.dumps({"type": "join", "name": "Ada", "room": None, "seat": None}))
        self.player_id: str = self._next("joined")["player_id"]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opening.__exit__(kind, error, trace)

    def _next(self, *types: str) -> dict[str, Any]:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                frame: dict[str, Any] = json.loads(self._socket.recv(max(0.01, deadline - time.monotonic())))
            except TimeoutError:
                raise TimeoutError(f"no {' or '.join(types)} in {self._wait_s} s; {self._seen[-12:]}") from None
            self._seen.append(f"{frame['type']} {frame.get('model', frame.get('models', frame.get('message', '')))}"[:200])
            if frame["type"] in types:
                return frame

    def play(self) -> dict[str, float]:
        """Return the seconds until the next of each kind is handled: a drawing by all models, a correction, a command."""
        seconds: dict[str, float] = {}
        self.drawing_id = drawing_id = str(uuid4())
        began = time.monotonic()
        strokes = [[[90, 80], [190, 80], [130, 220]]]
        drawn = {"type": "draw", "drawing_id": drawing_id, "strokes": strokes, "width": 280, "height": 280}
        self._socket.send(json.dumps(drawn | {"final": True, "asked": None}))
        models = set(MODELS)
        while models:
            guess = self._next("guess", "missed")
            if guess["drawing_id"] == drawing_id:
                assert guess["type"] == "guess", guess
                self.versions[guess["model"]] = guess["version"]
                models.discard(guess["model"])
                last = "the drawing: router, api" if not models & (set(MODELS) - set(BATCH_MODELS) - {"everyone"}) else ""
                if last:
                    seconds.setdefault(last, time.monotonic() - began)
        seconds["the drawing, by every endpoint too"] = time.monotonic() - began
        correction_id, began = str(uuid4()), time.monotonic()
        self._socket.send(json.dumps({"type": "correct", "drawing_id": drawing_id, "correction_id": correction_id, "label": 7}))
        learned: set[str] = set()
        while not learned >= {"river", "yours"}:
            receipt = self._next("receipt")
            if receipt["correction_id"] == correction_id:
                learned |= set(receipt["models"])
                self.taught |= {model: change["version_after"] for model, change in receipt["models"].items()}
        seconds["the correction: joiner, scorer, learner, personal, api"] = time.monotonic() - began
        return seconds | {"the command: trainer, api, router's table": self._command()}

    def receipted(self, correction_id: str) -> dict[str, Any]:
        """Return the next receipt of a correction, whichever stage has put it on the log."""
        while (receipt := self._next("receipt"))["correction_id"] != correction_id:
            pass
        return receipt

    def operator(self) -> httpx.Client:
        """Return a client with the operators' token."""
        headers = {"Authorization": f"Bearer {self._token}"}
        return httpx.Client(base_url=self._game.url, headers=headers, trust_env=False, timeout=10)

    def _command(self) -> float:
        """Return the seconds until a change of policy is carried out, and the API says so."""
        began, lead = time.monotonic(), "river"
        with self.operator() as asking:
            if asking.get("/api/routing").json()["lead"] == lead:
                lead = "everyone"
            ordered = asking.post("/api/ops/policy", json={"lead": lead})
            assert ordered.status_code == 202, ordered.text
            while asking.get("/api/routing").json()["lead"] != lead:
                assert time.monotonic() - began < self._wait_s, "the policy is not changed"
                time.sleep(0.01)
        return time.monotonic() - began
