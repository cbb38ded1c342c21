"""Says which records of commands.v1 name a player, and what of them stays for the audit (way 3, OPERATE). Pure.

Only what a command says of a player, and what people wrote, can name one. Its id, its operator and their token are never taken
for a player, so that no entry of the audit can be erased by them.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from contracts.events import (
    Command,
    CommandCut,
    CommandDone,
    CommandRefused,
    CommandSettled,
    CommandsEvent,
    SignedEvent,
    UnknownEvent,
    decode,
)
from contracts.ports import Record


def names(record: Record, player_id: str, word: re.Pattern[bytes]) -> bool:
    """Return whether a record names a player: in the field for that, or in a text of people.

    Args:
        record: One of commands.v1, with a value.
        player_id: The player.
        word: Finds the player's id in a text.
    """
    try:
        event = decode(record.topic, record.value)
    except UnknownEvent:  # nobody acts on it, and no audit tells of it
        return word.search(record.value or b"") is not None
    if getattr(event, "player_id", None) == player_id:
        return True
    texts = [getattr(event, name, "") for name in ("reason", "message")]
    if isinstance(event, CommandRefused | CommandSettled):
        texts.append(event.target)  # of one that was refused it is as it was typed
    return any(word.search(text.encode()) is not None for text in texts)


def remnants(records: Iterable[Record], against: Callable[[Record, SignedEvent], str | None]) -> Iterator[SignedEvent]:
    """Yield what stays of records that are cut: who wanted what and when, and what became of it, without a text.

    Args:
        records: Those that are cut, of whatever topic.
        against: Says why a record is not proven; nothing stays of such, or a stranger would be in the audit.
    """
    for record in records:
        if record.topic != CommandsEvent.topic:
            continue
        try:
            event = decode(record.topic, record.value)
        except UnknownEvent:
            continue
        if not isinstance(event, SignedEvent) or against(record, event) is not None:
            continue
        if isinstance(event, CommandSettled):
            yield event.model_copy(update={"message": "", "signer": None, "signature": None})
        elif isinstance(event, Command | CommandRefused | CommandDone):
            refused, done = isinstance(event, CommandRefused), isinstance(event, CommandDone)
            yield CommandCut(
                command_id=event.command_id,
                at=event.at,
                command=event.type if isinstance(event, Command) else event.command,
                target="-" if refused else event.target,
                by=event.by[:200],
                via=event.via,
                address=event.address,
                token=event.token,
                outcome="refused" if refused else "done" if done else None,
            )
