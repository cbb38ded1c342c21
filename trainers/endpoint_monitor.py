"""Watches endpoints and approvals, publishes their changes, and repairs endpoints that do not answer (way 3, REBUILD).

A list of all endpoints, read every few seconds, tells which have changed; only those are described. The versions of one model
are listed from the registry each time.
"""

import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from contracts.events import EndpointSeen
from trainers.approval import Approvals
from trainers.model_log import ModelLog
from trainers.promote import Promoter
from trainers.serving import Serving, ServingFailed, endpoint_of

LOOK_S: Final = 2.0

log = structlog.get_logger()


class EndpointMonitor:
    """Watches the endpoints of all batch models."""

    def __init__(
        self,
        model_log: ModelLog,
        serving: Serving,
        promoter: Promoter,
        approvals: Approvals,
        worth_trying: Callable[[str], bool],
        bring: Callable[[str], None],
    ) -> None:
        """Keep the parts.

        Args:
            model_log: The log, folded.
            serving: The endpoints.
            promoter: Publishes changes, and removes versions that no event names.
            approvals: Publishes which versions the registry approves.
            worth_trying: Tells whether to try again to make a model answer.
            bring: Starts to make a model answer; does nothing if that is under way already.
        """
        self._model_log = model_log
        self._serving = serving
        self._promoter = promoter
        self._approvals = approvals
        self._worth_trying = worth_trying
        self._bring = bring
        self._looked: dict[str, tuple[str, datetime]] = {}
        self._turns = itertools.cycle(model_log.roster.batch)

    def look(self) -> None:
        """Check once. An outage of SageMaker is not published here: the endpoints' answers show it, and it passes."""
        try:
            stamps = self._serving.stamps()
            for model in self._model_log.roster.batch:
                self._look_at(model, stamps.get(endpoint_of(model)))
            self._approvals.look(next(self._turns))
        except (ClientError, BotoCoreError, ServingFailed) as error:
            log.warning("not seen", error=str(error))

    def _look_at(self, model: str, stamp: tuple[str, datetime] | None) -> None:
        last = self._model_log.endpoint(model)
        if stamp is None:
            self._looked.pop(model, None)
            if last and last.status not in ("Unavailable", "Failed"):
                gone = {"status": "Unavailable", "reason": "the endpoint was deleted", "version": "none", "variants": []}
                self._promoter.say(
                    EndpointSeen.model_validate({**last.model_dump(exclude={"at"}), **gone, "cost_per_hour_usd": None})
                )
        elif self._looked.get(model) != stamp:
            seen = self._serving.seen(model)
            if seen and (last is None or seen.model_copy(update={"at": last.at}) != last):
                self._promoter.say(seen)
            self._looked[model] = stamp
        if self._model_log.champion(model) is None or stamp is None or stamp[0] == "Failed":
            if self._worth_trying(model):
                self._bring(model)
        elif stamp[0] == "InService":
            self._promoter.tidy(model)
