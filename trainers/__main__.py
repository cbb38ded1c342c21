"""``python -m trainers``: makes every batch model answer, archives examples, carries out commands (way 3, REBUILD).

It runs threads, each a loop that can die with the process at any time: the archive, the observations, the commands as they
come, the rebuilds one after another, the changes of versions (a thread a model, so that none waits for a rebuild or for another
model's endpoint), and the watch over the endpoints. A loop that fails ends the process, and the supervisor starts it again; its
unfinished work is on the log.
"""

import contextvars
import faulthandler
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from contracts.events import ExperimentLearned, SignedEvent, SnapshotTaken
from contracts.ports import Bus, Record, Tail
from contracts.records import read
from contracts.settings import KAFKA_SECRETS, TRAINER_SECRETS, Settings
from producers import logs
from producers.blobs import S3Blobs, ensure_bucket
from producers.bus import BusError, open_bus
from producers.rejections import Rejections
from producers.signing import Proofs, Signer, SigningBus, public_keys
from producers.topics import TopicsDiffer, check_acknowledged
from producers.whole_log import all_records
from trainers.approval import Approvals
from trainers.base_models import BaseModels
from trainers.drift_actions import DriftActions
from trainers.endpoint_monitor import LOOK_S, EndpointMonitor
from trainers.example_sink import Sinks
from trainers.log_reader import STAGE, LogReader
from trainers.model_log import ModelLog, QuickCommand
from trainers.promote import Promoter
from trainers.registry import Registry
from trainers.serving import Serving
from trainers.signed_since import signed_since
from trainers.steering import Steering
from trainers.tables import ensure_tables

if TYPE_CHECKING:
    from trainers.forgetting import Forgetter
    from trainers.rebuild import Rebuilder

RETRY_S, MOST_RETRY_S, FORGET_TRIES = 2.0, 60.0, 5
STOP_S = 1.0
END_S = 6.0
"""How long the end may take before the process goes as it is; whatever it was doing is on the log and is done again."""
BASES_S = 20.0
"""How long everything else waits for the models to answer; a model that takes longer may answer later."""
NICE = 5  # archives and datasets are made while people play

log = structlog.get_logger()
T = TypeVar("T")


class Stopped(Exception):
    """The trainer was told to stop."""


def main() -> int:
    """Run until SIGTERM; return the exit status."""
    settings = Settings.load(secrets=(*KAFKA_SECRETS, *TRAINER_SECRETS))
    logs.configure(settings, "trainer")
    if missing := settings.undecided():
        log.error("not started", why=f"AWS needs {', '.join(missing)}: see docs/outside.md")
        return 1
    stop, told = threading.Event(), _told_to_stop()
    trainer = Trainer(settings, stop)
    trainer.start()
    while not stop.is_set():
        if select.select([told], [], [], 1.0)[0]:
            stop.set()
    ending = threading.Thread(target=trainer.close, args=(STOP_S,), daemon=True)
    ending.start()
    ending.join(END_S)
    if ending.is_alive():
        log.warning("stopped in the middle", after_s=END_S)
        faulthandler.dump_traceback()
    else:
        log.info("stopped")
    return 1 if trainer.broken else 0


def _told_to_stop() -> socket.socket:
    """Return a socket that can be read once SIGTERM or SIGINT has come.

    A handler in Python would run in the middle of whatever the main thread does: one that sets the event for which that thread
    waits can meet the event's own lock, and stand there for ever.
    """
    told, teller = socket.socketpair()
    teller.setblocking(False)
    signal.set_wakeup_fd(teller.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return told


class Trainer:
    """The trainer's process: its parts, its loops, and how it ends."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        """Build; nothing connects before `start`."""
        self._settings = settings
        self._stop = stop
        self._bus: Bus | None = None
        self._threads: list[threading.Thread] = []
        self._model_log = ModelLog(settings.roster())
        self._heard = threading.Condition()
        self._bringing: set[str] = set()
        self.broken = False
        """Whether a loop has ended with an error."""

    def start(self) -> None:
        """Make the models answer, then start the loops. All of it runs in threads, so that a signal is handled at any time."""
        self._start("begin", self._begin)

    def _begin(self) -> None:
        settings, began = self._settings, time.monotonic()
        try:
            bus = self._bus = SigningBus(open_bus(settings), Signer("trainer", settings.trainer_signing_key))
            check_acknowledged(settings)
        except (BusError, TopicsDiffer) as wrong:
            log.error("not started", why=str(wrong))
            self.broken = True
            self._stop.set()
            raise Stopped from None
        blobs, serving = S3Blobs(settings), Serving(settings, self.pause)
        ensure_bucket(settings)
        since = signed_since(blobs, all_records(bus, [SignedEvent.topic]))
        registry = Registry(settings, blobs)
        model_log, commands = self._model_log, bus.follow(["commands.v1", "drift.v1"], "start")
        reader = LogReader(model_log, Rejections(bus), Proofs(public_keys(settings), since))
        self._catch_up(reader, commands)
        models = bus.follow(["models.v1"], "start")
        self._catch_up(reader, models)
        promoter = Promoter(bus, model_log, serving)
        approvals = Approvals(model_log, promoter, registry)
        bases = BaseModels(settings, blobs, model_log, serving, promoter, registry)
        for model in model_log.roster.batch:
            self._bring(bases, model)
        while self._bringing and time.monotonic() - began < BASES_S:
            self.pause(0.02)
        answer = [model for model in model_log.roster.batch if model not in self._bringing and model_log.champion(model)]
        log.info("bases answer", models=answer, seconds=round(time.monotonic() - began, 2))

        steering = Steering(model_log, promoter, approvals)
        monitor = EndpointMonitor(model_log, serving, promoter, approvals, bases.worth_trying, partial(self._bring, bases))
        self._start("commands", lambda: self._listen(reader, commands))
        self._start("learned", lambda: self._hear_of_learning(models))
        for target in (*model_log.roster.batch, None):
            self._start(f"steer {target or 'all'}", partial(self._steer, steering, target))
        self._start("drift", partial(self._act_on_drift, DriftActions(model_log, promoter)))
        self._start("watch", lambda: self._look(monitor))

        # They are imported only now: the game can be played without pyarrow and numpy's friends.
        from trainers.archive import Archive
        from trainers.compaction import Tidying
        from trainers.forgetting import Forgetter
        from trainers.observations import Observations
        from trainers.rebuild import Rebuilder
        from trainers.shadow_watch import ShadowWatch

        os.nice(NICE)
        observations = Observations(settings, self._stop)
        tidy = Tidying(settings, blobs, model_log, promoter.say, lambda: self.pause(0))
        sinks = Sinks(bus, Archive(blobs), observations, partial(ensure_tables, settings), tidy, self._stop)
        rebuilder = Rebuilder(
            settings, bus, blobs, sinks.archive, model_log, serving, promoter, registry, approvals, self.pause
        )
        self._start("archive", lambda: self._keep(sinks.archive_and_tidy))
        self._start("observations", lambda: self._keep(sinks.observe))
        self._start("rebuilds", lambda: self._rebuild(rebuilder))
        forgetter = Forgetter(settings, bus, blobs, observations, sinks.held, rebuilder.held, model_log, promoter, self.pause)
        self._start("forgettings", lambda: self._forget(forgetter))
        self._start("shadows", partial(ShadowWatch(settings, bus, model_log, promoter, approvals).follow, self.pause))

    def _bring(self, bases: BaseModels, model: str) -> None:
        """Start to make a model answer, in a thread of its own; do nothing if that is under way already."""
        if model in self._bringing:
            return
        self._bringing.add(model)

        def bring() -> None:
            try:
                bases.bring(model)
            finally:
                self._bringing.discard(model)

        self._start(f"bring {model}", bring)

    def _look(self, monitor: EndpointMonitor) -> None:
        """Check the endpoints again and again."""
        while not self._stop.is_set():
            monitor.look()
            if self._settings.alive_file:
                self._settings.alive_file.touch()
            self.pause(LOOK_S)

    def _keep(self, keep: Callable[[], int]) -> None:
        """Bring a sink up to date with the log, again and again; an outage delays it and loses nothing."""
        while not self._stop.is_set():
            try:
                taken = keep()
            except (BotoCoreError, ClientError, BusError) as error:
                log.warning("examples wait", sink=threading.current_thread().name, error=str(error))
                self.pause(RETRY_S)
                continue
            if taken:
                log.info("examples kept", sink=threading.current_thread().name, n=taken)
            self.pause(self._settings.archive_every_s)

    def _listen(self, reader: LogReader, tail: Tail) -> None:
        """Carry out commands as they come."""
        while not self._stop.is_set():
            self._apply(reader, tail.poll(1.0))

    def _hear_of_learning(self, models: Tail) -> None:
        """Follow what online models have learned; all else on models.v1 is written here, and known before it is there."""
        while not self._stop.is_set():
            newest = {record.key: record for record in models.poll(1.0)}
            for record in newest.values():
                event = read(record, STAGE)
                if isinstance(event, SnapshotTaken | ExperimentLearned):
                    self._model_log.apply(event)

    def _steer(self, steering: Steering, target: str | None) -> None:
        """Carry out the commands that change who answers for one model (None: for no single model), in the order given."""

        def mine() -> list[QuickCommand]:
            return [command for command in self._model_log.unsettled() if self._steered_by(command) == target]

        while True:
            command = self._next(mine)
            try:
                steering.settle(command)
            except (Stopped, BusError):
                raise
            except Exception as error:
                log.exception("command failed", command=command.type, target=target, command_id=str(command.command_id))
                steering.failed(command, error)

    def _act_on_drift(self, actions: DriftActions) -> None:
        """Do what the policy says about each drift, in the order of their detection."""
        while True:
            actions.handle(self._next(self._model_log.detections))

    def _rebuild(self, rebuilder: "Rebuilder") -> None:
        """Carry out rebuilds, one after another; when one fails, publish that and take the next."""
        while True:
            command = self._next(self._model_log.due)
            try:
                rebuilder.carry_out(command)
            except (Stopped, BusError):
                raise
            except Exception as error:
                log.exception("rebuild failed", model=command.target, command_id=str(command.command_id))
                rebuilder.failed(command, error)

    def _forget(self, forgetter: "Forgetter") -> None:
        """Forget players, whom was tried least first; what fails is tried again, without end if it is begun."""
        tries: Counter[UUID] = Counter()
        while True:
            command = self._next(lambda: sorted(self._model_log.forgettings(), key=lambda one: tries[one.command_id]))
            try:
                forgetter.carry_out(command)
            except Stopped:
                raise
            except Exception as error:
                tries[command.command_id] += 1
                log.exception("not forgotten yet", command_id=str(command.command_id), tries=tries[command.command_id])
                if forgetter.is_begun(command):
                    forgetter.waits(command, error)
                elif tries[command.command_id] >= FORGET_TRIES:
                    forgetter.failed(command, error)
                self.pause(min(MOST_RETRY_S, RETRY_S * tries[command.command_id]))

    def _next(self, due: Callable[[], list[T]]) -> T:
        """Wait until a command is due, and return the first."""
        while True:
            with self._heard:
                commands = due()
                if not commands:
                    self._heard.wait(1.0)
            self.pause(0)
            if commands:
                return commands[0]

    def _catch_up(self, reader: LogReader, tail: Tail) -> None:
        while not tail.caught_up():
            self._apply(reader, tail.poll(1.0))
            self.pause(0)

    def _apply(self, reader: LogReader, records: list[Record]) -> None:
        reader.take(records)
        if records:
            with self._heard:
                self._heard.notify_all()

    def _steered_by(self, command: QuickCommand) -> str | None:
        return command.target if command.target in self._model_log.roster.batch else None

    def pause(self, seconds: float) -> None:
        """Wait. Raises `Stopped` when the trainer is to stop."""
        if self._stop.wait(seconds):
            raise Stopped

    def _start(self, name: str, loop: Callable[[], None]) -> None:
        context = contextvars.copy_context()  # so that its log lines say which service
        thread = threading.Thread(target=context.run, args=(self._guarded, loop), daemon=True, name=name)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Stopped:
            pass
        except Exception:
            log.exception("broken", thread=threading.current_thread().name)
            self.broken = True
            self._stop.set()

    def close(self, timeout_s: float) -> None:
        """Wait a short while for the loops, then close the bus."""
        deadline = time.monotonic() + timeout_s
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._bus:
            self._bus.close()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads may be in the middle of a request or an import, and Python's own end would wait for them
