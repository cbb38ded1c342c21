"""Health is what just came back over the bus: in memory, with a router and learners that say what they are told to."""

import asyncio
from concurrent.futures import Future
from uuid import uuid4

import pytest

from api.health import ACKNOWLEDGED_S, PAGES_S, WITHIN_S, Health, Status
from contracts.events import (
    BATCH_MODELS,
    MODELS,
    CorrectionProbed,
    CorrectionReceipt,
    DrawingSubmitted,
    EndpointSeen,
    Event,
    ModelPromoted,
    Outcome,
    PolicySet,
    PreviewGuessed,
    ReceiptProbed,
    now,
)
from contracts.ports import Bus, Record
from producers.bus import open_bus
from tests.answering import answering
from tests.histories import guess, named
from tests.serving import eventually, get, serving

OTHERS = tuple(model for model in MODELS if model != "mxnet")


@pytest.fixture
def bus() -> Bus:
    """With every batch model promoted."""
    bus = open_bus(f"memory://{uuid4()}")
    for model in BATCH_MODELS:
        bus.publish(ModelPromoted(model=model, version="3", title=model, endpoint="e", variant="v3"))
    return bus


def health(address: str) -> tuple[int, str, dict[str, str]]:
    answer = get(address, "/healthz")
    told = answer.json()
    assert told["age_s"] >= 0
    return answer.status_code, told["status"], told["missing"]


def test_ok_is_every_model_and_a_correction_learned(bus):
    with serving(bus) as address, answering(bus):
        assert health(address) == (200, "ok", {})


def test_a_batch_model_that_never_came_is_missing_with_its_cause():
    bus = open_bus(f"memory://{uuid4()}")
    refused = "ImportError: libgomp.so.1"
    bus.publish(EndpointSeen(model="mxnet", version="none", endpoint="gamenight-mxnet", status="Unavailable", reason=refused))
    with serving(bus) as address, answering(bus, "river", "yours", "everyone"):
        starting = dict.fromkeys(("xgboost", "tensorflow", "kmeans"), "it is being started")
        assert health(address) == (200, "degraded", {"mxnet": refused} | starting)


def test_who_is_off_is_not_waited_for_and_a_shadow_is(bus):
    bus.publish(PolicySet(lead="everyone", parts={"mxnet": "off", "kmeans": "shadow"}))
    with serving(bus) as address:
        with answering(bus, *OTHERS):
            assert health(address) == (200, "ok", {})
        with answering(bus, *(set(OTHERS) - {"kmeans"})):
            eventually(lambda: health(address) == (200, "degraded", {"kmeans": f"no answer within {WITHIN_S} s"}))


def test_a_model_that_rests_is_named_with_why_and_not_waited_for(bus):
    with serving(bus) as address, answering(bus, resting=("xgboost",)):
        assert health(address) == (200, "degraded", {"xgboost": "it rests: connection refused"})


def test_an_answer_in_the_place_of_another_is_no_answer(bus):
    with serving(bus) as address, answering(bus, fallback="the endpoint is down"):
        status, told, missing = health(address)
    assert (status, told) == (503, "unavailable")
    assert "no model answered" in missing["router"]


def test_a_shadow_of_a_model_does_not_answer_for_it(bus):
    with serving(bus) as address, answering(bus, role="shadow"):
        status, told, missing = health(address)
    assert (status, told, list(missing)[:1]) == (503, "unavailable", ["router"])


@pytest.mark.parametrize(
    ("learning", "missing"),
    [
        ((), ["learning", "learning of yours"]),
        (("personal",), ["learning"]),
        (("learner",), ["learning of yours"]),
    ],
)
def test_a_correction_that_would_not_be_learned_is_told_and_one_that_is_again_too(bus, learning, missing):
    with serving(bus) as address:
        with answering(bus, learning=learning):
            for _ in range(3):
                status, told, found = health(address)
                assert (status, told, list(found)) == (200, "degraded", missing)
            assert "not learned within" in found[missing[0]]
        with answering(bus):
            eventually(lambda: health(address) == (200, "ok", {}))


def test_the_pages_metrics_say_the_same(bus):
    with serving(bus) as address:
        with answering(bus, *OTHERS):
            degraded = get(address, "/metrics").text
        with answering(bus):
            eventually(lambda: health(address)[1] == "ok")
            ok = get(address, "/metrics").text
    assert 'gamenight_health{status="degraded"} 1.0' in degraded
    assert 'gamenight_health{status="ok"} 0.0' in degraded
    assert 'gamenight_missing{part="mxnet"} 1.0' in degraded
    assert 'gamenight_health{status="ok"} 1.0' in ok
    assert "gamenight_missing{" not in ok


# --- what is asked, and when: on a bus that says what it is told to ------------------------------------------------------


class Stage:
    """A health, the time, and what was put on its bus; every model and learner answers unless told otherwise."""

    def __init__(self, *, acknowledges: bool = True, silent: frozenset[int] = frozenset()) -> None:
        self.now = 100.0
        self.put: list[Event] = []
        self.acknowledges = acknowledges
        self.folding: dict[str, str] = {}
        self.silent = silent
        """Partitions of which nobody answers."""
        self.health = Health(self, lambda: dict.fromkeys(MODELS), lambda: self.folding, lambda: "", lambda: self.now)  # type: ignore[arg-type]

    def publish(self, event: Event) -> "Future[Record]":
        future: Future[Record] = Future()
        self.put.append(event)
        if self.acknowledges:
            future.set_result(Record(event.topic, 0, 0, b"", b"", 0))
            asyncio.get_running_loop().call_soon(self._answer, event)
        self.last = future
        return future

    def _answer(self, event: Event) -> None:
        if self._place(event) in self.silent:
            return
        if isinstance(event, DrawingSubmitted):
            for model in MODELS:
                said = guess(model=model, player=event.player_id).model_dump() | {"final": False, "type": "PreviewGuessed"}
                self.health.heard(PreviewGuessed.model_validate(said | {"drawing_id": event.drawing_id}))
        elif isinstance(event, CorrectionProbed):
            for stage in ("learner", "personal"):
                self.health.receipted(ReceiptProbed(probe_id=event.probe_id, player_id=event.player_id, stage=stage))

    def _place(self, event: Event) -> int:
        return self.health._players.index(event.player_id)  # type: ignore[attr-defined]

    async def check(self, after_s: float = 10.0) -> tuple[Status, list[str], list[str]]:
        """Status, what is missing, and the events that were put because of the question."""
        self.now += after_s
        self.put.clear()
        verdict = await self.health.check()
        assert 0 <= self.health.age_s(verdict) < 1.0
        return verdict.status, list(verdict.missing), [event.type for event in self.put]


BOTH = ["DrawingSubmitted", "CorrectionProbed"]


async def test_each_question_goes_to_the_next_partition_and_many_who_ask_share_one():
    stage = Stage()
    places = []
    for _ in range(4):
        assert await stage.check() == (Status.OK, [], BOTH)
        places += [stage._place(event) for event in stage.put]
    assert sorted(places) == [0, 0, 1, 1, 2, 2, 3, 3]

    stage.now += 10
    stage.put.clear()
    await asyncio.gather(*(stage.health.check() for _ in range(50)))
    assert len(stage.put) == 2


async def test_a_verdict_counts_for_a_moment_and_what_is_learned_for_less_than_a_second():
    stage = Stage()
    await stage.check()

    assert await stage.check(0.1) == (Status.OK, [], [])
    assert await stage.check(0.3) == (Status.OK, [], ["DrawingSubmitted"])
    assert await stage.check(0.6) == (Status.OK, [], BOTH)


async def test_pages_are_content_with_a_verdict_of_a_second():
    stage = Stage()
    first = await stage.health.check()
    stage.now += 0.9
    assert await stage.health.check(PAGES_S) is first
    stage.now += 0.2
    assert await stage.health.check(PAGES_S) is not first


async def test_while_people_play_and_teach_nothing_is_asked():
    stage = Stage()
    for model in MODELS:
        stage.health.heard(guess(model=model))
    for who in ("learner", "personal"):
        word = {"correction_id": named("c1"), "drawing_id": named("d1"), "player_id": "ada", "models": {}, "at": now()}
        stage.health.receipted(CorrectionReceipt(outcome=Outcome.LEARNED, stage=who, **word))

    assert await stage.check(0.1) == (Status.OK, [], [])
    assert await stage.check(1.0) == (Status.OK, [], BOTH)


async def test_answers_of_before_that_are_told_again_prove_nothing():
    stage = Stage()
    for model in MODELS:
        stage.health.heard(PreviewGuessed.model_validate(guess(model=model).model_dump() | {"type": "PreviewGuessed"}))

    assert await stage.check(0.1) == (Status.OK, [], BOTH)


async def test_a_broker_that_does_not_acknowledge_makes_it_unavailable_at_once_and_is_asked_no_more_until_it_does():
    stage = Stage()
    assert (await stage.check())[0] is Status.OK
    stage.acknowledges = False

    status, missing, put = await stage.check(0.5)
    assert (status, missing, put) == (Status.UNAVAILABLE, ["kafka"], ["DrawingSubmitted"])
    assert await stage.check(0.3) == (Status.UNAVAILABLE, ["kafka"], [])

    stage.last.set_result(Record("drawings.v1", 0, 0, b"", b"", 0))
    stage.acknowledges = True
    assert await stage.check(0.3) == (Status.OK, [], BOTH)
    assert ACKNOWLEDGED_S < WITHIN_S < 1.0


async def test_a_partition_that_is_silent_is_asked_again_until_it_answers():
    stage = Stage(silent=frozenset({2}))
    seen = [await stage.check() for _ in range(5)]
    assert [status for status, _, _ in seen].count(Status.UNAVAILABLE) == 1, "when nobody else was asked"
    status, missing, put = await stage.check()
    assert (status, missing, len(put)) == (Status.DEGRADED, ["router", "learning", "learning of yours"], 4)

    stage.silent = frozenset()
    assert (await stage.check())[:2] == (Status.OK, [])
    assert await stage.check() == (Status.OK, [], BOTH)


async def test_what_is_folded_again_is_missing_until_it_is_done():
    stage = Stage()
    stage.folding = {"learning": "it folds again what it knows, 43 %"}
    assert (await stage.check())[:2] == (Status.DEGRADED, ["learning"])

    stage.folding = {}
    assert (await stage.check())[:2] == (Status.OK, [])
