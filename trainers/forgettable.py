"""Says why a player cannot be forgotten here, before anything is done (way 3, OPERATE)."""

from collections.abc import Set as AbstractSet
from typing import Final

from contracts.events import ONLINE_MODELS, TOPICS, ForgetPlayer, mark_of
from producers.cutting import OF_PLAYERS, Found, NotCut
from trainers.model_log import ModelLog

LEAST_NAME: Final = 16
"""The least length of an id: a shorter one is no player's, and may be part of something else."""


class CannotForget(RuntimeError):
    """A player cannot be forgotten here; the message says why, and what to do."""


def refuse_frozen(model_log: ModelLog) -> None:
    """Refuse while an online model answers as it did: it has learned from the player, and would go on to answer so."""
    frozen = [model for model in ONLINE_MODELS if model_log.frozen(model) is not None]
    if frozen:
        raise CannotForget(f"{frozen[0]} is frozen with what it had learned: `gamenight thaw {frozen[0]}` first")


def refuse_nobody(model_log: ModelLog, command: ForgetPlayer, found: Found) -> None:
    """Refuse an operator's id that is no player's: what it would cut is somebody else's, such as an entry of the audit."""
    player = command.player_id
    is_theirs = command.via == "player" or mark_of(player) in model_log.marks or player in model_log.restrictions()
    if not is_theirs and not any(record.topic in OF_PLAYERS for record in found.records):
        raise CannotForget("no player of this id is on the log, and none is restricted: see `gamenight players`")


def refuse_old(found: Found, said: AbstractSet[str]) -> None:
    """Refuse where others would lose records by it, as where the log was begun before keys had marks.

    Args:
        found: What is the player's.
        said: The topics on which the forgetting itself names the player.
    """
    theirs = {record.topic for record in found.records} | said
    old = {topic: n for topic, n in found.unmarked.items() if topic in theirs}
    if old:
        passing = [topic for topic in old if TOPICS[topic].retention_ms >= 0]
        days = max((TOPICS[topic].retention_ms // 86_400_000 for topic in passing), default=0)
        wait = f"those of {', '.join(passing)} go by themselves in {days} days; " if passing else ""
        raise CannotForget(
            f"the log was begun by a version whose records cannot be cut out one by one ({', '.join(sorted(old))}): {wait}"
            "what is kept for good stays in this home. `gamenight ban` takes what the player taught out of the models, and"
            " a new home can forget everybody (docs/forgetting.md)"
        )
    try:
        found.refuse_lossy(theirs)
    except NotCut as lossy:
        raise CannotForget(str(lossy)) from lossy
