"""Selects the models that guess, by one routing table (way 1, ANSWER). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from contracts.events import BLEND, PERSONAL_MODEL
from streams.online_model import SHARED
from streams.routing import Table


class Answerer(NamedTuple):
    """A version that can answer: the model's own, or a candidate beside it."""

    model: str
    beside: int = 0
    """0: the model's own version; else one more than the candidate's place."""


class AnswererState(NamedTuple):
    """Whether an answerer over the network can be asked now, and waited for."""

    resting: str | None = None
    """Why the answerer is not asked now; None: it is asked."""
    overdue: bool = False
    """Whether nobody should wait for its next answer."""


WELL: Final = AnswererState()


@dataclass(frozen=True, slots=True)
class Lineup:
    """The models that guess, by one routing table."""

    table: Table
    batch: tuple[str, ...]
    """The batch models that are asked."""
    here: tuple[str, ...]
    """The models that answer in this process."""
    shown: tuple[str, ...]
    """The models among these, and the blend, that players are shown."""
    blends: bool
    """Whether the blend guesses."""
    voice: str | None
    """The model that goes into the blend for those that answer here; None: none, unless no other model answers.

    A player's own model stands for the shared one too, on which it builds: both would count the shared one twice.
    """

    @classmethod
    def of(cls, table: Table, batch_models: Sequence[str]) -> "Lineup":
        """Select the models that guess by a table, of these batch models and of those that answer here."""
        batch = tuple(model for model in batch_models if model in table.batch and table.part(model) != "off")
        own = (PERSONAL_MODEL,) if table.part(PERSONAL_MODEL) != "off" else ()
        blends = table.part(BLEND) != "off"
        here = (*table.online, *own)
        shown = tuple(m for m in (*batch, *here, *((BLEND,) if blends else ())) if table.part(m) == "shown")
        voice = next((model for model in (PERSONAL_MODEL, SHARED) if table.part(model) == "shown"), None)
        return cls(table, batch, here, shown, blends, voice)

    def lead(self, wanted: str | None, states: Mapping[Answerer, AnswererState]) -> str | None:
        """Choose the model that is shown first: the ``wanted`` one, unless it will not answer; None: none is shown."""
        if wanted in self.shown and states.get(Answerer(wanted), WELL).resting is None:
            return wanted
        return BLEND if BLEND in self.shown else next(iter(self.shown), None)
