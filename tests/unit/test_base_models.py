"""What makes every batch model answer, and what is told of one that cannot."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from contracts.events import ModelRolledBack
from contracts.settings import Settings
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from tests.endpoints import MemoryRegistry, MemoryServing
from tests.histories import promoted, published
from tests.roster import ROSTER
from trainers import base_models
from trainers.base_models import BaseModels
from trainers.model_log import ModelLog
from trainers.promote import Promoter

NOT_HERE = ClientError({"Error": {"Code": "ValidationException", "Message": "Image x is not installed"}}, "CreateModel")


class House:
    """A repository with images, and the trainer's part that brings models up."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, log: Iterable[Any] = (), shelf: MemoryRegistry | None = None
    ):
        self.images = folder / "images"
        self._describe()
        self.settings = Settings(home=folder, tools=folder / "tools", images=str(self.images))
        self.endpoints = MemoryServing()
        self.shelf = shelf or MemoryRegistry()
        self.model_log = ModelLog(ROSTER, log)
        bus = open_bus(f"memory://{uuid4()}")
        promoter = Promoter(bus, self.model_log, self.endpoints)  # type: ignore[arg-type]
        parts: tuple[Any, ...] = (MemoryBlobs(), self.model_log, self.endpoints, promoter, self.shelf)
        self.bases = BaseModels(self.settings, *parts)

    def put_base(self, artifact: bytes) -> None:
        base = self.images / "xgboost" / "base"
        base.mkdir(parents=True, exist_ok=True)
        (base / "model.tar.gz").write_bytes(artifact)
        (base / "base.json").write_text(json.dumps({"command": "make", "data": "MNIST", "mnist_test_accuracy": 0.99}))

    def _describe(self) -> None:
        told = {"title": "XGBoost", "about": "Trees.", "hyperparameters": {"rounds": 75}}
        for model in ROSTER.batch:
            (self.images / model).mkdir(parents=True, exist_ok=True)
            (self.images / model / "image.json").write_text(json.dumps(told))

    @property
    def champion(self) -> str | None:
        champion = self.model_log.champion("xgboost")
        return champion.version if champion else None


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(tmp_path, monkeypatch)
    made.put_base(b"first")
    return made


def test_the_base_of_the_repository_is_registered_and_answers(house):
    assert house.bases.bring("xgboost")
    assert house.champion == "base1"
    [base] = house.shelf.kept
    assert house.model_log.published("xgboost") == {"base1": base}
    assert (base.arn, base.approved, base.title) == ("arn:1", True, "XGBoost")
    assert house.bases.bring("xgboost")
    assert len(house.shelf.kept) == 1


def test_another_artifact_is_another_base_and_follows_the_one_before(house):
    house.bases.bring("xgboost")
    house.put_base(b"second")
    assert house.bases.bring("xgboost")
    assert house.champion == "base2"
    assert house.model_log.champion("xgboost").previous == "base1"
    assert [one.version for one in house.shelf.kept] == ["base1", "base2"]
    house.put_base(b"first")
    house.bases.bring("xgboost")
    assert house.champion == "base2", "an older base does not take over"
    assert len(house.shelf.kept) == 2


def test_another_base_does_not_take_the_place_of_a_version_that_was_trained(tmp_path, monkeypatch):
    house = House(tmp_path, monkeypatch, log=[published("base1"), published("1", 1), promoted("1", "base1")])
    house.put_base(b"second")
    assert house.bases.bring("xgboost")
    assert house.champion == "1"
    assert "base2" in house.model_log.published("xgboost")


def test_a_base_that_people_went_back_from_is_not_promoted_at_the_next_start(house):
    house.bases.bring("xgboost")
    house.put_base(b"second")
    house.bases.bring("xgboost")
    house.model_log.apply(promoted("base1", kind=ModelRolledBack))
    house.bases.bring("xgboost")
    assert house.champion == "base1"


def test_a_log_that_has_forgotten_is_told_again_and_the_endpoint_says_who_answers(tmp_path, monkeypatch):
    versions = [published("base1", arn="arn:1"), published("1", 1, arn="arn:2"), published("2", 2, arn="arn:3", approved=False)]
    house = House(tmp_path, monkeypatch, shelf=MemoryRegistry(*versions))
    house.endpoints.variants = {"v1": 1.0, "base1": 0.0}
    assert house.bases.bring("xgboost")
    assert list(house.model_log.published("xgboost").values()) == versions
    assert (house.champion, house.model_log.champion("xgboost").previous) == ("1", "base1")


def test_what_an_old_log_did_not_know_of_a_version_is_told_from_the_registry(tmp_path, monkeypatch):
    refused = published("1", 1, arn="arn:2", approved=False)
    house = House(
        tmp_path, monkeypatch, log=[published("base1"), published("1", 1), promoted("base1")], shelf=MemoryRegistry(refused)
    )
    house.bases.bring("xgboost")
    assert house.model_log.published("xgboost")["1"] == refused


def test_what_people_said_in_the_registry_and_what_failed_outlives_what_an_old_log_did_not_know(tmp_path, monkeypatch):
    shelf = MemoryRegistry(published("base1", arn="arn:1"), published("1", 1, arn="arn:2"))
    shelf.overrule("1", "Rejected", "wrong digits")
    log = [published("base1"), published("1", 1, failed="router: no answer"), promoted("base1")]
    house = House(tmp_path, monkeypatch, log=log, shelf=shelf)
    house.bases.bring("xgboost")
    told = house.model_log.published("xgboost")["1"]
    assert (told.approved, told.failed) == (False, "router: no answer")
    assert told.gate == "Rejected in the model registry: wrong digits; the gate had said: g"


def test_a_base_that_was_rejected_in_the_registry_is_not_brought(house):
    house.bases.bring("xgboost")
    house.put_base(b"second")
    base = house.bases._base("xgboost")
    house.shelf.overrule(base.version, "Rejected", "too dark")
    house.model_log.apply(house.shelf.read(base.arn).published)
    assert house.bases.bring("xgboost")
    assert house.champion == "base1"


def test_a_model_whose_only_base_was_rejected_is_unavailable_with_the_reason(tmp_path, monkeypatch, house):
    house.bases.bring("xgboost")
    house.shelf.overrule("base1", "Rejected", "too dark")
    anew = House(tmp_path, monkeypatch, shelf=house.shelf)
    assert not anew.bases.bring("xgboost")
    assert anew.model_log.endpoint("xgboost").reason.startswith(
        "xgboost base1 is not approved: Rejected in the model registry: too dark"
    )


def test_a_model_without_a_base_is_unavailable_and_the_reason_says_what_to_do(tmp_path, monkeypatch):
    house = House(tmp_path, monkeypatch)
    assert not house.bases.bring("mxnet")
    seen = house.model_log.endpoint("mxnet")
    assert (seen.status, seen.version, seen.endpoint) == ("Unavailable", "none", "gamenight-mxnet")
    assert "`gamenight train mxnet --base`" in seen.reason
    told = seen.at
    house.bases.bring("mxnet")
    assert house.model_log.endpoint("mxnet").at == told, "the same is not said twice"


def test_an_image_that_is_not_here_makes_its_model_unavailable_until_it_is(house):
    house.endpoints.refuses = NOT_HERE
    assert not house.bases.bring("xgboost")
    seen = house.model_log.endpoint("xgboost")
    assert (seen.status, seen.reason) == ("Unavailable", "Image x is not installed")
    assert house.champion is None
    house.endpoints.refuses = None
    assert house.bases.bring("xgboost")
    assert house.champion == "base1"


def test_an_endpoint_that_failed_is_told_as_sagemaker_tells_it(house):
    house.endpoints.variants, house.endpoints.status, house.endpoints.reason = {"base1": 1.0}, "Failed", "no ping"
    house.endpoints.broken = {"base1"}
    assert not house.bases.bring("xgboost")
    seen = house.model_log.endpoint("xgboost")
    assert (seen.status, seen.reason) == ("Failed", "no ping")


def test_it_is_worth_trying_again_when_the_base_or_the_image_has_changed_or_time_has_passed(house, monkeypatch):
    assert house.bases.worth_trying("xgboost")
    house.bases.bring("xgboost")
    assert not house.bases.worth_trying("xgboost")
    stamp = house.settings.tools / "images" / "xgboost.stamp"
    stamp.parent.mkdir(parents=True)
    stamp.touch()
    assert house.bases.worth_trying("xgboost")
    house.bases.bring("xgboost")
    assert not house.bases.worth_trying("xgboost")
    os.utime(house.images / "xgboost" / "base" / "model.tar.gz", (1, 1))
    assert house.bases.worth_trying("xgboost")
    house.bases.bring("xgboost")
    monkeypatch.setattr(base_models, "RETRY_S", -1.0)
    assert house.bases.worth_trying("xgboost")
