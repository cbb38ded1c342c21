"""From the bus to sockets: reads what the API must know and hands it to the event loop (ways 1 and 2).

A thread for each reader, since polling blocks: the newest guesses and receipts, models and commands from the start, and scores
from the start. None of these grows with what was played: a start reads a bounded number of records (docs/decisions/0017), and
players need not wait for the scores. Drawings are not read: one is known from its player, or from the guess on it. Twice is
harmless: Recent, Board and Orders see that it came before. A record that cannot be handled is told on rejected.v1 and passed
over; a topic that cannot be read is opened again where it was left.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog

from api.apps.predict import Predictor
from api.folds.command_status import Orders
from api.folds.endpoint_latency import Live
from api.folds.model_board import Board
from api.folds.recent_drawings import NEWEST, Recent
from api.health import Health
from api.metrics import Meters
from api.play.frames import ModelChanged
from api.play.game import Game
from contracts.events import (
    TOPICS,
    CommandSettled,
    CorrectionReceipt,
    Event,
    GuessMade,
    GuessMissed,
    MessageRejected,
    ModelEvent,
    PreviewGuessed,
    ReceiptProbed,
    ScoresCounted,
    now,
)
from contracts.ports import Bus, Record, Since
from contracts.records import read, rejection
from producers.rejections import Rejections

LIVE: Final = (GuessMade.topic, PreviewGuessed.topic, CorrectionReceipt.topic)
STATE: Final = (ModelEvent.topic, CommandSettled.topic)
SCORES: Final = (ScoresCounted.topic,)
SCORES_S: Final = 1.0
"""So long a start waits for the scores; then they come while people play."""
TICK_S: Final = 0.5
_POLL_S = 1.0
_AGAIN_S = 0.5

STAGE: Final = "api"
Told = tuple[Record, Event]
"""A record, and what it says."""

log = structlog.get_logger(__name__)


class Relay:
    """The API's eyes on the bus."""

    def __init__(
        self,
        bus: Bus,
        recent: Recent,
        board: Board,
        live: Live,
        orders: Orders,
        game: Game,
        predictor: Predictor,
        health: Health,
        meters: Meters,
    ) -> None:
        """Join the parts; `start` begins to read."""
        self._bus = bus
        self._rejections = Rejections(bus)
        self._recent = recent
        self._board = board
        self._live = live
        self._orders = orders
        self._game = game
        self._predictor = predictor
        self._health = health
        self._meters = meters
        self._stopping = threading.Event()
        self._caught_up: dict[Sequence[str], threading.Event] = {topics: threading.Event() for topics in (LIVE, STATE, SCORES)}
        self._since: dict[Sequence[str], Since] = {}
        self._troubles: dict[Sequence[str], str] = {}
        self._threads: list[threading.Thread] = []
        self._began = 0.0

    def start(self) -> None:
        """Begin to read; call it on the event loop."""
        loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        newest: Since = {
            (topic, partition): -1 if topic == PreviewGuessed.topic else -NEWEST
            for topic in LIVE
            for partition in range(TOPICS[topic].partitions)
        }
        for topics, first in ((LIVE, newest), (STATE, "start"), (SCORES, "start")):
            thread = threading.Thread(target=self._read, args=(loop, topics, first), name=f"relay-{topics[0]}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def ready(self) -> bool:
        """Whether what players need of what was on the topics at the start is folded."""
        scores = self._caught_up[SCORES].is_set() or time.monotonic() - self._began > SCORES_S
        return scores and self._caught_up[LIVE].is_set() and self._caught_up[STATE].is_set()

    @property
    def trouble(self) -> str:
        """Why the bus cannot be read now; empty: it can."""
        return "; ".join(self._troubles.values())

    def stop(self) -> None:
        """Stop reading; waits for the threads."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=2.0)

    # --- in the threads

    def _read(self, loop: asyncio.AbstractEventLoop, topics: Sequence[str], since: Since) -> None:
        self._since[topics] = since
        while not self._stopping.is_set():
            try:
                self._follow(loop, topics)
                return
            except RuntimeError as wrong:
                if loop.is_closed():
                    return
                self._troubles[topics] = f"reading {', '.join(topics)} failed: {wrong}"
                log.error("reading failed, opened again", topics=topics, error=str(wrong))
                self._stopping.wait(_AGAIN_S)

    def _follow(self, loop: asyncio.AbstractEventLoop, topics: Sequence[str]) -> None:
        """Read until told to stop."""
        tail = self._bus.follow(topics, self._since[topics])
        self._troubles.pop(topics, None)
        folded = self._caught_up[topics]
        live = folded.is_set()
        try:
            while not self._stopping.is_set():
                if not live and tail.caught_up():
                    live = True
                    loop.call_soon_threadsafe(folded.set)
                records = tail.poll(_POLL_S if live else 0.05)
                if records:
                    loop.call_soon_threadsafe(self._take, self._events(records, live), live)
                    self._since[topics] = tail.positions()
        finally:
            tail.close()

    def _events(self, records: Sequence[Record], live: bool) -> list[Told]:
        """What records say. Of counts, and of all that a compacted topic held at the start, the newest of a key is enough."""
        newest: dict[str, int] = {}
        events: list[Told] = []
        said: set[tuple[str, bytes]] = set()
        for record in reversed(records):
            newest.setdefault(record.topic, record.timestamp_ms)
            whole = record.key is not None and (
                record.topic == ScoresCounted.topic or (not live and TOPICS[record.topic].compacted)
            )
            place = record.topic, record.key or b""
            if whole and place in said:
                continue
            event = read(record, STAGE)
            if isinstance(event, MessageRejected):
                self._reject(event)
            elif event is not None:
                events.append((record, event))
                if whole:
                    said.add(place)
        for topic, at_ms in newest.items():
            self._meters.lag.labels(topic).set(max(0.0, time.time() - at_ms / 1000))
        return events[::-1]

    def _reject(self, rejected: MessageRejected) -> None:
        self._meters.rejected.labels(rejected.source).inc()
        self._rejections.tell(rejected)

    # --- on the event loop

    async def tick(self) -> None:
        """Let time pass for the models that rest, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            self._tell(self._board.tick(now()), True)

    def _take(self, events: list[Told], live: bool) -> None:
        time_now, clock_now = now(), time.monotonic()
        for record, event in events:
            try:
                self._apply(event, time_now, clock_now, live)
            except Exception as wrong:  # noqa: BLE001 one bad event stops nothing
                asyncio.get_running_loop().run_in_executor(None, self._reject, rejection(record, STAGE, wrong))

    def _apply(self, event: Event, time_now: datetime, clock_now: float, live: bool) -> None:
        match event:
            case GuessMade():
                self._guessed(event, (time_now - event.at).total_seconds() * 1000, clock_now, live)
            case GuessMissed():
                self._missed(event, live)
            case ReceiptProbed():
                self._health.receipted(event)
            case CorrectionReceipt():
                if live:
                    self._health.receipted(event)
                receipt = self._recent.receipted(event)
                if receipt is not None:
                    self._game.deliver(event.player_id, receipt)
            case _:
                self._orders.apply(event)
                self._tell(self._board.apply(event), live)

    def _guessed(self, guess: GuessMade, bus_out_ms: float, clock_now: float, live: bool) -> None:
        if live:
            self._health.heard(guess)
        self._live.heard(guess)
        self._tell(self._board.guessed(guess), live)
        if guess.role == "shadow" or guess.model in self._board.hidden:
            return
        if not guess.final and self._predictor.heard(guess):
            return
        if not (guess.final or self._game.plays(guess.player_id)):  # of another process's player, or of no player
            return
        told = self._recent.guessed(guess, max(0.0, bus_out_ms), clock_now)
        if told is not None:
            self._game.deliver(guess.player_id, told.text)
            if told.total_ms is not None:
                self._meters.guessed(guess.model, told.total_ms / 1000)

    def _missed(self, miss: GuessMissed, live: bool) -> None:
        self._health.missed(miss)
        self._tell(self._board.missed(miss), live)
        self._predictor.heard(miss)
        if miss.final and miss.model not in self._board.hidden:
            text = self._recent.missed(miss)
            if text is not None:
                self._game.deliver(miss.player_id, text)

    def _tell(self, changes: Sequence[ModelChanged], live: bool) -> None:
        for change in changes if live else ():
            self._game.broadcast(change.text())
