"""Tries that what is taken back leaves no trace: ``python -m tests.bench.unlearning`` (some minutes).

Random histories of a few players who draw, label, change labels, withdraw them and send all of it again, in any arrival order
that keeps each player's own, while operators ban, quarantine and pardon. Each must end in the state of the history in which
only what stands was ever said: the sums of the online model, known and newcomers, bit for bit, its digest, the counts of every
version, what all players together say of the models, and the answers of players' own models. Exit status 1 if one does not.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as streams.__main__ has it

import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from contracts.drawing import rasterize
from contracts.events import Event, ExampleLabelled, Features, LessonTaught, PlayerRestricted, Restriction, ScoresCounted
from producers.handwriting import PEN_DATA, handwriting
from streams.embedding import EmbeddingNetwork
from streams.joiner import Joiner
from streams.learner import Learner
from streams.online_base import load_base
from streams.online_model import OnlineModel
from streams.personal_model import PersonalModels
from streams.scorer import Scorer
from tests.histories import MemoryCells, answered, correction, drawing, folded, guess, seconds, withdrawal

PLAYERS: Final = ("ada", "bob", "eve")
_SHAPES: Final = 400


@dataclass(frozen=True, slots=True)
class Shape:
    """A drawing of somebody's hand."""

    label: int
    features: Features


_base = cache(load_base)


@cache
def shapes() -> list[Shape]:
    """Return real drawings: trust must have something to judge."""
    written = [one for person in handwriting(PEN_DATA).values() for one in person]
    network = EmbeddingNetwork()
    out = []
    for one in random.Random(1).sample(written, _SHAPES):
        raster = rasterize([[list(point) for point in stroke] for stroke in one.strokes])
        embedding = network.embed(raster.reshape(1, -1))[0]
        read = Features(raster=raster.tobytes(), embedding=embedding.tobytes(), reader=network.reader)
        out.append(Shape(one.label, read))
    return out


@dataclass(slots=True)
class Told:
    """A history, and the one in which only what stands was said."""

    lanes: list[list[Event]]
    """What each player said: by topic, in order."""
    restrictions: list[PlayerRestricted]
    standing: list[list[Event]]
    """The same of what stands."""
    did: dict[str, int]
    """How often what was done."""


def history(seed: int) -> Told:
    """Return a random history."""
    chance = random.Random(seed)
    did = dict.fromkeys(("withdrawn", "changed", "sent again", "banned", "quarantined", "pardoned"), 0)
    last: dict[str, Restriction] = {}
    restrictions = []
    for n in range(chance.choice((0, 1, 2, 3))):
        player, kind = chance.choice(PLAYERS), chance.choice(("banned", "quarantined", "none"))
        restrictions.append(PlayerRestricted(player_id=player, restriction=kind, at=seconds(n)))  # type: ignore[arg-type]
        last[player] = kind  # type: ignore[assignment]
        did["pardoned" if kind == "none" else kind] += 1
    lanes, standing = list[list[Event]](), list[list[Event]]()
    for player in PLAYERS:
        topics: tuple[list[Event], list[Event], list[Event]] = ([], [], [])
        stands: tuple[list[Event], list[Event], list[Event]] = ([], [], [])
        liar = chance.random() < 0.3
        for n in range(chance.choice((1, 2, 4, 9, 14))):
            name, shape = f"{seed} {player} {n}", chance.choice(shapes())
            drawn = drawing(name, player=player, at=n)
            guesses = [guess(name, shape.label, player=player, features=None, at=n)]
            guesses += [guess(name, chance.randrange(10), model="xgboost", player=player, at=n)]
            answer = answered(guesses, features=shape.features, at=n)
            topics[0].append(drawn)
            topics[1].append(answer)
            stood: Event | None = None
            for number in range(chance.choice((0, 1, 1, 1, 2, 3))):
                label = chance.randrange(10) if liar or chance.random() < 0.1 else shape.label
                did["changed"] += stood is not None
                given = f"{name} correction {number}"
                stood = correction(name, label, correction=given, player=player, at=n)
                topics[2].append(stood)
                if chance.random() < 0.3:
                    topics[2].append(withdrawal(name, correction=given, player=player, at=n))
                    stood, did["withdrawn"] = None, did["withdrawn"] + 1
                if chance.random() < 0.2:
                    topics[2].append(chance.choice(topics[2]))
                    did["sent again"] += 1
            stands[0].append(drawn)
            stands[1].append(answer)
            if stood is not None:
                stands[2].append(stood)
        lanes += topics
        standing += stands
    return Told(lanes, restrictions, standing, did)


def mixed(lanes: Sequence[Sequence[Event]], chance: random.Random, again: float) -> list[Event]:
    """Return the lanes in some interleaving that keeps each one's order, with a share of the events again later."""
    order = [lane for lane, events in enumerate(lanes) for _ in events]
    chance.shuffle(order)
    waiting, out = [iter(events) for events in lanes], list[Event]()
    for lane in order:
        out.append(next(waiting[lane]))
        if chance.random() < again:
            out.append(chance.choice(out))
    return out


def state(
    events: Iterable[Event], restrictions: Sequence[PlayerRestricted], without: frozenset[str], chance: random.Random
) -> Any:
    """Return what stands after a history, in steps of some size; ``without`` these players' lessons in the shared model."""
    base = load_base()
    joined = [
        event for event in folded(Joiner(), events, step=chance.choice((1, 3, 20, None))) if isinstance(event, ExampleLabelled)
    ]
    taught: list[Event] = [event for event in joined if event.player_id not in without]
    for restriction in restrictions:  # in their order, at any places
        taught.insert(chance.randrange(len(taught) + 1), restriction)
    places = [n for n, event in enumerate(taught) if isinstance(event, PlayerRestricted)]
    for place, restriction in zip(places, restrictions, strict=True):
        taught[place] = restriction
    learner, model = Learner(base), OnlineModel(base, Learner(base).series)
    for offset, event in enumerate(folded(learner, taught, step=chance.choice((1, 7, None)))):
        if isinstance(event, LessonTaught):
            model.apply(event, 0, offset)
    own, said = PersonalModels(base), MemoryCells()
    folded(PersonalModels(base), taught, said, step=chance.choice((1, 7, None)))
    models = {key: cell for key, cell in said.items() if key.startswith("hour")}
    folded(own, joined)
    counts = {
        event.score_key: (event.n, event.correct, event.confusion, event.latency)
        for event in folded(Scorer(), joined)
        if isinstance(event, ScoresCounted) and event.version is not None
    }
    known = model.known._replace(changes=0)
    sums = model.sums().digest(), model.sums(newcomers=True).digest(), model.in_force().solved.weights.tobytes()
    answers = {player: _answers(own, player) for player in PLAYERS}
    counts = {k: v for k, v in counts.items() if v[0]}
    return {"online model": (sums, known), "counts": counts, "models": models, "yours": answers}


def _answers(own: PersonalModels, player: str) -> tuple[bytes, str]:
    asked = [shape.features for shape in shapes()[:8]]
    embeddings: NDArray[np.float32] = np.stack([np.frombuffer(one.embedding, "<f4") for one in asked])
    rasters = np.stack([np.frombuffer(one.raster, np.uint8) for one in asked])
    answer, version = own.answer(0, player, embeddings, rasters, np.full((len(asked), 10), 0.1))
    return answer.tobytes(), version


def differs(seed: int) -> tuple[list[str], dict[str, int]]:
    """Return what of a history's end is not that of the history without it, and what was done in it."""
    told, chance = history(seed), random.Random(~seed)
    out = frozenset({one.player_id for one in told.restrictions if _last(told, one.player_id) != "none"})
    with_all = state(mixed(told.lanes, chance, 0.15), told.restrictions, frozenset(), chance)
    without = state([event for lane in told.standing for event in lane], [], out, random.Random(0))
    return [what for what in with_all if with_all[what] != without[what]], told.did


def _last(told: Told, player: str) -> Restriction:
    return [one.restriction for one in told.restrictions if one.player_id == player][-1]


def main(
    histories: Annotated[int, typer.Option(help="how many")] = 1000,
    seed: Annotated[int, typer.Option(help="of the first")] = 20181103,
) -> None:
    """Try them, and print."""
    began, wrong, did = time.monotonic(), dict[int, list[str]](), dict[str, int]()
    with typer.progressbar(range(seed, seed + histories), label="histories") as several:
        for one in several:
            found, what = differs(one)
            did = {name: did.get(name, 0) + n for name, n in what.items()}
            if found:
                wrong[one] = found
    told = {"histories": histories, "seconds": round(time.monotonic() - began), "done in them": did, "differ": wrong}
    print(json.dumps(told, indent=2))
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
