"""Decides which commands about players, learning, policy and candidates are refused, and why (way 3, OPERATE)."""

from typing import Final

from contracts.events import ONLINE_MODELS, PERSONAL_MODEL, RestrictPlayer, SetPolicy, TryVersion, mark_of
from trainers.model_log import ModelLog

MAX_RESTRICTED: Final = 5000
"""How many players may be restricted: all of them are in one record."""


def against_restriction(model_log: ModelLog, command: RestrictPlayer) -> str | None:
    """Return why a player cannot be restricted; None: they can."""
    if mark_of(command.player_id) in model_log.marks:
        return "this player is forgotten"
    known = model_log.restrictions()
    if command.restriction == "none" or command.player_id in known or len(known) < MAX_RESTRICTED:
        return None
    return f"{MAX_RESTRICTED} players are restricted already: pardon some who are gone"


def against_freezing(model: str) -> str | None:
    """Return why the learning of a model cannot be frozen; None: it can."""
    if model in ONLINE_MODELS:
        return None
    there = ", ".join(ONLINE_MODELS)
    if model == PERSONAL_MODEL:
        return f"{model} learns of each player what that player says, and for nobody else: only {there} can be frozen"
    return f"{model} is no model that learns from lesson to lesson: only {there} can be frozen"


def against_policy(model_log: ModelLog, command: SetPolicy) -> str | None:
    """Return why a policy cannot be set; None: it can."""
    lead, parts = command.lead or model_log.policy().lead, {**model_log.policy().parts, **command.parts}
    unknown = [model for model in (*([] if lead == "bandit" else [lead]), *command.parts) if model not in model_log.roster]
    if unknown:
        return f"no model {unknown[0]!r}: there is {', '.join(model_log.roster.names)}"
    if lead != "bandit" and parts.get(lead, "shown") != "shown":
        why = {"off": "is off", "shadow": "is a shadow"}[parts[lead]]
        return f"{lead} is shown first, and so cannot be one that {why}: choose another lead, or show it"
    if all(parts.get(model, "shown") != "shown" for model in model_log.roster.names):
        return "somebody must be shown: all models are off or shadows"
    return None


def against_one_more(model_log: ModelLog, command: TryVersion, most: int) -> str | None:
    """Return why no further version may stand beside a champion; None: it may, or stands there, or takes another's place."""
    model, beside = command.target, model_log.beside(command.target)
    there = any(one.version == command.version or one.role == command.role == "canary" for one in beside)
    if there or len(beside) < most:
        return None
    return (
        f"{model} has {len(beside)} versions beside its champion, {', '.join(one.version for one in beside)}, and"
        f" GAMENIGHT_CANDIDATES allows {most}: each costs as much as the champion."
        f" `gamenight untry {model} {beside[-1].version}` removes one"
    )
