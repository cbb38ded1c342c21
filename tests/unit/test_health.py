"""Healthy means answered by every model that ought to run: on the bus in memory, with a router that says what it is told to."""

from uuid import uuid4

import pytest

from contracts.events import MODELS, EndpointSeen, ModelPromoted, PolicySet
from contracts.ports import Bus
from producers.bus import open_bus
from tests.answering import answering
from tests.serving import eventually, get, serving

OTHERS = tuple(model for model in MODELS if model != "mxnet")


@pytest.fixture
def bus() -> Bus:
    return open_bus(f"memory://{uuid4()}")


def test_who_cannot_be_here_is_not_waited_for(bus):
    bus.publish(
        EndpointSeen(model="mxnet", version="none", endpoint="gamenight-mxnet", status="Unavailable", reason="Linux only")
    )
    with serving(bus) as address, answering(bus, *OTHERS):
        eventually(lambda: get(address, "/healthz").status_code == 200)


def test_who_is_off_is_not_waited_for_and_a_shadow_is(bus):
    bus.publish(PolicySet(lead="everyone", parts={"mxnet": "off", "kmeans": "shadow"}))
    with serving(bus) as address, answering(bus, *OTHERS):
        eventually(lambda: get(address, "/healthz").status_code == 200)
    with serving(bus) as address, answering(bus, *(set(OTHERS) - {"kmeans"})):
        eventually(lambda: get(address, "/healthz").json()["missing"] == ["kmeans"])


def test_a_model_that_rests_is_named_at_once_with_why(bus):
    bus.publish(ModelPromoted(model="xgboost", version="3", title="XGBoost", endpoint="e", variant="v3"))
    with serving(bus) as address, answering(bus, resting=("xgboost",)):
        eventually(lambda: get(address, "/healthz").json()["missing"] == ["xgboost"])
        answer = get(address, "/healthz")

    assert answer.status_code == 503
    assert answer.json()["reason"] == "xgboost did not answer a probe: xgboost rests: connection refused"


def test_a_shadow_of_a_model_does_not_answer_for_it(bus):
    with serving(bus) as address, answering(bus, role="shadow"):
        eventually(lambda: get(address, "/healthz").json()["reason"].startswith("no model answered"))
