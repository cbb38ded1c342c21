"""The jobs in the product's own stream layer: a taker and a fold of `streams.worker`, over its transport or over another.

``python -m tests.bench.peer_jobs.ours answer|fold [group]``: with ``group`` over `tests.bench.peer_jobs.group`.
"""

import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal
from uuid import UUID

import orjson

from contracts.events import CorrectionGiven, Event
from contracts.ports import Cells, Origin
from contracts.settings import Settings
from producers import logs
from streams import worker
from streams.delivery import Delivery, UnsentRecord
from tests.bench.peer_jobs.group import Group
from tests.bench.peer_jobs.job import CORRECTIONS, DRAWINGS, Model, counted


class Answered(Event):
    """The answer to a drawing; it uses a topic of the product, as all published events must."""

    topic = "guesses.v1"
    key = "player_id"
    type: Literal["PeerAnswered"] = "PeerAnswered"
    id: UUID
    player_id: str
    probabilities: list[float]


class Counted(Event):
    """The answer to a correction."""

    topic = "receipts.v1"
    key = "player_id"
    type: Literal["PeerCounted"] = "PeerCounted"
    id: UUID
    player_id: str
    n: int


class Answering:
    """Answers all drawings that have come at once."""

    def __init__(self, publish: Callable[[Iterable[UnsentRecord]], Awaitable[None]]) -> None:
        self._model = Model()
        self._publish = publish

    async def take(self, gathered: Sequence[Delivery]) -> None:
        """Answer the drawings, and acknowledge each once its answer is published."""
        answers = [Answered(**self._model.answer(orjson.loads(one.record.value or b""))) for one in gathered]
        await self._publish(map(UnsentRecord.of, answers))
        for one in gathered:
            one.ack()


class Counting:
    """Counts a player's corrections."""

    name = "peer-count"
    schema = "peer-count 1"
    sources = (CORRECTIONS,)

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Do nothing: nothing is kept in memory."""
        return ()

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Count a correction."""
        assert isinstance(event, CorrectionGiven)
        said = counted(int(cells.get(event.player_id) or b"0"), event.model_dump())
        cells.put(event.player_id, str(said["n"]).encode())
        return [Counted(**said)]

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Do nothing: nothing is kept in memory."""
        return ()

    def close(self, partition: int) -> None:
        """Do nothing: there is nothing to let go of."""


def main(job: str, transport: str = "faust") -> None:
    """Work until the process is ended."""
    settings = Settings.load()
    logs.configure(settings, f"peer-{job}")
    if transport == "group":
        worker.Transport = Group  # type: ignore[misc,assignment]
    working = worker.Worker(settings, f"peer-{job}")
    if job == "answer":
        working.hand([DRAWINGS], Answering(working.publish))
    else:
        working.fold(Counting())
    working.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
