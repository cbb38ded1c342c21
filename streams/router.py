"""Runs the router: it reads each drawing once, asks every model, and publishes the answers as they come (way 1, ANSWER).

streams.round decides about a drawing, streams.batch_queue about the rounds of a call; both are pure. This module has the
clocks, the timers, the clients, the publishing and the acknowledging: a step takes what has happened, lets the rounds decide
what follows, and publishes all of it at once.

A drawing is acknowledged on the bus when the broker has everything on it. After a process has died, its drawings are read
again, and readers of guesses take the first of a guess_id. A drawing whose round fails, or one of whose events cannot be
written, is rejected and acknowledged, and the others continue: if it ended the process, it would be read again and end the
next. Any other failure ends the process.
"""

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from cachetools import LRUCache

from contracts.events import MAX_CANDIDATES, DrawingSubmitted, MemoryAsked, MessageRejected, now
from contracts.ports import Endpoint, Record
from contracts.records import read, rejection
from contracts.settings import Settings
from producers.signing import Signer
from streams.batch_client import BatchClient, CallAnswered, CallOutcome, Late, VersionFailed
from streams.batch_queue import CallMissed, Dropped, Resting
from streams.delivery import Delivery, Emit, SendQueue, UnsentRecord
from streams.fold import told
from streams.lineup import Answerer, Lineup
from streams.local_models import LocalModels, PersonalGuesser, Reader
from streams.models import Models
from streams.pending import Deadlines, Moment, PendingDrawing, rows
from streams.round import Acknowledge, Ask, Publish, Round, RoundAction
from streams.routing import superseded
from streams.taken import Taken, draw

_log = structlog.get_logger()

STAGE: Final = "router"
_SOON_S: Final = 0.001  # a timer that came too early is set again, at least so far off
FEW: Final = 4
"""With so few drawings under way, hardly anything else is about to be said: what is said waits for nothing."""
RoundSteps = list[tuple[Round, Sequence[RoundAction]]]


class Router:
    """Answers drawings; it takes them as a streams.delivery.Taker."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        models: Models,
        endpoint: Callable[[str], Endpoint],
        personal: PersonalGuesser,
        publish: Emit,
        batch_models: Sequence[str],
    ) -> None:
        """Build; `run` must be running for anything to be published."""
        self._local = LocalModels(reader, personal, time.perf_counter)
        self._models = models
        self._personal = personal
        self._batch_models = tuple(batch_models)
        self._signer = Signer("router", settings.router_signing_key)
        self._stale = timedelta(milliseconds=settings.preview_stale_ms)
        self._deadlines = Deadlines(settings.blend_deadline_ms / 1000, settings.guess_budget_ms / 1000)
        self._lately: LRUCache[UUID, None] = LRUCache(20_000)
        self._taken: dict[Round, Taken] = {}
        self._pending: dict[UUID, Taken] = {}
        """The final drawings that are not acknowledged."""
        self._unsent = SendQueue(publish)
        self._sending: asyncio.TaskGroup | None = None
        self._failure: asyncio.Future[None] | None = None
        """Done once a failure ends the router."""
        self._clients = {
            answerer: BatchClient(answerer, models, endpoint, self._hear, time.perf_counter, self._deadlines.blend_s)
            for answerer in (Answerer(model, beside) for model in batch_models for beside in range(MAX_CANDIDATES + 1))
        }

    async def run(self) -> None:
        """Ask and publish, for ever; ends with the first send that fails, or another failure that is no drawing's fault."""
        self._failure = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as self._sending:
                self._sending.create_task(_raised(self._failure))
                for client in self._clients.values():
                    self._sending.create_task(client.run())
        finally:
            self._unsent.stop()

    # --- what comes

    async def take(self, gathered: Sequence[Delivery]) -> None:
        """Read the gathered drawings, answer them with the models in this process, and let the others be asked."""
        await self._models.ready.wait()
        admitted = self._admitted(gathered)
        bad = draw(admitted, time.perf_counter)
        for one, wrong in bad.items():
            self._reject(one, wrong)
        taken = [one for one in admitted if one not in bad]
        try:
            step = self._begin(taken)
        except Exception:  # noqa: BLE001 one bad drawing stops no other: find it
            _log.exception("drawings failed together, they are asked one by one", n=len(taken))
            step = []
            for one in taken:
                try:
                    step += self._begin([one])
                except Exception as wrong:  # noqa: BLE001 one bad drawing stops no other
                    self._reject(one, wrong)
        self._act(step)
        self._watch([one for one, _ in step])

    def _hear(self, outcomes: Sequence[CallOutcome]) -> None:
        """Act on the outcomes that a client reports."""
        with self._ending():
            self._act([one for outcome in outcomes for one in self._heard(outcome)], gather=True)

    def _tick(self, rounds: Sequence[Round]) -> None:
        """Tell rounds the time: the blend's deadline has come, or the end of the budget."""
        with self._ending():
            resting = {model: why for model in self._batch_models if (why := self._clients[Answerer(model)].state.resting)}
            moment = _moment()
            self._act([self._told(one, partial(one.tick, resting, moment)) for one in rounds])
            self._watch(rounds)

    def _sent(self, events: Mapping[Round, int]) -> None:
        """Tell rounds how many more of their events the broker has."""
        self._act([self._told(one, partial(one.sent, n)) for one, n in events.items()])

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """End the router if something inside fails; asyncio would only log what fails in a timer."""
        try:
            yield
        except Exception as wrong:
            if self._failure is None:
                raise
            if not self._failure.done():
                self._failure.set_exception(wrong)

    # --- what is asked

    def _admitted(self, gathered: Sequence[Delivery]) -> list[Taken]:
        """Select the drawings to answer: without other records, superseded previews, and drawings under way already."""
        drawings: list[tuple[DrawingSubmitted, Delivery]] = []
        for delivery in gathered:
            drawing = read(delivery.record, STAGE)
            if isinstance(drawing, DrawingSubmitted):
                drawings.append((drawing, delivery))
            elif isinstance(drawing, MessageRejected):
                self._send([UnsentRecord.of(told(drawing))], delivery.ack)
            elif isinstance(drawing, MemoryAsked):
                self._send(self._told_memory(delivery.record, drawing), delivery.ack)
            else:
                delivery.ack()
        time_now = now()
        skipped = superseded([drawing for drawing, _ in drawings], time_now, self._stale)
        admitted = []
        for place, (drawing, delivery) in enumerate(drawings):
            if drawing.final and drawing.drawing_id in self._pending:
                self._pending[drawing.drawing_id].acks.append(delivery.ack)
            elif place in skipped or (drawing.final and drawing.drawing_id in self._lately):
                delivery.ack()
            else:
                bus_in_ms = max(0.0, (time_now - drawing.at).total_seconds() * 1000)
                one = Taken(drawing, delivery.record, [delivery.ack], bus_in_ms)
                if drawing.final:
                    self._lately[drawing.drawing_id] = None
                    self._pending[drawing.drawing_id] = one
                admitted.append(one)
        return admitted

    def _told_memory(self, record: Record, asked: MemoryAsked) -> list[UnsentRecord]:
        """Return what is told of a player's memory; one that cannot be read stops no drawing."""
        try:
            answer = self._personal.told(record.partition, asked, now())
            return [UnsentRecord.of(answer)] if answer else []
        except Exception as wrong:  # noqa: BLE001 one bad memory stops no drawing
            _log.exception("a memory cannot be told", partition=record.partition)
            return [UnsentRecord.of(told(rejection(record, STAGE, wrong)))]

    def _begin(self, taken: Sequence[Taken]) -> RoundSteps:
        """Begin the rounds of drawings, with the answers of the models in this process."""
        if not taken:
            return []
        lineup = Lineup.of(self._models.table, self._batch_models)
        states = {answerer: client.state for answerer, client in self._clients.items()}
        local = self._local.answers([one.rasterized for one in taken], lineup)
        moment = _moment()
        step: RoundSteps = []
        for one, heard in zip(taken, local, strict=True):
            drawing, partition = one.drawing, one.record.partition
            lead, after = lineup.table.lead, None
            if lead == "bandit" and lineup.shown:
                lead, after = self._personal.pick(partition, drawing.player_id, sorted(lineup.shown))
            led = lineup.lead(lead, states)
            pending = PendingDrawing(
                drawing=drawing,
                raster=one.raster,
                features=heard.features,
                bus_in_ms=one.bus_in_ms,
                read_ms=one.read_ms,
                read_at=one.read_at,
                lead=led,
                lead_after=after if led == lead else None,
            )
            begun = Round(pending, lineup, self._personal.blend_weights(partition), self._deadlines)
            step.append((begun, begun.start(states, heard.guesses, heard.opinion, moment, heard.beside)))
        self._taken.update((begun, one) for (begun, _), one in zip(step, taken, strict=True))
        return step

    def _watch(self, rounds: Sequence[Round]) -> None:
        """Schedule `_tick` for when the first of these is due."""
        due = {one: at for one in rounds if (at := one.due) is not None}
        if due:
            wait_s = max(_SOON_S, min(due.values()) - time.perf_counter())
            asyncio.get_running_loop().call_later(wait_s, self._tick, list(due))

    # --- what follows

    def _heard(self, outcome: CallOutcome) -> RoundSteps:
        moment = _moment()
        match outcome:
            case CallAnswered(answerer, rounds, call, probabilities):
                return [
                    self._told(one, partial(one.answered, answerer, call, row, moment))
                    for one, row in zip(rounds, rows(probabilities), strict=True)
                ]
            case CallMissed(answerer, rounds, why, resting):
                return [self._told(one, partial(one.missed, answerer, why, resting, moment)) for one in rounds]
            case Late(answerer, rounds):
                return [self._told(one, partial(one.late, answerer, moment)) for one in rounds]
            case Resting(answerer, rounds):
                return [self._told(one, partial(one.rests, answerer, moment)) for one in rounds]
            case Dropped(rounds):
                return [self._told(one, partial(one.dropped, moment)) for one in rounds]
            case VersionFailed():
                self._report(outcome)
        return []

    def _told(self, one: Round, happened: Callable[[], Sequence[RoundAction]]) -> tuple[Round, Sequence[RoundAction]]:
        """Tell a round what happened, unless it is over; return the actions that follow. A round that fails is given up."""
        if one not in self._taken:
            return one, ()
        try:
            return one, happened()
        except Exception as wrong:  # noqa: BLE001 one bad drawing stops no other
            self._give_up(one, wrong)
            return one, ()

    def _give_up(self, one: Round, wrong: Exception) -> None:
        """Reject the drawing of a round that fails; the round hears nothing more, and gets no answer."""
        _log.error("round failed", drawing_id=str(one.drawing.drawing.drawing_id), exc_info=wrong)
        one.give_up()
        self._reject(self._taken.pop(one), wrong)

    def _act(self, step: RoundSteps, gather: bool = False) -> None:
        """Carry out actions, and those that follow from them; what is known already is sent before others are asked.

        ``gather``: what is said may wait some milliseconds for others who were asked about the same drawings.
        """
        left = deque(step)
        while left:
            records: list[UnsentRecord] = []
            published: Counter[Round] = Counter()
            asked: dict[Answerer, list[Round]] = defaultdict(list)
            while left:
                one, actions = left.popleft()
                for action in actions:
                    if one not in self._taken:
                        break
                    match action:
                        case Publish(event):
                            try:
                                records.append(UnsentRecord.of(event))
                            except Exception as wrong:  # noqa: BLE001 one bad drawing stops no other
                                self._give_up(one, wrong)
                            else:
                                published[one] += 1
                        case Ask(answerer):
                            asked[answerer].append(one)
                        case Acknowledge():
                            self._acknowledge(self._taken.pop(one))
            if records:
                self._send(records, partial(self._sent, published), gather and any(one.due is not None for one in published))
            for answerer, rounds in asked.items():
                left += self._asked(answerer, rounds)

    def _asked(self, answerer: Answerer, rounds: Sequence[Round]) -> RoundSteps:
        """Let an answerer be asked about rounds; return the actions that follow at once."""
        client, step = self._clients[answerer], RoundSteps()
        for one in rounds:
            if one not in self._taken:
                continue
            try:
                outcomes = client.add([one])
            except Exception as wrong:  # noqa: BLE001 one bad drawing stops no other
                self._give_up(one, wrong)
            else:
                for outcome in outcomes:
                    step += self._heard(outcome)
        return step

    def _acknowledge(self, one: Taken) -> None:
        if self._pending.get(one.drawing.drawing_id) is one:
            del self._pending[one.drawing.drawing_id]
        for ack in one.acks:
            ack()

    def _reject(self, one: Taken, wrong: Exception) -> None:
        self._send([UnsentRecord.of(told(rejection(one.record, STAGE, wrong)))], partial(self._acknowledge, one))

    def _report(self, failed: VersionFailed) -> None:
        """Command for all workers what this one did at once."""
        _log.error("version failed its first calls", model=failed.model, version=failed.version, trial=failed.trial,
                   error=failed.why[:500])  # fmt: skip
        self._send([UnsentRecord.of(self._signer.signed(failed.command()))], lambda: None)

    def _send(self, records: Sequence[UnsentRecord], done: Callable[[], object], gather: bool = False) -> None:
        """Send records, at once or, with ``gather`` or while many drawings are under way, with what is about to be said."""
        if self._sending is None:
            raise RuntimeError("the router is not running")
        self._unsent.send(self._sending, records, done, calm=not gather and len(self._taken) <= FEW)


async def _raised(failure: asyncio.Future[None]) -> None:
    """Wait for a failure, and raise it."""
    await failure


def _moment() -> Moment:
    return Moment(time.perf_counter(), now())
