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
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TypeVar

import structlog

from contracts.events import ModelEvent
from contracts.ports import Bus, Partition, Record, Tail
from contracts.settings import KAFKA_SECRETS, TRAINER_SECRETS, Settings
from producers import heap, logs
from producers.blobs import S3Blobs, ensure_bucket
from producers.bus import BusError, open_bus
from producers.rejections import Rejections
from producers.signing import Signer, SigningBus, public_keys
from producers.topics import TopicsDiffer, check_topics
from trainers.approval import Approvals
from trainers.base_models import BaseModels
from trainers.drift_actions import DriftActions
from trainers.endpoint_monitor import LOOK_S, EndpointMonitor
from trainers.example_sink import TURN_S, Sinks
from trainers.lease import Lease
from trainers.log_reader import LogReader
from trainers.model_log import ModelLog, QuickCommand
from trainers.promote import Promoter
from trainers.registry import Registry
from trainers.sdk_environment import TRIES
from trainers.serving import Serving
from trainers.signed_since import proving
from trainers.steering import Steering
from trainers.tables import ensure_tables
from trainers.trainer_metrics import tell_metrics
from trainers.work import Stopped, Work

STOP_S = 1.0
END_S = 6.0
"""How long the end may take before the process goes as it is; whatever it was doing is on the log and is done again."""
BASES_S = 20.0
"""How long everything else waits for the models to answer; a model that takes longer may answer later."""
NICE = 5  # archives and datasets are made while people play

log = structlog.get_logger()
T = TypeVar("T")


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

    A handler in Python would run amid whatever the main thread does, and could meet the lock of the very event that it sets.
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
        self._lease = Lease(settings, stop, self._take_over)
        self._taking_over, self._taken_over = threading.Event(), threading.Event()
        self._ends: dict[Partition, int] | None = None
        """Where models.v1 ended when the lease was taken; None: all of that is read."""
        self.broken = False
        """Whether a loop has ended with an error."""

    def start(self) -> None:
        """Make the models answer, then start the loops. All of it runs in threads, so that a signal is handled at any time."""
        self._start("begin", self._begin)

    def _begin(self) -> None:
        settings, began = self._settings, time.monotonic()
        try:
            bus = self._bus = SigningBus(open_bus(settings), Signer("trainer", settings.trainer_signing_key))
            check_topics(settings)
        except (BusError, TopicsDiffer) as wrong:
            log.error("not started", why=str(wrong))
            self.broken = True
            self._stop.set()
            raise Stopped from None
        blobs, serving = S3Blobs(settings, tries=TRIES), Serving(settings, self.pause)
        ensure_bucket(settings)
        proofs = proving(bus, blobs, public_keys(settings), tells=settings.trainer_signing_key is not None)
        registry = Registry(settings, blobs)
        model_log, commands = self._model_log, bus.follow(["commands.v1", "drift.v1"], "start")
        reader = LogReader(model_log, Rejections(bus), proofs, bus)
        self._catch_up(reader, commands)
        models = bus.follow(["models.v1"], "start")
        self._catch_up(reader, models)
        self._start("models", lambda: self._hear(reader, models))
        self._start("lease", self._lease.keep)
        promoter = Promoter(bus, model_log, serving)
        approvals = Approvals(model_log, promoter, registry)
        bases = BaseModels(settings, blobs, model_log, serving, promoter, registry)
        for model in model_log.roster.batch:
            self._bring(bases, model)
        while self._bringing and time.monotonic() - began < BASES_S:
            self.pause(0.02)
        answer = [model for model in model_log.roster.batch if model not in self._bringing and model_log.champion(model)]
        log.info("bases answer", models=answer, seconds=round(time.monotonic() - began, 2))

        steering = Steering(model_log, promoter, approvals, settings.candidates)
        monitor = EndpointMonitor(model_log, serving, promoter, approvals, bases.worth_trying, partial(self._bring, bases))
        self._start("commands", lambda: self._listen(reader, commands))
        for target in (*model_log.roster.batch, None):
            self._start(f"steer {target or 'all'}", partial(self._steer, steering, target))
        self._start("drift", partial(self._act_on_drift, DriftActions(model_log, promoter)))
        self._start("watch", lambda: self._look(monitor))
        self._start("metrics", partial(tell_metrics, settings, bus, model_log, self.pause))

        # They are imported only now: the game can be played without pyarrow and numpy's friends.
        from trainers.archive import Archive
        from trainers.compaction import Tidying
        from trainers.forgetting import Forgetter
        from trainers.observations import Observations
        from trainers.rebuild import Rebuilder
        from trainers.shadow_watch import ShadowWatch
        from trainers.triggers import Triggers

        heap.freeze()
        sys.setswitchinterval(TURN_S)
        os.nice(NICE)
        lease = self._lease
        work = Work(lease, model_log, self._next, self.pause)
        archive, observations = Archive(blobs, lease.check), Observations(settings, self._stop, lease.condition)
        tidy = Tidying(settings, blobs, model_log, promoter.say, lambda: work.pause(0))
        sinks = Sinks(bus, archive, observations, partial(ensure_tables, settings), tidy, self._stop)
        made = (model_log, serving, promoter, registry, approvals, work.pause)
        rebuilder = Rebuilder(settings, bus, blobs, sinks.archive, *made)
        triggers = Triggers(settings, blobs, model_log, archive.places, promoter.say)
        forgetter = Forgetter(
            settings, bus, blobs, observations, sinks.held, rebuilder.held, model_log, promoter, work.pause, proofs
        )
        self._start("archive", lambda: work.keep(sinks.archive_and_tidy, settings.archive_every_s))
        self._start("observations", lambda: work.keep(sinks.observe_in_calm, settings.archive_every_s))
        self._start("rebuilds", lambda: work.rebuild(rebuilder))
        self._start("triggers", lambda: work.begin_rebuilds(triggers))
        self._start("forgettings", lambda: work.forget(forgetter))
        watch = ShadowWatch(settings, bus, model_log, promoter, approvals, work.check)
        self._start("shadows", lambda: work.watch(watch))

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
            if self._lease.is_ours:
                monitor.look()
            if self._settings.alive_file:
                self._settings.alive_file.touch()
            self.pause(LOOK_S)

    def _listen(self, reader: LogReader, tail: Tail) -> None:
        """Carry out commands as they come."""
        while not self._stop.is_set():
            self._apply(reader, tail.poll(1.0))

    def _hear(self, reader: LogReader, models: Tail) -> None:
        """Follow models.v1: all of it as long as another trainer works.

        The one that works writes it, and knows what it has written before it is there; it hears of online models alone, and of
        what others have written in its place.
        """
        leads = False
        while not self._stop.is_set():
            if self._taking_over.is_set():
                self._ends = None
                while self._is_behind(models):  # if that takes longer than the lease holds, another trainer takes it meanwhile
                    self._apply(reader, models.poll(1.0))
                leads = True
                self._taking_over.clear()
                self._taken_over.set()
            records = models.poll(0.2 if self._lease.fence is None else 1.0)
            leads = leads and self._lease.has_it
            if not leads:
                self._apply(reader, records)
                continue
            reader.take(records, leads=True)
            reader.restore()

    def _take_over(self) -> None:
        """Know all that the trainer before has written, before any of its work is done."""
        self._taken_over.clear()
        self._taking_over.set()
        while not self._taken_over.wait(0.1) and not self._stop.is_set():
            pass

    def _is_behind(self, models: Tail) -> bool:
        """Say whether there is more on models.v1 than was read."""
        assert self._bus
        if self._ends is None:
            with closing(self._bus.follow([ModelEvent.topic], "end")) as now:
                self._ends = now.ends()
        positions = models.positions()
        behind = any(positions.get(place, 0) < end for place, end in self._ends.items()) and not self._stop.is_set()
        self._ends = self._ends if behind else None
        return behind

    def _steer(self, steering: Steering, target: str | None) -> None:
        """Carry out the commands that change who answers for one model (None: for no single model), in the order given."""

        def mine() -> list[QuickCommand]:
            due = self._model_log.unsettled() if self._lease.is_ours else []
            return [command for command in due if self._steered_by(command) == target]

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
            actions.handle(self._next(lambda: self._model_log.detections() if self._lease.is_ours else []))

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
