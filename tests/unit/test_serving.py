"""What an endpoint may answer the trainer: probabilities, or it has failed, whatever else it sends."""

import io
import zipfile
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from contracts.settings import Settings
from tests.histories import published
from trainers.serving import Serving, ServingFailed

RASTERS = np.zeros((2, 784), np.uint8)
ROWS = np.array([[0.1] * 10, [0.91, *[0.01] * 9]])


class Runtime:
    """`sagemaker-runtime`, which answers with given bytes."""

    def __init__(self, body: bytes, variant: str = "v2") -> None:
        self.body = io.BytesIO(body)
        self._variant = variant
        self._length = len(body)

    def invoke_endpoint(self, **asked: Any) -> dict[str, Any]:
        assert np.load(io.BytesIO(asked["Body"])).shape == RASTERS.shape
        return {"Body": StreamingBody(self.body, self._length), "InvokedProductionVariant": self._variant}


def answered(runtime: Any) -> Any:
    serving = Serving(Settings(aws_services="local"), lambda seconds: None)
    serving._runtime = runtime
    return serving.ask("gamenight-xgboost", RASTERS, "v2")


def npy(array: Any) -> bytes:
    body = io.BytesIO()
    np.save(body, array)
    return body.getvalue()


def npz() -> bytes:
    body = io.BytesIO()
    np.savez(body, ROWS)
    return body.getvalue()


def zipped(inside: bytes) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("a.txt", inside)
    return body.getvalue()


def headed(head: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_probabilities_are_taken_as_they_are(kind: type) -> None:
    np.testing.assert_allclose(answered(Runtime(npy(ROWS.astype(kind)))), ROWS, atol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Internal Server Error",
        b"PK\x03\x04 is no zip",
        npz(),
        zipped(b"0.1"),
        headed("{'descr': (("),
        headed("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 10)}"),
        headed("{'descr': '<f8', 'fortran_order': False, 'shape': (1" + "0" * 40 + ", 10)}"),
        npy(np.array([print], dtype=object)),
        npy(ROWS[:1]),
        npy(ROWS)[:-1],
        npy(ROWS * 2),
        npy(ROWS - 0.05),
        npy(np.full((2, 10), np.nan)),
        npy(np.zeros((2, 10))),
        npy(ROWS.astype("<U8")),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_probabilities_is_a_failure_of_the_version_that_gave_it(body: bytes) -> None:
    """zipfile.BadZipFile, tokenize.TokenError, MemoryError and OverflowError once went through, and ended a rebuild."""
    with pytest.raises(ServingFailed, match="v2 on endpoint gamenight-xgboost gave an answer "):
        answered(Runtime(body))


def test_an_answer_without_an_end_is_not_read_to_its_end() -> None:
    runtime = Runtime(npy(ROWS) + b"\0" * 10_000_000)
    with pytest.raises(ServingFailed):
        answered(runtime)
    assert runtime.body.tell() < 10_000


def test_another_variant_s_answer_is_not_taken_for_that_of_the_one_asked() -> None:
    with pytest.raises(ServingFailed, match="answered as v1, not as v2"):
        answered(Runtime(npy(ROWS), "v1"))


@pytest.mark.parametrize(("code", "kind"), [("ModelError", ServingFailed), ("ThrottlingException", ClientError)])
def test_a_broken_variant_is_told_from_a_sagemaker_that_is_not_well(code: str, kind: type[Exception]) -> None:
    class Down:
        def invoke_endpoint(self, **asked: Any) -> None:
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, "InvokeEndpoint")

    with pytest.raises(kind):
        answered(Down())


def test_whoever_waits_for_an_endpoint_looks_now_and_then_whether_it_is_still_wanted() -> None:
    serving, looks = Serving(Settings(aws_services="local"), lambda seconds: None), list[int]()
    serving._sagemaker = SimpleNamespace(describe_endpoint=lambda EndpointName: {"EndpointStatus": "Creating"})  # noqa: N803

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise TimeoutError("not wanted any more")

    with pytest.raises(TimeoutError, match="not wanted any more"):
        serving.ready("gamenight-xgboost", published("2"), look=look)


def test_an_answer_that_breaks_off_is_asked_for_again_and_is_no_fault_of_the_version() -> None:
    """The local SageMaker was killed in the middle of it."""

    class Killed(Runtime):
        def invoke_endpoint(self, **asked: Any) -> dict[str, Any]:
            answer = super().invoke_endpoint(**asked)
            if self.body.tell() == 0 and not told:
                told.append("killed")
                answer["Body"] = StreamingBody(io.BytesIO(npy(ROWS)[:150]), len(npy(ROWS)))
            return answer

    told: list[str] = []
    np.testing.assert_allclose(answered(Killed(npy(ROWS))), ROWS)
    assert told == ["killed"]


def test_an_endpoint_of_any_versions_is_discarded_with_its_config_and_one_that_is_not_there_is_no_fault() -> None:
    there = {"gamenight-xgboost-judge": "a-config"}
    configs = ["a-config", "another"]

    def described(EndpointName: str) -> dict[str, str]:  # noqa: N803
        if EndpointName not in there:
            said = {"Code": "ValidationException", "Message": "Could not find endpoint"}
            raise ClientError({"Error": said}, "DescribeEndpoint")
        return {"EndpointStatus": "InService", "EndpointConfigName": there[EndpointName]}

    serving = Serving(Settings(aws_services="local"), lambda seconds: None)
    serving._sagemaker = SimpleNamespace(
        describe_endpoint=described,
        delete_endpoint=lambda EndpointName: there.pop(EndpointName),  # noqa: N803
        delete_endpoint_config=lambda EndpointConfigName: configs.remove(EndpointConfigName),  # noqa: N803
    )
    serving.discard("gamenight-xgboost-judge")
    serving.discard("gamenight-xgboost-judge")

    assert (there, configs) == ({}, ["another"])
