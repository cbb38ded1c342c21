"""The real API on a bus in memory, with models that say what the test tells them to: for tests of the pages alone."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import uvicorn

from api.app import create_app
from api.frames import MAX_FRAME
from api.sockets import Protocol
from contracts.events import (
    LATENCY_BUCKETS_MS,
    CorrectionGiven,
    CorrectionReceipt,
    DrawingSubmitted,
    Event,
    GuessMade,
    ModelChange,
    ModelPromoted,
    Outcome,
    ScoresCounted,
    SnapshotTaken,
    decode,
    generation,
    now,
)
from contracts.settings import Settings
from producers.bus import open_bus
from tests.histories import features, probabilities

PATIENCE_S: Final = 10.0


def eventually(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """The first true value of ``holds``, or a failure that says ``what`` did not come."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {patience_s:.0f} s: {what}")


@dataclass
class Stage:
    """Serves the pages at `url`; `says` is what each model answers to the next drawing."""

    port: int
    says: dict[str, int] = field(default_factory=lambda: {"xgboost": 1, "river": 1})
    versions: dict[str, str] = field(default_factory=lambda: {"xgboost": "base1", "river": "mnist1+41"})
    drawings: list[DrawingSubmitted] = field(default_factory=list)
    """Finished ones, as they were kept."""
    previews: int = 0
    corrections: list[CorrectionGiven] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = Settings(port=self.port, seat_secret="of the tests", operator_token="of the tests")
        self._bus = open_bus(f"memory://{uuid4()}")
        self._stopping = threading.Event()
        self._answering = threading.Thread(target=self._answer, daemon=True)
        self._server: uvicorn.Server | None = None
        self._serving: threading.Thread | None = None

    def open(self) -> None:
        """Put two models on the bus, begin to answer, and serve."""
        self.promote("base1")
        self.publish(
            SnapshotTaken(
                model="river", version="mnist1+41", title="River", offset=40, lessons=41, digest="", reader="", weights=b""
            )
        )
        self._answering.start()
        self.serve()

    def serve(self) -> None:
        """Let the API come (back)."""
        config = uvicorn.Config(
            create_app(self._settings, self._bus),
            host="127.0.0.1",
            port=self.port,
            ws=Protocol,
            ws_max_size=MAX_FRAME,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
            log_config=None,
            access_log=False,
        )
        server = uvicorn.Server(config)
        self._server, self._serving = server, threading.Thread(target=server.run, daemon=True)
        self._serving.start()
        eventually(lambda: server.started, "the API serves")

    def vanish(self) -> None:
        """Take the API away; the bus stays."""
        assert self._server is not None
        assert self._serving is not None
        self._server.should_exit = True
        self._serving.join(PATIENCE_S)

    def close(self) -> None:
        """End all of it."""
        with suppress(AssertionError):
            self.vanish()
        self._stopping.set()
        self._answering.join(PATIENCE_S)
        self._bus.close()

    def publish(self, event: Event) -> None:
        """Put an event on the bus."""
        self._bus.publish(event).result(PATIENCE_S)

    def promote(self, version: str, note: str = "") -> None:
        """Let another version of xgboost answer."""
        self.versions["xgboost"] = version
        self.publish(ModelPromoted(model="xgboost", version=version, title="XGBoost", endpoint="e", variant=version, note=note))

    def score(self, model: str, label: int, guesses: list[int]) -> None:
        """Count guesses at drawings of one digit: absolute, as the scorer does."""
        confusion = [0] * 100
        for guess in guesses:
            confusion[label * 10 + guess] += 1
        latency = [0, 0, len(guesses), *[0] * (len(LATENCY_BUCKETS_MS) - 2)]
        counts = {"n": len(guesses), "correct": guesses.count(label), "confusion": confusion, "latency": latency}
        version = generation(self.versions[model])
        self.publish(ScoresCounted(model=model, version=version, window=None, source=0, **counts))
        self.publish(ScoresCounted(model=model, version=None, window=now().replace(microsecond=0), source=0, **counts))

    def _answer(self) -> None:
        with_all = self._bus.follow([DrawingSubmitted.topic, CorrectionGiven.topic], "start")
        while not self._stopping.is_set():
            for record in with_all.poll(0.1):
                match decode(record.topic, record.value):
                    case DrawingSubmitted() as drawing if not drawing.probe:
                        self._guess(drawing)
                    case CorrectionGiven() as correction:
                        self._learn(correction)
        with_all.close()

    def _guess(self, drawing: DrawingSubmitted) -> None:
        if drawing.final:
            self.drawings.append(drawing)
        else:
            self.previews += 1
        for model, label in self.says.items():
            self.publish(
                GuessMade(
                    drawing_id=drawing.drawing_id,
                    player_id=drawing.player_id,
                    model=model,
                    version=self.versions[model],
                    label=label,
                    probabilities=probabilities(label),
                    final=drawing.final,
                    hops={"bus_in": 1.0, "read": 0.5, "wait": 0.2, "model": 1.5},
                    features=features() if model == "river" and drawing.final else None,
                )
            )

    def _learn(self, correction: CorrectionGiven) -> None:
        self.corrections.append(correction)
        before = self.versions["river"]
        after = f"mnist1+{int(before.split('+')[1]) + 1}"
        self.versions["river"] = after
        known = {model: probabilities(label)[correction.label] for model, label in self.says.items()}
        xgboost = self.versions["xgboost"]
        self.publish(
            CorrectionReceipt(
                correction_id=correction.correction_id,
                drawing_id=correction.drawing_id,
                player_id=correction.player_id,
                outcome=Outcome.LEARNED,
                models={
                    "river": ModelChange(version_before=before, version_after=after, p_before=known["river"], p_after=0.81),
                    "xgboost": ModelChange(
                        version_before=xgboost, version_after=xgboost, p_before=known["xgboost"], p_after=known["xgboost"]
                    ),
                },
            )
        )
