"""Tries several settings of hyperparameters in one rebuild, some at the same time, and names the best (way 3, REBUILD).

SageMaker's tuning job trains each of them, on all but the drawings that they are compared by (`trainers.dataset.for_tuning`);
the version is then trained with the best, on everything. So what it is made of is the same as if an operator had named these
settings, and the gate's own evidence has not been looked at. The job's name is made from the command: a trainer that was
killed finds it again. What the tries leave on S3 is deleted when they are over.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

import boto3
from botocore.exceptions import ClientError

from contracts.events import Tried
from contracts.hyperparameters import combinations, words
from contracts.ports import Blobs
from contracts.settings import Settings
from trainers import dataset_store
from trainers.archive import TRIES
from trainers.jobs import ENDS, PATIENT, POLL_S, JobFailed, Jobs, Pause, fraction_of, is_absent, so_far, stop

OUTPUT: Final = TRIES
"""Where artifacts of tries are, by the job's name."""
_STATUS: Final[Mapping[str, Literal["running", "done", "failed", "cancelled"]]] = {
    "InProgress": "running", "Stopping": "running", "Completed": "done", "Failed": "failed", "Stopped": "cancelled",
}  # fmt: skip
_QUIET: Final = 4
"""While nothing has ended or begun, progress is told at every so-many-th look."""


def tuning_name(command_id: UUID) -> str:
    """Return the name of the tuning job for a command: always the same one, of the 32 characters that a name may have."""
    return f"try-{command_id.hex[:28]}"


# --- what is decided -------------------------------------------------------------------------------------------------


def best_of(tried: Sequence[Tried]) -> Tried | None:
    """Return the best of the settings that were tried, the first of several; None: none has ended well."""
    known = [one for one in tried if one.status == "done" and one.accuracy is not None]
    return max(known, key=lambda one: one.accuracy or 0.0, default=None)


def with_kept(tried: Sequence[Tried], kept: Tried) -> list[Tried]:
    """Return the settings with a mark on the one that is kept, the best first, then those without a result."""
    order = sorted(tried, key=lambda one: (one.hyperparameters != kept.hyperparameters, -(one.accuracy or 0.0)))
    return [one.model_copy(update={"kept": one.hyperparameters == kept.hyperparameters}) for one in order]


def _share(one: Tried, rounds: float) -> float:
    return rounds if one.status == "running" else float(one.status != "waiting")


def told(tried: Sequence[Tried], at_once: int) -> str:
    """Say how far the tries are: how many have ended, which is the best so far, the time that is left, and the cost."""
    ended = [one for one in tried if one.status not in ("waiting", "running")]
    parts = [f"{len(ended)} of {len(tried)} settings tried"]
    if (best := best_of(tried)) is not None and best.accuracy is not None:
        parts.append(f"best so far {words(best.hyperparameters)} with {best.accuracy:.2%}")
    if ended and len(ended) < len(tried):
        mean = sum(one.seconds for one in ended) / len(ended)
        spent = sum(min(one.seconds, mean) for one in tried if one.status == "running")
        left = (mean * (len(tried) - len(ended)) - spent) / min(at_once, len(tried) - len(ended))
        parts.append(f"about {left:.0f} s left")
    if any(one.cost is not None for one in tried):
        parts.append(f"${sum(one.cost or 0 for one in tried):.4f} so far")
    return ", ".join(parts)


def lineage(tried: Sequence[Tried]) -> dict[str, str]:
    """Return what the version's lineage says of the tries; nothing if there were none."""
    kept = next((one for one in tried if one.kept and one.accuracy is not None), None)
    if kept is None:
        return {}
    return {"tuned": f"{words(kept.hyperparameters)}: best of {len(tried)}, right on {kept.accuracy:.2%} of what compares them"}


def metrics(tried: Sequence[Tried]) -> dict[str, float]:
    """Return what the tries took, as ModelPublished has it: beside what the training of the version took."""
    if not tried:
        return {}
    priced = [one.cost for one in tried if one.cost is not None]
    return {"tuning_seconds": round(sum(one.seconds for one in tried), 1)} | (
        {"tuning_cost_usd": float(sum(priced))} if priced else {}
    )


# --- SageMaker -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tuning:
    """A tuning job."""

    status: str
    """InProgress, Completed, Failed, Stopping or Stopped."""
    train: str
    """S3 URI of the data that it trains on."""
    fixed: dict[str, str]
    """The hyperparameters that are the same for all."""
    failure: str = ""


class Tunings:
    """Finds, follows and ends the tuning jobs of one SageMaker."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        """Keep the parts; nothing connects before the first call."""
        self._blobs = blobs
        self._cost: Callable[[float], Decimal | None] = lambda seconds: None
        self._at_once = settings.tuning_at_once
        self._followed = Jobs(settings, lambda seconds: None)
        self._logs: dict[str, Iterator[list[str]]] = {}
        """The log of each job that was begun, by its settings."""
        self._done: dict[str, float] = {}
        """The share of its rounds that each job has done, by its settings."""
        self._billed: dict[str, float] = {}
        """The seconds that are billed of each job that has ended, by its name."""
        self._sagemaker: Any = boto3.client("sagemaker", config=PATIENT, **settings.aws("sagemaker"))

    def find(self, name: str) -> Tuning | None:
        """Return a tuning job; None if there is none of that name."""
        try:
            told = self._sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        definition = told["TrainingJobDefinition"]
        channels = {one["ChannelName"]: one["DataSource"]["S3DataSource"]["S3Uri"] for one in definition["InputDataConfig"]}
        return Tuning(
            told["HyperParameterTuningJobStatus"],
            channels["train"],
            dict(definition.get("StaticHyperParameters", {})),
            told.get("FailureReason", ""),
        )

    def follow(
        self,
        name: str,
        grid: Mapping[str, Sequence[str]],
        cost: Callable[[float], Decimal | None],
        tell: Callable[[list[Tried], float, str, list[str]], None],
        pause: Pause,
    ) -> list[Tried]:
        """Return the settings that were tried, the kept one marked and first.

        Args:
            name: The tuning job.
            grid: What it tries.
            cost: Returns what so many billed seconds of training cost, in dollars; None if there is no price.
            tell: Called with the settings as they are by now, the share that is done, words for people, and new lines of the
                logs, each with the settings before it.
            pause: Waits; raises when it must end.

        Raises:
            JobFailed: If no settings have a result.
        """
        self._cost, polls, before = cost, 0, set[str]()
        self._logs, self._done, self._billed = {}, {}, {}
        while True:
            found = self.find(name)  # before what it tries: so no last one is missed
            if found is None:
                raise JobFailed(f"tuning job {name} is gone")
            jobs = {words(job["TunedHyperParameters"]): job for job in self._jobs(name)}
            tried = [self._one(each, jobs.get(words(each)), ended=found.status in ENDS) for each in combinations(grid)]
            new = self._read({key: job["TrainingJobName"] for key, job in jobs.items()})
            done = sum(_share(one, self._done.get(words(one.hyperparameters), 0.0)) for one in tried) / len(tried)
            if (
                (statuses := {f"{place} {one.status}" for place, one in enumerate(tried)}) != before
                or polls % _QUIET == 0
                or new
            ):
                tell(tried, done, told(tried, self._at_once), new)
            before, polls = statuses, polls + 1
            if found.status in ENDS:
                break
            pause(POLL_S)
        best = best_of(tried)
        if best is None or found.status == "Stopped":
            raise JobFailed(f"tuning job {name} {found.status.lower()}: {self._why(name) or found.failure or 'no result'}")
        return with_kept(tried, best)

    def _jobs(self, name: str) -> Iterator[dict[str, Any]]:
        pages = self._sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        for page in pages.paginate(HyperParameterTuningJobName=name):
            yield from page["TrainingJobSummaries"]

    def _read(self, names: Mapping[str, str]) -> list[str]:
        """Return the new lines of all jobs' logs, and note how far each is, given the name of each by its settings."""
        out: list[str] = []
        for key, name in names.items():
            new = next(self._logs.setdefault(key, self._followed.lines(name)))
            told = [done for line in new if (done := fraction_of(line)) is not None]
            self._done[key] = max([self._done.get(key, 0.0), *told])
            out += [f"{key}: {line}" for line in new]
        return out

    def _one(self, hyperparameters: dict[str, str], job: Mapping[str, Any] | None, *, ended: bool) -> Tried:
        if job is None:
            return Tried(hyperparameters=hyperparameters, status="cancelled" if ended else "waiting")
        seconds = self._seconds(job)
        return Tried(
            hyperparameters=hyperparameters,
            status=_STATUS[job["TrainingJobStatus"]],
            accuracy=job.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"),
            seconds=round(seconds, 1),
            cost=self._cost(seconds),
        )

    def _seconds(self, job: Mapping[str, Any]) -> float:
        """Return what is billed of a job, which its own description alone tells once it has ended; so far, if it has not."""
        name = job["TrainingJobName"]
        if job["TrainingJobStatus"] not in ENDS:
            return so_far(job)
        if name not in self._billed:
            found = self._followed.find(name)
            self._billed[name] = found.seconds if found else so_far(job)
        return self._billed[name]

    def _why(self, name: str) -> str:
        return next((job["FailureReason"] for job in self._jobs(name) if job.get("FailureReason")), "")

    def billed(self, name: str) -> float | None:
        """Return the seconds that AWS bills of all that a tuning job has trained by now; None: there is none."""
        return None if self.find(name) is None else sum(map(self._seconds, self._jobs(name)))

    def end(self, name: str, pause: Pause) -> None:
        """Stop a tuning job and what it trains; nothing happens if there is none, or if it has ended."""
        asked = {"HyperParameterTuningJobName": name}
        stop(lambda: self._sagemaker.stop_hyper_parameter_tuning_job(**asked), lambda: self.find(name), pause)

    def clean(self, name: str, digest: str) -> None:
        """Delete the artifacts of the tries, and what they were trained on: what is kept is trained anew."""
        for key in list(self._blobs.keys(f"{OUTPUT}{name}/")):
            self._blobs.drop(key)
        dataset_store.drop_tuning(self._blobs, digest)
