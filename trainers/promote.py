"""Which version answers the players, made true and said (way 3, REBUILD).

The endpoint first, the event afterwards: who hears ModelPromoted can ask the endpoint at once. `ensure_base` stands on the
way to playable, so nothing here imports more than boto3.
"""

import hashlib
import json
from pathlib import Path
from typing import Final

import structlog

from contracts.events import Event, ModelPromoted, ModelPublished
from contracts.ports import Blobs, Bus
from contracts.settings import Settings
from producers.blobs import ensure_bucket
from trainers.intake import ACKNOWLEDGED_S
from trainers.observations import ensure_table
from trainers.registry import Registry
from trainers.serving import Serving, endpoint_of
from trainers.standing import Standing, variant_of, version_of

BASE: Final = "base1"
"""The version that is in the repository."""
TITLES: Final = {"xgboost": "XGBoost"}

log = structlog.get_logger()


def say(bus: Bus, standing: Standing, event: Event) -> None:
    """Publish an event, wait for the broker to have it, and take it in."""
    bus.publish(event).result(ACKNOWLEDGED_S)
    standing.hear(event)


def promote(bus: Bus, standing: Standing, serving: Serving, published: ModelPublished, note: str) -> None:
    """Let a version answer the players: the endpoint is changed without a gap, asked once, and then the log is told.

    Twice is harmless: what is so already is left, and not said again.
    """
    endpoint = endpoint_of(published.model)
    serving.serve(endpoint, [published])
    serving.ready(endpoint, [published])
    before = standing.champion(published.model)
    if before and before.version == published.version:
        return
    event = ModelPromoted(
        model=published.model,
        version=published.version,
        title=published.title,
        endpoint=endpoint,
        variant=variant_of(published.version),
        previous=before.version if before else None,
        note=note,
    )
    say(bus, standing, event)
    log.info("promoted", model=published.model, version=published.version, previous=event.previous)


# --- at the trainer's start ------------------------------------------------------------------------------------------


def ensure_base(settings: Settings, bus: Bus, blobs: Blobs, standing: Standing, serving: Serving) -> None:
    """See that every batch model answers: with the version that the log names, else with the endpoint's, else with the base.

    Makes the bucket and the table, registers the base, publishes again from the registry what a lost log has forgotten, and
    repairs an endpoint that serves another version. Twice is harmless.

    Args:
        settings: Where everything is.
        bus: The log that is told.
        blobs: The bucket.
        standing: The log so far, folded.
        serving: The endpoints.
    """
    ensure_bucket(settings)
    registry = Registry(settings, blobs)
    for model in TITLES:
        if not standing.published(model):
            for found in registry.versions(model):
                say(bus, standing, found.published)
        base = base_version(settings, blobs, model)
        if BASE not in standing.published(model):
            registry.register(base, approved=True)
            say(bus, standing, base)
        known = standing.published(model)
        champion = standing.champion(model)
        served = [version for variant in serving.variants(endpoint_of(model)) if (version := version_of(variant)) in known]
        version = champion.version if champion and champion.version in known else [*served, BASE][0]
        note = "the endpoint serves it" if version in served else "the base model of the repository"
        if served and version not in served:
            log.warning("endpoint repaired", model=model, version=version, served=served)
        serving.serve(endpoint_of(model), [known[version]])
        ensure_table(settings)  # while the endpoint starts
        promote(bus, standing, serving, known[version], note)


def base_version(settings: Settings, blobs: Blobs, model: str) -> ModelPublished:
    """The version that is in the repository, its artifact put on S3."""
    path = Path(__file__).parent / "images" / model / "base" / "model.tar.gz"
    artifact = path.read_bytes()
    digest = hashlib.sha256(artifact).hexdigest()
    key = f"models/{model}/{BASE}-{digest[:8]}/model.tar.gz"
    if not any(blobs.keys(key)):
        blobs.put(key, artifact)
    told = json.loads(path.with_name("base.json").read_bytes())
    return ModelPublished(
        model=model,
        version=BASE,
        title=TITLES[model],
        digest=digest,
        artifact=f"s3://{settings.bucket}/{key}",
        lineage={"source": "the repository", "command": told["command"], "data": told["data"]},
        metrics={"mnist_accuracy": told["mnist_test_accuracy"], "mnist_n": 10_000.0},
        gate="passed: the base model of the repository",
    )
