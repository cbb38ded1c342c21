"""The loops of the work that one trainer does at a time: the holder of the lease (way 3, REBUILD).

A loop that loses the lease stops where it is and waits for it; whoever has it finds the same work due on the log.
"""

import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from uuid import UUID

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from producers.connection import BusError
from trainers.lease import Lease, LeaseLost
from trainers.model_log import ModelLog

if TYPE_CHECKING:
    from trainers.forgetting import Forgetter
    from trainers.rebuild import Rebuilder
    from trainers.shadow_watch import ShadowWatch
    from trainers.triggers import Triggers

RETRY_S, MOST_RETRY_S = 2.0, 60.0
FORGET_TRIES = 5
LOOK_S: Final = 5.0
"""How often triggers are looked at, in seconds."""

T = TypeVar("T")
log = structlog.get_logger()


class Stopped(Exception):
    """The trainer was told to stop."""


class Following(Protocol):
    """Waits until something is due, and returns the first of it."""

    def __call__(self, due: Callable[[], list[T]]) -> T: ...


class Work:
    """The loops, each for a thread of its own."""

    def __init__(
        self,
        lease: Lease,
        model_log: ModelLog,
        following: Following,
        pause: Callable[[float], None],
    ) -> None:
        """Keep the lease.

        Args:
            lease: Says whether this trainer does the work.
            model_log: The log, folded.
            following: Waits until something is due, and returns the first of it.
            pause: Waits; raises `Stopped` when the trainer must stop.
        """
        self._lease = lease
        self._model_log = model_log
        self._following = following
        self._pause_alone = pause

    def pause(self, seconds: float) -> None:
        """Wait. Raises `Stopped` when the trainer must stop, and `LeaseLost` when another one does the work."""
        self._pause_alone(seconds)
        self._lease.check()

    def _held(self) -> None:
        self._lease.wait()
        self._pause_alone(0)

    def keep(self, keep: Callable[[], int], every_s: float) -> None:
        """Bring a sink up to date with the log, again and again; an outage delays it and loses nothing."""

        def kept() -> None:
            if taken := keep():
                log.info("examples kept", sink=threading.current_thread().name, n=taken)

        self._again_and_again("examples wait", kept, every_s)

    def begin_rebuilds(self, triggers: "Triggers") -> None:
        """Ask for the rebuilds that labels and time call for."""
        self._again_and_again("triggers wait", triggers.look, LOOK_S)

    def _again_and_again(self, waits: str, act: Callable[[], None], every_s: float) -> None:
        """Act without end while the lease is held; an outage, or what is wrong with one object, delays it and ends nothing."""
        while True:
            self._held()
            try:
                act()
            except Stopped:
                raise
            except (BotoCoreError, ClientError, BusError, LeaseLost, TimeoutError) as error:
                log.warning(waits, loop=threading.current_thread().name, error=str(error))
                self._pause_alone(RETRY_S)
            except Exception:  # what is wrong with one object must not end promotions and rollbacks
                log.exception(waits, loop=threading.current_thread().name)
                self._pause_alone(MOST_RETRY_S)
            else:
                self._pause_alone(every_s)

    def rebuild(self, rebuilder: "Rebuilder") -> None:
        """Carry out rebuilds, one after another; when one fails, publish that and take the next."""
        while True:
            self._held()
            command = self._following(self._model_log.due)
            try:
                self.pause(0)
                rebuilder.carry_out(command)
            except (Stopped, BusError):
                raise
            except LeaseLost as lost:
                log.warning("rebuild left to another trainer", command_id=str(command.command_id), why=str(lost))
            except Exception as error:
                log.exception("rebuild failed", model=command.target, command_id=str(command.command_id))
                rebuilder.failed(command, error)

    def forget(self, forgetter: "Forgetter") -> None:
        """Forget players, whom was tried least first; what fails is tried again, without end if it is begun."""
        tries: Counter[UUID] = Counter()
        while True:
            self._held()
            command = self._following(lambda: sorted(self._model_log.forgettings(), key=lambda one: tries[one.command_id]))
            try:
                self.pause(0)
                forgetter.carry_out(command)
            except Stopped:
                raise
            except LeaseLost as lost:
                log.warning("forgetting left to another trainer", command_id=str(command.command_id), why=str(lost))
            except Exception as error:
                tries[command.command_id] += 1
                log.exception("not forgotten yet", command_id=str(command.command_id), tries=tries[command.command_id])
                if forgetter.is_begun(command):
                    forgetter.waits(command, error)
                elif tries[command.command_id] >= FORGET_TRIES:
                    forgetter.failed(command, error)
                self._pause_alone(min(MOST_RETRY_S, RETRY_S * tries[command.command_id]))

    def watch(self, shadows: "ShadowWatch") -> None:
        """Follow what live drawings say of candidates, as long as this trainer works."""
        self._again_and_again("candidates wait", shadows.look, LOOK_S)

    def check(self) -> None:
        """Raise `Stopped` when the trainer must stop, and `LeaseLost` when another one does the work."""
        self.pause(0)
