"""Starts what a rebuild trains: makes the dataset, has settings tried if several are wanted, asks for the job (way 3, REBUILD).

Twice is harmless: tuning job and training job are named after the command, and the first one's data are named by their digest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from contracts.events import PLAYER_PARTITIONS, ModelPublished, RetrainModel, Tried
from contracts.hyperparameters import words
from contracts.ports import Blobs
from contracts.prices import PricesUnreadable, UnknownInstance
from contracts.roster import RosterEntry
from contracts.settings import Settings
from producers.price_file import read_prices
from trainers import continuing, dataset_store, jobs, judging, tuning
from trainers.archive_names import ends_of, named_objects
from trainers.dataset import Dataset
from trainers.dataset_making import DatasetMaker
from trainers.dataset_store import Making, Stored
from trainers.endings import Cancelled, DatasetGone, NothingNew
from trainers.jobs import JobProgress, JobRequest, Pause
from trainers.model_log import ModelLog
from trainers.rebuild_progress import SHARES, Teller

TRIED: Final = SHARES["training"] + 0.5
"""The share of a rebuild that is done when its settings have been tried."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained."""

    there: Stored
    hyperparameters: dict[str, str]
    parent: str = ""
    """S3 URI of the artifact that training goes on from; empty: it begins anew."""


class Starter:
    """Starts the training jobs of rebuilds."""

    def __init__(
        self, settings: Settings, blobs: Blobs, datasets: DatasetMaker, model_log: ModelLog, pause: Pause, go_on: Pause
    ) -> None:
        """Keep the parts.

        Args:
            settings: Give image, instance, rounds and seed.
            blobs: The bucket.
            datasets: Makes the dataset.
            model_log: The log, folded.
            pause: Waits; raises when the trainer must stop.
            go_on: The same, and raises `Cancelled` when somebody wants the rebuild to end.
        """
        self._settings = settings
        self._blobs = blobs
        self._datasets = datasets
        self._model_log = model_log
        self._pause = pause
        self._go_on = go_on
        self._tunings = tuning.Tunings(settings, blobs)

    def begin(self, command: RetrainModel, name: str, tell: Teller) -> None:
        """Make the dataset while the SDK is imported, and start the training job.

        Raises:
            NothingNew: If there is a version of all that it would be made of.
            CannotContinue: If training cannot go on from the champion.
            JobFailed: If the job is not taken, or no settings have a result.
        """
        begun = self._tunings.find(tuning.tuning_name(command.command_id)) if command.grid else None
        if begun is not None:
            digest = tell.dataset = _digest(begun.train)
            refuse_gone(self._blobs, command.target, digest)
            plan = Plan(dataset_store.stored(dataset_store.read_manifest(self._blobs, digest)), begun.fixed)
        else:
            with self._sdk() as sdk:
                made, making = self._datasets.assembled(command, tell)
                plan = self._planned(command, made, making, tell)
                if not command.grid:
                    sdk.submit(self._job(command, name, plan), self._go_on)
                    return
                sdk.submit(self._tries(command, plan, made), self._go_on)
        plan = replace(plan, hyperparameters=plan.hyperparameters | self._best(command, plan, tell))
        self._refuse_known(command, plan.there.digest, plan.hyperparameters, [])
        with self._sdk() as sdk:
            tell.onward("training", TRIED, f"trained on everything with the best: {words(plan.hyperparameters)}")
            sdk.submit(self._job(command, name, plan), self._go_on)

    @contextmanager
    def _sdk(self) -> Iterator[jobs.Submitter]:
        submitter = jobs.Submitter(self._settings)
        try:
            yield submitter
        except Cancelled:
            submitter.withdraw(self._pause)  # a job that is being created is there before it is stopped
            raise
        finally:
            submitter.close()

    def _planned(self, command: RetrainModel, made: Dataset, making: Making, tell: Teller) -> Plan:
        entry = self._model_log.roster[command.target]
        parent = self._parent(command, entry, made.digest, making) if command.warm else None
        given = hyperparameters(entry, self._settings, command.hyperparameters, parent)
        if not command.grid:
            reached = ends_of(named_objects(making.keys))
            self._refuse_known(command, made.digest, given, [reached.get(part, 0) for part in range(PLAYER_PARTITIONS)])
        onward = f", on from {parent.version}" if parent else ""
        told = f"{len(made.train)} drawings, {made.feedback} of them players'; {len(made.holdout)} held back{onward}"
        with dataset_store.KEEPING:
            there = self._datasets.stored(made, making, command, int(given["seed"]))
            tell.dataset = made.digest
            tell.step("training", told)
        return Plan(there, given, parent.artifact if parent else "")

    def _parent(self, command: RetrainModel, entry: RosterEntry, digest: str, making: Making) -> ModelPublished:
        known = self._model_log.published(command.target)
        promoted = self._model_log.champion(command.target)
        parent = continuing.parent_of(known.get(promoted.version) if promoted else None, entry, known)
        if parent.lineage.get("dataset_digest") == digest:
            reached = ends_of(named_objects(making.keys))
            why = f"nothing is new since {parent.model} {parent.version}, which has learned from the same data"
            raise NothingNew(why, [reached.get(part, 0) for part in range(PLAYER_PARTITIONS)])
        self._refuse_tainted(list(continuing.line(parent, known)))
        return parent

    def refuse_tainted(self, version: ModelPublished) -> None:
        """Refuse a version that went on from one that has learned from somebody who was left out or forgotten meanwhile.

        Raises:
            CannotContinue: With what to do.
        """
        if continuing.FROM in version.lineage:
            parents = list(continuing.line(version, self._model_log.published(version.model)))[1:]
            self._refuse_tainted(parents)

    def _refuse_tainted(self, versions: Sequence[ModelPublished]) -> None:
        secret = self._settings.holdout_key or ""
        continuing.refuse_tainted(self._blobs, versions, self._datasets.left_out(), secret)

    def _refuse_known(self, command: RetrainModel, digest: str, given: Mapping[str, str], read: list[int]) -> None:
        made_of = judging.made_of(self._settings, command.target, digest, given)
        if why := judging.nothing_new(made_of, self._model_log.published(command.target)):
            raise NothingNew(why, read)

    def _job(self, command: RetrainModel, name: str, plan: Plan) -> JobRequest:
        image_version = dataset_store.image_version(self._settings.image_folders()[command.target])
        return JobRequest(
            name,
            self._settings.image_uri(command.target),
            self._uri(plan.there.train),
            self._uri(f"models/{command.target}"),
            plan.hyperparameters,
            self._uri(plan.there.base),
            model=plan.parent,
            environment={jobs.CODE: dataset_store.code_version(), jobs.IMAGE_VERSION: image_version},
            instances=self.instances(command.target),
        )

    def _tries(self, command: RetrainModel, plan: Plan, made: Dataset) -> JobRequest:
        base, train, validation = dataset_store.store_for_tuning(self._blobs, made)
        name = tuning.tuning_name(command.command_id)
        return JobRequest(
            name,
            self._settings.image_uri(command.target),
            self._uri(train),
            self._uri(f"{tuning.OUTPUT}{name}"),
            plan.hyperparameters,
            self._uri(base),
            validation=self._uri(validation),
            grid=command.grid,
            at_once=self._settings.tuning_at_once,
            instances=self.instances(command.target),
        )

    def instances(self, model: str) -> int:
        """Return on how many instances a training job of a model runs."""
        return min(self._settings.training_instances, self._model_log.roster[model].instances)

    def _uri(self, key: str) -> str:
        return f"s3://{self._settings.bucket}/{key}"

    def _best(self, command: RetrainModel, plan: Plan, tell: Teller) -> dict[str, str]:
        """Return the best of the settings that are tried, once all are."""
        name, begin = tuning.tuning_name(command.command_id), SHARES["training"]

        def told(tried: list[Tried], share: float, message: str, lines: list[str]) -> None:
            tell.tried = tried
            tell.onward("training", begin + share * (TRIED - begin), message, lines)

        priced = cost_of(self._settings, instances=self.instances(command.target))
        try:
            tell.tried = self._tunings.follow(name, command.grid, priced, told, self._go_on)
        except jobs.JobFailed:
            self._tunings.clean(name, plan.there.digest)
            raise
        self._tunings.clean(name, plan.there.digest)
        return tell.tried[0].hyperparameters

    def billed(self, command: RetrainModel) -> float | None:
        """Return the seconds that AWS bills of the settings that were tried for a command; None: none were."""
        return self._tunings.billed(tuning.tuning_name(command.command_id)) if command.grid else None

    def end_tries(self, command: RetrainModel) -> None:
        """Stop what tries settings for a command, and delete what it has left."""
        name = tuning.tuning_name(command.command_id)
        self._tunings.end(name, self._pause)
        if (found := self._tunings.find(name)) is not None:
            self._tunings.clean(name, _digest(found.train))


def hyperparameters(
    model: RosterEntry, settings: Settings, own: Mapping[str, str] | None = None, parent: ModelPublished | None = None
) -> dict[str, str]:
    """Return the hyperparameters of a rebuild: the command's, then the settings' rounds and seed, then the image's own.

    Where training goes on from a version: the command's, then the image's own for that, then that version's.
    """
    told = {**model.hyperparameters, "seed": str(settings.seed)}
    if "rounds" in told and settings.training_rounds is not None:
        told["rounds"] = str(settings.training_rounds)
    if parent is not None:
        told |= {**continuing.made_with(parent), **model.continues, continuing.PARENT: parent.digest}
    return {**told, **(own or {})}


def made_by(job: JobProgress, manifest: Mapping[str, Any], model: str) -> dict[str, str]:
    """Return what of a version's lineage its job says, which another trainer may have begun with other settings and code.

    A job of an older trainer says neither code nor image's version: they are those by which its dataset was made.
    """
    told = {
        "image": job.image,
        "image_version": job.environment.get(jobs.IMAGE_VERSION) or manifest.get("images", {}).get(model),
        "code": job.environment.get(jobs.CODE) or manifest.get("code"),
        "instance_type": job.instance_type,
    }
    return {name: value for name, value in told.items() if value}


def cost_of(settings: Settings, instance: str | None = None, instances: int = 1) -> Callable[[float], Decimal | None]:
    """Return what tells the cost of so many billed seconds of training, in dollars; it tells None if there is no price.

    ``instance``: the type of the instances; None: the one that new jobs have.
    """
    kind = instance or settings.training_instance
    try:
        prices = read_prices(settings)
        prices.instance(kind)
    except (UnknownInstance, PricesUnreadable) as unpriced:
        log.warning("trainings have no price", why=str(unpriced))
        return lambda seconds: None
    return partial(prices.training, kind, instances)


def refuse_gone(blobs: Blobs, model: str, digest: str) -> None:
    """Refuse to go on with a dataset that was deleted while the trainer was away, by what certified no such version."""
    if dataset_store.is_gone(blobs, digest):
        raise DatasetGone(
            "the dataset of this rebuild was deleted, as when a player is forgotten whose drawings it held:"
            f" `gamenight retrain {model}` makes another without them"
        )


def _digest(train: str) -> str:
    """Return the digest in the S3 URI of a dataset's part."""
    return urlsplit(train).path.lstrip("/").split("/")[1]
