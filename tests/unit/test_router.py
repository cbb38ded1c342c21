"""The router with endpoints and a bus made here: who is asked, what is said, and when a drawing is acknowledged."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.events import (
    CandidateSet,
    DrawingAnswered,
    DrawingSought,
    DrawingSubmitted,
    Event,
    GuessMade,
    GuessMissed,
    MemoryAsked,
    MessageRejected,
    ModelEvent,
    ModelPromoted,
    PolicySet,
    RollBackModel,
    SnapshotTaken,
    TryVersion,
    decode,
    now,
    version_of,
)
from contracts.ports import EndpointAnswer, EndpointDown, EndpointSilent, Record
from contracts.settings import Settings
from streams import circuit_breaker, taken
from streams.additive import BASIS
from streams.batch_client import BatchClient
from streams.blend import BlendWeights
from streams.circuit_breaker import FAILURES
from streams.delivery import Delivery, UnsentRecord
from streams.lineup import WELL, Answerer
from streams.models import Models
from streams.round import Publish, Round
from streams.router import FEW, Router
from streams.routing import Online, Table, share_of
from streams.trial import FIRST_CALLS
from tests import histories
from tests.roster import MODELS

READER = "raster-1/00000000"
DEADLINE_S = 20.0
LONG = Settings(blend_deadline_ms=15_000, guess_budget_ms=18_000)
"""Nothing of this passes by itself in a test."""


SNAPSHOT = SnapshotTaken(
    model="river",
    version="mnist1+9",
    title="",
    offset=8,
    lessons=9,
    digest="",
    reader=READER,
    basis=BASIS.name,
    weights=np.zeros((10, BASIS.width), "<f4").tobytes(),
)


class Network:
    """Features that are all one."""

    reader = READER

    def embed(self, rasters: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ones((len(rasters), BASIS.size), np.float32)


class Players:
    """Players of whom nothing is known, but that zoe's is always a nine, and that all like kmeans best."""

    def answers(
        self,
        whose: Sequence[tuple[int, str]],
        embeddings: NDArray[np.float32],
        rasters: NDArray[np.uint8],
        shared: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], list[str]]:
        zoe = [player_id == "zoe" for _, player_id in whose]
        return np.where(np.array(zoe)[:, None], np.eye(10)[9], shared), ["own3+4" if one else "own3+0" for one in zoe]

    def pick(self, partition: int, player_id: str, arms: Sequence[str]) -> tuple[str, int]:
        return ("kmeans" if "kmeans" in arms else arms[0]), 12

    def blend_weights(self, partition: int) -> BlendWeights:
        return BlendWeights({"kmeans": 30.0}, "blend5+25") if partition == 3 else BlendWeights({}, "blend5+0")


@dataclass
class FakeEndpoint:
    """Says one digit to everything; as the test says, variants of it are down, or it holds its breath."""

    traffic: str = "v1"
    says: int = 3
    down: set[str] = field(default_factory=set)
    why: str = "it is down"
    silent: bool = False
    held: asyncio.Event | None = None
    held_variants: dict[str, asyncio.Event] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)
    variants: list[str | None] = field(default_factory=list)
    """Who was asked for in each call."""

    async def predict(self, rasters: NDArray[np.uint8], variant: str | None = None) -> EndpointAnswer:
        self.calls.append(len(rasters))
        self.variants.append(variant)
        if self.held is not None:
            await self.held.wait()
        if variant in self.held_variants:
            await self.held_variants[variant].wait()
        if self.silent:
            raise EndpointSilent("it says nothing")
        if (variant or self.traffic) in self.down:
            raise EndpointDown(self.why)
        return EndpointAnswer(np.tile(np.eye(10)[self.says], (len(rasters), 1)), variant or self.traffic)


@dataclass
class Handed:
    """A drawing on the topic, and whether it was acknowledged."""

    record: Record
    acked: int = 0

    def ack(self) -> None:
        self.acked += 1

    @property
    def delivery(self) -> Delivery:
        return Delivery(self.record, self.ack)


class Stage:
    """A running router, and what it said."""

    def __init__(self, models: tuple[str, ...], settings: Settings = LONG) -> None:
        weights = np.zeros((10, BASIS.width), np.float32)
        weights[7, -1] = 1 / 64
        self.models = Models(Table(online={"river": Online("mnist1+0", READER, -1, weights)}), READER, BASIS.name)
        self.models.ready.set()
        self.endpoints = {f"gamenight-{model}": FakeEndpoint() for model in models}
        self.said: list[Event] = []
        self.requests: list[int] = []
        """How many records were sent together each time."""
        self.router = Router(settings, Network(), self.models, self.endpoints.__getitem__, Players(), self._publish, models)
        self.offset = 0

    async def _publish(self, records: Sequence[UnsentRecord]) -> None:
        await asyncio.sleep(0)
        self.requests.append(len(records))
        self.said += map(written, records)

    def hear(self, *events: ModelEvent | PolicySet) -> None:
        self.models.apply([Record("models.v1", 0, 0, event.record_key(), event.record_value(), 0) for event in events])

    def promote(self, model: str, version: str = "1", previous: str | None = None) -> None:
        self.hear(promoted(model, version, previous))

    def endpoint(self, model: str = "xgboost") -> FakeEndpoint:
        return self.endpoints[f"gamenight-{model}"]

    def handed(self, event: Event | bytes, partition: int = 0) -> Handed:
        value = event if isinstance(event, bytes) else event.record_value()
        self.offset += 1
        return Handed(Record("drawings.v1", partition, self.offset, b"ada", value, 0))

    async def take(self, *events: Event | bytes) -> list[Handed]:
        gathered = [self.handed(event) for event in events]
        await self.router.take([one.delivery for one in gathered])
        return gathered

    async def through(self, *events: Event) -> None:
        """Take drawings and wait until nothing more is to be said of them."""
        handed = await self.take(*events)
        await eventually(lambda: all(one.acked for one in handed))

    async def proves(self, version: str) -> None:
        """Have it answer as often as a version must to show that it works."""
        for i in range(FIRST_CALLS):
            await self.through(drawing(f"{version}/{i}"))

    def guesses(self, model: str) -> list[GuessMade]:
        return [event for event in self.said if isinstance(event, GuessMade) and event.model == model]

    def answered(self) -> list[DrawingAnswered]:
        return [event for event in self.said if isinstance(event, DrawingAnswered)]

    def missed(self) -> list[tuple[str, bool]]:
        return [(event.model, event.resting) for event in self.said if isinstance(event, GuessMissed)]


def written(record: UnsentRecord) -> Event:
    """The event that a record was made of."""
    return decode(record.topic, record.value)


def promoted(model: str, version: str, previous: str | None = None) -> ModelPromoted:
    return ModelPromoted(
        model=model, version=version, title="", endpoint=f"gamenight-{model}", variant=f"v{version}", previous=previous
    )


def candidate(model: str, version: str, role: Any, share: float = 0.0) -> CandidateSet:
    return CandidateSet(
        model=model, version=version, role=role, share=share, endpoint=f"gamenight-{model}", variant=f"v{version}"
    )


@asynccontextmanager
async def running(*models: str, versions: bool = True, settings: Settings = LONG) -> AsyncIterator[Stage]:
    stage = Stage(models or ("xgboost",), settings)
    if versions:
        for model in models or ("xgboost",):
            stage.promote(model)
    work = asyncio.create_task(stage.router.run())
    await asyncio.sleep(0)
    try:
        yield stage
        assert not work.done(), work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def eventually(true: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():
            await asyncio.sleep(0.001)


def drawing(name: str = "d1", player: str = "ada", **more: Any) -> DrawingSubmitted:
    return histories.drawing(name, player=player, **more).model_copy(update={"at": now()})


async def test_what_the_joiner_looks_for_is_acknowledged_and_not_answered():
    async with running() as stage:
        [sought] = await stage.take(DrawingSought(drawing_id=uuid4(), player_id="ada"))
        await eventually(lambda: sought.acked)
        assert stage.said == []


async def test_every_model_answers_and_then_the_drawing_is_acknowledged():
    async with running() as stage:
        [handed] = await stage.take(drawing())
        await eventually(lambda: handed.acked)

    [river], [xgboost] = stage.guesses("river"), stage.guesses("xgboost")
    assert (river.label, river.version) == (7, "mnist1+0")
    assert (xgboost.label, xgboost.version) == (3, "1")
    [yours], [everyone] = stage.guesses("yours"), stage.guesses("everyone")
    assert (yours.label, yours.version, yours.features) == (7, "own3+0", None)
    assert (everyone.version, everyone.left_out) == ("blend5+0", {})
    assert {guess.table for guess in (river, xgboost, yours, everyone)} == {stage.models.table.digest}
    assert {guess.lead for guess in (river, xgboost, yours, everyone)} == {"everyone"}
    assert {guess.features for guess in (river, xgboost, yours, everyone)} == {None}, "they are said once, on answers.v1"


async def test_a_preview_carries_no_features():
    async with running() as stage:
        [handed] = await stage.take(drawing(final=False))
        await eventually(lambda: handed.acked)

    assert [(guess.final, guess.features) for guess in stage.guesses("river")] == [(False, None)]
    assert not stage.answered()


async def test_all_guesses_on_a_drawing_are_said_once_more_together_with_how_it_was_read():
    async with running("xgboost", "kmeans") as stage:
        await stage.through(drawing(), drawing("preview", "bob", final=False), drawing("probe", final=False, probe=True))

    [answered] = stage.answered()
    assert answered.drawing_id == histories.named("d1")
    made = [event for event in stage.said if type(event) is GuessMade]
    assert {guess.model for guess in made} == {"river", "yours", "xgboost", "kmeans", "everyone"}
    together = {guess.guess_id: guess.model_copy(update={"at": None}) for guess in answered.made()}
    assert together == {guess.guess_id: guess.model_copy(update={"at": None, "features": None}) for guess in made}
    assert answered.features is not None
    assert len(answered.features.raster) == 784
    assert answered.features.reader == READER


async def test_at_the_blends_deadline_what_is_there_is_said_together_and_the_late_one_follows():
    async with running("xgboost", "kmeans", settings=Settings(blend_deadline_ms=500, guess_budget_ms=18_000)) as stage:
        stage.endpoint("kmeans").held = asyncio.Event()
        [handed] = await stage.take(drawing())
        await eventually(stage.answered)
        stage.endpoint("kmeans").held.set()
        await eventually(lambda: handed.acked)

    first, later = stage.answered()
    assert [guess.model for guess in first.guesses if guess.model == "kmeans"] == []
    assert (first.features is not None, later.features) == (True, None)
    assert [guess.model for guess in later.guesses] == ["kmeans"]


async def test_who_missed_a_drawing_is_said_together_with_the_guesses():
    async with running(settings=Settings(guess_budget_ms=50)) as stage:
        stage.endpoint().held = asyncio.Event()
        await stage.through(drawing())

    assert [part.missed for part in stage.answered()] == [{"xgboost": "no answer in 0.05 s"}]


@pytest.mark.parametrize("held", [GuessMade, DrawingAnswered])
async def test_a_drawing_is_not_acknowledged_before_the_broker_has_all_that_was_said_of_it(held: type[Event]):
    stage, gate = Stage(("xgboost",)), asyncio.Event()
    stage.promote("xgboost")
    waiting: list[Event] = []

    async def publish(records: Sequence[UnsentRecord]) -> None:
        several = [written(record) for record in records]
        if any(isinstance(event, held) for event in several):
            waiting.extend(several)
            await gate.wait()

    stage.router = Router(LONG, Network(), stage.models, stage.endpoints.__getitem__, Players(), publish, ("xgboost",))
    work = asyncio.create_task(stage.router.run())
    await asyncio.sleep(0)
    [handed] = await stage.take(drawing())
    await eventually(lambda: any(isinstance(event, DrawingAnswered) for event in waiting))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not handed.acked
    gate.set()
    await eventually(lambda: handed.acked)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_what_the_models_here_said_is_on_its_way_before_an_endpoint_is_asked(monkeypatch: pytest.MonkeyPatch):
    async with running() as stage:
        await stage.through(drawing("before"))
        done: list[str] = []
        publish, predict = stage.router._unsent._publish, stage.endpoint().predict

        async def published(records: Sequence[UnsentRecord]) -> None:
            done.extend(event.model for event in map(written, records) if isinstance(event, GuessMade))
            await publish(records)

        async def asked(rasters: NDArray[np.uint8], variant: str | None = None) -> EndpointAnswer:
            done.append("asked")
            return await predict(rasters, variant)

        monkeypatch.setattr(stage.router._unsent, "_publish", published)
        monkeypatch.setattr(stage.endpoint(), "predict", asked)
        await stage.through(drawing())

    assert done == ["river", "yours", "asked", "xgboost", "everyone"]


@pytest.mark.parametrize(("under_way", "requests"), [(0, 2), (FEW, 1)])
async def test_what_is_said_goes_at_once_and_together_while_many_drawings_are_under_way(under_way: int, requests: int):
    async with running() as stage:
        stage.endpoint().held = asyncio.Event()
        if under_way:
            await stage.take(*(drawing(f"before {n}", f"player {n}") for n in range(under_way)))
            await eventually(lambda: len(stage.guesses("river")) == under_way)
        before = len(stage.requests)
        await stage.take(drawing("d1"))
        await stage.take(drawing("d2", "bob"))
        await eventually(lambda: len(stage.guesses("river")) == under_way + 2)

    assert len(stage.requests) - before == requests


async def test_the_guesses_of_endpoints_that_answer_at_once_are_sent_together():
    async with running("xgboost", "kmeans", "mxnet") as stage:
        await stage.through(drawing())

    assert len(stage.requests) == 2, "what is here at once, then what was asked for, with the blend and the answer"
    assert {guess.model for guess in stage.said if isinstance(guess, GuessMade)} >= {"xgboost", "kmeans", "mxnet", "everyone"}


async def test_who_waits_for_a_hung_endpoint_is_told_of_the_others_meanwhile():
    async with running("xgboost", "kmeans") as stage:
        stage.endpoint("kmeans").held = asyncio.Event()
        await stage.take(drawing())
        await eventually(lambda: stage.guesses("xgboost"))
        stage.endpoint("kmeans").held.set()
        await eventually(lambda: stage.answered())


async def test_what_gathers_during_a_call_goes_out_as_one_final_drawings_first():
    async with running() as stage:
        endpoint = stage.endpoints["gamenight-xgboost"]
        endpoint.held = asyncio.Event()
        await stage.take(drawing("d0"))
        await eventually(lambda: endpoint.calls)
        await stage.take(drawing("p1", "bob", final=False))
        handed = await stage.take(*(drawing(f"d{i}") for i in range(1, 6)))
        assert not stage.guesses("xgboost")
        endpoint.held.set()
        await eventually(lambda: all(one.acked for one in handed))
        await eventually(lambda: len(stage.guesses("xgboost")) == 7)

    assert endpoint.calls == [1, 6]
    assert [guess.final for guess in stage.guesses("xgboost")] == [True] * 6 + [False]


async def test_one_endpoint_that_is_down_costs_its_own_guess_only_and_a_final_drawing_waits_for_its_return():
    async with running("xgboost", "kmeans") as stage:
        stage.endpoint().down = {"v1"}
        [handed] = await stage.take(drawing())
        await eventually(lambda: stage.guesses("kmeans") and stage.guesses("river") and stage.guesses("everyone"))
        await eventually(lambda: len(stage.endpoint().calls) > 3)
        assert not handed.acked, "it is read again if this process dies"
        stage.endpoint().down = set()
        await eventually(lambda: handed.acked)

    assert [len(stage.guesses(model)) for model in ("xgboost", "kmeans", "river", "yours", "everyone")] == [1] * 5
    assert stage.guesses("everyone")[0].left_out == {"xgboost": "resting"}
    assert not stage.missed()


async def test_who_waits_for_a_resting_model_is_told_when_the_budget_is_used_up():
    async with running(settings=Settings(guess_budget_ms=200)) as stage:
        stage.endpoint().down = {"v1"}
        await stage.through(drawing())

    assert stage.missed() == [("xgboost", True)]
    assert len(stage.guesses("river")) == len(stage.guesses("everyone")) == 1
    assert not stage.guesses("xgboost")


async def test_a_model_that_answers_after_the_budget_is_not_heard():
    async with running(settings=Settings(guess_budget_ms=1000)) as stage:
        stage.endpoint().held = asyncio.Event()
        await stage.through(drawing())
        stage.endpoint().held.set()
        await stage.through(drawing("d2"))

    assert stage.missed() == [("xgboost", False)]
    assert [guess.drawing_id for guess in stage.guesses("xgboost")] == [histories.named("d2")]


async def test_a_silent_endpoint_rests_at_once_is_probed_and_comes_back():
    async with running() as stage:
        stage.endpoint().silent = True
        [handed] = await stage.take(drawing())
        await eventually(lambda: len(stage.endpoint().calls) > 1)
        assert stage.endpoint().calls[:2] == [1, 1], "the second is a probe"
        stage.endpoint().silent = False
        await eventually(lambda: handed.acked)

    assert len(stage.guesses("xgboost")) == 1


async def test_while_a_model_rests_the_blend_and_probes_do_not_wait_for_it():
    async with running("xgboost", "kmeans") as stage:
        stage.endpoint().silent = True
        [waiting] = await stage.take(drawing())
        await eventually(lambda: len(stage.endpoint().calls) > 1)
        await stage.through(drawing("probe", final=False, probe=True), drawing("preview", "bob", final=False))
        assert not waiting.acked

    assert stage.missed() == [("xgboost", True)]
    told = {guess.drawing_id: guess.left_out for guess in stage.guesses("everyone")}
    assert told[histories.named("probe")] == told[histories.named("preview")] == {"xgboost": "resting"}


async def test_the_blend_leaves_out_who_is_late_and_says_so_and_the_late_one_is_still_heard():
    async with running("xgboost", "kmeans", settings=Settings(blend_deadline_ms=500, guess_budget_ms=18_000)) as stage:
        stage.endpoint("kmeans").held = asyncio.Event()
        [handed] = await stage.take(drawing())
        await eventually(lambda: stage.guesses("everyone"))
        await eventually(lambda: stage.guesses("xgboost"))
        stage.endpoint("kmeans").held.set()
        await eventually(lambda: handed.acked)

    [everyone] = stage.guesses("everyone")
    assert everyone.left_out == {"kmeans": "late"}
    assert len(stage.guesses("kmeans")) == 1


async def test_the_blend_does_not_wait_its_whole_deadline_for_a_call_that_takes_far_longer_than_usual():
    async with running("xgboost", "kmeans") as stage:
        await stage.through(drawing("warm"))
        stage.endpoint("kmeans").held = asyncio.Event()
        handed = await stage.take(drawing("d1"))
        await eventually(lambda: len(stage.endpoint("kmeans").calls) == 2)
        handed += await stage.take(drawing("d2"))
        await eventually(lambda: len(stage.guesses("everyone")) == 3)
        stage.endpoint("kmeans").held.set()
        await eventually(lambda: all(one.acked for one in handed))

    assert [guess.left_out for guess in stage.guesses("everyone")[1:]] == [{"kmeans": "late"}] * 2
    assert len(stage.guesses("kmeans")) == 3, "it is heard all the same"


async def test_a_shadow_that_is_slow_keeps_nobody_out_of_the_blend():
    async with running("xgboost", "kmeans") as stage:
        stage.hear(candidate("kmeans", "2", "shadow"))
        stage.endpoint("xgboost").held = asyncio.Event()  # the blend waits for it, while the shadow of the other is late
        stage.endpoint("kmeans").held_variants = {"v2": asyncio.Event()}
        [handed] = await stage.take(drawing())
        await eventually(lambda: stage.guesses("kmeans"))
        await eventually(
            lambda: stage.router._clients[Answerer("kmeans", beside=True)].state.overdue and stage.guesses("everyone")
        )
        stage.endpoint("kmeans").held_variants["v2"].set()
        stage.endpoint("xgboost").held.set()
        await eventually(lambda: handed.acked)

    assert "kmeans" not in stage.guesses("everyone")[0].left_out


async def test_who_has_been_silent_past_the_deadline_is_not_waited_for_by_the_next_drawing():
    async with running(settings=Settings(blend_deadline_ms=500, guess_budget_ms=18_000)) as stage:
        stage.endpoint().held = asyncio.Event()
        await stage.take(drawing())
        await eventually(lambda: stage.guesses("everyone"))
        await stage.take(drawing("d2"))
        await eventually(lambda: len(stage.guesses("everyone")) == 2)

    assert stage.guesses("everyone")[1].hops["wait"] < 500


async def test_the_blend_is_of_the_batch_models_and_the_players_own():
    async with running("xgboost", "kmeans") as stage:
        await stage.through(drawing(player="zoe"))

    [everyone] = stage.guesses("everyone")
    assert everyone.label == 3
    assert everyone.probabilities[9] > everyone.probabilities[7], "zoe's own model stands for river, which says seven"


async def test_whose_guesses_players_found_right_has_more_to_say_in_the_blend():
    async with running("xgboost", "mxnet", "tensorflow", "kmeans") as stage:
        stage.endpoint("kmeans").says = 5
        for partition in (0, 3):
            handed = stage.handed(drawing(f"d{partition}"), partition)
            await stage.router.take([handed.delivery])
            await eventually(lambda handed=handed: handed.acked)

    assert [(guess.label, guess.version) for guess in stage.guesses("everyone")] == [(3, "blend5+0"), (5, "blend5+25")]


@pytest.mark.parametrize(
    ("parts", "heard"),
    [
        ({"yours": "shadow"}, {3, 7}),
        ({"yours": "off", "river": "shadow"}, {3}),
        ({"river": "shadow"}, {3, 9}),
        ({"yours": "shadow", "river": "shadow", "xgboost": "shadow"}, {9}),
    ],
)
async def test_who_is_not_shown_has_no_voice_in_the_blend_unless_nobody_else_answers(parts: dict[str, Any], heard: set[int]):
    async with running("xgboost") as stage:
        stage.hear(PolicySet(lead="everyone", parts=parts))
        await stage.through(drawing(player="zoe"))

    [everyone] = stage.guesses("everyone")
    assert {digit for digit, p in enumerate(everyone.probabilities) if p > 0.1} == heard


async def test_a_model_without_a_version_is_not_asked():
    async with running(versions=False) as stage:
        await stage.through(drawing())
        stage.promote("xgboost")
        await stage.through(drawing("d2"))

    assert [guess.drawing_id for guess in stage.guesses("xgboost")] == [histories.named("d2")]


# --- policy


async def test_a_canary_answers_its_share_of_the_players_and_always_the_same():
    async with running() as stage:
        stage.hear(candidate("xgboost", "2", "canary", 0.3))
        for round_of in range(2):
            await stage.through(*(drawing(f"{round_of}/{i}", f"player{i}") for i in range(200)))

    by_player: dict[str, set[str]] = {}
    for guess in stage.guesses("xgboost"):
        by_player.setdefault(guess.player_id, set()).add(f"{guess.version} {guess.role}")
    theirs = {player for player, said in by_player.items() if said == {"2 canary"}}
    assert theirs == {f"player{i}" for i in range(200) if share_of(f"xgboost/2/player{i}") < 0.3}
    assert all(said == {"1 champion"} for player, said in by_player.items() if player not in theirs)
    assert 40 < len(theirs) < 80
    assert set(stage.endpoint().variants) == {None, "v2"}


async def test_a_canary_that_fails_costs_nobody_an_answer():
    async with running() as stage:
        stage.hear(candidate("xgboost", "2", "canary", 1.0))
        await stage.proves("2")
        stage.endpoint().down = {"v2"}
        for i in range(6):
            await stage.through(drawing(f"d{i}"))

    assert [(guess.version, guess.role) for guess in stage.guesses("xgboost")[20:]] == [("1", "champion")] * 6
    assert all("canary" in str(guess.fallback) for guess in stage.guesses("xgboost")[20:])
    assert not stage.missed()
    assert not [event for event in stage.said if isinstance(event, TryVersion)], "it had shown that it works"


@pytest.mark.parametrize("role", ["canary", "shadow"])
async def test_a_candidate_that_fails_its_first_calls_is_taken_away(role: str):
    async with running() as stage:
        stage.endpoint().down = {"v2"}
        for attempt in range(2):
            stage.hear(candidate("xgboost", "2", role, 1.0))
            for i in range(3):
                await stage.through(drawing(f"{attempt}/{i}"))
            await eventually(lambda: not stage.models.table.candidates)
            await stage.through(drawing(f"{attempt}/after"))

    assert [guess.version for guess in stage.guesses("xgboost")] == ["1"] * 8
    assert stage.guesses("xgboost")[-1].fallback is None
    commands = [event for event in stage.said if isinstance(event, TryVersion)]
    assert {(c.target, c.role, c.failed, c.by) for c in commands} == {("xgboost", "none", "2", "router")}
    assert len({command.command_id for command in commands}) == len(commands) == 2, "one that is tried again can fail again"


@asynccontextmanager
async def resting_candidate(role: str) -> AsyncIterator[tuple[Stage, BatchClient]]:
    """A router whose candidate, version 2, had shown that it works, and rests; and the client of candidates."""
    async with running() as stage:
        stage.hear(candidate("xgboost", "2", role, 1.0))
        await stage.proves("2")
        stage.endpoint().down = {"v2"}
        client = stage.router._clients[Answerer("xgboost", beside=True)]
        for i in range(FAILURES):
            await stage.through(drawing(f"down/{i}"))
        await eventually(lambda: client.state.resting)
        yield stage, client


@pytest.mark.parametrize("role", ["canary", "shadow"])
async def test_where_no_candidate_stands_any_more_nothing_rests_and_nothing_is_probed(role: str):
    async with resting_candidate(role) as (stage, client):
        stage.hear(candidate("xgboost", "2", "none"))

        assert client.state == WELL
        await eventually(lambda: not client._record.breaker.open)


@pytest.mark.parametrize("between", [True, False])
async def test_a_candidate_does_not_rest_for_the_one_before(between: bool):
    async with resting_candidate("canary") as (stage, client):
        if between:
            stage.hear(candidate("xgboost", "2", "none"))
        stage.hear(candidate("xgboost", "3", "canary", 1.0))
        assert client.state == WELL
        await stage.through(drawing("of the next"))

    last = stage.guesses("xgboost")[-1]
    assert (last.drawing_id, last.version, last.role) == (histories.named("of the next"), "3", "canary")


async def test_a_candidate_that_is_put_there_again_does_not_rest():
    async with resting_candidate("canary") as (stage, client):
        stage.endpoint().down = set()
        stage.hear(candidate("xgboost", "2", "canary", 1.0))
        assert client.state == WELL
        await stage.through(drawing("again"))

    assert [(guess.version, guess.role) for guess in stage.guesses("xgboost")][-1] == ("2", "canary")


async def test_who_waits_for_a_canary_that_is_replaced_is_answered_by_the_champion():
    async with running() as stage:
        stage.hear(candidate("xgboost", "2", "canary", 1.0))
        stage.endpoint().held_variants = {"v2": asyncio.Event()}
        handed = await stage.take(drawing("under way"))
        await eventually(lambda: stage.endpoint().calls)
        handed += await stage.take(drawing("waits"), drawing("waits too"))
        stage.hear(candidate("xgboost", "3", "canary", 1.0))
        handed += await stage.take(drawing("of the next"))
        await eventually(lambda: len(stage.guesses("xgboost")) == 2)
        stage.endpoint().down = {"v2"}
        stage.endpoint().held_variants["v2"].set()
        await eventually(lambda: all(one.acked for one in handed))

    told = {guess.drawing_id: (guess.version, guess.role) for guess in stage.guesses("xgboost")}
    assert len(stage.guesses("xgboost")) == 4
    assert told == {histories.named(name): ("1", "champion") for name in ("under way", "waits", "waits too")} | {
        histories.named("of the next"): ("3", "canary")
    }
    waited = [guess.fallback for guess in stage.guesses("xgboost")[:2]]
    assert waited == ["the canary did not answer: version 2 does not stand beside xgboost's champion any more"] * 2


async def test_a_failure_of_the_candidate_before_does_not_count_against_the_next():
    async with running() as stage:
        client = stage.router._clients[Answerer("xgboost", beside=True)]
        stage.hear(candidate("xgboost", "2", "canary", 1.0))
        stage.endpoint().held_variants = {"v2": asyncio.Event()}
        handed = await stage.take(drawing("under way"))
        await eventually(lambda: stage.endpoint().calls)
        stage.hear(candidate("xgboost", "3", "canary", 1.0))
        stage.endpoint().silent = True
        stage.endpoint().held_variants["v2"].set()
        await eventually(lambda: stage.endpoint().variants[-1] is None)
        assert client.state == WELL
        stage.endpoint().silent = False
        await eventually(lambda: all(one.acked for one in handed))


async def test_a_guess_names_the_table_by_which_it_was_asked():
    async with running() as stage:
        stage.hear(candidate("xgboost", "2", "canary", 1.0))
        asked_by = stage.models.table.digest
        stage.endpoint().held = asyncio.Event()
        [handed] = await stage.take(drawing())
        await eventually(lambda: stage.endpoint().calls)
        stage.hear(candidate("xgboost", "2", "none"))
        stage.endpoint().held.set()
        await eventually(lambda: handed.acked)

    assert {guess.table for model in MODELS for guess in stage.guesses(model)} == {asked_by}


async def test_who_waits_for_a_canary_that_falls_silent_is_answered_once_by_the_champion():
    async with running() as stage:
        stage.hear(candidate("xgboost", "2", "canary", 1.0))
        await stage.through(drawing("warm"))
        stage.endpoint().held = asyncio.Event()
        first = await stage.take(drawing("d1"))
        await eventually(lambda: stage.endpoint().variants[-1] == "v2" and len(stage.endpoint().calls) == 2)
        others = await stage.take(*(drawing(f"d{i}", f"p{i}") for i in range(2, 6)))
        stage.endpoint().silent = True
        stage.endpoint().held.set()
        await eventually(lambda: stage.endpoint().variants.count(None) > 0)
        stage.endpoint().silent = False
        await eventually(lambda: all(one.acked for one in [*first, *others]))

    answered = [guess.drawing_id for guess in stage.guesses("xgboost")]
    assert len(answered) == len(set(answered)) == 6


async def test_a_shadow_is_asked_of_final_drawings_and_never_in_a_blend():
    async with running() as stage:
        stage.hear(candidate("xgboost", "2", "shadow"))
        await stage.through(drawing(), drawing("preview", "bob", final=False))

    told = {(guess.drawing_id, guess.version, guess.role) for guess in stage.guesses("xgboost")}
    assert told == {
        (histories.named("d1"), "1", "champion"),
        (histories.named("d1"), "2", "shadow"),
        (histories.named("preview"), "1", "champion"),
    }
    assert len({guess.guess_id for guess in stage.guesses("xgboost")}) == 3


async def test_a_shadow_that_fails_is_not_missed():
    async with running() as stage:
        stage.hear(candidate("xgboost", "2", "shadow"))
        stage.endpoint().down = {"v2"}
        for i in range(5):
            await stage.through(drawing(f"d{i}"))

    assert len(stage.guesses("xgboost")) == 5
    assert not stage.missed()


async def test_a_model_in_the_shadow_is_scored_not_blended_and_one_that_is_off_is_not_asked():
    async with running("xgboost", "kmeans", "mxnet") as stage:
        stage.hear(PolicySet(lead="kmeans", parts={"kmeans": "shadow", "mxnet": "off", "river": "off"}))
        await stage.through(drawing())

    [kmeans], [river] = stage.guesses("kmeans"), stage.guesses("river")
    assert (kmeans.role, river.role) == ("shadow", "shadow"), "river reads for those who learn: it is always asked"
    assert not stage.endpoint("mxnet").calls
    assert {guess.lead for guess in stage.guesses("everyone")} == {"everyone"}, "a shadow does not lead"


async def test_the_policy_says_who_leads_and_a_bandit_says_on_how_many_labels_its_pick_stands():
    async with running("xgboost", "kmeans") as stage:
        stage.hear(PolicySet(lead="xgboost"))
        await stage.through(drawing())
        stage.hear(PolicySet(lead="bandit"))
        await stage.through(drawing("d2"))

    leads = [(guess.lead, guess.lead_after) for guess in stage.guesses("river")]
    assert leads == [("xgboost", None), ("kmeans", 12)]


async def test_a_model_that_rests_does_not_lead():
    async with running() as stage:
        stage.hear(PolicySet(lead="xgboost"))
        stage.endpoint().silent = True
        await stage.take(drawing())
        await eventually(lambda: len(stage.endpoint().calls) > 1)
        await stage.take(drawing("d2"))
        await eventually(lambda: len(stage.guesses("everyone")) == 2)

    assert [guess.lead for guess in stage.guesses("everyone")] == ["xgboost", "everyone"]


async def test_a_version_that_fails_its_first_calls_is_taken_out_and_the_last_good_one_answers():
    async with running() as stage:
        await stage.through(drawing())
        stage.endpoint().traffic, stage.endpoint().down = "v2", {"v2"}
        stage.promote("xgboost", "2", previous="1")
        broken = stage.models.table.digest
        await stage.through(drawing("d2"))
        await stage.through(drawing("d3"))

    assert [guess.version for guess in stage.guesses("xgboost")] == ["1", "1", "1"]
    assert all("version 2 failed" in str(guess.fallback) for guess in stage.guesses("xgboost")[1:])
    assert stage.models.table.digest != broken
    [command] = [event for event in stage.said if isinstance(event, RollBackModel)]
    assert (command.target, command.failed, command.by) == ("xgboost", "2", "router")
    assert stage.endpoint().variants[-1] == "v1", "and the broken one is not asked again"


async def test_a_version_that_is_promoted_again_and_fails_again_is_rolled_back_again():
    async with running() as stage:
        stage.endpoint().traffic, stage.endpoint().down = "v2", {"v2"}
        for attempt in range(2):
            stage.promote("xgboost", "2", previous="1")
            await stage.through(drawing(f"d{attempt}"))
            stage.promote("xgboost", "1")

    commands = [event for event in stage.said if isinstance(event, RollBackModel)]
    assert len({command.command_id for command in commands}) == 2


async def test_after_the_roll_back_the_version_before_has_the_traffic():
    async with running() as stage:
        stage.endpoint().traffic, stage.endpoint().down = "v2", {"v2"}
        stage.promote("xgboost", "2", previous="1")
        await stage.through(drawing())
        stage.endpoint().traffic = "v1"
        stage.promote("xgboost", "1")
        await stage.through(drawing("d2"))

    assert stage.guesses("xgboost")[-1].fallback is None
    assert stage.endpoint().variants[-1] is None


async def test_a_restart_is_no_trial_of_a_version_that_was_promoted_long_before():
    async with running() as stage:
        stage.endpoint().traffic, stage.endpoint().down = "v2", {"v2"}
        stage.hear(promoted("xgboost", "2", "1").model_copy(update={"at": now() - timedelta(minutes=2)}))
        [handed] = await stage.take(drawing())
        await eventually(lambda: len(stage.endpoint().calls) > 3)
        stage.endpoint().down = set()
        await eventually(lambda: handed.acked)

    assert [guess.version for guess in stage.guesses("xgboost")] == ["2"]
    assert not [event for event in stage.said if isinstance(event, RollBackModel)]


@pytest.mark.parametrize("next_one", ["3", "2"])
async def test_a_version_that_is_promoted_is_asked_at_once_though_the_one_before_rests(
    monkeypatch: pytest.MonkeyPatch, next_one: str
):
    monkeypatch.setattr(circuit_breaker, "FIRST_S", 1000.0)
    async with running() as stage:
        stage.endpoint().traffic = "v2"
        stage.promote("xgboost", "2", previous="1")
        await stage.proves("2")
        stage.endpoint().down = {"v2"}
        client = stage.router._clients[Answerer("xgboost")]
        [waits] = await stage.take(drawing("waits"))
        await eventually(lambda: client.state.resting)
        asked = len(stage.endpoint().calls)

        stage.endpoint().down, stage.endpoint().traffic = set(), f"v{next_one}"
        stage.hear(SNAPSHOT)
        assert client.state.resting, "something else has changed"
        stage.promote("xgboost", next_one, previous="1")
        assert client.state == WELL
        await eventually(lambda: waits.acked)

    assert stage.endpoint().calls[asked:] == [1]
    assert [guess.version for guess in stage.guesses("xgboost")][-1] == next_one


async def test_a_version_that_is_promoted_during_a_probe_of_the_one_before_is_asked_though_the_probe_fails():
    async with running() as stage:
        stage.endpoint().traffic = "v2"
        stage.promote("xgboost", "2", previous="1")
        await stage.proves("2")
        client = stage.router._clients[Answerer("xgboost")]
        stage.endpoint().silent = True
        [first] = await stage.take(drawing("first"))
        await eventually(lambda: client.state.resting)
        probed = len(stage.endpoint().calls)
        stage.endpoint().held = asyncio.Event()
        await eventually(lambda: len(stage.endpoint().calls) > probed)

        stage.promote("xgboost", "3", previous="2")
        [second] = await stage.take(drawing("second"))
        stage.endpoint().held.set()
        await eventually(lambda: len(stage.endpoint().calls) > probed + 1)
        stage.endpoint().silent, stage.endpoint().traffic = False, "v3"
        await eventually(lambda: first.acked and second.acked)
        assert client.state == WELL

    assert len(stage.endpoint().calls) < probed + 20, "and it is not asked again and again"
    assert [guess.version for guess in stage.guesses("xgboost")][-2:] == ["3", "3"]


async def test_a_failure_of_the_version_before_does_not_count_against_the_one_that_is_promoted():
    async with running() as stage:
        stage.promote("xgboost", "2", previous="1")
        client = stage.router._clients[Answerer("xgboost")]
        stage.endpoint().held = asyncio.Event()
        [handed] = await stage.take(drawing())
        await eventually(lambda: stage.endpoint().calls)
        stage.promote("xgboost", "3", previous="2")
        stage.endpoint().silent = True
        stage.endpoint().held.set()
        await eventually(lambda: len(stage.endpoint().calls) > 1)
        stage.endpoint().silent = False
        await eventually(lambda: handed.acked)
        assert client.state == WELL

    assert len(stage.guesses("xgboost")) == 1


async def test_a_proven_version_that_fails_later_is_not_taken_out():
    async with running() as stage:
        stage.endpoint().traffic = "v2"
        stage.promote("xgboost", "2", previous="1")
        await stage.proves("2")
        stage.endpoint().down = {"v2"}
        [handed] = await stage.take(drawing("late"))
        await eventually(lambda: len(stage.endpoint().calls) > 23)
        stage.endpoint().down = set()
        await eventually(lambda: handed.acked)

    assert {version_of(str(guess.version)) for guess in stage.guesses("xgboost")} == {"2"}
    assert not [event for event in stage.said if isinstance(event, RollBackModel)]


# --- questions that are no part of the game


async def test_a_raster_is_answered_in_the_place_of_strokes():
    async with running() as stage:
        await stage.through(drawing(final=False, probe=True, strokes=[], raster=bytes(784)))

    assert len(stage.guesses("xgboost")) == len(stage.guesses("everyone")) == 1


async def test_only_those_are_asked_who_are_wanted():
    async with running("xgboost", "kmeans") as stage:
        await stage.through(drawing(final=False, probe=True, models=["kmeans"]))

    assert len(stage.guesses("kmeans")) == 1
    assert not stage.endpoint().calls
    assert not stage.guesses("everyone") + stage.guesses("river") + stage.guesses("yours")


# --- twice, late, broken


async def test_a_drawing_that_comes_again_is_answered_once_and_acknowledged_with_the_first():
    async with running() as stage:
        stage.endpoint().down = {"v1"}
        [first] = await stage.take(drawing())
        await eventually(lambda: stage.guesses("river"))
        [again] = await stage.take(drawing())
        assert (first.acked, again.acked) == (0, 0)
        stage.endpoint().down = set()
        await eventually(lambda: first.acked and again.acked)
        [late] = await stage.take(drawing())
        assert late.acked

    assert len(stage.guesses("river")) == len(stage.guesses("xgboost")) == 1


async def test_a_preview_gives_way_to_newer_strokes_and_a_probe_does_not():
    async with running() as stage:
        endpoint = stage.endpoints["gamenight-xgboost"]
        endpoint.held = asyncio.Event()
        await stage.take(drawing("first", "bob"))
        await eventually(lambda: endpoint.calls)
        [probe] = await stage.take(drawing("probe", final=False, probe=True))
        [old] = await stage.take(drawing("old", final=False))
        [new] = await stage.take(drawing("new", final=False))
        endpoint.held.set()
        await eventually(lambda: probe.acked and old.acked and new.acked)

    answered = {guess.drawing_id for guess in stage.guesses("xgboost")}
    assert answered == {histories.named(name) for name in ("first", "probe", "new")}


async def test_what_is_no_drawing_is_rejected_and_the_others_are_answered():
    async with running() as stage:
        bad, good = await stage.take(b'{"type":"Scribble"}', drawing())
        await eventually(lambda: bad.acked and good.acked)

    [rejected] = [event for event in stage.said if isinstance(event, MessageRejected)]
    assert (rejected.value, rejected.stage) == (b'{"type":"Scribble"}', "router")
    assert len(stage.guesses("river")) == 1


async def test_a_drawing_that_cannot_be_drawn_is_rejected_and_the_others_are_answered(monkeypatch: pytest.MonkeyPatch):
    real = taken.rasterize_all

    def fails(drawings: list[Any]) -> NDArray[np.uint8]:
        if any(strokes[0][0][0] == 13 for strokes in drawings):
            raise ArithmeticError("thirteen")
        return real(drawings)

    monkeypatch.setattr(taken, "rasterize_all", fails)
    async with running() as stage:
        handed = await stage.take(drawing("a"), drawing("bad", strokes=[[[13, 13]]]), drawing("b"))
        await eventually(lambda: all(one.acked for one in handed))

    [rejected] = [event for event in stage.said if isinstance(event, MessageRejected)]
    assert "thirteen" in rejected.error
    assert {guess.drawing_id for guess in stage.guesses("xgboost")} == {histories.named("a"), histories.named("b")}


def thirteen(*_: object) -> None:
    raise ArithmeticError("thirteen")


@pytest.mark.parametrize(
    ("fails", "kmeans", "kind"),
    [
        *((method, "held", {}) for method in ("start", "answered", "late", "tick", "sent")),
        ("rests", "silent", {}),
        ("missed", "silent", {"final": False, "probe": True}),
        ("dropped", "held", {"final": False}),
        ("asked", "held", {}),
    ],
)
async def test_a_drawing_whose_round_fails_is_rejected_and_acknowledged_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, fails: str, kmeans: str, kind: dict[str, Any]
):
    def bad(one: Round) -> bool:
        return one.drawing.drawing.drawing_id == histories.named("bad")

    if fails == "asked":
        add = BatchClient.add
        monkeypatch.setattr(
            BatchClient, "add", lambda client, rounds: thirteen() if any(map(bad, rounds)) else add(client, rounds)
        )
    else:
        works = getattr(Round, fails)
        monkeypatch.setattr(Round, fails, lambda one, *given: thirteen() if bad(one) else works(one, *given))

    budget_ms = 600 if fails != "dropped" else 20_000  # kmeans answers only when the others have, however busy the machine
    async with running("xgboost", "kmeans", settings=Settings(blend_deadline_ms=150, guess_budget_ms=budget_ms)) as stage:
        stage.endpoint("kmeans").held = asyncio.Event() if kmeans == "held" else None
        stage.endpoint("kmeans").silent = kmeans == "silent"
        if fails == "dropped":
            await stage.take(drawing("first", "zoe"))
            await eventually(lambda: stage.endpoint("kmeans").calls)
        handed = await stage.take(drawing("a", "ada", **kind), drawing("bad", "bob", **kind), drawing("b", "cem", **kind))
        if fails == "dropped":
            await eventually(lambda: len(stage.guesses("xgboost")) == 4)
            handed += await stage.take(drawing("newer", "bob", **kind))
            stage.endpoint("kmeans").held.set()
        await eventually(lambda: all(one.acked for one in handed))

        await stage.through(drawing("after"))

    [rejected] = [event for event in stage.said if isinstance(event, MessageRejected)]
    assert (rejected.error, rejected.source_offset) == ("ArithmeticError: thirteen", handed[1].record.offset)
    assert [one.acked for one in handed] == [1] * len(handed)
    told = Counter((event.drawing_id, event.model) for event in stage.said if isinstance(event, GuessMade | GuessMissed))
    others = ("a", "b", "after", *(("newer",) if fails == "dropped" else ()))
    assert {place: n for place, n in told.items() if place[0] in map(histories.named, others)} == {
        (histories.named(name), model): 1 for name in others for model in ("river", "yours", "xgboost", "kmeans", "everyone")
    }


@pytest.mark.parametrize(("kind", "field"), [(GuessMade, "lead"), (GuessMissed, "why"), (DrawingAnswered, "lead")])
async def test_a_drawing_of_which_something_cannot_be_written_is_rejected_and_acknowledged_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, kind: type[Event], field: str
):
    publish = Round._publish

    def spoiled(one: Round, event: Event) -> Publish:
        bad = isinstance(event, kind) and event.drawing_id == histories.named("bad")  # type: ignore[attr-defined]
        return publish(one, event.model_copy(update={field: "\ud800"}) if bad else event)

    monkeypatch.setattr(Round, "_publish", spoiled)
    async with running("xgboost", "kmeans", settings=Settings(blend_deadline_ms=150, guess_budget_ms=600)) as stage:
        stage.endpoint("kmeans").silent = True
        handed = await stage.take(drawing("a", "ada"), drawing("bad", "bob"), drawing("b", "cem"))
        await eventually(lambda: all(one.acked for one in handed))
        stage.endpoint("kmeans").silent = False
        await eventually(lambda: stage.router._clients[Answerer("kmeans")].state == WELL)
        await stage.through(drawing("after"))

    [rejected] = [event for event in stage.said if isinstance(event, MessageRejected)]
    assert "surrogates not allowed" in rejected.error
    assert rejected.source_offset == handed[1].record.offset
    assert [one.acked for one in handed] == [1] * len(handed)
    answered = {part.drawing_id for part in stage.answered()} - {histories.named("bad")}  # at the deadline, before the miss
    assert answered == {histories.named(name) for name in ("a", "b", "after")}
    assert not stage.router._taken


async def test_an_endpoint_whose_error_no_event_can_hold_costs_its_own_guess_only():
    async with running("xgboost", "kmeans", settings=Settings(guess_budget_ms=200)) as stage:
        stage.endpoint("kmeans").down, stage.endpoint("kmeans").why = {"v1"}, "half of a letter: \ud800"
        await stage.through(drawing())

    assert not [event for event in stage.said if isinstance(event, MessageRejected)]
    assert [part.missed for part in stage.answered()] == [{"kmeans": "half of a letter: \\ud800"}]


@pytest.mark.parametrize("fails", ["_watch", "_heard"])
async def test_what_fails_in_a_timer_and_is_no_drawings_fault_ends_the_router(monkeypatch: pytest.MonkeyPatch, fails: str):
    settings = Settings(blend_deadline_ms=150, guess_budget_ms=18_000) if fails == "_watch" else LONG
    stage = Stage(("xgboost",), settings)
    stage.promote("xgboost")
    stage.endpoint().held = asyncio.Event()
    work = asyncio.create_task(stage.router.run())
    await asyncio.sleep(0)
    [handed] = await stage.take(drawing())
    await eventually(lambda: stage.endpoint().calls)
    monkeypatch.setattr(stage.router, fails, thirteen)

    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(DEADLINE_S):
            await work
    assert ended.group_contains(ArithmeticError, match="thirteen")
    assert not handed.acked


async def test_a_send_that_fails_ends_the_router():
    stage = Stage(("xgboost",))

    async def refused(records: Sequence[UnsentRecord]) -> None:
        raise ConnectionError("no broker")

    stage.router = Router(LONG, Network(), stage.models, stage.endpoints.__getitem__, Players(), refused, ("xgboost",))
    work = asyncio.create_task(stage.router.run())
    await asyncio.sleep(0)
    [handed] = await stage.take(drawing())

    with pytest.raises(ExceptionGroup):
        await work
    assert not handed.acked


@pytest.mark.parametrize(
    "features", [{"reader": "raster-2/ffffffff"}, {"basis": "relu-64-512-1"}, {"basis": ""}], ids=["reader", "basis", "none"]
)
async def test_a_snapshot_of_other_features_is_left_out(features: dict[str, str]):
    stage = Stage(("xgboost",))
    other = SNAPSHOT.model_copy(update={"version": "x+1", **features})
    stage.models.apply([Record("models.v1", 0, 0, b"river", other.record_value(), 0), Record("models.v1", 0, 1, b"?", b"?", 0)])

    assert stage.models.table.online["river"].version == "mnist1+0"
    stage.hear(SNAPSHOT)
    assert stage.models.table.online["river"].version == SNAPSHOT.version, "one of these features is taken"


async def test_a_memory_that_cannot_be_told_is_rejected_and_stops_no_drawing(monkeypatch: pytest.MonkeyPatch):
    asked = MemoryAsked(request_id=histories.named("ask"), player_id="ada")

    def cannot(*_: object) -> None:
        raise ValueError("its cell cannot be read")

    monkeypatch.setattr(Players, "told", cannot, raising=False)
    async with running() as stage:
        handed = await stage.take(asked, drawing("fine"))
        await eventually(lambda: all(one.acked for one in handed))

    [rejected] = [event for event in stage.said if isinstance(event, MessageRejected)]
    assert (rejected.stage, rejected.source_offset, rejected.error) == ("router", 1, "ValueError: its cell cannot be read")
    assert stage.guesses("river")
