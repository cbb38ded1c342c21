"""Keeps jobs that run once and end, of any kind: names, statuses, stops, and restarts after a kill.

A subclass names its kind of job, refuses what is absent, and does the work.
"""

import asyncio
import shutil
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import structlog

from deploy.local.sagemaker import wire
from deploy.local.sagemaker.containers import ContainerProcess, Images
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, in_use, invalid
from deploy.local.sagemaker.experiments import Experiments
from deploy.local.sagemaker.job_folder import FAILURE_LENGTH
from deploy.local.sagemaker.listing import Listing
from deploy.local.sagemaker.logs import Logs
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.objects import Objects, ObjectsFailed
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags
from deploy.local.sagemaker.threads import in_thread

GRACE_S: Final = 120.0
"""The seconds between SIGTERM and SIGKILL; they are SageMaker's own."""
MOST_RESTARTS: Final = 3
"""How often a job that ran when the service was killed is restarted: the job may be what kills the service."""

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JobParts:
    """What jobs of every kind use."""

    state: State
    names: Names
    tags: Tags
    home: Path
    """Holds the folders in which jobs work."""
    images: Images
    objects: Objects
    logs: Logs
    experiments: Experiments


class RunFailed(Exception):
    """A job ends as Failed; the message is its FailureReason."""


class JobRun:
    """The state of a job that is kept only while it runs."""

    def __init__(self, document: Document) -> None:
        """Begin without a task."""
        self.document = document
        self.task: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()
        self.waiting = True
        """Whether the job still waits for its turn."""
        self.metrics: dict[str, Document] = {}
        """What was read from the log of a training job: the newest value of each metric, by its name."""


async def carried_out(process: ContainerProcess, stopping: asyncio.Event, limit_s: float) -> str | int:
    """Wait until a process ends, is asked to stop, or reaches its time limit.

    Returns:
        The exit code; or Stopped or MaxRuntimeExceeded, when the process was ended: SIGTERM, and SIGKILL after two minutes.
    """
    ended = asyncio.create_task(process.wait())
    asked = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({ended, asked}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await process.stop(GRACE_S)
            return "Stopped" if asked.done() else "MaxRuntimeExceeded"
        return await ended
    finally:
        asked.cancel()
        if process.exit_code is None:
            await process.stop(0)
        await ended


async def unless_stopped(run: JobRun, work: Coroutine[Any, Any, T]) -> T | None:
    """Return the result of some work, or None when the job is asked to stop before it is done; the work is cancelled then."""
    working = asyncio.create_task(work)
    asked = asyncio.create_task(run.stopping.wait())
    try:
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        asked.cancel()


class JobRuns(ABC):
    """Keeps every job of one kind, and runs those that have not ended."""

    kind: ClassVar[str]
    """The kind in an ARN, such as ``transform-job``."""
    prefix: ClassVar[str]
    """What the names of operations and members begin with, such as ``Transform``."""

    taken: ClassVar[str] = "Job name must be unique within an AWS account and region, and a job with this name already exists"
    """What a request for a name that is given is told."""

    def __init__(self, parts: JobParts, turns: asyncio.Semaphore) -> None:
        """Keep the parts; a job works in a folder under their ``home``, when it has its turn."""
        self.names = parts.names
        self.home = parts.home
        self.state = parts.state
        self.tags = parts.tags
        self.images = parts.images
        self.objects = parts.objects
        self.logs = parts.logs
        self.experiments = parts.experiments
        self.runs: dict[str, JobRun] = {}
        self.folder = parts.home / f"{self.kind}s"
        """Holds the folders of the jobs that run."""
        self.turns = turns
        """Jobs of several kinds may take their turns by it."""
        self._listing = Listing(f"{self.prefix}JobName", f"{self.prefix}JobStatus")

    @abstractmethod
    def refuse(self, request: Document) -> None:
        """Raise an `AwsError` for a request that this machine cannot do."""

    @abstractmethod
    async def work(self, run: JobRun, folder: Path) -> str:
        """Run a job in a folder of its own, which does not exist yet; return how it ended, for `end`.

        Raises:
            RunFailed: If the job failed; the message is its FailureReason.
        """

    def defaults(self, request: Document) -> Document:
        """Return the members of a job that its request may leave out, or that no request has."""
        return {}

    def wait(self, document: Document) -> None:  # noqa: B027 - most kinds do not tell
        """Note that a job waits for its turn."""

    def begin(self, document: Document) -> None:
        """Note that a job has its turn."""
        document[f"{self.prefix}StartTime"] = wire.now()
        self.keep(document, document[f"{self.prefix}JobStatus"])

    def has_begun(self, document: Document) -> bool:
        """Say whether a job had its turn, so that it may be what killed the service."""
        return f"{self.prefix}StartTime" in document

    def begin_anew(self, document: Document) -> None:
        """Note that a job that was interrupted starts anew."""
        self.keep(document, "InProgress")

    def left(self, document: Document) -> None:  # noqa: B027 - most kinds leave nothing
        """See to what a killed service has left of a job that is ended now, and not run again."""

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return {
            f"Create{self.prefix}Job": self.create,
            f"Describe{self.prefix}Job": self.describe,
            f"List{self.prefix}Jobs": self.page,
            f"Stop{self.prefix}Job": self.stop,
        }

    async def create(self, request: Document) -> Document:
        """Start a job."""
        name = request[f"{self.prefix}JobName"]
        arn = self.names.arn(self.kind, name)
        if self.state.get(self.kind, name):
            raise in_use(f"{self.taken} ({arn})")
        self.refuse(request)
        self.experiments.attach(request.get("ExperimentConfig"), self.kind, name, arn)
        document = {**request, **self.defaults(request), f"{self.prefix}JobArn": arn, "CreationTime": wire.now()}
        self.tags.hang(arn, request.get("Tags"))
        self.keep(document, "InProgress")
        self._launch(document)
        return {f"{self.prefix}JobArn": arn}

    async def delete(self, request: Document) -> Document:
        """Delete a job that has ended; not every kind has this operation."""
        document = self.get(request[f"{self.prefix}JobName"])
        status = document[f"{self.prefix}JobStatus"]
        if status in ("InProgress", "Stopping"):
            told = self.kind.replace("-", " ").capitalize()
            raise in_use(f"{told} {document[f'{self.prefix}JobName']} is in status {status}: stop it first")
        self.state.drop(self.kind, document[f"{self.prefix}JobName"])
        self.tags.forget(document[f"{self.prefix}JobArn"])
        return {}

    async def describe(self, request: Document) -> Document:
        """Return a job."""
        return self.get(request[f"{self.prefix}JobName"])

    async def page(self, request: Document) -> Document:
        """Return a page of jobs, newest first."""
        jobs, token = self._listing.page(self.state.all(self.kind), request)
        return {f"{self.prefix}JobSummaries": jobs, "NextToken": token}

    async def stop(self, request: Document) -> Document:
        """Ask a job to end."""
        document = self.get(request[f"{self.prefix}JobName"])
        name, status = document[f"{self.prefix}JobName"], document[f"{self.prefix}JobStatus"]
        run = self.runs.get(name)
        if status not in ("InProgress", "Stopping") or run is None:
            told = self.kind.replace("-", " ")
            raise invalid(f"The request was rejected because the {told} is in status {status}.")
        if status == "InProgress":
            self.keep(run.document, "Stopping")
            run.stopping.set()
            if run.waiting and run.task:
                run.task.cancel()
                self.end(run.document, "Stopped")
        return {}

    def recover(self) -> None:
        """Run again, from their inputs and under their names, the jobs that the service left unfinished."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for document in self.state.all(self.kind):
            status = document[f"{self.prefix}JobStatus"]
            if status == "Stopping":
                self.left(document)
                self.end(document, "Stopped")
            if status != "InProgress":
                continue
            if not document.pop("_Closed", False) and self.has_begun(document):
                document["_Restarts"] = document.get("_Restarts", 0) + 1
            if document.get("_Restarts", 0) > MOST_RESTARTS:
                times = f"The service was killed {document['_Restarts']} times while this job ran"
                self.left(document)
                self.end(document, "Failed", f"InternalServerError: {times}: it is not begun anew")
                continue
            log.warning("job runs again", kind=self.kind, job=document[f"{self.prefix}JobName"])
            self.begin_anew(document)
            self._launch(document)

    async def close(self) -> None:
        """End all jobs; they stay as they are and run again at the next start."""
        runs = list(self.runs.values())
        tasks = [run.task for run in runs if run.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for run in runs:
            if run.document[f"{self.prefix}JobStatus"] == "InProgress":
                self.state.put(self.kind, run.document[f"{self.prefix}JobName"], run.document | {"_Closed": True})

    def task(self, name: str) -> asyncio.Task[None] | None:
        """Return the task that runs a job; None, if the job has ended."""
        return self.runs[name].task if name in self.runs else None

    def get(self, name: str) -> Document:
        """Find a job by name."""
        document = self.state.get(self.kind, name)
        if document is None:
            raise invalid(f"Could not find requested job with name: {name}")
        return document

    def keep(self, document: Document, status: str) -> None:
        """Set a job's status, and store it."""
        document |= {f"{self.prefix}JobStatus": status, "LastModifiedTime": wire.now()}
        self.state.put(self.kind, document[f"{self.prefix}JobName"], document)

    def _launch(self, document: Document) -> None:
        name = document[f"{self.prefix}JobName"]
        run = self.runs[name] = JobRun(document)
        run.task = asyncio.create_task(self._run(run), name=f"{self.kind} {name}")
        run.task.add_done_callback(lambda _: self._forget(name, run))

    def _forget(self, name: str, run: JobRun) -> None:
        if self.runs.get(name) is run:  # else another job has the name now
            del self.runs[name]

    def end(self, document: Document, status: str, reason: str | None = None) -> None:
        """End a job: Completed, Failed, Stopped, or as else its work has returned."""
        document[f"{self.prefix}EndTime"] = wire.now()
        if reason:
            document["FailureReason"] = reason[:FAILURE_LENGTH]
        self.keep(document, status)
        log.info("job ended", kind=self.kind, job=document[f"{self.prefix}JobName"], status=status, reason=reason)

    async def _run(self, run: JobRun) -> None:
        document = run.document
        folder = self.folder / document[f"{self.prefix}JobName"]
        try:
            if self.turns.locked():
                self.wait(document)
            async with self.turns:
                run.waiting = False
                self.begin(document)
                try:
                    outcome = await self.work(run, folder)
                finally:  # before the job's end is told: from then on another job may have its name
                    await in_thread(shutil.rmtree, folder, ignore_errors=True)
        except (RunFailed, ObjectsFailed, AwsError) as failed:
            self.end(document, *(("Stopped",) if run.stopping.is_set() else ("Failed", str(failed))))
        except Exception as error:
            log.exception("job broke off", kind=self.kind, job=document[f"{self.prefix}JobName"])
            self.end(document, "Failed", f"InternalServerError: {error!r}")
        else:
            self.end(document, outcome)
