"""How endpoints and jobs of the local SageMaker come back, are changed meanwhile, and end."""

import asyncio
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.local.sagemaker import containers, servers, training
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.fleet import Fleet
from deploy.local.sagemaker.servers import Server, ServerFailed
from tests.contract.sagemaker_stage import Stage, until


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


async def two_versions(stage: Stage) -> None:
    """An endpoint that was in service, all its traffic at v1, when the service ended."""
    stage.gate.touch()
    async with stage.service() as ask:
        for name in ("v1", "v2", "v3"):
            await ask.model(name, GATE=str(stage.gate))
        await ask.config("both", v1=1, v2=0)
        await ask.config("next", v3=1)
        await ask.endpoint("game", "both")
    stage.gate.unlink()


async def test_weights_that_are_shifted_while_an_endpoint_comes_back_stay_shifted(stage: Stage) -> None:
    await two_versions(stage)
    shifted = [{"VariantName": "v1", "DesiredWeight": 0}, {"VariantName": "v2", "DesiredWeight": 1}]
    async with stage.service() as ask:
        assert await ask.status("game") == "SystemUpdating"
        answered = asyncio.create_task(ask.ask("game"))
        change = ask("UpdateEndpointWeightsAndCapacities", EndpointName="game", DesiredWeightsAndCapacities=shifted)
        changed = asyncio.create_task(change)
        await asyncio.sleep(0.3)
        assert not answered.done()
        assert not changed.done()

        stage.gate.touch()
        await changed
        described = await ask.settled("game")

        assert await answered == "v1"
        assert {one["VariantName"]: one["CurrentWeight"] for one in described["ProductionVariants"]} == {"v1": 0, "v2": 1}
        assert {await ask.ask("game") for _ in range(20)} == {"v2"}


async def test_an_update_that_is_asked_for_while_an_endpoint_comes_back_outlives_the_next_restart(stage: Stage) -> None:
    await two_versions(stage)
    async with stage.service() as ask:
        update = asyncio.create_task(ask("UpdateEndpoint", EndpointName="game", EndpointConfigName="next"))
        also = asyncio.create_task(ask("UpdateEndpoint", EndpointName="game", EndpointConfigName="next"))
        await asyncio.sleep(0)
        stage.gate.touch()
        await update
        with pytest.raises(AwsError, match="Cannot update in-progress endpoint"):
            await also
        assert (await ask.settled("game"))["EndpointConfigName"] == "next"

    async with stage.service() as ask:
        described = await ask.settled("game")
        assert (described["EndpointConfigName"], await ask.ask("game")) == ("next", "v3")


async def test_an_endpoint_that_never_was_in_service_stays_failed_with_its_reason(stage: Stage) -> None:
    async with stage.service() as ask:
        await ask.model("v1", BROKEN="yes")
        await ask.config("broken", v1=1)
        await ask("CreateEndpoint", EndpointName="game", EndpointConfigName="broken")
        async with asyncio.timeout(30):
            while await ask.status("game") == "Creating":
                await asyncio.sleep(0.01)
        before = await ask("DescribeEndpoint", EndpointName="game")
    assert before["EndpointStatus"] == "Failed"

    async with stage.service() as ask:
        assert await ask("DescribeEndpoint", EndpointName="game") == before


async def test_an_endpoint_that_breaks_off_for_a_reason_nobody_thought_of_is_not_busy_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object) -> None:
        raise KeyError("surprise")

    await two_versions(stage)
    with monkeypatch.context() as patched:
        patched.setattr(Fleet, "variant", surprise)
        async with stage.service() as ask:
            await until(lambda: not any(task.get_name() == "endpoint game" for task in asyncio.all_tasks()))
            described = await ask("DescribeEndpoint", EndpointName="game")
            assert described["FailureReason"] == "InternalServerError: KeyError('surprise')"
            assert described["EndpointStatus"] == "Failed"
            with pytest.raises(AwsError, match="not found"):
                await ask.ask("game")

    stage.gate.touch()
    async with stage.service() as ask:
        await ask.settled("game")
        monkeypatch.setattr(Fleet, "variant", surprise)
        await ask("UpdateEndpoint", EndpointName="game", EndpointConfigName="next")
        described = await ask.settled("game")
        assert described["FailureReason"] == "InternalServerError: KeyError('surprise')"
        assert (described["EndpointConfigName"], await ask.ask("game")) == ("both", "v1")


@pytest.mark.parametrize("during", ["Creating", "Updating"])
async def test_an_endpoint_deleted_while_its_servers_start_leaves_none_of_them(stage: Stage, during: str) -> None:
    async with stage.service() as ask:
        await ask.model("quick")
        await ask.model("swift")
        await ask.model("held", GATE=str(stage.gate))
        await ask.config("one", quick=1)
        await ask.config("two", swift=1, held=1)
        if during == "Creating":
            await ask("CreateEndpoint", EndpointName="game", EndpointConfigName="two")
        else:
            await ask.endpoint("game", "one")
            await ask("UpdateEndpoint", EndpointName="game", EndpointConfigName="two")
        keeping = {"Creating": 1, "Updating": 2}[during]
        await until(lambda: len(stage.processes()) > keeping and len(watched()) >= keeping)

        assert await ask.status("game") == during
        await ask("DeleteEndpoint", EndpointName="game")
        await ask("DeleteEndpoint", EndpointName="game")
        await until(lambda: not any(task.get_name() == "endpoint game" for task in asyncio.all_tasks()))

        with pytest.raises(AwsError, match="Could not find endpoint"):
            await ask.status("game")
        assert not stage.processes()
        assert not watched()


TAGS = [{"Key": "team", "Value": "game"}]
INFERENCE = {
    "Containers": [{"Image": "any:1"}],
    "SupportedContentTypes": ["text/csv"],
    "SupportedResponseMIMETypes": ["text/csv"],
}
JOB = {
    "AlgorithmSpecification": {"TrainingImage": "any:1", "TrainingInputMode": "File"},
    "RoleArn": "arn:aws:iam::123456789012:role/r",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 600},
}


@pytest.mark.parametrize("interrupted", [False, True])
async def test_tags_of_every_kind_go_with_their_resource(stage: Stage, interrupted: bool) -> None:
    async with stage.service() as ask:
        await ask.model("m")
        await ask.config("c", m=1)
        container = {"PrimaryContainer": {"Image": "any:1"}, "ExecutionRoleArn": JOB["RoleArn"]}
        variants = [{"VariantName": "m", "ModelName": "m", "InitialInstanceCount": 1}]
        made = [
            ("Model", "ModelName", container),
            ("EndpointConfig", "EndpointConfigName", {"ProductionVariants": variants}),
            ("ModelPackageGroup", "ModelPackageGroupName", {}),
            ("ModelPackage", "ModelPackageName", {"InferenceSpecification": INFERENCE}),
            ("TrainingJob", "TrainingJobName", JOB),
            ("Endpoint", "EndpointName", {"EndpointConfigName": "c"}),
        ]
        arns = {}
        for kind, name, request in made:
            arns[kind] = (await ask(f"Create{kind}", **{name: "tagged", "Tags": TAGS, **request}))[f"{kind}Arn"]
            assert (await ask("ListTags", ResourceArn=arns[kind]))["Tags"] == TAGS
        await ask.secondary("tagged", "Failed")  # there is nothing that it could train
        for kind, name, _ in made:
            await ask(f"Delete{kind}", **{name: "tagged"})
        if not interrupted:
            await until(lambda: not any(task.get_name() == "endpoint tagged" for task in asyncio.all_tasks()))

    async with stage.service() as ask:
        for arn in arns.values():
            with pytest.raises(AwsError, match="Could not find resource"):
                await ask("ListTags", ResourceArn=arn)
        assert not ask.service.state.all("tags")


FOREVER = "import time; time.sleep(600)"


async def test_a_job_that_runs_whenever_the_service_is_killed_fails_after_three_restarts(stage: Stage) -> None:
    async with stage.service(killed=True) as ask:
        await ask.job("deadly", FOREVER)
        await ask.secondary("deadly", "Training")
    for _ in range(3):
        async with stage.service(killed=True) as ask:
            await ask.secondary("deadly", "Training")

    async with stage.service() as ask:
        job = await ask.secondary("deadly", "Training", "Failed")

    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"].startswith("InternalServerError: The service was killed 4 times while this job ran")


async def test_a_job_outlives_any_number_of_services_that_were_told_to_end(stage: Stage) -> None:
    async with stage.service() as ask:
        await ask.job("patient", FOREVER)
        await ask.secondary("patient", "Training")
    for _ in range(5):
        async with stage.service() as ask:
            await ask.secondary("patient", "Training")


async def test_a_job_that_breaks_off_for_a_reason_nobody_thought_of_has_failed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(training, "lay_out", surprise)
    async with stage.service() as ask:
        await ask.job("unlucky", FOREVER)
        job = await ask.secondary("unlucky", "Failed")

    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", "InternalServerError: KeyError('surprise')")


def watched() -> list["asyncio.Task[None]"]:
    """The tasks that start servers again when they end."""
    return [task for task in asyncio.all_tasks() if "_keep_running" in repr(task.get_coro())]


async def test_a_metric_whose_expression_never_ends_stops_neither_the_others_nor_the_service(stage: Stage) -> None:
    metrics = [{"Name": "endless", "Regex": "(a+)+$"}, {"Name": "loss", "Regex": r"loss=([0-9.]+|nan)"}]
    script = "print('a' * 60 + '!'); print('loss=0.5'); print('loss=.'); print('x' * 10**6); print('loss=0.25', flush=True)"
    ours = Path("/proc/self/autogroup")
    before = ours.read_text() if ours.exists() else ""
    async with stage.service() as ask:
        await ask.job("measured", script, MetricDefinitions=metrics)
        job = await ask.secondary("measured", "Completed")

        assert (ours.read_text() if ours.exists() else "") == before, "looking for metrics slows this service down"
        assert [(one["MetricName"], one["Value"]) for one in job["FinalMetricDataList"]] == [("loss", 0.25)]
        told = await ask("logs:FilterLogEvents", logGroupName="/aws/sagemaker/TrainingJobs", filterPattern='"metric endless"')
        assert len(told["events"]) == 1


async def newcomer(stage: Stage, known: int) -> int:
    """The process beside one that is known; while it becomes what it shall be, it cannot always be seen."""
    found: set[int] = set()

    def seen() -> bool:
        nonlocal found
        found = stage.processes() - {known}
        return len(found) == 1

    await until(seen)
    return found.pop()


def threads(pid: int) -> list[int]:
    """How far each thread of a process steps back."""
    return [os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]


def session(pid: int) -> int:
    """How far a process's session steps back, where Linux weighs sessions."""
    group = Path(f"/proc/{pid}/autogroup")
    return int(group.read_text().split()[-1]) if group.is_file() else 0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells of threads")
@pytest.mark.parametrize("can_come_forward", [True, False])
async def test_a_server_that_starts_beside_others_steps_back_until_it_answers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, can_come_forward: bool
) -> None:
    normal = os.getpriority(os.PRIO_PROCESS, 0)
    if not can_come_forward:
        monkeypatch.setattr(containers, "can_come_forward", lambda: False)
    elif not containers.can_come_forward():
        pytest.skip("the kernel lets nobody come forward here")
    stage.gate.touch()
    async with stage.service() as ask:
        await ask.model("v1", GATE=str(stage.gate))
        await ask.model("v2", GATE=str(stage.gate))
        await ask.config("before", v1=1)
        await ask.config("after", v2=1)
        await ask.endpoint("game", "before")
        [first] = stage.processes()
        assert (set(threads(first)), session(first)) == ({normal}, 0), "what is made anew starts at once"

        stage.gate.unlink()
        await ask("UpdateEndpoint", EndpointName="game", EndpointConfigName="after")
        second = await newcomer(stage, first)
        await until(lambda: len(threads(second)) == 2)
        assert set(threads(second)) == {min(19, normal + 10) if can_come_forward else normal}

        stage.gate.touch()
        await ask.settled("game")
        assert (set(threads(second)), session(second)) == ({normal}, 0)

        await until(lambda: first not in stage.processes())
        stage.gate.unlink()
        os.kill(second, signal.SIGKILL)
        third = await newcomer(stage, second)
        await until(lambda: len(threads(third)) == 2)
        assert set(threads(third)) == {min(19, normal + 10) if can_come_forward else normal}
        stage.gate.touch()
        assert await ask.ask("game") == "v2"
        assert (set(threads(third)), session(third)) == ({normal}, 0)


async def test_a_server_is_tried_again_whatever_went_wrong_with_its_last_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_FIRST_PAUSE_S", 0.0)
    server = Server(SimpleNamespace(), Path(), {}, print, home=Path(), patience_s=1.0)  # type: ignore[arg-type]
    server._process = SimpleNamespace()  # type: ignore[assignment]
    starts, up = [KeyError("surprise"), OSError("no process"), ServerFailed("it ended")], asyncio.Event()

    async def launch(aside: bool) -> None:
        if starts:
            raise starts.pop(0)
        up.set()

    async def ended(process: object) -> int:
        if up.is_set():
            await asyncio.Event().wait()
        return 1

    monkeypatch.setattr(server, "_launch", launch)
    monkeypatch.setattr(server, "_ended", ended)
    watch = asyncio.create_task(server._keep_running())
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait([watch, waiting], timeout=20, return_when=asyncio.FIRST_COMPLETED)
    for task in (watch, waiting):
        task.cancel()

    assert up.is_set(), "nobody else would try"
