"""The reference of /api/predict in /openapi.json tells the truth: each question is sent, each error provoked and compared."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from api.apps.predict_response import Prediction
from contracts.ports import Bus
from producers.bus import open_bus
from tests.answering import answering, at_work
from tests.roster import BATCH_MODELS
from tests.serving import get, serving
from tests.unit.test_predict import SEVEN, ask


@pytest.fixture
def bus() -> Iterator[Bus]:
    opened = open_bus(f"memory://{uuid4()}")
    for model in ("river", *BATCH_MODELS):
        opened.publish(at_work(model))
    yield opened
    opened.close()


class Provoked(NamedTuple):
    """What brings an error about."""

    asked: dict[str, Any]
    settings: Mapping[str, Any] = MappingProxyType({})
    answers: dict[str, Any] | None = None
    """Of `answering`; None: nobody answers."""
    patched: Mapping[str, Any] = MappingProxyType({})


def slow() -> Iterator[bytes]:
    """A body that is promised and not sent."""
    yield b"{"
    time.sleep(0.5)


ONE = {"body": {"strokes": SEVEN}}
PROVOKED = {
    "not_json": Provoked({"content": b"[]"}),
    "no_key": Provoked(ONE | {"key": None}),
    "wrong_key": Provoked(ONE | {"key": "wrong"}),
    "too_slow": Provoked({"content": slow()}, patched={"routes.BODY_S": 0.05}),
    "too_large": Provoked({"content": b" " * 2_000_000}),
    "two_forms": Provoked({"body": {"strokes": SEVEN, "png": ""}}),
    "empty": Provoked({"body": {"image": [0] * 784}}),
    "unknown_model": Provoked({"body": {"strokes": SEVEN, "models": "gpt"}}),
    "too_many": Provoked(ONE, {"predictions_per_minute": 1}, {}),
    "too_many_tries": Provoked(ONE | {"key": "wrong"}),
    "resting": Provoked({"body": {"strokes": SEVEN, "models": "xgboost"}}, {}, {"resting": ("xgboost",)}),
    "busy": Provoked(ONE, patched={"predictor.MAX_OPEN": 0}),
    "late": Provoked(ONE, {"guess_budget_ms": 100}),
}


def alike(problem: dict[str, Any]) -> dict[str, Any]:
    """A problem without its numbers: those of a place and a rate depend on the settings."""
    return problem | {"detail": re.sub(r"\d+(\.\d+)?", "N", problem["detail"])}


def reference(address: str) -> dict[str, Any]:
    """The operation, as /openapi.json has it."""
    post: dict[str, Any] = get(address, "/openapi.json").json()["paths"]["/api/predict"]["post"]
    return post


def test_every_example_of_a_question_is_answered(bus):
    with serving(bus, api_keys="shop:secret-1") as address, answering(bus):
        examples = reference(address)["requestBody"]["content"]["application/json"]["examples"]
        answers = {name: ask(address, example["value"]) for name, example in examples.items()}

    told = {name: (answer.status_code, answer.json().get("digit")) for name, answer in answers.items()}
    assert told == dict.fromkeys(("strokes", "all_models", "image", "png", "several_models"), (200, 7))


def test_every_example_of_an_answer_is_one(bus):
    with serving(bus, api_keys="shop:secret-1") as address, answering(bus, resting=("xgboost",)):
        post = reference(address)
        questions = post["requestBody"]["content"]["application/json"]["examples"]
        for name, example in post["responses"]["200"]["content"]["application/json"]["examples"].items():
            given, told = ask(address, questions[name]["value"]).json(), example["value"]

            Prediction.model_validate(told)
            assert told.keys() == given.keys()
            assert (told["digit"], told["model"], told["models"].keys()) == (7, given["model"], given["models"].keys())
            assert told["models"]["everyone"].items() <= told.items()
            assert told["models"].get("xgboost") == given["models"].get("xgboost")
            assert told["confidence"] == max(told["probabilities"]) == told["probabilities"][told["digit"]]
            assert sum(told["probabilities"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", PROVOKED)
def test_an_example_of_an_error_is_what_that_error_says(bus, monkeypatch, name):
    provoked = PROVOKED[name]
    for patched, value in provoked.patched.items():
        monkeypatch.setattr(f"api.apps.{patched}", value)
    monkeypatch.setattr("api.apps.keys.WRONG_PER_MINUTE", 1)
    given = {"api_keys": "shop:secret-1", **provoked.settings}
    with serving(bus, **given) as address, ExitStack() as answered:
        if provoked.answers is not None:
            answered.enter_context(answering(bus, **provoked.answers))
        if name in ("too_many", "too_many_tries"):
            ask(address, **provoked.asked)
        answer = ask(address, **provoked.asked)
        told = reference(address)["responses"][str(answer.status_code)]["content"]["application/problem+json"]["examples"]

    assert alike(answer.json()) == alike(told[name]["value"])
    assert told[name]["value"]["status"] == answer.status_code


def test_every_error_has_an_example_that_is_provoked_here(bus):
    with serving(bus) as address:
        responses = reference(address)["responses"]
    examples = {
        name
        for status, told in responses.items()
        if status != "200"
        for name in told["content"]["application/problem+json"]["examples"]
    }
    assert examples == PROVOKED.keys()
    assert responses.keys() == {"200", "400", "401", "403", "408", "413", "422", "429", "503", "504"}
