"""Runs training jobs: fetches their inputs from S3, runs the image's `train` as a process, puts the model on S3."""

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Any, Final

import structlog

from deploy.local.sagemaker import containers, logs, metrics, wire
from deploy.local.sagemaker.containers import Image, ImageNotInstalled, Images, TakeLine
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, in_use, invalid
from deploy.local.sagemaker.job_folder import FAILURE_LENGTH, failure_reason, lay_out, required, upload, variables
from deploy.local.sagemaker.job_runs import MOST_RESTARTS, JobRun, carried_out
from deploy.local.sagemaker.listing import Listing
from deploy.local.sagemaker.logs import Logs
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.objects import Objects, ObjectsFailed
from deploy.local.sagemaker.requirements import Requirements, RequirementsFailed
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags
from deploy.local.sagemaker.threads import in_thread

KIND: Final = "training-job"
_NICE: Final = 10
_AT_ONCE: Final = max(2, os.cpu_count() or 1)
"""How many jobs run at the same time; more wait for their turn, as for an instance."""
_DAY_S: Final = 86400
_MESSAGES: Final = {
    "Pending": "Waiting for the jobs before it to end",
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading the training image and input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job stopped, as it ran for longer than MaxRuntimeInSeconds",
}
_LISTING: Final = Listing("TrainingJobName", "TrainingJobStatus")

log = structlog.get_logger()


class TrainingJobFailed(Exception):
    """A job ends as Failed; the message is its FailureReason."""


class TrainingJobs:
    """Keeps every training job, and runs those that have not ended."""

    def __init__(
        self,
        state: State,
        names: Names,
        images: Images,
        objects: Objects,
        kept: Logs,
        tags: Tags,
        requirements: Requirements,
        home: Path,
    ) -> None:
        """Keep the parts; jobs work in folders under ``home/jobs``."""
        self._state = state
        self._names = names
        self._images = images
        self._objects = objects
        self._logs = kept
        self._tags = tags
        self._home = home
        self._requirements = requirements
        self._runs: dict[str, JobRun] = {}
        self.turns = asyncio.Semaphore(_AT_ONCE)
        """Jobs of all kinds take their turns by it."""

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "ListTrainingJobs": self.page,
            "StopTrainingJob": self.stop,
            "DeleteTrainingJob": self.delete,
        }

    async def create(self, request: Document) -> Document:
        """Start a job."""
        name = request["TrainingJobName"]
        arn = self._names.arn(KIND, name)
        if self._state.get(KIND, name):
            told = "Training job names must be unique within an AWS account and region"
            raise in_use(f"{told}, and a training job with this name already exists ({arn})")
        self.refuse(request)
        now = wire.now()
        document = {
            **request,
            "TrainingJobArn": arn,
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "SecondaryStatusTransitions": [],
            "CreationTime": now,
            "LastModifiedTime": now,
            "StoppingCondition": {"MaxRuntimeInSeconds": _DAY_S} | request.get("StoppingCondition", {}),
            "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
            "EnableInterContainerTrafficEncryption": request.get("EnableInterContainerTrafficEncryption", False),
            "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining", False),
        }
        self._tags.hang(arn, request.get("Tags"))
        self._move(document, "InProgress", "Starting")
        self._launch(document)
        return {"TrainingJobArn": arn}

    async def describe(self, request: Document) -> Document:
        """Return a job with its metrics so far."""
        document = self._get(request["TrainingJobName"])
        run = self._runs.get(document["TrainingJobName"])
        if run and run.metrics:
            document["FinalMetricDataList"] = list(run.metrics.values())
        return document

    async def page(self, request: Document) -> Document:
        """Return a page of jobs, newest first."""
        jobs, token = _LISTING.page(self._state.all(KIND), request)
        return {"TrainingJobSummaries": jobs, "NextToken": token}

    async def stop(self, request: Document) -> Document:
        """Ask a job to end: SIGTERM, and SIGKILL after two minutes; the files in its model folder are kept."""
        document = self._get(request["TrainingJobName"])
        run = self._runs.get(document["TrainingJobName"])
        if document["TrainingJobStatus"] not in ("InProgress", "Stopping") or run is None:
            raise invalid(f"The request was rejected because the training job is in status {document['TrainingJobStatus']}.")
        if document["TrainingJobStatus"] == "InProgress":
            pending = document["SecondaryStatus"] == "Pending"
            self._move(run.document, "Stopping", "Stopping")
            run.stopping.set()
            if pending and run.task:  # there is no process to end yet
                run.task.cancel()
                self._end(run.document, "Stopped", "Stopped")
        return {}

    async def delete(self, request: Document) -> Document:
        """Delete a job that has ended."""
        document = self._get(request["TrainingJobName"])
        if document["TrainingJobStatus"] in ("InProgress", "Stopping"):
            raise in_use(f"Training job {document['TrainingJobName']} is {document['TrainingJobStatus']}: stop it first")
        self._state.drop(KIND, document["TrainingJobName"])
        self._tags.forget(document["TrainingJobArn"])
        return {}

    def give_up(self, document: Document) -> None:
        """End a job that the service left unfinished and nobody waits for; `recover` comes later."""
        if document["TrainingJobStatus"] in ("InProgress", "Stopping"):
            self._end(document, "Stopped", "Stopped")

    def recover(self) -> None:
        """Run again the jobs that the service left unfinished, from their inputs and under their names."""
        shutil.rmtree(self._home / "jobs", ignore_errors=True)
        for document in self._state.all(KIND):
            if document["TrainingJobStatus"] == "InProgress":
                if not document.pop("_Closed", False) and document["SecondaryStatus"] != "Pending":
                    document["_Restarts"] = document.get("_Restarts", 0) + 1
                if document.get("_Restarts", 0) > MOST_RESTARTS:
                    times = f"The service was killed {document['_Restarts']} times while this job ran"
                    self._end(document, "Failed", "Failed", f"InternalServerError: {times}: it is not begun anew")
                    continue
                log.warning("training job runs again", job=document["TrainingJobName"])
                self._move(document, "InProgress", "Starting", "The service was interrupted: the job starts anew")
                self._launch(document)
            elif document["TrainingJobStatus"] == "Stopping":
                self._end(document, "Stopped", "Stopped")

    async def close(self) -> None:
        """End all processes; the jobs stay as they are and run again at the next start."""
        runs = list(self._runs.values())
        tasks = [run.task for run in runs if run.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for run in runs:
            if run.document["TrainingJobStatus"] == "InProgress":
                self._state.put(KIND, run.document["TrainingJobName"], run.document | {"_Closed": True})

    def task(self, name: str) -> asyncio.Task[None] | None:
        """Return the task that runs a job; None, if the job has ended."""
        run = self._runs.get(name)
        return run.task if run else None

    def refuse(self, request: Document) -> None:
        """Raise an `AwsError` for a request that this machine cannot do."""
        algorithm = request.get("AlgorithmSpecification", {})
        if "TrainingImage" not in algorithm:
            raise invalid("AlgorithmSpecification needs a TrainingImage: marketplace algorithms are not on this machine")
        self._images.find(algorithm["TrainingImage"])
        for definition in algorithm.get("MetricDefinitions", []):
            try:
                re.compile(definition["Regex"])
            except re.error as wrong:
                raise invalid(f"Regex of metric {definition['Name']}: {wrong}") from wrong
        if request.get("ResourceConfig", {}).get("InstanceCount", 1) != 1:
            raise AwsError("ResourceLimitExceeded", "This machine is one instance: set InstanceCount to 1")
        limits = request.get("StoppingCondition", {})
        if request.get("EnableManagedSpotTraining") and limits.get("MaxWaitTimeInSeconds", 0) < limits.get(
            "MaxRuntimeInSeconds", _DAY_S
        ):
            raise invalid("With EnableManagedSpotTraining, MaxWaitTimeInSeconds must be at least MaxRuntimeInSeconds")
        for channel in request.get("InputDataConfig", []):
            source = channel["DataSource"].get("S3DataSource")
            mode = channel.get("InputMode") or algorithm.get("TrainingInputMode", "File")
            if source is None or source["S3DataType"] != "S3Prefix" or mode == "Pipe":
                raise invalid(
                    f"Channel {channel['ChannelName']}: only S3DataSource of type S3Prefix in mode File is on this machine"
                )

    def _get(self, name: str) -> Document:
        document = self._state.get(KIND, name)
        if document is None:
            raise invalid("Requested resource not found.")
        return document

    def _launch(self, document: Document) -> None:
        name = document["TrainingJobName"]
        run = self._runs[name] = JobRun(document)
        run.task = asyncio.create_task(self._run(run), name=f"training job {name}")
        run.task.add_done_callback(lambda _: self._runs.get(name) is run and self._runs.pop(name))

    def _move(self, document: Document, status: str, secondary: str, message: str | None = None) -> None:
        """Set a job's status, and store it."""
        now = wire.now()
        transitions = document["SecondaryStatusTransitions"]
        if transitions:
            transitions[-1].setdefault("EndTime", now)
        told = message or _MESSAGES[secondary]
        transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": told})
        document |= {"TrainingJobStatus": status, "SecondaryStatus": secondary, "LastModifiedTime": now}
        self._state.put(KIND, document["TrainingJobName"], document)

    def _advance(self, document: Document, secondary: str) -> None:
        """Set a job's secondary status, unless the job was asked to stop."""
        if document["TrainingJobStatus"] == "InProgress":
            self._move(document, "InProgress", secondary)

    def _end(self, document: Document, status: str, secondary: str, reason: str | None = None) -> None:
        now = wire.now()
        seconds = max(1, round(now - document.get("TrainingStartTime", now)))
        document |= {"TrainingEndTime": now, "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
        if reason:
            document["FailureReason"] = reason[:FAILURE_LENGTH]
        run = self._runs.get(document["TrainingJobName"])
        if run and run.metrics:
            document["FinalMetricDataList"] = list(run.metrics.values())
        self._move(document, status, secondary, reason)
        log.info("training job ended", job=document["TrainingJobName"], status=status, secondary=secondary, reason=reason)

    async def _run(self, run: JobRun) -> None:
        document = run.document
        folder = self._home / "jobs" / document["TrainingJobName"]
        try:
            if self.turns.locked():
                self._advance(document, "Pending")
            async with self.turns:
                try:
                    outcome = await self._work(document, run, folder)
                finally:  # before the job's end is told: from then on another job may have its name
                    await in_thread(shutil.rmtree, folder, ignore_errors=True)
        except (TrainingJobFailed, ObjectsFailed, AwsError) as failed:
            stopped = run.stopping.is_set()
            self._end(document, *(("Stopped", "Stopped") if stopped else ("Failed", "Failed", str(failed))))
        except Exception as error:
            log.exception("training job broke off", job=document["TrainingJobName"])
            self._end(document, "Failed", "Failed", f"InternalServerError: {error!r}")
        else:
            self._end(document, "Completed" if outcome == "Completed" else "Stopped", outcome)

    async def _work(self, document: Document, run: JobRun, folder: Path) -> str:
        """Run the job, and return how it ended: Completed, Stopped or MaxRuntimeExceeded.

        Raises:
            TrainingJobFailed: If the image's `train` failed.
            ObjectsFailed: If S3 did not return the inputs or accept the model.
        """
        image = self._images.find(document["AlgorithmSpecification"]["TrainingImage"])
        if not run.stopping.is_set():
            self._advance(document, "Downloading")
            await in_thread(lay_out, self._objects, document, folder)
        outcome = "Stopped"
        if not run.stopping.is_set():
            document["TrainingStartTime"] = wire.now()
            self._advance(document, "Training")
            outcome = await self._train(document, run, folder, image)
        if any(folder.glob("model/*")):
            self._advance(document, "Uploading")
            document["ModelArtifacts"] = {"S3ModelArtifacts": await in_thread(upload, self._objects, document, folder)}
        return outcome

    async def _train(self, document: Document, run: JobRun, folder: Path, image: Image) -> str:
        name = document["TrainingJobName"]
        write = self._logs.writer(logs.TRAINING, f"{name}/algo-1-{int(wire.now())}")
        definitions = document["AlgorithmSpecification"].get("MetricDefinitions", [])
        async with metrics.found(definitions, run.metrics, write, _NICE) as read:

            def say(line: str) -> None:
                write(line)
                read(line)

            return await self._train_aloud(document, run, folder, image, say)

    async def _train_aloud(self, document: Document, run: JobRun, folder: Path, image: Image, say: TakeLine) -> str:
        image = await self._trainable(run, image, folder, say)
        if run.stopping.is_set():
            return "Stopped"
        algorithm = document["AlgorithmSpecification"]
        command = (*algorithm.get("ContainerEntrypoint", image.script("train")), *algorithm.get("ContainerArguments", ()))
        try:
            process = await containers.start(
                command, image, folder, variables(document, self._names.region), say, home=self._home, nice=_NICE
            )
        except containers.NotConfined as refused:
            raise TrainingJobFailed(str(refused)) from refused
        ended = await carried_out(process, run.stopping, document["StoppingCondition"]["MaxRuntimeInSeconds"])
        if isinstance(ended, str):
            return ended
        if ended:
            raise TrainingJobFailed(failure_reason(folder, ended))
        return "Completed"

    async def _trainable(self, run: JobRun, image: Image, folder: Path, say: TakeLine) -> Image:
        """Return the image with its training environment, and what the job's code requires; as it is, if the job is stopped."""

        async def make() -> Image:
            trained = await self._images.for_training(image, say)
            name = required(folder)
            return await self._requirements.made(trained, folder / "input/data/code", say, name) if name else trained

        made = asyncio.create_task(make())
        asked = asyncio.create_task(run.stopping.wait())
        try:
            await asyncio.wait({made, asked}, return_when=asyncio.FIRST_COMPLETED)
            return made.result() if made.done() else image
        except (ImageNotInstalled, RequirementsFailed) as missing:
            raise TrainingJobFailed(str(missing)) from missing
        finally:
            made.cancel()
            asked.cancel()
