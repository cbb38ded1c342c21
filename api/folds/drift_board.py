"""Keeps the drift that was detected, and what was done about each (way 2). Pure and bounded: the oldest is forgotten first.

Twice is harmless: a detection is known by its id, and the first that says what was done about it counts.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Final, Literal, get_args
from uuid import UUID

from cachetools import FIFOCache
from pydantic import BaseModel

from api.folds.impersonal import AN_OPERATOR
from contracts.catalog import DEFAULT_DRIFT_POLICY
from contracts.events import DriftAction, DriftDetected, DriftHandled, DriftKind, DriftPolicySet, Event
from contracts.roster import Roster, is_batch

MOST: Final = 500


def undetected(roster: Roster) -> dict[tuple[str, str], int]:
    """Return 0 for each kind and subject of which drift may be detected: errors of each model, and what is drawn."""
    errors = {("batch-errors" if is_batch(model) else "online-errors", model): 0 for model in roster.names}
    return errors | {(kind, kind): 0 for kind in get_args(DriftKind) if not kind.endswith("-errors")}


class DriftDeed(BaseModel):
    """What was done about a drift, or why nothing was."""

    action: DriftAction
    outcome: Literal["done", "refused", "failed"]
    message: str
    by: str
    at: datetime


class DriftSeen(BaseModel):
    """A drift that was detected."""

    detection_id: UUID
    at: datetime
    """When it was detected."""
    kind: DriftKind
    subject: str
    what: str
    """What has become more frequent."""
    before: float
    after: float
    statistic: float
    threshold: float
    n: int
    """The labelled drawings since the change began."""
    hands: int
    by_partition: list[int]
    began_at: datetime
    deed: DriftDeed | None
    """None: nothing was done yet."""


class DriftState(BaseModel):
    """What is done about drift, and the drift that was detected."""

    actions: dict[DriftKind, DriftAction]
    """The action of each kind; operators are notified of all others."""
    cooldown_s: int
    least_hands: int
    by: str
    note: str
    detections: list[DriftSeen]
    """The newest first."""


class DriftBoard:
    """The newest detections."""

    takes: ClassVar[tuple[type[Event], ...]] = (DriftDetected, DriftHandled, DriftPolicySet)

    def __init__(self) -> None:
        """Start empty."""
        self._detections: FIFOCache[UUID, DriftDetected] = FIFOCache(MOST)
        self._handled: FIFOCache[UUID, DriftHandled] = FIFOCache(MOST)
        self._policy = DEFAULT_DRIFT_POLICY

    def apply(self, event: DriftDetected | DriftHandled | DriftPolicySet) -> None:
        """Apply a detection, what was done about one, or a policy."""
        match event:
            case DriftDetected():
                self._detections.setdefault(event.detection_id, event)
            case DriftHandled():
                self._handled.setdefault(event.detection_id, event)
            case DriftPolicySet():
                self._policy = event

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many are known, by kind and subject."""
        return Counter((one.kind, one.subject) for one in self._detections.values())

    def state(self) -> DriftState:
        """Return the policy and all detections."""
        policy = self._policy
        return DriftState(
            actions=dict(policy.actions),
            cooldown_s=policy.cooldown_s,
            least_hands=policy.least_hands,
            by=policy.by,
            note=policy.note,
            detections=[self._seen(one) for one in reversed(list(self._detections.values()))],
        )

    def for_anybody(self) -> DriftState:
        """Return the same without who has set the policy, and why, which only operators are shown."""
        whole = self.state()
        by = AN_OPERATOR.removeprefix("by ")
        seen = [
            one
            if one.deed is None or not one.deed.by
            else one.model_copy(update={"deed": one.deed.model_copy(update={"by": by})})
            for one in whole.detections
        ]
        return whole.model_copy(update={"by": by if whole.by else "", "note": "", "detections": seen})

    def _seen(self, one: DriftDetected) -> DriftSeen:
        handled = self._handled.get(one.detection_id)
        deed = None if handled is None else DriftDeed.model_validate(handled, from_attributes=True)
        return DriftSeen.model_validate({**one.model_dump(), "deed": deed})
