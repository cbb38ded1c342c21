"""The endpoints as they are, told whenever they have changed; and those that are not there, tried again (way 3, REBUILD).

One list of all endpoints every few seconds says which have changed; only those are looked at.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from contracts.events import BATCH_MODELS, EndpointSeen
from trainers.promote import Promoter
from trainers.serving import Serving, ServingFailed, endpoint_of
from trainers.standing import Standing

LOOK_S: Final = 2.0
RETRY_S: Final = 60.0
"""How long after it could not be served a model is tried again; at once, when there is a sign that it can be."""

log = structlog.get_logger()


class Watch:
    """Looks after all batch models' endpoints."""

    def __init__(
        self,
        standing: Standing,
        serving: Serving,
        promoter: Promoter,
        bring: Callable[[str], None],
        signs: Callable[[str], tuple[float, ...]],
    ) -> None:
        """Bring together what it looks at.

        Args:
            standing: What was said last.
            serving: The endpoints.
            promoter: Says, and tidies.
            bring: Begins to make a model answer; nothing is done where that is under way.
            signs: Changes when there is reason to try a model again.
        """
        self._standing = standing
        self._serving = serving
        self._promoter = promoter
        self._bring = bring
        self._signs = signs
        self._looked: dict[str, tuple[str, datetime]] = {}
        self._tried = {model: (time.monotonic(), signs(model)) for model in BATCH_MODELS}

    def look(self) -> None:
        """Look once; an outage of SageMaker passes, and is seen in what the endpoints answer."""
        try:
            stamps = self._serving.stamps()
            for model in BATCH_MODELS:
                self._look_at(model, stamps.get(endpoint_of(model)))
        except (ClientError, BotoCoreError, ServingFailed) as error:
            log.warning("endpoints not seen", error=str(error))

    def _look_at(self, model: str, stamp: tuple[str, datetime] | None) -> None:
        last = self._standing.endpoint(model)
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
        if self._standing.champion(model) is None or stamp is None or stamp[0] == "Failed":
            self._try_again(model)
        elif stamp[0] == "InService":
            self._promoter.tidy(model)

    def _try_again(self, model: str) -> None:
        tried, signs = self._tried[model]
        if time.monotonic() - tried > RETRY_S or signs != self._signs(model):
            self._tried[model] = time.monotonic(), self._signs(model)
            self._bring(model)
