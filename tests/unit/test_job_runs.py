"""Jobs that run once and end: turns, stops, failures, and what becomes of them when the service is killed."""

import asyncio
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.experiments import Experiments
from deploy.local.sagemaker.job_runs import MOST_RESTARTS, JobParts, JobRun, JobRuns, RunFailed
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags
from deploy.local.sagemaker.threads import in_thread


class Jobs(JobRuns):
    """Transform jobs that do what their name says."""

    kind = "transform-job"
    prefix = "Transform"
    begun, enough, done = threading.Event(), threading.Event(), threading.Event()

    def refuse(self, request: Document) -> None:
        """Everything can be done."""

    def download(self, folder: Path) -> None:
        """Write into the folder, in a thread, until the test has seen enough."""
        self.begun.set()
        assert self.enough.wait(30)
        folder.mkdir(parents=True)
        (folder / "given").touch()
        self.done.set()

    async def work(self, run: JobRun, folder: Path) -> str:
        """Do what the name says."""
        match run.document["TransformJobName"]:
            case "fails":
                raise RunFailed("it was told to")
            case "breaks":
                raise KeyError("surprise")
            case "stops":
                await run.stopping.wait()
                return "Stopped"
            case "downloads":
                await in_thread(self.download, folder)
            case "hangs":
                await asyncio.Event().wait()
        return "Completed"


class Played:
    """A service of these jobs on a home; one job has its turn at a time."""

    def __init__(self, home: Path) -> None:
        self.state = State(home / "state.sqlite")
        names, tags, unused = Names("us-east-1", "1" * 12), Tags(self.state), cast("Any", None)
        parts = JobParts(self.state, names, tags, home, unused, unused, unused, Experiments(self.state, names, tags))
        self.jobs = Jobs(parts, asyncio.Semaphore(1))
        self.jobs.recover()

    async def create(self, name: str) -> None:
        await self.jobs.create({"TransformJobName": name})

    async def job(self, name: str) -> dict[str, Any]:
        return await self.jobs.describe({"TransformJobName": name})

    async def stop(self, name: str) -> None:
        await self.jobs.stop({"TransformJobName": name})

    async def ended(self, name: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while name in self.jobs.runs:
                await asyncio.sleep(0.001)
        return await self.job(name)

    async def running(self, name: str) -> None:
        async with asyncio.timeout(30):
            while "TransformStartTime" not in await self.job(name):
                await asyncio.sleep(0.001)

    async def killed(self) -> None:
        """End as kill -9 does: nothing that the end writes counts."""
        before = self.state.all(Jobs.kind)
        await self.jobs.close()
        for document in before:
            self.state.put(Jobs.kind, document["TransformJobName"], document)
        self.state.close()


async def test_a_job_ends_as_its_work_does(tmp_path: Path) -> None:
    played = Played(tmp_path)
    for name, status, reason in (
        ("works", "Completed", None),
        ("fails", "Failed", "it was told to"),
        ("breaks", "Failed", "InternalServerError: KeyError('surprise')"),
    ):
        await played.create(name)
        job = await played.ended(name)
        assert (job["TransformJobStatus"], job.get("FailureReason")) == (status, reason)


async def test_a_job_waits_for_its_turn_and_can_be_stopped_meanwhile(tmp_path: Path) -> None:
    played = Played(tmp_path)
    for name in ("stops", "works", "waits"):
        await played.create(name)
    await played.running("stops")

    await played.stop("waits")
    assert (await played.job("waits"))["TransformJobStatus"] == "Stopped"
    assert "TransformStartTime" not in await played.job("works")
    await played.stop("stops")
    await played.stop("stops")

    assert (await played.ended("stops"))["TransformJobStatus"] == "Stopped"
    assert (await played.ended("works"))["TransformJobStatus"] == "Completed"
    with pytest.raises(AwsError, match="the transform job is in status Completed"):
        await played.stop("works")


async def test_a_job_runs_again_after_a_kill_but_not_for_ever(tmp_path: Path) -> None:
    played = Played(tmp_path)
    await played.create("hangs")
    await played.create("works")
    for _ in range(MOST_RESTARTS):
        await played.running("hangs")
        await played.killed()
        played = Played(tmp_path)
    await played.running("hangs")
    await played.killed()

    played = Played(tmp_path)

    job = await played.ended("hangs")
    assert job["TransformJobStatus"] == "Failed"
    assert "killed 4 times while this job ran" in job["FailureReason"]
    assert (await played.ended("works"))["TransformJobStatus"] == "Completed"


async def test_a_job_outlives_services_that_were_told_to_end_and_one_that_was_stopping_has_stopped(tmp_path: Path) -> None:
    played = Played(tmp_path)
    await played.create("hangs")
    for _ in range(MOST_RESTARTS + 2):
        await played.running("hangs")
        await played.jobs.close()
        played.state.close()
        played = Played(tmp_path)
    await played.running("hangs")
    await played.stop("hangs")
    await played.killed()

    played = Played(tmp_path)

    assert (await played.job("hangs"))["TransformJobStatus"] == "Stopped"


async def test_a_thread_that_writes_is_waited_for_and_nothing_is_left_of_the_folder(tmp_path: Path) -> None:
    played = Played(tmp_path)
    await played.create("downloads")
    assert await asyncio.to_thread(Jobs.begun.wait, 5)
    closing = asyncio.create_task(played.jobs.close())
    for _ in range(3):  # cancelled again and again
        await asyncio.sleep(0)
        for run in played.jobs.runs.values():
            assert run.task
            run.task.cancel()
    assert not closing.done()

    Jobs.enough.set()
    await closing

    assert await asyncio.to_thread(Jobs.done.wait, 5)
    assert list(tmp_path.glob("transform-jobs/*")) == []


async def test_what_a_killed_service_left_of_jobs_is_removed(tmp_path: Path) -> None:
    (tmp_path / "transform-jobs" / "gone").mkdir(parents=True)

    Played(tmp_path)

    assert not (tmp_path / "transform-jobs").exists()
