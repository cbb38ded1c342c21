"""Measures what malicious players can do to the shared model: ``python -m tests.bench.trust`` (part of `make bench`).

People of data/pen play, and some of them lie. Six people make the judge, sixteen play, eight are asked and never play. The real
learner and online model fold their examples, in random order, on a fresh base. Prints, for each attack, the accuracy on the
people who never play: before, at the lowest and at the end; what share of honest players' lessons is lost, in all and of those
that the base got wrong; what share of the wrong lessons counts; and whether a shuffled and repeated stream ends in one digest.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated
from uuid import UUID

import numpy as np
import typer
from numpy.typing import NDArray

from contracts.events import CorrectionReceipt, ExampleLabelled, LessonTaught
from contracts.ports import Origin
from producers.handwriting import handwriting
from streams.embedding import EmbeddingNetwork
from streams.learner import Learner
from streams.make_base import judge
from streams.online_base import Base, load_base
from streams.online_model import OnlineModel, newcomers_share
from streams.trust import JUDGE_SCALE, SURE, judged
from tests.histories import MemoryCells
from tests.writers import Drawings, drawings

JUDGES, PLAYERS = 6, 16
LOOKS = 40
"""How often the model is asked on the way."""
Lie = Callable[[int, int, random.Random], int]
"""Returns the label that is given: of the digit that was drawn, and how many labels the player has given before."""


def after(honest: int) -> Lie:
    """Tell the truth for so many labels."""
    return lambda digit, given, chance: digit if given < honest else (digit + 1) % 10


LIES: dict[str, Lie] = {
    "nobody lies": lambda digit, given, chance: digit,
    "shifting": after(0),
    "all to 3": lambda digit, given, chance: 3,
    "random": lambda digit, given, chance: chance.randrange(10),
    "colluding: all odd digits are 8": lambda digit, given, chance: 8 if digit % 2 else digit,
    "swapping 1 and 7": lambda digit, given, chance: {1: 7, 7: 1}.get(digit, digit),
    "a 4 is a 9": lambda digit, given, chance: 9 if digit == 4 else digit,
    "honest for 60": after(60),
    "honest for 200": after(200),
}
NEWCOMERS = {
    "one newcomer, 50": (1, 50),
    "one newcomer, 200": (1, 200),
    "one newcomer, 1,000": (1, 1000),
    "20 newcomers, 50 each": (20, 50),
    "300 newcomers, 5 each": (300, 5),
}


@dataclass(frozen=True, slots=True)
class Given:
    """A label that a player gives."""

    player: str
    writer: str
    number: int
    label: int
    honest: bool
    """Whether the player never lies."""
    turn: int | None = None
    """When it is drawn, by whoever draws the same again; None: drawings are drawn in their order."""

    @property
    def example(self) -> ExampleLabelled:
        """The label as an example."""
        return drawings(self.writer).example(self.player, self.number, self.label, turn=self.turn)


@dataclass(slots=True)
class Outcome:
    """What a stream of labels has done."""

    accuracy: list[float]
    weights: dict[UUID, float]
    digest: str
    seconds: float


def people(split: int) -> tuple[list[str], list[str], list[str]]:
    """Return judges, players, and those who are asked; four splits ask everybody once."""
    writers = list(handwriting())
    random.Random(20181103).shuffle(writers)
    first = split * (len(writers) - JUDGES - PLAYERS) % len(writers)
    writers = writers[first:] + writers[:first]
    return writers[:JUDGES], writers[JUDGES : JUDGES + PLAYERS], writers[JUDGES + PLAYERS :]


def stream(players: list[str], lie: Lie, liars: int, lessons: int, seed: int) -> list[Given]:
    """Return labels in random order; each player gives those of their own drawings, once."""
    chance, given, out = random.Random(seed), Counter[str](), []
    all_of_them = [(writer, number) for writer in players for number in range(len(drawings(writer).labels))]
    for writer, number in chance.sample(all_of_them, lessons):
        digit = int(drawings(writer).labels[number])
        label = lie(digit, given[writer], chance) if writer in players[:liars] else digit
        given[writer] += 1
        out.append(Given(writer, writer, number, label, writer not in players[:liars]))
    return out


def newcomers(players: list[str], count: int, each: int, seed: int) -> list[Given]:
    """Return shifted labels of players who are all new; they take turns."""
    chance = random.Random(seed)
    all_of_them = [(writer, number) for writer in players for number in range(len(drawings(writer).labels))]
    out = []
    for _ in range(each):
        for one in range(count):
            writer, number = chance.choice(all_of_them)
            out.append(Given(f"new {one}", writer, number, (int(drawings(writer).labels[number]) + 1) % 10, False))
    return out


def unclear(base: Base, players: list[str], seed: int) -> list[Given]:
    """Return labels of players who are honest about thirty clear drawings, and then lie about all that are not clear."""
    chance, clear, rest = random.Random(seed), list[Given](), list[Given]()
    for writer in players:
        source = drawings(writer)
        for number, features in enumerate(base.basis.rows(source.embeddings)):
            label = int(source.labels[number])
            if judged(base.judge, features)[1]:
                clear.append(Given(f"liar {writer}", writer, number, label, True))
            else:
                rest.append(Given(f"liar {writer}", writer, number, (label + 1) % 10, False))
    known = [one for writer in players for one in chance.sample([g for g in clear if g.writer == writer], 30)]
    return [*known, *chance.sample(rest, len(rest))]


def unsure_of(base: Base, writer: str) -> NDArray[np.int64]:
    """Return what the judge sees in each drawing of which it is not sure, shape (n,); -1: it is sure."""
    features = base.basis.rows(drawings(writer).embeddings)
    return np.array([-1 if sure else said for said, sure in (judged(base.judge, one) for one in features)])


def only_unsure(base: Base, honest: list[Given], liars: set[str], *, one_shape: bool = False) -> list[Given]:
    """Return the same labels, but the liars, who agree wherever the judge is sure, shift the others.

    Args:
        base: Of the judge.
        honest: What all would say if nobody lied.
        liars: Who lies.
        one_shape: Whether they lie about one shape alone, all about the same: what the judge, not sure, sees as one digit; of
            ten digits the one of which they have the most such drawings.
    """
    seen = {writer: unsure_of(base, writer) for writer in liars}
    shapes = Counter(int(seen[one.writer][one.number]) for one in honest if one.player in liars)
    del shapes[-1]
    lied_about = {max(shapes, key=lambda shape: (shapes[shape], shape))} if one_shape else set(shapes)
    return [
        replace(one, honest=False, label=(one.label + (int(seen[one.writer][one.number]) in lied_about)) % 10)
        if one.player in liars
        else one
        for one in honest
    ]


def knowing(base: Base, pens: list[str], guests: int, each: int, truths: int, seed: int) -> list[Given]:
    """Return labels of guests who know all rules, and lie as often as these let a lie count that is not paid for.

    What they say truly is the same drawing again and again, which teaches nobody anything. A lie is the judge's second guess:
    every other one of drawings of which it is not sure, after so many clear ``truths``; without these, one in ten, where it is
    sure.
    """
    chance = random.Random(seed)
    clear: dict[int, list[tuple[float, str, int, int]]] = {digit: [] for digit in range(10)}
    unclear: dict[int, list[tuple[float, str, int, int]]] = {digit: [] for digit in range(10)}
    for writer in pens:
        source = drawings(writer)
        scores = base.basis.rows(source.embeddings) @ base.judge.T / JUDGE_SCALE
        for number, (digit, of_each) in enumerate(zip(source.labels, scores, strict=True)):
            second, best = np.argsort(of_each)[-2:]
            margin = float(of_each[best] - of_each[second])
            if best == digit:
                (clear if margin >= SURE else unclear)[int(digit)].append((margin, writer, number, int(second)))
    digits = [digit for digit in range(10) if len(unclear[digit]) > 1]
    given = []
    for k in range(each):
        for guest in range(guests):
            digit, lies = (k + guest) % 10, False
            if not truths:
                about = (k // 10 + guest) % 10
                lies = k >= 10 and k % 10 == 9
                digit = about if lies or k % 10 in (0, 3) else k % 10
                picked = chance.choice(clear[digit]) if lies else max(clear[digit])
            elif k < truths:
                picked = chance.choice(clear[digit])
            else:
                lies, digit = k % 2 == 1, digits[((k - truths) // 4 + guest) % len(digits)]
                picked = chance.choice(sorted(unclear[digit])[1:]) if lies else min(unclear[digit])
            _, writer, number, second = picked
            given.append(Given(f"guest {guest}", writer, number, second if lies else digit, False, k))
    return given


def fold(base: Base, given: list[Given], asked: list[Drawings], looks: int = LOOKS) -> Outcome:
    """Fold a stream of labels, and ask the model about the drawings of those who are asked."""
    learner, cells = Learner(base), MemoryCells()
    list(learner.open(cells, 0))
    model, offset, weights, accuracy = OnlineModel(base, learner.series), 0, dict[UUID, float](), list[float]()

    rows = np.concatenate([base.basis.rows(one.embeddings) for one in asked])
    labels = np.concatenate([one.labels for one in asked])

    def look() -> None:
        accuracy.append(100 * float((model.in_force().solved.probabilities(rows).argmax(axis=1) == labels).mean()))

    look()
    began = time.process_time()
    for place, one in enumerate(given, 1):
        for event in learner.apply(cells, one.example, Origin(0, place, 0)):
            if isinstance(event, LessonTaught):
                model.apply(event, 0, offset)
                offset += 1
                weights[event.drawing_id] = (event.weight if event.sign > 0 else 0.0) * (-1 if event.newcomer else 1)
            assert isinstance(event, LessonTaught | CorrectionReceipt)
        if place % max(1, len(given) // looks) == 0:
            look()
    shared = newcomers_share(model.known.newcomers)
    counted = {drawing: weight if weight >= 0 else -weight * shared for drawing, weight in weights.items()}
    return Outcome(accuracy, counted, model.known.digest(base), time.process_time() - began)


def row(given: list[Given], outcome: Outcome) -> dict[str, float]:
    """Return what is printed of an attack."""
    weights = {True: list[float](), False: list[float]()}
    odd = []
    for one in given:
        source = drawings(one.writer)
        weight = outcome.weights.get(one.example.drawing_id, 0.0)
        if one.honest or one.label != source.labels[one.number]:
            weights[one.honest].append(weight)
        if one.honest and source.shared[one.number].argmax() != source.labels[one.number]:
            odd.append(weight)
    told = {"before": outcome.accuracy[0], "lowest": min(outcome.accuracy), "end": outcome.accuracy[-1]}
    if weights[True]:
        told |= {"honest lost, %": 100 * (1 - float(np.mean(weights[True]))), "of odd ones, %": 100 * (1 - float(np.mean(odd)))}
    if weights[False]:
        told["wrong that count, %"] = 100 * float(np.mean(weights[False]))
    return told


def shuffled(given: list[Given], seed: int) -> list[Given]:
    """Return each label three times, with the players mixed in another way."""
    chance = random.Random(seed)
    lanes: dict[str, Iterator[Given]] = {}
    turns = []
    for player in {one.player for one in given}:
        own = [one for one in given if one.player == player for _ in range(3)]
        lanes[player] = iter(own)
        turns += [player] * len(own)
    chance.shuffle(turns)
    return [next(lanes[player]) for player in turns]


def main(
    lessons: Annotated[int, typer.Option(help="how many labels the sixteen give")] = 3600,
    share: Annotated[float, typer.Option(help="share of the players who lie")] = 0.3,
    splits: Annotated[int, typer.Option(help="how many splits of the people; the mean is printed")] = 4,
    only: Annotated[list[str] | None, typer.Option(help="only what has one of these in its name")] = None,
) -> None:
    """Play each attack."""
    network, rows = EmbeddingNetwork(), dict[str, list[dict[str, float]]]()
    us, same = [], []
    for seed in range(splits):
        judges, players, others = people(seed)
        bare = load_base()
        base, asked = replace(bare, judge=judge(bare.sums, network, judges)), [drawings(writer) for writer in others]
        streams = {
            name: stream(players, lie, 0 if name == "nobody lies" else round(share * PLAYERS), lessons, seed)
            for name, lie in LIES.items()
        }
        streams |= {name: newcomers(players, *several, seed) for name, several in NEWCOMERS.items()}
        liars = set(players[: round(share * PLAYERS)])
        streams["the honest alone"] = [one for one in streams["nobody lies"] if one.player not in liars]
        honest = streams["nobody lies"]
        streams["lying where the judge is not sure"] = only_unsure(base, honest, liars)
        streams["lying about one shape of which it is not sure"] = only_unsure(base, honest, liars, one_shape=True)
        streams["all lie where the judge is not sure"] = unclear(base, players, seed)
        streams["the same without these lies"] = [one for one in streams["all lie where the judge is not sure"] if one.honest]
        for guests in (1, 3, 10):
            for truths in (0, 8, 30):
                who = f"{guests} who know the rules, {f'unsure, after {truths}' if truths else 'sure'}"
                streams[who] = knowing(base, players[8:], guests, 120, truths, seed)
        for name, given in streams.items():
            if only and not any(part in name for part in only):
                continue
            outcome = fold(base, given, asked)
            rows.setdefault(name, []).append(row(given, outcome))
            us.append(1e6 * outcome.seconds / len(given))
            if name in ("nobody lies", "swapping 1 and 7"):
                same.append(fold(base, shuffled(given, seed), asked, looks=1).digest == outcome.digest)
            typer.echo(f"{seed} {name}", err=True)
    told = {
        name: {key: round(float(np.mean([one[key] for one in several])), 2) for key in several[0]}
        for name, several in rows.items()
    }
    typer.echo(
        json.dumps({"attacks": told, "us_a_lesson": round(float(np.mean(us))), "same_digest_when_shuffled": same}, indent=2)
    )


if __name__ == "__main__":
    typer.run(main)
