"""Rebuilds a batch model, from the command to the version that answers (way 3, REBUILD).

The steps are archive, dataset, training job, evaluation, gate, registry, endpoint. Every step checks whether it was done
before: the dataset by its digest, the job by its name, the version by its command in the registry. So a rebuild that was
interrupted anywhere is resumed by carrying out the same command again.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import urlsplit

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from contracts.events import ModelPublished, RetrainModel
from contracts.ports import Blobs, Bus
from contracts.settings import Settings
from trainers import cancelling, continuing, dataset_store, jobs, judging, split, tuning
from trainers.approval import Approvals
from trainers.dataset_making import DatasetMaker
from trainers.endings import Cancelled, CannotContinue, NothingNew, UnknownModel
from trainers.evaluate import judge_of
from trainers.jobs import JobProgress, Pause
from trainers.model_log import ModelLog, next_version
from trainers.promote import Promoter, say
from trainers.rebuild_progress import SHARES, Teller
from trainers.registry import Registered, Registry
from trainers.serving import Serving
from trainers.standing import JobStanding
from trainers.starting import TRIED, Starter, cost_of, made_by, refuse_gone

log = structlog.get_logger()


class Rebuilder:
    """Carries out RetrainModel."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        blobs: Blobs,
        archive_now: Callable[[Callable[[], None]], int],
        model_log: ModelLog,
        serving: Serving,
        promoter: Promoter,
        registry: Registry,
        approvals: Approvals,
        pause: Pause,
    ) -> None:
        """Keep the parts that a rebuild needs.

        Args:
            settings: Give rounds, weights, seed and images.
            bus: Publishes the progress.
            blobs: The bucket.
            archive_now: Brings the archive up to the log's end, and returns how many examples were added; it calls what it is
                given now and then, which raises to end it.
            model_log: The log, folded.
            serving: The endpoints.
            promoter: Promotes a version.
            registry: Keeps the versions.
            approvals: Asks the registry whether a version is approved, before it is promoted.
            pause: Waits; raises when the trainer must stop.
        """
        self._settings = settings
        self._bus = bus
        self._blobs = blobs
        self._datasets = DatasetMaker(settings, bus, blobs, archive_now, model_log, self._go_on)
        self._model_log = model_log
        self._serving = serving
        self._pause = pause
        self._promoter = promoter
        self._registry = registry
        self._approvals = approvals
        self._jobs = jobs.Jobs(settings, self._go_on)
        self._starter = Starter(settings, blobs, self._datasets, model_log, pause, self._go_on)
        self._command: RetrainModel | None = None
        self._tell: Teller | None = None
        self._drawings = threading.Lock()
        """Held by who reads drawings until it has published what it learned of them, and by who deletes drawings."""
        self._target = ""
        """The model of the last rebuild that has held it, or waits for it."""

    def carry_out(self, command: RetrainModel) -> None:
        """Rebuild, and promote the version if the gate approves.

        Raises:
            Exception: Whatever went wrong; the caller publishes it with `failed`.
        """
        self._command, self._tell = command, None
        try:
            self._carry_out(command)
        except Cancelled as cancelled:
            self._jobs.stop(jobs.job_name(command.target, command.command_id), self._pause)
            if command.grid:
                self._starter.end_tries(command)
            self._serving.discard(judge_of(command.target))  # it is left behind by a trainer that died while it compared
            last = self._model_log.training(command.target)
            version = last.version if last and last.command_id == command.command_id else "none"
            self._in_vain(command, Teller(self._bus, self._model_log, command, version), "cancelled", str(cancelled))
        finally:
            self._tell = None

    def _go_on(self, seconds: float) -> None:
        """Wait, and tell now and then that it goes on. Raises `Cancelled` if somebody wants the rebuild at work to end."""
        self._pause(seconds)
        if self._tell is not None:
            self._tell.still()
        cancel = self._model_log.cancelled(self._command.command_id) if self._command else None
        if cancel is not None:
            raise Cancelled(cancelling.who(cancel))

    def _carry_out(self, command: RetrainModel) -> None:
        model = command.target
        batch = self._model_log.roster.batch
        if model not in batch:
            raise UnknownModel(f"no batch model {model!r}: there is {', '.join(batch)}")
        registered = self._registry.versions(model)
        mine = [found for found in registered if found.command_id == str(command.command_id)]
        taken = [*self._model_log.published(model), *(found.published.version for found in registered)]
        version = mine[0].published.version if mine else next_version(taken)
        tell = self._tell = Teller(self._bus, self._model_log, command, version)
        champion = self._model_log.champion(model)
        if mine and champion is not None and champion.version == version:  # a trainer before this one was killed after that
            tell.end("done", f"{model} {version} answers: {mine[0].published.gate}")
            return
        self._go_on(0)
        tell.step("queued", f"{model} {version}, asked for by {command.by}")
        self._target = model
        with self._alone(lambda: tell.step("queued", "waits until a player is forgotten"), self._go_on):
            try:
                found = mine[0] if mine else self._made(command, version, tell)
                if version not in self._model_log.published(model):
                    refuse_gone(self._blobs, model, found.published.lineage.get("dataset_digest", ""))
                    self._starter.refuse_tainted(found.published)
            except NothingNew as why:
                self._in_vain(command, tell, "refused", f"refused: {why}", why.read)
                return
            except CannotContinue as why:
                self._in_vain(command, tell, "refused", f"refused: {why}")
                return
            if version not in self._model_log.published(model):
                say(self._bus, self._model_log, found.published)
        self._approvals.ask(model, version)
        published = self._model_log.published(model)[version]
        against = published.failed or (None if published.approved else published.gate)
        if against:
            tell.end("refused", against)
            return
        if (beside := judging.overtaken(published, self._model_log.champion(model))) is not None:
            tell.end("refused", f"undecided: {beside}")
            return
        if mine and (since := judging.decided_since(published, self._model_log.champion(model))) is not None:
            tell.end("refused", since)  # a trainer before this one may have promoted it, and an operator gone back from it
            return
        champion, shares = self._model_log.champion(model), self._settings.canary_shares
        if champion is not None and champion.version != version and shares:
            tell.end("done", f"{model} {version} is to answer {shares[0]:.0%} of the players as a canary: {published.gate}")
            return
        with self._promoter.too_late:  # whoever cancels from now on is refused
            self._go_on(0)
            tell.step("endpoint", "the endpoint takes the new version; the old one answers meanwhile")
        self._promoter.promote(published, published.gate, look=tell.still)
        tell.end("done", f"{model} {version} answers: {published.gate}")

    @contextmanager
    def held(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Let no rebuild read drawings, or publish what it learned of them, as long as the context lasts.

        Args:
            tell: Is told what is waited for, if a rebuild is at work.
        """
        with self._alone(lambda: tell(f"waits for a rebuild of {self._target}"), self._pause):
            yield

    @contextmanager
    def _alone(self, waits: Callable[[], None], pause: Pause) -> Iterator[None]:
        if not self._drawings.acquire(blocking=False):
            waits()
            while not self._drawings.acquire(timeout=jobs.POLL_S):
                pause(0)
        try:
            yield
        finally:
            self._drawings.release()

    def failed(self, command: RetrainModel, error: Exception) -> None:
        """Publish that a rebuild failed, and what can be done if its version is there all the same."""
        last = self._model_log.training(command.target)
        version = last.version if last and last.command_id == command.command_id else "none"
        made = self._model_log.published(command.target).get(version)
        remedy = (
            f"; it may answer all the same: `gamenight promote {command.target} {version}`" if made and made.approved else ""
        )
        tell = Teller(self._bus, self._model_log, command, version)
        self._in_vain(command, tell, "failed", f"{type(error).__name__}: {error}"[:900] + remedy)

    def _in_vain(self, command: RetrainModel, tell: Teller, step: str, message: str, read: Sequence[int] = ()) -> None:
        """Publish that a rebuild ended without a version that answers, and what its jobs cost if it has none that says so."""
        seconds = self._billed(command)
        priced = cost_of(self._settings, instances=self._starter.instances(command.target))
        tell.end(step, message, read, seconds, None if seconds is None else priced(seconds))

    def _billed(self, command: RetrainModel) -> float | None:
        """Return the seconds that AWS bills of a rebuild's jobs; None: it had none, or has a version, or nobody knows."""
        known = self._model_log.published(command.target).values()
        if any(one.lineage.get("command") == str(command.command_id) for one in known):
            return None
        try:
            job = self._jobs.find(jobs.job_name(command.target, command.command_id))
            tries = self._starter.billed(command)
        except (BotoCoreError, ClientError) as unknown:
            log.warning("what the rebuild cost is not known", model=command.target, why=str(unknown))
            return None
        told = [seconds for seconds in (job.seconds if job else None, tries) if seconds is not None]
        return round(sum(told), 1) if told else None

    def _made(self, command: RetrainModel, version: str, tell: Teller) -> Registered:
        """Return the version that this command asked for: trained, judged and registered."""
        name = jobs.job_name(command.target, command.command_id)
        begun = self._jobs.find(name)
        if begun:
            tell.dataset = _key(begun.train).split("/")[1]
            refuse_gone(self._blobs, command.target, tell.dataset)
        else:
            self._starter.begin(command, name, tell)
        done = self._trained(name, tell)
        champion = self._champion(command.target)
        told = json.loads(self._blobs.get(_key(done.train).removesuffix("train/") + "manifest.json"))
        data = dataset_store.stored(told)
        digest = hashlib.sha256(self._blobs.get(_key(done.artifact))).hexdigest()
        settings, known = self._settings, self._model_log.published(command.target)
        parent = continuing.by_digest(done.hyperparameters.get(continuing.PARENT), known)
        candidate = ModelPublished(
            model=command.target,
            version=version,
            title=self._model_log.roster[command.target].title,
            digest=digest,
            artifact=done.artifact,
            lineage={
                "training_job": name,
                "dataset": data.train,
                "offsets": data.offsets,
                "feedback": str(data.feedback),
                **data.split,
                **judging.made_of(settings, command.target, data.digest, done.hyperparameters),
                **made_by(done, told, command.target),
                "command": str(command.command_id),
                "by": command.by,
                "champion": champion.version if champion else "none",
                "learned_from": split.ALONE if command.base else "MNIST and the players' drawings",
                **({continuing.FROM: parent.version} if parent else {}),
                **tuning.lineage(tell.tried),
            },
            metrics={"training_seconds": done.seconds, **self._cost(done), **tuning.metrics(tell.tried)},
            gate="",
        )
        both = f"{version} and {champion.version} are" if champion else f"{version} is"
        tell.step("evaluation", f"{both} asked MNIST's test images and the held-back drawings")
        begin, end = SHARES["evaluation"], SHARES["gate"]

        def told_onward(share: float) -> None:
            self._go_on(0)
            tell.onward("evaluation", begin + share * (end - begin))

        published = judging.Judge(settings, self._blobs, self._serving).judge(
            candidate,
            champion,
            judging.tries(known.values(), champion.version) if champion else 1,
            self._model_log.roster[command.target].least_mnist,
            told_onward,
            [*(continuing.line(parent, known) if parent else ()), *(continuing.line(champion, known) if champion else ())],
        )
        tell.step("gate", published.gate)
        self._go_on(0)
        published = self._registry.register(published, command.command_id)
        return Registered(published, str(command.command_id))

    def _cost(self, done: JobProgress) -> dict[str, float]:
        """Return what a training cost, as ModelPublished has it; nothing if there is no price of its instances."""
        cost = self._priced(done)(done.seconds)
        if cost is None:
            return {}
        return {"training_cost_usd": float(cost), "training_instances": float(done.instances)}

    def _priced(self, job: JobProgress) -> Callable[[float], Decimal | None]:
        return cost_of(self._settings, job.instance_type, job.instances)

    def _champion(self, model: str) -> ModelPublished | None:
        promoted = self._model_log.champion(model)
        return self._model_log.published(model)[promoted.version] if promoted else None

    def _trained(self, name: str, tell: Teller) -> JobProgress:
        begin, end = TRIED if tell.tried else SHARES["training"], SHARES["evaluation"]
        standing: JobStanding | None = None
        for now in self._jobs.follow(name):
            standing = standing or JobStanding(self._priced(now))
            told = standing.told(now.stage or now.status, now.log, time.monotonic(), now.seconds)
            tell.onward("training", begin + now.fraction * (end - begin), f"{name}: {told}", now.log)
        return now


def _key(uri: str) -> str:
    """Return the key of an S3 URI."""
    return urlsplit(uri).path.lstrip("/")
