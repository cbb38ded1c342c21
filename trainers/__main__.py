"""``python -m trainers``: sees that a base answers, archives examples, carries out commands (way 3, REBUILD).

Three threads, each a loop that can die with the process at any time: the archive, the observations, the commands. A loop that
breaks ends the process, and the supervisor starts it again; what it was at is on the log.
"""

import contextvars
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from contracts.events import RetrainModel, UnknownEvent, decode
from contracts.ports import Bus, Record, Tail
from contracts.settings import Settings
from producers import logs
from producers.blobs import S3Blobs
from producers.bus import BusError, open_bus
from trainers.intake import ACKNOWLEDGED_S, catch_up, rejection
from trainers.promote import ensure_base
from trainers.serving import Serving
from trainers.standing import Standing

if TYPE_CHECKING:
    from trainers.rebuild import Rebuilder

RETRY_S = 2.0
STOP_S = 1.0
NICE = 5  # archives and datasets are made while people play

log = structlog.get_logger()


class Stopped(Exception):
    """The trainer is to stop."""


def main() -> int:
    """Run until SIGTERM; the exit status."""
    settings = Settings.load()
    logs.configure(settings, "trainer")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    trainer = Trainer(settings, stop)
    trainer.start()
    stop.wait()
    trainer.close(STOP_S)
    log.info("stopped")
    return 1 if trainer.broken else 0


class Trainer:
    """The process: what is in it, and how it ends."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        """Nothing connects before `start`."""
        self._settings = settings
        self._stop = stop
        self._bus: Bus | None = None
        self._threads: list[threading.Thread] = []
        self.broken = False
        """Whether a loop broke."""

    def start(self) -> None:
        """Make a base answer, then start the loops; in threads, so that a signal is heard at any time."""
        self._start("begin", self._begin)

    def _begin(self) -> None:
        settings, began = self._settings, time.monotonic()
        bus = self._bus = open_bus(f"kafka://{settings.bootstrap_servers}")
        blobs = S3Blobs(settings)
        serving = Serving(settings, self.pause)
        standing = Standing()
        tail = bus.follow(["models.v1", "commands.v1"], "start")
        while not tail.caught_up():
            self._hear(bus, standing, tail.poll(1.0))
        ensure_base(settings, bus, blobs, standing, serving)
        log.info("base answers", seconds=round(time.monotonic() - began, 2))

        # Not before: pyarrow and numpy's friends are not on the way to playable.
        from trainers.archive import Archive
        from trainers.observations import Observations
        from trainers.rebuild import Rebuilder

        os.nice(NICE)
        archive, observations = Archive(blobs), Observations(settings, self._stop)
        one_at_a_time = threading.Lock()

        def archive_now() -> int:
            with one_at_a_time:
                return catch_up(bus, archive, self._stop)

        rebuilder = Rebuilder(settings, bus, blobs, archive_now, standing, serving, self.pause)
        self._start("archive", lambda: self._keep(archive_now))
        self._start("observations", lambda: self._keep(lambda: catch_up(bus, observations, self._stop)))
        self._start("commands", lambda: self._obey(bus, tail, standing, rebuilder))

    def _keep(self, keep: Callable[[], int]) -> None:
        """Bring a sink up to the log, again and again; an outage delays it, and loses nothing."""
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

    def _obey(self, bus: Bus, tail: Tail, standing: Standing, rebuilder: "Rebuilder") -> None:
        """Carry out commands, one after another; a failed one is told, and the next is taken."""
        while not self._stop.is_set():
            due = standing.due()
            if not due:
                self._hear(bus, standing, tail.poll(1.0))
                continue
            try:
                rebuilder.carry_out(due[0])
            except (Stopped, BusError):
                raise
            except Exception as error:
                log.exception("rebuild failed", model=due[0].target, command_id=str(due[0].command_id))
                rebuilder.failed(due[0], error)

    @staticmethod
    def _hear(bus: Bus, standing: Standing, records: list[Record]) -> None:
        for record in records:
            try:
                standing.hear(decode(record.topic, record.value))
            except UnknownEvent as error:
                if record.topic == RetrainModel.topic:
                    bus.publish(rejection(record, "trainers", error)).result(ACKNOWLEDGED_S)
                log.warning("message rejected", topic=record.topic, offset=record.offset, error=str(error))

    def pause(self, seconds: float) -> None:
        """Wait. Raises `Stopped` when the trainer is to stop."""
        if self._stop.wait(seconds):
            raise Stopped

    def _start(self, name: str, loop: Callable[[], None]) -> None:
        context = contextvars.copy_context()  # so that its log lines say which service
        thread = threading.Thread(target=context.run, args=(self._guarded, loop), daemon=True, name=name)
        self._threads.append(thread)
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
        """Wait a short while for the loops, then let go of the bus."""
        deadline = time.monotonic() + timeout_s
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._bus:
            self._bus.close()


if __name__ == "__main__":
    sys.exit(main())
