"""Bad records of every kind for every topic, put on the log of the running product while somebody plays.

For the test and for the bench: `spoil` puts them there, `Spoilt` says what must be told of them, `Player` sees that the next
record is handled, and how soon.
"""

import base64
import json
import time
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from uuid import UUID, uuid4

import httpx
import numpy as np
from kafka import KafkaProducer
from websockets.sync.client import connect

from contracts.events import EVENTS, TOPICS, MessageRejected
from contracts.ports import Bus, Record, Tail
from contracts.records import read, rejection
from producers.placement import partition_of
from streams.learner import load_base
from tests.product import Product
from tests.roster import BATCH_MODELS, MODELS

GOLDEN: Final = Path(__file__).parent / "contract" / "golden"
READERS: Final = {
    "drawings.v1": {"router", "joiner"},
    "guesses.v1": {"api"},
    "answers.v1": {"joiner"},
    "previews.v1": {"api"},
    "corrections.v1": {"joiner"},
    "examples.v1": {"personal", "scorer", "trainers.archive", "trainers.observations"},
    "lessons.v1": {"learner"},
    "receipts.v1": {"api"},
    "metrics.v1": {"api"},
    "models.v1": {"router", "api"},
    "commands.v1": {"trainers", "api"},
    "rejected.v1": set(),
}
"""Who reads a topic as it grows, by the name under which they reject. The trainer reads models.v1 when it starts."""
BEYOND: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "drawings.v1": ("DrawingSubmitted", {"strokes": []}),
    "guesses.v1": ("GuessMade", {"hops": {"a": 1e308, "b": 1e308}}),
    "answers.v1": ("DrawingAnswered", {"missed": {"../../x": ""}}),
    "previews.v1": ("PreviewGuessed", {"version": "../../x"}),
    "corrections.v1": ("CorrectionGiven", {"at": "9999-12-31T23:59:59Z"}),
    "examples.v1": ("ExampleLabelled", {"revision": 1 << 40}),
    "lessons.v1": ("LessonTaught", {"model": "nobody"}),
    "receipts.v1": ("CorrectionReceipt", {"player_id": "x" * 500_000}),
    "metrics.v1": ("ScoresCounted", {"n": 10**30}),
    "models.v1": ("SnapshotTaken", {"offset": -7}),
    "commands.v1": ("PromoteModel", {"version": "../../x"}),
    "rejected.v1": ("MessageRejected", {"source_offset": -5}),
}
"""What is beyond all that an event may hold: nobody can read it."""


class Hostile(NamedTuple):
    """An event that can be read, and means harm."""

    topic: str
    kind: str
    fields: dict[str, Any]
    """In the place of those of the golden file."""
    rejected_by: frozenset[str] = frozenset()
    """Of its readers, those who cannot do anything with it."""

    def value(self, player_id: str, drawing_id: str) -> bytes:
        """Of somebody who knows a player and a drawing of theirs."""
        fields = {"player_id": player_id} if "player_id" in _golden(self.kind) else {}
        if "drawing_id" in _golden(self.kind):
            fields["drawing_id"] = drawing_id
        return json.dumps(_golden(self.kind) | fields | self.fields).encode()


_LATE: Final = "2199-12-31T23:59:59Z"
_MOST: Final = (1 << 53) - 1
_HUGE: Final = base64.urlsafe_b64encode(np.full(64, 1e38, "<f4").tobytes()).decode()
_HUGE_WEIGHTS: Final = base64.urlsafe_b64encode(np.full((10, 65), 1e38, "<f4").tobytes()).decode()
_OTHER_SHAPE: Final = base64.urlsafe_b64encode(np.ones((10, 9), "<f4").tobytes()).decode()
_READER: Final = load_base().reader
_FEATURES: Final = {"raster": base64.urlsafe_b64encode(bytes(784)).decode(), "embedding": _HUGE, "reader": _READER}
_BOTH: Final = frozenset({"router", "api"})
_API: Final = frozenset({"api"})
HOSTILE: Final[dict[str, Hostile]] = {
    "a drawing of another century": Hostile("drawings.v1", "DrawingSubmitted", {"drawing_id": str(uuid4()), "at": _LATE}),
    "a drawing at the ends of all canvases": Hostile(
        "drawings.v1",
        "DrawingSubmitted",
        {"drawing_id": str(uuid4()), "strokes": [[[-8192, -8192, 1e14]], [[16384, 16384, -8192]]]},
    ),
    "a drawing that is sought, and there": Hostile("drawings.v1", "DrawingSought", {"player_id": "eve"}),
    "somebody else's guess": Hostile("guesses.v1", "GuessMade", {"player_id": "eve", "at": _LATE, "features": _FEATURES}),
    "somebody else's answers": Hostile(
        "answers.v1", "DrawingAnswered", {"player_id": "eve", "at": _LATE, "features": _FEATURES}, frozenset({"joiner"})
    ),
    "answers that nobody gave": Hostile(
        "answers.v1",
        "DrawingAnswered",
        {"drawing_id": str(uuid4()), "at": _LATE, "guesses": [], "features": _FEATURES, "lead_after": _MOST},
    ),
    "a guess of extremes": Hostile(
        "guesses.v1",
        "GuessMade",
        {"drawing_id": str(uuid4()), "at": _LATE, "hops": {"model": 1e9, "x" * 200: -1e9}, "features": _FEATURES},
    ),
    "a miss of another century": Hostile("guesses.v1", "GuessMissed", {"at": _LATE, "resting": True, "model": "nobody"}),
    "somebody else's preview": Hostile(
        "previews.v1", "PreviewGuessed", {"player_id": "eve", "final": True, "at": _LATE, "table": "x" * 200}
    ),
    "a word of another century": Hostile("corrections.v1", "CorrectionGiven", {"correction_id": str(uuid4()), "at": _LATE}),
    "a word on somebody else's drawing": Hostile(
        "corrections.v1", "CorrectionGiven", {"correction_id": str(uuid4()), "player_id": "eve"}
    ),
    "an example of the highest revision": Hostile(
        "examples.v1",
        "ExampleLabelled",
        {"drawing_id": str(uuid4()), "revision": 65, "drawn_at": _LATE, "at": _LATE, "features": _FEATURES, "guesses": []},
    ),
    "a lesson of extremes": Hostile(
        "lessons.v1",
        "LessonTaught",
        {"lesson_id": str(uuid4()), "embedding": _HUGE, "reader": _READER, "weight": 10},
        frozenset({"learner"}),
    ),
    "a receipt of somebody else's": Hostile(
        "receipts.v1", "CorrectionReceipt", {"player_id": "eve", "outcome": "refused", "why": "x" * 10_000}
    ),
    "counts beyond all": Hostile("metrics.v1", "ScoresCounted", {"n": _MOST, "correct": _MOST, "source": _MOST}, _API),
    "a window of another century": Hostile("metrics.v1", "ScoresCounted", {"window": _LATE, "at": _LATE}, _API),
    "a fold of nobody": Hostile("metrics.v1", "FoldAdvanced", {"fold": "nobody", "source_partition": _MOST}, _API),
    "a snapshot beyond all lessons": Hostile(
        "models.v1",
        "SnapshotTaken",
        {"offset": _MOST, "lessons": _MOST, "version": "mnist1+9", "reader": _READER, "weights": _HUGE_WEIGHTS, "at": _LATE},
    ),
    "a snapshot of another shape": Hostile(
        "models.v1", "SnapshotTaken", {"offset": _MOST, "reader": _READER, "weights": _OTHER_SHAPE}, frozenset({"router"})
    ),
    "a snapshot of nobody": Hostile("models.v1", "SnapshotTaken", {"model": "nobody", "reader": _READER}, _BOTH),
    "a promotion to no endpoint": Hostile("models.v1", "ModelPromoted", {"endpoint": "", "at": _LATE}, _BOTH),
    "a policy of nobody": Hostile("models.v1", "PolicySet", {"lead": "nobody", "parts": {"nobody": "shown"}, "at": _LATE}),
    "a rebuild that nobody asked for": Hostile(
        "models.v1", "TrainingAdvanced", {"command_id": str(uuid4()), "step": "x" * 10_000, "log": ["x" * 100_000], "at": _LATE}
    ),
    "the end of no command": Hostile("commands.v1", "CommandSettled", {"command_id": str(uuid4()), "at": _LATE}),
    "a version that is none": Hostile("commands.v1", "PromoteModel", {"command_id": str(uuid4()), "version": "999999"}),
    "a rebuild of nobody": Hostile("commands.v1", "RetrainModel", {"command_id": str(uuid4()), "target": "nobody"}),
    "a rejection of nothing": Hostile(
        "rejected.v1",
        "MessageRejected",
        {"source": "nobody.v1", "source_offset": _MOST, "stage": "nobody", "error": "x" * 500_000, "at": _LATE},
    ),
    "a repair of nothing": Hostile("rejected.v1", "MessageRepaired", {"rejection_id": str(uuid4()), "source": "nobody.v1"}),
}
"""By what it is. Each can be read; honest events go on, and win where they speak of the same thing."""
_CORRECTION: Final = (GOLDEN / "CorrectionGiven.json").read_bytes()
_DRAWING: Final = (GOLDEN / "DrawingSubmitted.json").read_bytes()


def _golden(kind: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GOLDEN / f"{kind}.json").read_text())
    return read


def kinds(topic: str) -> dict[str, bytes | None]:
    """Bad values of a topic, by what is wrong with them."""
    kind, fields = BEYOND[topic]
    future = _golden(kind) | {"type": f"{kind}V9", "version_of_the_schema": 9}
    return {
        "null": None,
        "empty": b"",
        "a list": b"[1]",
        "not UTF-8": b'{"type":"\xff\xfe"}',
        "not JSON": b"<drawing/>",
        "of a wrong type": _DRAWING if topic == "corrections.v1" else _CORRECTION,
        "of a future version": json.dumps(future).encode(),
        "900 KB of garbage": bytes(range(256)) * 3516,
        "beyond all": json.dumps(_golden(kind) | fields).encode(),
    }


@dataclass(frozen=True)
class Spoilt:
    """What was put on the log, and what must be told of it."""

    records: int
    expected: dict[UUID, str]
    """By rejection_id: the record and who tells of it."""
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
                continue  # that is how an entry is taken away
            event = read(record, "test")
            unread = isinstance(event, MessageRejected) and (event.source, event.source_offset) == (topic, at.offset)
            assert what not in HOSTILE or not unread, f"{what} on {topic} is no event"
            for stage in READERS[topic]:
                told = read(record, stage)
                if not isinstance(told, MessageRejected):
                    bad = HOSTILE.get(what) or Hostile(topic, *BEYOND["lessons.v1"], frozenset({"learner"}))
                    assert what in HOSTILE or (topic, what) == ("lessons.v1", "beyond all"), f"{what} on {topic} is an event"
                    if stage not in bad.rejected_by:
                        continue
                    told = rejection(record, stage, ValueError())  # it can be read, and nothing can be done with it
                expected[told.rejection_id] = f"{what} on {topic}, by {stage}"
                digests[told.rejection_id] = sha256(value or b"").hexdigest()
    finally:
        producer.close()
    return Spoilt(len(sent), expected, digests)


class Told:
    """What is told on rejected.v1 from here on."""

    def __init__(self, bus: Bus) -> None:
        self._tail: Tail = bus.follow(["rejected.v1"], "end")
        self.times: Counter[UUID] = Counter()
        self.of: dict[UUID, MessageRejected] = {}

    def look(self) -> None:
        """Read what has come."""
        for record in self._tail.poll(0.1):
            told = read(record, "test")
            if isinstance(told, MessageRejected):
                self.times[told.rejection_id] += 1
                self.of[told.rejection_id] = told

    def missing(self, spoilt: Spoilt) -> list[str]:
        """What nobody has told of yet."""
        self.look()
        return sorted(what for identity, what in spoilt.expected.items() if identity not in self.times)

    def close(self) -> None:
        self._tail.close()


class Player:
    """Somebody who plays, and watches how soon everything is handled."""

    def __init__(self, game: Product, wait_s: float) -> None:
        self._game = game
        self._wait_s = wait_s
        self._seen: list[str] = []
        self.drawing_id = ""
        """Of the last drawing."""
        self.versions: dict[str, str] = {}
        """By model, of its last guess."""
        self.taught: dict[str, str] = {}
        """By model, of the version that has learned the last word."""
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
        """Seconds until the next record of each kind is handled: of a drawing by all models, of a word, of a command."""
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
        word, began = str(uuid4()), time.monotonic()
        self._socket.send(json.dumps({"type": "correct", "drawing_id": drawing_id, "correction_id": word, "label": 7}))
        learned: set[str] = set()
        while not learned >= {"river", "yours"}:
            receipt = self._next("receipt")
            if receipt["correction_id"] == word:
                learned |= set(receipt["models"])
                self.taught |= {model: change["version_after"] for model, change in receipt["models"].items()}
        seconds["the word: joiner, scorer, learner, personal, api"] = time.monotonic() - began
        return seconds | {"the command: trainer, api, router's table": self._command()}

    def receipted(self, correction_id: str) -> dict[str, Any]:
        """The next receipt of a word, whoever has put it on the log."""
        while (receipt := self._next("receipt"))["correction_id"] != correction_id:
            pass
        return receipt

    def operator(self) -> httpx.Client:
        """Asks what only operators may."""
        headers = {"Authorization": f"Bearer {self._token}"}
        return httpx.Client(base_url=self._game.url, headers=headers, trust_env=False, timeout=10)

    def _command(self) -> float:
        """Seconds until a change of policy is carried out, and the API says so."""
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
