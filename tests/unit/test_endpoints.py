"""What an endpoint says is checked before anyone sees it, and whatever goes wrong is one error."""

import io
from typing import Any, cast

import numpy as np
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from contracts.ports import EndpointDown
from contracts.settings import Settings
from streams.endpoints import NPY, SageMakerEndpoint, sagemaker_endpoints

RASTERS = np.zeros((2, 784), np.uint8)


def npy(array: Any) -> bytes:
    body = io.BytesIO()
    np.save(body, np.asarray(array), allow_pickle=True)
    return body.getvalue()


class Runtime:
    """The one operation of the client that is used."""

    def __init__(self, said: bytes | Exception) -> None:
        self.said = said
        self.asked: dict[str, Any] = {}

    def invoke_endpoint(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        if isinstance(self.said, Exception):
            raise self.said
        return {"Body": io.BytesIO(self.said), "InvokedProductionVariant": "v7"}


def endpoint(runtime: Runtime) -> SageMakerEndpoint:
    return SageMakerEndpoint(cast(Any, runtime), "gamenight-xgboost")


def test_an_endpoint_is_asked_in_numpys_format_and_tells_its_variant():
    runtime = Runtime(npy(np.full((2, 10), 0.1, np.float32)))

    answer = endpoint(runtime).predict(RASTERS)

    assert answer.variant == "v7"
    assert answer.probabilities.sum(axis=1) == pytest.approx([1, 1])
    assert (runtime.asked["EndpointName"], runtime.asked["ContentType"], runtime.asked["Accept"]) == (
        "gamenight-xgboost",
        NPY,
        NPY,
    )
    assert (np.load(io.BytesIO(runtime.asked["Body"])) == RASTERS).all()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"<html>",
        npy(np.full((1, 10), 0.1)),
        npy(np.full((2, 9), 1 / 9)),
        npy(np.full((2, 10), 0.2)),
        npy(np.full((2, 10), np.nan)),
        npy([[1.5, -0.5, *[0.0] * 8]] * 2),
        npy([["a"] * 10] * 2),
        npy(np.array([[None] * 10] * 2, dtype=object)),
        npy(np.full((2, 10), 0.1))[:-8],
    ],
)
def test_what_is_no_set_of_probabilities_is_no_answer(said: bytes):
    with pytest.raises(EndpointDown, match="gamenight-xgboost"):
        endpoint(Runtime(said)).predict(RASTERS)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ModelError", "Message": "it broke"}}, "InvokeEndpoint"),
        ReadTimeoutError(endpoint_url="http://127.0.0.1"),
    ],
)
def test_an_endpoint_that_fails_or_hangs_is_down(error: Exception):
    with pytest.raises(EndpointDown, match="gamenight-xgboost"):
        endpoint(Runtime(error)).predict(RASTERS)


def test_nobody_at_the_door_is_down_too():
    opened = sagemaker_endpoints(Settings(sagemaker_port=9, aws_access_key_id="a", aws_secret_access_key="b"))

    with pytest.raises(EndpointDown):
        opened("gamenight-xgboost").predict(RASTERS)
