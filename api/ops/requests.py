"""Defines the bodies of operators' commands (way 3, OPERATE). Pure: fields that are not known are refused."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.events import (
    ONLINE_MODELS,
    DriftAction,
    DriftKind,
    Grid,
    Hyperparameters,
    ModelName,
    Part,
    PlayerId,
    Probability,
    Restriction,
    Version,
)


class CommandRequest(BaseModel):
    """The base of all."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field("", max_length=500)
    """Why the command is given; kept with it."""


class ModelRequest(CommandRequest):
    """The base of those that concern a model with versions."""

    target: str
    """A batch model, or an online one, which is not rebuilt."""


class RetrainRequest(ModelRequest):
    """Rebuild a batch model from its base and all feedback so far."""

    base: bool = False
    """Whether to train on MNIST alone, without players' drawings."""
    hyperparameters: Hyperparameters = {}
    """Hyperparameters in place of the image's own, such as {"eta": "0.1"}."""
    grid: Grid = {}
    """Values that are tried first, all with all, such as {"eta": ["0.1", "0.3"]}; the version is trained with the best."""
    warm: bool = False
    """Whether training goes on from the version that answers, for a quick refresh."""


class PromoteRequest(ModelRequest):
    """Let a version that the gate has approved, or an experiment of an online model, answer the players."""

    version: Version
    force: bool = False
    """Whether to promote it whatever the gate says; never one that has failed to serve."""


class RollBackRequest(ModelRequest):
    """Let an earlier version answer again."""

    version: Version | None = None
    """The version to return to; None: the last good one."""


class TryRequest(ModelRequest):
    """Put a version beside its model's champion, or remove the candidate."""

    role: Literal["canary", "shadow", "none"]
    version: Version | None = None
    """The version; with the role ``none``: the candidate to remove, None: all of them."""
    share: Probability = 0.0
    """The share of the players that a canary answers: above 0, at most 1."""
    watched: bool = False
    """Whether the policy moves the canary on from there, or back."""

    @model_validator(mode="after")
    def _whole(self) -> "TryRequest":
        if self.role != "none" and self.version is None:
            raise ValueError(f"a {self.role} has a version")
        if (self.role == "canary") != (self.share > 0):
            raise ValueError("a canary needs a share of the players above 0, and nothing else has a share")
        if self.watched and self.role != "canary":
            raise ValueError("only a canary is watched, to be moved on or back")
        return self


class PolicyRequest(CommandRequest):
    """Change which models guess and which is shown first; fields that are left out change nothing."""

    lead: str | None = None
    """A model, or ``bandit``."""
    parts: dict[str, Part] = {}

    @model_validator(mode="after")
    def _something(self) -> "PolicyRequest":
        if self.lead is None and not self.parts:
            raise ValueError("give a lead, or parts, or both")
        return self


class LearningRequest(CommandRequest):
    """Freeze the learning of an online model, or thaw it."""

    target: ModelName = ONLINE_MODELS[0]
    """A model that learns from lesson to lesson."""


class DriftPolicyRequest(CommandRequest):
    """Change what is done about drift; fields that are left out change nothing."""

    actions: dict[DriftKind, DriftAction] = {}
    cooldown_s: int | None = Field(None, ge=0, le=30 * 86_400)
    """How long after an action the same is not done again for the same subject."""
    least_hands: int | None = Field(None, ge=1, le=10_000)
    """Of how many players a drift must be for more to be done than to notify."""

    @model_validator(mode="after")
    def _something(self) -> "DriftPolicyRequest":
        if not self.actions and self.cooldown_s is None and self.least_hands is None:
            raise ValueError("give an action, a cooldown, or how many players it must be")
        return self


class RestrictRequest(CommandRequest):
    """Restrict a player, or lift that."""

    player_id: PlayerId
    restriction: Restriction
    """``quarantined``: nothing of theirs counts in the online models; ``banned``: nor in datasets; ``none``: lift it."""


class ForgetRequest(CommandRequest):
    """Cut a player out of every store, for good."""

    player_id: PlayerId
