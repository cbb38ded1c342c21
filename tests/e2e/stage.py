"""Runs the real API on a bus in memory, with models that answer what the test tells them, for tests of the pages alone."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final
from uuid import uuid4

import uvicorn

from api.app import create_app
from api.play.messages import MAX_FRAME
from api.sockets import Protocol
from contracts.events import (
    BLEND,
    LATENCY_BUCKETS_MS,
    PERSONAL_MODEL,
    SHADOW,
    CandidateSet,
    CommandSettled,
    CorrectionGiven,
    CorrectionProbed,
    CorrectionReceipt,
    DrawingSubmitted,
    EndpointSeen,
    Event,
    ForgetPlayer,
    GuessMade,
    GuessMissed,
    MemoryAsked,
    ModelChange,
    ModelPromoted,
    ModelPublished,
    Outcome,
    PlayersForgotten,
    PolicySet,
    ReceiptProbed,
    ResetAsked,
    ScoresCounted,
    SnapshotTaken,
    VariantSeen,
    decode,
    generation,
    mark_of,
    now,
    variant_of,
)
from contracts.settings import LIMITS, Settings
from producers.bus import open_bus
from tests.e2e.remembering import Remembering
from tests.histories import features, probabilities

PATIENCE_S: Final = 10.0
TITLES: Final = {"xgboost": "XGBoost", "tensorflow": "TensorFlow CNN", "mxnet": "MXNet CNN", "kmeans": "K-Means"}
GUESSERS: Final = (BLEND, "xgboost", "tensorflow", "kmeans", "river", PERSONAL_MODEL)
"""The models that answer at the start: mxnet is not here."""
NOT_HERE: Final = "MXNet is there for Linux on x86-64 only"
INSTANCE: Final = "ml.m5.large"
PRICE_USD: Final = 0.115


def eventually(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Return the first true value of ``holds``, or fail and say that ``what`` did not come."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {patience_s:.0f} s: {what}")


@dataclass
class Stage:
    """The API, which serves the pages at `url`; `says` holds each model's answer to the next drawing."""

    port: int
    says: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GUESSERS, 1))
    misses: dict[str, tuple[bool, str]] = field(default_factory=dict)
    """The models that do not answer finished drawings: whether each rests, and why."""
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further fields of each model's guesses: role, fallback, version."""
    lead: str = BLEND
    versions: dict[str, str] = field(
        default_factory=lambda: (
            {BLEND: "blend5+0", "river": "mnist1+41", PERSONAL_MODEL: "own3+0"} | dict.fromkeys(TITLES, "base1")
        )
    )
    drawings: list[DrawingSubmitted] = field(default_factory=list)
    """The finished drawings, as they were kept."""
    previews: int = 0
    corrections: list[CorrectionGiven] = field(default_factory=list)
    memory: Remembering = field(default_factory=Remembering)
    forgets_nobody: str = ""
    """Why players who ask to be forgotten are refused; empty: they are forgotten."""
    learns: bool = True
    """Whether probes of corrections are answered."""

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = Settings(
            port=self.port,
            seat_secret="of the tests",
            operator_token="of the tests",
            picked_share=1.0,
            **dict.fromkeys(LIMITS, 0),
        )
        self._chance = cycle((digit + 0.5) / 10 for digit in (7, 2, 5, 0, 9, 4))
        self._bus = open_bus(f"memory://{uuid4()}")
        self._stopping = threading.Event()
        self._answering = threading.Thread(target=self._answer, daemon=True)
        self._server: uvicorn.Server | None = None
        self._serving: threading.Thread | None = None

    def open(self) -> None:
        """Put all models on the bus, begin to answer, and serve."""
        for model in ("xgboost", "tensorflow", "kmeans"):
            self.promote("base1", model=model)
        self.publish(EndpointSeen(model="mxnet", version="none", endpoint="", status="Unavailable", reason=NOT_HERE))
        self.publish(
            SnapshotTaken(
                model="river", version="mnist1+41", title="River", offset=40, lessons=41, digest="", reader="", weights=b""
            )
        )
        self._answering.start()
        self.serve()

    def serve(self) -> None:
        """Start the API, at first or again."""
        config = uvicorn.Config(
            create_app(self._settings, self._bus, chance=self._chance.__next__),
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
        """Stop the API; the bus stays."""
        assert self._server is not None
        assert self._serving is not None
        self._server.should_exit = True
        self._serving.join(PATIENCE_S)

    def close(self) -> None:
        """End the API and the bus."""
        with suppress(AssertionError):
            self.vanish()
        self._stopping.set()
        self._answering.join(PATIENCE_S)
        self._bus.close()

    def publish(self, event: Event) -> None:
        """Put an event on the bus."""
        self._bus.publish(event).result(PATIENCE_S)

    def promote(self, version: str, note: str = "", *, model: str = "xgboost", previous: str | None = None) -> None:
        """Let another version of a batch model answer."""
        self.versions[model] = version
        self.publish(
            ModelPromoted(
                model=model,
                version=version,
                title=TITLES[model],
                endpoint=f"gamenight-{model}",
                variant=variant_of(version),
                previous=previous,
                note=note,
            )
        )

    def train(self, version: str, *, model: str = "xgboost", approved: bool = True) -> None:
        """Put a version of a batch model into the library."""
        self.publish(
            ModelPublished(
                model=model,
                version=version,
                title=TITLES[model],
                digest=version.encode().hex().ljust(64, "0"),
                artifact=f"s3://gamenight/models/{model}/{version}/model.tar.gz",
                lineage={"training_job": f"gamenight-{model}-{version}", "seed": "7"},
                metrics={"mnist_accuracy": 0.991},
                gate="passed: MNIST 99.1 %" if approved else "refused: MNIST 97.0 %",
                approved=approved,
                arn=f"arn:aws:sagemaker:eu-central-1:000000000000:model-package/gamenight-{model}/{version}",
            )
        )

    def candidate(self, version: str, role: Any, share: float = 0.0, *, model: str = "xgboost", **more: Any) -> None:
        """Put a version beside a model's champion."""
        where = {"endpoint": f"gamenight-{model}", "variant": variant_of(version)}
        self.publish(CandidateSet(model=model, version=version, role=role, share=share, **where, **more))

    def policy(self, lead: str, **parts: Any) -> None:
        """Set the model that is shown first, and the models that are not simply shown."""
        self.lead = lead
        self.publish(PolicySet(lead=lead, parts=parts))

    def endpoint(self, *versions: str, model: str = "xgboost", status: str = "InService") -> None:
        """Show an endpoint with versions, of which the first takes the traffic."""
        variants = [
            VariantSeen(variant=variant_of(v), version=v, weight=float(v == versions[0]), instances=1, instance_type=INSTANCE)
            for v in versions
        ]
        self.publish(
            EndpointSeen(
                model=model,
                version=versions[0],
                endpoint=f"gamenight-{model}",
                arn=f"arn:aws:sagemaker:eu-central-1:000000000000:endpoint/gamenight-{model}",
                status=status,
                created=now(),
                modified=now(),
                variants=variants,
                cost_per_hour_usd=PRICE_USD * len(versions),
            )
        )

    def score(self, model: str, label: int, guesses: list[int], *, version: str | None = None, shadow: bool = False) -> None:
        """Count guesses at drawings of one digit: absolute, as the scorer does."""
        confusion = [0] * 100
        for guess in guesses:
            confusion[label * 10 + guess] += 1
        latency = [0, 0, len(guesses), *[0] * (len(LATENCY_BUCKETS_MS) - 2)]
        counts = {"n": len(guesses), "correct": guesses.count(label), "confusion": confusion, "latency": latency}
        counted = generation(version or self.versions[model]) + (SHADOW if shadow else "")
        self.publish(ScoresCounted(model=model, version=counted, window=None, source=0, **counts))
        if not shadow:
            self.publish(ScoresCounted(model=model, version=None, window=now().replace(microsecond=0), source=0, **counts))

    def _answer(self) -> None:
        with_all = self._bus.follow([DrawingSubmitted.topic, CorrectionGiven.topic, ForgetPlayer.topic], "start")
        while not self._stopping.is_set():
            for record in with_all.poll(0.1):
                match decode(record.topic, record.value):
                    case DrawingSubmitted() as drawing if drawing.probe:
                        for model, label in self.says.items():
                            self._say(drawing, model, label)
                    case CorrectionProbed(probe_id=probe, player_id=player, only=only) if self.learns:
                        for stage in ("personal", "learner") if only is None else (only,):
                            self.publish(ReceiptProbed(probe_id=probe, player_id=player, stage=stage))
                    case MemoryAsked(player_id=player, request_id=request, whole=whole):
                        self.publish(self.memory.told(player, request, whole=whole))
                    case ResetAsked(player_id=player, reset_id=reset):
                        self.memory.reset(player)
                        self.publish(self.memory.told(player, reset))
                    case ForgetPlayer(command_id=command) if self.forgets_nobody:
                        told = {"target": "players", "outcome": "refused", "message": self.forgets_nobody}
                        self.publish(CommandSettled.model_validate({"command_id": command, **told}))
                    case ForgetPlayer(player_id=player):
                        self.publish(PlayersForgotten(marks=[mark_of(player)]))
                    case DrawingSubmitted() as drawing:
                        self._guess(drawing)
                    case CorrectionGiven() as correction:
                        self._learn(correction)
        with_all.close()

    def _guess(self, drawing: DrawingSubmitted) -> None:
        if drawing.final:
            self.drawings.append(drawing)
            self.memory.guessed(drawing, self.says)
        else:
            self.previews += 1
        for model, label in self.says.items():
            if drawing.final and model in self.misses:
                resting, why = self.misses[model]
                self.publish(
                    GuessMissed(
                        drawing_id=drawing.drawing_id,
                        player_id=drawing.player_id,
                        model=model,
                        final=True,
                        resting=resting,
                        why=why,
                    )
                )
            elif drawing.final or not self.misses.get(model, (False, ""))[0]:
                self._say(drawing, model, label)

    def _say(self, drawing: DrawingSubmitted, model: str, label: int) -> None:
        left_out = {model: "resting" if resting else "late" for model, (resting, _) in self.misses.items()}
        said: dict[str, Any] = {
            "version": self.versions[model],
            "probabilities": probabilities(label),
            "hops": {"bus_in": 1.0, "read": 0.5, "wait": 0.2, "model": 1.5},
            "features": features() if model == "river" and drawing.final else None,
            "left_out": left_out if model == BLEND and drawing.final else {},
            "lead": self.lead,
        }
        self.publish(
            GuessMade(
                drawing_id=drawing.drawing_id,
                player_id=drawing.player_id,
                model=model,
                label=label,
                final=drawing.final,
                **said | self.told.get(model, {}),
            )
        )

    def _learn(self, correction: CorrectionGiven) -> None:
        self.corrections.append(correction)
        self.memory.corrected(correction)
        known = {model: probabilities(label)[correction.label] for model, label in self.says.items()}
        changes = {}
        for model in ("river", PERSONAL_MODEL):
            before = self.versions[model]
            self.versions[model] = f"{generation(before)}+{int(before.split('+')[1]) + 1}"
            p_after = 0.81 if model == "river" else 0.97
            changes[model] = ModelChange(
                version_before=before, version_after=self.versions[model], p_before=known[model], p_after=p_after
            )
        base, p = self.versions["xgboost"], known["xgboost"]
        changes["xgboost"] = ModelChange(version_before=base, version_after=base, p_before=p, p_after=p)
        for stage, models in (("personal", (PERSONAL_MODEL,)), ("learner", ("river", "xgboost"))):
            self.publish(
                CorrectionReceipt(
                    correction_id=correction.correction_id,
                    drawing_id=correction.drawing_id,
                    player_id=correction.player_id,
                    outcome=Outcome.LEARNED,
                    stage=stage,
                    models={model: changes[model] for model in models},
                )
            )
