"""A real game whose one batch model is trained in seconds: for measurements of what is around a training.

It is `gamenight up` in a home of its own, with the image tests/bench/images/raw-softmax. Version 1 sees a pixel of forty, so
that whatever is made of the players' drawings afterwards is better, and is let through by the gate as it is.
"""

import asyncio
import hashlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import boto3
import httpx
import numpy as np

from contracts.events import TRAINING_ENDS, Event, ModelPromoted, ModelPublished, TrainingAdvanced, decode
from contracts.ports import NoSuchBlob
from contracts.settings import Settings
from producers.blobs import S3Blobs
from producers.bus import open_bus
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from tests.product import ROOT, Product, product
from trainers.model_log import ModelLog
from trainers.registry import Registry
from trainers.serving import Serving, endpoint_of

MODEL: Final = "raw-softmax"
IMAGES: Final = "tests/bench/images"
OUTCOMES: Final = {"done": "done", "refused": "refused", "failed": "failed", "cancelled": "failed"}
PATIENCE_S: Final = 600.0

T = TypeVar("T")


class Heard:
    """All that came over models.v1, commands.v1 and drift.v1, with the moment; a thread of its own listens."""

    def __init__(self, settings: Settings) -> None:
        self._bus = open_bus(settings)
        self._tail = self._bus.follow(["models.v1", "commands.v1", "drift.v1"], "start")
        self._ended = threading.Event()
        self.model_log = ModelLog(settings.roster())
        self.events: list[Event] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._ended.is_set():
            for record in self._tail.poll(0.02):
                event = decode(record.topic, record.value)
                self.model_log.apply(event)
                self.events.append(event)

    def steps(self, command_id: UUID) -> list[TrainingAdvanced]:
        told = [one for one in list(self.events) if isinstance(one, TrainingAdvanced)]
        return [one for one in told if one.command_id == command_id]

    def ended(self, command_id: UUID) -> TrainingAdvanced | None:
        return next((one for one in self.steps(command_id) if one.step in TRAINING_ENDS), None)

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        self._tail.close()
        self._bus.close()


class RebuildingGame:
    """The game, an operator of it, and what can be seen of its rebuilds from outside."""

    def __init__(self, game: Product) -> None:
        self.game = game
        self.settings = Settings.load(**game.settings.model_dump(exclude_none=True))
        self.heard = Heard(self.settings)
        self.blobs = S3Blobs(self.settings)
        self.sagemaker: Any = boto3.client("sagemaker", **self.settings.aws("sagemaker"))
        headers = {"Authorization": f"Bearer {self.settings.operator_token}"}
        self.http = httpx.Client(base_url=game.url, headers=headers, timeout=10, trust_env=False)
        self._numbers = itertools.count(20181103)

    def play(self, players: int, drawings: int) -> None:
        """Let new players draw, and say what each drawing was."""
        options = SimulationOptions(
            url=self.game.url,
            players=players,
            drawings=drawings,
            speed=0,
            correct_probability=1,
            confirm_probability=1,
            error_rate=0,
            previews=0,
            duplicates=0,
            seed=next(self._numbers),
        )
        asyncio.run(simulate(options))

    def command(self, name: str, **body: object) -> UUID:
        """Give a command; return its id."""
        answer = self.http.post(f"/api/ops/{name}", json=body)
        answer.raise_for_status()
        return UUID(answer.json()["command_id"])

    def outcome(self, command_id: UUID) -> str | None:
        """Return what became of a command; None: it is not settled."""
        told: str | None = self.http.get(f"/api/ops/commands/{command_id}").json()["outcome"]
        return told

    def retrain(self, **told: object) -> UUID:
        """Ask for a rebuild; return its command's id."""
        return self.command("retrain", target=MODEL, reason="the bench", **told)

    def end(self, command_id: UUID) -> TrainingAdvanced:
        """Wait for the end of a rebuild."""
        return until(f"the end of {command_id}", lambda: self.heard.ended(command_id))

    def back_to(self, version: str) -> None:
        """Let a version answer again."""
        if self.champion().version != version:
            rolled = self.command("rollback", target=MODEL, version=version)
            until("the rollback", lambda: self.outcome(rolled) == "done")

    def champion(self) -> ModelPromoted:
        found = self.heard.model_log.champion(MODEL)
        assert found is not None
        return found

    def faults(self, command_id: UUID) -> list[str]:
        """Say where log, registry, endpoint, artifact and library do not agree about a rebuild that has ended."""
        return [*self._of_the_version(command_id), *self._of_the_champion(command_id)]

    def _of_the_version(self, command_id: UUID) -> Iterator[str]:
        ended = self.heard.ended(command_id)
        assert ended is not None
        published = [one for one in self.heard.model_log.published(MODEL).values() if by(one) == str(command_id)]
        registered = [one for one in Registry(self.settings, self.blobs).versions(MODEL) if one.command_id == str(command_id)]
        if len(published) > 1 or len(registered) > 1:
            yield f"{len(published)} versions on models.v1, {len(registered)} in the registry"
        if {one.version: one.digest for one in published} != {o.published.version: o.published.digest for o in registered}:
            yield f"models.v1 has {[o.version for o in published]}, the registry {[o.published.version for o in registered]}"
        for one in published:
            try:
                found = hashlib.sha256(self.blobs.get(one.artifact.split("/", 3)[3])).hexdigest()
            except NoSuchBlob:
                found = "none"
            if found != one.digest:
                yield f"the artifact of {one.version} has digest {found}, its event {one.digest}"
            card = ModelPublished.model_validate_json(self.blobs.get(f"models/{MODEL}/cards/{one.version}.json"))
            if card.digest != one.digest or card.gate != one.gate:
                yield f"the card of {one.version} says {card.digest} {card.gate}"
        if ended.step in ("done", "refused") and (ended.step == "done") != any(one.approved for one in published):
            yield f"it ended as {ended.step}, and {[(one.version, one.approved) for one in published]} is published"
        jobs = self.sagemaker.list_training_jobs(NameContains=str(command_id))["TrainingJobSummaries"]
        if len(jobs) > 1 or any(one["TrainingJobStatus"] == "InProgress" for one in jobs):
            yield f"its jobs are {[(one['TrainingJobName'][-8:], one['TrainingJobStatus']) for one in jobs]}"
        ends = {one.step for one in self.heard.steps(command_id) if one.step in TRAINING_ENDS}
        if len(ends) != 1 or self.outcome(command_id) != OUTCOMES[ended.step]:
            yield f"it ended as {ends}, its command as {self.outcome(command_id)}"
        if command_id in {one.command_id for one in self.heard.model_log.due()}:
            yield "it has ended, and is still due"

    def _of_the_champion(self, command_id: UUID) -> Iterator[str]:
        champion, ended = self.champion(), self.heard.ended(command_id)
        promoted = [one for one in list(self.heard.events) if isinstance(one, ModelPromoted) and type(one) is ModelPromoted]
        published = self.heard.model_log.published(MODEL)
        made = [one.version for one in published.values() if by(one) == str(command_id)]
        if ended and ended.step == "done" and [champion.version] != made:
            yield f"it is done, and {champion.version} answers, not {made}"
        if ended and ended.step != "done" and champion.version in made:
            yield f"it ended as {ended.step}, and its version answers"
        if (times := sum(one.version in made for one in promoted)) != (champion.version in made):
            yield f"its promotion was told {times} times"
        there = self.sagemaker.describe_endpoint(EndpointName=endpoint_of(MODEL))
        weights = {one["VariantName"]: one["CurrentWeight"] for one in there.get("ProductionVariants", ())}
        if there["EndpointStatus"] != "InService" or [name for name, weight in weights.items() if weight] != [champion.variant]:
            yield f"the endpoint is {there['EndpointStatus']} with {weights}, and {champion.variant} is champion"
        else:
            Serving(self.settings, time.sleep).ask(endpoint_of(MODEL), np.zeros((1, 784), np.uint8), champion.variant)
        config = self.sagemaker.describe_endpoint_config(EndpointConfigName=there["EndpointConfigName"])
        for variant in config["ProductionVariants"]:
            if variant["VariantName"] == champion.variant:
                model = self.sagemaker.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]
                if (model["ModelDataUrl"], *model["Environment"].values()) != (
                    published[champion.version].artifact, published[champion.version].digest,
                ):  # fmt: skip
                    yield f"the endpoint serves {model['ModelDataUrl']}"
        [shelf] = [one for one in self.http.get("/api/models").json() if one["model"] == MODEL]
        versions = {one["version"]: one for one in shelf["versions"]}
        if {name: one["digest"] for name, one in versions.items()} != {name: one.digest for name, one in published.items()}:
            yield f"the library has {list(versions)}, models.v1 {list(published)}"
        if [name for name, one in versions.items() if one["status"] == "champion"] != [champion.version]:
            yield f"the library says {[(name, one['status']) for name, one in versions.items()]}"

    def labelled(self) -> int:
        """Return how many guesses of the model were labelled."""
        told: int = self.http.get("/api/scores").json().get(MODEL, {}).get("n", 0)
        return told


def by(published: ModelPublished) -> str:
    """Return the command that asked for a version."""
    return published.lineage.get("command", "")


def until(what: str, condition: Callable[[], T | None], patience_s: float = PATIENCE_S, every_s: float = 0.05) -> T:
    """Return what ``condition`` gives once it is true; an outage meanwhile is waited out. Raises `TimeoutError`."""
    deadline, wrong = time.monotonic() + patience_s, ""
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except Exception as error:  # noqa: BLE001 whoever was asked is down
            wrong = f" ({error})"
        time.sleep(every_s)
    raise TimeoutError(f"not within {patience_s:.0f} s: {what}{wrong}")


@contextmanager
def rebuilding_game(home: Path | None = None, **given: Any) -> Iterator[RebuildingGame]:
    """Start the game, let people play, and make version 1 answer."""
    installed = subprocess.run(
        [sys.executable, "-m", "deploy.local.install", "--images", "--tools", str(ROOT / ".tools")],
        cwd=ROOT, env={**os.environ, "GAMENIGHT_IMAGES": IMAGES}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    with product(home, images=IMAGES, archive_every_s=1.0, **{"log_level": "INFO", "held_back": 0.5, **given}) as game:
        game.start(whole=False)
        at_work = RebuildingGame(game)
        try:
            until("a trainer", lambda: game.pid("trainer"))
            first = at_work.retrain(base=True, hyperparameters={"every": "40", "rounds": "2"})
            ended = at_work.end(first)
            assert ended.step == "done", ended.message
            until("a whole game", game.healthy)
            at_work.play(60, 600)
            yield at_work
        finally:
            at_work.heard.close()
            at_work.http.close()
