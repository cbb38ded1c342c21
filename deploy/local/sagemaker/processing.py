"""Runs processing jobs: an image's Python with a program of the user's own, inputs from S3, outputs to S3."""

import asyncio
import json
import re
from pathlib import Path, PurePosixPath
from typing import Final

from deploy.local.sagemaker import containers, logs
from deploy.local.sagemaker.containers import Image, TakeLine
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, invalid
from deploy.local.sagemaker.job_folder import own_files, own_text
from deploy.local.sagemaker.job_runs import JobParts, JobRun, JobRuns, RunFailed, carried_out, unless_stopped
from deploy.local.sagemaker.objects import Objects
from deploy.local.sagemaker.requirements import Requirements, RequirementsFailed
from deploy.local.sagemaker.threads import in_thread
from deploy.local.sagemaker.unpacking import ArchiveRefused, unpack

_NICE: Final = 10
_DAY_S: Final = 86400
_ROOT: Final = PurePosixPath("/opt/ml")
_MESSAGE_LENGTH: Final = 1024
_BUNDLE: Final = "/opt/ml/processing/input/code/sourcedir.tar.gz"
_INSTALLS: Final = re.compile(r"^if \[\[ -f '([^'\n]+)' \]\]; then$.*?/install_requirements\.py ", re.M | re.S)
"""Where the script that the SDK writes installs what a file requires."""


class ProcessingJobs(JobRuns):
    """Keeps and runs processing jobs."""

    kind = "processing-job"
    prefix = "Processing"

    def __init__(self, parts: JobParts, turns: asyncio.Semaphore, requirements: Requirements) -> None:
        """Keep the parts; jobs of other kinds may take their turns by the same semaphore."""
        super().__init__(parts, turns)
        self._requirements = requirements

    def refuse(self, request: Document) -> None:
        """Refuse what this machine does not do, and what lies outside the container's own folder."""
        self.images.find(request["AppSpecification"]["ImageUri"])
        if "ContainerEntrypoint" not in request["AppSpecification"]:
            raise invalid("AppSpecification needs a ContainerEntrypoint: no image of this machine has one for processing")
        if request["ProcessingResources"]["ClusterConfig"].get("InstanceCount", 1) != 1:
            raise AwsError("ResourceLimitExceeded", "This machine is one instance: set InstanceCount to 1")
        places = []
        for given in request.get("ProcessingInputs", []):
            source = given.get("S3Input")
            if source is None or source["S3DataType"] != "S3Prefix" or source.get("S3InputMode", "File") != "File":
                raise invalid(f"Input {given['InputName']}: only S3Input of type S3Prefix in mode File is on this machine")
            if not given.get("AppManaged"):
                places.append(source.get("LocalPath", ""))
        for made in request.get("ProcessingOutputConfig", {}).get("Outputs", []):
            if "S3Output" not in made:
                raise invalid(f"Output {made['OutputName']}: only S3Output is on this machine")
            if not made.get("AppManaged"):
                places.append(made["S3Output"].get("LocalPath", ""))
        for place in places:
            parts = PurePosixPath(place).parts
            if parts[:4] != ("/", "opt", "ml", "processing") or ".." in parts:
                raise invalid(f"LocalPath {place or 'is missing: it'} must begin with /opt/ml/processing")
        if len(set(places)) < len(places):
            raise invalid("Each input and output needs a LocalPath of its own")

    async def work(self, run: JobRun, folder: Path) -> str:
        """Fetch the inputs, run the program, put the outputs into S3."""
        document = run.document
        await in_thread(_lay_out, self.objects, document, folder)
        if run.stopping.is_set():
            return "Stopped"
        specification = document["AppSpecification"]
        image = self.images.find(specification["ImageUri"])
        command = (*specification["ContainerEntrypoint"], *specification.get("ContainerArguments", ()))
        name = document["ProcessingJobName"]
        say = self.logs.writer(logs.PROCESSING, f"{name}/algo-1-{int(document['ProcessingStartTime'])}")
        image = await self._with_packages(run, image, folder, say)
        if run.stopping.is_set():
            return "Stopped"
        environment = {
            "AWS_REGION": self.names.region,
            "PROCESSING_JOB_ARN": document["ProcessingJobArn"],
            **document.get("Environment", {}),
        }
        try:
            process = await containers.start(command, image, folder, environment, say, home=self.home, nice=_NICE)
        except containers.NotConfined as refused:
            raise RunFailed(str(refused)) from refused
        limit = document.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", _DAY_S)
        ended = await carried_out(process, run.stopping, limit)
        if message := own_text(folder, folder / "output" / "message"):
            document["ExitMessage"] = message[:_MESSAGE_LENGTH]
        if ended == "MaxRuntimeExceeded":
            raise RunFailed(f"ClientError: the job ran for longer than {limit} s (MaxRuntimeInSeconds)")
        if isinstance(ended, int) and ended:
            code = ended if ended >= 0 else 128 - ended
            raise RunFailed(f"AlgorithmError: See job logs for more information, exit code: {code}")
        await in_thread(self._upload, document, folder)
        return "Completed" if ended == 0 else "Stopped"

    async def _with_packages(self, run: JobRun, image: Image, folder: Path, say: TakeLine) -> Image:
        """Return the image with the packages that the SDK's FrameworkProcessor would have pip install in the job."""
        code = folder / "code"
        name = await in_thread(_required, run.document, folder, code, say)
        if name is None:
            return image
        try:
            return await unless_stopped(run, self._requirements.made(image, code, say, name)) or image
        except RequirementsFailed as failed:
            raise RunFailed(str(failed)) from failed

    def _upload(self, document: Document, folder: Path) -> None:
        for made in document.get("ProcessingOutputConfig", {}).get("Outputs", []):
            if made.get("AppManaged"):
                continue
            place = _within(folder, made["S3Output"]["LocalPath"])
            self.objects.upload_files(own_files(folder, place), place, made["S3Output"]["S3Uri"])


def _required(document: Document, folder: Path, code: Path, say: TakeLine) -> str | None:
    """Unpack the code of a FrameworkProcessor once more, into ``code``; return its requirements file; None: it has none.

    The script that the SDK has written is its entrypoint, and names the file: the script is read, never executed here.
    """
    command = document["AppSpecification"]["ContainerEntrypoint"]
    place, bundle = PurePosixPath(command[-1]), _within(folder, _BUNDLE)
    if not place.is_relative_to(_ROOT / "processing") or ".." in place.parts or not own_text(folder, bundle):
        return None
    named = _INSTALLS.search(own_text(folder, _within(folder, str(place))))
    if named is None:
        return None
    try:
        with bundle.open("rb") as packed:
            unpack(packed, code)
    except ArchiveRefused as refused:
        say(f"sourcedir.tar.gz: {refused}: packages that it requires are not installed")
        return None
    return named[1] if own_text(folder, code / named[1]) else None


def _within(folder: Path, place: str) -> Path:
    """Return the folder that a container sees at a place."""
    return folder / PurePosixPath(place).relative_to(_ROOT)


def _lay_out(objects: Objects, document: Document, folder: Path) -> None:
    """Make /opt/ml: configuration, inputs, and empty folders for the outputs."""
    for part in ("config", "output", "processing"):
        (folder / part).mkdir(parents=True)
    for given in document.get("ProcessingInputs", []):
        if not given.get("AppManaged"):
            objects.download_prefix(given["S3Input"]["S3Uri"], _within(folder, given["S3Input"]["LocalPath"]))
    for made in document.get("ProcessingOutputConfig", {}).get("Outputs", []):
        if not made.get("AppManaged"):
            _within(folder, made["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
    told = {name: value for name, value in document.items() if not name.startswith("_")}
    (folder / "config" / "processingjobconfig.json").write_text(json.dumps(told))
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"]}
    (folder / "config" / "resourceconfig.json").write_text(json.dumps(hosts))
