"""Says for the audit what the policy on versions does, beside what operators command (way 3, OPERATE). Pure."""

from typing import Final
from uuid import uuid5

from contracts.events import GATE_POLICY, NAMESPACE, CandidateSet, CommandDone, ModelPromoted, ModelRolledBack

BY_POLICY: Final = "by policy"
"""How the notes of what it does begin, or the reason of an approval in the registry."""


def done_by_policy(event: ModelPromoted | CandidateSet, champion: ModelPromoted | None) -> CommandDone | None:
    """Return the entry of the audit for a change by the policy; None: somebody has asked for it, or it follows from one.

    It has the same id when it is done again, as after the death of a trainer.

    Args:
        event: The change.
        champion: The version that answers before it.
    """
    if not event.note.removeprefix("Approved in the model registry: ").startswith(f"{BY_POLICY}: "):
        return None
    command, share = "", ""
    if isinstance(event, CandidateSet):
        command = "untry" if event.role == "none" else event.role
        share = f", share={event.share:g}" if event.role == "canary" else ""
    else:
        command = "rollback" if isinstance(event, ModelRolledBack) else "promote"
    beside = "" if champion is None else f"{champion.version}/{champion.at.isoformat()}"
    return CommandDone(
        at=event.at,
        command_id=uuid5(NAMESPACE, f"{GATE_POLICY}/{command}/{event.model}/{event.version}{share}/{beside}"),
        command=command,
        target=event.model,
        by=GATE_POLICY,
        via="policy",
        reason=event.note,
        message=f"version={event.version}{share}",
    )
