"""Plays a round for tests: one drawing, some batch models, and the events and calls so far."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from contracts.events import DrawingAnswered, Event, GuessMade, GuessMissed, PolicySet
from streams.additive import BASIS
from streams.blend import BlendWeights
from streams.lineup import Answerer, AnswererState, Lineup
from streams.pending import CallDetails, Deadlines, Moment, PendingDrawing, Row, rows
from streams.round import Acknowledge, Ask, Publish, Round, RoundAction
from streams.routing import CandidateRoute, Online, Route, Table
from tests import histories

DEADLINES: Final = Deadlines(blend_s=0.25, budget_s=2.0)
READ_AT: Final = 100.0
LOCAL: Final = {"river": 7, "yours": 7}
"""The answers of the models in the router's process."""


def table(
    *models: str,
    candidates: Mapping[str, CandidateRoute | Sequence[CandidateRoute]] | None = None,
    policy: PolicySet | None = None,
    **online: Online,
) -> Table:
    """Return a routing table in which these batch models have a version, and some have a candidate beside it."""
    batch = {model: Route("1", f"gamenight-{model}") for model in models}
    weights = Online("mnist1+0", histories.READER, -1, np.zeros((10, BASIS.width), np.float32))
    beside = {model: [one] if isinstance(one, CandidateRoute) else one for model, one in (candidates or {}).items()}
    made = Table(batch=batch, online={"river": weights, **online}, candidates=beside)
    return made if policy is None else made.apply(policy)


def canary(share: float = 1.0, *, watched: bool = False) -> CandidateRoute:
    """Return a candidate that answers this share of the players."""
    return CandidateRoute("2", "v2", "gamenight", shadow=False, share=share, watched=watched)


SHADOW: Final = CandidateRoute("2", "v2", "gamenight", shadow=True, share=0.0)


@dataclass
class Played:
    """A round, and the actions that have followed from it."""

    round: Round
    asked: list[Answerer] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    acknowledged: int = 0
    unsent: int = 0

    def take(self, actions: Sequence[RoundAction]) -> list[RoundAction]:
        """Note the actions that follow."""
        for action in actions:
            assert not self.acknowledged, f"{action} after the end"
            match action:
                case Ask(answerer):
                    self.asked.append(answerer)
                case Publish(event):
                    self.events.append(event)
                    self.unsent += 1
                case Acknowledge():
                    assert not self.unsent, "acknowledged before the broker has everything"
                    self.acknowledged += 1
        return list(actions)

    def answers(self, answerer: Answerer, at: float, label: int = 3, **details: Any) -> list[RoundAction]:
        """Let a model answer ``at`` seconds after the drawing was read."""
        [row] = rows(np.eye(10)[[label]])
        given: dict[str, Any] = {"version": "2" if answerer.beside else "1", "role": "champion", "table": "t"}
        told = CallDetails(asked_at=READ_AT, model_ms=1.0, **given | details)
        return self.take(self.round.answered(answerer, told, row, moment(at)))

    def misses(self, answerer: Answerer, at: float, why: str = "down", resting: bool = False) -> list[RoundAction]:
        """Let a model miss the drawing ``at`` seconds after it was read."""
        return self.take(self.round.missed(answerer, why, resting, moment(at)))

    def ticks(self, at: float, resting: Mapping[str, str] | None = None) -> list[RoundAction]:
        """Let time pass."""
        return self.take(self.round.tick(resting or {}, moment(at)))

    def sent(self, n: int | None = None) -> list[RoundAction]:
        """Let the broker acknowledge all events so far, or ``n`` of them."""
        n = self.unsent if n is None else n
        self.unsent -= n
        return self.take(self.round.sent(n))

    def guesses(self) -> dict[str, GuessMade]:
        """Return by slot the guesses that were shown or counted; each must be there once."""
        told = [event for event in self.events if isinstance(event, GuessMade)]
        by_slot = {guess.model + "/shadow" * (guess.role == "shadow"): guess for guess in told}
        assert len(by_slot) == len(told), f"a guess twice: {[(guess.model, guess.role) for guess in told]}"
        return by_slot

    def missed(self) -> list[tuple[str, bool]]:
        """Return the models that were missed, and whether each rests."""
        return [(event.model, event.resting) for event in self.events if isinstance(event, GuessMissed)]

    def parts(self) -> list[DrawingAnswered]:
        """Return the events for learners."""
        return [event for event in self.events if isinstance(event, DrawingAnswered)]

    def told(self) -> Counter[tuple[str, str]]:
        """Count the guesses in all parts, by model and role."""
        return Counter((one.model, one.role) for part in self.parts() for one in part.guesses)


def moment(at: float) -> Moment:
    """Return the moment ``at`` seconds after the drawing was read, by both clocks."""
    return Moment(READ_AT + at, histories.seconds(at))


def begun(
    *models: str,
    by: Table | None = None,
    states: Mapping[Answerer, AnswererState] | None = None,
    deadlines: Deadlines = DEADLINES,
    weights: BlendWeights | None = None,
    local: Mapping[str, int] = LOCAL,
    beside: Sequence[tuple[str, CallDetails, Row]] = (),
    **of_the_drawing: Any,
) -> Played:
    """Return a round that was started 10 ms after the drawing was read."""
    by = table(*(models or ("xgboost", "kmeans"))) if by is None else by
    lineup = Lineup.of(by, tuple(by.batch))
    drawing = histories.drawing(**of_the_drawing)
    read = histories.features() if drawing.final else None
    pending = PendingDrawing(
        drawing, np.zeros(784, np.uint8), read, bus_in_ms=4.0, read_ms=1.0, read_at=READ_AT, lead="everyone"
    )
    played = Played(Round(pending, lineup, weights or BlendWeights({}, "blend5+0"), deadlines))
    here = {}
    for model, label in local.items():
        if model in lineup.here:
            [row] = rows(np.eye(10)[[label]])
            here[model] = (CallDetails("1", by.role(model), by.digest, READ_AT, 2.0), row)
    [row] = rows(np.eye(10)[[local.get("yours", 7)]])
    played.take(played.round.start(states or {}, here, row.opinion, moment(0.01), beside))
    return played
