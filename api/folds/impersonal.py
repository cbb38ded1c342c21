"""Says what changed about a model without who asked for it and why, which only operators are shown (OPERATE). Pure.

Notes on the log are texts. Those that the trainer writes of itself are known by how they begin, and whatever else there is may
be a person's words; so a note that is not known is not shown, however old it is.
"""

from typing import Final

from contracts.events import POLICIES, CandidateSet, Event, LearningSet, ModelPromoted, ModelPublished, PolicySet, RolloutStep

AN_OPERATOR: Final = "by an operator"
_HAD_SAID: Final = "; the gate had said: "
_OWN: Final = (
    "by policy: ",
    "router: ",
    "passed: ",
    "refused: ",
    "undecided: ",
    "the repository has another base model",
    "the base model of the repository",
    "the endpoint serves it",
    "it answers everybody now",
    "it cannot be served any more",
)
"""How the notes of trainer and router begin, see `trainers.promote` and `trainers.gate`; no operator can have these names."""

_BY_ITSELF: Final = ("the gate let it through: ", "better on live drawings, ", "worse on live drawings, ")
"""How reasons of steps begin that the policy gives."""


def note_for_anybody(note: str) -> str:
    """Return a note without a person's name and words.

    >>> note_for_anybody("ada: better on sevens"), note_for_anybody("by policy: worse on live drawings")
    ('by an operator', 'by policy: worse on live drawings')
    """
    return note if not note or note.startswith(_OWN) else AN_OPERATOR


def gate_for_anybody(gate: str) -> str:
    """Return what a gate has said without who has overruled it and why, as `trainers.registry.told_gate` puts these.

    >>> gate_for_anybody("Approved in the model registry: forced, ada: now; the gate had said: undecided: a few")
    'Approved in the model registry: by an operator; the gate had said: undecided: a few'
    """
    by_hand, found, said = gate.rpartition(_HAD_SAID)
    if not found:
        return gate
    status, _, why = by_hand.partition(": ")
    return f"{status}: {note_for_anybody(why) or AN_OPERATOR}{_HAD_SAID}{said}"


def step_for_anybody(step: RolloutStep) -> RolloutStep:
    """Return a step of a version's way to the players; what ended it otherwise than by policy may be an operator's reason."""
    by_policy = step.step == "rolled-back" or step.health is not None or step.why.startswith(_BY_ITSELF)
    return step if by_policy else step.model_copy(update={"why": AN_OPERATOR})


def event_for_anybody(event: Event) -> Event:
    """Return an event of models.v1 without a person's name and words."""
    match event:
        case ModelPublished():
            return event.model_copy(update={"gate": gate_for_anybody(event.gate)})
        case ModelPromoted() | CandidateSet() | PolicySet():
            return event.model_copy(update={"note": note_for_anybody(event.note)})
        case LearningSet():
            return _nameless(event)
        case _:
            return event


def _nameless(event: LearningSet) -> LearningSet:
    by = AN_OPERATOR.removeprefix("by ")
    return event if event.by in POLICIES else event.model_copy(update={"by": by, "note": ""})


def freezer_for_anybody(frozen: LearningSet | None) -> str | None:
    """Return who has frozen a model: a policy, with its reason, or an operator; None: nobody."""
    return None if frozen is None else _nameless(frozen).who
