"""Makes every batch model answer, with its base from the repository if need be (way 3, REBUILD).

Nobody can play before `BaseModels.bring` is done, so this module imports no more than boto3. A model that cannot be served here
keeps nobody from playing: its endpoint is shown as unavailable with the reason, and it is tried again.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from contracts.events import EndpointSeen, ModelPromoted, ModelPublished, ModelRolledBack, version_of
from contracts.ports import Blobs
from contracts.settings import Settings
from trainers.model_log import ModelLog, is_base, next_base
from trainers.promote import Promoter
from trainers.registry import Registry
from trainers.serving import Serving, ServingFailed, endpoint_of

RETRY_S: Final = 60.0
"""How long to wait before a model that could not be served is tried again; a sign that it can be served ends the wait."""

log = structlog.get_logger()


class NoBase(RuntimeError):
    """The repository has no base version of a model, or none that may answer; the message is for people."""


class BaseModels:
    """Makes sure that every batch model answers."""

    def __init__(
        self, settings: Settings, blobs: Blobs, model_log: ModelLog, serving: Serving, promoter: Promoter, registry: Registry
    ) -> None:
        """Keep the parts; nothing connects before the first call."""
        self._settings = settings
        self._images = settings.image_folders()
        self._blobs = blobs
        self._model_log = model_log
        self._serving = serving
        self._promoter = promoter
        self._registry = registry
        self._tried: dict[str, tuple[float, tuple[float, ...]]] = {}

    def bring(self, model: str) -> bool:
        """Make a model answer: with the version that the log names, else with the endpoint's, else with the base.

        Registers the base, publishes again from the registry what a lost log has forgotten, and repairs an endpoint that serves
        something else. A model that cannot be served is published as unavailable. Twice is harmless.

        Returns:
            Whether it answers.
        """
        self._tried[model] = time.monotonic(), self._signs(model)
        try:
            self._bring(model)
        except (NoBase, ServingFailed, ClientError, BotoCoreError) as error:
            self._tell(model, error)
            return False
        return True

    def worth_trying(self, model: str) -> bool:
        """Return whether to try again to make a model answer: a minute has passed, or the reason may be gone."""
        tried, signs = self._tried.get(model, (-RETRY_S, ()))
        return time.monotonic() - tried > RETRY_S or signs != self._signs(model)

    def _signs(self, model: str) -> tuple[float, ...]:
        """Return when the base came into the repository and the image was installed: a change is a reason to try again."""
        images = self._settings.tools / "images"
        places = (self._images[model] / "base" / "model.tar.gz", images / f"{model}.stamp", images / f"{model}.unavailable")
        return tuple(place.stat().st_mtime if place.exists() else 0.0 for place in places)

    def _bring(self, model: str) -> None:
        known = self._model_log.published(model)
        if not known or not all(one.arn for one in known.values()):
            for found in self._registry.versions(model):
                before = known.get(found.published.version)
                told = found.published.model_copy(update={"failed": before.failed if before else ""})
                if before != told:
                    self._promoter.say(told)
        base = self._base(model)
        known = self._model_log.published(model)
        champion = self._model_log.champion(model)
        if champion and champion.version in known:
            if base and _newer(base, champion, known):
                self._promoter.promote(base, "the repository has another base model")
            else:
                self._promoter.stand(model)
            return
        served = [version_of(variant) for variant, weight in self._serving.weights(endpoint_of(model)).items() if weight > 0]
        if served and served[0] in known and known[served[0]].approved:
            self._promoter.promote(known[served[0]], "the endpoint serves it")
        elif base and not base.approved:
            raise NoBase(f"{model} {base.version} is not approved: {base.gate}")
        elif base:
            self._promoter.promote(base, "the base model of the repository")
        else:
            raise NoBase(f"this repository has no base version of {model}: `gamenight train {model} --base` makes one")

    def _base(self, model: str) -> ModelPublished | None:
        """Return the base in the repository, registered and published; None if there is none."""
        path = self._images[model] / "base" / "model.tar.gz"
        if not path.is_file():
            return None
        artifact = path.read_bytes()
        digest = hashlib.sha256(artifact).hexdigest()
        known = self._model_log.published(model)
        for version in sorted(filter(is_base, known), key=len):
            if known[version].digest == digest:
                return known[version]
        version = next_base(known)
        key = f"models/{model}/{version}-{digest[:8]}/model.tar.gz"
        self._blobs.put(key, artifact)
        told = json.loads(path.with_name("base.json").read_bytes())
        published = ModelPublished(
            model=model,
            version=version,
            title=self._model_log.roster[model].title,
            digest=digest,
            artifact=f"s3://{self._settings.bucket}/{key}",
            lineage={"source": "the repository", "command": told["command"], "data": told["data"]},
            metrics={"mnist_accuracy": told["mnist_test_accuracy"], "mnist_n": 10_000.0},
            gate="passed: the base model of the repository",
        )
        published = self._registry.register(published)
        self._promoter.say(published)
        return published

    def _tell(self, model: str, error: Exception) -> None:
        """Publish once that a model cannot be served, and why."""
        try:
            there = self._serving.seen(model)
        except (ClientError, BotoCoreError):
            there = None
        why = str(error.response["Error"]["Message"]) if isinstance(error, ClientError) else str(error)
        seen = there or EndpointSeen(
            model=model, version="none", endpoint=endpoint_of(model), status="Unavailable", reason=why[:1000]
        )
        log.warning("unavailable", model=model, status=seen.status, reason=seen.reason or why)
        before = self._model_log.endpoint(model)
        if before is None or before.model_copy(update={"at": seen.at}) != seen:
            self._promoter.say(seen)


def _newer(base: ModelPublished, champion: ModelPromoted, known: Mapping[str, ModelPublished]) -> bool:
    """Say whether the repository's base should replace the base that answers: it came later, and nobody has objected."""
    return (
        is_base(champion.version)
        and base.approved
        and champion.version != base.version
        and not isinstance(champion, ModelRolledBack)
        and champion.previous != base.version
        and base.at > known[champion.version].at
    )
