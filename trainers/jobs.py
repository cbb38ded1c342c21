"""Has training jobs started, and follows them through boto3 (way 3, REBUILD).

They are started by `trainers.sdk_jobs`, a process of its own that imports the SageMaker SDK while the dataset is still being
made.

A job's name is made from the command that asked for it, so a trainer that was killed finds the job again and SageMaker itself
refuses a second one. A process whose trainer dies before it sent a request ends, since its input ends.
"""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from contracts.events import now
from contracts.settings import Settings
from trainers.sdk_environment import TRIES, sdk_environment

LOG_GROUP: Final = "/aws/sagemaker/TrainingJobs"
POLL_S: Final = 0.5
STOP_S: Final = 30.0
"""How long one waits for a job to stop."""
ENDS: Final = ("Completed", "Failed", "Stopped")
"""The statuses of jobs that have ended."""
CODE, IMAGE_VERSION = "CODE_VERSION", "IMAGE_VERSION"
"""The environment variables of a job with the version of the code that has begun it, and that of its image."""
PATIENT: Final = Config(retries={"mode": "standard", "max_attempts": TRIES}, connect_timeout=5, read_timeout=60)
"""Retries calls to SageMaker that should wait rather than fail: it may be restarting."""
_MAX_NAME: Final = 63
_PASS = re.compile(r"\b(?:round|epoch|step)=(\d+)/(\d+)\b")


class JobFailed(RuntimeError):
    """A training job could not be started, or did not complete; the message says why."""


Pause = Callable[[float], None]
"""A function that waits for so many seconds; it raises when the trainer must stop."""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job to start."""

    name: str
    image: str
    train: str
    """S3 URI of the channel ``train``."""
    output: str
    """S3 URI under which the artifact goes."""
    hyperparameters: dict[str, str]
    base: str = ""
    """S3 URI of the channel ``base``, which comes before ``train``; empty: there is none."""
    validation: str = ""
    """S3 URI of the channel ``validation``; empty: there is none."""
    model: str = ""
    """S3 URI of the artifact that training goes on from; empty: it begins anew."""
    grid: dict[str, list[str]] = field(default_factory=dict)
    """The values of each hyperparameter that are tried, all with all; empty: it is one training job, else a tuning job."""
    at_once: int = 1
    """How many training jobs of a tuning job run at the same time."""
    instances: int = 1
    """How many instances one training job runs on."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables: `CODE` and `IMAGE_VERSION`, by which a trainer after this one knows what has begun the job."""

    @property
    def channels(self) -> dict[str, str]:
        """The S3 URI of each channel."""
        told = {"train": self.train, "base": self.base, "validation": self.validation, "model": self.model}
        return {name: uri for name, uri in told.items() if uri}


@dataclass(frozen=True, slots=True)
class JobProgress:
    """The progress of a job."""

    status: str
    """InProgress, Completed, Failed, Stopping or Stopped."""
    stage: str = ""
    """SageMaker's finer status: Starting, Downloading, Training, Uploading ..."""
    fraction: float = 0.0
    """The share of its rounds or epochs that is done, as the log says; 0 if the log does not say."""
    log: list[str] = field(default_factory=list)
    """The log lines since the last progress."""
    train: str = ""
    """S3 URI of the data that it trains on."""
    artifact: str = ""
    """S3 URI of its model; empty until it completed."""
    hyperparameters: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """The time that AWS would bill; of a job that trains, so far."""
    failure: str = ""
    image: str = ""
    """The URI of its image."""
    instance_type: str = ""
    instances: int = 1
    environment: dict[str, str] = field(default_factory=dict)


def job_name(model: str, command_id: UUID) -> str:
    """Return the name of the job for a command: always the same one.

    It has all of the 63 characters that a name may have: the SDK adds the time of day to a name and cuts the result to that
    length, so nothing is added.
    """
    base = f"gamenight-{model}-{command_id}"
    return f"{base}-{hashlib.sha256(base.encode()).hexdigest()}"[:_MAX_NAME]


# --- beginning -------------------------------------------------------------------------------------------------------


class Submitter:
    """Runs the SDK in a process of its own, which imports it beforehand."""

    def __init__(self, settings: Settings) -> None:
        """Start the process; its import takes some seconds."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainers.sdk_jobs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **settings.environment(), **sdk_environment(settings)},
        )

    def submit(self, request: JobRequest, pause: Pause) -> None:
        """Start the job, unless it was started before.

        Raises:
            JobFailed: If SageMaker refused it, or the SDK broke.
        """
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asdict(request)) + "\n")
            self._process.stdin.close()
        self._ended(pause)
        answer = self._process.stdout.read().splitlines()
        if self._process.returncode or not answer:
            raise JobFailed(f"the SageMaker SDK ended with {self._process.returncode}: its output is in the trainer's log")
        error = json.loads(answer[-1])["error"]
        if error:
            raise JobFailed(f"SageMaker did not take the job: {error}")

    def withdraw(self, pause: Pause) -> None:
        """Ask for no job any more; if one is being asked for already, wait for the answer."""
        self._process.terminate()
        self._ended(pause)

    def _ended(self, pause: Pause) -> None:
        while self._process.poll() is None:
            pause(0.1)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


# --- following -------------------------------------------------------------------------------------------------------


def is_absent(error: ClientError) -> bool:
    """Say whether SageMaker answers that there is nothing of a name."""
    return error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound")


class Jobs:
    """Finds and follows the training jobs of one SageMaker."""

    def __init__(self, settings: Settings, pause: Pause) -> None:
        """Keep the settings; nothing connects before the first call."""
        self._pause = pause
        self._sagemaker: Any = boto3.client("sagemaker", config=PATIENT, **settings.aws("sagemaker"))
        self._logs: Any = boto3.client("logs", config=PATIENT, **settings.aws("logs"))

    def find(self, name: str) -> JobProgress | None:
        """Return the progress of a job, without its log; None if no job has that name."""
        try:
            return _progress(self._sagemaker.describe_training_job(TrainingJobName=name), [], 0.0)
        except ClientError as error:
            if is_absent(error):
                return None
            raise

    def stop(self, name: str, pause: Pause) -> None:
        """Stop a job, and wait until it has ended, so that it is known what is billed; nothing happens if there is none."""
        stop(lambda: self._sagemaker.stop_training_job(TrainingJobName=name), lambda: self.find(name), pause)

    def follow(self, name: str) -> Iterator[JobProgress]:
        """Yield the progress of a job when it changes, at most once in `POLL_S`; the last one says that the job completed.

        Raises:
            JobFailed: If the job did not complete.
        """
        lines = self.lines(name)
        fraction, stage = 0.0, ""
        while True:
            described = self._sagemaker.describe_training_job(TrainingJobName=name)  # before the log: so no last line is missed
            new = next(lines)
            fraction = max([fraction, *(done for line in new if (done := fraction_of(line)) is not None)])
            now = _progress(described, new, fraction)
            if now.status in ("Failed", "Stopped"):
                raise JobFailed(f"training job {name} {now.status.lower()}: {now.failure or 'without a reason'}")
            if new or now.stage != stage or now.status == "Completed":
                stage = now.stage
                yield now
            if now.status == "Completed":
                return
            self._pause(POLL_S)

    def lines(self, name: str) -> Iterator[list[str]]:
        """Yield the new lines of a job's log each time it is asked; a log that does not exist yet is empty."""
        tokens: dict[str, str] = {}
        while True:
            out: list[str] = []
            with contextlib.suppress(self._logs.exceptions.ResourceNotFoundException):
                found = self._logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")
                for stream in sorted(stream["logStreamName"] for stream in found["logStreams"]):
                    out += self._page(stream, tokens)
            yield out

    def _page(self, stream: str, tokens: dict[str, str]) -> list[str]:
        out: list[str] = []
        while True:
            since = {"nextToken": tokens[stream]} if stream in tokens else {"startFromHead": True}
            page = self._logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, **since)
            out += [event["message"] for event in page["events"]]
            reached, tokens[stream] = tokens.get(stream), page["nextForwardToken"]
            if not page["events"] or tokens[stream] == reached:
                return out


def fraction_of(line: str) -> float | None:
    """Read the progress of the training from a line of the log; None if the line has none.

    >>> fraction_of("round=30/75 train-mlogloss=0.2")
    0.4
    >>> fraction_of("epoch=1/4 loss=0.31")
    0.25
    """
    found = _PASS.search(line)
    return int(found[1]) / max(1, int(found[2])) if found else None


def _progress(described: dict[str, Any], log: list[str], fraction: float) -> JobProgress:
    resources = described.get("ResourceConfig", {})
    return JobProgress(
        described["TrainingJobStatus"],
        described.get("SecondaryStatus", ""),
        fraction,
        log,
        next(
            channel["DataSource"]["S3DataSource"]["S3Uri"]
            for channel in described["InputDataConfig"]
            if channel["ChannelName"] == "train"
        ),
        described.get("ModelArtifacts", {}).get("S3ModelArtifacts", ""),
        described.get("HyperParameters", {}),
        float(described.get("BillableTimeInSeconds", described.get("TrainingTimeInSeconds", so_far(described)))),
        described.get("FailureReason", ""),
        described.get("AlgorithmSpecification", {}).get("TrainingImage", ""),
        resources.get("InstanceType", ""),
        resources.get("InstanceCount", 1),
        described.get("Environment", {}),
    )


class Ending(Protocol):
    """What has a status, one of `ENDS` once it has ended."""

    @property
    def status(self) -> str: ...


def stop(ask: Callable[[], object], find: Callable[[], Ending | None], pause: Pause) -> None:
    """Ask SageMaker to stop something, and wait until it has ended, `STOP_S` at most; nothing happens if it is not there.

    Args:
        ask: Asks for it.
        find: Returns what is to end, as it is now; None: it is not there.
        pause: Waits; raises when one must not wait any longer.
    """
    try:
        ask()
    except ClientError as error:
        if not is_absent(error):
            raise
    waited = 0.0
    while (found := find()) is not None and found.status not in ENDS and waited < STOP_S:
        pause(POLL_S)
        waited += POLL_S


def so_far(described: Mapping[str, Any]) -> float:
    """Return the seconds that a training job has taken until now, or in all."""
    began = described.get("TrainingStartTime")
    until = described.get("TrainingEndTime") or now()
    return max(0.0, (until - began).total_seconds()) if began else 0.0
