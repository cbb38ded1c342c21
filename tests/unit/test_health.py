"""Health is what just came back over the bus: in memory, with a router and learners that say what they are told to."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import NamedTuple
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.health import ACKNOWLEDGED_S, OLDEST_S, PAGES_S, WITHIN_S, Health
from api.probes import Probes
from api.verdict import Status, Verdict
from contracts.events import (
    PLAYER_PARTITIONS,
    CorrectionProbed,
    CorrectionReceipt,
    DrawingSubmitted,
    EndpointSeen,
    Event,
    GuessMade,
    GuessMissed,
    ModelPromoted,
    Outcome,
    PolicySet,
    PreviewGuessed,
    ReceiptProbed,
    now,
)
from contracts.ports import Bus, Record
from producers.bus import open_bus
from producers.placement import partition_of
from tests.answering import answering
from tests.histories import guess, named
from tests.roster import BATCH_MODELS, MODELS
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
    assert 0 <= told["age_s"] <= OLDEST_S
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
        assert get(address, "/healthz").json()["titles"] == {"xgboost": "XGBoost"}, "pages know models by their titles"


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


ALL_WELL = SimpleNamespace(expected=dict.fromkeys(MODELS), folding={}, trouble="")
"""A board on which every model can be asked, and a relay that reads."""


class Stage:
    """A health, the time, and what was put on its bus; every model and learner answers unless told otherwise."""

    def __init__(self, *, acknowledges: bool = True, silent: frozenset[int] = frozenset()) -> None:
        self.now = 100.0
        self.put: list[Event] = []
        self.acknowledges = acknowledges
        self.folding: dict[str, str] = {}
        self.silent = silent
        """Partitions of which nobody answers."""
        self.learns = True
        self.unread: int | None = None
        """The partition whose corrections nobody reads."""
        self.futures: list[Future[Record]] = []
        self.expected = dict.fromkeys(MODELS)
        self.trouble = ""
        self.probes = Probes(self)  # type: ignore[arg-type]
        self.health = Health(self.probes, self, self, lambda: self.now)  # type: ignore[arg-type]

    def publish(self, event: Event) -> "Future[Record]":
        future: Future[Record] = Future()
        self.put.append(event)
        if self.acknowledges:
            future.set_result(Record(event.topic, 0, 0, b"", b"", 0))
            asyncio.get_running_loop().call_soon(self._answer, event)
        self.futures.append(future)
        return future

    def _answer(self, event: Event) -> None:
        if self._place(event) in self.silent:
            return
        if isinstance(event, DrawingSubmitted):
            for model in MODELS:
                said = guess(model=model, player=event.player_id).model_dump() | {"final": False, "type": "PreviewGuessed"}
                self.come(PreviewGuessed.model_validate(said | {"drawing_id": event.drawing_id}))
        elif isinstance(event, CorrectionProbed) and self.learns and self._place(event) != self.unread:
            for stage in ("learner", "personal") if event.only is None else (event.only,):
                self.come(ReceiptProbed(probe_id=event.probe_id, player_id=event.player_id, stage=stage))

    def come(self, event: GuessMade | GuessMissed | CorrectionReceipt | ReceiptProbed) -> None:
        """An event comes off the bus."""
        self.health.apply(event)
        if isinstance(event, self.probes.takes):
            self.probes.apply(event)

    def _place(self, event: Event) -> int:
        return self.health._players.index(event.player_id)  # type: ignore[attr-defined]

    def play(self, player: str) -> None:
        """Every model answers a drawing of a player."""
        for model in MODELS:
            self.come(guess(model=model, player=player))

    def teach(self, player: str) -> None:
        """A correction of a player is learned."""
        for who in ("learner", "personal"):
            given = {"correction_id": named("c1"), "drawing_id": named("d1"), "player_id": player, "models": {}, "at": now()}
            self.come(CorrectionReceipt(outcome=Outcome.LEARNED, stage=who, **given))

    def asked(self) -> "AskedPartitions":
        """The partitions that were asked since the last time, each with what."""
        drawings = [self._place(event) for event in self.put if isinstance(event, DrawingSubmitted)]
        probes = [event for event in self.put if isinstance(event, CorrectionProbed)]
        read = [self._place(probe) for probe in probes if probe.only == "joiner"]
        whole = [self._place(probe) for probe in probes if probe.only is None]
        self.put.clear()
        return AskedPartitions(sorted(drawings), sorted(read), sorted(whole))

    async def check(self, after_s: float = 10.0) -> tuple[Status, list[str], "AskedPartitions"]:
        """Status, what is missing, and what was asked because of the question."""
        self.now += after_s
        self.put.clear()
        verdict = await self.health.check()
        assert 0 <= self.health.age_s(verdict) <= OLDEST_S
        return verdict.status, list(verdict.missing), self.asked()


class AskedPartitions(NamedTuple):
    """Partitions by what they were asked."""

    drawings: list[int]
    """For answers to a drawing."""
    read: list[int]
    """Whether corrections are read there, of the joiner alone."""
    whole: list[int]
    """Whether a correction is learned, the whole way."""


EVERYONE = list(range(PLAYER_PARTITIONS))
NOTHING = AskedPartitions([], [], [])
PLAYERS = ("ada", "bob", "eve", "jan")
"""One of each partition."""


def everything(turn: int) -> AskedPartitions:
    """Of every partition, answers to a drawing and whether corrections are read; of one the whole way."""
    return AskedPartitions(EVERYONE, [place for place in EVERYONE if place != turn], [turn])


async def test_each_question_goes_to_every_partition_the_long_one_to_each_in_turn_and_many_who_ask_share_one():
    stage = Stage()
    turns = []
    for _ in EVERYONE:
        status, missing, asked = await stage.check()
        assert (status, missing, asked) == (Status.OK, [], everything(asked.whole[0]))
        turns += asked.whole
    assert sorted(turns) == EVERYONE

    stage.now += 10
    await asyncio.gather(*(stage.health.check() for _ in range(50)))
    assert stage.asked() == everything(turns[0])


@pytest.mark.parametrize("dead", EVERYONE)
async def test_whichever_process_is_down_every_check_says_so_and_so_does_the_first(dead):
    stage = Stage(silent=frozenset({dead}))

    for _ in range(5):
        status, missing, _ = await stage.check()
        assert (status, missing[0]) == (Status.DEGRADED, "router")
        assert "learning" in missing

    stage.silent = frozenset()
    assert (await stage.check())[:2] == (Status.OK, [])


async def test_a_learning_process_that_reads_no_corrections_is_told_in_the_first_check():
    stage = Stage()
    stage.learns = False
    verdict = await stage.health.check()
    assert list(verdict.missing) == ["learning", "learning of yours"]

    stage.learns = True
    stage.now += 10
    assert (await stage.health.check()).status is Status.OK
    stage.unread = (stage.health._turn + 2) % PLAYER_PARTITIONS  # type: ignore[attr-defined]
    stage.now += 10
    verdict = await stage.health.check()
    assert (verdict.status, list(verdict.missing)) == (Status.DEGRADED, ["learning"])
    assert "some players' corrections are not read" in verdict.missing["learning"]
    stage.asked()
    stage.now += 10
    await stage.health.check()
    assert stage.unread in stage.asked().whole, "what was not read is asked for the whole way until it is"


async def test_a_verdict_counts_for_a_moment_and_what_is_learned_for_less_than_a_second():
    stage = Stage()
    await stage.check()

    assert await stage.check(0.1) == (Status.OK, [], NOTHING)
    assert await stage.check(0.3) == (Status.OK, [], AskedPartitions(EVERYONE, EVERYONE, []))
    status, missing, asked = await stage.check(0.6)
    assert (status, missing, asked) == (Status.OK, [], everything(asked.whole[0]))


async def test_pages_are_content_with_a_verdict_of_a_second_by_its_oldest_answer():
    stage = Stage()
    first = await stage.health.check()
    stage.now += 0.85
    assert await stage.health.check(PAGES_S) is first
    stage.now += 0.1
    assert await stage.health.check(PAGES_S) is not first

    stage.now += 0.6
    second = await stage.health.check()  # what was learned 0.6 s ago is part of it
    assert stage.health.age_s(second) == pytest.approx(0.6)
    stage.now += 0.5
    third = await stage.health.check(PAGES_S)
    assert third is not second, "it was found 0.5 s ago, and one of its answers 1.1 s ago"
    assert (third.status, stage.health.age_s(third)) == (Status.OK, 0.0)


async def test_while_people_of_every_partition_play_and_teach_nothing_is_asked():
    stage = Stage()
    for player in PLAYERS:
        stage.play(player)
    stage.now += 0.1
    for player in PLAYERS:
        stage.teach(player)

    assert await stage.check(0.05) == (Status.OK, [], NOTHING)
    assert stage.health.age_s(await stage.health.check()) == pytest.approx(0.15), "it stands on answers of then"
    status, missing, asked = await stage.check(1.0)
    assert (status, missing, asked) == (Status.OK, [], everything(asked.whole[0]))


async def test_who_plays_and_teaches_tells_of_their_own_partition_alone():
    stage = Stage()
    stage.play("ada")
    stage.teach("ada")
    own = partition_of(b"ada", PLAYER_PARTITIONS)
    others = [place for place in EVERYONE if place != own]

    assert await stage.check(0.1) == (Status.OK, [], AskedPartitions(others, others, []))


async def test_answers_of_before_that_are_told_again_prove_nothing():
    stage = Stage()
    for model in MODELS:
        stage.come(PreviewGuessed.model_validate(guess(model=model).model_dump() | {"type": "PreviewGuessed"}))

    assert (await stage.check(0.1))[2].drawings == EVERYONE


async def test_a_broker_that_does_not_acknowledge_makes_it_unavailable_at_once_and_is_asked_no_more_until_it_does():
    stage = Stage()
    assert (await stage.check())[0] is Status.OK
    stage.acknowledges = False

    status, missing, put = await stage.check(0.5)
    assert (status, missing, put) == (Status.UNAVAILABLE, ["kafka"], AskedPartitions(EVERYONE, EVERYONE, []))
    assert await stage.check(0.3) == (Status.UNAVAILABLE, ["kafka"], NOTHING)

    for future in stage.futures:
        if not future.done():
            future.set_result(Record("drawings.v1", 0, 0, b"", b"", 0))
    stage.acknowledges = True
    status, missing, put = await stage.check(0.3)
    assert (status, missing, put) == (Status.OK, [], everything(put.whole[0]))
    assert ACKNOWLEDGED_S < WITHIN_S < OLDEST_S


async def test_it_is_unavailable_when_no_partition_answers():
    stage = Stage(silent=frozenset(EVERYONE))
    assert (await stage.check())[:2] == (Status.UNAVAILABLE, ["router", "learning", "learning of yours"])

    stage.silent = frozenset()
    assert (await stage.check())[:2] == (Status.OK, [])
    status, missing, put = await stage.check()
    assert (status, missing, put) == (Status.OK, [], everything(put.whole[0]))


async def test_what_is_folded_again_is_missing_until_it_is_done():
    stage = Stage()
    stage.folding = {"learning": "it folds again what it knows, 43 %"}
    assert (await stage.check())[:2] == (Status.DEGRADED, ["learning"])

    stage.folding = {}
    assert (await stage.check())[:2] == (Status.OK, [])


# --- how old a verdict is, whatever the clock does: on a loop whose time passes only where the test lets it ---------------


class Timed(asyncio.SelectorEventLoop):
    """A loop whose clock leaps to the next thing that is to happen."""

    now = 100.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


DELAYS = st.one_of(st.just(0.01), st.floats(0, 0.8), st.none())
"""From a question to the broker's acknowledgement, or to its answers; None: never."""


class Whims:
    """A bus, a router and learners that answer when chance says, and people who play and teach meanwhile."""

    def __init__(self, chance: st.DataObject) -> None:
        self.loop = asyncio.get_running_loop()
        self.chance = chance
        self.probes = Probes(self)  # type: ignore[arg-type]
        self.health = Health(self.probes, ALL_WELL, ALL_WELL, self.loop.time)  # type: ignore[arg-type]

    def after(self, what: Callable[[], object]) -> None:
        if (delay := self.chance.draw(DELAYS)) is not None:
            self.loop.call_later(delay, what)

    def publish(self, event: Event) -> "Future[Record]":
        future: Future[Record] = Future()
        self.after(lambda: future.set_result(Record(event.topic, 0, 0, b"", b"", 0)))
        self.after(lambda: Stage._answer(self, event))  # type: ignore[arg-type]
        return future

    def hold_up(self, after_s: float, for_s: float) -> None:
        """Let the clock go on where nothing else can."""
        self.loop.call_later(after_s, lambda: setattr(self.loop, "now", self.loop.time() + for_s))

    silent: frozenset[int] = frozenset()
    learns = True
    unread = None
    _place, play, teach, come = Stage._place, Stage.play, Stage.teach, Stage.come


@settings(max_examples=150, deadline=None)
@given(chance=st.data())
def test_no_verdict_stands_on_an_answer_that_is_older_than_a_second_for_pages_neither(chance):
    ages = []

    async def ask_and_ask() -> None:
        whims = Whims(chance)
        for _ in range(8):
            if chance.draw(st.booleans()):
                player = chance.draw(st.sampled_from(PLAYERS))
                whims.play(player)
                whims.teach(player)
            await asyncio.sleep(chance.draw(st.floats(0, 1.1)))
            if chance.draw(st.integers(0, 9)) == 0:
                whims.hold_up(chance.draw(st.floats(0, 0.7)), chance.draw(st.floats(0, 2)))
            verdict = await whims.health.check(*chance.draw(st.sampled_from([(), (PAGES_S,)])))
            ages.append(whims.health.age_s(verdict))

    with asyncio.Runner(loop_factory=Timed) as runner:
        runner.run(ask_and_ask())
    assert len(ages) == 8
    assert all(0 <= age <= OLDEST_S for age in ages), ages


def test_what_was_learned_a_moment_ago_is_asked_again_when_the_broker_is_slow_to_acknowledge():
    async def ask() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        slow = Slow()
        slow.probes = Probes(slow)  # type: ignore[arg-type]
        health = slow.health = Health(slow.probes, ALL_WELL, ALL_WELL, loop.time)  # type: ignore[arg-type]
        slow.teach("ada")
        await asyncio.sleep(0.65)
        began = loop.time()
        verdict = await health.check()
        assert verdict.status is Status.OK
        return loop.time() - began, health.age_s(verdict)

    with asyncio.Runner(loop_factory=Timed) as runner:
        took, age_s = runner.run(ask())
    assert took <= WITHIN_S, "by one look"
    assert age_s <= WITHIN_S


class Slow:
    """A bus that takes a third of a second to acknowledge what is answered at once."""

    health: Health
    probes: Probes
    silent: frozenset[int] = frozenset()
    learns = True
    unread = None
    _place, teach, come = Stage._place, Stage.teach, Stage.come

    def publish(self, event: Event) -> "Future[Record]":
        future: Future[Record] = Future()
        loop = asyncio.get_running_loop()
        loop.call_later(0.33, lambda: future.set_result(Record(event.topic, 0, 0, b"", b"", 0)))
        loop.call_soon(lambda: Stage._answer(self, event))  # type: ignore[arg-type]
        return future


def test_who_is_held_up_for_longer_than_an_answer_counts_says_so():
    async def ask() -> Verdict:
        loop = asyncio.get_running_loop()
        health = Health(Probes(Silence()), ALL_WELL, ALL_WELL, loop.time)  # type: ignore[arg-type]
        for at in (0.3, 1.9):
            loop.call_later(at, lambda: setattr(loop, "now", loop.now + 1.5))  # type: ignore[attr-defined]
        return await health.check()

    with asyncio.Runner(loop_factory=Timed) as runner:
        verdict = runner.run(ask())
    assert (verdict.status, list(verdict.missing)) == (Status.UNAVAILABLE, ["api"])


class Silence:
    """A bus that acknowledges, and nobody answers."""

    def publish(self, event: Event) -> "Future[Record]":
        future: Future[Record] = Future()
        future.set_result(Record(event.topic, 0, 0, b"", b"", 0))
        return future
