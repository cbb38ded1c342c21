"""The router with endpoints and a bus made here: who is asked, what is said, and when a drawing is acknowledged."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.events import DrawingSubmitted, Event, GuessMade, MessageRejected, ModelPromoted, SnapshotTaken, now
from contracts.ports import Answer, EndpointDown, Record
from contracts.settings import Settings
from streams import answering
from streams.answering import Router
from streams.models import Models
from streams.routing import Online, Table
from tests import histories

READER = "raster-1/00000000"
DEADLINE_S = 20.0


class Network:
    """Features of two numbers."""

    reader = READER

    def embed(self, rasters: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ones((len(rasters), 2), np.float32)


@dataclass
class FakeEndpoint:
    """Says three to everything; as the test says, it is down, or holds its breath."""

    down: bool = False
    held: threading.Event | None = None
    calls: list[int] = field(default_factory=list)

    def predict(self, rasters: NDArray[np.uint8]) -> Answer:
        self.calls.append(len(rasters))
        if self.held is not None:
            self.held.wait(DEADLINE_S)
        if self.down:
            raise EndpointDown("it is down")
        return Answer(np.tile(np.eye(10)[3], (len(rasters), 1)), "v1")


@dataclass
class Handed:
    """A drawing on the topic, and whether it was acknowledged."""

    record: Record
    acked: int = 0

    def ack(self) -> None:
        self.acked += 1


class Stage:
    """A running router, and what it said."""

    def __init__(self, models: tuple[str, ...]) -> None:
        weights = np.zeros((10, 3), np.float32)
        weights[7, -1] = 9
        self.models = Models(Table(online={"river": Online("mnist1+0", READER, -1, weights)}), READER)
        self.models.ready.set()
        self.endpoints = {f"gamenight-{model}": FakeEndpoint() for model in models}
        self.said: list[Event] = []
        self.router = Router(Settings(), Network(), self.models, self.endpoints.__getitem__, self._publish, models)
        self.offset = 0

    async def _publish(self, events: Iterable[Event]) -> None:
        await asyncio.sleep(0)
        self.said += events

    def promote(self, model: str, version: str = "1") -> None:
        event = promoted(model, version)
        record = Record("models.v1", 0, 0, event.record_key(), event.record_value(), 0)
        self.models.learn([record])

    def handed(self, event: Event | bytes) -> Handed:
        value = event if isinstance(event, bytes) else event.record_value()
        self.offset += 1
        return Handed(Record("drawings.v1", 0, self.offset, b"ada", value, 0))

    async def take(self, *events: Event | bytes) -> list[Handed]:
        gathered = [self.handed(event) for event in events]
        await self.router.take(gathered)
        return gathered

    def guesses(self, model: str) -> list[GuessMade]:
        return [event for event in self.said if isinstance(event, GuessMade) and event.model == model]


def promoted(model: str, version: str) -> ModelPromoted:
    return ModelPromoted(model=model, version=version, title="", endpoint=f"gamenight-{model}", variant=f"v{version}")


@asynccontextmanager
async def running(*models: str, versions: bool = True) -> AsyncIterator[Stage]:
    stage = Stage(models or ("xgboost",))
    if versions:
        for model in models or ("xgboost",):
            stage.promote(model)
    work = asyncio.create_task(stage.router.run())
    await asyncio.sleep(0)
    try:
        yield stage
        assert not work.done(), work
    finally:
        for endpoint in stage.endpoints.values():
            if endpoint.held is not None:
                endpoint.held.set()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def eventually(true: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():
            await asyncio.sleep(0.001)


def drawing(name: str = "d1", player: str = "ada", **more: Any) -> DrawingSubmitted:
    return histories.drawing(name, player=player, **more).model_copy(update={"at": now()})


async def test_every_model_answers_and_then_the_drawing_is_acknowledged():
    async with running() as stage:
        [handed] = await stage.take(drawing())
        await eventually(lambda: handed.acked)

    [river], [xgboost] = stage.guesses("river"), stage.guesses("xgboost")
    assert (river.label, river.version) == (7, "mnist1+0")
    assert (xgboost.label, xgboost.version) == (3, "1")
    assert river.table == xgboost.table == stage.models.table.digest
    assert river.features is not None
    assert len(river.features.raster) == 784
    assert xgboost.features is None


async def test_a_preview_carries_no_features():
    async with running() as stage:
        [handed] = await stage.take(drawing(final=False))
        await eventually(lambda: handed.acked)

    assert [(guess.final, guess.features) for guess in stage.guesses("river")] == [(False, None)]


async def test_what_gathers_during_a_call_goes_out_as_one_final_drawings_first():
    async with running() as stage:
        endpoint = stage.endpoints["gamenight-xgboost"]
        endpoint.held = threading.Event()
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


async def test_one_endpoint_that_is_down_costs_its_own_guess_only():
    async with running("xgboost", "kmeans") as stage:
        stage.endpoints["gamenight-xgboost"].down = True
        [handed] = await stage.take(drawing())
        await eventually(lambda: stage.guesses("kmeans") and stage.guesses("river"))
        await eventually(lambda: len(stage.endpoints["gamenight-xgboost"].calls) > 2)
        assert not handed.acked, "it is read again if this process dies"
        stage.endpoints["gamenight-xgboost"].down = False
        await eventually(lambda: handed.acked)

    assert len(stage.guesses("xgboost")) == len(stage.guesses("kmeans")) == len(stage.guesses("river")) == 1


async def test_a_preview_or_a_probe_is_not_asked_twice():
    async with running() as stage:
        endpoint = stage.endpoints["gamenight-xgboost"]
        endpoint.down = True
        for one in (drawing("a", final=False), drawing("b", final=False, probe=True)):
            [handed] = await stage.take(one)
            await eventually(lambda handed=handed: handed.acked)

    assert len(endpoint.calls) == 2
    assert not [event for event in stage.said if isinstance(event, MessageRejected)]


async def test_a_final_drawing_is_given_up_at_last_and_said_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answering, "GIVE_UP_S", 0.05)
    async with running() as stage:
        stage.endpoints["gamenight-xgboost"].down = True
        [handed] = await stage.take(drawing())
        await eventually(lambda: handed.acked)

    [rejected] = [event for event in stage.said if isinstance(event, MessageRejected)]
    assert rejected.stage == "router/xgboost"
    assert rejected.value == handed.record.value
    assert len(stage.guesses("river")) == 1


async def test_a_model_without_a_version_is_waited_for():
    async with running(versions=False) as stage:
        [handed] = await stage.take(drawing())
        await eventually(lambda: stage.guesses("river"))
        assert not handed.acked
        stage.promote("xgboost")
        await eventually(lambda: handed.acked)

    assert len(stage.guesses("xgboost")) == 1


async def test_a_drawing_that_comes_again_is_answered_once_and_acknowledged_with_the_first():
    async with running() as stage:
        stage.endpoints["gamenight-xgboost"].down = True
        [first] = await stage.take(drawing())
        await eventually(lambda: stage.guesses("river"))
        [again] = await stage.take(drawing())
        assert (first.acked, again.acked) == (0, 0)
        stage.endpoints["gamenight-xgboost"].down = False
        await eventually(lambda: first.acked and again.acked)
        [late] = await stage.take(drawing())
        assert late.acked

    assert len(stage.guesses("river")) == len(stage.guesses("xgboost")) == 1


async def test_a_preview_gives_way_to_newer_strokes_and_a_probe_does_not():
    async with running() as stage:
        endpoint = stage.endpoints["gamenight-xgboost"]
        endpoint.held = threading.Event()
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
    real = answering.rasterize_all

    def fails(drawings: list[Any]) -> NDArray[np.uint8]:
        if any(strokes[0][0][0] == 13 for strokes in drawings):
            raise ArithmeticError("thirteen")
        return real(drawings)

    monkeypatch.setattr(answering, "rasterize_all", fails)
    async with running() as stage:
        handed = await stage.take(drawing("a"), drawing("bad", strokes=[[[13, 13]]]), drawing("b"))
        await eventually(lambda: all(one.acked for one in handed))

    [rejected] = [event for event in stage.said if isinstance(event, MessageRejected)]
    assert "thirteen" in rejected.error
    assert {guess.drawing_id for guess in stage.guesses("xgboost")} == {histories.named("a"), histories.named("b")}


async def test_a_send_that_fails_ends_the_router():
    stage = Stage(("xgboost",))

    async def refused(events: Iterable[Event]) -> None:
        raise ConnectionError("no broker")

    stage.router = Router(Settings(), Network(), stage.models, stage.endpoints.__getitem__, refused, ("xgboost",))
    work = asyncio.create_task(stage.router.run())
    await asyncio.sleep(0)
    [handed] = await stage.take(drawing())

    with pytest.raises(ExceptionGroup):
        await work
    assert not handed.acked


async def test_a_snapshot_of_other_features_is_left_out():
    stage = Stage(("xgboost",))
    weights = np.ones((10, 3), "<f4").tobytes()
    other = SnapshotTaken(
        model="river", version="x+1", title="", offset=1, lessons=1, digest="", reader="raster-2/ffffffff", weights=weights
    )
    stage.models.learn([Record("models.v1", 0, 0, b"river", other.record_value(), 0), Record("models.v1", 0, 1, b"?", b"?", 0)])

    assert stage.models.table.online["river"].version == "mnist1+0"
