"""Defines the current state of a model, and changes of it, as players, watchers and pages see them (ways 1, 2 and 3). Pure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from contracts.events import Part
from contracts.roster import Kind


class ModelState(BaseModel):
    """The current state of a model."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: str | None
    """The version that answers; None: there is none yet, or each guess names its own (`yours`, `everyone`)."""
    title: str
    kind: Kind
    hue: int | None
    """Its colour, in degrees on the circle of OKLCH; None: the colour of ink."""
    order: int
    """Its place in the list of models; the first has 0."""
    part: Part
    """Its part in the policy: players are shown no guess of a model that is not ``shown``."""
    lead: bool
    """Whether the policy shows the model first; if none leads, a bandit picks for each player, as each guess says."""
    resting: str | None = None
    """Why the model is not asked at the moment; it is tried again automatically."""
    unavailable: str | None = None
    """Why the model cannot be served here; None: it can."""
    frozen: str | None = None
    """Who froze its learning, and why; None: it learns as it is meant to."""


ModelNews = Literal[
    "published",
    "promoted",
    "rolled-back",
    "canary",
    "shadow",
    "untried",
    "policy",
    "resting",
    "back",
    "available",
    "unavailable",
    "frozen",
    "thawed",
]
"""What can change about a model."""


class StateChange(ModelState):
    """The whole state of a model after something has changed about it."""

    event: ModelNews
    note: str
