"""Decides the round of one drawing: which models to ask, what to publish, and when the round ends (way 1, ANSWER). Pure.

Values in, actions out: the router tells a round what has happened and what time it is, and carries out its `RoundAction`s in
order. A round ends with `Acknowledge`, once: each model has answered or was given up, the blend is made, and the broker has
all.

Each model that owes a guess has a slot, and so has the shadow beside it. A slot is filled once, and what comes later is
dropped: so a drawing has one guess or one miss of each model, and at most one guess of each shadow. What is beside an online
model answers at once; nobody is shown it, so it is only published together with the others, for those who learn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.events import (
    BLEND,
    DrawingAnswered,
    Event,
    GuessMade,
    GuessMissed,
    PreviewGuessed,
    Role,
    guess_part,
)
from streams.blend import Blend, BlendWeights
from streams.lineup import WELL, Answerer, AnswererState, Lineup
from streams.pending import CallDetails, Deadlines, Moment, PendingDrawing, Row, rows


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask an answerer about the drawing."""

    answerer: Answerer


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish an event, then call `Round.sent` once the broker has it."""

    event: Event


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Nobody needs to read the drawing again."""


RoundAction = Ask | Publish | Acknowledge


class Round:
    """One drawing, from the moment it was read to its acknowledgement."""

    def __init__(self, drawing: PendingDrawing, lineup: Lineup, weights: BlendWeights, deadlines: Deadlines) -> None:
        """Build; nobody is asked before `start`."""
        self.drawing = drawing
        self._lineup = lineup
        self._weights = weights
        self._deadlines = deadlines
        self._open: set[str] = set()
        """The slots that are neither filled nor given up."""
        self._asked: dict[Answerer, str] = {}
        """The slot of each answerer that may still fill one."""
        self._notes: dict[str, str] = {}
        """Why another version answers than should have, by model."""
        self._blend: Blend | None = None
        self._otherwise: NDArray[np.float64] = np.zeros(0)
        self._hops = {"bus_in": round(drawing.bus_in_ms, 3), "read": round(drawing.read_ms, 3)}
        self._guesses: list[dict[str, Any]] = []
        """The fields of each guess that is not yet published together with the others: see `contracts.events.AnswerGuess`."""
        self._missed: dict[str, str] = {}
        self._together = False
        """Whether guesses were published together already: later ones follow at once."""
        self._unsent = 0
        """The number of events that the broker does not have yet."""
        self._over = False

    def awaits(self, answerer: Answerer) -> bool:
        """Whether an answer of this answerer would be used."""
        return answerer in self._asked

    @property
    def due(self) -> float | None:
        """The time at which `tick` has something to do, on the monotonic clock; None: never again."""
        if not self._open:
            return None
        first = self._blend is not None or (self.drawing.drawing.final and not self._together)
        return self.drawing.read_at + (self._deadlines.first_s if first else self._deadlines.budget_s)

    # --- what happens

    def start(
        self,
        states: Mapping[Answerer, AnswererState],
        here: Mapping[str, tuple[CallDetails, Row]],
        opinion: NDArray[np.float64],
        now: Moment,
        beside: Sequence[tuple[str, CallDetails, Row]] = (),
    ) -> list[RoundAction]:
        """Ask the answerers of this drawing, and publish the guesses of the models that answer here.

        Args:
            states: The states of answerers over the network; one that is missing does well.
            here: The answers of the models in this process.
            opinion: Their opinion: the part of `Lineup.voice` in the blend, or all of it if no other model answers.
            now: When they had answered.
            beside: The answers of what is beside the online models, each with its model.
        """
        actions: list[RoundAction] = []
        drawing, lineup = self.drawing.drawing, self._lineup
        wanted = None if drawing.models is None or BLEND in drawing.models else set(drawing.models)
        awaited: list[str] = []
        left_out: dict[str, str] = {}
        for model in lineup.batch:
            if wanted is not None and model not in wanted:
                continue
            for answerer, slot in self._whom(model):
                self._open.add(slot)
                self._asked[answerer] = slot
                actions.append(Ask(answerer))
                if slot == model and model in lineup.shown:
                    state = states.get(answerer, WELL)
                    if state.resting is None and not state.overdue:
                        awaited.append(model)
                    else:
                        left_out[model] = "late" if state.resting is None else "resting"
        for model, (call, row) in here.items():
            if wanted is None or model in wanted:
                actions.append(self._say(model, model, call, call.role, row, now))
        self._guesses += [self._told(model, call, call.role, row) for model, call, row in beside]
        if lineup.blends and wanted is None:
            self._open.add(BLEND)
            self._blend = Blend(self._weights, awaited, left_out)
            self._otherwise = opinion
            if lineup.voice is not None:
                self._blend.hear(lineup.voice, opinion)
        return self._next(actions, now)

    def answered(self, answerer: Answerer, call: CallDetails, row: Row, now: Moment) -> list[RoundAction]:
        """Use the answer of an answerer that was asked.

        A candidate answers in the role that it had when it was asked: in its model's place, or as a shadow.
        """
        slot = self._asked.pop(answerer, None)
        if slot is None:
            return []
        model = answerer.model
        role: Role = "shadow" if slot != model else "canary" if answerer.beside else call.role
        actions: list[RoundAction] = [self._say(slot, model, call, role, row, now)]
        if role != "shadow" and self._blend is not None:
            self._blend.hear(model, row.opinion)
        return self._next(actions, now)

    def missed(self, answerer: Answerer, why: str, resting: bool, now: Moment) -> list[RoundAction]:
        """Go on without an answerer: the champion answers in place of a canary, nobody in place of a shadow."""
        slot = self._asked.pop(answerer, None)
        if slot is None:
            return []
        if answerer.beside and slot == answerer.model:
            self._notes[slot] = f"the canary did not answer: {why}"[:300]
            champion = Answerer(slot)
            hidden = self._asked.get(champion)
            self._asked[champion] = slot
            if hidden is None:
                return [Ask(champion)]
            self._open.discard(hidden)  # it is asked already, to be compared: its answer is the one that is shown
            return self._next([], now)
        return self._next(self._give_up(slot, why, resting, now), now)

    def late(self, answerer: Answerer, now: Moment) -> list[RoundAction]:
        """Let the blend go on without an answerer whose call takes far longer than usual.

        If its answer comes before all others have, it counts after all.
        """
        return self._go_on_without(answerer, "late", now)

    def rests(self, answerer: Answerer, now: Moment) -> list[RoundAction]:
        """Let the blend go on without an answerer that has failed and is asked again later."""
        return self._go_on_without(answerer, "resting", now)

    def tick(self, resting: Mapping[str, str], now: Moment) -> list[RoundAction]:
        """Let time pass: after the blend's deadline no model is awaited any more, after the budget none may answer any more.

        ``resting``: the models that are not asked now, and why.
        """
        actions: list[RoundAction] = []
        read_at = self.drawing.read_at
        if now.s >= read_at + self._deadlines.budget_s:
            for slot in sorted(self._open - {BLEND}):
                why = resting.get(slot) or f"no answer in {self._deadlines.budget_s:g} s"
                actions += self._give_up(slot, why, slot in resting, now)
            self._asked.clear()
        if now.s >= read_at + self._deadlines.first_s:
            if self._blend is not None:
                for model in sorted(self._blend.awaited):
                    self._blend.leave_out(model, "late")
            return self._next(actions, now, together=True)
        return self._next(actions, now)

    def dropped(self, now: Moment) -> list[RoundAction]:
        """Give up a preview that needs no answer any more, since newer strokes have come."""
        self._blend = None
        self._open.clear()
        self._asked.clear()
        return self._next([], now)

    def give_up(self) -> None:
        """End the round without an answer, because something failed: no model is awaited, and later answers do not count."""
        self._blend, self._over = None, True
        self._open.clear()
        self._asked.clear()

    def sent(self, n: int) -> list[RoundAction]:
        """Note that the broker has so many more of the events."""
        self._unsent -= n
        return self._end()

    # --- what comes of it

    def _whom(self, model: str) -> Sequence[tuple[Answerer, str]]:
        """Return the answerers to ask for a model, and the slot that each would fill."""
        candidates, drawing = self._lineup.table.stands_beside(model), self.drawing.drawing
        if not candidates:  # as mostly
            return ((Answerer(model), model),)
        canary = next((one for one in candidates if one.answers(model, drawing.player_id)), None)
        shown = Answerer(model) if canary is None else Answerer(model, canary.place + 1)
        hidden: list[tuple[Answerer, str]] = []
        for one in candidates if drawing.final else ():
            slot = guess_part(model, one.version, True, one.place)
            if one is canary and one.watched:
                hidden.append((Answerer(model), slot))
            elif one is not canary and (one.shadow or one.watched):
                hidden.append((Answerer(model, one.place + 1), slot))
        return [(shown, model), *hidden]

    def _go_on_without(self, answerer: Answerer, why: str, now: Moment) -> list[RoundAction]:
        if self._blend is not None and self._asked.get(answerer) == answerer.model:
            self._blend.leave_out(answerer.model, why)
        return self._next([], now)

    def _give_up(self, slot: str, why: str, resting: bool, now: Moment) -> list[RoundAction]:
        """Give up a slot that nobody will fill; publish the miss if anybody needs to know."""
        self._open.discard(slot)
        if self._blend is not None:
            self._blend.leave_out(slot, "resting" if resting else "late")
        drawing = self.drawing.drawing
        if not self.drawing.urgent or "/" in slot:
            return []
        self._missed[slot] = why[:500]
        missed = GuessMissed(
            drawing_id=drawing.drawing_id,
            player_id=drawing.player_id,
            model=slot,
            final=drawing.final,
            resting=resting,
            why=why[:500],
            at=now.at,
        )
        return [self._publish(missed)]

    def _say(self, slot: str, model: str, call: CallDetails, role: Role, row: Row, now: Moment) -> RoundAction:
        """Publish the guess that fills a slot."""
        self._open.discard(slot)
        pending, drawing = self.drawing, self.drawing.drawing
        place = slot.rpartition("/")[2]
        told = self._told(model, call, role, row, int(place) if place.isdigit() else 0)
        if slot == BLEND and self._blend is not None:
            told["left_out"] = self._blend.left_out
        if drawing.final:
            self._guesses.append(told)
        kind = GuessMade if drawing.final else PreviewGuessed
        event = kind(
            drawing_id=drawing.drawing_id,
            player_id=drawing.player_id,
            final=drawing.final,
            lead=pending.lead,
            lead_after=pending.lead_after,
            at=now.at,
            **told,
        )
        return self._publish(event)

    def _told(self, model: str, call: CallDetails, role: Role, row: Row, place: int = 0) -> dict[str, Any]:
        """Return the fields of a guess: see `contracts.events.AnswerGuess`."""
        wait_ms = max(0.0, (call.asked_at - self.drawing.read_at) * 1000)
        return {
            "model": model,
            "version": call.version,
            "label": row.label,
            "probabilities": row.probabilities,
            "hops": {**self._hops, "wait": round(wait_ms, 3), "model": round(call.model_ms, 3)},
            "table": call.table,
            "fallback": call.fallback or self._notes.get(model),
            "role": role,
            "place": place,
            "left_out": {},
        }

    def _next(self, actions: list[RoundAction], now: Moment, together: bool = False) -> list[RoundAction]:
        """Return the actions that are due now: the blend, all guesses together, the end."""
        blend, table = self._blend, self._lineup.table
        if blend is not None and blend.complete:
            [row] = rows(blend.probabilities(self._otherwise)[None])
            call = CallDetails(blend.weights.version, table.role(BLEND), table.digest, now.s, 0.0)
            actions.append(self._say(BLEND, BLEND, call, call.role, row, now))
            self._blend = None
        if self.drawing.drawing.final and (together or self._together or not self._open):
            actions += self._say_together(now)
        return [*actions, *self._end()]

    def _say_together(self, now: Moment) -> list[RoundAction]:
        """Publish the guesses that the learners have not got yet."""
        pending, first = self.drawing, not self._together
        self._together = True
        if not (self._guesses or self._missed):
            return []
        answered = DrawingAnswered.model_validate(
            {
                "drawing_id": pending.drawing.drawing_id,
                "player_id": pending.drawing.player_id,
                "guesses": self._guesses,
                "missed": self._missed,
                "features": pending.features if first else None,
                "lead": pending.lead,
                "lead_after": pending.lead_after,
                "at": now.at,
            }
        )
        self._guesses, self._missed = [], {}
        return [self._publish(answered)]

    def _publish(self, event: Event) -> Publish:
        self._unsent += 1
        return Publish(event)

    def _end(self) -> list[RoundAction]:
        if self._open or self._unsent or self._over:
            return []
        self._over = True
        return [Acknowledge()]
