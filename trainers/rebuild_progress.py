"""Tells how far a rebuild is, step by step (way 3, REBUILD)."""

import re
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import structlog

from contracts.events import CommandSettled, RetrainModel, TrainingAdvanced, Tried, now
from contracts.ports import Bus
from trainers import jobs
from trainers.model_log import ModelLog
from trainers.promote import say

SHARES: Final = {
    "queued": 0.0, "archive": 0.01, "dataset": 0.03, "training": 0.1, "evaluation": 0.8, "gate": 0.94, "endpoint": 0.95,
}  # fmt: skip
"""The share of a rebuild that is done when each step begins; training goes from its own share to that of evaluation."""
MAX_LOG: Final = 200
"""The most lines of the job's log in one event."""
STILL_S: Final = 5.0
"""After so many seconds without news a rebuild tells that it is still at work."""
STILL: Final = "still at it after"
"""With these words, and for how many seconds there has been no news."""

_STALE: Final = re.compile(r", (?:about \d+ s left|\$[\d.]+ so far)")
"""What is no longer true of news that is some seconds old."""

log = structlog.get_logger()


class Teller:
    """Publishes the progress of one rebuild."""

    def __init__(self, bus: Bus, model_log: ModelLog, command: RetrainModel, version: str) -> None:
        """Keep the command and the version to report on."""
        self._bus = bus
        self._model_log = model_log
        self._command = command
        self._version = version
        self._told = self._news = time.monotonic()
        self._message = ""
        self._last: tuple[str, float, str] | None = None
        """The last news; None: there was none, or it was the end."""
        last = model_log.training(command.target)
        mine = last if last and last.command_id == command.command_id else None
        self._began = mine.began if mine and mine.began else now()
        self.tried: list[Tried] = mine.tried if mine else []
        """The settings that are tried; told with every step from then on."""
        self.dataset = mine.dataset if mine else ""
        """The digest of its dataset; told with every step from then on."""

    def step(self, step: str, message: str) -> None:
        """Publish that a step begins."""
        self._message = message
        log.info("rebuild", model=self._command.target, version=self._version, step=step, message=message)
        self._say(step, SHARES[step], message)

    def onward(self, step: str, fraction: float, message: str = "", lines: Sequence[str] = ()) -> None:
        """Publish the progress of a step, at most twice a second unless there are log lines."""
        if lines or time.monotonic() - self._told >= jobs.POLL_S:
            self._say(step, fraction, message or self._message, lines)

    def still(self) -> None:
        """Publish that it is still at work if nothing was published for `STILL_S`: imports, starts and jobs may take long."""
        if self._last is not None and time.monotonic() - self._told >= STILL_S:
            step, fraction, message = self._last
            self._publish(step, fraction, f"{_STALE.sub('', message)}, {STILL} {time.monotonic() - self._news:.0f} s")

    def end(
        self,
        step: str,
        message: str,
        read: Sequence[int] = (),
        seconds: float | None = None,
        cost: Decimal | None = None,
    ) -> None:
        """Publish how the rebuild ended: done, refused, failed or cancelled.

        Args:
            step: One of `TRAINING_ENDS`.
            message: Why, for people.
            read: How far it has read, if in vain.
            seconds: What AWS bills of its jobs, if it has no version.
            cost: What that costs, in dollars; None: there is no price.
        """
        log.info("rebuild", model=self._command.target, version=self._version, step=step, message=message)
        say(self._bus, self._model_log, settled(self._command, step, message))  # before models.v1 calls it ended
        self._publish(step, 1.0, message, read=read, seconds=seconds, cost=cost)
        self._last = None

    def _say(self, step: str, fraction: float, message: str, lines: Sequence[str] = ()) -> None:
        self._publish(step, fraction, message, lines)
        self._last, self._news = (step, fraction, message), self._told

    def _publish(
        self,
        step: str,
        fraction: float,
        message: str,
        lines: Sequence[str] = (),
        read: Sequence[int] = (),
        seconds: float | None = None,
        cost: Decimal | None = None,
    ) -> None:
        self._told = time.monotonic()
        say(
            self._bus,
            self._model_log,
            TrainingAdvanced(
                model=self._command.target,
                version=self._version,
                command_id=self._command.command_id,
                step=step,
                fraction=fraction,
                message=message,
                log=[line[:500] for line in lines[-MAX_LOG:]],
                by=self._command.by,
                trigger=self._command.trigger,
                began=self._began,
                offsets=list(read),
                tried=self.tried,
                dataset=self.dataset,
                seconds=seconds,
                cost=cost,
            ),
        )


def settled(command: RetrainModel, step: str, message: str) -> CommandSettled:
    """Return the outcome of the command whose rebuild has ended; one that is cancelled has failed."""
    outcome = "failed" if step == "cancelled" else step
    fields = {"command_id": command.command_id, "target": command.target, "outcome": outcome, "message": message}
    return CommandSettled.model_validate(fields)
