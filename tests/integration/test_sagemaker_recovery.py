"""The local SageMaker under load, and after kill -9 of itself and of its servers."""

import contextlib
import gzip
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import numpy as np
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from contracts.settings import Settings
from deploy.local.sagemaker.containers import MARK
from deploy.local.supervisor import Supervisor, running
from tests.conftest import fresh_settings
from tests.contract.sagemaker_cases import BASE, NPY, Cloud, eventually, npy, read_npy

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return fresh_settings(tmp_path_factory.mktemp("sagemaker"))


@pytest.fixture(scope="module")
def supervisor(settings: Settings) -> Iterator[Supervisor]:
    with running(settings, ["s3", "sagemaker"]) as supervisor:
        yield supervisor
    assert not ours(settings), "nothing is left when all is stopped"


@pytest.fixture
def cloud(settings: Settings, supervisor: Supervisor) -> Cloud:
    return Cloud(settings)


def ours(settings: Settings) -> dict[int, str]:
    """Processes that this home's SageMaker has started: process id -> command line."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            mine = process.environ().get(MARK) == str((settings.home / "sagemaker").absolute())
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline())
    return found


def asking(cloud: Cloud, endpoint: str, until: Callable[[], Any]) -> list[str]:
    """The variants that answered, asked by four at once until something is done; every one must have been answered."""
    done = threading.Event()
    answered: list[str] = []
    failures: list[BaseException] = []

    def ask() -> None:
        mine = Cloud(cloud.settings)
        try:
            while not done.is_set():
                answer = mine.ask(endpoint, np.zeros((2, 784), np.uint8))
                assert read_npy(answer["Body"]).shape == (2, 10)
                answered.append(answer["InvokedProductionVariant"])
        except BaseException as failure:  # noqa: BLE001 - raised again in the test
            failures.append(failure)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        until()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    return answered


def packed_anew(archive: bytes) -> bytes:
    """The same files in other bytes."""
    return gzip.compress(gzip.decompress(archive), 1)


def test_an_update_under_load_loses_no_request(cloud: Cloud, settings: Settings) -> None:
    endpoint = cloud.endpoint(v0=1)

    def update() -> None:
        for number in (1, 2, 3):
            cloud.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=cloud.config(**{f"v{number}": 1}))
            cloud.in_service(endpoint)
            assert cloud.ask(endpoint)["InvokedProductionVariant"] == f"v{number}"

    answered = asking(cloud, endpoint, update)

    assert set(answered) >= {"v0", "v1", "v2"}
    assert len(answered) > 20
    cloud.sagemaker.delete_endpoint(EndpointName=endpoint)
    eventually(lambda: not ours(settings))


def test_a_killed_server_is_started_again_and_requests_wait_for_it(cloud: Cloud, settings: Settings) -> None:
    endpoint = cloud.endpoint(v1=1)
    [first] = ours(settings)

    def kill() -> None:
        os.kill(first, signal.SIGKILL)
        eventually(lambda: ours(settings) and first not in ours(settings))
        cloud.ask(endpoint)

    assert set(asking(cloud, endpoint, kill)) == {"v1"}
    cloud.sagemaker.delete_endpoint(EndpointName=endpoint)
    eventually(lambda: not ours(settings))


def test_a_hung_server_costs_its_own_callers_only_and_answers_when_it_goes_on(cloud: Cloud, settings: Settings) -> None:
    hung = cloud.endpoint(v1=1)
    [process] = ours(settings)
    other = cloud.endpoint(v1=1)
    impatient = boto3.client(
        "sagemaker-runtime",
        config=Config(read_timeout=1, retries={"total_max_attempts": 1}),
        **settings.aws("sagemaker-runtime"),
    )
    os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(ReadTimeoutError):
            impatient.invoke_endpoint(EndpointName=hung, Body=npy(np.zeros((1, 784), np.uint8)), ContentType=NPY)
        assert cloud.ask(other)["InvokedProductionVariant"] == "v1"
    finally:
        os.kill(process, signal.SIGCONT)

    assert cloud.ask(hung)["InvokedProductionVariant"] == "v1"
    assert process in ours(settings)
    for endpoint in (hung, other):
        cloud.sagemaker.delete_endpoint(EndpointName=endpoint)
    eventually(lambda: not ours(settings))


def test_after_kill_9_endpoints_answer_jobs_end_and_nothing_is_orphaned(
    cloud: Cloud, settings: Settings, supervisor: Supervisor
) -> None:
    endpoint = cloud.endpoint(v1=1)
    cloud.sagemaker.add_tags(
        ResourceArn=cloud.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointArn"],
        Tags=[{"Key": "kept", "Value": "yes"}],
    )
    job = cloud.train(rounds=300, max_depth=2)
    eventually(lambda: cloud.job(job)["SecondaryStatus"] == "Training" and len(ours(settings)) == 2)
    before = ours(settings)

    os.kill(supervisor.pid("sagemaker"), signal.SIGKILL)

    eventually(lambda: not before.keys() & ours(settings).keys())

    def answered() -> bool:
        with contextlib.suppress(ClientError, BotoCoreError):
            return bool(cloud.ask(endpoint)["InvokedProductionVariant"] == "v1")
        return False

    eventually(answered)
    assert cloud.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "InService"
    ended = cloud.ended(job)
    assert ended["TrainingJobStatus"] == "Completed"
    assert cloud.s3.list_objects_v2(Bucket=settings.bucket, Prefix=f"conformance/{cloud.run}/output/{job}/")["KeyCount"] == 1
    told = [transition["StatusMessage"] for transition in ended["SecondaryStatusTransitions"]]
    assert "The service was interrupted: the job starts anew" in told
    arn = cloud.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointArn"]
    assert cloud.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "kept", "Value": "yes"}]
    cloud.sagemaker.delete_endpoint(EndpointName=endpoint)
    eventually(lambda: not ours(settings))


def test_an_update_that_was_interrupted_is_done_after_the_restart(
    cloud: Cloud, settings: Settings, supervisor: Supervisor
) -> None:
    endpoint = cloud.endpoint(v1=1)
    config = cloud.config(v2=1)
    cloud.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)

    os.kill(supervisor.pid("sagemaker"), signal.SIGKILL)

    def done() -> bool:
        with contextlib.suppress(ClientError, BotoCoreError):
            described = cloud.sagemaker.describe_endpoint(EndpointName=endpoint)
            return (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", config)
        return False

    eventually(done)
    assert cloud.ask(endpoint)["InvokedProductionVariant"] == "v2"
    cloud.sagemaker.delete_endpoint(EndpointName=endpoint)
    eventually(lambda: not ours(settings))


def test_an_update_leaves_the_servers_of_unchanged_variants_alone(cloud: Cloud, settings: Settings) -> None:
    model = cloud.model(cloud.object("mine/model.tar.gz", BASE.read_bytes()))
    endpoint = cloud.begun(cloud.config_of(cloud.variant("v1", model)))
    cloud.in_service(endpoint)
    [first] = ours(settings)

    def add_candidate() -> None:
        config = cloud.config_of(cloud.variant("v1", model), cloud.variant("v2", cloud.model(), 0))
        cloud.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)
        cloud.in_service(endpoint)

    assert set(asking(cloud, endpoint, add_candidate)) == {"v1"}
    assert first in ours(settings)
    assert len(ours(settings)) == 2
    assert cloud.ask(endpoint, TargetVariant="v2")["InvokedProductionVariant"] == "v2"

    cloud.object("mine/model.tar.gz", packed_anew(BASE.read_bytes()))
    cloud.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=cloud.config_of(cloud.variant("v1", model)))
    cloud.in_service(endpoint)
    eventually(lambda: first not in ours(settings))  # an artifact that was written anew is fetched anew
    assert cloud.ask(endpoint)["InvokedProductionVariant"] == "v1"
    cloud.delete(endpoint)
    eventually(lambda: not ours(settings))


@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
def test_one_endpoint_that_dies_or_hangs_again_and_again_is_not_felt_by_another(
    cloud: Cloud, settings: Settings, harm: signal.Signals
) -> None:
    bad = cloud.endpoint(v1=1)
    [process] = ours(settings)
    good = cloud.endpoint(v1=1)
    [serving] = ours(settings).keys() - {process}

    def harm_it() -> None:
        for _ in range(3 if harm == signal.SIGKILL else 1):
            [victim] = eventually(lambda: ours(settings).keys() - {serving})
            os.kill(victim, harm)
            eventually(lambda before=victim: before not in ours(settings))

    assert set(asking(cloud, good, harm_it)) == {"v1"}

    def answered() -> bool:
        with contextlib.suppress(ClientError):
            return bool(cloud.ask(bad)["InvokedProductionVariant"] == "v1")
        return False

    eventually(answered)
    assert serving in ours(settings)
    for endpoint in (bad, good):
        cloud.delete(endpoint)
    eventually(lambda: not ours(settings))
