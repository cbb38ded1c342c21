"""The watch over the endpoints: what has changed is told once, and what does not answer is tried again."""

from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import EndpointConnectionError

from contracts.events import EndpointSeen
from producers.bus import open_bus
from tests.endpoints import MemoryRegistry, MemoryServing
from tests.histories import promoted, published
from tests.roster import BATCH_MODELS, ROSTER
from trainers.approval import Approvals
from trainers.endpoint_monitor import EndpointMonitor
from trainers.model_log import ModelLog
from trainers.promote import Promoter


class Post:
    """A watch, with what it said and whom it brought again."""

    def __init__(self, serving: MemoryServing) -> None:
        base = published("base1", arn="arn:1")
        self.model_log = ModelLog(ROSTER, [base, promoted("base1")])
        self.registry = MemoryRegistry(base)
        self.brought: list[str] = []
        self.worth = True
        promoter = Promoter(open_bus(f"memory://{uuid4()}"), self.model_log, serving)  # type: ignore[arg-type]
        given: Any = serving
        approvals = Approvals(self.model_log, promoter, self.registry)  # type: ignore[arg-type]
        self._watch = EndpointMonitor(self.model_log, given, promoter, approvals, lambda model: self.worth, self.brought.append)

    def look(self) -> EndpointSeen | None:
        self.brought.clear()
        self._watch.look()
        return self.model_log.endpoint("xgboost")


@pytest.fixture
def endpoints() -> MemoryServing:
    made = MemoryServing()
    made.serve("gamenight-xgboost", published("base1"))
    return made


@pytest.fixture
def post(endpoints: MemoryServing) -> Post:
    return Post(endpoints)


def test_an_endpoint_is_looked_at_when_it_has_changed_and_told_when_it_is_another(post, endpoints):
    first = post.look()
    assert first.status == "InService"
    assert post.look() is first
    assert endpoints.looked == 1

    endpoints.status, endpoints.changed = "Updating", 2
    assert post.look().status == "Updating"
    assert "xgboost" not in post.brought


def test_a_watch_that_begins_anew_does_not_repeat_what_was_said(post, endpoints):
    said = post.look()
    again = Post(endpoints)
    again.model_log.apply(said)
    assert again.look() is said


def test_an_endpoint_that_is_gone_is_told_once_and_brought_again(post, endpoints):
    post.look()
    endpoints.variants = {}
    gone = post.look()
    assert (gone.status, gone.reason, gone.version, gone.variants) == ("Unavailable", "the endpoint was deleted", "none", [])
    assert "xgboost" in post.brought
    assert post.look() is gone


def test_models_that_do_not_answer_are_brought_again_when_it_is_worth_trying(post, endpoints):
    endpoints.status = "Failed"
    post.look()
    assert post.brought == ["xgboost", "tensorflow", "mxnet", "kmeans"]
    post.worth = False
    post.look()
    assert post.brought == []


def test_why_a_model_is_unavailable_stays_said(post):
    reason = EndpointSeen(model="mxnet", version="none", endpoint="e", status="Unavailable", reason="not on this machine")
    post.model_log.apply(reason)
    post.look()
    assert post.model_log.endpoint("mxnet") is reason


def test_an_outage_of_sagemaker_is_no_news_and_passes(post, endpoints):
    said = post.look()
    endpoints.down = EndpointConnectionError(endpoint_url="http://localhost")
    assert post.look() is said
    endpoints.down = None
    assert post.look() is said


def test_what_somebody_says_of_a_version_in_the_registry_is_told_once_and_taken_back_as_well(post):
    base = post.model_log.published("xgboost")["base1"]
    post.registry.overrule("base1", "Rejected", "too dark")
    for _ in BATCH_MODELS:
        post.look()
    told = post.model_log.published("xgboost")["base1"]
    assert (told.approved, told.gate) == (False, "Rejected in the model registry: too dark; the gate had said: g")
    for _ in BATCH_MODELS:
        post.look()
    assert post.model_log.published("xgboost")["base1"] is told
    post.registry.overrule("base1", "Approved")
    for _ in BATCH_MODELS:
        post.look()
    assert post.model_log.published("xgboost")["base1"] == base


def test_a_version_that_the_registry_does_not_know_stays_as_it_was_said(post):
    stranger = published("base1", arn="arn:1", digest="another registry's", approved=False)
    post.registry.kept = [stranger]
    for _ in BATCH_MODELS:
        post.look()
    assert post.model_log.published("xgboost")["base1"].approved
