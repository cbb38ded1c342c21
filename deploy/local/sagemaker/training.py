"""Runs training jobs: fetches their inputs from S3, runs the image's `train` as a process, puts the model on S3."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any, Final

import structlog

from deploy.local.sagemaker import containers, logs, metrics, wire
from deploy.local.sagemaker.containers import Image, ImageNotInstalled, TakeLine
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, invalid
from deploy.local.sagemaker.job_folder import FAILURE_LENGTH, failure_reason, lay_out, required, upload, variables
from deploy.local.sagemaker.job_runs import JobParts, JobRun, JobRuns, RunFailed, carried_out, unless_stopped
from deploy.local.sagemaker.requirements import Requirements, RequirementsFailed
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
log = structlog.get_logger()


class TrainingJobs(JobRuns):
    """Keeps and runs training jobs, whose secondary statuses say what they are at."""

    kind = KIND
    prefix = "Training"
    taken = (
        "Training job names must be unique within an AWS account and region, and a training job with this name already exists"
    )

    def __init__(self, parts: JobParts, requirements: Requirements) -> None:
        """Keep the parts; jobs work in folders under ``home/jobs``."""
        super().__init__(parts, asyncio.Semaphore(_AT_ONCE))
        self.folder = parts.home / "jobs"
        self._requirements = requirements

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return super().operations() | {"DeleteTrainingJob": self.delete}

    def defaults(self, request: Document) -> Document:
        """Return what a request may leave out, and an empty history."""
        switches = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining")
        return {
            "SecondaryStatusTransitions": [],
            "StoppingCondition": {"MaxRuntimeInSeconds": _DAY_S} | request.get("StoppingCondition", {}),
            **{name: request.get(name, False) for name in switches},
        }

    async def describe(self, request: Document) -> Document:
        """Return a job with its metrics so far."""
        document = await super().describe(request)
        run = self.runs.get(document["TrainingJobName"])
        if run and run.metrics:
            document["FinalMetricDataList"] = list(run.metrics.values())
        return document

    def wait(self, document: Document) -> None:
        """Say that a job is pending."""
        self._advance(document, "Pending")

    def begin(self, document: Document) -> None:
        """Say nothing: the job's first step says it."""

    def has_begun(self, document: Document) -> bool:
        """Say whether a job had its turn."""
        return bool(document["SecondaryStatus"] != "Pending")

    def begin_anew(self, document: Document) -> None:
        """Say why a job begins again."""
        self._move(document, "InProgress", "Starting", "The service was interrupted: the job starts anew")

    def give_up(self, document: Document) -> None:
        """End a job that a killed service left unfinished and nobody waits for, before it begins again."""
        if document["TrainingJobStatus"] in ("InProgress", "Stopping"):
            if task := self.task(document["TrainingJobName"]):
                task.cancel()
            self.end(document, "Stopped")

    def refuse(self, request: Document) -> None:
        """Raise an `AwsError` for a request that this machine cannot do."""
        algorithm = request.get("AlgorithmSpecification", {})
        if "TrainingImage" not in algorithm:
            raise invalid("AlgorithmSpecification needs a TrainingImage: marketplace algorithms are not on this machine")
        self.images.find(algorithm["TrainingImage"])
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

    def get(self, name: str) -> Document:
        """Find a job by name."""
        document = self.state.get(KIND, name)
        if document is None:
            raise invalid("Requested resource not found.")
        return document

    def keep(self, document: Document, status: str) -> None:
        """Set a job's status and the secondary one that goes with it, and store it."""
        self._move(document, status, "Starting" if status == "InProgress" else status)

    def _move(self, document: Document, status: str, secondary: str, message: str | None = None) -> None:
        """Set a job's status, and store it."""
        now = wire.now()
        transitions = document["SecondaryStatusTransitions"]
        if transitions:
            transitions[-1].setdefault("EndTime", now)
        told = message or _MESSAGES[secondary]
        transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": told})
        document |= {"TrainingJobStatus": status, "SecondaryStatus": secondary, "LastModifiedTime": now}
        self.state.put(KIND, document["TrainingJobName"], document)

    def _advance(self, document: Document, secondary: str) -> None:
        """Set a job's secondary status, unless the job was asked to stop."""
        if document["TrainingJobStatus"] == "InProgress":
            self._move(document, "InProgress", secondary)

    def end(self, document: Document, status: str, reason: str | None = None) -> None:
        """End a job: Completed, Failed, Stopped, or MaxRuntimeExceeded."""
        now = wire.now()
        seconds = max(1, round(now - document.get("TrainingStartTime", now)))
        document |= {"TrainingEndTime": now, "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
        if reason:
            document["FailureReason"] = reason[:FAILURE_LENGTH]
        run = self.runs.get(document["TrainingJobName"])
        if run and run.metrics:
            document["FinalMetricDataList"] = list(run.metrics.values())
        self._move(document, "Stopped" if status == "MaxRuntimeExceeded" else status, status, reason)
        log.info("job ended", kind=KIND, job=document["TrainingJobName"], status=status, reason=reason)

    async def work(self, run: JobRun, folder: Path) -> str:
        """Run a job, and return how it ended: Completed, Stopped or MaxRuntimeExceeded.

        Raises:
            RunFailed: If the image's `train` failed.
            ObjectsFailed: If S3 did not return the inputs or accept the model.
        """
        document = run.document
        image = self.images.find(document["AlgorithmSpecification"]["TrainingImage"])
        if not run.stopping.is_set():
            self._advance(document, "Downloading")
            await in_thread(lay_out, self.objects, document, folder)
        outcome = "Stopped"
        if not run.stopping.is_set():
            document["TrainingStartTime"] = wire.now()
            self._advance(document, "Training")
            outcome = await self._train(document, run, folder, image)
        if any(folder.glob("model/*")):
            self._advance(document, "Uploading")
            document["ModelArtifacts"] = {"S3ModelArtifacts": await in_thread(upload, self.objects, document, folder)}
        return outcome

    async def _train(self, document: Document, run: JobRun, folder: Path, image: Image) -> str:
        name = document["TrainingJobName"]
        write = self.logs.writer(logs.TRAINING, f"{name}/algo-1-{int(wire.now())}")
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
                command, image, folder, variables(document, self.names.region), say, home=self.home, nice=_NICE
            )
        except containers.NotConfined as refused:
            raise RunFailed(str(refused)) from refused
        ended = await carried_out(process, run.stopping, document["StoppingCondition"]["MaxRuntimeInSeconds"])
        if isinstance(ended, str):
            return ended
        if ended:
            raise RunFailed(failure_reason(folder, ended))
        return "Completed"

    async def _trainable(self, run: JobRun, image: Image, folder: Path, say: TakeLine) -> Image:
        """Return the image with its training environment, and what the job's code requires; as it is, if the job is stopped."""

        async def make() -> Image:
            trained = await self.images.for_training(image, say)
            name = required(folder)
            return await self._requirements.made(trained, folder / "input/data/code", say, name) if name else trained

        try:
            return await unless_stopped(run, make()) or image
        except (ImageNotInstalled, RequirementsFailed) as missing:
            raise RunFailed(str(missing)) from missing
